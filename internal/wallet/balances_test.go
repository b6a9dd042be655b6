package wallet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	simudun "github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// walletSeen is contract/money 2.1, in the types of the app: where it would break, decoding does.
type walletSeen struct {
	Status string `json:"status"`
	Wallet struct {
		ID         int64              `json:"id"`
		UserID     int64              `json:"user_id"`
		Currency   string             `json:"currency"`
		Status     string             `json:"status"`
		Daily      float64            `json:"daily_limit"`
		Monthly    float64            `json:"monthly_limit"`
		USDT       json.Number        `json:"total_asset_usdt"`
		HKD        json.Number        `json:"total_asset_hkd"`
		ByCurrency map[string]float64 `json:"balances_by_currency"`
		Balances   []balanceSeen      `json:"balances"`
		CreatedAt  time.Time          `json:"created_at"`
		UpdatedAt  time.Time          `json:"updated_at"`
	} `json:"wallet"`
}

type balanceSeen struct {
	ID           int         `json:"id"`
	Currency     string      `json:"currency"`
	Balance      json.Number `json:"balance"`
	MainCoinType int         `json:"main_coin_type"`
	CoinType     string      `json:"coin_type"`
	Symbol       string      `json:"symbol"`
	Decimals     int         `json:"decimals"`
	TokenStatus  int         `json:"token_status"`
	MainSymbol   string      `json:"main_symbol"`
	Logo         string      `json:"logo"`
	CoinName     string      `json:"coin_name"`
	Address      string      `json:"address"`
	CreatedAt    time.Time   `json:"created_at"`
	UpdatedAt    time.Time   `json:"updated_at"`
}

func (c *customer) wallet() walletSeen {
	c.t.Helper()
	var seen walletSeen
	c.w.call(http.MethodGet, "/wallet/", c.access, nil).into(c.t, &seen)
	return seen
}

// addresses are those that the wallet shows, by coin; empty ones are left out.
func (c *customer) addresses() map[string]string {
	c.t.Helper()
	found := map[string]string{}
	for _, b := range c.wallet().Wallet.Balances {
		if b.Address != "" {
			found[b.Currency] = b.Address
		}
	}
	return found
}

func TestWallet(t *testing.T) {
	priced := func(_ *world, o *wallet.Options) {
		o.Prices = prices{"BTC": "60000.5", "ETH": "0.01", "HKD": "7.8"}
		o.TransferLimits.Unverified = wallet.Limits{Day: 1_500_000}
	}
	each(t, func(t *testing.T, w *world) {
		amina := w.customer()
		empty := amina.wallet()
		if got := empty.Wallet; got.ID != amina.id || got.UserID != amina.id || got.Status != "active" || got.Daily != 1.5 || got.USDT != "0" || got.HKD != "0" ||
			!got.CreatedAt.Equal(beginning) {
			t.Errorf("%+v", got)
		}
		var names []string
		for _, b := range empty.Wallet.Balances {
			names = append(names, b.Currency)
			if b.Balance != "0" || b.Address != "" || b.ID == 0 || b.Symbol == "" || b.CoinName == "" {
				t.Errorf("%+v", b)
			}
		}
		if strings.Join(names, ",") != wallet.DefaultCoins {
			t.Errorf("%v", names)
		}
		amina.grant("USDT-TRC20", "12.5")
		amina.grant("USDT-ERC20", "0.000001")
		amina.grant("BTC", "0.12345678")
		amina.grant("ETH", "5")
		amina.grant("LTC", "100") // without a price
		var got walletSeen
		// Both forms of the path, both prefixes; the two bare readers send nothing but the token.
		for _, path := range []string{"/wallet", "/wallet/", "/api/v1/wallet", "/api/v1/wallet/"} {
			got = walletSeen{}
			w.call(http.MethodGet, path, amina.access, nil, "id_user", "1").into(t, &got)
		}
		// 12.5 + 0.000001 + 7407.46851... + 0.05
		if got.Wallet.USDT != "7420.01" || got.Wallet.HKD != "57876.14" {
			t.Errorf("worth %s USDT, %s HKD", got.Wallet.USDT, got.Wallet.HKD)
		}
		first, btc := got.Wallet.Balances[0], got.Wallet.Balances[2]
		want := balanceSeen{ID: 1, Currency: "USDT-TRC20", Balance: "12.5", MainCoinType: 195, CoinType: "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", Symbol: "USDT",
			Decimals: 6, TokenStatus: 1, MainSymbol: "TRX", CoinName: "USDT (TRC20)", CreatedAt: beginning, UpdatedAt: beginning}
		if first != want {
			t.Errorf("%+v", first)
		}
		if btc.Balance != "0.12345678" || btc.MainSymbol != "" || btc.TokenStatus != 0 || btc.CoinType != "0" {
			t.Errorf("%+v", btc)
		}
		if got.Wallet.ByCurrency["USDT-ERC20"] != 1e-6 || len(got.Wallet.ByCurrency) != len(names) {
			t.Errorf("%v", got.Wallet.ByCurrency)
		}
		// What is held is not to be spent, and who is frozen may look.
		if _, err := w.people.FreezeAccount(context.Background(), operator, amina.email, "a test"); err != nil {
			t.Fatal(err)
		}
		if got := amina.wallet(); got.Wallet.Status != "frozen" || got.Wallet.Balances[0].Balance != "12.5" {
			t.Errorf("%+v", got.Wallet)
		}
		w.call(http.MethodGet, "/wallet/", "", nil).refused(t, 401, "UNAUTHENTICATED")
		w.exec(`UPDATE sessions SET revoked_at = $2 WHERE user_id = $1`, amina.id, w.clock.Now())
		for _, path := range []string{"/wallet", "/wallet/unified-transactions", "/yudun/coins", "/yudun/addresses", "/yudun/transactions"} {
			w.call(http.MethodGet, path, amina.access, nil).refused(t, 401, "UNAUTHENTICATED")
		}
	}, priced)
}

