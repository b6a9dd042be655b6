package udun

import (
	"math/big"
	"strings"
	"time"
	"unicode"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// TradeType tells what an event is about. Look at it before the Status.
type TradeType int

// The trade types.
const (
	Deposit    TradeType = 1
	Withdrawal TradeType = 2
)

// String names the type.
func (t TradeType) String() string {
	switch t {
	case Deposit:
		return "deposit"
	case Withdrawal:
		return "withdrawal"
	default:
		return "unknown"
	}
}

// Status is how far a trade is. The same number may mean different things for deposits and withdrawals: descriptions
// contradict one another about 1 and 2 of deposits (provider/udun.md section 5.2).
type Status int

// The statuses, as they are for withdrawals. Of deposits only StatusSucceeded is certain.
const (
	StatusWaiting   Status = 0 // for review
	StatusSending   Status = 1 // review passed; may last for hours
	StatusRejected  Status = 2 // by the review, final
	StatusSucceeded Status = 3 // final
	StatusFailed    Status = 4 // final; with a TxID the chain must be asked first
)

// String names the status.
func (s Status) String() string {
	switch s {
	case StatusWaiting:
		return "waiting"
	case StatusSending:
		return "sending"
	case StatusRejected:
		return "rejected"
	case StatusSucceeded:
		return "succeeded"
	case StatusFailed:
		return "failed"
	default:
		return "unknown"
	}
}

// Final tells whether a withdrawal stays in this status. A later one that differs is a contradiction.
func (s Status) Final() bool { return s >= StatusRejected && s <= StatusFailed }

// Event is what a callback says about a trade. Callbacks may be missing, come twice or in another order; (TradeID,
// Status) names an event (provider/udun.md sections 5.1 and 5.5).
type Event struct {
	TradeID      string // the gateway's, beyond what a float can hold
	TradeType    TradeType
	Status       Status
	Address      string // of a deposit: ours; of a withdrawal: the destination
	MainCoinType string
	CoinType     string   // a number, or a token's contract in any case
	Amount       *big.Int // in base units, zero or above
	Decimals     int      // of Amount, 0 to MaxDecimals; to be checked against what we know of the coin
	Fee          string   // as it was written; of which coin is unknown: not to be charged by
	TxID         string   // empty until broadcast
	BlockHigh    int64    // -1: not in a block, or not told
	BusinessID   string   // of withdrawals, but empty for those that were not ordered by us
	Memo         string   // without control characters

	SentAt time.Time // the envelope's time; zero if it is none
	Stale  bool      // SentAt is too far from now: perhaps sent again by hand, perhaps by somebody who saw it once
}

// ParseEvent reads the body of a callback whose signature fits; see Verifier.Verify, which also judges its time.
//
// The error is a *FieldError, for the first field that lacks a value it must have; the Event holds all that could be
// read, and Amount is nil if it could not.
func ParseEvent(body string) (Event, error) {
	o, err := provider.ParseObject([]byte(body))
	if err != nil {
		return Event{BlockHigh: -1, Decimals: -1}, &FieldError{"body", "is no JSON object"}
	}
	var problem error
	wrong := func(field, reason string) {
		if problem == nil {
			problem = &FieldError{field, reason}
		}
	}
	within := func(field string, low, high int64) int64 {
		n, ok := o.Int(field)
		if !ok || n < low || n > high {
			wrong(field, "is missing or out of range")
			return -1
		}
		return n
	}
	name := func(needed bool, fields ...string) string {
		for _, field := range fields {
			s := identifier(o, field)
			switch {
			case s == "":
			case isIdentifier(s):
				return s
			default:
				wrong(field, "is too long or has characters that do not belong there")
			}
		}
		if needed {
			wrong(fields[0], "is missing")
		}
		return ""
	}
	e := Event{
		TradeID: name(true, "tradeId"), TradeType: TradeType(within("tradeType", 1, 2)), Status: Status(within("status", 0, 4)),
		Address: name(true, "address"), MainCoinType: name(true, "mainCoinType"), CoinType: name(true, "coinType"),
		Decimals: int(within("decimals", 0, MaxDecimals)), TxID: name(false, "txId", "txid"), BusinessID: name(false, "businessId"),
		BlockHigh: -1, Fee: cleaned(o.Text("fee")), Memo: cleaned(o.Text("memo")),
	}
	if height, ok := o.Int("blockHigh"); ok && height >= 0 {
		e.BlockHigh = height
	}
	amount, ok := parseAmount(o.Text("amount"))
	if !ok {
		wrong("amount", "is no whole number of base units, zero or above, in plain digits")
	}
	e.Amount = amount
	return e, problem
}

// maxAmountDigits is what the largest number of the chains has, 2^256-1.
const maxAmountDigits = 78

// parseAmount reads a whole number, also with a fraction of zeros. A number with an exponent has been rounded by
// somebody, and is refused.
func parseAmount(s string) (*big.Int, bool) {
	whole, fraction, _ := strings.Cut(strings.TrimSpace(s), ".")
	if !isDigits(whole) || strings.Trim(fraction, "0") != "" {
		return nil, false
	}
	return new(big.Int).SetString(whole, 10)
}

// cleaned makes a text fit for any database and screen: no control characters, and not longer than a kilobyte.
func cleaned(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}
