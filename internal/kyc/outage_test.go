package kyc_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// rest gives a circuit breaker the moment after which it lets a call through again: it goes by the machine's time.
func rest() { time.Sleep(50 * time.Millisecond) }

// An hour without the issuer: nothing is lost, nothing is decided, and the first poll afterwards decides.
func TestIssuerDownForAnHour(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		before := a.moves()
		w.fault("pokepay", "*", fault.HTTP500, 0)
		w.fault("pokepay", "callback", fault.DropWebhook, 0)
		a.verdict(2, "")
		for range 12 {
			w.stir(5 * time.Minute)
			c.is(w.underway())
		}
		if diff := cmp.Diff(before, a.moves()); diff != "" {
			t.Errorf("something was decided:\n%s", diff)
		}
		asked := w.calls.of("pokepay GET /api/v1/kyc") + w.calls.of("pokepay GET /api/v1/kyc/{id}")
		if asked < 12 || asked > 12*8 {
			t.Errorf("%d questions during the outage", asked)
		}
		w.faults.Clear()
		rest()
		w.stir(time.Minute)
		a.verifiedOnce()
	})
}

// Quirks of the wire that the documentation warns of, all of them at once and all the way: nobody notices.
func TestQuirks(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		for _, kind := range []fault.Kind{fault.OddNumbers, fault.NoRequestID, fault.MissingDecision, fault.NullVendorData, fault.ISOTimestamp} {
			w.fault("*", "*", kind, 0)
		}
		c := w.customer()
		a := c.handedIn()
		a.verdict(5, "")
		c.becomes(stepReview)
		a.verdict(2, "")
		c.becomes(stepVerified)
		a.verifiedOnce()
	})
}

// What a provider, or a thing in front of it, may answer instead of an answer: it decides nothing, and the answer that comes
// later does.
func TestNoAnswerDecidesNothing(t *testing.T) {
	for name, in := range map[string]struct {
		provider, operation string
		kind                fault.Kind
	}{
		"issuer answers HTML":        {"pokepay", "*", fault.HTML502},
		"issuer answers 500":         {"pokepay", "*", fault.HTTP500},
		"issuer refuses every token": {"pokepay", "*", fault.ExpiredToken},
		"issuer is silent":           {"pokepay", "kyc_get", fault.ActThenTimeout},
		"didit answers HTML":         {"didit", "*", fault.HTML502},
		"didit answers 429":          {"didit", "*", fault.RateLimited},
		"didit answers 403":          {"didit", "*", fault.Forbidden},
		"didit is silent":            {"didit", "decision", fault.ActThenTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				c := w.customer()
				var a attempt
				if in.provider == "didit" {
					a = c.start()
					w.fault(in.provider, in.operation, in.kind, 0)
					a.page("approve", "")
				} else {
					a = c.handedIn()
					w.fault(in.provider, in.operation, in.kind, 0)
					a.verdict(3, "no")
				}
				before := standingFrom(c.status())
				if err := a.poll(); err == nil {
					t.Error("the fault does nothing")
				}
				c.is(before)
				if in.provider == "pokepay" {
					a.verdict(2, "") // the issuer changes its mind while nobody can read it
				}
				w.faults.Clear()
				for range 2 {
					rest()
					w.stir(time.Minute)
				}
				if in.provider == "didit" {
					c.becomes(stepProcessing)
					w.eventually("the cardholder", func() bool { _, known := w.cardholder(a.agentUID); return known })
					a.verdict(2, "")
				}
				c.becomes(stepVerified)
				a.verifiedOnce()
			}, via(kyc.ViaDidit))
		})
	}
}

// A token that ends in the middle of the work is replaced, and nobody notices.
func TestIssuersTokenEnds(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		for _, operation := range []string{"kyc_init", "kyc_submit", "kyc_list", "kyc_get"} {
			w.fault("pokepay", operation, fault.ExpiredToken, 1)
		}
		c := w.customer()
		a := c.handedIn()
		a.verdict(2, "")
		c.becomes(stepVerified)
		w.idle()
		k, _ := w.cardholder(a.agentUID)
		if w.Channel == kyc.ViaPokePay && k.InitCalls != 1 {
			t.Errorf("%d sessions billed for one tap", k.InitCalls)
		}
		if w.Channel == kyc.ViaDidit && w.calls.of(callSubmit) != 2 { // the first was turned away at the door
			t.Errorf("%d submissions, want 2", w.calls.of(callSubmit))
		}
		if n := w.calls.of("pokepay POST /web/auth/login"); n < 2 {
			t.Errorf("%d logins: the fault did nothing", n)
		}
	})
}

