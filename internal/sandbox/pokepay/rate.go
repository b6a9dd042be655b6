package pokepay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"strings"
)

// ErrBadRate says that a rate cannot be set like that.
var ErrBadRate = errors.New("a rate needs two different currencies, such as USDT and HKD, and a plain decimal above 0")

// standardRates are what one unit costs in HKD until somebody changes it. The first two are the issuer's own samples
// (provider/pokepay.md 5), the others of their size.
var standardRates = map[string]string{
	"USDT": "7.80", "USD": "7.82", "USDC": "7.80", "BTC": "780000", "ETH": "27000", "TRX": "2.10", "LTC": "650", "BNB": "5500",
}

// inverseDecimals is how exactly the issuer tells what one HKD is.
const inverseDecimals = 18

var (
	currencyCode = regexp.MustCompile(`^[A-Z0-9]{2,10}$`)
	plainRate    = regexp.MustCompile(`^[0-9]{1,30}(\.[0-9]{1,30})?$`)
)

// simpleRate answers what one unit of a currency costs in another one. The form of the issuer's answer is unknown
// (provider/pokepay.md 5); ours has the pair and the rate as a text.
func (s *Simulator) simpleRate(r *http.Request) answer {
	src, dst := strings.ToUpper(r.URL.Query().Get("src_currency_code")), strings.ToUpper(r.URL.Query().Get("dst_currency_code"))
	rate, err := s.rate(r.Context(), src, dst)
	switch {
	case errors.Is(err, ErrBadRate):
		return refuse(codeRefused, "currency code invalid")
	case err != nil:
		return s.failed(r.Context(), err)
	}
	return succeed(struct {
		Src  string `json:"src_currency_code"`
		Dst  string `json:"dst_currency_code"`
		Rate string `json:"rate"`
	}{src, dst, rate})
}

// rate is what was set for a pair, else for HKD the standard one, else the inverse of the other direction.
func (s *Simulator) rate(ctx context.Context, src, dst string) (string, error) {
	if rate, err := s.directRate(ctx, src, dst); !errors.Is(err, ErrBadRate) {
		return rate, err
	}
	back, err := s.directRate(ctx, dst, src)
	if err != nil {
		return "", err
	}
	value, ok := new(big.Rat).SetString(back)
	if !ok || value.Sign() == 0 {
		return "", fmt.Errorf("stored rate %q of %s and %s", back, dst, src)
	}
	return value.Inv(value).FloatString(inverseDecimals), nil
}

func (s *Simulator) directRate(ctx context.Context, src, dst string) (rate string, err error) {
	err = s.DB.QueryRowContext(ctx, `SELECT rate FROM pokepay_rates WHERE src = $1 AND dst = $2`, src, dst).Scan(&rate)
	if !errors.Is(err, sql.ErrNoRows) {
		return rate, err
	}
	if rate = standardRates[src]; rate == "" || dst != "HKD" {
		return "", ErrBadRate
	}
	return rate, nil
}

// SetRate changes what one unit of src costs in dst; the other direction follows unless it was set itself. It returns ErrBadRate.
func (s *Simulator) SetRate(ctx context.Context, src, dst, rate string) error {
	src, dst = strings.ToUpper(src), strings.ToUpper(dst)
	if !currencyCode.MatchString(src) || !currencyCode.MatchString(dst) || src == dst || !plainRate.MatchString(rate) || strings.Trim(rate, "0.") == "" {
		return ErrBadRate
	}
	_, err := s.DB.ExecContext(ctx, `INSERT INTO pokepay_rates (src, dst, rate) VALUES ($1, $2, $3)
		ON CONFLICT (src, dst) DO UPDATE SET rate = excluded.rate`, src, dst, rate)
	if err != nil {
		return fmt.Errorf("simulated pokepay: rate: %w", err)
	}
	return nil
}
