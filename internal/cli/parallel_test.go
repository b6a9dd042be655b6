package cli_test

import (
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// The same request sixty-four times at once, at two replicas where there can be two, has one effect.
func TestParallel(t *testing.T) {
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			in := install(t, engine, replicasOf(engine))
			in.serve()
			p := &parallel{installation: in, who: in.newCustomer(), database: in.open()}
			p.signUp()
			p.logIn()
			p.refresh()
			p.start()
			p.sameKey()
			for _, r := range in.replicas {
				r.checkLog()
			}
		})
	}
}

type parallel struct {
	*installation
	who      *customer
	database db.DB
}

// post sends one request sixty-four times.
func (p *parallel) post(path string, body object) []answer {
	p.t.Helper()
	return p.together(atOnce, func(_ int, as *customer) (answer, error) {
		as.access = p.who.access
		return as.try("POST", path, body)
	})
}

// want fails the test unless so many answers have each code.
func (p *parallel) want(what string, answers []answer, want map[string]int) {
	p.t.Helper()
	got := tally(answers)
	same := len(got) == len(want)
	for code, n := range want {
		same = same && got[code] == n
	}
	if !same {
		p.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (p *parallel) count(query string, args ...any) (n int) {
	p.t.Helper()
	if err := p.database.QueryRow(p.t.Context(), query, args...).Scan(&n); err != nil {
		p.t.Fatal(err)
	}
	return n
}

// mails counts the mail of the customer, once all jobs are done.
func (p *parallel) mails() int {
	p.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for p.count(`SELECT COUNT(*) FROM river_job WHERE finalized_at IS NULL`) > 0 {
		if time.Now().After(deadline) {
			p.t.Fatal("jobs are not done")
		}
		time.Sleep(50 * time.Millisecond)
	}
	list, err := p.simulators.Inbox().Messages(p.t.Context(), p.who.email)
	if err != nil {
		p.t.Fatal(err)
	}
	return len(list)
}

func (p *parallel) signUp() {
	p.want("sign-up", p.post("/auth/signup", object{"email": p.who.email}), map[string]int{"": atOnce})
	if n := p.mails(); n != 1 {
		p.t.Errorf("%d mails for one sign-up", n)
	}
	code := p.who.code()
	// One takes the code; the others come too late, which is no guess and locks nobody out.
	p.want("verify", p.post("/auth/verify", object{"email": p.who.email, "otp_code": code}), map[string]int{"": 1, "CODE_INVALID": atOnce - 1})
	p.want("set password", p.post("/auth/set-password", object{"email": p.who.email, "password": p.who.password}), map[string]int{"": 1, "EMAIL_TAKEN": atOnce - 1})
	if n := p.count(`SELECT COUNT(*) FROM users`); n != 1 {
		p.t.Errorf("%d accounts", n)
	}
}

func (p *parallel) logIn() {
	mails, sessions := p.mails(), p.count(`SELECT COUNT(*) FROM sessions`)
	p.want("log-in", p.post("/auth/login", object{"email": p.who.email, "password": p.who.password}), map[string]int{"": atOnce})
	if n := p.mails() - mails; n != 1 {
		p.t.Errorf("%d mails for one log-in", n)
	}
	answers := p.post("/auth/verify-login-otp", object{"email": p.who.email, "otp_code": p.who.code()})
	p.want("log-in code", answers, map[string]int{"": 1, "CODE_INVALID": atOnce - 1})
	if n := p.count(`SELECT COUNT(*) FROM sessions`) - sessions; n != 1 {
		p.t.Errorf("%d sessions for one code", n)
	}
	for _, a := range answers {
		if a.ok() {
			p.who.signedIn(a)
		}
	}
}

// All callers of a burst get tokens that work (contract/rules section 5), of one and the same session, which is renewed once.
func (p *parallel) refresh() {
	sessions, generations := p.count(`SELECT COUNT(*) FROM sessions`), p.count(`SELECT SUM(generation) FROM sessions`)
	answers := p.post("/auth/refresh", object{"refresh_token": p.who.refresh})
	p.want("refresh", answers, map[string]int{"": atOnce})
	if n := p.count(`SELECT COUNT(*) FROM sessions`) - sessions; n != 0 {
		p.t.Errorf("%d more sessions", n)
	}
	if n := p.count(`SELECT SUM(generation) FROM sessions`) - generations; n != 1 {
		p.t.Errorf("renewed %d times", n)
	}
	for _, a := range answers {
		c := *p.who
		if c.access = a.field("access_token"); !c.call("GET", "/user/profile", nil).ok() {
			p.t.Error("an access token of the burst does not work")
		}
		again := c.call("POST", "/auth/refresh", object{"refresh_token": a.field("refresh_token")})
		if p.who.access, p.who.refresh = again.field("access_token"), again.field("refresh_token"); !again.ok() {
			p.t.Errorf("a refresh token of the burst does not work: %v", again)
		}
	}
}

func (p *parallel) start() {
	answers := p.post("/didit/initialize-token", p.who.form())
	p.want("start", answers, map[string]int{"": atOnce})
	for _, a := range answers {
		if a.field("verification_id") != answers[0].field("verification_id") || a.field("didit_token", "data", "url") != answers[0].field("didit_token", "data", "url") {
			p.t.Errorf("another attempt or link: %v", a)
		}
	}
	if n := p.count(`SELECT COUNT(*) FROM kyc_records`); n != 1 {
		p.t.Errorf("%d attempts", n)
	}
	held, err := p.simulators.PokePay().KYCs(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if len(held) != 1 || held[0].InitCalls != 1 {
		p.t.Errorf("the issuer has opened %+v", held)
	}
}

// With one Idempotency-Key the answer to the first request is everybody's, as soon as it is there.
func (p *parallel) sameKey() {
	body := object{"first_name": "Amina", "last_name": "Haddad", "phone": "", "date_of_birth": "", "account_type": "personal", "referral_code": ""}
	send := func(as *customer) (answer, error) {
		as.access = p.who.access
		h := as.headers()
		h.Set("Idempotency-Key", "7c0de5d2-parallel")
		return as.send("PUT", as.replicas[as.replica].url()+"/user/profile", h, body)
	}
	answers := p.together(atOnce, func(_ int, as *customer) (answer, error) { return send(as) })
	text, first := "", 0
	for _, a := range answers {
		switch {
		case a.code() == "IDEMPOTENCY_KEY_IN_USE":
		case !a.ok() || text != "" && a.text != text:
			p.t.Errorf("%v", a)
		default:
			text = a.text
			if a.header.Get("Idempotent-Replayed") == "" {
				first++
			}
		}
	}
	if first != 1 {
		p.t.Errorf("the request was carried out %d times", first)
	}
	for n := range p.replicas {
		late, err := send(&customer{installation: p.installation, language: "en", replica: n})
		if err != nil || late.text != text || late.header.Get("Idempotent-Replayed") != "true" {
			p.t.Errorf("later: %v %v", late, err)
		}
	}
}
