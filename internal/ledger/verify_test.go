package ledger_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

// Every way in which a book can be wrong is found, wherever the chunks of reading end.
func TestVerifyFindsWhatIsWrong(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		for i := range 20 {
			b.deposit(t, fmt.Sprint(i), int64(1+i%4), 100)
		}
		p, err := b.post(ledger.Move("transfer", "t", available(1), available(2), 1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.reverse(p.ID, "r"); err != nil {
			t.Fatal(err)
		}
		for chunk := 1; chunk <= 7; chunk++ {
			b.SetVerifyChunk(chunk)
			b.sound(t)
		}
		report, err := b.Verify(t.Context(), nil)
		if err != nil || report.Accounts != 5 || report.Transactions != 22 || report.Postings != 44 {
			t.Errorf("%+v %v", report, err)
		}
		const ofUser1 = `(SELECT id FROM ledger_accounts WHERE owner_id = 1)`
		for _, tt := range []struct {
			tamper []string
			checks []string // that must find it
		}{
			{[]string{`UPDATE ledger_accounts SET balance = balance + 1 WHERE owner_id = 1`}, []string{"balance", "balanced book", "covered customers"}},
			{[]string{`UPDATE ledger_accounts SET balance = balance - 1 WHERE owner_kind = 'custody'`}, []string{"balance", "balanced book"}},
			{[]string{`UPDATE ledger_accounts SET postings = postings + 1 WHERE owner_id = 1`}, []string{"balance", "sequence"}},
			{[]string{`UPDATE ledger_accounts SET postings = postings - 1 WHERE owner_id = 1`}, []string{"balance", "sequence"}},
			{[]string{`UPDATE ledger_accounts SET floor = NULL WHERE owner_id = 1`}, []string{"floor"}},
			{[]string{`UPDATE ledger_accounts SET floor = 50 WHERE owner_id = 1`, `UPDATE ledger_postings SET amount = -amount, balance_after = -1 WHERE sequence = 2 AND account_id = ` + ofUser1}, []string{"floor", "running balance", "balanced transaction"}},
			{[]string{`UPDATE ledger_postings SET amount = amount + 1 WHERE sequence = 2 AND account_id = ` + ofUser1}, []string{"running balance", "balanced transaction"}},
			{[]string{`UPDATE ledger_postings SET balance_after = balance_after + 1 WHERE sequence = 2 AND account_id = ` + ofUser1}, []string{"running balance"}},
			{[]string{`DELETE FROM ledger_postings WHERE sequence = 3 AND account_id = ` + ofUser1}, []string{"sequence", "running balance", "balanced transaction"}},
			{[]string{`DELETE FROM ledger_postings WHERE account_id = ` + ofUser1}, []string{"balance", "balanced transaction"}},
			{[]string{`UPDATE ledger_postings SET sequence = 70 WHERE sequence = 7 AND account_id = ` + ofUser1}, []string{"sequence", "balance"}},
			{[]string{`DELETE FROM ledger_transactions WHERE reference = '3'`}, []string{"orphan"}},
			{[]string{`DELETE FROM ledger_transactions WHERE kind = 'transfer'`}, []string{"orphan", "reversal"}},
			{[]string{`INSERT INTO ledger_postings (account_id, sequence, transaction_id, amount, balance_after) VALUES (4711, 1, 1, 5, 5)`}, []string{"orphan", "balanced transaction"}},
			{[]string{`INSERT INTO ledger_transactions (id, kind, reference, description, metadata, posted_at) SELECT 4711, kind, 'none', '', '', posted_at FROM ledger_transactions WHERE reference = '3'`}, []string{"balanced transaction"}},
			{[]string{`UPDATE ledger_transactions SET posted_at = '2001-01-01T00:00:00.000000Z' WHERE reference = '19'`}, []string{"time"}},
			{[]string{`UPDATE ledger_transactions SET reverses = 1 WHERE kind = 'reversal'`}, []string{"reversal"}},
		} {
			for _, chunk := range []int{1, 3, 1000} {
				b.SetVerifyChunk(chunk)
				undone := b.tampered(t, tt.tamper, func(q db.Tx) {
					report, err := b.VerifyIn(q)
					if err != nil {
						t.Fatal(tt.tamper, err)
					}
					for _, check := range tt.checks {
						if !slices.ContainsFunc(report.Findings, func(f ledger.Finding) bool { return f.Check == check }) {
							t.Errorf("%s, chunks of %d: %q did not find it, only %+v", tt.tamper, chunk, check, report.Findings)
						}
					}
				})
				if undone != errTampered {
					t.Fatal(tt.tamper, undone)
				}
			}
		}
		b.sound(t)
	})
}

var errTampered = fmt.Errorf("taken back")

// tampered looks at the book as it would be after some statements, and takes them back.
func (b book) tampered(t *testing.T, statements []string, look func(db.Tx)) error {
	return b.db.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		for _, s := range statements {
			if n, err := tx.Exec(ctx, s); err != nil || n == 0 {
				return fmt.Errorf("%s: %d rows, %w", s, n, err)
			}
		}
		look(tx)
		return errTampered
	})
}

func TestVerifyMakesTheChecksOfOthers(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		b.RegisterCheck("wallet", func(ctx context.Context, q db.Querier, report func(ledger.Finding)) error {
			report(ledger.Finding{Detail: "a row without its transaction"})
			return nil
		})
		told := 0
		report, err := b.Verify(t.Context(), func(ledger.Report) { told++ })
		if err != nil || len(report.Findings) != 1 || report.Findings[0].Check != "wallet" || report.OK() || told == 0 {
			t.Errorf("%+v %v, progress told %d times", report, err, told)
		}
	})
}
