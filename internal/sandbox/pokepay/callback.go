package pokepay

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// States of a callback.
const (
	callbackWaiting   = "waiting"   // to be sent when due
	callbackHeld      = "held"      // until the next one has been sent
	callbackDelivered = "delivered" // the receiver answered 2xx
	callbackDropped   = "dropped"   // by a fault
	callbackFailed    = "failed"    // given up
)

// retryWaits are the pauses after each failed attempt; after the last one the callback is given up.
// The issuer's own schedule is unknown (provider/pokepay.md 6.6).
var retryWaits = []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute}

const deliverAtOnce = 8

// hint is the body of a callback. What the issuer sends is unknown (provider/pokepay.md 6.6); ours names the
// object to read again and no more than a receiver needs to find it.
type hint struct {
	Event    string `json:"event"`
	KYCID    int64  `json:"kyc_id"`
	AgentUID string `json:"agent_uid"`
	Status   int    `json:"status"`
	Time     int64  `json:"time"` // unix seconds
}

// enqueueCallback stores the hint that a KYC has changed, with the faults that will befall it.
func (s *Simulator) enqueueCallback(ctx context.Context, tx *sql.Tx, a application) error {
	if s.CallbackURL == "" {
		return nil
	}
	now := s.Clock.Now()
	body, err := json.Marshal(hint{Event: "kyc.updated", KYCID: a.id, AgentUID: a.agentUID, Status: a.status, Time: now.Unix()})
	if err != nil {
		return err
	}
	state, copies := callbackWaiting, 1
	_, forged := s.Faults.Strike(opCallback, fault.ForgeSignature)
	if _, hit := s.Faults.Strike(opCallback, fault.DuplicateWebhook); hit {
		copies = 2
	}
	var holding bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM pokepay_callbacks WHERE state = $1)`, callbackHeld).Scan(&holding); err != nil {
		return err
	}
	if !holding { // the one after a held callback has to go out, or neither would
		if _, hit := s.Faults.Strike(opCallback, fault.Reorder); hit {
			state = callbackHeld
		}
	}
	if _, hit := s.Faults.Strike(opCallback, fault.DropWebhook); hit {
		state = callbackDropped
	}
	for range copies {
		if _, err := tx.ExecContext(ctx, `INSERT INTO pokepay_callbacks (kyc_id, body, state, forged, attempts, due_at, last_error, created_at)
			VALUES ($1, $2, $3, $4, 0, $5, '', $5)`, a.id, string(body), state, forged, now.UnixMicro()); err != nil {
			return err
		}
	}
	return nil
}

// callback is one that is due.
type callback struct {
	id       int64
	body     []byte
	forged   bool
	attempts int
}

// courier sends callbacks side by side, so that a receiver's slow answer holds up only itself.
type courier struct {
	wait     sync.WaitGroup
	mu       sync.Mutex
	onTheWay map[int64]bool // by the callback's id
}

// deliverDue sets out with the callbacks that are due, and does not wait for them.
func (s *Simulator) deliverDue(ctx context.Context) (worked bool, err error) {
	// Looked at before the database: what comes back in between may still be read there as waiting.
	s.courier.mu.Lock()
	onTheWay := maps.Clone(s.courier.onTheWay)
	s.courier.mu.Unlock()
	free := deliverAtOnce - len(onTheWay)
	due, err := s.dueCallbacks(ctx, deliverAtOnce)
	if err != nil {
		return false, err
	}
	for _, c := range due {
		if free == 0 {
			break
		}
		if onTheWay[c.id] {
			continue
		}
		free--
		s.courier.mu.Lock()
		s.courier.onTheWay[c.id] = true
		s.courier.mu.Unlock()
		s.courier.wait.Go(func() { s.deliver(ctx, c) })
	}
	return false, nil // each one stirs when it has been recorded
}

// deliver sends one callback and records how that went.
func (s *Simulator) deliver(ctx context.Context, c callback) {
	failure := s.post(ctx, c)
	stopped := ctx.Err() != nil && failure != nil // the receiver has not failed: the next Run sends it again
	var err error
	if !stopped {
		err = s.recordDelivery(context.WithoutCancel(ctx), c, failure)
	}
	s.courier.mu.Lock()
	delete(s.courier.onTheWay, c.id)
	s.courier.mu.Unlock()
	if err != nil {
		s.Log.ErrorContext(ctx, "simulated pokepay: record callback", "callback", c.id, "error", err)
		return // not at once again, or a database that cannot be written would make us flood the receiver
	}
	s.stir()
}

// dueCallbacks lists the callbacks whose time has come, also those on the way, the longest due first.
func (s *Simulator) dueCallbacks(ctx context.Context, limit int) ([]callback, error) {
	rows, err := s.DB.QueryContext(ctx, `SELECT id, body, forged, attempts FROM pokepay_callbacks
		WHERE state = $1 AND due_at <= $2 ORDER BY due_at, id LIMIT $3`, callbackWaiting, s.Clock.Now().UnixMicro(), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var due []callback
	for rows.Next() {
		var c callback
		if err := rows.Scan(&c.id, &c.body, &c.forged, &c.attempts); err != nil {
			return nil, err
		}
		due = append(due, c)
	}
	return due, rows.Err()
}

// post sends a callback once; nil means that the receiver took it.
func (s *Simulator) post(ctx context.Context, c callback) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.CallbackURL, bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "pokepay-simulator")
	if s.CallbackSecret != "" || c.forged {
		secret := s.CallbackSecret
		if c.forged {
			secret = "forged " + secret
		}
		at := s.Clock.Now().Unix()
		req.Header.Set("X-Sandbox-Timestamp", strconv.FormatInt(at, 10))
		req.Header.Set("X-Sandbox-Signature", sign(secret, at, c.body))
	}
	resp, err := s.outgoing.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}

// withoutURL takes the address out of an http.Client's error: a callback's path and an image's query are
// secrets.
func withoutURL(err error) error {
	var failure *url.Error
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err
}

// sign is the simulator's own signature, not the issuer's (provider/pokepay.md 6.7).
func sign(secret string, at int64, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.", at)
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// recordDelivery writes down how an attempt went and lets go of an earlier callback that waited for this one.
func (s *Simulator) recordDelivery(ctx context.Context, c callback, failure error) error {
	now := s.Clock.Now()
	state, due, text := callbackDelivered, now, ""
	if failure != nil {
		text = failure.Error()
		if c.attempts < len(retryWaits) {
			state, due = callbackWaiting, now.Add(retryWaits[c.attempts])
		} else {
			state = callbackFailed
		}
		s.Log.InfoContext(ctx, "simulated pokepay: callback not taken", "callback", c.id, "attempt", c.attempts+1, "error", failure)
	}
	return s.inTx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE pokepay_callbacks SET state = $1, due_at = $2, attempts = $3, last_error = $4 WHERE id = $5`,
			state, due.UnixMicro(), c.attempts+1, text, c.id)
		_, err2 := tx.ExecContext(ctx, `UPDATE pokepay_callbacks SET state = $1, due_at = $2 WHERE state = $3 AND id < $4`,
			callbackWaiting, now.UnixMicro(), callbackHeld, c.id)
		return errors.Join(err, err2)
	})
}
