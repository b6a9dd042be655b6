package db

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// pgTx is a transaction that costs few round trips: BEGIN goes to the server with the first statement, what is queued with the next one,
// and COMMIT with what is left of it.
type pgTx struct {
	*onCommit
	conn   *pgx.Conn
	native pgx.Tx // nil: not begun
	queue  []queued
	failed error // of what was sent together: the rest has not run
}

type queued struct {
	sql  string
	args []any
	read func(Rows) error
}

func (*pgTx) tx()            {}
func (*pgTx) Engine() Engine { return PostgreSQL }

// waits tells whether something has to be sent before, or together with, the next statement.
func (t *pgTx) waits() bool { return t.native == nil || len(t.queue) > 0 || t.failed != nil }

// send sends what is queued, and last unless it is empty, whose result is the next of what is returned. Close that.
func (t *pgTx) send(ctx context.Context, last string, args ...any) (_ pgx.BatchResults, err error) {
	if t.failed != nil {
		return nil, t.failed
	}
	batch := &pgx.Batch{}
	if t.native == nil {
		batch.BeginTx(pgx.TxOptions{})
	}
	list := t.queue
	t.queue = nil
	for _, q := range list {
		batch.Queue(q.sql, q.args...)
	}
	if last != "" {
		batch.Queue(last, args...)
	}
	results := t.conn.SendBatch(ctx, batch)
	defer func() {
		if err != nil {
			_ = results.Close() // it is the same error, or one that comes of it
			t.failed = err
		}
	}()
	if t.native == nil {
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
		t.native = results.Tx()
	}
	for _, q := range list {
		if err := q.result(results); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (q queued) result(results pgx.BatchResults) error {
	if q.read == nil {
		_, err := results.Exec()
		return err
	}
	rows, err := results.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := q.read(pgRows{rows}); err != nil {
		return err
	}
	rows.Close()
	return rows.Err()
}

// Queue implements Tx.
func (t *pgTx) Queue(_ context.Context, read func(Rows) error, sql string, args ...any) error {
	t.queue = append(t.queue, queued{sql, args, read})
	return t.failed
}

// Flush implements Tx.
func (t *pgTx) Flush(ctx context.Context) error {
	if len(t.queue) == 0 {
		return t.failed
	}
	return neutral(t.sendAll(ctx))
}

func (t *pgTx) sendAll(ctx context.Context) error {
	results, err := t.send(ctx, "")
	if err != nil {
		return err
	}
	return results.Close()
}

// Exec implements Querier. A statement without arguments may be several, which only go alone.
func (t *pgTx) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	if t.waits() && len(args) == 0 {
		if err := t.sendAll(ctx); err != nil {
			return 0, neutral(err)
		}
	}
	if !t.waits() {
		return pgExec(ctx, t.native, sql, args)
	}
	results, err := t.send(ctx, sql, args...)
	if err != nil {
		return 0, neutral(err)
	}
	tag, err := results.Exec()
	if closed := results.Close(); err == nil {
		err = closed
	}
	return tag.RowsAffected(), neutral(err)
}

// Query implements Querier.
func (t *pgTx) Query(ctx context.Context, sql string, args ...any) (Rows, error) {
	if !t.waits() {
		return pgQuery(ctx, t.native, sql, args)
	}
	results, err := t.send(ctx, sql, args...)
	if err != nil {
		return nil, neutral(err)
	}
	rows, err := results.Query()
	if err != nil {
		_ = results.Close()
		return nil, neutral(err)
	}
	return &lastRows{pgRows: pgRows{rows}, results: results}, nil
}

// QueryRow implements Querier.
func (t *pgTx) QueryRow(ctx context.Context, sql string, args ...any) Row {
	if !t.waits() {
		return pgRow{t.native.QueryRow(ctx, sql, args...)}
	}
	rows, err := t.Query(ctx, sql, args...)
	if err != nil {
		return failedRow{err}
	}
	return onlyRow{rows}
}

// lastRows are the rows of the last of several statements.
type lastRows struct {
	pgRows
	results pgx.BatchResults
	err     error
}

func (r *lastRows) Next() bool {
	if r.pgRows.Next() {
		return true
	}
	r.Close() // the connection is free when all is read
	return false
}

func (r *lastRows) Close() {
	r.Rows.Close()
	r.err = r.results.Close()
}

func (r *lastRows) Err() error {
	if err := r.pgRows.Err(); err != nil {
		return err
	}
	return neutral(r.err)
}

type onlyRow struct{ rows Rows }

func (r onlyRow) Scan(dest ...any) error {
	defer r.rows.Close()
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return err
		}
		return ErrNoRows
	}
	if err := r.rows.Scan(dest...); err != nil {
		return err
	}
	r.rows.Close()
	return r.rows.Err()
}

func (t *pgTx) commit(ctx context.Context) error {
	if slices.ContainsFunc(t.queue, func(q queued) bool { return q.read != nil }) {
		// What is read may still be a reason not to commit.
		if err := t.sendAll(ctx); err != nil {
			return err
		}
	}
	switch {
	case t.failed != nil:
		return fmt.Errorf("%w: %w", pgx.ErrTxCommitRollback, t.failed)
	case len(t.queue) > 0:
		results, err := t.send(ctx, "commit")
		if err != nil {
			return err
		}
		tag, err := results.Exec()
		if closed := results.Close(); err == nil {
			err = closed
		}
		if err == nil && tag.String() == "ROLLBACK" {
			return pgx.ErrTxCommitRollback
		}
		return err
	case t.native != nil:
		return t.native.Commit(ctx)
	}
	return nil // nothing was asked
}

// rollback takes back what is not committed.
func (t *pgTx) rollback(ctx context.Context) {
	if t.native != nil && t.conn.PgConn().TxStatus() != 'I' {
		_ = t.native.Rollback(ctx) // if it fails the connection is closed, which does the same
	}
}

// PgxTx is the native transaction behind tx. What was queued has run.
func PgxTx(ctx context.Context, tx Tx) (pgx.Tx, error) {
	t, ok := tx.(*pgTx)
	if !ok {
		return nil, errors.New("not a transaction of PostgreSQL")
	}
	if t.waits() {
		if err := t.sendAll(ctx); err != nil {
			return nil, neutral(err)
		}
	}
	return t.native, nil
}
