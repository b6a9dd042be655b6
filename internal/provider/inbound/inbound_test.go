package inbound_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider/inbound"
)

var beginning = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

type box struct {
	inbound.Store
	t     *testing.T
	db    db.DB
	clock *clock.Fixed
	jobs  atomic.Int64 // committed
}

func newBox(t *testing.T, d db.DB) *box {
	t.Helper()
	keyset, err := secret.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keyset, secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	c := clock.NewFixed(beginning)
	return &box{Store: inbound.NewStore(d, vault, c), t: t, db: d, clock: c}
}

// keep stores a call whose job is one row count, and gives its id.
func (b *box) keep(m inbound.Message, header http.Header) (id int64, known bool) {
	b.t.Helper()
	known, err := b.Keep(b.t.Context(), m, header, func(_ context.Context, tx db.Tx, stored int64) error {
		id = stored
		tx.AfterCommit(func() { b.jobs.Add(1) })
		return nil
	})
	if err != nil {
		b.t.Error(err)
	}
	return id, known
}

func (b *box) count() (n int) {
	b.t.Helper()
	if err := b.db.QueryRow(b.t.Context(), `SELECT COUNT(*) FROM inbound_messages`).Scan(&n); err != nil {
		b.t.Fatal(err)
	}
	return n
}

func call(event, content string) inbound.Message {
	return inbound.Message{Provider: "udun", EventID: event, ContentKey: inbound.Digest(content), Signature: "md5", Body: []byte(content)}
}

func TestKeptAsItCame(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBox(t, d)
		m := call("trade/3", "body=\xff\x00{}")
		id, known := b.keep(m, http.Header{"X-Sign": {"a\x00b", "second"}, "Content-Type": {strings.Repeat("é", 501)}, "Cookie": {"session"}, "Authorization": {"key"}})
		if known {
			t.Error("known before it came")
		}
		got, err := b.Find(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		m.ID, m.Outcome, m.ReceivedAt = id, inbound.Received, beginning
		m.Header = map[string]string{"X-Sign": "ab", "Content-Type": strings.Repeat("é", 500)}
		if diff := cmp.Diff(m, got); diff != "" {
			t.Error(diff)
		}

		var headers, body []byte
		if err := d.QueryRow(t.Context(), `SELECT headers, body FROM inbound_messages WHERE id = $1`, id).Scan(&headers, &body); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(headers, []byte("X-Sign")) || bytes.Contains(body, []byte("body=")) {
			t.Error("not sealed")
		}
		if _, err := b.Find(t.Context(), id+1); !errors.Is(err, db.ErrNoRows) {
			t.Errorf("a message that is not there: %v", err)
		}
	})
}

// One event, under one name or saying one thing, is one message with one job, however often and at once it comes.
func TestRepetitions(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBox(t, d)
		var all sync.WaitGroup
		var fresh atomic.Int64
		for i := range 24 {
			all.Go(func() {
				m := call("same name", fmt.Sprint("content ", i))
				if i%2 == 0 {
					m = call(fmt.Sprint("name ", i), "same content")
				}
				if _, known := b.keep(m, nil); !known {
					fresh.Add(1)
				}
			})
		}
		all.Wait()
		if b.count() != 2 || fresh.Load() != 2 || b.jobs.Load() != 2 {
			t.Errorf("%d messages, %d new, %d jobs; want 2 of each", b.count(), fresh.Load(), b.jobs.Load())
		}
		other := call("same name", "same content")
		other.Provider = "didit"
		if _, known := b.keep(other, nil); known {
			t.Error("another provider's event is taken for the same")
		}
		// A name that is too long, or no text, is cut to what can be stored, and still recognised.
		for _, name := range []string{strings.Repeat("x", 2000), "a\x00\xff"} {
			for n, want := range []bool{false, true} {
				if _, known := b.keep(call(name, fmt.Sprint(len(name), n)), nil); known != want {
					t.Errorf("delivery %d of %.10q: known %t", n, name, known)
				}
			}
		}
	})
}

// Without its job a message does not exist: it is not answered, and comes again.
func TestNothingIsKeptWithoutItsJob(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBox(t, d)
		failed := errors.New("no queue")
		known, err := b.Keep(t.Context(), call("a", "a"), nil, func(context.Context, db.Tx, int64) error { return failed })
		if known || !errors.Is(err, failed) || b.count() != 0 {
			t.Errorf("known %t, %v, %d messages", known, err, b.count())
		}
		if _, known := b.keep(call("a", "a"), nil); known || b.count() != 1 {
			t.Error("the second delivery was not taken")
		}
	})
}

func TestOutcomeAndSweep(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := newBox(t, d)
		id, _ := b.keep(call("a", "a"), nil)
		b.clock.Advance(time.Hour)
		if err := d.RunTx(t.Context(), func(ctx context.Context, tx db.Tx) error { return b.SetOutcome(ctx, tx, id, "applied") }); err != nil {
			t.Error(err)
		}
		if m, err := b.Find(t.Context(), id); err != nil || m.Outcome != "applied" {
			t.Errorf("%+v, %v", m, err)
		}
		var handled time.Time
		if err := d.QueryRow(t.Context(), `SELECT handled_at FROM inbound_messages WHERE id = $1`, id).Scan(&handled); err != nil || !handled.Equal(beginning.Add(time.Hour)) {
			t.Errorf("handled at %v, %v", handled, err)
		}
		for _, step := range []struct {
			at   time.Duration
			left int
		}{{90 * 24 * time.Hour, 1}, {90*24*time.Hour + time.Second, 0}} {
			b.clock.Advance(beginning.Add(step.at).Sub(b.clock.Now()))
			if err := b.Sweep(t.Context()); err != nil || b.count() != step.left {
				t.Errorf("after %s: %d left, %v", step.at, b.count(), err)
			}
		}
	})
}
