package identity_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
)

func TestMailInEveryLanguage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		want := map[i18n.Locale]string{i18n.Chinese: "您的 ComeComePay 注册验证码", i18n.English: "Your ComeComePay sign-up code", i18n.Arabic: "رمز التسجيل في ComeComePay"}
		for locale, subject := range want {
			email := string(locale) + "@example.com"
			w.post200("/auth/signup", fields{"email": email}, "Accept-Language", string(locale))
			code := w.code(email, 1)
			m := w.post.to(email)[0]
			if m.Subject != subject || m.Locale != string(locale) || strings.Contains(m.Subject, code) {
				t.Errorf("%s: subject %q", locale, m.Subject)
			}
			if !strings.Contains(m.HTML, code) || strings.Contains(m.Text+m.HTML, "no value") || strings.Contains(m.Text, "mail.") {
				t.Errorf("%s: %s", locale, m.Text)
			}
		}
	})
}

// The language of later mail is that of the last sign-in.
func TestNewDevice(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		const update, windows = "Dart/3.9 (dart:io)", "Mozilla/5.0 (Windows NT 10.0) <b>evil</b> Chrome/120 Safari/537"
		w.logIn(u, "User-Agent", update)
		w.logIn(u, "User-Agent", windows, "Accept-Language", "zh")
		var announced []mail.Message
		find := func() bool {
			announced = nil
			for _, m := range w.post.to(u.email) {
				if strings.Contains(m.Subject, "新设备") {
					announced = append(announced, m)
				}
			}
			return len(announced) > 0
		}
		eventually(t, "announcement", find)
		if text := announced[0].Text; !strings.Contains(text, "Chrome, Windows") || strings.Contains(text, "evil") || !strings.Contains(text, "2026-03-01 09:00 UTC") {
			t.Error(text)
		}
		w.logIn(u, "User-Agent", strings.Replace(windows, "120", "121", 1))
		w.idle()
		if find(); len(announced) != 1 {
			t.Errorf("%d announcements, want 1: versions do not make a device new", len(announced))
		}
		// Two sign-up and login codes came first; none of the sign-ins before was announced.
		if n := len(w.post.to(u.email)); n != 5 {
			t.Errorf("%d mails, want 4 codes and 1 announcement", n)
		}
	})
}

// A mail server that is away: the job is tried again. A code that has run out meanwhile is not sent any more.
func TestMailServerAway(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.post.mu.Lock()
		w.post.fail = &mail.DeliveryError{Stage: "connecting"}
		w.post.mu.Unlock()
		w.post200("/auth/signup", fields{"email": "first@example.com"})
		// Right after the first attempt: the second comes a second later, the third only a quarter of a minute after that.
		eventually(t, "failed attempt", func() bool {
			w.post.mu.Lock()
			defer w.post.mu.Unlock()
			if w.post.tries == 0 {
				return false
			}
			w.post.fail = nil
			w.clock.Advance(10 * time.Minute)
			return true
		})
		eventually(t, "end of the job", func() bool { return w.count(`SELECT COUNT(*) FROM river_job WHERE state = 'completed'`) == 1 })
		if n := len(w.post.to("first@example.com")); n != 0 {
			t.Error("a code was sent that had run out")
		}
		if n := w.count(`SELECT attempt FROM river_job`); n != 2 {
			t.Errorf("%d attempts, want 2", n)
		}
		// An address that the server refuses for good is not tried again.
		w.post.mu.Lock()
		w.post.fail = &mail.DeliveryError{Stage: "sending", Code: 550, Permanent: true}
		w.post.mu.Unlock()
		w.post200("/auth/signup", fields{"email": "second@example.com"})
		eventually(t, "end of the job", func() bool { return w.count(`SELECT COUNT(*) FROM river_job WHERE state = 'cancelled'`) == 1 })
	})
}

// A request that is refused mails nothing, and mail has its own lane: it does not wait behind questions to providers.
func TestMailGoesWithTheTransaction(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.post200("/auth/signup", fields{"email": "u@example.com"})
		w.refusedPost("/auth/resend-otp", fields{"email": "u@example.com"}, 429, "RESEND_TOO_SOON")
		w.code("u@example.com", 1)
		w.idle()
		if n, mail := w.count(`SELECT COUNT(*) FROM river_job`), w.count(`SELECT COUNT(*) FROM river_job WHERE queue = 'mail'`); n != 1 || mail != 1 {
			t.Errorf("%d jobs, %d in the lane of mail, want 1", n, mail)
		}
	})
}

