package identity

import (
	"context"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// ChangePassword replaces the password that the customer signs in with (contract/accounts section 5). The session that asks goes on, all others
// end; withdrawals are blocked, and the customer is told. Wrong old passwords are counted with those of log-in, each before
// it is known to be wrong.
//
// Errors: ErrAccountFrozen, ErrPasswordsDiffer, ErrPassword…, ErrOldPasswordWrong, ErrPasswordLocked.
func (s *Service) ChangePassword(ctx context.Context, c Customer, old, password, confirmation secret.Text) error {
	if err := c.MayAct(); err != nil {
		return err
	}
	if old.Empty() {
		return ErrPasswordRequired
	}
	if password != confirmation {
		return ErrPasswordsDiffer
	}
	if err := checkPassword(password); err != nil {
		return err
	}
	var u userRow
	var box mailbox
	var refusal *problem.Problem
	err := s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		refusal = ErrOldPasswordWrong
		var err error
		if u, err = userByID(ctx, tx, c.ID); err != nil {
			return err
		}
		email, err := s.openEmail(u)
		if err != nil {
			return err
		}
		if box, err = s.mailbox(email); err != nil {
			return err
		}
		g, err := lockGuesses(ctx, tx, box.index, guessedPassword, now)
		if err != nil {
			return err
		}
		if err := guessedPassword.locked(g, now); err != nil {
			return err
		}
		lockout, err := s.failed(ctx, tx, box, guessedPassword, g, now)
		if lockout > 0 {
			refusal = guessedPassword.refusal(lockout)
		}
		return err
	})
	if err != nil {
		return err
	}
	match, _, err := s.verifyPassword(ctx, old, u.passwordHash)
	if err != nil {
		return err
	}
	if !match {
		return refusal
	}
	hash, err := s.hashPassword(ctx, password)
	if err != nil {
		return err
	}
	return s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		if err := s.forgive(ctx, tx, box, guessedPassword, now); err != nil {
			return err
		}
		current, err := lockActive(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if current.passwordHash != u.passwordHash {
			return ErrOldPasswordWrong // changed at this very moment
		}
		if err := setPasswordHash(ctx, tx, c.ID, hash, now); err != nil {
			return err
		}
		if err := revokeOtherSessions(ctx, tx, c.ID, c.SessionID, endedByChange, now); err != nil {
			return err
		}
		until, err := s.blockWithdrawals(ctx, tx, c.ID, now)
		if err != nil {
			return err
		}
		current.locale = string(s.locale(c.Locale))
		return s.notify(ctx, tx, current, "password_changed", map[string]any{"Time": mailTime(now), "Until": mailTime(until), "Everywhere": false})
	})
}
