package didit

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Status words (provider/didit.md 3).
const (
	notStarted  = "Not Started"
	inProgress  = "In Progress"
	awaiting    = "Awaiting User"
	inReview    = "In Review"
	approved    = "Approved"
	declined    = "Declined"
	resubmitted = "Resubmitted"
	abandoned   = "Abandoned"
	expired     = "Expired"
	kycExpired  = "Kyc Expired"
)

var statuses = []string{notStarted, inProgress, awaiting, inReview, approved, declined, resubmitted, abandoned, expired, kycExpired}

// session is a row of didit_sessions.
type session struct {
	number                       int64
	id, token, owner, reference  string
	vendorData                   string
	workflowID                   string
	workflowVersion              int
	status, outcome, risk        string
	callback, metadata, language string
	contact, expected            string
	corrections                  string
	resubmit                     []string
	fullName, country            string
	creates                      int
	created, updated, statusAt   time.Time
	rerun                        time.Time
}

const sessionColumns = `number, id, token, owner, reference, vendor_data, workflow_id, workflow_version, status,
	outcome, risk, callback, metadata, language, contact, expected, corrections, resubmit, full_name, country,
	creates, created_at, updated_at, status_at, rerun_at`

// unfinished tells whether the person still has something to do.
func (x *session) unfinished() bool {
	switch x.status {
	case notStarted, inProgress, resubmitted, awaiting:
		return true
	}
	return false
}

func (x *session) foreign() bool { return x.owner != "" }

func (s *Simulator) url(x *session) string { return s.baseURL + "/session/" + x.token }

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

type scanner interface{ Scan(dest ...any) error }

