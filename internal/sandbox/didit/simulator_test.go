package didit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

const (
	testKey      = "test-api-key"
	testWorkflow = "99999999-8888-4777-8666-555555555555"
	testSecret   = "whsec_test-secret"
)

var testStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a simulator behind a real listener, with a receiver of its webhooks.
type world struct {
	*Simulator
	t        *testing.T
	clock    *clock.Fixed
	faults   *fault.Plan
	base     string // of the simulator, with its prefix
	receiver *receiver
	file     string
	stop     func() // ends the simulator as a kill would: its state stays
}

type setting func(*Options)

func newWorld(t *testing.T, settings ...setting) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewFixed(testStart), faults: &fault.Plan{}, receiver: newReceiver(t),
		file: filepath.Join(t.TempDir(), "sandbox.db")}
	w.start(settings...)
	return w
}

// start runs a simulator on the world's database.
func (w *world) start(settings ...setting) {
	t := w.t
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+w.file+"?_pragma=journal_mode(wal)&_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	server := httptest.NewUnstartedServer(nil)
	w.base = "http://" + server.Listener.Addr().String() + "/didit"
	o := Options{DB: db, Clock: w.clock, Faults: w.faults, BaseURL: w.base, APIKey: testKey, WorkflowID: testWorkflow,
		WebhookURL: w.receiver.url, WebhookSecrets: []string{testSecret, "an older secret"}}
	for _, set := range settings {
		set(&o)
	}
	w.Simulator, err = New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = http.StripPrefix("/didit", w.Handler())
	server.Start()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
		server.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
}

// reply is an answer that was read.
type reply struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

var plainClient = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send makes a request with the API key; header lines are pairs.
func (w *world) send(method, path, body string, header ...string) reply {
	w.t.Helper()
	target := path
	if !strings.HasPrefix(path, "http") {
		target = w.base + path
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("x-api-key", testKey)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := plainClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	r := reply{status: res.StatusCode, header: res.Header, body: string(text)}
	_ = json.Unmarshal(text, &r.json) // pages and lists are not objects
	return r
}

// must is send for answers of one status.
func (w *world) must(status int, method, path, body string, header ...string) reply {
	w.t.Helper()
	r := w.send(method, path, body, header...)
	if r.status != status {
		w.t.Fatalf("%s %s: status %d, want %d; body %s", method, path, r.status, status, r.body)
	}
	return r
}

// made is a session as the create call gave it.
type made struct{ id, token, url string }

func (w *world) create(vendorData string, more ...string) made {
	w.t.Helper()
	in := map[string]any{"workflow_id": testWorkflow, "callback": "https://app.example.test/done?x=1"}
	if vendorData != "" {
		in["vendor_data"] = vendorData
	}
	for i := 0; i < len(more); i += 2 {
		in[more[i]] = json.RawMessage(more[i+1])
	}
	body, err := json.Marshal(in)
	if err != nil {
		w.t.Fatal(err)
	}
	r := w.must(http.StatusCreated, "POST", "/v3/session/", string(body))
	return made{r.json["session_id"].(string), r.json["session_token"].(string), r.json["url"].(string)}
}

// act makes a choice on the page as a script does.
func (w *world) act(m made, action, risk string) reply {
	w.t.Helper()
	body, _ := json.Marshal(map[string]string{"action": action, "risk": risk})
	return w.must(http.StatusOK, "POST", m.url, string(body))
}

func (w *world) decisionOf(m made) map[string]any {
	w.t.Helper()
	return w.must(http.StatusOK, "GET", "/v3/session/"+m.id+"/decision/", "").json
}

func (w *world) state(id string) SessionState {
	w.t.Helper()
	list, err := w.Sessions(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, x := range list {
		if x.ID == id {
			return x
		}
	}
	w.t.Fatalf("session %s is not in the state", id)
	return SessionState{}
}

// eventually waits until a condition that other goroutines bring about holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("never happened: ", what)
		}
	}
}

// quiet waits until every webhook of a session has been dealt with and returns the session.
func (w *world) quiet(id string) SessionState {
	w.t.Helper()
	var x SessionState
	eventually(w.t, "all webhooks dealt with", func() bool {
		x = w.state(id)
		return x.Deliveries.Pending == 0
	})
	return x
}

// hit is a webhook that arrived.
type hit struct {
	header http.Header
	raw    []byte
	body   map[string]any
}

func (h hit) status() string { s, _ := h.body["status"].(string); return s }

// genuine tells whether all three signatures fit the secret.
func (h hit) genuine(secret string) bool {
	want, err := sign(secret, h.raw)
	return err == nil && h.header.Get("X-Signature") == want.raw && h.header.Get("X-Signature-V2") == want.canonical &&
		h.header.Get("X-Signature-Simple") == want.simple
}

// receiver takes webhooks and answers them as told.
type receiver struct {
	url     string
	mu      sync.Mutex
	hits    []hit
	answers []int // for the next ones; afterwards 200
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		raw, err := io.ReadAll(req.Body)
		h := hit{header: req.Header.Clone(), raw: raw}
		if d := json.NewDecoder(bytes.NewReader(raw)); err == nil {
			d.UseNumber()
			_ = d.Decode(&h.body)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hits = append(r.hits, h)
		if len(r.answers) > 0 {
			w.WriteHeader(r.answers[0])
			r.answers = r.answers[1:]
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL + "/webhooks/didit"
	return r
}

func (r *receiver) answer(statuses ...int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answers = statuses
}

func (r *receiver) all() []hit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]hit(nil), r.hits...)
}

