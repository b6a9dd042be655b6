// Package money is exact amounts: whole minor units of an asset in an int64, and their decimal form on the wire. Nothing here
// passes through a binary float. Overflow is an error, never a wrap.
package money

import (
	"errors"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/shopspring/decimal"
)

// Asset is what is counted: a coin on its chain, or a currency.
type Asset struct {
	Code  string // USDT-TRC20, HKD
	Scale int32  // decimals of the minor unit: 6 means that 1,000,000 units are one USDT
}

// Errors of Parse.
var (
	ErrNotANumber = errors.New("not a plain decimal number")
	ErrTooPrecise = errors.New("more decimals than the asset has")
	ErrTooLarge   = errors.New("beyond what can be counted")
)

// isNumber tells whether text is what JSON calls a number (RFC 8259 section 6). Exponents are of two digits at most: nothing real
// needs more, and a larger one would only ask for memory.
func isNumber(text string) bool {
	digits := func() (n int) {
		for n < len(text) && text[n] >= '0' && text[n] <= '9' {
			n++
		}
		text = text[n:]
		return n
	}
	text = strings.TrimPrefix(text, "-")
	zero := strings.HasPrefix(text, "0")
	if n := digits(); n == 0 || zero && n > 1 {
		return false
	}
	if strings.HasPrefix(text, ".") {
		if text = text[1:]; digits() == 0 {
			return false
		}
	}
	if text != "" && (text[0] == 'e' || text[0] == 'E') {
		if text = text[1:]; text != "" && (text[0] == '+' || text[0] == '-') {
			text = text[1:]
		}
		if n := digits(); n == 0 || n > 2 {
			return false
		}
	}
	return text == ""
}

// maxDigits is longer than any amount of any chain in base units.
const maxDigits = 100

// ParseDecimal reads a number as JSON writes it. Errors: ErrNotANumber.
func ParseDecimal(text string) (decimal.Decimal, error) {
	if len(text) > maxDigits || !isNumber(text) {
		return decimal.Decimal{}, ErrNotANumber
	}
	d, err := decimal.NewFromString(text)
	if err != nil {
		return decimal.Decimal{}, ErrNotANumber
	}
	return d, nil
}

// Parse reads an amount in whole assets, as JSON writes numbers, and gives its minor units. It never rounds.
// Errors: ErrNotANumber, ErrTooPrecise, ErrTooLarge.
func (a Asset) Parse(text string) (int64, error) {
	d, err := ParseDecimal(text)
	if err != nil {
		return 0, err
	}
	units := d.Shift(a.Scale)
	if !units.IsInteger() {
		return 0, ErrTooPrecise
	}
	return whole(units.BigInt())
}

// Truncate gives the minor units of an amount in whole assets, cut off towards zero: what is cut is less than one unit.
// Errors: ErrTooLarge.
func (a Asset) Truncate(amount decimal.Decimal) (int64, error) {
	return whole(amount.Shift(a.Scale).Truncate(0).BigInt())
}

func whole(n *big.Int) (int64, error) {
	if !n.IsInt64() {
		return 0, ErrTooLarge
	}
	return n.Int64(), nil
}

// Decimal is an amount of minor units in whole assets, exactly.
func (a Asset) Decimal(units int64) decimal.Decimal { return decimal.New(units, -a.Scale) }

// Format writes minor units in whole assets: a plain decimal number without needless zeros, "12.5".
func (a Asset) Format(units int64) string { return Format(units, a.Scale) }

// Format writes units of a scale as a plain decimal number without needless zeros.
func Format(units int64, scale int32) string {
	if scale <= 0 {
		return decimal.New(units, -scale).String()
	}
	sign, digits := "", ""
	if units < 0 {
		sign, digits = "-", strconv.FormatUint(uint64(-(units+1))+1, 10)
	} else {
		digits = strconv.FormatInt(units, 10)
	}
	if missing := int(scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - int(scale)
	fraction := strings.TrimRight(digits[point:], "0")
	if fraction == "" {
		return sign + digits[:point]
	}
	return sign + digits[:point] + "." + fraction
}

// Add is a+b; ok is false if that cannot be counted.
func Add(a, b int64) (sum int64, ok bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return 0, false
	}
	return a + b, true
}
