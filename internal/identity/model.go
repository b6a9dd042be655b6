// Package identity is who the customers are: sign-up, sign-in with a code sent by mail, one-time codes and the
// limits on guessing them, sessions and tokens, profile, and the operators' hold over accounts.
//
// It owns the tables of migrations/00001_identity.sql except idempotency_keys, and of migrations/00004_credentials.sql. It does not own what a customer
// has proved about themselves (package kyc); of that it keeps only the derived word users.kyc_status.
package identity

import (
	"context"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// Problems of this capability. Wrong passwords and codes are Invalid (400), never Unauthenticated: to the app a
// 401 means that its token is dead (contract/rules section 5).
var (
	ErrEmailRequired    = problem.Define("EMAIL_REQUIRED", problem.Invalid)
	ErrEmailInvalid     = problem.Define("EMAIL_INVALID", problem.Invalid)
	ErrEmailTaken       = problem.Define("EMAIL_TAKEN", problem.Invalid)
	ErrReferralUnknown  = problem.Define("REFERRAL_CODE_UNKNOWN", problem.Invalid)
	ErrCodeRequired     = problem.Define("CODE_REQUIRED", problem.Invalid)
	ErrCodeForm         = problem.Define("CODE_FORM_INVALID", problem.Invalid)
	ErrCodeInvalid      = problem.Define("CODE_INVALID", problem.Invalid)
	ErrCodeLocked       = problem.Define("CODE_LOCKED", problem.TooMany)
	ErrResendTooSoon    = problem.Define("RESEND_TOO_SOON", problem.TooMany)
	ErrTooManyCodes     = problem.Define("TOO_MANY_CODES", problem.TooMany)
	ErrPasswordRequired = problem.Define("PASSWORD_REQUIRED", problem.Invalid)
	ErrPasswordWeak     = problem.Define("PASSWORD_WEAK", problem.Invalid)
	ErrPasswordCommon   = problem.Define("PASSWORD_COMMON", problem.Invalid)
	ErrPasswordTooLong  = problem.Define("PASSWORD_TOO_LONG", problem.Invalid)
	ErrPasswordsDiffer  = problem.Define("PASSWORDS_DIFFER", problem.Invalid)
	ErrCredentials      = problem.Define("INVALID_CREDENTIALS", problem.Invalid)
	ErrPasswordLocked   = problem.Define("LOGIN_LOCKED", problem.TooMany)
	ErrNotVerified      = problem.Define("EMAIL_NOT_VERIFIED", problem.Invalid)
	ErrAccountClosed    = problem.Define("ACCOUNT_CLOSED", problem.Invalid)
	ErrAccountFrozen    = problem.Define("ACCOUNT_FROZEN", problem.Forbidden)
	ErrUserNotFound     = problem.Define("USER_NOT_FOUND", problem.NotFound)
	ErrSessionNotFound  = problem.Define("SESSION_NOT_FOUND", problem.NotFound)
	ErrProfileTooLong   = problem.Define("PROFILE_FIELD_TOO_LONG", problem.Invalid)
	ErrProfileText      = problem.Define("PROFILE_FIELD_INVALID", problem.Invalid)
	ErrReasonRequired   = problem.Define("REASON_REQUIRED", problem.Invalid)

	ErrOldPasswordWrong = problem.Define("OLD_PASSWORD_WRONG", problem.Invalid)
	ErrEmailUnchanged   = problem.Define("EMAIL_UNCHANGED", problem.Invalid)
	ErrEmailInUse       = problem.Define("EMAIL_IN_USE", problem.Invalid)
	ErrPhoneRequired    = problem.Define("PHONE_REQUIRED", problem.Invalid)
	ErrPhoneInvalid     = problem.Define("PHONE_INVALID", problem.Invalid)
	ErrSMSUnavailable   = problem.Define("SMS_UNAVAILABLE", problem.Unavailable)
	ErrRequestUnknown   = problem.Define("REQUEST_UNKNOWN", problem.Invalid) // a change that was not asked for, or too long ago

	ErrTransactionPasswordWeak   = problem.Define("TRANSACTION_PASSWORD_WEAK", problem.Invalid)
	ErrTransactionPasswordForm   = problem.Define("TRANSACTION_PASSWORD_FORM_INVALID", problem.Invalid)
	ErrTransactionPasswordUnset  = problem.Define("TRANSACTION_PASSWORD_NOT_SET", problem.Invalid)
	ErrTransactionPasswordWrong  = problem.Define("TRANSACTION_PASSWORD_WRONG", problem.Invalid)
	ErrTransactionPasswordLocked = problem.Define("TRANSACTION_PASSWORD_LOCKED", problem.TooMany)
)

// Status is the state of an account.
type Status string

// The states. A frozen customer can sign in and read, but nothing that changes anything; a closed account is final.
const (
	Active Status = "active"
	Frozen Status = "frozen"
	Closed Status = "closed"
)

// Customer is who makes a request, as far as the access token and, unless the operation confirms it itself, the
// database tell.
type Customer struct {
	ID        int64
	SessionID string
	Frozen    bool        // not known before the session is confirmed, see Standing
	Locale    i18n.Locale // of the request
}

// MayAct is nil if the customer may do what changes something: ErrAccountFrozen otherwise. Use cases that are not
// mere reading ask it first.
func (c Customer) MayAct() error {
	if c.Frozen {
		return ErrAccountFrozen
	}
	return nil
}

type customerKey struct{}

// NewContext returns a context that carries the customer.
func NewContext(ctx context.Context, c Customer) context.Context {
	return context.WithValue(ctx, customerKey{}, c)
}

// CustomerFrom is the customer of the request. Outside of an operation that needs a token it is the zero Customer,
// whose id belongs to nobody.
func CustomerFrom(ctx context.Context) Customer {
	c, _ := ctx.Value(customerKey{}).(Customer)
	return c
}

// Client is the device at the other end of a request.
type Client struct {
	Address string // network address; empty: not known
	Agent   string // User-Agent as sent
	Locale  i18n.Locale
}

// Account is what other capabilities and operators see of a customer.
type Account struct {
	ID         int64
	Email      string
	Status     Status
	KYCStatus  string // none, pending, verified, rejected: contract/money section 10
	KYCBlocked bool   // risk control: no further attempt
	Locale     i18n.Locale
	FirstName  string
	LastName   string
	CreatedAt  time.Time

	WithdrawalsBlockedUntil *time.Time // after a change of credentials (contract/accounts decision A16); nil: not blocked now
}

// Profile is what a customer sees of themselves (contract/accounts section 2.1). Texts without a value are empty.
type Profile struct {
	ID           int64
	Email        string
	FirstName    string
	LastName     string
	Phone        string
	DateOfBirth  string // free text, as the app sent it
	AccountType  string
	Status       Status
	WalletRef    string
	KYCStatus    string
	ReferralCode string
	ReferredBy   string // the inviter's referral code
	CreatedAt    time.Time
	UpdatedAt    time.Time

	WithdrawalsBlockedUntil *time.Time // nil: not blocked now
}

// KYCLevel is 1 for a verified customer, else 0.
func (p Profile) KYCLevel() int {
	if p.KYCStatus == "verified" {
		return 1
	}
	return 0
}

// ProfileChange is what a customer may change of their profile; nil leaves a field as it is.
type ProfileChange struct{ FirstName, LastName, Phone, DateOfBirth *string }

// Tokens are the two tokens of a session.
type Tokens struct {
	Access  secret.Text // a JWT, usable for AccessLifetime
	Refresh secret.Text // usable once, see RefreshGrace
}

// SignedIn is the outcome of a sign-in.
type SignedIn struct {
	Tokens
	Profile Profile
}

// Session is a login on one device.
type Session struct {
	ID         string
	Device     string // "Chrome, Windows"; empty: not known
	Address    string
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
	Current    bool // the session that asks
}

// Lifetimes, contract/rules section 5.
const (
	AccessLifetime  = 24 * time.Hour
	SessionLifetime = 7 * 24 * time.Hour // since the last refresh
	// RefreshGrace is how long the refresh token before the current one still works. About five clients of one app
	// refresh at the same time with the same token.
	RefreshGrace = time.Minute
)

// Operator is the person who acts on an account from outside.
type Operator struct{ Name string }

// AuditEntry is one act of an operator.
type AuditEntry struct {
	Operator Operator
	Action   string // account.freeze, kyc.reject …
	UserID   int64  // 0: none
	Subject  string // what was acted on, without personal data: "session Zk…", "kyc 12"
	Reason   string
}