// statuses are what arrived, in order, as one line.
func (r *receiver) statuses() string {
	var words []string
	for _, h := range r.all() {
		words = append(words, h.status())
	}
	return strings.Join(words, ", ")
}

func (w *world) plan(kind fault.Kind, operation string, count int) {
	w.t.Helper()
	if err := w.faults.Add(fault.Rule{Provider: "didit", Operation: operation, Kind: kind, Count: count}); err != nil {
		w.t.Fatal(err)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "x.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	good := Options{DB: db, BaseURL: "http://127.0.0.1:1/didit", APIKey: "k", WorkflowID: testWorkflow}
	for name, spoil := range map[string]setting{
		"no database":          func(o *Options) { o.DB = nil },
		"relative base":        func(o *Options) { o.BaseURL = "/didit" },
		"trailing slash":       func(o *Options) { o.BaseURL += "/" },
		"no key":               func(o *Options) { o.APIKey = "" },
		"no workflow":          func(o *Options) { o.WorkflowID = "" },
		"webhook without key":  func(o *Options) { o.WebhookURL = "http://127.0.0.1:1/" },
		"negative time scale":  func(o *Options) { o.TimeScale = -1 },
		"webhook, empty first": func(o *Options) { o.WebhookURL, o.WebhookSecrets = "http://127.0.0.1:1/", []string{""} },
	} {
		o := good
		spoil(&o)
		if _, err := New(t.Context(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(t.Context(), good); err != nil {
		t.Error("good options refused:", err)
	}
}

func TestJourneyToApproved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-42", "metadata", `{"tier":1,"note":"a<b & ünï 😀"}`, "expected_details", `{"first_name":"Zoë","last_name":"陳"}`)
	if d := w.decisionOf(m); d["status"] != notStarted || d["id_verifications"] != nil || d["reviews"] != nil {
		t.Errorf("decision before the start: %v", d)
	}
	w.must(http.StatusOK, "GET", m.url, "")
	if d := w.decisionOf(m); d["status"] != inProgress || d["liveness_checks"] != nil {
		t.Errorf("decision in progress: %v", d)
	}
	r := w.act(m, "approve", "")
	if want := "https://app.example.test/done?x=1&status=Approved&verificationSessionId=" + m.id; r.json["redirect"] != want {
		t.Errorf("redirect %v, want %s", r.json["redirect"], want)
	}
	w.quiet(m.id)
	if got := w.receiver.statuses(); got != "In Progress, Approved" {
		t.Fatalf("webhooks: %s", got)
	}
	for _, h := range w.receiver.all() {
		if !h.genuine(testSecret) {
			t.Errorf("%s: signatures do not fit", h.status())
		}
		if h.header.Get("User-Agent") != "DiditWebhook/2.0 +https://didit.me" || h.header.Get("Content-Type") != "application/json" ||
			h.header.Get("X-Timestamp") != strconv.FormatInt(testStart.Unix(), 10) {
			t.Errorf("%s: headers %v", h.status(), h.header)
		}
		if bytes.ContainsFunc(h.raw, func(r rune) bool { return r > 0x7e }) {
			t.Errorf("%s: the body is not ASCII", h.status())
		}
		if h.body["vendor_data"] != "user-42" || h.body["session_id"] != m.id || h.body["webhook_type"] != "status.updated" {
			t.Errorf("%s: body %s", h.status(), h.raw)
		}
		if note := h.body["metadata"].(map[string]any)["note"]; note != "a<b & ünï 😀" {
			t.Errorf("metadata came back as %v", note)
		}
	}
	first, last := w.receiver.all()[0], w.receiver.all()[1]
	if _, has := first.body["decision"]; has {
		t.Error("In Progress must not carry a decision")
	}
	if !bytes.Contains(last.raw, []byte(`Zo\u00eb`)) || !bytes.Contains(last.raw, []byte(`\ud83d\ude00`)) {
		t.Error("non-ASCII is not escaped as Python does")
	}
	d := w.decisionOf(m)
	id := d["id_verifications"].([]any)[0].(map[string]any)
	if id["first_name"] != "Zoë" || id["last_name"] != "陳" || id["status"] != approved || id["node_id"] != "feature_ocr" {
		t.Errorf("id verification: %v", id)
	}
	for _, key := range resultArrays {
		if _, has := d[key]; !has {
			t.Errorf("the decision lacks %s", key)
		}
	}
	for _, key := range []string{"liveness_checks", "face_matches", "aml_screenings", "ip_analyses"} {
		run := d[key].([]any)[0].(map[string]any)
		if run["status"] != approved || run["node_id"] == nil || run["warnings"] == nil {
			t.Errorf("%s: %v", key, run)
		}
	}
	if d["nfc_verifications"] != nil {
		t.Error("a step that is not in the workflow has a result")
	}
}

func TestDeclineExplainsItself(t *testing.T) {
	t.Parallel()
	for risk, where := range map[string]string{
		"DOCUMENT_EXPIRED":          "id_verifications",
		"LOW_LIVENESS_SCORE":        "liveness_checks",
		"LOW_FACE_MATCH_SIMILARITY": "face_matches",
		"POSSIBLE_MATCH_FOUND":      "aml_screenings",
		"DUPLICATED_IP_ADDRESS":     "ip_analyses",
		"NEVER_SEEN_BEFORE":         "id_verifications",
	} {
		t.Run(risk, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for action, level := range map[string]string{"decline": "error", "review": "warning"} {
				m := w.create("user-" + action)
				w.act(m, action, risk)
				d := w.decisionOf(m)
				run := d[where].([]any)[0].(map[string]any)
				found := run["warnings"].([]any)[0].(map[string]any)
				if found["risk"] != risk || found["log_type"] != level || found["short_description"] == "" {
					t.Errorf("%s: warning %v", action, found)
				}
				if run["status"] != d["status"] {
					t.Errorf("%s: step is %v, session is %v", action, run["status"], d["status"])
				}
				raised := 0
				for _, key := range resultArrays {
					list, _ := d[key].([]any)
					for _, e := range list {
						warnings, _ := e.(map[string]any)["warnings"].([]any)
						for _, x := range warnings {
							if x.(map[string]any)["log_type"] != "information" {
								raised++
							}
						}
					}
				}
				if raised != 1 {
					t.Errorf("%s: %d warnings explain the outcome, want 1", action, raised)
				}
			}
		})
	}
}

func TestCreateReusesTheUnfinishedSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.create("user-1", "metadata", `{"try":1}`)
	again := w.create("user-1", "metadata", `{"try":2}`, "callback", `"myapp://done"`)
	if again != first {
		t.Fatalf("another session: %v, %v", first, again)
	}
	d := w.decisionOf(first)
	if d["callback"] != "myapp://done" || d["metadata"].(map[string]any)["try"] != 2.0 {
		t.Errorf("callback and metadata were not taken over: %v %v", d["callback"], d["metadata"])
	}
	if x := w.state(first.id); x.Creates != 2 || x.Billed != 1 {
		t.Errorf("creates %d, billed %d", x.Creates, x.Billed)
	}
	if other := w.create("user-2"); other.id == first.id {
		t.Error("another person got the same session")
	}
	if a, b := w.create(""), w.create(""); a.id == b.id {
		t.Error("sessions without vendor_data were shared")
	}
	w.act(first, "decline", "")
	second := w.create("user-1")
	if second.id == first.id {
		t.Error("a finished session was handed out")
	}
	if x := w.state(second.id); x.Billed != 2 {
		t.Errorf("billed %d, want 2", x.Billed)
	}
	version, err := w.PublishWorkflow(t.Context())
	if err != nil || version != 2 {
		t.Fatalf("published version %d, %v", version, err)
	}
	r := w.must(http.StatusCreated, "POST", "/v3/session/", `{"workflow_id":"`+testWorkflow+`","vendor_data":"user-1"}`)
	if r.json["session_id"] == second.id || r.json["workflow_version"] != 2.0 {
		t.Errorf("after publishing: %s", r.body)
	}
}

func TestParallelCreatesMakeOneSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var group sync.WaitGroup
	ids := make([]string, 64)
	for i := range ids {
		group.Go(func() {
			req, _ := http.NewRequest("POST", w.base+"/v3/session/", strings.NewReader(`{"workflow_id":"`+testWorkflow+`","vendor_data":"same"}`))
			req.Header.Set("x-api-key", testKey)
			res, err := plainClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			var out struct {
				ID string `json:"session_id"`
			}
			if err := json.NewDecoder(res.Body).Decode(&out); err != nil {
				t.Error(err)
			}
			ids[i] = out.ID
		})
	}
	group.Wait()
	for _, id := range ids {
		if id == "" || id != ids[0] {
			t.Fatalf("different sessions: %v", ids)
		}
	}
	if x := w.state(ids[0]); x.Creates != 64 || x.Billed != 1 {
		t.Errorf("creates %d, billed %d", x.Creates, x.Billed)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-1")
	create := func(fields string) string { return `{"workflow_id":"` + testWorkflow + `",` + fields + `}` }
	for _, c := range []struct {
		name, method, path, body, key string
		status                        int
		contains                      string
	}{
		{"no key", "GET", "/v3/sessions/", "", "-", 403, `{"detail":"You do not have permission to perform this action."}`},
		{"wrong key", "POST", "/v3/session/", create(`"vendor_data":"x"`), "wrong", 403, "permission"},
		{"no workflow", "POST", "/v3/session/", `{}`, "", 400, `{"workflow_id":["This field is required."]}`},
		{"workflow is no uuid", "POST", "/v3/session/", `{"workflow_id":"x"}`, "", 400, `"workflow_id":[`},
		{"workflow is a number", "POST", "/v3/session/", `{"workflow_id":7}`, "", 400, `"workflow_id":[`},
		{"unknown workflow", "POST", "/v3/session/", `{"workflow_id":"00000000-0000-4000-8000-000000000000"}`, "", 400, `"workflow_id":[`},
		{"vendor_data too long", "POST", "/v3/session/", create(`"vendor_data":"` + strings.Repeat("é", 513) + `"`), "", 400, `"vendor_data":[`},
		{"vendor_data at its limit", "POST", "/v3/session/", create(`"vendor_data":"` + strings.Repeat("é", 512) + `"`), "", 201, "session_id"},
		{"vendor_data is a list", "POST", "/v3/session/", create(`"vendor_data":[]`), "", 400, `"vendor_data":[`},
		{"callback runs code", "POST", "/v3/session/", create(`"callback":"javascript:alert(1)"`), "", 400, `"callback":[`},
		{"callback is relative", "POST", "/v3/session/", create(`"callback":"/done"`), "", 400, `"callback":[`},
		{"callback_method", "POST", "/v3/session/", create(`"callback_method":"nobody"`), "", 400, `"callback_method":[`},
		{"language", "POST", "/v3/session/", create(`"language":"english"`), "", 400, `"language":[`},
		{"metadata is a list", "POST", "/v3/session/", create(`"metadata":[1]`), "", 400, `"metadata":[`},
		{"metadata is not JSON", "POST", "/v3/session/", create(`"metadata":"{"`), "", 400, `"metadata":[`},
		{"metadata beyond floats", "POST", "/v3/session/", create(`"metadata":{"n":1e999}`), "", 400, `"metadata":[`},
		{"metadata as text", "POST", "/v3/session/", create(`"metadata":"{\"a\":1}"`), "", 201, `"metadata":"{\"a\":1}"`},
		{"date of birth", "POST", "/v3/session/", create(`"expected_details":{"date_of_birth":"1.2.1990"}`), "", 400, `"date_of_birth":[`},
		{"gender", "POST", "/v3/session/", create(`"expected_details":{"gender":"X"}`), "", 400, `"gender":[`},
		{"country", "POST", "/v3/session/", create(`"expected_details":{"id_country":"HK"}`), "", 400, `"id_country":[`},
		{"phone", "POST", "/v3/session/", create(`"contact_details":{"phone":"123"}`), "", 400, `"phone":[`},
		{"email", "POST", "/v3/session/", create(`"contact_details":{"email":"nobody"}`), "", 400, `"email":[`},
		{"not JSON", "POST", "/v3/session/", `{`, "", 400, "JSON parse error"},
		{"a list", "POST", "/v3/session/", `[]`, "", 400, "non_field_errors"},
		{"not UTF-8", "POST", "/v3/session/", "{\"a\":\"\xff\"}", "", 400, "JSON parse error"},
		{"too large", "POST", "/v3/session/", `{"a":"` + strings.Repeat("x", maxBody) + `"}`, "", 413, "too large"},
		{"unknown session", "GET", "/v3/session/nobody/decision/", "", "", 404, `{"detail":"Not found."}`},
		{"unknown path", "GET", "/v3/nothing/", "", "", 404, "Not found"},
		{"wrong method", "PUT", "/v3/session/", "{}", "", 405, `Method \"PUT\" not allowed.`},
		{"bad date", "GET", "/v3/sessions/?date_from=yesterday", "", "", 400, `"date_from":[`},
		{"unknown webhook", "GET", "/v3/session/" + m.id + "/webhook/none", "", "", 404, "Not found"},
		{"resend unknown", "POST", "/v3/session/" + m.id + "/webhook/none/resend", "", "", 404, "Not found"},
	} {
		var header []string
		switch c.key {
		case "-":
			header = []string{"x-api-key", ""}
		case "wrong":
			header = []string{"x-api-key", c.key}
		}
		r := w.send(c.method, c.path, c.body, header...)
		if r.status != c.status || !strings.Contains(r.body, c.contains) {
			t.Errorf("%s: %d %s; want %d with %s", c.name, r.status, r.body, c.status, c.contains)
		}
	}
}

func TestTrailingSlash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-1")
	w.must(http.StatusOK, "GET", "/v3/session/"+m.id+"/decision", "")
	w.must(http.StatusOK, "GET", "/v3/sessions?limit=1", "")
	r := w.must(http.StatusMovedPermanently, "POST", "/v3/session?a=b", `{}`)
	if got := r.header.Get("Location"); got != "/didit/v3/session/?a=b" {
		t.Errorf("Location %q", got)
	}
	r = w.must(http.StatusMovedPermanently, "PATCH", "/v3/session/"+m.id+"/update-status", `{"new_status":"Approved"}`)
	if got := r.header.Get("Location"); got != "/didit/v3/session/"+m.id+"/update-status/" {
		t.Errorf("Location %q", got)
	}
	w.must(http.StatusNotFound, "POST", "/v3/nothing", `{}`)
}

