package problem_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

var (
	errTired = problem.Define("TEST_TIRED", problem.TooMany)
	errLost  = problem.Define("TEST_LOST", problem.NotFound)
)

func TestCopiesLeaveTheOriginalAlone(t *testing.T) {
	first := errTired.With("Name", "x")
	second := first.With("Name", "y", "More", 2).After(1500 * time.Millisecond).Because(errors.New("cause"))
	if errTired.Params != nil || errTired.RetryAfter != 0 || errTired.Error() != "TEST_TIRED" {
		t.Errorf("the definition changed: %+v", errTired)
	}
	if first.Params["Name"] != "x" || len(first.Params) != 1 || first.RetryAfter != 0 {
		t.Errorf("the first copy changed: %+v", first)
	}
	if second.Params["Name"] != "y" || second.Params["More"] != 2 || second.Params["Seconds"] != 2 {
		t.Errorf("parameters %v", second.Params)
	}
	if second.Kind != problem.TooMany || second.Code != "TEST_TIRED" || second.TextKey() != "problem.TEST_TIRED" {
		t.Errorf("a copy became something else: %+v", second)
	}
}

// Whoever waits as long as told must not come too early.
func TestWaitsAreRoundedUp(t *testing.T) {
	for wait, want := range map[time.Duration]time.Duration{
		-time.Second: time.Second, 0: time.Second, time.Nanosecond: time.Second, time.Second: time.Second,
		time.Second + 1: 2 * time.Second, time.Hour: time.Hour,
	} {
		if got := errTired.After(wait); got.RetryAfter != want || got.Params["Seconds"] != int(want.Seconds()) {
			t.Errorf("%s became %s and %v s, want %s", wait, got.RetryAfter, got.Params["Seconds"], want)
		}
	}
}

func TestProblemsAreFoundAndComparedByCode(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("outer: %w", errTired.With("Name", "x").Because(cause))
	if !errors.Is(err, errTired) || errors.Is(err, errLost) || !errors.Is(err, cause) {
		t.Error("errors.Is does not go by code and cause")
	}
	if errors.Is(errTired, cause) || errors.Is(cause, errTired) {
		t.Error("a problem equals another error")
	}
	p, ok := problem.Find(err)
	if !ok || p.Code != "TEST_TIRED" || p.Error() != "TEST_TIRED: cause" {
		t.Errorf("found %v, %t", p, ok)
	}
	if p, ok := problem.Find(cause); ok || p != nil {
		t.Errorf("found %v in another error", p)
	}
	if _, ok := problem.Find(nil); ok {
		t.Error("found a problem in nothing")
	}
}

func TestCatalogueListsEachCodeOnce(t *testing.T) {
	var codes []string
	for _, p := range problem.Catalogue() {
		codes = append(codes, p.Code)
	}
	if !slices.Equal(codes, []string{"TEST_LOST", "TEST_TIRED"}) {
		t.Errorf("catalogue %q", codes)
	}
	defer func() {
		if recover() == nil {
			t.Error("a code could be defined twice")
		}
	}()
	problem.Define("TEST_TIRED", problem.Invalid)
}