// The session was made and its answer lost. The customer is told to come back, a second session is not made before the
// first call is certainly over, and there is one open attempt all the time.
func TestSessionWithoutAnAnswer(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		operation, key := "kyc_init", callInit
		if w.Channel == kyc.ViaDidit {
			operation, key = "create_session", callSession
		}
		w.fault("*", operation, fault.ActThenTimeout, 1)
		c := w.customer()
		r := c.tryStart(entries())
		r.refused(t, http.StatusServiceUnavailable, "KYC_UNAVAILABLE")
		if r.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		if w.billed() != 1 || c.records(true) != 1 || w.calls.of(key) != 1 {
			t.Errorf("%d billed, %d open, %d calls; want one of each", w.billed(), c.records(true), w.calls.of(key))
		}
		c.is(stepSubmit)

		w.clock.Advance(46 * time.Second)
		a := c.start()
		if c.records(true) != 1 {
			t.Errorf("%d open attempts", c.records(true))
		}
		c.is(stepSubmit)
		if w.Channel == kyc.ViaDidit {
			// Didit gives the unfinished session out again: the customer's second tap costs nothing.
			if w.billed() != 1 || c.records(false) != 1 {
				t.Errorf("%d billed, %d attempts; want one of each", w.billed(), c.records(false))
			}
			return
		}
		// The issuer does not: a new attempt under a name of its own, and the lost one is withdrawn.
		if w.billed() != 2 || c.records(false) != 2 {
			t.Errorf("%d billed, %d attempts; want two of each", w.billed(), c.records(false))
		}
		a.verdict(2, "")
		c.becomes(stepVerified)
	})
}

// While there may be a session of a call whose answer was lost, a second tap is told at once when to come back: nobody is asking.
func TestTapDuringALostCall(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.fault("pokepay", "kyc_init", fault.ActThenTimeout, 1)
		c := w.customer()
		c.tryStart(entries()).refused(t, http.StatusServiceUnavailable, "KYC_UNAVAILABLE")
		r := c.tryStart(entries())
		r.refused(t, http.StatusServiceUnavailable, "KYC_BUSY")
		if w.billed() != 1 || c.records(false) != 1 {
			t.Errorf("%d billed, %d attempts; want one of each", w.billed(), c.records(false))
		}
	})
}

// A call that outlives its lease comes back to an attempt that was replaced: its link leads nowhere and is not given out.
func TestCallThatOutlivesItsLease(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		operation, key := "kyc_init", callInit
		if w.Channel == kyc.ViaDidit {
			operation, key = "create_session", callSession
		}
		w.fault("*", operation, fault.Delay, 1, func(r *fault.Rule) { r.DelayMS = 1500 })
		c := w.customer()
		slow := make(chan reply, 1)
		go func() { slow <- c.tryStart(entries()) }()
		w.eventually("the slow call", func() bool { return w.calls.of(key) == 1 })
		w.clock.Advance(46 * time.Second)
		a := c.start()
		r := <-slow
		if w.Channel == kyc.ViaDidit {
			if got := attemptFrom(c, r); got != a { // Didit has one session for both
				t.Errorf("%d %s, want the link of the other tap", r.status, r.raw)
			}
		} else {
			r.refused(t, http.StatusServiceUnavailable, "KYC_BUSY")
		}
		if again := c.start(); again != a {
			t.Errorf("the link has changed: %+v, was %+v", again, a)
		}
		if n := c.records(true); n != 1 {
			t.Errorf("%d open attempts", n)
		}
	})
}

