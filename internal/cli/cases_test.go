package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

func TestCases(t *testing.T) {
	t.Parallel()
	opened := time.Now().Add(-time.Hour)
	environ, s := installed(t, app.Extras{Clock: clock.NewFixed(opened)})
	for _, kind := range []string{"wallet_suspense", "kyc_revocation"} {
		if err := s.DB.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			_, err := s.Cases.Open(ctx, tx, cases.Case{Kind: kind, Subject: "subject of " + kind, Detail: "details"})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	list := func(args ...string) (lines []caseLine) {
		t.Helper()
		code, out, complaints := run(t, environ, append(args, "--json")...)
		if err := json.Unmarshal([]byte(out), &lines); code != exitDone || err != nil {
			t.Fatalf("%v: exit %d: %s%s", args, code, out, complaints)
		}
		return lines
	}
	if all := list("cases", "list"); len(all) != 2 || all[0].Kind != "wallet_suspense" || all[0].Age < 3600 || all[0].Age > 4000 {
		t.Errorf("cases list: %+v", all)
	}
	for _, args := range [][]string{{"cases", "list", "--kind", "kyc_revocation"}, {"kyc", "cases"}} {
		if some := list(args...); len(some) != 1 || some[0].Subject != "subject of kyc_revocation" {
			t.Errorf("%v: %+v", args, some)
		}
	}
	if code, out, complaints := run(t, environ, "cases", "list"); code != exitDone || !strings.Contains(out, "1h0m") || !strings.Contains(out, "details") {
		t.Errorf("cases list: exit %d: %s%s", code, out, complaints)
	}

	// Closing needs a reason, happens once, and is audited.
	id := fmt.Sprint(list("cases", "list")[0].ID)
	if code, _, complaints := run(t, environ, "cases", "close", id); code != exitUsage || !strings.Contains(complaints, "--reason") {
		t.Errorf("closed without a reason: exit %d: %s", code, complaints)
	}
	if code, _, complaints := run(t, environ, "cases", "close", id, "--reason", " "); code != exitFailed || !strings.Contains(complaints, "REASON") {
		t.Errorf("closed for a blank reason: exit %d: %s", code, complaints)
	}
	if code, out, complaints := run(t, environ, "cases", "close", id, "--reason", "paid by hand"); code != exitDone || !strings.Contains(out, "wallet_suspense") {
		t.Errorf("cases close: exit %d: %s%s", code, out, complaints)
	}
	if code, _, complaints := run(t, environ, "cases", "close", id, "--reason", "again"); code != exitFailed || !strings.Contains(complaints, "no open case") {
		t.Errorf("closed twice: exit %d: %s", code, complaints)
	}
	if left := list("cases", "list"); len(left) != 1 || left[0].Kind != "kyc_revocation" {
		t.Errorf("left: %+v", left)
	}
	rows, err := s.DB.Query(t.Context(), `SELECT actor, action, subject, reason FROM audit_log ORDER BY id`)
	audited, err := db.Collect(rows, err, func(row db.Row) (string, error) {
		var actor, action, subject, reason string
		err := row.Scan(&actor, &action, &subject, &reason)
		return strings.Join([]string{actor, action, subject, reason}, "/"), err
	})
	if want := "tester/case.close/case " + id + ": wallet_suspense subject of wallet_suspense/paid by hand"; err != nil || len(audited) != 1 || audited[0] != want {
		t.Errorf("audited %q, want %q, %v", audited, want, err)
	}
}
