package db_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

// What both engines must do alike. Each case runs on each engine, on a table of every kind of column.
var conformance = []struct {
	name string
	test func(t *testing.T, d db.DB)
}{
	{"times come back in UTC with microseconds", timesComeBack},
	{"times in expressions and aggregates", timesInExpressions},
	{"times sort and compare", timesSort},
	{"NULL where a time is expected", nullTime},
	{"values come back as they went in", valuesComeBack},
	{"a transaction is all or nothing", allOrNothing},
	{"what follows a commit follows nothing else", afterCommit},
	{"a panic rolls back and goes on", panicRollsBack},
	{"a transaction reads what it wrote, others do not", isolation},
	{"an error of the transaction is not retried", ordinaryErrorOnce},
	{"a cancelled context ends a transaction", cancelledContext},
	{"a cancelled context ends a statement", cancelledStatement},
	{"a unique violation is told without the key", uniqueViolation},
	{"other violations are no unique violations", otherViolations},
	{"no rows", noRows},
	{"rows that cannot be scanned", wrongScan},
	{"a row is scanned twice, and in part", scanInPart},
	{"collecting stops at the first error", collect},
	{"counting from many sides loses nothing", parallelCounting},
	{"what is queued runs in its order, before the next statement", queueing},
	{"what is queued last is committed or fails the transaction", queueingLast},
	{"sweeping removes what fits, in batches", sweeping},
}

func TestConformance(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		for _, tt := range conformance {
			t.Run(tt.name, func(t *testing.T) {
				makeProbe(t, d)
				tt.test(t, d)
			})
		}
	})
}

func makeProbe(t *testing.T, d db.DB) {
	t.Helper()
	words := strings.NewReplacer()
	if d.Engine() == db.SQLite {
		// Earlier releases declared times as TIMESTAMP there, which its driver reads itself.
		words = strings.NewReplacer("later TIMESTAMPTZ", "later TIMESTAMP", "BYTEA", "BLOB")
	}
	exec(t, d, "DROP TABLE IF EXISTS probe")
	exec(t, d, words.Replace(`CREATE TABLE probe (id BIGINT NOT NULL PRIMARY KEY, label TEXT UNIQUE, big BIGINT, flag BOOLEAN, raw BYTEA, at TIMESTAMPTZ, later TIMESTAMPTZ,
		parent BIGINT REFERENCES probe (id), CHECK (big <> 13))`))
}

