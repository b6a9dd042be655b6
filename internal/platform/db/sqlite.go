package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/XSAM/otelsql"
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
	_ "modernc.org/sqlite" // the "sqlite" driver
)

// Lite is a SQLite database: one handle that writes, a pool of handles that read.
type Lite struct {
	path   string
	writer *sql.DB
	reader *sql.DB
	reads  prepared // on reader
	writes repeated // on writer
}

var _ DB = (*Lite)(nil)

// Pragmas stand in the address, since a PRAGMA that is executed once reaches only one pooled connection.
// synchronous=FULL: a committed transaction survives a power cut. mmap_size, at the most that SQLite allows: pages are read
// where the operating system keeps them rather than copied by a system call each; what lies beyond is read as ever.
// wal_autocheckpoint: pages that are written again and again go back to the file once in 32 MB of log, not in 4.
func sqliteDSN(path string, writer bool) string {
	q := url.Values{}
	for _, p := range []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "cache_size(-16000)", "mmap_size(2147418112)",
		"temp_store(MEMORY)", "wal_autocheckpoint(8000)"} {
		q.Add("_pragma", p)
	}
	if writer {
		q.Set("_txlock", "immediate")
	} else {
		q.Add("_pragma", "query_only(ON)")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

func openSQLite(ctx context.Context, path string, o Options) (*Lite, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("database path: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o700); err != nil {
		return nil, fmt.Errorf("database directory: %w", err)
	}
	// Nobody but the owner may read customers' data. SQLite gives its other files the same mode. A file that exists is not
	// opened here: closing it would drop SQLite's locks on it.
	if f, err := os.OpenFile(abs, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
		_ = f.Close()
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create database: %w", err)
	}
	l := &Lite{path: abs}
	if l.writer, err = openHandle(sqliteDSN(abs, true), o.Trace); err != nil {
		return nil, err
	}
	l.writer.SetMaxOpenConns(1)
	// The writer opens first: it creates the file and puts it into WAL mode.
	if err := l.writer.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", abs, err), l.writer.Close())
	}
	if l.reader, err = openHandle(sqliteDSN(abs, false), o.Trace); err != nil {
		return nil, errors.Join(err, l.writer.Close())
	}
	readers := o.MaxConns
	if readers == 0 {
		readers = max(4, 2*runtime.NumCPU())
	}
	l.reader.SetMaxOpenConns(readers)
	l.reader.SetMaxIdleConns(readers)
	l.reads.handle = l.reader
	return l, nil
}

func openHandle(dsn string, trace bool) (*sql.DB, error) {
	if trace {
		return otelsql.Open("sqlite", dsn, otelsql.WithAttributes(semconv.DBSystemNameSQLite),
			otelsql.WithSpanOptions(otelsql.SpanOptions{OmitConnResetSession: true, OmitRows: true}))
	}
	return sql.Open("sqlite", dsn)
}

// Writer is the one handle that writes, for the job queue and for migrations.
func (l *Lite) Writer() *sql.DB { return l.writer }

// Path is the database file.
func (l *Lite) Path() string { return l.path }

// Engine implements Querier.
func (l *Lite) Engine() Engine { return SQLite }

// Exec runs a single statement in a transaction of its own.
func (l *Lite) Exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = l.RunTx(ctx, func(ctx context.Context, tx Tx) error {
		n, err = tx.Exec(ctx, query, args...)
		return err
	})
	return n, err
}

// Query implements Querier.
func (l *Lite) Query(ctx context.Context, query string, args ...any) (Rows, error) {
	stmt, err := l.reads.get(ctx, query)
	if err != nil {
		return nil, neutral(err)
	}
	rows, err := stmt.QueryContext(ctx, liteArgs(args)...)
	if err != nil {
		return nil, neutral(err)
	}
	return liteRows{rows}, nil
}

// QueryRow implements Querier.
func (l *Lite) QueryRow(ctx context.Context, query string, args ...any) Row {
	stmt, err := l.reads.get(ctx, query)
	if err != nil {
		return failedRow{neutral(err)}
	}
	return liteRow{stmt.QueryRowContext(ctx, liteArgs(args)...)}
}

// prepared keeps the statements of a handle compiled: SQLite takes longer to compile a query than to answer a small one.
// The texts are few, because values are arguments; they are closed with the handle.
type prepared struct {
	handle *sql.DB
	stmts  sync.Map // text -> *sql.Stmt
}

