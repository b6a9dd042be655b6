package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

// reverse reverses in a transaction of its own.
func (b book) reverse(id int64, reference string) (p ledger.Posted, err error) {
	err = b.db.RunTx(context.Background(), func(ctx context.Context, tx db.Tx) (err error) {
		p, err = b.Reverse(ctx, tx, id, reference, "a mistake")
		return err
	})
	return p, err
}

func TestATransactionIsReversedOnce(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		b.deposit(t, "d1", 1, 100)
		fees := ledger.RevenueOf("withdrawal", usdt)
		charged, err := b.post(ledger.Transaction{Kind: "fee", Reference: "f1", Lines: []ledger.Line{{Account: available(1), Amount: -30}, {Account: available(2), Amount: 25}, {Account: fees, Amount: 5}}})
		if err != nil {
			t.Fatal(err)
		}
		reversal, err := b.reverse(charged.ID, "r1")
		if err != nil {
			t.Fatal(err)
		}
		if got := []int64{b.balance(t, available(1)), b.balance(t, available(2)), b.balance(t, fees)}; got[0] != 100 || got[1] != 0 || got[2] != 0 {
			t.Error(got)
		}
		record, err := b.Transaction(t.Context(), d, charged.ID)
		if err != nil || record.ReversedBy != reversal.ID || len(record.Postings) != 3 {
			t.Error(record, err)
		}
		if named, err := b.TransactionNamed(t.Context(), d, ledger.Reversal, "r1"); err != nil || named.ID != reversal.ID || named.Reverses != charged.ID || named.Description != "a mistake" {
			t.Error(named, err)
		}
		if again, err := b.reverse(charged.ID, "r1"); err != nil || !again.Replayed || again.ID != reversal.ID {
			t.Error(again, err)
		}
		for _, tt := range []struct {
			id        int64
			reference string
			want      error
		}{{charged.ID, "r2", ledger.ErrAlreadyReversed}, {1 << 40, "r3", ledger.ErrNoTransaction}} {
			if _, err := b.reverse(tt.id, tt.reference); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", tt.reference, err)
			}
		}
		// Whatever claims to reverse a transaction has to undo just that one.
		bold := ledger.Move("transfer", "bold", available(1), available(2), 1)
		bold.Reverses = reversal.ID
		for door, post := range b.doors() {
			if _, err := post(bold); !errors.Is(err, ledger.ErrInvalid) {
				t.Errorf("%s: %v", door, err)
			}
		}
		if _, err := b.reverse(reversal.ID, "r4"); err != nil {
			t.Error(err)
		}
		// What has been spent cannot be taken back.
		if _, err := b.post(ledger.Move("transfer", "spent", available(2), available(3), 25)); err != nil {
			t.Error(err)
		}
		if _, err := b.reverse(charged.ID, "r5"); !errors.Is(err, ledger.ErrAlreadyReversed) {
			t.Error(err)
		}
		again, _ := b.TransactionNamed(t.Context(), d, ledger.Reversal, "r4")
		if _, err := b.reverse(again.ID, "r6"); !errors.Is(err, ledger.ErrInsufficient) {
			t.Error(err)
		}
		b.sound(t)
	})
}

// sound verifies the book.
func (b book) sound(t testing.TB) {
	t.Helper()
	report, err := b.Verify(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("%s: %s, transaction %d: %s", f.Check, f.Account, f.Transaction, f.Detail)
	}
}

// One unit a minute: the balance tells the minute.
func TestBalancesOfThePastAndStatements(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b, ctx := open(t, d), t.Context()
		const n = 37
		for i := range n {
			b.deposit(t, fmt.Sprint(i), 1, 1)
			b.clock.Advance(time.Minute)
		}
		for _, tt := range []struct {
			after time.Duration
			want  int64
		}{{-time.Microsecond, 0}, {0, 1}, {time.Minute - time.Microsecond, 1}, {time.Minute, 2}, {20*time.Minute + time.Second, 21}, {36 * time.Minute, n}, {time.Hour, n}} {
			if got, err := b.BalanceAt(ctx, d, available(1), morning.Add(tt.after)); err != nil || got != tt.want {
				t.Errorf("after %s: %d, want %d (%v)", tt.after, got, tt.want, err)
			}
		}
		if got, err := b.BalanceAt(ctx, d, available(9), morning); err != nil || got != 0 {
			t.Error(got, err)
		}

		for _, tt := range []struct {
			name             string
			period           ledger.Period
			opening, closing int64
			first            int64
			entries          int
			more             bool
		}{
			{"all", ledger.Period{}, 0, n, 1, n, false},
			{"first page", ledger.Period{Limit: 10}, 0, 10, 1, 10, true},
			{"last page", ledger.Period{Limit: 10, After: 30}, 30, n, 31, 7, false},
			{"just full", ledger.Period{Limit: 7, After: 30}, 30, n, 31, 7, false},
			{"from the fifth minute, before the eighth", ledger.Period{From: morning.Add(5 * time.Minute), To: morning.Add(8 * time.Minute)}, 5, 8, 6, 3, false},
			{"a page of it", ledger.Period{From: morning.Add(5 * time.Minute), To: morning.Add(8 * time.Minute), After: 6, Limit: 1}, 6, 7, 7, 1, true},
			{"before there was any", ledger.Period{To: morning}, 0, 0, 0, 0, false},
			{"after it all", ledger.Period{From: morning.Add(time.Hour)}, n, n, 0, 0, false},
			{"beyond the end", ledger.Period{After: 1000}, n, n, 0, 0, false},
			{"an end before its beginning", ledger.Period{From: morning.Add(8 * time.Minute), To: morning.Add(5 * time.Minute)}, 8, 8, 0, 0, false},
		} {
			s, err := b.Statement(ctx, d, available(1), tt.period)
			if err != nil || s.Opening != tt.opening || s.Closing != tt.closing || len(s.Entries) != tt.entries || s.More != tt.more {
				t.Errorf("%s: opening %d, closing %d, %d entries, more %t (%v)", tt.name, s.Opening, s.Closing, len(s.Entries), s.More, err)
			}
			if len(s.Entries) > 0 && (s.Entries[0].Sequence != tt.first || s.Entries[0].Reference != fmt.Sprint(tt.first-1) || !s.Entries[0].At.Equal(morning.Add(time.Duration(tt.first-1)*time.Minute))) {
				t.Errorf("%s: %+v", tt.name, s.Entries[0])
			}
		}
		if s, err := b.Statement(ctx, d, available(9), ledger.Period{}); err != nil || len(s.Entries) != 0 {
			t.Error(s, err)
		}

		// A replica whose clock is behind does not turn the order around.
		b.clock.Advance(-24 * time.Hour)
		b.deposit(t, "late", 1, 1)
		if got, err := b.BalanceAt(ctx, d, available(1), morning.Add(36*time.Minute)); err != nil || got != n+1 {
			t.Error(got, err)
		}
		b.sound(t)
	})
}
