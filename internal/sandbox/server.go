package sandbox

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the "sqlite" driver

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/sandbox/didit"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	"github.com/comecomepay/comecomepay/internal/sandbox/inbox"
	"github.com/comecomepay/comecomepay/internal/sandbox/pokepay"
	"github.com/comecomepay/comecomepay/internal/sandbox/udun"
)

// Where things are on the sandbox listener. The base addresses of the clients begin with the prefixes.
const (
	DiditPrefix   = "/didit"
	PokePayPrefix = "/pokepay"
	UdunPrefix    = "/udun"
)

// issuerAccount is the owner of the sessions that the issuer opens in its own Didit account (provider/didit.md 7).
const issuerAccount = "pokepay"

// Options say where a sandbox listens, and what the simulators share with the service that they stand beside: the addresses
// that they call and the secrets that both sides know.
type Options struct {
	Addr     string // of the sandbox listener, host:port on loopback; port 0 lets the machine choose
	SMTPAddr string // of the inbox, likewise
	DataDir  string // sandbox.db is made in it

	// PublicURL is the service, without a trailing slash: webhooks, callbacks and the walkthrough go there. OpsURL is
	// where it shows its metrics.
	PublicURL string
	OpsURL    string
	Channel   string // "pokepay" or "didit", for the home page

	Didit       DiditAccount
	PokePay     PokePayAccount
	SMSSecret   secret.Text // that short messages to the inbox are signed with; empty: it takes none
	Udun        UdunAccount
	AutoApprove bool // the issuer approves by itself two seconds after the verification page is completed
	AutoPay     bool // the gateway lets every withdrawal pass by itself, a second after each step

	// Unlimited switches off the simulators' rate limits; TimeScale divides the waits between their delivery attempts (0
	// and 1 are real time). Both are for tests that do in seconds what takes customers a day.
	Unlimited bool
	TimeScale float64

	Clock clock.Clock  // the time that POST /control/clock moves away from; nil: the machine's
	Log   *slog.Logger // nil: nothing is logged
}

// DiditAccount is our application at Didit.
type DiditAccount struct {
	APIKey         string
	WorkflowID     string
	WebhookSecrets []string // the first one signs
	WebhookPath    string   // below PublicURL; empty: no webhooks are sent
}

// PokePayAccount is our account with the issuer.
type PokePayAccount struct {
	Account, Password string // e-mail login
	AppID, AppSecret  string // application credentials
	CallbackPath      string // below PublicURL; empty: no callbacks are sent
	CallbackSecret    string // empty: callbacks are not signed
}

// UdunAccount is our merchant's account at the crypto gateway.
type UdunAccount struct{ MerchantID, APIKey string }

// Server is a running sandbox: the simulators, the inbox, the control interface and the home page on one listener, and
// SMTP on another. What it knows is in one SQLite file, so that it can be killed and started again.
type Server struct {
	db      *sql.DB
	clock   *movableClock
	faults  *fault.Plan
	didit   *didit.Simulator
	pokepay *pokepay.Simulator
	udun    *udun.Simulator
	inbox   *inbox.Inbox
	office  atomic.Pointer[Office] // nil: there is none
	log     *slog.Logger

	listener net.Listener
	smtp     net.Listener
	stop     context.CancelFunc
	stopped  chan struct{}
	err      error // of the whole run; read it after stopped is closed
}

// Start opens the sandbox's file, listens and serves until ctx ends or Stop is called. It refuses addresses that others than
// this machine can reach: whoever reaches the sandbox reads everybody's mail and decides about everybody.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{faults: &fault.Plan{}, log: o.Log, stopped: make(chan struct{})}
	handler, err := s.open(ctx, o)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("sandbox: %w", err), s.close())
	}
	ctx, s.stop = context.WithCancel(ctx)
	go s.run(ctx, handler)
	return s, nil
}

