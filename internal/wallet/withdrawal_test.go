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

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	simudun "github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// out is an address that is nobody's here.
const out = "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL"

// withdrawalItem is what the app reads of a withdrawal.
type withdrawalItem struct {
	ID        int64       `json:"id"`
	Amount    json.Number `json:"amount"`
	Fee       json.Number `json:"fee"`
	Currency  string      `json:"currency"`
	Address   string      `json:"address"`
	Status    string      `json:"status"`
	TxHash    string      `json:"tx_hash"`
	CreatedAt time.Time   `json:"created_at"`
	UpdatedAt time.Time   `json:"updated_at"`
}

// ask asks for a withdrawal as the app does; amount stands in the request as it is.
func (c *customer) ask(currency, amount, address string) reply {
	c.t.Helper()
	return c.w.call(http.MethodPost, "/wallet/withdrawal", c.access, fmt.Sprintf(`{"currency":%q,"amount":%s,"address":%q,"network":"UNKNOWN"}`, currency, amount, address))
}

// withdraw asks for a withdrawal that must be taken, and returns its number.
func (c *customer) withdraw(currency, amount, address string) int64 {
	c.t.Helper()
	var answer struct {
		Status, Message string
		Withdrawal      withdrawalItem
	}
	c.ask(currency, amount, address).into(c.t, &answer)
	if answer.Message == "" || answer.Withdrawal.ID == 0 {
		c.t.Fatalf("answer %+v", answer)
	}
	return answer.Withdrawal.ID
}

// fund has coins arrive for a customer at the gateway.
func (w *gateWorld) fund(c *customer, currency, amount string) {
	w.t.Helper()
	w.becomes(w.deposit(c, currency, amount, simudun.Deposit{}).TradeID, wallet.Credited)
}

// is waits until a withdrawal is in a state.
func (w *gateWorld) is(id int64, state wallet.WithdrawalState) wallet.WithdrawalFile {
	w.t.Helper()
	var f wallet.WithdrawalFile
	w.eventually(fmt.Sprintf("withdrawal %d to be %s", id, state), func() bool {
		var err error
		if f, err = w.ShowWithdrawal(context.Background(), id); err != nil {
			w.t.Fatal(err)
		}
		return f.State == state
	})
	return f
}

// decide does as the gateway's staff.
func (w *gateWorld) decide(f wallet.WithdrawalFile, outcome string, how simudun.Telling) {
	w.t.Helper()
	if _, err := w.udun.Decide(context.Background(), simudun.Key{BusinessID: f.BusinessID}, outcome, how); err != nil {
		w.t.Fatal(err)
	}
}

// settle ends a withdrawal by hand, by an operator who has looked at it as it is now. Callbacks may still come in between.
func (w *gateWorld) settle(id int64, succeeded bool, reason string) (done wallet.Withdrawal, err error) {
	w.t.Helper()
	w.eventually("a version that stands", func() bool {
		f, found := w.ShowWithdrawal(context.Background(), id)
		if found != nil {
			w.t.Fatal(found)
		}
		done, err = w.SettleWithdrawal(context.Background(), operator, id, f.Version, succeeded, reason)
		return !errors.Is(err, wallet.ErrWithdrawalChanged)
	})
	return done, err
}

// kept checks a customer's money: what they can spend and what is held.
func (c *customer) kept(currency, available, held string) {
	c.t.Helper()
	c.has(currency, available)
	got, err := c.w.ledger.Balance(context.Background(), c.w.db, ledger.HeldOf(c.id, currency))
	if err != nil || got != units(c.t, currency, held) {
		c.t.Errorf("%d units of %s are held, want %s (%v)", got, currency, held, err)
	}
}

func withFee(_ *world, o *wallet.Options) {
	o.Gateway.WithdrawalFees = map[string]int64{"USDT-TRC20": usdt}
}

