// Package kyc verifies customers: the attempts, the state machine that moves them, and GET /didit/status.
//
// A customer is verified by Didit and accepted by the issuer, PokePay; only the issuer's word makes an attempt
// approved. The machine is one pure function (machine.go); what the app is told in each state is one table
// (answer.go). Everything else carries words between them, the database and the providers.
package kyc

import (
	"time"
)

// Status is the local state of an attempt: the eight words that the app knows (contract/money section 10).
type Status string

// The states.
const (
	PendingSubmit Status = "pending_submit" // the customer has a link and has not finished
	Pending       Status = "pending"        // documents handed in
	Processing    Status = "processing"     // being checked
	Approved      Status = "approved"       // the issuer said yes
	Rejected      Status = "rejected"       // somebody said no
	Failed        Status = "failed"         // no decision came, or something broke
	NotCompleted  Status = "not_completed"  // the link ran out
	Cancelled     Status = "cancelled"      // withdrawn or replaced; never changes again
)

// Statuses lists the states.
var Statuses = []Status{PendingSubmit, Pending, Processing, Approved, Rejected, Failed, NotCompleted, Cancelled}

// Open tells whether the attempt still waits for something.
func (s Status) Open() bool { return s == PendingSubmit || s == Pending || s == Processing }

// UnderReview tells whether the attempt waits for others than the customer.
func (s Status) UnderReview() bool { return s == Pending || s == Processing }

// Verdict is the issuer's status of a cardholder, 1 to 6; 0 while the issuer has said nothing (provider/pokepay section 3.4).
type Verdict int

// The verdicts.
const (
	Silence       Verdict = 0
	NotReviewed   Verdict = 1 // or not completed
	Accepted      Verdict = 2
	Refused       Verdict = 3
	Mismatch      Verdict = 4 // details do not match the document
	ManualReview  Verdict = 5
	DocumentTaken Verdict = 6 // the document's number is registered already
)

// Negative tells whether the verdict is a no.
func (v Verdict) Negative() bool { return v == Refused || v == Mismatch || v == DocumentTaken }

// Channel says whose Didit account makes the verification session.
type Channel string

// The channels.
const (
	ViaPokePay Channel = "pokepay" // the issuer's
	ViaDidit   Channel = "didit"   // our own; the cardholder is handed to the issuer afterwards
)

// Word is Didit's status of a session, as far as it moves an attempt (provider/didit section 3).
type Word string

// Didit's words.
const (
	DiditNotStarted  Word = "Not Started"
	DiditInProgress  Word = "In Progress"
	DiditInReview    Word = "In Review"
	DiditApproved    Word = "Approved"
	DiditDeclined    Word = "Declined"
	DiditResubmitted Word = "Resubmitted"
	DiditExpired     Word = "Expired"
	DiditAbandoned   Word = "Abandoned"
	DiditKycExpired  Word = "Kyc Expired"
)

// Words lists Didit's words.
var Words = []Word{DiditNotStarted, DiditInProgress, DiditInReview, DiditApproved, DiditDeclined, DiditResubmitted,
	DiditExpired, DiditAbandoned, DiditKycExpired}

// ReasonCode is our name for why an attempt came to a bad end. Its text is "kyc.reason.<code>".
type ReasonCode string

// The reason codes.
const (
	NoReason            ReasonCode = ""
	ReasonGeneric       ReasonCode = "GENERIC"        // could not be verified; reveals nothing
	ReasonMismatch      ReasonCode = "MISMATCH"       // details do not match the document
	ReasonDocumentTaken ReasonCode = "DOCUMENT_TAKEN" // registered with another customer
	ReasonEmailTaken    ReasonCode = "EMAIL_TAKEN"    // known to the issuer from elsewhere
	ReasonNameInvalid   ReasonCode = "NAME_INVALID"   // not accepted on a card
	ReasonTechnical     ReasonCode = "TECHNICAL"      // no decision in time, or a fault
	ReasonRevoked       ReasonCode = "REVOKED"        // an approval was withdrawn
	ReasonExpired       ReasonCode = "EXPIRED"        // an approval has run out
	ReasonOperator      ReasonCode = "OPERATOR"       // rejected by a person here
	ReasonDocumentOld   ReasonCode = "DOCUMENT_EXPIRED"
	ReasonPhoto         ReasonCode = "PHOTO_UNCLEAR"
	ReasonUnsupported   ReasonCode = "DOCUMENT_UNSUPPORTED"
	ReasonCopy          ReasonCode = "NOT_ORIGINAL"
	ReasonFace          ReasonCode = "FACE_MISMATCH"
	ReasonAge           ReasonCode = "UNDER_AGE"
)

