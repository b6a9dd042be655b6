package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// as makes a request of a customer, which must succeed.
func (w *world) as(u *user, method, path string, body any) reply {
	w.t.Helper()
	r := w.call(method, path, u.access, body)
	if r.status != http.StatusOK || r.body["status"] != "success" || r.body["otp"] != nil {
		w.t.Fatalf("%s %s: %d %s", method, path, r.status, r.raw)
	}
	return r
}

// refusedTo makes a request of a customer, which must be refused.
func (w *world) refusedTo(u *user, path string, body any, status int, code string) reply {
	w.t.Helper()
	r := w.call(http.MethodPost, path, u.access, body)
	r.refused(w.t, status, code)
	return r
}

const (
	requestDigits  = "/user/transaction-password/request"
	completeDigits = "/user/transaction-password/complete"
	digitsStatus   = "/user/transaction-password/status"
	requestEmail   = "/user/change-email/request"
	verifyEmail    = "/user/change-email/verify-new"
	completeEmail  = "/user/change-email/complete"
	changePassword = "/user/change-password"
)

// nextCode is the next code that is mailed to the customer.
func (w *world) nextCode(u *user) string {
	w.t.Helper()
	u.codes++
	return w.code(u.email, u.codes)
}

func digits(password string) fields {
	return fields{"transaction_password": password, "confirm_transaction_password": password}
}

// askDigits requests a transaction password and returns what completes it.
func (w *world) askDigits(u *user, password string) fields {
	w.t.Helper()
	r := w.as(u, "POST", requestDigits, digits(password))
	return fields{"temp_hash": r.text("temp_hash"), "otp_code": w.nextCode(u)}
}

// blockedUntil is what the customer sees of the block, at both places.
func (w *world) blockedUntil(u *user) string {
	w.t.Helper()
	status := w.as(u, "GET", digitsStatus, nil).text("withdrawal_blocked_until")
	person := w.as(u, "GET", "/user/profile", nil).body["user"].(map[string]any)
	if shown, _ := person["withdrawal_blocked_until"].(string); shown != status {
		w.t.Errorf("the profile says %q, the status %q", shown, status)
	}
	return status
}

func (w *world) blockedForADay(u *user, what string) {
	w.t.Helper()
	if got, want := w.blockedUntil(u), w.clock.Now().Add(24*time.Hour).Format(time.RFC3339); got != want {
		w.t.Errorf("%s: withdrawals are blocked until %q, want %s", what, got, want)
	}
}

func TestTransactionPassword(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		if r := w.as(u, "GET", digitsStatus, nil); r.body["is_set"] != false || r.text("message") == "" {
			t.Error(r.raw)
		}
		if err := w.authorizeOne(u, goodDigits); !has(err, identity.ErrTransactionPasswordUnset) {
			t.Error(err)
		}
		r := w.as(u, "POST", requestDigits, digits(goodDigits))
		if r.text("email") != u.email || r.text("temp_hash") == "" || r.text("next_step") != "verify_transaction_password_otp" || r.text("message") == "" {
			t.Error(r.raw)
		}
		if strings.Contains(r.raw, goodDigits) || w.as(u, "GET", digitsStatus, nil).body["is_set"] != false {
			t.Error("before the code was right")
		}
		first := fields{"temp_hash": r.text("temp_hash"), "otp_code": w.nextCode(u)}
		if r := w.as(u, "POST", completeDigits, first); r.text("message") == "" {
			t.Error(r.raw)
		}
		if r := w.as(u, "GET", digitsStatus, nil); r.body["is_set"] != true {
			t.Error(r.raw)
		}
		// The first setting is no change.
		if until := w.blockedUntil(u); until != "" {
			t.Errorf("blocked until %s", until)
		}
		if err := w.authorizeOne(u, goodDigits); err != nil {
			t.Error(err)
		}
		// A change lifts a lock, and blocks withdrawals.
		for range 5 {
			_ = w.authorizeOne(u, "000001")
		}
		if err := w.authorizeOne(u, goodDigits); !has(err, identity.ErrTransactionPasswordLocked) {
			t.Error(err)
		}
		w.as(u, "POST", completeDigits, w.askDigits(u, "739164"))
		if err := w.authorizeOne(u, "739164"); err != nil {
			t.Error(err)
		}
		if err := w.authorizeOne(u, goodDigits); !has(err, identity.ErrTransactionPasswordWrong) {
			t.Error(err)
		}
		w.blockedForADay(u, "a change")
		w.idle()
		if w.mails(u.email, "transaction password is set") != 1 || w.mails(u.email, "transaction password was changed") != 1 {
			t.Errorf("%d, %d mails", w.mails(u.email, "transaction password is set"), w.mails(u.email, "transaction password was changed"))
		}
		for _, m := range w.post.to(u.email) {
			if strings.Contains(m.Subject, "was changed") && !strings.Contains(m.Text, "withdrawals are not possible until 2026-03-02 09:00 UTC") {
				t.Error(m.Text)
			}
		}
		w.clock.Advance(24*time.Hour - time.Second)
		u.take(w.post200("/auth/refresh", fields{"refresh_token": u.refresh}))
		if w.blockedUntil(u) == "" {
			t.Error("a second too early")
		}
		w.clock.Advance(time.Second)
		if until := w.blockedUntil(u); until != "" {
			t.Errorf("still blocked until %s", until)
		}
	})
}

func TestTransactionPasswordRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u, other := w.signUp("u@example.com"), w.signUp("other@example.com")
		for _, path := range []string{requestDigits, completeDigits} {
			w.call("POST", path, "", digits(goodDigits)).refused(t, 401, "UNAUTHENTICATED")
		}
		for _, password := range []string{"", "48291", "4829131", "48291x", "４８２９１３", " 48291", "+48291", "٤٨٢٩١٣", "48.913"} {
			w.refusedTo(u, requestDigits, digits(password), 400, "TRANSACTION_PASSWORD_FORM_INVALID")
		}
		w.refusedTo(u, requestDigits, nil, 422, "MALFORMED_REQUEST")
		w.refusedTo(u, requestDigits, fields{"transaction_password": goodDigits}, 400, "PASSWORDS_DIFFER")
		w.refusedTo(u, requestDigits, fields{"transaction_password": goodDigits, "confirm_transaction_password": "482914"}, 400, "PASSWORDS_DIFFER")
		for _, password := range []string{"000000", "123456", "111111", "999999", "654321", "012345", "456789", "567890", "987654", "210987"} {
			w.refusedTo(u, requestDigits, digits(password), 400, "TRANSACTION_PASSWORD_WEAK")
		}
		w.idle()
		if n := len(w.post.to(u.email)); n != 1 {
			t.Errorf("%d mails: what was refused has sent one", n)
		}
		w.refusedTo(u, completeDigits, fields{"otp_code": "12345", "temp_hash": "x"}, 400, "REQUEST_UNKNOWN")

		old := w.askDigits(u, goodDigits)
		w.clock.Advance(18 * time.Second)
		if r := w.refusedTo(u, requestDigits, digits(goodDigits), 429, "RESEND_TOO_SOON"); r.header.Get("Retry-After") != "42" {
			t.Error(r.header)
		}
		w.clock.Advance(42 * time.Second)
		newer := w.askDigits(u, "739164")
		foreign := w.askDigits(other, goodDigits)
		with := func(body fields, key string, value any) fields {
			return fields{"temp_hash": body["temp_hash"], "otp_code": body["otp_code"], key: value}
		}
		w.refusedTo(u, completeDigits, with(newer, "temp_hash", old["temp_hash"]), 400, "REQUEST_UNKNOWN") // the newest wins
		w.refusedTo(u, completeDigits, with(newer, "temp_hash", foreign["temp_hash"]), 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completeDigits, with(newer, "temp_hash", nil), 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completeDigits, foreign, 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completeDigits, with(newer, "otp_code", ""), 400, "CODE_REQUIRED")
		w.refusedTo(u, completeDigits, with(newer, "otp_code", "1234"), 400, "CODE_FORM_INVALID")
		w.refusedTo(u, completeDigits, with(newer, "otp_code", wrong(newer["otp_code"].(string))), 400, "CODE_INVALID")
		w.clock.Advance(10 * time.Minute)
		w.refusedTo(u, completeDigits, newer, 400, "REQUEST_UNKNOWN") // too late
		if n := w.count(`SELECT COUNT(*) FROM transaction_passwords`); n != 0 {
			t.Errorf("%d passwords were set", n)
		}
		// The code is good for nothing else, and another step's for nothing here.
		latest := w.askDigits(u, goodDigits)
		for _, path := range []string{"/auth/verify-login-otp", "/auth/verify-forgot-password-otp"} {
			w.refusedPost(path, fields{"email": u.email, "otp_code": latest["otp_code"]}, 400, "CODE_INVALID")
		}
		w.clock.Advance(2 * time.Minute)
		w.post200("/auth/resend-otp", fields{"email": u.email}) // of codes of sign-up, login and reset none is pending
		w.as(u, "POST", completeDigits, latest)

		if _, err := w.FreezeAccount(t.Context(), operator, u.email, "a test"); err != nil {
			t.Fatal(err)
		}
		w.refusedTo(u, requestDigits, digits(goodDigits), 403, "ACCOUNT_FROZEN")
		w.refusedTo(u, completeDigits, latest, 403, "ACCOUNT_FROZEN")
		w.as(u, "GET", digitsStatus, nil)
	})
}