func (s *Server) open(ctx context.Context, o Options) (http.Handler, error) {
	var err error
	if s.listener, err = listenOnLoopback(ctx, o.Addr); err != nil {
		return nil, err
	}
	if s.smtp, err = listenOnLoopback(ctx, o.SMTPAddr); err != nil {
		return nil, err
	}
	if s.db, err = openDatabase(ctx, o.DataDir); err != nil {
		return nil, err
	}
	if s.clock, err = openClock(ctx, s.db, o.Clock); err != nil {
		return nil, err
	}
	if s.inbox, err = inbox.New(ctx, inbox.Options{DB: s.db, Clock: s.clock, Log: o.Log, SMSSecret: o.SMSSecret}); err != nil {
		return nil, err
	}
	var limits didit.Limits
	if o.Unlimited {
		limits = didit.Limits{Create: -1, Decision: -1, PDF: -1, Read: -1, Write: -1}
	}
	target := func(path string) string {
		if path == "" {
			return ""
		}
		return o.PublicURL + path
	}
	s.didit, err = didit.New(ctx, didit.Options{
		DB: s.db, Clock: s.clock, Faults: s.faults, Log: o.Log, BaseURL: s.URL() + DiditPrefix,
		APIKey: o.Didit.APIKey, WorkflowID: o.Didit.WorkflowID,
		WebhookURL: target(o.Didit.WebhookPath), WebhookSecrets: o.Didit.WebhookSecrets,
		TimeScale: o.TimeScale, Limits: limits,
	})
	if err != nil {
		return nil, err
	}
	s.pokepay, err = pokepay.New(ctx, pokepay.Options{
		DB: s.db, Clock: s.clock, Faults: s.faults, Log: o.Log, Sessions: issuerSessions{s.didit},
		Account: o.PokePay.Account, Password: o.PokePay.Password, AppID: o.PokePay.AppID, AppSecret: o.PokePay.AppSecret,
		CallbackURL: target(o.PokePay.CallbackPath), CallbackSecret: o.PokePay.CallbackSecret, AutoApprove: o.AutoApprove,
	})
	if err != nil {
		return nil, err
	}
	s.udun, err = udun.New(ctx, udun.Options{
		DB: s.db, Clock: s.clock, Faults: s.faults, Log: o.Log, MerchantID: o.Udun.MerchantID, APIKey: o.Udun.APIKey,
		Tries: callbackTries, TimeScale: o.TimeScale, AutoApprove: o.AutoPay,
	})
	if err != nil {
		return nil, err
	}
	s.didit.OnForeign(s.tellIssuer)
	return s.routes(o)
}

// callbackTries is how often the gateway sends a callback until somebody takes it: the service beside it may be killed and
// started again.
const callbackTries = 5

func (s *Server) routes(o Options) (http.Handler, error) {
	if u, err := url.Parse(o.PublicURL); err != nil || u.Host == "" {
		return nil, errors.New("the service's address is not an absolute URL")
	}
	dir, err := filepath.Abs(o.DataDir)
	if err != nil {
		return nil, err
	}
	home := Home(HomeData{
		APIBase: o.PublicURL, SandboxBase: s.URL(), OpsBase: o.OpsURL, MailAddr: s.SMTPAddr(), DataDir: dir,
		Channel: cmp.Or(o.Channel, "pokepay"), AutoApprove: o.AutoApprove, AutoPay: o.AutoPay,
	})
	mux := http.NewServeMux()
	mux.Handle(DiditPrefix+"/", http.StripPrefix(DiditPrefix, s.didit.Handler()))
	mux.Handle(PokePayPrefix+"/", http.StripPrefix(PokePayPrefix, s.pokepay.Handler()))
	mux.Handle(UdunPrefix+"/", http.StripPrefix(UdunPrefix, s.udun.Handler()))
	mux.Handle("/inbox/sms", s.inbox.SMSHandler())
	mux.Handle("/inbox", s.inbox.PagesHandler())
	mux.Handle("/inbox/", s.inbox.PagesHandler())
	mux.Handle("/control/", s.controlHandler())
	mux.Handle("/", home)
	return onlyOnLoopback(mux), nil
}

// issuerSessions opens sessions in the issuer's own account at the simulated Didit.
type issuerSessions struct{ didit *didit.Simulator }

// CreateForeign implements pokepay.SessionMaker.
func (i issuerSessions) CreateForeign(ctx context.Context, reference, callback, firstName, lastName, email string) (sessionID, url string, err error) {
	return i.didit.CreateForeign(ctx, didit.Foreign{
		Owner: issuerAccount, Reference: reference, Callback: callback, FirstName: firstName, LastName: lastName, Email: email,
	})
}

