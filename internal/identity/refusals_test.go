package identity_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

func (w *world) refusedPost(path string, body any, status int, code string) reply {
	w.t.Helper()
	r := w.call(http.MethodPost, path, "", body)
	r.refused(w.t, status, code)
	return r
}

func TestSignUpRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		inviter := w.signUp("inviter@example.com")

		w.refusedPost("/auth/signup", fields{}, 400, "EMAIL_REQUIRED")
		w.refusedPost("/auth/signup", fields{"email": "nobody"}, 400, "EMAIL_INVALID")
		w.refusedPost("/auth/signup", fields{"email": "INVITER@example.com"}, 400, "EMAIL_TAKEN")
		w.refusedPost("/auth/signup", fields{"email": "new@example.com", "referral_code": "ZZZZZZZZ"}, 400, "REFERRAL_CODE_UNKNOWN")
		w.refusedPost("/auth/signup", fields{"email": "new@example.com", "referral_code": "x"}, 400, "REFERRAL_CODE_UNKNOWN")
		w.idle()
		if n := len(w.post.to("new@example.com")); n != 0 {
			t.Errorf("%d mails to an address that was refused", n)
		}

		// The old form with a whole profile: what it sends besides is not looked at.
		w.post200("/auth/signup", fields{"email": "new@example.com", "phone": 5, "password": nil, "first_name": []int{1}, "account_type": "x"})
		code := w.code("new@example.com", 1)

		w.refusedPost("/auth/verify", fields{"email": "new@example.com"}, 400, "CODE_REQUIRED")
		w.refusedPost("/auth/verify", fields{"email": "new@example.com", "otp_code": "1234"}, 400, "CODE_FORM_INVALID")
		w.refusedPost("/auth/verify", fields{"email": "new@example.com", "otp_code": "１２３４５"}, 400, "CODE_FORM_INVALID")
		w.refusedPost("/auth/verify", fields{"email": "new@example.com", "otp_code": wrong(code)}, 400, "CODE_INVALID")
		w.refusedPost("/auth/verify", fields{"email": "other@example.com", "otp_code": code}, 400, "CODE_INVALID")
		w.refusedPost("/auth/verify-login-otp", fields{"email": "new@example.com", "otp_code": code}, 400, "CODE_INVALID")
		w.refusedPost("/auth/set-password", fields{"email": "new@example.com", "password": goodPassword}, 400, "EMAIL_NOT_VERIFIED")
		// A referral code that does not exist is said before the mailed code is used up.
		w.refusedPost("/auth/verify", fields{"email": "new@example.com", "otp_code": code, "referral_code": "ZZZZZZZZ"}, 400, "REFERRAL_CODE_UNKNOWN")
		r := w.post200("/auth/verify", fields{"email": "new@example.com", "otp_code": code, "referral_code": " " + strings.ToLower(inviter.referral)})
		if r.text("referral_code") != inviter.referral {
			t.Errorf("verify must bind the referral code: %s", r.raw)
		}
		w.refusedPost("/auth/verify", fields{"email": "new@example.com", "otp_code": code}, 400, "CODE_INVALID")

		for password, code := range map[string]string{
			"": "PASSWORD_REQUIRED", "Short1!": "PASSWORD_WEAK", "nocapital1!": "PASSWORD_WEAK", "NoDigits!!": "PASSWORD_WEAK", "NoSigns11": "PASSWORD_WEAK",
			"Password1!": "PASSWORD_COMMON", "Aa1!" + strings.Repeat("x", 253): "PASSWORD_TOO_LONG",
		} {
			w.refusedPost("/auth/set-password", fields{"email": "new@example.com", "password": password}, 400, code)
		}
		// The first code that was given stays, whatever comes later.
		done := w.post200("/auth/set-password", fields{"email": "new@example.com", "password": goodPassword, "referral_code": "ZZZZZZZZ"})
		p := w.call(http.MethodGet, "/user/profile", done.text("access_token"), nil)
		if p.body["user"].(map[string]any)["referred_by"] != inviter.referral {
			t.Errorf("referred_by: %s", p.raw)
		}
		w.refusedPost("/auth/set-password", fields{"email": "new@example.com", "password": goodPassword}, 400, "EMAIL_TAKEN")
	})
}

