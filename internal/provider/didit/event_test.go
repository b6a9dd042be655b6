package didit

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/provider"
)

func TestStatuses(t *testing.T) {
	t.Parallel()
	// word as it comes, meaning, still open for the user, carries a decision, may be updated by hand
	for _, row := range []struct {
		word                            string
		want                            Status
		unfinished, decision, updatable bool
	}{
		{"Not Started", StatusNotStarted, true, false, false},
		{"In Progress", StatusInProgress, true, false, false},
		{"Awaiting User", StatusAwaitingUser, true, false, false},
		{"In Review", StatusInReview, false, true, true},
		{"Approved", StatusApproved, false, true, true},
		{"Declined", StatusDeclined, false, true, true},
		{"Resubmitted", StatusResubmitted, true, false, true},
		{"Abandoned", StatusAbandoned, false, true, true},
		{"Expired", StatusExpired, false, false, false},
		{"Kyc Expired", StatusKycExpired, false, false, true},
		{"KYC Expired", StatusKycExpired, false, false, true},
		{" approved ", StatusApproved, false, true, true},
		{"IN REVIEW", StatusInReview, false, true, true},
		{"Not Finished", StatusNotFinished, false, false, false},
	} {
		got := ParseStatus(row.word)
		if got != row.want || !got.Known() || !Status(row.word).Is(Status(row.word)) {
			t.Errorf("ParseStatus(%q) = %q", row.word, got)
		}
		if got.Unfinished() != row.unfinished || got.BringsDecision() != row.decision || got.Updatable() != row.updatable {
			t.Errorf("%s: unfinished %v, decision %v, updatable %v", row.word, got.Unfinished(), got.BringsDecision(), got.Updatable())
		}
	}
	for _, word := range []string{"", "Half Approved", "approved!", "Genehmigt"} {
		got := ParseStatus(word)
		if string(got) != word || got.Known() || got.Unfinished() || got.BringsDecision() || got.Updatable() || got.Is(StatusApproved) {
			t.Errorf("the unknown status %q has a meaning: %q", word, got)
		}
	}
}

func TestParseEvent(t *testing.T) {
	t.Parallel()
	e, err := ParseEvent([]byte(vectorA))
	if err != nil {
		t.Fatal(err)
	}
	if e.EventID != "6f1c2d3e-0000-4a5b-8c7d-9e0f1a2b3c4d" || e.Type != EventStatusUpdated || e.Status != StatusApproved || e.WorkflowVersion != 3 ||
		e.VendorData != "user-42" || string(e.Metadata) != `{"note":"a<b & c>d","tier":1}` || e.Environment != "sandbox" ||
		!e.Timestamp.Equal(vectorTime) || !e.CreatedAt.Equal(vectorTime.Add(-5*time.Second)) || e.Ignorable() {
		t.Errorf("got %+v", e)
	}
	if e.Decision == nil || len(e.Decision.IDVerifications) != 1 || e.Decision.IDVerifications[0].FirstName != "Zoë" || e.Decision.IDVerifications[0].Age != 31 {
		t.Errorf("decision: %+v", e.Decision)
	}
	id, content := e.Identity()
	if id != e.EventID || content != "11111111-2222-4333-8444-555555555555|status.updated|Approved|1767225605" {
		t.Errorf("identity %q, %q", id, content)
	}
}

