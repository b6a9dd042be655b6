package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

// Problems of withdrawals.
var (
	ErrAddressInvalid        = problem.Define("ADDRESS_INVALID", problem.Invalid)            // Chain
	ErrAddressOwn            = problem.Define("ADDRESS_OWN", problem.Invalid)                // the customer's own deposit address
	ErrAddressOfCustomer     = problem.Define("ADDRESS_OF_CUSTOMER", problem.Invalid)        // another customer's: a transfer is free
	ErrWithdrawalMinimum     = problem.Define("WITHDRAWAL_MINIMUM", problem.Invalid)         // Minimum, Currency
	ErrWithdrawalsBlocked    = problem.Define("WITHDRAWALS_BLOCKED", problem.Forbidden)      // Until
	ErrWithdrawalUnavailable = problem.Define("WITHDRAWAL_UNAVAILABLE", problem.Unavailable) // the gateway does not send this coin
	ErrWithdrawalCount       = problem.Define("WITHDRAWAL_DAY_COUNT", problem.Invalid)       // Most
	ErrWithdrawalStatus      = problem.Define("WITHDRAWAL_STATUS_UNKNOWN", problem.Invalid)  // of a filter
)

// Kinds of the ledger's transactions about withdrawals; the reference is the business id. Paying and releasing share a kind, so that the
// ledger itself would refuse the second of the two.
const (
	KindWithdrawalHold ledger.Kind = "withdrawal.hold" // available -> held
	KindWithdrawalEnd  ledger.Kind = "withdrawal.end"  // held -> custody and revenue, or held -> available
)

// revenueOfWithdrawals is the purpose of the account of withdrawal fees.
const revenueOfWithdrawals = "withdrawal"

// withdrawalArgs is the job that moves one withdrawal.
type withdrawalArgs struct {
	WithdrawalID int64 `json:"withdrawal_id"`
}

// Kind implements river.JobArgs.
func (withdrawalArgs) Kind() string { return "wallet_withdrawal" }

// WithdrawalRequest is what a customer asks for.
type WithdrawalRequest struct {
	Currency string // name of the coin
	Amount   string // whole coins, as the number stands in the request; the fee comes out of it
	Address  string
	Key      string // Idempotency-Key of the request; empty: none
}

// subject names the withdrawal in cases and to operators.
func (w Withdrawal) subject() string { return fmt.Sprintf("withdrawal %d", w.ID) }

// RequestWithdrawal reserves the amount and lets it be sent: at once, or after an operator has approved it if it is worth more than is
// sent automatically (contract/money 2.3). A request with the key of an earlier one is that withdrawal, also if the answer was lost to a
// crash. Without a key, which the app does not send, an equal request within RepeatWindow is.
//
// Errors: ErrCurrencyUnknown, ErrAmountInvalid, ErrAmountTooPrecise, ErrAmountTooLarge, ErrAmountNotPositive, ErrAddressInvalid,
// ErrAddressOwn, ErrAddressOfCustomer, ErrWithdrawalMinimum, ErrWithdrawalsBlocked, ErrWithdrawalUnavailable, ErrInsufficientBalance,
// ErrSendingBlocked, ErrOperationLimit, ErrDayLimit, ErrWithdrawalCount, ErrPriceUnavailable, api.ErrKeyReused, identity.ErrAccountFrozen, api.ErrUnauthenticated.
func (s *Service) RequestWithdrawal(ctx context.Context, c identity.Customer, r WithdrawalRequest) (Withdrawal, error) {
	w, coin, err := s.checkedWithdrawal(ctx, c, r)
	if err != nil {
		return Withdrawal{}, err
	}
	if w.BusinessID, err = s.businessID(c.ID, r.Key); err != nil {
		return Withdrawal{}, err
	}
	var out Withdrawal
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		out, err = s.reserve(ctx, tx, w, coin, r.Key != "")
		return err
	})
	switch {
	case errors.Is(err, ledger.ErrInsufficient):
		return Withdrawal{}, ErrInsufficientBalance
	case errors.Is(err, ledger.ErrOverflow):
		return Withdrawal{}, ErrAmountTooLarge
	}
	return out, err
}