// tellIssuer passes on to the issuer what became of a session in its account.
func (s *Server) tellIssuer(ctx context.Context, e didit.ForeignEvent) {
	if e.Owner != issuerAccount {
		return
	}
	// The event counts as told when this returns: whoever caused it may have gone, the issuer hears of it all the same.
	err := s.pokepay.DiditFinished(context.WithoutCancel(ctx), e.Reference, e.Status, e.Risk, e.Reason)
	switch {
	case errors.Is(err, pokepay.ErrUnknownKYC):
		// A session whose application was not kept: the issuer refused it after the session was made.
		s.log.DebugContext(ctx, "sandbox: session of no application", "session_id", e.SessionID)
	case err != nil:
		s.log.ErrorContext(ctx, "sandbox: issuer not told", "session_id", e.SessionID, "error", err)
	}
}

// How long the sandbox lets requests finish when it stops. Those that a fault holds open are let go before.
const shutdownTimeout = 3 * time.Second

func (s *Server) run(ctx context.Context, handler http.Handler) {
	defer close(s.stopped)
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	var parts sync.WaitGroup
	var mu sync.Mutex
	var failures []error
	part := func(what string, run func() error) {
		parts.Go(func() {
			defer s.stop() // one part without the others is of no use
			if err := run(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, fmt.Errorf("sandbox %s: %w", what, err))
			}
		})
	}
	part("didit", func() error { return s.didit.Run(ctx) })
	part("pokepay", func() error { return s.pokepay.Run(ctx) })
	part("udun", func() error { return s.udun.Run(ctx) })
	part("inbox", func() error { return s.inbox.Serve(ctx, s.smtp) })
	part("listener", func() error {
		if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	<-ctx.Done()
	timeout, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if server.Shutdown(timeout) != nil {
		_ = server.Close()
	}
	parts.Wait()
	s.err = errors.Join(errors.Join(failures...), s.close())
}

// close lets go of whatever is open.
func (s *Server) close() error {
	for _, l := range []net.Listener{s.listener, s.smtp} {
		if l != nil {
			_ = l.Close() // has been closed by its server, or was never used
		}
	}
	if s.db != nil {
		return s.db.Close()
	}
	return nil
}

// Stop ends the sandbox and waits until it is gone.
func (s *Server) Stop() error {
	s.stop()
	return s.Wait()
}

// Wait blocks until the sandbox has ended, and tells why if nobody asked it to.
func (s *Server) Wait() error {
	<-s.stopped
	return s.err
}

// Done is closed when the sandbox has ended.
func (s *Server) Done() <-chan struct{} { return s.stopped }

// Addr is the sandbox listener, host:port.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is the sandbox listener as a base address.
func (s *Server) URL() string { return "http://" + s.Addr() }

// SMTPAddr is where mail is taken, host:port.
func (s *Server) SMTPAddr() string { return s.smtp.Addr().String() }

// Clock is the sandbox's time, which POST /control/clock moves; the service beside it runs on the same.
func (s *Server) Clock() clock.Clock { return s.clock }

// Advance moves the sandbox's time forward, as POST /control/clock does.
func (s *Server) Advance(ctx context.Context, by time.Duration) error {
	return s.clock.advance(ctx, by)
}

// Faults is the plan that POST /control/faults fills.
func (s *Server) Faults() *fault.Plan { return s.faults }

// Inbox is the mail that was sent.
func (s *Server) Inbox() *inbox.Inbox { return s.inbox }

// Didit is the simulated Didit.
func (s *Server) Didit() *didit.Simulator { return s.didit }

// PokePay is the simulated issuer.
func (s *Server) PokePay() *pokepay.Simulator { return s.pokepay }

// Udun is the simulated crypto gateway.
func (s *Server) Udun() *udun.Simulator { return s.udun }

func listenOnLoopback(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if tcp, ok := l.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, errors.Join(fmt.Errorf("refuses to listen on %s: only loopback addresses are allowed", address), l.Close())
	}
	return l, nil
}

// openDatabase opens the sandbox's own file with one connection. A commit survives the death of the process; it need not
// survive a power cut.
func openDatabase(ctx context.Context, dir string) (*sql.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(filepath.Join(dir, "sandbox.db"))
	if err != nil {
		return nil, err
	}
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(NORMAL)", "foreign_keys(ON)"}, "_txlock": {"immediate"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := db.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	return db, nil
}

// onlyOnLoopback refuses requests that name another host: a page of the web whose own name leads to this machine (DNS
// rebinding) could read the inbox otherwise.
func onlyOnLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopbackHost(r.Host) {
			refuse(w, http.StatusMisdirectedRequest, "the sandbox answers only under the names of this machine, such as 127.0.0.1 and localhost")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopbackHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
