package udun

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// ErrBadTelling says that callbacks cannot be told like that.
var ErrBadTelling = errors.New("bad option")

// Telling says how the callbacks of a trade differ from good ones. The zero value is a good one, sent once. It changes what is
// told, never what the gateway holds.
type Telling struct {
	// Statuses are told instead of the trade's own, in this order: [3,1] goes backwards, [2] is the conflict of
	// provider/udun section 5.2. A deposit of statuses without 2 and 3 has not arrived yet.
	Statuses   []int `json:"statuses,omitempty"`
	Duplicates int   `json:"duplicates,omitempty"` // further copies of each call, the same in every byte
	DelayMS    int   `json:"delay_ms,omitempty"`   // wait before the first try
	Drop       bool  `json:"drop,omitempty"`       // never sent, unless by hand
	Reorder    bool  `json:"reorder,omitempty"`    // held back until the next callback, of any trade, has been sent

	Envelope

	TxID  bool   `json:"txid,omitempty"`  // the field txId is spelled txid
	Types string `json:"types,omitempty"` // "numbers": numbers are no texts; "strings": statuses are texts, too
	// Body replaces fields of the body, and removes those that are null: other decimals, an unknown coin, an amount of -1.
	Body map[string]json.RawMessage `json:"body,omitempty"`
}

// Envelope says how a callback is signed and wrapped.
type Envelope struct {
	Sign         string `json:"sign,omitempty"`          // "wrong": with another key; "missing"; "upper": in upper case
	TimestampAge string `json:"timestamp_age,omitempty"` // how old its timestamp is, such as "1h"
	Seconds      bool   `json:"seconds,omitempty"`       // the timestamp is in seconds
	JSON         bool   `json:"json,omitempty"`          // a JSON object instead of a form
}

const (
	maxDuplicates = 100
	maxDelayMS    = 600_000
	staleness     = "1h"
)

func (t Telling) check() error {
	wrong := func(text string) error { return fmt.Errorf("%w: %s", ErrBadTelling, text) }
	switch age, err := time.ParseDuration(t.TimestampAge); {
	case len(t.Statuses) > 20 || !rawStatuses(t.Statuses):
		return wrong("statuses must be at most 20 numbers from 0 to 4")
	case t.Duplicates < 0 || t.Duplicates > maxDuplicates:
		return wrong(fmt.Sprintf("duplicates must be from 0 to %d", maxDuplicates))
	case t.DelayMS < 0 || t.DelayMS > maxDelayMS:
		return wrong(fmt.Sprintf("delay_ms must be from 0 to %d", maxDelayMS))
	case t.Sign != "" && t.Sign != "wrong" && t.Sign != "missing" && t.Sign != "upper":
		return wrong("sign must be wrong, missing or upper")
	case t.TimestampAge != "" && (err != nil || age < 0):
		return wrong("timestamp_age must be a duration with a unit, such as 1h")
	case t.Types != "" && t.Types != "numbers" && t.Types != "strings":
		return wrong("types must be numbers or strings")
	}
	return nil
}