// trades counts the withdrawals at the gateway.
func (w *gateWorld) trades() (n int) {
	w.t.Helper()
	custody, err := w.udun.Custody(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, t := range custody.Trades {
		if t.Type == "withdrawal" {
			n++
		}
	}
	return n
}

// agrees checks that the gateway holds what the ledger says, to the unit.
func (w *gateWorld) agrees() {
	w.t.Helper()
	list, err := w.Reconcile(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range list {
		if !r.Difference.IsZero() || !r.Least.Equal(r.Most) || !r.Gateway.Equal(r.Ledger) {
			w.t.Errorf("reconciliation: %+v", r)
		}
	}
}

func TestWithdrawalIsPaid(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		id := c.withdraw("USDT-TRC20", "40.5", " "+out+" ")
		c.kept("USDT-TRC20", "59.5", "40.5")
		f := w.is(id, wallet.Ordered)
		w.eventually("mail", func() bool { return c.mails("is on its way") == 1 })
		w.decide(f, simudun.Approved, simudun.Telling{})
		w.is(id, wallet.Processing)
		if h := c.lines(); len(h) != 2 || h[0].Type != "withdraw" || h[0].Status != "pending" || h[0].Amount != "-40.5" || h[0].Fee != "1" {
			t.Errorf("history: %+v", h)
		}
		w.decide(f, simudun.Succeeded, simudun.Telling{Duplicates: 3})
		f = w.is(id, wallet.Completed)
		w.delivered(f.TradeID)
		c.kept("USDT-TRC20", "59.5", "0")
		w.book("USDT-TRC20", "60.5", "0", "1")
		w.agrees()
		if h := c.lines(); h[0].Status != "completed" || h[0].TxHash == "" || h[0].TxHash != f.TxID || h[0].Address != out {
			t.Errorf("history: %+v", h[0])
		}
		var list struct {
			Status     string
			Page       int
			Limit      int
			Total      int
			TotalPages int `json:"total_pages"`
			Items      []withdrawalItem
		}
		for query, n := range map[string]int{"": 1, "?page=1&limit=20": 1, "?page=2&limit=20": 0, "?status=completed": 1, "?status=pending": 0,
			"?status=Approved": 1, "?status=cancelled": 0} {
			c.w.call(http.MethodGet, "/wallet/withdrawals"+query, c.access, nil).into(t, &list)
			if len(list.Items) != n || n == 1 && (list.Items[0].Status != "completed" || list.Items[0].Amount != "40.5" || list.Total != 1 || list.TotalPages != 1) {
				t.Errorf("%q: %+v", query, list)
			}
		}
		for query, code := range map[string]string{"status=lost": "WITHDRAWAL_STATUS_UNKNOWN", "page=0": "PAGE_INVALID", "page=-1": "PAGE_INVALID", "page=x": "PAGE_INVALID",
			"page=1.5": "PAGE_INVALID", "page=9223372036854775807": "PAGE_INVALID", "page=9223372036854775808": "PAGE_INVALID", "limit=0": "PAGE_INVALID", "limit=101": "PAGE_INVALID"} {
			c.w.call(http.MethodGet, "/wallet/withdrawals?"+query, c.access, nil).refused(t, http.StatusBadRequest, code)
		}
		stranger := w.customer()
		stranger.w.call(http.MethodGet, "/wallet/withdrawals", stranger.access, nil).into(t, &list)
		if len(list.Items) != 0 {
			t.Error("another customer's withdrawals are shown")
		}
		w.eventually("mails of all steps", func() bool {
			return c.mails("Your withdrawal of 40.5 USDT-TRC20") == 3 && c.mails("is done") == 1
		})
		// The customer's day counts what went out.
		if n := w.count(`SELECT withdrawn FROM wallet_customers WHERE user_id = $1`, c.id); n != 40_500_000 {
			t.Errorf("withdrawn today: %d", n)
		}
	}, withFee)
}

func TestWithdrawalComesBack(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		for i, tt := range []struct {
			outcome     string
			state       wallet.WithdrawalState
			entry, mail string
		}{{simudun.Refused, wallet.Declined, "rejected", "was not accepted"}, {simudun.Failed, wallet.Broken, "failed", "has failed"}} {
			id := c.withdraw("USDT-TRC20", fmt.Sprint(50+i), out)
			f := w.is(id, wallet.Ordered)
			w.decide(f, tt.outcome, simudun.Telling{Duplicates: 2, Reorder: tt.outcome == simudun.Failed}) // the failure before the sending
			f = w.is(id, tt.state)
			c.kept("USDT-TRC20", "100", "0")
			if h := c.lines(); h[0].Status != tt.entry || h[0].Amount != json.Number(fmt.Sprint(-50-i)) {
				t.Errorf("history: %+v", h[0])
			}
			w.eventually("mail", func() bool { return c.mails(tt.mail) == 1 })
			// Later the gateway says that it has paid after all: a person looks, and nothing moves.
			w.say(fields{"tradeId": f.TradeID, "tradeType": 2, "status": 3, "address": out, "mainCoinType": "195", "coinType": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
				"amount": fmt.Sprint((49 + i) * usdt), "decimals": "6", "fee": "0", "txId": "aa11", "businessId": f.BusinessID})
			w.idle()
			c.kept("USDT-TRC20", "100", "0")
			if got := w.open(fmt.Sprintf("withdrawal %d", id)); !slices.Equal(got, []string{"wallet_withdrawal_contradiction"}) {
				t.Errorf("cases %v", got)
			}
		}
		if n := w.count(`SELECT withdrawn FROM wallet_customers WHERE user_id = $1`, c.id); n != 0 {
			t.Errorf("withdrawn today: %d", n)
		}
		w.book("USDT-TRC20", "100", "0", "0")
	}, withFee)
}

