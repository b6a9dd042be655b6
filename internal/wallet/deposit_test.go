package wallet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	simudun "github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

func TestDepositIsCredited(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		trade := w.deposit(c, "USDT-TRC20", "25.5", simudun.Deposit{})
		w.becomes(trade.TradeID, wallet.Credited)
		c.has("USDT-TRC20", "25.5")
		w.book("USDT-TRC20", "25.5", "0", "0")
		want := item{Type: "deposit", Status: "completed", Currency: "USDT-TRC20", Amount: "25.5", Fee: "0", Address: c.address("USDT-TRC20"), Reference: trade.TradeID, TxHash: trade.TxID}
		got := c.lines()
		if len(got) == 1 {
			want.Fee = got[0].Fee
		}
		if !slices.Equal(got, []item{want}) {
			t.Errorf("history: %+v, want %+v", got, want)
		}
		w.eventually("mail", func() bool { return c.mails("25.5 USDT-TRC20 have arrived") == 1 })

		// A coin of 18 decimals: what is finer than the ledger is kept beside it.
		trade = w.deposit(c, "ETH", "1.234567891234567891", simudun.Deposit{Confirmations: 2})
		d := w.becomes(trade.TradeID, wallet.Seen)
		if h := c.lines(); h[0].Status != "pending" || h[0].Amount != "1.23456789" {
			t.Errorf("seen: %+v", h[0])
		}
		c.has("ETH", "0")
		if _, err := w.udun.Confirm(context.Background(), trade.TradeID, 0); err != nil {
			t.Fatal(err)
		}
		d = w.becomes(trade.TradeID, wallet.Credited)
		if d.Amount != "1234567891234567891" || d.Remainder != "1234567891" || d.Units != 123456789 {
			t.Errorf("kept as %+v", d)
		}
		c.has("ETH", "1.23456789")
		if h := c.lines(); len(h) != 2 || h[0].Status != "completed" || h[0].Amount != "1.23456789" {
			t.Errorf("credited: %+v", h)
		}
		// The gateway's console sends it once more, and the wallet is told by hand ten times at once.
		if _, err := w.udun.Resend(context.Background(), simudun.Key{TradeID: trade.TradeID}); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				body := told(trade.TradeID, c.address("ETH"), "ETH", "1234567891234567891", 3)
				body["memo"] = fmt.Sprint(i) // not the same bytes, and the same event
				if status := w.say(body); status != http.StatusOK {
					t.Errorf("answered %d", status)
				}
			})
		}
		all.Wait()
		w.idle()
		c.has("ETH", "1.23456789")
		w.book("ETH", "1.23456789", "0", "0")
		if got := w.open(fmt.Sprintf("deposit %d", d.ID)); len(got) != 0 {
			t.Errorf("cases %v", got)
		}
		if n := len(c.lines()); n != 2 {
			t.Errorf("%d lines of history", n)
		}
		if list, err := w.Reconcile(t.Context()); err != nil || slices.ContainsFunc(list, func(r wallet.Reconciliation) bool { return !r.Difference.IsZero() }) {
			t.Errorf("reconciliation: %+v, %v", list, err)
		}
	})
}

