package didit

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

const (
	webhookTimeout = 5 * time.Second
	webhookAgent   = "DiditWebhook/2.0 +https://didit.me"
	applicationID  = "00000000-0000-4000-8000-00000000d1d1"
	forgedSecret   = "a key that is not the application's"
	staleness      = time.Hour        // of a timestamp under the stale_timestamp fault
	heldAtMost     = 60 * time.Second // divided by the time scale: a held webhook goes out even if none follows
	maxInFlight    = 16
)

// retryWaits are the waits after the first and the second failed attempt (provider/didit.md 4.7).
var retryWaits = []time.Duration{60 * time.Second, 240 * time.Second}

// webhook is a row of didit_webhooks.
type webhook struct {
	id                    int64
	eventID, session      string
	kind, status, payload string
	timestamp             int64
	state                 string
	attempts, replays     int
	delayed, held         bool
	due, created          time.Time
}

const webhookColumns = `id, event_id, session_id, kind, status, payload, timestamp, state, attempts, replays, delayed,
	held, due_at, created_at`

func scanWebhook(row scanner) (*webhook, error) {
	var h webhook
	var due, created int64
	err := row.Scan(&h.id, &h.eventID, &h.session, &h.kind, &h.status, &h.payload, &h.timestamp, &h.state, &h.attempts,
		&h.replays, &h.delayed, &h.held, &due, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	h.due, h.created = fromMicros(due), fromMicros(created)
	return &h, err
}

func selectWebhooks(ctx context.Context, q querier, tail string, args ...any) ([]*webhook, error) {
	rows, err := q.QueryContext(ctx, `SELECT `+webhookColumns+` FROM didit_webhooks AS w `+tail, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []*webhook
	for rows.Next() {
		h, err := scanWebhook(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, rows.Err()
}

// queue stores the webhook of a change in the change's own transaction (body: provider/didit.md 4.3).
func (s *Simulator) queue(ctx context.Context, tx *sql.Tx, x *session, kind string) error {
	if s.webhookURL == "" {
		return nil
	}
	now := s.clock.Now()
	metadata, err := stored(x.metadata)
	if err != nil {
		return err
	}
	body := map[string]any{
		"event_id": uuid.NewString(), "webhook_type": kind, "created_at": now.Unix(), "application_id": applicationID,
		"environment": s.environment, "session_id": x.id, "session_kind": "user", "status": x.status,
		"workflow_id": x.workflowID, "workflow_version": x.workflowVersion,
		"vendor_data": orNull(x.vendorData), "metadata": metadata,
	}
	if statusIsResult(x.status) {
		if body["decision"], err = s.decision(ctx, tx, x); err != nil {
			return err
		}
	}
	if x.status == resubmitted {
		nodes, reasons := []any{}, map[string]any{}
		for _, node := range x.resubmit {
			f, _ := featureAt(node)
			nodes = append(nodes, map[string]any{"node_id": node, "feature": f.name})
			reasons[node] = "Please do this step again"
			if r, ok := lookRisk(x.risk); ok && r.step == f {
				reasons[node] = r.short
			}
		}
		body["resubmit_info"] = map[string]any{"nodes_to_resubmit": nodes, "reasons": reasons}
	}
	payload, err := encodeJSON(body, wireStyle)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO didit_webhooks (event_id, session_id, kind, status, payload, timestamp, state,
		attempts, replays, delayed, held, due_at, created_at) VALUES ($1, $2, $3, $4, $5, 0, 'pending', 0, 0, 0, 0, $6, $6)`,
		body["event_id"], x.id, kind, x.status, string(payload), now.UnixMicro())
	return err
}

// outbox sends queued webhooks: those of one session one after the other, those of different sessions side by
// side.
type outbox struct {
	s      *Simulator
	client *http.Client
	wake   chan struct{}
	slots  chan struct{}
	group  sync.WaitGroup
	mu     sync.Mutex
	busy   map[string]bool // sessions with a delivery under way
}

func newOutbox(s *Simulator) *outbox {
	return &outbox{
		s: s, wake: make(chan struct{}, 1), slots: make(chan struct{}, maxInFlight), busy: map[string]bool{},
		client: &http.Client{
			Timeout:       webhookTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// ring makes Run look at the queue now.
func (o *outbox) ring() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) wait() {
	o.group.Wait()
	o.client.CloseIdleConnections()
}

// send starts every delivery that is due and whose session has none under way.
func (o *outbox) send(ctx context.Context) error {
	now := o.s.clock.Now().UnixMicro()
	if _, err := o.s.db.ExecContext(ctx, `UPDATE didit_webhooks SET state = 'pending' WHERE state = 'held' AND due_at <= $1`,
		now); err != nil {
		return err
	}
	due, err := selectWebhooks(ctx, o.s.db, `WHERE state = 'pending' AND due_at <= $1 AND NOT EXISTS (
		SELECT 1 FROM didit_webhooks AS e WHERE e.session_id = w.session_id AND e.state = 'pending' AND e.due_at <= $1
		AND (e.due_at, e.id) < (w.due_at, w.id)) ORDER BY due_at, id LIMIT 64`, now)
	if err != nil {
		return err
	}
	for _, h := range due {
		o.mu.Lock()
		busy := o.busy[h.session]
		o.busy[h.session] = true
		o.mu.Unlock()
		if busy {
			continue
		}
		select {
		case o.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		o.group.Go(func() {
			err := o.deliver(ctx, h.id)
			o.mu.Lock()
			delete(o.busy, h.session)
			o.mu.Unlock()
			<-o.slots
			if err != nil && ctx.Err() == nil {
				o.s.log.ErrorContext(ctx, "didit simulator: delivery not recorded", "event_id", h.eventID, "error", err)
				return // the next tick tries again
			}
			o.ring()
		})
	}
	return nil
}

// deliver makes one attempt for a webhook and records what came of it, faults included.
func (o *outbox) deliver(ctx context.Context, id int64) error {
	s := o.s
	// Read again: between the list and now a delivery of the same session may have changed it.
	h, err := scanWebhook(s.db.QueryRowContext(ctx, `SELECT `+webhookColumns+` FROM didit_webhooks WHERE id = $1
		AND state = 'pending' AND due_at <= $2`, id, s.clock.Now().UnixMicro()))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if h.attempts == 0 {
		if done, err := o.divert(ctx, h); done || err != nil {
			return err
		}
	}
	if h.timestamp == 0 || s.resignRetries {
		h.timestamp = s.clock.Now().Unix()
		// Stored before sending, so that an attempt after a kill carries the same time.
		if _, err := s.db.ExecContext(ctx, `UPDATE didit_webhooks SET timestamp = $1 WHERE id = $2`, h.timestamp, h.id); err != nil {
			return err
		}
	}
	body, stampAt, secret, err := o.compose(h)
	if err != nil {
		return err
	}
	copies := 1
	if _, hit := s.faults.Strike(opWebhook, fault.DuplicateWebhook); hit {
		copies = 2
	}
	var outcome attempt
	for range copies {
		outcome = o.post(ctx, body, stampAt, secret)
		if outcome.status == 0 && ctx.Err() != nil {
			return ctx.Err() // we are stopping; nobody knows whether it arrived, so it is sent again
		}
		if err := o.log(context.WithoutCancel(ctx), h, outcome); err != nil {
			return err
		}
	}
	return o.settle(context.WithoutCancel(ctx), h, outcome)
}

// divert applies the faults that keep a webhook from being sent now, each once for a webhook.
func (o *outbox) divert(ctx context.Context, h *webhook) (done bool, err error) {
	s := o.s
	now := s.clock.Now()
	if _, hit := s.faults.Strike(opWebhook, fault.DropWebhook); hit {
		_, err := s.db.ExecContext(ctx, `UPDATE didit_webhooks SET state = 'dropped' WHERE id = $1 AND replays = $2`, h.id, h.replays)
		return true, err
	}
	if !h.delayed {
		if rule, hit := s.faults.Strike(opWebhook, fault.Delay); hit {
			_, err := s.db.ExecContext(ctx, `UPDATE didit_webhooks SET delayed = 1, due_at = $1 WHERE id = $2`,
				now.Add(rule.Delay()).UnixMicro(), h.id)
			return true, err
		}
	}
	if !h.held {
		var others int
		if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM didit_webhooks WHERE session_id = $1 AND state = 'held'`,
			h.session).Scan(&others); err != nil {
			return false, err
		}
		if others > 0 {
			return false, nil // one is waiting for this one to go first
		}
		if _, hit := s.faults.Strike(opWebhook, fault.Reorder); hit {
			_, err := s.db.ExecContext(ctx, `UPDATE didit_webhooks SET state = 'held', held = 1, due_at = $1 WHERE id = $2`,
				now.Add(s.scaled(heldAtMost)).UnixMicro(), h.id)
			return true, err
		}
	}
	return false, nil
}

// compose makes the body of an attempt, its X-Timestamp and the key to sign with, after the faults that falsify
// them.
func (o *outbox) compose(h *webhook) (body []byte, timestamp int64, secret string, err error) {
	s := o.s
	object, err := decodeObject(h.payload)
	if err != nil {
		return nil, 0, "", err
	}
	timestamp, secret = h.timestamp, s.secret
	if _, hit := s.faults.Strike(opWebhook, fault.StaleTimestamp); hit {
		timestamp -= int64(staleness / time.Second)
	}
	object["timestamp"] = timestamp
	if _, hit := s.faults.Strike(opWebhook, fault.ISOTimestamp); hit {
		object["timestamp"] = time.Unix(timestamp, 0).UTC().Format(time.RFC3339)
	}
	if _, hit := s.faults.Strike(opWebhook, fault.NullVendorData); hit {
		object["vendor_data"] = nil
	}
	if _, has := object["decision"]; has {
		if _, hit := s.faults.Strike(opWebhook, fault.MissingDecision); hit {
			delete(object, "decision")
		}
	}
	if _, hit := s.faults.Strike(opWebhook, fault.ForgeSignature); hit {
		secret = forgedSecret
	}
	body, err = encodeJSON(object, wireStyle)
	return body, timestamp, secret, err
}

// attempt is what came of one request.
type attempt struct {
	status   int // HTTP; 0 when there was no answer
	problem  string
	sent     time.Time
	duration time.Duration
}

func (o *outbox) post(ctx context.Context, body []byte, timestamp int64, secret string) attempt {
	began := time.Now() // a duration on the real network, whatever the simulated time is
	a := attempt{sent: o.s.clock.Now()}
	a.status, a.problem = o.request(ctx, body, timestamp, secret)
	a.duration = time.Since(began)
	return a
}

func (o *outbox) request(ctx context.Context, body []byte, timestamp int64, secret string) (status int, problem string) {
	signed, err := sign(secret, body)
	if err != nil {
		return 0, err.Error()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.s.webhookURL, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", webhookAgent)
	req.Header.Set("X-Timestamp", strconv.FormatInt(timestamp, 10))
	req.Header.Set("X-Signature", signed.raw)
	req.Header.Set("X-Signature-V2", signed.canonical)
	req.Header.Set("X-Signature-Simple", signed.simple)
	answer, err := o.client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)); err != nil {
		return answer.StatusCode, "body: " + err.Error()
	}
	return answer.StatusCode, ""
}

func (o *outbox) log(ctx context.Context, h *webhook, a attempt) error {
	_, err := o.s.db.ExecContext(ctx, `INSERT INTO didit_deliveries (event_id, url, http_status, error, duration_us, sent_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, h.eventID, o.s.webhookURL, a.status, a.problem, a.duration.Microseconds(), a.sent.UnixMicro())
	return err
}

// settle decides whether a webhook is done after an attempt, and lets go of one that waited for it.
func (o *outbox) settle(ctx context.Context, h *webhook, a attempt) error {
	s := o.s
	now := s.clock.Now()
	state, due := "failed", now
	again := a.status == 0 || a.status == http.StatusNotFound || a.status >= 500
	switch {
	case a.status >= 200 && a.status < 300:
		state = "delivered"
	case again && h.attempts < len(retryWaits):
		state, due = "pending", now.Add(s.scaled(retryWaits[h.attempts]))
	}
	if state != "delivered" {
		s.log.InfoContext(ctx, "didit simulator: webhook not accepted", "session_id", h.session, "event_id", h.eventID,
			"http_status", a.status, "attempt", h.attempts+1, "state", state)
	}
	return s.inTx(ctx, func(tx *sql.Tx) error {
		// A replay that was asked for meanwhile has begun a new round, which this outcome does not concern.
		if _, err := tx.ExecContext(ctx, `UPDATE didit_webhooks SET state = $1, attempts = attempts + 1, due_at = $2
			WHERE id = $3 AND replays = $4`, state, due.UnixMicro(), h.id, h.replays); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE didit_webhooks SET state = 'pending', due_at = $1
			WHERE session_id = $2 AND state = 'held' AND id <> $3`, now.UnixMicro(), h.session, h.id)
		return err
	})
}