// A call whose answer was lost comes again: the same answer, and nothing happens twice.
func TestCompletingTwice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("u@example.com")
		w.setDigits(u, goodDigits)
		body := w.askDigits(u, "739164")
		outcomes := parallel(64, func(int) error {
			return w.CompleteTransactionPassword(ctx, w.customer(u), body["otp_code"].(string), secret.NewText(body["temp_hash"].(string)))
		})
		if outcomes[""] != 64 {
			t.Errorf("%v", outcomes)
		}
		w.blockedForADay(u, "a change")
		w.clock.Advance(time.Minute)
		w.as(u, "POST", completeDigits, body)
		if until := w.blockedUntil(u); until != start.Add(24*time.Hour).Format(time.RFC3339) {
			t.Errorf("the block was prolonged to %s", until)
		}
		w.refusedTo(u, completeDigits, fields{"temp_hash": body["temp_hash"], "otp_code": wrong(body["otp_code"].(string))}, 400, "CODE_INVALID")
		w.idle()
		if n := w.mails(u.email, "was changed"); n != 1 {
			t.Errorf("%d mails, want 1", n)
		}
		if n := w.count(`SELECT failures FROM guess_counters WHERE failures > 0`); n != 1 {
			t.Errorf("%d failures, want the one of the wrong code", n)
		}
	})
}

// Wrong codes at once: five tries for a code, ten for a customer, then a lock, in which nothing is sent either.
func TestGuessingCodesOfChanges(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("u@example.com")
		c := w.customer(u)
		body := w.askDigits(u, goodDigits)
		right, token := body["otp_code"].(string), secret.NewText(body["temp_hash"].(string))
		outcomes := parallel(200, func(int) error { return w.CompleteTransactionPassword(ctx, c, wrong(right), token) })
		if outcomes["CODE_INVALID"] != 9 || outcomes["CODE_LOCKED"] != 191 {
			t.Errorf("%v", outcomes)
		}
		if err := w.CompleteTransactionPassword(ctx, c, right, token); !has(err, identity.ErrCodeLocked) {
			t.Errorf("the right code during the lock: %v", err)
		}
		w.clock.Advance(2 * time.Minute)
		w.refusedTo(u, requestDigits, digits(goodDigits), 429, "CODE_LOCKED")
		w.refusedTo(u, requestEmail, fields{"new_email": "new@example.com"}, 429, "CODE_LOCKED")
		// Whoever guesses here does not lock the customer out of signing in.
		w.logIn(u)
		w.clock.Advance(15 * time.Minute)
		w.as(u, "POST", completeDigits, w.askDigits(u, goodDigits))
	})
}

// brittle is a queue that takes nothing on demand: as if the process died after everything else of a transaction.
type brittle struct {
	jobs.Inserter
	broken atomic.Bool
}

func (b *brittle) Insert(ctx context.Context, tx db.Tx, args river.JobArgs, opts ...jobs.Option) error {
	if b.broken.Load() {
		return errors.New("killed")
	}
	return b.Inserter.Insert(ctx, tx, args, opts...)
}

// Nothing of a step is left that did not come to its end, and the same call once more does it.
func TestKilledInBetween(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		queue := &brittle{}
		w := newWorld(t, d, func(o *identity.Options) {
			queue.Inserter = o.Jobs
			o.Jobs = queue
		})
		u := w.signUp("u@example.com")
		w.setDigits(u, goodDigits)
		tables := []string{"users", "sessions", "one_time_codes", "transaction_passwords", "pending_transaction_passwords", "contact_changes", "guess_counters"}
		state := func() (all string) {
			for _, table := range tables {
				all += w.dump(table)
			}
			return all
		}
		again := func(path string, body any) reply {
			t.Helper()
			before := state()
			queue.broken.Store(true)
			w.refusedTo(u, path, body, 500, "INTERNAL_ERROR")
			queue.broken.Store(false)
			// The counter of guesses is made before the step begins to count.
			if after := state(); strings.ReplaceAll(after, "\n", "") != strings.ReplaceAll(before, "\n", "") && path != changePassword {
				t.Errorf("%s has left something behind", path)
			}
			return w.as(u, "POST", path, body)
		}
		r := again(requestDigits, digits("739164"))
		again(completeDigits, fields{"temp_hash": r.text("temp_hash"), "otp_code": w.nextCode(u)})
		again(requestEmail, fields{"new_email": "new@example.com"})
		again(verifyEmail, fields{"new_email": "new@example.com", "otp_code": w.code("new@example.com", 1)})
		again(completeEmail, fields{"new_email": "new@example.com", "old_email_otp": w.nextCode(u)})
		again(changePassword, fields{"old_password": goodPassword, "new_password": "Quiet-Mountains8?", "confirm_password": "Quiet-Mountains8?"})
		w.idle()
		for subject, address := range map[string]string{"transaction password was changed": "u@example.com", "email address of your ComeComePay account was changed": "u@example.com",
			"Your ComeComePay password was changed": "new@example.com"} {
			if n := w.mails(address, subject); n != 1 {
				t.Errorf("%d mails %q", n, subject)
			}
		}
	})
}

