// Package didit is a server that speaks Didit's protocol (provider/didit.md) without verifying anybody: sessions,
// decisions, signed webhooks and a hosted page on which a person chooses the outcome. It also plays other
// companies' Didit accounts, of which our key and our webhook hear nothing.
//
// Everything it knows is in its database, so it can be stopped, killed and started again like any service. It
// shares no code with the client of the product, so that a mistake cannot hide on both sides of the wire.
package didit

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// Options configure a simulator. DB, BaseURL, APIKey and WorkflowID are required.
type Options struct {
	DB     *sql.DB     // one SQLite connection; the simulator's tables are called didit_…
	Clock  clock.Clock // nil: the machine's
	Faults *fault.Plan // nil: none

	BaseURL    string // where Handler is mounted, without trailing slash; session and image links begin with it
	APIKey     string // what x-api-key must be
	WorkflowID string // the published workflow of our application

	WebhookURL     string   // the application's webhook destination; "" sends none
	WebhookSecrets []string // the first one signs; the others are former ones and sign nothing

	// TimeScale divides the waits between delivery attempts (60 s and 240 s); 0 and 1 are real time.
	TimeScale float64
	// LinkLife is how long a session may stay unopened until it is Expired; 0 is the documented 7 days.
	LinkLife time.Duration
	// AbandonAfter is how long a session may be In Progress until it is Abandoned; 0 is 24 h. Didit does not
	// say how long it waits.
	AbandonAfter time.Duration
	// ImageLife is how long image links work; 0 is the documented 60 minutes.
	ImageLife time.Duration
	// Environment is what webhook bodies say: "sandbox" (default) or "live".
	Environment string
	// AnnounceNew sends a webhook for Not Started when a session is created. Whether Didit does is not
	// documented.
	AnnounceNew bool
	// ResignRetries gives every delivery attempt a new timestamp and signature. Whether Didit does is unknown;
	// without it a last attempt is five minutes old when it arrives.
	ResignRetries bool
	Limits        Limits

	Log *slog.Logger // nil: silent
}

// Simulator is the simulated service. Its methods are safe for concurrent use.
type Simulator struct {
	db       *sql.DB
	clock    clock.Clock
	faults   *fault.Plan
	log      *slog.Logger
	baseURL  string
	basePath string
	apiKey   string
	workflow string

	webhookURL    string
	secret        string
	environment   string
	announceNew   bool
	resignRetries bool
	timeScale     float64
	linkLife      time.Duration
	abandonAfter  time.Duration
	imageLife     time.Duration
	imageKey      string

	limits  *limiter
	api     *http.ServeMux
	handler http.Handler
	outbox  *outbox
	stopped chan struct{} // closed when Run has ended: lets go of connections held open by a fault
	stop    sync.Once

	foreignMu sync.Mutex
	onForeign func(context.Context, ForeignEvent)
	telling   map[int64]bool // foreign events that are being told right now
}

// Errors of the control methods.
var (
	ErrNotFound      = errors.New("didit simulator: no such session")
	ErrUnknownStatus = errors.New("didit simulator: not a status of Didit's")
	ErrUnknownRisk   = errors.New("didit simulator: not a risk code")
)

