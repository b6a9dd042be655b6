package kyc

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func recordIn(s Status, v Verdict, c Channel) Record {
	r := Record{ID: 7, UserID: 3, AgentUID: "u3_1772366400_abcdefgh", Channel: c, Status: s, Issuer: v, SessionID: "s", SessionState: SessionOpen,
		SessionUntil: t0.Add(SessionLife), EnteredAt: t0, CreatedAt: t0, UpdatedAt: t0, Version: 1}
	if s == Rejected && v.Negative() {
		r.Reason = standardReason(v)
	}
	return r
}

// The table of contract/money section 10.1: event -> states it moves -> where to. A star in front: only if nothing newer exists.
var contractTransitions = map[string]map[string]Status{
	"documents_received": {"pending_submit": Pending},
	"issuer 5":           {"pending_submit": Processing, "pending": Processing, "*not_completed": Processing},
	"issuer 2":           {"pending_submit": Approved, "pending": Approved, "processing": Approved, "*not_completed": Approved, "*failed": Approved},
	"issuer 3":           {"pending_submit": Rejected, "pending": Rejected, "processing": Rejected, "*not_completed": Rejected, "*failed": Rejected},
	"issuer 4":           {"pending_submit": Rejected, "pending": Rejected, "processing": Rejected, "*not_completed": Rejected, "*failed": Rejected},
	"issuer 6":           {"pending_submit": Rejected, "pending": Rejected, "processing": Rejected, "*not_completed": Rejected, "*failed": Rejected},
	"session_ran_out":    {"pending_submit": NotCompleted},
	// A link that nobody used runs out; an attempt under review fails.
	"deadline_passed":   {"pending_submit": NotCompleted, "pending": Failed, "processing": Failed},
	"broke":             {"pending_submit": Failed, "pending": Failed, "processing": Failed},
	"withdrawn":         {"pending_submit": Cancelled, "pending": Cancelled, "processing": Cancelled},
	"operator_rejected": {"pending_submit": Rejected, "pending": Rejected, "processing": Rejected, "approved": Rejected},
	"operator_reopened": {"*rejected": Processing, "*failed": Processing, "*not_completed": Processing},

	// Channel didit. Its approval is not the issuer's: the record goes on to processing.
	"didit In Review":   {"pending_submit": Processing, "pending": Processing, "*not_completed": Processing},
	"didit Approved":    {"pending_submit": Processing, "pending": Processing, "*not_completed": Processing, "*failed": Processing},
	"didit Declined":    {"pending_submit": Rejected, "pending": Rejected, "processing": Rejected, "*not_completed": Rejected, "*failed": Rejected},
	"didit Expired":     {"pending_submit": NotCompleted},
	"didit Abandoned":   {"pending_submit": NotCompleted},
	"didit Resubmitted": {"processing": PendingSubmit, "*rejected": PendingSubmit},
	"didit Kyc Expired": {"approved": Rejected},
}

func everyEvent() map[string]Event {
	events := map[string]Event{}
	for _, k := range EventKinds {
		switch k {
		case IssuerSaid:
			for v := Verdict(-1); v <= 8; v++ {
				events[fmt.Sprintf("issuer %d", v)] = Event{Kind: k, Verdict: v}
			}
		case DiditSaid:
			for _, w := range append(slices.Clone(Words), "Awaiting User", "Something New") {
				events["didit "+string(w)] = Event{Kind: k, Word: w}
			}
		default:
			events[string(k)] = Event{Kind: k}
		}
	}
	return events
}