func TestUpdateStatusRules(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	patch := func(status int, id, body string) reply {
		t.Helper()
		return w.must(status, "PATCH", "/v3/session/"+id+"/update-status/", body)
	}
	for _, from := range []string{notStarted, inProgress, awaiting, expired} {
		m := w.create("from " + from)
		if err := w.SetStatus(ctx, m.id, from, ""); err != nil {
			t.Fatal(err)
		}
		// The status is looked at before the body.
		if r := patch(400, m.id, `not json`); !strings.Contains(r.body, "wrong current status") {
			t.Errorf("%s: %s", from, r.body)
		}
	}
	for _, from := range []string{approved, declined, inReview, kycExpired, abandoned, resubmitted} {
		for _, to := range []string{approved, declined, resubmitted} {
			m := w.create(from + " to " + to)
			if err := w.SetStatus(ctx, m.id, from, ""); err != nil {
				t.Fatal(err)
			}
			before := w.quiet(m.id).Deliveries.Events
			body := `{"new_status":"` + to + `","comment":"by hand"}`
			switch {
			case from == to && to == resubmitted:
				if r := patch(400, m.id, body); !strings.Contains(r.body, "same as the current status") {
					t.Errorf("%s", r.body)
				}
				continue
			case from == to:
				patch(200, m.id, body)
				if after := w.quiet(m.id).Deliveries.Events; after != before {
					t.Errorf("%s to itself sent a webhook", from)
				}
				continue
			}
			if r := patch(200, m.id, body); r.body != `{"session_id":"`+m.id+`"}` {
				t.Errorf("answer %s", r.body)
			}
			x := w.quiet(m.id)
			if x.Status != to || x.Deliveries.Events != before+1 {
				t.Errorf("%s to %s: status %s, %d webhooks", from, to, x.Status, x.Deliveries.Events-before)
			}
			log := w.must(200, "GET", "/v3/sessions/"+m.id+"/reviews/", "")
			if !strings.Contains(log.body, `"new_status":"`+to+`"`) || !strings.Contains(log.body, `"note":"by hand"`) {
				t.Errorf("review log %s", log.body)
			}
		}
	}
	m := w.create("bodies")
	w.act(m, "review", "")
	for _, body := range []string{`{}`, `{"new_status":"In Review"}`, `{"new_status":"approved"}`, `{"new_status":true}`, `x`,
		`{"new_status":"Approved","send_email":true}`, `{"new_status":"Resubmitted","nodes_to_resubmit":[{"node_id":"x"}]}`,
		`{"new_status":"Resubmitted","nodes_to_resubmit":"all"}`} {
		patch(400, m.id, body)
	}
	patch(404, "nobody", `{"new_status":"Approved"}`)
	if x := w.state(m.id); x.Status != inReview {
		t.Errorf("refused updates moved the session to %s", x.Status)
	}
}

