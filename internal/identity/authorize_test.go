package identity_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

const goodDigits = "482913"

// customer is the customer of the user's token.
func (w *world) customer(u *user) identity.Customer {
	w.t.Helper()
	ctx, _, err := w.CheckToken(context.Background(), u.access, api.SignatureOnly)
	if err != nil {
		w.t.Fatal(err)
	}
	return identity.CustomerFrom(ctx)
}

func (w *world) try(u *user, digits string) identity.TransferTry {
	w.t.Helper()
	return identity.TransferTry{Customer: w.customer(u), Password: secret.NewText(digits)}
}

// authorize judges tries in a transaction of their own.
func (w *world) authorize(tries ...identity.TransferTry) (list []identity.Authorization) {
	w.t.Helper()
	err := w.db.RunTx(context.Background(), func(ctx context.Context, tx db.Tx) (err error) {
		list, err = w.AuthorizeTransfers(ctx, tx, tries)
		return err
	})
	if err != nil || len(list) != len(tries) {
		w.t.Fatal(len(list), err)
	}
	return list
}

func (w *world) authorizeOne(u *user, digits string) error {
	w.t.Helper()
	return w.authorize(w.try(u, digits))[0].Err
}

func TestAuthorizeTransfers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		names := []string{"right", "wrong", "unset", "frozen", "closed", "gone", "old", "letters"}
		users := map[string]*user{}
		for _, name := range names {
			users[name] = w.signUp(name + "@example.com")
			if name != "unset" {
				w.setDigits(users[name], goodDigits)
			}
		}
		if _, err := w.FreezeAccount(ctx, operator, "frozen@example.com", "a test"); err != nil {
			t.Fatal(err)
		}
		gone := w.customer(users["gone"])
		closed := w.customer(users["closed"])
		old := w.customer(users["old"])
		if _, err := w.CloseAccount(ctx, operator, "closed@example.com", "a test"); err != nil {
			t.Fatal(err)
		}
		if err := w.LogOut(ctx, gone); err != nil {
			t.Fatal(err)
		}
		if _, err := w.db.Exec(ctx, `UPDATE sessions SET expires_at = $2 WHERE id = $1`, old.SessionID, w.clock.Now()); err != nil {
			t.Fatal(err)
		}
		right := secret.NewText(goodDigits)
		stranger := identity.Customer{ID: 999_999, SessionID: "none"}
		foreign := identity.Customer{ID: users["right"].id, SessionID: w.customer(users["wrong"]).SessionID}
		tries := []identity.TransferTry{
			{Customer: w.customer(users["wrong"]), Password: secret.NewText("482914")},
			{Customer: stranger, Password: right},
			w.try(users["right"], goodDigits),
			w.try(users["unset"], goodDigits),
			w.try(users["frozen"], goodDigits),
			{Customer: closed, Password: right},
			{Customer: gone, Password: right},
			{Customer: old, Password: right},
			{Customer: foreign, Password: right},
			w.try(users["letters"], "48291x"),
			w.try(users["letters"], ""),
			w.try(users["letters"], "４８２９１３"),
			w.try(users["right"], goodDigits), // again, in the same call
		}
		want := []error{identity.ErrTransactionPasswordWrong, identity.ErrUserNotFound, nil, identity.ErrTransactionPasswordUnset, identity.ErrAccountFrozen,
			api.ErrUnauthenticated, api.ErrUnauthenticated, api.ErrUnauthenticated, api.ErrUnauthenticated,
			identity.ErrTransactionPasswordForm, identity.ErrTransactionPasswordForm, identity.ErrTransactionPasswordForm, nil}
		for i, a := range w.authorize(tries...) {
			if !errors.Is(a.Err, want[i]) {
				t.Errorf("try %d: %v, want %v", i, a.Err, want[i])
			}
			if a.Err == nil && a.Locale != i18n.English {
				t.Errorf("try %d: %+v", i, a)
			}
		}
		// One wrong try was counted, and nothing else.
		if n := w.count(`SELECT SUM(failures) FROM transaction_passwords`); n != 1 {
			t.Errorf("%d failures counted", n)
		}
		if list := w.authorize(); len(list) != 0 {
			t.Error(list)
		}
	})
}

