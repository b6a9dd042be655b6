package kyc_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider/didit"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

func (w *world) messages() int { return w.count(`SELECT COUNT(*) FROM inbound_messages`) }
func (w *world) workJobs() int {
	return w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'kyc_inbound'`)
}
func (w *world) outcome() string {
	w.t.Helper()
	var outcome string
	if err := w.db.QueryRow(context.Background(), `SELECT outcome FROM inbound_messages ORDER BY id DESC LIMIT 1`).Scan(&outcome); err != nil {
		w.t.Fatal(err)
	}
	return outcome
}

// verifiedOnce checks that the customer is verified by one approval, told once.
func (a attempt) verifiedOnce() {
	a.c.t.Helper()
	a.c.is(stepVerified)
	a.c.w.idle()
	approvals := 0
	for _, m := range a.moves() {
		if strings.HasSuffix(m, ">approved") {
			approvals++
		}
	}
	if approvals != 1 || a.c.mails(mailApproved) != 1 || a.c.records(false) != 1 {
		a.c.t.Errorf("%d approvals, %d mails, %d records; want one of each", approvals, a.c.mails(mailApproved), a.c.records(false))
	}
	if a.c.w.Channel == kyc.ViaDidit {
		if n := a.c.w.calls.of(callSubmit); n != 1 {
			a.c.t.Errorf("%d submissions, want 1", n)
		}
	}
}

// With every call of every provider lost, polling alone brings the customer through.
func TestEveryWebhookLost(t *testing.T) {
	eachChannel(t, func(_ *testing.T, w *world) {
		w.fault("didit", "webhook", fault.DropWebhook, 0)
		w.fault("pokepay", "callback", fault.DropWebhook, 0)
		c := w.customer()
		a := c.start()
		a.page("approve", "")
		w.stir(6 * time.Second)
		c.is(w.underway())
		a.verdict(2, "")
		w.stir(time.Minute) // the longest wait in the first hour
		a.verifiedOnce()
		if w.messages() != 0 {
			c.t.Error("a call came through: the test tests nothing")
		}
	})
}

// The customer who looks into the app is not told to wait for the next poll: looking asks.
func TestReadingAsks(t *testing.T) {
	eachChannel(t, func(_ *testing.T, w *world) {
		w.mail.hold(true)
		c := w.customer()
		a := c.start()
		a.page("approve", "")
		w.stir(20 * time.Minute)
		w.stir(20 * time.Minute) // by now it is a minute between polls
		a.verdict(2, "")
		w.clock.Advance(5 * time.Second)
		c.becomes(stepVerified)
		a.verifiedOnce()
	})
}

// Customers look, and the issuer calls, more often than the queue gets on: what waits there answers them all. If each look put
// one more question into the queue, a slow provider would be asked the more the slower it is.
func TestAQuestionWaitsInTheQueueOnce(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		w.stir(20 * time.Minute)
		call := func() {
			w.deliver(callback(callbackKey, w.clock.Now(), fmt.Sprintf(`{"agent_uid":%q}`, a.agentUID)), http.StatusOK)
		}
		call() // the first of its kind is stored; each further one is but a reason to ask
		w.stir(0)
		if err := w.queue.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		waiting := func() int {
			return w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'kyc_poll' AND state = 'available'`)
		}
		w.clock.Advance(10 * time.Second)
		c.is(w.underway())
		w.eventually("a question in the queue", func() bool { return waiting() > 0 })
		for range 20 {
			w.clock.Advance(4 * time.Second) // less than a claim lasts, all together
			c.is(w.underway())
			call()
			time.Sleep(20 * time.Millisecond) // for the loop to hear of it
		}
		if n := waiting(); n != 1 {
			t.Errorf("%d questions wait, want 1", n)
		}
		a.verdict(2, "")
		if err := w.queue.Start(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.becomes(stepVerified)
		a.verifiedOnce()
	})
}

