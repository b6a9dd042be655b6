package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

// together runs n calls and collects their errors.
func together(n int, call func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			errs[i] = call(i)
		})
	}
	close(start)
	all.Wait()
	return errs
}

// 64 ask for the whole balance at once, through both doors: one gets it.
func TestTheWholeBalanceIsTakenOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		for round := range 5 {
			user := int64(100 + round)
			b.deposit(t, fmt.Sprint("d", round), user, 1000)
			got := 0
			for _, err := range together(64, func(i int) error {
				post := b.doors()["Submit"]
				if i%8 == 0 {
					post = b.doors()["Post"]
				}
				_, err := post(ledger.Move("transfer", fmt.Sprintf("%d/%d", round, i), available(user), available(int64(1000+i)), 1000))
				return err
			}) {
				switch {
				case err == nil:
					got++
				case !errors.Is(err, ledger.ErrInsufficient):
					t.Error(err)
				}
			}
			if got != 1 || b.balance(t, available(user)) != 0 {
				t.Errorf("%d got it, %d are left", got, b.balance(t, available(user)))
			}
		}
		b.sound(t)
	})
}

// The database is set back under a running program, and the id that it remembers of an account is another one's by now: nothing is booked
// to a stranger.
func TestDatabaseSetBack(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		for name, post := range b.doors() {
			b.deposit(t, name, 1, 5)
			for what, changes := range map[string][]string{
				"another one's": {`UPDATE ledger_accounts SET owner_id = 1000 + id WHERE owner_id = 1`},
				"exchanged": {`UPDATE ledger_accounts SET owner_id = 999 WHERE owner_id = 1`, `UPDATE ledger_accounts SET owner_id = 1 WHERE owner_id = 500`,
					`UPDATE ledger_accounts SET owner_id = 500 WHERE owner_id = 999`},
			} {
				b.deposit(t, name+what, 500, 5)
				for _, change := range changes {
					if _, err := d.Exec(t.Context(), change); err != nil {
						t.Fatal(err)
					}
				}
				before := b.balance(t, available(1))
				p, err := post(ledger.Move("late", name+what, ledger.CustodyOf(usdt), available(1), 7))
				if err != nil || p.Postings[1].BalanceAfter != before+7 || b.balance(t, available(1)) != before+7 {
					t.Errorf("%s, %s: %+v, %v; before %d, and now %d", name, what, p, err, before, b.balance(t, available(1)))
				}
			}
		}
	})
}

// Sixty-four submit one and the same transaction: it is there once, and all hear so.
func TestOneReferenceHasOneEffect(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		b.deposit(t, "d", 1, 5)
		var first atomic.Int64
		for _, err := range together(64, func(i int) error {
			p, err := b.doors()[[]string{"Post", "Submit"}[i%2]](ledger.Move("transfer", "same", available(1), available(2), 5))
			if err == nil && !p.Replayed {
				first.Add(1)
			}
			return err
		}) {
			if err != nil {
				t.Error(err)
			}
		}
		// One of other lines, over other accounts, which nothing but the reference keeps apart.
		errs := together(32, func(i int) error {
			_, err := b.Submit(context.Background(), ledger.Move("race", "one", ledger.CustodyOf(fmt.Sprint("X", i)), ledger.AvailableOf(9, fmt.Sprint("X", i)), 1))
			return err
		})
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, ledger.ErrReferenceUsed) {
				t.Error(err)
			}
		}
		if first.Load() != 1 || won != 1 || b.balance(t, available(2)) != 5 {
			t.Errorf("posted %d times; %d won; balance %d", first.Load(), won, b.balance(t, available(2)))
		}
		b.sound(t)
	})
}

// guard is a rule as a capability would have it: it counts in a table of its own.
type guard struct{}

var errGuard = errors.New("refused by the rule")

func (g *guard) Open(_ context.Context, tx db.Tx, proposals []*ledger.Proposal) (ledger.Round, error) {
	return round{tx, proposals}, nil
}

type round struct {
	tx        db.Tx
	proposals []*ledger.Proposal
}

func (r round) Judge(ctx context.Context) error {
	for _, p := range r.proposals {
		switch p.Subject {
		case "wrong password":
			if _, err := r.tx.Exec(ctx, `UPDATE rule_rows SET refused = refused + 1`); err != nil {
				return err
			}
			p.Refuse(errGuard)
		case "panic":
			panic("a mistake in a rule")
		case "broken":
			return errors.New("a rule without its table")
		}
	}
	return nil
}

func (round) Admit(p *ledger.Proposal) error {
	if p.Subject == "over the limit" {
		return errGuard
	}
	return nil
}

func (r round) Record(ctx context.Context, posted []*ledger.Proposal) error {
	for _, p := range posted {
		if p.Posted.ID == 0 || len(p.Posted.Postings) != 2 {
			return errors.New("what was posted is not known")
		}
	}
	_, err := r.tx.Exec(ctx, `UPDATE rule_rows SET posted = posted + $1`, len(posted))
	return err
}