// The same customer many times in one call: judged one after the other, as if they had come apart.
func TestTriesOfOneCustomerInOneCall(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u, other := w.signUp("u@example.com"), w.signUp("other@example.com")
		w.setDigits(u, goodDigits)
		w.setDigits(other, goodDigits)
		sequence := "wwwwrwwwwwrww"
		var tries []identity.TransferTry
		for _, kind := range sequence {
			digits := goodDigits
			if kind == 'w' {
				digits = "000001"
			}
			tries = append(tries, w.try(u, digits), w.try(other, goodDigits))
		}
		got := ""
		for i, a := range w.authorize(tries...) {
			if i%2 == 1 {
				if a.Err != nil {
					t.Errorf("the other customer: %v", a.Err)
				}
				continue
			}
			p, _ := problem.Find(a.Err)
			switch {
			case a.Err == nil:
				got += "r"
			case p.Is(identity.ErrTransactionPasswordWrong):
				got += fmt.Sprint(p.Params["Left"])
			case p.Is(identity.ErrTransactionPasswordLocked):
				got += "L"
			default:
				t.Error(a.Err)
			}
		}
		if got != "4321r4321LLLL" {
			t.Errorf("%s became %s", sequence, got)
		}
		if n := w.count(`SELECT failures FROM transaction_passwords WHERE user_id = $1`, u.id); n != 5 {
			t.Errorf("%d failures", n)
		}
		w.idle()
		if n := w.mails(u.email, "Wrong transaction passwords"); n != 1 {
			t.Errorf("%d mails about the lock, want 1", n)
		}
	})
}

// mails counts the mails to an address whose subject has these words.
func (w *world) mails(address, words string) (n int) {
	for _, m := range w.post.to(address) {
		if strings.Contains(m.Subject, words) {
			n++
		}
	}
	return n
}

// Every fifth wrong password in a row locks, each time for twice as long; a right one, or a week of peace, ends the row.
func TestTransferLockGrows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		w.setDigits(u, goodDigits)
		c := w.customer(u)
		try := func(digits string) error {
			return w.authorize(identity.TransferTry{Customer: c, Password: secret.NewText(digits)})[0].Err
		}
		if _, err := w.db.Exec(t.Context(), `UPDATE sessions SET expires_at = $1`, start.Add(1000*time.Hour)); err != nil {
			t.Fatal(err)
		}
		locks := 0
		row := func(waits ...time.Duration) {
			t.Helper()
			for n, want := range waits {
				for left := 4; left > 0; left-- {
					p, _ := problem.Find(try("111112"))
					if p == nil || p.Code != "TRANSACTION_PASSWORD_WRONG" || p.Params["Left"] != left {
						t.Fatalf("lock %d, %d left: %+v", n, left, p)
					}
				}
				p, _ := problem.Find(try("111112"))
				if p == nil || p.Code != "TRANSACTION_PASSWORD_LOCKED" || p.RetryAfter != want {
					t.Fatalf("lock %d: %+v, want %v", n, p, want)
				}
				locks++
				w.clock.Advance(want - time.Second)
				if p, _ = problem.Find(try(goodDigits)); p == nil || p.Code != "TRANSACTION_PASSWORD_LOCKED" || p.RetryAfter != time.Second {
					t.Fatalf("a second before the end of lock %d: %+v", n, p)
				}
				w.clock.Advance(time.Second)
			}
		}
		const quarter = 15 * time.Minute
		row(quarter, 2*quarter, 4*quarter, 8*quarter, 16*quarter, 32*quarter, 64*quarter, 24*time.Hour, 24*time.Hour)
		if err := try(goodDigits); err != nil {
			t.Fatal(err)
		}
		row(quarter, 2*quarter)
		w.clock.Advance(7*24*time.Hour + time.Second)
		row(quarter)
		w.idle()
		if n := w.mails(u.email, "Wrong transaction passwords"); n != locks {
			t.Errorf("%d mails, want one for each of %d locks", n, locks)
		}
	})
}

