package kyc

import "time"

// Surroundings is what next must know beyond the record itself.
type Surroundings struct {
	Newer         bool // the customer has a newer attempt, one that was not cancelled
	OtherApproved bool // another attempt of the customer is approved
	Blocked       bool // risk control lets the customer try no more
}

// A late result never touches a newer attempt or an approved customer.
func (s Surroundings) late() bool { return s.Newer || s.OtherApproved }

// Effect is what must follow a step, in the same transaction.
type Effect string

// The effects.
const (
	TellApproved  Effect = "tell_approved"   // mail to the customer
	TellRejected  Effect = "tell_rejected"   // mail to the customer, with the reason
	TellResubmit  Effect = "tell_resubmit"   // mail: a step must be repeated at the same link
	TellEnded     Effect = "tell_ended"      // mail: no decision came, please try again
	Revoke        Effect = "revoke"          // freeze what the verification allowed: cards, withdrawals
	CaseRevoked   Effect = "case_revocation" // an operator must confirm or dismiss a no that came after the approval
	CaseLateYes   Effect = "case_late_yes"   // an operator must look at a yes that came after the rejection
	CaseNoVerdict Effect = "case_no_verdict" // an operator must find out why no decision came
)

// How long a state may last before it ends by itself (design: 7 days for a link, 72 hours under review).
const (
	SessionLife  = 7 * 24 * time.Hour
	ReviewPeriod = 72 * time.Hour
)

// next decides everything that can happen to an attempt (contract/money section 10.1). It is pure: no clock, no
// database, no network. It returns the record as it must be stored and what must follow. A record that comes
// back equal was not touched: the event is old, repeated, or of no concern in this state.
func next(r Record, around Surroundings, e Event) (Record, []Effect) {
	if r.Status == Cancelled {
		return r, nil
	}
	switch e.Kind {
	case DocumentsReceived:
		if r.Status == PendingSubmit {
			return enter(r, Pending, e), nil
		}
	case IssuerSaid:
		return issuerSaid(r, around, e)
	case DiditSaid:
		return diditSaid(r, around, e)
	case SessionRanOut:
		if r.Status == PendingSubmit {
			return enter(r, NotCompleted, e), nil
		}
	case DeadlinePassed:
		switch {
		case r.Status == PendingSubmit:
			return enter(r, NotCompleted, e), nil
		case r.Status.Open():
			r.Reason = ReasonTechnical
			return enter(r, Failed, e), []Effect{TellEnded, CaseNoVerdict}
		}
	case Broke:
		if r.Status.Open() {
			r.Reason = ReasonTechnical
			return enter(r, Failed, e), []Effect{TellEnded, CaseNoVerdict}
		}
	case Withdrawn:
		if r.Status.Open() {
			return enter(r, Cancelled, e), nil
		}
	case OperatorApproved:
		// Approved needs the issuer's 2, whoever asks: without it no card could be issued.
		if r.Issuer == Accepted && r.Status != Approved && !around.late() {
			r.Reason = NoReason
			return enter(r, Approved, e), []Effect{TellApproved}
		}
	case OperatorRejected:
		switch {
		case r.Status == Approved:
			r.Reason = ReasonRevoked
			return enter(r, Rejected, e), []Effect{Revoke, TellRejected}
		case r.Status.Open():
			r.Reason = ReasonOperator
			return enter(r, Rejected, e), []Effect{TellRejected}
		}
	case OperatorReopened:
		if (r.Status == Rejected || r.Status == Failed || r.Status == NotCompleted) && !around.late() {
			r.Issuer, r.IssuerReason, r.Reason = NotReviewed, "", NoReason
			return enter(r, Processing, e), nil
		}
	}
	return r, nil
}