func TestResubmission(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-1")
	w.act(m, "decline", "LOW_LIVENESS_SCORE")
	w.must(200, "PATCH", "/v3/session/"+m.id+"/update-status/", `{"new_status":"Resubmitted"}`)
	w.quiet(m.id)
	hits := w.receiver.all()
	info, _ := json.Marshal(hits[len(hits)-1].body["resubmit_info"])
	want := `{"nodes_to_resubmit":[{"feature":"LIVENESS","node_id":"feature_liveness"}],"reasons":{"feature_liveness":"Low liveness score"}}`
	if string(info) != want {
		t.Errorf("resubmit_info %s, want %s", info, want)
	}
	if d := w.decisionOf(m); d["liveness_checks"].([]any)[0].(map[string]any)["status"] != notFinished {
		t.Error("the step to do again should be unfinished")
	}
	if again := w.create("user-1"); again.id != m.id {
		t.Error("a resubmitted session is unfinished and must be handed out again")
	}
	if r := w.must(200, "GET", m.url, ""); !strings.Contains(r.body, `value="approve"`) {
		t.Error("the page did not reopen")
	}
	w.act(m, "approve", "")
	w.quiet(m.id)
	if got := w.receiver.statuses(); got != "In Progress, Declined, Resubmitted, In Progress, Approved" {
		t.Errorf("webhooks: %s", got)
	}
}

func TestBackendResubmissionRunsByItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-1")
	w.act(m, "review", "POSSIBLE_MATCH_FOUND")
	again := `{"new_status":"Resubmitted","nodes_to_resubmit":[{"node_id":"feature_aml","feature":"AML"}]}`
	w.must(200, "PATCH", "/v3/session/"+m.id+"/update-status/", again)
	if x := w.quiet(m.id); x.Status != approved {
		t.Errorf("status %s after the screening ran again", x.Status)
	}
	r := w.must(429, "PATCH", "/v3/session/"+m.id+"/update-status/", again)
	if r.header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
	}
	if x := w.state(m.id); x.Status != approved {
		t.Error("a refused resubmission changed the session")
	}
	w.clock.Advance(30 * time.Second)
	w.must(200, "PATCH", "/v3/session/"+m.id+"/update-status/", again)
}

func TestListPagesAndFilters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var sessions []made
	for i := range 25 {
		sessions = append(sessions, w.create("user-"+strconv.Itoa(i), "expected_details", `{"id_country":"ESP","first_name":"Ana","last_name":"N`+strconv.Itoa(i)+`"}`))
		w.clock.Advance(time.Hour)
	}
	w.act(sessions[3], "decline", "")
	if _, _, err := w.CreateForeign(t.Context(), Foreign{Owner: "issuer", Reference: "user-3"}); err != nil {
		t.Fatal(err)
	}
	ids := func(r reply) []string {
		var list []string
		for _, e := range r.json["results"].([]any) {
			list = append(list, e.(map[string]any)["session_id"].(string))
		}
		return list
	}
	var walked []string
	pages := 0
	for next := any(w.base + "/v3/sessions/?limit=10"); next != nil; pages++ {
		r := w.must(200, "GET", next.(string), "")
		if r.json["count"] != 25.0 {
			t.Fatalf("count %v", r.json["count"])
		}
		walked = append(walked, ids(r)...)
		next = r.json["next"]
	}
	if pages != 3 || len(walked) != 25 || walked[0] != sessions[24].id || walked[24] != sessions[0].id {
		t.Errorf("%d pages, %d sessions, newest first: %v", pages, len(walked), walked)
	}
	if r := w.must(200, "GET", "/v3/sessions/", ""); len(ids(r)) != 20 || r.json["previous"] != nil {
		t.Errorf("default page has %d", len(ids(r)))
	}
	for query, want := range map[string]int{
		"vendor_data=user-3": 1, "status=Declined": 1, "status=Not+Started": 24, "status=Declined,Not+Started": 25,
		"status=Approved": 0, "country=ESP": 25, "country=deu": 0, "workflow_id=" + testWorkflow: 25, "workflow_id=x": 0,
		"session_kind=user": 25, "session_kind=business": 0, "search=n24": 1, "search=" + sessions[7].id: 1,
		"date_from=2026-01-02": 1, "date_to=2026-01-01": 24, "date_from=2026-01-01T05:00:00Z&date_to=2026-01-01T07:00:00Z": 2,
		"vendor_data=user-3&status=Declined": 1, "vendor_data=user-3&status=Approved": 0,
	} {
		if r := w.must(200, "GET", "/v3/sessions/?"+query, ""); r.json["count"] != float64(want) {
			t.Errorf("%s: %v sessions, want %d", query, r.json["count"], want)
		}
	}
}

func TestDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m, other, third := w.create("user-1"), w.create("user-2"), w.create("user-3")
	w.act(m, "approve", "")
	w.quiet(m.id)
	picture := w.decisionOf(m)["id_verifications"].([]any)[0].(map[string]any)["portrait_image"].(string)
	w.must(200, "GET", picture, "")
	w.must(204, "DELETE", "/v3/session/"+m.id+"/delete/", "")
	w.must(404, "DELETE", "/v3/session/"+m.id+"/delete/", "")
	w.must(404, "GET", "/v3/session/"+m.id+"/decision/", "")
	w.must(404, "GET", "/session/"+m.token, "")
	w.must(404, "GET", picture, "")
	if x := w.create("user-1"); w.state(x.id).Billed != 2 {
		t.Error("a deleted session is off the bill")
	}
	w.must(400, "POST", "/v3/sessions/delete/", `{"session_numbers":["x"]}`)
	w.must(400, "POST", "/v3/sessions/delete/", `{}`)
	w.must(204, "POST", "/v3/sessions/delete/", `{"session_numbers":[`+strconv.FormatInt(w.state(other.id).Number, 10)+`]}`)
	w.must(404, "GET", "/v3/session/"+other.id+"/decision/", "")
	w.must(200, "GET", "/v3/session/"+third.id+"/decision/", "")
	foreign, _, err := w.CreateForeign(t.Context(), Foreign{Owner: "issuer"})
	if err != nil {
		t.Fatal(err)
	}
	w.must(204, "POST", "/v3/sessions/delete/", `{"delete_all":true}`)
	list, err := w.Sessions(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != foreign {
		t.Errorf("after deleting all of ours: %v, %v", list, err)
	}
}

func TestSessionsGrowOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unopened, started := w.create("unopened"), w.create("started")
	w.must(200, "GET", started.url, "")
	w.clock.Advance(24*time.Hour - time.Second)
	if x := w.state(started.id); x.Status != inProgress {
		t.Errorf("too early: %s", x.Status)
	}
	w.clock.Advance(time.Second)
	eventually(t, "abandoned", func() bool { return strings.Contains(w.receiver.statuses(), abandoned) })
	if x := w.state(unopened.id); x.Status != notStarted {
		t.Errorf("too early: %s", x.Status)
	}
	w.clock.Advance(6 * 24 * time.Hour)
	// No call has to wait for the sweep: the link is dead the moment it is.
	if r := w.must(200, "GET", unopened.url, ""); strings.Contains(r.body, "<form") {
		t.Error("the page of an expired link offers a choice")
	}
	eventually(t, "expired", func() bool { return strings.Contains(w.receiver.statuses(), expired) })
	if x := w.create("unopened"); x.id == unopened.id {
		t.Error("an expired session was handed out")
	}
	if d := w.decisionOf(started); d["id_verifications"].([]any)[0].(map[string]any)["status"] != notFinished {
		t.Error("an abandoned session has a finished document")
	}
	w.must(409, "POST", unopened.url, `{"action":"approve"}`)
}

func TestImagesExpire(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-1")
	w.act(m, "approve", "")
	picture := w.decisionOf(m)["id_verifications"].([]any)[0].(map[string]any)["front_image"].(string)
	r := w.must(200, "GET", picture, "", "x-api-key", "")
	if !strings.HasPrefix(r.body, "\x89PNG") || r.header.Get("Content-Type") != "image/png" {
		t.Error("not a PNG")
	}
	w.must(403, "GET", strings.Replace(picture, "X-Amz-Expires=3600", "X-Amz-Expires=999999", 1), "")
	w.must(403, "GET", strings.Replace(picture, "front.png", "portrait.png", 1), "")
	w.clock.Advance(time.Hour)
	w.must(200, "GET", picture, "")
	w.clock.Advance(time.Second)
	if r := w.must(403, "GET", picture, ""); !strings.Contains(r.body, "Request has expired") {
		t.Errorf("body %s", r.body)
	}
	fresh := w.decisionOf(m)["id_verifications"].([]any)[0].(map[string]any)["front_image"].(string)
	w.must(200, "GET", fresh, "")
}

func TestTheSamePersonEveryTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	document := func(m made) string {
		w.act(m, "approve", "")
		id := w.decisionOf(m)["id_verifications"].([]any)[0].(map[string]any)
		if (id["document_type"] == "Passport") != (id["back_image"] == nil) {
			t.Errorf("%v with back image %v", id["document_type"], id["back_image"])
		}
		return id["document_number"].(string)
	}
	seen := map[string]bool{}
	for i := range 12 {
		name := "user-" + strconv.Itoa(i)
		first, second := document(w.create(name)), document(w.create(name))
		if first != second || seen[first] {
			t.Errorf("%s: documents %s and %s", name, first, second)
		}
		seen[first] = true
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Limits = Limits{Create: 3} })
	traffic := clock.NewFixed(testStart)
	w.limits.clock = traffic
	m := w.create("user-1")
	traffic.Advance(20 * time.Second)
	w.create("user-2")
	w.must(201, "POST", "/v2/session/", `{"features":"OCR + FACE","vendor_data":"user-3"}`) // v2 and v3 share the limit
	r := w.must(429, "POST", "/v3/session/", `{"workflow_id":"`+testWorkflow+`"}`)
	if r.header.Get("Retry-After") != "40" || r.json["detail"] == nil || r.header.Get("X-RateLimit-Limit") != "3" ||
		r.header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("429: %v %s", r.header, r.body)
	}
	w.must(200, "GET", "/v3/sessions/", "")
	for range 100 {
		w.must(200, "GET", "/v3/session/"+m.id+"/decision/", "")
	}
	w.must(429, "GET", "/v3/session/"+m.id+"/decision/", "")
	w.must(403, "GET", "/v3/session/"+m.id+"/decision/", "", "x-api-key", "wrong") // strangers do not use it up
	w.clock.Advance(time.Hour)
	w.must(429, "GET", "/v3/session/"+m.id+"/decision/", "") // simulated time is not traffic's time
	traffic.Advance(39 * time.Second)
	w.must(429, "POST", "/v3/session/", `{"workflow_id":"`+testWorkflow+`"}`)
	traffic.Advance(time.Second)
	w.must(201, "POST", "/v3/session/", `{"workflow_id":"`+testWorkflow+`"}`)
	w.must(429, "POST", "/v3/session/", `{"workflow_id":"`+testWorkflow+`"}`) // the window slides, it is not reset
}

