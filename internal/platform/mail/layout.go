package mail

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/language"
)

// Content is what one mail says, in the language of Locale. All texts are plain text; whatever they contain,
// they appear as text: never as markup, and each paragraph as one paragraph.
type Content struct {
	Locale     string   // BCP 47 tag; decides the direction of writing. Required
	Brand      string   // the product's name, above the card and in the footer. Required
	Subject    string   // required
	Preheader  string   // the line that mailboxes show beside the subject; empty: the first paragraph
	Heading    string   // the mail's own title; empty: the subject
	Paragraphs []string // in order; the first stands above the code, the others below it. Empty ones are left out
	Code       string   // a one-time code of letters, digits and hyphens, set large; empty: none
	Footer     string   // small print: why the recipient got this mail
}

//go:embed layout.html.tmpl
var layoutSource string

// Conditional comments reach only Outlook on Windows, which ignores max-width and needs a table of fixed width.
// html/template removes comments from its source, so they are inserted as finished markup.
var layout = template.Must(template.New("layout").Funcs(template.FuncMap{
	"outlookOpen": func() template.HTML {
		return `<!--[if mso]><table role="presentation" width="600" align="center" cellpadding="0" cellspacing="0" border="0"><tr><td><![endif]-->`
	},
	"outlookClose": func() template.HTML { return `<!--[if mso]></td></tr></table><![endif]-->` },
	// Mailboxes fill a short preview up with the beginning of the body, where the code stands. Invisible
	// characters take that room, so that a code does not show on a locked screen through the preview line.
	"previewPadding": func() template.HTML { return template.HTML(strings.Repeat("&#847;&zwnj;&nbsp;", 90)) },
}).Parse(layoutSource))

var codes = regexp.MustCompile(`^[0-9A-Za-z-]{1,24}$`)

// Render lays a mail out. The caller fills in Message.To.
//
// It fails with ErrInvalidMessage if a required part is missing, the locale is no language tag or the code has
// characters that codes do not have.
func Render(c Content) (Message, error) {
	for _, text := range []*string{&c.Brand, &c.Subject, &c.Preheader, &c.Heading, &c.Footer} {
		*text = oneLine(*text)
	}
	paragraphs := make([]string, 0, len(c.Paragraphs))
	for _, p := range c.Paragraphs {
		if p = oneLine(p); p != "" {
			paragraphs = append(paragraphs, p)
		}
	}
	switch {
	case !locales.MatchString(c.Locale):
		return Message{}, fmt.Errorf("%w: locale is not a language tag", ErrInvalidMessage)
	case c.Brand == "":
		return Message{}, fmt.Errorf("%w: no brand", ErrInvalidMessage)
	case c.Subject == "":
		return Message{}, fmt.Errorf("%w: no subject", ErrInvalidMessage)
	case len(paragraphs) == 0:
		return Message{}, fmt.Errorf("%w: no paragraphs", ErrInvalidMessage)
	case c.Code != "" && !codes.MatchString(c.Code):
		// The code itself stays out of the error: it is a secret.
		return Message{}, fmt.Errorf("%w: code has characters that codes do not have", ErrInvalidMessage)
	}
	if c.Heading == "" {
		c.Heading = c.Subject
	}
	if c.Preheader == "" {
		c.Preheader = paragraphs[0]
	}

	var html bytes.Buffer
	view := struct {
		Content
		Direction, Start string
		Lead             string
		Rest             []string
	}{c, "ltr", "left", paragraphs[0], paragraphs[1:]}
	if rightToLeft(c.Locale) {
		view.Direction, view.Start = "rtl", "right"
	}
	if err := layout.Execute(&html, view); err != nil {
		return Message{}, fmt.Errorf("mail layout: %w", err)
	}
	return Message{Subject: c.Subject, Text: plainText(c, paragraphs), HTML: html.String(), Locale: c.Locale}, nil
}

// plainText is the same mail for programs that show no HTML. It ends with the footer as a signature ("-- "),
// which such programs set apart.
func plainText(c Content, paragraphs []string) string {
	var b strings.Builder
	b.WriteString(c.Heading + "\n\n" + paragraphs[0] + "\n\n")
	if c.Code != "" {
		b.WriteString("    " + c.Code + "\n\n")
	}
	for _, p := range paragraphs[1:] {
		b.WriteString(p + "\n\n")
	}
	b.WriteString("-- \n" + c.Brand + "\n")
	if c.Footer != "" {
		b.WriteString(c.Footer + "\n")
	}
	return b.String()
}

// oneLine makes s safe to stand in a line of its own: line breaks and other white space become single spaces,
// control characters and broken UTF-8 go, and so do the overriding direction marks (U+202A to U+202E), with
// which a hostile name could turn the rest of its line around. Isolating marks (U+2066 to U+2069), which
// careful texts put around names, stay.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	s = strings.Join(strings.Fields(s), " ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r >= 0x202A && r <= 0x202E {
			return -1
		}
		return r
	}, s)
}

// rightToLeft tells whether the language is written from right to left.
func rightToLeft(locale string) bool {
	tag, err := language.Parse(locale)
	if err != nil {
		return false
	}
	script, _ := tag.Script()
	switch script.String() {
	case "Arab", "Hebr", "Syrc", "Thaa", "Nkoo", "Adlm":
		return true
	}
	return false
}
