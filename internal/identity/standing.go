package identity

import (
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

// StandingColumns and StandingFrom are the part of a query that confirms who asks, for use cases that want to do it
// in one round trip with the rest of what they read. $1 is Customer.ID, $2 Customer.SessionID; the query has exactly
// one row, whoever they are, until the caller joins more. The aliases u and s are taken.
//
//	SELECT <StandingColumns>, k.status FROM <StandingFrom> LEFT JOIN … k ON k.user_id = u.id
const (
	StandingColumns = `u.id, u.status, u.kyc_status, u.kyc_blocked, s.revoked_at, s.expires_at, u.locale`
	StandingFrom    = `(SELECT 1 AS one) x LEFT JOIN users u ON u.id = $1 LEFT JOIN sessions s ON s.id = $2 AND s.user_id = u.id`
)

// Standing is the scanned part of such a query.
type Standing struct {
	userID     *int64
	status     *string
	kycStatus  *string
	kycBlocked *bool
	revokedAt  *time.Time
	expiresAt  *time.Time
	locale     *string
}

// Dest are the scan targets for StandingColumns.
func (s *Standing) Dest() []any {
	return []any{&s.userID, &s.status, &s.kycStatus, &s.kycBlocked, &s.revokedAt, &s.expiresAt, &s.locale}
}

// Check is nil if the customer exists and the session stands. Errors: ErrUserNotFound (the published 404 of GET
// /didit/status), api.ErrUnauthenticated for a session that is missing, revoked or run out, or a closed account.
func (s *Standing) Check(now time.Time) error {
	switch {
	case s.userID == nil:
		return ErrUserNotFound
	case s.expiresAt == nil, s.revokedAt != nil, !now.Before(*s.expiresAt), s.Status() == Closed:
		return api.ErrUnauthenticated
	}
	return nil
}

// Confirm completes a customer with what the database says.
func (s *Standing) Confirm(c Customer) Customer {
	c.Frozen = s.Status() == Frozen
	return c
}

// Status is the state of the account; empty if there is none.
func (s *Standing) Status() Status {
	if s.status == nil {
		return ""
	}
	return Status(*s.status)
}

// KYCStatus is the customer's derived verification status: none, pending, verified or rejected.
func (s *Standing) KYCStatus() string {
	if s.kycStatus == nil {
		return ""
	}
	return *s.kycStatus
}

// KYCBlocked tells that risk control allows no further attempt.
func (s *Standing) KYCBlocked() bool { return s.kycBlocked != nil && *s.kycBlocked }

// MailLocale is the language in which the customer gets mail.
func (s *Standing) MailLocale() i18n.Locale {
	if s.locale == nil {
		return i18n.English
	}
	return i18n.Locale(*s.locale)
}
