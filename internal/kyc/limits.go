package kyc

import (
	"context"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// How many attempts a customer may begin by default.
const (
	DefaultAttemptsPerHour = 5
	DefaultAttemptsPerDay  = 10
)

// admit refuses another attempt of a customer who has begun too many of late. The customer must be locked. The attempts themselves
// are the count, so that it holds for all replicas and to the second; those that a provider turned away for reasons of ours
// (SessionDenied) are left out.
//
// Errors: ErrTooManyAttempts.
func (s *Service) admit(ctx context.Context, tx db.Tx, userID int64, now time.Time) error {
	begun, err := s.store.lastBegun(ctx, tx, userID, max(s.AttemptsPerHour, s.AttemptsPerDay))
	if err != nil {
		return err
	}
	var wait time.Duration
	for _, window := range []struct {
		attempts int
		span     time.Duration
	}{{s.AttemptsPerHour, time.Hour}, {s.AttemptsPerDay, 24 * time.Hour}} {
		if len(begun) >= window.attempts {
			wait = max(wait, begun[window.attempts-1].Add(window.span).Sub(now))
		}
	}
	if wait > 0 {
		return ErrTooManyAttempts.After(wait).With("Minutes", int((wait+time.Minute-1)/time.Minute))
	}
	return nil
}

// lastBegun lists when a customer's last attempts began that count, newest first.
func (s store) lastBegun(ctx context.Context, tx db.Tx, userID int64, limit int) ([]time.Time, error) {
	rows, err := tx.Query(ctx, `SELECT created_at FROM kyc_records WHERE user_id = $1 AND session_state <> 'denied' ORDER BY id DESC LIMIT $2`, userID, limit)
	return db.Collect(rows, err, func(row db.Row) (at time.Time, err error) { err = row.Scan(&at); return at, err })
}
