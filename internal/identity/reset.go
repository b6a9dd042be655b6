package identity

import (
	"context"
	"errors"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// ForgotPassword mails a code for a new password (contract/accounts 1.9). For an address that is nobody's the same work is
// done and the same answer given; only no mail goes out.
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrCodeLocked, ErrResendTooSoon, ErrTooManyCodes, api.ErrTooManyRequests.
func (s *Service) ForgotPassword(ctx context.Context, client Client, email string) (address string, err error) {
	box, err := s.mailbox(email)
	if err != nil {
		return "", err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		if _, err := s.admitMailbox(ctx, tx, sendWindow, client, box, guessedCode, now); err != nil {
			return err
		}
		code, found, err := lockCode(ctx, tx, box.index, forReset)
		if err != nil {
			return err
		}
		if found {
			// The app repeats this call to have the code sent again, and shows the wait.
			if wait := code.coolDown(now); wait > 0 {
				return ErrResendTooSoon.After(wait)
			}
		}
		if err := s.admit(ctx, tx, forReset.window(), box.index, ErrTooManyCodes, now); err != nil {
			return err
		}
		real, err := s.mayReceive(ctx, tx, box, forReset)
		if err != nil {
			return err
		}
		return s.sendCode(ctx, tx, box, forReset, client.Locale, real, now)
	})
	s.metrics.code(forReset, codeRequested, err)
	return box.address, err
}

// CheckReset tells whether a code would be accepted by ResetPassword (contract/accounts 1.10); it does not use it up. A wrong
// one counts as a guess.
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrCodeRequired, ErrCodeForm, ErrCodeInvalid, ErrCodeLocked,
// api.ErrTooManyRequests.
func (s *Service) CheckReset(ctx context.Context, client Client, email, code string) (address string, err error) {
	box, typed, err := s.boxAndCode(email, code)
	if err != nil {
		return "", err
	}
	return box.address, s.checkReset(ctx, client, box, typed)
}

func (s *Service) checkReset(ctx context.Context, client Client, box mailbox, typed secret.Text) error {
	err := s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		if err := s.admitAddress(ctx, tx, codeWindow, client, now); err != nil {
			return err
		}
		return s.acceptCode(ctx, tx, box, forReset, typed, false, now)
	})
	s.metrics.code(forReset, codeChecked, err)
	return err
}

// ResetPassword sets a new password with the code of ForgotPassword, ends every session of the customer, blocks withdrawals
// and tells them by mail (contract/accounts 1.11).
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrCodeRequired, ErrCodeForm, ErrPasswordsDiffer, ErrPassword…,
// ErrCodeInvalid, ErrCodeLocked, api.ErrTooManyRequests.
func (s *Service) ResetPassword(ctx context.Context, client Client, email, code string, password, confirmation secret.Text) error {
	box, typed, err := s.boxAndCode(email, code)
	if err != nil {
		return err
	}
	if password.Reveal() != confirmation.Reveal() {
		return ErrPasswordsDiffer
	}
	if err := checkPassword(password); err != nil {
		return err
	}
	// The code is looked at before the password is hashed, which is expensive, and used up afterwards.
	if err := s.checkReset(ctx, client, box, typed); err != nil {
		return err
	}
	hash, err := s.hashPassword(ctx, password)
	if err != nil {
		return err
	}
	return s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		if err := s.acceptCode(ctx, tx, box, forReset, typed, true, now); err != nil {
			return err
		}
		if err := s.forgive(ctx, tx, box, guessedPassword, now); err != nil {
			return err
		}
		u, err := lockUserByEmail(ctx, tx, box.index)
		if errors.Is(err, ErrUserNotFound) || err == nil && u.status == Closed {
			return ErrCodeInvalid
		}
		if err != nil {
			return err
		}
		if err := setPasswordHash(ctx, tx, u.id, hash, now); err != nil {
			return err
		}
		if _, err := revokeSessions(ctx, tx, u.id, endedByReset, now); err != nil {
			return err
		}
		until, err := s.blockWithdrawals(ctx, tx, u.id, now)
		if err != nil {
			return err
		}
		u.locale = string(s.locale(client.Locale))
		return s.notify(ctx, tx, u, "password_changed", map[string]any{"Time": mailTime(now), "Until": mailTime(until), "Everywhere": true})
	})
}
