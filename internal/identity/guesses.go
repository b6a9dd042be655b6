package identity

import (
	"context"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// guessKind says what is being guessed.
type guessKind string

const (
	guessedCode     guessKind = "code"
	guessedPassword guessKind = "password"
)

// Failures are counted per address of mail, whether it belongs to a customer or not, across codes and from wherever
// they come. The tenth locks the address, and from then on every fifth does, each time twice as long.
const (
	freeFailures  = 10
	failuresMore  = 5
	firstLockout  = 15 * time.Minute
	longestLock   = 24 * time.Hour
	guessesMemory = 7 * 24 * time.Hour // after so long without a failure the count begins anew
)

// lockoutAfter is how long an address is locked by its nth failure in a row; 0: not at all.
func lockoutAfter(failures int) time.Duration {
	if failures < freeFailures || (failures-freeFailures)%failuresMore != 0 {
		return 0
	}
	return min(longestLock, firstLockout<<min((failures-freeFailures)/failuresMore, 10))
}

// locked is the refusal of an address that is locked, nil if it is not.
func (k guessKind) locked(g guesses, now time.Time) error {
	if g.lockedUntil == nil || !now.Before(*g.lockedUntil) {
		return nil
	}
	return k.refusal(g.lockedUntil.Sub(now))
}

func (k guessKind) refusal(wait time.Duration) *problem.Problem {
	p := ErrCodeLocked
	if k == guessedPassword {
		p = ErrPasswordLocked
	}
	return p.With("Minutes", int((wait+time.Minute-1)/time.Minute)).After(wait)
}

// admitMailbox counts a request of a network address, locks the counter of the address of mail, and refuses both if they have had their
// share.
func (s *Service) admitMailbox(ctx context.Context, tx db.Tx, w window, client Client, box mailbox, kind guessKind, now time.Time) (guesses, error) {
	if err := s.admitAddress(ctx, tx, w, client, now); err != nil {
		return guesses{}, err
	}
	g, err := lockGuesses(ctx, tx, box.index, kind, now)
	if err != nil {
		return guesses{}, err
	}
	return g, kind.locked(g, now)
}

// failed counts a failure on a locked counter and returns the lock-out it brought about, 0 if none.
func (s *Service) failed(ctx context.Context, tx db.Tx, box mailbox, kind guessKind, g guesses, now time.Time) (time.Duration, error) {
	if now.Sub(g.updatedAt) > guessesMemory {
		g.failures = 0
	}
	g.failures++
	g.updatedAt, g.lockedUntil = now, nil
	lockout := lockoutAfter(g.failures)
	if lockout > 0 {
		until := now.Add(lockout)
		g.lockedUntil = &until
		tx.AfterCommit(s.metrics.lockouts.WithLabelValues(string(kind)).Inc)
	}
	return lockout, saveGuesses(ctx, tx, box.index, kind, g)
}

// forgive sets the count back: whoever it is has shown that they know.
func (s *Service) forgive(ctx context.Context, tx db.Tx, box mailbox, kind guessKind, now time.Time) error {
	return saveGuesses(ctx, tx, box.index, kind, guesses{updatedAt: now})
}
