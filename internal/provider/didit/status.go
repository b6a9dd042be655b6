// Package didit speaks Didit's identity verification API, version 3, and checks and reads its webhooks
// (provider/didit.md). It knows the wire and nothing of what a verification means to the product.
package didit

import "strings"

// Status is the state of a session or of one of its features (provider/didit.md section 3). Words that are
// not known here are kept as they came: a new one must not stop anything.
type Status string

// The statuses of a session; features use a part of them, and NotFinished.
const (
	StatusNotStarted   Status = "Not Started"
	StatusInProgress   Status = "In Progress"
	StatusAwaitingUser Status = "Awaiting User" // businesses only
	StatusInReview     Status = "In Review"
	StatusApproved     Status = "Approved"
	StatusDeclined     Status = "Declined"
	StatusResubmitted  Status = "Resubmitted"  // the user must repeat a part, at the same link
	StatusAbandoned    Status = "Abandoned"    // started, not finished in time
	StatusExpired      Status = "Expired"      // never started in time
	StatusKycExpired   Status = "Kyc Expired"  // was approved; the document or the approval has run out
	StatusNotFinished  Status = "Not Finished" // of features only
)

var statuses = []Status{StatusNotStarted, StatusInProgress, StatusAwaitingUser, StatusInReview, StatusApproved,
	StatusDeclined, StatusResubmitted, StatusAbandoned, StatusExpired, StatusKycExpired, StatusNotFinished}

// ParseStatus gives the constant for a status written in any case ("KYC Expired"), and any other word as it is.
func ParseStatus(word string) Status {
	word = strings.TrimSpace(word)
	for _, s := range statuses {
		if strings.EqualFold(string(s), word) {
			return s
		}
	}
	return Status(word)
}

// Known tells whether the status is one of the constants, in any case.
func (s Status) Known() bool {
	for _, known := range statuses {
		if s.Is(known) {
			return true
		}
	}
	return false
}

// Is compares without regard to case.
func (s Status) Is(other Status) bool { return strings.EqualFold(string(s), string(other)) }

// Unfinished tells whether the user can still act at the session's link. Creating a session for the same
// vendor data gives an unfinished one back instead of a new one (provider/didit.md section 2.1).
func (s Status) Unfinished() bool {
	return s.Is(StatusNotStarted) || s.Is(StatusInProgress) || s.Is(StatusResubmitted) || s.Is(StatusAwaitingUser)
}

// BringsDecision tells whether a webhook with this status carries the decision (provider/didit.md section 4.3).
func (s Status) BringsDecision() bool {
	return s.Is(StatusApproved) || s.Is(StatusDeclined) || s.Is(StatusInReview) || s.Is(StatusAbandoned)
}

// Updatable tells whether UpdateStatus may start from this status (provider/didit.md section 2.4, rule 1).
func (s Status) Updatable() bool {
	return s.Is(StatusApproved) || s.Is(StatusDeclined) || s.Is(StatusInReview) || s.Is(StatusKycExpired) ||
		s.Is(StatusAbandoned) || s.Is(StatusResubmitted)
}
