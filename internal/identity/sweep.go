package identity

import (
	"context"
	"fmt"
	"time"
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
	for _, step := range []struct {
		what, statement string
		args            []any
	}{
		{"codes", `DELETE FROM one_time_codes WHERE expires_at < $1`, []any{now.Add(-keepCodes)}},
		{"registrations", `DELETE FROM registrations WHERE updated_at < $1`, []any{now.Add(-keepRegistrations)}},
		{"rate windows", `DELETE FROM rate_windows WHERE started_at < $1`, []any{now.Add(-keepWindows)}},
		{"guess counters", `DELETE FROM guess_counters WHERE updated_at < $1 AND (locked_until IS NULL OR locked_until < $2)`, []any{now.Add(-guessesMemory), now}},
		{"sessions", `DELETE FROM sessions WHERE expires_at < $1 OR revoked_at < $1`, []any{now.Add(-keepSessions)}},
	} {
		if _, err := s.db.Exec(ctx, step.statement, step.args...); err != nil {
			return fmt.Errorf("sweep %s: %w", step.what, err)
		}
	}
	return nil
}
