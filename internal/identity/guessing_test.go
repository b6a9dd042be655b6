package identity_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// parallel runs n calls at once and counts their outcomes by code; "" is success.
func parallel(n int, call func(i int) error) map[string]int {
	var mu sync.Mutex
	outcomes := map[string]int{}
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			err := call(i)
			code := ""
			if p, ok := problem.Find(err); ok {
				code = p.Code
			} else if err != nil {
				code = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[code]++
		})
	}
	close(begin)
	wg.Wait()
	return outcomes
}

// from is a client with a network address of its own.
func from(i int) identity.Client {
	return identity.Client{Address: fmt.Sprintf("203.0.%d.%d", i/250, i%250+1), Agent: "Dart/3.4 (dart:io)", Locale: i18n.English}
}

// Wrong codes from many addresses at once: five tries per code, ten per address of mail, then a lock-out.
func TestGuessingCodesInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("victim@example.com")
		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
		code := w.code(u.email, 2)

		outcomes := parallel(64, func(i int) error {
			_, err := w.VerifyLogin(ctx, from(i), u.email, wrong(code))
			return err
		})
		// Nine wrong codes and one that locks; the other 54 find the address locked. None was compared after the fifth.
		if outcomes["CODE_INVALID"] != 9 || outcomes["CODE_LOCKED"] != 55 || len(outcomes) != 2 {
			t.Errorf("outcomes: %v", outcomes)
		}
		if n := w.count(`SELECT tries FROM one_time_codes WHERE purpose = 'login'`); n < 5 {
			t.Errorf("%d tries counted", n)
		}
		if n := w.count(`SELECT failures FROM guess_counters WHERE kind = 'code' AND locked_until IS NOT NULL`); n != 10 {
			t.Errorf("%d failures counted, want 10", n)
		}
		if _, err := w.VerifyLogin(ctx, from(99), u.email, code); !has(err, identity.ErrCodeLocked) {
			t.Errorf("the right code during a lock-out: %v", err)
		}
		w.clock.Advance(15 * time.Minute)
		if _, err := w.VerifyLogin(ctx, from(99), u.email, code); !has(err, identity.ErrCodeInvalid) {
			t.Errorf("a code that was tried too often: %v", err)
		}
	})
}

func TestCodeIsDeadAfterFiveTries(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const email = "five@example.com"
		w.post200("/auth/signup", fields{"email": email})
		code := w.code(email, 1)
		for range 5 {
			w.refusedPost("/auth/verify", fields{"email": email, "otp_code": wrong(code)}, 400, "CODE_INVALID")
		}
		w.refusedPost("/auth/verify", fields{"email": email, "otp_code": code}, 400, "CODE_INVALID")
		// The step can be repeated only after the cool-down.
		w.refusedPost("/auth/signup", fields{"email": email}, 429, "RESEND_TOO_SOON")
		w.clock.Advance(time.Minute)
		w.post200("/auth/signup", fields{"email": email})
		w.post200("/auth/verify", fields{"email": email, "otp_code": w.code(email, 2)})
		// Success has set the count back.
		if n := w.count(`SELECT failures FROM guess_counters WHERE kind = 'code'`); n != 0 {
			t.Errorf("%d failures left", n)
		}
	})
}