// businessID names a withdrawal, as transferReference names a transfer. It has the form of a UUID: what the gateway takes beyond that is
// not documented.
func (s *Service) businessID(userID int64, key string) (string, error) {
	if key == "" {
		id, err := uuid.NewV7FromReader(s.Random)
		return id.String(), err
	}
	var id uuid.UUID
	copy(id[:], s.Vault.Hash("withdrawal", strconv.FormatInt(userID, 10), key))
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80 // version 8, whose bits are the maker's
	return id.String(), nil
}

// earlier finds the withdrawal that a request has made before; db.ErrNoRows if it is a new one. The customer is locked.
func (s *Service) earlier(ctx context.Context, tx db.Tx, w Withdrawal, keyed bool) (Withdrawal, error) {
	now := s.Clock.Now()
	if !keyed {
		return s.store.equalWithdrawal(ctx, tx, w, now.Add(-s.Gateway.RepeatWindow))
	}
	same, err := s.store.lockWithdrawal(ctx, tx, `business_id = $1`, w.BusinessID)
	if err == nil && (same.Coin != w.Coin || same.Units != w.Units || same.AddressKey != w.AddressKey || now.Sub(same.RequestedAt) > keyLife) {
		err = api.ErrKeyReused
	}
	return same, err
}

// checkedWithdrawal checks what can be checked without a transaction.
func (s *Service) checkedWithdrawal(ctx context.Context, c identity.Customer, r WithdrawalRequest) (Withdrawal, Coin, error) {
	coin, known := s.byName[r.Currency]
	if !known {
		return Withdrawal{}, coin, ErrCurrencyUnknown
	}
	units, err := parseAmount(coin, r.Amount)
	if err != nil {
		return Withdrawal{}, coin, err
	}
	address, err := coin.Chain.Form.Parse(r.Address)
	if err != nil || s.isContract(coin.Chain, address) {
		return Withdrawal{}, coin, ErrAddressInvalid.With("Chain", coin.Chain.Name)
	}
	fee := s.Gateway.WithdrawalFees[coin.Code]
	if least := max(s.Gateway.WithdrawalMinimums[coin.Code], fee+1); units < least {
		return Withdrawal{}, coin, ErrWithdrawalMinimum.With("Minimum", coin.Format(least), "Currency", coin.Code)
	}
	if usable, err := s.coinUsable(ctx, coin); err != nil {
		return Withdrawal{}, coin, err
	} else if !usable {
		return Withdrawal{}, coin, ErrWithdrawalUnavailable
	}
	return Withdrawal{
		UserID: c.ID, Coin: coin.Code, Units: units, Fee: fee, Worth: s.worth(ctx, coin, units), Address: address.Text, AddressKey: address.Key,
		State: Approved, Said: nothingSaid,
	}, coin, nil
}

// isContract tells whether an address is that of a token which we know: what is sent there is lost.
func (s *Service) isContract(chain Chain, a Address) bool {
	return slices.ContainsFunc(Catalogue(DefaultBSC), func(c Coin) bool {
		contract, err := c.Chain.Form.Parse(c.CoinType)
		return err == nil && c.Chain.Form == chain.Form && contract.Key == a.Key
	})
}