// body is what a callback says (provider/udun section 5.1).
func (t *trade) body(status int) (string, error) {
	txID, height := t.txID, t.blockHigh
	if t.kind == deposit && status == StatusReview {
		height = -1
	}
	if t.kind == withdrawal && status != StatusSucceeded {
		txID, height = "", -1 // not sent as far as this status knows
	}
	numbers := map[string]string{
		"amount": t.amount.String(), "blockHigh": strconv.FormatInt(height, 10), "decimals": strconv.Itoa(t.coin.decimals), "fee": t.fee,
		"mainCoinType": t.coin.chain.mainCoinType, "tradeId": t.id,
	}
	statuses := map[string]int{"status": status, "tradeType": t.kind}
	out := map[string]any{"address": t.address, "coinType": t.coin.coinType, "memo": t.memo, "txId": txID}
	for name, digits := range numbers {
		out[name] = digits
		if t.telling.Types == "numbers" {
			out[name] = json.RawMessage(digits)
		}
	}
	for name, number := range statuses {
		out[name] = number
		if t.telling.Types == "strings" {
			out[name] = strconv.Itoa(number)
		}
	}
	if t.kind == withdrawal {
		out["businessId"] = t.businessID
	}
	if t.telling.TxID {
		delete(out, "txId")
		out["txid"] = txID
	}
	for name, value := range t.telling.Body {
		out[name] = value
		if string(value) == "null" {
			delete(out, name)
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(out) // in the order of names, as the gateway's
	return strings.TrimSuffix(text.String(), "\n"), err
}

// States of a callback.
const (
	callbackWaiting   = "waiting"   // to be sent when due
	callbackHeld      = "held"      // until the next one has been sent
	callbackDelivered = "delivered" // the receiver answered 2xx
	callbackDropped   = "dropped"   // never sent
	callbackFailed    = "failed"    // given up
)

// tell stores the callbacks of a trade that has come to statuses, with the faults that will befall them.
func (s *Simulator) tell(ctx context.Context, tx *sql.Tx, t *trade, statuses ...int) error {
	if t.callURL == "" {
		return nil
	}
	if len(t.telling.Statuses) > 0 {
		statuses = t.telling.Statuses
	}
	for _, status := range statuses {
		body, err := t.body(status)
		if err != nil {
			return err
		}
		if err := s.enqueue(ctx, tx, t, status, body); err != nil {
			return err
		}
	}
	return nil
}

func (s *Simulator) enqueue(ctx context.Context, tx *sql.Tx, t *trade, status int, body string) error {
	now := s.Clock.Now()
	how, state, copies, due := t.telling.Envelope, callbackWaiting, 1+t.telling.Duplicates, now.Add(time.Duration(t.telling.DelayMS)*time.Millisecond)
	if _, hit := s.Faults.Strike(opCallback, fault.ForgeSignature); hit {
		how.Sign = "wrong"
	}
	if _, hit := s.Faults.Strike(opCallback, fault.StaleTimestamp); hit {
		how.TimestampAge = staleness
	}
	if _, hit := s.Faults.Strike(opCallback, fault.DuplicateWebhook); hit {
		copies++
	}
	if rule, hit := s.Faults.Strike(opCallback, fault.Delay); hit {
		due = due.Add(rule.Delay())
	}
	var holding bool
	if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM udun_callbacks WHERE state = 'held')`).Scan(&holding); err != nil {
		return err
	}
	if !holding { // the one after a held callback has to go out, or neither would
		_, hit := s.Faults.Strike(opCallback, fault.Reorder)
		if hit || t.telling.Reorder {
			state = callbackHeld
		}
	}
	if _, hit := s.Faults.Strike(opCallback, fault.DropWebhook); hit || t.telling.Drop {
		state = callbackDropped
	}
	envelope, err := json.Marshal(how)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO udun_callbacks (trade, status, call_url, body, envelope, copies, state, attempts, round, due_at, last_error, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $8, '', $9)`,
		t.number, status, t.callURL, body, string(envelope), copies, state, due.UnixMicro(), now.UnixMicro())
	return err
}

// Resend tells once more how a trade stands, signed again, as the gateway's console does; a good callback, whatever was wrong
// with the ones before. It returns ErrUnknownTrade, also for a trade that nobody is told of.
func (s *Simulator) Resend(ctx context.Context, k Key) (TradeState, error) {
	var t trade
	return s.changed(s.inTx(ctx, func(tx *sql.Tx) (err error) {
		if t, err = findTrade(ctx, tx, k); err != nil {
			return err
		}
		t.telling = Telling{}
		body, err := t.body(t.status)
		if err != nil {
			return err
		}
		var id int64
		err = tx.QueryRowContext(ctx, `UPDATE udun_callbacks SET state = 'waiting', status = $1, body = $2, envelope = '{}', copies = 1, round = round + 1,
			due_at = $3, attempts = 0, last_error = '' WHERE id = (SELECT max(id) FROM udun_callbacks WHERE trade = $4) RETURNING id`,
			t.status, body, s.Clock.Now().UnixMicro(), t.number).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrUnknownTrade
		}
		return err
	}), &t)
}

