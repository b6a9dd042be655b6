package udun

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	merchant = "300011"
	apiKey   = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"

	usdtContract = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
	somebody     = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf" // an address of somebody else's
)

// gateway is a simulator that runs behind a real listener, on a database file that can be opened again.
type gateway struct {
	t       *testing.T
	file    string
	clock   *clock.Fixed
	faults  *fault.Plan
	options func(*Options)

	sim  *Simulator
	url  string
	stop func()
}

// open starts a gateway; options may be nil.
func open(t *testing.T, options func(*Options)) *gateway {
	t.Helper()
	g := &gateway{t: t, file: filepath.Join(t.TempDir(), "providers.db"), clock: clock.NewFixed(start), faults: &fault.Plan{}, options: options}
	g.start()
	t.Cleanup(func() { g.stop() })
	return g
}

func (g *gateway) start() {
	g.t.Helper()
	db, err := sql.Open("sqlite", "file:"+g.file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=foreign_keys(1)&_txlock=immediate")
	if err != nil {
		g.t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	o := Options{DB: db, Clock: g.clock, Faults: g.faults, MerchantID: merchant, APIKey: apiKey, Tries: 5}
	if g.options != nil {
		g.options(&o)
	}
	if g.sim, err = New(g.t.Context(), o); err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.sim.Run(ctx) }()
	server := httptest.NewServer(http.StripPrefix("/udun", g.sim.Handler()))
	g.url = server.URL + "/udun"
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			g.t.Errorf("Run: %v", err)
		}
		server.Close()
		if err := db.Close(); err != nil {
			g.t.Errorf("close: %v", err)
		}
	})
}

// restart ends the process, as far as the gateway's state is concerned, and starts it again on its file.
func (g *gateway) restart() {
	g.t.Helper()
	g.stop()
	g.start()
}

type reply struct {
	Code    json.RawMessage `json:"code"`
	Message string          `json:"message"`
	Data    json.RawMessage `json:"data"`
}

// raw posts a body as it is.
func (g *gateway) raw(path, contentType, body string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	return resp, content, err
}

// signed wraps a body as merchants do; timestamp and nonce are JSON values.
func signed(body, timestamp, nonce string) string {
	text := func(value string) string {
		var s string
		if json.Unmarshal([]byte(value), &s) == nil {
			return s
		}
		return value
	}
	quoted, _ := json.Marshal(body)
	return fmt.Sprintf(`{"timestamp":%s,"nonce":%s,"sign":%q,"body":%s}`, timestamp, nonce, sign(body, apiKey, text(nonce), text(timestamp)), quoted)
}

// send makes a signed call and returns its answer, which must come with HTTP status 200.
func (g *gateway) send(path, body string) reply {
	g.t.Helper()
	return g.sendRaw(path, signed(body, strconv.FormatInt(start.Unix(), 10), "583421"))
}

func (g *gateway) sendRaw(path, envelope string) reply {
	g.t.Helper()
	resp, content, err := g.raw(path, "application/json", envelope)
	if err != nil {
		g.t.Fatal(err)
	}
	var r reply
	if err := json.Unmarshal(content, &r); err != nil || resp.StatusCode != http.StatusOK {
		g.t.Fatalf("%s: HTTP %d %s (%v)", path, resp.StatusCode, content, err)
	}
	return r
}

// refused checks the code of an answer that carries no data.
func (g *gateway) refused(r reply, code int) {
	g.t.Helper()
	if string(r.Code) != strconv.Itoa(code) || string(r.Data) != "null" || r.Message == "" {
		g.t.Errorf("code %s %q, data %s; want %d", r.Code, r.Message, r.Data, code)
	}
}

func (g *gateway) accepted(r reply) {
	g.t.Helper()
	if string(r.Code) != "200" || r.Message != "SUCCESS" {
		g.t.Fatalf("code %s %q", r.Code, r.Message)
	}
}

// address makes an address on a chain, which reports to callURL.
func (g *gateway) address(mainCoinType, callURL string) string {
	g.t.Helper()
	r := g.send("/mch/address/create", fmt.Sprintf(`[{"merchantId":"300011","mainCoinType":%s,"callUrl":%q,"walletId":"","alias":"u-42"}]`, mainCoinType, callURL))
	g.accepted(r)
	var data struct {
		CoinType int
		Address  string
	}
	if err := json.Unmarshal(r.Data, &data); err != nil || strconv.Itoa(data.CoinType) != mainCoinType {
		g.t.Fatalf("%s (%v)", r.Data, err)
	}
	return data.Address
}

// withdrawBody is a withdrawal of USDT-TRC20 to somebody.
func withdrawBody(id, amount, callURL string) string {
	return fmt.Sprintf(`[{"address":%q,"amount":%q,"merchantId":"300011","mainCoinType":"195","coinType":%q,"callUrl":%q,"businessId":%q,"memo":""}]`,
		somebody, amount, usdtContract, callURL, id)
}

