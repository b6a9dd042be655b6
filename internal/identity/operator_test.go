package identity_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

var operator = identity.Operator{Name: "ops.lena"}

func TestFrozenAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("u@example.com")
		if _, err := w.FreezeAccount(ctx, operator, strconv.FormatInt(u.id, 10), " "); !has(err, identity.ErrReasonRequired) {
			t.Errorf("without a reason: %v", err)
		}
		account, err := w.FreezeAccount(ctx, operator, "U@example.com", "chargeback 4711")
		if err != nil || account.Status != identity.Frozen {
			t.Fatalf("%+v %v", account, err)
		}
		// Reading and refreshing go on, acting does not.
		if r := w.call(http.MethodGet, "/user/profile", u.access, nil); r.status != 200 || r.body["user"].(map[string]any)["is_active"] != false {
			t.Errorf("%d %s", r.status, r.raw)
		}
		w.call(http.MethodPut, "/user/profile", u.access, fields{"first_name": "x"}).refused(t, 403, "ACCOUNT_FROZEN")
		w.call(http.MethodGet, "/whoami", u.access, nil).refused(t, 403, "ACCOUNT_FROZEN")
		u.take(w.post200("/auth/refresh", fields{"refresh_token": u.refresh}))
		eventually(t, "mail about the freeze", func() bool { return len(w.post.to(u.email)) == 2 })
		u.codes = 1
		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
		w.post200("/auth/verify-login-otp", fields{"email": u.email, "otp_code": w.code(u.email, 2)})

		// Again changes nothing and is not recorded again.
		if _, err := w.FreezeAccount(ctx, operator, u.email, "again"); err != nil {
			t.Error(err)
		}
		if account, err := w.UnfreezeAccount(ctx, operator, u.email, "cleared"); err != nil || account.Status != identity.Active {
			t.Errorf("%+v %v", account, err)
		}
		if r := w.call(http.MethodPut, "/user/profile", u.access, fields{"first_name": "x"}); r.status != 200 {
			t.Errorf("%d %s", r.status, r.raw)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_log WHERE actor = 'ops.lena' AND user_id = $1 AND action IN ('account.freeze', 'account.unfreeze')`, u.id); n != 2 {
			t.Errorf("%d entries in the audit log, want 2", n)
		}
	})
}

func TestClosedAccount(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("u@example.com")
		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
		code := w.code(u.email, 2)
		if _, err := w.CloseAccount(ctx, operator, u.email, "asked for it"); err != nil {
			t.Fatal(err)
		}
		w.call(http.MethodGet, "/user/profile", u.access, nil).refused(t, 401, "UNAUTHENTICATED")
		w.call(http.MethodGet, "/whoami", u.access, nil).refused(t, 401, "UNAUTHENTICATED")
		w.refusedPost("/auth/refresh", fields{"refresh_token": u.refresh}, 401, "UNAUTHENTICATED")
		w.refusedPost("/auth/verify-login-otp", fields{"email": u.email, "otp_code": code}, 400, "ACCOUNT_CLOSED")
		w.refusedPost("/auth/login", fields{"email": u.email, "password": goodPassword}, 400, "ACCOUNT_CLOSED")
		w.refusedPost("/auth/login", fields{"email": u.email, "password": "wrong"}, 400, "INVALID_CREDENTIALS")
		w.refusedPost("/auth/signup", fields{"email": u.email}, 400, "EMAIL_TAKEN")
		w.idle()
		before := len(w.post.to(u.email))
		w.post200("/auth/forgot-password", fields{"email": u.email}) // the same answer as for anybody
		w.idle()
		if after := len(w.post.to(u.email)); after != before {
			t.Error("a closed account got a code")
		}
		for _, change := range []func(context.Context, identity.Operator, string, string) (identity.Account, error){w.FreezeAccount, w.UnfreezeAccount} {
			if _, err := change(ctx, operator, u.email, "x"); !has(err, identity.ErrAccountClosed) {
				t.Errorf("closing is final: %v", err)
			}
		}
		if _, err := w.CloseAccount(ctx, operator, u.email, "again"); err != nil {
			t.Error(err)
		}
		if n := w.count(`SELECT COUNT(*) FROM audit_log`); n != 1 {
			t.Errorf("%d entries in the audit log, want 1", n)
		}
	})
}

func TestFindAndListSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("u@example.com")
		for _, who := range []string{strconv.FormatInt(u.id, 10), " U@Example.com "} {
			list, err := w.ListSessions(ctx, who)
			if err != nil || len(list) != 1 || list[0].Device != "App" || list[0].Current {
				t.Errorf("%q: %+v %v", who, list, err)
			}
		}
		for _, who := range []string{"999999", "-1", "stranger@example.com"} {
			if _, err := w.ListSessions(ctx, who); !has(err, identity.ErrUserNotFound) {
				t.Errorf("%q: %v", who, err)
			}
		}
		if _, err := w.Find(ctx, "neither"); !has(err, identity.ErrEmailInvalid) {
			t.Error(err)
		}
	})
}

// What other capabilities use in their own transactions.
func TestForOtherCapabilities(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("u@example.com")
		err := w.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			account, err := w.LockCustomer(ctx, tx, u.id)
			if err != nil || account.Email != u.email || account.KYCStatus != "none" || account.Locale != i18n.English {
				t.Errorf("%+v %v", account, err)
			}
			if err := w.SetKYCStatus(ctx, tx, u.id, "verified"); err != nil {
				return err
			}
			if err := w.SetKYCBlocked(ctx, tx, u.id, true); err != nil {
				return err
			}
			if err := w.Notify(ctx, tx, u.id, "new_device", map[string]any{"Device": "", "Time": "now"}); err != nil {
				return err
			}
			return w.Audit(ctx, tx, identity.AuditEntry{Operator: operator, Action: "kyc.approve", UserID: u.id, Subject: "kyc 1", Reason: "seen"})
		})
		if err != nil {
			t.Fatal(err)
		}
		account, err := w.Account(ctx, u.id)
		if err != nil || account.KYCStatus != "verified" || !account.KYCBlocked {
			t.Errorf("%+v %v", account, err)
		}
		r := w.call(http.MethodGet, "/user/profile", u.access, nil)
		if person := r.body["user"].(map[string]any); person["kyc_status"] != "verified" || !strings.Contains(r.raw, `"kyc_level":1,`) {
			t.Errorf("%s", r.raw)
		}
		eventually(t, "mail", func() bool { return len(w.post.to(u.email)) == 2 })
		err = w.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			_, err := w.LockCustomer(ctx, tx, u.id+1)
			return err
		})
		if !has(err, identity.ErrUserNotFound) {
			t.Error(err)
		}
	})
}

func TestSweep(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		u := w.signUp("u@example.com")
		w.post200("/auth/signup", fields{"email": "unfinished@example.com"})
		if _, err := w.SignUp(ctx, from(1), "other@example.com", ""); err != nil {
			t.Fatal(err)
		}
		w.idle()
		w.as(u, "POST", completeDigits, w.askDigits(u, goodDigits))
		w.as(u, "POST", requestEmail, fields{"new_email": "new@example.com"})
		w.idle()
		rows := func() (n int) {
			for _, table := range []string{"pending_transaction_passwords", "contact_changes", "one_time_codes", "registrations", "rate_windows", "guess_counters", "sessions"} {
				n += w.count(`SELECT COUNT(*) FROM ` + table)
			}
			return n
		}
		before := rows()
		if err := w.Sweep(ctx); err != nil || rows() != before {
			t.Errorf("nothing has run out: %v, %d rows of %d left", err, rows(), before)
		}
		w.clock.Advance(40 * 24 * time.Hour)
		if err := w.Sweep(ctx); err != nil || rows() != 0 {
			t.Errorf("everything has run out: %v, %d rows left", err, rows())
		}
		if _, err := w.Account(ctx, u.id); err != nil {
			t.Errorf("customers stay: %v", err)
		}
	})
}
