package api_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

const (
	firstKey = "key-00000001"
	alice    = "Bearer token-of-alice"
	bob      = "Bearer token-of-bob"
)

// eachEngine runs a test against an edge on each engine.
func eachEngine(t *testing.T, test func(t *testing.T, e *edge, d db.DB)) {
	t.Helper()
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) { test(t, newEdge(t, d), d) })
}

func (e *edge) order(key, body string, headers ...string) reply {
	e.t.Helper()
	return e.post("/orders", body, append([]string{"Authorization", alice, "Idempotency-Key", key}, headers...)...)
}

// replayed fails the test unless the answer is a stored one, equal to the first.
func (r reply) replayed(t *testing.T, first reply) {
	t.Helper()
	if r.status != first.status || r.raw != first.raw || r.header.Get("Content-Type") != first.header.Get("Content-Type") {
		t.Errorf("answer %d %s %s, the first was %d %s %s", r.status, r.header.Get("Content-Type"), r.raw, first.status, first.header.Get("Content-Type"), first.raw)
	}
	if r.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("replayed: %q, the first %q", r.header.Get("Idempotent-Replayed"), first.header.Get("Idempotent-Replayed"))
	}
}

func (e *edge) effects(t *testing.T, want int64) {
	t.Helper()
	if got := e.orders.Load(); got != want {
		t.Errorf("%d effects, want %d", got, want)
	}
}

func TestARepeatedRequestGetsTheStoredAnswer(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, _ db.DB) {
		first := e.order(firstKey, `{"name":"a"}`).ok(t)
		if first.body["number"] != 1.0 || first.header.Get("Location") != "/orders/1" || first.header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("the first answer lost something: %s %v", first.raw, first.header)
		}
		e.order(firstKey, `{"name":"a"}`).replayed(t, first)
		// The language and the form of the path do not make it another request.
		for _, path := range []string{"/orders/", "/api/v1/orders", "//api/v1//orders/"} {
			e.post(path, `{"name":"a"}`, "Authorization", alice, "Idempotency-Key", firstKey, "Accept-Language", "ar").replayed(t, first)
		}
		e.effects(t, 1)
		// Another key, and none, are other requests.
		e.order("key-00000002", `{"name":"a"}`).ok(t)
		e.post("/orders", `{"name":"a"}`, "Authorization", alice).ok(t)
		e.post("/orders", `{"name":"a"}`, "Authorization", alice).ok(t)
		e.effects(t, 4)
	})
}

func TestAKeyIsForOneRequest(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, _ db.DB) {
		first := e.order(firstKey, `{"name":"a"}`).ok(t)
		e.order(firstKey, `{"name":"b"}`).refused(t, 422, "IDEMPOTENCY_KEY_REUSED")
		e.order(firstKey, `{"name":"a"} `).refused(t, 422, "IDEMPOTENCY_KEY_REUSED")
		e.post("/orders?x=1", `{"name":"a"}`, "Authorization", alice, "Idempotency-Key", firstKey).refused(t, 422, "IDEMPOTENCY_KEY_REUSED")
		e.order(firstKey, `{"name":"a"}`).replayed(t, first)
		e.effects(t, 1)
		// Nobody meets another one's key.
		if r := e.order(firstKey, `{"name":"a"}`, "Authorization", bob).ok(t); r.body["number"] != 2.0 {
			t.Errorf("bob got alice's answer: %s", r.raw)
		}
		e.order(firstKey, `{"name":"a"}`).replayed(t, first)
		// What reads is not kept.
		e.get("/things", "Idempotency-Key", firstKey).ok(t)
		e.get("/things", "Idempotency-Key", "!").ok(t)
		// A token is asked for before a key is looked at.
		e.order(firstKey, `{"name":"a"}`, "Authorization", "Bearer stale").refused(t, 401, "UNAUTHENTICATED")
		e.effects(t, 2)
	})
}

// Whoever need not say who they are cannot make us keep anything.
func TestKeysOfStrangersAreNotLookedAt(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, d db.DB) {
		for i := range 2 {
			for _, token := range []string{"", alice} {
				before := e.orders.Load()
				if r := e.post("/open", `{"name":"a"}`, "Idempotency-Key", firstKey, "Authorization", token).ok(t); r.header.Get("Idempotent-Replayed") != "" {
					t.Errorf("answer %s %v", r.raw, r.header)
				}
				e.effects(t, before+1)
			}
			e.post("/hook", "x", "Idempotency-Key", fmt.Sprintf("key-%08d", i)).ok(t)
			e.post("/hook", "forged", "Idempotency-Key", fmt.Sprintf("key-%08d-forged", i)).refused(t, 401, "UNAUTHENTICATED")
			e.post("/open", `{"name":"a"`, "Idempotency-Key", "!").refused(t, 422, "MALFORMED_REQUEST")
		}
		var kept int
		if err := d.QueryRow(t.Context(), "SELECT COUNT(*) FROM idempotency_keys").Scan(&kept); err != nil || kept != 0 {
			t.Errorf("%d answers are kept, %v", kept, err)
		}
	})
}

