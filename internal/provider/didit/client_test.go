package didit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

const (
	testKey     = "demo-api-key"
	testSession = "11111111-2222-4333-8444-555555555555"
)

// exchange is the one call that a test's server saw.
type exchange struct {
	method, path, query string
	body                map[string]any
}

// newTestClient returns a client and the calls that its server saw; answer writes the answer.
func newTestClient(t *testing.T, answer http.HandlerFunc) (*Client, *[]exchange) {
	t.Helper()
	var seen []exchange
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("x-api-key") != testKey {
			t.Errorf("key %q", r.Header.Get("x-api-key"))
		}
		e := exchange{method: r.Method, path: r.URL.Path, query: r.URL.Query().Encode()}
		raw, _ := io.ReadAll(r.Body)
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &e.body); err != nil || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("body %q: %v", raw, err)
			}
		}
		seen = append(seen, e)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	client, err := NewClient(Config{BaseURL: server.URL + "/didit/", APIKey: secret.NewText(testKey),
		Limits: provider.Limits{Backoff: time.Millisecond, Timeout: 2 * time.Second, BreakerMinCalls: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	return client, &seen
}

func jsonAnswer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func TestCreateSession(t *testing.T) {
	t.Parallel()
	client, seen := newTestClient(t, jsonAnswer(201, `{"session_id":"`+testSession+`","session_number":1234,"session_token":"abcdef123456","url":"https://verify.example.test/session/abcdef123456",
		"vendor_data":"user-42","metadata":{"tier":1},"status":"Not Started","workflow_id":"w","workflow_version":3,"callback":"https://app.example.test/"}`))
	session, err := client.CreateSession(t.Context(), NewSession{WorkflowID: "w", VendorData: "user-42", Metadata: map[string]any{"tier": 1}, Language: "zh",
		Contact: &ContactDetails{Email: "a@example.test"}, Expected: &ExpectedDetails{FirstName: "ZOE"}})
	if err != nil {
		t.Fatal(err)
	}
	if session.SessionID != testSession || session.SessionNumber != 1234 || session.SessionToken.Reveal() != "abcdef123456" || session.Status != StatusNotStarted ||
		session.URL != "https://verify.example.test/session/abcdef123456" || session.WorkflowVersion != 3 {
		t.Errorf("got %+v", session)
	}
	want := []exchange{{method: "POST", path: "/didit/v3/session/", body: map[string]any{"workflow_id": "w", "vendor_data": "user-42", "metadata": map[string]any{"tier": 1.0},
		"language": "zh", "contact_details": map[string]any{"email": "a@example.test"}, "expected_details": map[string]any{"first_name": "ZOE"}}}}
	if diff := cmp.Diff(want, *seen, cmp.AllowUnexported(exchange{})); diff != "" {
		t.Error(diff)
	}
}

func TestCreateSessionAnswers(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		answer  http.HandlerFunc
		outcome provider.Outcome
		status  int
		staff   string
		calls   int
	}{
		"older name of the link": {jsonAnswer(201, `{"session_id":"s","session_url":"https://verify.example.test/x","metadata":"{}"}`), provider.OK, 0, "", 1},
		"no link":                {jsonAnswer(201, `{"session_id":"s","url":null}`), provider.Unknown, 200, "", 1},
		"link is no address":     {jsonAnswer(201, `{"session_id":"s","url":"soon"}`), provider.Unknown, 200, "", 1},
		"no id":                  {jsonAnswer(201, `{"url":"https://verify.example.test/x"}`), provider.Unknown, 200, "", 1},
		"a list":                 {jsonAnswer(201, `[]`), provider.Unknown, 201, "", 1},
		"bad key or no credits":  {jsonAnswer(403, `{"detail":"You do not have permission to perform this action."}`), provider.Refused, 403, "You do not have permission to perform this action.", 1},
		"unknown workflow":       {jsonAnswer(400, `{"workflow_id":["Not known.","Sorry."],"callback":["Bad."]}`), provider.Refused, 400, "callback: Bad.; workflow_id: Not known. Sorry.", 1},
		"message":                {jsonAnswer(400, `{"message":"bad","code":"E1","request_id":"r"}`), provider.Refused, 400, "bad", 1},
		"a list as refusal":      {jsonAnswer(400, `["bad"]`), provider.Refused, 400, "", 1},
		"server error, once":     {jsonAnswer(500, `{"detail":"oops"}`), provider.Unknown, 500, "oops", 1},
		"too many, once":         {jsonAnswer(429, `{"detail":"slow down"}`), provider.Refused, 429, "slow down", 1},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, seen := newTestClient(t, test.answer)
			_, err := client.CreateSession(t.Context(), NewSession{WorkflowID: "w"})
			if provider.OutcomeOf(err) != test.outcome || len(*seen) != test.calls {
				t.Fatalf("%d calls, %v", len(*seen), err)
			}
			if e := (*provider.Error)(nil); errors.As(err, &e) && (e.Status != test.status || e.StaffText != test.staff) {
				t.Errorf("status %d, staff text %q", e.Status, e.StaffText)
			}
		})
	}
}