func exec(t *testing.T, d db.DB, sql string, args ...any) int64 {
	t.Helper()
	n, err := d.Exec(context.WithoutCancel(t.Context()), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func count(t *testing.T, q db.Querier) (n int) {
	t.Helper()
	if err := q.QueryRow(t.Context(), "SELECT COUNT(*) FROM probe").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

var someTimes = []time.Time{
	time.Date(2026, 3, 1, 9, 0, 0, 123456000, time.UTC),
	time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
	time.Date(2026, 3, 1, 9, 0, 0, 999999999, time.FixedZone("HKT", 8*3600)),
	time.Date(1970, 1, 1, 0, 0, 0, 1000, time.UTC),
	time.Date(1905, 12, 31, 23, 59, 59, 1000, time.FixedZone("", -3*3600-1800)),
	time.Date(2999, 12, 31, 23, 59, 59, 999999000, time.UTC),
}

func timesComeBack(t *testing.T, d db.DB) {
	for i, at := range someTimes {
		exec(t, d, "INSERT INTO probe (id, at, later) VALUES ($1, $2, $3)", i, at, &at)
		var got time.Time
		var gotPointer, null *time.Time
		if err := d.QueryRow(t.Context(), "SELECT at, later, NULL FROM probe WHERE id = $1", i).Scan(&got, &gotPointer, &null); err != nil {
			t.Fatal(err)
		}
		want := at.UTC().Truncate(time.Microsecond)
		if got != want || gotPointer == nil || *gotPointer != want {
			t.Errorf("%s came back as %s and %v", at, got, gotPointer)
		}
		if null != nil {
			t.Errorf("NULL came back as %s", null)
		}
	}
	var none *time.Time
	exec(t, d, "INSERT INTO probe (id, at, later) VALUES (100, $1, NULL)", none)
	stale := time.Now()
	got, gotLater := &stale, &stale
	if err := d.QueryRow(t.Context(), "SELECT at, later FROM probe WHERE id = 100").Scan(&got, &gotLater); err != nil {
		t.Fatal(err)
	}
	if got != nil || gotLater != nil {
		t.Errorf("NULL came back as %v and %v", got, gotLater)
	}
}

func timesInExpressions(t *testing.T, d db.DB) {
	early, late := someTimes[1], someTimes[0]
	exec(t, d, "INSERT INTO probe (id, at) VALUES (1, $1), (2, $2)", late, early)
	err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		for name, q := range map[string]db.Querier{"outside": d, "inside": tx} {
			var first, last, either, last2 time.Time
			var none *time.Time
			err := q.QueryRow(ctx, `SELECT MIN(at), MAX(at), COALESCE(MIN(later), MIN(at)), MAX(later), (SELECT at FROM probe ORDER BY at DESC LIMIT 1) FROM probe`).
				Scan(&first, &last, &either, &none, &last2)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if first != early || last != late || either != early || none != nil || last2 != late {
				t.Errorf("%s a transaction: %s, %s, %s, %v, %s", name, first, last, either, none, last2)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var returned time.Time
	err = d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		return tx.QueryRow(ctx, "UPDATE probe SET later = $1 WHERE id = 1 RETURNING later", late).Scan(&returned)
	})
	if err != nil || returned != late {
		t.Errorf("returned %s, %v", returned, err)
	}
}

func timesSort(t *testing.T, d db.DB) {
	base := someTimes[1]
	// Whole seconds, milliseconds and microseconds sort wrongly as text if their widths differ.
	offsets := []time.Duration{0, time.Microsecond, 10 * time.Microsecond, time.Millisecond, 100 * time.Millisecond, time.Second, time.Hour}
	for i, o := range offsets {
		exec(t, d, "INSERT INTO probe (id, at) VALUES ($1, $2)", len(offsets)-i, base.Add(o))
	}
	rows, err := d.Query(t.Context(), "SELECT at FROM probe ORDER BY at")
	list, err := db.Collect(rows, err, func(r db.Row) (at time.Time, err error) { return at, r.Scan(&at) })
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(list, time.Time.Compare) || len(list) != len(offsets) {
		t.Errorf("sorted as %s", list)
	}
	for i, o := range offsets {
		var below, equal int
		at := base.Add(o).In(time.FixedZone("HKT", 8*3600))
		err := d.QueryRow(t.Context(), "SELECT (SELECT COUNT(*) FROM probe WHERE at < $1), (SELECT COUNT(*) FROM probe WHERE at = $1)", at).Scan(&below, &equal)
		if err != nil || below != i || equal != 1 {
			t.Errorf("%s: %d below, %d equal, %v", o, below, equal, err)
		}
	}
}

func nullTime(t *testing.T, d db.DB) {
	exec(t, d, "INSERT INTO probe (id) VALUES (1)")
	var at time.Time
	if err := d.QueryRow(t.Context(), "SELECT at FROM probe").Scan(&at); err == nil {
		t.Errorf("NULL was read as %s", at)
	}
}

func valuesComeBack(t *testing.T, d db.DB) {
	type values struct {
		Label *string
		Big   int64
		Flag  bool
		Raw   []byte
	}
	label := func(s string) *string { return &s }
	for i, v := range []values{
		{label(""), 0, false, []byte{}},
		{label("O'Brien; DROP TABLE probe --\n\t$1 ? :name"), math.MaxInt64, true, []byte{0, 1, 255, 254, '\'', '\\'}},
		{label("𠮷野家 🙂 👨‍👩‍👧"), math.MinInt64, false, []byte("\x00")},
		{label("مرحبا \u202e\u200f\u2066"), 1<<53 + 1, true, slices.Repeat([]byte{0xC3}, 100_000)},
		{label("e\u0301 is not é \ufffd \U0010ffff"), -(1<<53 + 1), true, nil},
		{nil, 1, false, []byte("null")},
	} {
		exec(t, d, "INSERT INTO probe (id, label, big, flag, raw) VALUES ($1, $2, $3, $4, $5)", i, v.Label, v.Big, v.Flag, v.Raw)
		var got values
		var null bool
		if err := d.QueryRow(t.Context(), "SELECT label, big, flag, raw, raw IS NULL FROM probe WHERE id = $1", i).Scan(&got.Label, &got.Big, &got.Flag, &got.Raw, &null); err != nil {
			t.Fatal(err)
		}
		if null != (v.Raw == nil) || (got.Raw == nil) != null {
			t.Errorf("bytes %v are NULL: %t, read as %v", v.Raw, null, got.Raw)
		}
		if diff := cmp.Diff(v, got); diff != "" {
			t.Errorf("(-in +out)\n%s", diff)
		}
		var found int
		if err := d.QueryRow(t.Context(), "SELECT COUNT(*) FROM probe WHERE label = $1 AND big = $2 AND flag = $3", v.Label, v.Big, v.Flag).Scan(&found); err != nil {
			t.Fatal(err)
		}
		if v.Label != nil && found != 1 {
			t.Errorf("%q is found %d times", *v.Label, found)
		}
	}
	if n := exec(t, d, "UPDATE probe SET flag = TRUE WHERE NOT flag"); n != 3 {
		t.Errorf("%d rows were touched, want 3", n)
	}
}

func allOrNothing(t *testing.T, d db.DB) {
	refused := errors.New("refused")
	insert := func(end error) error {
		return d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if tx.Engine() != d.Engine() {
				t.Errorf("a transaction of %s on %s", tx.Engine(), d.Engine())
			}
			for id := range 3 {
				if n, err := tx.Exec(ctx, "INSERT INTO probe (id) VALUES ($1)", id); err != nil || n != 1 {
					return errors.Join(err, fmt.Errorf("%d rows", n))
				}
			}
			return end
		})
	}
	if err := insert(refused); !errors.Is(err, refused) {
		t.Errorf("the transaction's error became %v", err)
	}
	if n := count(t, d); n != 0 {
		t.Errorf("%d rows after a rollback", n)
	}
	if err := insert(nil); err != nil {
		t.Error(err)
	}
	if n := count(t, d); n != 3 {
		t.Errorf("%d rows after a commit", n)
	}
}

func afterCommit(t *testing.T, d db.DB) {
	var seen []int
	insert := func(id int, result error) error {
		return d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			tx.AfterCommit(func() { seen = append(seen, count(t, d)) })
			if len(seen) != 0 {
				t.Error("ran before the commit")
			}
			if _, err := tx.Exec(ctx, "INSERT INTO probe (id) VALUES ($1)", id); err != nil {
				return err
			}
			return result
		})
	}
	if err := insert(1, errors.New("no")); err == nil || len(seen) != 0 {
		t.Errorf("after a rollback: %v, %v", seen, err)
	}
	if err := insert(2, nil); err != nil || !slices.Equal(seen, []int{1}) {
		t.Errorf("saw %v rows, want 1 once; %v", seen, err)
	}
}

