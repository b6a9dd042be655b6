package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

const (
	callers = 64
	// Connections of each ledger: with pgbench's they have to find room in a server as it is installed.
	ledgerConnections = 16
)

// moving is what came of transfers in this process: by pgbench and by the ledger, spread evenly over the accounts of the small book,
// over the hot ones, and over the large book. On SQLite there is no pgbench.
type moving struct {
	bench, benchHot, even, hot, large *runner // nil: not measured
}

// submitter is the ledger of a book in this process, and how much was submitted to it.
type submitter struct {
	*ledger.Ledger
	store     db.DB
	submitted atomic.Int64
}

const benchKind ledger.Kind = "bench"

func newSubmitter(ctx context.Context, b *book) (*submitter, error) {
	store, err := db.Open(ctx, b.url, db.Options{MaxConns: ledgerConnections})
	if err != nil {
		return nil, err
	}
	return &submitter{store: store, Ledger: ledger.New(ledger.Options{DB: store, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})}, nil
}

// among is a runner: all callers submit one transfer after the other, each between two of the first so many customers.
func (s *submitter) among(accounts int) *runner {
	load := func(ctx context.Context, lasting time.Duration) (round, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		latencies := make([][]time.Duration, callers)
		var all sync.WaitGroup
		began := time.Now()
		for i := range callers {
			all.Go(func() {
				for start := began; start.Sub(began) < lasting; {
					if err := s.one(ctx, accounts); err != nil {
						cancel(err)
						return
					}
					end := time.Now()
					latencies[i] = append(latencies[i], end.Sub(start))
					start = end
				}
			})
		}
		all.Wait()
		took := time.Since(began)
		if err := context.Cause(ctx); err != nil {
			return round{}, err
		}
		return newRound(slices.Concat(latencies...), took), nil
	}
	return &runner{load: load, spent: func() (time.Duration, error) { return ownProcessorTime(), nil }}
}

func (s *submitter) one(ctx context.Context, accounts int) error {
	reference, err := uuid.NewV7()
	if err != nil {
		return err
	}
	from, to := twoOf(accounts)
	s.submitted.Add(1)
	_, err = s.Submit(ctx, ledger.Move(benchKind, reference.String(), ledger.AvailableOf(from, asset), ledger.AvailableOf(to, asset), 1))
	return err
}

// twoOf is two different numbers of 1 to n.
func twoOf(n int) (a, b int64) {
	first, second := rand.IntN(n), rand.IntN(n-1)
	if second >= first {
		second++
	}
	return int64(first + 1), int64(second + 1)
}

// close compares the book with what was submitted: a rate of what is not in the book is none.
func (s *submitter) close(ctx context.Context) error {
	var found int64
	err := s.Close(ctx)
	if err == nil {
		err = s.store.QueryRow(ctx, `SELECT COUNT(*) FROM ledger_transactions WHERE kind = $1`, string(benchKind)).Scan(&found)
	}
	if err == nil && found != s.submitted.Load() {
		err = fmt.Errorf("%d transfers were submitted and %d are in the book", s.submitted.Load(), found)
	}
	return errors.Join(err, s.store.Close())
}

// measureMoving moves money in this process. bench is nil on SQLite, large without a large book.
func measureMoving(ctx context.Context, engine string, small, large *book, bench *pgbench, o options) (m *moving, err error) {
	m = &moving{}
	var runners []*runner
	add := func(r *runner) *runner {
		runners = append(runners, r)
		return r
	}
	onSmall, err := newSubmitter(ctx, small)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, onSmall.close(context.WithoutCancel(ctx))) }()
	if bench != nil {
		m.bench = add(bench.among(callers, fewAccounts))
	}
	m.even = add(onSmall.among(fewAccounts))
	if large != nil {
		onLarge, err2 := newSubmitter(ctx, large)
		if err2 != nil {
			return m, err2
		}
		defer func() { err = errors.Join(err, onLarge.close(context.WithoutCancel(ctx))) }()
		m.large = add(onLarge.among(large.accounts))
	}
	if bench != nil {
		m.benchHot = add(bench.among(callers, hotAccounts))
	}
	m.hot = add(onSmall.among(hotAccounts))
	if err := takeTurns(ctx, engine+": transfers in the ledger", o.transferRounds, o.transferRound, o.warmUp, o.base, runners...); err != nil {
		return m, err
	}
	if o.profiles != "" {
		return m, profileSelf(ctx, m.even, filepath.Join(o.profiles, "ledger-"+strings.ToLower(engine)+".pprof"), o.transferRound)
	}
	return m, nil
}