// reserve decides about a withdrawal under the customer's lock and moves the amount to what is held.
func (s *Service) reserve(ctx context.Context, tx db.Tx, w Withdrawal, coin Coin, keyed bool) (Withdrawal, error) {
	account, err := s.Customers.WithdrawalStanding(ctx, tx, w.UserID)
	if err != nil {
		return Withdrawal{}, err
	}
	if earlier, err := s.earlier(ctx, tx, w, keyed); !errors.Is(err, db.ErrNoRows) {
		return earlier, err
	}
	if until := account.WithdrawalsBlockedUntil; until != nil {
		return Withdrawal{}, ErrWithdrawalsBlocked.With("Until", until.UTC().Format("2006-01-02 15:04 UTC"))
	}
	now := s.Clock.Now()
	hold := ledger.Move(KindWithdrawalHold, w.BusinessID, ledger.AvailableOf(w.UserID, w.Coin), ledger.HeldOf(w.UserID, w.Coin), w.Units)
	posted, err := s.Ledger.Post(ctx, tx, hold)
	if err != nil {
		return Withdrawal{}, err
	}
	c, err := s.store.lockCustomer(ctx, tx, w.UserID)
	if err != nil {
		return Withdrawal{}, err
	}
	isVerified := account.KYCStatus == verified
	if c.revokedAt != nil && !isVerified {
		return Withdrawal{}, ErrSendingBlocked
	}
	c.enter(dayOf(now.Unix()))
	if err := s.Gateway.WithdrawalLimits.Of(isVerified).allow(w.Worth, c.withdrawn); err != nil {
		return Withdrawal{}, err
	}
	if most := s.Gateway.WithdrawalsPerDay; most > 0 {
		// Each costs us a fee of the chain.
		day, err := s.store.withdrawalDay(ctx, tx, w.UserID, most)
		if err == nil && day >= c.day {
			return Withdrawal{}, ErrWithdrawalCount.With("Most", most)
		}
		if err != nil && !errors.Is(err, db.ErrNoRows) {
			return Withdrawal{}, err
		}
	}
	if err := s.notAmongUs(ctx, tx, w, coin); err != nil {
		return Withdrawal{}, err
	}
	c.withdrawn = add(c.withdrawn, w.Worth)
	w.HoldID, w.Day, w.RequestedAt, w.EnteredAt, w.Entry = posted.ID, c.day, now, now, c.entries+1
	until := now.Add(s.lease()) // the job below is on its way
	w.NextAt = &until
	if w.Worth < 0 || c.withdrawn > s.Gateway.AutomaticLimit { // of the day: many small ones take no way around the operator
		w.State, w.WaitsFor, w.NextAt = InReview, WaitsForLimit, nil
	}
	if w.ID, err = s.store.addWithdrawal(ctx, tx, w); err != nil {
		return Withdrawal{}, err
	}
	if _, err := s.store.addEntry(ctx, tx, &c, Entry{
		UserID: w.UserID, Type: TypeWithdrawal, Status: StatusPending, Coin: w.Coin, Amount: -w.Units, Fee: w.Fee, Address: w.Address,
		Reference: w.BusinessID, Source: "withdrawals", SourceID: w.ID, CreatedAt: now,
	}); err != nil {
		return Withdrawal{}, err
	}
	if err := s.store.saveCustomer(ctx, tx, c); err != nil {
		return Withdrawal{}, err
	}
	e := WithdrawalEvent{Kind: Requested, At: now}
	if err := s.store.addWithdrawalEvent(ctx, tx, w, e, ""); err != nil {
		return Withdrawal{}, err
	}
	if w.State == InReview {
		err = s.openCase(ctx, tx, string(CaseApproval), w.subject(), "worth more than is sent without an operator, with what was asked for before on that day")
	} else {
		err = s.Jobs.Insert(ctx, tx, withdrawalArgs{w.ID}, jobs.Attempts(1))
	}
	if err != nil {
		return Withdrawal{}, err
	}
	s.countWithdrawal(tx, w)
	return w, s.tell(ctx, tx, w, "withdrawal_requested")
}

// notAmongUs refuses the deposit addresses of customers: on chain it would cost a fee and take time for nothing. A chain of Ethereum's kind
// has the same addresses as the others. It is asked last: only who could withdraw hears whose address something is.
func (s *Service) notAmongUs(ctx context.Context, tx db.Tx, w Withdrawal, coin Coin) error {
	asked := map[string]bool{}
	for _, other := range s.Coins {
		if other.Chain.Form != coin.Chain.Form || asked[other.Chain.MainCoin] {
			continue
		}
		asked[other.Chain.MainCoin] = true
		owner, _, err := s.store.addressOwner(ctx, tx, other.Chain.MainCoin, w.AddressKey)
		switch {
		case err != nil:
			return err
		case owner == w.UserID:
			return ErrAddressOwn
		case owner != 0:
			return ErrAddressOfCustomer
		}
	}
	return nil
}