func TestChangePassword(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const other = "Quiet-Mountains8?"
		u := w.signUp("u@example.com")
		elsewhere := &user{email: u.email, codes: u.codes}
		w.logIn(elsewhere)
		u.codes = elsewhere.codes
		body := func(old, password, confirmation string) fields {
			return fields{"old_password": old, "new_password": password, "confirm_password": confirmation}
		}
		w.refusedTo(u, changePassword, fields{}, 400, "PASSWORD_REQUIRED")
		w.refusedTo(u, changePassword, body(goodPassword, other, other+"x"), 400, "PASSWORDS_DIFFER")
		w.refusedTo(u, changePassword, body(goodPassword, "weak", "weak"), 400, "PASSWORD_WEAK")
		w.refusedTo(u, changePassword, body(goodPassword, "Password1!", "Password1!"), 400, "PASSWORD_COMMON")
		w.refusedTo(u, changePassword, body("wrong", other, other), 400, "OLD_PASSWORD_WRONG")
		if r := w.as(u, "POST", changePassword, body(goodPassword, other, other)); r.text("message") == "" {
			t.Error(r.raw)
		}
		// This session goes on, the other one is over.
		w.blockedForADay(u, "a new password")
		u.take(w.post200("/auth/refresh", fields{"refresh_token": u.refresh}))
		w.call("GET", "/user/profile", elsewhere.access, nil).refused(t, 401, "UNAUTHENTICATED")
		w.refusedPost("/auth/refresh", fields{"refresh_token": elsewhere.refresh}, 401, "UNAUTHENTICATED")
		w.refusedTo(u, changePassword, body(goodPassword, other, other), 400, "OLD_PASSWORD_WRONG") // the same tap once more
		w.refusedPost("/auth/login", fields{"email": u.email, "password": goodPassword}, 400, "INVALID_CREDENTIALS")
		w.post200("/auth/login", fields{"email": u.email, "password": other})
		eventually(t, "mail", func() bool { return w.mails(u.email, "password was changed") == 1 })
		for _, m := range w.post.to(u.email) {
			if strings.Contains(m.Subject, "was changed") && (!strings.Contains(m.Text, "All other devices") || !strings.Contains(m.Text, "withdrawals are not possible until")) {
				t.Error(m.Text)
			}
		}
		// Guesses count with those of log-in: nine wrong ones here, and there the tenth locks both.
		for range 9 {
			w.refusedTo(u, changePassword, body("wrong", other, other), 400, "OLD_PASSWORD_WRONG")
		}
		w.refusedPost("/auth/login", fields{"email": u.email, "password": "wrong"}, 429, "LOGIN_LOCKED")
		w.refusedTo(u, changePassword, body(other, goodPassword, goodPassword), 429, "LOGIN_LOCKED")

		if _, err := w.FreezeAccount(t.Context(), operator, u.email, "a test"); err != nil {
			t.Fatal(err)
		}
		w.refusedTo(u, changePassword, body(other, goodPassword, goodPassword), 403, "ACCOUNT_FROZEN")
	})
}

func TestGuessingOldPasswordsInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		c := w.customer(u)
		next := secret.NewText("Quiet-Mountains8?")
		outcomes := parallel(100, func(i int) error {
			return w.ChangePassword(context.Background(), c, secret.NewText(fmt.Sprintf("Wrong-Guess%d!", i)), next, next)
		})
		if outcomes["OLD_PASSWORD_WRONG"] != 9 || outcomes["LOGIN_LOCKED"] != 91 {
			t.Errorf("%v", outcomes)
		}
	})
}

