package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const fewCustomers = 1_000

// reading is what came of measuring GET /didit/status on one engine.
type reading struct {
	engine                   string
	baseline, service, large spread // large: the service with that many customers; zero if not measured
	customers                int    // of large
	// Processor time for one request, of the servers and of the load generator.
	baselineCost, serviceCost, largeCost, generatorCost time.Duration
}

// contender is one of the servers that are asked in turn.
type contender struct {
	server
	process *process
	rounds  []round
	used    time.Duration // processor time during the rounds
}

// measureReading asks the service and the baseline on few customers, and the service on as many as the options say, in turn.
func measureReading(ctx context.Context, engine, postgres, dir string, o options) (r reading, err error) {
	r.engine = engine
	keys, err := newTokenKeys()
	if err != nil {
		return r, err
	}
	var list []*contender
	defer func() {
		for _, c := range list {
			err = errors.Join(err, c.process.stop())
		}
	}()
	add := func(d dataset, start func(context.Context, dataset, tokenKeys) (*process, error)) error {
		p, err := start(ctx, d, keys)
		if err != nil {
			return err
		}
		tokens, err := d.tokens(keys)
		list = append(list, &contender{server: server{p.address, tokens}, process: p})
		return err
	}
	drop := func(d dataset) { err = errors.Join(err, d.drop(context.WithoutCancel(ctx))) }

	few, err := createDatabase(ctx, postgres, dir)
	if err != nil {
		return r, err
	}
	defer drop(few)
	if err := few.fill(ctx, fewCustomers); err != nil {
		return r, err
	}
	if err := errors.Join(add(few, startBaseline), add(few, startService)); err != nil {
		return r, err
	}
	if err := sameAnswers(ctx, list[0].server, list[1].server); err != nil {
		return r, err
	}
	if o.customers > 0 {
		many, err := createDatabase(ctx, postgres, dir)
		if err != nil {
			return r, err
		}
		defer drop(many)
		progress("%s: making %s customers", engine, number(o.customers))
		if err := many.fill(ctx, o.customers); err != nil {
			return r, err
		}
		r.customers = o.customers
		if err := add(many, startService); err != nil {
			return r, err
		}
	}
	for _, c := range list {
		if _, err := c.load(ctx, o.warmUp); err != nil {
			return r, err
		}
	}
	if o.profiles != "" {
		if err := profileReading(ctx, list[1], filepath.Join(o.profiles, strings.ToLower(engine)+".pprof"), o.round); err != nil {
			return r, err
		}
	}
	generator, asked := ownProcessorTime(), 0
	for n := range o.rounds {
		progress("%s: GET /didit/status, round %d of %d", engine, n+1, o.rounds)
		for _, c := range list {
			before, err := processorTime(c.process.Process.Pid)
			if err != nil {
				return r, err
			}
			result, err := c.load(ctx, o.round)
			if err != nil {
				return r, err
			}
			after, err := processorTime(c.process.Process.Pid)
			if err != nil {
				return r, err
			}
			c.used += after - before
			c.rounds = append(c.rounds, result)
			asked += result.requests
		}
	}
	r.generatorCost = (ownProcessorTime() - generator) / time.Duration(asked)
	r.baseline, r.baselineCost = newSpread(list[0].rounds), list[0].cost()
	r.service, r.serviceCost = newSpread(list[1].rounds), list[1].cost()
	if len(list) > 2 {
		r.large, r.largeCost = newSpread(list[2].rounds), list[2].cost()
	}
	return r, nil
}

// profileReading records a profile of one more round, which does not count.
func profileReading(ctx context.Context, c *contender, file string, lasting time.Duration) error {
	var all errgroup.Group
	all.Go(func() error { return takeProfile(ctx, c.process.ops, file, lasting) })
	all.Go(func() error { _, err := c.load(ctx, lasting); return err })
	return all.Wait()
}

// cost is the processor time of the server for one request.
func (c *contender) cost() time.Duration {
	requests := 0
	for _, r := range c.rounds {
		requests += r.requests
	}
	return c.used / time.Duration(max(requests, 1))
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }
