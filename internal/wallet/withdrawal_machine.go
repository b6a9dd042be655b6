package wallet

import (
	"time"

	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

// WithdrawalState is how far a withdrawal is.
type WithdrawalState string

// The states. The last three are ends; the money is held in all others.
const (
	InReview   WithdrawalState = "review"     // an operator decides
	Approved   WithdrawalState = "approved"   // to be ordered from the gateway; certainly not there
	Sending    WithdrawalState = "sending"    // ordered; whether the gateway has it is not known
	Ordered    WithdrawalState = "sent"       // the gateway has it, its review waits (status 0)
	Processing WithdrawalState = "processing" // the gateway is sending it (status 1)
	Completed  WithdrawalState = "completed"  // paid (status 3)
	Declined   WithdrawalState = "refused"    // by an operator or the gateway (status 2); the customer has the money back
	Broken     WithdrawalState = "failed"     // at the gateway (status 4); the customer has the money back
)

// Ended tells whether nothing moves the withdrawal any more.
func (s WithdrawalState) Ended() bool { return s == Completed || s == Declined || s == Broken }

// Why a withdrawal waits for an operator.
const (
	WaitsForLimit    = "limit"    // it is worth more than is sent without one
	WaitsForCustomer = "customer" // who may not send at the moment
	WaitsForGateway  = "gateway"  // which refused the order for a reason that is not the customer's
)

// Withdrawal is what a customer wants to have sent out.
type Withdrawal struct {
	ID          int64           `json:"id"`
	BusinessID  string          `json:"business_id"`
	UserID      int64           `json:"user_id"`
	Coin        string          `json:"coin"`
	Units       int64           `json:"units"` // all that leaves the balance, in the ledger's scale
	Fee         int64           `json:"fee"`   // of which is ours
	Worth       int64           `json:"worth"` // in millionths of a USDT; -1: no price
	Day         int64           `json:"-"`
	Address     string          `json:"address"`
	AddressKey  string          `json:"-"`
	State       WithdrawalState `json:"state"`
	WaitsFor    string          `json:"waits_for,omitempty"`
	Attempts    int             `json:"attempts"`
	Uncertain   bool            `json:"uncertain"` // an earlier order has no answer
	Said        udun.Status     `json:"said"`      // -1: nothing yet
	TradeID     string          `json:"trade_id"`
	TxID        string          `json:"tx_id"`
	Entry       int64           `json:"-"`
	HoldID      int64           `json:"hold_transaction"`
	EndID       int64           `json:"end_transaction"` // 0: none yet
	Version     int64           `json:"version"`         // one more with every change: settling by hand names the one that was looked at
	RequestedAt time.Time       `json:"requested_at"`
	EnteredAt   time.Time       `json:"entered_at"`
	OrderedAt   *time.Time      `json:"ordered_at,omitempty"`
	EndedAt     *time.Time      `json:"ended_at,omitempty"`
	BusyUntil   *time.Time      `json:"-"`
	NextAt      *time.Time      `json:"next_at,omitempty"`
}

// nothingSaid is Said before the gateway has said anything.
const nothingSaid udun.Status = -1

// WithdrawalEventKind names what can happen to a withdrawal.
type WithdrawalEventKind string

// The events.
const (
	Requested         WithdrawalEventKind = "requested"          // the customer asked for it
	OperatorApproved  WithdrawalEventKind = "operator_approved"  //
	OperatorRefused   WithdrawalEventKind = "operator_refused"   //
	OperatorSucceeded WithdrawalEventKind = "operator_succeeded" // settled by hand: the money went out
	OperatorFailed    WithdrawalEventKind = "operator_failed"    // settled by hand: it did not and will not
	CustomerBarred    WithdrawalEventKind = "customer_barred"    // may not send any more
	OrderBegun        WithdrawalEventKind = "order_begun"        // written before the gateway is called
	OrderAccepted     WithdrawalEventKind = "order_accepted"     // the gateway has the order, from now or from before (200, 571)
	OrderNotSent      WithdrawalEventKind = "order_not_sent"     // it certainly never left
	OrderRefused      WithdrawalEventKind = "order_refused"      // certainly without effect
	GatewaySaid       WithdrawalEventKind = "gateway_said"       // a callback
	Overdue           WithdrawalEventKind = "overdue"            // too long without news
)

// WithdrawalEvent is something that happened to a withdrawal.
type WithdrawalEvent struct {
	Kind       WithdrawalEventKind
	At         time.Time
	Actor      string      // the operator
	Detail     string      // for staff
	Attempt    int         // of answers to orders: to which
	BadAddress bool        // of OrderRefused: for the address, which only the customer can mend
	Status     udun.Status // of GatewaySaid
	TradeID    string      // likewise
	TxID       string      // likewise
}

// WithdrawalEffect is what must follow a step, in the same transaction.
type WithdrawalEffect string

// The effects. PayOut and Release are the two ways in which a withdrawal ends; no withdrawal ever has both.
const (
	PlaceOrder        WithdrawalEffect = "place_order" // queue the call of the gateway
	PayOut            WithdrawalEffect = "pay_out"     // held -> custody, the fee -> revenue
	Release           WithdrawalEffect = "release"     // held -> available
	TellSent          WithdrawalEffect = "withdrawal_sent"
	TellCompleted     WithdrawalEffect = "withdrawal_completed"
	TellRefused       WithdrawalEffect = "withdrawal_refused"
	TellFailed        WithdrawalEffect = "withdrawal_failed"
	CaseApproval      WithdrawalEffect = "wallet_withdrawal_approval"      // waits for an operator
	CaseUnanswered    WithdrawalEffect = "wallet_withdrawal_unanswered"    // cannot be ordered, or the answers do not tell whether it is there
	CaseSilent        WithdrawalEffect = "wallet_withdrawal_silent"        // the gateway has it and says nothing
	CaseHash          WithdrawalEffect = "wallet_withdrawal_failed_hash"   // failed, and yet with a transaction on chain
	CaseContradiction WithdrawalEffect = "wallet_withdrawal_contradiction" // what the gateway says does not fit what was done
)

// decideWithdrawal decides everything that can happen to a withdrawal (provider/udun sections 3.2, 4 and 5.2). It is pure. What comes
// back equal was not touched: the event is old, repeated, or of no concern in this state. Money is released on the gateway's word, or an
// operator's, and never because of silence.
func decideWithdrawal(w Withdrawal, e WithdrawalEvent) (Withdrawal, []WithdrawalEffect) {
	if w.State.Ended() {
		// An order that the gateway takes after the money was given back, unless the gateway itself has ended it since, is paid twice.
		taken := e.Kind == OrderAccepted && w.State != Completed && !w.Said.Final()
		if taken || e.Kind == GatewaySaid && contradicts(w, e.Status) {
			return w, []WithdrawalEffect{CaseContradiction}
		}
		return w, nil
	}
	before := w.State == InReview || w.State == Approved // the gateway has not got it, as far as we know
	switch e.Kind {
	case OperatorApproved:
		if w.State == InReview {
			return enter(w, Approved, e.At), []WithdrawalEffect{PlaceOrder}
		}
	case OperatorRefused:
		if before {
			return enter(w, Declined, e.At), []WithdrawalEffect{Release, TellRefused}
		}
	case OperatorSucceeded:
		if !before {
			return enter(w, Completed, e.At), []WithdrawalEffect{PayOut, TellCompleted}
		}
	case OperatorFailed:
		if !before {
			return enter(w, Broken, e.At), []WithdrawalEffect{Release, TellFailed}
		}
	case CustomerBarred:
		switch w.State {
		case Approved:
			w = enter(w, InReview, e.At)
			w.WaitsFor = WaitsForCustomer
			return w, []WithdrawalEffect{CaseApproval}
		case Sending:
			// It may be at the gateway; it is not ordered once more, and not released either.
			return w, []WithdrawalEffect{CaseUnanswered}
		}
	case OrderBegun:
		if w.State == Approved || w.State == Sending {
			w.Uncertain = w.State == Sending // the order before has no answer
			w.Attempts++
			if w.OrderedAt == nil {
				at := e.At
				w.OrderedAt = &at
			}
			if w.State == Approved {
				w = enter(w, Sending, e.At)
			}
			return w, nil
		}
	case OrderAccepted:
		if before || w.State == Sending {
			return enter(w, Ordered, e.At), []WithdrawalEffect{TellSent}
		}
	case OrderNotSent:
		if w.State == Sending && !w.Uncertain && e.Attempt == w.Attempts {
			return enter(w, Approved, e.At), nil
		}
	case OrderRefused:
		switch {
		case w.State != Sending || e.Attempt != w.Attempts:
		case w.Uncertain:
			// This order had no effect, but one before it may have had.
			return w, []WithdrawalEffect{CaseUnanswered}
		case e.BadAddress:
			return enter(w, Declined, e.At), []WithdrawalEffect{Release, TellRefused}
		default:
			w = enter(w, InReview, e.At)
			w.WaitsFor = WaitsForGateway
			return w, []WithdrawalEffect{CaseApproval}
		}
	case Overdue:
		switch w.State {
		case Approved, Sending:
			return w, []WithdrawalEffect{CaseUnanswered}
		case Ordered, Processing:
			return w, []WithdrawalEffect{CaseSilent}
		}
	case GatewaySaid:
		return gatewaySaid(w, e, before)
	}
	return w, nil
}

func gatewaySaid(w Withdrawal, e WithdrawalEvent, before bool) (Withdrawal, []WithdrawalEffect) {
	if w.Attempts == 0 || w.Said.Final() && e.Status != w.Said {
		// Nothing was ordered; or it has failed with a transaction on chain, which a person looks into.
		return w, []WithdrawalEffect{CaseContradiction}
	}
	if e.Status <= w.Said {
		return w, nil
	}
	w.Said = e.Status
	if e.TxID != "" {
		w.TxID = e.TxID
	}
	if e.TradeID != "" {
		w.TradeID = e.TradeID
	}
	var effects []WithdrawalEffect
	if before {
		effects = append(effects, CaseContradiction) // the gateway had refused the order, or we never sent it
	}
	switch e.Status {
	case udun.StatusWaiting, udun.StatusSending:
		if before || w.State == Sending {
			effects = append(effects, TellSent)
		}
		to := Ordered
		if e.Status == udun.StatusSending {
			to = Processing
		}
		if w.State != to && w.State != Processing {
			w = enter(w, to, e.At)
		}
		return w, effects
	case udun.StatusRejected:
		return enter(w, Declined, e.At), append(effects, Release, TellRefused)
	case udun.StatusSucceeded:
		return enter(w, Completed, e.At), append(effects, PayOut, TellCompleted)
	}
	if w.TxID != "" {
		// Failed, but on chain: the chain must be asked first (provider/udun section 5.2).
		if w.State != Processing {
			w = enter(w, Processing, e.At)
		}
		return w, append(effects, CaseHash)
	}
	return enter(w, Broken, e.At), append(effects, Release, TellFailed)
}

// contradicts tells whether what the gateway says about a withdrawal that has ended does not fit its end.
func contradicts(w Withdrawal, status udun.Status) bool {
	if w.State == Completed {
		return status == udun.StatusRejected || status == udun.StatusFailed
	}
	// The customer has the money back. The gateway must not be about to send it; an old status that was overtaken is none of this.
	return status == udun.StatusSucceeded || !w.Said.Final() && !status.Final()
}

// enter moves the withdrawal into a state.
func enter(w Withdrawal, to WithdrawalState, at time.Time) Withdrawal {
	w.State, w.EnteredAt, w.WaitsFor = to, at, ""
	if to != Sending {
		w.Uncertain, w.BusyUntil = false, nil
	}
	if to == InReview {
		w.OrderedAt = nil // the next order is the first of its row
	}
	if to.Ended() {
		w.EndedAt = &at
	}
	w.NextAt = nextLook(w, at)
	return w
}

const (
	// orderPause is how long to wait before an order is placed once more: it doubles from one time to the next, up to orderPauseMax.
	orderPause    = 10 * time.Second
	orderPauseMax = 15 * time.Minute
	// unansweredFor is how long orders may stay without an answer before a person looks.
	unansweredFor = time.Hour
	// SilentFor is how long the gateway may say nothing about a withdrawal that it has. Its own people review and sign: a long time is
	// normal (provider/udun section 9).
	SilentFor = 24 * time.Hour
)

// nextLook is when the withdrawal is looked at again by itself; nil: never.
func nextLook(w Withdrawal, now time.Time) *time.Time {
	var at time.Time
	switch w.State {
	case Approved, Sending:
		pause := time.Duration(0)
		if w.Attempts > 0 {
			pause = min(orderPause<<min(w.Attempts-1, 10), orderPauseMax)
		}
		at = now.Add(pause)
	case Ordered, Processing:
		at = now.Add(SilentFor)
	default:
		return nil
	}
	return &at
}