func TestRules(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		for _, statement := range []string{`CREATE TABLE rule_rows (refused BIGINT NOT NULL, posted BIGINT NOT NULL)`, `INSERT INTO rule_rows VALUES (0, 0)`} {
			if _, err := d.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		b.Govern("transfer", &guard{})
		b.deposit(t, "d", 1, 1000)
		subjects := []string{"fine", "wrong password", "over the limit", "panic", "broken", "fine"}
		const each = 10
		errs := together(each*len(subjects), func(i int) error {
			_, err := b.Submit(context.Background(), ledger.Move("transfer", fmt.Sprint(i), available(1), available(2), 1), subjects[i%len(subjects)])
			return err
		})
		for i, err := range errs {
			subject := subjects[i%len(subjects)]
			switch subject {
			case "fine":
				if err != nil {
					t.Error(subject, err)
				}
			case "wrong password", "over the limit":
				if !errors.Is(err, errGuard) {
					t.Error(subject, err)
				}
			default:
				if err == nil || errors.Is(err, errGuard) {
					t.Error(subject, err)
				}
			}
		}
		// The refusals of the rule are committed, each once, although the rounds that others spoiled were run again.
		count := func() (refused, posted int) {
			if err := d.QueryRow(t.Context(), `SELECT refused, posted FROM rule_rows`).Scan(&refused, &posted); err != nil {
				t.Fatal(err)
			}
			return
		}
		if refused, posted := count(); refused != each || posted != 2*each || b.balance(t, available(2)) != 2*each {
			t.Errorf("%d refused, %d posted, balance %d", refused, posted, b.balance(t, available(2)))
		}
		// What is only replayed is not recorded again, and no rule stands in its way.
		p, err := b.Submit(t.Context(), ledger.Move("transfer", "0", available(1), available(2), 1), "over the limit")
		if _, posted := count(); err != nil || !p.Replayed || posted != 2*each {
			t.Error(p, err, posted)
		}
		b.sound(t)
	})
}

func TestSubmitStopsInOrder(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Submit(gone, ledger.Move("deposit", "gone", ledger.CustodyOf(usdt), available(1), 1)); !errors.Is(err, context.Canceled) || b.balance(t, available(1)) != 0 {
			t.Error(err)
		}
		var accepted atomic.Int64
		var submitters sync.WaitGroup
		began := make(chan struct{}, 32)
		for i := range 32 {
			submitters.Go(func() {
				for n := 0; ; n++ {
					_, err := b.Submit(context.Background(), ledger.Move("deposit", fmt.Sprint(i, "/", n), ledger.CustodyOf(usdt), available(1), 1))
					if errors.Is(err, ledger.ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					accepted.Add(1)
					if n == 0 {
						began <- struct{}{}
					}
				}
			})
		}
		for range 32 {
			<-began
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Fatal(err)
		}
		submitters.Wait()
		if got := b.balance(t, available(1)); got != accepted.Load() {
			t.Errorf("%d were told that it is done, %d are in the book", accepted.Load(), got)
		}
		b.sound(t)
	})
}

// A round that waits for an account which somebody else has locked does not hold up those who have nothing to do with it, however few.
func TestALockedAccountDoesNotHoldUpOthers(t *testing.T) {
	d, err := db.Open(t.Context(), dbtest.URL(t, db.PostgreSQL), db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	b := open(t, d)
	b.deposit(t, "d1", 1, 1000)
	b.deposit(t, "d2", 2, 1000)
	stuck := make(chan error, 1)
	err = d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := b.Post(ctx, tx, ledger.Move("transfer", "holder", available(1), available(3), 1)); err != nil {
			return err
		}
		go func() {
			_, err := b.Submit(context.Background(), ledger.Move("transfer", "stuck", available(1), available(4), 1))
			stuck <- err
		}()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		for waiting := false; !waiting; {
			if err := d.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waiting); err != nil {
				return err
			}
		}
		for i := range 3 {
			if _, err := b.Submit(ctx, ledger.Move("transfer", fmt.Sprint("free", i), available(2), available(5), 1)); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := <-stuck; err != nil {
		t.Error(err)
	}
	b.sound(t)
}

// An account that somebody else keeps locked, as a replica does that hangs, fails the transactions over it and no others.
func TestLockedAccount(t *testing.T) {
	t.Parallel()
	d, err := db.Open(t.Context(), dbtest.URL(t, db.PostgreSQL), db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	b := open(t, d)
	const others = 40
	for user := range int64(others + 1) {
		b.deposit(t, fmt.Sprint("d", user), user+1, 10)
	}
	move := func(i int, from int64) error {
		_, err := b.Submit(context.Background(), ledger.Move("transfer", fmt.Sprint(i), available(from), available(from+1000), 1))
		return err
	}
	if err := d.RunTx(t.Context(), func(ctx context.Context, holder db.Tx) error {
		var n int64
		if err := holder.QueryRow(ctx, `SELECT id FROM ledger_accounts WHERE owner_kind = 'user' AND owner_id = 1`+db.ForUpdate(holder)).Scan(&n); err != nil {
			return err
		}
		var first sync.WaitGroup
		first.Go(func() { // holds up one of the two rounds at a time
			if err := move(-1, 1); !db.IsLockTimeout(err) {
				t.Error(err)
			}
		})
		for n = 0; n == 0; time.Sleep(time.Millisecond) {
			if err := d.QueryRow(ctx, `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n); err != nil {
				return err
			}
		}
		for i, err := range together(others, func(i int) error {
			if i%20 == 0 {
				return move(i, 1)
			}
			return move(i, int64(i)+2)
		}) {
			if locked := i%20 == 0; locked != db.IsLockTimeout(err) || !locked && err != nil {
				t.Errorf("transfer %d: %v", i, err)
			}
		}
		first.Wait()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := move(others, 1); err != nil {
		t.Error(err)
	}
	b.sound(t)
}
