package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/obs/logtest"
)

const patience = 20 * time.Second

type errand struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
}

func (errand) Kind() string { return "errand" }

type fixture struct {
	*jobs.Queue
	t   *testing.T
	db  db.DB
	log *logtest.Buffer
	reg *prometheus.Registry
}

// each runs a test on both engines with a queue whose only worker is work.
func each(t *testing.T, work func(context.Context, errand) error, test func(f *fixture)) {
	t.Helper()
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		f := &fixture{t: t, db: d, log: &logtest.Buffer{}, reg: prometheus.NewRegistry()}
		q, err := jobs.New(d, jobs.Options{Log: slog.New(slog.NewJSONHandler(f.log, nil)), Registerer: f.reg})
		if err != nil {
			t.Fatal(err)
		}
		f.Queue = q
		jobs.AddFunc(q, jobs.Providers, work)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if err := q.Stop(ctx); err != nil {
				t.Error(err)
			}
		})
		test(f)
	})
}

func (f *fixture) start() {
	f.t.Helper()
	if err := f.Start(context.WithoutCancel(f.t.Context())); err != nil {
		f.t.Fatal(err)
	}
}

// insert puts jobs into one transaction, which end decides on.
func (f *fixture) insert(end error, opts []jobs.Option, names ...string) {
	f.t.Helper()
	err := f.db.RunTx(f.t.Context(), func(ctx context.Context, tx db.Tx) error {
		for _, name := range names {
			if err := f.Insert(ctx, tx, errand{Name: name, Secret: "canary"}, opts...); err != nil {
				return err
			}
		}
		return end
	})
	if !errors.Is(err, end) {
		f.t.Fatal(err)
	}
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("waited in vain")
	}
	return v
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (f *fixture) jobsLeft() (n int) {
	f.t.Helper()
	if err := f.db.QueryRow(f.t.Context(), "SELECT COUNT(*) FROM river_job WHERE state <> 'completed'").Scan(&n); err != nil {
		f.t.Fatal(err)
	}
	return n
}

func TestAJobRunsExactlyIfItsTransactionCommits(t *testing.T) {
	var ran sync.Map // engine's database + name -> *atomic.Int32
	each(t, func(_ context.Context, e errand) error {
		n, _ := ran.LoadOrStore(e.Name, &atomic.Int32{})
		n.(*atomic.Int32).Add(1)
		return nil
	}, func(f *fixture) {
		name := func(s string) string { return string(f.db.Engine()) + s }
		times := func(s string) int32 {
			n, ok := ran.Load(name(s))
			if !ok {
				return 0
			}
			return n.(*atomic.Int32).Load()
		}
		f.insert(nil, nil, name("before the start"))
		f.start()
		if !f.Running() {
			f.t.Error("a started queue does not say so")
		}
		f.insert(errors.New("rolled back"), nil, name("rolled back"))
		// While the transaction is open nobody sees the job.
		err := f.db.RunTx(f.t.Context(), func(ctx context.Context, tx db.Tx) error {
			if err := f.Insert(ctx, tx, errand{Name: name("committed")}); err != nil {
				return err
			}
			var seen int
			if err := f.db.QueryRow(ctx, "SELECT COUNT(*) FROM river_job WHERE kind = 'errand' AND state <> 'completed' AND state <> 'running'").Scan(&seen); err != nil {
				return err
			}
			if seen > 1 { // at most the one from before the start
				f.t.Errorf("%d jobs are seen before the commit", seen)
			}
			return nil
		})
		if err != nil {
			f.t.Fatal(err)
		}
		f.insert(nil, nil, name("last"), name("last"))
		eventually(f.t, "all jobs are done", func() bool { return times("last") == 2 && f.jobsLeft() == 0 })
		for what, want := range map[string]int32{"before the start": 1, "committed": 1, "rolled back": 0, "last": 2} {
			if got := times(what); got != want {
				f.t.Errorf("%s: ran %d times, want %d", what, got, want)
			}
		}
	})
}

