package db_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/migrations"
)

// empty is the address of a database without any table.
func empty(t *testing.T, engine db.Engine) string {
	t.Helper()
	if engine == db.SQLite {
		return "sqlite://" + filepath.Join(t.TempDir(), "empty.db")
	}
	address := dbtest.URL(t, engine)
	d := open(t, address)
	exec(t, d, "DROP SCHEMA public CASCADE")
	exec(t, d, "CREATE SCHEMA public")
	return address
}

func open(t *testing.T, address string) db.DB {
	t.Helper()
	d, err := db.Open(t.Context(), address, db.Options{MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func eachEmpty(t *testing.T, test func(t *testing.T, d db.DB)) {
	t.Helper()
	t.Parallel()
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			test(t, open(t, empty(t, engine)))
		})
	}
}

func set(files ...string) db.Migrations {
	f := fstest.MapFS{}
	for i, content := range files {
		f[strings.Repeat("0", 4)+string(rune('1'+i))+"_step.sql"] = &fstest.MapFile{Data: []byte(content)}
	}
	return db.Migrations{Files: f}
}

const (
	stepOne   = "-- +goose Up\nCREATE TABLE one (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at TIMESTAMPTZ, raw BYTEA);\n-- +goose Down\nDROP TABLE one;\n"
	stepTwo   = "-- +goose Up\nALTER TABLE one ADD COLUMN label TEXT NOT NULL DEFAULT 'old';\n-- +goose Down\nALTER TABLE one DROP COLUMN label;\n"
	stepThree = "-- +goose Up\nCREATE TABLE three (id BIGINT PRIMARY KEY);\n-- +goose Down\nDROP TABLE three;\n"
)

func up(t *testing.T, m db.Migrations, d db.DB) []int64 {
	t.Helper()
	applied, err := m.Up(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	return applied
}

func versions(t *testing.T, m db.Migrations, d db.DB, wantCurrent, wantNeeded int64) {
	t.Helper()
	current, needed, err := m.Versions(t.Context(), d)
	if err != nil || current != wantCurrent || needed != wantNeeded {
		t.Errorf("at version %d of %d, %v; want %d of %d", current, needed, err, wantCurrent, wantNeeded)
	}
}

func TestMigrationsGoUpOnce(t *testing.T) {
	eachEmpty(t, func(t *testing.T, d db.DB) {
		versions(t, set(stepOne), d, 0, 1)
		if applied := up(t, set(stepOne), d); !slices.Equal(applied, []int64{1}) {
			t.Errorf("applied %v", applied)
		}
		exec(t, d, "INSERT INTO one (raw) VALUES ($1)", []byte("kept"))
		if applied := up(t, set(stepOne), d); len(applied) != 0 {
			t.Errorf("applied %v again", applied)
		}
		versions(t, set(stepOne, stepTwo, stepThree), d, 1, 3)
		if applied := up(t, set(stepOne, stepTwo, stepThree), d); !slices.Equal(applied, []int64{2, 3}) {
			t.Errorf("applied %v", applied)
		}
		var label string
		var raw []byte
		if err := d.QueryRow(t.Context(), "SELECT label, raw FROM one").Scan(&label, &raw); err != nil || label != "old" || string(raw) != "kept" {
			t.Errorf("the old row became %q %q, %v", label, raw, err)
		}
	})
}

func TestAskingForTheVersionChangesNothing(t *testing.T) {
	eachEmpty(t, func(t *testing.T, d db.DB) {
		versions(t, set(stepOne), d, 0, 1)
		tables := "SELECT COUNT(*) FROM sqlite_master"
		if d.Engine() == db.PostgreSQL {
			tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema()"
		}
		var n int
		if err := d.QueryRow(t.Context(), tables).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d tables were made, %v", n, err)
		}
	})
}

func TestANewerDatabaseIsLeftAlone(t *testing.T) {
	eachEmpty(t, func(t *testing.T, d db.DB) {
		up(t, set(stepOne, stepTwo, stepThree), d)
		old := set(stepOne, stepTwo)
		applied, err := old.Up(t.Context(), d)
		if !errors.Is(err, db.ErrNewerSchema) || len(applied) != 0 {
			t.Errorf("applied %v: %v", applied, err)
		}
		versions(t, old, d, 3, 2)
	})
}

