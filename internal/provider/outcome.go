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

// String is the outcome as a metric label: "ok", "refused" or "unknown".
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
}

// Error gives provider, operation, outcome and our own description.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s", e.Provider, e.Operation, e.Outcome)
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Status != 0 {
		fmt.Fprintf(&b, " (HTTP %d", e.Status)
		if code := safeCode(e.Code); code != "" {
			b.WriteString(", code " + code)
		}
		b.WriteByte(')')
	}
	return b.String()
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
