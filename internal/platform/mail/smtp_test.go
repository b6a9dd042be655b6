package mail_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	ourmail "github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// server is a mail server that keeps what it gets and refuses what it is told to.
type server struct {
	port int
	pool *x509.CertPool

	rcptError, dataError error

	mu   sync.Mutex
	from string
	to   []string
	data []byte
	user string
	pass string
	tls  bool
}

type session struct {
	*server
	conn *smtp.Conn
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, pass string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.user, s.pass = user, pass; pass == "wrong" {
			return smtp.ErrAuthFailed
		}
		return nil
	}), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, s.tls = s.conn.TLSConnectionState()
	s.from = from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to = append(s.to, to)
	return s.rcptError
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data = data
	return s.dataError
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// startServer runs a server on loopback for the length of the test.
func startServer(t *testing.T, mode ourmail.TLSMode, configure func(*server)) *server {
	t.Helper()
	s := &server{}
	if configure != nil {
		configure(s)
	}
	var certificate tls.Certificate
	certificate, s.pool = newCertificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	backend := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{s, c}, nil
	}))
	backend.AllowInsecureAuth = true
	backend.EnableSMTPUTF8 = true
	backend.ErrorLog = quiet{}
	config := &tls.Config{Certificates: []tls.Certificate{certificate}}
	switch mode {
	case ourmail.TLSStartTLS:
		backend.TLSConfig = config
	case ourmail.TLSImplicit:
		l = tls.NewListener(l, config)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = backend.Serve(l) }()
	// The listener is closed as well: a server that is closed before it serves does not know it yet.
	t.Cleanup(func() { _ = backend.Close(); _ = l.Close(); <-done })
	return s
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

func newCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

var sentAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func config(s *server, mode ourmail.TLSMode) ourmail.SMTPConfig {
	return ourmail.SMTPConfig{
		Host: "127.0.0.1", Port: s.port, TLS: mode, RootCAs: s.pool, FromAddress: "no-reply@ccp.example",
		FromName: "ComeComePay 卡", Timeout: 10 * time.Second, Clock: clock.NewFixed(sentAt),
	}
}

func sender(t *testing.T, c ourmail.SMTPConfig) *ourmail.SMTP {
	t.Helper()
	s, err := ourmail.NewSMTP(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func message() ourmail.Message {
	return ourmail.Message{
		To: "customer@example.com", Subject: "验证码 🎉", Text: "Your code is 04821.\n.\nA line with a dot.",
		HTML: "<p>Your code is 04821.</p>", Locale: "zh",
	}
}

func TestSendHeaders(t *testing.T) {
	t.Parallel()
	srv := startServer(t, ourmail.TLSNone, nil)
	if err := sender(t, config(srv, ourmail.TLSNone)).Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	if srv.from != "no-reply@ccp.example" || len(srv.to) != 1 || srv.to[0] != "customer@example.com" {
		t.Errorf("envelope: from %q to %q", srv.from, srv.to)
	}
	parsed, err := mail.ReadMessage(bytes.NewReader(srv.data))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"To": "<customer@example.com>", "Auto-Submitted": "auto-generated", "Content-Language": "zh",
		"Date": "Wed, 04 Mar 2026 05:06:07 +0000", "User-Agent": "", "X-Mailer": "",
	} {
		if got := parsed.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	from, err := parsed.Header.AddressList("From")
	if err != nil || len(from) != 1 || from[0].Name != "ComeComePay 卡" || from[0].Address != "no-reply@ccp.example" {
		t.Errorf("From = %v, %v", from, err)
	}
	id := parsed.Header.Get("Message-ID")
	if !strings.HasPrefix(id, "<") || !strings.HasSuffix(id, "@ccp.example>") || len(id) < 30 {
		t.Errorf("Message-ID = %q", id)
	}
	if !strings.HasPrefix(parsed.Header.Get("Content-Type"), "multipart/alternative") {
		t.Errorf("Content-Type = %q", parsed.Header.Get("Content-Type"))
	}
	first := id
	if err := sender(t, config(srv, ourmail.TLSNone)).Send(t.Context(), message()); err != nil {
		t.Fatal(err)
	}
	if parsed, err = mail.ReadMessage(bytes.NewReader(srv.data)); err != nil || parsed.Header.Get("Message-ID") == first {
		t.Errorf("two mails share the Message-ID %q (%v)", first, err)
	}
}

func TestSendTLSAndLogin(t *testing.T) {
	t.Parallel()
	for _, mode := range []ourmail.TLSMode{ourmail.TLSNone, ourmail.TLSStartTLS, ourmail.TLSImplicit} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			srv := startServer(t, mode, nil)
			c := config(srv, mode)
			c.Username, c.Password = "mailer", secret.NewText("pass word")
			if err := sender(t, c).Send(t.Context(), message()); err != nil {
				t.Fatal(err)
			}
			if srv.user != "mailer" || srv.pass != "pass word" {
				t.Errorf("logged in as %q with %q", srv.user, srv.pass)
			}
			// A listener that speaks TLS by itself is invisible to the session.
			if mode == ourmail.TLSStartTLS && !srv.tls {
				t.Error("mail went in the clear")
			}
		})
	}
}

