// Package udun simulates the crypto gateway Udun: addresses, custody balances, deposits, withdrawals and signed callbacks,
// with the quirks and failures that provider/udun.md describes, and a desk where a person plays the gateway's staff.
//
// It speaks the protocol on its own account and shares no code with the client in internal/provider/udun, so that a
// misunderstanding in one of them shows up in the other.
package udun

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"sync"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// The points of faults: the calls, and callback for what is sent.
var (
	opCreateAddress = callPoint("create_address")
	opWithdraw      = callPoint("withdraw")
	opProxyPay      = callPoint("proxypay")
	opSupportCoins  = callPoint("support_coins")
	opCheckAddress  = callPoint("check_address")
	opExistAddress  = callPoint("exist_address")
	opCallback      = fault.Define("udun", "callback", fault.Delay, fault.DropWebhook, fault.DuplicateWebhook, fault.Reorder,
		fault.ForgeSignature, fault.StaleTimestamp)
)

func callPoint(operation string) *fault.Point {
	return fault.Define("udun", operation, fault.Delay, fault.HTTP500, fault.HTML502, fault.ActThenTimeout, fault.OddNumbers, fault.RefuseInit)
}

// stepAfter is how long a step takes that a withdrawal makes by itself.
const stepAfter = time.Second

// Options configure a Simulator. DB, Clock, MerchantID and APIKey are required.
type Options struct {
	DB     *sql.DB // a SQLite pool of one connection; the tables udun_* are made in it
	Clock  clock.Clock
	Faults *fault.Plan // nil: none

	MerchantID   string
	APIKey       string
	WalletID     string // of the main wallet, which calls may name; others are refused
	Disabled     bool   // the merchant's account is switched off: every call is refused
	AddressQuota int    // how many addresses the merchant may have; 0: any number

	// CallbackURL hears of deposits to addresses that the gateway does not know. Empty: where the newest address reports to.
	CallbackURL string
	// Tries is how often a callback is sent until somebody takes it; 0 is once. The gateway's own number is unknown
	// (provider/udun section 5.3).
	Tries int
	// TimeScale divides the waits between tries; 0 and 1 are real time.
	TimeScale float64

	// AutoApprove lets every withdrawal pass by itself, a second after each step.
	AutoApprove bool
	// ProxyPayLimits are the largest amounts, in the coin's own unit by its name, that proxypay pays without review; nil: those
	// of the table of coins. A coin that is not there always waits for review.
	ProxyPayLimits map[string]string
	// TakeFees takes the fee of each withdrawal from the balance of the chain's main coin, and lets it fail without. It is off,
	// because whether and how the gateway books gas is unknown.
	TakeFees bool

	Log *slog.Logger // nil: silent
}

// Simulator is the simulated gateway. It is safe for concurrent use.
type Simulator struct {
	Options
	limits   map[string]*big.Int // of proxypay, in base units by coin
	outgoing *http.Client
	wake     chan struct{} // there may be a callback to send
	courier  courier
	stop     sync.Once
	stopped  chan struct{} // closed when Run has ended; lets go of calls that are held or delayed
}

// New makes the tables where they are missing and returns a simulator that continues from them.
func New(ctx context.Context, o Options) (*Simulator, error) {
	if o.DB == nil || o.Clock == nil || o.MerchantID == "" || o.APIKey == "" {
		return nil, errors.New("simulated udun: DB, Clock, MerchantID and APIKey are required")
	}
	if o.Faults == nil {
		o.Faults = &fault.Plan{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.TimeScale <= 0 {
		o.TimeScale = 1
	}
	s := &Simulator{
		Options: o,
		limits:  map[string]*big.Int{},
		outgoing: &http.Client{
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		wake:    make(chan struct{}, 1),
		courier: courier{onTheWay: map[int64]bool{}},
		stopped: make(chan struct{}),
	}
	for _, c := range coins {
		limit := c.proxyPay
		if o.ProxyPayLimits != nil {
			limit = o.ProxyPayLimits[c.name]
		}
		if limit == "" {
			continue
		}
		var err error
		if s.limits[c.name], err = baseUnits(limit, c.decimals); err != nil {
			return nil, fmt.Errorf("simulated udun: proxypay limit of %s: %w", c.name, err)
		}
	}
	if _, err := o.DB.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("simulated udun: tables: %w", err)
	}
	return s, nil
}

// Run delivers callbacks and takes the steps that are due, until ctx ends. What it has not finished is in the database and
// continues with the next Run of a new Simulator. It always returns nil.
func (s *Simulator) Run(ctx context.Context) error {
	defer s.stop.Do(func() { close(s.stopped) })
	var work sync.WaitGroup
	work.Go(func() { s.repeat(ctx, "deliver callbacks", s.wake, s.deliverDue) })
	work.Go(func() { s.repeat(ctx, "move trades", nil, s.moveDue) })
	work.Wait()
	s.courier.wait.Wait()
	s.outgoing.CloseIdleConnections()
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
			s.Log.ErrorContext(ctx, "simulated udun", "work", what, "error", err)
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
