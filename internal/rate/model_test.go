package rate

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

func d(s string) decimal.Decimal { return decimal.RequireFromString(s) }

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// tableOf is a table of configured prices.
func tableOf(t *testing.T, prices string) Table {
	t.Helper()
	var c Configured
	if err := c.UnmarshalText([]byte(prices)); err != nil {
		t.Fatal(err)
	}
	return New(Options{Configured: c}).table(nil, noon)
}

func TestShort(t *testing.T) {
	for name, want := range map[string]string{
		"USDT": "USDT", "USDT-TRC20": "USDT", "usdt-erc20": "USDT", "TRC20-USDT": "USDT", "USDC-ERC20": "USDC", "ETH-ERC20": "ETH", "BTC": "BTC",
		" TRX ": "TRX", "HKD": "HKD", "BNB-BEP20-X": "BNB", "": "", "-": "", "-USD": "",
	} {
		if got := Short(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestRates(t *testing.T) {
	table := tableOf(t, "USDT=7.80,BTC=780000,USD=7.82,TRX=2.1")
	for _, tt := range []struct{ from, to, rate, inverse string }{
		{"USDT", "HKD", "7.8", "0.128205128205128"},
		{"HKD", "USDT", "0.128205128205128", "7.8"},
		{"USDT-TRC20", "hkd", "7.8", "0.128205128205128"},
		{"BTC", "USDT", "100000", "0.00001"},
		{"HKD", "BTC", "0.00000128205128205128", "780000"},
		{"USD", "USDT", "1.00256410256410", "0.997442455242966"},
		{"TRX", "BTC", "0.00000269230769230769", "371428.571428571"},
	} {
		q, err := table.Rate(tt.from, tt.to)
		if err != nil || !q.Rate.Equal(d(tt.rate)) || !q.Inverse.Equal(d(tt.inverse)) {
			t.Errorf("%s to %s: %s and %s, %v; want %s and %s", tt.from, tt.to, q.Rate, q.Inverse, err, tt.rate, tt.inverse)
		}
	}
	for _, tt := range []struct {
		from, to string
		want     error
	}{
		{"", "HKD", ErrCurrencyMissing}, {"USDT", " ", ErrCurrencyMissing}, {"", "", ErrCurrencyMissing}, {"-", "HKD", ErrCurrencyMissing},
		{"DOGE", "HKD", ErrCurrencyUnknown}, {"USDT", "EUR", ErrCurrencyUnknown}, {strings.Repeat("x", 1<<20), "HKD", ErrCurrencyUnknown},
		{"HKD", "HKD", ErrSameCurrency}, {"USDT-TRC20", "USDT-ERC20", ErrSameCurrency}, {"btc", "BTC", ErrSameCurrency},
		{"ETH", "HKD", ErrUnavailable}, {"HKD", "LTC", ErrUnavailable}, {"USDT", "ETH", ErrUnavailable},
	} {
		if q, err := table.Rate(tt.from, tt.to); !errors.Is(err, tt.want) || !q.Rate.IsZero() {
			t.Errorf("%.20q to %.20q: %s, %v; want %v", tt.from, tt.to, q.Rate, err, tt.want)
		}
	}
}

// There and back nobody gains, and nobody loses more than the digits that are cut off; and a rate is never more than the exact one.
func TestInverseIsExactAndNeverGenerous(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	any := func() decimal.Decimal {
		return decimal.New(1+random.Int64N(1<<uint(1+random.IntN(62))), int32(random.IntN(30)-18))
	}
	one, least := d("1"), d("1").Sub(d("2e-14"))
	for range 200_000 {
		a, b := any(), any()
		there, back := divide(a, b), divide(b, a)
		product := there.Mul(back)
		if product.GreaterThan(one) || product.LessThan(least) {
			t.Fatalf("%s and %s: %s times %s is %s", a, b, there, back, product)
		}
		if there.Mul(b).GreaterThan(a) || there.NumDigits() > Digits {
			t.Fatalf("%s / %s is less than %s", a, b, there)
		}
	}
	table := tableOf(t, "USDT=7.80,USDC=7.7999,BTC=780123.45,ETH=27001.3,TRX=2.123456,LTC=651.77,BNB=5432.1,USD=7.8213")
	for _, from := range append(names(), HKD) {
		for _, to := range append(names(), HKD) {
			if from == to {
				continue
			}
			q, err := table.Rate(from, to)
			back, errBack := table.Rate(to, from)
			if err != nil || errBack != nil || !q.Inverse.Equal(back.Rate) || !q.Rate.Equal(back.Inverse) || q.Rate.Mul(q.Inverse).GreaterThan(one) ||
				q.Rate.Mul(q.Inverse).LessThan(least) {
				t.Errorf("%s to %s: %s and %s, back %s and %s, %v %v", from, to, q.Rate, q.Inverse, back.Rate, back.Inverse, err, errBack)
			}
		}
	}
}

func TestConfigured(t *testing.T) {
	var c Configured
	if err := c.UnmarshalText([]byte(" USDT=7.80 , BTC = 780000")); err != nil || c.String() != "BTC=780000,USDT=7.8" {
		t.Errorf("%s, %v", c, err)
	}
	for _, text := range []string{"USDT", "=7.8", "USDT=", "DOGE=1", "USDT-TRC20=7.8", "HKD=1", "USDT=0", "USDT=-7.8", "USDT=0.1282", "BTC=7.8", "USDT=1e99",
		"USDT=7,80", "USDT=7.8,USDT=7.9", "USDT=seven", "", "USDT=7.8,"} {
		if err := c.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if c.String() != "BTC=780000,USDT=7.8" {
		t.Errorf("a bad table changed the good one: %s", c)
	}
}