func TestRequestsThatAreRefused(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c, other := w.customer(), w.customer()
		w.fund(c, "USDT-TRC20", "100")
		c.grant("BNB", "0.05")
		own, others := c.address("USDT-TRC20"), other.address("USDT-TRC20")
		for _, tt := range []struct {
			currency, amount, address string
			status                    int
			code                      string
		}{
			{"USDT-TRC20", "0", out, 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "-1", out, 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "1e-7", out, 400, "AMOUNT_TOO_PRECISE"},
			{"USDT-TRC20", "20.0000001", out, 400, "AMOUNT_TOO_PRECISE"},
			{"USDT-TRC20", "1e309", out, 400, "AMOUNT_TOO_LARGE"},
			{"USDT-TRC20", `20,"amount":30`, out, 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", strings.Repeat("9", 40), out, 400, "AMOUNT_TOO_LARGE"},
			{"USDT-TRC20", "100.000001", out, 400, "INSUFFICIENT_BALANCE"},
			{"USDT-TRC20", "9.999999", out, 400, "WITHDRAWAL_MINIMUM"},
			{"USDT-TRC21", "20", out, 400, "CURRENCY_UNKNOWN"},
			{"BTC", "20", out, 400, "ADDRESS_INVALID"},
			{"USDT-TRC20", "20", "", 400, "ADDRESS_INVALID"},
			{"USDT-TRC20", "20", "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeM", 400, "ADDRESS_INVALID"},
			{"USDT-TRC20", "20", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", 400, "ADDRESS_INVALID"},         // the contract itself
			{"ETH", "20", "0xDAC17F958D2EE523A2206206994597C13D831EC7", 400, "ADDRESS_INVALID"},        // likewise
			{"USDT-ERC20", "20", "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", 400, "ADDRESS_INVALID"}, // checksum
			{"USDT-TRC20", "20", own, 400, "ADDRESS_OWN"},
			{"USDT-TRC20", "20", others, 400, "ADDRESS_OF_CUSTOMER"},
			{"BNB", "0.05", other.address("ETH"), 400, "ADDRESS_OF_CUSTOMER"}, // the same address on the chain beside it
			// Who could not withdraw does not hear whose address it is.
			{"BNB", "0.051", other.address("ETH"), 400, "INSUFFICIENT_BALANCE"},
			{"USDT-TRC20", "51", others, 400, "OPERATION_LIMIT"},
			{"USDT-TRC20", "51", out, 400, "OPERATION_LIMIT"},
		} {
			c.ask(tt.currency, tt.amount, tt.address).refused(t, tt.status, tt.code)
		}
		for _, body := range []string{`{"currency":"USDT-TRC20","amount":"20","address":"x"}`, `{"currency":"USDT-TRC20","amount":NaN,"address":"x"}`, `{"amount":1}`, `[]`} {
			if r := c.w.call(http.MethodPost, "/wallet/withdrawal", c.access, body); r.status != http.StatusUnprocessableEntity && r.status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", body, r.status, r.raw)
			}
		}
		w.exec(`UPDATE users SET withdrawals_blocked_until = $2 WHERE id = $1`, c.id, w.clock.Now().Add(time.Hour))
		r := c.ask("USDT-TRC20", "20", out)
		if r.refused(t, 403, "WITHDRAWALS_BLOCKED"); !strings.Contains(r.text("message"), "2026-03-01 ") {
			t.Errorf("it does not say until when: %s", r.raw)
		}
		w.clock.Advance(time.Hour)
		if err := w.db.RunTx(context.Background(), func(ctx context.Context, tx db.Tx) error { return w.Revoke(ctx, tx, c.id) }); err != nil {
			t.Fatal(err)
		}
		c.ask("USDT-TRC20", "20", out).refused(t, 403, "SENDING_BLOCKED")
		w.exec(`UPDATE wallet_customers SET revoked_at = NULL WHERE user_id = $1`, c.id)
		if _, err := w.people.FreezeAccount(context.Background(), operator, fmt.Sprint(c.id), "asked"); err != nil {
			t.Fatal(err)
		}
		c.ask("USDT-TRC20", "20", out).refused(t, 403, "ACCOUNT_FROZEN")
		w.exec(`UPDATE users SET status = 'active' WHERE id = $1`, c.id)
		w.exec(`UPDATE gateway_coins SET state = 'mismatched'`)
		w.clock.Advance(time.Minute)
		c.ask("USDT-TRC20", "20", out).refused(t, 503, "WITHDRAWAL_UNAVAILABLE")
		c.kept("USDT-TRC20", "100", "0")
		if n := w.count(`SELECT COUNT(*) FROM withdrawals`); n != 0 || w.trades() != 0 {
			t.Errorf("%d withdrawals", n)
		}
	}, func(_ *world, o *wallet.Options) {
		o.Gateway.WithdrawalMinimums = map[string]int64{"USDT-TRC20": 10 * usdt}
		o.Gateway.WithdrawalLimits = wallet.LimitsByLevel{Unverified: wallet.Limits{Operation: 50 * usdt}, Verified: wallet.Limits{Operation: 50 * usdt}}
	})
}

// Taps of one finger are one withdrawal, with one answer. Another amount, or the same after a while, is another one.
func TestRepeatedTaps(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		var ids sync.Map
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() { ids.Store(c.withdraw("USDT-TRC20", "100", out), true) })
		}
		all.Wait()
		n := 0
		ids.Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("%d withdrawals", n)
		}
		c.kept("USDT-TRC20", "0", "100")
		w.fund(c, "USDT-TRC20", "100")
		first := c.withdraw("USDT-TRC20", "10", out)
		// The app waits for a minute, and then the customer taps again.
		for _, after := range []time.Duration{61 * time.Second, 118 * time.Second} {
			w.clock.Advance(after)
			if again := c.withdraw("USDT-TRC20", "10.0", out); again != first {
				t.Error("within three minutes it is another one")
			}
		}
		w.clock.Advance(2 * time.Second)
		if again := c.withdraw("USDT-TRC20", "10", out); again == first {
			t.Error("after three minutes it is the same")
		}
		if c.withdraw("USDT-TRC20", "10", "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH") == first {
			t.Error("to another address it is the same")
		}
		c.kept("USDT-TRC20", "70", "130")
	})
}

// A withdrawal that came to nothing does not hide an equal one before it that goes on.
func TestRefusedWithdrawalHidesNoOther(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "2000")
		request := wallet.WithdrawalRequest{Currency: "USDT-TRC20", Amount: "600", Address: out} // so much waits for an operator
		first := c.withdraw("USDT-TRC20", "600", out)
		w.clock.Advance(time.Second)
		request.Key = "a key of this request"
		keyed, err := w.RequestWithdrawal(context.Background(), identity.Customer{ID: c.id}, request)
		if err != nil || keyed.ID == first {
			t.Fatalf("with a key: %+v, %v", keyed, err)
		}
		if _, err := w.RefuseWithdrawal(context.Background(), operator, keyed.ID, "asked for by mistake"); err != nil {
			t.Fatal(err)
		}
		if again := c.withdraw("USDT-TRC20", "600", out); again != first {
			t.Errorf("withdrawal %d, and %d goes on", again, first)
		}
		c.kept("USDT-TRC20", "1400", "600")
	})
}

