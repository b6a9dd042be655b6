package rate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/comecomepay/comecomepay/internal/provider"
)

const (
	lookEvery = time.Second
	// askTimeout ends a question whose answer would be of little use.
	askTimeout = 30 * time.Second
	// refusedPause is how long the issuer is not asked about a currency that it says no to and has never priced: it may not have it.
	refusedPause = 10 * time.Minute
	// clockSkew is how far the clocks of replicas may differ. A time farther ahead than that is of a clock that is wrong.
	clockSkew = time.Minute
)

// Run keeps memory up to date and asks the issuer until ctx ends. Every replica runs it; about a currency that is due one of them asks.
// It is a loop and no periodic job, since time here is the service's clock.
func (s *Service) Run(ctx context.Context) {
	var loops sync.WaitGroup
	defer loops.Wait()
	// Two loops: memory is kept up to date also while the issuer does not answer.
	loops.Go(func() { s.every(ctx, "exchange rates not read", func() error { _, err := s.read(ctx); return err }) })
	if s.Issuer != nil {
		loops.Go(func() { s.every(ctx, "exchange rates not refreshed", func() error { return s.RefreshDue(ctx) }) })
	}
}

func (s *Service) every(ctx context.Context, complaint string, act func() error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := act(); err != nil && ctx.Err() == nil {
			s.failed.Warn(ctx, s.Log, s.Clock.Now(), complaint, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// failuresAtMost ends a round of questions: the issuer is not there, or its rates are not. The circuit breaker and the logins are those of
// all calls to it, and rates must not be what shuts them.
const failuresAtMost = 2

// RefreshDue asks the issuer about every currency whose time has come and that no other replica asks about. The error holds what failed;
// what did not has been kept. What was not asked any more comes again in its time.
func (s *Service) RefreshDue(ctx context.Context) error {
	if s.Issuer == nil {
		return nil
	}
	m, err := s.read(ctx)
	if err != nil {
		return err
	}
	known := map[string]row{}
	for _, r := range m.rows {
		known[r.currency] = r
	}
	now := s.Clock.Now()
	farthest := now.Add(max(refusedPause, s.Refresh) + clockSkew)
	var mine []currency
	for _, c := range currencies {
		if next := known[c.name].nextAsk; next.After(now) && !next.After(farthest) || s.askedJustNow(c.name, now) {
			continue
		}
		claimed, err := s.store.claim(ctx, c.name, now, now.Add(s.Refresh), farthest)
		if err != nil {
			return err
		}
		if claimed {
			s.asked.Store(c.name, now)
			mine = append(mine, c)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	// Each round begins with another currency, so that those that fail keep none from being asked about for ever.
	first := int(s.rounds.Add(1)-1) % len(mine)
	var problems []error
	failures := 0
	for _, c := range slices.Concat(mine[first:], mine[:first]) {
		err := s.ask(ctx, c, known[c.name].asOf != nil)
		if err == nil {
			continue
		}
		problems = append(problems, err)
		if failed := (*provider.Error)(nil); errors.As(err, &failed) && !failed.Sent {
			break
		} else if failed == nil || failed.Outcome != provider.Refused {
			failures++
		}
		if failures == failuresAtMost {
			break
		}
	}
	_, err = s.read(ctx)
	return errors.Join(append(problems, err)...)
}

// askedJustNow tells whether this replica has had its turn about a currency within the interval: two whose clocks are far apart, and who
// overrule each other, ask no more often than that.
func (s *Service) askedJustNow(name string, now time.Time) bool {
	last, ok := s.asked.Load(name)
	return ok && !now.Before(last.(time.Time)) && now.Sub(last.(time.Time)) < s.Refresh
}

// ask asks the issuer about a currency. The answer counts as old as the question.
func (s *Service) ask(ctx context.Context, c currency, priced bool) error {
	now := s.Clock.Now()
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	hkd, err := s.Issuer.FXRate(asking, c.name, HKD)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.name, err)
		if refused := (*provider.Error)(nil); errors.As(err, &refused) && refused.Outcome == provider.Refused && refused.Sent && !priced {
			err = errors.Join(err, s.store.putOff(ctx, c.name, now.Add(max(refusedPause, s.Refresh))))
		}
		return err
	}
	if !c.believes(hkd) {
		return fmt.Errorf("%s: the issuer's price of %s HKD is not believed", c.name, hkd)
	}
	return s.store.save(ctx, c.name, hkd, now, s.Clock.Now().Add(clockSkew))
}
