package identity

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// purpose is what a code is good for. It is good for nothing else.
type purpose string

const (
	forSignup purpose = "signup"
	forLogin  purpose = "login"
	forReset  purpose = "reset"

	// Of customers who are signed in, see codesOf.
	forTransactionPassword purpose = "transaction_password"
	forNewEmail            purpose = "new_email"
	forOldEmail            purpose = "old_email"
	forNewPhone            purpose = "new_phone" // by SMS
	forChangePhone         purpose = "change_phone"
)

// template is the mail that carries the code.
func (p purpose) template() string { return string(p) + "_code" }

const (
	codeDigits   = 5 // contract/accounts decision A1
	codeLifetime = 10 * time.Minute
	codeTries    = 5
	resendPeriod = time.Minute
	// pendingFor is how long after a code was sent another one of its purpose can be asked for without starting over.
	pendingFor = 30 * time.Minute
)

// newCode is a uniformly random code.
func (s *Service) newCode() (secret.Text, error) {
	const codes = 100_000
	// Numbers above the largest multiple would make low codes likelier; they are drawn again.
	const limit = (1 << 32) / codes * codes
	for {
		b, err := s.randomBytes(4)
		if err != nil {
			return secret.Text{}, err
		}
		if n := uint64(binary.BigEndian.Uint32(b)); n < limit {
			return secret.NewText(fmt.Sprintf("%0*d", codeDigits, n%codes)), nil
		}
	}
}

func (s *Service) hashCode(box mailbox, p purpose, code secret.Text) []byte {
	return s.vault.Hash("one-time code", string(p), hex.EncodeToString(box.index), code.Reveal())
}

// readCode checks the form of a code that was typed. Errors: ErrCodeRequired, ErrCodeForm; neither counts as a guess.
func readCode(typed string) (secret.Text, error) {
	if typed == "" {
		return secret.Text{}, ErrCodeRequired
	}
	if len(typed) != codeDigits {
		return secret.Text{}, ErrCodeForm
	}
	for i := range len(typed) {
		if typed[i] < '0' || typed[i] > '9' {
			return secret.Text{}, ErrCodeForm
		}
	}
	return secret.NewText(typed), nil
}

// usable tells whether a code can still be accepted.
func (c codeRow) usable(now time.Time) bool {
	return c.usedAt == nil && c.tries < codeTries && now.Before(c.expiresAt)
}

// coolDown is how long to wait before another code of the same purpose goes out. A code that was used has done its
// work and holds nothing up.
func (c codeRow) coolDown(now time.Time) time.Duration {
	if c.usedAt != nil {
		return 0
	}
	return max(0, c.sentAt.Add(resendPeriod).Sub(now))
}

// ensureCode sees to it that a usable code is on its way: a step that is repeated (signup, login) within the cool-down
// leaves the code that was sent before in force and sends nothing. The address must be locked (lockGuesses).
//
// Errors: ErrResendTooSoon, ErrTooManyCodes.
func (s *Service) ensureCode(ctx context.Context, tx db.Tx, box mailbox, p purpose, locale i18n.Locale, now time.Time) error {
	code, found, err := lockCode(ctx, tx, box.index, p)
	if err != nil {
		return err
	}
	if found {
		if wait := code.coolDown(now); wait > 0 {
			if code.usable(now) {
				return nil
			}
			return ErrResendTooSoon.After(wait)
		}
	}
	if err := s.admit(ctx, tx, p.window(), box.index, ErrTooManyCodes, now); err != nil {
		return err
	}
	return s.sendCode(ctx, tx, box, p, locale, true, now)
}

// codesOf is where codes are kept that a signed-in customer asks for: under the customer and not under an address, so that nobody
// else's request replaces them, and what strangers do to an address does not lock them.
func (s *Service) codesOf(userID int64) mailbox {
	return mailbox{index: s.vault.Hash("customer", strconv.FormatInt(userID, 10))}
}

// admitOwn locks a customer's own codes, and the customer behind them. Errors: ErrCodeLocked, and those of lockActive.
func (s *Service) admitOwn(ctx context.Context, tx db.Tx, c Customer, now time.Time) (mailbox, userRow, error) {
	own := s.codesOf(c.ID)
	g, err := lockGuesses(ctx, tx, own.index, guessedCode, now)
	if err == nil {
		err = guessedCode.locked(g, now)
	}
	if err != nil {
		return own, userRow{}, err
	}
	u, err := lockActive(ctx, tx, c.ID)
	u.locale = string(s.locale(c.Locale))
	return own, u, err
}

// lockActive locks a customer who may act. Errors: ErrAccountFrozen, and api.ErrUnauthenticated for an account that was closed meanwhile.
func lockActive(ctx context.Context, tx db.Tx, userID int64) (userRow, error) {
	u, err := lockUser(ctx, tx, userID)
	switch {
	case err != nil:
		return u, err
	case u.status == Closed:
		return u, api.ErrUnauthenticated
	case u.status != Active:
		return u, ErrAccountFrozen
	}
	return u, nil
}

