package app

import (
	"context"
	"errors"
	"fmt"

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
	return applied, jobs.Migrate(ctx, d)
}

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
