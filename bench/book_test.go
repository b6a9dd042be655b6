package main

import (
	"context"
	"os"
	"testing"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

// What is measured on a book that contradicts itself would say nothing about one that does not.
func TestBooksAreConsistent(t *testing.T) {
	for _, e := range []struct{ name, server string }{{"PostgreSQL", os.Getenv(dbtest.Variable)}, {"SQLite", ""}} {
		t.Run(e.name, func(t *testing.T) {
			if e.name == "PostgreSQL" && e.server == "" {
				t.Skip("no PostgreSQL server")
			}
			const accounts, rounds, long = 40, 3, 25
			b, err := createBook(t.Context(), e.server, t.TempDir(), accounts, rounds, long)
			if err != nil {
				t.Fatal(err)
			}
			store, err := db.Open(t.Context(), b.url, db.Options{MaxConns: 1})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = store.Close()
				if err := b.drop(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
			})
			report, err := ledger.New(ledger.Options{DB: store, Clock: clock.System{}}).Verify(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range report.Findings {
				t.Errorf("the ledger: %+v", f)
			}
			for _, c := range []struct {
				what, query string
				want        int
			}{
				{"postings", `SELECT COUNT(*) FROM ledger_postings`, b.postings},
				{"transactions", `SELECT COUNT(*) FROM ledger_transactions`, b.postings / 2},
				{"entries", `SELECT COUNT(*) FROM wallet_entries`, accounts*(2*rounds+1) + long},
				{"entries that no posting is behind", `SELECT COUNT(*) FROM wallet_entries e LEFT JOIN ledger_accounts a ON a.owner_kind = 'user' AND a.owner_id = e.user_id
					LEFT JOIN ledger_postings p ON p.account_id = a.id AND p.sequence = e.number
					WHERE p.transaction_id IS NULL OR p.transaction_id <> e.source_id OR p.amount <> e.amount`, 0},
				{"entries whose other side says something else", `SELECT COUNT(*) FROM wallet_entries e LEFT JOIN wallet_entries o ON o.user_id = e.counterparty AND o.source_id = e.source_id
					WHERE e.type = 'transfer' AND (o.user_id IS NULL OR o.counterparty <> e.user_id OR o.amount <> -e.amount OR o.reference <> e.reference)`, 0},
				{"customers whose entries are not counted", `SELECT COUNT(*) FROM wallet_customers c WHERE c.entries <> (SELECT COUNT(*) FROM wallet_entries e WHERE e.user_id = c.user_id)`, 0},
			} {
				var got int
				if err := store.QueryRow(t.Context(), c.query).Scan(&got); err != nil {
					t.Fatalf("%s: %v", c.what, err)
				}
				if got != c.want {
					t.Errorf("%s: %d, want %d", c.what, got, c.want)
				}
			}
		})
	}
}
