package wallet_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// transferred is contract/money 2.5, in the types of the app.
type transferred struct {
	Status       string  `json:"status"`
	Message      string  `json:"message"`
	Currency     string  `json:"currency"`
	NewBalance   float64 `json:"new_balance"`
	RecipientUID int64   `json:"recipient_uid"`
	WalletID     string  `json:"recipient_wallet_id"`
	Transaction  int64   `json:"transaction_id"`
}

func TestTransfer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		amina.grant("USDT-TRC20", "12.5")
		amina.grant("BTC", "0.00000003")
		r := amina.send(bo.id, "USDT-TRC20", "10.0")
		var got transferred
		r.into(t, &got)
		want := transferred{"success", got.Message, "USDT-TRC20", 2.5, bo.id, bo.ref, got.Transaction}
		if got != want || !strings.HasPrefix(got.WalletID, "CCP") || got.Transaction == 0 || got.Message != "The transfer has been made." {
			t.Errorf("%s", r.raw)
		}
		amina.has("USDT-TRC20", "2.5")
		bo.has("USDT-TRC20", "10")
		for _, c := range []*customer{amina, bo} {
			if n := w.count(`SELECT COUNT(*) FROM wallet_entries WHERE user_id = $1 AND source_id = $2`, c.id, got.Transaction); n != 1 {
				t.Errorf("%d lines of history", n)
			}
		}
		// The least unit there is, under the other form of the path.
		r = w.call(http.MethodPost, "/api/v1/wallet/transfer-by-uid/", amina.access,
			fmt.Sprintf(`{"amount":1e-8,"currency":"BTC","recipient_uid":%d,"transaction_password":"%s"}`, bo.id, pin), "Accept-Language", "zh")
		r.into(t, &got)
		if got.NewBalance != 2e-8 || got.Message != "转账成功。" {
			t.Errorf("%s", r.raw)
		}
		bo.has("BTC", "0.00000001")
		// Back, by one who never had a coin before.
		bo.send(amina.id, "BTC", "1.0E-8").into(t, &got)
		amina.has("BTC", "0.00000003")
	})
}

// What is asked for is either moved exactly as it is written, or refused.
func TestTransferAmounts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		amina.grant("USDT-TRC20", "100")
		amina.grant("ETH", "1")
		for _, c := range []struct {
			currency, amount string
			status           int
			code             string
		}{
			{"USDT-TRC20", "0", 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "0.000000", 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "0e5", 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "-0.0", 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "-1", 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "-0.000001", 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "1e-7", 400, "AMOUNT_TOO_PRECISE"},
			{"USDT-TRC20", "0.0000001", 400, "AMOUNT_TOO_PRECISE"},
			{"USDT-TRC20", "1.0000001", 400, "AMOUNT_TOO_PRECISE"},
			{"ETH", "0.000000001", 400, "AMOUNT_TOO_PRECISE"},
			{"USDT-TRC20", "1e30", 400, "AMOUNT_TOO_LARGE"},
			{"USDT-TRC20", "9223372036854.775808", 400, "AMOUNT_TOO_LARGE"},
			{"USDT-TRC20", "1234567890123456789012345678901234567890", 400, "AMOUNT_TOO_LARGE"},
			{"USDT-TRC20", "1e200", 400, "AMOUNT_TOO_LARGE"},
			{"USDT-TRC20", "1e-200", 400, "AMOUNT_TOO_PRECISE"},
			{"USDT-TRC20", "1e-999999999", 400, "AMOUNT_TOO_PRECISE"},
			{"USDT-TRC20", "0e999999999", 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "-1e309", 400, "AMOUNT_NOT_POSITIVE"},
			{"USDT-TRC20", "9223372036854.775807", 400, "INSUFFICIENT_BALANCE"},
			{"USDT-TRC20", "100.000001", 400, "INSUFFICIENT_BALANCE"},
			{"ETH", "1.00000001", 400, "INSUFFICIENT_BALANCE"},
			{"LTC", "1", 400, "INSUFFICIENT_BALANCE"},
			{"USDT-TRC20", "null", 400, "AMOUNT_INVALID"},
			{"USDT-TRC20", "1e309", 400, "AMOUNT_TOO_LARGE"},
			{"USDT-TRC20", `"12"`, 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", "NaN", 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", "Infinity", 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", "0x10", 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", "+1", 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", "01", 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", "1.", 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", `1,"amount":2`, 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", `1,"Amount":2`, 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", "[1]", 422, "MALFORMED_REQUEST"},
			{"USDT-TRC20", "true", 422, "MALFORMED_REQUEST"},
			{"HKD", "1", 400, "CURRENCY_UNKNOWN"},
			{"USDT", "1", 400, "CURRENCY_UNKNOWN"},
			{"usdt-trc20", "1", 400, "CURRENCY_UNKNOWN"},
			{"", "1", 400, "CURRENCY_UNKNOWN"},
		} {
			t.Run(c.currency+" "+c.amount, func(t *testing.T) { amina.send(bo.id, c.currency, c.amount).refused(t, c.status, c.code) })
		}
		if text := amina.send(bo.id, "USDT-TRC20", "1e-7").text("message"); !strings.Contains(text, "6 decimals") {
			t.Errorf("how many decimals are there? %s", text)
		}
		amina.has("USDT-TRC20", "100")
		amina.has("ETH", "1")
		amina.send(bo.id, "USDT-TRC20", "100.000000000").into(t, &transferred{})
		bo.has("USDT-TRC20", "100")
	})
}

