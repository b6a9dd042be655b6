package didit

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

func TestWebhookRetries(t *testing.T) {
	t.Parallel()
	for _, first := range []int{500, 503, 404} {
		t.Run(strconv.Itoa(first), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.receiver.answer(first, first)
			m := w.create("user-1")
			w.must(200, "GET", m.url, "")
			arrived := func(n int) func() bool {
				return func() bool { return w.state(m.id).Deliveries.Attempts == n }
			}
			eventually(t, "first attempt", arrived(1))
			w.clock.Advance(60*time.Second - time.Millisecond)
			if err := w.outbox.send(t.Context()); err != nil {
				t.Fatal(err)
			}
			w.outbox.wait()
			if !arrived(1)() {
				t.Error("the second attempt came early")
			}
			w.clock.Advance(time.Millisecond)
			eventually(t, "second attempt", arrived(2))
			w.clock.Advance(240 * time.Second)
			eventually(t, "third attempt", arrived(3))
			x := w.quiet(m.id)
			if x.Deliveries.Delivered != 1 {
				t.Errorf("deliveries %+v", x.Deliveries)
			}
			hits := w.receiver.all()
			if string(hits[0].raw) != string(hits[2].raw) || hits[0].header.Get("X-Timestamp") != hits[2].header.Get("X-Timestamp") {
				t.Error("a retry must be the same message")
			}
		})
	}
}

func TestWebhookGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.receiver.answer(500, 500, 500)
	m := w.create("user-1")
	w.must(200, "GET", m.url, "")
	for n, wait := range []time.Duration{60 * time.Second, 240 * time.Second, 0} {
		eventually(t, "attempt", func() bool { return w.state(m.id).Deliveries.Attempts == n+1 })
		w.clock.Advance(wait)
	}
	if x := w.quiet(m.id); x.Deliveries.Failed != 1 || x.Deliveries.Attempts != 3 {
		t.Errorf("deliveries %+v", x.Deliveries)
	}
}

func TestWebhookRefusalIsFinal(t *testing.T) {
	t.Parallel()
	for _, status := range []int{400, 401, 403, 302} {
		w := newWorld(t)
		w.receiver.answer(status)
		m := w.create("user-1")
		w.must(200, "GET", m.url, "")
		if x := w.quiet(m.id); x.Deliveries.Failed != 1 || x.Deliveries.Attempts != 1 {
			t.Errorf("%d: deliveries %+v", status, x.Deliveries)
		}
	}
}

func TestTimeScaleAndFreshSignatures(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.TimeScale, o.ResignRetries = 60, true })
	w.receiver.answer(500)
	m := w.create("user-1")
	w.must(200, "GET", m.url, "")
	eventually(t, "first attempt", func() bool { return w.state(m.id).Deliveries.Attempts == 1 })
	w.clock.Advance(time.Second)
	w.quiet(m.id)
	hits := w.receiver.all()
	if len(hits) != 2 || hits[1].header.Get("X-Timestamp") != strconv.FormatInt(testStart.Unix()+1, 10) || !hits[1].genuine(testSecret) {
		t.Errorf("%d attempts", len(hits))
	}
}

func TestStateAndWebhooksSurviveAKill(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := "http://" + gone.Addr().String() + "/"
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(o *Options) { o.WebhookURL = dead })
	m := w.create("user-1")
	w.must(200, "GET", m.url, "")
	eventually(t, "an attempt at nobody", func() bool { return w.state(m.id).Deliveries.Attempts == 1 })
	w.act(m, "approve", "")
	picture := w.decisionOf(m)["id_verifications"].([]any)[0].(map[string]any)["portrait_image"].(string)
	number := w.state(m.id).Number
	_, path, _ := strings.Cut(picture, "/didit")
	w.stop()

	w.start()
	if d := w.decisionOf(m); d["status"] != approved {
		t.Errorf("status %v after the restart", d["status"])
	}
	w.must(200, "GET", path, "") // links outlive a restart
	w.clock.Advance(60 * time.Second)
	w.quiet(m.id)
	if got := w.receiver.statuses(); !strings.Contains(got, inProgress) || !strings.Contains(got, approved) {
		t.Errorf("webhooks after the restart: %s", got)
	}
	if next := w.create("user-2"); w.state(next.id).Number <= number {
		t.Error("the counter began again")
	}
}

func TestForeignEventsSurviveAKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id, _, err := w.CreateForeign(t.Context(), Foreign{Owner: "issuer", Reference: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetStatus(t.Context(), id, approved, ""); err != nil { // nobody listens yet
		t.Fatal(err)
	}
	w.stop()
	w.start()
	told := make(chan ForeignEvent, 2)
	w.OnForeign(func(_ context.Context, e ForeignEvent) { told <- e })
	select {
	case e := <-told:
		if e.SessionID != id || e.Status != approved || e.Reference != "r" {
			t.Errorf("told %+v", e)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("never told")
	}
	if err := w.SetStatus(t.Context(), id, declined, ""); err != nil {
		t.Fatal(err)
	}
	if e := <-told; e.Status != declined {
		t.Errorf("told %+v twice", e)
	}
}

func TestWebhookFaults(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, kind fault.Kind) (*world, made) {
		w := newWorld(t)
		m := w.create("user-1")
		w.plan(kind, "webhook", 1)
		w.must(200, "GET", m.url, "")
		return w, m
	}
	t.Run("drop", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.DropWebhook)
		w.act(m, "approve", "")
		if x := w.quiet(m.id); x.Deliveries.Dropped != 1 || w.receiver.statuses() != approved {
			t.Errorf("%+v, arrived %s", x.Deliveries, w.receiver.statuses())
		}
	})
	t.Run("duplicate", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.DuplicateWebhook)
		w.quiet(m.id)
		hits := w.receiver.all()
		if len(hits) != 2 || string(hits[0].raw) != string(hits[1].raw) || !hits[1].genuine(testSecret) {
			t.Errorf("%d arrived", len(hits))
		}
	})
	t.Run("reorder", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.Reorder)
		w.act(m, "approve", "")
		w.quiet(m.id)
		if got := w.receiver.statuses(); got != "Approved, In Progress" {
			t.Errorf("arrived %s", got)
		}
	})
	t.Run("reorder without another", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.Reorder)
		eventually(t, "held back", func() bool { return len(w.faults.Rules()) == 1 && w.faults.Rules()[0].Hits == 1 })
		w.clock.Advance(heldAtMost)
		w.quiet(m.id)
		if got := w.receiver.statuses(); got != inProgress {
			t.Errorf("arrived %s", got)
		}
	})
	t.Run("forge", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.ForgeSignature)
		w.act(m, "approve", "")
		w.quiet(m.id)
		hits := w.receiver.all()
		if hits[0].genuine(testSecret) || !hits[0].genuine(forgedSecret) || !hits[1].genuine(testSecret) {
			t.Error("the first one must be forged, the second genuine")
		}
	})
	t.Run("stale", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.StaleTimestamp)
		w.quiet(m.id)
		h := w.receiver.all()[0]
		want := strconv.FormatInt(testStart.Add(-time.Hour).Unix(), 10)
		if h.header.Get("X-Timestamp") != want || h.body["timestamp"] != json.Number(want) || !h.genuine(testSecret) {
			t.Errorf("%v %s", h.header, h.raw)
		}
	})
	t.Run("ISO", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.ISOTimestamp)
		w.quiet(m.id)
		h := w.receiver.all()[0]
		if h.body["timestamp"] != "2026-01-01T00:00:00Z" || h.header.Get("X-Timestamp") != strconv.FormatInt(testStart.Unix(), 10) || !h.genuine(testSecret) {
			t.Errorf("%v %s", h.header, h.raw)
		}
	})
	t.Run("null vendor_data", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.NullVendorData)
		w.quiet(m.id)
		h := w.receiver.all()[0]
		if v, has := h.body["vendor_data"]; v != nil || !has || !h.genuine(testSecret) {
			t.Errorf("%s", h.raw)
		}
	})
	t.Run("missing decision", func(t *testing.T) {
		t.Parallel()
		w, m := run(t, fault.MissingDecision)
		w.act(m, "approve", "")
		w.quiet(m.id)
		h := w.receiver.all()[1]
		if _, has := h.body["decision"]; has || h.status() != approved || !h.genuine(testSecret) {
			t.Errorf("%s", h.raw)
		}
	})
	t.Run("delay", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		m := w.create("user-1")
		if err := w.faults.Add(fault.Rule{Provider: "didit", Operation: "webhook", Kind: fault.Delay, DelayMS: 5000, Count: 1}); err != nil {
			t.Fatal(err)
		}
		w.must(200, "GET", m.url, "")
		eventually(t, "delayed", func() bool { return w.faults.Rules()[0].Hits == 1 })
		w.act(m, "approve", "")
		eventually(t, "the next one passes it", func() bool { return w.receiver.statuses() == approved })
		w.clock.Advance(5 * time.Second)
		w.quiet(m.id)
		if got := w.receiver.statuses(); got != "Approved, In Progress" {
			t.Errorf("arrived %s", got)
		}
	})
}

func TestReplayAndDeliveryLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.receiver.answer(401)
	m := w.create("user-1")
	w.must(200, "GET", m.url, "")
	w.quiet(m.id)
	event := w.receiver.all()[0].body["event_id"].(string)
	w.clock.Advance(time.Hour)
	w.must(200, "POST", "/v3/session/"+m.id+"/webhook/"+event+"/resend", "")
	w.quiet(m.id)
	hits := w.receiver.all()
	if len(hits) != 2 || hits[1].body["event_id"] != event || !hits[1].genuine(testSecret) ||
		hits[1].header.Get("X-Timestamp") != strconv.FormatInt(testStart.Add(time.Hour).Unix(), 10) {
		t.Fatalf("%d arrived", len(hits))
	}
	r := w.must(200, "GET", "/v3/session/"+m.id+"/webhook/"+event, "")
	attempts := r.json["attempts"].([]any)
	if r.json["status"] != "delivered" || len(attempts) != 2 || attempts[0].(map[string]any)["status_code"] != 401.0 ||
		attempts[1].(map[string]any)["status_code"] != 200.0 {
		t.Errorf("log: %s", r.body)
	}
	if list := w.must(200, "GET", "/v3/session/"+m.id+"/webhooks/", ""); !strings.Contains(list.body, event) {
		t.Errorf("list: %s", list.body)
	}
}

func TestNoWebhookDestination(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.WebhookURL, o.WebhookSecrets = "", nil })
	m := w.create("user-1")
	w.act(m, "approve", "")
	if x := w.state(m.id); x.Status != approved || x.Deliveries.Events != 0 {
		t.Errorf("%+v", x)
	}
}

func TestAnnounceNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.AnnounceNew = true })
	m := w.create("user-1")
	w.create("user-1")
	if w.quiet(m.id); w.receiver.statuses() != notStarted {
		t.Errorf("arrived %s", w.receiver.statuses())
	}
}

func TestCallFaults(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	m := w.create("user-1")
	path := "/v3/session/" + m.id + "/decision/"
	for kind, want := range map[fault.Kind]struct {
		status   int
		contains string
	}{
		fault.HTTP500: {500, `{"detail":`}, fault.HTML502: {502, "<html>"}, fault.RateLimited: {429, "throttled"}, fault.Forbidden: {403, "permission"},
	} {
		w.plan(kind, "decision", 1)
		r := w.must(want.status, "GET", path, "")
		if !strings.Contains(r.body, want.contains) || kind == fault.RateLimited && r.header.Get("Retry-After") == "" {
			t.Errorf("%s: %s", kind, r.body)
		}
		w.must(200, "GET", path, "")
	}
	w.plan(fault.HTTP500, "create_session", 1)
	w.must(500, "POST", "/v3/session/", `{"workflow_id":"`+testWorkflow+`","vendor_data":"fails"}`)
	if list, err := w.Sessions(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("a failed call acted: %v, %v", list, err)
	}
}

func TestActThenTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.plan(fault.ActThenTimeout, "create_session", 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", w.base+"/v3/session/", strings.NewReader(`{"workflow_id":"`+testWorkflow+`","vendor_data":"user-1"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-api-key", testKey)
	failed := make(chan error, 1)
	go func() {
		res, err := plainClient.Do(req)
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	var id string
	eventually(t, "the call acts", func() bool {
		list, err := w.Sessions(t.Context())
		if err == nil && len(list) == 1 {
			id = list[0].ID
		}
		return id != ""
	})
	select {
	case err := <-failed:
		t.Fatalf("answered: %v", err)
	default:
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if again := w.create("user-1"); again.id != id {
		t.Error("asking again made another session")
	}
}

// A call that waits when the simulator stops must fail for its caller: an empty 200 would be taken for an answer.
func TestStoppingCutsDelayedCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.faults.Add(fault.Rule{Provider: "didit", Operation: "list_sessions", Kind: fault.Delay, DelayMS: 600_000}); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.base+"/v3/sessions/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("x-api-key", testKey)
	failed := make(chan error, 1)
	go func() {
		res, err := plainClient.Do(req)
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	eventually(t, "the call waits", func() bool { return w.faults.Rules()[0].Hits == 1 })
	w.stop()
	if err := <-failed; err == nil {
		t.Error("the caller got an answer")
	}
}
