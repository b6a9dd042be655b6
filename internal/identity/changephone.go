package identity

import (
	"bytes"
	"context"
	"strings"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

const (
	minPhoneDigits = 6
	maxPhoneDigits = 15 // ITU-T E.164 section 6
)

// normalisePhone brings a number to one form: digits, with a + in front if it was given with one or with 00. The app sends what was
// typed, without a calling code of its own (contract/accounts section 12). Errors: ErrPhoneRequired, ErrPhoneInvalid.
func normalisePhone(typed string) (string, error) {
	number := strings.NewReplacer(" ", "", "-", "", ".", "", "(", "", ")", "").Replace(typed)
	if number == "" {
		return "", ErrPhoneRequired
	}
	if rest, ok := strings.CutPrefix(number, "00"); ok {
		number = "+" + rest
	}
	digits := strings.TrimPrefix(number, "+")
	if len(digits) < minPhoneDigits || len(digits) > maxPhoneDigits || strings.Trim(digits, "0123456789") != "" {
		return "", ErrPhoneInvalid
	}
	return number, nil
}

// RequestPhoneChange begins to change the customer's phone number and sends a code to the new one by SMS (contract/accounts section 12).
//
// Errors: ErrSMSUnavailable, ErrAccountFrozen, ErrPhoneRequired, ErrPhoneInvalid, ErrCodeLocked, ErrResendTooSoon, ErrTooManyCodes.
func (s *Service) RequestPhoneChange(ctx context.Context, c Customer, newPhone string) (number string, err error) {
	if err := c.MayAct(); err != nil {
		return "", err
	}
	if s.sms == nil {
		return "", ErrSMSUnavailable
	}
	if number, err = normalisePhone(newPhone); err != nil {
		return "", err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		own, _, err := s.admitOwn(ctx, tx, c, now)
		if err != nil {
			return err
		}
		if _, err := s.mayRequest(ctx, tx, own, forNewPhone, now); err != nil {
			return err
		}
		index := s.phoneIndex(number)
		if err := s.admit(ctx, tx, newPhoneWindow, index, ErrTooManyCodes, now); err != nil {
			return err
		}
		if err := saveContactChange(ctx, tx, c.ID, contactPhone, index, now); err != nil {
			return err
		}
		code, err := s.issueCode(ctx, tx, own, forNewPhone, now)
		if err != nil {
			return err
		}
		return s.textCode(ctx, tx, c.Locale, number, code, now)
	})
	s.metrics.code(forNewPhone, codeRequested, err)
	return number, err
}

func (s *Service) phoneIndex(number string) []byte { return s.vault.Hash("phone", number) }

// VerifyNewPhone checks the code that went to the new number, and mails another one to the customer's address. It can be repeated until
// the change is complete or the code runs out; within a minute the mailed code stays in force.
//
// Errors: ErrAccountFrozen, ErrPhoneRequired, ErrPhoneInvalid, ErrCodeRequired, ErrCodeForm, ErrRequestUnknown, ErrCodeInvalid,
// ErrCodeLocked, ErrResendTooSoon, ErrTooManyCodes.
func (s *Service) VerifyNewPhone(ctx context.Context, c Customer, newPhone, code string) (email string, err error) {
	if err := c.MayAct(); err != nil {
		return "", err
	}
	number, err := normalisePhone(newPhone)
	if err != nil {
		return "", err
	}
	typed, err := readCode(code)
	if err != nil {
		return "", err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		own, u, err := s.admitOwn(ctx, tx, c, now)
		if err != nil {
			return err
		}
		change, found, err := readContactChange(ctx, tx, c.ID, contactPhone)
		if err != nil {
			return err
		}
		if !found || change.completedAt != nil || !bytes.Equal(change.index, s.phoneIndex(number)) {
			return ErrRequestUnknown
		}
		if err := s.acceptCode(ctx, tx, own, forNewPhone, typed, false, now); err != nil {
			return err
		}
		if email, err = s.openEmail(u); err != nil {
			return err
		}
		if err := markContactVerified(ctx, tx, c.ID, contactPhone, now); err != nil {
			return err
		}
		pending, err := s.mayRequest(ctx, tx, own, forChangePhone, now)
		if pending {
			return nil
		}
		if err != nil {
			return err
		}
		mailed, err := s.issueCode(ctx, tx, own, forChangePhone, now)
		if err != nil {
			return err
		}
		return s.mailCode(ctx, tx, forChangePhone, c.Locale, email, mailed, map[string]any{"NewPhone": number}, now)
	})
	s.metrics.code(forNewPhone, codeChecked, err)
	return email, err
}

// CompletePhoneChange gives the customer the new number, with the mailed code. Withdrawals are blocked, and the customer is told. The same
// call once more is answered alike and changes nothing.
//
// Errors: ErrAccountFrozen, ErrPhoneRequired, ErrPhoneInvalid, ErrCodeRequired, ErrCodeForm, ErrRequestUnknown, ErrCodeInvalid,
// ErrCodeLocked.
func (s *Service) CompletePhoneChange(ctx context.Context, c Customer, newPhone, code string) (number string, err error) {
	if err := c.MayAct(); err != nil {
		return "", err
	}
	if number, err = normalisePhone(newPhone); err != nil {
		return "", err
	}
	typed, err := readCode(code)
	if err != nil {
		return "", err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		own, u, err := s.admitOwn(ctx, tx, c, now)
		if err != nil {
			return err
		}
		change, found, err := readContactChange(ctx, tx, c.ID, contactPhone)
		if err != nil {
			return err
		}
		if !found || change.verifiedAt == nil || !bytes.Equal(change.index, s.phoneIndex(number)) {
			return ErrRequestUnknown
		}
		if change.completedAt != nil {
			if again, err := s.repeats(ctx, tx, own, forChangePhone, typed); again || err != nil {
				return err
			}
		}
		if err := s.acceptCode(ctx, tx, own, forChangePhone, typed, true, now); err != nil {
			return err
		}
		if err := markUsed(ctx, tx, own.index, forNewPhone, now); err != nil {
			return err
		}
		if err := markContactCompleted(ctx, tx, c.ID, contactPhone, now); err != nil {
			return err
		}
		sealed, err := s.vault.SealText(number, userPlace(u, "phone"))
		if err != nil {
			return err
		}
		if err := setPhone(ctx, tx, u.id, sealed, now); err != nil {
			return err
		}
		until, err := s.blockWithdrawals(ctx, tx, u.id, now)
		if err != nil {
			return err
		}
		return s.notify(ctx, tx, u, "phone_changed", map[string]any{"Time": mailTime(now), "Until": mailTime(until)})
	})
	s.metrics.code(forChangePhone, codeChecked, err)
	return number, err
}
