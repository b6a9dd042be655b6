package didit

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// EventType names what a webhook is about. Types that are not known here are kept as they came.
type EventType string

// The event types (provider/didit.md section 4.2).
const (
	EventStatusUpdated            EventType = "status.updated"
	EventDataUpdated              EventType = "data.updated"
	EventUserStatusUpdated        EventType = "user.status.updated"
	EventUserDataUpdated          EventType = "user.data.updated"
	EventBusinessStatusUpdated    EventType = "business.status.updated"
	EventBusinessDataUpdated      EventType = "business.data.updated"
	EventTransactionCreated       EventType = "transaction.created"
	EventTransactionStatusUpdated EventType = "transaction.status.updated"
	EventActivityCreated          EventType = "activity.created"
	EventTravelRuleStatusUpdated  EventType = "travel_rule.status.updated"
	EventRegistrySearchResolved   EventType = "kyb.registry_search.resolved" // never signed
)

// Event is a webhook's body (provider/didit.md section 4.3). Every field but Type may be empty.
type Event struct {
	EventID         string // stable across deliveries by experience, per attempt by one official text
	Type            EventType
	Timestamp       time.Time // when it was sent, as far as known
	CreatedAt       time.Time // of the event, possibly of the session
	ApplicationID   string
	Environment     string // "live" or "sandbox"
	SessionID       string
	SessionKind     string // "user" or "business"
	Status          Status
	WorkflowID      string
	WorkflowVersion int64
	VendorData      string
	Metadata        json.RawMessage // nil for none
	Decision        *Decision       // nil unless Status.BringsDecision, and even then it may be missing
	Resubmit        []Resubmission  // with Resubmitted only

	// Of user and business events only.
	VendorUserID      string
	BusinessSessionID string
	PreviousStatus    string
	ChangedFields     []string
	Reason            string

	timestampText string // as it was written, for the simple signature
	statusText    string
	typeText      string
}

// Resubmission is a feature that the user must repeat, and why.
type Resubmission struct {
	Node
	Reason string
}

// ParseEvent reads a webhook's body. The only error is provider.ErrNotObject: what cannot be read inside is
// left out.
func ParseEvent(body []byte) (Event, error) {
	o, err := provider.ParseObject(body)
	if err != nil {
		return Event{}, err
	}
	e := Event{
		EventID: o.Text("event_id"), Type: EventType(o.Text("webhook_type")), Timestamp: o.Time("timestamp"), CreatedAt: o.Time("created_at"),
		ApplicationID: o.Text("application_id"), Environment: o.Text("environment"),
		SessionID: o.Text("session_id"), SessionKind: o.Text("session_kind"), Status: ParseStatus(o.Text("status")),
		WorkflowID: o.Text("workflow_id"), VendorData: o.Text("vendor_data"), Metadata: metadata(o),
		VendorUserID: o.Text("vendor_user_id"), BusinessSessionID: o.Text("business_session_id"),
		PreviousStatus: o.Text("previous_status"), ChangedFields: o.Texts("changed_fields"), Reason: o.Text("reason"),
		timestampText: o.Text("timestamp"), statusText: o.Text("status"), typeText: o.Text("webhook_type"),
	}
	e.WorkflowVersion, _ = o.Int("workflow_version")
	if decision, ok := o.Object("decision"); ok {
		d := decisionFrom(decision)
		e.Decision = &d
	}
	if info, ok := o.Object("resubmit_info"); ok {
		reasons, _ := info.Object("reasons")
		for _, node := range info.Objects("nodes_to_resubmit") {
			id := node.Text("node_id")
			e.Resubmit = append(e.Resubmit, Resubmission{Node{NodeID: id, Feature: node.Text("feature")}, reasons.Text(id)})
		}
	}
	return e, nil
}

// Ignorable tells whether the event is nothing that this client understands about a user's session. It is to
// be answered with success all the same: new types appear without notice.
func (e Event) Ignorable() bool {
	if e.SessionID == "" || strings.EqualFold(e.SessionKind, "business") {
		return true
	}
	return e.Type != EventStatusUpdated && e.Type != EventDataUpdated
}

// Identity are two keys by which a repeated delivery is known; either one seen before makes it a repetition.
// The first is empty if the event has no id. The second stands for session, type, status and time, because
// the id may be new with every attempt (provider/didit.md section 4.7).
func (e Event) Identity() (id, content string) {
	return e.EventID, strings.Join([]string{e.SessionID, e.typeText, e.statusText, e.timestampText}, "|")
}