// A thousand deliveries of each call: stored once, worked on once, one effect.
func TestEveryWebhookAThousandTimes(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		w.mail.hold(true)
		c := w.customer()
		a := c.start()
		a.page("approve", "")
		calls := 1 // of the issuer, about its verdict
		if w.Channel == kyc.ViaDidit {
			calls = 3 // Didit: opened, approved
			flood(w, w.held(2), 1000)
			c.becomes(stepProcessing)
			w.eventually("the cardholder", func() bool { _, known := w.cardholder(a.agentUID); return known })
		}
		a.verdict(2, "")
		all := w.held(calls)
		flood(w, all[calls-1:], 1000)
		flood(w, all, 8)
		c.becomes(stepVerified)
		a.verifiedOnce()
		if w.messages() != calls || w.workJobs() != calls {
			t.Errorf("%d stored, %d jobs; want %d and %d", w.messages(), w.workJobs(), calls, calls)
		}
		if n := w.count(`SELECT COUNT(*) FROM inbound_messages WHERE outcome = 'applied'`); n != calls {
			t.Errorf("%d of %d calls led to a question", n, calls)
		}
	})
}

// flood delivers each of the parcels so many times, several at once.
func flood(w *world, parcels []parcel, times int) {
	w.t.Helper()
	var senders sync.WaitGroup
	for range 8 {
		senders.Go(func() {
			for range times / 8 {
				for _, p := range parcels {
					w.deliver(p, http.StatusOK)
				}
			}
		})
	}
	senders.Wait()
}

// The order in which calls arrive means nothing: what counts is what the provider says when it is asked.
func TestWebhooksReversed(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		w.mail.hold(true)
		c := w.customer()
		a := c.start()
		w.clock.Advance(time.Second)
		a.opened()
		w.clock.Advance(time.Second)
		a.page("review", "")
		w.clock.Advance(time.Second)
		calls := 1 // the issuer: in review
		if w.Channel == kyc.ViaDidit {
			calls = 3 // Didit: opened, in review, approved
			a.didit("Approved", "")
		} else {
			a.verdict(5, "")
			a.verdict(2, "")
			calls = 3
		}
		parcels := w.held(calls)
		slices.Reverse(parcels)
		for _, p := range parcels {
			w.deliver(p, http.StatusOK)
			w.idle()
		}
		if w.Channel == kyc.ViaDidit {
			c.is(stepProcessing)
			a.verdict(2, "")
			parcels = w.held(calls + 1)
			w.deliver(parcels[calls], http.StatusOK)
		}
		c.becomes(stepVerified)
		a.verifiedOnce()
	}, asleep)
}

// An hour late: the signature of Didit is stale by then and is refused, the issuer's unsigned hint is as good as ever. In both
// channels polling has long done the work.
func TestWebhooksAnHourLate(t *testing.T) {
	eachChannel(t, func(_ *testing.T, w *world) {
		w.mail.hold(true)
		c := w.customer()
		a := c.start()
		a.page("approve", "")
		w.stir(6 * time.Second)
		a.verdict(2, "")
		w.stir(time.Minute)
		c.is(stepVerified)
		w.clock.Advance(time.Hour)
		for _, p := range w.mail.parcels() {
			w.deliver(p, http.StatusUnauthorized) // the simulator's signature of the callback runs out as well
		}
		w.idle()
		a.verifiedOnce()
		if w.messages() != 0 {
			c.t.Error("a stale call was stored")
		}
	})
}

// signed makes a webhook of Didit with a good signature.
func signed(at time.Time, body fields) parcel {
	body["timestamp"] = at.Unix()
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return parcel{"/didit/webhook", http.Header{
		"Content-Type": {"application/json"}, "X-Timestamp": {fmt.Sprint(at.Unix())},
		"X-Signature": {didit.NewSigner(secret.NewText(webhookSecret)).Raw(text)},
	}, text}
}

func event(id, session, status string) fields {
	return fields{"event_id": id, "webhook_type": "status.updated", "session_id": session, "session_kind": "user", "status": status}
}