// Every way in which the gateway is known to say odd things, each to a customer of its own.
func TestDepositsToldInOddWays(t *testing.T) {
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	body := func(pairs ...string) simudun.Telling {
		fields := map[string]json.RawMessage{}
		for i := 0; i+1 < len(pairs); i += 2 {
			fields[pairs[i]] = raw(pairs[i+1])
		}
		return simudun.Telling{Body: fields}
	}
	ways := []struct {
		name    string
		how     simudun.Deposit
		state   wallet.DepositState // empty: there is none
		balance string
		kinds   []string
		entry   string // status in the history; empty: none
	}{
		{"duplicates", simudun.Deposit{Telling: simudun.Telling{Duplicates: 5}}, wallet.Credited, "7", nil, "completed"},
		{"as JSON", simudun.Deposit{Telling: simudun.Telling{Envelope: simudun.Envelope{JSON: true}}}, wallet.Credited, "7", nil, "completed"},
		{"capital signature, seconds", simudun.Deposit{Telling: simudun.Telling{Envelope: simudun.Envelope{Sign: "upper", Seconds: true}}}, wallet.Credited, "7", nil, "completed"},
		{"txid", simudun.Deposit{Telling: simudun.Telling{TxID: true}}, wallet.Credited, "7", nil, "completed"},
		{"numbers", simudun.Deposit{Telling: simudun.Telling{Types: "numbers"}}, wallet.Credited, "7", nil, "completed"},
		{"texts", simudun.Deposit{Telling: simudun.Telling{Types: "strings"}}, wallet.Credited, "7", nil, "completed"},
		{"old timestamp", simudun.Deposit{Telling: simudun.Telling{Envelope: simudun.Envelope{TimestampAge: "1h"}}}, wallet.Credited, "7", nil, "completed"},
		{"backwards", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{3, 1, 0}}}, wallet.Credited, "7", nil, "completed"},
		{"all steps", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{0, 1, 3}}}, wallet.Credited, "7", nil, "completed"},
		{"only confirming", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{1}}}, wallet.Seen, "0", nil, "pending"},
		{"the conflict", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{2}}}, wallet.Seen, "0", []string{"wallet_deposit_unconfirmed"}, "pending"},
		{"2, then 3", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{2, 3}}}, wallet.Credited, "7", []string{"wallet_deposit_contradiction"}, "completed"},
		{"3, then 2", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{3, 2}}}, wallet.Credited, "7", []string{"wallet_deposit_contradiction"}, "completed"},
		{"3, then 4", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{3, 4}}}, wallet.Credited, "7", []string{"wallet_deposit_contradiction"}, "completed"},
		{"failed", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{4}}}, wallet.Seen, "0", []string{"wallet_deposit_unconfirmed"}, "failed"},
		{"wrong signature", simudun.Deposit{Telling: simudun.Telling{Envelope: simudun.Envelope{Sign: "wrong"}}}, "", "0", nil, ""},
		{"no signature", simudun.Deposit{Telling: simudun.Telling{Envelope: simudun.Envelope{Sign: "missing"}}}, "", "0", nil, ""},
		{"unknown coin", simudun.Deposit{Telling: body("coinType", `"TXLAQ63Xg1NAzckPwKHvzw7CSEmLMEqcdj"`)}, wallet.Unbookable, "0", []string{"wallet_deposit_unclear"}, ""},
		{"unknown chain", simudun.Deposit{Telling: body("mainCoinType", `"61"`)}, wallet.Unbookable, "0", []string{"wallet_deposit_unclear"}, ""},
		{"wrong decimals", simudun.Deposit{Telling: body("decimals", `"18"`)}, wallet.Unbookable, "0", []string{"wallet_deposit_unclear"}, ""},
		{"zero", simudun.Deposit{Telling: body("amount", `"0"`)}, wallet.Unbookable, "0", []string{"wallet_deposit_minimum"}, ""},
		{"enormous", simudun.Deposit{Telling: body("amount", `"`+strings.Repeat("9", 60)+`"`)}, wallet.Unbookable, "0", []string{"wallet_deposit_unclear"}, ""},
		{"one more than can be counted", simudun.Deposit{Telling: body("amount", `"9223372036854775808"`)}, wallet.Unbookable, "0", []string{"wallet_deposit_unclear"}, ""},
		{"below the minimum", simudun.Deposit{Telling: body("amount", `"999999"`)}, wallet.InSuspense, "0", []string{"wallet_deposit_minimum"}, ""},
		{"somebody else's address", simudun.Deposit{Telling: body("address", `"TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL"`)}, wallet.InSuspense, "0", []string{"wallet_deposit_suspense"}, ""},
	}
	eachGate(t, func(t *testing.T, w *gateWorld) {
		t.Run("all", func(t *testing.T) {
			for _, tt := range ways {
				t.Run(tt.name, func(t *testing.T) {
					t.Parallel()
					w := w.with(t)
					c := w.customer()
					trade := w.deposit(c, "USDT-TRC20", "7", tt.how)
					w.delivered(trade.TradeID)
					c.has("USDT-TRC20", tt.balance)
					if h := c.lines(); (tt.entry == "") != (len(h) == 0) || tt.entry != "" && (len(h) != 1 || h[0].Status != tt.entry || h[0].Amount != "7") {
						t.Errorf("history: %+v", h)
					}
					if tt.state == "" {
						if n := w.count(`SELECT COUNT(*) FROM deposits WHERE trade_id = $1`, trade.TradeID); n != 0 {
							t.Error("a forged call was believed")
						}
						return
					}
					d := w.becomes(trade.TradeID, tt.state)
					subject := fmt.Sprintf("deposit %d", d.ID)
					if slices.Equal(tt.kinds, []string{"wallet_deposit_minimum"}) {
						subject = fmt.Sprintf("user %d USDT-TRC20", c.id)
					}
					if got := w.open(subject); !slices.Equal(got, tt.kinds) {
						t.Errorf("cases %v, want %v", got, tt.kinds)
					}
					if d.Stale != (tt.how.TimestampAge != "") {
						t.Errorf("stale: %t", d.Stale)
					}
				})
			}
		})
		credited := 0
		for _, tt := range ways {
			if tt.state == wallet.Credited {
				credited++
			}
		}
		w.book("USDT-TRC20", fmt.Sprintf("%d.999999", 7*credited+7), "7.999999", "0")
		if forged := w.courier.answered(http.StatusUnauthorized) + w.courier.answered(http.StatusBadRequest); forged != 6 { // two of them, three tries each
			t.Errorf("%d calls refused", forged)
		}
	}, func(_ *world, o *wallet.Options) { o.Gateway.DepositMinimums = map[string]int64{"USDT-TRC20": usdt} })
}