func issuerSaid(r Record, around Surroundings, e Event) (Record, []Effect) {
	if e.Verdict < NotReviewed || e.Verdict > DocumentTaken {
		return r, nil // a number that we do not know decides nothing
	}
	if older(r, e) {
		return r, nil
	}
	before := r
	r.AnsweredAt = &e.At
	r.Issuer = e.Verdict
	if e.IssuerID != 0 {
		r.IssuerKYCID = e.IssuerID
	}
	if e.Text != "" && !e.Hidden {
		r.IssuerReason = e.Text
	}
	// The issuer knows the cardholder, however the submission ended that we have no answer of.
	if r.Submission == Sending || r.Submission == Due && e.Verdict != NotReviewed {
		r.Submission = Done
	}
	canDecide := r.Status.Open() || (r.Status == NotCompleted || r.Status == Failed) && !around.late()

	switch {
	case e.Verdict == Accepted && canDecide && around.Blocked:
		r.Reason = ReasonOperator
		return enter(r, Rejected, e), []Effect{TellRejected, CaseLateYes}
	case e.Verdict == Accepted && canDecide:
		r.Reason = NoReason
		return enter(r, Approved, e), []Effect{TellApproved}
	case e.Verdict.Negative() && canDecide:
		r.Reason = verdictReason(e)
		return enter(r, Rejected, e), []Effect{TellRejected}
	case e.Verdict == ManualReview && r.Status.Open() && r.Status != Processing,
		e.Verdict == ManualReview && r.Status == NotCompleted && !around.late():
		return enter(r, Processing, e), nil
	case e.Verdict.Negative() && r.Status == Approved && before.Issuer != e.Verdict:
		// The customer stays verified until a person has confirmed it.
		return r, []Effect{CaseRevoked}
	// A no stands until a person takes the yes; so does what the customer has begun since.
	case e.Verdict == Accepted && !r.Status.Open() && r.Status != Approved && !around.OtherApproved && before.Issuer != e.Verdict:
		return r, []Effect{CaseLateYes}
	case e.Verdict.Negative() && r.Status == Rejected && !revoked(r):
		r.Reason = verdictReason(e)
	}
	return r, nil
}

func diditSaid(r Record, around Surroundings, e Event) (Record, []Effect) {
	// A session in the issuer's own Didit account is none of ours: nobody can tell us about it.
	if r.Channel != ViaDidit || older(r, e) {
		return r, nil
	}
	repeated := r.Didit == e.Word
	r.Didit = e.Word
	if r.Submission == NotDue {
		r.AnsweredAt = &e.At
	}
	canDecide := r.Status.Open() || (r.Status == NotCompleted || r.Status == Failed) && !around.late()

	switch e.Word {
	case DiditInReview:
		if r.Status.Open() && r.Status != Processing || r.Status == NotCompleted && !around.late() {
			return enter(r, Processing, e), nil
		}
	case DiditApproved:
		// A decline that a reviewer turned into an approval: the issuer has not been asked yet.
		declined := r.Status == Rejected && r.Issuer == Silence && !final(r) && !around.late() && !around.Blocked
		switch {
		case (canDecide || declined) && r.Submission == NotDue:
			r.Submission, r.Reason = Due, NoReason
			if r.Status == Processing {
				return r, nil
			}
			return enter(r, Processing, e), nil
		case r.Status == Rejected && final(r) && !repeated && !around.OtherApproved:
			return r, []Effect{CaseLateYes}
		}
	case DiditDeclined:
		switch {
		case canDecide:
			r.Reason = e.Reason
			if r.Reason == NoReason {
				r.Reason = ReasonGeneric
			}
			return enter(r, Rejected, e), []Effect{TellRejected}
		case r.Status == Approved && !repeated:
			return r, []Effect{CaseRevoked}
		}
	case DiditExpired, DiditAbandoned:
		if r.Status == PendingSubmit {
			return enter(r, NotCompleted, e), nil
		}
	case DiditResubmitted:
		again := r.Status == Processing || r.Status == Rejected && !final(r) && !repeated && !around.late()
		switch {
		case again && !around.Blocked:
			// Whatever the issuer said was about what is now to be replaced: it is asked again afterwards.
			r.Issuer, r.IssuerReason, r.Submission, r.Reason = Silence, "", NotDue, NoReason
			r.SessionUntil = e.At.Add(SessionLife)
			return enter(r, PendingSubmit, e), []Effect{TellResubmit}
		case r.Status == Approved && !repeated:
			return r, []Effect{CaseRevoked} // a reviewer has come to doubt it
		}
	case DiditKycExpired:
		if r.Status == Approved {
			r.Reason = ReasonExpired
			return enter(r, Rejected, e), []Effect{Revoke, TellRejected}
		}
	}
	return r, nil
}