const schema = `
CREATE TABLE IF NOT EXISTS didit_settings (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS didit_sessions (
	number           INTEGER PRIMARY KEY AUTOINCREMENT,
	id               TEXT NOT NULL UNIQUE,
	token            TEXT NOT NULL UNIQUE,
	owner            TEXT NOT NULL,           -- '' is our application, else another company's account
	reference        TEXT NOT NULL,           -- of the owner, for foreign sessions
	vendor_data      TEXT NOT NULL,           -- '' when none was given
	workflow_id      TEXT NOT NULL,
	workflow_version INTEGER NOT NULL,
	status           TEXT NOT NULL,
	outcome          TEXT NOT NULL,           -- the latest status that came with a result, or ''
	risk             TEXT NOT NULL,           -- why the outcome is not Approved, or ''
	callback         TEXT NOT NULL,
	metadata         TEXT NOT NULL,           -- JSON or ''
	language         TEXT NOT NULL,
	contact          TEXT NOT NULL,           -- JSON object or ''
	expected         TEXT NOT NULL,           -- JSON object or ''
	corrections      TEXT NOT NULL,           -- JSON object or '': what update-data changed
	resubmit         TEXT NOT NULL,           -- node ids to do again, separated by spaces
	full_name        TEXT NOT NULL,
	country          TEXT NOT NULL,
	creates          INTEGER NOT NULL,        -- create calls that were answered with this session
	created_at       INTEGER NOT NULL,        -- times are unix microseconds
	updated_at       INTEGER NOT NULL,
	status_at        INTEGER NOT NULL,
	rerun_at         INTEGER NOT NULL         -- when backend steps ran again, or 0
);
CREATE INDEX IF NOT EXISTS didit_sessions_vendor ON didit_sessions (owner, vendor_data);
CREATE INDEX IF NOT EXISTS didit_sessions_waiting ON didit_sessions (status, status_at);
CREATE TABLE IF NOT EXISTS didit_billing (
	owner       TEXT NOT NULL,
	vendor_data TEXT NOT NULL,
	sessions    INTEGER NOT NULL,             -- new sessions ever, deleted ones included
	PRIMARY KEY (owner, vendor_data)
);
CREATE TABLE IF NOT EXISTS didit_reviews (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	session_id TEXT NOT NULL,
	action     TEXT NOT NULL,
	old_status TEXT NOT NULL,
	new_status TEXT NOT NULL,
	note       TEXT NOT NULL,
	created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS didit_reviews_session ON didit_reviews (session_id);
CREATE TABLE IF NOT EXISTS didit_webhooks (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	event_id   TEXT NOT NULL UNIQUE,
	session_id TEXT NOT NULL,
	kind       TEXT NOT NULL,                 -- webhook_type
	status     TEXT NOT NULL,                 -- of the session
	payload    TEXT NOT NULL,                 -- the body without its timestamp
	timestamp  INTEGER NOT NULL,              -- unix seconds of the first attempt, 0 before it
	state      TEXT NOT NULL,                 -- pending, held, delivered, failed, dropped
	attempts   INTEGER NOT NULL,              -- in this round
	replays    INTEGER NOT NULL,              -- times that resend began a new round
	delayed    INTEGER NOT NULL,
	held       INTEGER NOT NULL,
	due_at     INTEGER NOT NULL,
	created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS didit_webhooks_due ON didit_webhooks (state, due_at);
CREATE INDEX IF NOT EXISTS didit_webhooks_session ON didit_webhooks (session_id, state);
CREATE TABLE IF NOT EXISTS didit_deliveries (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	event_id    TEXT NOT NULL,
	url         TEXT NOT NULL,
	http_status INTEGER NOT NULL,             -- 0 when there was no answer
	error       TEXT NOT NULL,
	duration_us INTEGER NOT NULL,
	sent_at     INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS didit_deliveries_event ON didit_deliveries (event_id);
CREATE TABLE IF NOT EXISTS didit_foreign_events (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	owner      TEXT NOT NULL,
	reference  TEXT NOT NULL,
	session_id TEXT NOT NULL,
	status     TEXT NOT NULL,
	risk       TEXT NOT NULL,
	reason     TEXT NOT NULL
);`