// retryWaits are the pauses after failed tries; the last one is repeated. The gateway's own schedule is unknown
// (provider/udun section 5.3).
var retryWaits = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute}

// deliverAtOnce bounds the calls on the way.
const deliverAtOnce = 16

// callback is one that is due.
type callback struct {
	id, trade       int64
	url, body       string
	envelope        Envelope
	copies          int
	attempts, round int
}

// courier sends callbacks of different trades side by side, so that a receiver's slow answer holds up only its own trade, and
// those of one trade one after the other.
type courier struct {
	wait     sync.WaitGroup
	mu       sync.Mutex
	onTheWay map[int64]bool // by the trade's number
}

// deliverDue sets out with the callbacks that are due, and does not wait for them.
func (s *Simulator) deliverDue(ctx context.Context) (worked bool, err error) {
	// Looked at before the database: what comes back in between may still be read there as waiting.
	s.courier.mu.Lock()
	onTheWay := maps.Clone(s.courier.onTheWay)
	s.courier.mu.Unlock()
	free := deliverAtOnce - len(onTheWay)
	due, err := s.dueCallbacks(ctx, 2*deliverAtOnce)
	if err != nil {
		return false, err
	}
	for _, c := range due {
		if free == 0 {
			break
		}
		if onTheWay[c.trade] {
			continue
		}
		free--
		s.courier.mu.Lock()
		s.courier.onTheWay[c.trade] = true
		s.courier.mu.Unlock()
		s.courier.wait.Go(func() { s.deliver(ctx, c) })
	}
	return false, nil // each one stirs when it has been recorded
}