// The lock-out doubles from a quarter of an hour to a day, for known and unknown addresses alike.
func TestLockoutGrows(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		w.signUp("known@example.com")
		for _, email := range []string{"known@example.com", "unknown@example.com"} {
			guess := map[string]func() error{
				"code":     func() error { _, err := w.CheckReset(ctx, from(1), email, "00000"); return err },
				"password": func() error { _, err := w.LogIn(ctx, from(1), email, secret.NewText("wrong")); return err },
			}
			for _, kind := range []string{"code", "password"} {
				free := 9
				for n, want := range []time.Duration{15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour, 24 * time.Hour, 24 * time.Hour} {
					for range free {
						if p, _ := problem.Find(guess[kind]()); p == nil || p.Kind != problem.Invalid {
							t.Fatalf("%s %s, lock-out %d: refused with %v too early", email, kind, n, p)
						}
					}
					free = 4
					p, _ := problem.Find(guess[kind]())
					if p == nil || p.Kind != problem.TooMany || p.RetryAfter != want {
						t.Fatalf("%s %s: lock-out %d is %+v, want %v", email, kind, n, p, want)
					}
					w.clock.Advance(want - time.Second)
					if p, _ := problem.Find(guess[kind]()); p == nil || p.Kind != problem.TooMany || p.RetryAfter != time.Second {
						t.Fatalf("%s %s: a second before the end of lock-out %d: %+v", email, kind, n, p)
					}
					w.clock.Advance(time.Second)
				}
				// A week without a failure and the count begins anew.
				w.clock.Advance(7*24*time.Hour + time.Second)
				for range 9 {
					if p, _ := problem.Find(guess[kind]()); p == nil || p.Kind != problem.Invalid {
						t.Fatalf("%s %s: the count did not begin anew: %v", email, kind, p)
					}
				}
			}
		}
	})
}

// While an address is locked nothing is verified and nothing is mailed for it.
func TestLockedAddress(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		for range 9 {
			w.refusedPost("/auth/login", fields{"email": u.email, "password": "wrong"}, 400, "INVALID_CREDENTIALS")
		}
		w.refusedPost("/auth/login", fields{"email": u.email, "password": "wrong"}, 429, "LOGIN_LOCKED")
		r := w.refusedPost("/auth/login", fields{"email": u.email, "password": goodPassword}, 429, "LOGIN_LOCKED")
		if r.header.Get("Retry-After") != "900" {
			t.Errorf("Retry-After: %v", r.header)
		}
		// A forgotten password opens the way again.
		w.post200("/auth/forgot-password", fields{"email": u.email})
		w.post200("/auth/reset-password", fields{"email": u.email, "otp_code": w.code(u.email, 2), "new_password": goodPassword, "confirm_password": goodPassword})
		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})

		for range 9 {
			w.refusedPost("/auth/verify-login-otp", fields{"email": u.email, "otp_code": "00000"}, 400, "CODE_INVALID")
		}
		w.refusedPost("/auth/verify-login-otp", fields{"email": u.email, "otp_code": "00000"}, 429, "CODE_LOCKED")
		w.idle()
		before := len(w.post.to(u.email))
		w.clock.Advance(2 * time.Minute)
		w.refusedPost("/auth/resend-otp", fields{"email": u.email}, 429, "CODE_LOCKED")
		w.refusedPost("/auth/forgot-password", fields{"email": u.email}, 429, "CODE_LOCKED")
		w.refusedPost("/auth/login", fields{"email": u.email, "password": goodPassword}, 429, "CODE_LOCKED")
		w.idle()
		if after := len(w.post.to(u.email)); after != before {
			t.Errorf("%d mails during a lock-out", after-before)
		}
	})
}

// Passwords guessed from many addresses at once, the right one among them: no more than ten were ever verified.
func TestGuessingPasswordsInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("victim@example.com")
		outcomes := parallel(64, func(i int) error {
			_, err := w.LogIn(ctx, from(i), u.email, secret.NewText(fmt.Sprintf("Wrong-Guess%d!", i)))
			return err
		})
		if outcomes["INVALID_CREDENTIALS"] != 9 || outcomes["LOGIN_LOCKED"] != 55 || len(outcomes) != 2 {
			t.Errorf("outcomes: %v", outcomes)
		}
		w.idle()
		if n := len(w.post.to(u.email)); n != 1 {
			t.Errorf("%d mails", n)
		}
	})
}

// One tap too many is no guess: the same request many times at once is one try, right or wrong.
func TestParallelLogIn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("once@example.com")
		logIn := func(password string) map[string]int {
			return parallel(64, func(int) error {
				_, err := w.LogIn(context.Background(), from(1), u.email, secret.NewText(password))
				return err
			})
		}
		for range 3 { // also when they do not all meet
			if outcomes := logIn(goodPassword); outcomes[""] != 64 {
				t.Errorf("right: %v", outcomes)
			}
		}
		w.idle()
		if n := len(w.post.to(u.email)); n != 2 {
			t.Errorf("%d mails, want that of the sign-up and one of the log-in", n)
		}
		if outcomes := logIn("Wrong-Guess1!"); outcomes["INVALID_CREDENTIALS"] != 64 {
			t.Errorf("wrong: %v", outcomes)
		}
	})
}

