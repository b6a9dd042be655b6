package wallet_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
	simudun "github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

const gatewayKey = "key-of-the-tests"

// courier carries the gateway's callbacks to the wallet, and counts how they are answered.
type courier struct {
	target   string
	answers  sync.Map // status -> *atomic.Int64
	carrying atomic.Bool
}

func (c *courier) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if !c.carrying.Load() {
		http.Error(rw, "not open yet", http.StatusServiceUnavailable)
		return
	}
	forward, err := http.NewRequestWithContext(r.Context(), r.Method, c.target+r.URL.Path, r.Body)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusInternalServerError)
		return
	}
	forward.Header = r.Header.Clone()
	res, err := http.DefaultClient.Do(forward)
	if err != nil {
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	defer res.Body.Close()
	n, _ := c.answers.LoadOrStore(res.StatusCode, &atomic.Int64{})
	n.(*atomic.Int64).Add(1)
	rw.WriteHeader(res.StatusCode)
	_, _ = io.Copy(rw, res.Body)
}

func (c *courier) answered(status int) int64 {
	n, ok := c.answers.Load(status)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// gateWorld is a world with a gateway whose callbacks arrive.
type gateWorld struct {
	*world
	courier *courier
	metrics *prometheus.Registry
	planted bool // the test has made the book wrong on purpose
}

// usdt is one USDT in the ledger's units, and in those of worths.
const usdt = 1_000_000

// newGateWorld builds a world with a gateway. Withdrawals up to 1,000 USDT are sent by themselves.
func newGateWorld(t testing.TB, d db.DB, settings ...setting) *gateWorld {
	t.Helper()
	g := &gateWorld{courier: &courier{}, metrics: prometheus.NewRegistry()}
	door := httptest.NewServer(g.courier)
	t.Cleanup(door.Close)
	listen := func(w *world, o *wallet.Options) {
		var err error
		if o.Gateway.Client, err = udun.NewClient(udun.Config{BaseURL: w.udun.url, MerchantID: "300011", APIKey: secret.NewText(gatewayKey),
			CallURL: door.URL + "/yudun/callback", Clock: w.clock, Limits: provider.Limits{
				Timeout: 2 * time.Second, Attempts: 2, Backoff: 5 * time.Millisecond, MaxBackoff: 10 * time.Millisecond, BreakerMinCalls: 1000, BreakerDelay: 10 * time.Millisecond,
			}}); err != nil {
			t.Fatal(err)
		}
		if o.Gateway.Callbacks, err = udun.NewVerifier(udun.VerifierConfig{APIKeys: []secret.Text{secret.NewText(gatewayKey)}, Clock: w.clock}); err != nil {
			t.Fatal(err)
		}
		o.Gateway.AutomaticLimit = 1000 * usdt
		o.Registerer = g.metrics
		o.Prices = prices{"BTC": "100000", "ETH": "4000", "TRX": "0.3", "LTC": "100", "BNB": "900", "HKD": "7.8"}
	}
	base := []setting{withGateway(func(o *simudun.Options) { o.Tries = 3 }), listen}
	g.world = newWorld(t, d, append(base, settings...)...)
	g.courier.target = g.url
	g.courier.carrying.Store(true)
	if g.count(`SELECT COUNT(*) FROM gateway_coins`) == 0 {
		if err := g.CheckCoins(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { g.RunGateway(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		// After every test, whatever it did to them: the book itself, and that rows and transactions belong together.
		report, err := g.ledger.Verify(context.Background(), nil)
		if err != nil || !report.OK() && !g.planted {
			t.Errorf("ledger verify: %+v, %v", report.Findings, err)
		}
	})
	return g
}

// eachGate runs a test on both engines, in a world with a gateway.
func eachGate(t *testing.T, test func(t *testing.T, w *gateWorld), settings ...setting) {
	t.Helper()
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) { test(t, newGateWorld(t, d, settings...)) })
}

// lite runs a test on SQLite only, where the engine makes no difference.
func lite(t *testing.T, test func(t *testing.T, w *gateWorld), settings ...setting) {
	t.Helper()
	d, err := db.Open(t.Context(), dbtest.URL(t, db.SQLite), db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	test(t, newGateWorld(t, d, settings...))
}

// with is the same world, reporting to another test.
func (w *gateWorld) with(t testing.TB) *gateWorld {
	inner := *w.world
	inner.t = t
	return &gateWorld{world: &inner, courier: w.courier, metrics: w.metrics}
}

// delivered waits until the gateway has told all that it has to tell about a trade, and the wallet has worked on it.
func (w *gateWorld) delivered(trade string) {
	w.t.Helper()
	w.eventually("all calls about "+trade, func() bool {
		w.clock.Advance(time.Second) // a refused call is sent again
		custody, err := w.udun.Custody(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		for _, t := range custody.Trades {
			if t.TradeID == trade {
				return t.Callbacks.Waiting == 0
			}
		}
		return false
	})
	w.idle()
}

func coinNamed(t testing.TB, name string) wallet.Coin {
	t.Helper()
	list := wallet.Catalogue(wallet.DefaultBSC)
	i := slices.IndexFunc(list, func(c wallet.Coin) bool { return c.Code == name })
	if i < 0 {
		t.Fatalf("no coin %s", name)
	}
	return list[i]
}

// address is the customer's deposit address of a coin.
func (c *customer) address(currency string) (address string) {
	c.t.Helper()
	chain := coinNamed(c.t, currency).Chain.MainCoin
	c.w.eventually("an address of "+currency, func() bool {
		err := c.w.db.QueryRow(context.Background(), `SELECT COALESCE(MAX(address), '') FROM wallet_addresses WHERE user_id = $1 AND main_coin_type = $2`, c.id, chain).Scan(&address)
		return err == nil && address != ""
	})
	return address
}

// deposit has the gateway report coins for the customer.
func (w *gateWorld) deposit(c *customer, currency, amount string, how simudun.Deposit) simudun.TradeState {
	w.t.Helper()
	how.Coin, how.Amount = currency, simudun.Decimal(amount)
	if how.Address == "" {
		how.Address = c.address(currency)
	}
	state, err := w.udun.Deposit(context.Background(), how)
	if err != nil {
		w.t.Fatal(err)
	}
	return state
}

// becomes waits until the deposit of a trade is in a state.
func (w *gateWorld) becomes(trade string, state wallet.DepositState) wallet.Deposit {
	w.t.Helper()
	last := ""
	defer func() {
		if w.t.Failed() {
			w.t.Logf("trade %s: last seen %s", trade, last)
		}
	}()
	w.eventually(fmt.Sprintf("trade %s to be %s", trade, state), func() bool {
		err := w.db.QueryRow(context.Background(), `SELECT state FROM deposits WHERE trade_id = $1`, trade).Scan(&last)
		return err == nil && last == string(state)
	})
	return w.dep(trade)
}

func (w *gateWorld) dep(trade string) (d wallet.Deposit) {
	w.t.Helper()
	err := w.db.QueryRow(context.Background(), `SELECT id, state, said, amount, units, remainder, stale, reason, tx_id FROM deposits WHERE trade_id = $1`, trade).
		Scan(&d.ID, (*string)(&d.State), (*int)(&d.Said), &d.Amount, &d.Units, &d.Remainder, &d.Stale, &d.Reason, &d.TxID)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// idle waits until every stored call has been worked on.
func (w *gateWorld) idle() {
	w.t.Helper()
	w.eventually("callbacks to be worked on", func() bool {
		return w.count(`SELECT COUNT(*) FROM inbound_messages WHERE outcome = 'received'`) == 0
	})
}

// open lists the open cases about a subject.
func (w *gateWorld) open(subject string) (kinds []string) {
	w.t.Helper()
	list, err := cases.NewBook(w.db, w.clock).List(context.Background(), cases.Filter{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range list {
		if c.Subject == subject {
			kinds = append(kinds, c.Kind)
		}
	}
	return kinds
}

// book checks the house's accounts of a coin: custody (as what we hold), suspense, and the earned fees.
func (w *gateWorld) book(currency, custody, suspense, fees string) {
	w.t.Helper()
	for account, want := range map[ledger.Account]string{
		ledger.CustodyOf(currency): custody, ledger.SuspenseOf(currency): suspense, ledger.RevenueOf("withdrawal", currency): fees,
	} {
		got, err := w.ledger.Balance(context.Background(), w.db, account)
		if err != nil {
			w.t.Fatal(err)
		}
		if account.Owner == ledger.Custody {
			got = -got
		}
		if got != units(w.t, currency, want) {
			w.t.Errorf("%s holds %s, want %s", account, money.Format(got, coinNamed(w.t, currency).Scale), want)
		}
	}
}

// say sends a callback of our own making, signed as the gateway signs.
func (w *gateWorld) say(body fields) int {
	w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.post1("/yudun/callback", w.signed(string(text), gatewayKey, w.clock.Now()))
}

// signed is the form of a callback.
func (w *gateWorld) signed(body, key string, at time.Time) string {
	nonce, stamp := "QWERTY", strconv.FormatInt(at.UnixMilli(), 10)
	sum := md5.Sum([]byte(body + key + nonce + stamp))
	return url.Values{"timestamp": {stamp}, "nonce": {nonce}, "sign": {hex.EncodeToString(sum[:])}, "body": {body}}.Encode()
}

func (w *gateWorld) post1(path, form string) int {
	w.t.Helper()
	res, err := http.Post(w.url+path, "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		w.t.Error(err)
		return 0
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	if res.StatusCode == http.StatusOK && !strings.Contains(string(raw), `"code":200,"message":"SUCCESS"`) {
		w.t.Errorf("answered %s", raw)
	}
	return res.StatusCode
}

// told is the body of a callback about a deposit.
func told(trade, address, currency, amount string, status int) fields {
	coin := wallet.Catalogue(wallet.DefaultBSC)
	c := coin[slices.IndexFunc(coin, func(c wallet.Coin) bool { return c.Code == currency })]
	return fields{"tradeId": trade, "tradeType": 1, "status": status, "address": address, "mainCoinType": c.Chain.MainCoin, "coinType": c.CoinType,
		"amount": amount, "decimals": strconv.Itoa(int(c.Decimals)), "fee": "0", "txId": "tx-" + trade, "blockHigh": "1", "memo": ""}
}

// item is a line of a customer's history.
type item struct {
	Type, Status, Currency, Address, Reference string
	Amount, Fee                                json.Number
	TxHash                                     string `json:"tx_hash"`
}

func (c *customer) lines() []item {
	c.t.Helper()
	var answer struct {
		Data struct{ Items []item }
	}
	r := c.w.call(http.MethodGet, "/wallet/unified-transactions?page=1&page_size=100", c.access, nil)
	if err := json.Unmarshal([]byte(r.raw), &answer); err != nil || r.status != http.StatusOK {
		c.t.Fatalf("%v: %s", err, r.raw)
	}
	return answer.Data.Items
}

// mails counts the mails to the customer whose subject has a text in it.
func (c *customer) mails(text string) (n int) {
	for _, m := range c.w.post.to(c.email) {
		if strings.Contains(m.Subject, text) {
			n++
		}
	}
	return n
}