// mayRequest tells whether another code may be sent to a customer, and counts it. pending: one was sent just now and can be used.
// Errors: ErrResendTooSoon, ErrTooManyCodes.
func (s *Service) mayRequest(ctx context.Context, tx db.Tx, own mailbox, p purpose, now time.Time) (pending bool, err error) {
	code, found, err := lockCode(ctx, tx, own.index, p)
	if err != nil {
		return false, err
	}
	if found {
		if wait := code.coolDown(now); wait > 0 {
			return code.usable(now), ErrResendTooSoon.After(wait)
		}
	}
	return false, s.admit(ctx, tx, p.window(), own.index, ErrTooManyCodes, now)
}

// sendCode makes a new code, which replaces the former of its purpose, and sends it. Where nobody may learn whether the
// address belongs to a customer the same is done for one that does not, with a code that never matches and a mail that
// goes nowhere: real is false. How many are sent is for the caller to limit.
func (s *Service) sendCode(ctx context.Context, tx db.Tx, box mailbox, p purpose, locale i18n.Locale, real bool, now time.Time) error {
	code, err := s.newCode()
	if err != nil {
		return err
	}
	hash := s.hashCode(box, p, code)
	to := box.address
	if !real {
		to = ""
		if hash, err = s.randomBytes(len(hash)); err != nil {
			return err
		}
	}
	if err := saveCode(ctx, tx, box.index, p, hash, now, now.Add(codeLifetime)); err != nil {
		return err
	}
	return s.mailCode(ctx, tx, p, locale, to, code, nil, now)
}

// issueCode makes a new code of a signed-in customer, which replaces the former of its purpose.
func (s *Service) issueCode(ctx context.Context, tx db.Tx, own mailbox, p purpose, now time.Time) (secret.Text, error) {
	code, err := s.newCode()
	if err != nil {
		return code, err
	}
	return code, saveCode(ctx, tx, own.index, p, s.hashCode(own, p, code), now, now.Add(codeLifetime))
}

// mailCode mails a code; about are more parameters of the text.
func (s *Service) mailCode(ctx context.Context, tx db.Tx, p purpose, locale i18n.Locale, to string, code secret.Text, about map[string]any, now time.Time) error {
	params := map[string]any{"Minutes": int(codeLifetime / time.Minute)}
	maps.Copy(params, about)
	return s.post(ctx, tx, p.template(), locale, letter{To: to, Code: code.Reveal(), StaleAt: now.Add(codeLifetime), Params: params})
}

// repeats tells whether a step that is done comes again with the code that did it: its answer was lost on the way.
func (s *Service) repeats(ctx context.Context, tx db.Tx, box mailbox, p purpose, typed secret.Text) (bool, error) {
	code, found, err := lockCode(ctx, tx, box.index, p)
	return found && code.usedAt != nil && code.tries < codeTries && subtle.ConstantTimeCompare(s.hashCode(box, p, typed), code.hash) == 1, err
}

// acceptCode decides about a code that was typed. It locks the address, and counts before it tells: whoever guesses in
// parallel stands in line here. A code that is consumed is not accepted again.
//
// Errors: ErrCodeLocked; ErrCodeInvalid for a code that is wrong, used, has run out or been tried too often, or was never
// sent, all alike, since anything else would tell strangers what is going on at an address.
func (s *Service) acceptCode(ctx context.Context, tx db.Tx, box mailbox, p purpose, typed secret.Text, consume bool, now time.Time) error {
	g, err := lockGuesses(ctx, tx, box.index, guessedCode, now)
	if err != nil {
		return err
	}
	if err := guessedCode.locked(g, now); err != nil {
		return err
	}
	code, found, err := lockCode(ctx, tx, box.index, p)
	if err != nil {
		return err
	}
	matches := subtle.ConstantTimeCompare(s.hashCode(box, p, typed), code.hash) == 1
	switch {
	case found && matches && code.usable(now):
		mark := markChecked
		if consume {
			mark = markUsed
		}
		if err := mark(ctx, tx, box.index, p, now); err != nil {
			return err
		}
		return s.forgive(ctx, tx, box, guessedCode, now)
	case found && matches && code.tries < codeTries:
		// The right code, once too often or too late: a double tap, not a guess.
		return ErrCodeInvalid
	}
	if found {
		if err := countTry(ctx, tx, box.index, p); err != nil {
			return err
		}
	}
	lockout, err := s.failed(ctx, tx, box, guessedCode, g, now)
	if err != nil {
		return err
	}
	if lockout > 0 {
		return guessedCode.refusal(lockout)
	}
	return ErrCodeInvalid
}
