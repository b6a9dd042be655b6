package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

// DepositState is what became of a deposit.
type DepositState string

// The states.
const (
	Seen       DepositState = "seen"      // told, not final
	Credited   DepositState = "credited"  // the customer has it
	InSuspense DepositState = "suspense"  // booked; an operator finds out whose it is
	Unbookable DepositState = "unclear"   // final, and how much it is, or of what, is not known: not booked
	SetAside   DepositState = "dismissed" // by an operator: it was none
)

// subject names the deposit in cases and to operators.
func (d Deposit) subject() string { return fmt.Sprintf("deposit %d", d.ID) }

// small tells whether the deposit is a customer's, and all that keeps it from being credited is that it is little or nothing. Such dust is
// sent to many, and often: all that a customer has of a coin is one case.
func (d Deposit) small() bool {
	return d.UserID != 0 && (d.Reason == reasonMinimum || d.Reason == reasonAmount)
}

// smallSubject names a customer's small deposits of the coin in their case.
func (d Deposit) smallSubject() string { return fmt.Sprintf("user %d %s", d.UserID, d.Coin) }

// Kinds of the ledger's transactions. The reference is the gateway's trade id: a trade is booked once.
const (
	KindDeposit          ledger.Kind = "deposit"           // custody -> available, or suspense
	KindDepositAssigned  ledger.Kind = "deposit.assigned"  // suspense -> available
	KindDepositDismissed ledger.Kind = "deposit.dismissed" // suspense -> custody
	// KindDepositReinstated credits what was dismissed out of suspense: custody -> available.
	KindDepositReinstated ledger.Kind = "deposit.reinstated"
)

// Deposit is what the gateway has told about coins that came in.
type Deposit struct {
	ID            int64        `json:"id"`
	TradeID       string       `json:"trade_id"`
	UserID        int64        `json:"user_id"` // 0: nobody's that we know
	Coin          string       `json:"coin"`    // empty: none that we know
	State         DepositState `json:"state"`
	Said          udun.Status  `json:"said"`
	MainCoinType  string       `json:"main_coin_type"`
	CoinType      string       `json:"coin_type"`
	Address       string       `json:"address"`
	AddressKey    string       `json:"-"`
	TxID          string       `json:"tx_id"`
	Amount        string       `json:"amount"` // exact, in base units
	Decimals      int          `json:"decimals"`
	Fee           string       `json:"fee"`
	Units         int64        `json:"units"`     // in the ledger's scale, cut off
	Remainder     string       `json:"remainder"` // what was cut off, in base units
	Stale         bool         `json:"stale"`
	Entry         int64        `json:"-"`
	TransactionID int64        `json:"transaction_id"` // 0: not booked
	ResolutionID  int64        `json:"resolution_id"`
	Reason        string       `json:"reason,omitempty"`
	SeenAt        time.Time    `json:"seen_at"`
	BookedAt      *time.Time   `json:"booked_at,omitempty"`
	DueAt         *time.Time   `json:"-"`
}

// confirmedWithin is how long a deposit may be told about without becoming final.
const confirmedWithin = 24 * time.Hour

// Why a deposit is not credited by itself.
const (
	reasonCoin     = "the coin is not one of ours"
	reasonDecimals = "the gateway counts the coin with other decimals than we do"
	reasonAmount   = "the amount is less than the smallest unit"
	reasonLarge    = "the amount is beyond what can be counted"
	reasonAddress  = "the address is none of ours"
	reasonClosed   = "the account is closed"
	reasonMinimum  = "the amount is below the minimum"
)

