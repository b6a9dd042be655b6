package wallet

import (
	"context"
	"errors"
	"math/big"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

// Problems of operators' commands.
var (
	ErrWithdrawalNotFound   = problem.Define("WITHDRAWAL_NOT_FOUND", problem.NotFound)
	ErrWithdrawalTransition = problem.Define("WITHDRAWAL_TRANSITION_REFUSED", problem.Invalid) // State
	ErrWithdrawalBarred     = problem.Define("WITHDRAWAL_CUSTOMER_BARRED", problem.Invalid)    // Why
	ErrWithdrawalChanged    = problem.Define("WITHDRAWAL_CHANGED", problem.Invalid)            // Version
	ErrDepositNotFound      = problem.Define("DEPOSIT_NOT_FOUND", problem.NotFound)
	ErrDepositTransition    = problem.Define("DEPOSIT_TRANSITION_REFUSED", problem.Invalid) // State
	ErrDepositAmount        = problem.Define("DEPOSIT_AMOUNT_NEEDED", problem.Invalid)
	ErrDepositAmountAbove   = problem.Define("DEPOSIT_AMOUNT_ABOVE_TOLD", problem.Invalid) // Told
	ErrDepositOwner         = problem.Define("DEPOSIT_OWNER_CLOSED", problem.Invalid)
)

// WithdrawalFilter chooses withdrawals for an operator's list.
type WithdrawalFilter struct {
	States   []WithdrawalState // none: all that have not ended; ends only together with Customer
	Customer string            // number or address of mail; empty: everybody's that have not ended
	After    int64             // only greater numbers, for the next page; not with Customer
	Limit    int               // 1 to 1000
}

// ListWithdrawals lists withdrawals that have not ended, oldest first, or a customer's, newest first.
// Errors: identity.ErrUserNotFound, identity.ErrEmailInvalid.
func (s *Service) ListWithdrawals(ctx context.Context, f WithdrawalFilter) ([]Withdrawal, error) {
	limit := max(1, min(f.Limit, 1000))
	if f.Customer == "" {
		return s.store.openWithdrawals(ctx, s.DB, f.States, f.After, limit)
	}
	account, err := s.Customers.Find(ctx, f.Customer)
	if err != nil {
		return nil, err
	}
	list, _, err := s.store.withdrawalsOf(ctx, account.ID, f.States, 0, int64(limit))
	return list, err
}

// WithdrawalFile is a withdrawal with all that has happened to it.
type WithdrawalFile struct {
	Withdrawal
	Steps []WithdrawalStep `json:"steps"`
}

// ShowWithdrawal gives an operator a withdrawal with its history. Errors: ErrWithdrawalNotFound.
func (s *Service) ShowWithdrawal(ctx context.Context, id int64) (WithdrawalFile, error) {
	w, err := s.store.findWithdrawal(ctx, s.DB, id)
	if errors.Is(err, db.ErrNoRows) {
		return WithdrawalFile{}, ErrWithdrawalNotFound
	}
	if err != nil {
		return WithdrawalFile{}, err
	}
	steps, err := s.store.withdrawalSteps(ctx, id)
	return WithdrawalFile{w, steps}, err
}

// ApproveWithdrawal lets a withdrawal that waits for an operator be sent. Approving one that was approved before changes nothing. A
// customer who may not send at the moment keeps it waiting.
//
// Errors: ErrWithdrawalNotFound, ErrWithdrawalTransition, ErrWithdrawalBarred, identity.ErrReasonRequired.
func (s *Service) ApproveWithdrawal(ctx context.Context, by identity.Operator, id int64, reason string) (Withdrawal, error) {
	return s.operate(ctx, by, id, reason, OperatorApproved, func(w Withdrawal, barred string) (done bool, err error) {
		switch {
		case w.State == Declined || w.State == Broken:
			return false, ErrWithdrawalTransition.With("State", string(w.State))
		case w.State != InReview:
			return true, nil
		case barred != "":
			return false, ErrWithdrawalBarred.With("Why", barred)
		}
		return false, nil
	})
}

// RefuseWithdrawal gives the money of a withdrawal back that is certainly not at the gateway. Refusing it again changes nothing.
//
// Errors: ErrWithdrawalNotFound, ErrWithdrawalTransition, identity.ErrReasonRequired.
func (s *Service) RefuseWithdrawal(ctx context.Context, by identity.Operator, id int64, reason string) (Withdrawal, error) {
	return s.operate(ctx, by, id, reason, OperatorRefused, func(w Withdrawal, _ string) (done bool, err error) {
		if w.State == InReview || w.State == Approved || w.State == Declined {
			return w.State == Declined, nil
		}
		return false, ErrWithdrawalTransition.With("State", string(w.State))
	})
}

// SettleWithdrawal ends a withdrawal by hand that the gateway has, or may have, and says no more about: an operator has looked there and on
// chain. If it did not succeed, the money is given back. Settling it the same way again changes nothing.
//
// version is that of the withdrawal when the operator began to look. Orders go on meanwhile: if there has been one since, or one is under
// way, what the operator saw is no longer so.
//
// Errors: ErrWithdrawalNotFound, ErrWithdrawalTransition, ErrWithdrawalChanged, identity.ErrReasonRequired.
func (s *Service) SettleWithdrawal(ctx context.Context, by identity.Operator, id, version int64, succeeded bool, reason string) (Withdrawal, error) {
	kind, end := OperatorFailed, Broken
	if succeeded {
		kind, end = OperatorSucceeded, Completed
	}
	return s.operate(ctx, by, id, reason, kind, func(w Withdrawal, _ string) (done bool, err error) {
		ordering := w.BusyUntil != nil && s.Clock.Now().Before(*w.BusyUntil)
		switch {
		case w.State == end:
			return true, nil
		case w.State != Sending && w.State != Ordered && w.State != Processing:
			return false, ErrWithdrawalTransition.With("State", string(w.State))
		case w.Version != version || ordering:
			return false, ErrWithdrawalChanged.With("Version", w.Version)
		}
		return false, nil
	})
}

// operate takes an operator's decision through the machine, with its audit entry, unless check says that it is done already or impossible.
func (s *Service) operate(ctx context.Context, by identity.Operator, id int64, reason string, kind WithdrawalEventKind, check func(Withdrawal, string) (bool, error)) (Withdrawal, error) {
	found, err := s.store.findWithdrawal(ctx, s.DB, id)
	if errors.Is(err, db.ErrNoRows) {
		return Withdrawal{}, ErrWithdrawalNotFound
	}
	if err != nil {
		return Withdrawal{}, err
	}
	var out Withdrawal
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		barred, err := s.barred(ctx, tx, found.UserID)
		if err != nil {
			return err
		}
		w, err := s.store.lockWithdrawal(ctx, tx, `id = $1`, id)
		if err != nil {
			return err
		}
		out = w
		if done, err := check(w, barred); done || err != nil {
			return err
		}
		action := "withdrawal." + strings.TrimPrefix(string(kind), "operator_")
		if err := s.Customers.Audit(ctx, tx, identity.AuditEntry{Operator: by, Action: action, UserID: w.UserID, Subject: w.subject(), Reason: reason}); err != nil {
			return err
		}
		out, err = s.step(ctx, tx, w, WithdrawalEvent{Kind: kind, At: s.Clock.Now(), Actor: by.Name, Detail: strings.TrimSpace(reason)})
		return err
	})
	return out, err
}