// One trade is one deposit: what says something else about it is for a person, and never a second credit. One payment on chain under
// two trades is credited twice, since it may pay an address twice, with an alarm.
func TestContradictingDeposits(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c, other := w.customer(), w.customer()
		address := c.address("USDT-TRC20")
		if status := w.say(told("1001", address, "USDT-TRC20", "5000000", 3)); status != http.StatusOK {
			t.Fatalf("answered %d", status)
		}
		first := w.becomes("1001", wallet.Credited)
		for _, body := range []fields{
			told("1001", address, "USDT-TRC20", "6000000", 3), told("1001", other.address("USDT-TRC20"), "USDT-TRC20", "5000000", 3),
			told("1001", address, "TRX", "5000000", 3),
		} {
			w.say(body)
		}
		w.idle()
		c.has("USDT-TRC20", "5")
		other.has("USDT-TRC20", "0")
		c.has("TRX", "0")
		subject := fmt.Sprintf("deposit %d", first.ID)
		if got := w.open(subject); !slices.Equal(got, []string{"wallet_deposit_contradiction"}) {
			t.Errorf("cases %v", got)
		}
		twin := told("1002", address, "USDT-TRC20", "5000000", 3)
		twin["txId"] = "tx-1001"
		w.say(twin)
		d := w.becomes("1002", wallet.Credited)
		c.has("USDT-TRC20", "10")
		if got := w.open(fmt.Sprintf("deposit %d", d.ID)); !slices.Equal(got, []string{"wallet_deposit_twin"}) {
			t.Errorf("cases %v", got)
		}
		// -1 cannot be an amount: the call is kept and a person told.
		w.say(told("1003", address, "USDT-TRC20", "-1", 3))
		w.idle()
		c.has("USDT-TRC20", "10")
		if n := w.count(`SELECT COUNT(*) FROM operator_cases WHERE kind = 'wallet_callback' AND is_open = 1`); n != 1 {
			t.Errorf("%d cases about calls that cannot be understood", n)
		}
		// As much as the book can count, and once more.
		for i, trade := range []string{"1004", "1005"} {
			w.say(told(trade, address, "USDT-TRC20", "9223372036854000000", 3))
			w.idle()
			if state := w.dep(trade).State; (state == wallet.Unbookable) != (i == 1 || w.dep("1004").State == wallet.Unbookable) {
				t.Errorf("%s is %s", trade, state)
			}
		}
	})
}

