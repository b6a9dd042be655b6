package wallet_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/provider/inbound"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// A replica has stored a call and dies before its job is done: another one does it soon, once.
func TestCallsOfADeadReplica(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		body, err := json.Marshal(told("trade-9", c.address("USDT-TRC20"), "USDT-TRC20", "25000000", 3))
		if err != nil {
			t.Fatal(err)
		}
		m := inbound.Message{Provider: udun.ProviderName, EventID: "9", ContentKey: "9", Signature: "md5", Body: []byte(w.signed(string(body), gatewayKey, w.clock.Now()))}
		store := inbound.NewStore(w.db, w.vault, w.clock)
		if _, err := store.Keep(t.Context(), m, http.Header{}, func(context.Context, db.Tx, int64) error { return nil }); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Minute)
		w.becomes("trade-9", wallet.Credited)
		w.idle()
		if n := w.count(`SELECT COUNT(*) FROM ledger_transactions WHERE kind = 'deposit'`); n != 1 {
			t.Errorf("booked %d times", n)
		}
	})
}