// With a gateway every coin has an address of its chain, made at sign-up, the same for the coins of one chain and no other customer's.
func TestAddresses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.CheckCoins(t.Context()); err != nil {
			t.Fatal(err)
		}
		forms := map[string]string{"USDT-TRC20": `^T[1-9A-Za-z]{33}$`, "USDT-ERC20": `^0x[0-9a-fA-F]{40}$`, "BTC": `^(bc1|1|3)[0-9a-zA-Z]{25,60}$`, "ETH": `^0x`, "TRX": `^T`,
			"LTC": `^(ltc1|L|M|3)`, "BNB": `^0x`}
		seen := map[string]int64{}
		for range 2 {
			c := w.customer()
			w.eventually("addresses", func() bool { return len(c.addresses()) == len(forms) })
			got := c.addresses()
			for coin, form := range forms {
				if !regexp.MustCompile(form).MatchString(got[coin]) {
					t.Errorf("%s: %q", coin, got[coin])
				}
				if other := seen[got[coin]]; other != 0 && other != c.id {
					t.Errorf("%s of %d is also that of %d", coin, c.id, other)
				}
				seen[got[coin]] = c.id
			}
			if got["USDT-TRC20"] != got["TRX"] || got["USDT-ERC20"] != got["ETH"] {
				t.Errorf("coins of one chain have different addresses: %v", got)
			}
			for _, b := range c.wallet().Wallet.Balances {
				if b.Currency == "USDT-TRC20" && b.Symbol != "TRCUSDT" {
					t.Errorf("the gateway's symbol is %q", b.Symbol)
				}
			}
		}
		if n := w.udun.calls.Load(); n != 10 {
			t.Errorf("the gateway was asked %d times for 5 chains of 2 customers", n)
		}
	}, withGateway(nil))
}

