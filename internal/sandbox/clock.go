package sandbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
)

// farthest is how far ahead of the machine's time the sandbox may be moved.
const farthest = 50 * 365 * 24 * time.Hour

var (
	errNotAhead = errors.New("the clock only goes forward")
	errTooFar   = errors.New("the clock may be at most 50 years ahead")
)

// movableClock is the sandbox's time. How far it has been moved is kept, so that a sandbox that is started again goes on at the
// same time.
type movableClock struct {
	*clock.Adjustable
	db   *sql.DB
	move sync.Mutex
}

const clockSchema = `
CREATE TABLE IF NOT EXISTS sandbox_clock (
	id        INTEGER PRIMARY KEY CHECK (id = 1),
	offset_us INTEGER NOT NULL -- microseconds ahead of the machine's time
);
INSERT INTO sandbox_clock (id, offset_us) VALUES (1, 0) ON CONFLICT DO NOTHING;`

func openClock(ctx context.Context, db *sql.DB, base clock.Clock) (*movableClock, error) {
	if _, err := db.ExecContext(ctx, clockSchema); err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	var us int64
	if err := db.QueryRowContext(ctx, `SELECT offset_us FROM sandbox_clock WHERE id = 1`).Scan(&us); err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	return &movableClock{Adjustable: clock.NewAdjustable(base, time.Duration(us)*time.Microsecond), db: db}, nil
}

// advance moves the clock forward, first on disk. It returns errNotAhead or errTooFar for what cannot be.
func (c *movableClock) advance(ctx context.Context, by time.Duration) error {
	c.move.Lock()
	defer c.move.Unlock()
	offset := c.Offset()
	switch {
	case by <= 0:
		return errNotAhead
	case by > farthest-offset:
		return errTooFar
	}
	if _, err := c.db.ExecContext(ctx, `UPDATE sandbox_clock SET offset_us = $1 WHERE id = 1`, (offset + by).Microseconds()); err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	c.Advance(by)
	return nil
}

// clockState is the body of GET /control/clock and the answer to POST.
type clockState struct {
	Now      time.Time `json:"now"`
	Offset   string    `json:"offset"`    // as people read it: "72h0m0s"
	OffsetUS int64     `json:"offset_us"` // ahead of the machine's time, in microseconds
}

func (c *movableClock) state() clockState {
	offset := c.Offset()
	return clockState{Now: c.Now(), Offset: offset.String(), OffsetUS: offset.Microseconds()}
}

// followEvery is how late a clock that follows another sandbox's may be.
const followEvery = 250 * time.Millisecond

// FollowClock keeps c at the time of the sandbox at base (its URL), for a service that runs in another process than the
// simulators, until ctx ends. A sandbox that does not answer leaves the clock as it is.
func FollowClock(ctx context.Context, base string, c *clock.Adjustable) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = SetClock(ctx, base, c)
		}
	}
}

// SetClock brings c to the time of the sandbox at base once.
func SetClock(ctx context.Context, base string, c *clock.Adjustable) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/control/clock", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	var state clockState
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("sandbox clock: HTTP %d", answer.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 4096)).Decode(&state); err != nil {
		return fmt.Errorf("sandbox clock: %w", err)
	}
	if offset := time.Duration(state.OffsetUS) * time.Microsecond; offset >= 0 && offset <= farthest {
		c.Advance(offset - c.Offset())
	}
	return nil
}