func TestTransferIsRefused(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo, frozen, closed := w.customer(), w.customer(), w.customer(), w.customer()
		for _, c := range []*customer{amina, frozen} {
			c.grant("USDT-TRC20", "100")
		}
		if _, err := w.people.FreezeAccount(context.Background(), operator, frozen.email, "a test"); err != nil {
			t.Fatal(err)
		}
		if _, err := w.people.CloseAccount(context.Background(), operator, closed.email, "a test"); err != nil {
			t.Fatal(err)
		}
		accounts := w.count(`SELECT COUNT(*) FROM ledger_accounts`)
		amina.send(amina.id, "USDT-TRC20", "1").refused(t, 400, "TRANSFER_TO_SELF")
		for _, id := range []int64{0, -1, closed.id + 1, 1 << 40, 1<<63 - 1} {
			amina.send(id, "USDT-TRC20", "1").refused(t, 404, "RECIPIENT_NOT_FOUND")
		}
		if n := w.count(`SELECT COUNT(*) FROM ledger_accounts`); n != accounts {
			t.Errorf("%d accounts were made for nobody", n-accounts)
		}
		amina.send(closed.id, "USDT-TRC20", "1").refused(t, 404, "RECIPIENT_NOT_FOUND")
		frozen.send(bo.id, "USDT-TRC20", "1").refused(t, 403, "ACCOUNT_FROZEN")
		closed.send(bo.id, "USDT-TRC20", "1").refused(t, 401, "UNAUTHENTICATED")
		amina.sendWith("111222", bo.id, "USDT-TRC20", "1").refused(t, 400, "TRANSACTION_PASSWORD_WRONG")
		for _, description := range []string{strings.Repeat("ä", 201), `two\nlines`, `\u202eturned`} {
			body := fmt.Sprintf(`{"amount":1,"currency":"USDT-TRC20","description":"%s","recipient_uid":%d,"transaction_password":"%s"}`, description, bo.id, pin)
			w.call("POST", "/wallet/transfer-by-uid", amina.access, body).refused(t, 400, "DESCRIPTION_INVALID")
		}
		w.call("POST", "/wallet/transfer-by-uid", amina.access, `{"amount":1,"currency":"BTC","recipient_uid":"9","transaction_password":"739154"}`).
			refused(t, 422, "MALFORMED_REQUEST")
		w.call("POST", "/wallet/transfer-by-uid", "", `{}`).refused(t, 401, "UNAUTHENTICATED")
		w.call("POST", "/wallet/transfer-by-uid", amina.access, `{}`).refused(t, 400, "CURRENCY_UNKNOWN")
		amina.has("USDT-TRC20", "100")
		bo.has("USDT-TRC20", "0")
		if n := w.count(`SELECT COUNT(*) FROM wallet_entries`); n != 0 {
			t.Errorf("%d lines of history of what did not happen", n)
		}

		// Who is frozen may receive.
		amina.send(frozen.id, "USDT-TRC20", "1").into(t, &transferred{})
		frozen.has("USDT-TRC20", "101")

		// A session that has ended is one, also between the check of its token and the transfer.
		w.exec(`UPDATE sessions SET revoked_at = $2 WHERE user_id = $1`, amina.id, w.clock.Now())
		amina.send(bo.id, "USDT-TRC20", "1").refused(t, 401, "UNAUTHENTICATED")
	})
}

