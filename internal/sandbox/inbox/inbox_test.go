package inbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/sandbox/inbox"
)

var receivedAt = time.Date(2026, 3, 4, 5, 6, 7, 890000, time.UTC)

func open(t *testing.T, path string) *inbox.Inbox {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	in, err := inbox.New(t.Context(), inbox.Options{DB: db, Clock: clock.NewFixed(receivedAt)})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// serve runs the inbox's mail server for the length of the test and returns its address.
func serve(t *testing.T, in *inbox.Inbox) *net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve = %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve outlives its context")
		}
	})
	return l.Addr().(*net.TCPAddr)
}

func start(t *testing.T) (*inbox.Inbox, *net.TCPAddr) {
	t.Helper()
	in := open(t, filepath.Join(t.TempDir(), "inbox.db"))
	return in, serve(t, in)
}

// post hands a mail in as it stands, the way any program would.
func post(t *testing.T, address *net.TCPAddr, source string, to ...string) {
	t.Helper()
	source = strings.ReplaceAll(source, "\n", "\r\n")
	if err := smtp.SendMail(address.String(), nil, "sender@example.com", to, []byte(source)); err != nil {
		t.Fatal(err)
	}
}

func messages(t *testing.T, in *inbox.Inbox, to string) []inbox.Message {
	t.Helper()
	list, err := in.Messages(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func get(t *testing.T, h http.Handler, method, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, nil))
	return w
}

// What the product sends is what a customer reads, in every language.
func TestProductMail(t *testing.T) {
	t.Parallel()
	in, address := start(t)
	sender, err := mail.NewSMTP(mail.SMTPConfig{
		Host: "127.0.0.1", Port: address.Port, TLS: mail.TLSNone, Username: "any", Password: secret.NewText("any"),
		FromAddress: "no-reply@ccp.example", FromName: "ComeComePay",
	})
	if err != nil {
		t.Fatal(err)
	}
	for locale, text := range map[string]string{
		"en": "Enter this code, Zoë = <b>you</b>. " + strings.Repeat("A long line follows and follows. ", 40),
		"zh": "请在应用中输入以下验证码 𠮷 🎉",
		"ar": "أدخل هذا الرمز في التطبيق \u2068Bob\u2069.",
	} {
		m, err := mail.Render(mail.Content{
			Locale: locale, Brand: "ComeComePay", Subject: "🎉 " + text[:9], Paragraphs: []string{text}, Code: "04821",
		})
		if err != nil {
			t.Fatal(err)
		}
		m.To = "Customer." + locale + "@Example.com"
		if err := sender.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		want := []inbox.Message{{To: m.To, Subject: m.Subject, Text: m.Text, HTML: m.HTML, ReceivedAt: receivedAt}}
		got := messages(t, in, strings.ToLower(m.To))
		if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ID" }, cmp.Ignore())); diff != "" {
			t.Errorf("%s (-sent +received):\n%s", locale, diff)
		}
	}
}

func TestForms(t *testing.T) {
	t.Parallel()
	in, address := start(t)
	for name, test := range map[string]struct{ source, subject, text, html string }{
		"plain": {
			source: "Subject: Hello\n\nCode 12345\n.dot\n", subject: "Hello", text: "Code 12345\n.dot\n",
		},
		"html only": {
			source: "Subject: Hello\nContent-Type: text/html; charset=utf-8\n\n<p>Hi</p>\n", subject: "Hello", html: "<p>Hi</p>\n",
		},
		"GB18030, encoded subject": {
			source: "Subject: =?gb18030?B?xOO6ww==?=\nContent-Type: text/plain; charset=gb18030\n" +
				"Content-Transfer-Encoding: base64\n\nxOO6ww==\n",
			subject: "你好", text: "你好",
		},
		"windows-1256": {
			source:  "Subject: x\nContent-Type: text/plain; charset=windows-1256\nContent-Transfer-Encoding: quoted-printable\n\n=E3=D1=CD=C8=C7\n",
			subject: "x", text: "مرحبا\n",
		},
		"nested with attachment": {
			source: `Subject: Nested
Content-Type: multipart/mixed; boundary=m

--m
Content-Type: multipart/alternative; boundary=a

--a
Content-Type: text/plain

text part
--a
Content-Type: text/html

<p>html part</p>
--a--
--m
Content-Type: text/plain
Content-Disposition: attachment; filename=notes.txt

attached
--m--
`,
			subject: "Nested", text: "text part", html: "<p>html part</p>",
		},
		"unknown charset": {
			source: "Subject: x\nContent-Type: text/plain; charset=martian\n\nabc\n", subject: "x", text: "abc\n",
		},
		"cut off": {
			source:  "Subject: x\nContent-Type: multipart/alternative; boundary=a\n\n--a\nContent-Type: text/plain\n\nhalf",
			subject: "x", text: "half",
		},
		"no subject": {source: "To: a@example.com\n\nabc\n", text: "abc\n"},
		"not a mail": {source: "\x01 this is : no header\nand no body\n", subject: "(not a mail)", text: "\x01 this is : no header\nand no body\n"},
	} {
		to := strings.NewReplacer(" ", "-", ",", "").Replace(name) + "@example.com"
		post(t, address, test.source, to)
		list := messages(t, in, to)
		if len(list) != 1 {
			t.Errorf("%s: %d messages", name, len(list))
			continue
		}
		m := list[0]
		if m.Subject != test.subject || m.Text != test.text || m.HTML != test.html {
			t.Errorf("%s: subject %q, text %q, html %q", name, m.Subject, m.Text, m.HTML)
		}
	}
}