func TestParseEventBends(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		body      string
		ignorable bool
		check     func(Event) bool
	}{
		"nulls": {`{"webhook_type":"status.updated","session_id":"s","status":"In Progress","vendor_data":null,"metadata":null,"decision":null,"created_at":null,"timestamp":null}`, false, func(e Event) bool {
			return e.VendorData == "" && e.Metadata == nil && e.Decision == nil && e.Timestamp.IsZero()
		}},
		"metadata text": {`{"webhook_type":"status.updated","session_id":"s","metadata":"{\"tier\":1}"}`, false, func(e Event) bool { return string(e.Metadata) == `{"tier":1}` }},
		"ISO time":      {`{"webhook_type":"data.updated","session_id":"s","timestamp":"2026-01-01T00:00:05.123Z"}`, false, func(e Event) bool { return e.Timestamp.Unix() == 1767225605 }},
		"version 2 decision": {`{"webhook_type":"status.updated","session_id":"s","status":"declined","decision":{"id_verification":{"status":"Declined","warnings":[{"risk":"DOCUMENT_EXPIRED","log_type":"error"}]}}}`, false,
			func(e Event) bool { return e.Status == StatusDeclined && len(e.Decision.DeclineReasons()) == 1 }},
		"resubmission": {`{"webhook_type":"status.updated","session_id":"s","status":"Resubmitted","resubmit_info":{"nodes_to_resubmit":[{"node_id":"feature_ocr","feature":"OCR"}],"reasons":{"feature_ocr":"blurred"}}}`, false,
			func(e Event) bool {
				return cmp.Equal(e.Resubmit, []Resubmission{{Node{"feature_ocr", "OCR"}, "blurred"}})
			}},
		"user entity": {`{"webhook_type":"user.status.updated","vendor_user_id":"u","vendor_data":"user-42","previous_status":"ACTIVE","status":"BLOCKED","changed_fields":["status"],"reason":"x"}`, true,
			func(e Event) bool {
				return e.PreviousStatus == "ACTIVE" && len(e.ChangedFields) == 1 && e.VendorUserID == "u"
			}},
		"business":          {`{"webhook_type":"status.updated","session_id":"s","session_kind":"business","business_session_id":"b"}`, true, func(e Event) bool { return e.BusinessSessionID == "b" }},
		"unknown type":      {`{"webhook_type":"session.sung","session_id":"s"}`, true, func(e Event) bool { return e.Type == "session.sung" }},
		"no type":           {`{}`, true, func(e Event) bool { return e.Type == "" }},
		"wrong types":       {`{"webhook_type":["status.updated"],"session_id":{},"status":7,"decision":[],"resubmit_info":"x","workflow_version":"three"}`, true, func(e Event) bool { return e.Decision == nil && e.SessionID == "" }},
		"unknown status":    {`{"webhook_type":"status.updated","session_id":"s","status":"Pondering"}`, false, func(e Event) bool { return e.Status == "Pondering" && !e.Status.Known() }},
		"number as session": {`{"webhook_type":"status.updated","session_id":12}`, false, func(e Event) bool { return e.SessionID == "12" }},
	}
	for name, test := range cases {
		e, err := ParseEvent([]byte(test.body))
		if err != nil || !test.check(e) || e.Ignorable() != test.ignorable {
			t.Errorf("%s: ignorable %v, %v, %+v", name, e.Ignorable(), err, e)
		}
	}
	for _, body := range []string{"", "[]", "null", "<html>"} {
		if _, err := ParseEvent([]byte(body)); !errors.Is(err, provider.ErrNotObject) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestEventsKeepTheirIdentity(t *testing.T) {
	t.Parallel()
	key := func(body string) string {
		e, err := ParseEvent([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		_, content := e.Identity()
		return content
	}
	first := key(`{"event_id":"1","session_id":"s","webhook_type":"status.updated","status":"Approved","timestamp":5}`)
	if again := key(`{"event_id":"2","session_id":"s","webhook_type":"status.updated","status":"Approved","timestamp":5}`); again != first {
		t.Error("a repetition under a new id is not recognised")
	}
	for _, other := range []string{
		`{"session_id":"t","webhook_type":"status.updated","status":"Approved","timestamp":5}`,
		`{"session_id":"s","webhook_type":"data.updated","status":"Approved","timestamp":5}`,
		`{"session_id":"s","webhook_type":"status.updated","status":"Declined","timestamp":5}`,
		`{"session_id":"s","webhook_type":"status.updated","status":"Approved","timestamp":6}`,
	} {
		if key(other) == first {
			t.Errorf("another event is taken for a repetition: %s", other)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, seed := range []string{vectorA, `{}`, `{"webhook_type":"user.status.updated","changed_fields":[1,null,"a"]}`,
		`{"session_id":"s","resubmit_info":{"nodes_to_resubmit":[{"node_id":1}],"reasons":[]},"timestamp":1e17}`, `{"decision":{"kyc":{"age":1e99}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := ParseEvent(body)
		if err != nil {
			if !errors.Is(err, provider.ErrNotObject) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		if !e.Ignorable() && (e.SessionID == "" || e.Type == "") {
			t.Fatal("an event without session or type is not ignorable")
		}
		if year := e.Timestamp.Year(); !e.Timestamp.IsZero() && (year < 0 || year > 40_000) {
			t.Fatalf("time out of bounds: %v", e.Timestamp)
		}
	})
}
