package db

import (
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"
)

// ErrRunAgain has RunTx take the transaction back and run it again: what it found has changed under it.
var ErrRunAgain = errors.New("run the transaction again")

// ErrNoRows says that a query of one row found none.
var ErrNoRows = errors.New("no rows")

type uniqueViolation struct{ cause error }

func (e uniqueViolation) Error() string { return "unique violation: " + e.cause.Error() }
func (e uniqueViolation) Unwrap() error { return e.cause }

// IsUniqueViolation tells whether a statement failed because a unique index already holds the key.
func IsUniqueViolation(err error) bool {
	var u uniqueViolation
	return errors.As(err, &u)
}

// IsLockTimeout tells whether a statement has waited in vain for a row that somebody else has locked, see LimitLockWait.
func IsLockTimeout(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == stateLockNotAvailable
}

// SQLSTATE codes of PostgreSQL, appendix A.
const (
	stateSerializationFailure = "40001"
	stateDeadlock             = "40P01"
	stateUniqueViolation      = "23505"
	stateLockNotAvailable     = "55P03"
)

// neutral turns a driver's error into this package's where there is one.
func neutral(err error) error {
	var pg *pgconn.PgError
	var lite *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows), errors.Is(err, sql.ErrNoRows):
		return ErrNoRows
	case errors.As(err, &pg) && pg.Code == stateUniqueViolation:
		// The detail of a unique violation repeats the key, which may be personal data.
		return uniqueViolation{errors.New("constraint " + pg.ConstraintName)}
	case errors.As(err, &lite) && (lite.Code() == sqlitelib.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY):
		return uniqueViolation{err}
	}
	return err
}

// retryable tells whether the same transaction may succeed when it is run again.
func retryable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == stateSerializationFailure || pg.Code == stateDeadlock
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		// The extended code keeps the primary one in its low byte.
		return lite.Code()&0xff == sqlitelib.SQLITE_BUSY
	}
	return errors.Is(err, ErrRunAgain)
}
