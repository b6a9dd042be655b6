package wallet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	simudun "github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// differences are those of a run, by coin.
func (w *gateWorld) differences() map[string]string {
	w.t.Helper()
	list, err := w.Reconcile(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	found := map[string]string{}
	for _, r := range list {
		if !r.Difference.IsZero() {
			found[r.Coin] = r.Difference.String()
		}
	}
	return found
}

func same(a, b map[string]string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(keys(a), func(k string) bool { return a[k] != b[k] })
}

func keys(m map[string]string) (list []string) {
	for k := range m {
		list = append(list, k)
	}
	return list
}

// Coins that the gateway has and the book does not, or the other way round, are found to the unit; a person is told when they are
// there twice, and the case closes itself when they are gone.
func TestPlantedDifferences(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		w.fund(c, "ETH", "1.000000000000000001") // finer than the book counts
		w.eventually("the run that begins every service", func() bool { return w.count(`SELECT COUNT(*) FROM reconciliations`) == 7 })
		if d := w.differences(); len(d) != 0 {
			t.Fatalf("differences %v", d)
		}
		// Deposits that the gateway has and never tells.
		w.deposit(c, "BTC", "0.00000001", simudun.Deposit{Telling: simudun.Telling{Drop: true}})
		w.deposit(c, "ETH", "0.000000010000000001", simudun.Deposit{Telling: simudun.Telling{Drop: true}})
		w.deposit(c, "BNB", "0.000000009999999999", simudun.Deposit{Telling: simudun.Telling{Drop: true}}) // less than the book counts
		// And a posting that nothing at the gateway stands behind.
		if _, err := w.ledger.Submit(ctx, ledger.Move("planted", "1", ledger.CustodyOf("USDT-TRC20"), ledger.SuspenseOf("USDT-TRC20"), 3)); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"BTC": "0.00000001", "ETH": "0.000000010000000001", "USDT-TRC20": "-0.000003"}
		if d := w.differences(); !same(d, want) {
			t.Errorf("differences %v, want %v", d, want)
		}
		for coin := range want {
			if got := w.open(coin); len(got) != 0 {
				t.Errorf("%s: cases %v after one run", coin, got)
			}
		}
		w.clock.Advance(15 * time.Minute)
		w.differences()
		for coin := range want {
			if got := w.open(coin); !slices.Equal(got, []string{"wallet_difference"}) {
				t.Errorf("%s: cases %v after two runs", coin, got)
			}
		}
		list, err := w.Reconcile(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if want[r.Coin] != "" && (r.Since == nil || !r.Since.Equal(beginning) && !r.Since.Before(w.clock.Now().Add(-14*time.Minute))) {
				t.Errorf("%s differs since %v", r.Coin, r.Since)
			}
		}
		// The lost deposit arrives, and the planted posting is taken back.
		custody, err := w.udun.Custody(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, trade := range custody.Trades {
			if trade.Coin == "BTC" || trade.Coin == "ETH" {
				if _, err := w.udun.Resend(ctx, simudun.Key{TradeID: trade.TradeID}); err != nil {
					t.Fatal(err)
				}
				w.delivered(trade.TradeID)
			}
		}
		if _, err := w.ledger.Submit(ctx, ledger.Move("planted", "2", ledger.SuspenseOf("USDT-TRC20"), ledger.CustodyOf("USDT-TRC20"), 3)); err != nil {
			t.Fatal(err)
		}
		if d := w.differences(); len(d) != 0 {
			t.Errorf("differences %v", d)
		}
		for coin := range want {
			if got := w.open(coin); len(got) != 0 {
				t.Errorf("%s: cases %v", coin, got)
			}
		}
	})
}

// What is under way at the gateway is no difference, and nothing beyond it is forgiven.
func TestWhatIsUnderWayIsNoDifference(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		f := w.is(c.withdraw("USDT-TRC20", "40", out), wallet.Ordered)
		seen := w.deposit(c, "USDT-TRC20", "7", simudun.Deposit{Confirmations: 3})
		w.becomes(seen.TradeID, wallet.Seen)
		check := func(when string, want map[string]string) {
			t.Helper()
			if d := w.differences(); !same(d, want) {
				t.Errorf("%s: differences %v, want %v", when, d, want)
			}
		}
		check("ordered and seen", nil)
		w.decide(f, simudun.Approved, simudun.Telling{})
		w.decide(f, simudun.Succeeded, simudun.Telling{Drop: true})
		check("paid, and not told", nil)
		w.deposit(c, "USDT-TRC20", "8", simudun.Deposit{Telling: simudun.Telling{Drop: true}})
		check("a lost deposit hides behind what is under way", nil)
		if _, err := w.udun.Resend(context.Background(), simudun.Key{BusinessID: f.BusinessID}); err != nil {
			t.Fatal(err)
		}
		w.is(f.ID, wallet.Completed)
		check("told", map[string]string{"USDT-TRC20": "1"})
		if _, err := w.udun.Confirm(context.Background(), seen.TradeID, 0); err != nil {
			t.Fatal(err)
		}
		w.becomes(seen.TradeID, wallet.Credited)
		check("nothing under way any more", map[string]string{"USDT-TRC20": "8"})
	})
}

