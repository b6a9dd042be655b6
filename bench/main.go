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
	accounts  [2]int // of the large book, on PostgreSQL and on SQLite; 0: leave it out
	profiles  string

	transferRounds int
	transferRound  time.Duration

	base *postgresProcess // of the engine that is being measured
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
	flag.StringVar(&only, "only", strings.Join(allParts, ","), "what to measure")
	flag.IntVar(&o.rounds, "rounds", 7, "rounds of GET /didit/status for each server")
	flag.DurationVar(&o.round, "round", 4*time.Second, "length of one round")
	flag.DurationVar(&o.journeys, "journeys", 20*time.Second, "how long customers set out on journeys")
	flag.IntVar(&o.customers, "customers", 1_000_000, "customers of the large database; 0: leave it out")
	flag.IntVar(&o.transferRounds, "transfer-rounds", 5, "rounds of transfers, and of reading their history, for each who does them")
	flag.DurationVar(&o.transferRound, "transfer-round", 3*time.Second, "length of one of these rounds")
	flag.IntVar(&o.accounts[0], "accounts", 1_000_000, fmt.Sprintf("accounts of the large book on PostgreSQL, each with %d postings; 0: leave it out", postingsPerHead))
	flag.IntVar(&o.accounts[1], "sqlite-accounts", 100_000, "the same on SQLite, which is for smaller installations")
	flag.StringVar(&o.profiles, "profiles", "", "directory for processor profiles of the product, for go tool pprof")
	flag.BoolVar(&markdown, "markdown", false, "write the figures into "+page+" as well; all of them have to be measured")
	flag.Parse()
	parts := strings.Split(only, ",")
	for _, part := range parts {
		if !slices.Contains(allParts, part) {
			return fmt.Errorf("-only: %q is none of %s", part, strings.Join(allParts, ", "))
		}
	}
	if markdown && (len(parts) != len(allParts) || min(o.customers, o.accounts[0], o.accounts[1]) == 0) {
		return errors.New("-markdown: the page takes only a whole measurement")
	}
	if postgres == "" {
		return errors.New("no PostgreSQL server: give its address with -postgres or " + dbtest.Variable)
	}
	version, durable, err := postgresVersion(ctx, postgres)
	if err != nil {
		return err
	}
	if !durable && slices.ContainsFunc(parts, movesMoney) {
		return fmt.Errorf("PostgreSQL %s does not keep what it confirms: for %s it has to be as it comes", version, strings.Join(moneyParts, ", "))
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
	for i, e := range []struct{ name, server string }{{"PostgreSQL", postgres}, {"SQLite", ""}} {
		if slices.ContainsFunc(parts, movesMoney) {
			money, err := measureMoney(ctx, e.name, e.server, dir, parts, o.accounts[i], o)
			if err != nil {
				return fmt.Errorf("%s: %w", e.name, err)
			}
			r.money = append(r.money, money)
		}
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

// The parts of a run. Those of moneyParts share their books.
var (
	moneyParts = []string{"ledger", "transfers", "history"}
	allParts   = append([]string{"reading", "journeys", "startup"}, moneyParts...)
)

func movesMoney(part string) bool { return slices.Contains(moneyParts, part) }

// postgresVersion is the server's version and how it keeps what it confirms: durable, if a crash of the machine takes nothing back.
func postgresVersion(ctx context.Context, address string) (version string, durable bool, err error) {
	d, err := db.Open(ctx, address, db.Options{MaxConns: 1})
	if err != nil {
		return "", false, err
	}
	defer d.Close()
	var fsync, commit, pages, buffers, wal string
	err = d.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes'),
		current_setting('shared_buffers'), current_setting('max_wal_size')`).
		Scan(&version, &fsync, &commit, &pages, &buffers, &wal)
	version, _, _ = strings.Cut(version, " ")
	return fmt.Sprintf("%s with fsync %s, synchronous_commit %s, full_page_writes %s, shared_buffers %s, max_wal_size %s", version, fsync, commit, pages, buffers, wal),
		fsync == "on" && commit != "off" && pages == "on", err
}
