package pokepay

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	account   = "ops@example.test"
	password  = "correct horse"
	appID     = "app-1"
	appSecret = "app-secret-1"
)

// verifier stands for the issuer's Didit account: it hands out numbered sessions and remembers for whom.
type verifier struct {
	mu     sync.Mutex
	opened []string // references
	fail   error
}

func (v *verifier) CreateForeign(_ context.Context, reference, callback, _, _, _ string) (sessionID, url string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fail != nil {
		return "", "", v.fail
	}
	v.opened = append(v.opened, reference)
	id := fmt.Sprintf("session-%d", len(v.opened))
	return id, "http://didit.test/session/" + id + "?callback=" + callback, nil
}

func (v *verifier) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.opened)
}

// issuer is a simulator that runs behind a real listener, on a database file that can be opened again.
type issuer struct {
	t        *testing.T
	file     string
	clock    *clock.Fixed
	faults   *fault.Plan
	verifier *verifier
	options  func(*Options)

	sim  *Simulator
	url  string
	stop func()
}

// open starts an issuer; options may be nil.
func open(t *testing.T, options func(*Options)) *issuer {
	t.Helper()
	i := &issuer{t: t, file: filepath.Join(t.TempDir(), "providers.db"), clock: clock.NewFixed(start), faults: &fault.Plan{},
		verifier: &verifier{}, options: options}
	i.start()
	t.Cleanup(func() { i.stop() })
	return i
}

func (i *issuer) start() {
	i.t.Helper()
	db, err := sql.Open("sqlite", "file:"+i.file+"?_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)")
	if err != nil {
		i.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	o := Options{DB: db, Clock: i.clock, Faults: i.faults, Sessions: i.verifier, Account: account, Password: password,
		AppID: appID, AppSecret: appSecret}
	if i.options != nil {
		i.options(&o)
	}
	if i.sim, err = New(i.t.Context(), o); err != nil {
		i.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- i.sim.Run(ctx) }()
	server := httptest.NewServer(http.StripPrefix("/pokepay", i.sim.Handler()))
	i.url = server.URL + "/pokepay"
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			i.t.Errorf("Run: %v", err)
		}
		server.Close()
		if err := db.Close(); err != nil {
			i.t.Errorf("close: %v", err)
		}
	})
}

// restart ends the process, as far as the issuer's state is concerned, and starts it again on its file.
func (i *issuer) restart() {
	i.t.Helper()
	i.stop()
	i.start()
}

type reply struct {
	Code      int             `json:"code"`
	Data      json.RawMessage `json:"data"`
	Errstr    string          `json:"errstr"`
	RequestID string          `json:"request_id"`
}

