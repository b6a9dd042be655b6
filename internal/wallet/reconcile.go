package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
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

// Reconcile compares the ledger with what the gateway holds, coin by coin, and keeps the results. What is less than the ledger counts is no
// difference: the gateway may round. A difference that stands in two runs is a case; it closes itself when the difference is gone. A coin
// that the gateway does not list counts as one of which it holds nothing.
//
// Errors: ErrNoGateway; *provider.Error if the gateway does not say; one that names the coins whose balances cannot be read, together with
// the results of all others.
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
	if len(coins) == 0 {
		return nil, errNoCoins
	}
	now := s.Clock.Now()
	after, err := s.expectations(ctx)
	if err != nil {
		return nil, err
	}
	holds := map[string]decimal.Decimal{}
	unreadable := map[string]error{}
	for _, c := range coins {
		coin, known := s.coinOf(c.MainCoinType, c.CoinType)
		if !known {
			continue
		}
		balance, err := money.ParseDecimal(c.Balance)
		if err != nil {
			unreadable[coin.Code] = fmt.Errorf("the gateway's balance of %s cannot be read", coin.Code)
			continue
		}
		if s.Gateway.BalanceUnit == BaseUnits {
			balance = balance.Shift(-coin.Decimals)
		}
		holds[coin.Code] = holds[coin.Code].Add(balance)
	}
	list := make([]Reconciliation, 0, len(s.Coins))
	var problems error
	for _, coin := range s.Coins {
		if err := unreadable[coin.Code]; err != nil {
			problems = errors.Join(problems, err)
			continue
		}
		a, b := before[coin.Code], after[coin.Code]
		r := Reconciliation{Coin: coin.Code, At: now, Ledger: b.ledger, Gateway: holds[coin.Code],
			Least: decimal.Min(a.ledger.Sub(a.leaving), b.ledger.Sub(b.leaving)), Most: decimal.Max(a.ledger.Add(a.coming), b.ledger.Add(b.coming))}
		switch {
		case r.Gateway.LessThan(r.Least):
			r.Difference = r.Gateway.Sub(r.Least)
		case r.Gateway.GreaterThan(r.Most):
			r.Difference = r.Gateway.Sub(r.Most)
		}
		r.Difference = counted(coin, r.Difference)
		kept, err := s.keepReconciliation(ctx, &r, a.bookings)
		if err != nil {
			return nil, err
		}
		if kept {
			list = append(list, r)
		}
	}
	return list, problems
}

// errNoCoins says that the gateway's list is empty. That it holds nothing of anything is not believed.
var errNoCoins = errors.New("the gateway lists no coin at all")

// counted is a difference, or 0 if it is less than the ledger counts.
func counted(coin Coin, difference decimal.Decimal) decimal.Decimal {
	if difference.Abs().LessThan(coin.Decimal(1)) {
		return decimal.Zero
	}
	return difference
}

// expectation is what the gateway should hold of a coin, in whole coins.
type expectation struct {
	ledger  decimal.Decimal // what the ledger says
	leaving decimal.Decimal // ordered: the gateway may have sent it
	coming  decimal.Decimal // told about: the gateway may have it

	bookings int64 // as they were before all of this was read
}

// expectations reads what the gateway should hold of each coin.
func (s *Service) expectations(ctx context.Context) (map[string]expectation, error) {
	list := map[string]expectation{}
	for _, coin := range s.Coins {
		remainder, bookings, err := s.store.remainder(ctx, coin.Code)
		if err != nil {
			return nil, err
		}
		list[coin.Code] = expectation{ledger: decimal.NewFromBigInt(remainder, -coin.Decimals), bookings: bookings}
	}
	balances, err := s.Ledger.Balances(ctx, s.DB, ledger.Custody, 0)
	if err != nil {
		return nil, err
	}
	for _, coin := range s.Coins {
		x := list[coin.Code]
		// Custody is below zero by what it holds: it stands for what we have elsewhere.
		x.ledger = x.ledger.Sub(coin.Decimal(balances[ledger.CustodyOf(coin.Code)]))
		list[coin.Code] = x
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
			if !known || !ok || d.Said == udun.StatusFailed || d.State == Unbookable && d.Reason == reasonAmount {
				continue // unknown, failed, or counted as a remainder
			}
			x.coming = x.coming.Add(decimal.NewFromBigInt(amount, -s.byName[d.Coin].Decimals))
			list[d.Coin] = x
		}
		more = len(page) == lookBatch
	}
	return list, nil
}