// ReasonCodes lists the codes that have a text.
var ReasonCodes = []ReasonCode{ReasonGeneric, ReasonMismatch, ReasonDocumentTaken, ReasonEmailTaken, ReasonNameInvalid, ReasonTechnical,
	ReasonRevoked, ReasonExpired, ReasonOperator, ReasonDocumentOld, ReasonPhoto, ReasonUnsupported, ReasonCopy, ReasonFace, ReasonAge}

// SessionState says where the call stands that makes the verification session.
type SessionState string

// The session states.
const (
	SessionRequested SessionState = "requested" // asked for; the answer has not been stored
	SessionLost      SessionState = "lost"      // asked for, and no answer came: there may be one
	SessionOpen      SessionState = "open"      // there is a link
	SessionDenied    SessionState = "denied"    // there is none, for reasons that have nothing to do with the customer
)

// Submission says where handing the cardholder to the issuer stands, in the channel didit.
type Submission string

// The submission states.
const (
	NotDue  Submission = ""
	Due     Submission = "due"
	Sending Submission = "sending" // the outcome is not known: look it up before sending again
	Done    Submission = "done"
)

// Record is one attempt.
type Record struct {
	ID           int64
	UserID       int64
	AgentUID     string
	Channel      Channel
	Status       Status
	Issuer       Verdict
	IssuerReason string // the issuer's text
	Reason       ReasonCode
	IssuerKYCID  int64 // 0: not known
	SessionID    string
	SessionState SessionState
	SessionUntil time.Time
	Didit        Word
	Submission   Submission
	SubmittedAt  *time.Time
	EnteredAt    time.Time
	DeadlineAt   *time.Time
	AskedAt      *time.Time
	AnsweredAt   *time.Time
	NextPollAt   *time.Time
	Version      int
	CreatedAt    time.Time
	UpdatedAt    time.Time
}

// Applicant is what the customer typed. It is kept sealed.
type Applicant struct {
	FirstName   string `json:"first_name"` // Latin letters, upper case: goes onto the card
	LastName    string `json:"last_name"`
	AreaCode    string `json:"area_code"` // digits
	Phone       string `json:"phone"`
	CountryCode string `json:"bill_country_code"` // ISO 3166 alpha-2
	State       string `json:"state"`
	City        string `json:"city"`
	Address     string `json:"address"`
	PostCode    string `json:"post_code"`
	Email       string `json:"email"` // the account's at that time
}

// Event is something that happened to an attempt.
type Event struct {
	Kind      EventKind
	At        time.Time // when it happened; for answers of providers, when the question was asked
	Verdict   Verdict   // IssuerSaid
	Word      Word      // DiditSaid
	Text      string    // the provider's or the operator's own words
	Hidden    bool      // Text is for staff only
	Reason    ReasonCode
	IssuerID  int64  // IssuerSaid: the cardholder's id there
	Source    Source // who brought it
	Actor     string // operator's name
	MessageID int64  // raw message that brought it; 0: none
}

// EventKind names an event.
type EventKind string

// The events (contract/money section 10.1).
const (
	DocumentsReceived EventKind = "documents_received" // the customer finished the verification page
	IssuerSaid        EventKind = "issuer_said"        // Verdict
	DiditSaid         EventKind = "didit_said"         // Word
	SessionRanOut     EventKind = "session_ran_out"    // the link's life is over
	DeadlinePassed    EventKind = "deadline_passed"    // no decision in time
	Broke             EventKind = "broke"              // a technical error that does not mend itself
	Withdrawn         EventKind = "withdrawn"          // by the customer, an operator, or replaced by a newer attempt
	OperatorApproved  EventKind = "operator_approved"  // takes the issuer's 2 that came too late to move the attempt
	OperatorRejected  EventKind = "operator_rejected"  // rejects an open attempt; confirms a revocation
	OperatorReopened  EventKind = "operator_reopened"  // asks the providers once more
)

// EventKinds lists the events.
var EventKinds = []EventKind{DocumentsReceived, IssuerSaid, DiditSaid, SessionRanOut, DeadlinePassed, Broke, Withdrawn,
	OperatorApproved, OperatorRejected, OperatorReopened}

// Source says who brought an event.
type Source string

// The sources.
const (
	FromCustomer Source = "customer"
	FromWebhook  Source = "webhook"
	FromPoll     Source = "poll"
	FromTimer    Source = "timer"
	FromOperator Source = "operator"
)
