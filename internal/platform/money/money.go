// Package money is exact amounts: whole minor units of an asset in an int64, and their decimal form on the wire. Nothing here
// passes through a binary float. Overflow is an error, never a wrap.
package money

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"slices"
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

// number is what JSON calls a number (RFC 8259 section 6), in its parts.
type number struct {
	negative        bool
	whole, fraction string // digits
	exponent        int    // beyond any length of a text it stops counting
	exponentDigits  int
}

func scan(text string) (n number, ok bool) {
	digits := func() (found string) {
		end := 0
		for end < len(text) && text[end] >= '0' && text[end] <= '9' {
			end++
		}
		found, text = text[:end], text[end:]
		return found
	}
	text, n.negative = strings.CutPrefix(text, "-")
	if n.whole = digits(); n.whole == "" || n.whole[0] == '0' && len(n.whole) > 1 {
		return n, false
	}
	if strings.HasPrefix(text, ".") {
		text = text[1:]
		if n.fraction = digits(); n.fraction == "" {
			return n, false
		}
	}
	if text != "" && (text[0] == 'e' || text[0] == 'E') {
		sign := 1
		if text = text[1:]; text != "" && (text[0] == '+' || text[0] == '-') {
			if text[0] == '-' {
				sign = -1
			}
			text = text[1:]
		}
		power := digits()
		if power == "" {
			return n, false
		}
		size, err := strconv.Atoi(power)
		if err != nil || size > math.MaxInt32/2 {
			size = math.MaxInt32 / 2
		}
		n.exponent, n.exponentDigits = sign*size, len(power)
	}
	return n, text == ""
}

// Bounds of ParseDecimal: nothing real needs more, and what is larger would only ask for memory.
const (
	maxDigits         = 100 // longer than any amount of any chain in base units
	maxExponentDigits = 2
)

// ParseDecimal reads a number as JSON writes it, of at most 100 characters and with an exponent of at most two digits.
// Errors: ErrNotANumber.
func ParseDecimal(text string) (decimal.Decimal, error) {
	if len(text) > maxDigits {
		return decimal.Decimal{}, ErrNotANumber
	}
	if n, ok := scan(text); !ok || n.exponentDigits > maxExponentDigits {
		return decimal.Decimal{}, ErrNotANumber
	}
	d, err := decimal.NewFromString(text)
	if err != nil {
		return decimal.Decimal{}, ErrNotANumber
	}
	return d, nil
}

// unitsDigits is how many digits the largest int64 has.
const unitsDigits = 19

// Parse reads an amount in whole assets, as JSON writes numbers, and gives its minor units. It never rounds, and whatever the number's
// size, it takes no more work than the length of the text.
// Errors: ErrNotANumber, ErrTooPrecise, ErrTooLarge.
func (a Asset) Parse(text string) (int64, error) {
	n, ok := scan(text)
	if !ok {
		return 0, ErrNotANumber
	}
	// The units are the digits and then so many zeros.
	digits := strings.TrimLeft(n.whole+n.fraction, "0")
	significant := strings.TrimRight(digits, "0")
	zeros := int(a.Scale) + n.exponent - len(n.fraction) + len(digits) - len(significant)
	switch {
	case significant == "":
		return 0, nil
	case zeros < 0:
		return 0, ErrTooPrecise
	case len(significant)+zeros > unitsDigits:
		return 0, ErrTooLarge
	}
	sign := ""
	if n.negative {
		sign = "-"
	}
	units, err := strconv.ParseInt(sign+significant+strings.Repeat("0", zeros), 10, 64)
	if err != nil {
		return 0, ErrTooLarge
	}
	return units, nil
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
	if units == 0 {
		return "0"
	}
	var room [64]byte
	b := strconv.AppendInt(room[:0], units, 10)
	first := 0 // digit
	if units < 0 {
		first = 1
	}
	for len(b)-first <= int(scale) {
		b = slices.Insert(b, first, '0')
	}
	b = slices.Insert(b, len(b)-int(scale), '.')
	return string(bytes.TrimRight(bytes.TrimRight(b, "0"), "."))
}

// Add is a+b; ok is false if that cannot be counted.
func Add(a, b int64) (sum int64, ok bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return 0, false
	}
	return a + b, true
}