// keepReconciliation writes a result down, and opens or closes the case about the coin. It sets Since. A result is not kept, and says
// nothing any more, if a difference was booked since there were so many bookings.
func (s *Service) keepReconciliation(ctx context.Context, r *Reconciliation, bookings int64) (kept bool, err error) {
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		c, err := s.store.lockCustody(ctx, tx, r.Coin, r.At)
		if err != nil {
			return err
		}
		if kept = c.bookings == bookings; !kept {
			return nil
		}
		if _, err := s.cases.Close(ctx, tx, r.Coin, caseUncompared); err != nil {
			return err
		}
		stands := c.since != nil && c.difference.Sign() == r.Difference.Sign()
		if !stands || r.Difference.Abs().GreaterThan(c.difference.Abs()) {
			// Gone, another one, or more than whoever has read the case knows: that is a new case.
			if _, err := s.cases.Close(ctx, tx, r.Coin, caseDifference); err != nil {
				return err
			}
		}
		switch {
		case stands:
			r.Since = c.since
			detail := fmt.Sprintf("the gateway holds %s %s; the ledger says %s, and with what is under way between %s and %s: %s since %s",
				r.Gateway, r.Coin, r.Ledger, r.Least, r.Most, signed(r.Difference), c.since.UTC().Format(time.RFC3339))
			if err := s.cases.Keep(ctx, tx, cases.Case{Kind: caseDifference, Subject: r.Coin, Detail: detail}); err != nil {
				return err
			}
		case !r.Difference.IsZero():
			r.Since = &r.At
		}
		return s.store.addReconciliation(ctx, tx, *r)
	})
	if err == nil && kept {
		s.gate.metrics.compared(r.Coin, &r.Difference, 0)
	}
	return kept, err
}

// signed writes a difference so that its direction is seen.
func signed(d decimal.Decimal) string {
	if d.IsPositive() {
		return "+" + d.String()
	}
	return d.String()
}

const (
	// shownEvery is how often a replica looks what others have found.
	shownEvery = time.Minute
	// uncomparedFor, in intervals, is how long a coin may go without a comparison.
	uncomparedFor = 3
)

// showDifferences brings the metrics up to date with what any replica has found, and opens a case for each coin that nobody compares.
func (s *Service) showDifferences(ctx context.Context, now time.Time) error {
	if last := s.gate.shown.Load(); last != nil && now.Sub(*last).Abs() < shownEvery {
		return nil
	}
	s.gate.shown.Store(&now)
	rows, err := s.store.custodies(ctx)
	if err != nil {
		return err
	}
	var late []custody
	for _, coin := range s.Coins {
		c, known := rows[coin.Code]
		if !known {
			if err := s.store.expectComparison(ctx, s.DB, coin.Code, now); err != nil {
				return err
			}
			continue
		}
		age := now.Sub(c.comparedAt).Abs() // a time to come is that of a wrong clock
		s.gate.metrics.compared(coin.Code, c.difference, age)
		if age >= uncomparedFor*s.Gateway.ReconcileEvery {
			late = append(late, c)
		}
	}
	if len(late) == 0 {
		return nil
	}
	told, err := s.cases.List(ctx, cases.Filter{Kinds: []string{caseUncompared}})
	if err != nil {
		return err
	}
	late = slices.DeleteFunc(late, func(c custody) bool {
		return slices.ContainsFunc(told, func(t cases.Case) bool { return t.Subject == c.coin })
	})
	return s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		for _, c := range late {
			if err := s.openCase(ctx, tx, caseUncompared, c.coin, fmt.Sprintf("not compared with the gateway since %s; the log says why", c.comparedAt.UTC().Format(time.RFC3339))); err != nil {
				return err
			}
		}
		return nil
	})
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