// A provider that certainly did nothing leaves nothing behind: the customer is told to come back and can do so at once.
func TestSessionRefusedForOurReasons(t *testing.T) {
	for name, tt := range map[string]struct {
		channel   kyc.Channel
		operation string
		kind      fault.Kind
		cases     []string
	}{
		"didit 429":                {kyc.ViaDidit, "create_session", fault.RateLimited, []string{}},
		"didit 403: key, credits":  {kyc.ViaDidit, "create_session", fault.Forbidden, []string{"kyc_provider_access"}},
		"issuer: no token is good": {kyc.ViaPokePay, "kyc_init", fault.ExpiredToken, []string{"kyc_provider_access"}},
		"issuer: login is down":    {kyc.ViaPokePay, "login", fault.HTML502, []string{}},
		"issuer: login is refused": {kyc.ViaPokePay, "login", fault.RefuseInit, []string{"kyc_provider_access"}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				w.fault("*", tt.operation, tt.kind, 0, func(r *fault.Rule) {
					if r.Kind == fault.RefuseInit {
						r.Message = "account or password invalid"
					}
				})
				c := w.customer()
				r := c.tryStart(entries())
				r.refused(t, http.StatusServiceUnavailable, "KYC_UNAVAILABLE")
				if r.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
				c.is(stepCancelled)
				if n := w.count(`SELECT COUNT(*) FROM operator_cases WHERE is_open = 1`); n != len(tt.cases) {
					t.Errorf("%d cases, want %v", n, tt.cases)
				}
				if w.billed() != 0 || c.records(true) != 0 {
					t.Errorf("%d billed, %d open", w.billed(), c.records(true))
				}
				// Everybody else meets the same trouble; it is one thing to look into.
				w.customer().tryStart(entries()).refused(t, http.StatusServiceUnavailable, "KYC_UNAVAILABLE")
				if n := w.count(`SELECT COUNT(*) FROM operator_cases WHERE is_open = 1`); n != len(tt.cases) {
					t.Errorf("%d cases for one trouble, want %v", n, tt.cases)
				}
				w.faults.Clear()
				rest()
				w.clock.Advance(5 * time.Minute) // a refused login is not repeated at once
				c.start()
				c.is(stepSubmit)
				if n := w.count(`SELECT COUNT(*) FROM operator_cases WHERE is_open = 1`); n != 0 {
					t.Errorf("%d cases are left after the trouble is over", n)
				}
			}, via(tt.channel))
		})
	}
}

// Didit is slow, and slower than we wait.
func TestSlowDidit(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.fault("didit", "create_session", fault.Delay, 1, func(r *fault.Rule) { r.DelayMS = 300 })
		c := w.customer()
		a := c.start()
		w.fault("didit", "decision", fault.Delay, 0, func(r *fault.Rule) { r.DelayMS = 20_000 })
		a.page("approve", "")
		if err := a.poll(); err == nil {
			t.Error("the fault does nothing")
		}
		c.is(stepSubmit)
		w.faults.Clear()
		rest()
		w.stir(time.Minute)
		c.becomes(stepProcessing)
		w.eventually("the cardholder", func() bool { _, known := w.cardholder(a.agentUID); return known })
		a.verdict(2, "")
		c.becomes(stepVerified)
		a.verifiedOnce()
	}, via(kyc.ViaDidit), func(p *plan) { p.limits.Timeout = 3 * time.Second })
}

// A session that is gone at Didit, by our own deletion or theirs.
func TestSessionIsGone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		if err := w.atDidit(http.MethodDelete, "/v3/session/"+a.sessionID+"/delete/", nil, nil); err != nil {
			t.Fatal(err)
		}
		a.mustPoll()
		c.is(stepNotCompleted)
		again := c.start()
		if again.sessionID == a.sessionID {
			t.Error("the session that is gone is given out again")
		}
	}, via(kyc.ViaDidit))
}

// Under review for seventy-two hours without a decision: the attempt fails, the customer is told and a person looks into it.
func TestReviewWithoutAnEnd(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		a.verdict(5, "")
		c.becomes(stepReview)
		c.wait(kyc.ReviewPeriod - time.Minute)
		w.stir(0)
		c.is(stepReview)
		w.stir(2 * time.Minute)
		c.is(standing{User: "rejected", CanSubmit: true, Status: "failed", PokePay: 1, Reason: "The verification ended without a decision for technical reasons. Please try again."})
		if diff := cmp.Diff([]string{"kyc_no_verdict"}, w.cases(a.agentUID)); diff != "" {
			t.Errorf("cases:\n%s", diff)
		}
		w.idle()
		if n := c.mails(mailEnded); n != 1 {
			t.Errorf("%d mails, want 1", n)
		}
		// A decision that comes after all still counts, as long as there is nothing newer.
		a.verdict(2, "")
		c.becomes(stepVerified)
	})
}

