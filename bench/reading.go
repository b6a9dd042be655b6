package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
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
	*runner
	server
	process *process
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
		tokens, err := keys.tokens(d.someCustomers())
		asked := server{p.address, tokens}
		list = append(list, &contender{&runner{load: asked.load, spent: p.spent}, asked, p})
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
	var runners []*runner
	for _, c := range list {
		runners = append(runners, c.runner)
	}
	if err := takeTurns(ctx, engine+": GET /didit/status", o.rounds, o.round, o.warmUp, nil, runners...); err != nil {
		return r, err
	}
	if o.profiles != "" {
		if err := profileRound(ctx, list[1].process, list[1].runner, filepath.Join(o.profiles, strings.ToLower(engine)+".pprof"), o.round); err != nil {
			return r, err
		}
	}
	r.generatorCost = ownCost(runners...)
	r.baseline, r.baselineCost = newSpread(list[0].rounds), list[0].cost()
	r.service, r.serviceCost = newSpread(list[1].rounds), list[1].cost()
	if len(list) > 2 {
		r.large, r.largeCost = newSpread(list[2].rounds), list[2].cost()
	}
	return r, nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, "  "+format+"\n", args...) }
