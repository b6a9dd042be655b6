package udun

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// tell lets 2.5 USDT arrive, told with options, and returns the calls when so many have come.
func (g *gateway) tell(box *mailbox, options string, calls int) []told {
	g.t.Helper()
	d := Deposit{Address: g.address("195", box.url), Coin: "USDT-TRC20", Amount: "2.5"}
	if err := json.Unmarshal([]byte(options), &d); err != nil { // as a script writes them
		g.t.Fatal(err)
	}
	before := len(box.calls())
	g.deposit(d)
	eventually(g.t, options+" is told", func() bool { return len(box.calls()) >= before+calls && g.inState(callbackWaiting) == 0 })
	return box.calls()[before:]
}

func TestOptionsOfCallbacks(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	good := g.tell(box, `{}`, 1)[0]
	number := func(c told, field string) string { return string(c.body[field].(json.Number)) }

	if c := g.tell(box, `{"sign":"wrong"}`, 1)[0]; c.good() || len(c.fields["sign"]) != 32 {
		t.Errorf("wrong: %v", c.fields)
	}
	if c := g.tell(box, `{"sign":"missing"}`, 1)[0]; len(c.fields) != 3 || c.fields["sign"] != "" {
		t.Errorf("missing: %v", c.fields)
	}
	if c := g.tell(box, `{"sign":"upper"}`, 1)[0]; c.fields["sign"] != strings.ToUpper(sign(c.fields["body"], apiKey, c.fields["nonce"], c.fields["timestamp"])) {
		t.Errorf("upper: %v", c.fields)
	}
	if c := g.tell(box, `{"timestamp_age":"1h"}`, 1)[0]; !c.good() || c.fields["timestamp"] != strconv.FormatInt(start.Add(-time.Hour).UnixMilli(), 10) {
		t.Errorf("old: %v", c.fields)
	}
	if c := g.tell(box, `{"seconds":true}`, 1)[0]; !c.good() || c.fields["timestamp"] != strconv.FormatInt(start.Unix(), 10) {
		t.Errorf("seconds: %v", c.fields)
	}
	if c := g.tell(box, `{"json":true}`, 1)[0]; !c.good() || c.contentType != "application/json" {
		t.Errorf("json: %v", c)
	}
	if c := g.tell(box, `{"txid":true}`, 1)[0]; !c.good() || c.body["txId"] != nil || c.body["txid"] == "" {
		t.Errorf("txid: %v", c.body)
	}
	if c := g.tell(box, `{"types":"numbers"}`, 1)[0]; !c.good() || number(c, "amount") != "2500000" || number(c, "decimals") != "6" ||
		number(c, "mainCoinType") != "195" || len(number(c, "tradeId")) < 17 || number(c, "blockHigh") != "78900000" {
		t.Errorf("numbers: %v", c.body)
	}
	if c := g.tell(box, `{"types":"strings"}`, 1)[0]; c.body["status"] != "3" || c.body["tradeType"] != "1" {
		t.Errorf("strings: %v", c.body)
	}
	c := g.tell(box, `{"body":{"decimals":"18","amount":"-1","coinType":"31","fee":1e309,"memo":null,"extra":{"a":[1]}}}`, 1)[0]
	_, memo := c.body["memo"]
	if !c.good() || c.body["decimals"] != "18" || c.body["amount"] != "-1" || c.body["coinType"] != "31" || number(c, "fee") != "1e309" || memo || c.body["extra"] == nil {
		t.Errorf("body: %v", c.body)
	}
	copies := g.tell(box, `{"duplicates":2}`, 3)
	if len(copies) != 3 || copies[0].raw != copies[1].raw || copies[1].raw != copies[2].raw {
		t.Errorf("duplicates: %v", copies)
	}
	for options, want := range map[string][]string{
		`{"statuses":[3,1]}`:   {"deposit 3", "deposit 1"},
		`{"statuses":[2]}`:     {"deposit 2"},
		`{"statuses":[0,1,3]}`: {"deposit 0", "deposit 1", "deposit 3"},
		`{"statuses":[3,3]}`:   {"deposit 3", "deposit 3"},
	} {
		var got []string
		for _, c := range g.tell(box, options, len(want)) {
			got = append(got, c.status())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", options, diff)
		}
	}
	if good.body["amount"] != "2500000" || g.balance("USDT-TRC20") != strconv.FormatFloat(2.5*float64(len(g.custody().Trades)), 'f', -1, 64) {
		t.Errorf("what is told badly is held all the same: %s for %d deposits", g.balance("USDT-TRC20"), len(g.custody().Trades))
	}
}