// A customer whose addresses could not be made gets them when they look, however many look at once.
func TestAddressesAreMadeLater(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina := w.customer() // before the coins were compared
		if len(amina.addresses()) != 0 || w.udun.calls.Load() != 0 {
			t.Error("addresses of coins that nobody has compared")
		}
		if err := w.CheckCoins(t.Context()); err != nil {
			t.Fatal(err)
		}
		codes := parallel(12, func(int) reply { return w.call(http.MethodGet, "/wallet/", amina.access, nil) })
		if codes[""] != 12 {
			t.Errorf("%v", codes)
		}
		w.eventually("addresses", func() bool { return len(amina.addresses()) == 7 })
		if n := w.udun.calls.Load(); n != 5 {
			t.Errorf("the gateway was asked %d times for 5 chains", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'wallet_addresses'`); n != 1 {
			t.Errorf("%d jobs", n)
		}
	}, withGateway(nil))
}

// Two jobs at once, one of them after a crash between the gateway's answer and its storing: exactly one address is in force, and an
// answer that comes late changes nothing.
func TestOneAddressIsInForce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.CheckCoins(t.Context()); err != nil {
			t.Fatal(err)
		}
		amina := w.customer()
		w.eventually("addresses", func() bool { return len(amina.addresses()) == 7 })
		first := amina.addresses()

		// The process died between call and answer: the lease stands, the address is not there.
		w.exec(`UPDATE wallet_addresses SET address = NULL, address_key = NULL, asked_until = $2 WHERE user_id = $1`, amina.id, w.clock.Now().Add(time.Minute))
		before := w.udun.calls.Load()
		if got := amina.addresses(); len(got) != 0 {
			t.Errorf("%v", got)
		}
		if err := w.MakeAddresses(t.Context(), amina.id, w.clock.Now().Add(-time.Hour)); err != nil || w.udun.calls.Load() != before {
			t.Errorf("%v: a second job asked while the lease of the first stood", err)
		}
		w.clock.Advance(time.Minute)
		parallel(4, func(int) reply {
			if err := w.MakeAddresses(context.Background(), amina.id, w.clock.Now().Add(-time.Hour)); err != nil {
				t.Error(err)
			}
			return reply{}
		})
		if n := w.udun.calls.Load() - before; n != 5 {
			t.Errorf("asked %d times for 5 chains", n)
		}
		second := amina.addresses()
		if len(second) != 7 || second["BTC"] == first["BTC"] {
			t.Errorf("%v", second)
		}
		// Nobody asks for what is there.
		if err := w.MakeAddresses(t.Context(), amina.id, w.clock.Now()); err != nil || w.udun.calls.Load()-before != 5 {
			t.Error("asked for addresses that are there")
		}
	}, withGateway(nil))
}

// What the gateway refuses goes to an operator, and the gateway is left alone for a while; when it gives addresses again the case is
// closed.
func TestAddressQuota(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.CheckCoins(t.Context()); err != nil {
			t.Fatal(err)
		}
		amina := w.customer()
		open := func() int {
			return w.count(`SELECT COUNT(*) FROM operator_cases WHERE kind = 'wallet_addresses_refused' AND is_open = 1`)
		}
		w.eventually("cases", func() bool { return open() == 2 })
		if got := len(amina.addresses()); got == 0 || got == 7 {
			t.Errorf("%d addresses", got)
		}
		amina.wallet()
		w.idle()
		if n := w.udun.calls.Load(); n != 5 {
			t.Errorf("asked %d times", n)
		}
		w.udun.AddressQuota = 100
		w.clock.Advance(61 * time.Minute)
		amina.wallet()
		w.eventually("addresses", func() bool { return len(amina.addresses()) == 7 })
		w.idle()
		if n := open(); n != 0 {
			t.Errorf("%d cases are open", n)
		}
	}, withGateway(func(o *simudun.Options) { o.AddressQuota = 3 }))
}

// An address that is no address of the chain, or another customer's, never reaches a customer: an operator is told instead.
func TestWrongAddressesAreNotShown(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.CheckCoins(t.Context()); err != nil {
			t.Fatal(err)
		}
		amina := w.customer()
		w.eventually("addresses", func() bool { return len(amina.addresses()) == 7 })
		twist := func(answer string) string {
			hers := amina.addresses()
			answer = regexp.MustCompile(`"address":"T[^"]*"`).ReplaceAllString(answer, `"address":"`+hers["TRX"]+`"`)
			answer = regexp.MustCompile(`"address":"0x[^"]*"`).ReplaceAllString(answer, `"address":"`+strings.ToUpper(hers["ETH"][2:])+`"`)
			return regexp.MustCompile(`"address":"(ltc1|L|M)[^"]*"`).ReplaceAllString(answer, `"address":"`+hers["BTC"]+`"`)
		}
		w.udun.twist.Store(&twist)
		bo := w.customer()
		w.idle()
		if got := bo.addresses(); len(got) != 1 || got["BTC"] == "" {
			t.Errorf("%v", got)
		}
		rows, err := w.db.Query(t.Context(), `SELECT subject || ': ' || detail FROM operator_cases WHERE kind = 'wallet_address_unusable' AND is_open = 1 ORDER BY subject`)
		cases, err := db.Collect(rows, err, func(r db.Row) (text string, err error) { err = r.Scan(&text); return text, err })
		if err != nil || fmt.Sprint(cases) != "[BSC: not an address of the chain ETH: not an address of the chain LTC: not an address of the chain TRX: the address belongs to another customer already]" {
			t.Errorf("%q %v", cases, err)
		}
		// The gateway is left alone about it for a while, and then gives good ones.
		w.udun.twist.Store(nil)
		calls := w.udun.calls.Load()
		bo.wallet()
		w.idle()
		if n := w.udun.calls.Load(); n != calls {
			t.Errorf("asked %d times more", n-calls)
		}
		w.clock.Advance(61 * time.Minute)
		bo.wallet()
		w.eventually("addresses", func() bool { return len(bo.addresses()) == 7 })
	}, withGateway(nil))
}

