package ledger_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

const usdt = "USDT-TRC20"

var morning = time.Date(2026, 8, 1, 9, 0, 0, 0, time.UTC)

func available(user int64) ledger.Account { return ledger.AvailableOf(user, usdt) }

// book is a ledger under test.
type book struct {
	*ledger.Ledger
	db    db.DB
	clock *clock.Fixed
}

func open(t *testing.T, d db.DB) book {
	t.Helper()
	fixed := clock.NewFixed(morning)
	l := ledger.New(ledger.Options{DB: d, Clock: fixed})
	return book{l, d, fixed}
}

// post posts through the door for callers with rows of their own.
func (b book) post(t ledger.Transaction) (p ledger.Posted, err error) {
	err = b.db.RunTx(context.Background(), func(ctx context.Context, tx db.Tx) (err error) {
		p, err = b.Post(ctx, tx, t)
		return err
	})
	return p, err
}

func (b book) deposit(t *testing.T, reference string, user, units int64) {
	t.Helper()
	if _, err := b.post(ledger.Move("deposit", reference, ledger.CustodyOf(usdt), available(user), units)); err != nil {
		t.Fatal(err)
	}
}

func (b book) balance(t *testing.T, a ledger.Account) int64 {
	t.Helper()
	n, err := b.Balance(t.Context(), b.db, a)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// doors are the two ways in: whatever holds for one holds for the other.
func (b book) doors() map[string]func(ledger.Transaction) (ledger.Posted, error) {
	return map[string]func(ledger.Transaction) (ledger.Posted, error){
		"Post":   b.post,
		"Submit": func(t ledger.Transaction) (ledger.Posted, error) { return b.Submit(context.Background(), t) },
	}
}

func TestBothDoors(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		for door, post := range b.doors() {
			t.Run(door, func(t *testing.T) {
				alice, bob := available(1), ledger.AvailableOf(2, door)
				alice.Asset = door
				deposit := ledger.Move("deposit", door, ledger.CustodyOf(door), alice, 100)
				if _, err := post(deposit); err != nil {
					t.Fatal(err)
				}
				transfer := ledger.Move("transfer", door, alice, bob, 60)
				p, err := post(transfer)
				if err != nil {
					t.Fatal(err)
				}
				want := []ledger.Posting{{Account: alice, Sequence: 2, Amount: -60, BalanceAfter: 40}, {Account: bob, Sequence: 1, Amount: 60, BalanceAfter: 60}}
				if diff := cmp.Diff(want, p.Postings); diff != "" || p.Replayed || !p.At.Equal(morning) || p.ID == 0 {
					t.Error(p, diff)
				}

				again, err := post(transfer)
				p.Replayed = true
				if diff := cmp.Diff(p, again); err != nil || diff != "" {
					t.Error(err, diff)
				}
				other := ledger.Move("transfer", door, alice, bob, 40)
				if _, err := post(other); !errors.Is(err, ledger.ErrReferenceUsed) {
					t.Error(err)
				}
				// Also if there would not be enough for it: who asks again must hear that it was done.
				other.Reference = "rest " + door
				if _, err := post(other); err != nil {
					t.Error(err)
				}
				if again, err = post(other); err != nil || !again.Replayed {
					t.Error(again, err)
				}

				other.Reference = "too much " + door
				_, err = post(other)
				var short *ledger.InsufficientError
				if !errors.Is(err, ledger.ErrInsufficient) || !errors.As(err, &short) || *short != (ledger.InsufficientError{Account: alice, Balance: 0, Amount: -40}) {
					t.Error(err)
				}
				rich := ledger.AvailableOf(3, door)
				if _, err := post(ledger.Move("deposit", "rich "+door, ledger.CustodyOf("other"+door), ledger.AvailableOf(3, "other"+door), 1)); err != nil {
					t.Error(err)
				}
				if _, err := post(ledger.Move("deposit", "max "+door, ledger.Account{Owner: ledger.Reward, Asset: door}, rich, math.MaxInt64)); err != nil {
					t.Error(err)
				}
				if _, err := post(ledger.Move("deposit", "beyond "+door, ledger.CustodyOf(door), rich, 1)); !errors.Is(err, ledger.ErrOverflow) {
					t.Error(err)
				}
				for a, want := range map[ledger.Account]int64{alice: 0, bob: 100, rich: math.MaxInt64, ledger.CustodyOf(door): -100} {
					if got := b.balance(t, a); got != want {
						t.Errorf("%s: %d, want %d", a, got, want)
					}
				}
			})
		}
	})
}
