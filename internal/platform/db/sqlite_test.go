package db_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

func openLite(t *testing.T, o db.Options) *db.Lite {
	t.Helper()
	d, err := db.Open(t.Context(), dbtest.URL(t, db.SQLite), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d.(*db.Lite)
}

// That pages are read through a mapping is asked for in the address; SQLite says how much of a file it may map.
func TestFileIsMapped(t *testing.T) {
	t.Parallel()
	var size int64
	if err := openLite(t, db.Options{}).QueryRow(t.Context(), "PRAGMA mmap_size").Scan(&size); err != nil || size != 2147418112 {
		t.Errorf("mmap_size=%d, %v", size, err)
	}
}

// A PRAGMA reaches one connection; these must be in force on all, new ones included.
func TestPragmasAreInForceOnEveryConnection(t *testing.T) {
	t.Parallel()
	const readers = 6
	d := openLite(t, db.Options{MaxConns: readers})
	const pragmas = `SELECT (SELECT synchronous FROM pragma_synchronous), (SELECT foreign_keys FROM pragma_foreign_keys),
		(SELECT journal_mode FROM pragma_journal_mode), (SELECT timeout FROM pragma_busy_timeout), (SELECT query_only FROM pragma_query_only)`
	scan := func(r db.Row) (string, error) {
		var synchronous, foreignKeys, timeout, queryOnly int
		var journal string
		err := r.Scan(&synchronous, &foreignKeys, &journal, &timeout, &queryOnly)
		return fmt.Sprintf("synchronous=%d foreign_keys=%d journal_mode=%s busy_timeout=%d query_only=%d", synchronous, foreignKeys, journal, timeout, queryOnly), err
	}
	const want = "synchronous=2 foreign_keys=1 journal_mode=wal busy_timeout=10000 query_only="
	// Results that stay open hold their connections, so that each query gets another one.
	for n := range readers {
		rows, err := d.Query(t.Context(), pragmas)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if got, err := scan(rows); err != nil || got != want+"1" {
			t.Errorf("reader %d: %s, %v", n, got, err)
		}
	}
	for n := range 2 {
		err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if got, err := scan(tx.QueryRow(ctx, pragmas)); err != nil || got != want+"0" {
				t.Errorf("writer: %s, %v", got, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			// Whatever becomes of the one connection that writes, its successor is like it.
			conn, err := d.Writer().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := conn.Raw(func(any) error { return driver.ErrBadConn }); !errors.Is(err, driver.ErrBadConn) {
				t.Fatal(err)
			}
			if err := conn.Close(); !errors.Is(err, sql.ErrConnDone) {
				t.Fatalf("the connection was not thrown away: %v", err)
			}
		}
	}
}

func TestReadersCannotWrite(t *testing.T) {
	t.Parallel()
	d := openLite(t, db.Options{})
	makeProbe(t, d)
	var id int64
	for _, statement := range []string{"INSERT INTO probe (id) VALUES (1) RETURNING id", "DELETE FROM probe RETURNING id", "CREATE TABLE other (id BIGINT)", "PRAGMA user_version = 7"} {
		if err := d.QueryRow(t.Context(), statement).Scan(&id); err == nil || errors.Is(err, db.ErrNoRows) && strings.HasPrefix(statement, "INSERT") {
			t.Errorf("%s: %v", statement, err)
		}
		rows, err := d.Query(t.Context(), statement)
		_, _ = db.Collect(rows, err, func(db.Row) (int, error) { return 0, nil })
	}
	var tables, version int
	if err := d.QueryRow(t.Context(), "SELECT (SELECT COUNT(*) FROM sqlite_master WHERE name = 'other'), (SELECT user_version FROM pragma_user_version)").Scan(&tables, &version); err != nil {
		t.Fatal(err)
	}
	if count(t, d) != 0 || tables != 0 || version != 0 {
		t.Error("a reader wrote")
	}
}

func TestAFileOfAnyName(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new dir", "wallet 100%?mode=memory#x&y=z 名.db")
	d, err := db.Open(t.Context(), "sqlite://"+path, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, d, "CREATE TABLE kept (id BIGINT)")
	exec(t, d, "INSERT INTO kept VALUES (42)")
	if got := d.(*db.Lite).Path(); got != path {
		t.Errorf("path %s", got)
	}
	if err := d.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if d.Ping(t.Context()) == nil {
		t.Error("a closed database answers")
	}
	again, err := db.Open(t.Context(), "sqlite://"+path, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	var id int
	if err := again.QueryRow(t.Context(), "SELECT id FROM kept").Scan(&id); err != nil || id != 42 {
		t.Errorf("read %d, %v", id, err)
	}
	if files, _ := filepath.Glob(filepath.Join(filepath.Dir(path), "*.db")); len(files) != 1 {
		t.Errorf("files %q", files)
	}
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new.db")
	d, err := db.Open(t.Context(), "sqlite://"+path, db.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Exec(t.Context(), `CREATE TABLE probe (id BIGINT)`); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"", "-wal", "-shm"} {
		if info, err := os.Stat(path + end); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%q: %v %v", end, info, err)
		}
	}
}

func TestAFileThatIsNoDatabase(t *testing.T) {
	t.Parallel()
	if d, err := db.Open(t.Context(), "sqlite:///dev/null/x.db", db.Options{}); err == nil {
		_ = d.Close()
		t.Error("opened a file below a device")
	}
}

// another opens the same file as another process would.
func another(t *testing.T, d *db.Lite) *sql.Conn {
	t.Helper()
	handle, err := sql.Open("sqlite", "file:"+d.Path())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = handle.Close() })
	conn, err := handle.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestBusyIsTriedAgain(t *testing.T) {
	t.Parallel()
	d := openLite(t, db.Options{})
	makeProbe(t, d)
	other := another(t, d)
	runs, followed := 0, 0
	err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		runs++
		tx.AfterCommit(func() { followed++ })
		if _, err := tx.Exec(ctx, "INSERT INTO probe (id) VALUES (1)"); err != nil {
			return err
		}
		if runs < 3 {
			// What a caller without patience is told while our transaction holds the lock.
			_, err := other.ExecContext(ctx, "BEGIN IMMEDIATE")
			if err == nil {
				t.Error("two writers at once")
			}
			return fmt.Errorf("wrapped: %w", err)
		}
		return nil
	})
	if err != nil || runs != 3 || followed != 1 {
		t.Errorf("ran %d times, followed by %d: %v", runs, followed, err)
	}
	if n := count(t, d); n != 1 {
		t.Errorf("%d rows: what a failed run wrote stayed", n)
	}
}

