package identity_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// proveEmail leads a customer to where only the code of the old address is missing, and returns it.
func (w *world) proveEmail(u *user, address string) (old string) {
	w.t.Helper()
	before := w.codesTo(address)
	w.as(u, "POST", requestEmail, fields{"new_email": address})
	w.as(u, "POST", verifyEmail, fields{"new_email": address, "otp_code": w.code(address, before+1)})
	return w.nextCode(u)
}

// codesTo is how many codes were mailed to an address.
func (w *world) codesTo(address string) (n int) {
	w.idle()
	for _, m := range w.post.to(address) {
		if codeForm.MatchString(m.Text) {
			n++
		}
	}
	return n
}

func TestChangeEmail(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("old@example.com")
		const address = "new@example.com"
		r := w.as(u, "POST", requestEmail, fields{"new_email": " New@Example.com "})
		if r.text("new_email") != address || r.text("next_step") == "" || r.text("message") == "" {
			t.Error(r.raw)
		}
		code := w.code(address, 1)
		verify := fields{"new_email": "NEW@example.com", "otp_code": code}
		r = w.as(u, "POST", verifyEmail, verify)
		if r.text("current_email") != u.email || r.text("next_step") == "" || r.text("message") == "" {
			t.Error(r.raw)
		}
		first := w.nextCode(u)
		// The same step again: within a minute nothing more is sent, later another code is.
		w.as(u, "POST", verifyEmail, verify)
		if n := w.codesTo(u.email); n != u.codes {
			t.Errorf("%d codes, want %d", n, u.codes)
		}
		w.clock.Advance(time.Minute)
		w.as(u, "POST", verifyEmail, verify)
		second := w.nextCode(u)
		if first != second {
			w.refusedTo(u, completeEmail, fields{"new_email": address, "old_email_otp": first}, 400, "CODE_INVALID")
		}
		if m := w.post.to(u.email)[u.codes-1]; !strings.Contains(m.Text, address) {
			t.Errorf("the old address is not told where the account is to move: %s", m.Text)
		}
		// A code that is pending at the old address dies with the change.
		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
		pending := w.nextCode(u)

		complete := fields{"new_email": address, "old_email_otp": second}
		r = w.as(u, "POST", completeEmail, complete)
		if r.text("new_email") != address || r.text("message") == "" {
			t.Error(r.raw)
		}
		w.blockedForADay(u, "another address")
		w.refusedPost("/auth/verify-login-otp", fields{"email": "old@example.com", "otp_code": pending}, 400, "CODE_INVALID")
		w.refusedPost("/auth/verify-login-otp", fields{"email": address, "otp_code": pending}, 400, "CODE_INVALID")
		// The tokens go on, and the same call once more changes nothing.
		u.take(w.post200("/auth/refresh", fields{"refresh_token": u.refresh}))
		w.clock.Advance(time.Second)
		w.as(u, "POST", completeEmail, complete)
		if until := w.blockedUntil(u); until != start.Add(24*time.Hour+time.Minute).Format(time.RFC3339) {
			t.Errorf("blocked until %s", until)
		}
		w.refusedTo(u, completeEmail, fields{"new_email": address, "old_email_otp": wrong(second)}, 400, "CODE_INVALID")
		w.refusedTo(u, verifyEmail, verify, 400, "REQUEST_UNKNOWN")
		w.idle()
		for _, to := range []string{"old@example.com", address} {
			if n := w.mails(to, "email address of your ComeComePay account was changed"); n != 1 {
				t.Errorf("%s: %d mails about the change", to, n)
			}
		}
		// Only the new address signs in, and the old one is free.
		w.refusedPost("/auth/login", fields{"email": "old@example.com", "password": goodPassword}, 400, "INVALID_CREDENTIALS")
		moved := &user{email: address, codes: 1, id: u.id}
		w.logIn(moved)
		if moved.id != u.id {
			t.Errorf("customer %d has become %d", u.id, moved.id)
		}
		w.clock.Advance(time.Hour)
		w.post200("/auth/signup", fields{"email": "old@example.com"})
		w.as(moved, "POST", completeEmail, fields{"new_email": "third@example.com", "old_email_otp": w.proveEmail(moved, "third@example.com")})
	})
}

func TestChangeEmailRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u, other := w.signUp("u@example.com"), w.signUp("other@example.com")
		ask := func(email any, status int, code string) reply {
			t.Helper()
			return w.refusedTo(u, requestEmail, fields{"new_email": email}, status, code)
		}
		ask("", 400, "EMAIL_REQUIRED")
		ask("nobody", 400, "EMAIL_INVALID")
		ask(" U@Example.com ", 400, "EMAIL_UNCHANGED")
		// The screen shows a text with this word below the field.
		if r := ask("Other@example.com", 400, "EMAIL_IN_USE"); !strings.Contains(r.text("message"), "email") {
			t.Error(r.raw)
		}
		w.refusedTo(u, verifyEmail, fields{"new_email": "new@example.com", "otp_code": "00000"}, 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completeEmail, fields{"new_email": "new@example.com", "old_email_otp": "00000"}, 400, "REQUEST_UNKNOWN")

		w.as(u, "POST", requestEmail, fields{"new_email": "new@example.com"})
		ask("new@example.com", 429, "RESEND_TOO_SOON")
		code := w.code("new@example.com", 1)
		verify := func(who *user, email, code string, status int, problem string) {
			t.Helper()
			w.refusedTo(who, verifyEmail, fields{"new_email": email, "otp_code": code}, status, problem)
		}
		verify(u, "new@example.com", "", 400, "CODE_REQUIRED")
		verify(u, "new@example.com", wrong(code), 400, "CODE_INVALID")
		verify(u, "another@example.com", code, 400, "REQUEST_UNKNOWN")
		verify(other, "new@example.com", code, 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completeEmail, fields{"new_email": "new@example.com", "old_email_otp": code}, 400, "REQUEST_UNKNOWN") // the new one is not proved
		// Somebody else who asks for the same address has a code of their own, and disturbs nobody.
		w.as(other, "POST", requestEmail, fields{"new_email": "new@example.com"})
		theirs := w.code("new@example.com", 2)
		if theirs != code {
			verify(other, "new@example.com", code, 400, "CODE_INVALID")
		}
		w.as(u, "POST", verifyEmail, fields{"new_email": "new@example.com", "otp_code": code})
		old := w.nextCode(u)
		w.refusedTo(u, completeEmail, fields{"new_email": "another@example.com", "old_email_otp": old}, 400, "REQUEST_UNKNOWN")
		w.refusedTo(other, completeEmail, fields{"new_email": "new@example.com", "old_email_otp": old}, 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completeEmail, fields{"new_email": "new@example.com", "old_email_otp": wrong(old)}, 400, "CODE_INVALID")
		// Another address begins anew: what was proved before does not count for it.
		w.clock.Advance(time.Minute)
		w.as(u, "POST", requestEmail, fields{"new_email": "another@example.com"})
		w.refusedTo(u, completeEmail, fields{"new_email": "another@example.com", "old_email_otp": old}, 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completeEmail, fields{"new_email": "new@example.com", "old_email_otp": old}, 400, "REQUEST_UNKNOWN")
		another := w.code("another@example.com", 1)
		w.clock.Advance(10 * time.Minute)
		verify(u, "another@example.com", another, 400, "CODE_INVALID") // too late
		if account, err := w.Account(t.Context(), u.id); err != nil || account.Email != u.email {
			t.Errorf("%+v %v", account, err)
		}
		if _, err := w.FreezeAccount(t.Context(), operator, u.email, "a test"); err != nil {
			t.Fatal(err)
		}
		ask("new@example.com", 403, "ACCOUNT_FROZEN")
		verify(u, "new@example.com", code, 403, "ACCOUNT_FROZEN")
		w.refusedTo(u, completeEmail, fields{"new_email": "new@example.com", "old_email_otp": old}, 403, "ACCOUNT_FROZEN")
	})
}

// One address, wanted at the same moment by customers and by somebody who signs up: exactly one gets it.
func TestOneAddressForOne(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		const address = "wanted@example.com"
		type mover struct {
			c   identity.Customer
			old string
		}
		var movers []mover
		for i := range 4 {
			u := w.signUp(fmt.Sprintf("u%d@example.com", i))
			movers = append(movers, mover{w.customer(u), w.proveEmail(u, address)})
		}
		w.post200("/auth/signup", fields{"email": address})
		w.post200("/auth/verify", fields{"email": address, "otp_code": w.code(address, 5)})
		outcomes := parallel(25, func(i int) error {
			if i%5 == 4 {
				_, err := w.SetPassword(ctx, from(i), address, secret.NewText(goodPassword), "")
				return err
			}
			m := movers[i%5]
			_, err := w.CompleteEmailChange(ctx, m.c, address, m.old)
			return err
		})
		for code := range outcomes {
			if code != "" && code != "EMAIL_IN_USE" && code != "EMAIL_TAKEN" {
				t.Errorf("%v", outcomes)
			}
		}
		// The winner of a change is told so each of the five times; of sign-up once.
		if outcomes[""] != 5 && outcomes[""] != 1 {
			t.Errorf("%v", outcomes)
		}
		account, err := w.FindByEmail(ctx, address)
		if err != nil {
			t.Fatal(err)
		}
		w.idle()
		if n := w.mails(address, "was changed"); n != outcomes[""]/5 {
			t.Errorf("%d mails for customer %d", n, account.ID)
		}
	})
}

// However many customers guess at one address, together they have as many tries as one.
func TestGuessingAtANewAddress(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const address = "wanted@example.com"
		tries := map[string]int{}
		for i := range 4 {
			u := w.signUp(fmt.Sprintf("u%d@example.com", i))
			w.as(u, "POST", requestEmail, fields{"new_email": address})
			code := w.code(address, i+1)
			for range 4 {
				r := w.call("POST", verifyEmail, u.access, fields{"new_email": address, "otp_code": wrong(code)})
				tries[r.text("code")]++
			}
		}
		if tries["CODE_INVALID"] != 10 || tries["CODE_LOCKED"] != 6 {
			t.Errorf("%v", tries)
		}
	})
}
