package kyc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

const recordColumns = `r.id, r.user_id, r.agent_uid, r.channel, r.status, r.issuer_status, r.issuer_reason, r.reason_code, r.issuer_kyc_id,
	r.session_id, r.session_state, r.session_until, r.didit_status, r.submission, r.submitted_at, r.entered_at, r.deadline_at,
	r.asked_at, r.answered_at, r.next_poll_at, r.version, r.created_at, r.updated_at`

func scanRecord(row db.Row) (Record, error) {
	var r Record
	var issuerID *int64
	err := row.Scan(&r.ID, &r.UserID, &r.AgentUID, &r.Channel, &r.Status, &r.Issuer, &r.IssuerReason, &r.Reason, &issuerID,
		&r.SessionID, &r.SessionState, &r.SessionUntil, &r.Didit, &r.Submission, &r.SubmittedAt, &r.EnteredAt, &r.DeadlineAt,
		&r.AskedAt, &r.AnsweredAt, &r.NextPollAt, &r.Version, &r.CreatedAt, &r.UpdatedAt)
	if issuerID != nil {
		r.IssuerKYCID = *issuerID
	}
	return r, err
}

type store struct{ db db.DB }

// insert adds a new attempt. A second open one of the same customer is refused by the database.
func (s store) insert(ctx context.Context, tx db.Tx, r Record, applicant []byte) (id int64, err error) {
	err = tx.QueryRow(ctx, `INSERT INTO kyc_records (user_id, agent_uid, channel, status, is_open, session_state, session_until,
			applicant, entered_at, deadline_at, next_poll_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, 1, $5, $6, $7, $8, $9, $10, $8, $8) RETURNING id`,
		r.UserID, r.AgentUID, r.Channel, r.Status, r.SessionState, r.SessionUntil, applicant, r.EnteredAt, r.DeadlineAt, r.NextPollAt).Scan(&id)
	return id, err
}

// lock reads a record for change. The customer must be locked before: customers first, then their records.
func (s store) lock(ctx context.Context, tx db.Tx, id int64) (Record, error) {
	return scanRecord(tx.QueryRow(ctx, `SELECT `+recordColumns+` FROM kyc_records r WHERE r.id = $1`+db.ForUpdate(tx), id))
}

func (s store) find(ctx context.Context, q db.Querier, id int64) (Record, error) {
	return scanRecord(q.QueryRow(ctx, `SELECT `+recordColumns+` FROM kyc_records r WHERE r.id = $1`, id))
}

func (s store) findByAgentUID(ctx context.Context, q db.Querier, agentUID string) (Record, error) {
	return scanRecord(q.QueryRow(ctx, `SELECT `+recordColumns+` FROM kyc_records r WHERE r.agent_uid = $1`, agentUID))
}

// currentRecord is the record that speaks for customer $1: the approved one, else the newest (contract/money 10.4 rules 1 and 2).
const currentRecord = `kyc_records r WHERE r.user_id = $1 ORDER BY CASE r.status WHEN 'approved' THEN 0 ELSE 1 END, r.id DESC LIMIT 1`

// current is the record that speaks for the customer; db.ErrNoRows if there is none.
func (s store) current(ctx context.Context, q db.Querier, userID int64) (Record, error) {
	return scanRecord(q.QueryRow(ctx, `SELECT `+recordColumns+` FROM `+currentRecord, userID))
}

// statusQuery answers GET /didit/status in one round trip: whether the session stands, and the record that speaks for its customer.
// It is the query that is asked most. A missing record comes as zeros rather than NULLs: they are cheaper to read.
const statusQuery = `SELECT ` + identity.StandingColumns + `, COALESCE(c.id, 0), COALESCE(c.agent_uid, ''), COALESCE(c.status, ''),
	COALESCE(c.issuer_status, 0), COALESCE(c.issuer_reason, ''), COALESCE(c.reason_code, ''), c.asked_at, c.created_at, c.updated_at
	FROM ` + identity.StandingFrom + ` LEFT JOIN (SELECT r.id, r.agent_uid, r.status, r.issuer_status, r.issuer_reason, r.reason_code,
		r.asked_at, r.created_at, r.updated_at FROM ` + currentRecord + `) c ON TRUE`

