package identity

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// TransactionPasswordRequest is the outcome of RequestTransactionPassword.
type TransactionPasswordRequest struct {
	Email string      // where the code went
	Token secret.Text // the app's temp_hash: belongs to this request and customer alone
}

// RequestTransactionPassword begins to set or change the customer's transaction password, six digits, and mails a code
// (contract/accounts 6.1). The password waits on the server, as a hash; what goes out is a random token (decision A4). The
// newest request counts.
//
// Errors: ErrAccountFrozen, ErrTransactionPasswordForm, ErrPasswordsDiffer, ErrTransactionPasswordWeak, ErrCodeLocked, ErrResendTooSoon,
// ErrTooManyCodes.
func (s *Service) RequestTransactionPassword(ctx context.Context, c Customer, password, confirmation secret.Text) (TransactionPasswordRequest, error) {
	var out TransactionPasswordRequest
	if err := c.MayAct(); err != nil {
		return out, err
	}
	switch {
	case !sixDigits(password):
		return out, ErrTransactionPasswordForm
	case password != confirmation:
		return out, ErrPasswordsDiffer
	case isWeak(password.Reveal()):
		return out, ErrTransactionPasswordWeak
	}
	err := s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		own, u, err := s.admitOwn(ctx, tx, c, now)
		if err != nil {
			return err
		}
		if _, err := s.mayRequest(ctx, tx, own, forTransactionPassword, now); err != nil {
			return err
		}
		code, err := s.issueCode(ctx, tx, own, forTransactionPassword, now)
		if err != nil {
			return err
		}
		random, err := s.randomBytes(16 + 32)
		if err != nil {
			return err
		}
		salt, token := random[:16], secret.NewText(base64.RawURLEncoding.EncodeToString(random[16:]))
		err = savePendingPassword(ctx, tx, pendingPassword{
			userID: c.ID, token: s.hashToken(c.ID, token), salt: salt, hash: s.hashTransactionPassword(c.ID, salt, password), expiresAt: now.Add(codeLifetime),
		})
		if err != nil {
			return err
		}
		email, err := s.openEmail(u)
		if err != nil {
			return err
		}
		out = TransactionPasswordRequest{email, token}
		return s.mailCode(ctx, tx, forTransactionPassword, c.Locale, email, code, nil, now)
	})
	s.metrics.code(forTransactionPassword, codeRequested, err)
	return out, err
}

// hashToken is the stored form of a temp_hash.
func (s *Service) hashToken(userID int64, token secret.Text) []byte {
	return s.vault.Hash("transaction password request", string(s.codesOf(userID).index), token.Reveal())
}

// isWeak tells whether six digits are among those that everybody tries first: all the same, or a run up or down, over 9 and 0 as well.
func isWeak(digits string) bool {
	step := (digits[1] - digits[0] + 10) % 10
	if step != 0 && step != 1 && step != 9 {
		return false
	}
	for i := 2; i < len(digits); i++ {
		if (digits[i]-digits[i-1]+10)%10 != step {
			return false
		}
	}
	return true
}

// CompleteTransactionPassword sets the transaction password of the request that the token belongs to, with the mailed code (contract/accounts
// 6.2). The customer is told by mail. To replace one that was set blocks withdrawals; setting the first does not. The same call
// once more, after an answer that was lost, is answered alike and changes nothing.
//
// Errors: ErrAccountFrozen, ErrCodeRequired, ErrCodeForm, ErrRequestUnknown, ErrCodeInvalid, ErrCodeLocked.
func (s *Service) CompleteTransactionPassword(ctx context.Context, c Customer, code string, token secret.Text) error {
	if err := c.MayAct(); err != nil {
		return err
	}
	typed, err := readCode(code)
	if err != nil {
		return err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		own, u, err := s.admitOwn(ctx, tx, c, now)
		if err != nil {
			return err
		}
		pending, found, err := readPendingPassword(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if !found || !now.Before(pending.expiresAt) || subtle.ConstantTimeCompare(pending.token, s.hashToken(c.ID, token)) != 1 {
			return ErrRequestUnknown
		}
		if pending.completedAt != nil {
			if again, err := s.repeats(ctx, tx, own, forTransactionPassword, typed); again || err != nil {
				return err
			}
		}
		if err := s.acceptCode(ctx, tx, own, forTransactionPassword, typed, true, now); err != nil {
			return err
		}
		if err := completePendingPassword(ctx, tx, c.ID, now); err != nil {
			return err
		}
		changed, err := lockTransactionPassword(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if err := setTransactionPassword(ctx, tx, pending, now); err != nil {
			return err
		}
		if !changed {
			return s.notify(ctx, tx, u, "transaction_password_set", map[string]any{"Time": mailTime(now)})
		}
		until, err := s.blockWithdrawals(ctx, tx, u.id, now)
		if err != nil {
			return err
		}
		return s.notify(ctx, tx, u, "transaction_password_changed", map[string]any{"Time": mailTime(now), "Until": mailTime(until)})
	})
	s.metrics.code(forTransactionPassword, codeChecked, err)
	return err
}

// TransactionPasswordStatus tells whether the customer has a transaction password (contract/accounts 6.3), and until when their
// withdrawals are blocked; nil if they are not.
func (s *Service) TransactionPasswordStatus(ctx context.Context, c Customer) (set bool, blockedUntil *time.Time, err error) {
	set, until, err := transactionPasswordStatus(ctx, s.db, c.ID)
	return set, s.stillBlocked(until), err
}
