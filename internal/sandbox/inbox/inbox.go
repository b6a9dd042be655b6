// Package inbox is the sandbox's mail server and SMS gateway: it takes every mail and every short message that is sent to it, delivers
// none, and shows them to people and to scripts. It is the mailbox and the phone of every customer of a sandbox.
package inbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// ErrNotFound is returned for a message that is not in the inbox.
var ErrNotFound = errors.New("no such message")

const (
	// maxMessageBytes bounds one mail as it comes over the wire.
	maxMessageBytes = 2 << 20
	// keep is how many mails stay; older ones go. It is far beyond what a person or a test looks back on and
	// keeps a load test from filling the disk.
	keep = 20_000
	// listLimit is how many mails a list shows.
	listLimit = 200
)

// Options are what an inbox needs.
type Options struct {
	DB    *sql.DB      // SQLite, opened with at most one connection; the table inbox_messages is made by New
	Clock clock.Clock  // for the time of receipt; nil: the machine's clock
	Log   *slog.Logger // nil: nothing is logged

	SMSSecret secret.Text // that short messages are signed with; empty: none are taken
}

// Inbox stores mail and shows it. It is safe for concurrent use.
type Inbox struct {
	db    *sql.DB
	clock clock.Clock
	log   *slog.Logger

	smsSecret secret.Text
}

// Message is one mail, or short message, as one recipient got it. Its JSON form is that of the control interface.
type Message struct {
	ID         int64     `json:"id"`
	To         string    `json:"to"` // the envelope's recipient, or a number
	Subject    string    `json:"subject"`
	Text       string    `json:"text"`        // the plain-text part, "" if there is none
	HTML       string    `json:"html"`        // the HTML part, "" if there is none
	ReceivedAt time.Time `json:"received_at"` // UTC
}

const schema = `
CREATE TABLE IF NOT EXISTS inbox_messages (
	id            INTEGER PRIMARY KEY AUTOINCREMENT,
	recipient     TEXT    NOT NULL,
	recipient_key TEXT    NOT NULL, -- the recipient in lower case, for looking up
	subject       TEXT    NOT NULL,
	body_text     TEXT    NOT NULL,
	body_html     TEXT    NOT NULL,
	received_us   INTEGER NOT NULL  -- microseconds since 1970
);
CREATE INDEX IF NOT EXISTS inbox_messages_recipient ON inbox_messages (recipient_key, id);`

// New prepares the table; mail from an earlier run is still there.
func New(ctx context.Context, o Options) (*Inbox, error) {
	if o.DB == nil {
		return nil, errors.New("inbox: no database")
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if _, err := o.DB.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	return &Inbox{db: o.DB, clock: o.Clock, log: o.Log, smsSecret: o.SMSSecret}, nil
}

// store keeps one mail for each of its recipients, all or none.
func (in *Inbox) store(ctx context.Context, recipients []string, m parsed) error {
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	defer func() { _ = tx.Rollback() }()
	var last int64
	for _, to := range recipients {
		result, err := tx.ExecContext(ctx, `INSERT INTO inbox_messages
			(recipient, recipient_key, subject, body_text, body_html, received_us) VALUES ($1, $2, $3, $4, $5, $6)`,
			to, key(to), m.subject, m.text, m.html, in.clock.Now().UnixMicro())
		if err != nil {
			return fmt.Errorf("inbox: %w", err)
		}
		if last, err = result.LastInsertId(); err != nil {
			return fmt.Errorf("inbox: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM inbox_messages WHERE id <= $1`, last-keep); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}

// key is the form in which addresses are compared: people type them in any case. Numbers are compared without their +, which means a space
// in a query.
func key(address string) string {
	return strings.ToLower(strings.TrimPrefix(strings.TrimSpace(address), "+"))
}

const (
	columns         = `id, recipient, subject, body_text, body_html, received_us`
	envelopeColumns = `id, recipient, subject, '', '', received_us`
)

// Messages lists the newest 200 mails, newest first: those to one address in any spelling of upper and lower
// case, or all if to is empty. The list is never nil.
func (in *Inbox) Messages(ctx context.Context, to string) ([]Message, error) {
	return in.list(ctx, columns, to)
}

// envelopes is Messages without the bodies, for a page that renews itself every two seconds.
func (in *Inbox) envelopes(ctx context.Context, to string) ([]Message, error) {
	return in.list(ctx, envelopeColumns, to)
}

func (in *Inbox) list(ctx context.Context, columns, to string) ([]Message, error) {
	rows, err := in.db.QueryContext(ctx, `SELECT `+columns+` FROM inbox_messages
		WHERE $1 = '' OR recipient_key = $1 ORDER BY id DESC LIMIT $2`, key(to), listLimit)
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	defer func() { _ = rows.Close() }()
	list := []Message{}
	for rows.Next() {
		m, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	return list, nil
}

// Message returns one mail, or ErrNotFound.
func (in *Inbox) Message(ctx context.Context, id int64) (Message, error) {
	return scan(in.db.QueryRowContext(ctx, `SELECT `+columns+` FROM inbox_messages WHERE id = $1`, id))
}

// Clear removes all mail. The numbers of removed mails are not used again.
func (in *Inbox) Clear(ctx context.Context) error {
	if _, err := in.db.ExecContext(ctx, `DELETE FROM inbox_messages`); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	return nil
}

func scan(row interface{ Scan(...any) error }) (Message, error) {
	var (
		m  Message
		us int64
	)
	err := row.Scan(&m.ID, &m.To, &m.Subject, &m.Text, &m.HTML, &us)
	if errors.Is(err, sql.ErrNoRows) {
		return Message{}, ErrNotFound
	}
	if err != nil {
		return Message{}, fmt.Errorf("inbox: %w", err)
	}
	m.ReceivedAt = time.UnixMicro(us).UTC()
	return m, nil
}