// Setting a password sends no mail, so nobody may learn from it which addresses are customers'. Whoever has just proved
// the mailbox is told.
func TestSetPasswordTellsStrangersNothing(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const email = "twice@example.com"
		setPassword := func(email, code string) reply {
			return w.refusedPost("/auth/set-password", fields{"email": email, "password": goodPassword}, 400, code)
		}
		w.post200("/auth/signup", fields{"email": email})
		w.post200("/auth/verify", fields{"email": email, "otp_code": w.code(email, 1)})
		w.post200("/auth/signup", fields{"email": email})
		second := w.code(email, 2)
		w.post200("/auth/set-password", fields{"email": email, "password": goodPassword})
		// The answer was lost on the way, and the app tries again.
		setPassword(email, "EMAIL_TAKEN")
		w.clock.Advance(9 * time.Minute)
		w.refusedPost("/auth/verify", fields{"email": email, "otp_code": second}, 400, "EMAIL_TAKEN")
		w.clock.Advance(6*time.Minute - time.Second)
		setPassword(email, "EMAIL_TAKEN")
		w.clock.Advance(time.Second)

		w.post200("/auth/signup", fields{"email": "begun@example.com"})
		w.code("begun@example.com", 1)
		known := setPassword(email, "EMAIL_NOT_VERIFIED")
		for _, unknown := range []string{"stranger@example.com", "begun@example.com"} {
			if r := setPassword(unknown, "EMAIL_NOT_VERIFIED"); r.text("message") != known.text("message") || r.text("details") != known.text("details") {
				t.Errorf("the answer tells whether an address is known: %s %s", known.raw, r.raw)
			}
		}
		if n := w.count(`SELECT COUNT(*) FROM users`); n != 1 {
			t.Errorf("%d users", n)
		}
		// Nothing of it is left after a day.
		w.clock.Advance(25 * time.Hour)
		if err := w.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.count(`SELECT COUNT(*) FROM registrations`); n != 0 {
			t.Errorf("%d registrations", n)
		}
	})
}

// Anybody can sign an address up and name their own referral code. Until the address is verified the last code counts, so the
// owner's takes the place of a stranger's; from then on the first one does.
func TestReferralCodeOfSignUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const email = "invited@example.com"
		friend, stranger := w.signUp("friend@example.com"), w.signUp("stranger@example.com")
		signUp := func(code string) { w.post200("/auth/signup", fields{"email": email, "referral_code": code}) }
		signUp(stranger.referral)
		signUp(friend.referral)
		w.refusedPost("/auth/signup", fields{"email": email, "referral_code": "ZZZZZZZZ"}, 400, "REFERRAL_CODE_UNKNOWN")
		signUp("") // the form again, without
		r := w.post200("/auth/verify", fields{"email": email, "otp_code": w.code(email, 1), "referral_code": stranger.referral})
		if r.text("referral_code") != friend.referral {
			t.Errorf("verify: %s, want %s", r.raw, friend.referral)
		}
		signUp(stranger.referral)
		done := w.post200("/auth/set-password", fields{"email": email, "password": goodPassword, "referral_code": stranger.referral})
		p := w.call(http.MethodGet, "/user/profile", done.text("access_token"), nil)
		if p.body["user"].(map[string]any)["referred_by"] != friend.referral {
			t.Errorf("referred by: %s, want %s", p.raw, friend.referral)
		}
	})
}

func TestSpansOfSignUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const email = "slow@example.com"
		w.post200("/auth/signup", fields{"email": email})
		code := w.code(email, 1)
		w.clock.Advance(10 * time.Minute)
		w.refusedPost("/auth/verify", fields{"email": email, "otp_code": code}, 400, "CODE_INVALID")

		w.post200("/auth/signup", fields{"email": email})
		w.post200("/auth/verify", fields{"email": email, "otp_code": w.code(email, 2)})
		w.clock.Advance(15 * time.Minute)
		w.refusedPost("/auth/set-password", fields{"email": email, "password": goodPassword}, 400, "EMAIL_NOT_VERIFIED")

		w.post200("/auth/signup", fields{"email": email})
		w.post200("/auth/verify", fields{"email": email, "otp_code": w.code(email, 3)})
		w.clock.Advance(15*time.Minute - time.Second)
		w.post200("/auth/set-password", fields{"email": email, "password": goodPassword})
	})
}

func TestLoginRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		w.refusedPost("/auth/login", fields{"password": "x"}, 400, "EMAIL_REQUIRED")
		w.refusedPost("/auth/login", fields{"email": u.email}, 400, "PASSWORD_REQUIRED")
		known := w.refusedPost("/auth/login", fields{"email": u.email, "password": "wrong"}, 400, "INVALID_CREDENTIALS")
		unknown := w.refusedPost("/auth/login", fields{"email": "stranger@example.com", "password": "wrong"}, 400, "INVALID_CREDENTIALS")
		if known.text("message") != unknown.text("message") || known.text("details") != unknown.text("details") {
			t.Errorf("the answer tells whether an address is known: %s %s", known.raw, unknown.raw)
		}
		w.idle()
		if n := len(w.post.to(u.email)); n != 1 {
			t.Errorf("a wrong password must not bring about mail: %d", n)
		}

		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
		code := w.code(u.email, 2)
		w.refusedPost("/auth/verify-login-otp", fields{"email": u.email, "otp_code": wrong(code)}, 400, "CODE_INVALID")
		w.refusedPost("/auth/verify", fields{"email": u.email, "otp_code": code}, 400, "CODE_INVALID")
		w.refusedPost("/auth/reset-password", fields{"email": u.email, "otp_code": code, "new_password": goodPassword, "confirm_password": goodPassword}, 400, "CODE_INVALID")

		// Repeated within the minute, login leaves the code in force and mails no other.
		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
		w.post200("/auth/verify-login-otp", fields{"email": u.email, "otp_code": code})
		w.idle()
		if n := len(w.post.to(u.email)); n != 2 {
			t.Errorf("%d mails, want 2", n)
		}
		// A code that was used holds no further login up.
		w.post200("/auth/login", fields{"email": u.email, "password": goodPassword})
		w.code(u.email, 3)
		if w.call(http.MethodPost, "/auth/verify-otp", "", fields{}).status == 401 {
			t.Error("a route that does not exist must not answer 401")
		}
	})
}

func TestResend(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const email = "again@example.com"
		w.refusedPost("/auth/resend-otp", fields{}, 400, "EMAIL_REQUIRED")
		w.post200("/auth/resend-otp", fields{"email": "stranger@example.com"})
		w.refusedPost("/auth/resend-otp", fields{"email": "stranger@example.com"}, 429, "RESEND_TOO_SOON")

		w.post200("/auth/signup", fields{"email": email})
		first := w.code(email, 1)
		w.clock.Advance(18 * time.Second)
		r := w.refusedPost("/auth/resend-otp", fields{"email": email}, 429, "RESEND_TOO_SOON")
		if r.header.Get("Retry-After") != "42" || !strings.Contains(r.text("message"), "42") {
			t.Errorf("the wait must be told: %v %s", r.header, r.raw)
		}
		w.clock.Advance(42 * time.Second)
		w.post200("/auth/resend-otp", fields{"email": email})
		second := w.code(email, 2)
		if first != second {
			w.refusedPost("/auth/verify", fields{"email": email, "otp_code": first}, 400, "CODE_INVALID")
		}
		w.post200("/auth/verify", fields{"email": email, "otp_code": second})
		w.post200("/auth/set-password", fields{"email": email, "password": goodPassword})

		// The newest step that is pending is meant: login, then reset.
		w.clock.Advance(time.Minute)
		w.post200("/auth/login", fields{"email": email, "password": goodPassword})
		w.code(email, 3)
		w.clock.Advance(11 * time.Minute) // the code has run out, the step is still pending
		w.post200("/auth/resend-otp", fields{"email": email})
		w.post200("/auth/verify-login-otp", fields{"email": email, "otp_code": w.code(email, 4)})
		w.clock.Advance(time.Minute)
		w.post200("/auth/forgot-password", fields{"email": email})
		w.code(email, 5)
		w.clock.Advance(time.Minute)
		w.post200("/auth/resend-otp", fields{"email": email})
		w.post200("/auth/verify-forgot-password-otp", fields{"email": email, "otp_code": w.code(email, 6)})

		w.clock.Advance(31 * time.Minute)
		w.post200("/auth/resend-otp", fields{"email": email})
		w.idle()
		if n := len(w.post.to(email)); n != 6 {
			t.Errorf("%d mails, want 6: nothing is pending any more", n)
		}
	})
}