// standing reads what statusQuery finds. The record's ID is 0 if the customer has never tried; otherwise it has what an
// answer needs, and not more.
func (s store) standing(ctx context.Context, c identity.Customer) (identity.Standing, Record, error) {
	var st identity.Standing
	var created, updated *time.Time
	r := Record{UserID: c.ID}
	dest := append(st.Dest(), &r.ID, &r.AgentUID, (*string)(&r.Status), (*int)(&r.Issuer), &r.IssuerReason, (*string)(&r.Reason),
		&r.AskedAt, &created, &updated)
	if err := s.db.QueryRow(ctx, statusQuery, c.ID, c.SessionID).Scan(dest...); err != nil {
		return st, r, err
	}
	if r.ID != 0 {
		r.CreatedAt, r.UpdatedAt = *created, *updated
	}
	return st, r, nil
}

func (s store) surroundings(ctx context.Context, q db.Querier, r Record) (around Surroundings, err error) {
	var newer, approved int
	err = q.QueryRow(ctx, `SELECT u.kyc_blocked, COUNT(CASE WHEN k.id > $2 AND k.status <> 'cancelled' THEN 1 END),
			COUNT(CASE WHEN k.id <> $2 AND k.status = 'approved' THEN 1 END)
		FROM users u JOIN kyc_records k ON k.user_id = u.id WHERE u.id = $1 GROUP BY u.kyc_blocked`, r.UserID, r.ID).Scan(&around.Blocked, &newer, &approved)
	around.Newer, around.OtherApproved = newer > 0, approved > 0
	return around, err
}

// otherCardholders are the issuer's ids that belong to other attempts of the customer.
func (s store) otherCardholders(ctx context.Context, r Record) ([]int64, error) {
	rows, err := s.db.Query(ctx, `SELECT issuer_kyc_id FROM kyc_records WHERE user_id = $1 AND id <> $2 AND issuer_kyc_id IS NOT NULL`, r.UserID, r.ID)
	return db.Collect(rows, err, func(row db.Row) (id int64, err error) { return id, row.Scan(&id) })
}

func (s store) save(ctx context.Context, tx db.Tx, r Record) error {
	var open *int
	if r.Status.Open() {
		one := 1
		open = &one
	}
	var issuerID *int64
	if r.IssuerKYCID != 0 {
		issuerID = &r.IssuerKYCID
	}
	n, err := tx.Exec(ctx, `UPDATE kyc_records SET status = $2, is_open = $3, issuer_status = $4, issuer_reason = $5, reason_code = $6, issuer_kyc_id = $7,
			session_id = $8, session_state = $9, session_until = $10, didit_status = $11, submission = $12, submitted_at = $13,
			entered_at = $14, deadline_at = $15, asked_at = $16, answered_at = $17, next_poll_at = $18, updated_at = $19, version = version + 1
		WHERE id = $1 AND version = $20`,
		r.ID, r.Status, open, r.Issuer, r.IssuerReason, r.Reason, issuerID,
		r.SessionID, r.SessionState, r.SessionUntil, r.Didit, r.Submission, r.SubmittedAt,
		r.EnteredAt, r.DeadlineAt, r.AskedAt, r.AnsweredAt, r.NextPollAt, r.UpdatedAt, r.Version)
	if err == nil && n != 1 {
		err = fmt.Errorf("kyc record %d changed under its lock", r.ID)
	}
	return err
}

func (s store) sessionURL(ctx context.Context, q db.Querier, id int64) (sealed []byte, err error) {
	err = q.QueryRow(ctx, `SELECT session_url FROM kyc_records WHERE id = $1`, id).Scan(&sealed)
	return sealed, err
}