// New opens the simulator on its database and creates what is missing there.
func New(ctx context.Context, o Options) (*Simulator, error) {
	base, err := url.Parse(o.BaseURL)
	switch {
	case o.DB == nil:
		return nil, errors.New("didit simulator: a database is required")
	case err != nil || base.Host == "" || strings.HasSuffix(o.BaseURL, "/"):
		return nil, errors.New("didit simulator: the base URL must be absolute and without trailing slash")
	case o.APIKey == "":
		return nil, errors.New("didit simulator: an API key is required")
	case o.WorkflowID == "":
		return nil, errors.New("didit simulator: a workflow id is required")
	case o.WebhookURL != "" && (len(o.WebhookSecrets) == 0 || o.WebhookSecrets[0] == ""):
		return nil, errors.New("didit simulator: webhooks need a secret")
	case o.TimeScale < 0:
		return nil, errors.New("didit simulator: the time scale must not be negative")
	}
	s := &Simulator{
		db: o.DB, clock: o.Clock, faults: o.Faults, log: o.Log,
		baseURL: o.BaseURL, basePath: base.Path, apiKey: o.APIKey, workflow: o.WorkflowID,
		webhookURL: o.WebhookURL, environment: o.Environment,
		announceNew: o.AnnounceNew, resignRetries: o.ResignRetries,
		timeScale: o.TimeScale, linkLife: o.LinkLife, abandonAfter: o.AbandonAfter, imageLife: o.ImageLife,
		limits: newLimiter(o.Limits), stopped: make(chan struct{}), telling: map[int64]bool{},
	}
	if s.clock == nil {
		s.clock = clock.System{}
	}
	if s.faults == nil {
		s.faults = &fault.Plan{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if len(o.WebhookSecrets) > 0 {
		s.secret = o.WebhookSecrets[0]
	}
	if s.environment == "" {
		s.environment = "sandbox"
	}
	if s.timeScale == 0 {
		s.timeScale = 1
	}
	if s.linkLife == 0 {
		s.linkLife = 7 * 24 * time.Hour
	}
	if s.abandonAfter == 0 {
		s.abandonAfter = 24 * time.Hour
	}
	if s.imageLife == 0 {
		s.imageLife = time.Hour
	}
	if _, err := s.db.ExecContext(ctx, schema); err != nil {
		return nil, fmt.Errorf("didit simulator: create tables: %w", err)
	}
	// Image links must outlive a restart, so their key does.
	key := make([]byte, 32)
	rand.Read(key)
	for name, value := range map[string]string{"image_key": hex.EncodeToString(key), "workflow_version": "1"} {
		if _, err := s.db.ExecContext(ctx,
			`INSERT INTO didit_settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, value); err != nil {
			return nil, fmt.Errorf("didit simulator: settings: %w", err)
		}
	}
	if err := s.db.QueryRowContext(ctx,
		`SELECT value FROM didit_settings WHERE name = 'image_key'`).Scan(&s.imageKey); err != nil {
		return nil, fmt.Errorf("didit simulator: settings: %w", err)
	}
	s.outbox = newOutbox(s)
	s.handler = s.routes()
	return s, nil
}

// Handler serves the API under /v2/ and /v3/, the hosted page under /session/ and the pictures under /images/.
// Mount it with http.StripPrefix at the path of Options.BaseURL.
func (s *Simulator) Handler() http.Handler { return s.handler }

// tick is how often Run looks at the clock, which may be moved by hand and then rings no bell.
const tick = 100 * time.Millisecond

// Run does what happens by itself: it sends webhooks, repeats failed ones, lets unopened sessions expire and
// unfinished ones be abandoned. It returns nil after ctx has ended and no delivery is under way; what was not
// delivered is sent when a simulator runs on the same database again. Call it once.
func (s *Simulator) Run(ctx context.Context) error {
	defer s.stop.Do(func() { close(s.stopped) })
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		if err := s.age(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "didit simulator: sessions not aged", "error", err)
		}
		if err := s.tellForeign(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "didit simulator: foreign events not told", "error", err)
		}
		if err := s.outbox.send(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "didit simulator: webhooks not sent", "error", err)
		}
		select {
		case <-ctx.Done():
			s.outbox.wait()
			return nil
		case <-s.outbox.wake:
		case <-ticker.C:
		}
	}
}

// PublishWorkflow publishes the workflow again and returns its new version. Unfinished sessions of older
// versions are not handed out by create calls any more.
func (s *Simulator) PublishWorkflow(ctx context.Context) (version int, err error) {
	err = s.db.QueryRowContext(ctx, `UPDATE didit_settings SET value = CAST(value AS INTEGER) + 1
		WHERE name = 'workflow_version' RETURNING CAST(value AS INTEGER)`).Scan(&version)
	return version, err
}

// inTx runs fn in a transaction. fn must use tx alone: the pool has one connection.
func (s *Simulator) inTx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		if undo := tx.Rollback(); undo != nil {
			return errors.Join(err, undo)
		}
		return err
	}
	return tx.Commit()
}
