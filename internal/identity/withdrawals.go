package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// withdrawalBlock is how long nothing is withdrawn after a change of e-mail address, phone or a password: whoever has taken an
// account over changes these first, and its owner is told by mail in time (contract/accounts decision A16).
const withdrawalBlock = 24 * time.Hour

// blockWithdrawals keeps a customer, who must be locked, from withdrawing for a day, and returns its end.
func (s *Service) blockWithdrawals(ctx context.Context, tx db.Tx, userID int64, now time.Time) (until time.Time, err error) {
	until = now.Add(withdrawalBlock)
	return until, setWithdrawalBlock(ctx, tx, userID, &until, now)
}

// stillBlocked is the end of a block that has not ended yet; else nil.
func (s *Service) stillBlocked(until *time.Time) *time.Time {
	if until == nil || !s.clock.Now().Before(*until) {
		return nil
	}
	return until
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

// UnblockWithdrawals lifts the block of a customer, given by number or address, and tells them. Without a block nothing changes.
//
// Errors: ErrUserNotFound, ErrEmailInvalid, ErrReasonRequired.
func (s *Service) UnblockWithdrawals(ctx context.Context, op Operator, who, reason string) (Account, error) {
	found, err := s.Find(ctx, who)
	if err != nil {
		return Account{}, err
	}
	var account Account
	err = s.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		u, err := lockUser(ctx, tx, found.ID)
		if err != nil {
			return err
		}
		if s.stillBlocked(u.blockedUntil) != nil {
			if err := s.Audit(ctx, tx, AuditEntry{op, "account.unblock-withdrawals", u.id, fmt.Sprintf("user %d", u.id), reason}); err != nil {
				return err
			}
			if err := setWithdrawalBlock(ctx, tx, u.id, nil, s.clock.Now()); err != nil {
				return err
			}
			if err := s.notify(ctx, tx, u, "withdrawals_unblocked", nil); err != nil {
				return err
			}
			u.blockedUntil = nil
		}
		account, err = s.openAccount(u, nil)
		return err
	})
	return account, err
}