func TestDepositThatHasNotArrivedYet(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	for i, status := range []int{0, 1} {
		address := g.address("195", box.url)
		state := g.deposit(Deposit{Address: address, Coin: "TRX", Amount: "1", Telling: Telling{Statuses: []int{status}}})
		if state.Status != status || g.balance("TRX") != strconv.Itoa(i) {
			t.Errorf("%+v, balance %s", state, g.balance("TRX"))
		}
		if state, err := g.sim.Confirm(t.Context(), state.TradeID, 0); err != nil || state.Status != StatusSucceeded {
			t.Errorf("%+v, %v", state, err)
		}
	}
	failed := g.deposit(Deposit{Address: g.address("195", box.url), Coin: "TRX", Amount: "1", Telling: Telling{Statuses: []int{4}}})
	if _, err := g.sim.Confirm(t.Context(), failed.TradeID, 0); !errors.Is(err, ErrDecided) || g.balance("TRX") != "2" {
		t.Errorf("%v, balance %s", err, g.balance("TRX"))
	}
	g.settled(5)
}

func TestOptionsAreChecked(t *testing.T) {
	g := open(t, nil)
	g.withdraw("wd-1", "1", "http://127.0.0.1:1/")
	for _, options := range []Telling{
		{Statuses: []int{5}}, {Statuses: []int{-1}}, {Statuses: make([]int, 21)}, {Duplicates: -1}, {Duplicates: 101}, {DelayMS: -1}, {DelayMS: 600_001},
		{Envelope: Envelope{Sign: "maybe"}}, {Envelope: Envelope{TimestampAge: "60"}}, {Envelope: Envelope{TimestampAge: "-1h"}}, {Types: "floats"},
	} {
		if _, err := g.sim.Deposit(t.Context(), Deposit{Address: "x", Coin: "TRX", Amount: "1", UnknownAddress: true, Telling: options}); !errors.Is(err, ErrBadTelling) {
			t.Errorf("deposit %+v: %v", options, err)
		}
		if _, err := g.sim.Decide(t.Context(), Key{BusinessID: "wd-1"}, Approved, options); !errors.Is(err, ErrBadTelling) {
			t.Errorf("withdrawal %+v: %v", options, err)
		}
	}
	if n := len(g.custody().Trades); n != 1 || g.trade(Key{BusinessID: "wd-1"}).Status != StatusReview {
		t.Errorf("%+v", g.custody().Trades)
	}
}

func TestUnknownAddressIsTold(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	g.deposit(Deposit{Address: "nobody's address", Coin: "TRX", Amount: "1", UnknownAddress: true}) // nobody is there to be told
	g.address("195", "http://127.0.0.1:1/")
	g.address("60", box.url)
	g.deposit(Deposit{Address: "nobody's address", Coin: "USDT-TRC20", Amount: "3", UnknownAddress: true})
	g.settled(1)
	other := receive(t, always(200))
	g.sim.CallbackURL = other.url
	g.deposit(Deposit{Address: "nobody's address", Coin: "TRX", Amount: "1", UnknownAddress: true})
	g.settled(2)
	if n := len(other.calls()); n != 1 {
		t.Errorf("%d calls where they were wanted", n)
	}
	if c := box.calls()[0]; c.body["address"] != "nobody's address" || !c.good() || g.balance("USDT-TRC20") != "3" {
		t.Errorf("%v", c.body)
	}
}

// The callback address of a deposit is the one that the address was made with; of a withdrawal its own.
func TestCallbackAddressIsBound(t *testing.T) {
	first, second, third := receive(t, always(200)), receive(t, always(200)), receive(t, always(200))
	g := open(t, nil)
	old, young := g.address("195", first.url), g.address("195", second.url)
	g.restart()
	g.deposit(Deposit{Address: old, Coin: "TRX", Amount: "1"})
	g.deposit(Deposit{Address: young, Coin: "USDT-TRC20", Amount: "1"})
	g.withdraw("wd-1", "1", third.url)
	g.settled(3)
	for i, box := range []*mailbox{first, second, third} {
		if n := len(box.calls()); n != 1 {
			t.Errorf("receiver %d: %d calls", i+1, n)
		}
	}
}