// Withdrawals lists a page of a customer's withdrawals, newest first, and tells how many there are. Pages count from 1 and are cut anew each
// time: one that arrives in between moves the others on. Errors: ErrPageInvalid.
func (s *Service) Withdrawals(ctx context.Context, c identity.Customer, states []WithdrawalState, page, size int64) ([]Withdrawal, int64, error) {
	if page < 1 || page > maxPage || size < 1 || size > MaxPageSize {
		return nil, 0, ErrPageInvalid.With("Max", MaxPageSize)
	}
	return s.store.withdrawalsOf(ctx, c.ID, states, (page-1)*size, size)
}

// claimWithdrawals queues a job for each withdrawal whose time has come.
func (s *Service) claimWithdrawals(ctx context.Context) error {
	for {
		now := s.Clock.Now()
		if due, err := s.store.due(ctx, "withdrawals", "next_at", now); err != nil || !due {
			return err
		}
		claimed := 0
		err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			ids, err := s.store.dueWithdrawals(ctx, tx, now, now.Add(s.lease()), lookBatch)
			claimed = len(ids)
			for _, id := range ids {
				if err == nil {
					// One try: what fails comes back when the claim runs out.
					err = s.Jobs.Insert(ctx, tx, withdrawalArgs{id}, jobs.Attempts(1))
				}
			}
			return err
		})
		if err != nil || claimed < lookBatch {
			return err
		}
	}
}

// pursue does what is due about a withdrawal: it orders it from the gateway, or looks why nothing is heard.
func (s *Service) pursue(ctx context.Context, id int64) error {
	order, err := s.beginOrder(ctx, id)
	if err != nil || order == nil {
		return err
	}
	accepted, callErr := s.placeOrder(ctx, *order)
	s.gate.metrics.orders.WithLabelValues(provider.Label(callErr)).Inc()
	// What the gateway said is written down also if the time for the job is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin-5*time.Second)
	defer cancel()
	e, access := answerOf(accepted, callErr)
	e.Attempt, e.At = order.Attempts, s.Clock.Now()
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if access {
			if err := s.openCase(ctx, tx, caseGatewayAccess, udun.ProviderName, e.Detail); err != nil {
				return err
			}
		} else if callErr == nil {
			if _, err := s.cases.Close(ctx, tx, udun.ProviderName, caseGatewayAccess); err != nil {
				return err
			}
		}
		w, err := s.store.lockWithdrawal(ctx, tx, `id = $1`, id)
		if err != nil {
			return err
		}
		if w.State == Sending && w.Attempts == order.Attempts {
			w.BusyUntil = nil
			next := s.Clock.Now().Add(max(nextLook(w, e.At).Sub(e.At), retryAfter(callErr)))
			w.NextAt = &next
		}
		after, err := s.step(ctx, tx, w, e)
		if err == nil && after.State == Approved && w.State != Approved {
			// Not at once again: whatever kept it from being sent is still there.
			next := s.Clock.Now().Add(max(nextLook(after, e.At).Sub(e.At), retryAfter(callErr)))
			after.NextAt = &next
			err = s.store.saveWithdrawal(ctx, tx, after)
		}
		return err
	})
	return errors.Join(err, callErr)
}

// placeOrder calls the gateway. The same order placed again is one order (provider/udun section 3.2).
func (s *Service) placeOrder(ctx context.Context, w Withdrawal) (udun.Accepted, error) {
	coin := s.listed[w.Coin].Coin
	call := s.Gateway.Client.Withdraw
	if s.Gateway.AutoPay {
		call = s.Gateway.Client.ProxyPay
	}
	return call(ctx, udun.WithdrawRequest{
		Address: w.Address, Amount: coin.Format(w.Units - w.Fee), MainCoinType: coin.Chain.MainCoin, CoinType: coin.CoinType, BusinessID: w.BusinessID,
	})
}