// A key names one withdrawal, also when the edge has lost its answer to a crash; another key is another wish.
func TestWithdrawalsWithKeys(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c, other := w.customer(), w.customer()
		w.fund(c, "USDT-TRC20", "100")
		w.fund(other, "USDT-TRC20", "100")
		ask := func(c *customer, key, amount, address string) (int64, error) {
			done, err := w.RequestWithdrawal(context.Background(), identity.Customer{ID: c.id},
				wallet.WithdrawalRequest{Currency: "USDT-TRC20", Amount: amount, Address: address, Key: key})
			return done.ID, err
		}
		var ids sync.Map
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				id, err := ask(c, "key-of-the-first", "10", out)
				if err != nil {
					t.Error(err)
				}
				ids.Store(id, true)
			})
		}
		all.Wait()
		first, err := ask(c, "key-of-the-first", "10", out)
		if err != nil {
			t.Fatal(err)
		}
		ids.Range(func(id, _ any) bool {
			if id != first {
				t.Errorf("one key, and withdrawals %d and %d", first, id)
			}
			return true
		})
		w.clock.Advance(time.Hour)
		if again, err := ask(c, "key-of-the-first", "10.00", out); err != nil || again != first {
			t.Errorf("an hour later: %d, %v", again, err)
		}
		for _, second := range []error{
			second(ask(c, "key-of-the-first", "11", out)), second(ask(c, "key-of-the-first", "10", "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH")),
		} {
			if !errors.Is(second, api.ErrKeyReused) {
				t.Errorf("the key of another request: %v", second)
			}
		}
		if id, err := ask(c, "key-of-the-second", "10", out); err != nil || id == first {
			t.Errorf("another key: %d, %v", id, err)
		}
		if id, err := ask(other, "key-of-the-first", "10", out); err != nil || id == first {
			t.Errorf("another customer's key: %d, %v", id, err)
		}
		c.kept("USDT-TRC20", "80", "20")
		// Through the edge, whose own memory is gone.
		for range 2 {
			r := w.call(http.MethodPost, "/wallet/withdrawal", c.access, `{"currency":"USDT-TRC20","amount":12,"address":"`+out+`"}`, "Idempotency-Key", "key-of-the-third")
			if r.status != http.StatusOK {
				t.Errorf("%d %s", r.status, r.raw)
			}
			w.exec(`DELETE FROM idempotency_keys`)
			w.clock.Advance(10 * time.Minute)
		}
		c.kept("USDT-TRC20", "68", "32")
	})
}

// Every withdrawal costs us a fee of the chain: there are minimums without any setting, and only so many a day.
func TestManySmallWithdrawals(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		for _, amount := range []string{"0.000001", "4.999999"} {
			c.ask("USDT-TRC20", amount, out).refused(t, 400, "WITHDRAWAL_MINIMUM")
		}
		for i := range 3 {
			c.withdraw("USDT-TRC20", fmt.Sprint(5+i), out)
		}
		c.ask("USDT-TRC20", "9", out).refused(t, 400, "WITHDRAWAL_DAY_COUNT")
		c.withdraw("USDT-TRC20", "5", out) // the first once more
		c.kept("USDT-TRC20", "82", "18")
		w.clock.Advance(24 * time.Hour)
		if _, err := w.RequestWithdrawal(context.Background(), identity.Customer{ID: c.id}, wallet.WithdrawalRequest{Currency: "USDT-TRC20", Amount: "9", Address: out}); err != nil {
			t.Error(err)
		}
	}, func(_ *world, o *wallet.Options) { o.Gateway.WithdrawalsPerDay = 3 })
}

// Withdrawals that are small one by one wait for an operator like a large one.
func TestApprovalOfTheDay(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "3000")
		w.is(c.withdraw("USDT-TRC20", "499", out), wallet.Ordered)
		w.is(c.withdraw("USDT-TRC20", "501", out), wallet.Ordered)
		id := c.withdraw("USDT-TRC20", "5", out)
		if f := w.is(id, wallet.InReview); f.WaitsFor != wallet.WaitsForLimit {
			t.Errorf("waits for %q", f.WaitsFor)
		}
		// What came to nothing does not count.
		if _, err := w.RefuseWithdrawal(context.Background(), operator, id, "a test"); err != nil {
			t.Fatal(err)
		}
		w.is(c.withdraw("USDT-TRC20", "6", out), wallet.InReview)
		if n := w.trades(); n != 2 {
			t.Errorf("%d orders", n)
		}
	})
}

// tronAddresses are n different addresses.
func tronAddresses(n int) (list []string) {
	for i := range n {
		list = append(list, wallet.TronAddress([20]byte{19: byte(i + 1)}))
	}
	return list
}

// Sixty-four at once of the whole balance, each to another address: exactly one. Then as many within a limit of a day: exactly what it
// allows.
func TestParallelWithdrawals(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		addresses := tronAddresses(64)
		storm := func(amount string) (taken int64, refusals map[string]int) {
			var n atomic.Int64
			var mu sync.Mutex
			refusals = map[string]int{}
			var all sync.WaitGroup
			for _, address := range addresses {
				all.Go(func() {
					r := c.ask("USDT-TRC20", amount, address)
					if r.status == http.StatusOK {
						n.Add(1)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					refusals[r.text("code")]++
				})
			}
			all.Wait()
			return n.Load(), refusals
		}
		if taken, refusals := storm("100"); taken != 1 || refusals["INSUFFICIENT_BALANCE"] != 63 {
			t.Errorf("%d taken, %v", taken, refusals)
		}
		c.kept("USDT-TRC20", "0", "100")
		w.eventually("one order", func() bool { return w.trades() == 1 })
		w.fund(c, "USDT-TRC20", "1000")
		if taken, refusals := storm("30"); taken != 6 || refusals["DAY_LIMIT"] != 58 { // 100 of 300 are gone
			t.Errorf("%d taken, %v", taken, refusals)
		}
		c.kept("USDT-TRC20", "820", "280")
		w.clock.Advance(24 * time.Hour)
		if _, err := w.RequestWithdrawal(context.Background(), identity.Customer{ID: c.id}, wallet.WithdrawalRequest{Currency: "USDT-TRC20", Amount: "30", Address: out}); err != nil {
			t.Error(err)
		}
	}, func(_ *world, o *wallet.Options) {
		o.Gateway.WithdrawalLimits = wallet.LimitsByLevel{Unverified: wallet.Limits{Day: 300 * usdt}}
	})
}

