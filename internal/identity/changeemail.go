package identity

import (
	"bytes"
	"context"
	"errors"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// RequestEmailChange begins to change the customer's address and mails a code to the new one (contract/accounts section 3).
//
// Errors: ErrAccountFrozen, ErrEmailRequired, ErrEmailInvalid, ErrEmailUnchanged, ErrEmailInUse, ErrCodeLocked, ErrResendTooSoon, ErrTooManyCodes.
func (s *Service) RequestEmailChange(ctx context.Context, c Customer, newEmail string) (address string, err error) {
	if err := c.MayAct(); err != nil {
		return "", err
	}
	box, err := s.mailbox(newEmail)
	if err != nil {
		return "", err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		own, u, err := s.admitOwn(ctx, tx, c, now)
		if err != nil {
			return err
		}
		if err := s.mayMoveTo(ctx, tx, u, box); err != nil {
			return err
		}
		if _, err := s.mayRequest(ctx, tx, own, forNewEmail, now); err != nil {
			return err
		}
		if err := s.admit(ctx, tx, newEmailWindow, box.index, ErrTooManyCodes, now); err != nil {
			return err
		}
		if err := saveContactChange(ctx, tx, c.ID, contactEmail, box.index, now); err != nil {
			return err
		}
		code, err := s.issueCode(ctx, tx, own, forNewEmail, now)
		if err != nil {
			return err
		}
		return s.mailCode(ctx, tx, forNewEmail, c.Locale, box.address, code, nil, now)
	})
	s.metrics.code(forNewEmail, codeRequested, err)
	return box.address, err
}

// mayMoveTo is nil if the customer can have this address. Errors: ErrEmailUnchanged, ErrEmailInUse.
func (s *Service) mayMoveTo(ctx context.Context, tx db.Tx, u userRow, box mailbox) error {
	at, err := userByEmail(ctx, tx, box.index)
	switch {
	case errors.Is(err, ErrUserNotFound):
		return nil
	case err != nil:
		return err
	case at.id == u.id:
		return ErrEmailUnchanged
	}
	return ErrEmailInUse
}

// VerifyNewEmail checks the code that went to the new address, and mails another one to the present address (contract/accounts 3.2). It can be
// repeated until the change is complete or the code runs out; within a minute the code that was sent stays in force.
//
// Wrong codes count for the customer, and for the new address: many customers together do not get more guesses at it.
//
// Errors: ErrAccountFrozen, ErrEmailRequired, ErrEmailInvalid, ErrCodeRequired, ErrCodeForm, ErrRequestUnknown, ErrCodeInvalid,
// ErrCodeLocked, ErrEmailInUse, ErrResendTooSoon, ErrTooManyCodes.
func (s *Service) VerifyNewEmail(ctx context.Context, c Customer, newEmail, code string) (currentEmail string, err error) {
	if err := c.MayAct(); err != nil {
		return "", err
	}
	box, typed, err := s.boxAndCode(newEmail, code)
	if err != nil {
		return "", err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		g, err := lockGuesses(ctx, tx, box.index, guessedCode, now)
		if err != nil {
			return err
		}
		if err := guessedCode.locked(g, now); err != nil {
			return err
		}
		own, u, err := s.admitOwn(ctx, tx, c, now)
		if err != nil {
			return err
		}
		change, found, err := readContactChange(ctx, tx, c.ID, contactEmail)
		if err != nil {
			return err
		}
		if !found || change.completedAt != nil || !bytes.Equal(change.index, box.index) {
			return ErrRequestUnknown
		}
		if err := s.acceptCode(ctx, tx, own, forNewEmail, typed, false, now); err != nil {
			if _, refused := problem.Find(err); refused {
				if _, err := s.failed(ctx, tx, box, guessedCode, g, now); err != nil {
					return err
				}
			}
			return err
		}
		if err := s.mayMoveTo(ctx, tx, u, box); err != nil {
			return err
		}
		if currentEmail, err = s.openEmail(u); err != nil {
			return err
		}
		if err := markContactVerified(ctx, tx, c.ID, contactEmail, now); err != nil {
			return err
		}
		pending, err := s.mayRequest(ctx, tx, own, forOldEmail, now)
		if pending {
			return nil
		}
		if err != nil {
			return err
		}
		old, err := s.issueCode(ctx, tx, own, forOldEmail, now)
		if err != nil {
			return err
		}
		return s.mailCode(ctx, tx, forOldEmail, c.Locale, currentEmail, old, map[string]any{"NewEmail": box.address}, now)
	})
	s.metrics.code(forNewEmail, codeChecked, err)
	return currentEmail, err
}

