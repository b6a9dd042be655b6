package wallet

import (
	"context"
	"errors"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/jobs"
)

// RegisterJobs adds the capability's workers to the queue.
func (s *Service) RegisterJobs(q *jobs.Queue) {
	jobs.AddFunc(q, jobs.Providers, s.makeAddresses)
	s.registerGatewayJobs(q)
}

const (
	coinsEvery = time.Hour   // how often the gateway's list of coins is looked at
	coinsAgain = time.Minute // how soon after it could not be had
)

// WatchCoins compares our coins with the gateway's list from time to time, at once for the first time, until ctx ends. Every replica
// may do so.
func (s *Service) WatchCoins(ctx context.Context) {
	if s.Gateway.Client == nil {
		return
	}
	for {
		pause := coinsEvery
		if err := s.CheckCoins(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "the gateway's list of coins cannot be had", "error", err)
			pause = coinsAgain
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// Sweep removes what is kept no longer.
func (s *Service) Sweep(ctx context.Context) error {
	return errors.Join(s.store.dropPages(ctx, s.Clock.Now().Add(-pagesKept)), s.sweepGateway(ctx))
}
