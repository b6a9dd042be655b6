package kyc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// What a customer of our own Didit account reads about a decline, per group of risk codes and in their language
// (provider/didit section 6). Codes of fraud control say no more than any other failure.
func TestDeclineIsExplained(t *testing.T) {
	const generic = "GENERIC: Your identity could not be verified. Please try again, or contact support."
	risks := map[string]string{ // key of the text, and the text in English
		"DOCUMENT_EXPIRED":                       "DOCUMENT_EXPIRED: The document has expired. Please use a valid one.",
		"IMAGE_TOO_BLURRY":                       "PHOTO_UNCLEAR: The photo is not clear. Please take it again in good light.",
		"NO_FACE_DETECTED":                       "PHOTO_UNCLEAR: The photo is not clear. Please take it again in good light.",
		"MRZ_NOT_DETECTED":                       "PHOTO_UNCLEAR: The photo is not clear. Please take it again in good light.",
		"DOCUMENT_NOT_SUPPORTED_FOR_APPLICATION": "DOCUMENT_UNSUPPORTED: This document is not accepted. Please use another one.",
		"SCREEN_CAPTURE_DETECTED":                "NOT_ORIGINAL: Please use the original document, not a copy or a screen.",
		"LOW_FACE_MATCH_SIMILARITY":              "FACE_MISMATCH: The face did not match the document.",
		"MINIMUM_AGE_NOT_MET":                    "UNDER_AGE: You must be of age to use this service.",
		"FULL_NAME_MISMATCH_WITH_PROVIDED":       "MISMATCH: Your details do not match the document.",
		"LIVENESS_FACE_ATTACK":                   generic,
		"PORTRAIT_MANIPULATION_DETECTED":         generic,
		"DUPLICATED_FACE":                        generic,
		"POSSIBLE_DUPLICATED_USER":               generic,
		"FACE_IN_BLOCKLIST":                      generic,
		"ID_DOCUMENT_IN_BLOCKLIST":               generic,
		"POSSIBLE_MATCH_FOUND":                   generic,
		"A_CODE_NOBODY_HAS_SEEN_YET":             generic,
	}
	scripts := map[i18n.Locale]*unicode.RangeTable{i18n.Chinese: unicode.Han, i18n.Arabic: unicode.Arabic}
	each(t, func(t *testing.T, w *world) {
		scenarios := map[string]func(*customer){}
		for risk, want := range risks {
			key, english, _ := strings.Cut(want, ": ")
			scenarios[risk] = func(c *customer) {
				a := c.start()
				a.page("decline", risk)
				c.becomes(stepRejected(3, english))
				for l, script := range scripts {
					got := standingFrom(c.status("Accept-Language", string(l))).Reason
					if got != c.w.texts.Get(l, "kyc.reason."+key, nil) || !strings.ContainsFunc(got, func(r rune) bool { return unicode.Is(script, r) }) {
						c.t.Errorf("%s: fail_reason %q is not the text %s in that language", l, got, key)
					}
				}
				// Staff read what it really was.
				if c.w.count(`SELECT COUNT(*) FROM kyc_events WHERE record_id = $1 AND why = $2`, a.recordID, "Declined: "+risk) != 1 {
					c.t.Errorf("the history does not tell the risk")
				}
				if _, known := c.w.cardholder(a.agentUID); known {
					c.t.Errorf("a declined customer was handed to the issuer")
				}
			}
		}
		customersIn(t, w, scenarios)
	}, via(kyc.ViaDidit))
}

