// Package secret holds what must not be seen: texts that never print, sealed personal data, blind indexes
// and keyed hashes.
package secret

import (
	"encoding/json"
	"log/slog"
)

const redacted = "[redacted]"

// Text is a secret string: a key, a password, a code or a token. However it is printed, logged or encoded,
// it shows as "[redacted]"; only Reveal gives the content.
type Text struct{ value string }

// NewText wraps a secret.
func NewText(value string) Text { return Text{value} }

// Reveal returns the content. Call it only where the secret is used.
func (t Text) Reveal() string { return t.value }

// Empty tells whether there is no secret.
func (t Text) Empty() bool { return t.value == "" }

// String implements fmt.Stringer.
func (t Text) String() string {
	if t.value == "" {
		return ""
	}
	return redacted
}

// GoString implements fmt.GoStringer, for %#v.
func (t Text) GoString() string { return t.String() }

// LogValue implements slog.LogValuer.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON never writes the content.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// UnmarshalText reads the secret from configuration.
func (t *Text) UnmarshalText(b []byte) error {
	t.value = string(b)
	return nil
}

// UnmarshalJSON reads the secret from a JSON string.
func (t *Text) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &t.value) }