// What the gateway could not do for the moment is tried again by the same job.
func TestAddressesAfterAnOutage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		if err := w.CheckCoins(t.Context()); err != nil {
			t.Fatal(err)
		}
		outage := func(string) string { return `{"code":500,"message":"error"}` }
		w.udun.twist.Store(&outage)
		amina := w.customer()
		w.eventually("the first try", func() bool {
			return w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'wallet_addresses' AND state = 'retryable'`) == 1
		})
		amina.wallet() // a reader leaves it to the job
		w.udun.twist.Store(nil)
		w.eventually("addresses", func() bool { return len(amina.addresses()) == 7 })
		if n := w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'wallet_addresses'`); n != 1 {
			t.Errorf("%d jobs", n)
		}
		if n := w.count(`SELECT COUNT(*) FROM operator_cases`); n != 0 {
			t.Errorf("%d cases", n)
		}
	}, withGateway(nil))
}

// A coin that the gateway counts with other decimals, or does not have, gets no address, and somebody is told.
func TestCoinsAreComparedWithTheGateway(t *testing.T) {
	coins := func(w *world, o *wallet.Options) {
		for i := range o.Coins {
			switch o.Coins[i].Code {
			case "LTC":
				o.Coins[i].Decimals = 9
			case "BNB":
				o.Coins[i].Chain.MainCoin, o.Coins[i].CoinType = "2510", "2510"
			}
		}
	}
	each(t, func(t *testing.T, w *world) {
		for range 2 {
			if err := w.CheckCoins(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		rows, err := w.db.Query(t.Context(), `SELECT subject || ': ' || detail FROM operator_cases WHERE kind = 'wallet_coin_unusable' AND is_open = 1 ORDER BY subject`)
		cases, err := db.Collect(rows, err, func(r db.Row) (text string, err error) { err = r.Scan(&text); return text, err })
		if err != nil || fmt.Sprint(cases) != "[BNB: the merchant does not have it LTC: decimals: 8 at the gateway, 9 here]" {
			t.Errorf("%q %v", cases, err)
		}
		amina := w.customer()
		w.eventually("addresses", func() bool { return len(amina.addresses()) == 5 })
		if got := amina.addresses(); got["LTC"] != "" || got["BNB"] != "" || w.udun.calls.Load() != 3 {
			t.Errorf("%v", got)
		}
		// An address that is there already is not shown either: what is paid in there could not be counted.
		w.exec(`INSERT INTO wallet_addresses (user_id, main_coin_type, address, address_key, created_at) VALUES ($1, '2', 'ltc1x', 'ltc1x', $2)`, amina.id, w.clock.Now())
		if got := amina.addresses(); got["LTC"] != "" {
			t.Errorf("%v", got)
		}
		// When the gateway is right again, so is everything.
		w.exec(`UPDATE gateway_coins SET state = 'missing' WHERE coin = 'BTC'`)
		if err := w.CheckCoins(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := amina.addresses(); got["BTC"] == "" {
			t.Errorf("%v", got)
		}
	}, coins, withGateway(nil))
}

// idle waits until no job is left to run now.
func (w *world) idle() {
	w.t.Helper()
	w.eventually("the queue to be empty", func() bool {
		return w.count(`SELECT COUNT(*) FROM river_job WHERE state IN ('available', 'running', 'pending')`) == 0
	})
}