// Hundreds of calls about few trades, in any order and at once, in the same and in other words.
func TestStormOfCallbacks(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		address := c.address("USDT-TRC20")
		var all sync.WaitGroup
		for i := range 96 {
			all.Go(func() {
				body := told(fmt.Sprint(2000+i%6), address, "USDT-TRC20", fmt.Sprint(1_000_000+i%6), []int{0, 1, 3, 3}[i/6%4])
				body["memo"] = fmt.Sprint(i)
				if status := w.say(body); status != http.StatusOK {
					t.Errorf("answered %d", status)
				}
			})
		}
		all.Wait()
		for i := range 6 {
			w.becomes(fmt.Sprint(2000+i), wallet.Credited)
		}
		w.idle()
		c.has("USDT-TRC20", "6.000015")
		if n := len(c.lines()); n != 6 {
			t.Errorf("%d lines of history", n)
		}
	})
}

func TestDepositsOfFrozenAndClosedCustomers(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		frozen, closed, heir := w.customer(), w.customer(), w.customer()
		frozenAddress, closedAddress := frozen.address("USDT-TRC20"), closed.address("USDT-TRC20")
		if _, err := w.people.FreezeAccount(ctx, operator, fmt.Sprint(frozen.id), "asked"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.people.CloseAccount(ctx, operator, fmt.Sprint(closed.id), "asked"); err != nil {
			t.Fatal(err)
		}
		w.becomes(w.deposit(frozen, "USDT-TRC20", "3", simudun.Deposit{Address: frozenAddress}).TradeID, wallet.Credited)
		frozen.has("USDT-TRC20", "3")
		d := w.becomes(w.deposit(closed, "USDT-TRC20", "4", simudun.Deposit{Address: closedAddress}).TradeID, wallet.InSuspense)
		w.book("USDT-TRC20", "7", "4", "0")
		if got := w.open(fmt.Sprintf("deposit %d", d.ID)); !slices.Equal(got, []string{"wallet_deposit_suspense"}) {
			t.Errorf("cases %v", got)
		}
		list, err := w.ListDeposits(ctx, wallet.DepositFilter{Limit: 10})
		if err != nil || len(list) != 1 || list[0].ID != d.ID {
			t.Errorf("waiting: %+v, %v", list, err)
		}

		// Two operators at once, and again: it is assigned once.
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := w.AssignDeposit(ctx, operator, d.ID, wallet.Assignment{Customer: fmt.Sprint(heir.id)}, "showed the transaction"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		heir.has("USDT-TRC20", "4")
		w.book("USDT-TRC20", "7", "0", "0")
		if h := heir.lines(); len(h) != 1 || h[0].Status != "completed" {
			t.Errorf("history: %+v", h)
		}
		if got := w.open(fmt.Sprintf("deposit %d", d.ID)); len(got) != 0 {
			t.Errorf("cases %v", got)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_log WHERE action = 'deposit.assigned'`); n != 1 {
			t.Errorf("%d lines of audit", n)
		}
		for name, got := range map[string]error{
			"to another": second(w.AssignDeposit(ctx, operator, d.ID, wallet.Assignment{Customer: fmt.Sprint(frozen.id)}, "x")),
			"dismissed":  second(w.DismissDeposit(ctx, operator, d.ID, "x")),
			"to closed":  second(w.AssignDeposit(ctx, operator, d.ID, wallet.Assignment{Customer: fmt.Sprint(closed.id)}, "x")),
			"of none":    second(w.AssignDeposit(ctx, operator, 999, wallet.Assignment{Customer: fmt.Sprint(heir.id)}, "x")),
		} {
			if got == nil {
				t.Errorf("%s: no error", name)
			}
		}
		heir.has("USDT-TRC20", "4")

		// One of unknown decimals goes nowhere until somebody says how much it is; one that was none goes back to custody.
		unclear := w.becomes(w.deposit(heir, "USDT-TRC20", "5", simudun.Deposit{Telling: simudun.Telling{Body: map[string]json.RawMessage{"decimals": json.RawMessage(`"8"`)}}}).TradeID, wallet.Unbookable)
		if _, err := w.AssignDeposit(ctx, operator, unclear.ID, wallet.Assignment{Customer: fmt.Sprint(heir.id)}, "x"); err == nil {
			t.Error("assigned without an amount")
		}
		if _, err := w.AssignDeposit(ctx, operator, unclear.ID, wallet.Assignment{Customer: fmt.Sprint(heir.id), Amount: "5"}, "seen on chain"); err != nil {
			t.Error(err)
		}
		heir.has("USDT-TRC20", "9")

		// Of which the gateway told less than can be counted, no more is given.
		dust := w.becomes(w.deposit(heir, "ETH", "0.000000000000000001", simudun.Deposit{}).TradeID, wallet.Unbookable)
		if _, err := w.AssignDeposit(ctx, operator, dust.ID, wallet.Assignment{Customer: fmt.Sprint(heir.id), Amount: "50"}, "x"); !errors.Is(err, wallet.ErrDepositAmountAbove) {
			t.Errorf("50 ETH for one wei: %v", err)
		}
		never := w.becomes(w.deposit(heir, "USDT-TRC20", "2", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{1}}}).TradeID, wallet.Seen)
		for range 2 {
			if _, err := w.AssignDeposit(ctx, operator, never.ID, wallet.Assignment{Customer: fmt.Sprint(heir.id), Amount: "2"}, "seen on chain"); err != nil {
				t.Error(err)
			}
		}
		if _, err := w.udun.Confirm(ctx, w.trade(never.ID), 0); err != nil {
			t.Fatal(err)
		}
		w.delivered(w.trade(never.ID))
		heir.has("USDT-TRC20", "11")
		if h := heir.lines(); len(h) != 3 || h[0].Status != "completed" {
			t.Errorf("history: %+v", h)
		}
		nobody := w.becomes(w.deposit(heir, "USDT-TRC20", "1", simudun.Deposit{Address: "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL", UnknownAddress: true}).TradeID, wallet.InSuspense)
		if _, err := w.DismissDeposit(ctx, operator, nobody.ID, "a test of the gateway"); err != nil {
			t.Error(err)
		}
		w.book("USDT-TRC20", "14", "0", "0")
	})
}

// A deposit that was dismissed too early, before it came or out of suspense, can still be given to its customer, and not more than was told.
func TestDismissedDepositsComeBack(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c := w.customer()
		to := wallet.Assignment{Customer: fmt.Sprint(c.id)}
		early := w.becomes(w.deposit(c, "USDT-TRC20", "5", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{1}}}).TradeID, wallet.Seen)
		if _, err := w.DismissDeposit(ctx, operator, early.ID, "two days without news"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.udun.Confirm(ctx, w.trade(early.ID), 0); err != nil {
			t.Fatal(err)
		}
		w.say(told(w.trade(early.ID), c.address("USDT-TRC20"), "USDT-TRC20", "5000000", 3))
		w.idle()
		if got := w.open(fmt.Sprintf("deposit %d", early.ID)); !slices.Equal(got, []string{"wallet_deposit_contradiction"}) {
			t.Errorf("cases %v", got)
		}
		c.has("USDT-TRC20", "0")
		to.Amount = "50"
		if _, err := w.AssignDeposit(ctx, operator, early.ID, to, "seen on chain"); !errors.Is(err, wallet.ErrDepositAmountAbove) {
			t.Errorf("ten times what was told: %v", err)
		}
		to.Amount = "5"
		for range 2 {
			if _, err := w.AssignDeposit(ctx, operator, early.ID, to, "seen on chain"); err != nil {
				t.Error(err)
			}
		}
		c.has("USDT-TRC20", "5")
		if h := c.lines(); len(h) != 1 || h[0].Status != "completed" || h[0].Amount != "5" {
			t.Errorf("history: %+v", h)
		}
		if got := w.open(fmt.Sprintf("deposit %d", early.ID)); len(got) != 0 {
			t.Errorf("cases %v", got)
		}

		// What turns out to be of another coin is so in the history as well.
		other := w.becomes(w.deposit(c, "USDT-TRC20", "7", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{1}}}).TradeID, wallet.Seen)
		if _, err := w.AssignDeposit(ctx, operator, other.ID, wallet.Assignment{Customer: fmt.Sprint(c.id), Amount: "0.05", Currency: "BTC"}, "seen on chain"); err != nil {
			t.Fatal(err)
		}
		if h := c.lines(); len(h) != 2 || h[0].Currency != "BTC" || h[0].Amount != "0.05" {
			t.Errorf("history: %+v", h)
		}

		nobody := w.becomes(w.deposit(c, "USDT-TRC20", "3", simudun.Deposit{Address: "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL", UnknownAddress: true}).TradeID, wallet.InSuspense)
		if _, err := w.DismissDeposit(ctx, operator, nobody.ID, "a mistake"); err != nil {
			t.Fatal(err)
		}
		w.book("USDT-TRC20", "5", "0", "0")
		to.Amount = ""
		for range 2 {
			if _, err := w.AssignDeposit(ctx, operator, nobody.ID, to, "it was theirs"); err != nil {
				t.Error(err)
			}
		}
		c.has("USDT-TRC20", "8")
		w.book("USDT-TRC20", "8", "0", "0")
	})
}

// However much dust a customer is sent, it is one case for each coin, which is open exactly as long as some of it waits.
func TestDustIsOneCase(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c, other := w.customer(), w.customer()
		var serial atomic.Int64
		send := func(c *customer, currency, amount string) (trade string) {
			trade = fmt.Sprint(5000 + serial.Add(1))
			w.say(told(trade, c.address(currency), currency, amount, 3))
			return trade
		}
		dust := func(c *customer, currency, amount string, state wallet.DepositState) int64 {
			t.Helper()
			return w.becomes(send(c, currency, amount), state).ID
		}
		check := func(c *customer, currency string, open bool) {
			t.Helper()
			if got := w.open(fmt.Sprintf("user %d %s", c.id, currency)); len(got) > 1 || open != slices.Equal(got, []string{"wallet_deposit_minimum"}) {
				t.Errorf("cases about %s of %d: %v, want one: %t", currency, c.id, got, open)
			}
		}
		dismiss := func(id int64) {
			t.Helper()
			if _, err := w.DismissDeposit(ctx, operator, id, "dust"); err != nil {
				t.Error(err)
			}
		}
		list := []int64{dust(c, "ETH", "0", wallet.Unbookable), dust(c, "ETH", "0", wallet.Unbookable), dust(c, "ETH", "1", wallet.Unbookable),
			dust(c, "ETH", "9999999999", wallet.Unbookable), dust(c, "ETH", "9990000000000", wallet.InSuspense)}
		last := dust(c, "ETH", "9980000000000", wallet.InSuspense)
		theirs, tether := dust(other, "ETH", "1", wallet.Unbookable), dust(c, "USDT-TRC20", "999999", wallet.InSuspense)
		if n := w.count(`SELECT COUNT(*) FROM operator_cases WHERE is_open = 1`); n != 3 {
			t.Errorf("%d cases", n)
		}
		for _, id := range list {
			check(c, "ETH", true)
			dismiss(id)
		}
		check(c, "ETH", true)
		if _, err := w.AssignDeposit(ctx, operator, last, wallet.Assignment{Customer: fmt.Sprint(c.id)}, "asked for it"); err != nil {
			t.Error(err)
		}
		check(c, "ETH", false)
		c.has("ETH", "0.00000998")
		check(other, "ETH", true)
		check(c, "USDT-TRC20", true)
		dismiss(theirs)
		dismiss(tether)
		check(other, "ETH", false)
		check(c, "USDT-TRC20", false)

		// The last one is settled while another comes in: that one is not left without a case.
		id := dust(c, "ETH", "0", wallet.Unbookable)
		for range 20 {
			var next string
			var both sync.WaitGroup
			both.Go(func() { next = send(c, "ETH", "0") })
			both.Go(func() { dismiss(id) })
			both.Wait()
			id = w.becomes(next, wallet.Unbookable).ID
			check(c, "ETH", true)
		}
		dismiss(id)
		check(c, "ETH", false)
	}, func(_ *world, o *wallet.Options) {
		o.Gateway.DepositMinimums = map[string]int64{"USDT-TRC20": usdt, "ETH": 1000}
	})
}

// A deposit of a coin that is not listed, or at an address that is not known, at its first telling has the right line of history when a
// later one, not final either, can be understood.
func TestDepositThatIsUnderstoodLater(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		trade := w.deposit(c, "USDT-TRC20", "7", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{0}}}).TradeID
		w.becomes(trade, wallet.Seen)
		w.delivered(trade)
		// As it was written when the coin was not listed yet.
		w.exec(`DELETE FROM wallet_entries WHERE user_id = $1`, c.id)
		w.exec(`UPDATE wallet_customers SET entries = 0 WHERE user_id = $1`, c.id)
		w.exec(`UPDATE deposits SET coin = '', units = 0, entry = 0, user_id = NULL, reason = 'the coin is not one of ours'`)
		w.say(told(trade, c.address("USDT-TRC20"), "USDT-TRC20", "7000000", 1))
		w.idle()
		if h := c.lines(); len(h) != 1 || h[0].Currency != "USDT-TRC20" || h[0].Amount != "7" || h[0].Status != "pending" {
			t.Errorf("history: %+v", h)
		}
	})
}

// A stored call that could not be worked on, or not be read, is a case; sent once more when the reason is gone, it is done, and the case
// closes.
func TestCallbackIsResumed(t *testing.T) {
	for _, outcome := range []string{"stuck", "unreadable"} {
		t.Run(outcome, func(t *testing.T) {
			eachGate(t, func(t *testing.T, w *gateWorld) {
				c := w.customer()
				body := told("1001", c.address("USDT-TRC20"), "USDT-TRC20", "5000000", 3)
				w.exec(`ALTER TABLE deposits RENAME TO deposits_elsewhere`)
				if status := w.say(body); status != http.StatusOK {
					t.Fatalf("answered %d", status)
				}
				subject := fmt.Sprintf("message %d", w.count(`SELECT MAX(id) FROM inbound_messages`))
				w.clock.Advance(2 * time.Hour)
				w.eventually("a case", func() bool { return slices.Equal(w.open(subject), []string{"wallet_callback"}) })
				// The queue gives up, or the call counted as unreadable before the software was mended.
				w.eventually("no job", func() bool {
					_, err := w.db.Exec(context.Background(), `DELETE FROM river_job WHERE kind = 'wallet_callback' AND state <> 'running'`)
					return err == nil && w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'wallet_callback'`) == 0
				})
				w.exec(`UPDATE inbound_messages SET outcome = $1`, outcome)
				w.exec(`ALTER TABLE deposits_elsewhere RENAME TO deposits`)
				c.has("USDT-TRC20", "0")
				for range 2 {
					if status := w.say(body); status != http.StatusOK {
						t.Fatalf("answered %d", status)
					}
				}
				w.becomes("1001", wallet.Credited)
				w.eventually("no case", func() bool { return len(w.open(subject)) == 0 })
				c.has("USDT-TRC20", "5")
			})
		})
	}
}