func TestLegacyShapes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	r := w.must(201, "POST", "/v2/session/", `{"features":"OCR + FACE","vendor_data":"user-1"}`)
	if r.json["url"] != nil || !strings.HasPrefix(r.json["session_url"].(string), w.base+"/session/") {
		t.Errorf("oldest answer: %s", r.body)
	}
	again := w.must(201, "POST", "/v2/session/", `{"workflow_id":"`+testWorkflow+`","vendor_data":"user-1"}`)
	if again.json["session_id"] != r.json["session_id"] || again.json["url"] != r.json["session_url"] {
		t.Errorf("v2 answer: %s", again.body)
	}
	w.must(400, "POST", "/v2/session/", `{"vendor_data":"user-1"}`)
	m := made{id: r.json["session_id"].(string), url: r.json["session_url"].(string)}
	w.act(m, "approve", "")
	d := w.must(200, "GET", "/v2/session/"+m.id+"/decision/", "").json
	if d["id_verification"].(map[string]any)["status"] != approved || d["nfc"] != nil || d["id_verifications"] != nil {
		t.Errorf("v2 decision: %v", d)
	}
}

func TestUpdateDataAndPDF(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-1")
	w.must(400, "PATCH", "/v3/session/"+m.id+"/update-data/", `{"first_name":"Too Early"}`)
	w.act(m, "approve", "")
	w.must(400, "PATCH", "/v3/session/"+m.id+"/update-data/", `{"front_image":"https://example.test/x.png"}`)
	w.must(200, "PATCH", "/v3/session/"+m.id+"/update-data/", `{"first_name":"Corrected"}`)
	if got := w.decisionOf(m)["id_verifications"].([]any)[0].(map[string]any)["first_name"]; got != "Corrected" {
		t.Errorf("first name %v", got)
	}
	w.quiet(m.id)
	hits := w.receiver.all()
	if last := hits[len(hits)-1]; last.body["webhook_type"] != "data.updated" || !last.genuine(testSecret) {
		t.Errorf("webhook %s", last.raw)
	}
	r := w.must(200, "GET", "/v3/session/"+m.id+"/generate-pdf", "")
	if !strings.HasPrefix(r.body, "%PDF-") || !strings.Contains(r.body, m.id) || !strings.HasSuffix(r.body, "%%EOF\n") {
		t.Error("not the session's PDF")
	}
}

func TestForeignSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var mu sync.Mutex
	var told []ForeignEvent
	w.OnForeign(func(ctx context.Context, e ForeignEvent) {
		mu.Lock()
		told = append(told, e)
		mu.Unlock()
		if e.Status == declined { // the listener may act on the session itself
			if err := w.SetStatus(ctx, e.SessionID, resubmitted, ""); err != nil {
				t.Error(err)
			}
		}
	})
	f := Foreign{Owner: "issuer", Reference: "u1_1_abc", Callback: "https://app.example.test/back", Language: "ar", FirstName: "KA HO", LastName: "CHAN", Email: "a@example.test"}
	id, link, err := w.CreateForeign(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	if second, _, err := w.CreateForeign(t.Context(), f); err != nil || second == id {
		t.Errorf("every foreign session is a new one: %s, %v", second, err)
	}
	for _, path := range []string{"GET /v3/session/%/decision/", "PATCH /v3/session/%/update-status/", "DELETE /v3/session/%/delete/",
		"GET /v3/session/%/webhooks/", "GET /v3/session/%/generate-pdf/", "GET /v3/sessions/%/reviews/"} {
		method, path, _ := strings.Cut(path, " ")
		w.must(404, method, strings.ReplaceAll(path, "%", id), "")
	}
	m := made{id: id, url: link}
	if r := w.must(200, "GET", link, ""); !strings.Contains(r.body, "KA HO CHAN") || !strings.Contains(r.body, `lang="ar" dir="rtl"`) {
		t.Error("the page does not know the person or the language")
	}
	w.act(m, "decline", "DOCUMENT_EXPIRED")
	mu.Lock()
	defer mu.Unlock()
	want := []ForeignEvent{
		{Owner: "issuer", Reference: "u1_1_abc", SessionID: id, Status: inProgress},
		{Owner: "issuer", Reference: "u1_1_abc", SessionID: id, Status: declined, Risk: "DOCUMENT_EXPIRED", Reason: "Document expired"},
		{Owner: "issuer", Reference: "u1_1_abc", SessionID: id, Status: resubmitted},
	}
	if len(told) != 3 || told[0] != want[0] || told[1] != want[1] || told[2] != want[2] {
		t.Errorf("told %+v", told)
	}
	if len(w.receiver.all()) != 0 {
		t.Error("our webhook heard of another account's session")
	}
	if x := w.state(id); x.Owner != "issuer" || x.Reference != "u1_1_abc" || x.Billed != 2 || x.Deliveries.Events != 0 {
		t.Errorf("state %+v", x)
	}
}

func TestSetStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	m := w.create("user-1")
	for _, c := range []struct {
		id, status, risk string
		want             error
	}{
		{m.id, "Verified", "", ErrUnknownStatus}, {m.id, declined, "not a code", ErrUnknownRisk}, {"nobody", approved, "", ErrNotFound},
		{m.id, "KYC Expired", "", nil}, {m.id, declined, "LOW_FACE_QUALITY", nil}, {m.id, declined, "LOW_FACE_QUALITY", nil}, {m.id, awaiting, "", nil},
	} {
		if err := w.SetStatus(ctx, c.id, c.status, c.risk); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.status, c.risk, err, c.want)
		}
	}
	w.quiet(m.id)
	if got := w.receiver.statuses(); got != "Kyc Expired, Declined, Awaiting User" {
		t.Errorf("webhooks: %s", got)
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-1", "callback", `"https://app.example.test/done#top"`)
	w.must(404, "GET", "/session/nobody", "")
	w.must(200, "HEAD", m.url, "")
	w.must(200, "GET", m.url, "", "Sec-Purpose", "prefetch")
	if x := w.state(m.id); x.Status != notStarted {
		t.Errorf("nobody looked, but the session is %s", x.Status)
	}
	for query, want := range map[string][3]string{
		"?lang=zh": {"", `lang="zh" dir="ltr"`, "通过"}, "?lang=ar": {"", `lang="ar" dir="rtl"`, "قبول"}, "?lang=en": {"zh", `lang="en" dir="ltr"`, "Approve"},
		"": {"fr, zh-HK;q=0.8, ar;q=0.5", `lang="zh"`, "模拟页面"}, "?lang=xx": {"ar", `lang="ar"`, "محاكاة"},
	} {
		r := w.must(200, "GET", m.url+query, "", "Accept-Language", want[0])
		if !strings.Contains(r.body, want[1]) || !strings.Contains(r.body, want[2]) {
			t.Errorf("%q with %q: %.120s", query, want[0], r.body)
		}
	}
	r := w.must(200, "GET", m.url+"?lang=zh", "")
	policy := r.header.Get("Content-Security-Policy")
	_, rest, _ := strings.Cut(r.body, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	if style != pageCSS || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "form-action") {
		t.Errorf("style or policy: %s", policy)
	}
	for name, want := range map[string]string{"X-Frame-Options": "DENY", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}

	post := func(status int, values url.Values, header ...string) reply {
		t.Helper()
		return w.must(status, "POST", m.url+"?lang=zh", values.Encode(), append([]string{"Content-Type", "application/x-www-form-urlencoded"}, header...)...)
	}
	post(403, url.Values{"action": {"approve"}})
	post(403, url.Values{"action": {"approve"}, "token": {"another one"}})
	post(403, url.Values{"action": {"approve"}, "token": {m.token}}, "Sec-Fetch-Site", "cross-site")
	post(400, url.Values{"action": {"explode"}, "token": {m.token}})
	post(400, url.Values{"action": {"decline"}, "token": {m.token}, "risk": {"<script>"}})
	w.must(400, "POST", m.url, `{"action":"explode"}`)
	w.must(400, "POST", m.url, `{"action":"decline","risk":"no"}`)
	w.must(403, "POST", m.url, `{"action":"approve"}`, "Sec-Fetch-Site", "cross-site")
	if x := w.state(m.id); x.Status != inProgress {
		t.Errorf("refused forms moved the session to %s", x.Status)
	}
	r = post(303, url.Values{"action": {"review"}, "token": {m.token}, "risk": {""}}, "Sec-Fetch-Site", "same-origin")
	back := "https://app.example.test/done?status=In%20Review&verificationSessionId=" + m.id + "#top"
	if got := r.header.Get("Location"); got != back {
		t.Errorf("redirect to %s", got)
	}
	r = post(303, url.Values{"action": {"approve"}, "token": {m.token}})
	if got := r.header.Get("Location"); got != "/didit/session/"+m.token+"?lang=zh" {
		t.Errorf("a second press leads to %s", got)
	}
	if x := w.state(m.id); x.Status != inReview {
		t.Errorf("a second press moved the session to %s", x.Status)
	}
	r = w.must(200, "GET", m.url+"?lang=zh", "")
	if strings.Contains(r.body, "<form") || !strings.Contains(r.body, "需要人工审核") || !strings.Contains(r.body, `href="https://app.example.test/done?status=In%20Review`) {
		t.Errorf("finished page: %s", r.body)
	}
	w.must(409, "POST", m.url, `{"action":"approve"}`)

	custom := w.create("user-2", "callback", `"comecomepay://kyc"`)
	w.act(custom, "abandon", "")
	if r := w.must(200, "GET", custom.url, ""); !strings.Contains(r.body, `href="comecomepay://kyc?status=Abandoned`) {
		t.Error("an app's own link is lost")
	}
}

func TestEveryOfferedRiskIsTranslated(t *testing.T) {
	t.Parallel()
	for _, l := range pageLanguages[1:] {
		for _, word := range statuses {
			if l.texts.statuses[word] == "" {
				t.Errorf("%s: no word for %s", l.code, word)
			}
		}
		for _, r := range append(risks[:offeredRisks:offeredRisks], risk{code: reviewRisk}) {
			if l.texts.risks[r.code] == "" {
				t.Errorf("%s: no word for %s", l.code, r.code)
			}
		}
	}
}
