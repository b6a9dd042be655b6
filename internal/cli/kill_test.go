package cli_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	sandboxpokepay "github.com/comecomepay/comecomepay/internal/sandbox/pokepay"
)

// The program is killed while fifty customers are verified, more than a hundred times in all, or two hundred times in each setting when
// the test is long. What it has told anybody stays true, and in the end every customer stands where the issuer says: one open attempt
// at most, one session paid for each tap at most.
func TestKill(t *testing.T) {
	for _, c := range []struct {
		name        string
		engine      db.Engine
		replicas    int
		kills, some int // some: with -short
	}{
		{"sqlite", db.SQLite, 1, 50, 20},
		{"postgres", db.PostgreSQL, 1, 30, 20},
		{"postgres, one of two", db.PostgreSQL, 2, 50, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			kills := c.kills
			if testing.Short() {
				kills = c.some
			}
			if d := soak(); d > 0 {
				kills = max(200, int(d/time.Second)) // one takes about that long
			}
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			// Customers who are declined go on and on here, within minutes.
			k := &killing{installation: install(t, c.engine, c.replicas, "CCP_KYC_ATTEMPTS_PER_HOUR=1000", "CCP_KYC_ATTEMPTS_PER_DAY=1000"), random: rand.New(rand.NewPCG(seed, 1))}
			k.run(kills, seed)
		})
	}
}

const (
	crowd     = 50 // customers
	latecomer = 5  // every so manyeth signs up while the program is being killed
	// hurry is by how much the time of the simulators and of the program runs ahead in each second of killing, so that leases,
	// cool-downs and polls have their turn. A tap whose call was cut off by a kill holds up the next one for 45 s.
	hurry = 6 * time.Second
	// settling is how long the customers may take, once nobody is killed any more.
	settling = 90 * time.Second
)

type killing struct {
	*installation
	random  *rand.Rand
	over    chan struct{} // closed after the last kill
	done    atomic.Int64  // kills so far
	cut     atomic.Int64  // calls that were cut off, or found nobody
	stories []*story
}

func (k *killing) run(kills int, seed uint64) {
	t := k.t
	k.over = make(chan struct{})
	k.serve()
	for n := range crowd {
		s := &story{killing: k, customer: k.newCustomer(), random: rand.New(rand.NewPCG(seed, uint64(n)+2)), kills: kills}
		s.replica = n % len(k.replicas)
		s.begins = int64(s.random.IntN(kills * 3 / 5))
		s.late = n%latecomer == 0
		k.stories = append(k.stories, s)
	}
	var early sync.WaitGroup
	for _, s := range k.stories {
		if !s.late {
			early.Go(func() { s.join(time.Now().Add(time.Minute)) })
		}
	}
	early.Wait()
	if t.Failed() {
		return
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var clock, people sync.WaitGroup
	clock.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := k.simulators.Advance(ctx, hurry); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}
	})
	for _, s := range k.stories {
		people.Go(func() { s.live(ctx) })
	}
	for n := range kills {
		r := k.replicas[n%len(k.replicas)]
		life := 300*time.Millisecond + time.Duration(k.random.Int64N(int64(1200*time.Millisecond)))
		time.Sleep(life) // the moment is meant to be any
		r.kill()
		r.start()
		k.done.Add(1)
	}
	for _, r := range k.replicas {
		r.ready()
	}
	close(k.over)
	finished := make(chan struct{})
	go func() { people.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(settling):
		t.Error("the customers do not get to the end of their stories")
		cancel()
		<-finished
	}
	k.judge()
	if t.Failed() {
		for _, r := range k.replicas {
			t.Logf("%s wrote in the end:\n%s", r.address, tail(r.log.String()))
		}
	}
	cancel()
	clock.Wait()
	for _, r := range k.replicas {
		r.stop()
		r.checkLog()
	}
}

