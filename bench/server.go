package main

import (
	"context"
	"os"
	"strconv"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// postgresProcess is the first process of a PostgreSQL server on this machine; nil: it is out of sight.
type postgresProcess struct{ pid int }

// findPostgres looks for the parent of the process that a connection is served by.
func findPostgres(ctx context.Context, address string) (*postgresProcess, error) {
	d, err := db.Open(ctx, address, db.Options{MaxConns: 1})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var pid int
	if err := d.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return nil, err
	}
	// The number may be that of a machine or a container of its own, and belong to somebody else here.
	if stat, err := readStat(pid); err == nil && stat.name == "postgres" {
		return &postgresProcess{stat.parent}, nil
	}
	return nil, nil
}

// spent is the processor time of the server with all its processes so far, 0 for one out of sight.
func (p *postgresProcess) spent() (sum time.Duration) {
	if p == nil {
		return 0
	}
	first, err := readStat(p.pid)
	if err != nil {
		return 0
	}
	sum = first.used + first.reaped
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	for _, entry := range processes {
		if pid, err := strconv.Atoi(entry.Name()); err == nil {
			if stat, err := readStat(pid); err == nil && stat.parent == p.pid {
				sum += stat.used
			}
		}
	}
	return sum
}