// The words of Didit that are no decision, and those that change one (contract/money section 10.1).
func TestDiditSession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		customersIn(t, w, map[string]func(*customer){
			"opened and left": func(c *customer) {
				a := c.start()
				a.opened()
				a.mustPoll()
				c.is(stepSubmit)
				if again := c.start(); again.url != a.url || again.agentUID != a.agentUID {
					c.t.Error("another link for the same attempt")
				}
			},
			"review, then approved": func(c *customer) {
				a := c.start()
				a.page("review", "POSSIBLE_DUPLICATED_FACE")
				c.becomes(stepProcessing)
				c.tryStart(entries()).refused(c.t, 400, "KYC_UNDER_REVIEW")
				c.w.clock.Advance(time.Second)
				a.didit("Approved", "")
				c.w.eventually("the cardholder at the issuer", func() bool { _, known := c.w.cardholder(a.agentUID); return known })
				a.verdict(2, "")
				c.becomes(stepVerified)
			},
			"review, then declined": func(c *customer) {
				a := c.start()
				a.page("review", "")
				c.becomes(stepProcessing)
				c.w.clock.Advance(time.Second)
				a.didit("Declined", "DOCUMENT_EXPIRED")
				c.becomes(stepRejected(3, "The document has expired. Please use a valid one."))
			},
			"abandoned": func(c *customer) {
				a := c.start()
				a.page("abandon", "")
				c.becomes(stepNotCompleted)
				if again := c.start(); again.agentUID == a.agentUID || again.sessionID == a.sessionID {
					c.t.Error("the new attempt is the old one")
				}
			},
			"a decline that a reviewer turns into an approval": func(c *customer) {
				a := c.start()
				a.page("decline", "IMAGE_TOO_DARK")
				c.becomes(stepRejected(3, "The photo is not clear. Please take it again in good light."))
				c.w.clock.Advance(time.Second)
				a.didit("Approved", "")
				c.becomes(stepProcessing)
				c.w.eventually("the cardholder at the issuer", func() bool { _, known := c.w.cardholder(a.agentUID); return known })
				a.verdict(2, "")
				c.becomes(stepVerified)
			},
			"a step must be done again": func(c *customer) {
				a := c.start()
				a.page("decline", "IMAGE_TOO_BLURRY")
				c.becomes(stepRejected(3, "The photo is not clear. Please take it again in good light."))
				c.w.clock.Advance(time.Second)
				a.didit("Resubmitted", "")
				c.becomes(stepSubmit)
				if again := c.start(); again.url != a.url || again.agentUID != a.agentUID {
					c.t.Error("the customer cannot get back to the link")
				}
				c.w.clock.Advance(time.Second)
				a.page("approve", "")
				c.becomes(stepProcessing)
				c.w.eventually("the cardholder at the issuer", func() bool { _, known := c.w.cardholder(a.agentUID); return known })
				a.verdict(2, "")
				c.becomes(stepVerified)
				if diff := cmp.Diff([]string{">pending_submit", "pending_submit>rejected", "rejected>pending_submit", "pending_submit>processing", "processing>approved"}, a.moves()); diff != "" {
					c.t.Errorf("history:\n%s", diff)
				}
				c.w.eventually("the mail", func() bool { return c.mails(mailResubmit) == 1 })
			},
			"an approval runs out": func(c *customer) {
				a := c.handedIn()
				a.verdict(2, "")
				c.becomes(stepVerified)
				c.w.clock.Advance(time.Second)
				a.didit("Kyc Expired", "")
				c.becomes(stepRejected(3, "Your verification has expired. Please verify your identity again."))
				c.w.eventually("the mail", func() bool { return c.mails(mailRejected) == 1 })
			},
			"declined after the issuer's yes": func(c *customer) {
				a := c.handedIn()
				a.verdict(2, "")
				c.becomes(stepVerified)
				c.w.clock.Advance(time.Second)
				a.didit("Declined", "DUPLICATED_FACE")
				c.w.eventually("the case", func() bool { return cmp.Equal(c.w.cases(a.agentUID), []string{"kyc_revocation"}) })
				c.is(stepVerified)
			},
		})
	}, via(kyc.ViaDidit))
}

