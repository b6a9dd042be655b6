package db_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

func openPostgres(t *testing.T) db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), dbtest.URL(t, db.PostgreSQL), db.Options{MaxConns: 8})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// Two transactions that lock two rows in opposite order: PostgreSQL ends one, which is run again.
func TestADeadlockIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := openPostgres(t)
	makeProbe(t, d)
	exec(t, d, "INSERT INTO probe (id, big) VALUES (1, 0), (2, 0)")
	var runs, deadlocks atomic.Int32
	holding := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	var once [2]sync.Once
	var both sync.WaitGroup
	for i := range 2 {
		first, second := i+1, 2-i
		both.Go(func() {
			err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				runs.Add(1)
				if _, err := tx.Exec(ctx, "UPDATE probe SET big = big + 1 WHERE id = $1", first); err != nil {
					return err
				}
				once[i].Do(func() { close(holding[i]) })
				<-holding[1-i] // only the first time there is something to wait for
				_, err := tx.Exec(ctx, "UPDATE probe SET big = big + 1 WHERE id = $1", second)
				var pg *pgconn.PgError
				if errors.As(err, &pg) && pg.Code == "40P01" {
					deadlocks.Add(1)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	if deadlocks.Load() == 0 {
		t.Error("there was no deadlock: the test proves nothing")
	}
	if runs.Load() != 2+deadlocks.Load() {
		t.Errorf("%d runs with %d deadlocks", runs.Load(), deadlocks.Load())
	}
	var least, most int64
	if err := d.QueryRow(t.Context(), "SELECT MIN(big), MAX(big) FROM probe").Scan(&least, &most); err != nil || least != 2 || most != 2 {
		t.Errorf("counted to %d and %d, %v: each transaction should count once", least, most, err)
	}
}

func TestASerializationFailureIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := openPostgres(t)
	makeProbe(t, d)
	exec(t, d, "INSERT INTO probe (id, big) VALUES (1, 0)")
	runs, followed := 0, 0
	err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		runs++
		tx.AfterCommit(func() { followed++ })
		if _, err := tx.Exec(ctx, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"); err != nil {
			return err
		}
		var n int64
		if err := tx.QueryRow(ctx, "SELECT big FROM probe WHERE id = 1").Scan(&n); err != nil {
			return err
		}
		if runs == 1 {
			if _, err := d.Exec(ctx, "UPDATE probe SET big = 10 WHERE id = 1"); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "UPDATE probe SET big = $1 WHERE id = 1", n+1)
		return err
	})
	if err != nil || runs != 2 || followed != 1 {
		t.Errorf("ran %d times, followed by %d: %v", runs, followed, err)
	}
	var n int64
	if err := d.QueryRow(t.Context(), "SELECT big FROM probe").Scan(&n); err != nil || n != 11 {
		t.Errorf("counted to %d, %v", n, err)
	}
}

func TestRowLocks(t *testing.T) {
	t.Parallel()
	d := openPostgres(t)
	makeProbe(t, d)
	exec(t, d, "INSERT INTO probe (id) VALUES (1), (2), (3)")
	exec(t, d, "CREATE TABLE probe_children (probe_id BIGINT NOT NULL REFERENCES probe (id))")
	err := d.RunTx(t.Context(), func(ctx context.Context, holder db.Tx) error {
		var id int64
		if err := holder.QueryRow(ctx, "SELECT id FROM probe WHERE id = 2"+db.ForUpdate(holder)).Scan(&id); err != nil {
			return err
		}
		err := d.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			rows, err := tx.Query(ctx, "SELECT id FROM probe ORDER BY id"+db.SkipLocked(tx))
			free, err := db.Collect(rows, err, func(r db.Row) (id int64, err error) { return id, r.Scan(&id) })
			if err != nil || !slices.Equal(free, []int64{1, 3}) {
				t.Errorf("left to others: %v, %v", free, err)
			}
			// Who only reads is not kept.
			if err := tx.QueryRow(ctx, "SELECT id FROM probe WHERE id = 2").Scan(&id); err != nil {
				t.Error(err)
			}
			// Who only refers to it is not kept either.
			if _, err := tx.Exec(ctx, "INSERT INTO probe_children (probe_id) VALUES (2)"); err != nil {
				t.Error(err)
			}
			if err := db.LimitLockWait(ctx, tx, 50*time.Millisecond); err != nil {
				t.Error(err)
			}
			return tx.QueryRow(ctx, "SELECT id FROM probe WHERE id = 2"+db.ForUpdate(tx)).Scan(&id)
		})
		if !db.IsLockTimeout(err) {
			t.Errorf("a second lock of the row: %v, want a timeout", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lite := openLite(t, db.Options{})
	if db.ForUpdate(lite) != "" || db.SkipLocked(lite) != "" {
		t.Error("SQLite knows no row locks")
	}
	if err := lite.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return db.LimitLockWait(ctx, tx, time.Second) }); err != nil {
		t.Error(err)
	}
}

func TestSettingsOfEveryConnection(t *testing.T) {
	t.Parallel()
	d := openPostgres(t)
	for range 8 {
		rows, err := d.Query(t.Context(), "SELECT current_setting('timezone'), current_setting('application_name'), current_setting('idle_in_transaction_session_timeout'), current_setting('transaction_isolation')")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close() // held open, so that the next query gets another connection
		var zone, name, idle, isolation string
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if err := rows.Scan(&zone, &name, &idle, &isolation); err != nil {
			t.Fatal(err)
		}
		if zone != "UTC" || name != "comecomepay" || idle != "30s" || isolation != "read committed" {
			t.Errorf("%s, %s, %s, %s", zone, name, idle, isolation)
		}
	}
}
