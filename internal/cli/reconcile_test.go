package cli

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

func TestReconcileBook(t *testing.T) {
	t.Parallel()
	environ, s := installed(t, app.Extras{})
	// As a comparison has left it.
	if _, err := s.DB.Exec(context.Background(), `INSERT INTO gateway_custody (coin, remainder, difference, differs_since, compared_at, bookings) VALUES ('TRX', '0', '-3.2', $1, $1, 0)`, time.Now()); err != nil {
		t.Fatal(err)
	}
	refused := func(exit int, why string, args ...string) {
		t.Helper()
		if code, out, complaints := run(t, environ, append([]string{"reconcile", "book"}, args...)...); code != exit || !strings.Contains(complaints, why) || out != "" && exit != exitUsage {
			t.Errorf("%v: exit %d: %s%s", args, code, out, complaints)
		}
	}
	refused(exitUsage, "--reason", "--coin", "TRX", "--amount=-3")
	refused(exitUsage, "--amount", "--coin", "TRX", "--why", "energy")
	refused(exitFailed, "-3.2", "--coin", "TRX", "--amount=-3.200001", "--why", "energy")
	refused(exitFailed, "BOOKING_ABOVE_DIFFERENCE", "--coin", "TRX", "--amount", "3", "--why", "energy")
	refused(exitFailed, "REASON", "--coin", "TRX", "--amount=-3", "--why", " ")
	refused(exitUsage, `--amount="-3"`, "--coin", "TRX", "--amount", "-3", "--why", "energy")
	refused(exitFailed, "CURRENCY", "--coin", "DOGE", "--amount=-3", "--why", "energy")

	code, out, complaints := run(t, environ, "reconcile", "book", "--coin", "TRX", "--amount=-3", "--why", "energy", "--json")
	var booked wallet.Booked
	if err := json.Unmarshal([]byte(out), &booked); code != exitDone || err != nil || booked.Amount.String() != "-3" || booked.House.String() != "-3" || booked.Left.String() != "-0.2" {
		t.Fatalf("exit %d: %s%s", code, out, complaints)
	}
	refused(exitFailed, "BOOKING_REPEATED", "--coin", "TRX", "--amount=-3", "--why", "energy")
	for range 2 {
		code, out, complaints = run(t, environ, "reconcile", "book", "--coin", "TRX", "--amount=-0.2", "--reason", "the rest", "--reference", "rest", "--operator", "ada")
		if code != exitDone || !strings.Contains(out, "-3.2") {
			t.Errorf("exit %d: %s%s", code, out, complaints)
		}
	}
	if !strings.Contains(out, "nothing was booked now") {
		t.Errorf("booked again: %s", out)
	}
	refused(exitFailed, "BOOKING_REFERENCE_USED", "--coin", "TRX", "--amount=-0.1", "--why", "x", "--reference", "rest")
	if code, out, complaints := run(t, environ, "reconcile", "book", "--coin", "TRX", "--amount", "3.2", "--why", "put in", "--force"); code != exitDone {
		t.Errorf("exit %d: %s%s", code, out, complaints)
	}
	for account, want := range map[ledger.Account]int64{ledger.HouseOf("TRX"): 0, ledger.CustodyOf("TRX"): 0} {
		if got, err := s.Ledger.Balance(t.Context(), s.DB, account); err != nil || got != want {
			t.Errorf("%s: %d, %v", account, got, err)
		}
	}
	var lines int
	if err := s.DB.QueryRow(t.Context(), `SELECT COUNT(*) FROM audit_log WHERE action = 'custody.booked'`).Scan(&lines); err != nil || lines != 3 {
		t.Errorf("%d lines of audit, %v", lines, err)
	}
	if code, out, complaints := run(t, environ, "ledger", "show", "account", "house:TRX"); code != exitDone || !strings.Contains(out, "the rest") || !strings.Contains(out, "custody.booked") {
		t.Errorf("exit %d: %s%s", code, out, complaints)
	}
	// A gateway that is not there: there is nothing to compare with, with and without the name of the command.
	for _, args := range [][]string{{"reconcile"}, {"reconcile", "--json"}, {"reconcile", "compare"}} {
		if code, _, complaints := run(t, environ, args...); code != exitFailed || !strings.Contains(complaints, "support_coins: unreachable") {
			t.Errorf("%v: exit %d: %s", args, code, complaints)
		}
	}
}