// One replica reconciles for all, as often as it is set.
func TestReconciliationsAreShared(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		runs := func() int { return w.count(`SELECT COUNT(*) FROM reconciliations WHERE coin = 'BTC'`) }
		w.eventually("the first run", func() bool { return runs() == 1 })
		for range 5 {
			if err := w.ReconcileWhenDue(context.Background()); err != nil {
				t.Error(err)
			}
		}
		if n := runs(); n != 1 {
			t.Errorf("%d runs", n)
		}
		w.clock.Advance(15 * time.Minute)
		w.eventually("the second run", func() bool { return runs() == 2 })
		w.clock.Advance(91 * 24 * time.Hour)
		w.eventually("the third run", func() bool { return runs() == 3 })
		if err := w.Sweep(context.Background()); err != nil || runs() != 1 {
			t.Errorf("%d runs are kept, %v", runs(), err)
		}
	})
}

// lost has the gateway receive coins that it does not tell about.
func (w *gateWorld) lost(c *customer, currency, amount string) {
	w.t.Helper()
	w.deposit(c, currency, amount, simudun.Deposit{Telling: simudun.Telling{Drop: true}})
}

// plant has the book count coins that the gateway does not have.
func (w *gateWorld) plant(c *customer, currency, amount string) {
	w.t.Helper()
	move := ledger.Move("planted", fmt.Sprint(w.count(`SELECT COUNT(*) FROM ledger_transactions`)), ledger.CustodyOf(currency), ledger.AvailableOf(c.id, currency), units(w.t, currency, amount))
	if _, err := w.ledger.Submit(context.Background(), move); err != nil {
		w.t.Fatal(err)
	}
}

// theCase is the open case of a kind about a coin.
func (w *gateWorld) theCase(kind, coin string) (found cases.Case) {
	w.t.Helper()
	list, err := cases.NewBook(w.db, w.clock).List(context.Background(), cases.Filter{Kinds: []string{kind}})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range list {
		if c.Subject == coin {
			found = c
		}
	}
	return found
}

// twisted changes the gateway's lists of coins on their way.
func (w *gateWorld) twisted(change func(answer string) string) {
	if change == nil {
		w.udun.twistCoins.Store(nil)
	} else {
		w.udun.twistCoins.Store(&change)
	}
}

// withBalance is a list of coins in which a chain's own coin has another balance.
func withBalance(answer, mainCoinType, balance string) string {
	var list map[string]json.RawMessage
	var coins []map[string]json.RawMessage
	if json.Unmarshal([]byte(answer), &list) != nil || json.Unmarshal(list["data"], &coins) != nil {
		return answer
	}
	for _, c := range coins {
		if string(c["coinType"]) == strconv.Quote(mainCoinType) {
			c["balance"] = json.RawMessage(balance)
		}
	}
	list["data"], _ = json.Marshal(coins)
	text, _ := json.Marshal(list)
	return string(text)
}

