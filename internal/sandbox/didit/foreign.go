package didit

import (
	"context"
	"database/sql"
	"errors"
)

// Foreign asks for a session in another company's Didit account: the card issuer's, which verifies our
// customers in its own name (provider/didit.md 7).
type Foreign struct {
	Owner     string // whose account; must not be empty
	Reference string // the owner's own name for the session; stands in vendor_data there
	Callback  string // where the browser goes afterwards; may be empty
	Language  string
	FirstName string
	LastName  string
	Email     string
}

// ForeignEvent tells the owner of a foreign session that its status changed.
type ForeignEvent struct {
	Owner     string
	Reference string
	SessionID string
	Status    string
	Risk      string // of a decline or a review
	Reason    string // the risk in plain English
}

// CreateForeign makes a session in another account, always a new one. Our API key gets 404 for it and our
// webhook is never called; its page works like any other.
func (s *Simulator) CreateForeign(ctx context.Context, f Foreign) (sessionID, url string, err error) {
	if f.Owner == "" {
		return "", "", errors.New("didit simulator: a foreign session needs an owner")
	}
	if f.Callback != "" && !validCallback(f.Callback) {
		return "", "", errors.New("didit simulator: the callback is not an absolute URL")
	}
	expected := map[string]any{}
	for key, value := range map[string]string{"first_name": f.FirstName, "last_name": f.LastName} {
		if value != "" {
			expected[key] = value
		}
	}
	details, err := encodeJSON(expected, answerStyle)
	if err != nil {
		return "", "", err
	}
	contact, err := encodeJSON(map[string]any{"email": f.Email}, answerStyle)
	if err != nil {
		return "", "", err
	}
	x, err := s.open(ctx, session{
		owner: f.Owner, reference: f.Reference, vendorData: f.Reference, workflowID: f.Owner, callback: f.Callback,
		language: f.Language, expected: string(details), contact: string(contact),
	})
	if err != nil {
		return "", "", err
	}
	return x.id, s.url(x), nil
}

// OnForeign registers who is told of status changes of foreign sessions. Each change is told at least once, in
// the order of changes of a session, before the request that caused it is answered; one that a kill
// interrupted is told again when the simulator runs.
func (s *Simulator) OnForeign(tell func(ctx context.Context, e ForeignEvent)) {
	s.foreignMu.Lock()
	defer s.foreignMu.Unlock()
	s.onForeign = tell
}

// tellForeign tells all foreign events that nobody is telling yet. The listener may change sessions itself.
func (s *Simulator) tellForeign(ctx context.Context) error {
	for {
		s.foreignMu.Lock()
		tell := s.onForeign
		if tell == nil {
			s.foreignMu.Unlock()
			return nil
		}
		id, event, err := s.nextForeign(ctx)
		if err == nil {
			s.telling[id] = true
		}
		s.foreignMu.Unlock()
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		tell(ctx, event)
		_, err = s.db.ExecContext(context.WithoutCancel(ctx), `DELETE FROM didit_foreign_events WHERE id = $1`, id)
		s.foreignMu.Lock()
		delete(s.telling, id)
		s.foreignMu.Unlock()
		if err != nil {
			return err
		}
	}
}

// nextForeign finds the oldest event whose session has none that is being told. Call it with foreignMu held.
func (s *Simulator) nextForeign(ctx context.Context) (int64, ForeignEvent, error) {
	rows, err := s.db.QueryContext(ctx,
		`SELECT id, owner, reference, session_id, status, risk, reason FROM didit_foreign_events ORDER BY id`)
	if err != nil {
		return 0, ForeignEvent{}, err
	}
	defer rows.Close()
	busy := map[string]bool{}
	for rows.Next() {
		var id int64
		var e ForeignEvent
		if err := rows.Scan(&id, &e.Owner, &e.Reference, &e.SessionID, &e.Status, &e.Risk, &e.Reason); err != nil {
			return 0, ForeignEvent{}, err
		}
		if s.telling[id] {
			busy[e.SessionID] = true
		} else if !busy[e.SessionID] {
			return id, e, nil
		}
	}
	if err := rows.Err(); err != nil {
		return 0, ForeignEvent{}, err
	}
	return 0, ForeignEvent{}, sql.ErrNoRows
}
