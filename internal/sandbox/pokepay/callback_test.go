package pokepay

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

const callbackSecret = "demo-pokepay-callback-secret"

// The vector of provider/pokepay.md 6.7.
func TestSignatureVector(t *testing.T) {
	body := `{"NotificationId":"f0000000-0000-4000-8000-000000000001","Pubtoken":123777693,"DelegateMethod":"otp-sms","Passcode":"482913","status":0}`
	if got, want := sign(callbackSecret, 1767225600, []byte(body)), "0de6ef392f2628540150a4aabcda93568b118a085b31d032e682cf03df139af2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

type received struct {
	header http.Header
	body   string
}

// mailbox receives callbacks; status says what it answers to the nth call.
type mailbox struct {
	mu    sync.Mutex
	calls []received
}

func receive(t *testing.T, status func(n int) int) (url string, box *mailbox) {
	box = &mailbox{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("callback body: %v", err)
		}
		box.mu.Lock()
		box.calls = append(box.calls, received{r.Header.Clone(), string(body)})
		n := len(box.calls)
		box.mu.Unlock()
		w.WriteHeader(status(n))
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(server.Close)
	return server.URL + "/callback", box
}

func always(status int) func(int) int { return func(int) int { return status } }

func (b *mailbox) all() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]received(nil), b.calls...)
}

// statuses lists the statuses that the hints named, in the order they came.
func (b *mailbox) statuses(t *testing.T) (list []int) {
	t.Helper()
	for _, c := range b.all() {
		var h hint
		if err := json.Unmarshal([]byte(c.body), &h); err != nil {
			t.Fatal(err)
		}
		list = append(list, h.Status)
	}
	return list
}

// openWithCallbacks starts an issuer with one KYC, "u1_1_a", that reports to url.
func openWithCallbacks(t *testing.T, url, secret string) *issuer {
	i := open(t, func(o *Options) { o.CallbackURL, o.CallbackSecret = url, secret })
	i.apply(i.login(), "u1_1_a", "mei@example.test")
	return i
}

// inState counts the callbacks in a state.
func (i *issuer) inState(state string) (n int) {
	i.t.Helper()
	if err := i.sim.DB.QueryRowContext(i.t.Context(), `SELECT count(*) FROM pokepay_callbacks WHERE state = $1`, state).Scan(&n); err != nil {
		i.t.Fatal(err)
	}
	return n
}

func (i *issuer) settled(delivered int) {
	i.t.Helper()
	eventually(i.t, fmt.Sprintf("%d callbacks delivered", delivered), func() bool {
		return i.inState(callbackDelivered) == delivered && i.inState(callbackWaiting) == 0
	})
}

func TestCallbackIsASignedHint(t *testing.T) {
	url, box := receive(t, always(200))
	i := openWithCallbacks(t, url, callbackSecret)
	i.decide(Key{AgentUID: "u1_1_a"}, StatusFailed, "a reason stays inside")
	i.settled(1)
	got := box.all()[0]
	want := fmt.Sprintf(`{"event":"kyc.updated","kyc_id":%d,"agent_uid":"u1_1_a","status":3,"time":1767225600}`, i.kyc("u1_1_a").ID)
	if got.body != want {
		t.Errorf("body %s, want %s", got.body, want)
	}
	if at := got.header.Get("X-Sandbox-Timestamp"); at != "1767225600" || got.header.Get("X-Sandbox-Signature") != sign(callbackSecret, 1767225600, []byte(got.body)) {
		t.Errorf("headers %v", got.header)
	}
	if ct := got.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
}

func TestCallbackWithoutSecretIsUnsigned(t *testing.T) {
	url, box := receive(t, always(200))
	i := openWithCallbacks(t, url, "")
	i.decide(Key{AgentUID: "u1_1_a"}, StatusApproved, "")
	i.settled(1)
	for _, name := range []string{"X-Sandbox-Timestamp", "X-Sandbox-Signature"} {
		if v := box.all()[0].header.Get(name); v != "" {
			t.Errorf("%s: %s", name, v)
		}
	}
}

func TestWhatSendsAHint(t *testing.T) {
	url, box := receive(t, always(204))
	i := openWithCallbacks(t, url, "")
	ctx := t.Context()
	steps := []struct {
		word string
		want []int // all hints so far
	}{
		{"In Progress", nil},
		{"Abandoned", nil},
		{"Approved", nil}, // the status is still 1
		{"In Review", []int{5}},
		{"Declined", []int{5, 3}},
		{"Declined", []int{5, 3}},
	}
	for _, step := range steps {
		if err := i.sim.DiditFinished(ctx, "u1_1_a", step.word, "", ""); err != nil {
			t.Fatal(err)
		}
		i.settled(len(step.want))
		if diff := cmp.Diff(step.want, box.statuses(t)); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.word, diff)
		}
	}
}