func panicRollsBack(t *testing.T, d db.DB) {
	func() {
		defer func() {
			if v := recover(); v != "oh" {
				t.Errorf("recovered %v", v)
			}
		}()
		_ = d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO probe (id) VALUES (1)"); err != nil {
				t.Error(err)
			}
			panic("oh")
		})
	}()
	// The connection is free again, also SQLite's one that writes.
	exec(t, d, "INSERT INTO probe (id) VALUES (2)")
	if n := count(t, d); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func isolation(t *testing.T, d db.DB) {
	err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO probe (id) VALUES (1)"); err != nil {
			return err
		}
		if inside, outside := count(t, tx), count(t, d); inside != 1 || outside != 0 {
			t.Errorf("%d rows inside, %d outside", inside, outside)
		}
		return nil
	})
	if err != nil || count(t, d) != 1 {
		t.Errorf("after the commit: %v", err)
	}
}

func ordinaryErrorOnce(t *testing.T, d db.DB) {
	runs := 0
	err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		runs++
		_, err := tx.Exec(ctx, "INSERT INTO nowhere (id) VALUES (1)")
		return err
	})
	if err == nil || runs != 1 {
		t.Errorf("ran %d times: %v", runs, err)
	}
}

func cancelledContext(t *testing.T, d db.DB) {
	ctx, cancel := context.WithCancel(t.Context())
	err := d.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO probe (id) VALUES (1)"); err != nil {
			return err
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the commit: %v", err)
	}
	err = d.RunTx(ctx, func(context.Context, db.Tx) error {
		t.Error("ran with a cancelled context")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the beginning: %v", err)
	}
	if n := count(t, d); n != 0 {
		t.Errorf("%d rows", n)
	}
	exec(t, d, "INSERT INTO probe (id) VALUES (2)")
}

