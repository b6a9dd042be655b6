package inbox

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/emersion/go-message"
	_ "github.com/emersion/go-message/charset" // mail may come in GB18030, Big5, windows-1256 and the like
	"github.com/emersion/go-message/mail"
)

// maxParts is how many parts of a mail are looked at.
const maxParts = 100

// parsed is what a reader sees of a mail.
type parsed struct{ subject, text, html string }

// parse finds the subject and the first text and the first HTML part, decoded to UTF-8. A mail that is no
// proper MIME is still shown, with its source as the text: a broken mail is what a developer most wants to see.
func parse(source []byte) parsed {
	reader, err := mail.CreateReader(bytes.NewReader(source))
	if reader == nil || err != nil && !tolerable(err) {
		return parsed{subject: "(not a mail)", text: clean(source)}
	}
	var p parsed
	if p.subject, err = reader.Header.Subject(); err != nil {
		p.subject = reader.Header.Get("Subject") // undecodable: as it came
	}
	p.subject = clean([]byte(p.subject))
	for range maxParts {
		part, err := reader.NextPart()
		if errors.Is(err, io.EOF) || part == nil {
			break
		}
		if err != nil && !tolerable(err) {
			break
		}
		header, inline := part.Header.(*mail.InlineHeader)
		if !inline {
			continue // an attachment
		}
		kind, _, err := header.ContentType()
		if err != nil {
			kind = "text/plain"
		}
		var target *string
		switch strings.ToLower(kind) {
		case "text/plain", "":
			target = &p.text
		case "text/html":
			target = &p.html
		default:
			continue
		}
		if *target != "" {
			continue
		}
		body, _ := io.ReadAll(part.Body) // what could be read of a broken part is better than nothing
		*target = clean(body)
	}
	if p.text == "" && p.html == "" {
		p.text = clean(source)
	}
	return p
}

// tolerable errors leave a part that can be read without decoding.
func tolerable(err error) bool {
	return message.IsUnknownCharset(err) || message.IsUnknownEncoding(err)
}

// clean makes text storable and showable: UTF-8, with plain line ends and no NUL.
func clean(b []byte) string {
	s := strings.ToValidUTF8(string(b), "\uFFFD")
	s = strings.ReplaceAll(s, "\r\n", "\n")
	return strings.ReplaceAll(s, "\x00", "\uFFFD")
}
