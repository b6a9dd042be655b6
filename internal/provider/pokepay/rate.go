package pokepay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/provider"
)

// The names under which a rate, and the pair that it is for, may stand: the answer's form is unknown (provider/pokepay section 5).
var (
	rateKeys   = []string{"rate", "exchange_rate", "currency_rate", "fx_rate", "price", "value"}
	sourceKeys = []string{"src_currency_code", "from_currency"}
	targetKeys = []string{"dst_currency_code", "to_currency"}
)

// No currency is worth more or less of another one than this; what is, was read wrongly.
var (
	leastRate   = decimal.New(1, -15)
	highestRate = decimal.New(1, 15)
)

var errRate = errors.New("no rate of this pair, as a positive decimal, in the answer")

// FXRate reads what one unit of src costs in dst, both as short names: USDT, HKD (provider/pokepay section 5). It is not repeated by
// itself: rates are asked for again and again anyway.
//
// Errors, all *provider.Error: Refused if PokePay says no; Unknown if there is no answer, or none that certainly holds the rate.
func (c *Client) FXRate(ctx context.Context, src, dst string) (decimal.Decimal, error) {
	data, err := c.call(ctx, OpFXRate, request{once: true, query: url.Values{"src_currency_code": {src}, "dst_currency_code": {dst}}})
	if err != nil {
		return decimal.Decimal{}, err
	}
	rate, err := parseRate(data, src, dst)
	if err != nil {
		return decimal.Decimal{}, unreadable(OpFXRate, err)
	}
	return rate, nil
}

// parseRate finds the rate in data: a number or a text, by itself, under one of rateKeys, or alone in a list.
func parseRate(data json.RawMessage, src, dst string) (decimal.Decimal, error) {
	var list []json.RawMessage
	if json.Unmarshal(data, &list) == nil && len(list) == 1 {
		data = list[0]
	}
	o, err := provider.ParseObject(data)
	if err != nil {
		if data = bytes.TrimSpace(data); bytes.HasPrefix(data, []byte("[")) {
			return decimal.Decimal{}, errRate
		}
		o = provider.Object{rateKeys[0]: data}
	}
	// An answer that names another pair, or the same one the other way round, is for another question.
	from, to := o.Text(sourceKeys...), o.Text(targetKeys...)
	if from != "" && !strings.EqualFold(from, src) || to != "" && !strings.EqualFold(to, dst) {
		return decimal.Decimal{}, errRate
	}
	rate, err := money.ParseDecimal(strings.TrimSpace(o.Text(rateKeys...)))
	if err != nil || rate.LessThan(leastRate) || rate.GreaterThan(highestRate) {
		return decimal.Decimal{}, errRate
	}
	return rate, nil
}
