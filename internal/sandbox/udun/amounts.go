package udun

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"regexp"
	"strings"
)

// Decimal is a number as it was written, as a JSON text or number. It is never a float.
type Decimal string

// UnmarshalJSON implements json.Unmarshaler.
func (d *Decimal) UnmarshalJSON(raw []byte) error {
	text, err := looseText(raw)
	*d = Decimal(text)
	return err
}

// looseText reads a JSON value that may come as a text or as a number; null and a missing value are "".
func looseText(raw json.RawMessage) (string, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return "", nil
	}
	var text string
	if raw[0] == '"' {
		err := json.Unmarshal(raw, &text)
		return text, err
	}
	var number json.Number
	err := json.Unmarshal(raw, &number)
	return number.String(), err
}

var (
	errNotDecimal = errors.New("not a plain decimal number")
	errNotAbove0  = errors.New("must be above 0")
	errTooFine    = errors.New("has more decimals than the coin")
)

var plainDecimal = regexp.MustCompile(`^-?[0-9]{1,78}(\.[0-9]{1,78})?$`)

// baseUnits turns an amount in a coin's own unit into its smallest ones, exactly. The amount must be above 0.
func baseUnits(amount string, decimals int) (*big.Int, error) {
	if !plainDecimal.MatchString(amount) {
		return nil, errNotDecimal
	}
	whole, fraction, _ := strings.Cut(amount, ".")
	fraction = strings.TrimRight(fraction, "0")
	units, _ := new(big.Int).SetString(whole+fraction+strings.Repeat("0", max(0, decimals-len(fraction))), 10)
	switch {
	case units.Sign() <= 0:
		return nil, errNotAbove0
	case len(fraction) > decimals:
		return nil, errTooFine
	}
	return units, nil
}

// ownUnit writes base units in the coin's own unit, exactly and without trailing zeros.
func ownUnit(units *big.Int, decimals int) string {
	if decimals == 0 {
		return units.String()
	}
	digits := new(big.Int).Abs(units).String()
	if missing := decimals + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - decimals
	text := strings.TrimRight(strings.TrimRight(digits[:point]+"."+digits[point:], "0"), ".")
	if units.Sign() < 0 {
		return "-" + text
	}
	return text
}
