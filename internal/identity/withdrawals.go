package identity

import (
	"context"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// withdrawalBlock is how long nothing is withdrawn after a change of e-mail address, phone or a password: whoever has taken an
// account over changes these first, and its owner is told by mail in time (contract/accounts decision A16).
const withdrawalBlock = 24 * time.Hour

// blockedUntil is when the customer may withdraw again; nil if they may now.
func (s *Service) blockedUntil(u userRow) *time.Time {
	if u.blockedUntil == nil || !s.clock.Now().Before(*u.blockedUntil) {
		return nil
	}
	return u.blockedUntil
}

// WithdrawalStanding locks the customer's row until tx ends and returns them, with the block of withdrawals if there is one: what is
// decided on it holds against every change of credentials at the same moment.
//
// Errors: ErrUserNotFound, ErrAccountFrozen, api.ErrUnauthenticated for a closed account.
func (s *Service) WithdrawalStanding(ctx context.Context, tx db.Tx, userID int64) (Account, error) {
	a, err := s.LockCustomer(ctx, tx, userID)
	switch {
	case err != nil:
		return Account{}, err
	case a.Status == Frozen:
		return Account{}, ErrAccountFrozen
	case a.Status == Closed:
		return Account{}, api.ErrUnauthenticated
	}
	return a, nil
}
