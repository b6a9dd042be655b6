package udun

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDepositIsToldAndBooked(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	address := g.address("195", box.url)
	state := g.deposit(Deposit{Address: address, Coin: "USDT-TRC20", Amount: "25.5"})
	g.settled(1)
	got := box.calls()[0]
	want := map[string]any{
		"address": address, "amount": "25500000", "blockHigh": "78900000", "coinType": usdtContract, "decimals": "6", "fee": "0", "mainCoinType": "195",
		"memo": "", "status": json.Number("3"), "tradeId": state.TradeID, "tradeType": json.Number("1"), "txId": state.TxID,
	}
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	if !got.good() || got.contentType != "application/x-www-form-urlencoded" || got.fields["timestamp"] != strconv.FormatInt(start.UnixMilli(), 10) ||
		!regexp.MustCompile(`^[A-Z]{6}$`).MatchString(got.fields["nonce"]) || len(got.fields) != 4 {
		t.Errorf("envelope %v", got.fields)
	}
	if id, err := strconv.ParseInt(state.TradeID, 10, 64); err != nil || id <= 1<<53 {
		t.Errorf("trade id %s fits into a float", state.TradeID)
	}
	if g.balance("USDT-TRC20") != "25.5" || g.balance("TRX") != "0" {
		t.Errorf("balances %+v", g.custody().Balances)
	}
}

