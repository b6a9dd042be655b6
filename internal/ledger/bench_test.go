package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

// Transfers of 64 callers at a time, over many accounts and over few. For figures that say something the server behind
// CCP_TEST_POSTGRES_URL has to make its commits durable, and nothing else may run.
func BenchmarkSubmit(b *testing.B) {
	const callers = 64
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		for _, accounts := range []int64{10_000, 10} {
			b.Run(fmt.Sprintf("%s/accounts=%d", engine, accounts), func(b *testing.B) {
				d, err := db.Open(b.Context(), dbtest.URL(b, engine), db.Options{})
				if err != nil {
					b.Fatal(err)
				}
				defer d.Close()
				l := ledger.New(ledger.Options{DB: d, Clock: clock.System{}})
				defer l.Close(b.Context())
				var posters sync.WaitGroup
				for i := range int64(callers) {
					posters.Go(func() {
						for user := i + 1; user <= accounts; user += callers {
							_, err := l.Submit(b.Context(), ledger.Move("deposit", strconv.FormatInt(user, 10), ledger.CustodyOf(usdt), available(user), 1e12))
							if err != nil {
								b.Error(err)
							}
						}
					})
				}
				posters.Wait()
				var next atomic.Int64
				took := make([][]time.Duration, callers)
				before := processorTime()
				b.ResetTimer()
				for i := range callers {
					posters.Go(func() {
						for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
							from, to := 1+rand.N(accounts), 1+rand.N(accounts-1)
							if to >= from {
								to++
							}
							began := time.Now()
							if _, err := l.Submit(b.Context(), ledger.Move("transfer", strconv.FormatInt(n, 10), available(from), available(to), 1)); err != nil {
								b.Error(err)
							}
							took[i] = append(took[i], time.Since(began))
						}
					})
				}
				posters.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
				b.ReportMetric(float64((processorTime()-before).Microseconds())/float64(b.N), "cpu-µs/op")
				all := slices.Concat(took...)
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
			})
		}
	}
}

// processorTime is what this process has used: PostgreSQL's own share is not in it.
func processorTime() time.Duration {
	var used syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
