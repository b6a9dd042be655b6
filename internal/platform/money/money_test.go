package money_test

import (
	"errors"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/platform/money"
)

var (
	usdt = money.Asset{Code: "USDT-TRC20", Scale: 6}
	btc  = money.Asset{Code: "BTC", Scale: 8}
	yen  = money.Asset{Code: "JPY"}
)

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		asset money.Asset
		text  string
		want  int64
		err   error
	}{
		{usdt, "0", 0, nil},
		{usdt, "-1", -1_000_000, nil},
		{usdt, "12.5", 12_500_000, nil},
		{usdt, "1e-6", 1, nil},
		{usdt, "1E+3", 1_000_000_000, nil},
		{usdt, "1e-7", 0, money.ErrTooPrecise},
		{usdt, "10e-7", 1, nil},
		{usdt, "0.0000010", 1, nil},
		{usdt, "0.0000001", 0, money.ErrTooPrecise},
		{usdt, "9223372036854.775807", math.MaxInt64, nil},
		{usdt, "9223372036854.775808", 0, money.ErrTooLarge},
		{usdt, "-9223372036854.775808", math.MinInt64, nil},
		{usdt, "1e99", 0, money.ErrTooLarge},
		{usdt, "1e309", 0, money.ErrTooLarge},
		{usdt, "-1e309", 0, money.ErrTooLarge},
		{usdt, "1e-309", 0, money.ErrTooPrecise},
		{usdt, "1e999999999999999999999", 0, money.ErrTooLarge},
		{usdt, "1e-999999999999999999999", 0, money.ErrTooPrecise},
		{usdt, "0e999999999999999999999", 0, nil},
		{usdt, "0.000e-999999999999999999999", 0, nil},
		{usdt, "1" + strings.Repeat("0", 200) + "e-200", 1_000_000, nil},
		{usdt, "0." + strings.Repeat("0", 200) + "1e201", 1_000_000, nil},
		{usdt, strings.Repeat("9", 40), 0, money.ErrTooLarge},
		{usdt, strings.Repeat("9", 101), 0, money.ErrTooLarge},
		{usdt, "1." + strings.Repeat("0", 101) + "1", 0, money.ErrTooPrecise},
		{usdt, "1." + strings.Repeat("0", 101), 1_000_000, nil},
		{btc, "0.00000001", 1, nil},
		{yen, "7", 7, nil},
		{yen, "7.5", 0, money.ErrTooPrecise},
		{usdt, `"12"`, 0, money.ErrNotANumber},
		{usdt, "NaN", 0, money.ErrNotANumber},
		{usdt, "Infinity", 0, money.ErrNotANumber},
		{usdt, "", 0, money.ErrNotANumber},
		{usdt, "+1", 0, money.ErrNotANumber},
		{usdt, "01", 0, money.ErrNotANumber},
		{usdt, ".5", 0, money.ErrNotANumber},
		{usdt, "1.", 0, money.ErrNotANumber},
		{usdt, "-", 0, money.ErrNotANumber},
		{usdt, "1e", 0, money.ErrNotANumber},
		{usdt, "1e+", 0, money.ErrNotANumber},
		{usdt, "1e5x", 0, money.ErrNotANumber},
		{usdt, "1e-06", 1, nil},
		{usdt, "-0", 0, nil},
		{usdt, "1_000", 0, money.ErrNotANumber},
		{usdt, "0x10", 0, money.ErrNotANumber},
		{usdt, " 1", 0, money.ErrNotANumber},
		{usdt, "1\n", 0, money.ErrNotANumber},
		{usdt, "１", 0, money.ErrNotANumber},
	} {
		got, err := tt.asset.Parse(tt.text)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%q in %s: %d %v, want %d %v", tt.text, tt.asset.Code, got, err, tt.want, tt.err)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		asset money.Asset
		units int64
		want  string
	}{
		{usdt, 0, "0"}, {usdt, 1, "0.000001"}, {usdt, -1, "-0.000001"}, {usdt, 12_500_000, "12.5"}, {usdt, 1_000_000, "1"},
		{usdt, math.MaxInt64, "9223372036854.775807"}, {usdt, math.MinInt64, "-9223372036854.775808"}, {yen, -70, "-70"},
	} {
		if got := tt.asset.Format(tt.units); got != tt.want {
			t.Errorf("%d: %s, want %s", tt.units, got, tt.want)
		}
	}
}