// A verification that was revoked keeps from sending until there is another one. Receiving goes on.
func TestRevokedCustomersCannotSend(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		amina.grant("USDT-TRC20", "100")
		bo.grant("USDT-TRC20", "100")
		revoke := func(ctx context.Context, tx db.Tx) error { return w.Revoke(ctx, tx, amina.id) }
		for range 2 {
			if err := w.db.RunTx(t.Context(), revoke); err != nil {
				t.Fatal(err)
			}
		}
		amina.send(bo.id, "USDT-TRC20", "1").refused(t, 403, "SENDING_BLOCKED")
		bo.send(amina.id, "USDT-TRC20", "1").into(t, &transferred{})
		verify(w, amina)
		amina.send(bo.id, "USDT-TRC20", "1").into(t, &transferred{})
	})
}

func verify(w *world, c *customer) {
	w.t.Helper()
	if err := w.db.RunTx(context.Background(), func(ctx context.Context, tx db.Tx) error { return w.people.SetKYCStatus(ctx, tx, c.id, "verified") }); err != nil {
		w.t.Fatal(err)
	}
}

// parallel calls n times at once and counts the answers by code; "" is success.
func parallel(n int, call func(i int) reply) map[string]int {
	var mu sync.Mutex
	var running sync.WaitGroup
	codes := map[string]int{}
	for i := range n {
		running.Go(func() {
			r := call(i)
			mu.Lock()
			defer mu.Unlock()
			codes[r.text("code")]++
		})
	}
	running.Wait()
	return codes
}

func TestWholeBalanceIsSentOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo, cleo := w.customer(), w.customer(), w.customer()
		amina.grant("USDT-TRC20", "50")
		codes := parallel(64, func(i int) reply {
			return amina.send([]int64{bo.id, cleo.id}[i%2], "USDT-TRC20", "50")
		})
		if codes[""] != 1 || codes["INSUFFICIENT_BALANCE"] != 63 {
			t.Errorf("%v", codes)
		}
		amina.has("USDT-TRC20", "0")
		if bo.balance("USDT-TRC20")+cleo.balance("USDT-TRC20") != 50_000_000 {
			t.Error("the money is not all there")
		}
		checkHistory(t, w, amina, bo, cleo)
	})
}

// Whatever is guessed at once, no more than five guesses are judged.
func TestGuessesInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		amina.grant("USDT-TRC20", "100")
		codes := parallel(40, func(i int) reply { return amina.sendWith(fmt.Sprintf("%06d", 100100+7*i), bo.id, "USDT-TRC20", "1") })
		if codes["TRANSACTION_PASSWORD_WRONG"] != 4 || codes["TRANSACTION_PASSWORD_LOCKED"] != 36 {
			t.Errorf("%v", codes)
		}
		r := amina.send(bo.id, "USDT-TRC20", "1") // right, and too late
		r.refused(t, 429, "TRANSACTION_PASSWORD_LOCKED")
		if r.header.Get("Retry-After") == "" {
			t.Error("no word on how long")
		}
		w.clock.Advance(16 * time.Minute)
		amina.send(bo.id, "USDT-TRC20", "1").into(t, &transferred{})
		amina.has("USDT-TRC20", "99")
	})
}

