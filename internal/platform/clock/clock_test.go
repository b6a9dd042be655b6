package clock_test

import (
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
)

var (
	_ clock.Clock = clock.System{}
	_ clock.Clock = (*clock.Adjustable)(nil)
	_ clock.Clock = (*clock.Fixed)(nil)
)

func TestTimesAreWhatDatabasesKeep(t *testing.T) {
	odd := time.Date(2026, 3, 1, 9, 0, 0, 123456789, time.FixedZone("HKT", 8*3600))
	for name, c := range map[string]clock.Clock{
		"system": clock.System{}, "adjustable": &clock.Adjustable{}, "ahead": clock.NewAdjustable(nil, 1234567),
		"fixed": clock.NewFixed(odd), "upon fixed": clock.NewAdjustable(clock.NewFixed(odd), 999),
	} {
		now := c.Now()
		if now.Location() != time.UTC {
			t.Errorf("%s: in %s", name, now.Location())
		}
		if now.Nanosecond()%1000 != 0 {
			t.Errorf("%s: finer than microseconds: %s", name, now)
		}
		if now != now.Round(0) {
			t.Errorf("%s: carries a monotonic reading, which == would compare", name)
		}
	}
	if got, want := clock.NewFixed(odd).Now(), time.Date(2026, 3, 1, 1, 0, 0, 123456000, time.UTC); got != want {
		t.Errorf("the fixed clock shows %s, want %s", got, want)
	}
}

func TestSystemClockGoes(t *testing.T) {
	before := time.Now().Add(-time.Microsecond)
	now := clock.System{}.Now()
	if now.Before(before) || now.After(time.Now()) {
		t.Errorf("%s is not now", now)
	}
}

func TestAdjustableRunsAheadOfItsBase(t *testing.T) {
	base := clock.NewFixed(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	c := clock.NewAdjustable(base, time.Hour)
	if got := c.Advance(30 * time.Minute); got != 90*time.Minute || c.Offset() != got {
		t.Errorf("offset %s and %s after advancing, want 1h30m", got, c.Offset())
	}
	base.Advance(time.Second)
	if got, want := c.Now(), base.Now().Add(90*time.Minute); got != want {
		t.Errorf("shows %s, want %s", got, want)
	}
	c.Advance(-90 * time.Minute)
	if c.Now() != base.Now() {
		t.Error("going back does not lead to the base's time")
	}
}

func TestAdjustableOfTheMachineShowsItsTime(t *testing.T) {
	var c clock.Adjustable
	c.Advance(time.Hour)
	if ahead := time.Until(c.Now()); ahead < 59*time.Minute || ahead > time.Hour {
		t.Errorf("an hour ahead shows %s ahead", ahead)
	}
}

func TestAdvancingFromManySidesLosesNothing(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fixed := clock.NewFixed(start)
	adjustable := clock.NewAdjustable(fixed, 0)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 100 {
				fixed.Advance(time.Millisecond)
				adjustable.Advance(time.Millisecond)
				adjustable.Now()
			}
		})
	}
	all.Wait()
	if got := fixed.Now().Sub(start); got != 1600*time.Millisecond {
		t.Errorf("the fixed clock went %s", got)
	}
	if got := adjustable.Now().Sub(start); got != 3200*time.Millisecond {
		t.Errorf("the adjustable clock went %s", got)
	}
}
