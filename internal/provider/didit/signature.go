package didit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

// The headers of a webhook (provider/didit.md section 4.4).
const (
	HeaderSignature       = "X-Signature"
	HeaderSignatureV2     = "X-Signature-V2"
	HeaderSignatureSimple = "X-Signature-Simple"
	HeaderTimestamp       = "X-Timestamp"
	HeaderTest            = "X-Didit-Test-Webhook" // "true" for the console's "try webhook"
)

// How far a webhook's time may lie from ours, to either side (provider/didit.md sections 4.5 and 4.7).
const (
	FreshWindow = 300 * time.Second
	// DeduplicatedWindow is for receivers that recognise repetitions: the last of Didit's three deliveries
	// comes five minutes after the first, perhaps with the signature of the first.
	DeduplicatedWindow = 600 * time.Second
)

// Scheme is a way to sign a webhook.
type Scheme string

// The schemes, best first.
const (
	SchemeRaw       Scheme = "raw"       // X-Signature: the bytes as they were sent
	SchemeCanonical Scheme = "canonical" // X-Signature-V2: the content
	SchemeSimple    Scheme = "simple"    // X-Signature-Simple: time, session, status and type only
)

// Why a webhook is rejected. All are to be answered 401, and none says more to the sender.
var (
	ErrSignature = errors.New("no signature fits")
	ErrStale     = errors.New("not fresh")
	ErrBody      = errors.New("body cannot be read")
)

// Signer makes the three signatures with one secret, in lower-case hex.
type Signer struct{ key []byte }

// NewSigner takes a secret as the console shows it: all of it, undecoded, is the key.
func NewSigner(s secret.Text) Signer { return Signer{[]byte(s.Reveal())} }

// Raw signs the bytes.
func (s Signer) Raw(body []byte) string { return hex.EncodeToString(s.sum(body)) }

// Canonical signs the content. Its errors are those of the function Canonical.
func (s Signer) Canonical(body []byte) (string, error) {
	canonical, err := Canonical(body)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(s.sum(canonical)), nil
}

// Simple signs time, session, status and type. The error is provider.ErrNotObject.
func (s Signer) Simple(body []byte) (string, error) {
	message, err := simple(body)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(s.sum(message)), nil
}

func (s Signer) sum(message []byte) []byte {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(message)
	return mac.Sum(nil)
}

// simple is what the simple scheme signs: the texts of the body, never those of headers. It reads no more of
// the body than that: nobody has vouched for it yet.
func simple(body []byte) ([]byte, error) {
	o, err := provider.ParseObject(body)
	if err != nil {
		return nil, err
	}
	return []byte(o.Text("timestamp") + ":" + o.Text("session_id") + ":" + o.Text("status") + ":" + o.Text("webhook_type")), nil
}

// VerifierConfig is what a Verifier needs.
type VerifierConfig struct {
	Secrets      []secret.Text // every secret that may sign: one per destination, and two while one is rotated
	Clock        clock.Clock   // nil: the machine's
	Window       time.Duration // FreshWindow if zero, at most DeduplicatedWindow
	RefuseSimple bool          // do not accept the simple scheme at all
}

// Verifier checks webhooks. It is safe for concurrent use.
type Verifier struct {
	signers      []Signer
	clock        clock.Clock
	window       time.Duration
	refuseSimple bool
}

// NewVerifier builds a Verifier, or says what is wrong with the configuration.
func NewVerifier(config VerifierConfig) (*Verifier, error) {
	v := &Verifier{clock: config.Clock, window: config.Window, refuseSimple: config.RefuseSimple}
	if v.clock == nil {
		v.clock = clock.System{}
	}
	if v.window == 0 {
		v.window = FreshWindow
	}
	if v.window < 0 || v.window > DeduplicatedWindow {
		return nil, fmt.Errorf("didit webhook window must be above 0 and at most %s", DeduplicatedWindow)
	}
	for _, s := range config.Secrets {
		if s.Empty() {
			return nil, errors.New("didit webhook secret is empty")
		}
		v.signers = append(v.signers, NewSigner(s))
	}
	if len(v.signers) == 0 {
		return nil, errors.New("didit webhook secret is missing")
	}
	return v, nil
}

// Verification is what is known about a webhook that was checked.
type Verification struct {
	Scheme    Scheme    // the best one that fits; empty if none does
	Secret    int       // index of the secret that signed
	Timestamp time.Time // the header's; zero if it cannot be read
	Test      bool      // sent by the console's "try webhook"
	Event     Event     // to be used only if there is no error

	// MustRefetch says that the signature covers neither decision nor vendor data nor metadata: read them
	// through the API before acting.
	MustRefetch bool
}

// Verify checks the raw body, as it was received, against the signatures in the header, and the freshness of
// both the header's time and the body's: the header's is not signed, so that alone it proves nothing
// (provider/didit.md section 4.5). With an error the Verification still tells how far the webhook got, for
// the record.
//
// Errors: ErrSignature, ErrStale, ErrBody.
func (v *Verifier) Verify(header http.Header, body []byte) (Verification, error) {
	result := Verification{Test: strings.EqualFold(header.Get(HeaderTest), "true")}
	result.Timestamp, _ = provider.ParseTime(header.Get(HeaderTimestamp))
	if len(body) > MaxWebhook {
		return result, ErrBody
	}
	if result.Secret, result.Scheme = v.fit(header, body); result.Scheme == "" {
		return result, ErrSignature
	}
	var err error
	if result.Event, err = ParseEvent(body); err != nil {
		return result, ErrBody
	}
	result.MustRefetch = result.Scheme == SchemeSimple
	sent := result.Event.Timestamp
	if sent.IsZero() && result.Scheme != SchemeSimple {
		sent = result.Event.CreatedAt // the simple scheme does not sign it
	}
	if !v.fresh(result.Timestamp) || !v.fresh(sent) {
		return result, ErrStale
	}
	return result, nil
}

// fit finds the best scheme and the secret that signed.
func (v *Verifier) fit(header http.Header, body []byte) (int, Scheme) {
	if i, ok := v.match(header.Get(HeaderSignature), body); ok {
		return i, SchemeRaw
	}
	if given := header.Get(HeaderSignatureV2); given != "" {
		if canonical, err := Canonical(body); err == nil {
			if i, ok := v.match(given, canonical); ok {
				return i, SchemeCanonical
			}
		}
	}
	if given := header.Get(HeaderSignatureSimple); given != "" && !v.refuseSimple {
		if message, err := simple(body); err == nil {
			if i, ok := v.match(given, message); ok {
				return i, SchemeSimple
			}
		}
	}
	return 0, ""
}

// match compares in constant time with the signatures of all secrets.
func (v *Verifier) match(given string, message []byte) (int, bool) {
	signature, err := hex.DecodeString(strings.TrimSpace(given))
	if err != nil || len(signature) != sha256.Size {
		return 0, false
	}
	for i, s := range v.signers {
		if hmac.Equal(signature, s.sum(message)) {
			return i, true
		}
	}
	return 0, false
}

func (v *Verifier) fresh(t time.Time) bool {
	return !t.IsZero() && v.clock.Now().Sub(t).Abs() <= v.window
}