func TestDepositsAreExact(t *testing.T) {
	g := open(t, nil)
	address := g.address("60", "http://127.0.0.1:1/")
	for _, amount := range []string{"0.000000000000000001", "123456789012345678901234567890.1", "1.10"} {
		g.deposit(Deposit{Address: address, Coin: "60/60", Amount: Decimal(amount)})
	}
	if got, want := g.balance("ETH"), "123456789012345678901234567891.200000000000000001"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for amount, want := range map[string]error{
		"0": ErrBadDeposit, "-1": ErrBadDeposit, "": ErrBadDeposit, "1e3": ErrBadDeposit, "NaN": ErrBadDeposit, "0.0000000000000000001": ErrBadDeposit, " 1": ErrBadDeposit,
	} {
		if _, err := g.sim.Deposit(t.Context(), Deposit{Address: address, Coin: "ETH", Amount: Decimal(amount)}); !errors.Is(err, want) {
			t.Errorf("%q: %v", amount, err)
		}
	}
	for name, d := range map[string]Deposit{
		"coin":          {Address: address, Coin: "DOGE", Amount: "1"},
		"no address":    {Coin: "ETH", Amount: "1"},
		"confirmations": {Address: address, Coin: "ETH", Amount: "1", Confirmations: -1},
		"both":          {Address: address, Coin: "ETH", Amount: "1", Confirmations: 1, Telling: Telling{Statuses: []int{3}}},
	} {
		if _, err := g.sim.Deposit(t.Context(), d); !errors.Is(err, ErrBadDeposit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := g.sim.Deposit(t.Context(), Deposit{Address: address, Coin: "TRX", Amount: "1"}); !errors.Is(err, ErrUnknownAddress) {
		t.Errorf("an address of another chain: %v", err)
	}
	if n := len(g.custody().Trades); n != 3 {
		t.Errorf("%d trades", n)
	}
}

func TestConfirmationsComeWithTime(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	state := g.deposit(Deposit{Address: g.address("0", box.url), Coin: "BTC", Amount: "1", Confirmations: 3})
	g.settled(1)
	if state.Status != StatusReview || g.balance("BTC") != "0" || box.calls()[0].body["blockHigh"] != "-1" || box.calls()[0].body["txId"] != state.TxID {
		t.Errorf("%+v, %v", state, box.calls()[0].body)
	}
	g.clock.Advance(10 * time.Minute)
	g.settled(2)
	g.restart()
	g.clock.Advance(30 * time.Minute) // more than are missing
	g.settled(3)
	if diff := cmp.Diff([]string{"deposit 0", "deposit 1", "deposit 3"}, box.statuses()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if end := g.trade(Key{TradeID: state.TradeID}); end.Confirmations != 3 || end.Status != StatusSucceeded || g.balance("BTC") != "1" {
		t.Errorf("%+v", end)
	}
}

func TestConfirmationsOnCommand(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	id := g.deposit(Deposit{Address: g.address("195", box.url), Coin: "TRX", Amount: "7", Confirmations: 19}).TradeID
	for _, step := range []struct{ n, seen, status int }{{1, 1, 1}, {5, 6, 1}, {0, 19, 3}} {
		state, err := g.sim.Confirm(t.Context(), id, step.n)
		if err != nil || state.Confirmations != step.seen || state.Status != step.status {
			t.Errorf("%+v: %+v, %v", step, state, err)
		}
	}
	g.settled(3)
	if _, err := g.sim.Confirm(t.Context(), id, 1); !errors.Is(err, ErrDecided) {
		t.Errorf("again: %v", err)
	}
	if _, err := g.sim.Confirm(t.Context(), "1", 1); !errors.Is(err, ErrUnknownTrade) {
		t.Errorf("unknown: %v", err)
	}
	if diff := cmp.Diff([]string{"deposit 0", "deposit 1", "deposit 3"}, box.statuses()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if g.balance("TRX") != "7" {
		t.Errorf("balance %s", g.balance("TRX"))
	}
}

func TestWithdrawalSteps(t *testing.T) {
	for _, c := range []struct {
		outcomes []string
		want     []string
		balance  string
	}{
		{[]string{Approved, Succeeded}, []string{"withdrawal 0", "withdrawal 1", "withdrawal 3"}, "87.5"},
		{[]string{Approved, Failed}, []string{"withdrawal 0", "withdrawal 1", "withdrawal 4"}, "100"},
		{[]string{Refused}, []string{"withdrawal 0", "withdrawal 2"}, "100"},
		{[]string{Succeeded, Succeeded}, []string{"withdrawal 0", "withdrawal 1", "withdrawal 3"}, "87.5"},
		{[]string{Failed}, []string{"withdrawal 0", "withdrawal 1", "withdrawal 4"}, "100"},
	} {
		t.Run(c.outcomes[0]+" "+c.outcomes[len(c.outcomes)-1], func(t *testing.T) {
			box := receive(t, always(200))
			g := open(t, nil)
			g.fund("100")
			g.withdraw("wd-1", "12.5", box.url)
			for _, outcome := range c.outcomes {
				g.decide("wd-1", outcome)
			}
			g.settled(len(c.want))
			if diff := cmp.Diff(c.want, box.statuses()); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
			if got := g.balance("USDT-TRC20"); got != c.balance {
				t.Errorf("balance %s, want %s", got, c.balance)
			}
			end := g.trade(Key{BusinessID: "wd-1"})
			for _, call := range box.calls() {
				txID, high := "", "-1" // until it is in a block
				if call.status() == "withdrawal 3" {
					txID, high = end.TxID, strconv.FormatInt(end.BlockHigh, 10)
				}
				if call.body["txId"] != txID || call.body["blockHigh"] != high || call.body["businessId"] != "wd-1" || call.body["amount"] != "12500000" || !call.good() {
					t.Errorf("%v", call.body)
				}
			}
			if (end.Status == StatusSucceeded) != (end.TxID != "") {
				t.Errorf("%+v", end)
			}
		})
	}
}

func TestWithdrawalsAreDecidedOnce(t *testing.T) {
	g := open(t, nil)
	g.fund("100")
	for id, outcome := range map[string]string{"ok": Succeeded, "no": Refused, "bad": Failed, "on": Approved} {
		g.withdraw(id, "1", "http://127.0.0.1:1/")
		g.decide(id, outcome)
	}
	for _, c := range []struct{ id, outcome string }{{"ok", Failed}, {"ok", Refused}, {"ok", Approved}, {"no", Approved}, {"no", Succeeded}, {"bad", Succeeded}, {"on", Refused}} {
		if _, err := g.sim.Decide(t.Context(), Key{BusinessID: c.id}, c.outcome, Telling{}); !errors.Is(err, ErrDecided) {
			t.Errorf("%s after its end: %s: %v", c.id, c.outcome, err)
		}
	}
	if _, err := g.sim.Decide(t.Context(), Key{BusinessID: "none"}, Approved, Telling{}); !errors.Is(err, ErrUnknownTrade) {
		t.Errorf("unknown: %v", err)
	}
	if _, err := g.sim.Decide(t.Context(), Key{}, Approved, Telling{}); !errors.Is(err, ErrUnknownTrade) {
		t.Errorf("no key: %v", err)
	}
	if _, err := g.sim.Decide(t.Context(), Key{BusinessID: "on"}, "paid", Telling{}); !errors.Is(err, ErrBadOutcome) {
		t.Errorf("outcome: %v", err)
	}
	if got := g.balance("USDT-TRC20"); got != "99" {
		t.Errorf("balance %s", got)
	}
}

func TestWithdrawalBeyondTheBalanceFails(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	g.fund("10")
	g.withdraw("wd-1", "10.000001", box.url)
	if state := g.decide("wd-1", Succeeded); state.Status != StatusFailed || state.TxID != "" {
		t.Errorf("%+v", state)
	}
	g.settled(3)
	if diff := cmp.Diff([]string{"withdrawal 0", "withdrawal 1", "withdrawal 4"}, box.statuses()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	g.withdraw("wd-2", "10", box.url)
	if state := g.decide("wd-2", Succeeded); state.Status != StatusSucceeded || g.balance("USDT-TRC20") != "0" {
		t.Errorf("%+v", state)
	}
}

func TestFeesAreTakenOnlyIfSo(t *testing.T) {
	for take, want := range map[bool]struct {
		status int
		trx    string
	}{false: {StatusSucceeded, "1"}, true: {StatusFailed, "1"}} {
		g := open(t, func(o *Options) { o.TakeFees = take })
		g.fund("100")
		g.deposit(Deposit{Address: somebody, Coin: "TRX", Amount: "1", UnknownAddress: true})
		g.withdraw("wd-1", "5", "http://127.0.0.1:1/")
		state := g.decide("wd-1", Succeeded)
		if state.Status != want.status || g.balance("TRX") != want.trx {
			t.Errorf("taking fees %t: %+v", take, state)
		}
		if !take {
			if state.Fee != "13844850" {
				t.Errorf("fee %s", state.Fee)
			}
			continue
		}
		g.deposit(Deposit{Address: somebody, Coin: "TRX", Amount: "14", UnknownAddress: true})
		g.withdraw("wd-2", "5", "http://127.0.0.1:1/")
		if state := g.decide("wd-2", Succeeded); state.Status != StatusSucceeded || g.balance("TRX") != "1.15515" || g.balance("USDT-TRC20") != "95" {
			t.Errorf("with gas: %+v, TRX %s", state, g.balance("TRX"))
		}
	}
}

func TestWithdrawalsPassByThemselves(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, func(o *Options) { o.AutoApprove = true })
	g.fund("10")
	g.withdraw("wd-1", "4", box.url)
	g.settled(1)
	g.clock.Advance(stepAfter)
	g.settled(2)
	g.restart()
	g.clock.Advance(stepAfter)
	g.settled(3)
	if diff := cmp.Diff([]string{"withdrawal 0", "withdrawal 1", "withdrawal 3"}, box.statuses()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	// One that a person has decided stays so.
	g.withdraw("wd-2", "4", box.url)
	g.decide("wd-2", Refused)
	g.clock.Advance(time.Hour)
	g.settled(5)
	if g.balance("USDT-TRC20") != "6" || g.trade(Key{BusinessID: "wd-2"}).Status != StatusRefused {
		t.Errorf("%+v", g.custody())
	}
}

func TestProxyPay(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, func(o *Options) { o.ProxyPayLimits = map[string]string{"USDT-TRC20": "50"} })
	g.fund("1000")
	g.accepted(g.send("/mch/withdraw/proxypay", withdrawBody("small", "50", box.url)))
	g.settled(1)
	g.clock.Advance(stepAfter)
	g.settled(2)
	g.accepted(g.send("/mch/withdraw/proxypay", withdrawBody("large", "50.000001", box.url)))
	g.settled(3)
	g.clock.Advance(time.Hour)
	if diff := cmp.Diff([]string{"withdrawal 1", "withdrawal 3", "withdrawal 0"}, box.statuses()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	if g.trade(Key{BusinessID: "large"}).Status != StatusReview || g.balance("USDT-TRC20") != "950" {
		t.Errorf("%+v", g.custody())
	}
	g.refused(g.send("/mch/withdraw", withdrawBody("small", "50", box.url)), codeDuplicate) // one space of ids
}

// What is paid to an address of the merchant's arrives there.
func TestWithdrawalToOurselvesArrives(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	g.fund("100")
	address := g.address("195", box.url)
	g.accepted(g.send("/mch/withdraw", `[{"address":"`+address+`","amount":30,"merchantId":"300011","mainCoinType":195,"coinType":"`+usdtContract+
		`","callUrl":"`+box.url+`","businessId":"wd-1"}]`))
	state := g.decide("wd-1", Succeeded)
	g.settled(4)
	var arrived *told
	for _, c := range box.calls() {
		if c.status() == "deposit 3" {
			arrived = &c
		}
	}
	if arrived == nil || arrived.body["txId"] != state.TxID || arrived.body["amount"] != "30000000" || arrived.body["address"] != address {
		t.Errorf("%v", box.statuses())
	}
	if g.balance("USDT-TRC20") != "100" {
		t.Errorf("balance %s", g.balance("USDT-TRC20"))
	}
}