func TestForgottenPassword(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		w.logIn(u)
		known := w.post200("/auth/forgot-password", fields{"email": u.email})
		unknown := w.post200("/auth/forgot-password", fields{"email": "stranger@example.com"})
		if known.text("message") != unknown.text("message") || known.text("next_step") != unknown.text("next_step") {
			t.Errorf("the answer tells whether an address is known: %s %s", known.raw, unknown.raw)
		}
		w.refusedPost("/auth/forgot-password", fields{"email": u.email}, 429, "RESEND_TOO_SOON")
		w.refusedPost("/auth/forgot-password", fields{"email": "stranger@example.com"}, 429, "RESEND_TOO_SOON")
		code := w.code(u.email, 3)

		w.refusedPost("/auth/verify-forgot-password-otp", fields{"email": u.email, "otp_code": wrong(code)}, 400, "CODE_INVALID")
		w.refusedPost("/auth/verify-forgot-password-otp", fields{"email": "stranger@example.com", "otp_code": code}, 400, "CODE_INVALID")
		for range 3 { // does not use the code up
			w.post200("/auth/verify-forgot-password-otp", fields{"email": u.email, "otp_code": code})
		}
		const other = "Quiet-Mountains8?"
		reset := func(change fields) fields {
			body := fields{"email": u.email, "otp_code": code, "new_password": other, "confirm_password": other}
			for k, v := range change {
				body[k] = v
			}
			return body
		}
		w.refusedPost("/auth/reset-password", reset(fields{"otp_code": nil}), 400, "CODE_REQUIRED")
		w.refusedPost("/auth/reset-password", fields{"token": "x", "password": other}, 400, "EMAIL_REQUIRED") // an old variant
		w.refusedPost("/auth/reset-password", reset(fields{"confirm_password": other + "x"}), 400, "PASSWORDS_DIFFER")
		w.refusedPost("/auth/reset-password", reset(fields{"new_password": "weak", "confirm_password": "weak"}), 400, "PASSWORD_WEAK")
		w.refusedPost("/auth/reset-password", reset(fields{"otp_code": wrong(code)}), 400, "CODE_INVALID")
		w.post200("/auth/reset-password", reset(nil))
		w.refusedPost("/auth/reset-password", reset(nil), 400, "CODE_INVALID")

		// Everybody is signed out, and the customer is told.
		w.call(http.MethodGet, "/user/profile", u.access, nil).refused(t, 401, "UNAUTHENTICATED")
		w.refusedPost("/auth/refresh", fields{"refresh_token": u.refresh}, 401, "UNAUTHENTICATED")
		eventually(t, "mail about the change", func() bool {
			list := w.post.to(u.email)
			return strings.Contains(list[len(list)-1].Subject, "password was changed")
		})
		w.refusedPost("/auth/login", fields{"email": u.email, "password": goodPassword}, 400, "INVALID_CREDENTIALS")
		w.post200("/auth/login", fields{"email": u.email, "password": other})
		w.idle()
		if n := len(w.post.to("stranger@example.com")); n != 0 {
			t.Errorf("%d mails to an address that is nobody's", n)
		}
	})
}

func TestProfileRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		put := func(body any) reply { return w.call(http.MethodPut, "/user/profile", u.access, body) }
		put(fields{"first_name": strings.Repeat("x", 101)}).refused(t, 400, "PROFILE_FIELD_TOO_LONG")
		put(fields{"phone": strings.Repeat("1", 41)}).refused(t, 400, "PROFILE_FIELD_TOO_LONG")
		put(fields{"last_name": "a\u0000b"}).refused(t, 400, "PROFILE_FIELD_INVALID")
		put(fields{"last_name": "a\nb"}).refused(t, 400, "PROFILE_FIELD_INVALID")
		put(fields{"last_name": "a\u202egpj.exe"}).refused(t, 400, "PROFILE_FIELD_INVALID")
		put(fields{"first_name": 5}).refused(t, 422, "MALFORMED_REQUEST")
		// 4-byte characters, right-to-left text, empty and missing fields are all fine.
		name := strings.Repeat("𠮷", 100)
		if r := put(fields{"first_name": name, "last_name": "محمد", "phone": "", "date_of_birth": nil}); r.status != 200 ||
			r.body["user"].(map[string]any)["first_name"] != name {
			t.Errorf("%d %s", r.status, r.raw)
		}
		if r := put(fields{"phone": "1"}); r.body["user"].(map[string]any)["first_name"] != name {
			t.Errorf("a missing field must stay: %s", r.raw)
		}
		if r := put(fields{"first_name": ""}); r.body["user"].(map[string]any)["first_name"] != "" {
			t.Errorf("an empty field must become empty: %s", r.raw)
		}
		if n := w.count(`SELECT COUNT(*) FROM users WHERE first_name IS NULL AND last_name IS NOT NULL`); n != 1 {
			t.Error("empty texts are kept as NULL")
		}
	})
}

// Every route answers every kind of nonsense with a refusal that is well-formed, never with a fault of its own.
func TestNonsense(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		routes := []struct{ method, path, token string }{
			{"POST", "/auth/signup", ""}, {"POST", "/auth/verify", ""}, {"POST", "/auth/set-password", ""}, {"POST", "/auth/login", ""},
			{"POST", "/auth/verify-login-otp", ""}, {"POST", "/auth/resend-otp", ""}, {"POST", "/auth/refresh", ""}, {"POST", "/auth/forgot-password", ""},
			{"POST", "/auth/verify-forgot-password-otp", ""}, {"POST", "/auth/reset-password", ""}, {"PUT", "/user/profile", u.access},
			{"POST", requestDigits, u.access}, {"POST", completeDigits, u.access}, {"POST", requestEmail, u.access}, {"POST", verifyEmail, u.access},
			{"POST", completeEmail, u.access}, {"POST", requestPhone, u.access}, {"POST", verifyPhone, u.access}, {"POST", completePhone, u.access},
			{"POST", changePassword, u.access},
		}
		field := func(value string) string {
			var b strings.Builder
			b.WriteByte('{')
			for i, name := range []string{"email", "otp_code", "password", "refresh_token", "referral_code", "new_password", "confirm_password", "first_name",
				"transaction_password", "confirm_transaction_password", "temp_hash", "new_email", "old_email_otp", "new_phone", "email_otp", "old_password"} {
				if i > 0 {
					b.WriteByte(',')
				}
				b.WriteString(`"` + name + `":` + value)
			}
			b.WriteByte('}')
			return b.String()
		}
		bodies := []string{
			"", "null", "[]", "{", `"text"`, "5", "{}", "\xff\xfe", strings.Repeat("[", 20_000), `{"email":"a","email":5}`,
			field("null"), field("5"), field("1e999"), field("true"), field("[]"), field("{}"),
			field(`"\u0000"`), field(`"\u202e\u2066@x.y"`), field(`"\ud800"`), field(`"مرحبا@مثال.شبكة"`), field(`"𠮷𠮷𠮷𠮷𠮷@𠮷.𠮷"`),
			field(`"a@b.c\r\nBcc: x@y.z"`), field(`"' OR 1=1 --"`), field(`"` + strings.Repeat("x", 7000) + `"`), field(`"` + strings.Repeat("x", 70_000) + `"`),
			field(`"..."`), field(`"k1.a.1."`), field(`"eyJhbGciOiJub25lIn0.e30."`),
		}
		for _, route := range routes {
			for _, body := range bodies {
				r := w.call(route.method, route.path, route.token, body)
				if route.path == "/auth/refresh" && r.status != 401 {
					t.Errorf("the app keeps dead tokens when it is answered %d for %.80s", r.status, body) // contract/rules section 5
				}
				switch r.status {
				case 400, 413, 422, 429:
				case 401:
					if route.path != "/auth/refresh" {
						t.Errorf("%s %s: 401 would throw the customer out: %.80s", route.method, route.path, body)
					}
				case 200:
					if route.path != "/user/profile" {
						t.Errorf("%s %s: accepted %.80s", route.method, route.path, body)
					}
				default:
					t.Errorf("%s %s: %d for %.80s: %s", route.method, route.path, r.status, body, r.raw)
				}
				if r.status != 200 && (r.text("message") == "" || r.text("error") == "" || r.text("code") == "") {
					t.Errorf("%s %s: %s", route.method, route.path, r.raw)
				}
			}
		}
		if strings.Contains(w.logs.String(), `"level":"ERROR"`) {
			t.Errorf("faults were logged:\n%s", w.logs.String())
		}
	})
}

