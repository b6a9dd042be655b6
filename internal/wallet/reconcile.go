package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// BalanceUnit is what the gateway counts its balances in, which its documents do not say (provider/udun section 10).
type BalanceUnit string

// The units.
const (
	HumanUnits BalanceUnit = "human" // whole coins
	BaseUnits  BalanceUnit = "base"  // the smallest units of the chain
)

const (
	reconciliationsKept = 90 * 24 * time.Hour
	leaseReconcile      = "reconcile"
)

// ErrNoGateway says that no gateway is configured.
var ErrNoGateway = problem.Define("GATEWAY_NOT_CONFIGURED", problem.Unavailable)

// Reconciliation is the comparison of one coin, in whole coins.
type Reconciliation struct {
	Coin       string          `json:"coin"`
	At         time.Time       `json:"at"`
	Ledger     decimal.Decimal `json:"ledger"`     // custody account, and what was cut off deposits
	Gateway    decimal.Decimal `json:"gateway"`    // what the gateway says it holds
	Least      decimal.Decimal `json:"least"`      // what it may hold, with every withdrawal that is under way gone
	Most       decimal.Decimal `json:"most"`       // and with every deposit there that is told about and not booked
	Difference decimal.Decimal `json:"difference"` // beyond these; 0: they agree
	Since      *time.Time      `json:"since,omitempty"`
}

// Reconcile compares the ledger with what the gateway holds, coin by coin, and keeps the results. A difference that stands in two runs is a
// case; it closes itself when the difference is gone. A coin that the gateway does not list counts as one of which it holds nothing.
//
// Errors: ErrNoGateway; *provider.Error if the gateway does not say.
func (s *Service) Reconcile(ctx context.Context) ([]Reconciliation, error) {
	if s.Gateway.Client == nil {
		return nil, ErrNoGateway
	}
	// Both before and after the gateway is asked: what moves meanwhile is no difference.
	before, err := s.expectations(ctx)
	if err != nil {
		return nil, err
	}
	coins, err := s.Gateway.Client.SupportCoins(ctx, true)
	if err != nil {
		return nil, err
	}
	now := s.Clock.Now()
	after, err := s.expectations(ctx)
	if err != nil {
		return nil, err
	}
	holds := map[string]decimal.Decimal{}
	for _, c := range coins {
		coin, known := s.coinOf(c.MainCoinType, c.CoinType)
		if !known {
			continue
		}
		balance, err := money.ParseDecimal(c.Balance)
		if err != nil {
			return nil, fmt.Errorf("the gateway's balance of %s cannot be read", coin.Code)
		}
		if s.Gateway.BalanceUnit == BaseUnits {
			balance = balance.Shift(-coin.Decimals)
		}
		holds[coin.Code] = holds[coin.Code].Add(balance)
	}
	list := make([]Reconciliation, 0, len(s.Coins))
	for _, coin := range s.Coins {
		a, b := before[coin.Code], after[coin.Code]
		r := Reconciliation{Coin: coin.Code, At: now, Ledger: b.ledger, Gateway: holds[coin.Code],
			Least: decimal.Min(a.ledger.Sub(a.leaving), b.ledger.Sub(b.leaving)), Most: decimal.Max(a.ledger.Add(a.coming), b.ledger.Add(b.coming))}
		switch {
		case r.Gateway.LessThan(r.Least):
			r.Difference = r.Gateway.Sub(r.Least)
		case r.Gateway.GreaterThan(r.Most):
			r.Difference = r.Gateway.Sub(r.Most)
		}
		if err := s.keepReconciliation(ctx, &r); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// expectation is what the gateway should hold of a coin, in whole coins.
type expectation struct {
	ledger  decimal.Decimal // what the ledger says
	leaving decimal.Decimal // ordered: the gateway may have sent it
	coming  decimal.Decimal // told about: the gateway may have it
}

// expectations reads what the gateway should hold of each coin.
func (s *Service) expectations(ctx context.Context) (map[string]expectation, error) {
	balances, err := s.Ledger.Balances(ctx, s.DB, ledger.Custody, 0)
	if err != nil {
		return nil, err
	}
	list := map[string]expectation{}
	for _, coin := range s.Coins {
		remainder, err := s.store.remainder(ctx, coin.Code)
		if err != nil {
			return nil, err
		}
		// Custody is below zero by what it holds: it stands for what we have elsewhere.
		list[coin.Code] = expectation{ledger: coin.Decimal(balances[ledger.CustodyOf(coin.Code)]).Neg().Add(decimal.NewFromBigInt(remainder, -coin.Decimals))}
	}
	for after, more := int64(0), true; more; {
		page, err := s.store.openWithdrawals(ctx, s.DB, []WithdrawalState{InReview, Approved, Sending, Ordered, Processing}, after, lookBatch)
		if err != nil {
			return nil, err
		}
		for _, w := range page {
			x := list[w.Coin]
			if w.Attempts > 0 {
				x.leaving = x.leaving.Add(s.byName[w.Coin].Decimal(w.Units - w.Fee))
			}
			list[w.Coin], after = x, w.ID
		}
		more = len(page) == lookBatch
	}
	for after, more := int64(0), true; more; {
		page, err := s.store.waitingDeposits(ctx, []DepositState{Seen, Unbookable}, after, lookBatch)
		if err != nil {
			return nil, err
		}
		for _, d := range page {
			after = d.ID
			x, known := list[d.Coin]
			amount, ok := new(big.Int).SetString(d.Amount, 10)
			if !known || !ok {
				continue
			}
			x.coming = x.coming.Add(decimal.NewFromBigInt(amount, -s.byName[d.Coin].Decimals))
			list[d.Coin] = x
		}
		more = len(page) == lookBatch
	}
	return list, nil
}

// keepReconciliation writes a result down, and opens or closes the case about the coin. It sets Since.
func (s *Service) keepReconciliation(ctx context.Context, r *Reconciliation) error {
	err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		before, since, err := s.store.lastDifference(ctx, tx, r.Coin)
		if err != nil {
			return err
		}
		r.Since = nil
		if r.Difference.IsZero() {
			if _, err := s.cases.Close(ctx, tx, r.Coin, caseDifference); err != nil {
				return err
			}
		} else if r.Since = &r.At; since != nil && standing(before, r.Difference) {
			r.Since = since
			detail := fmt.Sprintf("the gateway holds %s %s; the ledger says %s, and with what is under way between %s and %s", r.Gateway, r.Coin, r.Ledger, r.Least, r.Most)
			if err := s.openCase(ctx, tx, caseDifference, r.Coin, detail); err != nil {
				return err
			}
		}
		return s.store.addReconciliation(ctx, tx, *r)
	})
	if err == nil {
		s.gate.metrics.difference.WithLabelValues(r.Coin).Set(r.Difference.InexactFloat64()) // for a curve on a screen
	}
	return err
}