// orderUnanswered is the kind of the history's lines about orders of which nothing is known.
const orderUnanswered WithdrawalEventKind = "order_unanswered"

// answerOf turns the answer to an order into an event. access tells that the gateway does not let us in, whatever we order.
func answerOf(accepted udun.Accepted, err error) (e WithdrawalEvent, access bool) {
	if err == nil {
		e.Kind = OrderAccepted
		if accepted.Duplicate {
			e.Detail = "it was there already"
		}
		return e, false
	}
	e.Kind, e.Detail = orderUnanswered, err.Error()
	failed := (*provider.Error)(nil)
	if !errors.As(err, &failed) || failed.Outcome != provider.Refused {
		return e, false
	}
	code, said := udun.CodeOf(err)
	switch {
	case !said && failed.Temporary():
		e.Kind = OrderNotSent
	case said && slices.Contains([]udun.Code{udun.CodeNoMerchant, udun.CodeSignatureError, 4612, udun.CodeWrongSignature, udun.CodeIllegalSignature, udun.CodeNoPackage,
		udun.CodeMerchantDisabled, udun.CodeNoWallet, udun.CodeWalletIDError}, code), !said && (failed.Status == 401 || failed.Status == 403):
		e.Kind, access = OrderNotSent, true
	default:
		e.Kind, e.BadAddress = OrderRefused, code == udun.CodeInvalidAddress || code == udun.CodeBadDestination
	}
	return e, access
}

func retryAfter(err error) time.Duration {
	if failed := (*provider.Error)(nil); errors.As(err, &failed) {
		return failed.RetryAfter
	}
	return 0
}

// beginOrder writes down that the gateway is about to be called for a withdrawal, and gives it; nil if there is nothing to order now.
func (s *Service) beginOrder(ctx context.Context, id int64) (order *Withdrawal, err error) {
	found, err := s.store.findWithdrawal(ctx, s.DB, id)
	if err != nil {
		return nil, err
	}
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		order = nil
		barred, err := s.barred(ctx, tx, found.UserID)
		if err != nil {
			return err
		}
		w, err := s.store.lockWithdrawal(ctx, tx, `id = $1`, id)
		if err != nil {
			return err
		}
		now := s.Clock.Now()
		if w.NextAt == nil || w.BusyUntil != nil && now.Before(*w.BusyUntil) {
			return nil
		}
		switch {
		case w.State == Ordered || w.State == Processing:
			if now.Before(w.EnteredAt.Add(SilentFor)) {
				return nil
			}
			w.NextAt = nextLook(w, now)
			_, err = s.step(ctx, tx, w, WithdrawalEvent{Kind: Overdue, At: now, Detail: "nothing is heard of it"})
			return err
		case w.State != Approved && w.State != Sending || s.Gateway.Client == nil:
			return nil
		case barred != "":
			w.NextAt = nextLook(w, now)
			_, err = s.step(ctx, tx, w, WithdrawalEvent{Kind: CustomerBarred, At: now, Detail: barred})
			return err
		}
		if w.OrderedAt != nil && now.Sub(*w.OrderedAt) >= unansweredFor {
			if w, err = s.step(ctx, tx, w, WithdrawalEvent{Kind: Overdue, At: now, Detail: "the gateway does not answer, or cannot be reached"}); err != nil {
				return err
			}
		}
		if w, err = s.step(ctx, tx, w, WithdrawalEvent{Kind: OrderBegun, At: now}); err != nil {
			return err
		}
		until := now.Add(s.lease())
		w.BusyUntil, w.NextAt = &until, &until
		if err := s.store.saveWithdrawal(ctx, tx, w); err != nil {
			return err
		}
		w.Version++
		order = &w
		return nil
	})
	return order, err
}

