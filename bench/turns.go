package main

import (
	"context"
	"os"
	"runtime/pprof"
	"time"

	"golang.org/x/sync/errgroup"
)

// runner is one of those who are measured in turn: what happens to the machine meanwhile happens to all of them.
type runner struct {
	load  func(ctx context.Context, lasting time.Duration) (round, error)
	spent func() (time.Duration, error) // processor time so far of who is measured; nil: nobody asks
	base  *postgresProcess              // the server that works for them; nil: there is none, or it is out of sight
	// What came of it.
	rounds    []round
	used, own time.Duration // processor time during the rounds, of who is measured and of this process
	baseUsed  time.Duration // likewise of the server
}

// takeTurns warms the runners up and has them run so many rounds. base is the server that works for all of them, if that is of interest.
func takeTurns(ctx context.Context, what string, rounds int, lasting, warmUp time.Duration, base *postgresProcess, runners ...*runner) error {
	for _, r := range runners {
		r.base = base
		if _, err := r.load(ctx, warmUp); err != nil {
			return err
		}
	}
	for n := range rounds {
		progress("%s, round %d of %d", what, n+1, rounds)
		for _, r := range runners {
			if err := r.run(ctx, lasting); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *runner) run(ctx context.Context, lasting time.Duration) error {
	own, used, base, err := r.times()
	if err != nil {
		return err
	}
	result, err := r.load(ctx, lasting)
	if err != nil {
		return err
	}
	r.rounds = append(r.rounds, result)
	ownAfter, usedAfter, baseAfter, err := r.times()
	r.own += ownAfter - own
	r.used += usedAfter - used
	r.baseUsed += baseAfter - base
	return err
}

// times are the processor times so far.
func (r *runner) times() (own, used, base time.Duration, err error) {
	if r.spent != nil {
		used, err = r.spent()
	}
	return ownProcessorTime(), used, r.base.spent(), err
}

// cost is the processor time of who is measured for one request, baseCost that of the server for them.
func (r *runner) cost() time.Duration     { return r.used / time.Duration(max(r.requests(), 1)) }
func (r *runner) baseCost() time.Duration { return r.baseUsed / time.Duration(max(r.requests(), 1)) }

// requests is how many there were in all rounds.
func (r *runner) requests() (n int) {
	for _, x := range r.rounds {
		n += x.requests
	}
	return n
}

// ownCost is the processor time of this process for one request of them all: what it took to ask.
func ownCost(runners ...*runner) time.Duration {
	var own time.Duration
	requests := 0
	for _, r := range runners {
		own += r.own
		requests += r.requests()
	}
	return own / time.Duration(max(requests, 1))
}

// profileRound has the product record a profile of one more round, which does not count.
func profileRound(ctx context.Context, p *process, r *runner, file string, lasting time.Duration) error {
	var all errgroup.Group
	all.Go(func() error { return takeProfile(ctx, p.ops, file, lasting) })
	all.Go(func() error { _, err := r.load(ctx, lasting); return err })
	return all.Wait()
}

// profileSelf writes a profile of one more round in this process, which does not count.
func profileSelf(ctx context.Context, r *runner, file string, lasting time.Duration) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := pprof.StartCPUProfile(out); err != nil {
		return err
	}
	_, err = r.load(ctx, lasting)
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	return out.Close()
}