// assess works out what an event means in our terms: coin, units, whose it is, and why it cannot simply be credited.
func (s *Service) assess(ctx context.Context, q db.Querier, e udun.Event) (d Deposit, err error) {
	d = Deposit{
		TradeID: e.TradeID, State: Seen, Said: e.Status, MainCoinType: e.MainCoinType, CoinType: e.CoinType, Address: e.Address, AddressKey: e.Address,
		TxID: e.TxID, Amount: e.Amount.String(), Decimals: e.Decimals, Fee: e.Fee, Remainder: "0", Stale: e.Stale,
	}
	if i := slices.IndexFunc(s.Coins, func(c Coin) bool { return c.Chain.MainCoin == e.MainCoinType }); i >= 0 {
		if a, err := s.Coins[i].Chain.Form.Parse(e.Address); err == nil {
			d.AddressKey = a.Key
		}
	}
	owner, status, err := s.store.addressOwner(ctx, q, e.MainCoinType, d.AddressKey)
	if err != nil {
		return d, err
	}
	d.UserID = owner
	coin, known := s.coinOf(e.MainCoinType, e.CoinType)
	switch {
	case !known:
		d.Reason = reasonCoin
		return d, nil
	case int(coin.Decimals) != e.Decimals:
		d.Coin, d.Reason = coin.Code, reasonDecimals
		return d, nil
	}
	d.Coin = coin.Code
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(coin.Decimals-coin.Scale)), nil)
	units, remainder := new(big.Int).QuoRem(e.Amount, unit, new(big.Int))
	switch {
	case !units.IsInt64():
		d.Reason = reasonLarge
		return d, nil
	case units.Sign() <= 0:
		d.Reason, d.Remainder = reasonAmount, remainder.String() // all of it is beyond what the ledger counts
		return d, nil
	}
	d.Units, d.Remainder = units.Int64(), remainder.String()
	switch {
	case owner == 0:
		d.Reason = reasonAddress
	case status == identity.Closed:
		d.Reason = reasonClosed
	case d.Units < s.Gateway.DepositMinimums[coin.Code]:
		d.Reason = reasonMinimum
	}
	return d, nil
}

// depositSaid does what a callback about a deposit says (provider/udun sections 5.2 and 5.6). A trade is booked once, whatever comes
// twice, late or in another order; what contradicts it is a case, and never a second booking.
func (s *Service) depositSaid(ctx context.Context, tx db.Tx, e udun.Event) error {
	told, err := s.assess(ctx, tx, e)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	d, err := s.store.lockDeposit(ctx, tx, `trade_id = $1`, e.TradeID)
	switch {
	case errors.Is(err, db.ErrNoRows):
		d, d.SeenAt = told, now
		due := now.Add(confirmedWithin)
		d.DueAt = &due
		if d.ID, err = s.store.addDeposit(ctx, tx, d); err != nil {
			return err
		}
		if d.ID == 0 {
			return db.ErrRunAgain // another callback about it came in between
		}
	case err != nil:
		return err
	case d.Amount != told.Amount || d.AddressKey != told.AddressKey || d.MainCoinType != told.MainCoinType || d.Decimals != told.Decimals || !sameCoinType(d.CoinType, told.CoinType):
		return s.openCase(ctx, tx, caseDeposit, d.subject(),
			fmt.Sprintf("trade %s is told once more with another amount, address or coin: %s base units of %s/%s", d.TradeID, told.Amount, told.MainCoinType, told.CoinType))
	default:
		d.Stale = d.Stale || told.Stale
	}
	final := slices.Contains(s.Gateway.CreditAt, e.Status)
	if d.State != Seen {
		// Booked, or set aside. Anything that says otherwise is for a person.
		if !final && e.Status >= udun.StatusRejected || final && d.State == SetAside && d.TransactionID == 0 {
			return s.openCase(ctx, tx, caseDeposit, d.subject(), fmt.Sprintf("it is %s, and the gateway now says %d (%s)", d.State, e.Status, e.Status))
		}
		return nil
	}
	if !final {
		return s.depositNotFinal(ctx, tx, d, e, told)
	}
	if e.TxID != "" {
		d.TxID = e.TxID
	}
	if d.Said >= udun.StatusRejected && d.Said != e.Status {
		// Whichever of the two came first.
		if err := s.openCase(ctx, tx, caseDeposit, d.subject(), fmt.Sprintf("the gateway said %d (%s), and now %d (%s), which credits", d.Said, d.Said, e.Status, e.Status)); err != nil {
			return err
		}
	}
	d.Said, d.DueAt = e.Status, nil
	// Whose it is, and the terms, are as they are known now.
	d.UserID, d.Coin, d.Units, d.Remainder, d.Reason = told.UserID, told.Coin, told.Units, told.Remainder, told.Reason
	return s.bookDeposit(ctx, tx, d)
}