// barred says why a customer may not send at the moment, or "". The customer's row stays locked: freezing waits until it is decided.
func (s *Service) barred(ctx context.Context, tx db.Tx, userID int64) (string, error) {
	account, err := s.Customers.WithdrawalStanding(ctx, tx, userID)
	if known, ok := problem.Find(err); ok {
		if known.Kind == problem.Unauthenticated {
			return "the account is closed", nil
		}
		return "the account is frozen", nil
	}
	if err != nil {
		return "", err
	}
	if until := account.WithdrawalsBlockedUntil; until != nil {
		return "a change of credentials blocks withdrawals until " + until.UTC().Format(time.RFC3339), nil
	}
	revoked, err := s.store.revoked(ctx, tx, userID)
	if err == nil && revoked && account.KYCStatus != verified {
		return "the verification was revoked", nil
	}
	return "", err
}

// withdrawalSaid does what a callback about a withdrawal says (provider/udun section 5.5). Callbacks can overtake the answer to our own
// call, come twice, or late.
func (s *Service) withdrawalSaid(ctx context.Context, tx db.Tx, e udun.Event) error {
	w, err := s.store.lockWithdrawal(ctx, tx, `business_id = $1`, e.BusinessID)
	if errors.Is(err, db.ErrNoRows) {
		return s.openCase(ctx, tx, caseUnknownOrder, "trade "+e.TradeID, fmt.Sprintf("the gateway says %d (%s) about an order that is none of ours: %s base units of %s/%s",
			e.Status, e.Status, e.Amount, e.MainCoinType, e.CoinType))
	}
	if err != nil {
		return err
	}
	if flaw := s.differs(w, e); flaw != "" {
		return s.openCase(ctx, tx, string(CaseContradiction), w.subject(), fmt.Sprintf("the gateway says %d (%s) with %s", e.Status, e.Status, flaw))
	}
	_, err = s.step(ctx, tx, w, WithdrawalEvent{
		Kind: GatewaySaid, At: s.Clock.Now(), Status: e.Status, TradeID: e.TradeID, TxID: e.TxID, Detail: fmt.Sprintf("the gateway says %d (%s)", e.Status, e.Status),
	})
	return err
}

// differs says in what a callback does not fit the withdrawal that it names, or "".
func (s *Service) differs(w Withdrawal, e udun.Event) string {
	coin := s.listed[w.Coin].Coin
	net := new(big.Int).Mul(big.NewInt(w.Units-w.Fee), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(coin.Decimals-coin.Scale)), nil))
	address, err := coin.Chain.Form.Parse(e.Address)
	switch {
	case coin.Chain.MainCoin != e.MainCoinType || !sameCoinType(coin.CoinType, e.CoinType):
		return "another coin"
	case int(coin.Decimals) != e.Decimals:
		return "other decimals"
	case net.Cmp(e.Amount) != 0:
		return "another amount"
	case err != nil || address.Key != w.AddressKey:
		return "another address"
	case w.TradeID != "" && w.TradeID != e.TradeID:
		return "another trade"
	}
	return ""
}

// step takes one event through the machine and does what follows, in one transaction. The withdrawal is locked.
func (s *Service) step(ctx context.Context, tx db.Tx, before Withdrawal, e WithdrawalEvent) (Withdrawal, error) {
	w, effects := decideWithdrawal(before, e)
	for _, effect := range effects {
		var err error
		switch effect {
		case PlaceOrder:
			until := e.At.Add(s.lease())
			w.NextAt = &until
			err = s.Jobs.Insert(ctx, tx, withdrawalArgs{w.ID}, jobs.Attempts(1))
		case PayOut, Release:
			w, err = s.finish(ctx, tx, w, effect)
		case TellSent, TellCompleted, TellRefused, TellFailed:
			err = s.tell(ctx, tx, w, string(effect))
		default:
			detail := e.Detail
			if e.Kind == OrderAccepted {
				detail = fmt.Sprintf("it is %s, and the gateway has taken the order", w.State)
			}
			err = s.openCase(ctx, tx, string(effect), w.subject(), detail)
		}
		if err != nil {
			return w, fmt.Errorf("%s: %w", effect, err)
		}
	}
	if err := s.store.saveWithdrawal(ctx, tx, w); err != nil {
		return w, err
	}
	w.Version++
	moved := w.State != before.State
	if !moved && len(effects) == 0 && w.Said == before.Said && w.Attempts == before.Attempts && e.Kind != orderUnanswered {
		return w, nil
	}
	if err := s.store.addWithdrawalEvent(ctx, tx, w, e, clipped(e.Detail)); err != nil || !moved {
		return w, err
	}
	s.countWithdrawal(tx, w)
	tx.AfterCommit(func() {
		s.Log.InfoContext(ctx, "withdrawal", "withdrawal_id", w.ID, "user_id", w.UserID, "from", before.State, "to", w.State, "event", e.Kind)
	})
	return w, s.closeWithdrawalCases(ctx, tx, w)
}

