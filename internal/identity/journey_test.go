package identity_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestJourney(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const email = "amina@example.com"

		// Sign-up. The address comes back in its normal form, the code never.
		r := w.post200("/auth/signup", fields{"email": "  Amina@Example.com "})
		if r.text("email") != email || r.body["otp"] != nil || r.text("message") == "" {
			t.Errorf("signup: %s", r.raw)
		}
		r = w.post200("/api/v1/auth/verify/", fields{"email": email, "otp_code": w.code(email, 1)})
		if r.text("next_step") != "set_password" || r.body["referral_code"] != "" {
			t.Errorf("verify: %s", r.raw)
		}
		r = w.post200("/auth/set-password", fields{"email": email, "password": goodPassword})
		checkStrictUser(t, r)
		if r.text("next_step") == "" {
			t.Errorf("set-password needs a next_step: %s", r.raw)
		}

		// Login with a mailed code.
		r = w.post200("/auth/login", fields{"email": email, "password": goodPassword}, "Authorization", "Bearer stale")
		if r.text("next_step") != "verify_login_otp" || r.text("email") != email || r.body["otp"] != nil || r.body["access_token"] != nil {
			t.Errorf("login: %s", r.raw)
		}
		r = w.post200("/auth/verify-login-otp", fields{"email": email, "otp_code": w.code(email, 2)})
		checkStrictUser(t, r)
		access, refresh := r.text("access_token"), r.text("refresh_token")

		// Profile.
		r = w.call(http.MethodGet, "/user/profile", access, nil)
		person, _ := r.body["user"].(map[string]any)
		if r.status != 200 || person["email"] != email || person["is_active"] != true || person["kyc_status"] != "none" {
			t.Fatalf("profile: %d %s", r.status, r.raw)
		}
		for key, value := range person {
			if value == nil {
				t.Errorf("profile: %s is null", key)
			}
		}
		for _, key := range []string{"phone", "date_of_birth", "referred_by", "address", "area_code", "bill_country_code", "city", "post_code", "state"} {
			if _, ok := person[key].(string); !ok {
				t.Errorf("profile: %s must be a string: %s", key, r.raw)
			}
		}
		change := fields{"first_name": "أمينة", "last_name": "حدّاد", "phone": "+85291234567", "date_of_birth": "17 April 1990",
			"account_type": "business", "referral_code": "AAAAAAAA"}
		r = w.call(http.MethodPut, "/user/profile", access, change)
		changed, _ := r.body["user"].(map[string]any)
		if r.status != 200 || changed["first_name"] != "أمينة" || changed["date_of_birth"] != "17 April 1990" ||
			changed["account_type"] != person["account_type"] || changed["referral_code"] != person["referral_code"] || changed["id"] != person["id"] {
			t.Errorf("profile change: %d %s", r.status, r.raw)
		}
		again := w.call(http.MethodGet, "/user/profile", access, nil)
		if got := again.body["user"].(map[string]any); got["last_name"] != "حدّاد" || got["phone"] != "+85291234567" {
			t.Errorf("profile after change: %s", again.raw)
		}

		// Fresh tokens, although the access token has run out; its like comes along and is ignored.
		w.clock.Advance(25 * time.Hour)
		w.call(http.MethodGet, "/user/profile", access, nil).refused(t, 401, "UNAUTHENTICATED")
		r = w.post200("/auth/refresh", fields{"refresh_token": refresh}, "Authorization", "Bearer "+access)
		access, refresh = r.text("access_token"), r.text("refresh_token")
		if r = w.call(http.MethodGet, "/user/profile", access, nil); r.status != 200 {
			t.Errorf("with the fresh token: %d", r.status)
		}

		// Out: neither token works any more.
		if r = w.call(http.MethodPost, "/auth/logout", access, fields{"access_token": access}); r.status != 200 {
			t.Errorf("logout: %d %s", r.status, r.raw)
		}
		w.call(http.MethodGet, "/user/profile", access, nil).refused(t, 401, "UNAUTHENTICATED")
		w.call(http.MethodPost, "/auth/refresh", "", fields{"refresh_token": refresh}).refused(t, 401, "UNAUTHENTICATED")
	})
}

// checkStrictUser checks the strictest model of the app (contract/accounts 1.3): nothing null, nothing of another type.
func checkStrictUser(t *testing.T, r reply) {
	t.Helper()
	for _, key := range []string{"access_token", "refresh_token", "message", "status"} {
		if r.text(key) == "" {
			t.Errorf("%s must be a text: %s", key, r.raw)
		}
	}
	person, ok := r.body["user"].(map[string]any)
	if !ok {
		t.Fatalf("no user: %s", r.raw)
	}
	for _, key := range []string{"email", "account_type", "status", "wallet_id", "kyc_status", "referral_code", "first_name", "last_name", "phone"} {
		if _, ok := person[key].(string); !ok {
			t.Errorf("user.%s must be a text: %s", key, r.raw)
		}
	}
	if !regexp.MustCompile(`"id":[1-9][0-9]*,`).MatchString(r.raw) || !strings.Contains(r.raw, `"kyc_level":0,`) {
		t.Errorf("id and kyc_level must be whole numbers: %s", r.raw)
	}
	if created, err := time.Parse(time.RFC3339, person["created_at"].(string)); err != nil || created.Location() != time.UTC {
		t.Errorf("created_at must be RFC 3339 in UTC: %s", r.raw)
	}
	if !strings.HasPrefix(person["wallet_id"].(string), "CCP") {
		t.Errorf("wallet_id: %s", r.raw)
	}
}