// Nobody but Didit can make us believe that a call is Didit's.
func TestForgedWebhook(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		good := signed(w.clock.Now(), event("e-1", a.sessionID, "Approved"))
		with := func(change func(p *parcel)) parcel {
			p := parcel{good.path, good.header.Clone(), slices.Clone(good.body)}
			change(&p)
			return p
		}
		for name, p := range map[string]parcel{
			"no signature":        with(func(p *parcel) { p.header.Del("X-Signature") }),
			"another secret":      with(func(p *parcel) { p.header.Set("X-Signature", didit.NewSigner(secret.NewText("guess")).Raw(p.body)) }),
			"another body":        with(func(p *parcel) { p.body = []byte(strings.Replace(string(p.body), "Approved", "Declined", 1)) }),
			"no time":             with(func(p *parcel) { p.header.Del("X-Timestamp") }),
			"signature in pieces": with(func(p *parcel) { p.header.Set("X-Signature", p.header.Get("X-Signature")[:40]) }),
			"signature is text":   with(func(p *parcel) { p.header.Set("X-Signature", "approve it please") }),
			"no JSON":             with(func(p *parcel) { p.body = []byte("<xml/>") }),
			"stale":               signed(w.clock.Now().Add(-11*time.Minute), event("e-2", a.sessionID, "Approved")),
			"from the future":     signed(w.clock.Now().Add(11*time.Minute), event("e-3", a.sessionID, "Approved")),
			"fresh header only": with(func(p *parcel) {
				*p = signed(w.clock.Now().Add(-time.Hour), event("e-4", a.sessionID, "Approved"))
				p.header.Set("X-Timestamp", fmt.Sprint(w.clock.Now().Unix()))
			}),
			"array": with(func(p *parcel) {
				p.body = []byte(`[1]`)
				p.header.Set("X-Signature", didit.NewSigner(secret.NewText(webhookSecret)).Raw(p.body))
			}),
		} {
			t.Run(name, func(t *testing.T) { w.with(t).deliver(p, http.StatusUnauthorized) })
		}
		w.deliver(with(func(p *parcel) { p.body = nil }), http.StatusUnprocessableEntity)
		if w.messages() != 0 || w.workJobs() != 0 {
			t.Errorf("%d forged calls stored, %d jobs", w.messages(), w.workJobs())
		}
		// The simulator's own forgeries, as they come over the wire.
		for _, kind := range []fault.Kind{fault.ForgeSignature, fault.StaleTimestamp} {
			w.fault("didit", "webhook", kind, 1)
		}
		w.mail.hold(true)
		a.opened()
		w.deliver(w.held(1)[0], http.StatusUnauthorized)
		// And the genuine one, to show that it was none of the above that was wrong.
		w.deliver(good, http.StatusOK)
		w.idle()
		c.is(stepSubmit) // the session itself says that nobody has finished it
	}, via(kyc.ViaDidit))
}

// A call that was recorded and is sent again: within minutes it is known, later it is stale. An approval does not come back.
func TestReplayedWebhook(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.mail.hold(true)
		c := w.customer()
		a := c.start()
		a.page("approve", "")
		approved := w.held(2)
		for _, p := range approved {
			w.deliver(p, http.StatusOK)
		}
		c.becomes(stepProcessing)
		w.idle()
		decisions := w.calls.of(callDecision)
		for range 3 {
			w.clock.Advance(time.Minute)
			for _, p := range approved {
				w.deliver(p, http.StatusOK)
			}
		}
		w.idle()
		if got := w.calls.of(callDecision); got != decisions {
			t.Errorf("replays caused %d questions", got-decisions)
		}
		w.clock.Advance(10 * time.Minute)
		for _, p := range approved {
			w.deliver(p, http.StatusUnauthorized)
		}
		// The same words under a new name of the event are the same words.
		renamed := signed(w.clock.Now(), event("x-1", a.sessionID, "Approved"))
		w.deliver(renamed, http.StatusOK)
		twin := signed(w.clock.Now(), event("x-2", a.sessionID, "Approved"))
		w.deliver(twin, http.StatusOK)
		w.idle()
		if w.messages() != 3 {
			t.Errorf("%d calls stored, want 3", w.messages())
		}
		if diff := cmp.Diff([]string{">pending_submit", "pending_submit>processing"}, a.moves()); diff != "" {
			t.Errorf("history:\n%s", diff)
		}
	}, via(kyc.ViaDidit), asleep)
}

// What a webhook says is not believed, only that there is something to ask.
func TestWebhookIsOnlyAHint(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		for i, word := range []string{"Approved", "Declined", "Kyc Expired", "Resubmitted", "Abandoned", "No Such Word", ""} {
			w.deliver(signed(w.clock.Now(), event(fmt.Sprint("hint-", i), a.sessionID, word)), http.StatusOK)
		}
		w.idle()
		c.is(stepSubmit)
		if diff := cmp.Diff([]string{">pending_submit"}, a.moves()); diff != "" {
			t.Errorf("history:\n%s", diff)
		}
	}, via(kyc.ViaDidit))
}

