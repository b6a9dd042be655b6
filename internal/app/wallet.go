package app

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/comecomepay/comecomepay/internal/wallet"
)

// WalletConfig is what customers hold and how much of it they may send (contract/money section 3.2).
type WalletConfig struct {
	Coins []string `env:"CCP_WALLET_COINS" envDefault:"USDT-TRC20,USDT-ERC20,BTC,ETH,TRX,LTC,BNB" doc:"Coins that customers hold, in the order in which they see them, separated by commas. The first must be a USDT. There are also USDT-BEP20 and USDC-ERC20. A coin that customers have must stay."`
	BSC   string   `env:"CCP_WALLET_BSC" envDefault:"714" doc:"Number of the BNB Smart Chain at the gateway, which is not documented."`

	TransferLimit            int64 `env:"CCP_TRANSFER_LIMIT" envDefault:"1000" doc:"What a customer who is not verified may send to another one at once, in whole USDT by value. 0: no limit."`
	TransferDayLimit         int64 `env:"CCP_TRANSFER_DAY_LIMIT" envDefault:"2000" doc:"The same within a day of UTC."`
	TransferLimitVerified    int64 `env:"CCP_TRANSFER_LIMIT_VERIFIED" envDefault:"50000" doc:"What a verified customer may send to another one at once, in whole USDT by value. 0: no limit."`
	TransferDayLimitVerified int64 `env:"CCP_TRANSFER_DAY_LIMIT_VERIFIED" envDefault:"100000" doc:"The same within a day of UTC."`
}

// mostUSDT bounds limits, so that they fit where they are counted in millionths.
const mostUSDT = 1_000_000_000_000

// check looks at every setting by itself.
func (c WalletConfig) check() []error {
	var problems []error
	if _, err := c.coins(); err != nil {
		problems = append(problems, fmt.Errorf("CCP_WALLET_COINS: %w", err))
	}
	if n, err := strconv.ParseInt(c.BSC, 10, 32); err != nil || n <= 0 || strconv.FormatInt(n, 10) != c.BSC {
		problems = append(problems, errors.New("CCP_WALLET_BSC: must be a whole number"))
	}
	for name, limit := range map[string]int64{"CCP_TRANSFER_LIMIT": c.TransferLimit, "CCP_TRANSFER_DAY_LIMIT": c.TransferDayLimit,
		"CCP_TRANSFER_LIMIT_VERIFIED": c.TransferLimitVerified, "CCP_TRANSFER_DAY_LIMIT_VERIFIED": c.TransferDayLimitVerified} {
		if limit < 0 || limit > mostUSDT {
			problems = append(problems, fmt.Errorf("%s: must be between 0 and %d", name, int64(mostUSDT)))
		}
	}
	return problems
}

func (c WalletConfig) coins() ([]wallet.Coin, error) {
	return wallet.Select(wallet.Catalogue(c.BSC), c.Coins)
}

func (c WalletConfig) transferLimits() wallet.LimitsByLevel {
	return wallet.LimitsByLevel{Unverified: limits(c.TransferLimit, c.TransferDayLimit), Verified: limits(c.TransferLimitVerified, c.TransferDayLimitVerified)}
}

// limits are limits given in whole USDT.
func limits(operation, day int64) wallet.Limits {
	const millionths = 1_000_000
	return wallet.Limits{Operation: operation * millionths, Day: day * millionths}
}