// metric is the value of a gauge about a coin; -1: it has none.
func (w *gateWorld) metric(name, coin string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == coin {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// often reconciles only when the test does.
func often(_ *world, o *wallet.Options) { o.Gateway.ReconcileEvery = 1000 * time.Hour }

// A case says how large the difference is now. One that grows, or turns round, is told again, as a case of its own.
func TestADifferenceThatChanges(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.eventually("the first run", func() bool { return w.count(`SELECT COUNT(*) FROM reconciliations`) == 7 })
		step := func(wantNew bool, before cases.Case, want string) cases.Case {
			t.Helper()
			w.clock.Advance(time.Minute)
			w.differences()
			now := w.theCase("wallet_difference", "TRX")
			if (now.ID != before.ID) != wantNew || now.ID == 0 || !strings.Contains(now.Detail, " "+want+" since ") {
				t.Errorf("case %d %q after %d, want %s, a new one: %t", now.ID, now.Detail, before.ID, want, wantNew)
			}
			return now
		}
		w.plant(c, "TRX", "3")
		w.differences()
		first := step(true, cases.Case{}, "-3")
		first = step(false, first, "-3")
		w.plant(c, "TRX", "300000")
		grown := step(true, first, "-300003")
		w.lost(c, "TRX", "300001")
		less := step(false, grown, "-2")
		w.plant(c, "TRX", "0.5")
		step(true, less, "-2.5")
		// It turns round: what the case was about is gone, and the other one has to stand.
		w.lost(c, "TRX", "4")
		w.clock.Advance(time.Minute)
		w.differences()
		if got := w.open("TRX"); len(got) != 0 {
			t.Errorf("cases %v", got)
		}
		step(true, cases.Case{}, "+1.5")
	}, often)
}

// A balance that cannot be read keeps no other coin from being compared. A coin that is not compared for long is a case, and the metric
// shows its age, whether the gateway is silent about it or about all.
func TestWhatCannotBeCompared(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.eventually("the first run", func() bool { return w.count(`SELECT COUNT(*) FROM reconciliations`) == 7 })
		w.lost(c, "ETH", "0.5")
		for _, bad := range []string{`null`, `""`, `{}`, `"7E"`, `true`} {
			w.twisted(func(answer string) string { return withBalance(answer, "0", bad) })
			list, err := w.Reconcile(context.Background())
			if err == nil || !strings.Contains(err.Error(), "BTC") || len(list) != 6 {
				t.Errorf("%s: %d coins, %v", bad, len(list), err)
			}
			if !slices.ContainsFunc(list, func(r wallet.Reconciliation) bool { return r.Coin == "ETH" && r.Difference.String() == "0.5" }) {
				t.Errorf("%s: the difference of ETH is not found: %+v", bad, list)
			}
		}
		silent := func(want ...string) {
			t.Helper()
			w.eventually(fmt.Sprintf("cases about %v", want), func() bool {
				list, err := cases.NewBook(w.db, w.clock).List(context.Background(), cases.Filter{Kinds: []string{"wallet_not_compared"}})
				var subjects []string
				for _, c := range list {
					subjects = append(subjects, c.Subject)
				}
				slices.Sort(subjects)
				return err == nil && slices.Equal(subjects, want)
			})
		}
		compared := func(times int) {
			t.Helper()
			w.eventually("the run", func() bool { return w.count(`SELECT COUNT(*) FROM reconciliations WHERE coin = 'TRX'`) == times })
		}
		runs := w.count(`SELECT COUNT(*) FROM reconciliations WHERE coin = 'TRX'`)
		for i := range 2 {
			w.clock.Advance(15 * time.Minute)
			compared(runs + i + 1)
		}
		silent()
		w.clock.Advance(15 * time.Minute)
		silent("BTC")
		w.eventually("the age", func() bool { return w.metric("ccp_wallet_reconciliation_age_seconds", "BTC") == 45*60 })
		if age := w.metric("ccp_wallet_reconciliation_age_seconds", "ETH"); age >= 45*60 || w.metric("ccp_wallet_reconciliation_difference", "ETH") != 0.5 {
			t.Errorf("ETH: age %v", age)
		}
		// An empty list is no list of empty balances.
		w.twisted(func(string) string { return `{"code":200,"message":"SUCCESS","data":[]}` })
		if list, err := w.Reconcile(context.Background()); err == nil || len(list) != 0 {
			t.Errorf("of nothing: %v, %v", list, err)
		}
		for range 3 {
			w.clock.Advance(15 * time.Minute)
		}
		silent("BNB", "BTC", "ETH", "LTC", "TRX", "USDT-ERC20", "USDT-TRC20")
		w.twisted(nil)
		if d := w.differences(); !same(d, map[string]string{"ETH": "0.5"}) {
			t.Errorf("differences %v", d)
		}
		silent()
	})
}