// DepositFilter chooses deposits for an operator's list.
type DepositFilter struct {
	States   []DepositState // of those that wait: seen, suspense, unclear; none: all of these; ignored with Customer
	Customer string         // number or address of mail; empty: everybody's
	After    int64          // only greater numbers, for the next page
	Limit    int            // 1 to 1000
}

// ListDeposits lists deposits that wait for somebody, or a customer's, oldest first. Errors: identity.ErrUserNotFound, identity.ErrEmailInvalid.
func (s *Service) ListDeposits(ctx context.Context, f DepositFilter) ([]Deposit, error) {
	limit := max(1, min(f.Limit, 1000))
	if f.Customer != "" {
		account, err := s.Customers.Find(ctx, f.Customer)
		if err != nil {
			return nil, err
		}
		return s.store.depositsOf(ctx, account.ID, f.After, limit)
	}
	return s.store.waitingDeposits(ctx, f.States, f.After, limit)
}

// Assignment says to whom a deposit goes. Amount and Currency are for deposits of which they are not known.
type Assignment struct {
	Customer string // number or address of mail
	Amount   string // whole coins; empty: as it stands in suspense
	Currency string // name of the coin; empty: as it is known
}

// AssignDeposit gives a deposit to a customer: one that is in suspense, or one whose amount an operator has found out, also if the gateway
// never said that it is final. One that was dismissed can be assigned as well. Assigning it to the same customer again changes nothing.
//
// Errors: ErrDepositNotFound, ErrDepositTransition, ErrDepositAmount, ErrDepositAmountAbove, ErrDepositOwner, ErrCurrencyUnknown, those of amounts,
// identity.ErrUserNotFound, identity.ErrEmailInvalid, identity.ErrReasonRequired.
func (s *Service) AssignDeposit(ctx context.Context, by identity.Operator, id int64, to Assignment, reason string) (Deposit, error) {
	account, err := s.Customers.Find(ctx, to.Customer)
	if err != nil {
		return Deposit{}, err
	}
	return s.resolveDeposit(ctx, by, id, "deposit.assigned", reason, func(ctx context.Context, tx db.Tx, d Deposit) (Deposit, bool, error) {
		switch {
		case d.State == Credited && d.UserID == account.ID:
			return d, true, nil
		case account.Status == identity.Closed:
			return d, false, ErrDepositOwner
		case d.State == InSuspense && to.Amount == "" && to.Currency == "":
			posted, err := s.Ledger.Post(ctx, tx, ledger.Move(KindDepositAssigned, d.TradeID, ledger.SuspenseOf(d.Coin), ledger.AvailableOf(account.ID, d.Coin), d.Units))
			if err != nil {
				return d, false, err
			}
			d.ResolutionID = posted.ID
		case d.State == SetAside && d.TransactionID != 0 && to.Amount == "" && to.Currency == "":
			if _, err := s.Ledger.Post(ctx, tx, ledger.Move(KindDepositReinstated, d.TradeID, ledger.CustodyOf(d.Coin), ledger.AvailableOf(account.ID, d.Coin), d.Units)); err != nil {
				return d, false, err
			}
		case d.State == Unbookable || d.State == Seen || d.State == SetAside && d.TransactionID == 0:
			coin, known := s.byName[d.Coin]
			if to.Currency != "" {
				coin, known = s.byName[to.Currency]
			}
			if to.Amount == "" || to.Currency == "" && !known {
				return d, false, ErrDepositAmount
			}
			if !known {
				return d, false, ErrCurrencyUnknown
			}
			units, err := parseAmount(coin, to.Amount)
			if err != nil {
				return d, false, err
			}
			if told, ok := d.told(coin); ok && told.IsPositive() && coin.Decimal(units).GreaterThan(told) {
				return d, false, ErrDepositAmountAbove.With("Told", told.String()) // a zero too many
			}
			posted, err := s.Ledger.Post(ctx, tx, ledger.Move(KindDeposit, d.TradeID, ledger.CustodyOf(coin.Code), ledger.AvailableOf(account.ID, coin.Code), units))
			if errors.Is(err, ledger.ErrOverflow) {
				return d, false, ErrAmountTooLarge
			}
			if err != nil {
				return d, false, err
			}
			if d, err = s.takeRemainder(ctx, tx, d, coin, units); err != nil {
				return d, false, err
			}
			d.Coin, d.Units, d.TransactionID, d.BookedAt = coin.Code, units, posted.ID, &posted.At
		default:
			return d, false, ErrDepositTransition.With("State", string(d.State))
		}
		if d.UserID != account.ID {
			d.Entry = 0 // a line of another customer's history stays theirs
		}
		d.UserID, d.State, d.Reason, d.DueAt = account.ID, Credited, "", nil
		return d, false, s.creditDeposit(ctx, tx, d)
	})
}

