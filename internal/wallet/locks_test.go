package wallet_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// onPostgres runs a test where transactions wait for each other's rows.
func onPostgres(t *testing.T, test func(t *testing.T, w *gateWorld)) {
	t.Helper()
	t.Parallel()
	address := dbtest.URL(t, db.PostgreSQL)
	d, err := db.Open(t.Context(), address, db.Options{MaxConns: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.Close()
		if n := deadlocks(t, address); n != 0 {
			t.Errorf("%d deadlocks", n)
		}
	})
	test(t, newGateWorld(t, d))
}

// deadlocks counts what PostgreSQL had to break off in a database, which nobody uses any more: its servers report when they end.
func deadlocks(t *testing.T, address string) (n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := db.Open(ctx, address, db.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for others := 1; others > 0; time.Sleep(10 * time.Millisecond) {
		err := d.QueryRow(ctx, `SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()`).Scan(&others)
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := d.QueryRow(ctx, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// waiting waits until so many transactions wait for rows.
func (w *world) waiting(n int) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%d to wait for a row", n), func() bool {
		return w.count(`SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == n
	})
}

// What takes the right to send away and a transfer come one after the other, also if both wait for the customer's password: the first to
// stand in line goes first, and what comes after a freeze, a closure or a revocation is refused.
func TestTransfersDoNotOutrunWhoStopsThem(t *testing.T) {
	for _, stop := range []struct {
		name   string
		act    func(ctx context.Context, w *world, c *customer) error
		status int
		code   string
	}{
		{"freeze", func(ctx context.Context, w *world, c *customer) error {
			_, err := w.people.FreezeAccount(ctx, operator, fmt.Sprint(c.id), "a test")
			return err
		}, http.StatusForbidden, "ACCOUNT_FROZEN"},
		{"close", func(ctx context.Context, w *world, c *customer) error {
			_, err := w.people.CloseAccount(ctx, operator, fmt.Sprint(c.id), "a test")
			return err
		}, http.StatusUnauthorized, "UNAUTHENTICATED"},
		{"revoke", func(ctx context.Context, w *world, c *customer) error {
			return w.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
				if _, err := w.people.LockCustomer(ctx, tx, c.id); err != nil {
					return err
				}
				if err := w.Revoke(ctx, tx, c.id); err != nil {
					return err
				}
				return w.people.SetKYCStatus(ctx, tx, c.id, "rejected")
			})
		}, http.StatusForbidden, "SENDING_BLOCKED"},
	} {
		for _, sentFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/transfer first %t", stop.name, sentFirst), func(t *testing.T) {
				onPostgres(t, func(t *testing.T, w *gateWorld) {
					amina, bo := w.customer(), w.customer()
					amina.grant("USDT-TRC20", "100")
					verify(w.world, amina)
					var answer reply
					var stopped error
					steps := []func(){
						func() { stopped = stop.act(context.Background(), w.world, amina) },
						func() { answer = amina.send(bo.id, "USDT-TRC20", "60") },
					}
					if sentFirst {
						steps[0], steps[1] = steps[1], steps[0]
					}
					var running sync.WaitGroup
					err := w.db.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
						var id int64
						if err := tx.QueryRow(ctx, `SELECT user_id FROM transaction_passwords WHERE user_id = $1`+db.ForUpdate(tx), amina.id).Scan(&id); err != nil {
							return err
						}
						for i, step := range steps {
							running.Go(step)
							w.waiting(i + 1)
						}
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
					running.Wait()
					if stopped != nil {
						t.Fatal(stopped)
					}
					if sentFirst {
						answer.into(t, &transferred{})
						bo.has("USDT-TRC20", "60")
					} else {
						answer.refused(t, stop.status, stop.code)
						bo.has("USDT-TRC20", "0")
					}
				})
			})
		}
	}
}

// A customer's transfers, withdrawals, changes of the transaction password, and operators' acts at the same moment: nobody waits in a circle.
func TestOneOrderOfLocks(t *testing.T) {
	onPostgres(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		amina, bo := w.customer(), w.customer()
		verify(w.world, amina)
		for _, c := range []*customer{amina, bo} {
			c.grant("USDT-TRC20", "1000000")
		}
		signedIn := identity.Customer{ID: amina.id, SessionID: amina.session, Locale: i18n.English}
		back := identity.Customer{ID: bo.id, SessionID: bo.session}
		digits := secret.NewText(pin)
		changed := make(chan struct{})
		var all sync.WaitGroup
		again := func(what string, act func(i int) error) {
			all.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-changed:
						return
					default:
					}
					if err := act(i); err != nil {
						t.Errorf("%s: %v", what, err)
						return
					}
				}
			})
		}
		for range 4 {
			again("transfer", func(int) error {
				_, err := w.Transfer(ctx, signedIn, wallet.Transfer{Recipient: bo.id, Currency: "USDT-TRC20", Amount: "0.01", Password: digits})
				return err
			})
		}
		again("transfer back", func(int) error {
			_, err := w.Transfer(ctx, back, wallet.Transfer{Recipient: amina.id, Currency: "USDT-TRC20", Amount: "0.01", Password: digits})
			return err
		})
		again("withdrawal", func(i int) error {
			w.exec(`UPDATE users SET withdrawals_blocked_until = NULL WHERE id = $1`, amina.id)
			_, err := w.RequestWithdrawal(ctx, signedIn, wallet.WithdrawalRequest{Currency: "USDT-TRC20", Amount: fmt.Sprintf("%d.%06d", 5+i/1e6, i%1e6), Address: out})
			if err != nil && strings.Contains(err.Error(), "WITHDRAWALS_BLOCKED") { // in between
				err = nil
			}
			return err
		})
		again("unfreeze", func(int) error {
			_, err := w.people.UnfreezeAccount(ctx, operator, fmt.Sprint(amina.id), "a test")
			return err
		})
		again("revoke", func(int) error {
			return w.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
				if _, err := w.people.LockCustomer(ctx, tx, amina.id); err != nil {
					return err
				}
				return w.Revoke(ctx, tx, amina.id)
			})
		})
		for n := range 8 {
			request, err := w.people.RequestTransactionPassword(ctx, signedIn, digits, digits)
			if err != nil {
				t.Error(err)
				break
			}
			code := ""
			w.eventually("the code by mail", func() bool {
				var codes []string
				for _, m := range w.post.to(amina.email) {
					if found := codeForm.FindStringSubmatch(m.Text); found != nil {
						codes = append(codes, found[1])
					}
				}
				if len(codes) == n+2 { // the first was that of the registration
					code = codes[n+1]
				}
				return code != ""
			})
			if err := w.people.CompleteTransactionPassword(ctx, signedIn, code, request.Token); err != nil {
				t.Error(err)
			}
			w.clock.Advance(15 * time.Minute)
		}
		close(changed)
		all.Wait()
	})
}

// A customer who is locked, because something is decided about them, can be sent money to, also if the wallet keeps nothing of them yet.
func TestRecipientWhoIsLocked(t *testing.T) {
	onPostgres(t, func(t *testing.T, w *gateWorld) {
		amina, bo := w.customer(), w.customer()
		amina.grant("USDT-TRC20", "1")
		w.exec(`DELETE FROM wallet_customers WHERE user_id = $1`, bo.id)
		err := w.db.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := w.people.LockCustomer(ctx, tx, bo.id)
			amina.send(bo.id, "USDT-TRC20", "1").into(t, &transferred{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
