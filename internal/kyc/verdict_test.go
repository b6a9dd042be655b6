package kyc_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

const (
	mailApproved = "You are verified"
	mailRejected = "Your verification was not successful"
	mailResubmit = "One more step for your verification"
	mailEnded    = "Your verification could not be completed"
)

// handedIn starts a verification and brings it to where only the issuer's verdict is missing.
func (c *customer) handedIn() attempt {
	c.t.Helper()
	a := c.start()
	c.is(stepSubmit)
	a.page("approve", "")
	if c.w.Channel == kyc.ViaDidit {
		c.becomes(stepProcessing)
		c.w.eventually("the cardholder to be known to the issuer, and that to us", func() bool {
			return c.w.count(`SELECT COUNT(*) FROM kyc_records WHERE id = $1 AND submission = 'done' AND issuer_kyc_id IS NOT NULL`, a.recordID) == 1
		})
	}
	// From here on nobody asks before time moves or somebody gives a hint.
	a.mustPoll()
	c.w.idle()
	c.is(c.w.underway())
	return a
}

// Every verdict of the issuer, as it reaches the customer (contract/money section 10.2).
func TestIssuersVerdict(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		customersIn(t, w, map[string]func(*customer){
			"2 verifies": func(c *customer) {
				a := c.handedIn()
				a.verdict(2, "")
				c.becomes(stepVerified)
				c.w.idle()
				if n := c.mails(mailApproved); n != 1 {
					c.t.Errorf("%d mails of approval, want 1", n)
				}
				c.tryStart(entries()).refused(c.t, 400, "KYC_ALREADY_VERIFIED")
				if n := c.records(false); n != 1 {
					c.t.Errorf("%d records, want 1", n)
				}
			},
			"3 rejects in the issuer's own words": func(c *customer) {
				const words = "证件照片不清晰，请重新上传 <b>\"1\"</b> صورة"
				a := c.handedIn()
				a.verdict(3, words)
				c.becomes(stepRejected(3, words))
				c.w.idle()
				list := c.w.post.to(c.email)
				if i := slices.IndexFunc(list, func(m mail.Message) bool { return m.Subject == mailRejected }); i < 0 || !strings.Contains(list[i].Text, words) {
					c.t.Errorf("no mail tells the reason")
				}
				// They may try again, and that is a new attempt.
				if again := c.start(); again.agentUID == a.agentUID || again.sessionID == a.sessionID {
					c.t.Errorf("the retry is the old attempt")
				}
				c.is(stepSubmit)
			},
			"3 without words": func(c *customer) {
				c.handedIn().verdict(3, "")
				c.becomes(stepRejected(3, "Your identity could not be verified. Please try again, or contact support."))
			},
			"4 is a mismatch": func(c *customer) {
				c.handedIn().verdict(4, "")
				c.becomes(stepRejected(4, "Your details do not match the document."))
			},
			"5 waits for a person, then 2": func(c *customer) {
				a := c.handedIn()
				a.verdict(5, "")
				c.becomes(stepReview)
				c.tryStart(entries()).refused(c.t, 400, "KYC_UNDER_REVIEW")
				a.verdict(2, "")
				c.becomes(stepVerified)
			},
			"5 waits for a person, then 3": func(c *customer) {
				a := c.handedIn()
				a.verdict(5, "look closer")
				c.becomes(stepReview)
				a.verdict(3, "the person said no")
				c.becomes(stepRejected(3, "the person said no"))
			},
			"6 is a document of somebody else": func(c *customer) {
				c.handedIn().verdict(6, "")
				c.becomes(stepRejected(6, "This document is already registered."))
				c.w.idle()
				if n := c.mails(mailRejected); n != 1 {
					c.t.Errorf("%d mails, want 1", n)
				}
			},
			"2, read over and over": func(c *customer) {
				a := c.handedIn()
				a.verdict(2, "")
				c.becomes(stepVerified)
				before := a.moves()
				for range 20 {
					a.mustPoll()
				}
				c.w.idle()
				if diff := cmp.Diff(before, a.moves()); diff != "" {
					c.t.Errorf("history grew:\n%s", diff)
				}
				if n := c.mails(mailApproved); n != 1 {
					c.t.Errorf("%d mails, want 1", n)
				}
			},
			"a no, then another attempt and a yes": func(c *customer) {
				first := c.handedIn()
				first.verdict(3, "unclear")
				c.becomes(stepRejected(3, "unclear"))
				c.w.clock.Advance(time.Second)
				second := c.handedIn()
				second.verdict(2, "")
				c.becomes(stepVerified)
				if second.agentUID == first.agentUID {
					c.t.Error("one agent_uid for two attempts")
				}
			},
		})
	})
}