func TestRecipientsAndOrder(t *testing.T) {
	t.Parallel()
	in, address := start(t)
	post(t, address, "Subject: first\n\nx\n", "a@example.com", "b@example.com")
	post(t, address, "Subject: second\n\nx\n", "A@EXAMPLE.com")
	subjects := func(to string) (list []string) {
		for _, m := range messages(t, in, to) {
			list = append(list, m.Subject)
		}
		return list
	}
	for to, want := range map[string][]string{
		"a@example.com": {"second", "first"}, " B@example.com ": {"first"}, "c@example.com": nil, "": {"second", "first", "first"},
	} {
		if diff := cmp.Diff(want, subjects(to)); diff != "" {
			t.Errorf("to %q (-want +got):\n%s", to, diff)
		}
	}
}

func TestSurvivesRestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "inbox.db")
	first := open(t, path)
	post(t, serve(t, first), "Subject: kept\n\nx\n", "a@example.com")
	list := messages(t, open(t, path), "")
	if len(list) != 1 || list[0].Subject != "kept" || !list[0].ReceivedAt.Equal(receivedAt) {
		t.Errorf("after the restart: %+v", list)
	}
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	in, address := start(t)
	big := "Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 130_000)
	if err := smtp.SendMail(address.String(), nil, "s@example.com", []string{"a@example.com"}, []byte(big)); err == nil {
		t.Error("a mail beyond the size limit was taken")
	}
	if err := smtp.SendMail(address.String(), nil, "s@example.com", []string{"nobody"}, []byte("Subject: x\r\n\r\nx\r\n")); err == nil {
		t.Error("a recipient that is no address was taken")
	}
	if list := messages(t, in, ""); len(list) != 0 {
		t.Errorf("refused mail is in the inbox: %d", len(list))
	}
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Serve(t.Context(), l); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("Serve on all addresses = %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the refused listener is left open: %v", err)
	}
}

