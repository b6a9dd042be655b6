package udun

import (
	"context"
	"encoding/json"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// MaxDecimals is the largest number of decimals that is believed (provider/udun.md section 7).
const MaxDecimals = 30

// Coin is a coin that the merchant can receive and send. MainCoinType and CoinType together name it; contract
// addresses of Ethereum's kind differ in case from one place to the next.
type Coin struct {
	Name         string
	CoinName     string
	Symbol       string
	MainCoinType string
	CoinType     string // a number, or a token's contract
	Decimals     int    // -1 if missing or outside 0 to MaxDecimals
	Token        bool   // not the chain's own coin
	MainSymbol   string // may be empty
	Balance      string // as it was written, empty if not asked for; human or base units is unknown
	Logo         string
}

// SupportCoins lists the coins of the merchant; showBalance asks for the balances, too (provider/udun.md section 3.4).
// Entries without main coin type or coin type are left out.
//
// Errors, all *provider.Error, with CodeOf: Refused; Unknown, after repetitions.
func (c *Client) SupportCoins(ctx context.Context, showBalance bool) ([]Coin, error) {
	envelope, err := c.call(ctx, OpSupportCoins, "/mch/support-coins", struct {
		MerchantID  string `json:"merchantId"`
		ShowBalance bool   `json:"showBalance"`
	}{c.merchant, showBalance}, true, judge)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if json.Unmarshal(envelope.Raw("data"), &list) != nil {
		return nil, unreadable(OpSupportCoins, errNoData)
	}
	coins := make([]Coin, 0, len(list))
	for _, o := range envelope.Objects("data") {
		if coin, ok := coinFrom(o); ok {
			coins = append(coins, coin)
		}
	}
	return coins, nil
}

func coinFrom(o provider.Object) (Coin, bool) {
	coin := Coin{Name: o.Text("name"), CoinName: o.Text("coinName"), Symbol: o.Text("symbol"),
		MainCoinType: identifier(o, "mainCoinType"), CoinType: identifier(o, "coinType"), Decimals: decimals(o),
		MainSymbol: o.Text("mainSymbol"), Balance: o.Text("balance"), Logo: o.Text("logo")}
	status, ok := o.Int("tokenStatus")
	coin.Token = status == 1 || !ok && coin.MainCoinType != coin.CoinType
	return coin, isIdentifier(coin.MainCoinType) && isIdentifier(coin.CoinType)
}

// decimals reads the member of that name, -1 if it is missing or not to be believed.
func decimals(o provider.Object) int {
	if n, ok := o.Int("decimals"); ok && n >= 0 && n <= MaxDecimals {
		return int(n)
	}
	return -1
}