// A password that was reset blocks withdrawals too; an operator who is sure of the customer lifts the block, and is audited.
func TestBlockOfWithdrawals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("u@example.com")
		w.post200("/auth/forgot-password", fields{"email": u.email})
		w.post200("/auth/reset-password", fields{"email": u.email, "otp_code": w.nextCode(u), "new_password": goodPassword, "confirm_password": goodPassword})
		w.logIn(u)
		w.blockedForADay(u, "a password that was reset")
		standing := func() (account identity.Account, err error) {
			err = w.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
				account, err = w.WithdrawalStanding(ctx, tx, u.id)
				return err
			})
			return account, err
		}
		if a, err := standing(); err != nil || a.WithdrawalsBlockedUntil == nil || !a.WithdrawalsBlockedUntil.Equal(start.Add(24*time.Hour)) {
			t.Errorf("%+v %v", a, err)
		}
		if _, err := w.UnblockWithdrawals(ctx, operator, u.email, " "); !has(err, identity.ErrReasonRequired) {
			t.Error(err)
		}
		for range 2 { // the second time there is nothing to lift
			if a, err := w.UnblockWithdrawals(ctx, operator, u.email, "called back"); err != nil || a.WithdrawalsBlockedUntil != nil {
				t.Errorf("%+v %v", a, err)
			}
		}
		if until := w.blockedUntil(u); until != "" {
			t.Errorf("still blocked until %s", until)
		}
		if a, err := standing(); err != nil || a.WithdrawalsBlockedUntil != nil {
			t.Errorf("%+v %v", a, err)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_log WHERE action = 'account.unblock-withdrawals' AND user_id = $1`, u.id); n != 1 {
			t.Errorf("%d entries in the audit log", n)
		}
		eventually(t, "mail", func() bool { return w.mails(u.email, "are possible again") == 1 })
		if _, err := w.FreezeAccount(ctx, operator, u.email, "a test"); err != nil {
			t.Fatal(err)
		}
		if _, err := standing(); !has(err, identity.ErrAccountFrozen) {
			t.Error(err)
		}
		if _, err := w.CloseAccount(ctx, operator, u.email, "a test"); err != nil {
			t.Fatal(err)
		}
		if _, err := standing(); err == nil {
			t.Error("a closed account may withdraw")
		}
	})
}

// Every answer and every mail of these steps in every language.
func TestChangesInEveryLanguage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		seen := map[string]i18n.Locale{}
		note := func(l i18n.Locale, text string) {
			t.Helper()
			if text == "" || strings.Contains(text, "no value") || strings.Contains(text, "mail.") || strings.Contains(text, "auth.") {
				t.Errorf("%s: %q", l, text)
			}
			if before, known := seen[text]; known && before != l {
				t.Errorf("%q in %s and %s", text, before, l)
			}
			seen[text] = l
		}
		for _, l := range i18n.Locales {
			u := w.signUp(string(l) + "@example.com")
			w.setDigits(u, goodDigits)
			ask := func(path string, body fields) reply {
				t.Helper()
				r := w.call("POST", path, u.access, body, "Accept-Language", string(l))
				note(l, r.text("message"))
				return r
			}
			ask(requestDigits, digits("123"))
			ask(requestDigits, digits("123456"))
			r := ask(requestDigits, digits("739164"))
			ask(completeDigits, fields{"temp_hash": "x", "otp_code": "00000"})
			ask(completeDigits, fields{"temp_hash": r.text("temp_hash"), "otp_code": w.nextCode(u)})
			ask(requestEmail, fields{"new_email": u.email})
			address := "new." + u.email
			ask(requestEmail, fields{"new_email": address})
			ask(verifyEmail, fields{"new_email": address, "otp_code": w.code(address, 1)})
			ask(completeEmail, fields{"new_email": address, "old_email_otp": w.nextCode(u)})
			ask(changePassword, fields{"old_password": "x", "new_password": goodPassword, "confirm_password": goodPassword})
			ask(changePassword, fields{"old_password": goodPassword, "new_password": goodPassword, "confirm_password": goodPassword})
			w.idle()
			subjects := 0
			for _, m := range append(w.post.to(u.email)[1:], w.post.to(address)...) {
				if m.Locale != string(l) {
					t.Errorf("%s: mail %q is in %s", l, m.Subject, m.Locale)
				}
				note(l, m.Subject)
				if strings.Contains(m.Text, "no value") || strings.Contains(m.Text, "{{") {
					t.Errorf("%s: %s", l, m.Text)
				}
				subjects++
			}
			if subjects != 7 {
				t.Errorf("%s: %d mails", l, subjects)
			}
		}
	})
}
