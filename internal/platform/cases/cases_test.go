package cases_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

var beginning = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// book is a book with the transactions that its users bring.
type book struct {
	cases.Book
	t     *testing.T
	db    db.DB
	clock *clock.Fixed
}

func newBook(t *testing.T, d db.DB) book {
	c := clock.NewFixed(beginning)
	return book{cases.NewBook(d, c), t, d, c}
}

func (b book) in(act func(ctx context.Context, tx db.Tx) error) {
	b.t.Helper()
	if err := b.db.RunTx(b.t.Context(), act); err != nil {
		b.t.Error(err)
	}
}

func (b book) open(kind, subject, detail string) (isNew bool) {
	b.t.Helper()
	b.in(func(ctx context.Context, tx db.Tx) (err error) {
		isNew, err = b.Open(ctx, tx, cases.Case{Kind: kind, Subject: subject, Detail: detail})
		return err
	})
	return isNew
}

func (b book) close(subject string, kinds ...string) (closed int64) {
	b.t.Helper()
	b.in(func(ctx context.Context, tx db.Tx) (err error) {
		closed, err = b.Close(ctx, tx, subject, kinds...)
		return err
	})
	return closed
}

// listed are open cases as kind, subject, detail and age.
func (b book) listed(f cases.Filter) []string {
	b.t.Helper()
	list, err := b.List(b.t.Context(), f)
	if err != nil {
		b.t.Fatal(err)
	}
	out := []string{}
	for _, c := range list {
		out = append(out, fmt.Sprintf("%s/%s/%s/%s", c.Kind, c.Subject, c.Detail, b.clock.Now().Sub(c.OpenedAt)))
	}
	return out
}

func same[T any](t *testing.T, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestOneOpenCasePerKindAndSubject(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBook(t, d)
		if !b.open("wallet_suspense", "deposit 1", "unknown address") {
			t.Error("the first is not new")
		}
		b.clock.Advance(time.Hour)
		if b.open("wallet_suspense", "deposit 1", "again") {
			t.Error("the second is new")
		}
		if !b.open("wallet_suspense", "deposit 2", "other subject") || !b.open("ledger_difference", "deposit 1", "other kind") {
			t.Error("another kind or subject is taken for the same case")
		}
		same(t, []string{"wallet_suspense/deposit 1/unknown address/1h0m0s", "wallet_suspense/deposit 2/other subject/0s",
			"ledger_difference/deposit 1/other kind/0s"}, b.listed(cases.Filter{}))

		// What is closed may come again, and be closed again.
		for range 2 {
			if n := b.close("deposit 2"); n != 1 {
				t.Errorf("%d closed", n)
			}
			if !b.open("wallet_suspense", "deposit 2", "back") {
				t.Error("a case that came again is not new")
			}
		}
	})
}

// However many find the same thing at once, one case is opened, and one of them knows that it is new.
func TestOpenedAndClosedAtOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBook(t, d)
		var fresh, closed atomic.Int64
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				if b.open("wallet_suspense", "deposit 1", "x") {
					fresh.Add(1)
				}
			})
		}
		all.Wait()
		list, err := b.List(t.Context(), cases.Filter{})
		if err != nil || len(list) != 1 || fresh.Load() != 1 {
			t.Fatalf("%d cases, %d times new, %v", len(list), fresh.Load(), err)
		}
		for range 16 {
			all.Go(func() {
				err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
					_, err := b.CloseByID(ctx, tx, list[0].ID)
					return err
				})
				if err == nil {
					closed.Add(1)
				} else if !errors.Is(err, cases.ErrNoCase) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if closed.Load() != 1 {
			t.Errorf("closed %d times", closed.Load())
		}
	})
}

// What is kept open is one case whose detail is the newest, also if it is closed meanwhile.
func TestKeptUpToDate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBook(t, d)
		keep := func(subject, detail string) {
			t.Helper()
			b.in(func(ctx context.Context, tx db.Tx) error {
				return b.Keep(ctx, tx, cases.Case{Kind: "wallet_difference", Subject: subject, Detail: detail})
			})
		}
		keep("BTC", "1 less")
		b.open("other", "BTC", "x")
		b.clock.Advance(time.Hour)
		keep("BTC", "2 less")
		same(t, []string{"wallet_difference/BTC/2 less/1h0m0s", "other/BTC/x/1h0m0s"}, b.listed(cases.Filter{}))
		b.close("BTC")
		keep("BTC", "3 less")
		same(t, []string{"wallet_difference/BTC/3 less/0s"}, b.listed(cases.Filter{}))

		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				if i%4 == 0 {
					b.close("BTC")
				}
				keep("BTC", "again")
			})
		}
		all.Wait()
		same(t, []string{"wallet_difference/BTC/again/0s"}, b.listed(cases.Filter{}))
	})
}