func (s store) saveSessionURL(ctx context.Context, tx db.Tx, id int64, sealed []byte) error {
	_, err := tx.Exec(ctx, `UPDATE kyc_records SET session_url = $2 WHERE id = $1`, id, sealed)
	return err
}

func (s store) applicant(ctx context.Context, q db.Querier, id int64) (sealed []byte, err error) {
	err = q.QueryRow(ctx, `SELECT applicant FROM kyc_records WHERE id = $1`, id).Scan(&sealed)
	return sealed, err
}

func (s store) saveApplicant(ctx context.Context, tx db.Tx, id int64, sealed []byte) error {
	_, err := tx.Exec(ctx, `UPDATE kyc_records SET applicant = $2 WHERE id = $1`, id, sealed)
	return err
}

// HistoryEntry is one line of a record's history. Why holds original texts: staff only.
type HistoryEntry struct {
	Kind      EventKind `json:"kind"`
	From      Status    `json:"from"`
	To        Status    `json:"to"`
	Source    Source    `json:"source"`
	Actor     string    `json:"actor,omitempty"`
	Why       string    `json:"why,omitempty"`
	MessageID int64     `json:"message_id,omitempty"`
	At        time.Time `json:"at"`
}

func (s store) appendEvent(ctx context.Context, tx db.Tx, recordID int64, from, to Status, e Event, why string, now time.Time) error {
	var message *int64
	if e.MessageID != 0 {
		message = &e.MessageID
	}
	_, err := tx.Exec(ctx, `INSERT INTO kyc_events (record_id, kind, from_status, to_status, source, actor, why, message_id, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, recordID, e.Kind, from, to, e.Source, e.Actor, why, message, now)
	return err
}

func (s store) history(ctx context.Context, q db.Querier, recordID int64) ([]HistoryEntry, error) {
	rows, err := q.Query(ctx, `SELECT kind, from_status, to_status, source, actor, why, COALESCE(message_id, 0), created_at
		FROM kyc_events WHERE record_id = $1 ORDER BY id`, recordID)
	return db.Collect(rows, err, func(row db.Row) (e HistoryEntry, err error) {
		err = row.Scan(&e.Kind, &e.From, &e.To, &e.Source, &e.Actor, &e.Why, &e.MessageID, &e.At)
		return e, err
	})
}

// countEvents counts a record's lines of one kind since a moment.
func (s store) countEvents(ctx context.Context, q db.Querier, recordID int64, kind EventKind, since time.Time) (n int, err error) {
	err = q.QueryRow(ctx, `SELECT COUNT(*) FROM kyc_events WHERE record_id = $1 AND kind = $2 AND created_at >= $3`, recordID, kind, since).Scan(&n)
	return n, err
}

// ofUser lists a customer's records, newest first.
func (s store) ofUser(ctx context.Context, q db.Querier, userID int64) ([]Record, error) {
	rows, err := q.Query(ctx, `SELECT `+recordColumns+` FROM kyc_records r WHERE r.user_id = $1 ORDER BY r.id DESC LIMIT 100`, userID)
	return db.Collect(rows, err, scanRecord)
}

// list is for operators: records by state, of one customer or of all (0), newest first, before a given id.
func (s store) list(ctx context.Context, statuses []Status, userID, before int64, limit int) ([]Record, error) {
	args := []any{before, limit}
	where := ""
	if userID != 0 {
		args = append(args, userID)
		where = " AND r.user_id = $3"
	}
	if len(statuses) > 0 {
		marks := make([]string, len(statuses))
		for i, st := range statuses {
			args = append(args, st)
			marks[i] = fmt.Sprintf("$%d", len(args))
		}
		where += " AND r.status IN (" + strings.Join(marks, ", ") + ")"
	}
	rows, err := s.db.Query(ctx, `SELECT `+recordColumns+` FROM kyc_records r WHERE r.id < $1`+where+` ORDER BY r.id DESC LIMIT $2`, args...)
	return db.Collect(rows, err, scanRecord)
}

// anyDue tells cheaply whether claimDue would find something.
func (s store) anyDue(ctx context.Context, now time.Time) (bool, error) {
	var one int
	err := s.db.QueryRow(ctx, `SELECT 1 FROM kyc_records WHERE next_poll_at IS NOT NULL AND next_poll_at <= $1 LIMIT 1`, now).Scan(&one)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// claimDue takes records whose time has come, so that no other replica does the same: their next time is put off until
// the claim runs out. Until the question is asked, nobody needs another.
func (s store) claimDue(ctx context.Context, tx db.Tx, now, until time.Time, limit int) ([]int64, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM kyc_records WHERE next_poll_at IS NOT NULL AND next_poll_at <= $1
		ORDER BY next_poll_at LIMIT $2`+db.SkipLocked(tx), now, limit)
	ids, err := db.Collect(rows, err, func(row db.Row) (id int64, err error) { err = row.Scan(&id); return id, err })
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, err := tx.Exec(ctx, `UPDATE kyc_records SET next_poll_at = $2, queued_at = $3 WHERE id = $1`, id, until, now); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// askSoon brings the next question to a provider forward to now, unless one is in the queue or was asked since notAfter.
func (s store) askSoon(ctx context.Context, tx db.Tx, id int64, now, notAfter time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE kyc_records SET next_poll_at = $2
		WHERE id = $1 AND status <> 'cancelled' AND queued_at IS NULL AND (next_poll_at IS NULL OR next_poll_at > $2) AND (asked_at IS NULL OR asked_at < $3)`,
		id, now, notAfter)
	return err
}

// askBy brings the next question to a provider forward to at, unless it comes earlier anyway or is in the queue.
func (s store) askBy(ctx context.Context, id int64, at time.Time) error {
	_, err := s.db.Exec(ctx, `UPDATE kyc_records SET next_poll_at = $2
		WHERE id = $1 AND status <> 'cancelled' AND queued_at IS NULL AND (next_poll_at IS NULL OR next_poll_at > $2)`, id, at)
	return err
}

func (s store) noteAsked(ctx context.Context, tx db.Tx, id int64, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE kyc_records SET asked_at = $2, queued_at = NULL WHERE id = $1`, id, now)
	return err
}