// Codes, passwords, tokens and addresses that went through the capability stand in no table and in no log line.
func TestNothingInTheClear(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const email = "canary-7f3a@example.com"
		u := w.signUp(email)
		w.call(http.MethodPut, "/user/profile", u.access, fields{"first_name": "Kanarienvogel", "last_name": "Zwitscherling", "phone": "+49301234567", "date_of_birth": "3 March 1973"})
		w.logIn(u)
		u.take(w.post200("/auth/refresh", fields{"refresh_token": u.refresh}))
		w.post200("/auth/forgot-password", fields{"email": email})
		w.refusedPost("/auth/login", fields{"email": email, "password": "Wrong-Canary9!"}, 400, "INVALID_CREDENTIALS")
		w.code(email, 3)
		// What signed-in customers change; the last codes stand last in the queue.
		u.codes = 3
		w.as(u, "POST", completeDigits, w.askDigits(u, goodDigits))
		const address, number = "canary-9b1c@example.org", "+4930987654321"
		w.as(u, "POST", completeEmail, fields{"new_email": address, "old_email_otp": w.proveEmail(u, address)})
		w.as(u, "POST", requestPhone, fields{"new_phone": number})
		u.email, u.codes = address, w.codesTo(address)
		w.as(u, "POST", verifyPhone, fields{"new_phone": number, "otp_code": w.texted(number)})
		w.as(u, "POST", completePhone, fields{"new_phone": number, "email_otp": w.nextCode(u)})
		w.as(u, "POST", changePassword, fields{"old_password": goodPassword, "new_password": "Canary-Mountains8?", "confirm_password": "Canary-Mountains8?"})
		w.idle()
		canaries := []string{address, number, "Canary-Mountains8?", `"` + goodDigits + `"`, email, "canary-7f3a", goodPassword, "Wrong-Canary9!", u.access, u.refresh, "Kanarienvogel", "Zwitscherling", "+49301234567", "3 March 1973", "127.0.0.1"}
		for i := 1; i <= 3; i++ {
			canaries = append(canaries, `"`+w.code(email, i)+`"`)
		}
		for _, table := range []string{"users", "registrations", "one_time_codes", "guess_counters", "rate_windows", "sessions", "known_devices", "audit_log", "idempotency_keys", "river_job",
			"transaction_passwords", "pending_transaction_passwords", "contact_changes"} {
			dump := w.dump(table)
			for _, c := range canaries {
				if strings.Contains(dump, c) {
					t.Errorf("%q stands in table %s", c, table)
				}
			}
		}
		for _, c := range canaries {
			if strings.Contains(w.logs.String(), c) {
				t.Errorf("%q stands in the log", c)
			}
		}
	})
}

// dump is a table as text.
func (w *world) dump(table string) string {
	w.t.Helper()
	ctx := context.Background()
	var columns []string
	query := `SELECT name FROM pragma_table_info('` + table + `')`
	if w.db.Engine() == "postgres" {
		query = `SELECT column_name::text FROM information_schema.columns WHERE table_name = '` + table + `'`
	}
	rows, err := w.db.Query(ctx, query)
	if err != nil {
		w.t.Fatal(err)
	}
	for rows.Next() {
		var c string
		if err := rows.Scan(&c); err != nil {
			w.t.Fatal(err)
		}
		columns = append(columns, c)
	}
	rows.Close()
	if len(columns) == 0 {
		w.t.Fatalf("table %s has no columns", table)
	}
	var b strings.Builder
	for _, c := range columns {
		// Through bytes, so that sealed columns are searched as well.
		expression := `CAST("` + c + `" AS BLOB)`
		if w.db.Engine() == "postgres" {
			expression = `convert_to("` + c + `"::text, 'UTF8')`
			if n := w.count(`SELECT COUNT(*) FROM information_schema.columns WHERE table_name = $1 AND column_name = $2 AND data_type = 'bytea'`, table, c); n > 0 {
				expression = `"` + c + `"`
			}
		}
		rows, err := w.db.Query(ctx, fmt.Sprintf(`SELECT %s FROM %s WHERE "%s" IS NOT NULL`, expression, table, c))
		if err != nil {
			w.t.Fatal(err)
		}
		for rows.Next() {
			var cell []byte
			if err := rows.Scan(&cell); err != nil {
				w.t.Fatal(err)
			}
			b.Write(cell)
			b.WriteByte('\n')
		}
		if err := rows.Err(); err != nil {
			w.t.Fatal(err)
		}
		rows.Close()
	}
	return b.String()
}