func TestSendRefusesToGoUnprotected(t *testing.T) {
	t.Parallel()
	plain := startServer(t, ourmail.TLSNone, nil)
	if err := sender(t, config(plain, ourmail.TLSStartTLS)).Send(t.Context(), message()); err == nil {
		t.Error("a server without STARTTLS got the mail")
	}
	for _, mode := range []ourmail.TLSMode{ourmail.TLSStartTLS, ourmail.TLSImplicit} {
		stranger := startServer(t, mode, nil)
		c := config(stranger, mode)
		c.RootCAs = x509.NewCertPool()
		err := sender(t, c).Send(t.Context(), message())
		var certificate *tls.CertificateVerificationError
		if !errors.As(err, &certificate) {
			t.Errorf("%s: server with an unknown certificate: %v", mode, err)
		}
		if stranger.data != nil {
			t.Errorf("%s: server with an unknown certificate got the mail", mode)
		}
	}
}

func TestSendErrors(t *testing.T) {
	t.Parallel()
	reply := func(code int, a, b, c int) *smtp.SMTPError {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{a, b, c}, Message: "customer@example.com: Your code is 04821."}
	}
	for name, test := range map[string]struct {
		server    func(*server)
		config    func(*ourmail.SMTPConfig)
		code      int
		permanent bool
	}{
		"unknown mailbox": {server: func(s *server) { s.rcptError = reply(550, 5, 1, 1) }, code: 550, permanent: true},
		"greylisted":      {server: func(s *server) { s.rcptError = reply(451, 4, 7, 1) }, code: 451},
		"content refused": {server: func(s *server) { s.dataError = reply(554, 5, 7, 1) }, code: 554, permanent: true},
		"server is full":  {server: func(s *server) { s.dataError = reply(452, 4, 3, 1) }, code: 452},
		"wrong password":  {config: func(c *ourmail.SMTPConfig) { c.Username, c.Password = "mailer", secret.NewText("wrong") }, code: 535},
		"nobody listens":  {config: func(c *ourmail.SMTPConfig) { c.Port = unusedPort(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := startServer(t, ourmail.TLSNone, test.server)
			c := config(srv, ourmail.TLSNone)
			if test.config != nil {
				test.config(&c)
			}
			err := sender(t, c).Send(t.Context(), message())
			var delivery *ourmail.DeliveryError
			if !errors.As(err, &delivery) {
				t.Fatalf("Send = %v", err)
			}
			if delivery.Code != test.code || delivery.Permanent != test.permanent {
				t.Errorf("code %d, permanent %v: %v", delivery.Code, delivery.Permanent, err)
			}
			for _, private := range []string{"customer", "04821", "code is", "wrong", "mailer"} {
				if strings.Contains(err.Error(), private) {
					t.Errorf("error shows %q: %v", private, err)
				}
			}
		})
	}
}

func unusedPort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// accepting is a server that says nothing, and does with each connection what it is told to.
func accepting(t *testing.T, do func(net.Conn)) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			do(c)
		}
	}()
	return &server{port: l.Addr().(*net.TCPAddr).Port}
}

// A server that accepts the connection and then says nothing must not hold a worker for longer than the
// timeout, nor beyond the end of the context.
func TestSendToSilentServer(t *testing.T) {
	t.Parallel()
	accepted := make(chan net.Conn, 2)
	c := config(accepting(t, func(c net.Conn) { accepted <- c }), ourmail.TLSNone)
	c.Timeout = 50 * time.Millisecond
	err := sender(t, c).Send(t.Context(), message())
	var delivery *ourmail.DeliveryError
	if !errors.As(err, &delivery) || delivery.Permanent {
		t.Errorf("after the timeout: %v", err)
	}

	c.Timeout = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() { result <- sender(t, c).Send(ctx, message()) }()
	// Both are kept and closed here: a connection that nothing refers to is closed by the garbage collector, and
	// Send would see its end instead of its silence. The second is the one with the long timeout.
	for range 2 {
		silent := <-accepted
		defer func() { _ = silent.Close() }()
	}
	time.Sleep(100 * time.Millisecond) // so that Send waits for the greeting, not for the connection
	cancel()
	select {
	case err := <-result:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("after the context ended: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Send outlives its context")
	}
}

