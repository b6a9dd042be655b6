package app

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// UdunConfig is the crypto gateway (provider/udun).
type UdunConfig struct {
	URL          string        `env:"CCP_UDUN_URL" doc:"The merchant's own node, from the gateway's console, such as https://sig11.udun.io. Not set: no coins come in or go out on chain."`
	MerchantID   string        `env:"CCP_UDUN_MERCHANT_ID" doc:"Number of the merchant."`
	APIKey       secret.Text   `env:"CCP_UDUN_API_KEY" doc:"Key that signs calls and callbacks."`
	FormerKey    secret.Text   `env:"CCP_UDUN_FORMER_API_KEY" doc:"Callbacks signed with this key are accepted as well, while the key is replaced."`
	CallbackKey  secret.Text   `env:"CCP_UDUN_CALLBACK_KEY" doc:"Last segment of the callback address, at least 16 letters, digits, - or _: the signature is MD5, which is weak, and nobody can guess this. Addresses keep the one that they were made with for ever: never change it. Required by serve in production with a gateway."`
	BareCallback bool          `env:"CCP_UDUN_BARE_CALLBACK" envDefault:"false" doc:"Whether callbacks without that segment are taken as well, for addresses that were made before it."`
	AddressField string        `env:"CCP_UDUN_ADDRESS_FIELD" envDefault:"mainCoinType" oneof:"mainCoinType,coinType,both" doc:"How the chain is called when an address is made; it depends on the age of the merchant's account."`
	Milliseconds bool          `env:"CCP_UDUN_MILLISECONDS" envDefault:"false" doc:"Whether calls carry their time in milliseconds and a nonce of letters, as the older protocol does."`
	Timeout      time.Duration `env:"CCP_UDUN_TIMEOUT" envDefault:"30s" doc:"Longest time for one attempt of a call."`

	DepositFinal    []int         `env:"CCP_UDUN_DEPOSIT_FINAL" envDefault:"3" doc:"Statuses of a deposit that mean that it is there: 3, and for a gateway that was seen to confirm with it, 2. Verify it before going live."`
	DepositMinimums Amounts       `env:"CCP_DEPOSIT_MINIMUMS" doc:"Smaller deposits go to suspense, in whole coins, such as USDT-TRC20=1,BTC=0.0001."`
	BalanceUnit     string        `env:"CCP_UDUN_BALANCE_UNIT" envDefault:"human" oneof:"human,base" doc:"Whether the gateway tells its balances in whole coins or in the smallest unit of the chain, which is not documented."`
	ReconcileEvery  time.Duration `env:"CCP_RECONCILE_EVERY" envDefault:"15m" doc:"How often the ledger is compared with what the gateway holds. A difference that stands in two runs is a case."`
	AutoPay         bool          `env:"CCP_UDUN_AUTO_PAY" envDefault:"false" doc:"Whether withdrawals are ordered so that the gateway pays them without its own review, within the limits set in its console."`
}

// WithdrawalsConfig is what customers may have sent out.
type WithdrawalsConfig struct {
	Fees     Amounts `env:"CCP_WITHDRAWAL_FEES" doc:"What a withdrawal costs, in whole coins, such as USDT-TRC20=1,BTC=0.0002. It comes out of the amount."`
	Minimums Amounts `env:"CCP_WITHDRAWAL_MINIMUMS" doc:"The smallest withdrawal, in whole coins. Coins that are not named have a minimum of about what the chain takes: USDT-TRC20 5, USDT-ERC20 and USDC-ERC20 10, USDT-BEP20 2, BTC 0.0001, ETH 0.002, TRX 10, LTC 0.02, BNB 0.003."`

	AutomaticLimit int64         `env:"CCP_WITHDRAWAL_AUTOMATIC_LIMIT" envDefault:"500" doc:"When a customer's withdrawals of a day of UTC are worth more than this together, in whole USDT, the one that exceeds it and those after it wait for an operator, and so does what has no price. 0: everything waits."`
	DayCount       int           `env:"CCP_WITHDRAWAL_DAY_COUNT" envDefault:"20" doc:"How many withdrawals a customer may ask for within a day of UTC: each costs a fee of the chain. 0: no limit."`
	RepeatWindow   time.Duration `env:"CCP_WITHDRAWAL_REPEAT_WINDOW" envDefault:"3m" doc:"The same request of a customer within this time is the same withdrawal: the app sends no key that tells two taps from two wishes. The app waits 60 s for an answer: at least that and CCP_REQUEST_TIMEOUT."`

	Limit            int64 `env:"CCP_WITHDRAWAL_LIMIT" envDefault:"1000" doc:"What a customer who is not verified may withdraw at once, in whole USDT by value. 0: no limit."`
	DayLimit         int64 `env:"CCP_WITHDRAWAL_DAY_LIMIT" envDefault:"1000" doc:"The same within a day of UTC."`
	LimitVerified    int64 `env:"CCP_WITHDRAWAL_LIMIT_VERIFIED" envDefault:"50000" doc:"What a verified customer may withdraw at once, in whole USDT by value. 0: no limit."`
	DayLimitVerified int64 `env:"CCP_WITHDRAWAL_DAY_LIMIT_VERIFIED" envDefault:"100000" doc:"The same within a day of UTC."`
}