func TestOperatorsDecide(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c := w.customer()
		w.fund(c, "USDT-TRC20", "10000")
		ask := func(amount string) int64 { return c.withdraw("USDT-TRC20", amount, out) }
		id := ask("1000.000001")
		subject := fmt.Sprintf("withdrawal %d", id)
		if got := w.open(subject); !slices.Equal(got, []string{"wallet_withdrawal_approval"}) {
			t.Errorf("cases %v", got)
		}
		if w.trades() != 0 {
			t.Error("sent without approval")
		}
		if list, err := w.ListWithdrawals(ctx, wallet.WithdrawalFilter{States: []wallet.WithdrawalState{wallet.InReview}, Limit: 10}); err != nil || len(list) != 1 {
			t.Errorf("waiting: %+v, %v", list, err)
		}
		// While the customer is frozen nobody sends.
		if _, err := w.people.FreezeAccount(ctx, operator, fmt.Sprint(c.id), "asked"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.ApproveWithdrawal(ctx, operator, id, "looks fine"); err == nil {
			t.Error("approved although the customer is frozen")
		}
		if _, err := w.people.UnfreezeAccount(ctx, operator, fmt.Sprint(c.id), "asked"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.ApproveWithdrawal(ctx, operator, id, " "); err == nil {
			t.Error("approved without a reason")
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := w.ApproveWithdrawal(ctx, operator, id, "looks fine"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		w.is(id, wallet.Ordered)
		if n := w.count(`SELECT COUNT(*) FROM audit_log WHERE action = 'withdrawal.approved'`); n != 1 {
			t.Errorf("%d lines of audit", n)
		}
		if got := w.open(subject); len(got) != 0 || w.trades() != 1 {
			t.Errorf("cases %v, %d orders", got, w.trades())
		}
		if _, err := w.RefuseWithdrawal(ctx, operator, id, "too late"); err == nil {
			t.Error("refused although the gateway has it")
		}

		// One approves and one refuses at the same moment: it is sent, or the money is back.
		for i := range 6 {
			id := ask(fmt.Sprint(1100 + i))
			var all sync.WaitGroup
			all.Go(func() { _, _ = w.ApproveWithdrawal(ctx, operator, id, "yes") })
			all.Go(func() { _, _ = w.RefuseWithdrawal(ctx, operator, id, "no") })
			all.Wait()
			f, err := w.ShowWithdrawal(ctx, id)
			if err != nil || f.State == wallet.InReview {
				t.Errorf("%+v, %v", f, err)
			}
			if f.State != wallet.Declined {
				w.is(id, wallet.Ordered)
				if _, err := w.settle(id, false, "asked the gateway"); err != nil {
					t.Error(err)
				}
			}
		}
		c.kept("USDT-TRC20", "8999.999999", "1000.000001")

		// Settled by hand, once.
		for _, succeeded := range []bool{true, true, false} {
			_, err := w.settle(id, succeeded, "seen on chain")
			if (err == nil) != succeeded {
				t.Errorf("settled as %t: %v", succeeded, err)
			}
		}
		c.kept("USDT-TRC20", "8999.999999", "0")
		w.book("USDT-TRC20", "8999.999999", "0", "0")
		for _, err := range []error{
			second(w.ApproveWithdrawal(ctx, operator, 999, "x")), second(w.settle(ask("2000"), true, "x")),
		} {
			if err == nil {
				t.Error("no error")
			}
		}
	})
}

// The customer is frozen between the approval and the order: it waits for an operator once more.
func TestFrozenBeforeTheOrder(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c := w.customer()
		c.grant("USDT-TRC20", "100")
		id := c.withdraw("USDT-TRC20", "40", out)
		w.eventually("an order that cannot be placed", func() bool {
			f, _ := w.ShowWithdrawal(ctx, id)
			return f.Attempts > 0 && f.State == wallet.Approved
		})
		if _, err := w.people.FreezeAccount(ctx, operator, fmt.Sprint(c.id), "asked"); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Hour)
		f := w.is(id, wallet.InReview)
		if got := w.open(fmt.Sprintf("withdrawal %d", id)); f.WaitsFor != wallet.WaitsForCustomer || !slices.Equal(got, []string{"wallet_withdrawal_approval"}) {
			t.Errorf("waits for %q, cases %v", f.WaitsFor, got)
		}
		c.kept("USDT-TRC20", "60", "40")
		if _, err := w.RefuseWithdrawal(ctx, operator, id, "frozen for good"); err != nil {
			t.Fatal(err)
		}
		c.kept("USDT-TRC20", "100", "0")
	}, func(_ *world, o *wallet.Options) {
		closed, err := udun.NewClient(udun.Config{BaseURL: "http://127.0.0.1:1/udun", MerchantID: "300011", APIKey: secret.NewText(gatewayKey), CallURL: "http://127.0.0.1:1/"})
		if err != nil {
			panic(err)
		}
		o.Gateway.Client = closed
	}, coinsKnown)
}