// A result that belongs to an old attempt never touches a newer one or a verified customer (contract/money 10.1).
func TestLateResultOfAnOldAttempt(t *testing.T) {
	t.Parallel()
	// outlived is an attempt whose link has run out.
	outlived := func(c *customer) attempt {
		c.t.Helper()
		a := c.start()
		c.wait(kyc.SessionLife + time.Hour)
		c.becomes(stepNotCompleted)
		return a
	}
	for name, scenario := range map[string]func(*customer){
		"a yes, while a newer attempt is open": func(c *customer) {
			old := outlived(c)
			newer := c.start()
			old.verdict(2, "")
			old.mustPoll()
			c.is(stepSubmit)
			if diff := cmp.Diff([]string{">pending_submit"}, newer.moves()); diff != "" {
				c.t.Errorf("the newer attempt moved:\n%s", diff)
			}
			if n := c.records(true); n != 1 {
				c.t.Errorf("%d open attempts", n)
			}
		},
		"a no, while a newer attempt is approved": func(c *customer) {
			old := outlived(c)
			newer := c.start()
			newer.verdict(2, "")
			c.becomes(stepVerified)
			old.verdict(3, "too late")
			old.mustPoll()
			c.is(stepVerified)
			if got := c.status().body["latest_kyc"].(fields)["agent_uid"]; got != newer.agentUID {
				c.t.Errorf("the record shown is %v, not the approved one", got)
			}
		},
		"a yes, while a newer attempt is rejected": func(c *customer) {
			old := outlived(c)
			newer := c.start()
			newer.verdict(3, "no")
			c.becomes(stepRejected(3, "no"))
			old.verdict(2, "")
			old.mustPoll()
			c.is(stepRejected(3, "no"))
		},
		"a yes of a slow customer without a newer attempt": func(c *customer) {
			a := outlived(c)
			a.verdict(2, "")
			c.becomes(stepVerified)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(_ *testing.T, w *world) { scenario(w.customer()) })
		})
	}
}

// A no that comes after the approval changes nothing until a person has confirmed it; then it freezes.
func TestRevocation(t *testing.T) {
	ctx := context.Background()
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		a.verdict(2, "")
		c.becomes(stepVerified)
		for _, verdict := range []int{3, 4, 6} {
			a.verdict(verdict, "found out later")
			w.eventually("the verdict to be noted", func() bool {
				return w.count(`SELECT COUNT(*) FROM kyc_records WHERE id = $1 AND issuer_status = $2`, a.recordID, verdict) == 1
			})
			c.is(stepVerified)
		}
		if diff := cmp.Diff([]string{"kyc_revocation"}, w.cases(a.agentUID)); diff != "" {
			t.Errorf("cases:\n%s", diff)
		}
		if _, err := w.Approve(ctx, operator, a.agentUID, "dismiss"); !errors.Is(err, kyc.ErrTransition) {
			t.Errorf("approving what is approved: %v", err)
		}
		if _, err := w.Reject(ctx, operator, a.agentUID, "the issuer is right", false); err != nil {
			t.Fatal(err)
		}
		c.is(standing{User: "rejected", CanSubmit: true, Status: "rejected", PokePay: 6, Reason: "found out later"})
		if len(w.cases(a.agentUID)) != 0 {
			t.Errorf("the case is still open")
		}
		w.idle()
		if n := c.mails(mailRejected); n != 1 {
			t.Errorf("%d mails, want 1", n)
		}
		// The same verdict again is no news, and a yes is not taken without a person.
		a.mustPoll()
		a.verdict(2, "")
		w.eventually("the yes to be noted", func() bool { return len(w.cases(a.agentUID)) == 1 })
		c.is(standing{User: "rejected", CanSubmit: true, Status: "rejected", PokePay: 3, Reason: "Your verification has been withdrawn. Please verify your identity again, or contact support."})
	})
}