// story is what one customer does and sees.
type story struct {
	*customer
	killing *killing
	random  *rand.Rand
	kills   int
	begins  int64 // after so many kills
	late    bool

	taps     int               // requests for a verification that were sent
	sessions map[string]string // session ids by attempt, as answers gave them
	rejected map[string]bool   // attempts that an answer called rejected
	verified bool              // an answer said so
	attempt  string            // the newest attempt that an answer gave
	verdict  int               // the issuer's, of that attempt; 0: none
	ended    string            // where the story stood when time was up; empty: it came to its end
	trouble  string            // why a call came to nothing, the last time
}

// wait lets some time pass, up to the longest, and tells whether to go on.
func (s *story) wait(ctx context.Context, longest time.Duration) bool {
	pause := time.NewTimer(50*time.Millisecond + time.Duration(s.random.Int64N(int64(longest))))
	defer pause.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-pause.C:
		return true
	}
}

// ask makes a call as people do: if nothing comes of it they try the other replica next time. Only a program that is down or
// says that it is busy may fail them.
func (s *story) ask(method, path string, body any) (answer, error) {
	a, err := s.try(method, path, body)
	if err != nil || a.status >= 429 {
		s.trouble = fmt.Sprintf("%s %s %s: %v %v", time.Now().Format(time.TimeOnly), method, path, a, err)
	}
	switch {
	case err != nil:
		s.killing.cut.Add(1)
		s.replica = (s.replica + 1) % len(s.replicas)
		return a, err
	case a.status == http.StatusServiceUnavailable, a.status == http.StatusTooManyRequests:
		return a, errBusy
	case a.status >= 500:
		s.t.Errorf("%s %s: %v", method, path, a)
		return a, errBusy
	}
	return a, nil
}

var errBusy = errors.New("busy")

// join signs up and in, however often the program dies meanwhile: whoever cannot go on begins anew, as people do.
func (s *story) join(until time.Time) {
	t := s.t
	account, code := false, ""
	for time.Now().Before(until) {
		if !account && code == "" {
			a, err := s.ask("POST", "/auth/signup", object{"email": s.email})
			switch {
			case err != nil:
				s.wait(t.Context(), 300*time.Millisecond)
			case a.code() == "EMAIL_TAKEN":
				account = true // the answer to the last step was lost
			case !a.ok():
				t.Errorf("sign-up: %v", a)
				return
			}
			// Refused for now or cut off: a mail may have come all the same.
			if !account {
				if code = s.waitCode(5 * time.Second); code == "" {
					continue
				}
			}
		}
		if !account {
			if _, err := s.ask("POST", "/auth/verify", object{"email": s.email, "otp_code": code}); err != nil {
				s.wait(t.Context(), 300*time.Millisecond)
				continue
			}
			// A code that is refused was accepted by a call whose answer was lost, or is too old: the next step tells.
			code = ""
			a, err := s.ask("POST", "/auth/set-password", object{"email": s.email, "password": s.password})
			if err != nil || !a.ok() {
				continue
			}
			s.id, account = a.number("user", "id"), true
		}
		if a, err := s.ask("POST", "/auth/login", object{"email": s.email, "password": s.password}); err != nil || !a.ok() {
			if err == nil {
				t.Errorf("log-in after the sign-up was answered: %v", a)
				return
			}
			s.wait(t.Context(), 300*time.Millisecond)
			continue
		}
		loginCode := s.waitCode(5 * time.Second)
		if loginCode == "" {
			continue
		}
		if a, err := s.ask("POST", "/auth/verify-login-otp", object{"email": s.email, "otp_code": loginCode}); err == nil && a.ok() {
			s.signedIn(a)
			return
		}
	}
	s.ended = "not signed in"
}

