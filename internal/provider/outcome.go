// Package provider holds what the clients of outside services share: one HTTP call with its limits, retries,
// circuit breaker and metrics; an error that says what is known about the call's effect; and the reading of
// JSON whose types vary. It knows HTTP and JSON, no provider and nothing of the product.
package provider

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Outcome is what we know about the effect of a call on the provider's side.
type Outcome int

// The outcomes. The zero value is the careful one.
const (
	// Unknown: the call may or may not have had its effect (a timeout, a lost connection, a 5xx answer, an
	// answer that cannot be read). Look the object up by our own reference before sending it again.
	Unknown Outcome = iota
	// OK: the provider did what it was asked.
	OK
	// Refused: certainly without effect. The provider said no, or the request never left.
	Refused
)

// String names the outcome: "ok", "refused" or "unknown". Metrics and logs tell more, see Label.
func (o Outcome) String() string {
	switch o {
	case OK:
		return "ok"
	case Refused:
		return "refused"
	default:
		return "unknown"
	}
}

// ErrCircuitOpen is the cause of a call that was not sent, because the provider failed so often of late that
// it is left alone for a while. Error.RetryAfter says for how long.
var ErrCircuitOpen = errors.New("circuit open")

// ErrInvalidCall is the cause of a call that the client itself refused, because the provider would.
var ErrInvalidCall = errors.New("invalid call")

// Error is a call that did not succeed. Its text is safe for logs: it holds no secret, no personal data and
// no words of the provider.
type Error struct {
	Provider   string        // "didit", "pokepay"
	Operation  string        // the client's name of the operation
	Outcome    Outcome       // Refused or Unknown
	Sent       bool          // whether anything may have reached the provider
	Status     int           // HTTP status; 0 if no answer came
	Code       string        // the provider's own error code, if it gave one
	Detail     string        // what went wrong, in our words
	StaffText  string        // the provider's words, for staff only: may name people or documents
	RetryAfter time.Duration // how long the provider, or the circuit breaker, asks to wait; 0 if it does not
	Cause      error         // may be nil

	blameless bool // the caller gave up by itself: says nothing about the provider's health
	unreached bool // not sent, because no connection could be had
}

// Error gives provider, operation, label and our own description.
func (e *Error) Error() string {
	text := e.Provider + " " + e.Operation + ": " + e.label()
	if description := e.Description(); description != "" {
		text += ": " + description
	}
	return text
}

// Description is what went wrong, in our words, with the status and the code of the answer if there was one.
func (e *Error) Description() string {
	if e.Status == 0 {
		return e.Detail
	}
	answer := fmt.Sprintf("(HTTP %d", e.Status)
	if code := safeCode(e.Code); code != "" {
		answer += ", code " + code
	}
	return strings.TrimSpace(e.Detail + " " + answer + ")")
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Temporary tells whether the same call may go through later: the provider was not reached, it was one call
// too many, or the outcome is unknown. An unknown one must be looked up first.
func (e *Error) Temporary() bool {
	return e.Outcome == Unknown || e.Status == http.StatusTooManyRequests || !e.Sent && !errors.Is(e.Cause, ErrInvalidCall)
}

// OutcomeOf reads the outcome from the error of a client: OK for nil, Unknown for an error of another kind.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OK
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Outcome
	}
	return Unknown
}

// The labels of calls that failed before they were sent; those of the others are the names of their outcomes.
const (
	labelUnreachable = "unreachable"  // no connection could be had
	labelCircuitOpen = "circuit_open" // withheld, the provider fails too often
	labelNotSent     = "not_sent"     // our own doing: the caller gave up, or the call is one that the client itself refuses
)

// Label says how a call came out, for metrics and logs: "ok"; "refused", the provider said no; "unknown", sent and without a usable
// answer; "unreachable", no connection could be had; "circuit_open", withheld because the provider fails too often; "not_sent",
// given up or refused by ourselves. The last three are certainly without effect, as Outcome says, and yet nobody has refused anything.
// A call that was not sent because its login failed has the label of the login.
func Label(err error) string {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.label()
	}
	return OutcomeOf(err).String()
}

func (e *Error) label() string {
	earlier := (*Error)(nil)
	switch {
	case e.Sent || e.Outcome != Refused:
		return e.Outcome.String()
	case errors.As(e.Cause, &earlier):
		return earlier.label()
	case errors.Is(e.Cause, ErrCircuitOpen):
		return labelCircuitOpen
	case e.unreached:
		return labelUnreachable
	default:
		return labelNotSent
	}
}

// safeCode passes a code on only if it looks like one, so that free text never slips into a log.
func safeCode(code string) string {
	if len(code) > 40 {
		return ""
	}
	for _, r := range code {
		if r != '_' && r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return ""
		}
	}
	return code
}