// What a person refused, and what has been approved once, no reviewer at the provider brings back: the customer begins anew, or an
// operator decides.
func TestRejectedForGood(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		expired := stepRejected(3, "Your verification has expired. Please verify your identity again.")
		blocked := func(want standing) standing { want.CanSubmit = false; return want }
		revoked := blocked(stepRejected(3, "Your verification has been withdrawn. Please verify your identity again, or contact support."))
		// repeated goes through the page once more, to the end.
		repeated := func(c *customer, a attempt, want standing) {
			c.w.clock.Advance(time.Second)
			a.didit("Resubmitted", "")
			a.mustPoll()
			c.is(want)
			c.w.clock.Advance(time.Second)
			a.page("approve", "")
			a.mustPoll()
			c.w.eventually("the case", func() bool { return cmp.Equal(c.w.cases(a.agentUID), []string{"kyc_late_approval"}) })
			c.is(want)
			if n := c.mails(mailApproved); n != 1 {
				c.t.Errorf("%d mails of approval, want the first one only", n)
			}
		}
		customersIn(t, w, map[string]func(*customer){
			"an approval that ran out": func(c *customer) {
				a := c.handedIn()
				a.verdict(2, "")
				c.becomes(stepVerified)
				c.w.clock.Advance(time.Second)
				a.didit("Kyc Expired", "")
				c.becomes(expired)
				repeated(c, a, expired)
			},
			"an approval that was withdrawn from a customer who is blocked": func(c *customer) {
				a := c.handedIn()
				a.verdict(2, "")
				c.becomes(stepVerified)
				if _, err := c.w.Reject(context.Background(), operator, a.agentUID, "fraud", true); err != nil {
					c.t.Fatal(err)
				}
				c.is(revoked)
				repeated(c, a, revoked)
			},
			"a step to be done again while the issuer looks closer": func(c *customer) {
				a := c.handedIn()
				a.verdict(5, "")
				c.becomes(stepReview)
				c.w.clock.Advance(time.Second)
				a.didit("Resubmitted", "")
				c.becomes(stepSubmit) // and not "under review", where the app has no button
			},
			"doubts after the approval": func(c *customer) {
				a := c.handedIn()
				a.verdict(2, "")
				c.becomes(stepVerified)
				c.w.clock.Advance(time.Second)
				a.didit("Resubmitted", "")
				c.w.eventually("the case", func() bool { return cmp.Equal(c.w.cases(a.agentUID), []string{"kyc_revocation"}) })
				c.is(stepVerified)
			},
		})
	}, via(kyc.ViaDidit))
}

// In the issuer's channel the session is in the issuer's own Didit account: what comes of it we learn from the issuer alone.
func TestIssuersSession(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		customersIn(t, w, map[string]func(*customer){
			"declined there": func(c *customer) {
				a := c.start()
				a.page("decline", "DOCUMENT_EXPIRED")
				c.becomes(stepRejected(3, "Document expired"))
			},
			"in review there": func(c *customer) {
				a := c.start()
				a.page("review", "")
				c.becomes(stepReview)
				a.verdict(2, "")
				c.becomes(stepVerified)
			},
			"left there": func(c *customer) {
				a := c.start()
				a.page("abandon", "")
				a.mustPoll()
				c.is(stepSubmit)
				if again := c.start(); again.url != a.url {
					c.t.Error("a second session for an attempt that is open")
				}
			},
			"approved there is no verdict of the issuer": func(c *customer) {
				a := c.start()
				a.page("approve", "")
				a.mustPoll()
				c.is(stepSubmit)
			},
		})
	})
}

// A link lives seven days. Nobody has to come by for the attempt to end.
func TestLinkRunsOut(t *testing.T) {
	eachChannel(t, func(_ *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		if w.Channel == kyc.ViaDidit {
			a.opened()
		}
		c.wait(kyc.SessionLife)
		c.becomes(stepNotCompleted)
		if n := w.cases(a.agentUID); len(n) != 0 {
			c.t.Errorf("cases %v for a customer who has just not come", n)
		}
		again := c.start()
		if again.agentUID == a.agentUID || again.url == a.url {
			c.t.Error("the new attempt is the old one")
		}
		c.is(stepSubmit)
		if n := c.records(true); n != 1 {
			c.t.Errorf("%d open attempts", n)
		}
	})
}