func TestAJobIsTriedAgainAfterAnErrorAndAfterAPanic(t *testing.T) {
	var mu sync.Mutex
	tries := map[string]int{}
	each(t, func(_ context.Context, e errand) error {
		mu.Lock()
		tries[e.Name]++
		n := tries[e.Name]
		mu.Unlock()
		switch {
		case n > 1:
			return nil
		case strings.HasSuffix(e.Name, "panics"):
			panic("spilled the milk")
		}
		return errors.New("did not work")
	}, func(f *fixture) {
		engine := string(f.db.Engine())
		f.insert(nil, nil, engine+" fails", engine+" panics")
		f.start()
		eventually(f.t, "both jobs are done", func() bool { return f.jobsLeft() == 0 })
		mu.Lock()
		for _, what := range []string{" fails", " panics"} {
			if n := tries[engine+what]; n != 2 {
				f.t.Errorf("%s: %d tries", engine+what, n)
			}
		}
		mu.Unlock()
		logged := f.log.String()
		for _, want := range []string{`"msg":"job failed"`, `"error":"did not work"`, `"msg":"job panicked"`, "spilled the milk", "jobs_test.go", `"kind":"errand"`, `"attempt":1`} {
			if !strings.Contains(logged, want) {
				f.t.Errorf("the log lacks %s", want)
			}
		}
		if strings.Contains(logged, "canary") {
			f.t.Errorf("the log shows a job's arguments:\n%s", logged)
		}
		for outcome, want := range map[string]uint64{"ok": 2, "error": 1, "panic": 1} {
			if got := samples(f.t, f.reg, outcome); got != want {
				f.t.Errorf("%d jobs measured with outcome %s, want %d", got, outcome, want)
			}
		}
		if problems, err := testutil.GatherAndLint(f.reg); err != nil || len(problems) > 0 {
			f.t.Errorf("metrics: %v, %v", problems, err)
		}
	})
}

func samples(t *testing.T, reg *prometheus.Registry, outcome string) uint64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "ccp_job_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "outcome" && l.GetValue() == outcome {
					return m.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return 0
}

func TestAttemptsAreBounded(t *testing.T) {
	var tries [2]atomic.Int32
	each(t, func(_ context.Context, e errand) error {
		tries[len(e.Name)%2].Add(1)
		return errors.New("never works")
	}, func(f *fixture) {
		name := map[db.Engine]string{db.SQLite: "aa", db.PostgreSQL: "a"}[f.db.Engine()]
		f.insert(nil, []jobs.Option{jobs.Attempts(1)}, name)
		f.start()
		eventually(f.t, "the job is given up", func() bool {
			var n int
			if err := f.db.QueryRow(f.t.Context(), "SELECT COUNT(*) FROM river_job WHERE state = 'discarded'").Scan(&n); err != nil {
				f.t.Fatal(err)
			}
			return n == 1
		})
		if n := tries[len(name)%2].Load(); n != 1 {
			f.t.Errorf("%d tries", n)
		}
	})
}

func TestStopWaitsForRunningJobs(t *testing.T) {
	type gate struct{ running, finish, finished chan struct{} }
	gates := map[string]gate{}
	for _, e := range []db.Engine{db.SQLite, db.PostgreSQL} {
		gates[string(e)] = gate{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	}
	each(t, func(ctx context.Context, e errand) error {
		g := gates[e.Name]
		close(g.running)
		<-g.finish
		if ctx.Err() != nil {
			t.Error("a running job was cancelled although there was time")
		}
		close(g.finished)
		return nil
	}, func(f *fixture) {
		g := gates[string(f.db.Engine())]
		f.insert(nil, nil, string(f.db.Engine()))
		f.start()
		receive(f.t, g.running)
		stopped := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			stopped <- f.Stop(ctx)
		}()
		eventually(f.t, "the queue says that it stops", func() bool { return !f.Running() })
		// A job of this moment is for the next start, or for another replica.
		f.insert(nil, nil, string(f.db.Engine()))
		select {
		case err := <-stopped:
			f.t.Fatalf("stopped with a job running: %v", err)
		default:
		}
		close(g.finish)
		if err := receive(f.t, stopped); err != nil {
			f.t.Error(err)
		}
		select {
		case <-g.finished:
		default:
			f.t.Error("stopped before the job was done")
		}
		if n := f.jobsLeft(); n != 1 {
			f.t.Errorf("%d jobs are left, want the one that came late", n)
		}
		if err := f.Stop(f.t.Context()); err != nil {
			f.t.Errorf("stopped twice: %v", err)
		}
	})
}

