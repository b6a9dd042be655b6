package identity

import (
	"context"
	"crypto/subtle"
	"strconv"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// A million transaction passwords are few: every fifth wrong one in a row locks, the first time for firstLockout, then each time
// twice as long, at most longestLock. After guessesMemory without a wrong one the count begins anew.
const transferTries = 5

// TransferTry is one customer who wants to send money with their transaction password.
type TransferTry struct {
	Customer Customer // of an access token; the session need not be confirmed
	Password secret.Text
}

// Authorization is what became of a try. Err is nil or a Problem: api.ErrUnauthenticated for a session that is missing, revoked or
// run out, or a closed account; ErrUserNotFound; ErrAccountFrozen; ErrTransactionPasswordForm, which is no guess;
// ErrTransactionPasswordUnset; ErrTransactionPasswordWrong, with the tries that are left; ErrTransactionPasswordLocked, with
// the wait. The rest is known unless the session is not theirs.
type Authorization struct {
	Err    error
	Locale i18n.Locale // of mail
}

// Authorizing are tries that are about to be judged.
type Authorizing struct {
	service *Service
	tx      db.Tx
	tries   []TransferTry
	rows    []transferRow
}

// AuthorizeTransfers confirms sessions and checks transaction passwords, of many customers at once; the answers stand in the order of
// the tries. Each customer's password stays locked until tx ends, so that guesses of all replicas come one after the other; those
// that stand in one call several times are judged in their order. Wrong tries are counted by writes in tx: the caller
// commits it whatever it decides. A customer whose tries are used up is told by mail.
//
// When all are right, this is one statement on PostgreSQL. Passwords are locked in the order of customers, and nothing else is:
// account and verification are those of when the statement began, also if it has waited since. Whoever sends money on an answer reads
// them once more in a later statement; HoldTransfers keeps them from changing after that.
func (s *Service) AuthorizeTransfers(ctx context.Context, tx db.Tx, tries []TransferTry) ([]Authorization, error) {
	a, err := s.QueueTransfers(ctx, tx, tries)
	if err != nil {
		return nil, err
	}
	if err := tx.Flush(ctx); err != nil {
		return nil, err
	}
	return a.Judge(ctx)
}

// QueueTransfers is the first half of AuthorizeTransfers: the statement that locks the passwords is queued, to share its way to the
// database with others. Judge is the second half, once what is queued has run.
func (s *Service) QueueTransfers(ctx context.Context, tx db.Tx, tries []TransferTry) (*Authorizing, error) {
	a := &Authorizing{service: s, tx: tx, tries: tries, rows: make([]transferRow, len(tries))}
	return a, lockTransferPasswords(ctx, tx, tries, a.rows)
}

// HoldTransfers waits for transfers of a customer that are being decided, and makes later ones wait until tx ends; these see what tx has
// changed. Whatever takes the right to send away locks the customer's row, calls this, and then changes it.
func (s *Service) HoldTransfers(ctx context.Context, tx db.Tx, userID int64) error {
	_, err := lockTransactionPassword(ctx, tx, userID) // without one nothing can be sent, nor can it be set meanwhile
	return err
}

// Judge gives the answers and counts what was wrong.
func (a *Authorizing) Judge(ctx context.Context) ([]Authorization, error) {
	s, tx, rows, now := a.service, a.tx, a.rows, a.service.clock.Now()
	if err := readPasswordless(ctx, tx, a.tries, rows); err != nil {
		return nil, err
	}
	list := make([]Authorization, len(a.tries))
	for i, try := range a.tries {
		list[i] = s.authorize(&rows[i], try, now)
	}
	for _, row := range rows {
		p := row.password
		if p == nil || !p.changed {
			continue
		}
		p.changed = false // the same customer may stand there again
		if err := saveTransferFailures(ctx, tx, *p); err != nil {
			return nil, err
		}
		if p.lockout == 0 {
			continue
		}
		tx.AfterCommit(s.metrics.lockouts.WithLabelValues("transaction_password").Inc)
		u, err := userByID(ctx, tx, p.userID)
		if err != nil {
			return nil, err
		}
		if err := s.notify(ctx, tx, u, "transaction_password_locked", map[string]any{"Time": mailTime(now), "Until": mailTime(*p.lockedUntil)}); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (s *Service) authorize(row *transferRow, try TransferTry, now time.Time) Authorization {
	if err := row.Check(now); err != nil {
		return Authorization{Err: err}
	}
	a := Authorization{Locale: row.MailLocale()}
	switch {
	case row.status == Frozen:
		a.Err = ErrAccountFrozen
	case !sixDigits(try.Password):
		a.Err = ErrTransactionPasswordForm
	case row.password == nil:
		a.Err = ErrTransactionPasswordUnset
	default:
		a.Err = s.tryTransactionPassword(row.password, try.Password, now)
	}
	return a
}

// tryTransactionPassword judges a try and counts it. The row must be locked.
func (s *Service) tryTransactionPassword(p *transactionPassword, typed secret.Text, now time.Time) error {
	if p.lockedUntil != nil && now.Before(*p.lockedUntil) {
		return transactionPasswordLocked(p.lockedUntil.Sub(now))
	}
	if subtle.ConstantTimeCompare(s.hashTransactionPassword(p.userID, p.salt, typed), p.hash) == 1 {
		if p.failures > 0 {
			p.failures, p.failedAt, p.lockedUntil, p.lockout, p.changed = 0, nil, nil, 0, true
		}
		return nil
	}
	if p.failedAt != nil && now.Sub(*p.failedAt) > guessesMemory {
		p.failures = 0
	}
	p.failures++
	p.failedAt, p.lockedUntil, p.changed = &now, nil, true
	if left := transferTries - p.failures%transferTries; left < transferTries {
		return ErrTransactionPasswordWrong.With("Left", left)
	}
	p.lockout = transferLockout(p.failures)
	until := now.Add(p.lockout)
	p.lockedUntil = &until
	return transactionPasswordLocked(p.lockout)
}

// transferLockout is how long the nth wrong try in a row locks, for every fifth n.
func transferLockout(failures int) time.Duration {
	return min(longestLock, firstLockout<<min(failures/transferTries-1, 10))
}

func transactionPasswordLocked(wait time.Duration) *problem.Problem {
	return ErrTransactionPasswordLocked.With("Minutes", int((wait+time.Minute-1)/time.Minute)).After(wait)
}

// hashTransactionPassword is the stored form of a transaction password. Six digits are found by trying all of them, whatever a
// hash costs; what protects them is the key, and that every transfer is held up for microseconds only.
func (s *Service) hashTransactionPassword(userID int64, salt []byte, password secret.Text) []byte {
	return s.vault.Hash("transaction password", strconv.FormatInt(userID, 10), string(salt), password.Reveal())
}

func sixDigits(password secret.Text) bool {
	text := password.Reveal()
	if len(text) != 6 {
		return false
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return false
		}
	}
	return true
}

// Recipient is what a sender's transfer needs of the customer who gets it.
type Recipient struct {
	Status    Status
	WalletRef string // CCP…
	Locale    i18n.Locale
}

// Recipients are customers by id; who does not exist is not among them.
func (s *Service) Recipients(ctx context.Context, q db.Querier, ids []int64) (map[int64]Recipient, error) {
	return recipients(ctx, q, ids)
}