// depositNotFinal takes note of a deposit that is not there yet; told is what the event means now, which the first one may not have.
func (s *Service) depositNotFinal(ctx context.Context, tx db.Tx, d Deposit, e udun.Event, told Deposit) error {
	if e.Status < d.Said {
		return nil // overtaken
	}
	d.Said = e.Status
	if e.TxID != "" {
		d.TxID = e.TxID
	}
	// 2 means confirmed to some and rejected to others; 4 is a failure.
	doubtful := e.Status >= udun.StatusRejected
	if doubtful {
		d.DueAt = nil
		if err := s.openCase(ctx, tx, caseUnconfirmed, d.subject(), fmt.Sprintf("the gateway says %d (%s); nothing is credited", e.Status, e.Status)); err != nil {
			return err
		}
	}
	if told.Reason == "" {
		d.UserID, d.Coin, d.Units, d.Remainder, d.Reason = told.UserID, told.Coin, told.Units, told.Remainder, ""
		status := StatusPending
		if e.Status == udun.StatusFailed {
			status = StatusFailed
		}
		var err error
		if d, err = s.enterDeposit(ctx, tx, d, status); err != nil {
			return err
		}
	}
	return s.store.saveDeposit(ctx, tx, d)
}

// bookDeposit books a deposit that is final: to its owner, to suspense, or, if the amount cannot be told, nowhere. d is locked.
func (s *Service) bookDeposit(ctx context.Context, tx db.Tx, d Deposit) error {
	to, state := ledger.AvailableOf(d.UserID, d.Coin), Credited
	if d.Reason != "" {
		to, state = ledger.SuspenseOf(d.Coin), InSuspense
	}
	var posted ledger.Posted
	if d.Units > 0 {
		move := ledger.Move(KindDeposit, d.TradeID, ledger.CustodyOf(d.Coin), to, d.Units)
		var err error
		posted, err = s.Ledger.Post(ctx, tx, move)
		if errors.Is(err, ledger.ErrOverflow) {
			d.Reason, d.Units, d.Remainder = reasonLarge, 0, "0"
		} else if err != nil {
			return err
		}
	}
	if err := s.noteTwin(ctx, tx, d); err != nil {
		return err
	}
	if d.Remainder != "0" {
		if err := s.store.addRemainder(ctx, tx, d.Coin, d.Remainder, s.Clock.Now()); err != nil {
			return err
		}
	}
	if d.Units == 0 {
		d.State = Unbookable
		if err := s.openDepositCase(ctx, tx, caseUnclear, d); err != nil {
			return err
		}
		s.countDeposit(tx, d)
		if d.Entry != 0 {
			var err error
			if d, err = s.enterDeposit(ctx, tx, d, StatusPending); err != nil {
				return err
			}
		}
		return s.store.saveDeposit(ctx, tx, d)
	}
	d.State, d.TransactionID, d.BookedAt = state, posted.ID, &posted.At
	if state == InSuspense {
		if err := s.openDepositCase(ctx, tx, caseSuspense, d); err != nil {
			return err
		}
		s.countDeposit(tx, d)
		return s.store.saveDeposit(ctx, tx, d)
	}
	if _, err := s.cases.Close(ctx, tx, d.subject(), caseUnconfirmed); err != nil {
		return err
	}
	return s.creditDeposit(ctx, tx, d)
}

// openDepositCase opens a case about a deposit that is not credited.
func (s *Service) openDepositCase(ctx context.Context, tx db.Tx, kind string, d Deposit) error {
	if d.small() {
		return s.cases.Keep(ctx, tx, cases.Case{Kind: caseSmall, Subject: d.smallSubject(), Detail: d.Reason})
	}
	return s.openCase(ctx, tx, kind, d.subject(), d.Reason)
}

