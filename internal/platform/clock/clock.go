// Package clock is the only source of time in the product. Services hold a Clock, so that tests and the
// sandbox can move time without waiting for it.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time.
type Clock interface {
	// Now is the current time in UTC, cut to microseconds: the resolution that both databases keep, so that
	// a time written and read back compares equal.
	Now() time.Time
}

// System is the machine's clock.
type System struct{}

// Now implements Clock.
func (System) Now() time.Time { return trim(time.Now()) }

// Adjustable is a clock that can be moved forward. Its zero value shows the machine's time.
// It is safe for concurrent use.
type Adjustable struct {
	mu     sync.RWMutex
	base   Clock
	offset time.Duration
}

// NewAdjustable returns a clock that starts offset ahead of base; a nil base is the machine's clock.
func NewAdjustable(base Clock, offset time.Duration) *Adjustable {
	return &Adjustable{base: base, offset: offset}
}

// Now implements Clock.
func (c *Adjustable) Now() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var base Clock = System{}
	if c.base != nil {
		base = c.base
	}
	return trim(base.Now().Add(c.offset))
}

// Advance moves the clock by d, which may be negative in tests, and returns the whole offset.
func (c *Adjustable) Advance(d time.Duration) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
	return c.offset
}

// Offset is how far the clock runs ahead of its base.
func (c *Adjustable) Offset() time.Duration {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.offset
}

// Fixed is a clock that stands still until it is set; for tests. It is safe for concurrent use.
type Fixed struct {
	mu  sync.RWMutex
	now time.Time
}

// NewFixed returns a clock that stands at t.
func NewFixed(t time.Time) *Fixed { return &Fixed{now: trim(t)} }

// Now implements Clock.
func (c *Fixed) Now() time.Time {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.now
}

// Advance moves the clock by d.
func (c *Fixed) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = trim(c.now.Add(d))
}

func trim(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
