package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/migrations"
)

var schema = db.Migrations{Files: migrations.Files}

// SchemaVersions are the version that the database is at and the one that this program needs.
func SchemaVersions(ctx context.Context, d db.DB) (current, needed int64, err error) {
	current, needed, err = schema.Versions(ctx, d)
	if err != nil {
		return 0, 0, fmt.Errorf("schema of the database: %w", err)
	}
	return current, needed, nil
}

// Migrate brings the database up to date and returns the versions that were applied. A database of a newer release is
// refused with db.ErrNewerSchema.
func Migrate(ctx context.Context, d db.DB) (applied []int64, err error) {
	applied, err = schema.Up(ctx, d)
	if err != nil {
		return applied, fmt.Errorf("migrate: %w", err)
	}
	if err := jobs.Migrate(ctx, d); err != nil {
		return applied, err
	}
	return applied, ledger.Protect(ctx, d)
}

// Grant gives a role of PostgreSQL the rights that serving takes: all rows may be read and written, and what is append-only may be
// added to and nothing else. The role owns nothing, so that it cannot give itself more. Whoever calls must own the tables; to
// call it again after each migration gives the role its rights on new tables. Errors: ErrNoRoles.
func Grant(ctx context.Context, d db.DB, role string) error {
	if d.Engine() != db.PostgreSQL {
		return ErrNoRoles
	}
	err := d.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		var quoted, space string
		if err := tx.QueryRow(ctx, `SELECT quote_ident($1), quote_ident(current_schema())`, role).Scan(&quoted, &space); err != nil {
			return err
		}
		for _, statement := range []string{
			`GRANT USAGE ON SCHEMA ` + space + ` TO ` + quoted,
			`GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ` + space + ` TO ` + quoted,
			`GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA ` + space + ` TO ` + quoted,
			`REVOKE UPDATE, DELETE ON ` + strings.Join(append([]string{"audit_log"}, ledger.AppendOnly...), ", ") + ` FROM ` + quoted,
		} {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("rights of role %q: %w", role, err)
	}
	return nil
}

// ErrNoRoles says that the database knows no roles: SQLite.
var ErrNoRoles = errors.New("SQLite has no roles: whoever can write the file can change it")

// checkSchema refuses a database whose schema is not that of this program.
func checkSchema(ctx context.Context, d db.DB) error {
	current, needed, err := SchemaVersions(ctx, d)
	switch {
	case err != nil:
		return err
	case current > needed:
		return fmt.Errorf("%w: schema %d, known %d", db.ErrNewerSchema, current, needed)
	case current < needed:
		return fmt.Errorf("%w: schema %d, needed %d", ErrOlderSchema, current, needed)
	}
	return nil
}

// ErrOlderSchema says that the database has not been migrated for this release.
var ErrOlderSchema = errors.New("the database has to be brought up to date first: comecomepay migrate")