// Freezing belongs to the transaction that revokes: if it fails, nothing is revoked.
func TestRevocationAndFreezeAreOne(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		name := "freeze works"
		if fails {
			name = "freeze fails"
		}
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, w *world) {
				c := w.customer()
				a := c.handedIn()
				a.verdict(2, "")
				c.becomes(stepVerified)
				frozen := func() int {
					return w.count(`SELECT COUNT(*) FROM audit_log WHERE action = 'test.freeze' AND user_id = $1`, c.id)
				}
				audited := func() int {
					return w.count(`SELECT COUNT(*) FROM audit_log WHERE action = 'kyc.rejected' AND user_id = $1`, c.id)
				}
				_, err := w.Reject(context.Background(), operator, a.agentUID, "stolen papers", false)
				if fails {
					if err == nil || !strings.Contains(err.Error(), "no freezing today") {
						t.Fatalf("reject: %v", err)
					}
					c.is(stepVerified)
					if frozen() != 0 || audited() != 0 {
						t.Errorf("a part of the revocation stands")
					}
					w.idle()
					if n := c.mails(mailRejected); n != 0 {
						t.Errorf("the customer was told of a revocation that did not happen")
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				c.is(stepRejected(3, "Your verification has been withdrawn. Please verify your identity again, or contact support."))
				if frozen() != 1 || audited() != 1 {
					t.Errorf("%d freezes, %d audit entries, want 1 and 1", frozen(), audited())
				}
			}, func(p *plan) {
				p.service = func(s *kyc.Service) {
					s.OnRevoke(func(ctx context.Context, tx db.Tx, userID int64) error {
						_, err := tx.Exec(ctx, `INSERT INTO audit_log (actor, action, user_id, subject, reason, created_at) VALUES ('hook', 'test.freeze', $1, '', '', $2)`, userID, beginning)
						return err
					})
					if fails {
						s.OnRevoke(func(context.Context, db.Tx, int64) error { return errors.New("no freezing today") })
					}
				}
			})
		})
	}
}

// The customer began anew and was refused at the door: the attempt before is still theirs, and so is the yes that it gets.
func TestARefusedRetryLeavesTheAttemptBefore(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		c.wait(kyc.SessionLife + time.Hour)
		c.becomes(stepNotCompleted)
		w.fault("pokepay", "kyc_init", fault.RefuseInit, 1, func(r *fault.Rule) { r.Message = "email already in use" })
		c.tryStart(entries()).refused(t, 400, "KYC_EMAIL_TAKEN")
		c.is(stepCancelled)
		a.verdict(2, "")
		c.wait(2 * time.Hour)
		c.becomes(stepVerified)
	})
}

// A yes that arrives while the customer begins anew counts for nothing until a person has looked, and is told nowhere.
func TestAYesThatComesTooLateIsNotTold(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		c.wait(kyc.SessionLife + time.Hour)
		a.mustPoll()
		c.is(stepNotCompleted)
		w.fault("pokepay", "callback", fault.DropWebhook, 0)
		w.fault("pokepay", "kyc_get", fault.Delay, 1, func(r *fault.Rule) { r.DelayMS = 3000 })
		asked := w.calls.of(callGet)
		polled := make(chan error)
		go func() { polled <- a.poll() }()
		w.eventually("the question to be under way", func() bool { return w.calls.of(callGet) > asked })
		c.start()
		a.verdict(2, "")
		if err := <-polled; err != nil {
			t.Fatal(err)
		}
		c.is(stepSubmit)
		if diff := cmp.Diff([]string{"kyc_late_approval"}, w.cases(a.agentUID)); diff != "" {
			t.Errorf("cases:\n%s", diff)
		}
		for _, path := range []string{"/didit/get-result/" + a.agentUID, "/didit/get-user-kyc/" + c.email} {
			r := w.call(http.MethodGet, path, c.access, nil)
			if r.status != http.StatusOK || strings.Contains(r.raw, `"pokepay_status":2`) || strings.Contains(r.raw, "completed\"") && !strings.Contains(r.raw, "not_completed") {
				t.Errorf("%s: %s", path, r.raw)
			}
		}
	}, asleep)
}

// The issuer takes its yes back for a while: it is asked until it says which.
func TestAnApprovalThatWavers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		a.verdict(2, "")
		c.becomes(stepVerified)
		w.fault("pokepay", "callback", fault.DropWebhook, 0)
		for _, wavering := range []int{1, 5} {
			c.wait(time.Second)
			a.verdict(wavering, "")
			a.mustPoll()
			if got := standingFrom(c.status()); got.User != "pending" || got.CanSubmit {
				t.Errorf("while the issuer says %d: %+v", wavering, got)
			}
			a.verdict(2, "")
			c.wait(15 * time.Minute)
			c.becomes(stepVerified)
		}
	})
}

// The issuer may show no reference of ours: a cardholder is then known by the address, and the one of the attempt before is told
// from the one of this attempt by when it changed.
func TestAnIssuerThatShowsNoReference(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		a.verdict(3, "unclear")
		c.becomes(stepRejected(3, "unclear"))
		c.wait(30 * time.Second)
		w.idle()
		b := c.start()
		b.mustPoll()
		c.is(stepSubmit) // the old no is not about this
		b.page("approve", "")
		if w.Channel == kyc.ViaDidit {
			c.becomes(stepProcessing)
			w.eventually("the new cardholder", func() bool { _, known := w.cardholder(b.agentUID); return known })
		}
		b.verdict(2, "")
		c.wait(5 * time.Second)
		c.becomes(stepVerified)
	}, nameless)
}