// Calls about nothing of ours are taken, kept and left alone.
func TestWebhookForAnUnknownSession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		c := w.customer()
		c.start()
		w.deliver(signed(w.clock.Now(), event("u-1", "0d7c1b1e-1111-4222-8333-944445555566", "Approved")), http.StatusOK)
		w.eventually("the first try", func() bool {
			return w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'kyc_inbound' AND attempt >= 1`) == 1
		})
		if got := w.outcome(); got != "received" {
			t.Errorf("after one try it is %q: the record may still be on its way", got)
		}
		if n := w.count(`SELECT max_attempts FROM river_job WHERE kind = 'kyc_inbound'`); n != kyc.InboundAttempts {
			t.Errorf("it is tried %d times, want %d", n, kyc.InboundAttempts)
		}
		if err := w.LastTry(ctx, int64(w.count(`SELECT MAX(id) FROM inbound_messages`))); err != nil {
			t.Errorf("the last try fails: %v", err)
		}
		if got := w.outcome(); got != "unknown_session" {
			t.Errorf("outcome %q", got)
		}
		for i, about := range []fields{
			{"webhook_type": "transaction.created", "transaction_id": "1"},
			{"webhook_type": "status.updated", "session_id": "s", "session_kind": "business", "status": "Approved"},
			{"webhook_type": "status.updated", "status": "Approved"},
			{"webhook_type": "invented.tomorrow", "session_id": "s"},
		} {
			about["event_id"] = fmt.Sprint("i-", i)
			w.clock.Advance(time.Second)
			w.deliver(signed(w.clock.Now(), about), http.StatusOK)
			w.eventually("it to be ignored", func() bool { return w.outcome() == "ignored" })
		}
		c.is(stepSubmit)
	}, via(kyc.ViaDidit))
}

// Didit is faster than our own database: the call comes before the record knows its session.
func TestWebhookBeforeTheRecord(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.mail.hold(true)
		c := w.customer()
		a := c.start()
		a.page("approve", "")
		calls := w.held(2)
		ctx := context.Background()
		hide := func(session string) {
			if _, err := w.db.Exec(ctx, `UPDATE kyc_records SET session_id = $2 WHERE id = $1`, a.recordID, session); err != nil {
				t.Fatal(err)
			}
		}
		hide("")
		w.deliver(calls[1], http.StatusOK)
		w.eventually("a first try in vain", func() bool {
			return w.count(`SELECT COUNT(*) FROM river_job WHERE kind = 'kyc_inbound' AND attempt >= 1 AND state <> 'running'`) == 1
		})
		c.is(stepSubmit)
		hide(a.sessionID)
		c.becomes(stepProcessing)
		w.eventually("the call to be done", func() bool { return w.outcome() == "applied" })
	}, via(kyc.ViaDidit), asleep)
}

// A call whose question fails has not done its work: it is worked on again, and nobody waits a day for the next check.
func TestWebhookWhoseQuestionFails(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		c := w.customer()
		a := c.handedIn()
		a.verdict(2, "")
		c.becomes(stepVerified)
		w.eventually("all calls to be done", func() bool { return w.count(`SELECT COUNT(*) FROM inbound_messages WHERE outcome = 'received'`) == 0 })
		w.idle()
		stored, asked := w.messages(), w.calls.of(callDecision)
		w.fault("didit", "decision", fault.RateLimited, 0)
		w.clock.Advance(time.Second)
		a.didit("Kyc Expired", "")
		w.eventually("a question in vain", func() bool { return w.messages() == stored+1 && w.calls.of(callDecision) > asked })
		w.idle()
		if got := w.outcome(); got != "received" {
			t.Errorf("outcome %q of a call that nothing came of", got)
		}
		c.is(stepVerified)
		w.faults.Clear()
		c.becomes(stepRejected(3, "Your verification has expired. Please verify your identity again."))
		w.eventually("the call to be done", func() bool { return w.outcome() == "applied" })

		// A provider that stays away: the call is given up one day, and nobody says that it was applied.
		w.fault("didit", "decision", fault.RateLimited, 0)
		w.deliver(signed(w.clock.Now(), event("away", a.sessionID, "Approved")), http.StatusOK)
		w.eventually("the call to be stored", func() bool { return w.messages() == stored+2 })
		if err := w.LastTry(ctx, int64(w.count(`SELECT MAX(id) FROM inbound_messages`))); err != nil {
			t.Errorf("the last try fails: %v", err)
		}
		if got := w.outcome(); got != "unanswered" {
			t.Errorf("outcome %q", got)
		}
	}, via(kyc.ViaDidit), asleep)
}

func callback(key string, at time.Time, body string) parcel {
	stamp := fmt.Sprint(at.Unix())
	m := hmac.New(sha256.New, []byte(callbackSecret))
	m.Write([]byte(stamp + "." + body))
	return parcel{"/pokepay/callback/" + key, http.Header{
		"Content-Type": {"application/json"}, "X-Sandbox-Timestamp": {stamp}, "X-Sandbox-Signature": {hex.EncodeToString(m.Sum(nil))},
	}, []byte(body)}
}

// The issuer's callback: a secret path, a signature if one is set up, and content that is never believed.
func TestIssuersCallback(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		now := w.clock.Now()
		claim := fmt.Sprintf(`{"event":"kyc.updated","agent_uid":%q,"status":2,"kyc_id":1}`, a.agentUID)

		w.deliver(callback("wrong-key", now, claim), http.StatusNotFound)
		unsigned := callback(callbackKey, now, claim)
		unsigned.header.Del("X-Sandbox-Signature")
		w.deliver(unsigned, http.StatusUnauthorized)
		altered := callback(callbackKey, now, claim)
		altered.body = append(altered.body, ' ')
		w.deliver(altered, http.StatusUnauthorized)
		w.deliver(callback(callbackKey, now.Add(-11*time.Minute), claim), http.StatusUnauthorized)
		for _, body := range []string{"null", "[]", "\"x\"", "{", "<html>"} {
			w.deliver(callback(callbackKey, now, body), http.StatusBadRequest)
		}
		w.deliver(callback(callbackKey, now, ""), http.StatusUnprocessableEntity)
		if w.messages() != 0 {
			t.Errorf("%d bad calls stored", w.messages())
		}

		for _, body := range []string{claim, fmt.Sprintf(`{"client_uid":%q,"status":"2"}`, a.agentUID), `{"hello":"world"}`, `{"agent_uid":null}`, `{"agent_uid":7,"kyc_id":"x"}`} {
			w.deliver(callback(callbackKey, now, body), http.StatusOK)
		}
		w.eventually("the claims to be looked into", func() bool {
			return w.count(`SELECT COUNT(*) FROM inbound_messages WHERE outcome = 'applied'`) == 2
		})
		c.is(stepSubmit)
	})
}

// The issuer's callbacks name no event: one that is like an earlier one, byte by byte, can be news. It is stored once and asks
// each time, though not all the time.
func TestIssuersCallbackSaysTheSameAgain(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.fault("pokepay", "callback", fault.DropWebhook, 0)
		c := w.customer()
		a := c.handedIn()
		hint := func() {
			w.deliver(callback(callbackKey, w.clock.Now(), fmt.Sprintf(`{"agent_uid":%q}`, a.agentUID)), http.StatusOK)
		}
		a.verdict(2, "")
		hint()
		c.becomes(stepVerified)
		w.stir(time.Hour)
		a.verdict(3, "stolen papers")
		hint()
		w.eventually("the case", func() bool { return cmp.Equal(w.cases(a.agentUID), []string{"kyc_revocation"}) })
		w.idle()

		// Seconds after the last question: it waits for its turn, and is not lost.
		a.verdict(2, "")
		asked := w.calls.of(callGet)
		for range 50 {
			hint()
		}
		w.stir(0)
		if n := w.calls.of(callGet) - asked; n != 0 {
			t.Errorf("%d questions within a second", n)
		}
		w.stir(5 * time.Second)
		if n := w.calls.of(callGet) - asked; n != 1 {
			t.Errorf("%d questions for fifty hints, want 1", n)
		}
		if w.count(`SELECT issuer_status FROM kyc_records WHERE id = $1`, a.recordID) != 2 {
			t.Error("the issuer's new word is not known")
		}

		// While a question is under way: its answer may be older than the hint.
		w.stir(time.Hour)
		w.fault("pokepay", "kyc_get", fault.Delay, 1, func(r *fault.Rule) { r.DelayMS = 700 })
		asked = w.calls.of(callGet)
		done := make(chan error)
		go func() { done <- a.poll() }()
		w.eventually("the question", func() bool { return w.calls.of(callGet) > asked })
		hint()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.stir(5 * time.Second)
		if n := w.calls.of(callGet) - asked; n != 2 {
			t.Errorf("%d questions, want 2", n)
		}
		if w.messages() != 1 || w.workJobs() != 1 {
			t.Errorf("%d calls stored, %d jobs; want one of each", w.messages(), w.workJobs())
		}
		c.is(stepVerified)
	})
}