// Ending the server before or while it starts must not leave it running.
func TestServeEndsAtOnce(t *testing.T) {
	t.Parallel()
	in := open(t, filepath.Join(t.TempDir(), "inbox.db"))
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- in.Serve(ctx, l) }()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Fatalf("Serve = %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("Serve outlives its context")
		}
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	in, address := start(t)
	h := in.ControlHandler()
	if w := get(t, h, http.MethodGet, "/control/inbox"); w.Code != 200 || strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("empty inbox: %d %s", w.Code, w.Body)
	}
	post(t, address, "Subject: a <b>\nContent-Type: text/plain; charset=utf-8\n\nKöln 12345\n", "a@example.com")
	post(t, address, "Subject: other\n\nx\n", "b@example.com")

	w := get(t, h, http.MethodGet, "/control/inbox?to=A%40example.com")
	id := messages(t, in, "a@example.com")[0].ID
	want := fmt.Sprintf(`[{"id":%d,"to":"a@example.com","subject":"a <b>","text":"Köln 12345\n","html":"","received_at":"2026-03-04T05:06:07.00089Z"}]`, id)
	if got := strings.TrimSpace(w.Body.String()); w.Code != 200 || got != want || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		t.Errorf("list: %d %s\n%s\nwant\n%s", w.Code, w.Header().Get("Content-Type"), got, want)
	}

	for _, bad := range []struct {
		method, path string
		status       int
	}{{http.MethodPost, "/control/inbox", 405}, {http.MethodGet, "/control/inbox/7", 404}} {
		w := get(t, h, bad.method, bad.path)
		var body struct{ Error string }
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error == "" || w.Code != bad.status {
			t.Errorf("%s %s: %d %s", bad.method, bad.path, w.Code, w.Body)
		}
	}

	if w := get(t, h, http.MethodDelete, "/control/inbox"); w.Code != 200 || strings.TrimSpace(w.Body.String()) != "{}" {
		t.Errorf("delete: %d %s", w.Code, w.Body)
	}
	if list := messages(t, in, ""); len(list) != 0 {
		t.Errorf("%d messages after clearing", len(list))
	}
	post(t, address, "Subject: later\n\nx\n", "a@example.com")
	if again := messages(t, in, "")[0].ID; again <= id {
		t.Errorf("number %d is used again after %d", again, id)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	in, address := start(t)
	h := in.PagesHandler()
	post(t, address, "Subject: <script>alert(1)</script>\nContent-Type: multipart/alternative; boundary=a\n\n"+
		"--a\nContent-Type: text/plain\n\n</pre><script>alert(2)</script>\n--a\nContent-Type: text/html\n\n<script>alert(3)</script><p>Hi</p>\n--a--\n",
		"a@example.com")
	post(t, address, "Subject: only text\n\nx\n", "b@example.com")
	withHTML, textOnly := messages(t, in, "a@example.com")[0].ID, messages(t, in, "b@example.com")[0].ID

	for _, test := range []struct {
		path              string
		status            int
		contains, without []string
	}{
		{"/inbox", 200, []string{"&lt;script&gt;alert(1)", "only text", "/inbox/renew.js", "2026-03-04 05:06:07"}, []string{"<script>alert"}},
		{"/inbox/", 200, []string{"only text"}, nil},
		{"/inbox?to=b%40example.com", 200, []string{"only text", `value="b@example.com"`}, []string{"alert(1)"}},
		{"/inbox?to=%22%3E%3Cscript%3E", 200, []string{"No mail"}, []string{`"><script>`}},
		{fmt.Sprintf("/inbox/%d", withHTML), 200, []string{"&lt;/pre&gt;", "<iframe", " sandbox"}, []string{"<script>alert", "allow-"}},
		{fmt.Sprintf("/inbox/%d", textOnly), 200, []string{"only text"}, []string{"<iframe"}},
		{fmt.Sprintf("/inbox/%d/html", withHTML), 200, []string{"<p>Hi</p>"}, nil},
		{fmt.Sprintf("/inbox/%d/html", textOnly), 404, []string{"not in the inbox"}, nil},
		{"/inbox/999999", 404, []string{"not in the inbox"}, nil},
		{"/inbox/x", 404, []string{"not in the inbox"}, nil},
		{"/inbox/style.css", 200, []string{"color-scheme"}, nil},
		{"/inbox/renew.js", 200, []string{"DOMParser"}, nil},
	} {
		w := get(t, h, http.MethodGet, test.path)
		body := w.Body.String()
		if w.Code != test.status {
			t.Errorf("%s: status %d", test.path, w.Code)
		}
		for _, text := range test.contains {
			if !strings.Contains(body, text) {
				t.Errorf("%s: %q is missing", test.path, text)
			}
		}
		for _, text := range test.without {
			if strings.Contains(body, text) {
				t.Errorf("%s: shows %q", test.path, text)
			}
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "script-src 'unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", test.path, w.Header())
		}
		if strings.HasSuffix(test.path, "/html") && test.status == 200 &&
			(!strings.HasSuffix(policy, "; sandbox") || strings.Contains(policy, "script-src")) {
			t.Errorf("%s: mail is not sealed off: %s", test.path, policy)
		}
	}
}

func TestStoresWhatItAcknowledges(t *testing.T) {
	t.Parallel()
	in, address := start(t)
	const senders, each = 8, 10
	errs := make(chan error, senders)
	for s := range senders {
		go func() {
			for i := range each {
				to := fmt.Sprintf("s%d@example.com", s)
				source := fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", i)
				if err := smtp.SendMail(address.String(), nil, "x@example.com", []string{to}, []byte(source)); err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range senders {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	for s := range senders {
		if list := messages(t, in, fmt.Sprintf("s%d@example.com", s)); len(list) != each {
			t.Errorf("sender %d: %d of %d mails", s, len(list), each)
		}
	}
}