func TestDecisionCall(t *testing.T) {
	t.Parallel()
	client, seen := newTestClient(t, jsonAnswer(200, decisionV3))
	decision, err := client.Decision(t.Context(), testSession)
	if err != nil || decision.Status != StatusDeclined {
		t.Fatalf("%+v, %v", decision.Status, err)
	}
	if got := (*seen)[0]; got.method != "GET" || got.path != "/didit/v3/session/"+testSession+"/decision/" {
		t.Errorf("called %+v", got)
	}
	if _, err := client.Decision(t.Context(), "99999999-2222-4333-8444-555555555555"); provider.OutcomeOf(err) != provider.Unknown {
		t.Errorf("the decision of another session was taken: %v", err)
	}
}

func TestDecisionIsReadAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	calls := 0
	client, _ := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls < 3 {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(502)
			fmt.Fprint(w, "<html>")
			return
		}
		jsonAnswer(200, `{"status":"Approved"}`)(w, r)
	})
	decision, err := client.Decision(t.Context(), testSession)
	if err != nil || decision.Status != StatusApproved || decision.SessionID != testSession || calls != 3 {
		t.Errorf("%d calls, %+v, %v", calls, decision, err)
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	client, _ := newTestClient(t, jsonAnswer(404, `{"detail":"Not found."}`))
	if _, err := client.Decision(t.Context(), testSession); !NotFound(err) {
		t.Errorf("got %v", err)
	}
	if err := client.DeleteSession(t.Context(), testSession); !NotFound(err) {
		t.Errorf("got %v", err)
	}
	if NotFound(nil) || NotFound(errors.New("x")) {
		t.Error("everything is not found")
	}
}

func TestOtherCalls(t *testing.T) {
	t.Parallel()
	client, seen := newTestClient(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		case http.MethodPatch:
			jsonAnswer(200, `{"session_id":"`+testSession+`"}`)(w, r)
		case http.MethodPost:
			w.WriteHeader(http.StatusNoContent)
		default:
			jsonAnswer(200, `{"count":3,"next":"https://x.example.test/?offset=2","previous":null,"results":[{"session_id":"a","status":"in review"},{"session_id":"b","created_at":"2026-01-01T00:00:00Z"}]}`)(w, r)
		}
	})
	ctx := t.Context()
	if err := client.UpdateStatus(ctx, testSession, StatusUpdate{NewStatus: "resubmitted", Comment: "again", Resubmit: []Node{{"feature_ocr", "OCR"}}}); err != nil {
		t.Error(err)
	}
	if err := client.DeleteSession(ctx, testSession); err != nil {
		t.Error(err)
	}
	if err := client.DeleteSessions(ctx, []int64{1, 2}); err != nil {
		t.Error(err)
	}
	page, err := client.ListSessions(ctx, ListFilter{VendorData: "user 42", Status: StatusInReview, From: time.Date(2026, 1, 2, 23, 0, 0, 0, time.UTC), Limit: 2, Offset: 4})
	if err != nil || page.Count != 3 || !page.More || len(page.Sessions) != 2 || page.Sessions[0].Status != StatusInReview || page.Sessions[1].CreatedAt.IsZero() {
		t.Errorf("%+v, %v", page, err)
	}
	want := []exchange{
		{"PATCH", "/didit/v3/session/" + testSession + "/update-status/", "", map[string]any{"new_status": "Resubmitted", "comment": "again",
			"nodes_to_resubmit": []any{map[string]any{"node_id": "feature_ocr", "feature": "OCR"}}}},
		{"DELETE", "/didit/v3/session/" + testSession + "/delete/", "", nil},
		{"POST", "/didit/v3/sessions/delete/", "", map[string]any{"session_numbers": []any{1.0, 2.0}}},
		{"GET", "/didit/v3/sessions/", "date_from=2026-01-02&limit=2&offset=4&status=In+Review&vendor_data=user+42", nil},
	}
	if diff := cmp.Diff(want, *seen, cmp.AllowUnexported(exchange{})); diff != "" {
		t.Error(diff)
	}
}

func TestInvalidCallsAreNotSent(t *testing.T) {
	t.Parallel()
	client, seen := newTestClient(t, jsonAnswer(200, `{}`))
	ctx := t.Context()
	_, noWorkflow := client.CreateSession(ctx, NewSession{})
	_, longData := client.CreateSession(ctx, NewSession{WorkflowID: "w", VendorData: strings.Repeat("é", MaxVendorData+1)})
	_, noID := client.Decision(ctx, "")
	_, path := client.Decision(ctx, "../sessions")
	_, dots := client.Decision(ctx, "..")
	for name, err := range map[string]error{"no workflow": noWorkflow, "long data": longData, "no id": noID, "a path as id": path, "dots as id": dots,
		"to In Review": client.UpdateStatus(ctx, testSession, StatusUpdate{NewStatus: StatusInReview}),
		"mail to none": client.UpdateStatus(ctx, testSession, StatusUpdate{NewStatus: StatusApproved, SendEmail: true}),
		"none":         client.DeleteSessions(ctx, nil),
	} {
		e := (*provider.Error)(nil)
		if !errors.As(err, &e) || e.Outcome != provider.Refused || e.Sent || e.Temporary() || !errors.Is(err, provider.ErrInvalidCall) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(*seen) != 0 {
		t.Errorf("sent %+v", *seen)
	}
}

func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	if _, err := NewClient(Config{BaseURL: "verification.didit.me", APIKey: secret.NewText("k")}); err == nil {
		t.Error("a base URL without scheme was accepted")
	}
	if _, err := NewClient(Config{BaseURL: "https://verification.didit.me"}); err == nil {
		t.Error("no key was accepted")
	}
}