func TestAFailedMigrationLeavesTheVersionBefore(t *testing.T) {
	eachEmpty(t, func(t *testing.T, d db.DB) {
		up(t, set(stepOne), d)
		broken := set(stepOne, "-- +goose Up\nCREATE TABLE two (id BIGINT);\nINSERT INTO nowhere VALUES (1);\n")
		if applied, err := broken.Up(t.Context(), d); err == nil || len(applied) != 0 {
			t.Errorf("applied %v: %v", applied, err)
		}
		versions(t, broken, d, 1, 2)
		var n int
		if err := d.QueryRow(t.Context(), "SELECT COUNT(*) FROM two").Scan(&n); err == nil {
			t.Error("half of a migration stayed")
		}
		if applied := up(t, set(stepOne, stepTwo), d); !slices.Equal(applied, []int64{2}) {
			t.Errorf("after the repair applied %v", applied)
		}
	})
}

func TestReplicasThatStartTogetherTakeTurns(t *testing.T) {
	t.Parallel()
	address := empty(t, db.PostgreSQL)
	const replicas = 4
	var all sync.WaitGroup
	var mu sync.Mutex
	var applied []int64
	for range replicas {
		d := open(t, address)
		all.Go(func() {
			done, err := db.Migrations{Files: migrations.Files}.Up(context.WithoutCancel(t.Context()), d)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			applied = append(applied, done...)
		})
	}
	all.Wait()
	slices.Sort(applied)
	files, err := fs.Glob(migrations.Files, "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	var want []int64
	for i := range files {
		want = append(want, int64(i+1))
	}
	if !slices.Equal(applied, want) {
		t.Errorf("together they applied %v, want each of %v once", applied, want)
	}
}

func TestTheFileIsCopiedBeforeItChanges(t *testing.T) {
	t.Parallel()
	d := open(t, empty(t, db.SQLite))
	path := d.(*db.Lite).Path()
	copies := func() []string {
		list, err := filepath.Glob(path + ".before-*")
		if err != nil {
			t.Fatal(err)
		}
		for i := range list {
			list[i] = filepath.Base(list[i])
		}
		return list
	}
	up(t, set(stepOne), d)
	up(t, set(stepOne), d)
	if got := copies(); len(got) != 0 {
		t.Errorf("copies %q where there was nothing to lose", got)
	}
	exec(t, d, "INSERT INTO one (raw) VALUES ($1)", []byte("kept"))
	// What a start left that was killed while it copied.
	if err := os.WriteFile(path+".before-2.partial", []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := set(stepOne, "-- +goose Up\nINSERT INTO nowhere VALUES (1);\n")
	if _, err := broken.Up(t.Context(), d); err == nil {
		t.Fatal("the broken migration went through")
	}
	exec(t, d, "INSERT INTO one (raw) VALUES ($1)", []byte("written after the copy"))
	up(t, set(stepOne, stepTwo), d)
	if got := copies(); !slices.Equal(got, []string{"empty.db.before-2"}) {
		t.Fatalf("copies %q", got)
	}
	before := open(t, "sqlite://"+path+".before-2")
	versions(t, set(stepOne, stepTwo), before, 1, 2)
	var raw []byte
	var rows int
	if err := before.QueryRow(t.Context(), "SELECT MIN(raw), COUNT(*) FROM one").Scan(&raw, &rows); err != nil || string(raw) != "kept" || rows != 1 {
		t.Errorf("the copy holds %q in %d rows, %v: it should be the one from before the first try", raw, rows, err)
	}
	// An operator who goes back to it can come forward again.
	up(t, set(stepOne, stepTwo), before)
}

func TestEveryMigrationCanBeUndone(t *testing.T) {
	eachEmpty(t, func(t *testing.T, d db.DB) {
		m := db.Migrations{Files: migrations.Files}
		first := up(t, m, d)
		before := schema(t, d)
		if len(before) < 10 {
			t.Fatalf("only %d tables", len(before))
		}
		if err := m.DownAll(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if left := schema(t, d); len(left) != 0 {
			t.Errorf("left after going down: %v", left)
		}
		if second := up(t, m, d); !slices.Equal(first, second) {
			t.Errorf("applied %v the first time, %v the second", first, second)
		}
		if diff := cmp.Diff(before, schema(t, d)); diff != "" {
			t.Errorf("the schema after going down and up (-first +second):\n%s", diff)
		}
	})
}

// The migrations are written once. What the replacement of words makes of them must be the same schema.
func TestBothEnginesGetOneSchema(t *testing.T) {
	t.Parallel()
	m := db.Migrations{Files: migrations.Files}
	lite, postgres := open(t, empty(t, db.SQLite)), open(t, empty(t, db.PostgreSQL))
	up(t, m, lite)
	up(t, m, postgres)
	if diff := cmp.Diff(schema(t, postgres), schema(t, lite)); diff != "" {
		t.Errorf("(-postgres +sqlite)\n%s", diff)
	}
}

type table struct{ Columns, Indexes []string }

// schema describes all tables of the migrations in words of PostgreSQL.
func schema(t *testing.T, d db.DB) map[string]table {
	t.Helper()
	list := func(sql string, args ...any) []string {
		rows, err := d.Query(t.Context(), sql, args...)
		found, err := db.Collect(rows, err, func(r db.Row) (s string, err error) { return s, r.Scan(&s) })
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	columns := `SELECT column_name || ' ' || CASE data_type WHEN 'timestamp with time zone' THEN 'timestamptz' ELSE data_type END
			|| CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END || CASE WHEN column_default IS NULL THEN '' ELSE ' default ' || REPLACE(LOWER(column_default), '::text', '') END
		FROM information_schema.columns WHERE table_schema = 'public' AND table_name = $1 ORDER BY ordinal_position`
	tables := `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%' AND table_name <> 'probe'`
	// Indexes that a constraint makes have other names on each engine; their columns count.
	indexes := `SELECT CASE WHEN c.conname IS NULL THEN i.relname ELSE '' END || CASE WHEN x.indisunique THEN ' unique' ELSE '' END || ' (' ||
			(SELECT STRING_AGG(a.attname, ', ' ORDER BY k.n) FROM UNNEST(x.indkey) WITH ORDINALITY AS k (attnum, n) JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = k.attnum) || ')'
			|| CASE WHEN x.indpred IS NULL THEN '' ELSE ' partial' END
		FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u')
		WHERE t.relname = $1 AND NOT (c.contype IS NOT DISTINCT FROM 'p' AND x.indnatts = 1)`
	if d.Engine() == db.SQLite {
		columns = `SELECT name || ' ' || CASE LOWER(type) WHEN 'blob' THEN 'bytea' ELSE CASE WHEN pk = 1 AND type = 'INTEGER' THEN 'bigint' ELSE LOWER(type) END END
				|| CASE WHEN "notnull" OR pk THEN ' not null' ELSE '' END || CASE WHEN dflt_value IS NULL THEN '' ELSE ' default ' || LOWER(dflt_value) END
			FROM pragma_table_info($1) ORDER BY cid`
		tables = `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite_%' AND name <> 'probe'`
		indexes = `SELECT CASE l.origin WHEN 'c' THEN l.name ELSE '' END || CASE WHEN l."unique" THEN ' unique' ELSE '' END || ' (' ||
				(SELECT GROUP_CONCAT(name, ', ') FROM (SELECT name FROM pragma_index_info(l.name) ORDER BY seqno)) || ')' || CASE WHEN l.partial THEN ' partial' ELSE '' END
			FROM pragma_index_list($1) AS l WHERE NOT (l.origin = 'pk' AND (SELECT COUNT(*) FROM pragma_index_info(l.name)) = 1)`
	}
	found := map[string]table{}
	for _, name := range list(tables) {
		tt := table{list(columns, name), list(indexes, name)}
		slices.Sort(tt.Indexes)
		found[name] = tt
	}
	return found
}