func TestBusyForGoodIsGivenUp(t *testing.T) {
	t.Parallel()
	d := openLite(t, db.Options{})
	other := another(t, d)
	var busy error
	if err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_, busy = other.ExecContext(ctx, "BEGIN IMMEDIATE")
		return nil
	}); err != nil || busy == nil {
		t.Fatal(err, busy)
	}
	runs := 0
	err := d.RunTx(t.Context(), func(context.Context, db.Tx) error { runs++; return busy })
	if !errors.Is(err, busy) || runs < 5 || runs > 50 {
		t.Errorf("ran %d times: %v", runs, err)
	}
	// A caller that does not wait so long is not kept.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := d.RunTx(ctx, func(context.Context, db.Tx) error { return busy }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after its time: %v", err)
	}
}

func TestAWriterWaitsForAnotherProcess(t *testing.T) {
	t.Parallel()
	d := openLite(t, db.Options{})
	makeProbe(t, d)
	other := another(t, d)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE; INSERT INTO probe (id) VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	// Readers go on meanwhile.
	if n := count(t, d); n != 0 {
		t.Errorf("%d rows seen of a transaction that is not committed", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := d.RunTx(ctx, func(context.Context, db.Tx) error {
		t.Error("two writers at once")
		return nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after its time: %v", err)
	}
	if took := time.Since(start); took > 12*time.Second {
		t.Errorf("the caller was kept for %s", took)
	}
	done := make(chan error, 1)
	go func() {
		done <- d.RunTx(context.WithoutCancel(t.Context()), func(ctx context.Context, tx db.Tx) error {
			if n := count(t, tx); n != 1 {
				t.Errorf("%d rows: the other's transaction is not over", n)
			}
			return nil
		})
	}()
	if _, err := other.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A statement that is compiled does not look at its context; its transaction does.
func TestATransactionOfCompiledStatementsEndsWithItsContext(t *testing.T) {
	t.Parallel()
	d := openLite(t, db.Options{})
	makeProbe(t, d)
	const insert, read = "INSERT INTO probe (id) VALUES ($1)", "SELECT id FROM probe ORDER BY id"
	twice := func(ctx context.Context, first int, between func()) error {
		return d.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			if _, err := tx.Exec(ctx, insert, first); err != nil {
				return err
			}
			rows, err := tx.Query(ctx, read)
			if err != nil {
				return err
			}
			defer rows.Close()
			rows.Next()
			between()
			for rows.Next() {
			}
			if err := rows.Err(); err != nil {
				return err
			}
			_, err = tx.Exec(ctx, insert, first+1)
			return err
		})
	}
	for i := range 20 {
		if err := twice(t.Context(), 2*i, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		if err := twice(ctx, 1000, cancel); !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled: %v", err)
		}
	}
	if n := count(t, d); n != 40 {
		t.Errorf("%d rows", n)
	}
}