func (s *Simulator) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) / s.timeScale)
}

// replay sends a webhook again from the start, with a new time; its event_id stays.
func (s *Simulator) replay(ctx context.Context, session, eventID string) (*webhook, error) {
	var h *webhook
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE didit_webhooks SET state = 'pending', attempts = 0, replays = replays + 1,
			timestamp = 0, due_at = $1 WHERE session_id = $2 AND event_id = $3`, s.clock.Now().UnixMicro(), session, eventID)
		if err != nil {
			return err
		}
		h, err = scanWebhook(tx.QueryRowContext(ctx, `SELECT `+webhookColumns+` FROM didit_webhooks
			WHERE session_id = $1 AND event_id = $2`, session, eventID))
		return err
	})
	if err == nil {
		s.outbox.ring()
	}
	return h, err
}

// deliveryLog is what was sent for a session or, when eventID is not empty, for one event.
func (s *Simulator) deliveryLog(ctx context.Context, session, eventID string) ([]any, error) {
	list := []any{}
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		events, err := selectWebhooks(ctx, tx, `WHERE session_id = $1 AND ($2 = '' OR event_id = $2) ORDER BY id DESC`, session, eventID)
		if err != nil {
			return err
		}
		for _, h := range events {
			attempts, err := attemptLog(ctx, tx, h.eventID)
			if err != nil {
				return err
			}
			entry := h.describe()
			payload, err := decodeObject(h.payload)
			if err != nil {
				return err
			}
			entry["payload"], entry["attempts"] = payload, attempts
			list = append(list, entry)
		}
		return nil
	})
	return list, err
}

func (h *webhook) describe() map[string]any {
	return map[string]any{
		"uuid": h.eventID, "event_id": h.eventID, "webhook_type": h.kind, "session_id": h.session,
		"session_status": h.status, "status": h.state, "created_at": h.created.Format(stamp),
	}
}

func attemptLog(ctx context.Context, q querier, eventID string) ([]any, error) {
	rows, err := q.QueryContext(ctx, `SELECT url, http_status, error, duration_us, sent_at FROM didit_deliveries
		WHERE event_id = $1 ORDER BY id`, eventID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []any{}
	for rows.Next() {
		var url, problem string
		var status, micros, sent int64
		if err := rows.Scan(&url, &status, &problem, &micros, &sent); err != nil {
			return nil, err
		}
		list = append(list, map[string]any{
			"url": url, "status_code": status, "error": orNull(problem), "duration_ms": float64(micros) / 1000,
			"sent_at": fromMicros(sent).Format(stamp),
		})
	}
	return list, rows.Err()
}

// deliveryCounts sums up the webhooks of every session.
func deliveryCounts(ctx context.Context, q querier) (map[string]DeliveryCounts, error) {
	rows, err := q.QueryContext(ctx, `SELECT session_id, state, count(*), coalesce(sum((SELECT count(*) FROM didit_deliveries AS d
		WHERE d.event_id = w.event_id)), 0) FROM didit_webhooks AS w GROUP BY session_id, state`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[string]DeliveryCounts{}
	for rows.Next() {
		var session, state string
		var events, attempts int
		if err := rows.Scan(&session, &state, &events, &attempts); err != nil {
			return nil, err
		}
		c := counts[session]
		c.Events += events
		c.Attempts += attempts
		switch state {
		case "delivered":
			c.Delivered += events
		case "failed":
			c.Failed += events
		case "dropped":
			c.Dropped += events
		case "pending", "held":
			c.Pending += events
		default:
			return nil, fmt.Errorf("webhook in unknown state %q", state)
		}
		counts[session] = c
	}
	return counts, rows.Err()
}