// The customer may be faster than the timer: with a link that has run out they get a new one, and the old attempt ends.
func TestLinkRanOutBeforeTheTimer(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		c.wait(kyc.SessionLife + time.Minute)
		again := c.start()
		if again.agentUID == a.agentUID || again.url == a.url || again.sessionID == a.sessionID {
			t.Errorf("the new attempt is the old one")
		}
		if diff := cmp.Diff([]string{">pending_submit", "pending_submit>cancelled"}, a.moves()); diff != "" {
			t.Errorf("the old attempt:\n%s", diff)
		}
		// A cancelled attempt never moves again, whatever anybody says about it.
		if w.Channel == kyc.ViaPokePay {
			a.verdict(2, "")
		}
		a.mustPoll()
		c.is(stepSubmit)
		if n := c.records(true); n != 1 {
			t.Errorf("%d open attempts", n)
		}
	}, asleep)
}

// From the verification to the cardholder: what the issuer gets is what the customer typed and what the document says, with
// pictures that it could fetch.
func TestCardholderIsHandedOver(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		if got, want := w.calls.of(callSubmit), 1; got != want {
			t.Errorf("%d submissions, want %d", got, want)
		}
		k, _ := w.cardholder(a.agentUID)
		if k.Kind != "self" || k.Email != c.email || k.Status != 1 {
			t.Errorf("the issuer knows %+v", k)
		}
		a.verdict(2, "")
		c.becomes(stepVerified)
		if diff := cmp.Diff([]string{">pending_submit", "pending_submit>processing", "processing>approved"}, a.moves()); diff != "" {
			t.Errorf("history:\n%s", diff)
		}
	}, via(kyc.ViaDidit))
}

