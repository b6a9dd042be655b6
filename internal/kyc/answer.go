package kyc

// UserStatus is what the customer as a whole is told: the four published words, nothing else (decision M15).
type UserStatus string

// The words.
const (
	UserNone     UserStatus = "none"
	UserPending  UserStatus = "pending"
	UserVerified UserStatus = "verified"
	UserRejected UserStatus = "rejected"
)

// Answer is what GET /didit/status says about one attempt.
type Answer struct {
	User          UserStatus
	CanSubmit     bool
	PokePayStatus int    // always 1 to 6; 2 only together with verified (contract/money 10.4 rule 3)
	Text          string // key of the message: "kyc.status.<Text>"
	HasReason     bool   // fail_reason belongs into the answer
}

// The rows of contract/money section 10.2.
var (
	rowNone         = Answer{UserNone, true, 1, "none", false}
	rowSubmit       = Answer{UserNone, true, 1, "pending_submit", false}
	rowPending      = Answer{UserPending, false, 1, "pending", false}
	rowProcessing   = Answer{UserPending, false, 1, "processing", false}
	rowManualReview = Answer{UserPending, false, 5, "manual_review", false}
	rowVerified     = Answer{UserVerified, false, 2, "verified", false}
	rowRefused      = Answer{UserRejected, true, 3, "rejected", true}
	rowMismatch     = Answer{UserRejected, true, 4, "mismatch", true}
	rowTaken        = Answer{UserRejected, true, 6, "document_taken", true}
	rowFailed       = Answer{UserRejected, true, 1, "failed", true}
	rowNotCompleted = Answer{UserNone, true, 1, "not_completed", false}
	rowCancelled    = Answer{UserNone, true, 1, "cancelled", false}
	rowIssuerWaits  = Answer{UserPending, false, 1, "issuer_not_ready", false}
)

// matrix is the full table of contract/money section 10.3: stored state and last verdict of the issuer. The first
// column stands for silence and for 1 alike.
var matrix = map[Status][6]Answer{
	//               silence or 1     2            3            4            5                6
	PendingSubmit: {rowSubmit, rowVerified, rowRefused, rowMismatch, rowManualReview, rowTaken},
	Pending:       {rowPending, rowVerified, rowRefused, rowMismatch, rowManualReview, rowTaken},
	Processing:    {rowProcessing, rowVerified, rowRefused, rowMismatch, rowManualReview, rowTaken},
	Approved:      {rowIssuerWaits, rowVerified, rowVerified, rowVerified, rowManualReview, rowVerified},
	Rejected:      {rowRefused, rowRefused, rowRefused, rowMismatch, rowRefused, rowTaken},
	Failed:        {rowFailed, rowVerified, rowRefused, rowMismatch, rowFailed, rowTaken},
	NotCompleted:  {rowNotCompleted, rowVerified, rowRefused, rowMismatch, rowManualReview, rowTaken},
	Cancelled:     {rowCancelled, rowCancelled, rowCancelled, rowCancelled, rowCancelled, rowCancelled},
}

// answer looks the attempt up in the matrix. blocked says that risk control lets the customer try no more.
func answer(s Status, v Verdict, blocked bool) Answer {
	column := 0
	if v > NotReviewed && v <= DocumentTaken {
		column = int(v) - 1
	}
	a := matrix[s][column]
	if blocked {
		a.CanSubmit = false
	}
	return a
}

// answerLate is the answer about one attempt of several, which need not be the one that speaks for its customer. A yes that came
// too late to count is not told: 2 leaves only together with verified (contract/money section 10.4 rule 3).
func answerLate(s Status, v Verdict, blocked bool) Answer {
	if a := answer(s, v, blocked); a.User != UserVerified || s == Approved {
		return a
	}
	return answer(s, Silence, blocked)
}

// answerNoRecord is row 0: the customer has never tried.
func answerNoRecord(blocked bool) Answer {
	a := rowNone
	a.CanSubmit = !blocked
	return a
}

// settled tells whether state and verdict agree. Where they do not (the cells marked † in the contract) the verdict
// has not been applied: the next poll does it.
func settled(s Status, v Verdict) bool {
	switch s {
	case PendingSubmit, Pending:
		return v <= NotReviewed
	case Processing:
		return v <= NotReviewed || v == ManualReview
	case Failed, NotCompleted:
		return v <= NotReviewed
	case Approved: // the issuer has taken its word back, or is about to: it is asked until it says which
		return v > NotReviewed && v != ManualReview
	}
	return true
}

// reasonFor is the code of the text that stands in for a missing reason of the issuer.
func reasonFor(s Status, v Verdict, code ReasonCode) ReasonCode {
	switch {
	case code != NoReason:
		return code
	case s == Failed && v <= NotReviewed, s == Failed && v == ManualReview:
		return ReasonTechnical
	}
	return standardReason(v)
}