// A deadline that passes while the provider is away waits for its last word, a day at most.
func TestDeadlineDuringAnOutage(t *testing.T) {
	t.Parallel()
	for name, comesBack := range map[string]bool{"back in time": true, "not back": false} {
		t.Run(name, func(t *testing.T) {
			eachChannel(t, func(t *testing.T, w *world) {
				c := w.customer()
				a := c.handedIn()
				a.verdict(5, "")
				c.becomes(stepReview)
				w.idle()
				w.fault("pokepay", "*", fault.HTML502, 0)
				w.fault("pokepay", "callback", fault.DropWebhook, 0)
				c.wait(kyc.ReviewPeriod)
				for range 3 {
					w.stir(4 * time.Hour)
					c.is(stepReview)
				}
				if comesBack {
					a.verdict(2, "")
					w.faults.Clear()
					rest()
					w.stir(time.Hour)
					c.becomes(stepVerified)
					if n := w.cases(a.agentUID); len(n) != 0 {
						t.Errorf("cases %v", n)
					}
					return
				}
				c.wait(13 * time.Hour)
				w.stir(0)
				c.becomes(standing{User: "rejected", CanSubmit: true, Status: "failed", PokePay: 1, Reason: "The verification ended without a decision for technical reasons. Please try again."})
			})
		})
	}
}

// The daily look at a verified customer that meets a provider who is down is made good soon after, and the provider is not pressed.
func TestDailyCheckDuringAnOutage(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		a.verdict(2, "")
		c.becomes(stepVerified)
		w.idle()
		w.fault("pokepay", "*", fault.HTML502, 0)
		w.fault("pokepay", "callback", fault.DropWebhook, 0)
		a.verdict(3, "stolen papers")
		asked := func() (n int) {
			at := time.Time{}
			if err := w.db.QueryRow(t.Context(), `SELECT asked_at FROM kyc_records WHERE id = $1`, a.recordID).Scan(&at); err != nil {
				t.Fatal(err)
			}
			return int(at.Sub(beginning) / time.Second)
		}
		before := asked()
		c.wait(27 * time.Hour) // a day, and the tenth by which it varies
		w.stir(0)
		if asked() == before {
			t.Fatal("there was no daily check")
		}
		rounds := 0
		for range 15 {
			last := asked()
			w.stir(2 * time.Minute)
			if asked() != last {
				rounds++
			}
		}
		if rounds < 3 || rounds > 5 {
			t.Errorf("asked %d times within half an hour, want after about 2, 4, 8 and 16 minutes", rounds)
		}
		c.is(stepVerified)
		w.faults.Clear()
		rest()
		w.stir(time.Hour)
		if diff := cmp.Diff([]string{"kyc_revocation"}, w.cases(a.agentUID)); diff != "" {
			t.Errorf("an hour after the outage:\n%s", diff)
		}
	})
}

// A provider that has no time for anybody is not the customer's fault: it costs none of their attempts, and they are kept to the
// wait that they are told.
func TestTroubleIsNotHeldAgainstTheCustomer(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		if w.Channel == kyc.ViaDidit {
			w.fault("didit", "create_session", fault.Forbidden, 0)
		} else {
			w.fault("pokepay", "kyc_init", fault.ExpiredToken, 0)
		}
		c := w.customer()
		const taps = kyc.DefaultAttemptsPerDay + 1
		for n := range taps {
			for range 2 {
				c.tryStart(entries()).refused(t, http.StatusServiceUnavailable, "KYC_UNAVAILABLE")
			}
			if got := c.records(false); got != n+1 {
				t.Fatalf("%d attempts after %d waits", got, n)
			}
			w.clock.Advance(31 * time.Second)
			rest()
		}
		w.faults.Clear()
		w.clock.Advance(5 * time.Minute) // a refused login is not repeated at once
		c.start()
		c.is(stepSubmit)
	})
}
