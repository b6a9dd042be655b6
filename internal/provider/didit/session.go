package didit

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

// MaxVendorData is the longest vendor data that Didit takes, in characters (provider/didit.md section 2.1).
const MaxVendorData = 512

// NewSession asks for a session (provider/didit.md section 2.1).
type NewSession struct {
	WorkflowID     string           `json:"workflow_id"`                // a published workflow of our application
	VendorData     string           `json:"vendor_data,omitempty"`      // our reference to the user, at most MaxVendorData
	Callback       string           `json:"callback,omitempty"`         // where the browser returns; proves nothing
	CallbackMethod string           `json:"callback_method,omitempty"`  // initiator (default), completer or both
	Metadata       map[string]any   `json:"metadata,omitempty"`         // comes back untouched
	Language       string           `json:"language,omitempty"`         // ISO 639-1; default: the browser's
	Contact        *ContactDetails  `json:"contact_details,omitempty"`  //
	Expected       *ExpectedDetails `json:"expected_details,omitempty"` // a mismatch only adds warnings
	PortraitImage  string           `json:"portrait_image,omitempty"`   // base64, at most 1 MB; biometric workflows only
}

// ContactDetails is where Didit may write to the user.
type ContactDetails struct {
	Email                  string `json:"email,omitempty"`
	SendNotificationEmails bool   `json:"send_notification_emails,omitempty"`
	EmailLanguage          string `json:"email_lang,omitempty"`
	Phone                  string `json:"phone,omitempty"` // E.164
}

// ExpectedDetails is what the document should say.
type ExpectedDetails struct {
	FirstName             string   `json:"first_name,omitempty"`
	LastName              string   `json:"last_name,omitempty"`
	DateOfBirth           string   `json:"date_of_birth,omitempty"` // YYYY-MM-DD
	Gender                string   `json:"gender,omitempty"`        // M or F
	Nationality           string   `json:"nationality,omitempty"`   // ISO 3166 alpha-3, as are the countries
	IDCountry             string   `json:"id_country,omitempty"`
	POACountry            string   `json:"poa_country,omitempty"`
	Address               string   `json:"address,omitempty"`
	IdentificationNumber  string   `json:"identification_number,omitempty"`
	IPAddress             string   `json:"ip_address,omitempty"`
	ExpectedDocumentTypes []string `json:"expected_document_types,omitempty"`
}

// Session is a verification session.
type Session struct {
	SessionID       string
	SessionNumber   int64
	SessionToken    secret.Text // opens the flow
	URL             string      // where the user goes; contains the token
	SessionKind     string      // "user" or "business"; may be empty
	VendorData      string
	Metadata        json.RawMessage // nil for none
	Status          Status
	WorkflowID      string
	WorkflowVersion int64
	Callback        string
	Country         string    // in lists only, as far as given
	CreatedAt       time.Time // zero if it was not given
}

// CreateSession opens a session, or gives back the unfinished one of the same vendor data and workflow
// version: a session id is not new by coming from here (provider/didit.md section 2.1). Each new session
// costs money. It is never repeated by itself; repeating it with the same vendor data finds the session that
// an unknown outcome has left.
//
// Errors, all *provider.Error: Refused with status 400 for a wrong field, 403 for a bad key or missing
// credits, 429; Unknown.
func (c *Client) CreateSession(ctx context.Context, request NewSession) (Session, error) {
	const operation = OpCreateSession
	switch {
	case request.WorkflowID == "":
		return Session{}, invalid(operation, "workflow id is missing")
	case utf8.RuneCountInString(request.VendorData) > MaxVendorData:
		return Session{}, invalid(operation, "vendor data is too long")
	}
	o, err := c.object(ctx, provider.Call{Operation: operation, Method: http.MethodPost, URL: c.path("session"), Body: request})
	if err != nil {
		return Session{}, err
	}
	session := sessionFrom(o)
	if u, err := url.Parse(session.URL); session.SessionID == "" || err != nil || !u.IsAbs() {
		return Session{}, unreadable(operation, errors.New("no session id or no link"))
	}
	return session, nil
}

// ListFilter narrows ListSessions. Empty fields do not.
type ListFilter struct {
	VendorData  string
	Status      Status
	Country     string // ISO 3166 alpha-3
	WorkflowID  string
	SessionKind string // "user" or "business"
	Search      string
	From, To    time.Time // by date of creation, UTC
	Limit       int       // default 20
	Offset      int
}

// SessionPage is one page of sessions.
type SessionPage struct {
	Count    int64 // sessions in all
	Sessions []Session
	More     bool // another page follows, from Offset + len(Sessions) on
}

// ListSessions lists sessions (provider/didit.md section 2.3).
func (c *Client) ListSessions(ctx context.Context, filter ListFilter) (SessionPage, error) {
	query := url.Values{}
	for name, value := range map[string]string{"vendor_data": filter.VendorData, "status": string(filter.Status), "country": filter.Country,
		"workflow_id": filter.WorkflowID, "session_kind": filter.SessionKind, "search": filter.Search} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, day := range map[string]time.Time{"date_from": filter.From, "date_to": filter.To} {
		if !day.IsZero() {
			query.Set(name, day.UTC().Format(time.DateOnly))
		}
	}
	for name, number := range map[string]int{"limit": filter.Limit, "offset": filter.Offset} {
		if number > 0 {
			query.Set(name, strconv.Itoa(number))
		}
	}
	o, err := c.object(ctx, provider.Call{Operation: OpListSessions, Method: http.MethodGet, URL: c.path("sessions"), Query: query, Safe: true})
	if err != nil {
		return SessionPage{}, err
	}
	page := SessionPage{More: o.Text("next") != ""}
	page.Count, _ = o.Int("count")
	for _, result := range o.Objects("results") {
		page.Sessions = append(page.Sessions, sessionFrom(result))
	}
	return page, nil
}