// The owner sees a withdrawal that she did not ask for and changes her password: nothing leaves until the block is over, whoever approves.
func TestBlockedBeforeTheOrder(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "10000")
		id := c.withdraw("USDT-TRC20", "5000", out)
		w.exec(`UPDATE users SET withdrawals_blocked_until = $2 WHERE id = $1`, c.id, w.clock.Now().Add(24*time.Hour))
		approve := func() error { return second(w.ApproveWithdrawal(context.Background(), operator, id, "looks fine")) }
		if err := approve(); !errors.Is(err, wallet.ErrWithdrawalBarred) {
			t.Errorf("approved: %v", err)
		}
		// Approved before the change, and not ordered yet.
		w.exec(`UPDATE withdrawals SET state = 'approved', next_at = $2 WHERE id = $1`, id, w.clock.Now())
		if f := w.is(id, wallet.InReview); f.WaitsFor != wallet.WaitsForCustomer || w.trades() != 0 {
			t.Errorf("waits for %q, %d orders", f.WaitsFor, w.trades())
		}
		w.clock.Advance(24 * time.Hour)
		if err := approve(); err != nil {
			t.Error(err)
		}
		w.is(id, wallet.Ordered)
	})
}

// coinsKnown has the coins pass for usable without asking the gateway.
func coinsKnown(w *world, o *wallet.Options) {
	for _, c := range o.Coins {
		w.exec(`INSERT INTO gateway_coins (coin, state, symbol, logo, checked_at) VALUES ($1, 'usable', '', '', $2)`, c.Code, w.clock.Now())
	}
}

// What is not known is ordered again under the same name until it is; the gateway has it once.
func TestUnknownOutcomes(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule fault.Rule
	}{
		{"acts and never answers", fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.ActThenTimeout, Count: 1}},
		{"acts and never answers, three times", fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.ActThenTimeout, Count: 3}},
		{"500 without acting", fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.HTTP500, Count: 2}},
		{"a page of HTML", fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.HTML502, Count: 2}},
		{"code -1", fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.RefuseInit, Message: "-1 no", Count: 2}},
		{"a code that nobody knows", fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.RefuseInit, Message: "4226 ?", Count: 1}},
		{"we are not let in", fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.RefuseInit, Message: "4169 merchant disabled", Count: 2}},
		{"codes as texts", fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.OddNumbers, Count: 9}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lite(t, func(t *testing.T, w *gateWorld) {
				c := w.customer()
				w.fund(c, "USDT-TRC20", "100")
				if err := w.udun.faults.Add(tt.rule); err != nil {
					t.Fatal(err)
				}
				// Callbacks are lost: only the answers tell.
				if err := w.udun.faults.Add(fault.Rule{Provider: "udun", Operation: "callback", Kind: fault.DropWebhook}); err != nil {
					t.Fatal(err)
				}
				id := c.withdraw("USDT-TRC20", "40", out)
				var f wallet.WithdrawalFile
				w.eventually("the gateway to have it", func() bool {
					f, _ = w.ShowWithdrawal(context.Background(), id)
					if f.State == wallet.Declined || f.State == wallet.Broken || f.State == wallet.InReview {
						t.Fatalf("given up: %+v", f)
					}
					if f.NextAt != nil && f.BusyUntil == nil {
						w.clock.Advance(2 * time.Second)
					}
					return f.State == wallet.Ordered
				})
				c.kept("USDT-TRC20", "60", "40")
				if n := w.trades(); n != 1 {
					t.Errorf("%d trades at the gateway", n)
				}
				if n := w.count(`SELECT COUNT(*) FROM operator_cases WHERE kind = 'wallet_gateway_access' AND is_open = 1`); n != 0 {
					t.Errorf("%d cases about access are open", n)
				}
				w.udun.faults.Clear()
				w.decide(f, simudun.Succeeded, simudun.Telling{})
				w.is(id, wallet.Completed)
				c.kept("USDT-TRC20", "60", "0")
				w.agrees()
			})
		})
	}
}

// A refusal releases only if it is about the address and no order before it may have arrived.
func TestRefusedOrders(t *testing.T) {
	for _, tt := range []struct {
		name, message string
		timeout       bool // the first order is not answered
		state         wallet.WithdrawalState
		kinds         []string
	}{
		{"bad address", "596 invalid address", false, wallet.Declined, nil},
		{"bad destination", "4183 bad destination", false, wallet.Declined, nil},
		{"coin not supported", "554 not supported", false, wallet.InReview, []string{"wallet_withdrawal_approval"}},
		{"illegal parameters", "4005 illegal", false, wallet.InReview, []string{"wallet_withdrawal_approval"}},
		{"bad address, after an order without an answer", "596 invalid address", true, wallet.Sending, []string{"wallet_withdrawal_unanswered"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lite(t, func(t *testing.T, w *gateWorld) {
				ctx := context.Background()
				c := w.customer()
				w.fund(c, "USDT-TRC20", "100")
				var rules []fault.Rule
				if tt.timeout {
					rules = append(rules, fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.HTTP500, Count: 1})
				}
				rules = append(rules, fault.Rule{Provider: "udun", Operation: "withdraw", Kind: fault.RefuseInit, Message: tt.message})
				for _, rule := range rules {
					if err := w.udun.faults.Add(rule); err != nil {
						t.Fatal(err)
					}
				}
				id := c.withdraw("USDT-TRC20", "40", out)
				subject := fmt.Sprintf("withdrawal %d", id)
				w.eventually("what must come of it", func() bool {
					if tt.timeout {
						w.clock.Advance(time.Second)
					}
					f, _ := w.ShowWithdrawal(ctx, id)
					return f.State == tt.state && slices.Equal(w.open(subject), tt.kinds)
				})
				if tt.state == wallet.Declined {
					c.kept("USDT-TRC20", "100", "0")
					return
				}
				c.kept("USDT-TRC20", "60", "40")
				w.udun.faults.Clear()
				unanswered := 1
				if tt.state == wallet.InReview {
					unanswered = 0
					w.clock.Advance(2 * time.Hour) // an operator takes their time, which is none in which an order has no answer
					if _, err := w.ApproveWithdrawal(ctx, operator, id, "the coin is switched on now"); err != nil {
						t.Fatal(err)
					}
				}
				w.eventually("the gateway to have it", func() bool {
					w.clock.Advance(5 * time.Second)
					f, _ := w.ShowWithdrawal(ctx, id)
					return f.State == wallet.Ordered
				})
				if got := w.open(subject); len(got) != 0 {
					t.Errorf("cases %v", got)
				}
				if n := w.count(`SELECT COUNT(*) FROM operator_cases WHERE subject = $1 AND kind = 'wallet_withdrawal_unanswered'`, subject); n != unanswered {
					t.Errorf("%d cases of an order without an answer", n)
				}
			})
		})
	}
}

