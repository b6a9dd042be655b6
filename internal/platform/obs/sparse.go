package obs

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Sparse warns of what a stranger can make happen as often as they like: at most once a minute, with the number of times since
// the line before. Its zero value is ready, and safe for concurrent use.
type Sparse struct {
	mu    sync.Mutex
	since int
	last  time.Time
}

const sparseEvery = time.Minute

// Warn counts one more time at now and logs it, if the last line is old enough. args describe this time, not those that went unlogged.
func (s *Sparse) Warn(ctx context.Context, log *slog.Logger, now time.Time, message string, args ...any) {
	s.mu.Lock()
	s.since++
	count := s.since
	due := s.last.IsZero() || now.Sub(s.last) >= sparseEvery
	if due {
		s.since, s.last = 0, now
	}
	s.mu.Unlock()
	if due {
		log.WarnContext(ctx, message, append(args, "count", count)...)
	}
}
