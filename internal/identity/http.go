package identity

import (
	"context"
	"net/http"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// ClientFrom is the device that makes the request.
func ClientFrom(ctx context.Context) Client {
	return Client{Address: api.ClientAddress(ctx), Agent: api.UserAgent(ctx), Locale: i18n.FromContext(ctx)}
}

type input[T any] struct{ Body T }

type output[T any] struct{ Body T }

func answer[T any](body T) *output[T] { return &output[T]{body} }

// Requests. Every field may be missing or null, which is the same as empty: the use case says what it needs, in the
// customer's language. Fields that old builds send besides are not looked at.
type (
	signUpRequest struct {
		Email        string `json:"email" doc:"Case and surrounding spaces do not matter." example:"amina@example.com"`
		ReferralCode string `json:"referral_code,omitempty" doc:"The inviter's code, if there is one." example:"K7QX2MVP"`
	}
	verifyRequest struct {
		Email        string `json:"email" example:"amina@example.com"`
		Code         string `json:"otp_code" doc:"Five digits, as mailed." example:"04821"`
		ReferralCode string `json:"referral_code,omitempty" doc:"Taken if none was given before." example:"K7QX2MVP"`
	}
	setPasswordRequest struct {
		Email        string `json:"email" example:"amina@example.com"`
		Password     string `json:"password" doc:"At least 8 characters, among them A-Z, a digit and a sign." example:"Harbour-Lights7!"`
		ReferralCode string `json:"referral_code,omitempty" doc:"Taken if none was given before." example:"K7QX2MVP"`
	}
	loginRequest struct {
		Email    string `json:"email" example:"amina@example.com"`
		Password string `json:"password" example:"Harbour-Lights7!"`
	}
	codeRequest struct {
		Email string `json:"email" example:"amina@example.com"`
		Code  string `json:"otp_code" doc:"Five digits, as mailed." example:"04821"`
	}
	emailRequest struct {
		Email string `json:"email" example:"amina@example.com"`
	}
	refreshRequest struct {
		RefreshToken string `json:"refresh_token"`
	}
	resetPasswordRequest struct {
		Email        string `json:"email" example:"amina@example.com"`
		Code         string `json:"otp_code" doc:"The code of the previous step, again." example:"04821"`
		Password     string `json:"new_password" example:"Harbour-Lights7!"`
		Confirmation string `json:"confirm_password" example:"Harbour-Lights7!"`
	}
	profileRequest struct {
		FirstName   *string `json:"first_name,omitempty" example:"Amina"`
		LastName    *string `json:"last_name,omitempty" example:"Haddad"`
		Phone       *string `json:"phone,omitempty" example:"+85291234567"`
		DateOfBirth *string `json:"date_of_birth,omitempty" doc:"Free text; given back as it was sent." example:"1990-04-17"`
	}
	sessionRequest struct {
		ID string `path:"id" maxLength:"64" doc:"As listed by GET /user/sessions."`
	}
)

// Answers. No answer ever holds a code (contract/accounts decision A5).
type (
	messageResponse struct {
		api.Success
		Message string `json:"message" doc:"For the customer, in their language."`
	}
	stepResponse struct {
		api.Success
		Email    string `json:"email" doc:"The address in full; the next step sends it back."`
		Message  string `json:"message"`
		NextStep string `json:"next_step,omitempty"`
	}
	verifyResponse struct {
		api.Success
		Email        string `json:"email"`
		Message      string `json:"message"`
		NextStep     string `json:"next_step" enum:"set_password"`
		ReferralCode string `json:"referral_code" doc:"The code that is bound to this sign-up; empty if none."`
	}
	// TokensResponse is exported for the description of the API: it leaves out what is embedded and unexported.
	TokensResponse struct {
		api.Success
		Message      string `json:"message"`
		AccessToken  string `json:"access_token" doc:"Bearer token, valid for 24 hours."`
		RefreshToken string `json:"refresh_token" doc:"For POST /auth/refresh, valid for 7 days."`
	}
	signedInResponse struct {
		TokensResponse
		NextStep string     `json:"next_step,omitempty"`
		User     SignedUser `json:"user"`
	}
	// SignedUser is the customer as sign-in answers give them. It has no null anywhere: the app's model after set-password bears none (contract/accounts 1.3).
	SignedUser struct {
		ID           int64     `json:"id" doc:"Shown in the app as ID; others type it as transfer UID."`
		Email        string    `json:"email"`
		FirstName    string    `json:"first_name"`
		LastName     string    `json:"last_name"`
		Phone        string    `json:"phone"`
		AccountType  string    `json:"account_type" example:"personal"`
		Status       string    `json:"status" enum:"active,frozen,closed"`
		WalletID     string    `json:"wallet_id" example:"CCPK7QX2MVP4HZA"`
		KYCStatus    string    `json:"kyc_status" enum:"none,pending,verified,rejected"`
		KYCLevel     int       `json:"kyc_level" doc:"1 when verified, else 0."`
		ReferralCode string    `json:"referral_code" example:"K7QX2MVP"`
		CreatedAt    time.Time `json:"created_at"`
	}
	profileResponse struct {
		api.Success
		Message string      `json:"message,omitempty"`
		User    profileUser `json:"user"`
	}
	profileUser struct {
		SignedUser
		ReferredBy       string    `json:"referred_by" doc:"The inviter's referral code; empty if none."`
		DateOfBirth      string    `json:"date_of_birth"`
		UpdatedAt        time.Time `json:"updated_at"`
		IsActive         bool      `json:"is_active"`
		TwoFactorEnabled bool      `json:"two_factor_enabled" doc:"Always true: nobody signs in without a mailed code."`
		// The address belongs to the verification; without these keys the app would show invented values.
		Address         string `json:"address"`
		AreaCode        string `json:"area_code"`
		BillCountryCode string `json:"bill_country_code"`
		City            string `json:"city"`
		PostCode        string `json:"post_code"`
		State           string `json:"state"`

		WithdrawalBlockedUntil *time.Time `json:"withdrawal_blocked_until,omitempty" doc:"No withdrawals before, after a change of credentials; left out if there is no block."`
	}
	sessionsResponse struct {
		api.Success
		Sessions []sessionItem `json:"sessions" nullable:"false"`
	}
	sessionItem struct {
		ID         string    `json:"id"`
		Device     string    `json:"device" example:"Chrome, Windows"`
		Address    string    `json:"address" doc:"Network address at sign-in."`
		CreatedAt  time.Time `json:"created_at"`
		LastUsedAt time.Time `json:"last_used_at" doc:"Sign-in or last refresh."`
		ExpiresAt  time.Time `json:"expires_at"`
		Current    bool      `json:"current" doc:"The session that asks."`
	}
)

// The values of next_step. The app compares the first two.
const (
	stepSetPassword   = "set_password"
	stepVerifyLogin   = "verify_login_otp"
	stepResetPassword = "reset_password"
	stepVerifySignup  = "verify"
	stepVerifyReset   = "verify_forgot_password_otp"
	stepLogin         = "login"
)

const (
	tagAuth    = "Authentication"
	tagProfile = "Profile"
)

// Register adds the routes of this capability.
func (s *Service) Register(a *api.API) {
	say := func(ctx context.Context, key string) string { return s.texts.For(ctx, "auth."+key, nil) }

	api.Register(a, api.Operation{
		ID: "sign-up", Method: http.MethodPost, Path: "/auth/signup", Access: api.Public, Tag: tagAuth,
		Summary: "Begin to sign up: a code is mailed", Errors: []int{400},
	}, func(ctx context.Context, in *input[signUpRequest]) (*output[stepResponse], error) {
		email, err := s.SignUp(ctx, ClientFrom(ctx), in.Body.Email, in.Body.ReferralCode)
		if err != nil {
			return nil, err
		}
		return answer(stepResponse{api.OK(), email, say(ctx, "code_sent"), stepVerifySignup}), nil
	})

	api.Register(a, api.Operation{
		ID: "verify-sign-up", Method: http.MethodPost, Path: "/auth/verify", Access: api.Public, Tag: tagAuth,
		Summary: "Prove the address with the mailed code", Errors: []int{400},
	}, func(ctx context.Context, in *input[verifyRequest]) (*output[verifyResponse], error) {
		v, err := s.Verify(ctx, ClientFrom(ctx), in.Body.Email, in.Body.Code, in.Body.ReferralCode)
		if err != nil {
			return nil, err
		}
		return answer(verifyResponse{api.OK(), v.Email, say(ctx, "verified"), stepSetPassword, v.ReferralCode}), nil
	})

	api.Register(a, api.Operation{
		ID: "set-password", Method: http.MethodPost, Path: "/auth/set-password", Access: api.Public, Tag: tagAuth,
		Summary:  "End the sign-up: the account is made",
		Describe: "Within 15 minutes after POST /auth/verify for the same address, once.", Errors: []int{400},
	}, func(ctx context.Context, in *input[setPasswordRequest]) (*output[signedInResponse], error) {
		out, err := s.SetPassword(ctx, ClientFrom(ctx), in.Body.Email, secret.NewText(in.Body.Password), in.Body.ReferralCode)
		if err != nil {
			return nil, err
		}
		return answer(signedIn(out, say(ctx, "account_created"), stepLogin)), nil
	})

	api.Register(a, api.Operation{
		ID: "log-in", Method: http.MethodPost, Path: "/auth/login", Access: api.Public, Tag: tagAuth,
		Summary:  "Check the password; a code is mailed",
		Describe: "Wrong credentials are 400, a locked address is 429; neither is ever 401.", Errors: []int{400},
	}, func(ctx context.Context, in *input[loginRequest]) (*output[stepResponse], error) {
		email, err := s.LogIn(ctx, ClientFrom(ctx), in.Body.Email, secret.NewText(in.Body.Password))
		if err != nil {
			return nil, err
		}
		return answer(stepResponse{api.OK(), email, say(ctx, "code_sent"), stepVerifyLogin}), nil
	})

	api.Register(a, api.Operation{
		ID: "verify-log-in", Method: http.MethodPost, Path: "/auth/verify-login-otp", Access: api.Public, Tag: tagAuth,
		Summary: "Sign in with the mailed code", Errors: []int{400},
	}, func(ctx context.Context, in *input[codeRequest]) (*output[signedInResponse], error) {
		out, err := s.VerifyLogin(ctx, ClientFrom(ctx), in.Body.Email, in.Body.Code)
		if err != nil {
			return nil, err
		}
		return answer(signedIn(out, say(ctx, "signed_in"), "")), nil
	})

	api.Register(a, api.Operation{
		ID: "resend-code", Method: http.MethodPost, Path: "/auth/resend-otp", Access: api.Public, Tag: tagAuth,
		Summary:  "Mail another code of the pending step",
		Describe: "Answered alike whether a code is pending or not. Once a minute; sooner is 429 with Retry-After.", Errors: []int{400},
	}, func(ctx context.Context, in *input[emailRequest]) (*output[messageResponse], error) {
		if err := s.Resend(ctx, ClientFrom(ctx), in.Body.Email); err != nil {
			return nil, err
		}
		return answer(messageResponse{api.OK(), say(ctx, "code_resent")}), nil
	})

	api.Register(a, api.Operation{
		ID: "refresh-tokens", Method: http.MethodPost, Path: "/auth/refresh", Access: api.Public, Tag: tagAuth,
		Summary: "Exchange a refresh token for fresh tokens",
		Describe: "Whoever comes within a minute with a token that was just exchanged gets usable tokens as well. " +
			"A token that was exchanged longer ago ends the session. Whatever is wrong with the token is 401, also when the request cannot be read.",
		Unreadable: api.ErrUnauthenticated,
	}, func(ctx context.Context, in *input[refreshRequest]) (*output[TokensResponse], error) {
		t, err := s.Refresh(ctx, secret.NewText(in.Body.RefreshToken))
		if err != nil {
			return nil, err
		}
		return answer(tokens(t, say(ctx, "refreshed"))), nil
	})

	api.Register(a, api.Operation{
		ID: "forgot-password", Method: http.MethodPost, Path: "/auth/forgot-password", Access: api.Public, Tag: tagAuth,
		Summary: "Mail a code for a new password", Describe: "Answered alike for addresses that are nobody's.", Errors: []int{400},
	}, func(ctx context.Context, in *input[emailRequest]) (*output[stepResponse], error) {
		email, err := s.ForgotPassword(ctx, ClientFrom(ctx), in.Body.Email)
		if err != nil {
			return nil, err
		}
		return answer(stepResponse{api.OK(), email, say(ctx, "reset_code_sent"), stepVerifyReset}), nil
	})

	api.Register(a, api.Operation{
		ID: "check-reset-code", Method: http.MethodPost, Path: "/auth/verify-forgot-password-otp", Access: api.Public, Tag: tagAuth,
		Summary: "Look whether a reset code is right", Describe: "The code stays usable for POST /auth/reset-password.", Errors: []int{400},
	}, func(ctx context.Context, in *input[codeRequest]) (*output[stepResponse], error) {
		email, err := s.CheckReset(ctx, ClientFrom(ctx), in.Body.Email, in.Body.Code)
		if err != nil {
			return nil, err
		}
		return answer(stepResponse{api.OK(), email, say(ctx, "code_accepted"), stepResetPassword}), nil
	})

	api.Register(a, api.Operation{
		ID: "reset-password", Method: http.MethodPost, Path: "/auth/reset-password", Access: api.Public, Tag: tagAuth,
		Summary: "Set a new password with the mailed code", Describe: "Ends every session of the customer.", Errors: []int{400},
	}, func(ctx context.Context, in *input[resetPasswordRequest]) (*output[messageResponse], error) {
		b := in.Body
		if err := s.ResetPassword(ctx, ClientFrom(ctx), b.Email, b.Code, secret.NewText(b.Password), secret.NewText(b.Confirmation)); err != nil {
			return nil, err
		}
		return answer(messageResponse{api.OK(), say(ctx, "password_reset")}), nil
	})

	api.Register(a, api.Operation{
		ID: "log-out", Method: http.MethodPost, Path: "/auth/logout", Tag: tagAuth,
		Summary: "End this session", Describe: "A body is not looked at.",
	}, func(ctx context.Context, _ *struct{}) (*output[messageResponse], error) {
		if err := s.LogOut(ctx, CustomerFrom(ctx)); err != nil {
			return nil, err
		}
		return answer(messageResponse{api.OK(), say(ctx, "logged_out")}), nil
	})

	api.Register(a, api.Operation{
		ID: "log-out-everywhere", Method: http.MethodPost, Path: "/auth/logout-all", Tag: tagAuth,
		Summary: "End every session, this one included",
	}, func(ctx context.Context, _ *struct{}) (*output[messageResponse], error) {
		if err := s.LogOutEverywhere(ctx, CustomerFrom(ctx)); err != nil {
			return nil, err
		}
		return answer(messageResponse{api.OK(), say(ctx, "logged_out_everywhere")}), nil
	})

	api.Register(a, api.Operation{
		ID: "list-sessions", Method: http.MethodGet, Path: "/user/sessions", Tag: tagProfile,
		Summary: "The devices that are signed in",
	}, func(ctx context.Context, _ *struct{}) (*output[sessionsResponse], error) {
		list, err := s.Sessions(ctx, CustomerFrom(ctx))
		if err != nil {
			return nil, err
		}
		items := make([]sessionItem, 0, len(list))
		for _, x := range list {
			items = append(items, sessionItem(x))
		}
		return answer(sessionsResponse{api.OK(), items}), nil
	})

	api.Register(a, api.Operation{
		ID: "end-session", Method: http.MethodDelete, Path: "/user/sessions/{id}", Tag: tagProfile,
		Summary: "Sign a device out", Errors: []int{404},
	}, func(ctx context.Context, in *sessionRequest) (*output[messageResponse], error) {
		if err := s.EndSession(ctx, CustomerFrom(ctx), in.ID); err != nil {
			return nil, err
		}
		return answer(messageResponse{api.OK(), say(ctx, "session_ended")}), nil
	})

	api.Register(a, api.Operation{
		ID: "get-profile", Method: http.MethodGet, Path: "/user/profile", Tag: tagProfile,
		Summary: "The customer's own profile",
	}, func(ctx context.Context, _ *struct{}) (*output[profileResponse], error) {
		p, err := s.Profile(ctx, CustomerFrom(ctx))
		if err != nil {
			return nil, err
		}
		return answer(profileResponse{api.OK(), "", userProfile(p)}), nil
	})

	api.Register(a, api.Operation{
		ID: "update-profile", Method: http.MethodPut, Path: "/user/profile", Tag: tagProfile,
		Summary:  "Change the customer's own profile",
		Describe: "Fields that are missing stay as they are. account_type and referral_code are not looked at.", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[profileRequest]) (*output[profileResponse], error) {
		p, err := s.UpdateProfile(ctx, CustomerFrom(ctx), ProfileChange(in.Body))
		if err != nil {
			return nil, err
		}
		return answer(profileResponse{api.OK(), say(ctx, "profile_updated"), userProfile(p)}), nil
	})

	s.registerCredentials(a)
}

func tokens(t Tokens, message string) TokensResponse {
	return TokensResponse{api.OK(), message, t.Access.Reveal(), t.Refresh.Reveal()}
}

func signedIn(in SignedIn, message, next string) signedInResponse {
	return signedInResponse{tokens(in.Tokens, message), next, user(in.Profile)}
}

func user(p Profile) SignedUser {
	return SignedUser{
		ID: p.ID, Email: p.Email, FirstName: p.FirstName, LastName: p.LastName, Phone: p.Phone, AccountType: p.AccountType,
		Status: string(p.Status), WalletID: p.WalletRef, KYCStatus: p.KYCStatus, KYCLevel: p.KYCLevel(),
		ReferralCode: p.ReferralCode, CreatedAt: p.CreatedAt,
	}
}

func userProfile(p Profile) profileUser {
	return profileUser{
		SignedUser: user(p), ReferredBy: p.ReferredBy, DateOfBirth: p.DateOfBirth, UpdatedAt: p.UpdatedAt,
		IsActive: p.Status == Active, TwoFactorEnabled: true, WithdrawalBlockedUntil: p.WithdrawalsBlockedUntil,
	}
}
