package ledger_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

const hkd = "HKD"

// business makes a random transaction of the wallet's daily life. choose(n) is one of 0 … n-1.
func business(reference string, users int, choose func(n int) int) ledger.Transaction {
	user := func() int64 { return int64(1 + choose(users)) }
	units := int64(1 + choose(60))
	if choose(40) == 0 {
		units = math.MaxInt64 - int64(choose(3))
	}
	a, b := user(), user()
	held := ledger.HeldOf(a, usdt)
	switch choose(9) {
	case 0, 1:
		return ledger.Move("deposit", reference, ledger.CustodyOf(usdt), available(a), units)
	case 2:
		return ledger.Move("hold", reference, available(a), held, units)
	case 3:
		return ledger.Move("release", reference, held, available(a), units)
	case 4:
		return ledger.Move("withdrawal", reference, held, ledger.CustodyOf(usdt), units)
	case 5:
		fee := units/10 + 1
		return ledger.Transaction{Kind: "fee", Reference: reference, Metadata: `{"rate": "0.1"}`, Lines: []ledger.Line{
			{Account: available(a), Amount: -units}, {Account: available(a), Amount: -fee}, {Account: available(b), Amount: units}, {Account: ledger.RevenueOf("transfer", usdt), Amount: fee}}}
	case 6:
		stock := func(asset string) ledger.Account { return ledger.Account{Owner: ledger.Position, Asset: asset} }
		return ledger.Transaction{Kind: "swap", Reference: reference, Lines: []ledger.Line{
			{Account: available(a), Amount: -units}, {Account: stock(usdt), Amount: units}, {Account: stock(hkd), Amount: -units}, {Account: ledger.AvailableOf(a, hkd), Amount: units}}}
	case 7:
		// Nothing comes back from here: all that custody can take on, taken at the beginning, would leave nothing to do.
		return ledger.Move("suspense", reference, ledger.CustodyOf(usdt), ledger.SuspenseOf(usdt), min(units, 60))
	}
	return ledger.Move("transfer", reference, available(a), available(b), units)
}

// model is what a book must say, in the plainest way.
type model map[ledger.Account]int64

// apply gives the error that the lines must meet, nil if they are posted.
func (m model) apply(lines []ledger.Line) error {
	next := model{}
	for _, line := range lines {
		balance, seen := next[line.Account]
		if !seen {
			balance = m[line.Account]
		}
		after := balance + line.Amount
		if (line.Amount > 0) != (after > balance) {
			return ledger.ErrOverflow
		}
		owner := line.Account.Owner
		if line.Amount < 0 && after < 0 && (owner == ledger.User || owner == ledger.Revenue || owner == ledger.Suspense) {
			return ledger.ErrInsufficient
		}
		next[line.Account] = after
	}
	for a, balance := range next {
		m[a] = balance
	}
	return nil
}

// Random programs, one step after the other, against the model; after every step the whole book is verified. Some steps ask again for
// what was asked before, some reverse what was posted.
func TestRandomPrograms(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		programs := 0
		deadline := time.Now().Add(max(3*time.Second, soak()))
		rapid.Check(t, func(r *rapid.T) {
			if time.Now().After(deadline) {
				return
			}
			programs++
			b := open(t, d)
			for _, table := range []string{"ledger_postings", "ledger_transactions", "ledger_accounts"} {
				if _, err := d.Exec(context.Background(), `DELETE FROM `+table); err != nil {
					r.Fatal(err)
				}
			}
			m := model{}
			type done struct {
				t ledger.Transaction
				p ledger.Posted
			}
			var book []done
			reversed := map[int64]bool{}
			choose := func(n int) int { return rapid.IntRange(0, n-1).Draw(r, "choice") }
			for step := range rapid.IntRange(5, 25).Draw(r, "steps") {
				post := b.doors()[rapid.SampledFrom([]string{"Post", "Submit"}).Draw(r, "door")]
				tx := business(fmt.Sprint(step), 3, choose)
				again := -1
				if len(book) > 0 {
					switch choose(5) {
					case 0: // asked again
						again = choose(len(book))
						tx = book[again].t
					case 1: // reversed
						original := book[choose(len(book))]
						tx = ledger.Transaction{Kind: ledger.Reversal, Reference: tx.Reference, Reverses: original.p.ID}
						for _, line := range original.t.Lines {
							tx.Lines = append(tx.Lines, ledger.Line{Account: line.Account, Amount: -line.Amount})
						}
					}
				}
				p, err := post(tx)
				var want error
				switch {
				case again >= 0:
					if err != nil || !p.Replayed || p.ID != book[again].p.ID {
						r.Fatalf("%+v again: %+v %v", tx, p, err)
					}
				case tx.Reverses != 0 && reversed[tx.Reverses]:
					want = ledger.ErrAlreadyReversed
				default:
					want = m.apply(tx.Lines)
				}
				if !errors.Is(err, want) {
					r.Fatalf("%+v: %v, want %v", tx, err, want)
				}
				if err == nil && again < 0 {
					book = append(book, done{tx, p})
					if tx.Reverses != 0 {
						reversed[tx.Reverses] = true
					}
				}
				for a, balance := range m {
					if got, err := b.Balance(context.Background(), d, a); err != nil || got != balance {
						r.Fatalf("%s: %d, want %d (%v)", a, got, balance, err)
					}
				}
				report, err := b.Verify(context.Background(), nil)
				if err != nil || !report.OK() || report.Transactions != int64(len(book)) {
					r.Fatalf("%d transactions expected: %+v %v", len(book), report, err)
				}
			}
		})
		if programs < 3 {
			t.Errorf("only %d programs", programs)
		}
	})
}