// The process dies between any two lines: before the call, and before its answer is written down. Meanwhile the callback may come.
func TestKilledWhileOrdering(t *testing.T) {
	for _, callbacks := range []bool{true, false} {
		for _, at := range []string{"before the call", "before the answer is kept"} {
			t.Run(fmt.Sprintf("%s, callbacks %t", at, callbacks), func(t *testing.T) {
				t.Parallel()
				lite(t, func(t *testing.T, w *gateWorld) {
					ctx := context.Background()
					c := w.customer()
					w.fund(c, "USDT-TRC20", "5000")
					id := c.withdraw("USDT-TRC20", "2000", out)
					if !callbacks {
						if err := w.udun.faults.Add(fault.Rule{Provider: "udun", Operation: "callback", Kind: fault.DropWebhook}); err != nil {
							t.Fatal(err)
						}
					}
					// Approved, and the job of the approval finds it taken by us.
					w.exec(`UPDATE withdrawals SET state = 'approved', next_at = $2 WHERE id = $1`, id, w.clock.Now().Add(time.Hour))
					if at == "before the call" {
						if n, err := w.BeginOrder(ctx, id); err != nil || n != 1 {
							t.Fatal(n, err)
						}
					} else if err := w.PostAtGateway(ctx, id); err != nil {
						t.Fatal(err)
					}
					if at == "before the call" || !callbacks {
						w.is(id, wallet.Sending)
						if err := w.PursueWithdrawal(ctx, id); err != nil { // the lease is held
							t.Error(err)
						}
						if f := w.is(id, wallet.Sending); f.Attempts != 1 {
							t.Errorf("%d orders", f.Attempts)
						}
						w.clock.Advance(10 * time.Minute)
					}
					f := w.is(id, wallet.Ordered)
					if w.trades() != 1 {
						t.Errorf("%d trades", w.trades())
					}
					w.udun.faults.Clear()
					w.decide(f, simudun.Succeeded, simudun.Telling{})
					w.is(id, wallet.Completed)
					c.kept("USDT-TRC20", "3000", "0")
					w.agrees()
				})
			})
		}
	}
}

// An operator looks at the gateway, which has nothing, and orders go on meanwhile: what was seen then does not give the money back.
func TestSettledByWhatWasSeen(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c := w.customer()
		w.fund(c, "USDT-TRC20", "5000")
		if err := w.udun.faults.Add(fault.Rule{Provider: "udun", Operation: "callback", Kind: fault.DropWebhook}); err != nil {
			t.Fatal(err)
		}
		settle := func(id, version int64) error {
			return second(w.SettleWithdrawal(ctx, operator, id, version, false, "nothing at the gateway"))
		}
		begin := func(amount string) int64 {
			id := c.withdraw("USDT-TRC20", amount, out)
			// Approved, and the job of the approval finds it taken by us.
			w.exec(`UPDATE withdrawals SET state = 'approved', next_at = $2 WHERE id = $1`, id, w.clock.Now().Add(time.Hour))
			if n, err := w.BeginOrder(ctx, id); err != nil || n != 1 {
				t.Fatal(n, err)
			}
			return id
		}
		id := begin("2000")
		seen := w.is(id, wallet.Sending)
		if err := settle(id, seen.Version); !errors.Is(err, wallet.ErrWithdrawalChanged) {
			t.Errorf("settled with an order under way: %v", err)
		}
		w.clock.Advance(10 * time.Minute)
		w.is(id, wallet.Ordered)
		if err := settle(id, seen.Version); !errors.Is(err, wallet.ErrWithdrawalChanged) {
			t.Errorf("settled by what was seen before the order: %v", err)
		}
		c.kept("USDT-TRC20", "3000", "2000")

		// Settled when the order's lease was over, and its answer comes after all.
		id = begin("1500")
		w.exec(`UPDATE withdrawals SET busy_until = $2, next_at = $3 WHERE id = $1`, id, w.clock.Now().Add(-time.Second), w.clock.Now().Add(time.Hour))
		if err := settle(id, w.is(id, wallet.Sending).Version); err != nil {
			t.Fatal(err)
		}
		if err := w.AnswerOrder(ctx, id); err != nil {
			t.Fatal(err)
		}
		if got := w.open(fmt.Sprintf("withdrawal %d", id)); !slices.Equal(got, []string{"wallet_withdrawal_contradiction"}) {
			t.Errorf("cases %v", got)
		}
		c.kept("USDT-TRC20", "3000", "2000")
	})
}

