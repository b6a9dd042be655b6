package wallet_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/ledger"
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
		w.deposit(c, "ETH", "0.000000000000000001", simudun.Deposit{Telling: simudun.Telling{Drop: true}})
		// And a posting that nothing at the gateway stands behind.
		if _, err := w.ledger.Submit(ctx, ledger.Move("planted", "1", ledger.CustodyOf("USDT-TRC20"), ledger.SuspenseOf("USDT-TRC20"), 3)); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"BTC": "0.00000001", "ETH": "0.000000000000000001", "USDT-TRC20": "-0.000003"}
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
