// Package mail lays out and sends the product's mail. It knows nothing of what a mail says: capabilities hand
// in texts that are already in the customer's language, Render puts them into the one layout that all mail
// shares, as HTML and as plain text, and a Sender carries the result away.
package mail

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrInvalidMessage is the cause of every refusal of a message that could not be sent as it is: no usable
// recipient, no subject, control characters in a header, no body. Sending it again cannot help.
var ErrInvalidMessage = errors.New("invalid message")

// The largest sizes that a message may have. They are far above what Render makes and keep a mistake from
// becoming a mail that every server refuses.
const (
	maxSubjectRunes = 250
	maxAddressBytes = 254 // RFC 5321 4.5.3.1.3: a path of 256 octets, two of them angle brackets
	maxBodyBytes    = 1 << 20
)

// Message is one mail to one recipient.
type Message struct {
	To      string // a bare address (local@domain), without a display name
	Subject string // one line
	Text    string // plain-text body
	HTML    string // HTML body; empty: the mail is text only
	Locale  string // language of the texts as a BCP 47 tag ("zh", "en", "ar"); empty: not stated
}

// Sender carries mail away.
type Sender interface {
	// Send hands the message over to the next mail server and returns once that server has taken
	// responsibility for it. Delivery to the mailbox is not known.
	//
	// It fails with ErrInvalidMessage, with a *DeliveryError, or with both a *DeliveryError and the context's
	// error when ctx ended first. After a *DeliveryError the message may have been taken nevertheless: only
	// what bears repeating may be sent again.
	Send(ctx context.Context, m Message) error
}

// locales are the forms of BCP 47 tags that can stand in a header and in an attribute without escaping.
var locales = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$`)

// validate refuses what must not reach a mail server. Line breaks and other control characters are refused
// rather than removed: where they appear in a header, somebody is trying to write headers of their own.
func (m Message) validate() error {
	if err := checkAddress(m.To); err != nil {
		return fmt.Errorf("%w: recipient: %w", ErrInvalidMessage, err)
	}
	switch {
	case strings.TrimSpace(m.Subject) == "":
		return fmt.Errorf("%w: no subject", ErrInvalidMessage)
	case !utf8.ValidString(m.Subject), strings.ContainsFunc(m.Subject, unicode.IsControl):
		return fmt.Errorf("%w: subject has control characters or is not UTF-8", ErrInvalidMessage)
	case utf8.RuneCountInString(m.Subject) > maxSubjectRunes:
		return fmt.Errorf("%w: subject is longer than %d characters", ErrInvalidMessage, maxSubjectRunes)
	case strings.TrimSpace(m.Text) == "":
		return fmt.Errorf("%w: no text", ErrInvalidMessage)
	case !utf8.ValidString(m.Text), !utf8.ValidString(m.HTML):
		return fmt.Errorf("%w: body is not UTF-8", ErrInvalidMessage)
	case len(m.Text)+len(m.HTML) > maxBodyBytes:
		return fmt.Errorf("%w: body is larger than %d bytes", ErrInvalidMessage, maxBodyBytes)
	case m.Locale != "" && !locales.MatchString(m.Locale):
		return fmt.Errorf("%w: locale is not a language tag", ErrInvalidMessage)
	}
	return nil
}

// checkAddress accepts exactly one bare address. Its errors do not quote the address, because they end up in
// logs.
func checkAddress(address string) error {
	if address == "" {
		return errors.New("no address")
	}
	if len(address) > maxAddressBytes || !utf8.ValidString(address) ||
		strings.ContainsFunc(address, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }) {
		return errors.New("address is too long or has characters that do not belong there")
	}
	parsed, err := mail.ParseAddress(address)
	if err != nil || parsed.Address != address || parsed.Name != "" {
		return errors.New("address is not of the form local@domain")
	}
	return nil
}
