package pokepay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Times are unix microseconds, the resolution of clock.Clock.
const schema = `
CREATE TABLE IF NOT EXISTS pokepay_settings (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS pokepay_foreign_emails (
	email TEXT PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS pokepay_rates (
	src  TEXT NOT NULL,
	dst  TEXT NOT NULL,
	rate TEXT NOT NULL,
	PRIMARY KEY (src, dst)
);
CREATE TABLE IF NOT EXISTS pokepay_kycs (
	id                INTEGER PRIMARY KEY AUTOINCREMENT,
	kind              TEXT    NOT NULL,
	agent_uid         TEXT    NOT NULL UNIQUE,
	email             TEXT    NOT NULL,
	email_key         TEXT    NOT NULL,
	first_en_name     TEXT    NOT NULL,
	last_en_name      TEXT    NOT NULL,
	birth_date        TEXT    NOT NULL,
	id_type           INTEGER NOT NULL,
	id_number         TEXT    NOT NULL,
	area_code         TEXT    NOT NULL,
	phone             TEXT    NOT NULL,
	address           TEXT    NOT NULL,
	city              TEXT    NOT NULL,
	state             TEXT    NOT NULL,
	post_code         TEXT    NOT NULL,
	bill_country_code TEXT    NOT NULL,
	status            INTEGER NOT NULL,
	reason            TEXT    NOT NULL,
	remark            TEXT    NOT NULL,
	approve_at        INTEGER,
	created_at        INTEGER NOT NULL,
	updated_at        INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS pokepay_kycs_email ON pokepay_kycs (email_key);
CREATE INDEX IF NOT EXISTS pokepay_kycs_id_number ON pokepay_kycs (id_number);
CREATE INDEX IF NOT EXISTS pokepay_kycs_approve_at ON pokepay_kycs (approve_at) WHERE approve_at IS NOT NULL;
-- One row for each init call that was answered with a session, which is what the agent is billed for.
CREATE TABLE IF NOT EXISTS pokepay_sessions (
	session_id TEXT    PRIMARY KEY,
	kyc_id     INTEGER NOT NULL REFERENCES pokepay_kycs (id),
	opened_at  INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS pokepay_sessions_kyc ON pokepay_sessions (kyc_id);
CREATE TABLE IF NOT EXISTS pokepay_callbacks (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	kyc_id     INTEGER NOT NULL REFERENCES pokepay_kycs (id),
	body       TEXT    NOT NULL,
	state      TEXT    NOT NULL,
	forged     INTEGER NOT NULL,
	attempts   INTEGER NOT NULL,
	due_at     INTEGER NOT NULL,
	last_error TEXT    NOT NULL,
	created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS pokepay_callbacks_open ON pokepay_callbacks (state, due_at) WHERE state IN ('waiting', 'held');
`