func scanSession(row scanner) (*session, error) {
	var x session
	var resubmit string
	var created, updated, statusAt, rerun int64
	err := row.Scan(&x.number, &x.id, &x.token, &x.owner, &x.reference, &x.vendorData, &x.workflowID,
		&x.workflowVersion, &x.status, &x.outcome, &x.risk, &x.callback, &x.metadata, &x.language, &x.contact,
		&x.expected, &x.corrections, &resubmit, &x.fullName, &x.country, &x.creates, &created, &updated,
		&statusAt, &rerun)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	x.resubmit = strings.Fields(resubmit)
	x.created, x.updated, x.statusAt, x.rerun = fromMicros(created), fromMicros(updated), fromMicros(statusAt), fromMicros(rerun)
	return &x, nil
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// sessionBy finds one session by a condition on its columns.
func sessionBy(ctx context.Context, q querier, condition string, args ...any) (*session, error) {
	return scanSession(q.QueryRowContext(ctx, `SELECT `+sessionColumns+` FROM didit_sessions WHERE `+condition, args...))
}

func (s *Simulator) session(ctx context.Context, id string) (*session, error) {
	return sessionBy(ctx, s.db, `id = $1`, id)
}

// selectSessions reads several sessions; tail begins with WHERE or ORDER BY.
func selectSessions(ctx context.Context, q querier, tail string, args ...any) ([]*session, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+sessionColumns+` FROM didit_sessions `+tail, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*session
	for rows.Next() {
		x, err := scanSession(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// open makes a session or, for our own application, finds the unfinished one of the same vendor_data and
// workflow version, which then takes over callback and metadata (provider/didit.md 2.1). want carries what the
// create call said.
func (s *Simulator) open(ctx context.Context, want session) (*session, error) {
	var made *session
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		now := s.clock.Now()
		if err := tx.QueryRowContext(ctx, `SELECT CAST(value AS INTEGER) FROM didit_settings
			WHERE name = 'workflow_version'`).Scan(&want.workflowVersion); err != nil {
			return err
		}
		if !want.foreign() && want.vendorData != "" {
			found, err := sessionBy(ctx, tx, `owner = '' AND vendor_data = $1 AND workflow_id = $2 AND workflow_version = $3
				AND status IN ('Not Started', 'In Progress', 'Resubmitted', 'Awaiting User')
				ORDER BY number DESC LIMIT 1`, want.vendorData, want.workflowID, want.workflowVersion)
			if err == nil {
				if want.callback != "" {
					found.callback = want.callback
				}
				if want.metadata != "" {
					found.metadata = want.metadata
				}
				found.creates++
				found.updated = now
				made = found
				return s.save(ctx, tx, found)
			}
			if !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		want.id, want.token = uuid.NewString(), newToken()
		want.status, want.creates = notStarted, 1
		want.created, want.updated, want.statusAt = now, now, now
		who, err := s.person(&want)
		if err != nil {
			return err
		}
		want.fullName, want.country = who.fullName(), who.home.code
		err = tx.QueryRowContext(ctx, `INSERT INTO didit_sessions (id, token, owner, reference, vendor_data, workflow_id,
			workflow_version, status, outcome, risk, callback, metadata, language, contact, expected, corrections,
			resubmit, full_name, country, creates, created_at, updated_at, status_at, rerun_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, '', '', $9, $10, $11, $12, $13, '', '', $14, $15, 1, $16, $16, $16, 0)
			RETURNING number`,
			want.id, want.token, want.owner, want.reference, want.vendorData, want.workflowID, want.workflowVersion,
			want.status, want.callback, want.metadata, want.language, want.contact, want.expected, want.fullName,
			want.country, now.UnixMicro()).Scan(&want.number)
		if err != nil {
			return err
		}
		if _, err = tx.ExecContext(ctx, `INSERT INTO didit_billing (owner, vendor_data, sessions) VALUES ($1, $2, 1)
			ON CONFLICT (owner, vendor_data) DO UPDATE SET sessions = sessions + 1`, want.owner, want.vendorData); err != nil {
			return err
		}
		made = &want
		if s.announceNew && !want.foreign() {
			return s.queue(ctx, tx, &want, "status.updated")
		}
		return nil
	})
	if err == nil {
		s.outbox.ring()
	}
	return made, err
}

// save writes back what may change.
func (s *Simulator) save(ctx context.Context, tx *sql.Tx, x *session) error {
	rerun := int64(0)
	if x.rerun.Unix() > 0 {
		rerun = x.rerun.UnixMicro()
	}
	_, err := tx.ExecContext(ctx, `UPDATE didit_sessions SET status = $1, outcome = $2, risk = $3, callback = $4,
		metadata = $5, corrections = $6, resubmit = $7, creates = $8, updated_at = $9, status_at = $10, rerun_at = $11
		WHERE number = $12`, x.status, x.outcome, x.risk, x.callback, x.metadata, x.corrections,
		strings.Join(x.resubmit, " "), x.creates, x.updated.UnixMicro(), x.statusAt.UnixMicro(), rerun, x.number)
	return err
}

// move brings a session into a status and queues what its owner is told. risk explains a decline or a review;
// an empty one is replaced by a usual one.
func (s *Simulator) move(ctx context.Context, tx *sql.Tx, x *session, status, risk string) error {
	now := s.clock.Now()
	x.status, x.updated, x.statusAt = status, now, now
	switch status {
	case approved:
		x.outcome, x.risk, x.resubmit = status, "", nil
	case declined, inReview:
		if risk == "" {
			risk = x.risk // a reviewer confirms what the machine found
		}
		if risk == "" && status == declined {
			risk = declineRisk
		}
		if risk == "" {
			risk = reviewRisk
		}
		x.outcome, x.risk, x.resubmit = status, risk, nil
	case abandoned:
		x.outcome, x.risk, x.resubmit = status, "", nil
	case resubmitted:
		if len(x.resubmit) == 0 {
			x.resubmit = s.unpassed(x)
		}
	}
	if err := s.save(ctx, tx, x); err != nil {
		return err
	}
	if !x.foreign() {
		return s.queue(ctx, tx, x, "status.updated")
	}
	event := ForeignEvent{Owner: x.owner, Reference: x.reference, SessionID: x.id, Status: status}
	if status == declined || status == inReview {
		event.Risk = x.risk
		if r, ok := lookRisk(x.risk); ok {
			event.Reason = r.short
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO didit_foreign_events (owner, reference, session_id, status, risk, reason)
		VALUES ($1, $2, $3, $4, $5, $6)`, event.Owner, event.Reference, event.SessionID, event.Status, event.Risk, event.Reason)
	return err
}

// unpassed are the steps that a resubmission asks for when the call names none: those that the latest outcome
// left open, or all that need the person when everything was passed.
func (s *Simulator) unpassed(x *session) []string {
	var nodes, all []string
	for _, f := range workflow {
		if st := stepStatus(x, f); st != approved && st != "" {
			nodes = append(nodes, f.node)
		}
		if !f.backend {
			all = append(all, f.node)
		}
	}
	if len(nodes) == 0 {
		return all
	}
	return nodes
}

// change loads a session in a transaction, lets fn move it, and afterwards wakes whoever tells of it.
func (s *Simulator) change(ctx context.Context, condition string, arg any, fn func(tx *sql.Tx, x *session) error) (*session, error) {
	var changed *session
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		x, err := sessionBy(ctx, tx, condition, arg)
		if err != nil {
			return err
		}
		changed = x
		return fn(tx, x)
	})
	if err != nil {
		return nil, err
	}
	s.outbox.ring()
	if changed.foreign() {
		// The change is made; that its owner hears of it must not hang on the caller's patience.
		if err := s.tellForeign(context.WithoutCancel(ctx)); err != nil {
			s.log.ErrorContext(ctx, "didit simulator: foreign event not told", "session_id", changed.id, "error", err)
		}
	}
	return changed, nil
}

// age expires sessions that nobody opened and abandons those that nobody finished (provider/didit.md 3).
func (s *Simulator) age(ctx context.Context) error {
	const overdue = `(status = 'Not Started' AND status_at <= $1 OR status = 'In Progress' AND status_at <= $2)`
	now := s.clock.Now()
	started, progressed := now.Add(-s.linkLife).UnixMicro(), now.Add(-s.abandonAfter).UnixMicro()
	for {
		var id string
		err := s.db.QueryRowContext(ctx, `SELECT id FROM didit_sessions WHERE `+overdue+` ORDER BY status_at LIMIT 1`,
			started, progressed).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		_, err = s.change(ctx, `id = $1`, id, func(tx *sql.Tx, x *session) error {
			switch {
			case x.status == notStarted && x.statusAt.UnixMicro() <= started:
				return s.move(ctx, tx, x, expired, "")
			case x.status == inProgress && x.statusAt.UnixMicro() <= progressed:
				return s.move(ctx, tx, x, abandoned, "")
			}
			return nil // somebody was faster
		})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
}

// SetStatus brings a session into any status, whether or not Didit would allow the step, with all that
// follows: webhooks for our own sessions, OnForeign for others. An empty risk of a decline or review is replaced
// by a usual one. Setting what is already so does nothing. It returns ErrNotFound, ErrUnknownStatus or
// ErrUnknownRisk.
func (s *Simulator) SetStatus(ctx context.Context, sessionID, status, risk string) error {
	word := ""
	for _, known := range statuses {
		if strings.EqualFold(known, status) {
			word = known
		}
	}
	if word == "" {
		return ErrUnknownStatus
	}
	if _, ok := lookRisk(risk); risk != "" && !ok {
		return ErrUnknownRisk
	}
	_, err := s.change(ctx, `id = $1`, sessionID, func(tx *sql.Tx, x *session) error {
		if x.status == word && (risk == "" || x.risk == risk) {
			return nil
		}
		return s.move(ctx, tx, x, word, risk)
	})
	return err
}

// SessionState is what the simulator believes of a session.
type SessionState struct {
	ID         string         `json:"session_id"`
	Number     int64          `json:"session_number"`
	URL        string         `json:"url"`
	VendorData string         `json:"vendor_data,omitempty"`
	Status     string         `json:"status"`
	Risk       string         `json:"risk,omitempty"`
	Owner      string         `json:"owner,omitempty"` // empty: our own account
	Reference  string         `json:"reference,omitempty"`
	Created    time.Time      `json:"created_at"`
	Updated    time.Time      `json:"updated_at"`
	Creates    int            `json:"creates"` // create calls that were answered with this session
	Billed     int            `json:"billed"`  // sessions ever made for the same vendor_data, deleted ones included
	Deliveries DeliveryCounts `json:"deliveries"`
}

// DeliveryCounts sum up a session's webhooks.
type DeliveryCounts struct {
	Events    int `json:"events"`
	Attempts  int `json:"attempts"` // requests sent, duplicates and replays included
	Delivered int `json:"delivered"`
	Pending   int `json:"pending"` // waiting for the first or another attempt, or held back
	Failed    int `json:"failed"`  // refused, or given up
	Dropped   int `json:"dropped"` // by a fault
}

// Sessions lists all sessions, newest first, those of other accounts included.
func (s *Simulator) Sessions(ctx context.Context) ([]SessionState, error) {
	if err := s.age(ctx); err != nil {
		return nil, err
	}
	list := []SessionState{}
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		sessions, err := selectSessions(ctx, tx, `ORDER BY number DESC`)
		if err != nil {
			return err
		}
		billed, err := billing(ctx, tx)
		if err != nil {
			return err
		}
		counts, err := deliveryCounts(ctx, tx)
		if err != nil {
			return err
		}
		for _, x := range sessions {
			state := SessionState{
				ID: x.id, Number: x.number, URL: s.url(x), VendorData: x.vendorData, Status: x.status, Risk: x.risk,
				Owner: x.owner, Reference: x.reference, Created: x.created, Updated: x.updated, Creates: x.creates,
				Billed: 1, Deliveries: counts[x.id],
			}
			if x.vendorData != "" {
				state.Billed = billed[[2]string{x.owner, x.vendorData}]
			}
			list = append(list, state)
		}
		return nil
	})
	return list, err
}

// billing is the number of sessions ever made by owner and vendor_data.
func billing(ctx context.Context, q querier) (map[[2]string]int, error) {
	rows, err := q.QueryContext(ctx, `SELECT owner, vendor_data, sessions FROM didit_billing`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	billed := map[[2]string]int{}
	for rows.Next() {
		var key [2]string
		var n int
		if err := rows.Scan(&key[0], &key[1], &n); err != nil {
			return nil, err
		}
		billed[key] = n
	}
	return billed, rows.Err()
}

const tokenAlphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_" // 64: no bias

// newToken makes the 12 characters that open a session's page.
func newToken() string {
	b := make([]byte, 12)
	rand.Read(b)
	for i := range b {
		b[i] = tokenAlphabet[b[i]%64]
	}
	return string(b)
}
