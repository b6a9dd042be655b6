package wallet_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/comecomepay/comecomepay/internal/ledger"
	simudun "github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// Rows that say something else than the book are found, each in its way, and what belongs to no row is, too.
func TestRowsAndTransactionsBelongTogether(t *testing.T) {
	eachGate(t, func(t *testing.T, w *gateWorld) {
		c := w.customer()
		w.planted = true
		paid := w.deposit(c, "USDT-TRC20", "100", simudun.Deposit{}).TradeID
		d := w.becomes(paid, wallet.Credited)
		done := w.is(c.withdraw("USDT-TRC20", "40", out), wallet.Ordered)
		w.decide(done, simudun.Succeeded, simudun.Telling{})
		w.is(done.ID, wallet.Completed)
		open := w.is(c.withdraw("USDT-TRC20", "10", out), wallet.Ordered)
		found := func() string {
			report, err := w.ledger.Verify(context.Background(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var list []string
			for _, f := range report.Findings {
				list = append(list, f.Check+": "+f.Detail)
			}
			return strings.Join(list, "\n")
		}
		if text := found(); text != "" {
			t.Fatalf("found: %s", text)
		}
		for _, tt := range []struct{ spoil, mend, want string }{
			{fmt.Sprintf(`UPDATE withdrawals SET state = 'failed' WHERE id = %d`, done.ID), fmt.Sprintf(`UPDATE withdrawals SET state = 'completed' WHERE id = %d`, done.ID), "not what its state says"},
			{fmt.Sprintf(`UPDATE withdrawals SET state = 'sent' WHERE id = %d`, done.ID), fmt.Sprintf(`UPDATE withdrawals SET state = 'completed' WHERE id = %d`, done.ID), "not in the other"},
			{fmt.Sprintf(`UPDATE withdrawals SET state = 'completed' WHERE id = %d`, open.ID), fmt.Sprintf(`UPDATE withdrawals SET state = 'sent' WHERE id = %d`, open.ID), "not in the other"},
			{fmt.Sprintf(`UPDATE withdrawals SET units = units + 1 WHERE id = %d`, open.ID), fmt.Sprintf(`UPDATE withdrawals SET units = units - 1 WHERE id = %d`, open.ID), "another amount was reserved"},
			{fmt.Sprintf(`UPDATE withdrawals SET hold_id = hold_id + 1000 WHERE id = %d`, open.ID), fmt.Sprintf(`UPDATE withdrawals SET hold_id = hold_id - 1000 WHERE id = %d`, open.ID), "another one"},
			{fmt.Sprintf(`UPDATE withdrawals SET business_id = 'x' WHERE id = %d`, open.ID), fmt.Sprintf(`UPDATE withdrawals SET business_id = '%s' WHERE id = %d`, open.BusinessID, open.ID), "no such row"},
			{fmt.Sprintf(`UPDATE deposits SET state = 'seen' WHERE id = %d`, d.ID), fmt.Sprintf(`UPDATE deposits SET state = 'credited' WHERE id = %d`, d.ID), "it is booked"},
			{fmt.Sprintf(`UPDATE deposits SET units = 1 WHERE id = %d`, d.ID), fmt.Sprintf(`UPDATE deposits SET units = 100000000 WHERE id = %d`, d.ID), "another amount was booked"},
			{fmt.Sprintf(`UPDATE deposits SET transaction_id = NULL WHERE id = %d`, d.ID), "", "another one"},
		} {
			w.exec(tt.spoil)
			if text := found(); !strings.Contains(text, tt.want) {
				t.Errorf("%s: found %q, want %q", tt.spoil, text, tt.want)
			}
			if tt.mend != "" {
				w.exec(tt.mend)
			}
		}
		if _, err := w.ledger.Submit(context.Background(), ledger.Move(wallet.KindDepositAssigned, "none", ledger.CustodyOf("BTC"), ledger.SuspenseOf("BTC"), 1)); err != nil {
			t.Fatal(err)
		}
		if text := found(); !strings.Contains(text, "deposit.assigned none: there is no such row") {
			t.Errorf("found %q", text)
		}
	})
}