func cancelledStatement(t *testing.T, d db.DB) {
	endless := "WITH RECURSIVE n (i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000) SELECT COUNT(*) FROM n"
	for name, run := range map[string]func(context.Context) error{
		"outside": func(ctx context.Context) error { var n int64; return d.QueryRow(ctx, endless).Scan(&n) },
		"inside": func(ctx context.Context) error {
			return d.RunTx(ctx, func(ctx context.Context, tx db.Tx) error { var n int64; return tx.QueryRow(ctx, endless).Scan(&n) })
		},
		"rows": func(ctx context.Context) error {
			rows, err := d.Query(ctx, endless)
			_, err = db.Collect(rows, err, func(r db.Row) (n int64, err error) { return n, r.Scan(&n) })
			return err
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		start := time.Now()
		if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s a transaction: %v", name, err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s a transaction: took %s", name, took)
		}
		cancel()
	}
	exec(t, d, "INSERT INTO probe (id) VALUES (1)")
}

func uniqueViolation(t *testing.T, d db.DB) {
	const key = "canary@example.com"
	insert := "INSERT INTO probe (id, label) VALUES ($1, $2)"
	exec(t, d, insert, 1, key)
	returning := func(ctx context.Context, q db.Querier) error {
		rows, err := q.Query(ctx, insert+" RETURNING label", 2, key)
		_, err = db.Collect(rows, err, func(r db.Row) (s string, err error) { return s, r.Scan(&s) })
		return err
	}
	var within error
	inTx := func(f func(context.Context, db.Tx) error) func() error {
		return func() error {
			return d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				within = f(ctx, tx)
				return fmt.Errorf("insert: %w", within)
			})
		}
	}
	for name, insert := range map[string]func() error{
		"alone":       func() error { _, err := d.Exec(t.Context(), insert, 2, key); within = err; return err },
		"primary key": func() error { _, err := d.Exec(t.Context(), insert, 1, "other"); within = err; return err },
		"in a transaction": inTx(func(ctx context.Context, tx db.Tx) error {
			_, err := tx.Exec(ctx, insert, 2, key)
			return err
		}),
		"returning a row": inTx(func(ctx context.Context, tx db.Tx) error {
			var s string
			return tx.QueryRow(ctx, insert+" RETURNING label", 2, key).Scan(&s)
		}),
		"returning rows": inTx(func(ctx context.Context, tx db.Tx) error { return returning(ctx, tx) }),
	} {
		err := insert()
		if !db.IsUniqueViolation(err) || !db.IsUniqueViolation(within) {
			t.Errorf("%s: %v, within the transaction %v", name, err, within)
			continue
		}
		if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, key) {
			t.Errorf("%s: the error repeats the key: %s", name, text)
		}
	}
	if n := count(t, d); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func otherViolations(t *testing.T, d db.DB) {
	for name, sql := range map[string]string{
		"foreign key": "INSERT INTO probe (id, parent) VALUES (1, 99)",
		"check":       "INSERT INTO probe (id, big) VALUES (1, 13)",
		"not null":    "INSERT INTO probe (id) VALUES (NULL)",
	} {
		if _, err := d.Exec(t.Context(), sql); err == nil || db.IsUniqueViolation(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if db.IsUniqueViolation(nil) || db.IsUniqueViolation(errors.New("unique violation")) {
		t.Error("seen where there is none")
	}
}

func noRows(t *testing.T, d db.DB) {
	var id int64
	if err := d.QueryRow(t.Context(), "SELECT id FROM probe").Scan(&id); !errors.Is(err, db.ErrNoRows) {
		t.Errorf("outside a transaction: %v", err)
	}
	err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		if err := tx.QueryRow(ctx, "SELECT id FROM probe").Scan(&id); !errors.Is(err, db.ErrNoRows) {
			t.Errorf("inside a transaction: %v", err)
		}
		return tx.QueryRow(ctx, "UPDATE probe SET big = 1 WHERE id = 1 RETURNING id").Scan(&id)
	})
	if !errors.Is(err, db.ErrNoRows) {
		t.Errorf("out of a transaction: %v", err)
	}
	rows, err := d.Query(t.Context(), "SELECT id FROM probe")
	list, err := db.Collect(rows, err, func(r db.Row) (int64, error) { return id, r.Scan(&id) })
	if err != nil || len(list) != 0 {
		t.Errorf("collected %v, %v", list, err)
	}
	if n := exec(t, d, "DELETE FROM probe"); n != 0 {
		t.Errorf("%d rows deleted of none", n)
	}
}