func TestWithdrawalToldBackwards(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	g.fund("5")
	g.withdraw("wd-1", "1", box.url)
	g.settled(1)
	if _, err := g.sim.Decide(t.Context(), Key{BusinessID: "wd-1"}, Succeeded, Telling{Statuses: []int{3, 1, 0, 4}}); err != nil {
		t.Fatal(err)
	}
	g.settled(5)
	want := []string{"withdrawal 0", "withdrawal 3", "withdrawal 1", "withdrawal 0", "withdrawal 4"}
	if diff := cmp.Diff(want, box.statuses()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if g.trade(Key{BusinessID: "wd-1"}).Status != StatusSucceeded || g.balance("USDT-TRC20") != "4" {
		t.Errorf("%+v", g.custody())
	}
}

func TestReorderAndDropAndDelay(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	address := g.address("195", box.url)
	send := func(amount string, telling Telling) TradeState {
		return g.deposit(Deposit{Address: address, Coin: "TRX", Amount: Decimal(amount), Telling: telling})
	}
	send("1", Telling{Reorder: true})
	g.restart() // held back, not forgotten
	if n := g.inState(callbackHeld); n != 1 {
		t.Fatalf("%d held", n)
	}
	send("2", Telling{})
	g.settled(2)
	dropped := send("3", Telling{Drop: true})
	send("4", Telling{DelayMS: 60_000})
	send("5", Telling{})
	eventually(t, "the third one", func() bool { return len(box.calls()) == 3 })
	g.clock.Advance(time.Minute)
	g.settled(4)
	var got []any
	for _, c := range box.calls() {
		got = append(got, c.body["amount"])
	}
	if diff := cmp.Diff([]any{"2000000", "1000000", "5000000", "4000000"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if counts := g.trade(Key{TradeID: dropped.TradeID}).Callbacks; counts != (CallbackCounts{Dropped: 1}) {
		t.Errorf("%+v", counts)
	}
	if _, err := g.sim.Resend(t.Context(), Key{TradeID: dropped.TradeID}); err != nil {
		t.Fatal(err)
	}
	g.settled(5)
	if c := box.calls()[4]; c.body["amount"] != "3000000" || !c.good() {
		t.Errorf("sent by hand: %v", c.body)
	}
}

// By hand it is signed again and says how the trade stands, however badly it was told before.
func TestResend(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	first := g.tell(box, `{"statuses":[3,1],"sign":"wrong","body":{"amount":"9"}}`, 2)
	id := g.custody().Trades[0].TradeID
	g.clock.Advance(time.Hour)
	if _, err := g.sim.Resend(t.Context(), Key{TradeID: id}); err != nil {
		t.Fatal(err)
	}
	g.settled(2)
	eventually(t, "the third call", func() bool { return len(box.calls()) == 3 })
	last := box.calls()[2]
	if !last.good() || last.status() != "deposit 3" || last.body["amount"] != "2500000" || last.body["tradeId"] != id ||
		last.fields["timestamp"] != strconv.FormatInt(start.Add(time.Hour).UnixMilli(), 10) || last.fields["nonce"] == first[1].fields["nonce"] {
		t.Errorf("%v", last)
	}
	for _, k := range []Key{{}, {TradeID: "1"}, {BusinessID: "1"}, {TradeID: id, BusinessID: "1"}} {
		if _, err := g.sim.Resend(t.Context(), k); !errors.Is(err, ErrUnknownTrade) {
			t.Errorf("%+v: %v", k, err)
		}
	}
}

func TestCallbackIsRepeatedAcrossARestart(t *testing.T) {
	box := receive(t, func(n int) int {
		if n <= 2 {
			return 500
		}
		return 204
	})
	g := open(t, nil)
	g.deposit(Deposit{Address: g.address("195", box.url), Coin: "TRX", Amount: "1"})
	attempted := func(n int) {
		t.Helper()
		eventually(t, fmt.Sprintf("try %d recorded", n), func() bool { return g.custody().Trades[0].Callbacks.Attempts == n })
	}
	attempted(1)
	g.clock.Advance(retryWaits[0])
	attempted(2)
	g.restart()
	if due, err := g.sim.dueCallbacks(t.Context(), 1); len(due) != 0 || err != nil {
		t.Errorf("due before its time: %+v, %v", due, err)
	}
	g.clock.Advance(retryWaits[1])
	g.settled(1)
	for _, c := range box.calls() {
		if !c.good() || c.fields["body"] != box.calls()[0].fields["body"] {
			t.Errorf("%v", c)
		}
	}
	if n := len(box.calls()); n != 3 {
		t.Errorf("%d calls", n)
	}
}

// What was on its way when the process died goes out again.
func TestCallbackOnItsWayIsNotLost(t *testing.T) {
	release := make(chan struct{})
	var mu sync.Mutex
	calls := 0
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		calls++
		first := calls == 1
		mu.Unlock()
		if first {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
	}))
	defer server.Close()
	defer close(release)
	g := open(t, nil)
	g.deposit(Deposit{Address: g.address("195", server.URL), Coin: "TRX", Amount: "1"})
	eventually(t, "the first call", func() bool { mu.Lock(); defer mu.Unlock(); return calls == 1 })
	g.restart()
	g.settled(1)
	mu.Lock()
	defer mu.Unlock()
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
}

func TestCallbackIsGivenUp(t *testing.T) {
	for tries, want := range map[int]int{0: 1, 1: 1, 3: 3} {
		box := receive(t, always(503))
		g := open(t, func(o *Options) { o.Tries = tries })
		g.deposit(Deposit{Address: g.address("195", box.url), Coin: "TRX", Amount: "1"})
		eventually(t, "given up", func() bool { g.clock.Advance(time.Hour); return g.inState(callbackFailed) == 1 })
		if n := len(box.calls()); n != want {
			t.Errorf("%d tries of %d", n, want)
		}
	}
}

func TestTimeScale(t *testing.T) {
	box := receive(t, always(503))
	g := open(t, func(o *Options) { o.Tries, o.TimeScale = 2, 1000 })
	g.deposit(Deposit{Address: g.address("195", box.url), Coin: "TRX", Amount: "1"})
	eventually(t, "the first try", func() bool { return g.custody().Trades[0].Callbacks.Attempts == 1 })
	g.clock.Advance(time.Millisecond)
	eventually(t, "given up", func() bool { return g.inState(callbackFailed) == 1 })
}

func TestReceiverThatIsAway(t *testing.T) {
	g := open(t, nil)
	g.deposit(Deposit{Address: g.address("195", "http://127.0.0.1:1/secret-path"), Coin: "TRX", Amount: "1"})
	var text string
	eventually(t, "a failed try", func() bool {
		return g.sim.DB.QueryRowContext(t.Context(), `SELECT last_error FROM udun_callbacks WHERE attempts > 0`).Scan(&text) == nil
	})
	if want := "dial tcp 127.0.0.1:1: connect: connection refused"; text != want { // without the path, which is a secret
		t.Errorf("error %q, want %q", text, want)
	}
}

func TestCallbackFaults(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	next := func(kind fault.Kind, delay, calls int) []told {
		g.inject(fault.Rule{Operation: "callback", Kind: kind, Count: 1, DelayMS: delay})
		defer g.faults.Clear()
		return g.tell(box, `{}`, calls)
	}
	if calls := next(fault.DropWebhook, 0, 0); len(calls) != 0 || g.inState(callbackDropped) != 1 {
		t.Errorf("dropped: %v", calls)
	}
	if calls := next(fault.DuplicateWebhook, 0, 2); len(calls) != 2 || calls[0].raw != calls[1].raw {
		t.Errorf("duplicated: %v", calls)
	}
	if calls := next(fault.ForgeSignature, 0, 1); calls[0].good() {
		t.Errorf("forged: %v", calls)
	}
	if calls := next(fault.StaleTimestamp, 0, 1); !calls[0].good() || calls[0].fields["timestamp"] != strconv.FormatInt(start.Add(-time.Hour).UnixMilli(), 10) {
		t.Errorf("stale: %v", calls)
	}
	g.inject(fault.Rule{Operation: "callback", Kind: fault.Reorder}) // for good: every second one overtakes
	before := len(box.calls())
	address := g.address("195", box.url)
	for _, amount := range []Decimal{"1", "2"} {
		g.deposit(Deposit{Address: address, Coin: "TRX", Amount: amount})
	}
	eventually(t, "both", func() bool { return len(box.calls()) == before+2 })
	if calls := box.calls()[before:]; calls[0].body["amount"] != "2000000" || calls[1].body["amount"] != "1000000" {
		t.Errorf("reordered: %v", calls)
	}
	eventually(t, "both are recorded", func() bool { return g.inState(callbackWaiting) == 0 })
	g.faults.Clear()
	g.inject(fault.Rule{Operation: "callback", Kind: fault.Delay, Count: 1, DelayMS: 60_000})
	g.deposit(Deposit{Address: address, Coin: "TRX", Amount: "1"})
	if due, err := g.sim.dueCallbacks(t.Context(), 1); len(due) != 0 || err != nil {
		t.Errorf("delayed: %v, %v", due, err)
	}
	g.clock.Advance(time.Minute)
	eventually(t, "the delayed one", func() bool { return len(box.calls()) == before+3 })
}

// One receiver that does not answer must not keep the others from being told.
func TestSlowReceiverHoldsUpOnlyItsOwnTrade(t *testing.T) {
	release := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(slow.Close)
	box := receive(t, always(200))
	g := open(t, nil)
	t.Cleanup(func() { close(release) })
	g.deposit(Deposit{Address: g.address("195", slow.URL), Coin: "TRX", Amount: "1", Telling: Telling{Statuses: []int{0, 3}}})
	g.deposit(Deposit{Address: g.address("195", box.url), Coin: "TRX", Amount: "1", Telling: Telling{Statuses: []int{0, 1, 3}}})
	eventually(t, "the other trade is told", func() bool { return len(box.calls()) == 3 })
	if diff := cmp.Diff([]string{"deposit 0", "deposit 1", "deposit 3"}, box.statuses()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}