// Every state, with every stored verdict, every event, every neighbourhood, both channels: where the contract has a
// transition it happens, everywhere else the state stays.
func TestEveryTransition(t *testing.T) {
	checked := 0
	for name, e := range everyEvent() {
		e.At, e.Source = t0.Add(time.Minute), FromPoll
		for _, s := range Statuses {
			for v := Silence; v <= DocumentTaken; v++ {
				for _, around := range neighbourhoods {
					for _, before := range []Record{recordIn(s, v, ViaPokePay), recordIn(s, v, ViaDidit), rejectedForGood(s, v, ReasonRevoked),
						rejectedForGood(s, v, ReasonExpired), rejectedForGood(s, v, ReasonOperator)} {
						if before.Status != s {
							continue
						}
						channel := before.Channel
						want := s
						if to, ok := contractTransitions[name][string(s)]; ok {
							want = to
						} else if to, ok := contractTransitions[name]["*"+string(s)]; ok && !around.late() {
							want = to
						}
						if e.Kind == DiditSaid && channel != ViaDidit {
							want = s // a session that is not ours
						}
						if name == "operator_approved" && v == Accepted && s != Cancelled && !around.late() {
							want = Approved
						}
						// A reviewer at Didit turned the decline around before the issuer was asked.
						if name == "didit Approved" && channel == ViaDidit && s == Rejected && v == Silence && !around.late() {
							want = Processing
						}
						// What a person here refused, or what was approved once, no provider brings back; nor a customer who is blocked.
						if e.Kind == DiditSaid && s == Rejected && (around.Blocked || final(before)) {
							want = Rejected
						}
						if around.Blocked && name == "didit Resubmitted" {
							want = s
						}
						if around.Blocked && name == "issuer 2" && want == Approved {
							want = Rejected
						}
						if s == Approved {
							want = map[string]Status{"operator_rejected": Rejected, "didit Kyc Expired": Rejected}[name]
							if want == "" || e.Kind == DiditSaid && channel != ViaDidit {
								want = Approved
							}
						}
						after, effects := next(before, around, e)
						checked++
						if after.Status != want {
							t.Fatalf("%s + %s (issuer %d, %+v, %s): %s, want %s", s, name, v, around, channel, after.Status, want)
						}
						checkStep(t, before, around, after, e, effects)
						again, more := next(after, around, e)
						if news(after, again) {
							t.Fatalf("%s + %s (issuer %d) twice: %+v then %+v", s, name, v, after, again)
						}
						if len(more) > 0 {
							t.Fatalf("%s + %s (issuer %d) twice: effects %v again", s, name, v, more)
						}
					}
				}
			}
		}
	}
	if checked < 8*7*5*2*25 {
		t.Fatalf("only %d combinations", checked)
	}
}

// neighbourhoods are all that may surround an attempt.
var neighbourhoods = []Surroundings{{}, {Newer: true}, {OtherApproved: true}, {Newer: true, OtherApproved: true}, {Blocked: true}, {Newer: true, Blocked: true}}

// rejectedForGood is a rejection that only an operator may undo; of another state there is none.
func rejectedForGood(s Status, v Verdict, why ReasonCode) Record {
	r := recordIn(Rejected, v, ViaDidit)
	r.Reason, r.Submission = why, Done
	if s != Rejected {
		r.Status = ""
	}
	return r
}

// checkStep holds what is true of every step, whoever causes it.
func checkStep(t rapid.TB, before Record, around Surroundings, after Record, e Event, effects []Effect) {
	t.Helper()
	moved := before.Status != after.Status
	if before.Status == Cancelled && !cmp.Equal(before, after) {
		t.Fatalf("cancelled changed: %s", cmp.Diff(before, after))
	}
	if moved && after.Status == Approved && after.Issuer != Accepted {
		t.Fatalf("approved without the issuer's 2, by %s", e.Kind)
	}
	if moved && after.Status == Approved && around.Blocked && e.Kind != OperatorApproved {
		t.Fatalf("a blocked customer is approved by %s", e.Kind)
	}
	if moved && final(before) && after.Status != Rejected && e.Kind != OperatorApproved && e.Kind != OperatorReopened {
		t.Fatalf("%s brought back what was rejected for %s", e.Kind, before.Reason)
	}
	if moved && !before.Status.Open() && (after.Status.Open() || after.Status == Approved) && around.late() {
		t.Fatalf("a late result revived an attempt: %s to %s by %s", before.Status, after.Status, e.Kind)
	}
	if revoke := slices.Contains(effects, Revoke); revoke != (moved && before.Status == Approved) {
		t.Fatalf("%s to %s by %s: freezing %t", before.Status, after.Status, e.Kind, revoke)
	}
	if after.Status == Rejected && moved && after.Reason == NoReason {
		t.Fatal("rejected without a reason")
	}
	if moved && after.Status.Open() != (after.DeadlineAt != nil) {
		t.Fatalf("%s with deadline %v: every open state ends by itself, no other does", after.Status, after.DeadlineAt)
	}
	if moved && after.Status.Open() && after.NextPollAt == nil {
		t.Fatalf("%s is never looked at", after.Status)
	}
	if after.ID != before.ID || after.UserID != before.UserID || after.AgentUID != before.AgentUID || after.Channel != before.Channel ||
		after.SessionID != before.SessionID || after.Version != before.Version || !after.CreatedAt.Equal(before.CreatedAt) {
		t.Fatal("the machine changed what is not its own")
	}
}

func drawEvent(t *rapid.T, at time.Time) Event {
	events := everyEvent()
	names := make([]string, 0, len(events))
	for name := range events {
		names = append(names, name)
	}
	slices.Sort(names)
	e := events[rapid.SampledFrom(names).Draw(t, "event")]
	e.At, e.Source = at, FromPoll
	return e
}