// told is the amount of a deposit as the gateway told it, in whole coins; not ok if it told it of another coin or counts it otherwise.
func (d Deposit) told(coin Coin) (amount decimal.Decimal, ok bool) {
	units, ok := new(big.Int).SetString(d.Amount, 10)
	if !ok || d.Coin != "" && d.Coin != coin.Code || int(coin.Decimals) != d.Decimals {
		return decimal.Zero, false
	}
	return decimal.NewFromBigInt(units, -coin.Decimals), true
}

// takeRemainder adds what is cut off when a deposit that was not booked is assigned as so many units to what the gateway holds beyond the
// ledger, if that can be told. What is a remainder altogether was added when it came.
func (s *Service) takeRemainder(ctx context.Context, tx db.Tx, d Deposit, coin Coin, units int64) (Deposit, error) {
	told, ok := d.told(coin)
	if !ok {
		return d, nil
	}
	rest := told.Sub(coin.Decimal(units))
	if !rest.IsPositive() || rest.GreaterThanOrEqual(coin.Decimal(1)) {
		return d, nil
	}
	d.Remainder = rest.Shift(coin.Decimals).BigInt().String()
	return d, s.store.addRemainder(ctx, tx, coin.Code, d.Remainder, s.Clock.Now())
}

// DismissDeposit sets a deposit aside that was none of a customer's: what was booked to suspense goes back to custody.
//
// Errors: ErrDepositNotFound, ErrDepositTransition, identity.ErrReasonRequired.
func (s *Service) DismissDeposit(ctx context.Context, by identity.Operator, id int64, reason string) (Deposit, error) {
	return s.resolveDeposit(ctx, by, id, "deposit.dismissed", reason, func(ctx context.Context, tx db.Tx, d Deposit) (Deposit, bool, error) {
		switch d.State {
		case SetAside:
			return d, true, nil
		case InSuspense:
			posted, err := s.Ledger.Post(ctx, tx, ledger.Move(KindDepositDismissed, d.TradeID, ledger.SuspenseOf(d.Coin), ledger.CustodyOf(d.Coin), d.Units))
			if err != nil {
				return d, false, err
			}
			d.ResolutionID = posted.ID
		case Credited:
			return d, false, ErrDepositTransition.With("State", string(d.State))
		}
		d.State, d.DueAt = SetAside, nil
		if d.Entry != 0 {
			var err error
			if d, err = s.enterDeposit(ctx, tx, d, StatusFailed); err != nil {
				return d, false, err
			}
		}
		return d, false, s.store.saveDeposit(ctx, tx, d)
	})
}