func TestCallbackIsRepeatedAcrossARestart(t *testing.T) {
	url, box := receive(t, func(n int) int {
		if n <= 2 {
			return 500
		}
		return 200
	})
	i := openWithCallbacks(t, url, callbackSecret)
	i.decide(Key{AgentUID: "u1_1_a"}, StatusApproved, "")
	attempted := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprintf("attempt %d recorded", n), func() bool {
			var attempts int
			err := i.sim.DB.QueryRowContext(t.Context(), `SELECT attempts FROM pokepay_callbacks`).Scan(&attempts)
			return err == nil && attempts == n
		})
	}
	attempted(1)
	i.clock.Advance(retryWaits[0])
	attempted(2)
	i.restart()
	if due, err := i.sim.dueCallbacks(t.Context(), 1); len(due) != 0 || err != nil {
		t.Errorf("due before its time: %+v, %v", due, err)
	}
	i.clock.Advance(retryWaits[1])
	i.settled(1)
	calls := box.all()
	if len(calls) != 3 {
		t.Fatalf("%d calls, want 3", len(calls))
	}
	for _, c := range calls { // the same body; each attempt signed with its own time
		at, err := strconv.ParseInt(c.header.Get("X-Sandbox-Timestamp"), 10, 64)
		if err != nil || c.body != calls[0].body || c.header.Get("X-Sandbox-Signature") != sign(callbackSecret, at, []byte(c.body)) {
			t.Errorf("%v %s", c.header, c.body)
		}
	}
	if calls[2].header.Get("X-Sandbox-Timestamp") != strconv.FormatInt(start.Add(12*time.Second).Unix(), 10) {
		t.Errorf("timestamp of the third attempt: %v", calls[2].header)
	}
}

func TestCallbackIsGivenUp(t *testing.T) {
	url, box := receive(t, always(503))
	i := openWithCallbacks(t, url, "")
	i.decide(Key{AgentUID: "u1_1_a"}, StatusApproved, "")
	for _, wait := range retryWaits {
		calls := len(box.all())
		eventually(t, "next attempt", func() bool { i.clock.Advance(wait); return len(box.all()) > calls })
	}
	eventually(t, "given up", func() bool { i.clock.Advance(time.Hour); return i.inState(callbackFailed) == 1 })
	if n := len(box.all()); n != 1+len(retryWaits) {
		t.Errorf("%d attempts, want %d", n, 1+len(retryWaits))
	}
}

func TestReceiverThatIsAway(t *testing.T) {
	i := openWithCallbacks(t, "http://127.0.0.1:1/secret-path", "")
	i.decide(Key{AgentUID: "u1_1_a"}, StatusApproved, "")
	var text string
	eventually(t, "a failed attempt", func() bool {
		err := i.sim.DB.QueryRowContext(t.Context(), `SELECT last_error FROM pokepay_callbacks WHERE attempts > 0`).Scan(&text)
		return err == nil
	})
	if want := "dial tcp 127.0.0.1:1: connect: connection refused"; text != want { // without the path, which is a secret
		t.Errorf("error %q, want %q", text, want)
	}
}

func TestCallbackFaults(t *testing.T) {
	url, box := receive(t, always(200))
	i := openWithCallbacks(t, url, callbackSecret)
	key := Key{AgentUID: "u1_1_a"}

	i.inject(fault.Rule{Operation: "callback", Kind: fault.DropWebhook, Count: 1})
	i.decide(key, StatusReview, "")
	i.settled(0)
	if n := i.inState(callbackDropped); n != 1 {
		t.Errorf("%d dropped, want 1", n)
	}

	i.inject(fault.Rule{Operation: "callback", Kind: fault.DuplicateWebhook, Count: 1})
	i.decide(key, StatusApproved, "")
	i.settled(2)
	if calls := box.all(); calls[0].body != calls[1].body {
		t.Errorf("the copies differ: %s and %s", calls[0].body, calls[1].body)
	}

	i.inject(fault.Rule{Operation: "callback", Kind: fault.ForgeSignature, Count: 1})
	i.decide(key, StatusFailed, "")
	i.settled(3)
	forged := box.all()[2]
	if s := forged.header.Get("X-Sandbox-Signature"); len(s) != 64 || s == sign(callbackSecret, start.Unix(), []byte(forged.body)) {
		t.Errorf("signature %q", s)
	}

	i.inject(fault.Rule{Operation: "callback", Kind: fault.Reorder}) // for good: every second one overtakes
	i.decide(key, StatusMismatch, "")
	i.restart() // held back, not forgotten
	if n := i.inState(callbackHeld); n != 1 {
		t.Fatalf("%d held, want 1", n)
	}
	i.decide(key, StatusDuplicate, "")
	i.settled(5)
	if diff := cmp.Diff([]int{2, 2, 3, 6, 4}, box.statuses(t)); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// One receiver that does not answer must not keep the others from being told.
func TestSlowReceiverHoldsUpOnlyItsOwnCall(t *testing.T) {
	release := make(chan struct{})
	var mu sync.Mutex
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		calls++
		first := calls == 1
		mu.Unlock()
		if first {
			<-release
		}
	}))
	t.Cleanup(server.Close)
	i := open(t, func(o *Options) { o.CallbackURL = server.URL })
	t.Cleanup(func() { close(release) })
	token := i.login()
	for n := range 3 {
		uid := fmt.Sprintf("u%d_1_a", n)
		i.apply(token, uid, uid+"@example.test")
		i.decide(Key{AgentUID: uid}, StatusApproved, "")
	}
	eventually(t, "the others are told while the first is slow", func() bool { return i.inState(callbackDelivered) == 2 })
}
