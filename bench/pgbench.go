package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// transferScript is what the ledger is compared with on PostgreSQL.
//
//go:embed transfer.sql
var transferScript []byte

// transferTables are what it needs, with no index that a safe ledger could do without: a reference is found, and so are the postings
// of an account. Accounts leave as much room for updates as the product's.
var transferTables = []string{
	`CREATE TABLE accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance >= 0)) WITH (fillfactor = 70)`,
	`CREATE TABLE transactions (reference BIGINT PRIMARY KEY, posted_at TIMESTAMPTZ NOT NULL DEFAULT now())`,
	`CREATE TABLE postings (account BIGINT NOT NULL, reference BIGINT NOT NULL, amount BIGINT NOT NULL, PRIMARY KEY (account, reference))`,
	fmt.Sprintf(`INSERT INTO accounts SELECT g, %d FROM generate_series(1, %d) g`, openingBalance, fewAccounts),
	`VACUUM ANALYZE`,
}

// pgbench is the program of that name and a database for it.
type pgbench struct {
	path, address, script, dir string
	used                       time.Duration // processor time of all runs so far
}

// newPgbench makes the tables in an empty database. pgbench comes with PostgreSQL; where it is not on the path, as on Debian, it is
// looked for in the place of the newest server.
func newPgbench(ctx context.Context, d dataset, dir string) (p *pgbench, err error) {
	p = &pgbench{address: d.url, dir: dir, script: filepath.Join(dir, "transfer.sql")}
	if p.path, err = exec.LookPath("pgbench"); err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
		if len(found) == 0 {
			return p, errors.New("pgbench is not there: it comes with PostgreSQL")
		}
		p.path = slices.MaxFunc(found, func(a, b string) int { return strings.Compare(fmt.Sprintf("%40s", a), fmt.Sprintf("%40s", b)) })
	}
	for _, s := range transferTables {
		if err := execute(ctx, d.url, s); err != nil {
			return p, err
		}
	}
	return p, os.WriteFile(p.script, transferScript, 0o600)
}

// among is a runner: so many clients transfer among so many accounts, each as fast as it is answered.
func (p *pgbench) among(clients, accounts int) *runner {
	return &runner{
		load: func(ctx context.Context, lasting time.Duration) (round, error) {
			return p.load(ctx, clients, accounts, lasting)
		},
		spent: func() (time.Duration, error) { return p.used, nil },
	}
}

// load runs pgbench once. Rate and latencies are pgbench's own: of many clients it writes down every tenth latency, of a single one
// each.
func (p *pgbench) load(ctx context.Context, clients, accounts int, lasting time.Duration) (r round, err error) {
	logs, err := os.MkdirTemp(p.dir, "pgbench")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(logs)) }()
	sampling := "1"
	if clients > 1 {
		sampling = "0.1"
	}
	c := exec.CommandContext(ctx, p.path, "--no-vacuum", "--protocol=prepared", "--file="+p.script, "--define=accounts="+strconv.Itoa(accounts),
		"--client="+strconv.Itoa(clients), "--jobs="+strconv.Itoa(min(clients, 2)), "--time="+strconv.Itoa(max(1, int(lasting.Seconds()))),
		"--log", "--log-prefix="+filepath.Join(logs, "log"), "--sampling-rate="+sampling, p.address)
	out, err := c.CombinedOutput()
	if err != nil {
		return r, fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	p.used += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	rate, processed := 0.0, 0
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(line, "tps = "); ok {
			_, _ = fmt.Sscanf(rest, "%g", &rate)
		}
		if rest, ok := strings.CutPrefix(line, "number of transactions actually processed: "); ok {
			_, _ = fmt.Sscanf(rest, "%d", &processed)
		}
	}
	if rate == 0 || processed == 0 {
		return r, fmt.Errorf("pgbench said nothing of a rate:\n%s", out)
	}
	latencies, err := pgbenchLatencies(logs)
	if err != nil {
		return r, err
	}
	r = newRound(latencies, 0)
	r.requests, r.took = processed, time.Duration(float64(processed)/rate*float64(time.Second))
	return r, nil
}

// pgbenchLatencies reads pgbench's logs: client, number, microseconds …
func pgbenchLatencies(dir string) (list []time.Duration, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "log.*"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 3 {
				continue
			}
			if micros, err := strconv.ParseInt(fields[2], 10, 64); err == nil {
				list = append(list, time.Duration(micros)*time.Microsecond)
			}
		}
		if err := errors.Join(lines.Err(), f.Close()); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, errors.New("pgbench wrote no latencies down")
	}
	return list, nil
}