// Hundreds of guesses at once, through two replicas, the right one among them: no more than five are answered.
func TestGuessingTransactionPasswordsInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("victim@example.com")
		w.setDigits(u, goodDigits)
		c := w.customer(u)
		replica := w.replica()
		var mu sync.Mutex
		answered := 0
		outcomes := parallel(300, func(i int) error {
			service := w.Service
			if i%2 == 1 {
				service = replica
			}
			digits := fmt.Sprintf("%06d", i)
			if i == 299 {
				digits = goodDigits
			}
			var list []identity.Authorization
			err := w.db.RunTx(context.Background(), func(ctx context.Context, tx db.Tx) (err error) {
				list, err = service.AuthorizeTransfers(ctx, tx, []identity.TransferTry{{Customer: c, Password: secret.NewText(digits)}})
				return err
			})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if !has(list[0].Err, identity.ErrTransactionPasswordLocked) {
				answered++
			}
			return list[0].Err
		})
		// If the right one was among the first five, it has begun the row anew.
		if outcomes[""] == 0 && (answered != 4 || outcomes["TRANSACTION_PASSWORD_LOCKED"] != 296) || outcomes[""] > 0 && answered > 9 {
			t.Errorf("%d answered: %v", answered, outcomes)
		}
		w.idle()
		if n := w.mails(u.email, "Wrong transaction passwords"); n != 1 {
			t.Errorf("%d mails", n)
		}
	})
}

// Groups of the same customers in opposite orders, from many callers: nobody waits for each other in a circle, and whatever is
// right is let through.
func TestAuthorizeInAnyOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		var forth, back []identity.TransferTry
		for i := range 6 {
			u := w.signUp(fmt.Sprintf("u%d@example.com", i))
			w.setDigits(u, goodDigits)
			forth = append(forth, w.try(u, goodDigits))
			back = append([]identity.TransferTry{w.try(u, goodDigits)}, back...)
		}
		runs := 0
		var mu sync.Mutex
		outcomes := parallel(40, func(i int) error {
			tries := forth
			if i%2 == 1 {
				tries = back
			}
			return w.db.RunTx(context.Background(), func(ctx context.Context, tx db.Tx) error {
				mu.Lock()
				runs++
				mu.Unlock()
				list, err := w.AuthorizeTransfers(ctx, tx, tries)
				for _, a := range list {
					err = errors.Join(err, a.Err)
				}
				return err
			})
		})
		if outcomes[""] != 40 || runs != 40 {
			t.Errorf("%v, %d runs for 40: transactions were in each other's way", outcomes, runs)
		}
	})
}

// What was counted stands also if the caller's transaction has to be run again.
func TestCountsOfATransactionThatIsRunAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		w.setDigits(u, goodDigits)
		try := w.try(u, "000001")
		broken := errors.New("killed")
		for _, fail := range []bool{true, false} {
			err := w.db.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				if _, err := w.AuthorizeTransfers(ctx, tx, []identity.TransferTry{try}); err != nil {
					return err
				}
				if fail {
					return broken
				}
				return nil
			})
			if fail != errors.Is(err, broken) {
				t.Fatal(err)
			}
		}
		if n := w.count(`SELECT failures FROM transaction_passwords`); n != 1 {
			t.Errorf("%d failures, want 1", n)
		}
	})
}