func TestTransferLimits(t *testing.T) {
	limits := func(_ *world, o *wallet.Options) {
		o.TransferLimits = wallet.LimitsByLevel{
			Unverified: wallet.Limits{Operation: 100_000_000, Day: 150_000_000},
			Verified:   wallet.Limits{Operation: 1000_000_000},
		}
		o.Prices = prices{"BTC": "60000.5", "ETH": "0.00000001"}
	}
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		for _, coin := range []string{"USDT-TRC20", "USDT-ERC20", "BTC", "LTC", "ETH"} {
			amina.grant(coin, "5000")
		}
		amina.send(bo.id, "USDT-TRC20", "100.000001").refused(t, 400, "OPERATION_LIMIT")
		amina.send(bo.id, "BTC", "0.00166666").refused(t, 400, "OPERATION_LIMIT") // worth 100.00043333
		amina.send(bo.id, "LTC", "1").refused(t, 503, "PRICE_UNAVAILABLE")
		amina.send(bo.id, "USDT-TRC20", "100").into(t, &transferred{})
		amina.send(bo.id, "USDT-ERC20", "40").into(t, &transferred{})
		r := amina.send(bo.id, "USDT-TRC20", "10.000001")
		r.refused(t, 400, "DAY_LIMIT")
		if !strings.Contains(r.text("message"), "150 USDT") || !strings.Contains(r.text("message"), "10 USDT") {
			t.Error(r.text("message"))
		}
		amina.send(bo.id, "BTC", "0.00016666").into(t, &transferred{}) // worth 9.99968333
		amina.send(bo.id, "ETH", "1").into(t, &transferred{})          // worth less than can be counted, and counted as a millionth
		if n := w.count(`SELECT transferred FROM wallet_customers WHERE user_id = $1`, amina.id); n != 149_999_685 {
			t.Errorf("%d millionths", n)
		}
		verify(w, amina)
		amina.send(bo.id, "USDT-TRC20", "1000").into(t, &transferred{})
		amina.send(bo.id, "USDT-TRC20", "1000").into(t, &transferred{})
		amina.send(bo.id, "USDT-TRC20", "1000.1").refused(t, 400, "OPERATION_LIMIT")

		// What is received, or refused, is not counted; the next day begins anew.
		bo.send(amina.id, "USDT-TRC20", "100").into(t, &transferred{})
		w.clock.Advance(14*time.Hour + 59*time.Minute)
		bo.send(amina.id, "USDT-TRC20", "50.1").refused(t, 400, "DAY_LIMIT")
		w.clock.Advance(time.Minute) // midnight in UTC
		bo.send(amina.id, "USDT-TRC20", "100").into(t, &transferred{})
		// A replica whose clock is behind does not give the day before back.
		w.clock.Advance(-time.Minute)
		bo.send(amina.id, "USDT-TRC20", "50.1").refused(t, 400, "DAY_LIMIT")
	}, limits)
}

// The limit of a day holds to the unit, whatever comes at once.
func TestDayLimitInParallel(t *testing.T) {
	limits := func(_ *world, o *wallet.Options) {
		o.TransferLimits.Unverified = wallet.Limits{Day: 100_000_000}
	}
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		amina.grant("USDT-TRC20", "1000")
		codes := parallel(40, func(int) reply { return amina.send(bo.id, "USDT-TRC20", "6") })
		if codes[""] != 16 || codes["DAY_LIMIT"] != 24 {
			t.Errorf("%v", codes)
		}
		bo.has("USDT-TRC20", "96")
		checkHistory(t, w, amina, bo)
	}, limits)
}

func TestTransferWithKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		amina.grant("USDT-TRC20", "100")
		var first, again transferred
		amina.send(bo.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").into(t, &first)
		amina.send(bo.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").into(t, &again)
		if first != again {
			t.Errorf("%+v then %+v", first, again)
		}
		// The answer was never kept: its replica died.
		w.exec(`DELETE FROM idempotency_keys WHERE request_hash IS NOT NULL`)
		amina.send(bo.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").into(t, &again)
		if first != again {
			t.Errorf("%+v then %+v", first, again)
		}
		w.exec(`DELETE FROM idempotency_keys WHERE request_hash IS NOT NULL`)
		amina.send(bo.id, "USDT-TRC20", "30", "Idempotency-Key", "key-of-this-one").refused(t, 422, "IDEMPOTENCY_KEY_REUSED")
		amina.has("USDT-TRC20", "40")
		// To know the key is not to know the password.
		w.exec(`DELETE FROM idempotency_keys WHERE request_hash IS NOT NULL`)
		for range 4 {
			amina.sendWith("111222", bo.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").refused(t, 400, "TRANSACTION_PASSWORD_WRONG")
			w.exec(`DELETE FROM idempotency_keys WHERE request_hash IS NOT NULL`)
		}
		amina.sendWith("111222", bo.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").refused(t, 429, "TRANSACTION_PASSWORD_LOCKED")
		w.clock.Advance(16 * time.Minute)
		amina.send(bo.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").into(t, &again)
		if first != again {
			t.Errorf("%+v then %+v", first, again)
		}
		// Somebody else's key is another one.
		bo.send(amina.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").into(t, &again)
		amina.has("USDT-TRC20", "100")
		checkHistory(t, w, amina, bo)
		// Long after, the key does not pass an old transfer off as a new one.
		w.exec(`DELETE FROM idempotency_keys WHERE request_hash IS NOT NULL`)
		w.clock.Advance(23 * time.Hour)
		amina.send(bo.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").into(t, &again)
		w.exec(`DELETE FROM idempotency_keys WHERE request_hash IS NOT NULL`)
		w.exec(`UPDATE ledger_transactions SET posted_at = $1`, w.clock.Now().Add(-25*time.Hour))
		amina.send(bo.id, "USDT-TRC20", "60", "Idempotency-Key", "key-of-this-one").refused(t, 422, "IDEMPOTENCY_KEY_REUSED")
		amina.has("USDT-TRC20", "100")
	})
}

// Many customers at once, back and forth: nothing is lost or made, every history is whole and in step with the ledger.
func TestTransfersInParallel(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		people := make([]*customer, 6)
		for i := range people {
			people[i] = w.customer()
			people[i].grant("USDT-TRC20", "10")
		}
		codes := parallel(240, func(i int) reply {
			from, to := i%len(people), rand.N(len(people)-1)
			if to >= from {
				to++
			}
			return people[from].send(people[to].id, "USDT-TRC20", fmt.Sprintf("%d.5", rand.N(6)))
		})
		if codes[""] < 40 || codes[""]+codes["INSUFFICIENT_BALANCE"] != 240 {
			t.Errorf("%v", codes)
		}
		sum := int64(0)
		for _, c := range people {
			sum += c.balance("USDT-TRC20")
		}
		if sum != 60_000_000 {
			t.Errorf("%d units of 60000000 are left", sum)
		}
		checkHistory(t, w, people...)
	})
}

// checkHistory verifies the whole book: each transfer stands once in the history of each side, numbered without gaps.
func checkHistory(t testing.TB, w *world, people ...*customer) {
	t.Helper()
	for _, finding := range w.findings() {
		t.Error(finding)
	}
	for _, c := range people {
		if w.count(`SELECT COUNT(*) FROM wallet_entries WHERE user_id = $1`, c.id) == 0 && c.balance("USDT-TRC20") != 0 {
			t.Errorf("customer %d has no history", c.id)
		}
	}
}