func TestParallelSignUpSendsOneMail(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		outcomes := parallel(64, func(i int) error {
			_, err := w.SignUp(context.Background(), from(i), "once@example.com", "")
			return err
		})
		if outcomes[""] != 64 {
			t.Errorf("outcomes: %v", outcomes)
		}
		w.code("once@example.com", 1)
		w.idle()
		if n := len(w.post.to("once@example.com")); n != 1 {
			t.Errorf("%d mails, want 1", n)
		}
	})
}

func TestParallelVerifyAndSetPassword(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		const email = "once@example.com"
		w.post200("/auth/signup", fields{"email": email})
		code := w.code(email, 1)
		outcomes := parallel(64, func(i int) error { _, err := w.Verify(ctx, from(i), email, code, ""); return err })
		if outcomes[""] != 1 || outcomes["CODE_INVALID"] != 63 {
			t.Errorf("verify: %v", outcomes)
		}
		// The right code once too often is no guess.
		if n := w.count(`SELECT failures FROM guess_counters WHERE kind = 'code'`); n != 0 {
			t.Errorf("%d failures counted", n)
		}
		outcomes = parallel(64, func(i int) error {
			_, err := w.SetPassword(ctx, from(i), email, secret.NewText(goodPassword), "")
			return err
		})
		if outcomes[""] != 1 || outcomes["EMAIL_TAKEN"] != 63 {
			t.Errorf("set-password: %v", outcomes)
		}
		if n := w.count(`SELECT COUNT(*) FROM users`); n != 1 {
			t.Errorf("%d users", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM sessions`); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

func TestParallelLoginCode(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("once@example.com")
		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
		code := w.code(u.email, 2)
		outcomes := parallel(64, func(i int) error {
			_, err := w.VerifyLogin(context.Background(), from(i), u.email, code)
			return err
		})
		if outcomes[""] != 1 || outcomes["CODE_INVALID"] != 63 {
			t.Errorf("verify-login-otp: %v", outcomes)
		}
	})
}

// One network address is held up, others are not, and one line of IPv6 is one address whatever its owner picks.
func TestLimitsPerNetworkAddress(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		machine := func(i int) identity.Client {
			return identity.Client{Address: fmt.Sprintf("2001:db8:1:2::%x", i), Locale: i18n.English}
		}
		var refused atomic.Int32
		for i := range 61 {
			_, err := w.SignUp(ctx, machine(i), fmt.Sprintf("a%d@example.com", i), "")
			if has(err, api.ErrTooManyRequests) {
				refused.Add(1)
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if refused.Load() != 1 {
			t.Errorf("%d of 61 refused, want 1", refused.Load())
		}
		if _, err := w.SignUp(ctx, identity.Client{Address: "2001:db8:1:3::1"}, "b@example.com", ""); err != nil {
			t.Errorf("a neighbour: %v", err)
		}
		_, err := w.SignUp(ctx, machine(1), "c@example.com", "")
		if p, _ := problem.Find(err); p == nil || p.RetryAfter != time.Hour {
			t.Errorf("wait: %v", err)
		}
		w.clock.Advance(time.Hour)
		if _, err := w.SignUp(ctx, machine(1), "c@example.com", ""); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

// However often codes are asked for, an address gets so many of each kind in an hour.
func TestCodesPerMailbox(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		w.clock.Advance(time.Hour)
		for _, kind := range []struct {
			path string
			body fields
			most int
		}{
			{"/auth/signup", fields{"email": "new@example.com"}, 20},
			{"/auth/forgot-password", fields{"email": u.email}, 20},
			{"/auth/forgot-password", fields{"email": "stranger@example.com"}, 20},
			{"/auth/resend-otp", fields{"email": u.email}, 20},
			{"/auth/resend-otp", fields{"email": "nobody@example.com"}, 20}, // nothing is pending, and nobody learns that
			{"/auth/login", fields{"email": u.email, "password": goodPassword}, 20},
		} {
			for range kind.most {
				w.post200(kind.path, kind.body)
				w.clock.Advance(time.Minute)
			}
			wait := time.Hour - time.Duration(kind.most)*time.Minute
			r := w.refusedPost(kind.path, kind.body, 429, "TOO_MANY_CODES")
			if r.header.Get("Retry-After") != fmt.Sprint(wait.Seconds()) {
				t.Errorf("%s: wait %s, want %v", kind.path, r.header.Get("Retry-After"), wait)
			}
			w.clock.Advance(wait)
			w.post200(kind.path, kind.body)
			w.clock.Advance(time.Minute)
		}
	})
}

// Whatever strangers ask for in the name of a customer, who knows the password gets a code for it and signs in.
func TestStrangersUseUpNoCodesOfLogin(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("victim@example.com")
		w.clock.Advance(time.Hour)
		for name, path := range map[string]string{"the pending code": "/auth/resend-otp", "a new password": "/auth/forgot-password"} {
			w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
			w.clock.Advance(time.Minute)
			given := 0
			for range 30 {
				switch r := w.call(http.MethodPost, path, "", fields{"email": u.email}); r.status {
				case 200:
					given++
				default:
					r.refused(t, 429, "TOO_MANY_CODES")
				}
				w.clock.Advance(time.Minute)
			}
			if given != 20 {
				t.Errorf("%s was asked for %d times, want 20", name, given)
			}
			w.idle()
			mails := len(w.post.to(u.email))
			w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
			w.post200("/auth/verify-login-otp", fields{"email": u.email, "otp_code": w.code(u.email, mails+1)})
			w.clock.Advance(time.Hour)
		}
	})
}

// unsteady is a database that fails in its own way on demand, and notes how long a transaction may take.
type unsteady struct {
	db.DB
	panics  atomic.Bool
	longest atomic.Int64 // of the transactions with a limit
	endless atomic.Int32 // transactions without a limit
}

func (u *unsteady) RunTx(ctx context.Context, fn func(ctx context.Context, tx db.Tx) error) error {
	if u.panics.Load() {
		panic("out of order")
	}
	if end, limited := ctx.Deadline(); limited {
		u.longest.Store(max(u.longest.Load(), int64(time.Until(end))))
	} else {
		u.endless.Add(1)
	}
	return u.DB.RunTx(ctx, fn)
}

// The try of a password runs on its own, so what goes wrong in it ends there: as an error for everybody who waits for it.
func TestFaultDuringLogIn(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		broken := &unsteady{DB: d}
		w := newWorld(t, d, func(o *identity.Options) { o.DB = broken })
		u := w.signUp("u@example.com")
		broken.panics.Store(true)
		w.call(http.MethodPost, "/auth/login", "", fields{"email": u.email, "password": goodPassword}).refused(t, 500, "INTERNAL_ERROR")
		if n := strings.Count(w.logs.String(), `"stack":`); n != 1 || !strings.Contains(w.logs.String(), "out of order") {
			t.Errorf("the fault was logged %d times:\n%s", n, w.logs.String())
		}
		broken.panics.Store(false)
		w.logIn(u)
	})
}

// A try goes on when its callers are gone, but not for long.
func TestTriesOfNobodyEnd(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		watched := &unsteady{DB: d}
		w := newWorld(t, d, func(o *identity.Options) { o.DB = watched })
		if _, err := w.LogIn(context.Background(), from(1), "u@example.com", secret.NewText("wrong")); !has(err, identity.ErrCredentials) {
			t.Fatal(err)
		}
		if longest := time.Duration(watched.longest.Load()); watched.endless.Load() != 0 || longest == 0 || longest > 15*time.Second {
			t.Errorf("a try may take %v; %d without a limit", longest, watched.endless.Load())
		}
	})
}