// A case that is locked is neither closed nor kept by another before what was looked at meanwhile is settled.
func TestLocked(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBook(t, d)
		lock := func(kind, subject string) (open bool) {
			b.in(func(ctx context.Context, tx db.Tx) (err error) {
				open, err = b.Lock(ctx, tx, kind, subject)
				return err
			})
			return open
		}
		b.open("a", "1", "x")
		if !lock("a", "1") || lock("a", "2") || lock("b", "1") {
			t.Error("another case is locked than the open one")
		}
		// Things wait for somebody, and the case is open as long as any does: each that comes keeps it, whoever takes the last one closes it.
		b.in(func(ctx context.Context, tx db.Tx) error {
			_, err := tx.Exec(ctx, `CREATE TABLE waiting (n INTEGER NOT NULL)`)
			return err
		})
		come := func(n int) {
			b.in(func(ctx context.Context, tx db.Tx) error {
				if _, err := tx.Exec(ctx, `INSERT INTO waiting (n) VALUES ($1)`, n); err != nil {
					return err
				}
				return b.Keep(ctx, tx, cases.Case{Kind: "a", Subject: "1"})
			})
		}
		settle := func(n int) {
			b.in(func(ctx context.Context, tx db.Tx) error {
				if _, err := tx.Exec(ctx, `DELETE FROM waiting WHERE n = $1`, n); err != nil {
					return err
				}
				if _, err := b.Lock(ctx, tx, "a", "1"); err != nil {
					return err
				}
				var left int
				if err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM waiting`).Scan(&left); err != nil || left > 0 {
					return err
				}
				_, err := b.Close(ctx, tx, "1", "a")
				return err
			})
		}
		come(0)
		for n := range 100 {
			var both sync.WaitGroup
			both.Go(func() { come(n + 1) })
			both.Go(func() { settle(n) })
			both.Wait()
			if !lock("a", "1") {
				t.Fatalf("%d waits without a case", n+1)
			}
		}
		settle(100)
		if lock("a", "1") {
			t.Error("none waits, and the case is open")
		}
	})
}

func TestClosing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBook(t, d)
		fill := func() {
			for _, kind := range []string{"a", "b", "c"} {
				b.open(kind, "pokepay", "x")
			}
			b.open("a", "udun", "x")
		}
		fill()
		if n := b.close("pokepay", "a", "c"); n != 2 {
			t.Errorf("%d closed", n)
		}
		same(t, []string{"b/pokepay/x/0s", "a/udun/x/0s"}, b.listed(cases.Filter{}))
		fill()
		if n := b.close("pokepay"); n != 3 {
			t.Errorf("%d closed", n)
		}
		if n := b.close("pokepay"); n != 0 {
			t.Errorf("%d closed again", n)
		}
		same(t, []string{"a/udun/x/0s"}, b.listed(cases.Filter{}))

		// A transaction that fails closes nothing, and opens nothing.
		failed := errors.New("failed")
		if err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if _, err := b.Close(ctx, tx, "udun"); err != nil {
				return err
			}
			if _, err := b.Open(ctx, tx, cases.Case{Kind: "a", Subject: "z"}); err != nil {
				return err
			}
			return failed
		}); !errors.Is(err, failed) {
			t.Error(err)
		}
		same(t, []string{"a/udun/x/0s"}, b.listed(cases.Filter{}))
	})
}

func TestCloseByIDReturnsTheCase(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBook(t, d)
		b.open("a", "1", "why")
		list, err := b.List(t.Context(), cases.Filter{})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		b.clock.Advance(time.Minute)
		b.in(func(ctx context.Context, tx db.Tx) error {
			c, err := b.CloseByID(ctx, tx, list[0].ID)
			same(t, cases.Case{ID: list[0].ID, Kind: "a", Subject: "1", Detail: "why", OpenedAt: beginning}, c)
			return err
		})
		var closed time.Time
		if err := d.QueryRow(t.Context(), `SELECT closed_at FROM operator_cases WHERE id = $1`, list[0].ID).Scan(&closed); err != nil || !closed.Equal(beginning.Add(time.Minute)) {
			t.Errorf("closed at %v, %v", closed, err)
		}
	})
}

func TestListAndCount(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBook(t, d)
		same(t, []string{}, b.listed(cases.Filter{}))
		for i := range 4 {
			b.open("a", fmt.Sprint(i), "")
		}
		b.open("b", "0", "")
		b.open("c", "0", "")
		b.close("1")
		same(t, []string{"b/0//0s", "c/0//0s"}, b.listed(cases.Filter{Kinds: []string{"b", "c"}}))
		same(t, []string{"a/0//0s", "a/2//0s"}, b.listed(cases.Filter{Kinds: []string{"a"}, Limit: 2}))
		list, err := b.List(t.Context(), cases.Filter{Limit: 2})
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		same(t, []string{"a/3//0s", "b/0//0s", "c/0//0s"}, b.listed(cases.Filter{After: list[1].ID}))
		counted, err := b.Count(t.Context())
		if err != nil {
			t.Error(err)
		}
		same(t, map[string]int64{"a": 3, "b": 1, "c": 1}, counted)
	})
}
