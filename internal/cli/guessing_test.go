package cli_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// replicasOf is how many processes share a database in these tests.
func replicasOf(e db.Engine) int {
	if e == db.PostgreSQL {
		return 2
	}
	return 1
}

const atOnce = 64

// together makes a call so often at once, spread over the replicas, and returns the answers.
func (in *installation) together(n int, call func(n int, as *customer) (answer, error)) []answer {
	in.t.Helper()
	answers := make([]answer, n)
	begin := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-begin
			a, err := call(i, &customer{installation: in, language: "en", replica: i % len(in.replicas)})
			if err != nil {
				in.t.Error(err)
			}
			answers[i] = a
		})
	}
	close(begin)
	all.Wait()
	if in.t.Failed() {
		in.t.FailNow()
	}
	return answers
}

// tally counts answers by machine code; successes have the code "".
func tally(answers []answer) map[string]int {
	n := map[string]int{}
	for _, a := range answers {
		n[a.code()]++
		if a.ok() != (a.code() == "") {
			n[a.String()]++
		}
	}
	return n
}

// anyAddress is a network address of somebody's, of either kind.
func anyAddress() string {
	if rand.IntN(2) == 0 {
		return fmt.Sprintf("198.51.%d.%d", rand.IntN(256), rand.IntN(256))
	}
	return fmt.Sprintf("2001:db8:%x:%x::%x", rand.IntN(1<<16), rand.IntN(1<<16), rand.IntN(1<<16))
}

// wrongCode is any code but those.
func wrongCode(right ...string) string {
	for {
		code := fmt.Sprintf("%05d", rand.IntN(100_000))
		wrong := true
		for _, r := range right {
			wrong = wrong && code != r
		}
		if wrong {
			return code
		}
	}
}

// Whoever guesses gets no more tries by doing it in parallel, from many addresses, at several replicas and at several doors.
func TestGuessing(t *testing.T) {
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			in := install(t, engine, replicasOf(engine), "CCP_TRUSTED_PROXIES=127.0.0.0/8")
			in.serve()
			t.Run("codes", func(t *testing.T) { guessCodes(t, in.within(t)) })
			t.Run("one code", func(t *testing.T) { guessOneCode(t, in.within(t)) })
			t.Run("passwords", func(t *testing.T) { guessPasswords(t, in.within(t)) })
			t.Run("one address", func(t *testing.T) { guessFromOneAddress(t, in.within(t)) })
			for _, r := range in.replicas {
				r.checkLog()
			}
		})
	}
}

// within is the installation in a subtest.
func (in *installation) within(t *testing.T) *installation {
	c := *in
	c.t = t
	return &c
}

// What an address of mail bears: ten failures lock it for a quarter of an hour, and each five more for twice as long.
const (
	firstTries = 10
	nextTries  = 5
	firstLock  = 15 * time.Minute
)

func guessCodes(t *testing.T, in *installation) {
	victim := in.newCustomer()
	victim.signUp()
	attack := func(right ...string) map[string]int {
		return tally(in.together(4*atOnce, func(n int, thief *customer) (answer, error) {
			thief.address = anyAddress()
			body := object{"email": victim.email, "otp_code": wrongCode(right...)}
			switch n % 4 {
			case 0:
				return thief.try("POST", "/auth/verify", body)
			case 1:
				return thief.try("POST", "/auth/verify-forgot-password-otp", body)
			case 2:
				body["new_password"], body["confirm_password"] = "Stolen-Harbour-1!", "Stolen-Harbour-1!"
				return thief.try("POST", "/auth/reset-password", body)
			}
			return thief.try("POST", "/auth/verify-login-otp", body)
		}))
	}
	for round, lock := range []struct {
		tries int
		lasts time.Duration
	}{{firstTries, firstLock}, {nextTries, 2 * firstLock}, {nextTries, 4 * firstLock}} {
		victim.must("POST", "/auth/login", object{"email": victim.email, "password": victim.password})
		logIn := victim.code()
		victim.must("POST", "/auth/forgot-password", object{"email": victim.email})
		reset := victim.code()
		got := attack(logIn, reset)
		if got["CODE_INVALID"] >= lock.tries+1 || got["CODE_INVALID"]+got["CODE_LOCKED"] != 4*atOnce || got["CODE_INVALID"] == 0 {
			t.Errorf("round %d: %d tries are allowed: %v", round, lock.tries, got)
		}
		for path, body := range map[string]object{
			"/auth/verify-login-otp": {"otp_code": logIn}, "/auth/verify-forgot-password-otp": {"otp_code": reset},
			"/auth/reset-password": {"otp_code": reset, "new_password": "Other-Harbour-1!", "confirm_password": "Other-Harbour-1!"},
		} {
			body["email"] = victim.email
			a := victim.call("POST", path, body)
			wait, _ := strconv.Atoi(a.header.Get("Retry-After"))
			if a.status != http.StatusTooManyRequests || a.code() != "CODE_LOCKED" || time.Duration(wait)*time.Second > lock.lasts || time.Duration(wait)*time.Second < lock.lasts-time.Minute {
				t.Errorf("round %d: %s with the right code after the attack: Retry-After %d, %v", round, path, wait, a)
			}
		}
		in.advance(lock.lasts + time.Second)
	}
	// The rightful owner is not locked out for good.
	victim.logIn()
	if a := victim.call("GET", "/user/sessions", nil); a.ok() {
		// The sign-up and the log-in: nobody else has a session.
		if list, _ := a.body["sessions"].([]any); len(list) != 2 {
			t.Errorf("sessions: %v", a)
		}
	} else {
		t.Error(a)
	}
}

