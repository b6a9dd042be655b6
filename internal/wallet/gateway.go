package wallet

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/obs"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider/inbound"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

// Problems that the gateway's calls meet.
var (
	ErrCallbackSignature = problem.Define("CALLBACK_SIGNATURE_INVALID", problem.Unauthenticated)
	ErrCallbackForm      = problem.Define("CALLBACK_INVALID", problem.Invalid)
	ErrCallbackAddress   = problem.Define("CALLBACK_UNKNOWN", problem.NotFound)
)

// GatewayOptions is what deposits, withdrawals and reconciliation need. Maps are by the coin's name, amounts in the ledger's units,
// worths in millionths of a USDT.
type GatewayOptions struct {
	Client       *udun.Client   // nil: there is no gateway; nothing comes in or goes out
	Callbacks    *udun.Verifier // nil: no callback is accepted
	CallbackKey  secret.Text    // last segment of the callback's path; empty: only the bare path is there
	BareCallback bool           // the path without the key is open as well

	CreditAt        []udun.Status    // statuses of a deposit that mean that it is there; none: 3 (provider/udun section 5.2)
	DepositMinimums map[string]int64 // smaller deposits go to suspense

	WithdrawalMinimums map[string]int64 // a coin that is not named: Coin.Least
	WithdrawalFees     map[string]int64 // come out of the amount
	WithdrawalLimits   LimitsByLevel
	WithdrawalsPerDay  int           // of a customer, those that came to nothing included; 0: as many as they like
	AutomaticLimit     int64         // a customer's withdrawals of a day that are worth more together wait for an operator
	RepeatWindow       time.Duration // an equal request within it is the same withdrawal; 0: three minutes. The app waits 60 s for an answer
	AutoPay            bool          // order with /mch/withdraw/proxypay, which the gateway may pay without its own review

	BalanceUnit    BalanceUnit   // of what the gateway says it holds; empty: human
	ReconcileEvery time.Duration // 0: 15 minutes

	JobTimeout time.Duration // how long a background job may last; 0: jobs.DefaultTimeout
}

// gate is what the gateway's side of the service holds.
type gate struct {
	inbound inbound.Store
	forged  obs.Sparse
	metrics *gateMetrics
	shown   atomic.Pointer[time.Time] // when the metric of differences was brought up to date
}

func (o *GatewayOptions) complete() {
	if len(o.CreditAt) == 0 {
		o.CreditAt = []udun.Status{udun.StatusSucceeded}
	}
	o.RepeatWindow = cmp.Or(o.RepeatWindow, 3*time.Minute)
	o.BalanceUnit = cmp.Or(o.BalanceUnit, HumanUnits)
	o.ReconcileEvery = cmp.Or(o.ReconcileEvery, 15*time.Minute)
	o.JobTimeout = cmp.Or(o.JobTimeout, jobs.DefaultTimeout)
}

// newGate completes the options and makes the gateway's side.
func newGate(o *Options) *gate {
	o.Gateway.complete()
	minimums := map[string]int64{}
	for _, c := range o.Coins {
		minimums[c.Code] = c.Least
	}
	maps.Copy(minimums, o.Gateway.WithdrawalMinimums)
	o.Gateway.WithdrawalMinimums = minimums
	return &gate{inbound: inbound.NewStore(o.DB, o.Vault, o.Clock), metrics: newGateMetrics(o.Registerer)}
}

type gateMetrics struct {
	callbacks   *prometheus.CounterVec
	deposits    *prometheus.CounterVec
	withdrawals *prometheus.CounterVec
	orders      *prometheus.CounterVec
	difference  *prometheus.GaugeVec
	age         *prometheus.GaugeVec
}

// compared shows how the last comparison of a coin came out, if there was one, and how long ago it was.
func (m *gateMetrics) compared(coin string, difference *decimal.Decimal, age time.Duration) {
	if difference != nil {
		m.difference.WithLabelValues(coin).Set(difference.InexactFloat64()) // for a curve on a screen
	}
	m.age.WithLabelValues(coin).Set(age.Seconds())
}

