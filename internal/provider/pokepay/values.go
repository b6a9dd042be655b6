package pokepay

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// Beijing is the zone of all of PokePay's times that are written without one: +08:00, without summer time
// (provider/pokepay.md section 2).
var Beijing = time.FixedZone("Asia/Shanghai", 8*60*60)

const beijingLayout = "2006-01-02 15:04:05"

// ParseTime reads a time as PokePay writes it: unix seconds, "2026-01-31 08:00:00" in Beijing, or RFC 3339.
// It gives UTC, and false for "", 0 and what cannot be read.
func ParseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if t, err := time.ParseInLocation(beijingLayout, s, Beijing); err == nil {
		return t.UTC(), true
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC(), true
	}
	if unix, ok := provider.ParseInt(s); ok {
		return provider.ParseTime(strconv.FormatInt(unix, 10))
	}
	return time.Time{}, false
}

// Decimal is an exact decimal number in plain notation, such as "-0.5" or "123.45". PokePay writes amounts as
// integers, floats and texts; none of them passes through a float here. The empty Decimal stands for none.
type Decimal string

// ErrDecimal is the error of text that is not a decimal number of sensible size.
var ErrDecimal = errors.New("not a decimal number")

const maxDecimalExponent = 40

// ParseDecimal reads decimal text, also with an exponent. It keeps the digits as they are, trailing zeros
// included, but for leading zeros and plus signs.
func ParseDecimal(s string) (Decimal, error) {
	s = strings.TrimSpace(s)
	sign := ""
	switch {
	case strings.HasPrefix(s, "-"):
		sign, s = "-", s[1:]
	case strings.HasPrefix(s, "+"):
		s = s[1:]
	}
	exponent := 0
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		var err error
		if exponent, err = strconv.Atoi(s[at+1:]); err != nil || exponent < -maxDecimalExponent || exponent > maxDecimalExponent {
			return "", ErrDecimal
		}
		s = s[:at]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	if len(whole)+len(fraction) == 0 || len(s) > 100 || strings.Trim(whole+fraction, "0123456789") != "" {
		return "", ErrDecimal
	}
	for ; exponent > 0; exponent-- {
		if fraction == "" {
			fraction = "0"
		}
		whole, fraction = whole+fraction[:1], fraction[1:]
	}
	for ; exponent < 0; exponent++ {
		if whole == "" {
			whole = "0"
		}
		whole, fraction = whole[:len(whole)-1], whole[len(whole)-1:]+fraction
	}
	if whole = strings.TrimLeft(whole, "0"); whole == "" {
		whole = "0"
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	if strings.Trim(whole+fraction, "0.") == "" {
		sign = "" // no negative zero
	}
	return Decimal(sign + whole + fraction), nil
}

// UnmarshalJSON reads a number, a text that holds one, or null and "" as none.
func (d *Decimal) UnmarshalJSON(raw []byte) error {
	text := strings.TrimSpace(string(raw))
	if strings.HasPrefix(text, `"`) {
		if err := json.Unmarshal(raw, &text); err != nil {
			return ErrDecimal
		}
	}
	if text = strings.TrimSpace(text); text == "" || text == "null" {
		*d = ""
		return nil
	}
	parsed, err := ParseDecimal(text)
	*d = parsed
	return err
}