// What the issuer says to a submission that it does not take.
func TestSubmissionRefused(t *testing.T) {
	t.Parallel()
	refuse := func(w *world, words string, count int) {
		w.fault("pokepay", "kyc_submit", fault.RefuseInit, count, func(r *fault.Rule) { r.Message = words })
	}
	t.Run("known words", func(t *testing.T) {
		each(t, func(t *testing.T, w *world) {
			for words, want := range map[string]standing{
				"id_number already exist":               stepRejected(6, "This document is already registered."),
				"邮箱已被其它客户端使用":                           stepRejected(3, "Your address is already registered with the card issuer. Please contact support."),
				"first_en_name or last_en_name invalid": stepRejected(4, "The card issuer does not accept the name as you entered it. Please use capital Latin letters."),
			} {
				t.Run(words, func(t *testing.T) {
					c := w.with(t).customer()
					w.faults.Clear()
					refuse(w, words, 0)
					before := w.calls.of(callSubmit)
					a := c.start()
					a.page("approve", "")
					c.becomes(want)
					w.idle()
					if w.count(`SELECT COUNT(*) FROM kyc_events WHERE record_id = $1 AND why LIKE '%' || $2`, a.recordID, words) != 1 {
						t.Error("staff cannot read what the issuer said")
					}
					if n := w.calls.of(callSubmit) - before; n != 1 {
						t.Errorf("%d submissions, want 1", n)
					}
				})
			}
		}, via(kyc.ViaDidit))
	})
	// Words that nobody knows decide nothing at first: it is tried again in its time.
	t.Run("unknown words", func(t *testing.T) {
		each(t, func(t *testing.T, w *world) {
			refuse(w, "please come back on Monday", 2)
			c := w.customer()
			a := c.start()
			a.page("approve", "")
			w.eventually("the first refusal", func() bool { return w.calls.of(callSubmit) == 1 })
			w.idle()
			c.is(stepProcessing)
			w.stir(10 * time.Second)
			c.is(stepProcessing)
			if n := w.calls.of(callSubmit); n != 1 {
				t.Errorf("%d submissions within seconds", n)
			}
			for range 4 {
				w.stir(time.Minute)
			}
			if _, known := w.cardholder(a.agentUID); !known {
				t.Fatal("the cardholder is not handed over when the issuer takes them again")
			}
			a.verdict(2, "")
			c.becomes(stepVerified)
		}, via(kyc.ViaDidit))
	})
	// If it goes on it is what the customer typed: the attempt ends, staff read why, and the customer can correct it.
	t.Run("unknown words for good", func(t *testing.T) {
		each(t, func(t *testing.T, w *world) {
			const words = "post_code must be six digits"
			refuse(w, words, 0)
			c := w.customer()
			a := c.start()
			a.page("approve", "")
			c.becomes(stepProcessing)
			for _, pause := range []time.Duration{time.Minute, time.Minute, 2 * time.Minute, 4 * time.Minute} {
				w.stir(pause)
			}
			w.brokeOff(a, "not taken by the issuer, 5 times: "+words)
			if n := w.calls.of(callSubmit); n != 5 {
				t.Errorf("%d submissions, want 5", n)
			}
			if n := w.count(`SELECT COUNT(*) FROM kyc_events WHERE record_id = $1 AND kind = 'submission_refused' AND why = $2`, a.recordID, words); n != 5 {
				t.Errorf("the history tells of %d refusals, want 5", n)
			}
			w.stir(3 * time.Hour)
			if n := w.calls.of(callSubmit); n != 5 {
				t.Errorf("%d submissions, want 5: the attempt is over", n)
			}
			// An operator who has settled it with the issuer lets it be tried again.
			w.faults.Clear()
			if _, err := w.Reopen(context.Background(), operator, a.agentUID, "the issuer takes it now"); err != nil {
				t.Fatal(err)
			}
			w.stir(6 * time.Second)
			w.eventually("the cardholder", func() bool { _, known := w.cardholder(a.agentUID); return known })
			a.verdict(2, "")
			c.becomes(stepVerified)
		}, via(kyc.ViaDidit))
	})
	t.Run("no document to hand over", func(t *testing.T) {
		each(t, func(t *testing.T, w *world) {
			c := w.customer()
			a := c.start()
			a.page("review", "")
			c.becomes(stepProcessing)
			w.correct(a, "")
			w.clock.Advance(time.Second)
			a.didit("Approved", "")
			for _, pause := range []time.Duration{time.Minute, time.Minute, 2 * time.Minute, 4 * time.Minute} {
				w.stir(pause)
			}
			w.brokeOff(a, "not taken by the issuer, 5 times: pokepay kycSubmit: not_sent: client uid, e-mail address or document number is missing")
			if n := w.calls.of(callSubmit); n != 0 {
				t.Errorf("%d submissions without a document", n)
			}
			c.start()
			c.is(stepSubmit)
		}, via(kyc.ViaDidit))
	})
	// That we are not let in, or not now, is no word about the customer, however often it is said.
	t.Run("for reasons of ours", func(t *testing.T) {
		each(t, func(t *testing.T, w *world) {
			w.fault("pokepay", "kyc_submit", fault.ExpiredToken, 0)
			c := w.customer()
			a := c.start()
			a.page("approve", "")
			for range 8 {
				w.stir(time.Minute)
			}
			c.is(stepProcessing)
			if n := w.calls.of(callSubmit); n < 8 {
				t.Fatalf("%d submissions: the fault does nothing", n)
			}
			w.faults.Clear()
			rest()
			w.stir(2 * time.Minute)
			a.verdict(2, "")
			c.becomes(stepVerified)
		}, via(kyc.ViaDidit))
	})
}