func newGateMetrics(reg prometheus.Registerer) *gateMetrics {
	m := &gateMetrics{
		callbacks:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ccp_wallet_callbacks_total", Help: "Calls of the crypto gateway."}, []string{"result"}),
		deposits:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ccp_wallet_deposits_total", Help: "Deposits by what became of them."}, []string{"coin", "state"}),
		withdrawals: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ccp_wallet_withdrawals_total", Help: "Withdrawals by the state that they have come to."}, []string{"coin", "state"}),
		orders:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ccp_wallet_orders_total", Help: "Orders of withdrawals at the gateway, by what is known about their effect."}, []string{"outcome"}),
		difference:  prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ccp_wallet_reconciliation_difference", Help: "What the gateway holds less what it should hold, in whole coins."}, []string{"coin"}),
		age:         prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ccp_wallet_reconciliation_age_seconds", Help: "Time since the ledger was compared with the gateway."}, []string{"coin"}),
	}
	if reg != nil {
		reg.MustRegister(m.callbacks, m.deposits, m.withdrawals, m.orders, m.difference, m.age)
	}
	return m
}

// What of this side a person has to look at, besides the cases of withdrawal_machine.go. Subjects: the deposit's number ("deposit 7"), the
// withdrawal's ("withdrawal 7"), the coin, customer and coin ("user 7 ETH"), or the stored call ("message 7").
const (
	caseSuspense      = "wallet_deposit_suspense"      // whose it is, is not known
	caseSmall         = "wallet_deposit_minimum"       // below the minimum, or what can be counted; one case for a customer and coin
	caseUnclear       = "wallet_deposit_unclear"       // how much it is, or of what, is not known
	caseUnconfirmed   = "wallet_deposit_unconfirmed"   // seen and not final for too long, or with a status of unknown meaning
	caseDeposit       = "wallet_deposit_contradiction" // what the gateway says does not fit what was done
	caseTwin          = "wallet_deposit_twin"          // the same payment on chain under two trades
	caseCallback      = "wallet_callback"              // signed, and cannot be understood, or not be done
	caseUnknownOrder  = "wallet_withdrawal_unknown"    // the gateway sends what we have never ordered
	caseDifference    = "wallet_difference"            // the gateway holds something else than the ledger says
	caseUncompared    = "wallet_not_compared"          // what the gateway holds cannot be read; closed by the next comparison
	caseGatewayAccess = "wallet_gateway_access"        // the gateway does not let us in; closed when it answers
)

func (s *Service) openCase(ctx context.Context, tx db.Tx, kind, subject, detail string) error {
	_, err := s.cases.Open(ctx, tx, cases.Case{Kind: kind, Subject: subject, Detail: detail})
	return err
}

// callbackArgs works on one stored call of the gateway.
type callbackArgs struct {
	MessageID int64 `json:"message_id"`
}

// Kind implements river.JobArgs.
func (callbackArgs) Kind() string { return "wallet_callback" }

// callbackAttempts is how often a stored call is worked on, over about a day: only the database can keep it from being done.
const callbackAttempts = 14