// querier is a pool or a transaction. The pool has one connection: inside a transaction only the
// transaction may be asked, or the caller waits for itself.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *Simulator) inTx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// keepSetting stores value under name unless there is one already, and returns the one that is kept.
func keepSetting(ctx context.Context, q querier, name, value string) (kept string, err error) {
	if _, err = q.ExecContext(ctx, `INSERT INTO pokepay_settings (name, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, value); err != nil {
		return "", err
	}
	err = q.QueryRowContext(ctx, `SELECT value FROM pokepay_settings WHERE name = $1`, name).Scan(&kept)
	return kept, err
}

// kind is the way a KYC came in.
type kind string

const (
	hosted kind = "hosted" // through a Didit page of the issuer's (provider/pokepay.md 3.1)
	self   kind = "self"   // documents handed over by the agent (3.2)
)

// application is a cardholder's KYC as the issuer keeps it.
type application struct {
	id              int64
	kind            kind
	agentUID        string
	email           string
	firstEnName     string
	lastEnName      string
	birthDate       string // YYYY-MM-DD
	idType          int64
	idNumber        string
	areaCode        string
	phone           string
	address         string
	city            string
	state           string
	postCode        string
	billCountryCode string
	status          int
	reason          string
	remark          string
	approveAt       sql.NullInt64
	created         time.Time
	updated         time.Time

	sessionID string // the newest
	initCalls int64  // sessions opened, each of them billed
}

const selectApplication = `SELECT k.id, k.kind, k.agent_uid, k.email, k.first_en_name, k.last_en_name, k.birth_date, k.id_type,
	k.id_number, k.area_code, k.phone, k.address, k.city, k.state, k.post_code, k.bill_country_code, k.status, k.reason,
	k.remark, k.approve_at, k.created_at, k.updated_at,
	coalesce((SELECT session_id FROM pokepay_sessions WHERE kyc_id = k.id ORDER BY rowid DESC LIMIT 1), ''),
	(SELECT count(*) FROM pokepay_sessions WHERE kyc_id = k.id)
	FROM pokepay_kycs k `

func scanApplication(row interface{ Scan(...any) error }) (application, error) {
	var a application
	var created, updated int64
	err := row.Scan(&a.id, &a.kind, &a.agentUID, &a.email, &a.firstEnName, &a.lastEnName, &a.birthDate, &a.idType,
		&a.idNumber, &a.areaCode, &a.phone, &a.address, &a.city, &a.state, &a.postCode, &a.billCountryCode, &a.status,
		&a.reason, &a.remark, &a.approveAt, &created, &updated, &a.sessionID, &a.initCalls)
	a.created, a.updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	return a, err
}

// filter selects applications; zero fields select all.
type filter struct {
	id                     int64
	agentUID               string
	sessionID              string // any that was opened for it
	email                  string
	status                 int
	createdFrom, createdTo int64 // unix seconds, both included
}

func (f filter) where() (clause string, args []any) {
	var terms []string
	add := func(term string, arg any) {
		args = append(args, arg)
		terms = append(terms, fmt.Sprintf(term, len(args)))
	}
	if f.id != 0 {
		add("k.id = $%d", f.id)
	}
	if f.agentUID != "" {
		add("k.agent_uid = $%d", f.agentUID)
	}
	if f.sessionID != "" {
		add("k.id = (SELECT kyc_id FROM pokepay_sessions WHERE session_id = $%d)", f.sessionID)
	}
	if f.email != "" {
		add("k.email_key = $%d", emailKey(f.email))
	}
	if f.status != 0 {
		add("k.status = $%d", f.status)
	}
	if f.createdFrom != 0 {
		add("k.created_at >= $%d", f.createdFrom*1_000_000)
	}
	if f.createdTo != 0 {
		add("k.created_at < $%d", (f.createdTo+1)*1_000_000)
	}
	if len(terms) == 0 {
		return "", nil
	}
	return "WHERE " + strings.Join(terms, " AND "), args
}

// applications lists the newest first; limit 0 is all of them.
func applications(ctx context.Context, q querier, f filter, limit, offset int) ([]application, error) {
	clause, args := f.where()
	query := selectApplication + clause + " ORDER BY k.id DESC"
	if limit > 0 {
		query += fmt.Sprintf(" LIMIT %d OFFSET %d", limit, offset)
	}
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []application{}
	for rows.Next() {
		a, err := scanApplication(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

func countApplications(ctx context.Context, q querier, f filter) (n int64, err error) {
	clause, args := f.where()
	err = q.QueryRowContext(ctx, "SELECT count(*) FROM pokepay_kycs k "+clause, args...).Scan(&n)
	return n, err
}

// findApplication returns the newest that the filter selects, or ErrUnknownKYC.
func findApplication(ctx context.Context, q querier, f filter) (application, error) {
	clause, args := f.where()
	a, err := scanApplication(q.QueryRowContext(ctx, selectApplication+clause+" ORDER BY k.id DESC LIMIT 1", args...))
	if errors.Is(err, sql.ErrNoRows) {
		return application{}, ErrUnknownKYC
	}
	return a, err
}

// insertApplication stores a new application and returns its id.
func insertApplication(ctx context.Context, q querier, a application) (id int64, err error) {
	err = q.QueryRowContext(ctx, `INSERT INTO pokepay_kycs (kind, agent_uid, email, email_key, first_en_name, last_en_name,
		birth_date, id_type, id_number, area_code, phone, address, city, state, post_code, bill_country_code, status, reason,
		remark, approve_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22) RETURNING id`,
		a.kind, a.agentUID, a.email, emailKey(a.email), a.firstEnName, a.lastEnName, a.birthDate, a.idType, a.idNumber,
		a.areaCode, a.phone, a.address, a.city, a.state, a.postCode, a.billCountryCode, a.status, a.reason, a.remark,
		a.approveAt, a.created.UnixMicro(), a.updated.UnixMicro()).Scan(&id)
	return id, err
}

// updateApplication writes what may change after the application was made.
func updateApplication(ctx context.Context, q querier, a application) error {
	_, err := q.ExecContext(ctx, `UPDATE pokepay_kycs SET email = $1, email_key = $2, first_en_name = $3, last_en_name = $4,
		area_code = $5, phone = $6, address = $7, city = $8, state = $9, post_code = $10, bill_country_code = $11,
		status = $12, reason = $13, remark = $14, approve_at = $15, updated_at = $16 WHERE id = $17`,
		a.email, emailKey(a.email), a.firstEnName, a.lastEnName, a.areaCode, a.phone, a.address, a.city, a.state, a.postCode,
		a.billCountryCode, a.status, a.reason, a.remark, a.approveAt, a.updated.UnixMicro(), a.id)
	return err
}

// emailKey is the form in which addresses are compared.
func emailKey(email string) string { return strings.ToLower(strings.TrimSpace(email)) }