func TestAdd(t *testing.T) {
	for _, tt := range []struct {
		a, b, sum int64
		ok        bool
	}{
		{1, 2, 3, true}, {math.MaxInt64, 0, math.MaxInt64, true}, {math.MaxInt64, 1, 0, false}, {math.MaxInt64, -1, math.MaxInt64 - 1, true},
		{math.MinInt64, -1, 0, false}, {math.MinInt64, math.MaxInt64, -1, true}, {math.MinInt64, math.MinInt64, 0, false},
	} {
		if sum, ok := money.Add(tt.a, tt.b); sum != tt.sum || ok != tt.ok {
			t.Errorf("%d + %d: %d %t", tt.a, tt.b, sum, ok)
		}
	}
}

// A million random amounts against arithmetic of integers, which shares nothing with the code: no unit appears, and nothing is
// rounded up.
func TestNoUnitOutOfNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	cases := 1_000_000
	if raceDetector {
		cases /= 10 // it makes the arithmetic many times slower, and there is nothing here for it to find; ./test runs the million without
	}
	power := make([]*big.Int, 60)
	for i := range power {
		power[i] = new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(i)), nil)
	}
	parsed, refused := 0, 0
	for range cases {
		asset := money.Asset{Code: "X", Scale: int32(r.IntN(9))}
		whole, fraction := strconv.FormatUint(r.Uint64()>>r.IntN(64), 10), ""
		if n := r.IntN(12); n > 0 {
			fraction = strconv.FormatUint(r.Uint64()%1_000_000_000_000, 10)
			fraction = strings.Repeat("0", 12-len(fraction)) + fraction
			fraction = fraction[:n]
			if r.IntN(2) == 0 {
				fraction = strings.TrimRight(fraction, "0")
			}
		}
		digits, scale := whole+fraction, len(fraction)
		text := whole
		if fraction != "" {
			text += "." + fraction
		}
		negative := r.IntN(4) == 0
		if negative {
			text = "-" + text
		}
		// units = digits * 10^asset.Scale / 10^scale, if that is whole.
		n, _ := new(big.Int).SetString(digits, 10)
		if negative {
			n.Neg(n)
		}
		units, rest := new(big.Int).QuoRem(n.Mul(n, power[asset.Scale]), power[scale], new(big.Int))

		got, err := asset.Parse(text)
		switch {
		case rest.Sign() != 0:
			if !errors.Is(err, money.ErrTooPrecise) {
				t.Fatalf("%s at %d decimals: %d %v", text, asset.Scale, got, err)
			}
			refused++
		case !units.IsInt64():
			if !errors.Is(err, money.ErrTooLarge) {
				t.Fatalf("%s at %d decimals: %d %v", text, asset.Scale, got, err)
			}
			refused++
		case err != nil || got != units.Int64():
			t.Fatalf("%s at %d decimals: %d %v, want %s", text, asset.Scale, got, err, units)
		default:
			parsed++
			if back, err := asset.Parse(asset.Format(got)); err != nil || back != got {
				t.Fatalf("%d at %d decimals: %s, and back %d %v", got, asset.Scale, asset.Format(got), back, err)
			}
		}
		// Cut off, never up.
		cut, err := asset.Truncate(decimal.RequireFromString(text))
		if units.IsInt64() != (err == nil) || err == nil && cut != units.Int64() {
			t.Fatalf("%s cut at %d decimals: %d %v, want %s", text, asset.Scale, cut, err, units)
		}
	}
	if parsed < cases/20 || refused < cases/20 {
		t.Errorf("%d parsed, %d refused: the cases are one-sided", parsed, refused)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0", "-1", "1e-7", "1e309", `"12"`, "NaN", "12.5", "9223372036854.775808", "1E+05", "-0.0"} {
		f.Add(seed, int32(6))
	}
	f.Fuzz(func(t *testing.T, text string, scale int32) {
		asset := money.Asset{Code: "X", Scale: min(max(scale, 0), 18)}
		units, err := asset.Parse(text)
		if err != nil {
			if units != 0 {
				t.Errorf("%q: %d and %v", text, units, err)
			}
			return
		}
		// Exactly that number, by the arithmetic of fractions.
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("%q is no number, and was read as %d", text, units)
		}
		got := new(big.Rat).SetFrac(big.NewInt(units), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(asset.Scale)), nil))
		if got.Cmp(want) != 0 {
			t.Errorf("%q: %s", text, got)
		}
		if back, err := asset.Parse(asset.Format(units)); err != nil || back != units {
			t.Errorf("%q: %d, written %s, read %d %v", text, units, asset.Format(units), back, err)
		}
	})
}
