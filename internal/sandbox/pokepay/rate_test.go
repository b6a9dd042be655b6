package pokepay

import (
	"errors"
	"testing"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

func (i *issuer) rate(token, src, dst string) reply {
	i.t.Helper()
	return i.call("GET", "/api/v1/system/currencySimple?src_currency_code="+src+"&dst_currency_code="+dst, token, nil)
}

func TestRates(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	want := func(src, dst, rate string) {
		t.Helper()
		r := i.rate(token, src, dst)
		got := decode[struct {
			Src  string `json:"src_currency_code"`
			Dst  string `json:"dst_currency_code"`
			Rate string `json:"rate"`
		}](t, r)
		if got.Src != src || got.Dst != dst || got.Rate != rate {
			t.Errorf("%s to %s: %+v, want %s", src, dst, got, rate)
		}
	}
	want("USDT", "HKD", "7.80")
	want("USD", "HKD", "7.82")
	want("BTC", "HKD", "780000")
	want("HKD", "USDT", "0.128205128205128205")
	for src := range standardRates {
		decode[struct{ Rate string }](t, i.rate(token, src, "HKD"))
		decode[struct{ Rate string }](t, i.rate(token, "HKD", src))
	}
	for _, c := range [][3]string{{"usdt", "hkd", "8"}, {"BTC", "USDT", "100000"}, {"HKD", "ETH", "0.5"}} {
		if err := i.sim.SetRate(t.Context(), c[0], c[1], c[2]); err != nil {
			t.Fatal(err)
		}
	}
	i.restart()
	want("USDT", "HKD", "8")
	want("HKD", "USDT", "0.125000000000000000")
	want("USDT", "BTC", "0.000010000000000000")
	want("HKD", "ETH", "0.5")
	want("ETH", "HKD", "27000")
}

func TestRatesRefused(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	for _, c := range [][2]string{{"DOGE", "HKD"}, {"", "HKD"}, {"USDT", ""}, {"USDT", "USDT"}, {"HKD", "HKD"}, {"USDT", "USD"}} {
		i.wantRefused(i.rate(token, c[0], c[1]), 400, "currency code invalid")
	}
	i.wantRefused(i.rate("", "USDT", "HKD"), 401, insufficientAuthority)
	i.inject(fault.Rule{Operation: opRate.Operation, Kind: fault.ExpiredToken, Count: 1})
	i.wantRefused(i.rate(token, "USDT", "HKD"), 401, insufficientAuthority)
	for _, c := range [][3]string{{"USDT", "HKD", "0"}, {"USDT", "HKD", "0.00"}, {"USDT", "HKD", "-1"}, {"USDT", "HKD", "1e3"}, {"USDT", "HKD", ""}, {"USDT", "USDT", "1"}, {"U", "HKD", "1"}} {
		if err := i.sim.SetRate(t.Context(), c[0], c[1], c[2]); !errors.Is(err, ErrBadRate) {
			t.Errorf("%v: %v", c, err)
		}
	}
}
