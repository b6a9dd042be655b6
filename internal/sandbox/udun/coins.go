package udun

import (
	"strings"
	"time"
)

// chain is one of the block chains on which the gateway holds money.
type chain struct {
	mainCoinType string
	form         addressForm
	blockTime    time.Duration
	height       int64  // of its newest block on 1 January 2026, about
	fee          string // of a withdrawal, in base units of the main coin
	txPrefix     string
}

var (
	bitcoin  = &chain{mainCoinType: "0", form: bitcoinForm, blockTime: 10 * time.Minute, height: 930_000, fee: "1410"}
	litecoin = &chain{mainCoinType: "2", form: litecoinForm, blockTime: 150 * time.Second, height: 3_030_000, fee: "2820"}
	ethereum = &chain{mainCoinType: "60", form: evmForm, blockTime: 12 * time.Second, height: 24_140_000, fee: "210000000000000", txPrefix: "0x"}
	tron     = &chain{mainCoinType: "195", form: tronForm, blockTime: 3 * time.Second, height: 78_900_000, fee: "13844850"}
	// The number of the BSC is confirmed by an earlier integration alone (provider/udun section 6).
	bsc = &chain{mainCoinType: "714", form: evmForm, blockTime: 3 * time.Second, height: 74_000_000, fee: "30000000000000", txPrefix: "0x"}
)

var chains = map[string]*chain{"0": bitcoin, "2": litecoin, "60": ethereum, "195": tron, "714": bsc}

// coin is a row of the table in provider/udun section 6.
type coin struct {
	name     string // as wallets call it
	coinName string
	symbol   string // the gateway's own
	chain    *chain
	coinType string // the main coin's number, or the token's contract
	decimals int
	main     string // symbol of the chain's main coin; "-": the field is missing
	proxyPay string // standard limit of proxypay, in the coin's own unit
}

func (c coin) token() bool { return c.coinType != c.chain.mainCoinType }

// coins are what the merchant's account supports. One of them comes without mainSymbol, as the gateway's lists may.
var coins = []coin{
	{"BTC", "Bitcoin", "BTC", bitcoin, "0", 8, "", "0.01"},
	{"LTC", "Litecoin", "LTC", litecoin, "2", 8, "-", "5"},
	{"ETH", "Ethereum", "ETH", ethereum, "60", 18, "", "0.3"},
	{"USDT-ERC20", "USDT", "USDT", ethereum, "0xdac17f958d2ee523a2206206994597c13d831ec7", 6, "ETH", "1000"},
	{"USDC-ERC20", "USDC", "USDC", ethereum, "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", 6, "ETH", "1000"},
	{"TRX", "TRON", "TRX", tron, "195", 6, "", "3000"},
	{"USDT-TRC20", "USDT", "TRCUSDT", tron, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", 6, "TRX", "1000"},
	{"BNB", "BNB", "BNB", bsc, "714", 18, "", "1"},
	{"USDT-BEP20", "USDT", "BSCUSDT", bsc, "0x55d398326f99059ff775485246999027b3197955", 18, "BNB", "1000"},
}

// findCoin finds a coin by the gateway's numbers. Contracts of the EVM chains may come in any case.
func findCoin(mainCoinType, coinType string) (coin, bool) {
	for _, c := range coins {
		if c.chain.mainCoinType == mainCoinType && (c.coinType == coinType || c.chain.form == evmForm && strings.EqualFold(c.coinType, coinType)) {
			return c, true
		}
	}
	return coin{}, false
}

// coinNamed finds a coin by its name in wallets, or by "mainCoinType/coinType".
func coinNamed(name string) (coin, bool) {
	if main, kind, found := strings.Cut(name, "/"); found {
		return findCoin(main, kind)
	}
	for _, c := range coins {
		if c.name == name {
			return c, true
		}
	}
	return coin{}, false
}

// mainCoin is the coin in which the chain's fees are paid.
func (c *chain) mainCoin() coin {
	main, _ := findCoin(c.mainCoinType, c.mainCoinType)
	return main
}

// heightAt is the chain's newest block at a time.
func (c *chain) heightAt(now time.Time) int64 {
	return c.height + int64(now.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))/c.blockTime)
}