func (g *gateway) withdraw(id, amount, callURL string) {
	g.t.Helper()
	g.accepted(g.send("/mch/withdraw", withdrawBody(id, amount, callURL)))
}

func (g *gateway) deposit(d Deposit) TradeState {
	g.t.Helper()
	state, err := g.sim.Deposit(g.t.Context(), d)
	if err != nil {
		g.t.Fatal(err)
	}
	return state
}

// fund lets USDT-TRC20 arrive without telling anybody.
func (g *gateway) fund(amount string) {
	g.t.Helper()
	g.deposit(Deposit{Address: somebody, Coin: "USDT-TRC20", Amount: Decimal(amount), UnknownAddress: true})
}

func (g *gateway) decide(id, outcome string) TradeState {
	g.t.Helper()
	state, err := g.sim.Decide(g.t.Context(), Key{BusinessID: id}, outcome, Telling{})
	if err != nil {
		g.t.Fatal(err)
	}
	return state
}

func (g *gateway) custody() Custody {
	g.t.Helper()
	c, err := g.sim.Custody(g.t.Context())
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// balance is the custody balance of a coin in its own unit.
func (g *gateway) balance(coin string) string {
	g.t.Helper()
	for _, b := range g.custody().Balances {
		if b.Coin == coin {
			return b.Balance
		}
	}
	g.t.Fatalf("no coin %s", coin)
	return ""
}

// trade is the gateway's view of one trade.
func (g *gateway) trade(k Key) TradeState {
	g.t.Helper()
	for _, trade := range g.custody().Trades {
		if k.TradeID == trade.TradeID || k.BusinessID != "" && k.BusinessID == trade.BusinessID {
			return trade
		}
	}
	g.t.Fatalf("no trade %+v", k)
	return TradeState{}
}

func (g *gateway) inject(rule fault.Rule) {
	g.t.Helper()
	rule.Provider = "udun"
	if err := g.faults.Add(rule); err != nil {
		g.t.Fatal(err)
	}
}

// eventually polls until condition holds, for at most ten seconds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-limit:
			t.Fatalf("not within ten seconds: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// told is a callback as it came.
type told struct {
	contentType string
	raw         string
	fields      map[string]string // of the form or the JSON object
	body        map[string]any    // numbers are json.Number
}

// status is what the callback says, with the trade's type: "deposit 3".
func (c told) status() string {
	return map[string]string{"1": "deposit", "2": "withdrawal"}[fmt.Sprint(c.body["tradeType"])] + " " + fmt.Sprint(c.body["status"])
}

// good tells whether the signature is the merchant's.
func (c told) good() bool {
	return c.fields["sign"] == sign(c.fields["body"], apiKey, c.fields["nonce"], c.fields["timestamp"])
}

// mailbox receives callbacks; status says what it answers to the nth call.
type mailbox struct {
	url string
	mu  sync.Mutex
	all []told
}

func receive(t *testing.T, status func(n int) int) *mailbox {
	box := &mailbox{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("callback: %v", err)
		}
		c := told{contentType: r.Header.Get("Content-Type"), raw: string(raw), fields: map[string]string{}}
		if c.contentType == "application/json" {
			err = json.Unmarshal(raw, &c.fields)
		} else {
			var form url.Values
			form, err = url.ParseQuery(c.raw)
			for name := range form {
				c.fields[name] = form.Get(name)
			}
		}
		decoder := json.NewDecoder(bytes.NewReader([]byte(c.fields["body"])))
		decoder.UseNumber()
		if err2 := decoder.Decode(&c.body); err != nil || err2 != nil {
			t.Errorf("callback %s: %v, %v", raw, err, err2)
		}
		box.mu.Lock()
		box.all = append(box.all, c)
		n := len(box.all)
		box.mu.Unlock()
		w.WriteHeader(status(n))
		_, _ = io.WriteString(w, "error") // the text does not matter
	}))
	t.Cleanup(server.Close)
	box.url = server.URL + "/udun/callback"
	return box
}

func always(status int) func(int) int { return func(int) int { return status } }

func (b *mailbox) calls() []told {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]told(nil), b.all...)
}

// statuses lists what was told, in the order it came.
func (b *mailbox) statuses() (list []string) {
	for _, c := range b.calls() {
		list = append(list, c.status())
	}
	return list
}

// inState counts the callbacks in a state.
func (g *gateway) inState(state string) (n int) {
	g.t.Helper()
	if err := g.sim.DB.QueryRowContext(g.t.Context(), `SELECT count(*) FROM udun_callbacks WHERE state = $1`, state).Scan(&n); err != nil {
		g.t.Fatal(err)
	}
	return n
}

// settled waits until so many callbacks have been delivered and none waits.
func (g *gateway) settled(delivered int) {
	g.t.Helper()
	eventually(g.t, fmt.Sprintf("%d callbacks delivered", delivered), func() bool {
		return g.inState(callbackDelivered) == delivered && g.inState(callbackWaiting) == 0
	})
}