// raw makes one call and returns status, headers and body as they came.
func (i *issuer) raw(method, path, token string, body any) (*http.Response, []byte, error) {
	var payload io.Reader
	switch body := body.(type) {
	case nil:
	case string:
		payload = bytes.NewReader([]byte(body))
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			i.t.Fatal(err)
		}
		payload = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(i.t.Context(), method, i.url+path, payload)
	if err != nil {
		i.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return resp, content, err
}

// call makes one call that has to be answered by the envelope with HTTP status 200.
func (i *issuer) call(method, path, token string, body any) reply {
	i.t.Helper()
	resp, content, err := i.raw(method, path, token, body)
	if err != nil {
		i.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		i.t.Fatalf("%s %s: HTTP %d %s", method, path, resp.StatusCode, content)
	}
	var r reply
	if err := json.Unmarshal(content, &r); err != nil {
		i.t.Fatalf("%s %s: %v: %s", method, path, err, content)
	}
	return r
}

func (i *issuer) wantRefused(r reply, code int, errstr string) {
	i.t.Helper()
	if r.Code != code || r.Errstr != errstr || string(r.Data) != "null" {
		i.t.Errorf("got code %d, errstr %q, data %s; want %d, %q, null", r.Code, r.Errstr, r.Data, code, errstr)
	}
}

// login returns a token.
func (i *issuer) login() string {
	i.t.Helper()
	r := i.call("POST", "/web/auth/login", "", map[string]any{"account": account, "login_type": "email", "password": password, "area_code": 852})
	return decode[struct{ Token string }](i.t, r).Token
}

// decode reads the data of an answer that has to be a success.
func decode[T any](t *testing.T, r reply) (out T) {
	t.Helper()
	if r.Code != 200 || r.Errstr != "SUCCESS" {
		t.Fatalf("code %d, errstr %q", r.Code, r.Errstr)
	}
	if err := json.Unmarshal(r.Data, &out); err != nil {
		t.Fatalf("%v: %s", err, r.Data)
	}
	return out
}

type fields map[string]any

// with returns a copy with one field changed.
func (f fields) with(name string, value any) fields {
	changed := fields{}
	for k, v := range f {
		changed[k] = v
	}
	changed[name] = value
	return changed
}

func initBody(agentUID, email string) fields {
	return fields{"agent_uid": agentUID, "email": email, "first_en_name": "MEI", "last_en_name": "CHAN", "area_code": "852",
		"phone": "51234567", "address": "1 Queen's Road", "city": "Hong Kong", "state": "HK", "post_code": "000000",
		"bill_country_code": "HK", "return_url": "http://app.test/kyc/return"}
}

// apply opens a hosted KYC and returns its session.
func (i *issuer) apply(token, agentUID, email string) (sessionID string) {
	i.t.Helper()
	r := i.call("POST", "/api/v1/kyc/didit/init", token, initBody(agentUID, email))
	return decode[struct {
		SessionID string `json:"session_id"`
	}](i.t, r).SessionID
}

// kyc returns the one KYC with this agent_uid as the issuer holds it.
func (i *issuer) kyc(agentUID string) KYCState {
	i.t.Helper()
	all, err := i.sim.KYCs(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	for _, k := range all {
		if k.AgentUID == agentUID {
			return k
		}
	}
	i.t.Fatalf("no KYC %q in %+v", agentUID, all)
	return KYCState{}
}

func (i *issuer) decide(key Key, status int, reason string) {
	i.t.Helper()
	if err := i.sim.Decide(i.t.Context(), key, status, reason); err != nil {
		i.t.Fatal(err)
	}
}

func (i *issuer) inject(rule fault.Rule) {
	i.t.Helper()
	rule.Provider = "pokepay"
	if err := i.faults.Add(rule); err != nil {
		i.t.Fatal(err)
	}
}

// eventually polls until condition holds, for at most ten seconds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-limit:
			t.Fatalf("not within ten seconds: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestNewNeedsItsNeighbours(t *testing.T) {
	if _, err := New(t.Context(), Options{}); err == nil {
		t.Error("New without DB, Clock and Sessions must fail")
	}
}

func TestUnknownPathAnswersInTheEnvelope(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	for _, path := range []string{"/api/v1/system/nothing", "/api/v2/kyc", "/", "/api/v1/kyc/1/more"} {
		i.wantRefused(i.call("GET", path, token, nil), 404, "not found")
	}
	i.wantRefused(i.call("DELETE", "/api/v1/kyc", token, nil), 404, "not found")
}

func TestStateSurvivesARestart(t *testing.T) {
	i := open(t, func(o *Options) { o.SingleToken = true })
	if err := i.sim.AddForeignEmail(t.Context(), "elsewhere@example.test"); err != nil {
		t.Fatal(err)
	}
	token := i.login()
	session := i.apply(token, "u1_1_a", "mei@example.test")
	i.decide(Key{SessionID: session}, StatusReview, "second look")
	before := i.kyc("u1_1_a")

	i.restart()

	if after := i.kyc("u1_1_a"); after != before {
		t.Errorf("after the restart %+v, before %+v", after, before)
	}
	got := decode[kycObject](t, i.call("GET", fmt.Sprintf("/api/v1/kyc/%d", before.ID), token, nil)) // with the token of before
	if got.Status != StatusReview || got.Reason != "second look" {
		t.Errorf("status %d, reason %q", got.Status, got.Reason)
	}
	i.wantRefused(i.call("POST", "/api/v1/kyc/didit/init", token, initBody("u2_1_a", "Elsewhere@example.test")), 400, string(emailUsed))
}

func TestSessionFailureLeavesNothingBehind(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	i.verifier.fail = errors.New("didit is down")
	i.wantRefused(i.call("POST", "/api/v1/kyc/didit/init", token, initBody("u1_1_a", "mei@example.test")), 500, "system error")
	all, err := i.sim.KYCs(t.Context())
	if err != nil || len(all) != 0 {
		t.Errorf("KYCs %+v, error %v; want none", all, err)
	}
}