// live is one customer from the first tap until the program is not killed any more: verdicts that allow it are followed by
// another attempt.
func (s *story) live(ctx context.Context) {
	s.sessions, s.rejected = map[string]string{}, map[string]bool{}
	for s.killing.done.Load() < s.begins && s.wait(ctx, time.Second) {
	}
	if s.late {
		s.join(time.Now().Add(time.Duration(s.kills)*3*time.Second + settling/2))
	}
	if s.access == "" {
		return
	}
	for round := 0; ; round++ {
		select {
		case <-s.killing.over:
			if round > 0 {
				return
			}
		default:
		}
		if s.ended = s.round(ctx); s.ended != "" {
			return
		}
		if s.verdict == 2 || s.verdict == 6 {
			break // verified; or a document of somebody else's, after which the issuer takes nothing from this address
		}
	}
	// Nothing more is to be done. The customer looks again from time to time.
	for {
		select {
		case <-s.killing.over:
			return
		default:
		}
		if !s.wait(ctx, 2*time.Second) {
			return
		}
		s.look()
	}
}

// round is one attempt, from the tap to the verdict that the customer reads. It returns where it got stuck, if it did.
func (s *story) round(ctx context.Context) string {
	link := ""
	for link == "" {
		s.taps++
		a, err := s.ask("POST", "/didit/initialize-token", s.form())
		switch {
		case err != nil:
		case !a.ok():
			s.t.Errorf("tap: %v", a)
			return "tap refused"
		default:
			link, s.attempt = s.opened(a), a.field("verification_id")
		}
		if !s.wait(ctx, 400*time.Millisecond) {
			return "no link"
		}
	}
	if s.random.IntN(3) == 0 {
		s.taps++
		if a, err := s.ask("POST", "/didit/initialize-token", s.form()); err == nil && (!a.ok() || s.opened(a) != link) {
			s.t.Errorf("the second tap gives another link: %v", a)
		}
	}

	s.verdict = [...]int{2, 3, 3, 4, 6}[s.random.IntN(5)]
	action := [...]string{"approve", "approve", "review", "decline"}[s.random.IntN(4)]
	if action == "decline" {
		s.verdict = 3
	}
	if err := s.page(link, action); err != nil {
		s.t.Error(err)
		return "no page"
	}
	s.wait(ctx, time.Second)
	if action != "decline" {
		if action == "review" || s.random.IntN(4) == 0 {
			s.report(s.decide(s.attempt, 5, ""))
			s.look()
			s.wait(ctx, time.Second)
		}
		s.report(s.decide(s.attempt, s.verdict, "the issuer's reason"))
	}
	for !s.look() {
		if !s.wait(ctx, 500*time.Millisecond) {
			return fmt.Sprintf("verdict %d about %s never seen", s.verdict, s.attempt)
		}
	}
	return ""
}

