package inbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

const (
	maxRecipients = 50
	smtpTimeout   = 30 * time.Second
	storeTimeout  = 10 * time.Second
)

// Serve speaks SMTP on l until ctx ends; then it closes l and all connections, waits for mail that is being
// stored, and returns nil. It refuses a listener that others than this machine can reach, because whoever
// reaches the inbox reads everybody's codes. Any login is accepted.
func (in *Inbox) Serve(ctx context.Context, l net.Listener) error {
	defer func() { _ = l.Close() }()
	if address, ok := l.Addr().(*net.TCPAddr); !ok || !address.IP.IsLoopback() {
		return fmt.Errorf("inbox: refuses to listen on %s: only loopback addresses are allowed", l.Addr())
	}
	// Mail that has been received is stored even while the server stops.
	intake := &intake{inbox: in, ctx: context.WithoutCancel(ctx)}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{intake: intake}, nil
	}))
	server.Domain = "sandbox.localhost"
	server.MaxMessageBytes = maxMessageBytes
	server.MaxRecipients = maxRecipients
	server.ReadTimeout, server.WriteTimeout = smtpTimeout, smtpTimeout
	server.AllowInsecureAuth = true
	server.EnableSMTPUTF8 = true
	server.ErrorLog = serverLog{in.log}

	stop := context.AfterFunc(ctx, func() {
		_ = server.Close()
		// A server that is closed before it serves does not know its listener yet.
		_ = l.Close()
	})
	defer stop()
	err := server.Serve(l)
	_ = server.Close()
	intake.close()
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}

// intake is the way from the sessions into the store. It can be closed, which waits for mail on its way.
type intake struct {
	inbox  *Inbox
	ctx    context.Context
	mu     sync.RWMutex // read-locked while a mail is being stored
	closed bool
}

func (i *intake) store(recipients []string, source []byte) error {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if i.closed {
		return errors.New("the server is stopping")
	}
	ctx, cancel := context.WithTimeout(i.ctx, storeTimeout)
	defer cancel()
	return i.inbox.store(ctx, recipients, parse(source))
}

func (i *intake) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
}

// session is one client's conversation.
type session struct {
	intake     *intake
	recipients []string
}

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth accepts everybody, so that a configuration with a password can be tried out too.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, _, _ string) error { return nil }), nil
}

// Mail implements smtp.Session.
func (s *session) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session. Every address exists here.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == "" || !strings.Contains(to, "@") {
		return &smtp.SMTPError{Code: 553, EnhancedCode: smtp.EnhancedCode{5, 1, 3}, Message: "Not an address"}
	}
	s.recipients = append(s.recipients, to)
	return nil
}

// Data implements smtp.Session: the mail is acknowledged once it is on disk.
func (s *session) Data(r io.Reader) error {
	source, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := s.intake.store(s.recipients, source); err != nil {
		s.intake.inbox.log.Error("mail was not stored", "error", err)
		return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "Mail could not be stored"}
	}
	s.intake.inbox.log.Debug("mail stored", "recipients", len(s.recipients), "bytes", len(source))
	return nil
}

// Reset implements smtp.Session.
func (s *session) Reset() { s.recipients = nil }

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// serverLog carries the library's complaints into the structured log. Broken-off connections are everyday
// business.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Printf(format string, v ...any) {
	for _, arg := range v {
		if err, ok := arg.(error); ok && (errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)) {
			return
		}
	}
	l.log.Warn("smtp server", "problem", strings.TrimSpace(fmt.Sprintf(format, v...)))
}

func (l serverLog) Println(v ...any) {
	l.log.Warn("smtp server", "problem", strings.TrimSpace(fmt.Sprintln(v...)))
}
