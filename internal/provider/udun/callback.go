package udun

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

// Answer is the text to answer a callback with. Any HTTP success, whatever the text, ends the delivery: store the
// callback durably first (provider/udun.md section 5.3).
const Answer = "success"

// MaxCallback is the longest callback that is read, in bytes; real ones have less than 2 KiB.
const MaxCallback = 256 << 10

// FreshWindow is how far a callback's time may lie from ours, to either side, before it is called stale
// (provider/udun.md section 5.4).
const FreshWindow = 5 * time.Minute

// Why a callback cannot be used. Only the first three may be anybody's doing: ErrEvent is about a callback that the
// gateway has signed, so that somebody must look at it.
var (
	ErrTooLarge  = errors.New("udun callback is too large")
	ErrEnvelope  = errors.New("udun callback is neither a form nor JSON with timestamp, nonce, sign and body")
	ErrSignature = errors.New("udun callback is not signed with our key")
	ErrEvent     = errors.New("udun event cannot be read")
)

// FieldError says which field of a signed callback cannot be used. It is an ErrEvent.
type FieldError struct{ Field, Reason string }

// Error names field and reason, without the value.
func (e *FieldError) Error() string { return fmt.Sprintf("%v: %s %s", ErrEvent, e.Field, e.Reason) }

// Unwrap gives ErrEvent.
func (e *FieldError) Unwrap() error { return ErrEvent }

// Envelope is a callback as it arrived. Nobody has vouched for it yet.
type Envelope struct {
	Timestamp string // digits
	Nonce     string // printable ASCII without spaces
	Sign      string
	Body      string // exactly as received, after the decoding of the form or of the JSON text
}

// ParseCallback reads the bytes of a callback: a form, or JSON with the same four members. The two are told apart by
// what they look like, because the content type is not always right.
//
// Errors: ErrTooLarge, ErrEnvelope.
func ParseCallback(raw []byte) (Envelope, error) {
	if len(raw) > MaxCallback {
		return Envelope{}, ErrTooLarge
	}
	var e Envelope
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		o, err := provider.ParseObject(raw)
		if err != nil {
			return Envelope{}, ErrEnvelope
		}
		e = Envelope{o.Text("timestamp"), o.Text("nonce"), o.Text("sign"), o.Text("body")}
	} else {
		form, err := url.ParseQuery(string(raw))
		if err != nil {
			return Envelope{}, ErrEnvelope
		}
		e = Envelope{form.Get("timestamp"), form.Get("nonce"), form.Get("sign"), form.Get("body")}
	}
	// The signature does not say where the nonce ends, and MD5 lets anybody who saw one append to what was signed, though
	// only with bytes outside ASCII in between. Neither helps while nonce and time look like themselves.
	if e.Body == "" || e.Sign == "" || !isIdentifier(e.Nonce) || !isDigits(e.Timestamp) {
		return Envelope{}, ErrEnvelope
	}
	return e, nil
}

// VerifierConfig is what a Verifier needs.
type VerifierConfig struct {
	APIKeys []secret.Text // every key that may sign: two while one is replaced
	Clock   clock.Clock   // nil: the machine's
	Window  time.Duration // zero: FreshWindow
}

// Verifier checks and reads callbacks. It is safe for concurrent use.
type Verifier struct {
	keys   []secret.Text
	clock  clock.Clock
	window time.Duration
}

// NewVerifier builds a Verifier, or says what is wrong with the configuration.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	v := &Verifier{keys: config.APIKeys, clock: config.Clock, window: config.Window}
	if v.clock == nil {
		v.clock = clock.System{}
	}
	if v.window == 0 {
		v.window = FreshWindow
	}
	if v.window < 0 {
		return nil, errors.New("udun callback window must be above 0")
	}
	if len(v.keys) == 0 {
		return nil, errors.New("udun API key is missing")
	}
	for _, key := range v.keys {
		if key.Empty() {
			return nil, errors.New("udun API key is empty")
		}
	}
	return v, nil
}

// Verify checks the signature of a callback and reads what it says. Freshness is judged, not demanded: a delivery sent
// again by hand may carry its first time, and it must not be lost. A repetition is known by (TradeID, Status), not by its
// nonce: the signature does not tell nonce and time apart.
//
// Errors: ErrSignature; ErrEvent, as *FieldError, with all of the Event that could be read, for the record only.
func (v *Verifier) Verify(e Envelope) (Event, error) {
	fits := false
	for _, key := range v.keys {
		fits = signed(key, e) || fits
	}
	if !fits {
		return Event{}, ErrSignature
	}
	event, err := ParseEvent(e.Body)
	event.SentAt, _ = provider.ParseTime(e.Timestamp)
	event.Stale = event.SentAt.IsZero() || v.clock.Now().Sub(event.SentAt).Abs() > v.window
	return event, err
}