// Any sequence of events, whatever their order and however often: no rejected or revoked customer is ever verified, cancelled
// stays cancelled, and approval only ever comes with the issuer's word.
func TestAnySequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		channel := rapid.SampledFrom([]Channel{ViaPokePay, ViaDidit}).Draw(t, "channel")
		r := recordIn(PendingSubmit, Silence, channel)
		around := rapid.SampledFrom(neighbourhoods).Draw(t, "around")
		var past []Event
		barred := false // revoked, run out or refused by an operator, and no operator has undone it
		for range rapid.IntRange(1, 40).Draw(t, "length") {
			var e Event
			if len(past) > 0 && rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				e = rapid.SampledFrom(past).Draw(t, "repeated") // late, or once more
			} else {
				e = drawEvent(t, t0.Add(time.Duration(rapid.IntRange(0, 100_000).Draw(t, "second"))*time.Second))
				past = append(past, e)
			}
			before := r
			var effects []Effect
			r, effects = next(r, around, e)
			checkStep(t, before, around, r, e, effects)
			moved := before.Status != r.Status
			a := answerLate(r.Status, r.Issuer, false)
			if !around.late() {
				a = answer(r.Status, r.Issuer, false)
			}
			if (a.User == UserVerified || a.PokePayStatus == 2) && r.Status != Approved {
				t.Fatalf("%s with issuer %d is told verified", r.Status, r.Issuer)
			}
			if moved && r.Status.Open() && !settled(r.Status, r.Issuer) {
				t.Fatalf("%s with what the issuer said before, %d, by %s", r.Status, r.Issuer, e.Kind)
			}
			switch {
			case moved && (e.Kind == OperatorApproved || e.Kind == OperatorReopened):
				barred = false
			case r.Status == Rejected && final(r):
				barred = true
			}
			if barred && r.Status != Rejected {
				t.Fatalf("%s by %s after a rejection for good", r.Status, e.Kind)
			}
			if r.Status == Rejected && a.User != UserRejected {
				t.Fatalf("rejected is told %s", a.User)
			}
		}
	})
}

// The issuer's truth over time, told in any order and any number of times: what was asked last counts. (The issuer's own moves:
// 1 to anything, 5 to 2 or 3, and 2 may be revoked; provider/pokepay section 3.4.)
func TestNewestTruthWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moves := map[Verdict][]Verdict{
			NotReviewed: {NotReviewed, Accepted, Refused, Mismatch, ManualReview, DocumentTaken}, ManualReview: {ManualReview, Accepted, Refused},
			Accepted: {Accepted, Refused}, Refused: {Refused}, Mismatch: {Mismatch}, DocumentTaken: {DocumentTaken},
		}
		truth := []Verdict{NotReviewed}
		for range rapid.IntRange(0, 12).Draw(t, "steps") {
			truth = append(truth, rapid.SampledFrom(moves[truth[len(truth)-1]]).Draw(t, "verdict"))
		}
		// Each moment is told at least once, the order is arbitrary.
		told := make([]int, 0, 2*len(truth))
		for i := range truth {
			told = append(told, i)
		}
		for range rapid.IntRange(0, 20).Draw(t, "repetitions") {
			told = append(told, rapid.IntRange(0, len(truth)-1).Draw(t, "which"))
		}
		told = rapid.Permutation(told).Draw(t, "order")

		r := recordIn(PendingSubmit, Silence, ViaPokePay)
		seenYes := false
		newest := -1
		for _, i := range told {
			before := r
			r, _ = next(r, Surroundings{}, Event{Kind: IssuerSaid, Verdict: truth[i], At: t0.Add(time.Duration(i) * time.Second), Source: FromPoll})
			if i < newest && !cmp.Equal(before, r) {
				t.Fatalf("an older answer changed the record: %s", cmp.Diff(before, r))
			}
			newest = max(newest, i)
			seenYes = seenYes || r.Status == Approved
			if r.Issuer != truth[newest] {
				t.Fatalf("issuer %d is stored, %d was said last", r.Issuer, truth[newest])
			}
		}
		want := map[Verdict]Status{NotReviewed: PendingSubmit, ManualReview: Processing, Accepted: Approved, Refused: Rejected, Mismatch: Rejected, DocumentTaken: Rejected}[r.Issuer]
		if r.Issuer.Negative() && seenYes {
			want = Approved // until a person has confirmed the revocation
		}
		if r.Status != want {
			t.Fatalf("%v told as %v: %s, want %s", truth, told, r.Status, want)
		}
		if seenYes && r.Issuer.Negative() {
			r, _ = next(r, Surroundings{}, Event{Kind: OperatorRejected, At: t0.Add(time.Hour), Source: FromOperator})
			for v := Silence; v <= DocumentTaken; v++ {
				later, _ := next(r, Surroundings{}, Event{Kind: IssuerSaid, Verdict: v, At: t0.Add(2 * time.Hour), Source: FromPoll})
				if a := answer(later.Status, later.Issuer, false); a.User != UserRejected {
					t.Fatalf("revoked, then the issuer says %d: %s", v, a.User)
				}
			}
		}
	})
}