// Decision reads a session's decision. Its image links are fresh. It is limited to 100 calls a minute.
//
// Errors, all *provider.Error: NotFound for an unknown session, Refused with 403 or 429; Unknown.
func (c *Client) Decision(ctx context.Context, sessionID string) (Decision, error) {
	if !validID(sessionID) {
		return Decision{}, invalid(OpDecision, "session id is missing or malformed")
	}
	o, err := c.object(ctx, provider.Call{Operation: OpDecision, Method: http.MethodGet, URL: c.path("session", sessionID, "decision"), Safe: true})
	if err != nil {
		return Decision{}, err
	}
	decision := decisionFrom(o)
	switch decision.SessionID {
	case sessionID:
	case "":
		decision.SessionID = sessionID
	default:
		return Decision{}, unreadable(OpDecision, errors.New("the decision of another session"))
	}
	return decision, nil
}

// Node is one feature of a session that the user shall repeat.
type Node struct {
	NodeID  string `json:"node_id"` // as the decision reported it
	Feature string `json:"feature"` // "OCR", "LIVENESS", "FACE_MATCH", …
}

// StatusUpdate changes a session's status by hand (provider/didit.md section 2.4).
type StatusUpdate struct {
	NewStatus     Status `json:"new_status"` // Approved, Declined or Resubmitted
	Comment       string `json:"comment,omitempty"`
	SendEmail     bool   `json:"send_email,omitempty"`
	EmailAddress  string `json:"email_address,omitempty"` // required with SendEmail
	EmailLanguage string `json:"email_language,omitempty"`
	Resubmit      []Node `json:"nodes_to_resubmit,omitempty"` // default: whatever was not approved
}

// UpdateStatus changes the status of a session that is Updatable. Approving an approved or declining a
// declined session does nothing and sends no webhook. Never call it because a webhook came in: its own
// webhook would follow.
//
// Errors, all *provider.Error: NotFound; Refused with 400 for a status that cannot change so, 429 for
// resubmissions within 30 s; Unknown.
func (c *Client) UpdateStatus(ctx context.Context, sessionID string, update StatusUpdate) error {
	update.NewStatus = ParseStatus(string(update.NewStatus))
	switch {
	case !validID(sessionID):
		return invalid(OpUpdateStatus, "session id is missing or malformed")
	case update.NewStatus != StatusApproved && update.NewStatus != StatusDeclined && update.NewStatus != StatusResubmitted:
		return invalid(OpUpdateStatus, "the new status must be Approved, Declined or Resubmitted")
	case update.SendEmail && update.EmailAddress == "":
		return invalid(OpUpdateStatus, "the e-mail address is missing")
	}
	_, err := c.caller.Do(ctx, c.prepare(provider.Call{Operation: OpUpdateStatus, Method: http.MethodPatch,
		URL: c.path("session", sessionID, "update-status"), Body: update, Empty: true}))
	return err
}

// DeleteSession removes a session and its data for good. A session that is not there is NotFound.
func (c *Client) DeleteSession(ctx context.Context, sessionID string) error {
	if !validID(sessionID) {
		return invalid(OpDeleteSession, "session id is missing or malformed")
	}
	_, err := c.caller.Do(ctx, c.prepare(provider.Call{Operation: OpDeleteSession, Method: http.MethodDelete,
		URL: c.path("session", sessionID, "delete"), Empty: true}))
	return err
}

// DeleteSessions removes sessions, by their numbers, for good. The call that removes all sessions of the
// application at once is left out on purpose.
func (c *Client) DeleteSessions(ctx context.Context, numbers []int64) error {
	if len(numbers) == 0 {
		return invalid(OpDeleteSessions, "no session numbers")
	}
	body := struct {
		Numbers []int64 `json:"session_numbers"`
	}{numbers}
	_, err := c.caller.Do(ctx, c.prepare(provider.Call{Operation: OpDeleteSessions, Method: http.MethodPost,
		URL: c.path("sessions", "delete"), Body: body, Empty: true}))
	return err
}

func sessionFrom(o provider.Object) Session {
	s := Session{
		SessionID: o.Text("session_id"), SessionToken: secret.NewText(o.Text("session_token")), URL: o.Text("url", "session_url"),
		SessionKind: o.Text("session_kind"), VendorData: o.Text("vendor_data"), Metadata: metadata(o),
		Status: ParseStatus(o.Text("status")), WorkflowID: o.Text("workflow_id"), Callback: o.Text("callback"),
		Country: o.Text("country"), CreatedAt: o.Time("created_at"),
	}
	s.SessionNumber, _ = o.Int("session_number")
	s.WorkflowVersion, _ = o.Int("workflow_version")
	return s
}