func (p *prepared) get(ctx context.Context, query string) (*sql.Stmt, error) {
	if stmt, ok := p.stmts.Load(query); ok {
		return stmt.(*sql.Stmt), nil
	}
	stmt, err := p.handle.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if first, loaded := p.stmts.LoadOrStore(query, stmt); loaded {
		_ = stmt.Close() // somebody was quicker
		return first.(*sql.Stmt), nil
	}
	return stmt, nil
}

// repeated keeps those statements of the writer compiled that are used again and again. They are compiled between transactions: the
// one connection is not free within. Texts that differ each time never come that far, and the rest has room for a whole program's.
type repeated struct {
	mu    sync.Mutex
	seen  map[string]int
	due   []string
	stmts map[string]*sql.Stmt
}

const (
	repetitions = 8
	maxRepeated = 500
)

// get is the compiled statement, nil if there is none.
func (r *repeated) get(query string) *sql.Stmt {
	r.mu.Lock()
	defer r.mu.Unlock()
	if stmt := r.stmts[query]; stmt != nil {
		return stmt
	}
	if r.seen == nil || len(r.seen) >= 4*maxRepeated {
		r.seen = map[string]int{}
	}
	if r.seen[query]++; r.seen[query] == repetitions && len(r.stmts)+len(r.due) < maxRepeated {
		r.due = append(r.due, query)
	}
	return nil
}