// Every callback about a withdrawal is lost. Nothing is released; after a day a person is told, and settles it.
func TestLostCallbacks(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		ctx := context.Background()
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		if err := w.udun.faults.Add(fault.Rule{Provider: "udun", Operation: "callback", Kind: fault.DropWebhook}); err != nil {
			t.Fatal(err)
		}
		id := c.withdraw("USDT-TRC20", "40", out)
		f := w.is(id, wallet.Ordered)
		w.decide(f, simudun.Succeeded, simudun.Telling{})
		w.clock.Advance(23 * time.Hour)
		if list, err := w.Reconcile(ctx); err != nil || slices.ContainsFunc(list, func(r wallet.Reconciliation) bool { return !r.Difference.IsZero() }) {
			t.Errorf("a withdrawal that is under way passes for a difference: %+v, %v", list, err)
		}
		subject := fmt.Sprintf("withdrawal %d", id)
		if got := w.open(subject); len(got) != 0 {
			t.Errorf("cases %v", got)
		}
		w.clock.Advance(2 * time.Hour)
		w.eventually("a case", func() bool { return slices.Equal(w.open(subject), []string{"wallet_withdrawal_silent"}) })
		c.kept("USDT-TRC20", "60", "40")
		if _, err := w.settle(id, true, "seen on chain"); err != nil {
			t.Fatal(err)
		}
		c.kept("USDT-TRC20", "60", "0")
		if got := w.open(subject); len(got) != 0 {
			t.Errorf("cases %v", got)
		}
		w.agrees()
	})
}

// What the gateway says about another amount, address, coin or trade, or about an order that is none of ours, is for a person.
func TestContradictingCallbacks(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "100")
		id := c.withdraw("USDT-TRC20", "41", out)
		f := w.is(id, wallet.Ordered)
		w.eventually("its trade", func() bool {
			f, _ = w.ShowWithdrawal(context.Background(), id)
			return f.TradeID != ""
		})
		subject := fmt.Sprintf("withdrawal %d", id)
		said := func(pairs ...any) fields {
			body := fields{"tradeId": f.TradeID, "tradeType": 2, "status": 3, "address": out, "mainCoinType": "195", "coinType": "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t",
				"amount": "40000000", "decimals": "6", "fee": "0", "txId": "aa11", "businessId": f.BusinessID}
			for i := 0; i+1 < len(pairs); i += 2 {
				body[pairs[i].(string)] = pairs[i+1]
			}
			return body
		}
		for name, body := range map[string]fields{
			"amount": said("amount", "40000001"), "address": said("address", "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"), "coin": said("coinType", "195"),
			"decimals": said("decimals", "8"), "trade": said("tradeId", "77"),
		} {
			w.say(body)
			w.idle()
			if got := w.open(subject); !slices.Equal(got, []string{"wallet_withdrawal_contradiction"}) {
				t.Errorf("%s: cases %v", name, got)
			}
			w.exec(`UPDATE operator_cases SET is_open = NULL`)
			c.kept("USDT-TRC20", "59", "41")
		}
		w.say(said("businessId", "somebody-elses", "tradeId", "78"))
		w.say(said("businessId", "", "tradeId", "79"))
		w.idle()
		for _, trade := range []string{"trade 78", "trade 79"} {
			if got := w.open(trade); !slices.Equal(got, []string{"wallet_withdrawal_unknown"}) {
				t.Errorf("%s: cases %v", trade, got)
			}
		}
		// Failed with a transaction on chain: not released before somebody has looked.
		w.say(said("status", 4))
		w.idle()
		c.kept("USDT-TRC20", "59", "41")
		if got := w.open(subject); !slices.Equal(got, []string{"wallet_withdrawal_failed_hash"}) {
			t.Errorf("cases %v", got)
		}
		if _, err := w.settle(id, false, "the chain does not have it"); err != nil {
			t.Fatal(err)
		}
		c.kept("USDT-TRC20", "100", "0")

		// In any order, all at once: the end is the end.
		id = c.withdraw("USDT-TRC20", "41", "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH")
		w.is(id, wallet.Ordered)
		w.eventually("its trade", func() bool {
			f, _ = w.ShowWithdrawal(context.Background(), id)
			return f.TradeID != ""
		})
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() {
				w.say(said("tradeId", f.TradeID, "businessId", f.BusinessID, "address", "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH", "status", []int{0, 1, 3}[i%3], "memo", fmt.Sprint(i)))
			})
		}
		all.Wait()
		w.idle()
		w.is(id, wallet.Completed)
		c.kept("USDT-TRC20", "59", "0")
		if got := w.open(fmt.Sprintf("withdrawal %d", id)); len(got) != 0 {
			t.Errorf("cases %v", got)
		}
	}, withFee)
}

// Ordered with auto-pay, small amounts are paid without anybody's click; larger ones wait for the gateway's review all the same.
func TestAutoPay(t *testing.T) {
	t.Parallel()
	lite(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.fund(c, "USDT-TRC20", "2000")
		small, large := c.withdraw("USDT-TRC20", "20", out), c.withdraw("USDT-TRC20", "1500", out)
		w.is(large, wallet.Ordered)
		w.is(small, wallet.Processing)
		w.clock.Advance(2 * time.Second)
		w.is(small, wallet.Completed)
		if f := w.is(large, wallet.Ordered); f.Said > udun.StatusWaiting {
			t.Errorf("the gateway says %s", f.Said)
		}
		c.kept("USDT-TRC20", "480", "1500")
	}, func(_ *world, o *wallet.Options) { o.Gateway.AutoPay, o.Gateway.AutomaticLimit = true, 5000*usdt })
}
