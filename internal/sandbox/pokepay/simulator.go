// Package pokepay simulates the issuer PokePay: its login, its envelope, its KYC and its rates, with the quirks and
// failures that provider/pokepay.md describes, and a desk where a person plays the issuer's staff.
//
// It speaks the protocol on its own account and shares no code with the client in internal/provider/pokepay,
// so that a misunderstanding in one of them shows up in the other.
package pokepay

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// The points of faults: the calls, and callback for what is sent.
var (
	opLogin     = callPoint("login")
	opKYCInit   = callPoint("kyc_init", fault.ExpiredToken)
	opKYCSubmit = callPoint("kyc_submit", fault.ExpiredToken)
	opKYCList   = callPoint("kyc_list", fault.ExpiredToken)
	opKYCGet    = callPoint("kyc_get", fault.ExpiredToken)
	opRate      = callPoint("fx_rate", fault.ExpiredToken)
	opCallback  = fault.Define("pokepay", "callback", fault.DropWebhook, fault.DuplicateWebhook, fault.Reorder, fault.ForgeSignature)
)

func callPoint(operation string, besides ...fault.Kind) *fault.Point {
	return fault.Define("pokepay", operation, append(besides, fault.Delay, fault.HTTP500, fault.HTML502, fault.ActThenTimeout,
		fault.OddNumbers, fault.NoRequestID, fault.RefuseInit)...)
}

const (
	defaultTokenLife        = 2 * time.Hour // what working clients assume (provider/pokepay.md 1)
	defaultAutoApproveAfter = 2 * time.Second
)

// SessionMaker opens verification sessions in the issuer's own Didit account (provider/didit.md 7).
type SessionMaker interface {
	// CreateForeign opens a session for the attempt called reference and returns its id and the address of
	// its page. After the page the customer's browser goes to callback.
	CreateForeign(ctx context.Context, reference, callback, firstName, lastName, email string) (sessionID, url string, err error)
}

// Options configure a Simulator. DB, Clock and Sessions are required.
type Options struct {
	DB       *sql.DB // a SQLite pool of one connection; the tables pokepay_* are made in it
	Clock    clock.Clock
	Faults   *fault.Plan // nil: none
	Sessions SessionMaker

	Account, Password string // e-mail login; no account: that login is off
	AppID, AppSecret  string // application credentials; no id: that login is off
	TokenLife         time.Duration
	SingleToken       bool // a login ends the token before it (provider/pokepay.md 9)

	CallbackURL    string // receives hints about KYCs; empty: none are sent
	CallbackSecret string // signs them (provider/pokepay.md 6.7); empty: unsigned, as the issuer seems to do

	AutoApprove      bool          // the issuer approves by itself once the documents are in
	AutoApproveAfter time.Duration // how long it takes for that; 0: two seconds

	HideReferences bool // KYC objects show neither agent_uid nor client_uid, and the query by it is ignored (provider/pokepay.md 3.3)

	ForeignEmails []string // addresses that cardholders of another agent have

	Log *slog.Logger // nil: silent
}

// Simulator is the simulated issuer. It is safe for concurrent use.
type Simulator struct {
	Options
	signingKey []byte
	outgoing   *http.Client  // callbacks and image downloads
	wake       chan struct{} // there may be a callback to send
	courier    courier
	stop       sync.Once
	stopped    chan struct{} // closed when Run has ended; lets go of calls that are held or delayed
}

// New makes the tables where they are missing and returns a simulator that continues from them.
func New(ctx context.Context, o Options) (*Simulator, error) {
	if o.DB == nil || o.Clock == nil || o.Sessions == nil {
		return nil, errors.New("simulated pokepay: DB, Clock and Sessions are required")
	}
	if o.Faults == nil {
		o.Faults = &fault.Plan{}
	}
	if o.TokenLife <= 0 {
		o.TokenLife = defaultTokenLife
	}
	if o.AutoApproveAfter <= 0 {
		o.AutoApproveAfter = defaultAutoApproveAfter
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Simulator{
		Options: o,
		outgoing: &http.Client{
			Timeout:       10 * time.Second, // what the issuer's processor allows a receiver (provider/pokepay.md 6.7)
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		wake:    make(chan struct{}, 1),
		courier: courier{onTheWay: map[int64]bool{}},
		stopped: make(chan struct{}),
	}
	if _, err := o.DB.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("simulated pokepay: tables: %w", err)
	}
	key, err := keepSetting(ctx, o.DB, "signing_key", rand.Text())
	if err != nil {
		return nil, fmt.Errorf("simulated pokepay: signing key: %w", err)
	}
	s.signingKey = []byte(key)
	for _, email := range o.ForeignEmails {
		if err := s.AddForeignEmail(ctx, email); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Run delivers callbacks and approves what is due, until ctx ends. What it has not finished is in the
// database and continues with the next Run of a new Simulator. It always returns nil.
func (s *Simulator) Run(ctx context.Context) error {
	defer s.stop.Do(func() { close(s.stopped) })
	var work sync.WaitGroup
	work.Go(func() { s.repeat(ctx, "deliver callbacks", s.wake, s.deliverDue) })
	work.Go(func() { s.repeat(ctx, "approve", nil, s.approveDue) })
	work.Wait()
	s.courier.wait.Wait()
	return nil
}

// lookEvery bounds how late due work is noticed when the clock is moved under us.
const lookEvery = 200 * time.Millisecond

// repeat calls step again at once while it finds work, and otherwise when woken or after lookEvery.
func (s *Simulator) repeat(ctx context.Context, what string, wake <-chan struct{}, step func(context.Context) (worked bool, err error)) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		worked, err := step(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.ErrorContext(ctx, "simulated pokepay", "work", what, "error", err)
		}
		if worked && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-wake:
		case <-tick.C:
		}
	}
}

// stir makes Run look for callbacks now.
func (s *Simulator) stir() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// AddForeignEmail makes an address count as used by a cardholder of another agent: KYC with it is refused.
func (s *Simulator) AddForeignEmail(ctx context.Context, email string) error {
	_, err := s.DB.ExecContext(ctx, `INSERT INTO pokepay_foreign_emails (email) VALUES ($1) ON CONFLICT DO NOTHING`, emailKey(email))
	if err != nil {
		return fmt.Errorf("simulated pokepay: foreign e-mail: %w", err)
	}
	return nil
}
