package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Postgres is a PostgreSQL database.
type Postgres struct{ pool *pgxpool.Pool }

var _ DB = (*Postgres)(nil)

func openPostgres(ctx context.Context, url string, o Options) (*Postgres, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx's own text may repeat parts of the address, password included.
		return nil, errors.New("database address: not a valid postgres:// address")
	}
	if o.MaxConns > 0 {
		cfg.MaxConns = int32(o.MaxConns)
	} else if cfg.MaxConns < 20 {
		cfg.MaxConns = 20
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	// A transaction whose replica hangs must not keep its locks for ever.
	if cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] == "" {
		cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "30s"
	}
	// A statement is planned once for each connection. Left to itself the server plans those over short arrays anew each time, which
	// costs more than running them; that all have a plan which reads no whole table whatever their parameters are is tested.
	if cfg.ConnConfig.RuntimeParams["plan_cache_mode"] == "" {
		cfg.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	}
	cfg.ConnConfig.RuntimeParams["application_name"] = "comecomepay"
	cfg.ConnConfig.RuntimeParams["timezone"] = "UTC"
	cfg.AfterConnect = func(_ context.Context, c *pgx.Conn) error {
		c.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.UTC},
		})
		return nil
	}
	if o.Trace {
		// Statements only, never their arguments.
		cfg.ConnConfig.Tracer = otelpgx.NewTracer(otelpgx.WithDisableQuerySpanNamePrefix())
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	p := &Postgres{pool}
	if err := p.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("reach database: %w", err)
	}
	return p, nil
}

// Pool is the native pool, for the job queue and for migrations.
func (p *Postgres) Pool() *pgxpool.Pool { return p.pool }

// Engine implements Querier.
func (p *Postgres) Engine() Engine { return PostgreSQL }

// Exec implements Querier.
func (p *Postgres) Exec(ctx context.Context, sql string, args ...any) (int64, error) {
	return pgExec(ctx, p.pool, sql, args)
}

// Query implements Querier.
func (p *Postgres) Query(ctx context.Context, sql string, args ...any) (Rows, error) {
	return pgQuery(ctx, p.pool, sql, args)
}

// QueryRow implements Querier.
func (p *Postgres) QueryRow(ctx context.Context, sql string, args ...any) Row {
	return pgRow{p.pool.QueryRow(ctx, sql, args...)}
}

// Ping implements DB.
func (p *Postgres) Ping(ctx context.Context) error { return p.pool.Ping(ctx) }

// Close implements DB.
func (p *Postgres) Close() error {
	p.pool.Close()
	return nil
}

// RunTx implements DB. Transactions are READ COMMITTED: what must not change under them they lock.
func (p *Postgres) RunTx(ctx context.Context, fn func(context.Context, Tx) error) error {
	var after *onCommit
	err := retry(ctx, func() error {
		after = &onCommit{}
		conn, err := p.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		// The pool lets a connection go that is not idle.
		defer conn.Release()
		tx := &pgTx{onCommit: after, conn: conn.Conn()}
		defer tx.rollback(ctx)
		if err := fn(ctx, tx); err != nil {
			return err
		}
		return tx.commit(ctx)
	})
	if err == nil {
		after.run()
	}
	return err
}

type pgQuerier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func pgExec(ctx context.Context, q pgQuerier, sql string, args []any) (int64, error) {
	tag, err := q.Exec(ctx, sql, args...)
	return tag.RowsAffected(), neutral(err)
}

func pgQuery(ctx context.Context, q pgQuerier, sql string, args []any) (Rows, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, neutral(err)
	}
	return pgRows{rows}, nil
}

type pgRows struct{ pgx.Rows }

func (r pgRows) Scan(dest ...any) error { return neutral(r.Rows.Scan(dest...)) }

// Err implements Rows. Most errors of a statement show only here: pgx sends it with the first Next.
func (r pgRows) Err() error { return neutral(r.Rows.Err()) }

type pgRow struct{ row pgx.Row }

func (r pgRow) Scan(dest ...any) error { return neutral(r.row.Scan(dest...)) }