func (s store) neverAsk(ctx context.Context, tx db.Tx, id int64) error {
	_, err := tx.Exec(ctx, `UPDATE kyc_records SET next_poll_at = NULL, queued_at = NULL WHERE id = $1`, id)
	return err
}

// hasCaseOfCustomer tells whether a case of a kind is open about any attempt of a customer.
func (s store) hasCaseOfCustomer(ctx context.Context, tx db.Tx, kind string, userID int64) (bool, error) {
	var open int
	err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM operator_cases c JOIN kyc_records k ON k.agent_uid = c.subject
		WHERE c.kind = $1 AND c.is_open = 1 AND k.user_id = $2`, kind, userID).Scan(&open)
	return open > 0, err
}

// bySession lists records that a session may concern. A provider may give one session to two attempts: newest first.
func (s store) bySession(ctx context.Context, sessionID string) ([]Record, error) {
	rows, err := s.db.Query(ctx, `SELECT `+recordColumns+` FROM kyc_records r WHERE r.session_id = $1 AND r.session_id <> '' ORDER BY r.id DESC LIMIT 10`, sessionID)
	return db.Collect(rows, err, scanRecord)
}

func (s store) byIssuerID(ctx context.Context, id int64) ([]Record, error) {
	rows, err := s.db.Query(ctx, `SELECT `+recordColumns+` FROM kyc_records r WHERE r.issuer_kyc_id = $1 ORDER BY r.id DESC LIMIT 10`, id)
	return db.Collect(rows, err, scanRecord)
}
