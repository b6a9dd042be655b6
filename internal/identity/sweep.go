package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// How long rows stay that have served their purpose.
const (
	keepRegistrations = 24 * time.Hour
	keepCodes         = 24 * time.Hour
	keepWindows       = 2 * time.Hour // longer than the longest window
	keepSessions      = 30 * 24 * time.Hour
)

// Sweep removes what has run out: codes, registrations, finished or not, counters and old sessions. Nothing relies on
// it; it keeps tables small and personal data no longer than needed.
func (s *Service) Sweep(ctx context.Context) error {
	now := s.clock.Now()
	ended := now.Add(-keepSessions)
	for _, step := range []struct {
		what, table, where string
		args               []any
	}{
		{"codes", "one_time_codes", `expires_at < $1`, []any{now.Add(-keepCodes)}},
		{"transaction passwords that wait", "pending_transaction_passwords", `expires_at < $1`, []any{now.Add(-keepCodes)}},
		{"changes of contacts", "contact_changes", `updated_at < $1`, []any{now.Add(-keepCodes)}},
		{"registrations", "registrations", `updated_at < $1`, []any{now.Add(-keepRegistrations)}},
		{"rate windows", "rate_windows", `started_at < $1`, []any{now.Add(-keepWindows)}},
		{"guess counters", "guess_counters", `updated_at < $1 AND (locked_until IS NULL OR locked_until < $2)`, []any{now.Add(-guessesMemory), now}},
		{"sessions that have run out", "sessions", `expires_at < $1`, []any{ended}},
		{"revoked sessions", "sessions", `revoked_at < $1`, []any{ended}},
	} {
		if err := db.Sweep(ctx, s.db, step.table, step.where, step.args...); err != nil {
			return fmt.Errorf("sweep %s: %w", step.what, err)
		}
	}
	return nil
}
