// Package db gives the product one way to speak SQL to two engines: SQLite, embedded, and PostgreSQL.
//
// SQL is written once, in the subset that both accept, with $1 placeholders. Whether code runs inside a
// transaction shows in its arguments: a Tx is only ever handed out by RunTx.
package db

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Engine names a database engine.
type Engine string

// The engines.
const (
	SQLite     Engine = "sqlite"
	PostgreSQL Engine = "postgres"
)

// Querier runs statements, inside a transaction or outside of one.
//
// Times go in and come out in UTC with microseconds. Errors are the neutral ones of this package
// where it has one: see ErrNoRows and IsUniqueViolation.
type Querier interface {
	Engine() Engine
	// Exec runs a statement and returns how many rows it touched.
	Exec(ctx context.Context, sql string, args ...any) (int64, error)
	Query(ctx context.Context, sql string, args ...any) (Rows, error)
	// QueryRow runs a query of at most one row; Scan returns ErrNoRows when there is none.
	QueryRow(ctx context.Context, sql string, args ...any) Row
}

// Rows is a result being read. Close it in every case; Err tells after the last Next whether reading ended well. A row may be scanned
// more than once; a column whose destination is nil is left out.
type Rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
	Close()
}

// Row is a result of at most one row.
type Row interface{ Scan(dest ...any) error }

// Tx is a running transaction.
type Tx interface {
	Querier
	// AfterCommit has fn run once the transaction is committed: for what cannot be rolled back, such as counting or logging
	// what has happened. A run that is retried or fails takes what it registered with it.
	AfterCommit(fn func())
	// Queue runs a statement no later than the next one, or the commit: PostgreSQL gets all that is queued in one message, which
	// saves the way there and back. They run in their order. read is given the rows, and asks nothing of the database itself; with
	// nil only success matters. If one fails, so does what sends it, with its error: whoever means to tell errors of their own
	// apart calls Flush. What is queued must be understood by the server as things stand before the first of it runs.
	Queue(ctx context.Context, read func(Rows) error, sql string, args ...any) error
	// Flush runs what is queued.
	Flush(ctx context.Context) error
	tx()
}

// onCommit is what a run of a transaction has registered.
type onCommit struct{ list []func() }

func (o *onCommit) AfterCommit(fn func()) { o.list = append(o.list, fn) }

func (o *onCommit) run() {
	for _, fn := range o.list {
		fn()
	}
}

// DB is an open database. A statement outside RunTx is a transaction of its own; on SQLite, Query and QueryRow only read there.
type DB interface {
	Querier
	// RunTx runs fn in one transaction and commits it if fn returns nil. Serialization failures, deadlocks
	// and a busy SQLite are retried, so fn must have no effect outside the transaction and must set what it
	// returns through captured variables afresh on every run.
	RunTx(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error
	Ping(ctx context.Context) error
	Close() error
}

// Options says how to open a database. The zero value is fine.
type Options struct {
	MaxConns int  // PostgreSQL: connections at most; SQLite: readers at most. 0: a default by the number of cores
	Trace    bool // record OpenTelemetry spans of statements
}

// Open opens the database that url names: sqlite://path or postgres://…
func Open(ctx context.Context, url string, o Options) (DB, error) {
	scheme, rest, ok := strings.Cut(url, "://")
	switch {
	case ok && scheme == "sqlite" && rest != "":
		return openSQLite(ctx, rest, o)
	case ok && (scheme == "postgres" || scheme == "postgresql"):
		return openPostgres(ctx, url, o)
	}
	// The address may hold a password: no part of it is repeated here.
	return nil, errors.New("database address must be sqlite://path or postgres://user@host/name")
}

// ForUpdate is the clause that locks the selected rows until the transaction ends, against everybody who locks or changes them.
// Rows that refer to them by a foreign key can be written meanwhile: keys never change. SQLite needs no clause: there is one writer at
// a time, and its transactions take the write lock when they begin.
//
// In which order rows are locked stands in docs/architecture.md, "The order of locks".
func ForUpdate(q Querier) string {
	if q.Engine() == PostgreSQL {
		return " FOR NO KEY UPDATE"
	}
	return ""
}

// LimitLockWait bounds how long each statement of tx waits from now on for a row that somebody else has locked. What has waited for
// longer fails, see IsLockTimeout. It is queued. SQLite, which has no such locks, needs none.
func LimitLockWait(ctx context.Context, tx Tx, most time.Duration) error {
	if tx.Engine() != PostgreSQL {
		return nil
	}
	return tx.Queue(ctx, nil, `SELECT set_config('lock_timeout', $1, true)`, strconv.FormatInt(most.Milliseconds(), 10))
}

// SkipLocked locks rows, which may be deleted then, of work that several replicas share out: what another transaction holds is left to it.
func SkipLocked(q Querier) string {
	if q.Engine() == PostgreSQL {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// sweepBatch is how many rows one statement of Sweep deletes.
const sweepBatch = 1000

// Sweep deletes the rows of a table that fit where, some at a time: on SQLite, where one transaction writes at a time, nobody waits
// longer than for one batch, and on PostgreSQL replicas that sweep at once leave each other's rows alone. Neither table nor where is
// ever anything that somebody has sent.
func Sweep(ctx context.Context, d DB, table, where string, args ...any) error {
	return sweep(ctx, d, sweepBatch, table, where, args...)
}

func sweep(ctx context.Context, d DB, batch int64, table, where string, args ...any) error {
	// By their place in the table, so that no plan for finding them again can be a bad one.
	statement := fmt.Sprintf("DELETE FROM %s WHERE rowid IN (SELECT rowid FROM %[1]s WHERE %s LIMIT %d)", table, where, batch)
	if d.Engine() == PostgreSQL {
		statement = fmt.Sprintf("DELETE FROM %s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %[1]s WHERE %s LIMIT %d%s))", table, where, batch, SkipLocked(d))
	}
	for {
		var n int64
		err := d.RunTx(ctx, func(ctx context.Context, tx Tx) (err error) {
			n, err = tx.Exec(ctx, statement, args...)
			return err
		})
		if err != nil || n < batch {
			return err
		}
	}
}

// Collect reads all rows with scan, which is called once per row.
func Collect[T any](rows Rows, err error, scan func(Row) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

const maxTries = 12

// retry runs one attempt of a transaction until it succeeds or fails for a reason that trying again does not mend.
func retry(ctx context.Context, attempt func() error) error {
	for n := 1; ; n++ {
		err := attempt()
		if err == nil || n == maxTries || !retryable(err) {
			return neutral(err)
		}
		// 1 ms, 2 ms, 4 ms … at most 128 ms, each with up to as much again of jitter.
		wait := time.Millisecond << min(n-1, 7)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait + rand.N(wait)):
		}
	}
}
