// Package inbound keeps the raw calls of providers. A call is stored, together with the job that works on it, before it is answered:
// an answer ends delivery for good (provider/udun section 5.3, provider/didit section 4). What the call says is looked at by the job.
package inbound

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// Received is the outcome of a call that nobody has done with yet.
const Received = "received"

// Message is a raw call of a provider.
type Message struct {
	ID       int64
	Provider string
	// EventID is the provider's name of the event, else the same as ContentKey.
	EventID string
	// ContentKey stands for what the call says, see Digest, for providers that name each delivery anew.
	ContentKey string
	// Signature is which signature fitted; none: the provider does not sign.
	Signature  string
	Header     map[string]string // what may explain a signature: X-…, User-Agent and Content-Type
	Body       []byte            // as it came
	Outcome    string            // Received, then what its capability says
	ReceivedAt time.Time
}

// Store keeps messages. Headers and bodies are sealed: they may hold personal data.
type Store struct {
	db    db.DB
	vault *secret.Vault
	clock clock.Clock
}

// NewStore makes a store on a database.
func NewStore(d db.DB, v *secret.Vault, c clock.Clock) Store { return Store{d, v, c} }

// Keep stores a call and runs then in the same transaction: it inserts the job that works on the message with this id. After that the
// call may be answered. A call whose event or content is there already changes nothing: known. Of m count Provider, EventID, ContentKey,
// Signature and Body; the rest is given to it here.
func (s Store) Keep(ctx context.Context, m Message, header http.Header, then func(ctx context.Context, tx db.Tx, id int64) error) (known bool, err error) {
	m.EventID = clip(m.EventID)
	// A repetition costs a look, and nobody waits for it to write nothing. Only the insertion decides for good.
	var n int
	if err := s.db.QueryRow(ctx, `SELECT COUNT(*) FROM inbound_messages WHERE provider = $1 AND event_id = $2`, m.Provider, m.EventID).Scan(&n); err != nil || n > 0 {
		return n > 0, err
	}
	kept := map[string]string{}
	for name := range header {
		// Cookies and the like are none of our business.
		if strings.HasPrefix(name, "X-") || name == "User-Agent" || name == "Content-Type" {
			kept[name] = clip(header.Get(name))
		}
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return false, err
	}
	headers, err := s.vault.Seal(text, m.place("headers"))
	if err != nil {
		return false, err
	}
	body, err := s.vault.Seal(m.Body, m.place("body"))
	if err != nil {
		return false, err
	}
	now := s.clock.Now()
	err = s.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		known = false
		var id int64
		err := tx.QueryRow(ctx, `INSERT INTO inbound_messages (provider, event_id, content_key, signature, headers, body, received_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING id`,
			m.Provider, m.EventID, m.ContentKey, m.Signature, headers, body, now).Scan(&id)
		if errors.Is(err, db.ErrNoRows) {
			known = true
			return nil
		}
		if err != nil {
			return err
		}
		return then(ctx, tx, id)
	})
	return known && err == nil, err
}

// Find reads a message. db.ErrNoRows if there is none.
func (s Store) Find(ctx context.Context, id int64) (Message, error) {
	m := Message{ID: id}
	var headers, body []byte
	err := s.db.QueryRow(ctx, `SELECT provider, event_id, content_key, signature, headers, body, outcome, received_at
		FROM inbound_messages WHERE id = $1`, id).
		Scan(&m.Provider, &m.EventID, &m.ContentKey, &m.Signature, &headers, &body, &m.Outcome, &m.ReceivedAt)
	if err != nil {
		return Message{}, err
	}
	if m.Body, err = s.vault.Open(body, m.place("body")); err != nil {
		return Message{}, err
	}
	text, err := s.vault.Open(headers, m.place("headers"))
	if err != nil {
		return Message{}, err
	}
	return m, json.Unmarshal(text, &m.Header)
}

// Unhandled lists the oldest messages of a provider that came between two times and that nobody has done with yet.
func (s Store) Unhandled(ctx context.Context, provider string, from, until time.Time, limit int) ([]int64, error) {
	rows, err := s.db.Query(ctx, `SELECT id FROM inbound_messages WHERE outcome = 'received' AND received_at > $2 AND received_at <= $3 AND provider = $1
		ORDER BY received_at LIMIT $4`, provider, from, until, limit)
	return db.Collect(rows, err, func(r db.Row) (id int64, err error) { return id, r.Scan(&id) })
}

// Again runs then for a call that is stored already and came before a time, unless it has the outcome done: it inserts another job that
// works on it. For a call that a provider sends once more because nothing has come of the first.
func (s Store) Again(ctx context.Context, m Message, before time.Time, done string, then func(ctx context.Context, tx db.Tx, id int64) error) (again bool, err error) {
	var id int64
	// The same bytes may have been named otherwise by software that could not read them.
	err = s.db.QueryRow(ctx, `SELECT COALESCE(MIN(id), 0) FROM (
		SELECT id FROM inbound_messages WHERE provider = $1 AND event_id = $2 AND outcome <> $4 AND received_at <= $5
		UNION ALL SELECT id FROM inbound_messages WHERE provider = $1 AND content_key = $3 AND outcome <> $4 AND received_at <= $5) x`,
		m.Provider, clip(m.EventID), m.ContentKey, done, before).Scan(&id)
	if err != nil || id == 0 {
		return false, err
	}
	err = s.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error { return then(ctx, tx, id) })
	return err == nil, err
}

// Advance changes the outcome of a message from one to another, and tells whether it was the former.
func (s Store) Advance(ctx context.Context, tx db.Tx, id int64, from, to string) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE inbound_messages SET outcome = $3 WHERE id = $1 AND outcome = $2`, id, from, to)
	return n == 1, err
}

// SetOutcome notes what became of a message.
func (s Store) SetOutcome(ctx context.Context, tx db.Tx, id int64, outcome string) error {
	_, err := tx.Exec(ctx, `UPDATE inbound_messages SET outcome = $2, handled_at = $3 WHERE id = $1`, id, outcome, s.clock.Now())
	return err
}

// retention is how long messages are kept.
const retention = 90 * 24 * time.Hour

// Sweep removes the messages of every provider that are kept no longer.
func (s Store) Sweep(ctx context.Context) error {
	return db.Sweep(ctx, s.db, "inbound_messages", `received_at < $1`, s.clock.Now().Add(-retention))
}

func (m Message) place(column string) secret.Place {
	return secret.Place{Table: "inbound_messages", Column: column, Row: m.Provider + "/" + m.ContentKey}
}

// Digest makes a content key of what a call says.
func Digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

// maxText is how many characters of a header or an event's name are kept.
const maxText = 500

// clip makes a text of a stranger fit for a column of text.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
	if runes := []rune(s); len(runes) > maxText {
		return string(runes[:maxText])
	}
	return s
}
