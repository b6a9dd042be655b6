package wallet_test

import (
	"fmt"
	"testing"
)

// findings are what the check of the histories finds.
func (w *world) findings() []string {
	w.t.Helper()
	report, err := w.ledger.Verify(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	list := []string{}
	for _, f := range report.Findings {
		list = append(list, fmt.Sprintf("%s %s %d %s", f.Check, f.Account, f.Transaction, f.Detail))
	}
	return list
}

func TestHistoryIsVerified(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		amina.grant("USDT-TRC20", "100")
		var first, second transferred
		amina.send(bo.id, "USDT-TRC20", "10").into(t, &first)
		amina.send(bo.id, "USDT-TRC20", "20").into(t, &second)
		if got := w.findings(); len(got) != 0 {
			t.Errorf("%q", got)
		}
		expect := func(what string, want ...string) {
			t.Helper()
			if got := w.findings(); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
			}
		}
		account := func(c *customer) string { return fmt.Sprintf("user:%d:available:USDT-TRC20", c.id) }
		w.exec(`UPDATE wallet_entries SET amount = amount + 1 WHERE user_id = $1 AND number = 2`, bo.id)
		expect("a wrong amount", fmt.Sprintf("wallet history %s %d 20000000 units were posted, the history tells of 20000001", account(bo), second.Transaction))
		// That one line is short by what another one has too much does not hide it.
		w.exec(`UPDATE wallet_entries SET amount = amount - 1 WHERE user_id = $1 AND number = 1`, bo.id)
		expect("two wrong amounts", fmt.Sprintf("wallet history %s %d 10000000 units were posted, the history tells of 9999999", account(bo), first.Transaction),
			fmt.Sprintf("wallet history %s %d 20000000 units were posted, the history tells of 20000001", account(bo), second.Transaction))
		w.exec(`UPDATE wallet_entries SET amount = CASE number WHEN 1 THEN 10000000 ELSE 20000000 END WHERE user_id = $1`, bo.id)
		w.exec(`DELETE FROM wallet_entries WHERE user_id = $1 AND number = 1`, amina.id)
		expect("a missing line", fmt.Sprintf("wallet history %s %d -10000000 units were posted, the history tells of 0", account(amina), first.Transaction),
			fmt.Sprintf("wallet history  0 the history of customer %d has 1 lines up to number 2, and should have 2", amina.id))
		w.exec(`UPDATE wallet_customers SET entries = 1 WHERE user_id = $1`, amina.id)
		w.exec(`UPDATE wallet_entries SET number = 1 WHERE user_id = $1`, amina.id)
		amina.happened(1)
		expect("a deposit that was never posted", fmt.Sprintf("wallet history user:%d:available:BTC 0 0 units were posted, the history tells of 100000000", amina.id),
			fmt.Sprintf("wallet history %s %d -10000000 units were posted, the history tells of 0", account(amina), first.Transaction))
	})
}
