package mail

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// TLSMode says how the connection to the mail server is protected.
type TLSMode string

// The modes. There is no "if the server offers it": such a connection can be stripped of its protection by
// whoever sits in between.
const (
	TLSNone     TLSMode = "none"     // in the clear: for a server on the same machine
	TLSStartTLS TLSMode = "starttls" // in the clear first, then always upgraded; usually port 587
	TLSImplicit TLSMode = "tls"      // from the first byte; usually port 465
)

// UnmarshalText reads a mode from configuration.
func (m *TLSMode) UnmarshalText(text []byte) error {
	mode := TLSMode(text)
	switch mode {
	case TLSNone, TLSStartTLS, TLSImplicit:
		*m = mode
		return nil
	}
	return errors.New("must be none, starttls or tls")
}

// defaultTimeout bounds the sending of one message if the configuration does not.
const defaultTimeout = 15 * time.Second

// SMTPConfig says which mail server takes our mail and how we introduce ourselves to it.
type SMTPConfig struct {
	Host     string      // required; also the name that the server's certificate must carry
	Port     int         // 0: 25, 587 or 465, by TLS
	Username string      // empty: no login
	Password secret.Text // required with a Username
	TLS      TLSMode     // empty: starttls
	RootCAs  *x509.CertPool

	FromAddress string // required; the envelope's sender too, so bounces go there
	FromName    string
	HELO        string        // how we greet; empty: the domain of FromAddress
	Timeout     time.Duration // for one message, from dialling to the server's answer; 0: 15 s

	Clock clock.Clock // for the Date header; nil: the machine's clock
}

// SMTP sends mail through one mail server, one connection for each message. It is safe for concurrent use.
type SMTP struct {
	config SMTPConfig
	domain string // of the sender's address; right-hand side of the Message-ID
}

// NewSMTP checks the configuration and returns a sender; it does not connect.
func NewSMTP(c SMTPConfig) (*SMTP, error) {
	if c.TLS == "" {
		c.TLS = TLSStartTLS
	}
	if c.Port == 0 {
		c.Port = map[TLSMode]int{TLSNone: 25, TLSStartTLS: 587, TLSImplicit: 465}[c.TLS]
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	mode := c.TLS
	switch {
	case c.Host == "" || strings.ContainsAny(c.Host, " \t\r\n"):
		return nil, errors.New("mail: no usable host")
	case mode.UnmarshalText([]byte(c.TLS)) != nil:
		return nil, fmt.Errorf("mail: TLS mode %q is not none, starttls or tls", c.TLS)
	case c.Port < 1 || c.Port > 65535:
		return nil, fmt.Errorf("mail: port %d is out of range", c.Port)
	case c.Timeout < 0:
		return nil, errors.New("mail: timeout is negative")
	case (c.Username == "") != c.Password.Empty():
		return nil, errors.New("mail: user name and password go together")
	case c.Username != "" && c.TLS == TLSNone && !loopback(c.Host):
		return nil, errors.New("mail: a password needs TLS, unless the server is on this machine")
	case oneLine(c.FromName) != c.FromName:
		return nil, errors.New("mail: sender's name must be one line of text")
	}
	if err := checkAddress(c.FromAddress); err != nil {
		return nil, fmt.Errorf("mail: sender: %w", err)
	}
	domain := c.FromAddress[strings.LastIndexByte(c.FromAddress, '@')+1:]
	if c.HELO == "" {
		c.HELO = domain
	}
	if strings.ContainsAny(c.HELO, " \t\r\n") {
		return nil, errors.New("mail: HELO must be one word")
	}
	return &SMTP{config: c, domain: domain}, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Send implements Sender.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	if err := m.validate(); err != nil {
		return err
	}
	msg, err := s.compose(m)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	var conn net.Conn
	client, err := s.client(func(dialing context.Context, network, address string) (net.Conn, error) {
		c, err := s.dial(dialing, network, address)
		if err == nil {
			conn = c
			// The library's deadline starts anew with each step; closing the connection is what ends one early, and the last.
			context.AfterFunc(ctx, func() { _ = c.Close() })
		}
		return c, err
	})
	if err != nil {
		return err
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		stage := "opening the session" // greeting, TLS, login
		if conn == nil {
			stage = "connecting"
		}
		return deliveryError(ctx, stage, err)
	}
	if err := client.SendWithSMTPClient(session, msg); err != nil && !msg.IsDelivered() {
		return deliveryError(ctx, "sending", err)
	}
	// The server has answered for the message. A failing farewell must not have it sent a second time.
	_ = client.CloseWithSMTPClient(session)
	return nil
}

// compose builds the MIME message. Every header that the library would derive from the machine (its name, its
// clock, the library's own) is set here instead.
func (s *SMTP) compose(m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&mail.Address{Name: s.config.FromName, Address: s.config.FromAddress})
	if err := msg.To(m.To); err != nil {
		// The library's text quotes the address.
		return nil, fmt.Errorf("%w: recipient: address is not of the form local@domain", ErrInvalidMessage)
	}
	msg.Subject(m.Subject)
	msg.SetDateWithValue(s.config.Clock.Now())
	msg.SetMessageIDWithValue(strings.ToLower(rand.Text()) + "@" + s.domain)
	// RFC 3834: no vacation notes in answer to codes.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	if m.Locale != "" {
		msg.SetGenHeader(gomail.HeaderContentLang, m.Locale)
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}