// ReceiveCallback takes a callback of the gateway: it checks the signature over the text as it came, stores the call with its job, and
// returns. Any answer but an error ends its delivery for good (provider/udun section 5.3). A callback whose time is off is stored all the
// same, and flagged: it may have been sent again by hand (section 5.4). key is the last segment of the path, or empty.
//
// Errors: ErrCallbackAddress, ErrCallbackForm, ErrCallbackSignature.
func (s *Service) ReceiveCallback(ctx context.Context, key string, header http.Header, raw []byte) error {
	want := s.Gateway.CallbackKey.Reveal()
	bare := key == "" && (want == "" || s.Gateway.BareCallback)
	keyed := want != "" && subtle.ConstantTimeCompare([]byte(key), []byte(want)) == 1
	if s.Gateway.Callbacks == nil || !bare && !keyed {
		s.gate.metrics.callbacks.WithLabelValues("unknown_path").Inc()
		return ErrCallbackAddress
	}
	envelope, err := udun.ParseCallback(raw)
	if err != nil {
		s.gate.metrics.callbacks.WithLabelValues("unreadable").Inc()
		return ErrCallbackForm.Because(err)
	}
	event, err := s.Gateway.Callbacks.Verify(envelope)
	if errors.Is(err, udun.ErrSignature) {
		s.gate.metrics.callbacks.WithLabelValues("forged").Inc()
		s.gate.forged.Warn(ctx, s.Log, s.Clock.Now(), "callback refused", "provider", udun.ProviderName, "error", err)
		return ErrCallbackSignature.Because(err)
	}
	content := inbound.Digest(envelope.Body)
	m := inbound.Message{Provider: udun.ProviderName, EventID: content, ContentKey: content, Signature: "md5", Body: raw}
	if err == nil {
		m.EventID = eventID(event)
	}
	if event.Stale {
		m.Signature = "md5 stale"
	}
	work := func(ctx context.Context, tx db.Tx, id int64) error {
		return s.Jobs.Insert(ctx, tx, callbackArgs{id}, jobs.Attempts(callbackAttempts))
	}
	known, err := s.gate.inbound.Keep(ctx, m, header, work)
	again := false
	if err == nil && known {
		// Whoever has it sent once more may do so because nothing has come of it.
		again, err = s.gate.inbound.Again(ctx, m, s.Clock.Now().Add(-abandonedAfter), callApplied, work)
	}
	if err != nil {
		return err
	}
	result := "stored"
	switch {
	case again:
		result = "resumed"
	case known:
		result = "repeated"
	case event.Stale:
		result = "stored_stale"
	}
	s.gate.metrics.callbacks.WithLabelValues(result).Inc()
	return nil
}

// eventID is the same for two calls that say the same. It holds more than trade and status: what says something else about them must not
// pass for a repetition.
func eventID(e udun.Event) string {
	return inbound.Digest(fmt.Sprintf("%d %s %d %s %s %s %s %d %s %s", e.TradeType, e.TradeID, e.Status, e.MainCoinType, e.CoinType, e.Address,
		e.Amount, e.Decimals, e.TxID, e.BusinessID))
}

// What became of a stored call.
const (
	callApplied    = "applied"
	callUnreadable = "unreadable"
	callStuck      = "stuck" // a person was told; it is still worked on
)

// handleCallback does what a stored call says, once.
func (s *Service) handleCallback(ctx context.Context, id int64) error {
	m, err := s.gate.inbound.Find(ctx, id)
	if err != nil {
		return err
	}
	if m.Outcome == callApplied {
		return nil
	}
	envelope, err := udun.ParseCallback(m.Body)
	if err != nil {
		return river.JobCancel(fmt.Errorf("message %d: %w", id, err))
	}
	// It was signed when it came. That the key has been replaced since does not matter.
	event, err := udun.ParseEvent(envelope.Body)
	event.Stale = strings.Contains(m.Signature, "stale")
	return s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		outcome := callApplied
		switch {
		case err != nil:
			outcome = callUnreadable
			if err := s.openCase(ctx, tx, caseCallback, messageSubject(id), err.Error()); err != nil {
				return err
			}
		case event.TradeType == udun.Deposit:
			if err := s.depositSaid(ctx, tx, event); err != nil {
				return err
			}
		default:
			if err := s.withdrawalSaid(ctx, tx, event); err != nil {
				return err
			}
		}
		if err := s.gate.inbound.SetOutcome(ctx, tx, id, outcome); err != nil || outcome != callApplied {
			return err
		}
		_, err := s.cases.Close(ctx, tx, messageSubject(id), caseCallback)
		return err
	})
}

// messageSubject names a stored call in cases.
func messageSubject(id int64) string { return fmt.Sprintf("message %d", id) }

const (
	// abandonedAfter is how old a stored call is that should have been done with.
	abandonedAfter = 30 * time.Second
	// abandonedFor is how long it is tried like that; the queue tries for longer, and less often.
	abandonedFor = time.Hour
)