// One odd field among good ones gets further than nonsense everywhere: as far as whatever uses that field.
func TestOneOddField(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		const begun = "begun@example.com" // verified, without a password yet
		w.post200("/auth/signup", fields{"email": begun})
		w.post200("/auth/verify", fields{"email": begun, "otp_code": w.code(begun, 1)})

		type field struct{ name, good string }
		email, code, referral := field{"email", u.email}, field{"otp_code", "00000"}, field{"referral_code", u.referral}
		routes := []struct {
			method, path, token string
			fields              []field
		}{
			{"POST", "/auth/signup", "", []field{{"email", "new@example.com"}, referral}},
			{"POST", "/auth/verify", "", []field{{"email", "new@example.com"}, code, referral}},
			{"POST", "/auth/set-password", "", []field{{"email", begun}, referral, {"password", goodPassword}}}, // the last may make the account
			{"POST", "/auth/login", "", []field{email, {"password", goodPassword}}},
			{"POST", "/auth/verify-login-otp", "", []field{email, code}},
			{"POST", "/auth/resend-otp", "", []field{email}},
			{"POST", "/auth/refresh", "", []field{{"refresh_token", u.refresh}}},
			{"POST", "/auth/forgot-password", "", []field{email}},
			{"POST", "/auth/verify-forgot-password-otp", "", []field{email, code}},
			{"POST", "/auth/reset-password", "", []field{email, code, {"new_password", goodPassword}, {"confirm_password", goodPassword}}},
			{"PUT", "/user/profile", u.access, []field{{"first_name", "Amina-Noor"}, {"last_name", "Haddad-Amin"}, {"phone", "+85291234567"}, {"date_of_birth", "1990-04-17"}}},
		}
		// In the place of as many bytes, so that the length is right; a lone surrogate is read as three.
		oddities := []struct {
			json  string
			bytes int
		}{{`\u0000`, 1}, {`\n`, 1}, {`\u001b`, 1}, {`\u007f`, 1}, {`'`, 1}, {`\u202e`, 3}, {`\ud800`, 3}, {`\ufeff`, 3}, {`𠮷`, 4}}
		otherKinds := []string{"null", "5", "1e999", "true", "[]", "{}", `""`, `"` + strings.Repeat("x", 7000) + `"`, `"` + strings.Repeat("x", 70_000) + `"`}
		for _, route := range routes {
			send := func(odd field, value string) {
				body := fields{}
				for _, f := range route.fields {
					body[f.name] = f.good
				}
				body[odd.name] = json.RawMessage(value)
				// What the refusals count must not shut the door before the odd field.
				for _, table := range []string{"guess_counters", "rate_windows"} {
					if _, err := w.db.Exec(t.Context(), "DELETE FROM "+table); err != nil {
						t.Fatal(err)
					}
				}
				r := w.call(route.method, route.path, route.token, body)
				said := fmt.Sprintf("%s %s with %s %.80s: %d %s", route.method, route.path, odd.name, value, r.status, r.raw)
				switch {
				case r.status >= 500, r.status == 401 && route.path != "/auth/refresh":
					t.Error(said)
				case r.status != 200 && (r.text("message") == "" || r.text("error") == "" || r.text("code") == ""):
					t.Error(said)
				case odd.name == "referral_code" && len(value) < 50 && value[0] == '"' && value != `""` && r.text("code") != "REFERRAL_CODE_UNKNOWN":
					t.Error(said)
				}
			}
			for _, f := range route.fields {
				for _, odd := range oddities {
					send(f, `"`+odd.json+f.good[odd.bytes:]+`"`)
					send(f, `"`+f.good[:len(f.good)-odd.bytes]+odd.json+`"`)
				}
			}
			for _, f := range route.fields {
				for _, value := range otherKinds {
					send(f, value)
				}
			}
		}
		if strings.Contains(w.logs.String(), `"level":"ERROR"`) {
			t.Errorf("faults were logged:\n%s", w.logs.String())
		}
	})
}

