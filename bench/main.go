// Command bench measures the product and compares it with itself and with the least that could do the same. What it prints
// are mostly ratios within one run: they travel from machine to machine better than times do.
//
// What is measured, and how, is explained in docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

type options struct {
	rounds    int
	round     time.Duration
	warmUp    time.Duration
	journeys  time.Duration
	customers int
	profiles  string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch os.Getenv(roleVariable) {
	case roleBaseline:
		err = serveBaseline(ctx)
	case roleService:
		err = serveProduct(ctx)
	default:
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const page = "docs/performance.md"

func run(ctx context.Context) (err error) {
	o := options{warmUp: 3 * time.Second}
	var postgres, only string
	var markdown bool
	flag.StringVar(&postgres, "postgres", os.Getenv(dbtest.Variable), "address of a PostgreSQL server, with a role that may create databases")
	flag.StringVar(&only, "only", "reading,journeys,startup", "what to measure")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds of GET /didit/status for each server")
	flag.DurationVar(&o.round, "round", 4*time.Second, "length of one round")
	flag.DurationVar(&o.journeys, "journeys", 20*time.Second, "how long customers set out on journeys")
	flag.IntVar(&o.customers, "customers", 1_000_000, "customers of the large database; 0: leave it out")
	flag.StringVar(&o.profiles, "profiles", "", "directory for processor profiles of the product, for go tool pprof")
	flag.BoolVar(&markdown, "markdown", false, "write the figures into "+page+" as well; all of them have to be measured")
	flag.Parse()
	parts := strings.Split(only, ",")
	if markdown && (len(parts) != 3 || o.customers == 0) {
		return errors.New("-markdown: the page takes only a whole measurement")
	}
	if postgres == "" {
		return errors.New("no PostgreSQL server: give its address with -postgres or " + dbtest.Variable)
	}
	version, err := postgresVersion(ctx, postgres)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "ccp-bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	r := results{machine: describeMachine(version)}
	if r.program, err = buildProgram(ctx, dir); err != nil {
		return err
	}
	if slices.Contains(parts, "startup") {
		if r.startup, err = measureStartup(ctx, r.program, dir); err != nil {
			return err
		}
	}
	for _, e := range []struct{ name, server string }{{"PostgreSQL", postgres}, {"SQLite", ""}} {
		if slices.Contains(parts, "reading") {
			reading, err := measureReading(ctx, e.name, e.server, dir, o)
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			r.readings = append(r.readings, reading)
		}
		if slices.Contains(parts, "journeys") {
			journeys, err := measureJourneys(ctx, e.name, e.server, r.program, dir, o)
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			r.journeys = append(r.journeys, journeys)
		}
	}
	if err := r.text(os.Stdout); err != nil || !markdown {
		return err
	}
	return r.intoPage(page)
}

// postgresVersion is the server's version, and whether it waits for its disk.
func postgresVersion(ctx context.Context, address string) (string, error) {
	d, err := db.Open(ctx, address, db.Options{MaxConns: 1})
	if err != nil {
		return "", err
	}
	defer d.Close()
	var version, fsync string
	err = d.QueryRow(ctx, "SELECT current_setting('server_version'), current_setting('fsync')").Scan(&version, &fsync)
	version, _, _ = strings.Cut(version, " ")
	return version + " with fsync " + fsync, err
}