func TestFormOfKeys(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, d db.DB) {
		for _, key := range []string{"1234567", strings.Repeat("x", 129), "with space", "名名名名名名名名", "abcdefg/", "abc\tdefgh", "'; DROP TABLE users; --"} {
			r := e.order(key, `{}`).refused(t, 400, "IDEMPOTENCY_KEY_INVALID")
			if strings.Contains(r.raw, "DROP") {
				t.Errorf("the answer repeats the key: %s", r.raw)
			}
		}
		e.effects(t, 0)
		for i, key := range []string{"12345678", strings.Repeat("x", 128), "5d8c3b8e-6f0a-4c55-9d0e-0a4c7a3b2f10", "a:b_c.d-E:9"} {
			e.order(key, `{}`).ok(t)
			e.effects(t, int64(i+1))
		}
	})
}

func TestARequestInFlight(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, _ db.DB) {
		running, release := make(chan struct{}), make(chan struct{})
		hold := func(context.Context) { close(running); <-release }
		e.hold.Store(&hold)
		firstAnswer := make(chan reply, 1)
		go func() { firstAnswer <- e.order(firstKey, `{"name":"a"}`) }()
		<-running
		e.hold.Store(nil)
		e.order(firstKey, `{"name":"a"}`).refused(t, 409, "IDEMPOTENCY_KEY_IN_USE")
		e.order(firstKey, `{"name":"b"}`).refused(t, 422, "IDEMPOTENCY_KEY_REUSED")
		e.order(firstKey, `{"name":"a"}`, "Authorization", bob).ok(t)
		close(release)
		first := (<-firstAnswer).ok(t)
		e.order(firstKey, `{"name":"a"}`).replayed(t, first)
		e.effects(t, 2)
	})
}

func TestSixtyFourAtOnceAreOne(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, _ db.DB) {
		const callers = 64
		start := make(chan struct{})
		answers := make([]reply, callers)
		var all sync.WaitGroup
		for i := range callers {
			all.Go(func() {
				<-start
				answers[i] = e.order(firstKey, `{"name":"a"}`)
			})
		}
		close(start)
		all.Wait()
		e.effects(t, 1)
		var good reply
		for _, r := range answers {
			switch r.status {
			case 200:
				if good.raw != "" && good.raw != r.raw {
					t.Errorf("two answers to one request: %s and %s", good.raw, r.raw)
				}
				good = r
			case 409:
				r.refused(t, 409, "IDEMPOTENCY_KEY_IN_USE")
			default:
				t.Errorf("answer %d %s", r.status, r.raw)
			}
		}
		if good.raw == "" {
			t.Error("nobody got the answer")
		}
		if r := e.order(firstKey, `{"name":"a"}`).ok(t); r.raw != good.raw {
			t.Errorf("later another answer: %s", r.raw)
		}
	})
}

func TestWhatMayComeOutDifferentlyIsNotKept(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, _ db.DB) {
		key := 0
		for _, tt := range []struct {
			err  error
			kept bool
		}{
			{errors.New("a fault of ours"), false}, {api.ErrUnavailable, false}, {api.ErrTimeout, false}, {api.ErrUnauthenticated, false},
			{api.ErrTooManyRequests.After(time.Second), false}, {api.ErrKeyInUse, false}, {context.Canceled, false},
			{api.ErrKeyInvalid, true}, {api.ErrRouteNotFound, true}, {api.ErrMalformed, true}, {&problem.Problem{Code: "FORBIDDEN", Kind: problem.Forbidden}, true},
		} {
			key++
			before := e.orders.Load()
			name := fmt.Sprintf("key-%08d", key)
			fail := func() error { return tt.err }
			e.answer.Store(&fail)
			first := e.order(name, `{}`)
			e.answer.Store(nil)
			if first.status < 400 {
				t.Fatalf("%v was answered %d", tt.err, first.status)
			}
			second := e.order(name, `{}`)
			if tt.kept {
				second.replayed(t, first)
				e.effects(t, before+1)
			} else {
				second.ok(t)
				e.effects(t, before+2)
			}
		}
		// A panic gives the key back too.
		fail := func() error { panic("oh") }
		e.answer.Store(&fail)
		e.order(firstKey+"-panic", `{}`).refused(t, 500, "INTERNAL_ERROR")
		e.answer.Store(nil)
		e.order(firstKey+"-panic", `{}`).ok(t)
	})
}

func TestWrongBodiesWithAKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, _ db.DB) {
		first := e.order(firstKey, `{"name":`).refused(t, 422, "MALFORMED_REQUEST")
		e.order(firstKey, `{"name":`).replayed(t, first)
		large := strings.Repeat(" ", 5000)
		e.order("key-00000002", large).refused(t, 413, "REQUEST_TOO_LARGE")
		e.do("POST", "/orders", struct{ *strings.Reader }{strings.NewReader(large)}, "Authorization", alice, "Idempotency-Key", "key-00000003").refused(t, 413, "REQUEST_TOO_LARGE")
		e.order("key-00000003", `{}`).ok(t) // too large is not remembered
		e.order("key-00000004", "").refused(t, 422, "MALFORMED_REQUEST")
		e.effects(t, 1)
	})
}

