package ledger_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

// On PostgreSQL a role that is no superuser owns the tables, as in production.
func TestWhatIsPostedStays(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		b.deposit(t, "before", 1, 10)
		exec := func(d db.DB, statement string) error {
			_, err := d.Exec(context.Background(), statement)
			return err
		}
		if d.Engine() == db.PostgreSQL {
			name := fmt.Sprintf("ccp_owner_%d", rand.Int64())
			var database string
			if err := d.QueryRow(t.Context(), `SELECT current_database()`).Scan(&database); err != nil {
				t.Fatal(err)
			}
			admin := d
			for _, statement := range []string{`CREATE ROLE ` + name + ` LOGIN PASSWORD 'pw'`, `GRANT CREATE, USAGE ON SCHEMA public TO ` + name,
				`ALTER TABLE ledger_accounts OWNER TO ` + name, `ALTER TABLE ledger_transactions OWNER TO ` + name, `ALTER TABLE ledger_postings OWNER TO ` + name} {
				if err := exec(admin, statement); err != nil {
					t.Fatal(err)
				}
			}
			t.Cleanup(func() {
				for _, statement := range []string{`REASSIGN OWNED BY ` + name + ` TO CURRENT_USER`, `DROP OWNED BY ` + name, `DROP ROLE ` + name} {
					if err := exec(admin, statement); err != nil {
						t.Error(err)
					}
				}
			})
			d = as(t, name, database)
			b = open(t, d)
		}
		if protected, err := ledger.Protected(t.Context(), d); err != nil || protected {
			t.Fatal(protected, err)
		}
		for _, err := range together(8, func(int) error { return ledger.Protect(context.Background(), d) }) {
			if err != nil {
				t.Error(err)
			}
		}
		if protected, err := ledger.Protected(t.Context(), d); err != nil || !protected {
			t.Error(protected, err)
		}
		statements := []string{`UPDATE ledger_postings SET amount = 1`, `DELETE FROM ledger_postings`, `UPDATE ledger_transactions SET description = 'x'`, `DELETE FROM ledger_transactions`}
		if d.Engine() == db.PostgreSQL {
			statements = append(statements, `TRUNCATE ledger_postings`, `TRUNCATE ledger_transactions`)
		}
		for _, statement := range statements {
			if err := exec(d, statement); err == nil || !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "stays as it is") {
				t.Errorf("%s: %v", statement, err)
			}
		}
		// Business goes on.
		b.deposit(t, "after", 1, 5)
		if _, err := b.Submit(t.Context(), ledger.Move("transfer", "t", available(1), available(2), 15)); err != nil {
			t.Error(err)
		}
		b.sound(t)
	})
}

// as opens a database as another role.
func as(t *testing.T, role, database string) db.DB {
	t.Helper()
	address := dbtest.URL(t, db.PostgreSQL) // only its server counts
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Path = url.UserPassword(role, "pw"), "/"+database
	d, err := db.Open(t.Context(), u.String(), db.Options{MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