func TestRecipients(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		a, b := w.signUp("a@example.com"), w.signUp("b@example.com")
		if _, err := w.FreezeAccount(ctx, operator, b.email, "a test"); err != nil {
			t.Fatal(err)
		}
		err := w.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			found, err := w.Recipients(ctx, tx, []int64{b.id, 999_999, a.id, a.id, -1})
			if err != nil {
				return err
			}
			if len(found) != 2 || found[a.id].Status != identity.Active || found[b.id].Status != identity.Frozen ||
				!strings.HasPrefix(found[a.id].WalletRef, "CCP") || found[a.id].Locale != i18n.English {
				t.Errorf("%+v", found)
			}
			found, err = w.Recipients(ctx, tx, nil)
			if len(found) != 0 {
				t.Errorf("%+v", found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestOnCreated(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		fail := errors.New("hook failed")
		var broken bool
		w.OnCreated(func(ctx context.Context, tx db.Tx, userID int64) error {
			if broken {
				return fail
			}
			return w.Audit(ctx, tx, identity.AuditEntry{Operator: operator, Action: "test.created", UserID: userID, Subject: "user", Reason: "made"})
		})
		u := w.signUp("u@example.com")
		if n := w.count(`SELECT COUNT(*) FROM audit_log WHERE user_id = $1`, u.id); n != 1 {
			t.Errorf("the hook ran %d times", n)
		}
		broken = true
		w.post200("/auth/signup", fields{"email": "late@example.com"})
		w.post200("/auth/verify", fields{"email": "late@example.com", "otp_code": w.code("late@example.com", 1)})
		w.call("POST", "/auth/set-password", "", fields{"email": "late@example.com", "password": goodPassword}).refused(t, 500, "INTERNAL_ERROR")
		if n := w.count(`SELECT COUNT(*) FROM users`); n != 1 {
			t.Errorf("%d users: a customer was made without what belongs to them", n)
		}
		broken = false
		w.post200("/auth/set-password", fields{"email": "late@example.com", "password": goodPassword})
	})
}

// What a group of tries costs when all are right, which is the way of every transfer.
func BenchmarkAuthorizeTransfers(b *testing.B) {
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		b.Run(string(engine), func(b *testing.B) {
			ctx := context.Background()
			d, err := db.Open(ctx, dbtest.URL(b, engine), db.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			keyset, err := secret.NewKeyset()
			if err != nil {
				b.Fatal(err)
			}
			vault, err := secret.NewVault(keyset, secret.NewKey())
			if err != nil {
				b.Fatal(err)
			}
			s := identity.New(identity.Options{DB: d, Vault: vault, Clock: clock.NewFixed(start), Keys: []identity.TokenKey{firstKey}})
			const group = 64
			var tries []identity.TransferTry
			for i := range group {
				var id int64
				err := d.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
					name := fmt.Sprint("u", i)
					if err := tx.QueryRow(ctx, `INSERT INTO users (row_ref, email_index, email, password_hash, wallet_ref, referral_code, locale, created_at, updated_at)
						VALUES ($1, $2, $2, $1, $1, $1, 'en', $3, $3) RETURNING id`, name, []byte(name), start).Scan(&id); err != nil {
						return err
					}
					if _, err := tx.Exec(ctx, `INSERT INTO sessions (id, user_id, rotated_at, device, created_at, last_used_at, expires_at) VALUES ($1, $2, $3, '', $3, $3, $4)`,
						name, id, start, start.Add(time.Hour)); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, `INSERT INTO transaction_passwords (user_id, salt, password_hash, set_at) VALUES ($1, $2, $3, $4)`,
						id, []byte(name), vault.Hash("transaction password", fmt.Sprint(id), name, goodDigits), start)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
				tries = append(tries, identity.TransferTry{Customer: identity.Customer{ID: id, SessionID: fmt.Sprint("u", i)}, Password: secret.NewText(goodDigits)})
			}
			b.ResetTimer()
			for b.Loop() {
				err := d.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
					list, err := s.AuthorizeTransfers(ctx, tx, tries)
					for _, a := range list {
						err = errors.Join(err, a.Err)
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/group, "µs/transfer")
		})
	}
}