// closeWithdrawalCases closes what a new state has settled.
func (s *Service) closeWithdrawalCases(ctx context.Context, tx db.Tx, w Withdrawal) (err error) {
	switch {
	case w.State.Ended():
		_, err = s.cases.Close(ctx, tx, w.subject(), string(CaseApproval), string(CaseUnanswered), string(CaseSilent), string(CaseHash))
	case w.State == Approved:
		_, err = s.cases.Close(ctx, tx, w.subject(), string(CaseApproval))
	case w.State == Ordered || w.State == Processing:
		_, err = s.cases.Close(ctx, tx, w.subject(), string(CaseApproval), string(CaseUnanswered), string(CaseSilent))
	}
	return err
}

// finish pays a withdrawal out of what is held, or gives it back, and brings the history up to date.
func (s *Service) finish(ctx context.Context, tx db.Tx, w Withdrawal, how WithdrawalEffect) (Withdrawal, error) {
	held := ledger.HeldOf(w.UserID, w.Coin)
	end := ledger.Move(KindWithdrawalEnd, w.BusinessID, held, ledger.AvailableOf(w.UserID, w.Coin), w.Units)
	if how == PayOut {
		end.Lines = []ledger.Line{{Account: held, Amount: -w.Units}, {Account: ledger.CustodyOf(w.Coin), Amount: w.Units - w.Fee}}
		if w.Fee > 0 {
			end.Lines = append(end.Lines, ledger.Line{Account: ledger.RevenueOf(revenueOfWithdrawals, w.Coin), Amount: w.Fee})
		}
	}
	posted, err := s.Ledger.Post(ctx, tx, end)
	if err != nil {
		return w, err
	}
	w.EndID = posted.ID
	if how == Release {
		c, err := s.store.lockCustomer(ctx, tx, w.UserID)
		if err != nil {
			return w, err
		}
		if c.day == w.Day && w.Worth > 0 {
			c.withdrawn = max(0, c.withdrawn-w.Worth)
			if err := s.store.saveCustomer(ctx, tx, c); err != nil {
				return w, err
			}
		}
	}
	status := map[WithdrawalState]string{Completed: StatusCompleted, Declined: StatusRejected, Broken: StatusFailed}[w.State]
	return w, s.store.setEntry(ctx, tx, Entry{UserID: w.UserID, Number: w.Entry, Status: status, Coin: w.Coin, Amount: -w.Units, Fee: w.Fee, TxHash: w.TxID, CompletedAt: w.EndedAt})
}

// tell mails the customer about a step.
func (s *Service) tell(ctx context.Context, tx db.Tx, w Withdrawal, template string) error {
	coin := s.listed[w.Coin].Coin
	return s.Customers.Notify(ctx, tx, w.UserID, template, map[string]any{
		"Amount": coin.Format(w.Units), "Net": coin.Format(w.Units - w.Fee), "Fee": coin.Format(w.Fee), "Currency": w.Coin, "Address": w.Address,
	})
}

func (s *Service) countWithdrawal(tx db.Tx, w Withdrawal) {
	tx.AfterCommit(func() { s.gate.metrics.withdrawals.WithLabelValues(w.Coin, string(w.State)).Inc() })
}

// clipped bounds a text for staff.
func clipped(s string) string {
	const most = 500
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most])
	}
	return s
}
