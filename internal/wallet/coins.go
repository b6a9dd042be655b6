package wallet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/comecomepay/comecomepay/internal/platform/money"
)

// Coin is one coin on one chain (contract/money 3.2, provider/udun section 6). Its name is its key everywhere: in the wallet, the
// ledger and what the app sends.
type Coin struct {
	money.Asset        // Code is the name; Scale is the ledger's, never finer than the chain's
	Chain       Chain  //
	CoinType    string // the gateway's: of the chain for its own coin, else the token's contract
	Decimals    int32  // of the base units that the gateway counts in
	Symbol      string // shown under the balance
	Title       string // coin_name
	MainSymbol  string // the chain's own coin; empty for that coin itself
	Least       int64  // smallest withdrawal unless configured otherwise, in units: about what the chain's fee is worth to us, or more
}

// Chain is a main coin type of the gateway.
type Chain struct {
	Name     string // BTC, ETH, TRX, BSC, LTC
	MainCoin string // the gateway's number
	Form     AddressForm
}

// AddressForm says how addresses of a chain are written and checked.
type AddressForm string

// The forms.
const (
	Bitcoin  AddressForm = "bitcoin"  // Base58Check 1…, 3…, or bech32 bc1…
	Litecoin AddressForm = "litecoin" // Base58Check L…, M…, 3…, or bech32 ltc1…
	EVM      AddressForm = "evm"      // 0x and 40 hex digits; mixed case is an EIP-55 checksum
	Tron     AddressForm = "tron"     // Base58Check T…
)

// stable tells whether the coin is USDT, in which values are counted.
func (c Coin) stable() bool { return strings.HasPrefix(c.Code, "USDT-") }

// Native tells whether the coin is its chain's own.
func (c Coin) Native() bool { return c.CoinType == c.Chain.MainCoin }

// DefaultBSC is the number that the gateway is believed to have for BSC (provider/udun section 6); it is configurable.
const DefaultBSC = "714"

// Catalogue lists every coin that the product knows; bsc is the gateway's number of BSC.
func Catalogue(bsc string) []Coin {
	btc := Chain{"BTC", "0", Bitcoin}
	ltc := Chain{"LTC", "2", Litecoin}
	eth := Chain{"ETH", "60", EVM}
	trx := Chain{"TRX", "195", Tron}
	bnb := Chain{"BSC", bsc, EVM}
	coin := func(name string, scale int32, chain Chain, coinType string, decimals int32, symbol, title, main, least string) Coin {
		asset := money.Asset{Code: name, Scale: scale}
		units, err := asset.Parse(least)
		if err != nil {
			panic(err) // a slip below
		}
		return Coin{asset, chain, coinType, decimals, symbol, title, main, units}
	}
	return []Coin{
		coin("USDT-TRC20", 6, trx, "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", 6, "USDT", "USDT (TRC20)", "TRX", "5"),
		coin("USDT-ERC20", 6, eth, "0xdac17f958d2ee523a2206206994597c13d831ec7", 6, "USDT", "USDT (ERC20)", "ETH", "10"),
		coin("USDT-BEP20", 6, bnb, "0x55d398326f99059ff775485246999027b3197955", 18, "USDT", "USDT (BEP20)", "BNB", "2"),
		coin("USDC-ERC20", 6, eth, "0xa0b86991c6218b36c1d19d4a2e9eb0ce3606eb48", 6, "USDC", "USDC (ERC20)", "ETH", "10"),
		coin("BTC", 8, btc, "0", 8, "BTC", "Bitcoin", "", "0.0001"),
		coin("ETH", 8, eth, "60", 18, "ETH", "Ethereum", "", "0.002"),
		coin("TRX", 6, trx, "195", 6, "TRX", "TRON", "", "10"),
		coin("LTC", 8, ltc, "2", 8, "LTC", "Litecoin", "", "0.02"),
		coin("BNB", 8, bnb, bsc, 18, "BNB", "BNB", "", "0.003"),
	}
}

// DefaultCoins are the coins of contract/money 3.2. The app preselects the first for swaps: it must be a USDT.
const DefaultCoins = "USDT-TRC20,USDT-ERC20,BTC,ETH,TRX,LTC,BNB"

// Select picks coins of the catalogue by name, in their order.
func Select(catalogue []Coin, names []string) ([]Coin, error) {
	var chosen []Coin
	for _, name := range names {
		i := slices.IndexFunc(catalogue, func(c Coin) bool { return c.Code == name })
		if i < 0 || slices.ContainsFunc(chosen, func(c Coin) bool { return c.Code == name }) {
			return nil, fmt.Errorf("%q is not a coin that can be listed, or is listed twice", name)
		}
		chosen = append(chosen, catalogue[i])
	}
	if len(chosen) == 0 || !strings.HasPrefix(chosen[0].Code, "USDT-") {
		return nil, fmt.Errorf("the first coin must be a USDT: the app preselects it")
	}
	return chosen, nil
}
