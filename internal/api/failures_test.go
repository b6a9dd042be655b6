package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
)

// logged returns the log's lines about a request.
func (e *edge) logged(id string) (lines []map[string]any) {
	for line := range strings.Lines(e.log.String()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["request_id"] == id && entry["level"] != "DEBUG" {
			lines = append(lines, entry)
		}
	}
	return lines
}

func TestFaultsOfOursAreLoggedAndNotTold(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for path, message := range map[string]string{"/fails/breaks": "request failed", "/fails/panics": "request panicked", "/fails/nil": "request panicked", "/fails/cancelled": "request failed"} {
		r := e.get(path).refused(t, 500, "INTERNAL_ERROR")
		for _, internal := range []string{canary, "EOF", "select", "panic", "nil pointer", ".go", "goroutine", "inner work"} {
			if strings.Contains(r.raw, internal) {
				t.Errorf("%s tells %q: %s", path, internal, r.raw)
			}
		}
		lines := e.logged(r.body["request_id"].(string))
		if len(lines) != 1 || lines[0]["level"] != "ERROR" || lines[0]["msg"] != message || lines[0]["route"] != "GET "+path {
			t.Errorf("%s is logged as %v", path, lines)
			continue
		}
		if stack, _ := lines[0]["stack"].(string); message == "request panicked" && !strings.Contains(stack, "edge_test.go") {
			t.Errorf("%s: the log does not show where", path)
		}
	}
	if !strings.Contains(e.log.String(), "select of "+canary) {
		t.Error("the log does not tell the cause")
	}
	e.get("/things").ok(t)
}

func TestRefusalsAreToldAndNotLogged(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	r := e.get("/fails/refuses").refused(t, 400, "IDEMPOTENCY_KEY_INVALID")
	if strings.Contains(r.raw, canary) || strings.Contains(r.raw, "outer") {
		t.Errorf("the answer tells the cause: %s", r.raw)
	}
	if lines := e.logged(r.body["request_id"].(string)); len(lines) != 0 {
		t.Errorf("logged as %v", lines)
	}
	r = e.get("/fails/waits").refused(t, 429, "TOO_MANY_REQUESTS")
	if got := r.header.Values("Retry-After"); len(got) != 1 || got[0] != "2" || !strings.Contains(r.body["message"].(string), " 2 s") {
		t.Errorf("wait %q, %s", got, r.raw)
	}
	if got := e.get("/nowhere").header.Get("Retry-After"); got != "" {
		t.Errorf("wait %q without a reason", got)
	}
}

func TestARequestThatTakesTooLong(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, func(o *api.Options) { o.Timeout = 50 * time.Millisecond })
	r := e.get("/fails/slow").refused(t, 503, "REQUEST_TIMEOUT")
	if lines := e.logged(r.body["request_id"].(string)); len(lines) != 1 || lines[0]["code"] != "REQUEST_TIMEOUT" {
		t.Errorf("logged as %v", lines)
	}
}

func TestLogsHoldNoPathsAndNoValues(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	e.get("/people/"+canary+"@example.com?q="+canary, "User-Agent", canary, "Authorization", "Bearer "+canary).ok(t)
	e.get("/nowhere/" + canary)
	e.post("/open", `{"name":"`+canary+`","secret":"`+canary+`"}`).ok(t)
	e.post("/open", `{"name":5,"secret":"`+canary+`"`)
	if log := e.log.String(); strings.Contains(log, canary) || !strings.Contains(log, "GET /people/{email}") {
		t.Errorf("the log shows what was sent, or not which route:\n%s", log)
	}
}

func TestMetricsCountRoutesNotPaths(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, path := range []string{"a@b.co", "c@d.co", "e@f.co"} {
		e.get("/people/" + path).ok(t)
		e.get("/nowhere/" + path)
		e.do("BREW"+strings.ToUpper(path[:1]), "/things", nil)
	}
	e.get("/fails/panics")
	families, err := e.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, f := range families {
		if f.GetName() != "ccp_http_request_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			got[strings.Join(labels, " ")] = m.GetHistogram().GetSampleCount()
		}
	}
	want := map[string]uint64{"GET /people/{email} 200": 3, "unknown 404": 3, "unknown 405": 3, "GET /fails/panics 500": 1}
	for labels, n := range want {
		if got[labels] != n {
			t.Errorf("%s: %d, want %d", labels, got[labels], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("measured %v", got)
	}
}