// prepare compiles what is due. It only saves time: a statement that cannot be compiled now is run as it was before.
func (r *repeated) prepare(ctx context.Context, writer *sql.DB) {
	r.mu.Lock()
	due := r.due
	r.due = nil
	r.mu.Unlock()
	for _, query := range due {
		stmt, err := writer.PrepareContext(ctx, query)
		if err != nil {
			continue
		}
		r.mu.Lock()
		if r.stmts == nil {
			r.stmts = map[string]*sql.Stmt{}
		}
		r.stmts[query] = stmt
		r.mu.Unlock()
	}
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

// Ping implements DB.
func (l *Lite) Ping(ctx context.Context) error { return l.reader.PingContext(ctx) }

// Close implements DB.
func (l *Lite) Close() error { return errors.Join(l.reader.Close(), l.writer.Close()) }

// RunTx implements DB. A transaction takes the write lock when it begins (BEGIN IMMEDIATE).
func (l *Lite) RunTx(ctx context.Context, fn func(context.Context, Tx) error) error {
	var after *onCommit
	err := retry(ctx, func() (err error) {
		after = &onCommit{}
		tx, err := l.writer.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer l.writes.prepare(ctx, l.writer)
		defer func() {
			if rbErr := tx.Rollback(); rbErr != nil && !errors.Is(rbErr, sql.ErrTxDone) && err == nil {
				err = rbErr
			}
			if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil {
				err = ctx.Err() // database/sql has rolled back already, because the context ended
			}
		}()
		if err := fn(ctx, liteTx{after, tx, &l.writes}); err != nil {
			return err
		}
		return tx.Commit()
	})
	if err == nil {
		after.run()
	}
	return err
}

type liteTx struct {
	*onCommit
	sqlTx    *sql.Tx
	repeated *repeated
}

func (liteTx) tx()            {}
func (liteTx) Engine() Engine { return SQLite }

// Queue implements Tx: SQLite is no way off, and asked at once.
func (t liteTx) Queue(ctx context.Context, read func(Rows) error, query string, args ...any) error {
	if read == nil {
		_, err := t.Exec(ctx, query, args...)
		return err
	}
	rows, err := t.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if err := read(rows); err != nil {
		return err
	}
	return rows.Err()
}

// Flush implements Tx.
func (liteTx) Flush(context.Context) error { return nil }

// Exec implements Querier. A compiled statement is a short one, and runs to its end: to watch for that of ctx is a goroutine each time.
// If ctx ends, the transaction does after the statement.
func (t liteTx) Exec(ctx context.Context, query string, args ...any) (n int64, err error) {
	var res sql.Result
	if stmt := t.repeated.get(query); stmt != nil {
		res, err = t.sqlTx.StmtContext(ctx, stmt).ExecContext(context.WithoutCancel(ctx), liteArgs(args)...)
	} else {
		res, err = t.sqlTx.ExecContext(ctx, query, liteArgs(args)...)
	}
	if err != nil {
		return 0, neutral(err)
	}
	return res.RowsAffected()
}

func (t liteTx) Query(ctx context.Context, query string, args ...any) (Rows, error) {
	var rows *sql.Rows
	var err error
	if stmt := t.repeated.get(query); stmt != nil {
		rows, err = t.sqlTx.StmtContext(ctx, stmt).QueryContext(context.WithoutCancel(ctx), liteArgs(args)...)
	} else {
		rows, err = t.sqlTx.QueryContext(ctx, query, liteArgs(args)...)
	}
	if err != nil {
		return nil, neutral(err)
	}
	return liteRows{rows}, nil
}

func (t liteTx) QueryRow(ctx context.Context, query string, args ...any) Row {
	if stmt := t.repeated.get(query); stmt != nil {
		return liteRow{t.sqlTx.StmtContext(ctx, stmt).QueryRowContext(context.WithoutCancel(ctx), liteArgs(args)...)}
	}
	return liteRow{t.sqlTx.QueryRowContext(ctx, query, liteArgs(args)...)}
}

// SQLTx is the native transaction behind tx, if the engine is SQLite.
func SQLTx(tx Tx) (*sql.Tx, bool) {
	t, ok := tx.(liteTx)
	return t.sqlTx, ok
}

type liteRow struct{ row *sql.Row }

func (r liteRow) Scan(dest ...any) error { return neutral(r.row.Scan(liteDest(dest)...)) }

type liteRows struct{ *sql.Rows }

func (r liteRows) Scan(dest ...any) error { return neutral(r.Rows.Scan(liteDest(dest)...)) }

func (r liteRows) Err() error { return neutral(r.Rows.Err()) }

// Close implements Rows; what went wrong while reading is told by Err.
func (r liteRows) Close() { _ = r.Rows.Close() }

// SQLite has no type for times. They are kept as text of fixed width, which sorts as the times do.
const liteTime = "2006-01-02T15:04:05.000000Z"

func liteArgs(args []any) []any {
	var out []any // copied only when something changes
	for i, a := range args {
		var text any
		switch t := a.(type) {
		case time.Time:
			text = t.UTC().Format(liteTime)
		case *time.Time:
			if t != nil {
				text = t.UTC().Format(liteTime)
			}
		default:
			continue
		}
		if out == nil {
			out = append([]any(nil), args...)
		}
		out[i] = text
	}
	if out == nil {
		return args
	}
	return out
}

func liteDest(dest []any) []any {
	var out []any
	for i, d := range dest {
		var s sql.Scanner
		switch t := d.(type) {
		case *time.Time:
			s = liteTimeScanner{func(v *time.Time) error {
				if v == nil {
					return errors.New("NULL where a time is expected")
				}
				*t = *v
				return nil
			}}
		case *[]byte:
			s = liteBytesScanner{t}
		case **time.Time:
			s = liteTimeScanner{func(v *time.Time) error { *t = v; return nil }}
		case nil:
			s = ignored{}
		default:
			continue
		}
		if out == nil {
			out = append([]any(nil), dest...)
		}
		out[i] = s
	}
	if out == nil {
		return dest
	}
	return out
}

type liteTimeScanner struct{ set func(*time.Time) error }

// Scan implements sql.Scanner. A column that an earlier release has declared as a time arrives parsed by the driver, all else as text.
func (s liteTimeScanner) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		return s.set(nil)
	case time.Time:
		v = v.UTC()
		return s.set(&v)
	case string:
		t, err := time.Parse(time.RFC3339Nano, v)
		if err != nil {
			return fmt.Errorf("time in database: %w", err)
		}
		t = t.UTC()
		return s.set(&t)
	}
	return fmt.Errorf("time in database: unexpected %T", src)
}

// The driver reads bytes of no length as nil; nil means NULL here.
type liteBytesScanner struct{ dest *[]byte }

// Scan implements sql.Scanner.
func (s liteBytesScanner) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*s.dest = nil
	case []byte:
		*s.dest = append([]byte{}, v...)
	case string:
		*s.dest = []byte(v)
	default:
		return fmt.Errorf("bytes in database: unexpected %T", src)
	}
	return nil
}

// ignored is where columns go that nobody asked for.
type ignored struct{}

// Scan implements sql.Scanner.
func (ignored) Scan(any) error { return nil }
