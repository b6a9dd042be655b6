// Package secret holds what must not be seen: texts that never print, sealed personal data, blind indexes
// and keyed hashes.
package secret

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"unique"
)

const redacted = "[redacted]"

// Text is a secret string: a key, a password, a code or a token. However it is printed, logged or encoded,
// it shows as "[redacted]"; only Reveal gives the content. Texts of equal content are equal by ==.
type Text struct {
	// A handle, which is a pointer: fmt cannot call methods on unexported fields of other structs and prints what they
	// hold instead. Of a pointer inside of a struct it prints the address.
	value unique.Handle[string]
}

// NewText wraps a secret.
func NewText(value string) Text {
	if value == "" {
		return Text{}
	}
	return Text{unique.Make(value)}
}

// Reveal returns the content. Call it only where the secret is used.
func (t Text) Reveal() string {
	if t == (Text{}) {
		return ""
	}
	return t.value.Value()
}

// Empty tells whether there is no secret.
func (t Text) Empty() bool { return t == Text{} }

// String implements fmt.Stringer.
func (t Text) String() string {
	if t.Empty() {
		return ""
	}
	return redacted
}

// Format implements fmt.Formatter for every verb: fmt asks String only for the verbs of texts, and shows the inside
// of a value for the others.
func (t Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue implements slog.LogValuer.
func (t Text) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON never writes the content.
func (t Text) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// UnmarshalText reads the secret from configuration.
func (t *Text) UnmarshalText(b []byte) error {
	*t = NewText(string(b))
	return nil
}

// UnmarshalJSON reads the secret from a JSON string.
func (t *Text) UnmarshalJSON(b []byte) error {
	var value string
	if err := json.Unmarshal(b, &value); err != nil {
		return err
	}
	*t = NewText(value)
	return nil
}