// What the house puts in, or the chain takes, is booked by an operator: with name and reason, once, and no more than differs.
func TestBookingADifference(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c := w.customer()
		w.fund(c, "TRX", "100")
		w.eventually("the first run", func() bool { return w.count(`SELECT COUNT(*) FROM reconciliations`) == 7 })
		compare := func(want map[string]string, open ...string) {
			t.Helper()
			w.clock.Advance(11 * time.Minute)
			if d := w.differences(); !same(d, want) {
				t.Errorf("differences %v, want %v", d, want)
			}
			if got := w.open("TRX"); !slices.Equal(got, open) {
				t.Errorf("cases %v, want %v", got, open)
			}
		}
		book := func(amount, reference string) (wallet.Booked, error) {
			return w.BookDifference(ctx, operator, wallet.Booking{Coin: "TRX", Amount: amount, Reference: reference}, " energy for March ")
		}
		refused := func(want error, amount, reference string) {
			t.Helper()
			if _, err := book(amount, reference); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", amount, err, want)
			}
		}
		house := func(want string) {
			t.Helper()
			if got, err := w.ledger.Balance(ctx, w.db, ledger.HouseOf("TRX")); err != nil || got != units(t, "TRX", strings.TrimPrefix(want, "-"))*int64(1-2*strings.Count(want, "-")) {
				t.Errorf("the house has %d, want %s, %v", got, want, err)
			}
		}
		refused(wallet.ErrBookingAbove, "1", "")
		w.lost(c, "TRX", "50") // the house puts it in
		compare(map[string]string{"TRX": "50"})
		compare(map[string]string{"TRX": "50"}, "wallet_difference")
		for amount, want := range map[string]error{"50.000001": wallet.ErrBookingAbove, "-50": wallet.ErrBookingAbove, "-0.000001": wallet.ErrBookingAbove, "0": wallet.ErrAmountNotPositive,
			"-0": wallet.ErrAmountNotPositive, "--1": wallet.ErrAmountNotPositive, "1e-7": wallet.ErrAmountTooPrecise, "9e30": wallet.ErrAmountTooLarge, "": wallet.ErrAmountInvalid, "+50": wallet.ErrAmountInvalid} {
			refused(want, amount, "")
		}
		if _, err := w.BookDifference(ctx, operator, wallet.Booking{Coin: "DOGE", Amount: "1"}, "x"); !errors.Is(err, wallet.ErrCurrencyUnknown) {
			t.Errorf("of no coin: %v", err)
		}
		if _, err := w.BookDifference(ctx, operator, wallet.Booking{Coin: "TRX", Amount: "50"}, "  "); !errors.Is(err, identity.ErrReasonRequired) {
			t.Errorf("without a reason: %v", err)
		}
		house("0")
		w.book("TRX", "100", "0", "0")

		// Many times at once, and once more: it is booked once.
		var all sync.WaitGroup
		var mu sync.Mutex
		var booked []wallet.Booked
		for range 8 {
			all.Go(func() {
				b, err := book("20", "")
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					booked = append(booked, b)
				} else if !errors.Is(err, wallet.ErrBookingRepeated) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(booked) != 1 || booked[0].Left.String() != "30" || booked[0].House.String() != "20" || booked[0].Repeated {
			t.Fatalf("booked %+v", booked)
		}
		refused(wallet.ErrBookingRepeated, "20", "")
		refused(wallet.ErrBookingAbove, "30.000001", "")
		record, err := w.ledger.Transaction(ctx, w.db, booked[0].Transaction)
		if err != nil || record.Kind != wallet.KindCustodyBooked || record.Description != "energy for March" || !strings.Contains(record.Metadata, strconv.Quote(operator.Name)) {
			t.Errorf("%+v, %v", record, err)
		}
		audited := fmt.Sprintf("transaction %d: +20 TRX", booked[0].Transaction)
		if n := w.count(`SELECT COUNT(*) FROM audit_log WHERE action = 'custody.booked' AND subject = $1 AND reason = 'energy for March' AND actor = $2`, audited, operator.Name); n != 1 {
			t.Errorf("%d lines of audit", n)
		}
		compare(map[string]string{"TRX": "30"}, "wallet_difference")
		if _, err := book("20", ""); err != nil {
			t.Errorf("the same amount, later: %v", err)
		}
		if _, err := book("10", "rest"); err != nil {
			t.Error(err)
		}
		house("50")
		w.book("TRX", "150", "0", "0")
		compare(nil)

		// The chain takes it: with a reference, as often as it is sent.
		w.plant(c, "TRX", "60")
		compare(map[string]string{"TRX": "-60"})
		compare(map[string]string{"TRX": "-60"}, "wallet_difference")
		var fresh int
		for range 8 {
			all.Go(func() {
				b, err := book("-30", "fees 2026-03")
				mu.Lock()
				defer mu.Unlock()
				if err != nil || b.Left.String() != "-30" || b.House.String() != "20" {
					t.Errorf("%+v, %v", b, err)
				}
				if !b.Repeated {
					fresh++
				}
			})
		}
		all.Wait()
		if fresh != 1 {
			t.Errorf("booked %d times", fresh)
		}
		refused(wallet.ErrBookingReference, "-29", "fees 2026-03")
		if _, err := book("-30", "fees 2026-04"); err != nil {
			t.Error(err)
		}
		house("-10")
		compare(nil)
		// The house has nothing left: customers' coins have paid the chain, and the check of the book says so.
		report, err := w.ledger.Verify(ctx, nil)
		if err != nil || len(report.Findings) != 1 || report.Findings[0].Check != "covered customers" {
			t.Errorf("%+v, %v", report.Findings, err)
		}
		// Beyond what differs only by force; it shows.
		b, err := w.BookDifference(ctx, operator, wallet.Booking{Coin: "TRX", Amount: "10", Forced: true}, "on its way")
		if err != nil || b.Left.String() != "-10" || b.House.String() != "0" {
			t.Errorf("%+v, %v", b, err)
		}
		compare(map[string]string{"TRX": "-10"}, "wallet_difference")
	}, often)
}

