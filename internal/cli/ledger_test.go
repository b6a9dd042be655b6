package cli

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

func TestLedgerCommands(t *testing.T) {
	t.Parallel()
	address := "sqlite://" + filepath.Join(t.TempDir(), "a.db")
	environ := []string{"CCP_ENV=development", "CCP_SANDBOX_ADDR=127.0.0.1:1", "CCP_DATABASE_URL=" + address}
	if code, out, complaints := run(t, environ, "migrate"); code != exitDone {
		t.Fatal(code, out, complaints)
	}
	d, err := db.Open(t.Context(), address, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l := ledger.New(ledger.Options{DB: d, Clock: clock.NewFixed(time.Date(2026, 8, 1, 9, 0, 0, 0, time.UTC))})
	for i := range 3 {
		if _, err := l.Submit(t.Context(), ledger.Move("opening", fmt.Sprint("d", i), ledger.CustodyOf("BTC"), ledger.AvailableOf(42, "BTC"), 7)); err != nil {
			t.Fatal(err)
		}
	}
	try := func(code int, says string, args ...string) {
		t.Helper()
		got, out, complaints := run(t, environ, args...)
		if got != code || !strings.Contains(out+complaints, says) {
			t.Errorf("%v: exit %d, want %d and %q\n%s%s", args, got, code, says, out, complaints)
		}
	}
	try(exitDone, "2 accounts, 6 postings, 3 transactions: 0 findings", "ledger", "verify")
	try(exitDone, `"findings": []`, "ledger", "verify", "--json")
	try(exitDone, `"closing": 21`, "ledger", "show", "account", "user:42:available:BTC", "--json")
	try(exitDone, "more: --after 2", "ledger", "show", "account", "custody:BTC", "--limit", "2")
	try(exitDone, `"balance": 0`, "ledger", "show", "account", "custody:BTC", "--at", "2026-08-01T08:00:00Z", "--json")
	try(exitDone, "21", "ledger", "show", "account", "user:42:available:BTC", "--at", "2026-08-01T09:00:00Z")
	try(exitDone, "opening/d1", "ledger", "show", "transaction", "2")
	try(exitDone, `"id": 3`, "ledger", "show", "transaction", "opening/d2", "--json")
	try(exitFailed, "no such transaction", "ledger", "show", "transaction", "opening/d3")
	try(exitFailed, "not an account", "ledger", "show", "account", "user:BTC")

	if _, err := d.Exec(t.Context(), `UPDATE ledger_postings SET amount = 8`); err == nil || !strings.Contains(err.Error(), "stays as it is") {
		t.Error(err)
	}
	if _, err := d.Exec(t.Context(), `UPDATE ledger_accounts SET balance = balance + 1 WHERE owner_id = 42`); err != nil {
		t.Fatal(err)
	}
	try(exitFailed, "the ledger is not sound", "ledger", "verify")
	try(exitFailed, "user:42:available:BTC", "ledger", "verify", "--json")
	try(exitFailed, "SQLite has no roles", "migrate", "--grant-to", "somebody")
}

// A role that owns nothing serves: it can do everything but change what is append-only.
func TestTheServingRole(t *testing.T) {
	t.Parallel()
	address := dbtest.URL(t, db.PostgreSQL)
	admin, err := db.Open(t.Context(), address, db.Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	role := fmt.Sprintf("ccp serving \"%d\"", rand.Int64())
	var quoted string
	if err := admin.QueryRow(t.Context(), `SELECT quote_ident($1)`, role).Scan(&quoted); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(t.Context(), `CREATE ROLE `+quoted+` LOGIN PASSWORD 'pw'`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, statement := range []string{`DROP OWNED BY ` + quoted, `DROP ROLE ` + quoted} {
			if _, err := admin.Exec(context.Background(), statement); err != nil {
				t.Error(err)
			}
		}
		_ = admin.Close()
	})
	for range 2 { // as after every migration
		if code, out, complaints := run(t, []string{"CCP_DATABASE_URL=" + address}, "migrate", "--grant-to", role); code != exitDone || !strings.Contains(out, "may serve") {
			t.Fatalf("exit %d: %s%s", code, out, complaints)
		}
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(role, "pw")
	d, err := db.Open(t.Context(), u.String(), db.Options{MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if current, needed, err := app.SchemaVersions(t.Context(), d); err != nil || current != needed {
		t.Error(current, needed, err)
	}
	if protected, err := ledger.Protected(t.Context(), d); err != nil || !protected {
		t.Error(protected, err)
	}
	if protected, err := ledger.Protected(t.Context(), admin); err != nil || protected {
		t.Errorf("a superuser is said to be kept from it: %v", err)
	}
	l := ledger.New(ledger.Options{DB: d, Clock: clock.System{}})
	if _, err := l.Submit(t.Context(), ledger.Move("deposit", "d", ledger.CustodyOf("BTC"), ledger.AvailableOf(42, "BTC"), 7)); err != nil {
		t.Error(err)
	}
	if report, err := l.Verify(t.Context(), nil); err != nil || !report.OK() || report.Postings != 2 {
		t.Error(report, err)
	}
	for statement, may := range map[string]bool{
		`UPDATE ledger_postings SET amount = 1`: false, `DELETE FROM ledger_postings`: false, `TRUNCATE ledger_postings`: false,
		`UPDATE ledger_transactions SET kind = 'x'`: false, `DELETE FROM ledger_transactions`: false, `TRUNCATE ledger_transactions`: false,
		`UPDATE audit_log SET reason = 'x'`: false, `DELETE FROM audit_log`: false, `DROP TABLE ledger_postings`: false,
		`INSERT INTO audit_log (actor, action, user_id, subject, reason, created_at) VALUES ('a', 'b', NULL, 'c', 'd', now())`: true,
		`DELETE FROM sessions`: true, `UPDATE river_job SET priority = 1`: true, `DELETE FROM river_job`: true,
	} {
		_, err := d.Exec(t.Context(), statement)
		if may != (err == nil) || !may && !strings.Contains(err.Error(), "permission denied") && !strings.Contains(err.Error(), "must be owner") {
			t.Errorf("%s: %v", statement, err)
		}
	}
	_, _ = d.Exec(t.Context(), `GRANT UPDATE ON ledger_postings TO CURRENT_USER`) // PostgreSQL only warns that it grants nothing
	if protected, err := ledger.Protected(t.Context(), d); err != nil || !protected {
		t.Error("it has given itself the right", err)
	}
}