// brokeOff checks that an attempt has failed for a fault that does not mend itself, and what the customer and staff learn about it.
func (w *world) brokeOff(a attempt, detail string) {
	w.t.Helper()
	a.c.is(standing{User: "rejected", CanSubmit: true, Status: "failed", PokePay: 1, Reason: "The verification ended without a decision for technical reasons. Please try again."})
	all, err := w.Cases(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	told := []string{}
	for _, c := range all {
		if c.Subject == a.agentUID {
			told = append(told, c.Kind+": "+c.Detail)
		}
	}
	if diff := cmp.Diff([]string{"kyc_no_verdict: " + detail}, told); diff != "" {
		w.t.Errorf("cases:\n%s", diff)
	}
	w.idle()
	if n := a.c.mails(mailEnded); n != 1 {
		w.t.Errorf("%d mails, want 1", n)
	}
}

// Two customers cannot use one document.
func TestDocumentOfAnotherCustomer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		first := w.customer()
		a := first.handedIn()
		a.verdict(2, "")
		first.becomes(stepVerified)
		held, err := w.number(a)
		if err != nil {
			t.Fatal(err)
		}

		second := w.customer()
		b := second.start()
		b.page("review", "")
		second.becomes(stepProcessing)
		w.correct(b, held)
		w.clock.Advance(time.Second)
		b.didit("Approved", "")
		second.becomes(stepRejected(6, "This document is already registered."))
		first.is(stepVerified)
	}, via(kyc.ViaDidit))
}

// number reads the document number of a session at Didit.
func (w *world) number(a attempt) (string, error) {
	var decision struct {
		IDs []struct {
			Number string `json:"document_number"`
		} `json:"id_verifications"`
	}
	err := w.atDidit(http.MethodGet, "/v3/session/"+a.sessionID+"/decision/", nil, &decision)
	if err != nil || len(decision.IDs) == 0 {
		return "", err
	}
	return decision.IDs[0].Number, nil
}

// correct writes another document number into a session, as a reviewer at Didit may.
func (w *world) correct(a attempt, number string) {
	w.t.Helper()
	if err := w.atDidit(http.MethodPatch, "/v3/session/"+a.sessionID+"/update-data/", fields{"document_number": number}, nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) atDidit(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(context.Background(), method, w.didit+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Api-Key", diditKey)
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(out)
}

// The issuer took the cardholder and its answer was lost: they are looked up, and never sent twice.
func TestSubmissionWithoutAnAnswer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.fault("pokepay", "kyc_submit", fault.ActThenTimeout, 1)
		c := w.customer()
		a := c.start()
		a.page("approve", "")
		w.eventually("the submission", func() bool { return w.calls.of(callSubmit) == 1 })
		c.becomes(stepProcessing)
		w.idle()
		if _, known := w.cardholder(a.agentUID); !known {
			t.Fatal("the fault did not act")
		}
		a.verdict(2, "")
		for range 10 {
			w.stir(time.Minute)
		}
		c.is(stepVerified)
		if n := w.calls.of(callSubmit); n != 1 {
			t.Errorf("%d submissions, want 1", n)
		}
	}, via(kyc.ViaDidit))
}

// The issuer broke down before it took the cardholder: once the lookup says so, they are sent again.
func TestSubmissionThatDidNotArrive(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.fault("pokepay", "kyc_submit", fault.HTML502, 1)
		c := w.customer()
		a := c.start()
		a.page("approve", "")
		w.eventually("the submission", func() bool { return w.calls.of(callSubmit) == 1 })
		w.idle()
		// Not at once: the issuer may still be at it.
		w.stir(20 * time.Second)
		if n := w.calls.of(callSubmit); n != 1 {
			t.Errorf("%d submissions within seconds", n)
		}
		for range 4 {
			w.stir(time.Minute)
		}
		if _, known := w.cardholder(a.agentUID); !known {
			t.Fatal("the cardholder was never sent again")
		}
		if n := w.calls.of(callSubmit); n != 2 {
			t.Errorf("%d submissions, want 2", n)
		}
		a.verdict(2, "")
		c.becomes(stepVerified)
	}, via(kyc.ViaDidit))
}