// client prepares a connection's settings. It is made for each message, since it holds the connection.
func (s *SMTP) client(dial gomail.DialContextFunc) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithPort(s.config.Port),
		gomail.WithTimeout(s.config.Timeout),
		gomail.WithHELO(s.config.HELO),
		gomail.WithTLSConfig(s.tlsConfig()),
		gomail.WithDialContextFunc(dial),
		gomail.WithoutNoop(),
		gomail.WithTLSPolicy(gomail.NoTLS), // also for implicit TLS, which dial has done already
	}
	if s.config.TLS == TLSStartTLS {
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	}
	if s.config.Username != "" {
		options = append(options,
			// PLAIN and LOGIN give the password away only over TLS or to this machine.
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin),
			gomail.WithUsername(s.config.Username),
			gomail.WithPassword(s.config.Password.Reveal()))
	}
	client, err := gomail.NewClient(s.config.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return client, nil
}

func (s *SMTP) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: s.config.Host, RootCAs: s.config.RootCAs, MinVersion: tls.VersionTLS12}
}

func (s *SMTP) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	address := net.JoinHostPort(s.config.Host, strconv.Itoa(s.config.Port))
	if s.config.TLS == TLSImplicit {
		dialer := tls.Dialer{Config: s.tlsConfig()}
		return dialer.DialContext(ctx, network, address)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, network, address)
}

// DeliveryError says that the mail server did not take a message, or that we cannot know. Its text holds
// neither addresses nor any part of the message nor the server's own words, which may quote both.
type DeliveryError struct {
	Stage        string // what was being done
	Code         int    // the server's reply code; 0: no reply
	EnhancedCode string // the server's status code of RFC 3463, such as "5.1.1", if it gave one

	// Permanent: the server refuses this recipient or this message for good, so that sending it again is
	// useless. Not set where the trouble is between the two servers and may be repaired.
	Permanent bool

	cause error
}

// Error implements error.
func (e *DeliveryError) Error() string {
	text := "mail: " + e.Stage
	switch {
	case e.Code != 0:
		text += ": refused with " + strings.TrimSpace(strconv.Itoa(e.Code)+" "+e.EnhancedCode)
	case e.cause != nil:
		text += ": " + e.cause.Error()
	default:
		text += ": failed"
	}
	return text
}

// Unwrap gives the context's or the network's error, if that was the reason.
func (e *DeliveryError) Unwrap() error { return e.cause }

// deliveryError translates the library's error, leaving behind everything that may be personal.
func deliveryError(ctx context.Context, stage string, err error) *DeliveryError {
	d := &DeliveryError{Stage: stage}
	var send *gomail.SendError
	if errors.As(err, &send) {
		d.Stage = send.Reason.String()
		d.Code = send.ErrorCode()
		d.EnhancedCode = send.EnhancedStatusCode()
		aboutMessage := send.Reason == gomail.ErrSMTPRcptTo || send.Reason == gomail.ErrSMTPData ||
			send.Reason == gomail.ErrSMTPDataClose
		d.Permanent = aboutMessage && d.Code >= 500 && d.Code <= 599
	}
	var (
		reply       *textproto.Error
		network     *net.OpError
		certificate *tls.CertificateVerificationError
	)
	if d.Code == 0 && errors.As(err, &reply) {
		d.Code = reply.Code
	}
	switch {
	case ctx.Err() != nil:
		d.cause = ctx.Err()
	case d.Code != 0:
	case errors.As(err, &certificate):
		d.cause = certificate
	case errors.As(err, &network):
		d.cause = network
	case errors.Is(err, io.EOF): // the server has hung up
		d.cause = io.ErrUnexpectedEOF
	}
	return d
}