func TestStopCancelsJobsThatTakeTooLong(t *testing.T) {
	running := map[string]chan struct{}{string(db.SQLite): make(chan struct{}), string(db.PostgreSQL): make(chan struct{})}
	each(t, func(ctx context.Context, e errand) error {
		close(running[e.Name])
		<-ctx.Done()
		return ctx.Err()
	}, func(f *fixture) {
		f.insert(nil, nil, string(f.db.Engine()))
		f.start()
		receive(f.t, running[string(f.db.Engine())])
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		if err := f.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			f.t.Error(err)
		}
		if took := time.Since(start); took > patience {
			f.t.Errorf("stopping took %s", took)
		}
		// The job is not lost: it waits for its next try.
		if n := f.jobsLeft(); n != 1 {
			f.t.Errorf("%d jobs are left, want the cancelled one", n)
		}
	})
}

type letter struct{ Addressee string }

func (letter) Kind() string { return "letter" }

// Customers wait for their mail; it does not wait for providers, however many of them are silent.
func TestMailDoesNotWaitForProviders(t *testing.T) {
	release, held := map[string]chan struct{}{}, map[string]*atomic.Int32{}
	for _, e := range []db.Engine{db.SQLite, db.PostgreSQL} {
		release[string(e)], held[string(e)] = make(chan struct{}), &atomic.Int32{}
	}
	each(t, func(_ context.Context, e errand) error {
		held[e.Name].Add(1)
		<-release[e.Name]
		return nil
	}, func(f *fixture) {
		engine := string(f.db.Engine())
		sent := make(chan struct{})
		jobs.AddFunc(f.Queue, jobs.Mail, func(context.Context, letter) error { close(sent); return nil })
		workers := map[db.Engine]int{db.SQLite: 8, db.PostgreSQL: 20}[f.db.Engine()]
		f.insert(nil, nil, slices.Repeat([]string{engine}, 2*workers)...)
		f.start()
		defer close(release[engine])
		eventually(f.t, "every worker waits for a provider", func() bool { return int(held[engine].Load()) == workers })
		err := f.db.RunTx(f.t.Context(), func(ctx context.Context, tx db.Tx) error { return f.Insert(ctx, tx, letter{"amina"}) })
		if err != nil {
			f.t.Fatal(err)
		}
		receive(f.t, sent)
		if n := int(held[engine].Load()); n != workers {
			f.t.Errorf("%d jobs run beside %d workers", n, workers)
		}
	})
}

type unknownKind struct{}

func (unknownKind) Kind() string { return "nobody_does_this" }

func TestAJobNobodyDoesIsRefused(t *testing.T) {
	each(t, func(context.Context, errand) error { return nil }, func(f *fixture) {
		err := f.db.RunTx(f.t.Context(), func(ctx context.Context, tx db.Tx) error { return f.Insert(ctx, tx, unknownKind{}) })
		if err == nil || !strings.Contains(err.Error(), "nobody_does_this") {
			f.t.Errorf("inserted: %v", err)
		}
	})
}

// Replicas that start together, on tables that are there already or not.
func TestMigrateManyTimesAtOnce(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := jobs.Migrate(context.WithoutCancel(t.Context()), d); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		var n int
		if err := d.QueryRow(t.Context(), "SELECT COUNT(*) FROM river_job").Scan(&n); err != nil || n != 0 {
			t.Errorf("%d jobs, %v", n, err)
		}
	})
}