// Every problem has a text in every language, and no text has a place that stays empty.
func TestTextsOfProblems(t *testing.T) {
	texts, err := i18n.Load(identity.Locales)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*problem.Problem{
		identity.ErrEmailRequired, identity.ErrEmailInvalid, identity.ErrEmailTaken, identity.ErrReferralUnknown, identity.ErrCodeRequired,
		identity.ErrCodeForm, identity.ErrCodeInvalid, identity.ErrCodeLocked, identity.ErrResendTooSoon, identity.ErrTooManyCodes,
		identity.ErrPasswordRequired, identity.ErrPasswordWeak, identity.ErrPasswordCommon, identity.ErrPasswordTooLong, identity.ErrPasswordsDiffer,
		identity.ErrCredentials, identity.ErrPasswordLocked, identity.ErrNotVerified, identity.ErrAccountClosed, identity.ErrAccountFrozen,
		identity.ErrUserNotFound, identity.ErrSessionNotFound, identity.ErrProfileTooLong, identity.ErrProfileText, identity.ErrReasonRequired,
		identity.ErrOldPasswordWrong, identity.ErrEmailUnchanged, identity.ErrEmailInUse, identity.ErrPhoneRequired, identity.ErrPhoneInvalid,
		identity.ErrSMSUnavailable, identity.ErrRequestUnknown, identity.ErrTransactionPasswordWeak, identity.ErrTransactionPasswordForm,
		identity.ErrTransactionPasswordUnset, identity.ErrTransactionPasswordWrong, identity.ErrTransactionPasswordLocked,
	} {
		for _, l := range i18n.Locales {
			if !texts.Has(p.TextKey()) {
				t.Errorf("%s has no text", p.Code)
				continue
			}
			params := map[string]any{"Seconds": 42, "Minutes": 15, "Field": "phone", "Max": 40, "Left": 3}
			if text := texts.Get(l, p.TextKey(), params); text == p.TextKey() || strings.Contains(text, "no value") {
				t.Errorf("%s in %s: %q", p.Code, l, text)
			}
		}
	}
}

func TestLanguageOfRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		seen := map[string]bool{}
		for _, l := range i18n.Locales {
			r := w.call(http.MethodPost, "/auth/login", "", fields{"email": "x@example.com", "password": "x"}, "Accept-Language", string(l))
			r.refused(t, 400, "INVALID_CREDENTIALS")
			seen[r.text("message")] = true
			if r.text("error") != "The email address or the password is wrong." {
				t.Errorf("error is for developers, in English: %s", r.raw)
			}
		}
		if len(seen) != 3 {
			t.Errorf("%d texts for 3 languages", len(seen))
		}
	})
}