// trade is the gateway's name of a deposit.
func (w *gateWorld) trade(id int64) (trade string) {
	w.t.Helper()
	if err := w.db.QueryRow(context.Background(), `SELECT trade_id FROM deposits WHERE id = $1`, id).Scan(&trade); err != nil {
		w.t.Fatal(err)
	}
	return trade
}

func second[T any](_ T, err error) error { return err }

// A deposit that is told about and never comes to its end is looked at by a person.
func TestDepositThatNeverBecomesFinal(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		trade := w.deposit(c, "USDT-TRC20", "7", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{1}}})
		d := w.becomes(trade.TradeID, wallet.Seen)
		w.clock.Advance(25 * time.Hour)
		subject := fmt.Sprintf("deposit %d", d.ID)
		w.eventually("a case", func() bool { return slices.Equal(w.open(subject), []string{"wallet_deposit_unconfirmed"}) })
		if _, err := w.udun.Confirm(context.Background(), trade.TradeID, 0); err != nil {
			t.Fatal(err)
		}
		w.becomes(trade.TradeID, wallet.Credited)
		if got := w.open(subject); len(got) != 0 {
			t.Errorf("cases %v", got)
		}
		c.has("USDT-TRC20", "7")
	})
}

func TestWhereCallbacksArrive(t *testing.T) {
	keyed := func(bare bool) setting {
		return func(_ *world, o *wallet.Options) {
			o.Gateway.CallbackKey, o.Gateway.BareCallback = secret.NewText("a-key-that-nobody-guesses"), bare
		}
	}
	for _, tt := range []struct {
		name     string
		settings []setting
		want     map[string]int
	}{
		{"without a key", nil, map[string]int{"/yudun/callback": 200, "/yudun/callback/": 200, "/api/v1/yudun/callback": 200, "/yudun/callback/x": 404}},
		{"with a key", []setting{keyed(false)}, map[string]int{"/yudun/callback": 404, "/yudun/callback/x": 404, "/yudun/callback/a-key-that-nobody-guesses": 200}},
		{"with both", []setting{keyed(true)}, map[string]int{"/yudun/callback": 200, "/yudun/callback/x": 404, "/yudun/callback/a-key-that-nobody-guesses": 200}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lite(t, func(t *testing.T, w *gateWorld) {
				trade := 3000
				for path, want := range tt.want {
					trade++
					text, _ := json.Marshal(told(fmt.Sprint(trade), "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL", "TRX", "1000000", 3))
					if got := w.post1(path, w.signed(string(text), gatewayKey, w.clock.Now())); got != want {
						t.Errorf("%s answers %d, want %d", path, got, want)
					}
				}
				if tt.name != "without a key" {
					return
				}
				for name, form := range map[string]string{
					"empty": "", "no body": "timestamp=1&nonce=abcdef&sign=x", "another key": w.signed(`{}`, "another", w.clock.Now()), "huge": "body=" + strings.Repeat("x", 300<<10),
				} {
					want := map[string]int{"empty": 422, "no body": 400, "another key": 401, "huge": 413}[name]
					if got := w.post1("/yudun/callback", form); got != want {
						t.Errorf("%s: answered %d, want %d", name, got, want)
					}
				}
			}, tt.settings...)
		})
	}
}

// Crediting at 2 is a setting (contract/money 3.1).
func TestCreditingStatuses(t *testing.T) {
	for _, tt := range []struct {
		numbers []int
		ok      bool
	}{{[]int{3}, true}, {[]int{2}, true}, {[]int{2, 3}, true}, {nil, false}, {[]int{1}, false}, {[]int{4}, false}, {[]int{3, 3}, false}} {
		if got, ok := wallet.Crediting(tt.numbers); ok != tt.ok || ok && len(got) != len(tt.numbers) {
			t.Errorf("%v: %v, %t", tt.numbers, got, ok)
		}
	}
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		trade := w.deposit(c, "USDT-TRC20", "7", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{2, 3, 3}}})
		w.becomes(trade.TradeID, wallet.Credited)
		w.eventually("three calls", func() bool { return w.courier.answered(200) == 3 })
		w.idle()
		c.has("USDT-TRC20", "7")
	}, func(_ *world, o *wallet.Options) { o.Gateway.CreditAt, _ = wallet.Crediting([]int{2, 3}) })
}