// A server that closes the connection instead of greeting: the error says so, and is worth another try.
func TestSendToServerThatHangsUp(t *testing.T) {
	t.Parallel()
	hangingUp := accepting(t, func(c net.Conn) { _ = c.Close() })
	err := sender(t, config(hangingUp, ourmail.TLSNone)).Send(t.Context(), message())
	var delivery *ourmail.DeliveryError
	if !errors.As(err, &delivery) || delivery.Permanent || !strings.HasSuffix(err.Error(), io.ErrUnexpectedEOF.Error()) &&
		!strings.Contains(err.Error(), "connection reset") {
		t.Errorf("after the hang-up: %v", err)
	}
}

func TestSendRefusesHostileMessages(t *testing.T) {
	t.Parallel()
	srv := startServer(t, ourmail.TLSNone, nil)
	s := sender(t, config(srv, ourmail.TLSNone))
	for name, change := range map[string]func(*ourmail.Message){
		"no recipient":         func(m *ourmail.Message) { m.To = "" },
		"two recipients":       func(m *ourmail.Message) { m.To = "a@example.com, b@example.com" },
		"recipient with name":  func(m *ourmail.Message) { m.To = "Bob <bob@example.com>" },
		"recipient adds line":  func(m *ourmail.Message) { m.To = "a@example.com\r\nBcc: b@example.com" },
		"quoted line break":    func(m *ourmail.Message) { m.To = "\"a\r\nb\"@example.com" },
		"recipient half":       func(m *ourmail.Message) { m.To = "bob@" },
		"recipient is endless": func(m *ourmail.Message) { m.To = strings.Repeat("a", 250) + "@example.com" },
		"subject adds header":  func(m *ourmail.Message) { m.Subject = "Hi\r\nBcc: b@example.com" },
		"subject adds line":    func(m *ourmail.Message) { m.Subject = "Hi\n\nbody" },
		"subject with null":    func(m *ourmail.Message) { m.Subject = "Hi\x00" },
		"subject is blank":     func(m *ourmail.Message) { m.Subject = " " },
		"subject is endless":   func(m *ourmail.Message) { m.Subject = strings.Repeat("字", 251) },
		"subject not UTF-8":    func(m *ourmail.Message) { m.Subject = "\xff" },
		"no text":              func(m *ourmail.Message) { m.Text = "" },
		"text not UTF-8":       func(m *ourmail.Message) { m.Text = "\xff" },
		"huge":                 func(m *ourmail.Message) { m.HTML = strings.Repeat("a", 1<<20) },
		"locale adds header":   func(m *ourmail.Message) { m.Locale = "en\r\nBcc: b@example.com" },
	} {
		m := message()
		change(&m)
		err := s.Send(t.Context(), m)
		if !errors.Is(err, ourmail.ErrInvalidMessage) {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "example.com") || strings.Contains(err.Error(), "04821") {
			t.Errorf("%s: error quotes the message: %v", name, err)
		}
	}
	if srv.data != nil || srv.to != nil {
		t.Errorf("the server was spoken to: %q", srv.to)
	}
}

func TestNewSMTPRefuses(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*ourmail.SMTPConfig){
		"no host":               func(c *ourmail.SMTPConfig) { c.Host = "" },
		"port":                  func(c *ourmail.SMTPConfig) { c.Port = 70000 },
		"mode":                  func(c *ourmail.SMTPConfig) { c.TLS = "maybe" },
		"no sender":             func(c *ourmail.SMTPConfig) { c.FromAddress = "" },
		"sender adds line":      func(c *ourmail.SMTPConfig) { c.FromName = "A\r\nBcc: b@example.com" },
		"helo adds line":        func(c *ourmail.SMTPConfig) { c.HELO = "a\r\nMAIL FROM:<b@example.com>" },
		"user without password": func(c *ourmail.SMTPConfig) { c.Username = "u" },
		"password without user": func(c *ourmail.SMTPConfig) { c.Password = secret.NewText("p") },
		"negative timeout":      func(c *ourmail.SMTPConfig) { c.Timeout = -time.Second },
		"password in the clear": func(c *ourmail.SMTPConfig) {
			c.Host, c.TLS, c.Username, c.Password = "mail.example.com", ourmail.TLSNone, "u", secret.NewText("p")
		},
	} {
		c := config(&server{port: 25}, ourmail.TLSStartTLS)
		change(&c)
		if _, err := ourmail.NewSMTP(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTLSModeUnmarshalText(t *testing.T) {
	t.Parallel()
	var mode ourmail.TLSMode
	if err := mode.UnmarshalText([]byte("starttls")); err != nil || mode != ourmail.TLSStartTLS {
		t.Errorf("starttls: %q, %v", mode, err)
	}
	if err := mode.UnmarshalText([]byte("STARTTLS?")); err == nil || mode != ourmail.TLSStartTLS {
		t.Errorf("nonsense: %q, %v", mode, err)
	}
}
