// Package rate is exchange rates: what each currency costs in HKD, how old that knowledge is, and the rates between any two
// currencies that follow. Rates are decimals; none ever passes through a binary float.
package rate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// Problems of this capability.
var (
	ErrCurrencyMissing = problem.Define("RATE_CURRENCY_MISSING", problem.Invalid)
	ErrCurrencyUnknown = problem.Define("RATE_CURRENCY_UNKNOWN", problem.Invalid)
	ErrSameCurrency    = problem.Define("RATE_SAME_CURRENCY", problem.Invalid)
	ErrUnavailable     = problem.Define("RATE_UNAVAILABLE", problem.Unavailable)
)

// HKD is the currency of the cards, in which every other one is priced.
const HKD = "HKD"

// currency is one that has a price.
type currency struct {
	name            string // short
	least, greatest decimal.Decimal
}

// currencies have prices in HKD. A price beyond the bounds is not believed: it is that of another unit, of another coin or of the
// other direction, whoever says it. The HKD is kept within 7.75 and 7.85 of the USD.
var currencies = []currency{
	within("USDT", "6", "10"),
	within("USDC", "6", "10"),
	within("BTC", "20000", "50000000"),
	within("ETH", "500", "5000000"),
	within("TRX", "0.05", "500"),
	within("LTC", "20", "100000"),
	within("BNB", "100", "500000"),
	within("USD", "7", "9"),
}

func within(name, least, greatest string) currency {
	return currency{name, decimal.RequireFromString(least), decimal.RequireFromString(greatest)}
}

// find finds a currency by its short name; HKD is none of them.
func find(name string) (currency, bool) {
	at := slices.IndexFunc(currencies, func(c currency) bool { return c.name == name })
	if at < 0 {
		return currency{}, false
	}
	return currencies[at], true
}

func (c currency) believes(hkd decimal.Decimal) bool {
	return hkd.GreaterThanOrEqual(c.least) && hkd.LessThanOrEqual(c.greatest)
}

// Short is the short name of a currency: USDT for everything that contains it, else what stands before a dash, so that
// USDT-TRC20 and ETH-ERC20 find their rates (contract/money section 4.1 and decision M13).
func Short(name string) string {
	name = strings.ToUpper(strings.TrimSpace(name))
	if strings.Contains(name, "USDT") {
		return "USDT"
	}
	name, _, _ = strings.Cut(name, "-")
	return name
}

// Configured are prices in HKD that stand in where the issuer's are missing or too old, by short name.
type Configured map[string]decimal.Decimal

// UnmarshalText reads "USDT=7.80,BTC=780000". Its errors do not repeat prices.
func (c *Configured) UnmarshalText(text []byte) error {
	table := Configured{}
	for part := range strings.SplitSeq(string(text), ",") {
		name, value, ok := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		known, found := find(name)
		if !ok || !found {
			return errors.New("must be currency=price in HKD, separated by commas, of " + strings.Join(names(), ", "))
		}
		if _, twice := table[name]; twice {
			return fmt.Errorf("names %s twice", name)
		}
		hkd, err := money.ParseDecimal(strings.TrimSpace(value))
		if err != nil || !known.believes(hkd) {
			return fmt.Errorf("the price of one %s in HKD must be a number between %s and %s", name, known.least, known.greatest)
		}
		table[name] = hkd
	}
	*c = table
	return nil
}

// String writes the prices as UnmarshalText reads them.
func (c Configured) String() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(c)) {
		list = append(list, name+"="+c[name].String())
	}
	return strings.Join(list, ",")
}

func names() (list []string) {
	for _, c := range currencies {
		list = append(list, c.name)
	}
	return list
}

// Source is where a rate comes from.
type Source string

// The sources.
const (
	FromIssuer Source = "pokepay"
	FromTable  Source = "configured" // CCP_RATE_TABLE
	FromBoth   Source = "mixed"      // a cross rate of one of each
)

// Quote is the rate between two currencies at a moment.
type Quote struct {
	From, To string // short names
	// Rate is how much To one From is worth, Inverse how much From one To is worth. Both have Digits significant digits and the rest
	// is cut off: nobody who changes there and back gains by it, and Rate times Inverse lies between 1-2e-14 and 1.
	Rate, Inverse decimal.Decimal
	AsOf          time.Time // when the older of the two prices was asked for; of a configured one: now
	ValidUntil    time.Time // not to be used after this
	Source        Source
	Stale         bool // a configured price stands in for one of the issuer's
}

// Digits is how many significant digits a rate has.
const Digits = 15

// divide is a/b with Digits significant digits, cut off. Both are positive.
func divide(a, b decimal.Decimal) decimal.Decimal {
	// The first digit of a stands at 10^x, that of b at 10^y; then that of the quotient stands at 10^(x-y) or one below.
	x, y := int32(a.NumDigits())+a.Exponent(), int32(b.NumDigits())+b.Exponent()
	q, _ := a.QuoRem(b, Digits-(x-y))
	if extra := int32(q.NumDigits()) - Digits; extra > 0 {
		q = q.RoundDown(-q.Exponent() - extra)
	}
	return q
}

// price is what one unit of a currency costs in HKD.
type price struct {
	hkd         decimal.Decimal
	asOf, until time.Time
	source      Source
}

// Table is all prices that may be used at a moment.
type Table struct {
	At     time.Time
	prices map[string]price
}

// Rate is the rate from a currency to another one, by long or short names.
//
// Errors: ErrCurrencyMissing, ErrCurrencyUnknown, ErrSameCurrency; ErrUnavailable if there is no price, or only one that is too old.
func (t Table) Rate(from, to string) (Quote, error) {
	for _, name := range []*string{&from, &to} {
		*name = Short(*name)
		if *name == "" {
			return Quote{}, ErrCurrencyMissing
		}
		if _, known := find(*name); !known && *name != HKD {
			return Quote{}, ErrCurrencyUnknown
		}
	}
	if from == to {
		return Quote{}, ErrSameCurrency
	}
	source, sourceKnown := t.prices[from]
	target, targetKnown := t.prices[to]
	if !sourceKnown || !targetKnown {
		return Quote{}, ErrUnavailable
	}
	q := Quote{From: from, To: to, Rate: divide(source.hkd, target.hkd), Inverse: divide(target.hkd, source.hkd),
		AsOf: source.asOf, ValidUntil: source.until, Source: source.source}
	switch {
	case from == HKD:
		q.AsOf, q.ValidUntil, q.Source = target.asOf, target.until, target.source
	case to == HKD:
	default:
		if target.asOf.Before(q.AsOf) {
			q.AsOf = target.asOf
		}
		if target.until.Before(q.ValidUntil) {
			q.ValidUntil = target.until
		}
		if target.source != q.Source {
			q.Source = FromBoth
		}
	}
	q.Stale = q.Source != FromIssuer
	return q, nil
}

// ToHKD lists the rates of all currencies that have a price, to HKD, in the order of currencies.
func (t Table) ToHKD() (list []Quote) {
	for _, c := range currencies {
		if q, err := t.Rate(c.name, HKD); err == nil {
			list = append(list, q)
		}
	}
	return list
}