// closeSmallCase closes the case about a customer's small deposits of a coin when none is left. One that comes in meanwhile waits for the
// case, or is waited for.
func (s *Service) closeSmallCase(ctx context.Context, tx db.Tx, d Deposit) error {
	if open, err := s.cases.Lock(ctx, tx, caseSmall, d.smallSubject()); err != nil || !open {
		return err
	}
	if more, err := s.store.smallDeposit(ctx, tx, d.UserID, d.Coin); err != nil || more {
		return err
	}
	_, err := s.cases.Close(ctx, tx, d.smallSubject(), caseSmall)
	return err
}

// creditDeposit tells a customer about money that was just posted to them, and keeps it.
func (s *Service) creditDeposit(ctx context.Context, tx db.Tx, d Deposit) error {
	d, err := s.enterDeposit(ctx, tx, d, StatusCompleted)
	if err != nil {
		return err
	}
	s.countDeposit(tx, d)
	if err := s.Customers.Notify(ctx, tx, d.UserID, "deposit_credited", map[string]any{"Amount": s.listed[d.Coin].Format(d.Units), "Currency": d.Coin}); err != nil {
		return err
	}
	return s.store.saveDeposit(ctx, tx, d)
}

// enterDeposit writes the line of history, or brings it up to date.
func (s *Service) enterDeposit(ctx context.Context, tx db.Tx, d Deposit, status string) (Deposit, error) {
	e := Entry{
		UserID: d.UserID, Number: d.Entry, Type: TypeDeposit, Status: status, Coin: d.Coin, Amount: d.Units, Address: d.Address, TxHash: d.TxID,
		Reference: d.TradeID, Source: "deposits", SourceID: d.ID, CreatedAt: d.SeenAt,
	}
	if status != StatusPending {
		at := s.Clock.Now()
		e.CompletedAt = &at
	}
	if d.Entry != 0 {
		return d, s.store.setEntry(ctx, tx, e)
	}
	c, err := s.store.lockCustomer(ctx, tx, d.UserID)
	if err != nil {
		return d, err
	}
	if d.Entry, err = s.store.addEntry(ctx, tx, &c, e); err != nil {
		return d, err
	}
	return d, s.store.saveCustomer(ctx, tx, c)
}

// noteTwin raises an alarm if the same payment on chain stands under another trade. One transaction can pay an address twice, so that it is
// credited all the same (provider/udun section 5.5).
func (s *Service) noteTwin(ctx context.Context, tx db.Tx, d Deposit) error {
	if d.TxID == "" {
		return nil
	}
	other, err := s.store.twin(ctx, tx, d)
	if err != nil || other == 0 {
		return err
	}
	return s.openCase(ctx, tx, caseTwin, d.subject(), fmt.Sprintf("deposit %d has the same transaction on chain, address and amount", other))
}

func (s *Service) countDeposit(tx db.Tx, d Deposit) {
	tx.AfterCommit(func() { s.gate.metrics.deposits.WithLabelValues(d.Coin, string(d.State)).Inc() })
}

// judgeOverdueDeposits opens a case for each deposit that was told about and has not become final in time.
func (s *Service) judgeOverdueDeposits(ctx context.Context) error {
	for {
		n := 0
		if due, err := s.store.due(ctx, "deposits", "due_at", s.Clock.Now()); err != nil || !due {
			return err
		}
		err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			list, err := s.store.overdueDeposits(ctx, tx, s.Clock.Now(), lookBatch)
			n = len(list)
			for _, id := range list {
				if err == nil {
					err = s.openCase(ctx, tx, caseUnconfirmed, Deposit{ID: id}.subject(), fmt.Sprintf("told about, and not final after %s", confirmedWithin))
				}
			}
			return err
		})
		if err != nil || n < lookBatch {
			return err
		}
	}
}

// sameCoinType compares what the gateway calls a coin: a contract's case differs from one place to the next.
func sameCoinType(a, b string) bool {
	return a == b || strings.HasPrefix(a, "0x") && strings.EqualFold(a, b)
}