// Five wrong tries spend a code; whoever it was sent to asks for another one.
func guessOneCode(t *testing.T, in *installation) {
	victim := in.newCustomer()
	victim.signUp()
	victim.must("POST", "/auth/login", object{"email": victim.email, "password": victim.password})
	right := victim.code()
	got := tally(in.together(5, func(_ int, thief *customer) (answer, error) {
		thief.address = anyAddress()
		return thief.try("POST", "/auth/verify-login-otp", object{"email": victim.email, "otp_code": wrongCode(right)})
	}))
	if got["CODE_INVALID"] != 5 {
		t.Errorf("five wrong tries: %v", got)
	}
	if a := victim.call("POST", "/auth/verify-login-otp", object{"email": victim.email, "otp_code": right}); a.code() != "CODE_INVALID" {
		t.Errorf("the right code after five wrong tries: %v", a)
	}
	in.advance(time.Minute + time.Second)
	victim.logIn()
}

func guessPasswords(t *testing.T, in *installation) {
	victim, nobody := in.newCustomer(), in.newCustomer()
	victim.signUp()
	for _, target := range []*customer{victim, nobody} {
		got := tally(in.together(2*atOnce, func(n int, thief *customer) (answer, error) {
			thief.address = anyAddress()
			return thief.try("POST", "/auth/login", object{"email": target.email, "password": fmt.Sprintf("Harbour-Guess-%d!", n)})
		}))
		// An address that is nobody's is told from a customer's neither by the words nor by the caps.
		if got["INVALID_CREDENTIALS"] > firstTries || got["INVALID_CREDENTIALS"] == 0 || got["INVALID_CREDENTIALS"]+got["LOGIN_LOCKED"] != 2*atOnce {
			t.Errorf("%s: %d tries are allowed: %v", target.email, firstTries, got)
		}
		if a := target.call("POST", "/auth/login", object{"email": target.email, "password": target.password}); a.status != http.StatusTooManyRequests || a.code() != "LOGIN_LOCKED" {
			t.Errorf("%s: the right password after the attack: %v", target.email, a)
		}
	}
	if code := victim.waitCode(0); code != "" {
		t.Error("the attack has made us mail a code")
	}
	in.advance(firstLock + time.Second)
	victim.logIn()
}

// A network address gets so many checks of codes in ten minutes, at all replicas together; a line of IPv6 is one address.
func guessFromOneAddress(t *testing.T, in *installation) {
	const checks, more = 120, 40
	for name, address := range map[string]func(n int) string{
		"IPv4": func(int) string { return "203.0.113.7" },
		"IPv6": func(n int) string { return fmt.Sprintf("2001:db8:7:7:%x::1", n) },
	} {
		got := tally(in.together(checks+more, func(n int, thief *customer) (answer, error) {
			thief.address = address(n)
			return thief.try("POST", "/auth/verify-login-otp", object{"email": fmt.Sprintf("%s.%d@example.com", name, n), "otp_code": wrongCode()})
		}))
		if got["CODE_INVALID"] != checks || got["TOO_MANY_REQUESTS"] != more {
			t.Errorf("%s: %v", name, got)
		}
	}
	other := in.newCustomer()
	other.address = "203.0.113.8"
	other.signUp() // others are not held up
}
