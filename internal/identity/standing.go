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
	StandingColumns = `COALESCE(u.id, 0), COALESCE(u.status, ''), COALESCE(u.kyc_status, ''), COALESCE(u.kyc_blocked, FALSE),
	s.revoked_at, s.expires_at, COALESCE(u.locale, '')`
	StandingFrom = `(SELECT 1 AS one) x LEFT JOIN users u ON u.id = $1 LEFT JOIN sessions s ON s.id = $2 AND s.user_id = u.id`
)

// Standing is the scanned part of such a query.
type Standing struct {
	userID     int64 // 0: there is none
	status     Status
	kycStatus  string
	kycBlocked bool
	revokedAt  *time.Time
	expiresAt  *time.Time // nil: no session of theirs
	locale     i18n.Locale
}

// Dest are the scan targets for StandingColumns: basic types, which drivers read without reflection.
func (s *Standing) Dest() []any {
	return []any{&s.userID, (*string)(&s.status), &s.kycStatus, &s.kycBlocked, &s.revokedAt, &s.expiresAt, (*string)(&s.locale)}
}

// Check is nil if the customer exists and the session stands. Errors: ErrUserNotFound (the published 404 of GET
// /didit/status), api.ErrUnauthenticated for a session that is missing, revoked or run out, or a closed account.
func (s *Standing) Check(now time.Time) error {
	switch {
	case s.userID == 0:
		return ErrUserNotFound
	case s.expiresAt == nil, s.revokedAt != nil, !now.Before(*s.expiresAt), s.status == Closed:
		return api.ErrUnauthenticated
	}
	return nil
}

// Confirm completes a customer with what the database says.
func (s *Standing) Confirm(c Customer) Customer {
	c.Frozen = s.status == Frozen
	return c
}

// Status is the state of the account; empty if there is none.
func (s *Standing) Status() Status { return s.status }

// KYCStatus is the customer's derived verification status: none, pending, verified or rejected.
func (s *Standing) KYCStatus() string { return s.kycStatus }

// KYCBlocked tells that risk control allows no further attempt.
func (s *Standing) KYCBlocked() bool { return s.kycBlocked }

// MailLocale is the language in which the customer gets mail.
func (s *Standing) MailLocale() i18n.Locale {
	if s.locale == "" {
		return i18n.English
	}
	return s.locale
}