// older tells whether the answer was asked for before the one that was applied last: two questions can overtake each other.
func older(r Record, e Event) bool { return r.AnsweredAt != nil && e.At.Before(*r.AnsweredAt) }

// revoked tells whether the attempt was approved once.
func revoked(r Record) bool { return r.Reason == ReasonRevoked || r.Reason == ReasonExpired }

// final tells whether only an operator may undo the rejection: no provider brings back what was revoked, ran out or was refused here.
func final(r Record) bool { return revoked(r) || r.Reason == ReasonOperator }

// verdictReason is the code for a no of the issuer, unless the event brings a better one.
func verdictReason(e Event) ReasonCode {
	if e.Reason != NoReason {
		return e.Reason
	}
	return standardReason(e.Verdict)
}

func standardReason(v Verdict) ReasonCode {
	switch v {
	case Mismatch:
		return ReasonMismatch
	case DocumentTaken:
		return ReasonDocumentTaken
	}
	return ReasonGeneric
}

// enter moves the record into a state and sets the clocks of that state.
func enter(r Record, to Status, e Event) Record {
	r.Status = to
	r.EnteredAt = e.At
	r.DeadlineAt = nil
	switch {
	case to == PendingSubmit:
		deadline := r.SessionUntil
		r.DeadlineAt = &deadline
	case to.Open():
		deadline := e.At.Add(ReviewPeriod)
		r.DeadlineAt = &deadline
	}
	r.NextPollAt = nextPoll(r, e.At, 0)
	return r
}

// How often providers are asked about attempts that are over but may still change.
const (
	recheckApproved = 24 * time.Hour // an approval can be revoked or run out
	recheckEnded    = time.Hour      // a slow customer, a provider that recovered
	recheckPeriod   = 7 * 24 * time.Hour
)

// nextPoll is when a provider is asked next, or nil for never: 5, 10, 20 and 40 seconds after the state began, then
// every minute for an hour, then every ten minutes. jitter is from -1 to 1 and spreads the long intervals by a tenth.
func nextPoll(r Record, now time.Time, jitter float64) *time.Time {
	spread := func(d time.Duration) time.Duration { return d + time.Duration(jitter*float64(d)/10) }
	var wait time.Duration
	age := now.Sub(r.EnteredAt)
	switch {
	case r.Status == Approved && settled(r.Status, r.Issuer):
		wait = spread(recheckApproved)
	case (r.Status == NotCompleted || r.Status == Failed) && age < recheckPeriod:
		wait = spread(recheckEnded)
	// Didit lets a reviewer change a decline; the issuer's no is read again for a while as well.
	case r.Status == Rejected && age < recheckPeriod:
		wait = spread(recheckEnded)
	case !r.Status.Open() && r.Status != Approved:
		return nil
	case age < 5*time.Second:
		wait = 5 * time.Second
	case age < 15*time.Second:
		wait = 10 * time.Second
	case age < 35*time.Second:
		wait = 20 * time.Second
	case age < 75*time.Second:
		wait = 40 * time.Second
	case age < 75*time.Second+time.Hour:
		wait = time.Minute
	default:
		wait = spread(10 * time.Minute)
	}
	at := now.Add(wait)
	// A deadline is kept on time; the poll before it gives the provider the last word.
	if r.DeadlineAt != nil && r.DeadlineAt.After(now) && at.After(*r.DeadlineAt) {
		at = *r.DeadlineAt
	}
	return &at
}