// The replica dies while it works on the first request: its key stays taken for as long as a request can last, not for ever.
func TestAKilledRequestIsTakenOver(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, d db.DB) {
		e.order(firstKey, `{"name":"a"}`).ok(t)
		// What kill -9 leaves: the key is claimed, the answer was never kept.
		if n, err := d.Exec(t.Context(), "UPDATE idempotency_keys SET status = NULL, content_type = NULL, body = NULL"); err != nil || n != 1 {
			t.Fatal(n, err)
		}
		e.order(firstKey, `{"name":"a"}`).refused(t, 409, "IDEMPOTENCY_KEY_IN_USE")
		e.clock.Advance(59 * time.Second)
		e.order(firstKey, `{"name":"a"}`).refused(t, 409, "IDEMPOTENCY_KEY_IN_USE")
		e.clock.Advance(2 * time.Second)
		second := e.order(firstKey, `{"name":"a"}`).ok(t)
		e.effects(t, 2)
		e.order(firstKey, `{"name":"a"}`).replayed(t, second)
	})
}

func TestTheCallerHangsUp(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, _ db.DB) {
		running, release := make(chan struct{}), make(chan struct{})
		hold := func(ctx context.Context) { close(running); <-ctx.Done(); <-release }
		e.hold.Store(&hold)
		ctx, hangUp := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() {
			r, err := http.NewRequestWithContext(ctx, "POST", e.url+"/orders", strings.NewReader(`{"name":"a"}`))
			if err == nil {
				r.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {alice}, "Idempotency-Key": {firstKey}}
				_, err = noRedirects.Do(r)
			}
			gone <- err
		}()
		<-running
		e.hold.Store(nil)
		hangUp()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		e.order(firstKey, `{"name":"a"}`).refused(t, 409, "IDEMPOTENCY_KEY_IN_USE")
		close(release)
		// The work was done; whoever asks again is told so.
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			r := e.order(firstKey, `{"name":"a"}`)
			if r.status == 200 {
				if r.body["number"] != 1.0 || r.header.Get("Idempotent-Replayed") != "true" {
					t.Errorf("answer %s", r.raw)
				}
				break
			}
			r.refused(t, 409, "IDEMPOTENCY_KEY_IN_USE")
			if time.Now().After(end) || t.Failed() {
				t.Fatal("the answer was never kept")
			}
		}
		e.effects(t, 1)
	})
}

func TestKeysExpire(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, d db.DB) {
		first := e.order(firstKey, `{"name":"a"}`).ok(t)
		e.clock.Advance(24 * time.Hour)
		e.order(firstKey, `{"name":"a"}`).replayed(t, first)
		if err := e.api.SweepIdempotencyKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.order(firstKey, `{"name":"a"}`).replayed(t, first)
		e.clock.Advance(time.Second)
		// A day is over: the key may be used for anything.
		second := e.order(firstKey, `{"name":"b"}`).ok(t)
		e.effects(t, 2)
		e.order(firstKey, `{"name":"b"}`).replayed(t, second)
		e.clock.Advance(25 * time.Hour)
		if err := e.api.SweepIdempotencyKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		var left int
		if err := d.QueryRow(t.Context(), "SELECT COUNT(*) FROM idempotency_keys").Scan(&left); err != nil || left != 0 {
			t.Errorf("%d keys are left after sweeping, %v", left, err)
		}
	})
}

func TestKeptAnswersAreSealed(t *testing.T) {
	eachEngine(t, func(t *testing.T, e *edge, d db.DB) {
		if r := e.order(canary+"-key", `{"name":"x","secret":"`+canary+`"}`).ok(t); r.body["secret"] != canary {
			t.Fatalf("answer %s", r.raw)
		}
		e.order(canary+"-other", `{"name":"other"}`).ok(t)
		type row struct{ key, request, body []byte }
		rows, err := d.Query(t.Context(), "SELECT key_hash, request_hash, body FROM idempotency_keys")
		list, err := db.Collect(rows, err, func(r db.Row) (v row, err error) { return v, r.Scan(&v.key, &v.request, &v.body) })
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		for _, r := range list {
			for _, column := range [][]byte{r.key, r.request, r.body} {
				if len(column) < 16 || strings.Contains(string(column), canary) || strings.Contains(string(column), "success") || strings.Contains(string(column), hex.EncodeToString([]byte(canary))) {
					t.Errorf("stored as %q", column)
				}
			}
		}
		// An answer that is moved to another key does not open there.
		for i := range list {
			if _, err := d.Exec(t.Context(), "UPDATE idempotency_keys SET body = $1 WHERE key_hash = $2", list[1-i].body, list[i].key); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range []reply{e.order(canary+"-key", `{"name":"x","secret":"`+canary+`"}`), e.order(canary+"-other", `{"name":"other"}`)} {
			r.refused(t, 500, "INTERNAL_ERROR")
		}
		if strings.Contains(e.log.String(), canary) {
			t.Errorf("the log shows the key or the answer:\n%s", e.log.String())
		}
	})
}