// CompleteEmailChange moves the customer to the new address, with the code that went to the old one (contract/accounts 3.3). Sessions
// stand; codes that were sent to the old address for anything else do not; withdrawals are blocked; both addresses are told. The same
// call once more is answered alike and changes nothing.
//
// Errors: ErrAccountFrozen, ErrEmailRequired, ErrEmailInvalid, ErrCodeRequired, ErrCodeForm, ErrRequestUnknown, ErrCodeInvalid,
// ErrCodeLocked, ErrEmailInUse.
func (s *Service) CompleteEmailChange(ctx context.Context, c Customer, newEmail, code string) (address string, err error) {
	if err := c.MayAct(); err != nil {
		return "", err
	}
	box, typed, err := s.boxAndCode(newEmail, code)
	if err != nil {
		return "", err
	}
	before, err := userByID(ctx, s.db, c.ID)
	if err != nil {
		return "", err
	}
	oldEmail, err := s.openEmail(before)
	if err != nil {
		return "", err
	}
	old, err := s.mailbox(oldEmail)
	if err != nil {
		return "", err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		// Whoever is about to use a code of the old address is through, or comes too late.
		if _, err := lockGuesses(ctx, tx, old.index, guessedCode, now); err != nil {
			return err
		}
		own, u, err := s.admitOwn(ctx, tx, c, now)
		if err != nil {
			return err
		}
		change, found, err := readContactChange(ctx, tx, c.ID, contactEmail)
		if err != nil {
			return err
		}
		if !found || change.verifiedAt == nil || !bytes.Equal(change.index, box.index) {
			return ErrRequestUnknown
		}
		if change.completedAt != nil {
			if again, err := s.repeats(ctx, tx, own, forOldEmail, typed); again || err != nil {
				return err
			}
		} else if !bytes.Equal(u.email, before.email) {
			return ErrRequestUnknown // they have moved to yet another address at this moment
		} else if err := s.mayMoveTo(ctx, tx, u, box); err != nil {
			return err
		}
		if err := s.acceptCode(ctx, tx, own, forOldEmail, typed, true, now); err != nil {
			return err
		}
		if err := markUsed(ctx, tx, own.index, forNewEmail, now); err != nil {
			return err
		}
		if err := markContactCompleted(ctx, tx, c.ID, contactEmail, now); err != nil {
			return err
		}
		if err := deleteCodes(ctx, tx, old.index); err != nil {
			return err
		}
		if u.email, err = s.vault.SealText(box.address, userPlace(u, "email")); err != nil {
			return err
		}
		if err := setEmail(ctx, tx, u.id, box.index, u.email, now); err != nil {
			return err
		}
		until, err := s.blockWithdrawals(ctx, tx, u.id, now)
		if err != nil {
			return err
		}
		about := map[string]any{"Time": mailTime(now), "Until": mailTime(until), "NewEmail": box.address}
		if err := s.post(ctx, tx, "email_changed", c.Locale, letter{To: old.address, Params: about}); err != nil {
			return err
		}
		return s.notify(ctx, tx, u, "email_changed", about)
	})
	if db.IsUniqueViolation(err) {
		err = ErrEmailInUse // somebody was quicker
	}
	s.metrics.code(forOldEmail, codeChecked, err)
	return box.address, err
}