// standing tells whether a difference is still there: on the same side as before.
func standing(before string, now decimal.Decimal) bool {
	return before != "" && strings.HasPrefix(before, "-") == now.IsNegative()
}

// shownEvery is how often a replica looks what others have found.
const shownEvery = time.Minute

// showDifferences brings the metric up to date with what any replica has found.
func (s *Service) showDifferences(ctx context.Context, now time.Time) error {
	if last := s.gate.shown.Load(); last != nil && now.Sub(*last) < shownEvery {
		return nil
	}
	s.gate.shown.Store(&now)
	found, err := s.store.differencesFound(ctx)
	for coin, text := range found {
		if difference, err := decimal.NewFromString(text); err == nil {
			s.gate.metrics.difference.WithLabelValues(coin).Set(difference.InexactFloat64())
		}
	}
	return err
}

// reconcileWhenDue reconciles if nobody has for as long as is configured.
func (s *Service) reconcileWhenDue(ctx context.Context) error {
	if s.Gateway.Client == nil {
		return nil
	}
	now := s.Clock.Now()
	if due, err := s.store.leaseFree(ctx, leaseReconcile, now); err != nil || !due {
		return errors.Join(err, s.showDifferences(ctx, now))
	}
	mine, err := s.store.takeLease(ctx, leaseReconcile, now, now.Add(s.Gateway.ReconcileEvery))
	if err != nil || !mine {
		return err
	}
	list, err := s.Reconcile(ctx)
	for _, r := range list {
		if !r.Difference.IsZero() {
			s.Log.WarnContext(ctx, "the gateway does not hold what the ledger says", "coin", r.Coin, "difference", r.Difference, "since", r.Since)
		}
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