// soak is how long the long variant of the tests may take; 0: the short one.
func soak() time.Duration {
	d, _ := time.ParseDuration(os.Getenv("CCP_TEST_SOAK"))
	return d
}

// faulty is a database that fails in three of ten transactions: with a serialization failure or a deadlock at its beginning, at a
// statement, or at the commit. Once in twenty a commit succeeds and an error is reported.
type faulty struct {
	db.DB
	lies     bool
	injected atomic.Int64
}

var errLost = errors.New("connection lost")

type faultyTx struct {
	db.Tx
	left *int // statements until the fault
	err  error
}

func (f *faulty) RunTx(ctx context.Context, fn func(context.Context, db.Tx) error) error {
	err := f.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		fault, left := &pgconn.PgError{Code: []string{"40001", "40P01"}[rand.N(2)]}, -1
		switch rand.N(10) {
		case 0:
			f.injected.Add(1)
			return fault
		case 1:
			f.injected.Add(1)
			left = rand.N(6)
		case 2:
			f.injected.Add(1)
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return fault
		}
		return fn(ctx, faultyTx{tx, &left, fault})
	})
	if err == nil && f.lies && rand.N(20) == 0 {
		return errLost
	}
	return err
}

func (f faultyTx) fails() bool {
	*f.left--
	return *f.left == -1
}

func (f faultyTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if f.fails() {
		return 0, f.err
	}
	return f.Tx.Exec(ctx, sql, args...)
}

func (f faultyTx) Query(ctx context.Context, sql string, args ...any) (db.Rows, error) {
	if f.fails() {
		return nil, f.err
	}
	return f.Tx.Query(ctx, sql, args...)
}

func (f faultyTx) Queue(ctx context.Context, read func(db.Rows) error, sql string, args ...any) error {
	if f.fails() {
		return f.err
	}
	return f.Tx.Queue(ctx, read, sql, args...)
}

func (f faultyTx) Flush(ctx context.Context) error {
	if f.fails() {
		return f.err
	}
	return f.Tx.Flush(ctx)
}

func (f faultyTx) QueryRow(ctx context.Context, sql string, args ...any) db.Row {
	if f.fails() {
		return failedRow{f.err}
	}
	return f.Tx.QueryRow(ctx, sql, args...)
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// storm makes business from many goroutines on a failing database and writes what became of each: posted or refused, its kind and its
// reference. Anything else than success or a refusal that makes sense is an error.
func storm(who string, d db.DB, steps int, out io.Writer) error {
	f := &faulty{DB: d, lies: true}
	l := ledger.New(ledger.Options{DB: f, Clock: clock.System{}})
	ctx := context.Background()
	defer l.Close(ctx)
	var mu sync.Mutex
	var problems []error
	for _, err := range together(24, func(worker int) error {
		for step := range steps {
			t := business(fmt.Sprintf("%s/%d/%d", who, worker, step), 5, rand.N[int])
			id := int64(0)
			// Everything is asked for once or several times, by whichever door.
			for range 1 + rand.N(2) {
				var p ledger.Posted
				var err error
				for try := 0; ; try++ {
					if rand.N(2) == 0 {
						p, err = l.Submit(ctx, t)
					} else {
						err = f.RunTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
							if p, err = l.Post(ctx, tx, t); err == nil && !p.Replayed {
								_, err = tx.Exec(ctx, `INSERT INTO business_rows (kind, reference) VALUES ($1, $2)`, string(t.Kind), t.Reference)
							}
							return err
						})
					}
					if !errors.Is(err, errLost) || try == 20 {
						break
					}
				}
				switch {
				case err == nil && id != 0 && p.ID != id:
					return fmt.Errorf("%s is transaction %d and %d", t.Reference, id, p.ID)
				case err == nil:
					id = p.ID
				case id != 0:
					return fmt.Errorf("%s was posted, and then: %w", t.Reference, err)
				case !errors.Is(err, ledger.ErrInsufficient) && !errors.Is(err, ledger.ErrOverflow):
					return fmt.Errorf("%s: %w", t.Reference, err)
				}
			}
			if id != 0 && rand.N(8) == 0 {
				err := f.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
					_, err := l.Reverse(ctx, tx, id, t.Reference, "")
					return err
				})
				if err != nil && !errors.Is(err, errLost) && !errors.Is(err, ledger.ErrInsufficient) && !errors.Is(err, ledger.ErrOverflow) {
					return fmt.Errorf("reversal of %s: %w", t.Reference, err)
				}
			}
			word := "refused"
			if id != 0 {
				word = "posted"
			}
			mu.Lock()
			fmt.Fprintf(out, "%s %s %s\n", word, t.Kind, t.Reference)
			mu.Unlock()
		}
		return nil
	}) {
		problems = append(problems, err)
	}
	if f.injected.Load() < int64(steps) {
		problems = append(problems, fmt.Errorf("only %d faults", f.injected.Load()))
	}
	return errors.Join(problems...)
}

