package mail_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/mail"
)

func content() mail.Content {
	return mail.Content{
		Locale: "en", Brand: "ComeComePay", Subject: "Your sign-in code", Preheader: "Valid for 10 minutes",
		Heading: "Sign in", Paragraphs: []string{"Enter this code.", "It works once.", "We never ask for it."},
		Code: "04821", Footer: "You asked for this mail.",
	}
}

func render(t *testing.T, c mail.Content) mail.Message {
	t.Helper()
	m, err := mail.Render(c)
	if err != nil {
		t.Fatalf("Render: %v", err)
	}
	return m
}

func TestRenderPlainText(t *testing.T) {
	t.Parallel()
	const want = `Sign in

Enter this code.

    04821

It works once.

We never ask for it.

-- 
ComeComePay
You asked for this mail.
`
	m := render(t, content())
	if diff := cmp.Diff(want, m.Text); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if m.Subject != "Your sign-in code" || m.Locale != "en" || m.To != "" {
		t.Errorf("message = %q, %q, to %q", m.Subject, m.Locale, m.To)
	}
}

// The parts must stand in this order, or the preview line and the code are not where readers look for them.
func TestRenderHTMLOrder(t *testing.T) {
	t.Parallel()
	html := render(t, content()).HTML
	rest := html
	for _, part := range []string{
		"<!DOCTYPE html>", `<html lang="en" dir="ltr">`, `charset="utf-8"`, `name="color-scheme"`,
		"<title>Your sign-in code</title>", "prefers-color-scheme: dark", ">Valid for 10 minutes", "<!--[if mso]>",
		"max-width:600px", ">ComeComePay</td>", "<h1", ">Sign in</h1>", ">Enter this code.</p>", `dir="ltr"`, ">04821</span>",
		">It works once.</p>", ">We never ask for it.</p>", "You asked for this mail.", "<!--[if mso]>", "</html>",
	} {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Fatalf("%q is missing, or not where it belongs", part)
		}
		rest = after
	}
	for _, outside := range []string{"http://", "https://", "<img", "<script", "ZgotmplZ"} {
		if strings.Contains(html, outside) {
			t.Errorf("mail contains %q", outside)
		}
	}
}

func TestRenderRightToLeft(t *testing.T) {
	t.Parallel()
	for locale, want := range map[string]string{"ar": "rtl", "ar-EG": "rtl", "he": "rtl", "zh": "ltr", "en": "ltr"} {
		c := content()
		c.Locale = locale
		c.Paragraphs = []string{"أدخل هذا الرمز في التطبيق."}
		html := render(t, c).HTML
		if !strings.Contains(html, `<html lang="`+locale+`" dir="`+want+`">`) {
			t.Errorf("%s is not written %s", locale, want)
		}
		if aligned := strings.Contains(html, `align="right"`); aligned != (want == "rtl") {
			t.Errorf("%s: aligned to the right: %v", locale, aligned)
		}
		if !strings.Contains(html, `<span class="code" dir="ltr"`) {
			t.Errorf("%s: the code follows the direction of the text", locale)
		}
	}
}

func TestRenderEscapes(t *testing.T) {
	t.Parallel()
	hostile := []string{
		`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `</style><b>`, `{{.Brand}}`, `<!--[if mso]>`, `javascript:alert(1)`,
	}
	for _, h := range hostile {
		c := content()
		c.Brand, c.Subject, c.Preheader, c.Heading, c.Footer = h, h, h, h, h
		c.Paragraphs = []string{h, h}
		m := render(t, c)
		plain := render(t, content())
		// Texts must not change the number of elements.
		if got, want := strings.Count(m.HTML, "<"), strings.Count(plain.HTML, "<")-strings.Count(plain.HTML, ">We never ask for it.</p>")*2; got != want {
			t.Errorf("%q brings markup in: %d tags, want %d", h, got, want)
		}
		if !strings.Contains(m.Text, h) {
			t.Errorf("plain text changes %q:\n%s", h, m.Text)
		}
	}
}

func TestRenderOneParagraphStaysOne(t *testing.T) {
	t.Parallel()
	c := content()
	c.Subject = "Hello Bob\r\nBcc: everyone@example.com"
	c.Paragraphs = []string{"Hello Bob\r\n\r\n-- \nYour account\u2028is\x00 closed", "", " \n "}
	c.Heading = "A \u202Eevil\u202C name \u2068عمر\u2069 \xff"
	m := render(t, c)
	if m.Subject != "Hello Bob Bcc: everyone@example.com" {
		t.Errorf("subject = %q", m.Subject)
	}
	if !strings.HasPrefix(m.Text, "A evil name \u2068عمر\u2069 \uFFFD\n\nHello Bob -- Your account is closed\n\n    04821\n\n-- \n") {
		t.Errorf("text = %q", m.Text)
	}
	if strings.Contains(m.HTML, "\u202E") {
		t.Error("direction override reaches the HTML")
	}
}

func TestRenderFourByteCharacters(t *testing.T) {
	t.Parallel()
	c := content()
	c.Subject, c.Paragraphs = "欢迎 🎉", []string{"𠮷野家 👩‍👩‍👧 مرحبا"}
	m := render(t, c)
	if m.Subject != "欢迎 🎉" || !strings.Contains(m.Text, "𠮷野家 👩‍👩‍👧 مرحبا") || !strings.Contains(m.HTML, "𠮷野家 👩‍👩‍👧 مرحبا") {
		t.Errorf("characters are lost: %q\n%s", m.Subject, m.Text)
	}
}

func TestRenderDefaults(t *testing.T) {
	t.Parallel()
	m := render(t, mail.Content{Locale: "zh", Brand: "B", Subject: "S", Paragraphs: []string{"P"}})
	if m.Text != "S\n\nP\n\n-- \nB\n" {
		t.Errorf("text = %q", m.Text)
	}
	if strings.Contains(m.HTML, `class="code-box"`) {
		t.Error("a mail without a code has room for one")
	}
	if strings.Count(m.HTML, ">P") != 2 {
		t.Error("the first paragraph is not the preview line")
	}
}

func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*mail.Content){
		"no locale":       func(c *mail.Content) { c.Locale = "" },
		"markup locale":   func(c *mail.Content) { c.Locale = `en"><b>` },
		"no brand":        func(c *mail.Content) { c.Brand = " \n" },
		"no subject":      func(c *mail.Content) { c.Subject = "\r\n" },
		"no paragraphs":   func(c *mail.Content) { c.Paragraphs = []string{"\t"} },
		"code with space": func(c *mail.Content) { c.Code = "048 21" },
		"code of markup":  func(c *mail.Content) { c.Code = "<b>1</b>" },
		"endless code":    func(c *mail.Content) { c.Code = strings.Repeat("1", 25) },
	} {
		c := content()
		change(&c)
		if m, err := mail.Render(c); !errors.Is(err, mail.ErrInvalidMessage) {
			t.Errorf("%s: Render = %+v, %v", name, m, err)
		} else if c.Code != "" && strings.Contains(err.Error(), c.Code) {
			t.Errorf("%s: error shows the code: %v", name, err)
		}
	}
}