// A late result never touches a newer attempt or an approved customer.
func TestLateResultTouchesNothing(t *testing.T) {
	for _, s := range []Status{Rejected, Failed, NotCompleted, Cancelled} {
		for _, around := range []Surroundings{{Newer: true}, {OtherApproved: true}} {
			for v := NotReviewed; v <= DocumentTaken; v++ {
				after, effects := next(recordIn(s, Silence, ViaPokePay), around, Event{Kind: IssuerSaid, Verdict: v, At: t0, Source: FromWebhook})
				if after.Status != s {
					t.Errorf("%s, issuer says %d while the customer has moved on (%+v): %s", s, v, around, after.Status)
				}
				for _, e := range effects {
					if e != CaseLateYes {
						t.Errorf("%s, issuer says %d late: %s", s, v, e)
					}
				}
			}
		}
	}
}

func TestPollSchedule(t *testing.T) {
	r := recordIn(PendingSubmit, Silence, ViaPokePay)
	deadline := t0.Add(SessionLife)
	r.DeadlineAt = &deadline
	now, waits := t0, []time.Duration{}
	for range 70 {
		at := nextPoll(r, now, 0)
		waits = append(waits, at.Sub(now))
		now = *at
	}
	want := []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second}
	for range 60 {
		want = append(want, time.Minute)
	}
	for range 6 {
		want = append(want, 10*time.Minute)
	}
	if !cmp.Equal(want, waits) {
		t.Error(cmp.Diff(want, waits))
	}
	for _, jitter := range []float64{-1, 1} {
		if d := nextPoll(r, t0.Add(10*time.Hour), jitter).Sub(t0.Add(10 * time.Hour)); d < 9*time.Minute || d > 11*time.Minute {
			t.Errorf("jitter %v: %v", jitter, d)
		}
	}
	if at := nextPoll(r, deadline.Add(-time.Minute), 0); !at.Equal(deadline) {
		t.Errorf("the deadline is not kept on time: %v", at)
	}
	for _, s := range []Status{Cancelled} {
		if at := nextPoll(recordIn(s, Silence, ViaPokePay), t0, 0); at != nil {
			t.Errorf("%s is looked at again", s)
		}
	}
	for _, s := range []Status{Rejected, Failed, NotCompleted} {
		if nextPoll(recordIn(s, Silence, ViaPokePay), t0, 0) == nil || nextPoll(recordIn(s, Silence, ViaPokePay), t0.Add(8*24*time.Hour), 0) != nil {
			t.Errorf("%s: looked at for a week", s)
		}
	}
}

func TestDiditReasons(t *testing.T) {
	for risk, want := range map[string]ReasonCode{
		"DOCUMENT_EXPIRED": ReasonDocumentOld, "IMAGE_TOO_BLURRY": ReasonPhoto, "MRZ_NOT_DETECTED": ReasonPhoto, "LOW_FACE_QUALITY": ReasonPhoto,
		"HIGH_FACE_LUMINANCE": ReasonPhoto, "NO_FACE_DETECTED": ReasonPhoto, "DOCUMENT_NOT_SUPPORTED_FOR_APPLICATION": ReasonUnsupported,
		"COULD_NOT_DETECT_DOCUMENT_TYPE": ReasonUnsupported, "DOCUMENT_SIDES_MISMATCH": ReasonUnsupported, "SCREEN_CAPTURE_DETECTED": ReasonCopy,
		"PRINTED_COPY_DETECTED": ReasonCopy, "LOW_FACE_MATCH_SIMILARITY": ReasonFace, "LOW_LIVENESS_SCORE": ReasonFace, "MINIMUM_AGE_NOT_MET": ReasonAge,
		// Never told.
		"LIVENESS_FACE_ATTACK": ReasonGeneric, "DUPLICATED_FACE": ReasonGeneric, "POSSIBLE_DUPLICATED_USER": ReasonGeneric, "FACE_IN_BLOCKLIST": ReasonGeneric,
		"ID_DOCUMENT_IN_BLOCKLIST": ReasonGeneric, "PORTRAIT_MANIPULATION_DETECTED": ReasonGeneric, "PUBLIC_DOCUMENT_IMAGE_DETECTED": ReasonGeneric,
		"POSSIBLE_MATCH_FOUND": ReasonGeneric, "DUPLICATED_IP_ADDRESS": ReasonGeneric, "": ReasonGeneric, "SOMETHING_NEW": ReasonGeneric,
	} {
		if got := diditReason(risk); got != want {
			t.Errorf("%s: %s, want %s", risk, got, want)
		}
	}
}