func (s *story) report(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

// opened remembers what an answer has promised, and returns the link.
func (s *story) opened(a answer) string {
	uid, session := a.field("verification_id"), a.field("didit_token", "data", "session_id")
	if before, ok := s.sessions[uid]; ok && before != session {
		s.t.Errorf("attempt %s has another session than before", uid)
	}
	s.sessions[uid] = session
	return a.field("didit_token", "data", "url")
}

// look reads where the customer stands, holds it against what has been said before, and tells whether the verdict has come.
func (s *story) look() bool {
	a, err := s.ask("GET", "/didit/status", nil)
	if err != nil {
		return false
	}
	if !a.ok() {
		s.t.Errorf("status: %v", a)
		return false
	}
	user, uid := a.field("user_kyc_status"), a.field("latest_kyc", "agent_uid")
	if s.verified && user != "verified" || s.rejected[uid] && user != "rejected" {
		s.t.Errorf("what was said before does not hold any more: %v", a)
	}
	if uid != s.attempt {
		s.t.Errorf("the attempt is %s: %v", s.attempt, a)
	}
	switch user {
	case "verified":
		s.verified = true
		if s.verdict != 2 {
			s.t.Errorf("verified without the issuer's word: %v", a)
		}
		return true
	case "rejected":
		s.rejected[uid] = true
		if int64(s.verdict) != a.number("latest_kyc", "pokepay_status") {
			s.t.Errorf("the verdict is %d: %v", s.verdict, a)
		}
		return true
	}
	return false
}

// judge compares what the customers were told, what the database holds, and what the simulators believe.
func (k *killing) judge() {
	t := k.t
	held, err := k.simulators.PokePay().KYCs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	issuer := map[string]sandboxpokepay.KYCState{}
	billed := map[string]int64{} // by address of mail
	for _, x := range held {
		issuer[x.AgentUID] = x
		billed[x.Email] += x.InitCalls
		if x.InitCalls > 1 {
			t.Errorf("%s was billed %d times", x.AgentUID, x.InitCalls)
		}
	}
	d := k.open()
	rounds, verified := 0, 0
	for _, s := range k.stories {
		if s.ended != "" {
			t.Errorf("%s: %s; the last trouble: %s", s.email, s.ended, s.trouble)
			continue
		}
		if billed[s.email] > int64(s.taps) {
			t.Errorf("%s: %d sessions were billed for %d taps", s.email, billed[s.email], s.taps)
		}
		rounds += len(s.sessions)
		status := s.call("GET", "/didit/status", nil)
		uid := status.field("latest_kyc", "agent_uid")
		verdict := issuer[uid].Status
		want := map[int]string{2: "verified", 3: "rejected", 4: "rejected", 6: "rejected"}[verdict]
		if uid != s.attempt || verdict != s.verdict || want == "" || status.field("user_kyc_status") != want || status.number("latest_kyc", "pokepay_status") != int64(verdict) {
			t.Errorf("%s: the issuer's verdict is %d about attempt %s: %v", s.email, verdict, s.attempt, status)
		}
		if want == "verified" {
			verified++
		}
		if s.call("GET", "/user/profile", nil).number("user", "id") != s.id {
			t.Errorf("%s: the account is another one", s.email)
		}
		for attempt, session := range s.sessions {
			var kept, state string
			var user int64
			if err := d.QueryRow(t.Context(), `SELECT session_id, status, user_id FROM kyc_records WHERE agent_uid = $1`, attempt).Scan(&kept, &state, &user); err != nil {
				t.Errorf("attempt %s, which was answered: %v", attempt, err)
				continue
			}
			if kept != session || user != s.id || issuer[attempt].SessionID != session {
				t.Errorf("attempt %s is kept with another session or customer than was answered", attempt)
			}
			if s.rejected[attempt] && state != "rejected" {
				t.Errorf("attempt %s was answered as rejected and is %s", attempt, state)
			}
		}
	}
	t.Logf("%d kills, %d calls without an answer, %d attempts answered with a link, %d of %d customers verified", k.done.Load(), k.cut.Load(), rounds, verified, crowd)
	if rounds < crowd || verified == 0 || verified == crowd || k.cut.Load() < k.done.Load() {
		t.Error("too little has happened for the test to say anything")
	}

	for what, query := range map[string]string{
		"customers with two open attempts": `SELECT COUNT(*) FROM (SELECT user_id FROM kyc_records
			WHERE status IN ('pending_submit', 'pending', 'processing') GROUP BY user_id HAVING COUNT(*) > 1) AS several`,
		"attempts whose mark of being open is wrong": `SELECT COUNT(*) FROM kyc_records
			WHERE (status IN ('pending_submit', 'pending', 'processing')) <> (is_open IS NOT NULL)`,
		"verified customers without an approved attempt": `SELECT COUNT(*) FROM users u WHERE (u.kyc_status = 'verified')
			<> EXISTS (SELECT 1 FROM kyc_records r WHERE r.user_id = u.id AND r.status = 'approved' AND r.issuer_status = 2)`,
	} {
		var n int
		if err := d.QueryRow(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	rows, err := d.Query(t.Context(), `SELECT agent_uid FROM kyc_records WHERE status = 'approved'`)
	approved, err := db.Collect(rows, err, func(row db.Row) (uid string, err error) { return uid, row.Scan(&uid) })
	if err != nil {
		t.Fatal(err)
	}
	for _, uid := range approved {
		if issuer[uid].Status != 2 {
			t.Errorf("%s is approved; the issuer says %d", uid, issuer[uid].Status)
		}
	}
}
