package identity_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/platform/sms"
	"github.com/comecomepay/comecomepay/internal/sandbox/inbox"
)

const (
	requestPhone  = "/user/change-phone/request"
	verifyPhone   = "/user/change-phone/verify-new"
	completePhone = "/user/change-phone/complete"
)

// shortMessages are those to a number, newest first.
func (w *world) shortMessages(number string) []inbox.Message {
	w.t.Helper()
	list, err := w.phone.Messages(context.Background(), number)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// texted waits for a short message to a number and returns the code in the newest.
func (w *world) texted(number string) string {
	w.t.Helper()
	w.idle()
	eventually(w.t, "a short message", func() bool { return len(w.shortMessages(number)) > 0 })
	text := w.shortMessages(number)[0].Text
	for i := range len(text) - 4 {
		if strings.Trim(text[i:i+5], "0123456789") == "" {
			return text[i : i+5]
		}
	}
	w.t.Fatalf("no code in %q", text)
	return ""
}

func TestChangePhone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		const number = "+85291234567"
		r := w.as(u, "POST", requestPhone, fields{"new_phone": " (00852) 9123-4567 "})
		if r.text("new_phone") != number || r.text("next_step") == "" || r.text("message") == "" {
			t.Error(r.raw)
		}
		verify := fields{"email": "anything", "new_phone": number, "otp_code": w.texted(number)}
		r = w.as(u, "POST", verifyPhone, verify)
		if r.text("email") != u.email || r.text("next_step") == "" || r.text("message") == "" {
			t.Error(r.raw)
		}
		code := w.nextCode(u)
		w.as(u, "POST", verifyPhone, verify) // within a minute the mailed code stays
		w.idle()
		if n := len(w.post.to(u.email)); n != u.codes {
			t.Errorf("%d mails, want %d", n, u.codes)
		}
		complete := fields{"new_phone": number, "email_otp": code}
		for range 2 { // the second time for an answer that was lost
			if r = w.as(u, "POST", completePhone, complete); r.text("phone") != number || r.text("message") == "" {
				t.Error(r.raw)
			}
		}
		w.blockedForADay(u, "another number")
		if person := w.as(u, "GET", "/user/profile", nil).body["user"].(map[string]any); person["phone"] != number {
			t.Errorf("%v", person)
		}
		w.refusedTo(u, verifyPhone, verify, 400, "REQUEST_UNKNOWN")
		w.idle()
		if n := w.mails(u.email, "phone number of your ComeComePay account was changed"); n != 1 {
			t.Errorf("%d mails about the change", n)
		}
		if n := len(w.shortMessages(number)); n != 1 {
			t.Errorf("%d short messages", n)
		}
	})
}

