package db

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// ErrNewerSchema says that the database was migrated by a newer release than this one.
var ErrNewerSchema = errors.New("the database belongs to a newer release than this program")

// sqliteWords is the whole difference between the engines in the migrations: they are written for PostgreSQL,
// and these words are replaced for SQLite.
var sqliteWords = strings.NewReplacer(
	"BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT",
	"TIMESTAMPTZ", "TIMESTAMP",
	"BYTEA", "BLOB",
)

// Migrations are a set of SQL files, named NNNNN_what.sql, in the form of goose.
type Migrations struct{ Files fs.FS }

// Versions returns the version the database is at and the one that this program needs. It only reads: goose itself would make
// its table first.
func (m Migrations) Versions(ctx context.Context, d DB) (current, needed int64, err error) {
	err = m.with(d, func(p *goose.Provider) error {
		for _, s := range p.ListSources() {
			needed = max(needed, s.Version)
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	versioned := `SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = $1`
	if d.Engine() == PostgreSQL {
		versioned = `SELECT COUNT(to_regclass($1::text))`
	}
	var tables int
	if err := d.QueryRow(ctx, versioned, goose.DefaultTablename).Scan(&tables); err != nil || tables == 0 {
		return 0, needed, err
	}
	err = d.QueryRow(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM `+goose.DefaultTablename).Scan(&current)
	return current, needed, err
}

// Up brings the schema up to date and returns the versions that were applied. Replicas that start together
// take turns. A SQLite file is copied before it is changed.
func (m Migrations) Up(ctx context.Context, d DB) (applied []int64, err error) {
	err = m.with(d, func(p *goose.Provider) error {
		current, needed, err := p.GetVersions(ctx)
		if err != nil {
			return err
		}
		if current > needed {
			return fmt.Errorf("%w: schema %d, known %d", ErrNewerSchema, current, needed)
		}
		if lite, ok := d.(*Lite); ok && current > 0 && current < needed {
			if err := lite.copyBefore(ctx, needed); err != nil {
				return err
			}
		}
		done, err := p.Up(ctx)
		for _, r := range done {
			applied = append(applied, r.Source.Version)
		}
		return err
	})
	return applied, err
}

func (m Migrations) with(d DB, fn func(*goose.Provider) error) error {
	var handle *sql.DB
	var dialect goose.Dialect
	files := m.Files
	opts := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true)}
	switch e := d.(type) {
	case *Postgres:
		handle, dialect = stdlib.OpenDBFromPool(e.pool), goose.DialectPostgres
		defer handle.Close()
		// A replica asks four times a second, for five minutes, whether another one's migrations are done.
		locker, err := lock.NewPostgresTableLocker(lock.WithTableLockTimeout(250*time.Millisecond, 1200))
		if err != nil {
			return err
		}
		opts = append(opts, goose.WithLocker(locker))
	case *Lite:
		handle, dialect, files = e.writer, goose.DialectSQLite3, sqliteFS{m.Files}
	default:
		return fmt.Errorf("migrate: unknown engine %T", d)
	}
	p, err := goose.NewProvider(dialect, handle, files, opts...)
	if err != nil {
		return fmt.Errorf("migrations: %w", err)
	}
	return fn(p)
}

// copyBefore keeps a copy of the file beside it, named for the version that it is about to get.
func (l *Lite) copyBefore(ctx context.Context, version int64) error {
	target := fmt.Sprintf("%s.before-%d", l.path, version)
	if _, err := os.Stat(target); err == nil {
		return nil // from an earlier try; it is the older, hence the better one
	}
	// Written under another name first: a copy that was cut short must not pass for a whole one.
	partial := target + ".partial"
	if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("copy database before migration: %w", err)
	}
	if _, err := l.writer.ExecContext(ctx, "VACUUM INTO $1", partial); err != nil {
		return fmt.Errorf("copy database before migration: %w", err)
	}
	if err := os.Rename(partial, target); err != nil {
		return fmt.Errorf("copy database before migration: %w", err)
	}
	return nil
}

// sqliteFS shows the migrations in SQLite's words.
type sqliteFS struct{ fs.FS }

func (f sqliteFS) Open(name string) (fs.File, error) {
	file, err := f.FS.Open(name)
	if err != nil || !strings.HasSuffix(name, ".sql") {
		return file, err
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return &textFile{Reader: bytes.NewReader([]byte(sqliteWords.Replace(string(text)))), name: name}, nil
}

func (f sqliteFS) Glob(pattern string) ([]string, error) { return fs.Glob(f.FS, pattern) }

type textFile struct {
	*bytes.Reader
	name string
}

func (f *textFile) Stat() (fs.FileInfo, error) { return f, nil }
func (f *textFile) Close() error               { return nil }
func (f *textFile) Name() string               { return f.name }
func (f *textFile) Mode() fs.FileMode          { return 0o444 }
func (f *textFile) ModTime() time.Time         { return time.Time{} }
func (f *textFile) IsDir() bool                { return false }
func (f *textFile) Sys() any                   { return nil }
