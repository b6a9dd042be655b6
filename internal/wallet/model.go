package wallet

import (
	"context"
	"errors"
	"math"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/rate"
)

// Problems that several use cases of this capability share.
var (
	ErrCurrencyUnknown     = problem.Define("CURRENCY_UNKNOWN", problem.Invalid)
	ErrAmountInvalid       = problem.Define("AMOUNT_INVALID", problem.Invalid)      // not a plain number
	ErrAmountTooPrecise    = problem.Define("AMOUNT_TOO_PRECISE", problem.Invalid)  // more decimals than the coin has: Decimals
	ErrAmountTooLarge      = problem.Define("AMOUNT_TOO_LARGE", problem.Invalid)    // beyond what can be counted
	ErrAmountNotPositive   = problem.Define("AMOUNT_NOT_POSITIVE", problem.Invalid) //
	ErrInsufficientBalance = problem.Define("INSUFFICIENT_BALANCE", problem.Invalid)
	ErrOperationLimit      = problem.Define("OPERATION_LIMIT", problem.Invalid)       // Limit, in USDT
	ErrDayLimit            = problem.Define("DAY_LIMIT", problem.Invalid)             // Limit and Left, in USDT
	ErrSendingBlocked      = problem.Define("SENDING_BLOCKED", problem.Forbidden)     // the verification was revoked
	ErrPriceUnavailable    = problem.Define("PRICE_UNAVAILABLE", problem.Unavailable) // limits cannot be kept without one
)

// Prices tells what coins are worth. It is asked on the way of every payment and therefore answers from memory. *rate.Service is one.
type Prices interface {
	// InUSDT is what one unit of a coin is worth in USDT; ok is false if there is no price that may be used.
	InUSDT(ctx context.Context, coin string) (price decimal.Decimal, ok bool)
	Rate(ctx context.Context, from, to string) (rate.Quote, error)
}

// verified is the word of identity for a customer whose verification stands.
const verified = "verified"

// Limits bound what one customer sends, by value in millionths of a USDT. 0 is no limit.
type Limits struct {
	Operation int64
	Day       int64 // a day of UTC
}

// LimitsByLevel are the limits of customers who are not verified and of those who are.
type LimitsByLevel struct{ Unverified, Verified Limits }

// Of picks the limits of a customer.
func (l LimitsByLevel) Of(verified bool) Limits {
	if verified {
		return l.Verified
	}
	return l.Unverified
}

// allow is nil if the worth of one more operation is within the limits, given what was sent on the day before it.
// Errors: ErrPriceUnavailable, ErrOperationLimit, ErrDayLimit.
func (l Limits) allow(worth, sent int64) error {
	if l == (Limits{}) {
		return nil
	}
	if worth < 0 {
		return ErrPriceUnavailable
	}
	if l.Operation > 0 && worth > l.Operation {
		return ErrOperationLimit.With("Limit", micros(l.Operation))
	}
	if left := l.Day - sent; l.Day > 0 && worth > left {
		return ErrDayLimit.With("Limit", micros(l.Day), "Left", micros(max(left, 0)))
	}
	return nil
}

// add is the sum of a day after one more operation. What has no price counts nothing, and what cannot be counted any more stays
// at the most.
func add(sent, worth int64) int64 {
	sum, ok := money.Add(sent, max(worth, 0))
	if !ok {
		return math.MaxInt64
	}
	return sum
}

// usdtScale is the scale of values: millionths of a USDT.
const usdtScale = 6

func micros(value int64) string { return money.Format(value, usdtScale) }

// dayOf counts days in UTC from 1970.
func dayOf(unix int64) int64 { return unix / (24 * 60 * 60) }

// unpriced is the worth of what has no price.
const unpriced = -1

// worth is what an amount of a coin is worth in millionths of a USDT, rounded up so that limits are never too wide; unpriced without
// a price. USDT is worth itself on every chain.
func (s *Service) worth(ctx context.Context, c Coin, units int64) int64 {
	if c.stable() && c.Scale == usdtScale {
		return units
	}
	price, ok := s.price(ctx, c)
	if !ok {
		return unpriced
	}
	value := c.Decimal(units).Mul(price).Shift(usdtScale).Ceil().BigInt()
	if !value.IsInt64() {
		return math.MaxInt64
	}
	return value.Int64()
}

// parseAmount reads an amount that a customer asks for, exactly as it came over the wire.
// Errors: ErrAmountInvalid, ErrAmountTooPrecise, ErrAmountTooLarge, ErrAmountNotPositive.
func parseAmount(c Coin, text string) (units int64, err error) {
	units, err = c.Parse(text)
	switch {
	case errors.Is(err, money.ErrTooPrecise):
		return 0, ErrAmountTooPrecise.With("Decimals", c.Scale, "Currency", c.Code)
	case errors.Is(err, money.ErrTooLarge) && !strings.HasPrefix(text, "-"):
		return 0, ErrAmountTooLarge
	case errors.Is(err, money.ErrNotANumber):
		return 0, ErrAmountInvalid
	case err != nil || units <= 0:
		return 0, ErrAmountNotPositive
	}
	return units, nil
}

// shownDecimals is how many decimals of a balance the app is shown at most (contract/money 2.1): its "All" sends back what it was shown.
const shownDecimals = 8

// shown is an amount as customers are shown it: cut off, never rounded, so that it never exceeds what there is.
func shown(units int64, scale int32) string {
	for ; scale > shownDecimals; scale-- {
		units /= 10
	}
	return money.Format(units, scale)
}