// dueCallbacks lists the first due callback of each trade, also those on the way, the longest due first.
func (s *Simulator) dueCallbacks(ctx context.Context, limit int) ([]callback, error) {
	rows, err := s.DB.QueryContext(ctx, `SELECT id, trade, call_url, body, envelope, copies, attempts, round FROM udun_callbacks AS c
		WHERE state = 'waiting' AND due_at <= $1 AND NOT EXISTS (SELECT 1 FROM udun_callbacks AS e WHERE e.trade = c.trade
			AND e.state = 'waiting' AND e.due_at <= $1 AND (e.due_at, e.id) < (c.due_at, c.id))
		ORDER BY due_at, id LIMIT $2`, s.Clock.Now().UnixMicro(), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var due []callback
	for rows.Next() {
		var c callback
		var envelope []byte
		if err := rows.Scan(&c.id, &c.trade, &c.url, &c.body, &envelope, &c.copies, &c.attempts, &c.round); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(envelope, &c.envelope); err != nil {
			return nil, err
		}
		due = append(due, c)
	}
	return due, rows.Err()
}

// deliver sends one callback, with its copies, and records how that went.
func (s *Simulator) deliver(ctx context.Context, c callback) {
	contentType, content, failure := s.wrap(c)
	for range c.copies {
		if failure == nil {
			failure = s.post(ctx, c.url, contentType, content)
		}
	}
	stopped := ctx.Err() != nil && failure != nil // the receiver has not failed: the next Run sends it again
	var err error
	if !stopped {
		err = s.recordDelivery(context.WithoutCancel(ctx), c, failure)
	}
	s.courier.mu.Lock()
	delete(s.courier.onTheWay, c.trade)
	s.courier.mu.Unlock()
	if err != nil {
		s.Log.ErrorContext(ctx, "simulated udun: record callback", "callback", c.id, "error", err)
		return // not at once again, or a database that cannot be written would make us flood the receiver
	}
	s.stir()
}

// wrap signs a callback with the present time and puts it into its form.
func (s *Simulator) wrap(c callback) (contentType, content string, err error) {
	at := s.Clock.Now()
	if c.envelope.TimestampAge != "" {
		age, err := time.ParseDuration(c.envelope.TimestampAge)
		if err != nil {
			return "", "", err
		}
		at = at.Add(-age)
	}
	timestamp := strconv.FormatInt(at.UnixMilli(), 10)
	if c.envelope.Seconds {
		timestamp = strconv.FormatInt(at.Unix(), 10)
	}
	nonce := newNonce()
	fields := map[string]string{"timestamp": timestamp, "nonce": nonce, "body": c.body, "sign": sign(c.body, s.APIKey, nonce, timestamp)}
	switch c.envelope.Sign {
	case "wrong":
		fields["sign"] = sign(c.body, "not "+s.APIKey, nonce, timestamp)
	case "upper":
		fields["sign"] = strings.ToUpper(fields["sign"])
	case "missing":
		delete(fields, "sign")
	}
	if c.envelope.JSON {
		raw, err := json.Marshal(fields)
		return "application/json", string(raw), err
	}
	form := url.Values{}
	for name, value := range fields {
		form.Set(name, value)
	}
	return "application/x-www-form-urlencoded", form.Encode(), nil
}

// newNonce makes six letters.
func newNonce() string {
	letters := make([]byte, 6)
	rand.Read(letters)
	for i, b := range letters {
		letters[i] = 'A' + b%26
	}
	return string(letters)
}

// post sends a callback once; nil means that the receiver took it. Any success will do, whatever its text says.
func (s *Simulator) post(ctx context.Context, to, contentType, content string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(content))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("User-Agent", "udun-simulator")
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

// withoutURL takes the address out of an http.Client's error: a callback's path is a secret.
func withoutURL(err error) error {
	var failure *url.Error
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err
}

// recordDelivery writes down how a try went and lets go of an earlier callback that waited for this one.
func (s *Simulator) recordDelivery(ctx context.Context, c callback, failure error) error {
	now := s.Clock.Now()
	state, due, text := callbackDelivered, now, ""
	if failure != nil {
		text, state = failure.Error(), callbackFailed
		if c.attempts+1 < s.Tries {
			wait := retryWaits[min(c.attempts, len(retryWaits)-1)]
			state, due = callbackWaiting, now.Add(time.Duration(float64(wait)/s.TimeScale))
		}
		s.Log.InfoContext(ctx, "simulated udun: callback not taken", "callback", c.id, "try", c.attempts+1, "error", failure)
	}
	return s.inTx(ctx, func(tx *sql.Tx) error {
		// One that was sent again by hand meanwhile has begun a new round, which this outcome does not concern.
		_, err := tx.ExecContext(ctx, `UPDATE udun_callbacks SET state = $1, due_at = $2, attempts = attempts + 1, last_error = $3
			WHERE id = $4 AND round = $5`, state, due.UnixMicro(), text, c.id, c.round)
		_, err2 := tx.ExecContext(ctx, `UPDATE udun_callbacks SET state = 'waiting', due_at = $1 WHERE state = 'held' AND id < $2`, now.UnixMicro(), c.id)
		return errors.Join(err, err2)
	})
}

// callbacksOf sums up the callbacks of one trade.
func callbacksOf(ctx context.Context, q querier, number int64) (CallbackCounts, error) {
	counts, err := callbackCounts(ctx, q, `SELECT trade, state, count(*), sum(attempts) FROM udun_callbacks WHERE trade = $1 GROUP BY trade, state`, number)
	return counts[number], err
}

// callbackCounts sums up callbacks by their trade's number; query gives trade, state, number and tries.
func callbackCounts(ctx context.Context, q querier, query string, args ...any) (map[int64]CallbackCounts, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	counts := map[int64]CallbackCounts{}
	for rows.Next() {
		var number int64
		var state string
		var n, attempts int
		if err := rows.Scan(&number, &state, &n, &attempts); err != nil {
			return nil, err
		}
		c := counts[number]
		c.Attempts += attempts
		switch state {
		case callbackDelivered:
			c.Delivered += n
		case callbackDropped:
			c.Dropped += n
		case callbackFailed:
			c.Failed += n
		default:
			c.Waiting += n
		}
		counts[number] = c
	}
	return counts, rows.Err()
}