// Amounts are amounts of coins, by their names, in whole coins as they are written.
type Amounts map[string]string

// UnmarshalText reads "USDT-TRC20=1,BTC=0.0001".
func (a *Amounts) UnmarshalText(text []byte) error {
	amounts := Amounts{}
	for part := range strings.SplitSeq(string(text), ",") {
		name, amount, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := amounts[name]; !ok || twice || name == "" {
			return errors.New("must be coin=amount, separated by commas, each coin once")
		}
		amounts[name] = amount
	}
	*a = amounts
	return nil
}

// String is the form that UnmarshalText reads.
func (a Amounts) String() string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		list = append(list, name+"="+a[name])
	}
	return strings.Join(list, ",")
}

// units are the amounts in the ledger's units.
func (a Amounts) units(coins []wallet.Coin) (map[string]int64, error) {
	units := map[string]int64{}
	for name, amount := range a {
		i := slices.IndexFunc(coins, func(c wallet.Coin) bool { return c.Code == name })
		if i < 0 {
			return nil, fmt.Errorf("names a coin that is not known: %s", name)
		}
		n, err := coins[i].Parse(amount)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("the amount of %s must be a number of whole coins with at most %d decimals", name, coins[i].Scale)
		}
		units[name] = n
	}
	return units, nil
}

// configured tells whether there is a gateway.
func (c UdunConfig) configured() bool { return c.URL != "" }

// appPatience is how long the app waits for an answer.
const appPatience = time.Minute

// gatewayProblems looks at every setting of gateway and withdrawals by itself.
func (c Config) gatewayProblems() []error {
	var problems []error
	refuse := func(name, why string) { problems = append(problems, errors.New(name+": "+why)) }
	u, w := c.Udun, c.Withdrawals
	if u.configured() {
		if u.MerchantID == "" || strings.Trim(u.MerchantID, "0123456789") != "" {
			refuse("CCP_UDUN_MERCHANT_ID", "must be the merchant's number, with CCP_UDUN_URL")
		}
		if u.APIKey.Empty() {
			refuse("CCP_UDUN_API_KEY", "is missing, with CCP_UDUN_URL")
		}
		if !webAddress(u.URL) {
			refuse("CCP_UDUN_URL", "must be an absolute http or https address without user, query and fragment")
		}
	}
	if key := u.CallbackKey.Reveal(); key != "" && (len(key) < 16 || strings.Trim(key, letters+"0123456789-_") != "") {
		refuse("CCP_UDUN_CALLBACK_KEY", "must be at least 16 letters, digits, - or _")
	}
	if _, ok := wallet.Crediting(u.DepositFinal); !ok {
		refuse("CCP_UDUN_DEPOSIT_FINAL", "must be 3, or 2, or both")
	}
	catalogue := wallet.Catalogue(c.Wallet.BSC)
	for name, amounts := range map[string]Amounts{"CCP_DEPOSIT_MINIMUMS": u.DepositMinimums, "CCP_WITHDRAWAL_FEES": w.Fees, "CCP_WITHDRAWAL_MINIMUMS": w.Minimums} {
		if _, err := amounts.units(catalogue); err != nil {
			refuse(name, err.Error())
		}
	}
	if w.DayCount < 0 || w.DayCount > 10_000 {
		refuse("CCP_WITHDRAWAL_DAY_COUNT", "must be between 0 and 10000")
	}
	// Who taps again after the app has given up must find the withdrawal that the first tap has made (contract/rules section 2).
	if least := appPatience + c.HTTP.RequestTimeout; w.RepeatWindow < least {
		refuse("CCP_WITHDRAWAL_REPEAT_WINDOW", fmt.Sprintf("must be at least %s, with CCP_REQUEST_TIMEOUT", least))
	}
	for name, limit := range map[string]int64{"CCP_WITHDRAWAL_AUTOMATIC_LIMIT": w.AutomaticLimit, "CCP_WITHDRAWAL_LIMIT": w.Limit, "CCP_WITHDRAWAL_DAY_LIMIT": w.DayLimit,
		"CCP_WITHDRAWAL_LIMIT_VERIFIED": w.LimitVerified, "CCP_WITHDRAWAL_DAY_LIMIT_VERIFIED": w.DayLimitVerified} {
		if limit < 0 || limit > mostUSDT {
			refuse(name, fmt.Sprintf("must be between 0 and %d", int64(mostUSDT)))
		}
	}
	return problems
}