// resolveDeposit carries an operator's decision about a deposit out, with its audit entry, and closes the cases about it.
func (s *Service) resolveDeposit(ctx context.Context, by identity.Operator, id int64, action, reason string,
	resolve func(ctx context.Context, tx db.Tx, d Deposit) (after Deposit, done bool, err error)) (Deposit, error) {
	var out Deposit
	err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		d, err := s.store.lockDeposit(ctx, tx, `id = $1`, id)
		if errors.Is(err, db.ErrNoRows) {
			return ErrDepositNotFound
		}
		if err != nil {
			return err
		}
		var done bool
		if out, done, err = resolve(ctx, tx, d); done || err != nil {
			return err
		}
		if _, err := s.cases.Close(ctx, tx, d.subject()); err != nil {
			return err
		}
		if d.small() {
			if err := s.closeSmallCase(ctx, tx, d); err != nil {
				return err
			}
		}
		return s.Customers.Audit(ctx, tx, identity.AuditEntry{Operator: by, Action: action, UserID: out.UserID, Subject: d.subject(), Reason: reason})
	})
	return out, err
}

// Crediting are the statuses of deposits that credit, from their numbers. Only 2 and 3 can (contract/money 3.1).
func Crediting(numbers []int) ([]udun.Status, bool) {
	var list []udun.Status
	for _, n := range numbers {
		status := udun.Status(n)
		if status != udun.StatusRejected && status != udun.StatusSucceeded || slices.Contains(list, status) {
			return nil, false
		}
		list = append(list, status)
	}
	return list, len(list) > 0
}
