package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// The form that the physical-card route publishes (contract/money 6.9); it fits UUIDs too.
var idempotencyKeyForm = regexp.MustCompile(`^[A-Za-z0-9:_.-]{8,128}$`)

const (
	keptAnswers = 24 * time.Hour
	// keyMargin is what a request may take beyond its time limit, to write down what became of it.
	keyMargin = 30 * time.Second
)

// keyLease is after how long a key whose first request never ended (its replica died) may be used again: no request that
// lives lasts so long.
func (a *API) keyLease() time.Duration { return a.Timeout + keyMargin }

// idempotent answers a repeated request with the stored answer of the first: same key and same request the stored
// answer, same key and another request 422, first request still running 409.
func (a *API) idempotent(ctx huma.Context, next func(huma.Context)) {
	key := ctx.Header("Idempotency-Key")
	if key == "" {
		next(ctx)
		return
	}
	if !idempotencyKeyForm.MatchString(key) {
		a.rejectOperation(ctx, ErrKeyInvalid)
		return
	}
	body, err := io.ReadAll(ctx.BodyReader())
	if err != nil {
		a.rejectOperation(ctx, unreadable(err))
		return
	}
	url := ctx.URL()
	entry := idempotencyEntry{
		key:     a.Vault.Hash("idempotency-key", requestFrom(ctx.Context()).caller, key),
		request: a.Vault.Hash("idempotency-request", ctx.Method(), url.Path, url.RawQuery, string(body)),
	}
	stored, err := a.claimKey(ctx.Context(), entry)
	switch {
	case err != nil:
		a.rejectOperation(ctx, err)
		return
	case stored != nil:
		ctx.SetHeader("Content-Type", stored.contentType)
		ctx.SetHeader("Idempotent-Replayed", "true")
		ctx.SetStatus(stored.status)
		_, _ = ctx.BodyWriter().Write(stored.body)
		return
	}
	rec := &recorder{humaContext: bodyContext{ctx, bytes.NewReader(body)}}
	finished := false
	defer func() {
		// The caller may have gone; the answer is kept all the same. After a panic the key is given back.
		done, cancel := context.WithTimeout(context.WithoutCancel(ctx.Context()), 5*time.Second)
		defer cancel()
		if err := a.keepAnswer(done, entry, rec, finished); err != nil {
			a.Log.ErrorContext(done, "answer not kept for idempotency key", "request_id", RequestID(done), "error", err)
		}
	}()
	next(rec)
	finished = true
}

type idempotencyEntry struct{ key, request []byte }

type keptAnswer struct {
	status      int
	contentType string
	body        []byte
}

func (a *API) place(e idempotencyEntry) secret.Place {
	return secret.Place{Table: "idempotency_keys", Column: "body", Row: string(e.key)}
}

// claimKey takes the key for this request, or returns the answer that was kept, or says why neither can be.
func (a *API) claimKey(ctx context.Context, e idempotencyEntry) (*keptAnswer, error) {
	var kept *keptAnswer
	now := a.Clock.Now()
	err := a.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		kept = nil
		n, err := tx.Exec(ctx, `INSERT INTO idempotency_keys (key_hash, request_hash, created_at) VALUES ($1, $2, $3)
			ON CONFLICT (key_hash) DO NOTHING`, e.key, e.request, now)
		if err != nil || n == 1 {
			return err
		}
		var request, sealed []byte
		var status *int
		var contentType *string
		var created time.Time
		err = tx.QueryRow(ctx, `SELECT request_hash, status, content_type, body, created_at FROM idempotency_keys WHERE key_hash = $1`+
			db.ForUpdate(tx), e.key).Scan(&request, &status, &contentType, &sealed, &created)
		if errors.Is(err, db.ErrNoRows) {
			return ErrKeyInUse // given back this very moment
		}
		if err != nil {
			return err
		}
		age := now.Sub(created)
		switch {
		case age > keptAnswers, status == nil && age > a.keyLease():
			_, err = tx.Exec(ctx, `UPDATE idempotency_keys SET request_hash = $2, status = NULL, content_type = NULL, body = NULL, created_at = $3
				WHERE key_hash = $1`, e.key, e.request, now)
			return err
		case !bytes.Equal(request, e.request):
			return ErrKeyReused
		case status == nil:
			return ErrKeyInUse
		}
		plain, err := a.Vault.Open(sealed, a.place(e))
		if err != nil {
			return err
		}
		kept = &keptAnswer{status: *status, contentType: *contentType, body: plain}
		return nil
	})
	return kept, err
}

// keepAnswer stores what may be repeated. What may come out differently next time (a token that is renewed, a limit, a
// fault of ours) is not kept: the key is given back.
func (a *API) keepAnswer(ctx context.Context, e idempotencyEntry, rec *recorder, finished bool) error {
	status := rec.Status()
	final := finished && status >= 200 && status < 500 &&
		status != http.StatusUnauthorized && status != http.StatusConflict && status != http.StatusTooManyRequests
	if !final {
		_, err := a.DB.Exec(ctx, `DELETE FROM idempotency_keys WHERE key_hash = $1 AND status IS NULL`, e.key)
		return err
	}
	sealed, err := a.Vault.Seal(rec.body.Bytes(), a.place(e))
	if err != nil {
		return err
	}
	_, err = a.DB.Exec(ctx, `UPDATE idempotency_keys SET status = $2, content_type = $3, body = $4 WHERE key_hash = $1 AND request_hash = $5`,
		e.key, status, rec.contentType, sealed, e.request)
	return err
}

// SweepIdempotencyKeys removes kept answers that have run out.
func (a *API) SweepIdempotencyKeys(ctx context.Context) error {
	return db.Sweep(ctx, a.DB, "idempotency_keys", `created_at < $1`, a.Clock.Now().Add(-keptAnswers))
}

// recorder passes an answer on and keeps a copy.
type recorder struct {
	humaContext
	body        bytes.Buffer
	contentType string
}

func (r *recorder) BodyWriter() io.Writer { return io.MultiWriter(&r.body, r.humaContext.BodyWriter()) }
func (r *recorder) SetHeader(name, value string) {
	if http.CanonicalHeaderKey(name) == "Content-Type" {
		r.contentType = value
	}
	r.humaContext.SetHeader(name, value)
}

// Unwrap lets the adapter find its own context.
func (r *recorder) Unwrap() huma.Context { return r.humaContext }
