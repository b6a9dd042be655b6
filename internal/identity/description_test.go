package identity_test

import (
	"slices"
	"testing"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// The description lists every key that the app's models need (contract/accounts 1.3, 1.5, 1.8, 2.1), embedded ones included.
func TestDescription(t *testing.T) {
	t.Parallel()
	texts, err := i18n.Load(api.Locales, identity.Locales)
	if err != nil {
		t.Fatal(err)
	}
	s := identity.New(identity.Options{Texts: texts, Keys: []identity.TokenKey{{ID: "k", Secret: secret.NewText(string(make([]byte, 32)))}}})
	a := api.New(api.Options{Texts: texts, Version: "test"})
	s.Register(a)
	user := []string{"id", "email", "first_name", "last_name", "phone", "account_type", "status", "wallet_id", "kyc_status", "kyc_level", "referral_code", "created_at"}
	schemas := a.OpenAPI().Components.Schemas.Map()
	for name, keys := range map[string][]string{
		"SignedInResponse": {"status", "message", "access_token", "refresh_token", "next_step", "user"},
		"TokensResponse":   {"status", "message", "access_token", "refresh_token"},
		"SignedUser":       user,
		"ProfileUser": append(slices.Clone(user), "referred_by", "date_of_birth", "updated_at", "is_active", "two_factor_enabled",
			"address", "area_code", "bill_country_code", "city", "post_code", "state", "withdrawal_blocked_until"),
		"TransactionPasswordResponse":       {"email", "message", "next_step", "status", "temp_hash"},
		"TransactionPasswordStatusResponse": {"is_set", "message", "status", "withdrawal_blocked_until"},
		"NewEmailResponse":                  {"message", "new_email", "next_step", "status"},
		"CurrentEmailResponse":              {"current_email", "message", "next_step", "status"},
		"EmailChangedResponse":              {"message", "new_email", "status"},
		"NewPhoneResponse":                  {"message", "new_phone", "next_step", "status"},
		"PhoneResponse":                     {"message", "phone", "status"},
		"StepResponse":                      {"status", "email", "message", "next_step"},
	} {
		schema := schemas[name]
		if schema == nil {
			t.Errorf("%s is not described", name)
			continue
		}
		for _, key := range keys {
			if schema.Properties[key] == nil {
				t.Errorf("%s.%s is not described", name, key)
			}
		}
		if schema.Properties["otp"] != nil {
			t.Errorf("%s has an otp", name)
		}
	}
	paths := a.OpenAPI().Paths
	for _, path := range []string{
		"/auth/signup", "/auth/verify", "/auth/set-password", "/auth/login", "/auth/verify-login-otp", "/auth/resend-otp", "/auth/refresh", "/auth/forgot-password",
		"/auth/verify-forgot-password-otp", "/auth/reset-password", "/auth/logout", "/auth/logout-all", "/user/sessions", "/user/sessions/{id}", "/user/profile",
		requestDigits, completeDigits, digitsStatus, requestEmail, verifyEmail, completeEmail, requestPhone, verifyPhone, completePhone, changePassword,
	} {
		if paths[path] == nil {
			t.Errorf("%s is not described", path)
		}
	}
}