// A comparison during which a difference is booked does not bring it back.
func TestBookingDuringAComparison(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.eventually("the first run", func() bool { return w.count(`SELECT COUNT(*) FROM reconciliations`) == 7 })
		w.lost(c, "LTC", "5")
		w.lost(c, "BTC", "1")
		if d := w.differences(); !same(d, map[string]string{"LTC": "5", "BTC": "1"}) {
			t.Fatalf("differences %v", d)
		}
		var once sync.Once
		w.twisted(func(answer string) string {
			once.Do(func() {
				if _, err := w.BookDifference(context.Background(), operator, wallet.Booking{Coin: "LTC", Amount: "5"}, "put in"); err != nil {
					t.Error(err)
				}
			})
			return answer
		})
		list, err := w.Reconcile(context.Background())
		if err != nil || len(list) != 6 || slices.ContainsFunc(list, func(r wallet.Reconciliation) bool { return r.Coin == "LTC" }) {
			t.Errorf("%+v, %v", list, err)
		}
		if _, err := w.BookDifference(context.Background(), operator, wallet.Booking{Coin: "LTC", Amount: "5", Reference: "again"}, "put in"); !errors.Is(err, wallet.ErrBookingAbove) {
			t.Error(err)
		}
		if d := w.differences(); !same(d, map[string]string{"BTC": "1"}) {
			t.Errorf("differences %v", d)
		}
	}, often)
}

// What the gateway says has failed is not expected there, and hides nothing; what is cut off adds up, however a deposit is booked.
func TestFailedAndCutOffDeposits(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c := w.customer()
		failed := w.deposit(c, "USDT-TRC20", "7", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{4}}})
		w.becomes(failed.TradeID, wallet.Seen)
		w.delivered(failed.TradeID)
		w.lost(c, "USDT-TRC20", "7")
		for range 3 {
			d := w.becomes(w.deposit(c, "ETH", "1.000000009999999999", simudun.Deposit{Telling: simudun.Telling{Statuses: []int{1}}}).TradeID, wallet.Seen)
			if _, err := w.AssignDeposit(ctx, operator, d.ID, wallet.Assignment{Customer: fmt.Sprint(c.id), Amount: "1"}, "seen on chain"); err != nil {
				t.Error(err)
			}
			if _, err := w.udun.Confirm(ctx, w.trade(d.ID), 0); err != nil {
				t.Error(err)
			}
			dust := w.becomes(w.deposit(c, "ETH", "0.000000009999999999", simudun.Deposit{}).TradeID, wallet.Unbookable)
			if _, err := w.DismissDeposit(ctx, operator, dust.ID, "dust"); err != nil {
				t.Error(err)
			}
			w.becomes(w.deposit(c, "ETH", "0.000000009999999999", simudun.Deposit{}).TradeID, wallet.Unbookable)
		}
		if d := w.differences(); !same(d, map[string]string{"USDT-TRC20": "7"}) {
			t.Errorf("differences %v", d)
		}
		w.lost(c, "ETH", "0.00000001")
		if d := w.differences(); !same(d, map[string]string{"USDT-TRC20": "7", "ETH": "0.00000001"}) {
			t.Errorf("differences %v", d)
		}
	})
}