// callbackURL is where the gateway calls us. It is bound to each address when it is made.
func (c Config) callbackURL() string {
	address := c.General.PublicURL + "/api/v1/yudun/callback"
	if key := c.Udun.CallbackKey.Reveal(); key != "" {
		address += "/" + key
	}
	return address
}

// NewGateway makes the client of the crypto gateway. It does not connect.
func (c Config) NewGateway(t clock.Clock, metrics prometheus.Registerer) (*udun.Client, error) {
	client, err := udun.NewClient(udun.Config{BaseURL: c.Udun.URL, MerchantID: c.Udun.MerchantID, APIKey: c.Udun.APIKey, CallURL: c.callbackURL(),
		AddressField: udun.AddressField(c.Udun.AddressField), Milliseconds: c.Udun.Milliseconds, Limits: provider.Limits{Timeout: c.Udun.Timeout}, Clock: t, Registerer: metrics})
	if err != nil {
		return nil, fmt.Errorf("CCP_UDUN_…: %w", err)
	}
	return client, nil
}

// gatewayOptions is what the wallet needs to know of the gateway.
func (c Config) gatewayOptions(t clock.Clock, metrics prometheus.Registerer) (o wallet.GatewayOptions, err error) {
	catalogue := wallet.Catalogue(c.Wallet.BSC)
	o = wallet.GatewayOptions{
		CallbackKey: c.Udun.CallbackKey, BareCallback: c.Udun.BareCallback, AutoPay: c.Udun.AutoPay, BalanceUnit: wallet.BalanceUnit(c.Udun.BalanceUnit),
		ReconcileEvery: c.Udun.ReconcileEvery, RepeatWindow: c.Withdrawals.RepeatWindow, WithdrawalsPerDay: c.Withdrawals.DayCount, JobTimeout: c.jobTimeout(),
		AutomaticLimit: limits(c.Withdrawals.AutomaticLimit, 0).Operation,
		WithdrawalLimits: wallet.LimitsByLevel{
			Unverified: limits(c.Withdrawals.Limit, c.Withdrawals.DayLimit), Verified: limits(c.Withdrawals.LimitVerified, c.Withdrawals.DayLimitVerified),
		},
	}
	o.CreditAt, _ = wallet.Crediting(c.Udun.DepositFinal) // looked at by gatewayProblems, as is what follows
	for amounts, units := range map[*Amounts]*map[string]int64{&c.Udun.DepositMinimums: &o.DepositMinimums, &c.Withdrawals.Fees: &o.WithdrawalFees, &c.Withdrawals.Minimums: &o.WithdrawalMinimums} {
		if *units, err = amounts.units(catalogue); err != nil {
			return o, err
		}
	}
	if !c.Udun.configured() {
		return o, nil
	}
	keys := []secret.Text{c.Udun.APIKey}
	if !c.Udun.FormerKey.Empty() {
		keys = append(keys, c.Udun.FormerKey)
	}
	if o.Callbacks, err = udun.NewVerifier(udun.VerifierConfig{APIKeys: keys, Clock: t}); err != nil {
		return o, fmt.Errorf("CCP_UDUN_API_KEY: %w", err)
	}
	// Commands that only look into the database have no address of our own.
	if c.General.PublicURL != "" {
		o.Client, err = c.NewGateway(t, metrics)
	}
	return o, err
}