// handleAbandoned does what stored calls say whose job seems to have died with its replica. The queue would take over only when the longest
// time is over that any job may last: minutes in which a customer misses a deposit. That the job comes back as well does no harm.
func (s *Service) handleAbandoned(ctx context.Context) error {
	now := s.Clock.Now()
	ids, err := s.gate.inbound.Unhandled(ctx, udun.ProviderName, now.Add(-abandonedFor), now.Add(-abandonedAfter), lookBatch)
	for _, id := range ids {
		err = errors.Join(err, s.handleCallback(ctx, id))
	}
	return errors.Join(err, s.reportStuck(ctx, now))
}

// reportStuck opens a case for each stored call that has been tried for too long. The gateway has been answered, and does not send it again
// by itself.
func (s *Service) reportStuck(ctx context.Context, now time.Time) error {
	ids, err := s.gate.inbound.Unhandled(ctx, udun.ProviderName, time.Unix(0, 0), now.Add(-abandonedFor), lookBatch)
	for _, id := range ids {
		err = errors.Join(err, s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			stuck, err := s.gate.inbound.Advance(ctx, tx, id, inbound.Received, callStuck)
			if err != nil || !stuck {
				return err
			}
			return s.openCase(ctx, tx, caseCallback, messageSubject(id), fmt.Sprintf("not done after %s; the log says why", abandonedFor))
		}))
	}
	return err
}

// coinOf finds the coin that the gateway names. Contracts of Ethereum's kind differ in case from one place to the next
// (provider/udun section 6).
func (s *Service) coinOf(mainCoinType, coinType string) (Coin, bool) {
	i := slices.IndexFunc(s.Coins, func(c Coin) bool {
		return sameCoinType(c.CoinType, coinType) && c.Chain.MainCoin == mainCoinType
	})
	if i < 0 {
		return Coin{}, false
	}
	return s.Coins[i], true
}

// registerGatewayJobs adds the workers of deposits and withdrawals to the queue.
func (s *Service) registerGatewayJobs(q *jobs.Queue) {
	jobs.AddFunc(q, jobs.Providers, func(ctx context.Context, args callbackArgs) error { return s.handleCallback(ctx, args.MessageID) })
	jobs.AddFunc(q, jobs.Providers, func(ctx context.Context, args withdrawalArgs) error {
		if err := s.pursue(ctx, args.WithdrawalID); err != nil {
			// Not a failure of the job: the withdrawal comes back in its time.
			s.Log.InfoContext(ctx, "withdrawal not moved", "withdrawal_id", args.WithdrawalID, "error", err)
		}
		return nil
	})
}

const (
	lookEvery = time.Second
	lookBatch = 100
	// leaseMargin is what a lease lasts longer than the work that it covers.
	leaseMargin = 15 * time.Second
)

// lease is how long work that a job does is left to it.
func (s *Service) lease() time.Duration { return s.Gateway.JobTimeout + leaseMargin }

// RunGateway looks after deposits, withdrawals and reconciliation until ctx ends. Every replica runs it; a row is claimed by one of them.
func (s *Service) RunGateway(ctx context.Context) {
	var loops sync.WaitGroup
	for what, step := range map[string]func(context.Context) error{
		"callbacks": s.handleAbandoned, "withdrawals": s.claimWithdrawals, "deposits": s.judgeOverdueDeposits, "reconciliation": s.reconcileWhenDue,
	} {
		// Each by itself: reconciliation waits for the gateway, and nothing else is to wait with it.
		loops.Go(func() {
			tick := time.NewTicker(lookEvery)
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := step(ctx); err != nil && ctx.Err() == nil {
					s.Log.WarnContext(ctx, "looking after "+what+" failed", "error", err)
				}
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	loops.Wait()
}

// sweepGateway removes what is kept no longer.
func (s *Service) sweepGateway(ctx context.Context) error {
	return db.Sweep(ctx, s.DB, "reconciliations", `at < $1`, s.Clock.Now().Add(-reconciliationsKept))
}