// The second process of TestStorm: this test binary again, with its database in the environment.
func TestMain(m *testing.M) {
	address := os.Getenv("CCP_LEDGER_STORM")
	if address == "" {
		os.Exit(m.Run())
	}
	d, err := db.Open(context.Background(), address, db.Options{MaxConns: 16})
	if err == nil {
		var steps int
		_, _ = fmt.Sscan(os.Getenv("CCP_LEDGER_STEPS"), &steps)
		err = errors.Join(storm(os.Getenv("CCP_LEDGER_WHO"), d, steps, os.Stdout), d.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Two processes with many goroutines each, on one database that fails in a third of all transactions: nobody sees that, every
// success is in the book once, what was refused is not, and at each barrier the book is sound.
func TestStorm(t *testing.T) {
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			address := dbtest.URL(t, engine)
			d, err := db.Open(t.Context(), address, db.Options{MaxConns: 16})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if _, err := d.Exec(t.Context(), `CREATE TABLE business_rows (kind TEXT NOT NULL, reference TEXT NOT NULL, PRIMARY KEY (kind, reference))`); err != nil {
				t.Fatal(err)
			}
			b := open(t, d)
			const steps = 8
			deadline := time.Now().Add(soak())
			for barrier := 0; barrier < 1 || time.Now().Before(deadline); barrier++ {
				child := exec.CommandContext(t.Context(), os.Args[0])
				child.Env = append(os.Environ(), "CCP_LEDGER_STORM="+address, fmt.Sprint("CCP_LEDGER_STEPS=", steps), fmt.Sprint("CCP_LEDGER_WHO=child", barrier))
				var theirs, ours, complaints strings.Builder
				child.Stdout, child.Stderr = &theirs, &complaints
				if err := child.Start(); err != nil {
					t.Fatal(err)
				}
				if err := storm(fmt.Sprint("parent", barrier), d, steps, &ours); err != nil {
					t.Error(err)
				}
				if err := child.Wait(); err != nil {
					t.Error(err, complaints.String())
				}
				posted := 0
				lines := bufio.NewScanner(strings.NewReader(ours.String() + theirs.String()))
				for lines.Scan() {
					word, name, _ := strings.Cut(lines.Text(), " ")
					kind, reference, _ := strings.Cut(name, " ")
					_, err := b.TransactionNamed(t.Context(), d, ledger.Kind(kind), reference)
					if word == "posted" && err != nil || word == "refused" && !errors.Is(err, ledger.ErrNoTransaction) {
						t.Errorf("%s was %s: %v", name, word, err)
					}
					if word == "posted" {
						posted++
					}
				}
				if posted < steps {
					t.Errorf("only %d posted", posted)
				}
				// A business row is committed together with its transaction, or neither is.
				var alone int
				err := d.QueryRow(t.Context(), `SELECT COUNT(*) FROM business_rows b LEFT JOIN ledger_transactions t ON t.kind = b.kind AND t.reference = b.reference WHERE t.id IS NULL`).Scan(&alone)
				if err != nil || alone != 0 {
					t.Errorf("%d rows without their transaction: %v", alone, err)
				}
				b.sound(t)
				if t.Failed() {
					return
				}
			}
		})
	}
}
