// Package cases keeps what a person has to look at. A capability opens a case in the transaction that finds the reason, and closes
// it when the reason is gone; an operator closes what only a person can settle.
package cases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// ErrNoCase says that no open case has the id.
var ErrNoCase = errors.New("no open case has this number")

// Case is something that a person has to look at.
type Case struct {
	ID       int64     `json:"id"`
	Kind     string    `json:"kind"`    // begins with the name of its capability: kyc_revocation
	Subject  string    `json:"subject"` // what it is about, as its capability names it; no personal data
	Detail   string    `json:"detail"`  // for staff only
	OpenedAt time.Time `json:"opened_at"`
}

// Book is where the cases of all capabilities are.
type Book struct {
	db    db.DB
	clock clock.Clock
}

// NewBook opens the book of a database.
func NewBook(d db.DB, c clock.Clock) Book { return Book{d, c} }

// Open opens a case of a kind about a subject, unless there is one: then nothing changes, and isNew is false. ID and OpenedAt are given
// to it here.
func (b Book) Open(ctx context.Context, tx db.Tx, c Case) (isNew bool, err error) {
	n, err := tx.Exec(ctx, `INSERT INTO operator_cases (kind, subject, detail, opened_at, is_open) VALUES ($1, $2, $3, $4, 1)
		ON CONFLICT DO NOTHING`, c.Kind, c.Subject, c.Detail, b.clock.Now())
	return n == 1, err
}

// Keep opens a case of a kind about a subject, or brings the detail of the open one up to date. The case stays locked until tx ends:
// whoever closes it meanwhile waits, or this one waits and opens another.
func (b Book) Keep(ctx context.Context, tx db.Tx, c Case) error {
	_, err := tx.Exec(ctx, `INSERT INTO operator_cases (kind, subject, detail, opened_at, is_open) VALUES ($1, $2, $3, $4, 1)
		ON CONFLICT (kind, subject, is_open) DO UPDATE SET detail = excluded.detail`, c.Kind, c.Subject, c.Detail, b.clock.Now())
	return err
}

// Lock keeps an open case as it is until tx ends, so that what it depends on can be looked at before it is closed. It tells whether there
// is one.
func (b Book) Lock(ctx context.Context, tx db.Tx, kind, subject string) (open bool, err error) {
	var id int64
	err = tx.QueryRow(ctx, `SELECT id FROM operator_cases WHERE kind = $1 AND subject = $2 AND is_open = 1`+db.ForUpdate(tx), kind, subject).Scan(&id)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// Close closes the open cases about a subject, of some kinds or, if none is named, of all, and tells how many there were. Capabilities
// share the subjects that none of them has made, such as the name of a provider: there the kind must be named.
func (b Book) Close(ctx context.Context, tx db.Tx, subject string, kinds ...string) (closed int64, err error) {
	args := []any{subject, b.clock.Now()}
	return tx.Exec(ctx, `UPDATE operator_cases SET closed_at = $2, is_open = NULL WHERE subject = $1 AND is_open = 1`+among(kinds, &args), args...)
}

// CloseByID closes one case, for an operator, and returns it. Of two that do it at once only one succeeds. ErrNoCase if it is not open.
func (b Book) CloseByID(ctx context.Context, tx db.Tx, id int64) (Case, error) {
	c, err := scanCase(tx.QueryRow(ctx, `UPDATE operator_cases SET closed_at = $2, is_open = NULL WHERE id = $1 AND is_open = 1
		RETURNING id, kind, subject, detail, opened_at`, id, b.clock.Now()))
	if errors.Is(err, db.ErrNoRows) {
		err = ErrNoCase
	}
	return c, err
}

// Filter chooses open cases for a list.
type Filter struct {
	Kinds []string // none: all
	After int64    // only greater ids, for the next page
	Limit int      // at most MaxList; 0: MaxList
}

// MaxList is how many cases a list has at most.
const MaxList = 1000

// List lists open cases, oldest first.
func (b Book) List(ctx context.Context, f Filter) ([]Case, error) {
	if f.Limit <= 0 || f.Limit > MaxList {
		f.Limit = MaxList
	}
	args := []any{f.After, f.Limit}
	rows, err := b.db.Query(ctx, `SELECT id, kind, subject, detail, opened_at FROM operator_cases WHERE is_open = 1 AND id > $1`+among(f.Kinds, &args)+` ORDER BY id LIMIT $2`, args...)
	return db.Collect(rows, err, scanCase)
}

// Count counts the open cases of each kind that has any.
func (b Book) Count(ctx context.Context) (map[string]int64, error) {
	open := map[string]int64{}
	rows, err := b.db.Query(ctx, `SELECT kind, COUNT(*) FROM operator_cases WHERE is_open = 1 GROUP BY kind`)
	_, err = db.Collect(rows, err, func(row db.Row) (kind string, err error) {
		var n int64
		err = row.Scan(&kind, &n)
		open[kind] = n
		return kind, err
	})
	return open, err
}

func scanCase(row db.Row) (c Case, err error) {
	err = row.Scan(&c.ID, &c.Kind, &c.Subject, &c.Detail, &c.OpenedAt)
	return c, err
}

// among restricts a statement to some kinds and adds them to its arguments.
func among(kinds []string, args *[]any) string {
	if len(kinds) == 0 {
		return ""
	}
	marks := make([]string, len(kinds))
	for i, kind := range kinds {
		*args = append(*args, kind)
		marks[i] = fmt.Sprintf("$%d", len(*args))
	}
	return " AND kind IN (" + strings.Join(marks, ", ") + ")"
}