func TestChangePhoneRefusals(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u, other := w.signUp("u@example.com"), w.signUp("other@example.com")
		for number, code := range map[string]string{"": "PHONE_REQUIRED", " - ": "PHONE_REQUIRED", "12345": "PHONE_INVALID", "+1234567890123456": "PHONE_INVALID",
			"+852 9123 456x": "PHONE_INVALID", "++85291234567": "PHONE_INVALID", "852+91234567": "PHONE_INVALID", "٠٠٩٦٦٥٥٥٥٥٥": "PHONE_INVALID", "9123456\x007": "PHONE_INVALID"} {
			w.refusedTo(u, requestPhone, fields{"new_phone": number}, 400, code)
		}
		const number = "91234567"
		w.refusedTo(u, verifyPhone, fields{"new_phone": number, "otp_code": "00000"}, 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completePhone, fields{"new_phone": number, "email_otp": "00000"}, 400, "REQUEST_UNKNOWN")
		w.as(u, "POST", requestPhone, fields{"new_phone": number})
		w.refusedTo(u, requestPhone, fields{"new_phone": number}, 429, "RESEND_TOO_SOON")
		code := w.texted(number)
		w.refusedTo(u, verifyPhone, fields{"new_phone": number, "otp_code": wrong(code)}, 400, "CODE_INVALID")
		w.refusedTo(u, verifyPhone, fields{"new_phone": number + "8", "otp_code": code}, 400, "REQUEST_UNKNOWN")
		w.refusedTo(other, verifyPhone, fields{"new_phone": number, "otp_code": code}, 400, "REQUEST_UNKNOWN")
		w.refusedTo(u, completePhone, fields{"new_phone": number, "email_otp": code}, 400, "REQUEST_UNKNOWN")
		w.as(u, "POST", verifyPhone, fields{"new_phone": number, "otp_code": code})
		mailed := w.nextCode(u)
		w.refusedTo(u, completePhone, fields{"new_phone": number, "email_otp": wrong(mailed)}, 400, "CODE_INVALID")
		w.refusedTo(u, completePhone, fields{"new_phone": number + "8", "email_otp": mailed}, 400, "REQUEST_UNKNOWN")
		w.refusedTo(other, completePhone, fields{"new_phone": number, "email_otp": mailed}, 400, "REQUEST_UNKNOWN")
		w.clock.Advance(10 * time.Minute)
		w.refusedTo(u, completePhone, fields{"new_phone": number, "email_otp": mailed}, 400, "CODE_INVALID") // too late
		if until := w.blockedUntil(u); until != "" {
			t.Errorf("blocked until %s, and nothing was changed", until)
		}
		// Short messages cost money: five an hour for a customer, and for a number.
		for range 4 {
			w.as(u, "POST", requestPhone, fields{"new_phone": number})
			w.clock.Advance(time.Minute)
		}
		w.refusedTo(u, requestPhone, fields{"new_phone": "97654321"}, 429, "TOO_MANY_CODES")
		w.refusedTo(other, requestPhone, fields{"new_phone": number}, 429, "TOO_MANY_CODES")
		if _, err := w.FreezeAccount(t.Context(), operator, u.email, "a test"); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{requestPhone, verifyPhone, completePhone} {
			w.refusedTo(u, path, fields{"new_phone": number, "otp_code": code, "email_otp": mailed}, 403, "ACCOUNT_FROZEN")
		}
	})
}

func TestShortMessagesInEveryLanguage(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for i, l := range i18n.Locales {
			u := w.signUp(string(l) + "@example.com")
			number := "+8529123456" + string(rune('0'+i))
			if r := w.call("POST", requestPhone, u.access, fields{"new_phone": number}, "Accept-Language", string(l)); r.status != 200 {
				t.Fatal(r.raw)
			}
			code := w.texted(number)
			text := w.shortMessages(number)[0].Text
			want := map[i18n.Locale]string{i18n.Chinese: "验证码", i18n.English: "is your code", i18n.Arabic: "رمز"}[l]
			if !strings.Contains(text, want) || !strings.Contains(text, code) || !strings.Contains(text, "ComeComePay") || strings.Contains(text, "no value") {
				t.Errorf("%s: %s", l, text)
			}
		}
	})
}

func TestWithoutAGateway(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d, func(o *identity.Options) { o.SMS = nil })
		u := w.signUp("u@example.com")
		w.refusedTo(u, requestPhone, fields{"new_phone": "+85291234567"}, 503, "SMS_UNAVAILABLE")
	})
}

// A gateway that is away is asked again; one that refuses for good is not.
func TestGatewayAway(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		var calls, status atomic.Int32
		status.Store(http.StatusBadGateway)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			w.WriteHeader(int(status.Load()))
		}))
		t.Cleanup(server.Close)
		gateway, err := sms.NewGateway(sms.Config{URL: server.URL, Secret: secret.NewText("s")})
		if err != nil {
			t.Fatal(err)
		}
		w := newWorld(t, d, func(o *identity.Options) { o.SMS = gateway })
		u := w.signUp("u@example.com")
		w.as(u, "POST", requestPhone, fields{"new_phone": "+85291234567"})
		eventually(t, "a second attempt", func() bool {
			if calls.Load() == 1 {
				status.Store(http.StatusUnprocessableEntity)
			}
			return calls.Load() == 2
		})
		eventually(t, "the end", func() bool {
			return w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'identity_sms' AND state = 'cancelled'`) == 1
		})
		if calls.Load() != 2 {
			t.Errorf("%d calls", calls.Load())
		}
	})
}
