// Package dbtest opens migrated databases for tests: every test of a store runs on both engines.
package dbtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/migrations"
)

// Variable names the PostgreSQL server for tests: an address of a role that may create databases.
const Variable = "CCP_TEST_POSTGRES_URL"

// Each runs test once per engine, on an empty migrated database of its own.
func Each(t *testing.T, test func(t *testing.T, d db.DB)) {
	t.Helper()
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			d, err := db.Open(t.Context(), URL(t, engine), db.Options{MaxConns: 16})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = d.Close() })
			test(t, d)
		})
	}
}

// URL is the address of an empty migrated database, which is removed when the test ends.
func URL(t testing.TB, engine db.Engine) string {
	t.Helper()
	if engine == db.SQLite {
		return sqliteURL(t)
	}
	return postgresURL(t)
}

var sqliteTemplate = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "ccp-template")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "template.db")
	if err := migrate("sqlite://" + path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func sqliteURL(t testing.TB) string {
	content, err := sqliteTemplate()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "test.db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite://" + path
}

// One template per process, since packages are tested in parallel. Nothing tells when the process ends: whoever comes
// later removes what is left over.
var postgresTemplate = sync.OnceValues(func() (string, error) {
	removeOld()
	name := newName("template")
	if err := admin("CREATE DATABASE " + name); err != nil {
		return "", err
	}
	return name, migrate(address(name))
})

// newName is the name of a database that says when it was made.
func newName(kind string) string {
	return fmt.Sprintf("ccp_%s_at_%d_%s", kind, time.Now().Unix(), random())
}

// tooOld is longer than any run of tests.
const tooOld = 2 * time.Hour

// removeOld drops databases of runs that ended long ago. It is only tidying: others may do the same at this moment.
func removeOld() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := db.Open(ctx, os.Getenv(Variable), db.Options{MaxConns: 1})
	if err != nil {
		return // the caller is about to find out why
	}
	defer d.Close()
	rows, err := d.Query(ctx, "SELECT datname FROM pg_database WHERE datname LIKE 'ccp%at%'")
	names, err := db.Collect(rows, err, func(r db.Row) (name string, err error) { return name, r.Scan(&name) })
	if err != nil {
		return
	}
	for _, name := range names {
		if made := madeAt.FindStringSubmatch(name); made != nil {
			if unix, err := strconv.ParseInt(made[1], 10, 64); err == nil && time.Since(time.Unix(unix, 0)) > tooOld {
				_, _ = d.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
			}
		}
	}
}

var madeAt = regexp.MustCompile(`^ccp_(?:template|test)_at_([0-9]+)_[0-9a-f]+$`)

func postgresURL(t testing.TB) string {
	t.Helper()
	if os.Getenv(Variable) == "" {
		t.Fatalf("%s is not set: tests need a PostgreSQL server; run ./test, which installs and starts one", Variable)
	}
	template, err := postgresTemplate()
	if err != nil {
		t.Fatal(err)
	}
	name := newName("test")
	if err := admin("CREATE DATABASE " + name + " TEMPLATE " + template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)") })
	return address(name)
}

func address(database string) string {
	u, err := url.Parse(os.Getenv(Variable))
	if err != nil {
		panic(Variable + " is not an address")
	}
	u.Path = "/" + database
	return u.String()
}

// Creating databases from one template excludes each other: one at a time.
var adminLock sync.Mutex

func admin(statement string) error {
	adminLock.Lock()
	defer adminLock.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := db.Open(ctx, os.Getenv(Variable), db.Options{MaxConns: 1})
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.Exec(ctx, statement)
	return err
}

func migrate(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	d, err := db.Open(ctx, address, db.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := (db.Migrations{Files: migrations.Files}).Up(ctx, d); err != nil {
		return err
	}
	return jobs.Migrate(ctx, d)
}

func random() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