func wrongScan(t *testing.T, d db.DB) {
	exec(t, d, "INSERT INTO probe (id, label) VALUES (1, 'canary')")
	var at time.Time
	var n int64
	for name, dest := range map[string][]any{"text as a time": {&at}, "text as a number": {&n}, "too few": {}, "too many": {new(string), &n}} {
		if err := d.QueryRow(t.Context(), "SELECT label FROM probe").Scan(dest...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func scanInPart(t *testing.T, d db.DB) {
	exec(t, d, "INSERT INTO probe (id, label, raw, at) VALUES (1, 'x', $1, $2), (2, NULL, NULL, NULL)", []byte("raw"), someTimes[0])
	rows, err := d.Query(t.Context(), "SELECT id, label, raw, at FROM probe ORDER BY id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var id int64
	var label string
	for rows.Next() {
		if err := rows.Scan(&id, nil, nil, nil); err != nil {
			t.Fatal(err)
		}
		if id == 1 {
			if err := rows.Scan(nil, &label, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := rows.Err(); err != nil || id != 2 || label != "x" {
		t.Errorf("%d, %q, %v", id, label, err)
	}
}

func collect(t *testing.T, d db.DB) {
	for id := range 5 {
		exec(t, d, "INSERT INTO probe (id) VALUES ($1)", id)
	}
	stop := errors.New("stop")
	calls := 0
	rows, err := d.Query(t.Context(), "SELECT id FROM probe ORDER BY id")
	_, err = db.Collect(rows, err, func(r db.Row) (int, error) {
		if calls++; calls == 3 {
			return 0, stop
		}
		return 0, nil
	})
	if !errors.Is(err, stop) || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	rows, err = d.Query(t.Context(), "SELECT id FROM probe ORDER BY id")
	list, err := db.Collect(rows, err, func(r db.Row) (id int, err error) { return id, r.Scan(&id) })
	if err != nil || !slices.Equal(list, []int{0, 1, 2, 3, 4}) {
		t.Errorf("collected %v, %v", list, err)
	}
	rows, err = d.Query(t.Context(), "SELECT id FROM nowhere")
	if _, err = db.Collect(rows, err, func(db.Row) (int, error) { return 0, nil }); err == nil {
		t.Error("no error from a table that does not exist")
	}
}

// More callers than connections, all on one row.
func parallelCounting(t *testing.T, d db.DB) {
	exec(t, d, "INSERT INTO probe (id, big) VALUES (1, 100)")
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 5 {
				err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
					var n int64
					if err := tx.QueryRow(ctx, "SELECT big FROM probe WHERE id = 1"+db.ForUpdate(tx)).Scan(&n); err != nil {
						return err
					}
					_, err := tx.Exec(ctx, "UPDATE probe SET big = $1 WHERE id = 1", n+1)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	var n int64
	if err := d.QueryRow(t.Context(), "SELECT big FROM probe").Scan(&n); err != nil || n != 260 {
		t.Errorf("counted to %d, %v", n, err)
	}
}

func sweeping(t *testing.T, d db.DB) {
	fill := func(n int) {
		t.Helper()
		if err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			for i := range n {
				if _, err := tx.Exec(ctx, "INSERT INTO probe (id, big, flag) VALUES ($1, $2, $3)", i, 100+i, i%2 == 0); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, rows := range []int{0, 1, 9, 10, 11, 95, 100} {
		exec(t, d, "DELETE FROM probe")
		fill(rows)
		// Whoever sweeps at the same time is no hindrance.
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if err := db.SweepBatches(t.Context(), d, 10, "probe", "big < $1", 100+rows-1); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		// A batch that others had a share in may have ended one sweep early; the next one finds what is left.
		if err := db.Sweep(t.Context(), d, "probe", "big < $1", 100+rows-1); err != nil {
			t.Error(err)
		}
		if n := count(t, d); n != min(rows, 1) {
			t.Errorf("of %d rows %d are left, want the last", rows, n)
		}
	}
	exec(t, d, "DELETE FROM probe")
	fill(95)
	if err := db.SweepBatches(t.Context(), d, 10, "probe", "big < $1 AND flag = $2", 1000, true); err != nil {
		t.Error(err)
	}
	if n := count(t, d); n != 47 {
		t.Errorf("%d rows are left, want 47", n)
	}
	if err := db.Sweep(t.Context(), d, "nowhere", "big < 1"); err == nil {
		t.Error("a table that does not exist was swept")
	}
}

func numbers(ids *[]int64) func(db.Rows) error {
	return func(rows db.Rows) error {
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				return err
			}
			*ids = append(*ids, id)
		}
		return nil
	}
}

func queueing(t *testing.T, d db.DB) {
	const insert, list = "INSERT INTO probe (id) VALUES ($1)", "SELECT id FROM probe WHERE id > $1 ORDER BY id"
	// However the next statement comes, the first of the transaction or not, it finds what was queued.
	for i, next := range []func(ctx context.Context, tx db.Tx) error{
		func(ctx context.Context, tx db.Tx) error { return tx.Flush(ctx) },
		func(ctx context.Context, tx db.Tx) error {
			n, err := tx.Exec(ctx, "UPDATE probe SET big = 1 WHERE id > $1", 0)
			if err == nil && n%2 != 0 {
				err = fmt.Errorf("%d rows", n)
			}
			return err
		},
		func(ctx context.Context, tx db.Tx) error {
			rows, err := tx.Query(ctx, list, 0)
			all, err := db.Collect(rows, err, func(r db.Row) (id int64, err error) { return id, r.Scan(&id) })
			if err == nil && len(all)%2 != 0 {
				err = fmt.Errorf("%d rows", len(all))
			}
			return err
		},
		func(ctx context.Context, tx db.Tx) error {
			var n int
			if err := tx.QueryRow(ctx, "SELECT COUNT(*) FROM probe WHERE id > $1", 0).Scan(&n); err != nil || n%2 != 0 {
				return fmt.Errorf("%d rows, %w", n, err)
			}
			if err := tx.QueryRow(ctx, "SELECT id FROM probe WHERE id = $1", -1).Scan(&n); !errors.Is(err, db.ErrNoRows) {
				return fmt.Errorf("no row: %w", err)
			}
			return nil
		},
		func(ctx context.Context, tx db.Tx) error {
			_, err := tx.Exec(ctx, "UPDATE probe SET big = 2")
			return err
		},
		func(context.Context, db.Tx) error { return nil },
	} {
		for begun := range 2 {
			exec(t, d, "DELETE FROM probe")
			var between, after []int64
			err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
				if begun == 1 {
					if _, err := tx.Exec(ctx, "DELETE FROM probe WHERE id = $1", 1); err != nil {
						return err
					}
				}
				between, after = nil, nil
				return errors.Join(tx.Queue(ctx, nil, insert, 1), tx.Queue(ctx, numbers(&between), list, 0), tx.Queue(ctx, nil, insert, 2),
					tx.Queue(ctx, numbers(&after), list, 0), next(ctx, tx))
			})
			if err != nil || !slices.Equal(between, []int64{1}) || !slices.Equal(after, []int64{1, 2}) || count(t, d) != 2 {
				t.Errorf("way %d: %v, %v; %d rows, %v", i, between, after, count(t, d), err)
			}
		}
	}
}

func queueingLast(t *testing.T, d db.DB) {
	const insert = "INSERT INTO probe (id) VALUES ($1)"
	refused := errors.New("refused")
	for name, tt := range map[string]struct {
		ids  []int
		read func(db.Rows) error
		is   func(error) bool
	}{
		"committed":          {[]int{1, 2}, nil, func(err error) bool { return err == nil }},
		"unique violation":   {[]int{1, 1, 2}, nil, db.IsUniqueViolation},
		"refused by reading": {[]int{1, 2}, func(db.Rows) error { return refused }, func(err error) bool { return errors.Is(err, refused) }},
	} {
		exec(t, d, "DELETE FROM probe")
		followed := 0
		err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
			tx.AfterCommit(func() { followed++ })
			if tt.read != nil {
				if err := tx.Queue(ctx, tt.read, "SELECT id FROM probe WHERE id = $1", 1); err != nil {
					return err
				}
			}
			for _, id := range tt.ids {
				if err := tx.Queue(ctx, nil, insert, id); err != nil {
					return err
				}
			}
			return nil
		})
		want := 0
		if err == nil {
			want = 1
		}
		if !tt.is(err) || followed != want || count(t, d) != 2*want {
			t.Errorf("%s: %v, followed by %d, %d rows", name, err, followed, count(t, d))
		}
	}
	// A failure is not forgotten, whatever fn makes of it, and the connection is good for the next.
	exec(t, d, "DELETE FROM probe")
	err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error {
		_ = tx.Queue(ctx, nil, insert, 1)
		err := errors.Join(tx.Queue(ctx, nil, insert, 1), tx.Flush(ctx))
		if !db.IsUniqueViolation(err) {
			t.Errorf("twice the same: %v", err)
		}
		if d.Engine() == db.SQLite {
			return err // one statement is taken back there, no more
		}
		return nil
	})
	if err == nil || count(t, d) != 0 {
		t.Errorf("%v, %d rows", err, count(t, d))
	}
	if err := d.RunTx(t.Context(), func(context.Context, db.Tx) error { return nil }); err != nil {
		t.Error("nothing at all:", err)
	}
}
