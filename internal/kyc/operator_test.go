package kyc_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// audited lists what operators did to an attempt: "olga kyc.rejected: stolen papers".
func (a attempt) audited() []string {
	a.c.t.Helper()
	rows, err := a.c.w.db.Query(context.Background(), `SELECT actor, action, reason FROM audit_log WHERE user_id = $1 AND subject = $2 AND actor <> 'test' ORDER BY id`, a.c.id, a.agentUID)
	list, err := db.Collect(rows, err, func(row db.Row) (string, error) {
		var actor, action, reason string
		err := row.Scan(&actor, &action, &reason)
		return actor + " " + action + ": " + reason, err
	})
	if err != nil {
		a.c.t.Fatal(err)
	}
	return list
}

// The metric counts what waits for a person.
func TestOpenCasesAreCounted(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		metrics := prometheus.NewRegistry()
		w := newWorld(t, d, asleep, func(p *plan) { p.options = func(o *kyc.Options) { o.Registry = metrics } })
		a := w.customer().handedIn()
		a.verdict(3, "unclear")
		a.mustPoll()
		a.verdict(2, "")
		a.mustPoll()
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { w.Run(ctx) })
		w.eventually("the count", func() bool {
			n, err := testutil.GatherAndCount(metrics, "ccp_operator_cases_open")
			return err == nil && n == 1
		})
		cancel()
		running.Wait()
		want := "# HELP ccp_operator_cases_open What waits for an operator, counted once a minute.\n# TYPE ccp_operator_cases_open gauge\n" +
			`ccp_operator_cases_open{kind="kyc_late_approval"} 1` + "\n"
		if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "ccp_operator_cases_open"); err != nil {
			t.Error(err)
		}
	})
}

// A yes that came too late to move the attempt waits for a person, who takes it.
func TestOperatorTakesALateYes(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		c := w.customer()
		a := c.handedIn()
		a.verdict(3, "unclear")
		c.becomes(stepRejected(3, "unclear"))
		if _, err := w.Approve(ctx, operator, a.agentUID, "nice person"); !errors.Is(err, kyc.ErrTransition) {
			t.Fatalf("approved without the issuer's 2: %v", err)
		}
		c.is(stepRejected(3, "unclear"))

		a.verdict(2, "")
		w.eventually("the case", func() bool { return cmp.Equal(w.cases(a.agentUID), []string{"kyc_late_approval"}) })
		late := standingFrom(c.status())
		if late.User != "rejected" || late.PokePay != 3 || late.Reason == "" {
			t.Errorf("while a person thinks about it the customer reads %+v", late)
		}
		if _, err := w.Approve(ctx, operator, a.agentUID, " the issuer says yes "); err != nil {
			t.Fatal(err)
		}
		c.is(stepVerified)
		if n := w.cases(a.agentUID); len(n) != 0 {
			t.Errorf("cases %v", n)
		}
		if diff := cmp.Diff([]string{"olga kyc.approved: the issuer says yes"}, a.audited()); diff != "" {
			t.Errorf("audit:\n%s", diff)
		}
		d, err := w.Show(ctx, operator, a.agentUID)
		if err != nil {
			t.Fatal(err)
		}
		last := d.History[len(d.History)-1]
		last.At = time.Time{}
		if diff := cmp.Diff(kyc.HistoryEntry{Kind: kyc.OperatorApproved, From: kyc.Rejected, To: kyc.Approved, Source: kyc.FromOperator, Actor: "olga", Why: "the issuer says yes"}, last); diff != "" {
			t.Errorf("history:\n%s", diff)
		}
		w.eventually("the mail", func() bool { return c.mails(mailApproved) == 1 })
	})
}

// Approving without the issuer's 2 is refused in every state: no card could be issued.
func TestOperatorCannotApproveAlone(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		scenarios := map[string]func(*customer) attempt{
			"waits for the customer": func(c *customer) attempt { return c.start() },
			"in review": func(c *customer) attempt {
				a := c.start()
				a.verdict(5, "")
				c.becomes(stepReview)
				return a
			},
			"mismatch": func(c *customer) attempt {
				a := c.start()
				a.verdict(4, "")
				c.becomes(stepRejected(4, "Your details do not match the document."))
				return a
			},
			"document taken": func(c *customer) attempt {
				a := c.start()
				a.verdict(6, "x")
				c.becomes(stepRejected(6, "x"))
				return a
			},
		}
		tests := map[string]func(*customer){}
		for name, reach := range scenarios {
			tests[name] = func(c *customer) {
				a := reach(c)
				before := standingFrom(c.status())
				if _, err := c.w.Approve(ctx, operator, a.agentUID, "please"); !errors.Is(err, kyc.ErrTransition) {
					c.t.Errorf("approve: %v", err)
				}
				c.is(before)
				if n := a.audited(); len(n) != 0 {
					c.t.Errorf("a refused act is audited as done: %v", n)
				}
			}
		}
		customersIn(t, w, tests)
	})
}

// An operator rejects an open attempt, may block the customer with it, and opens it again.
func TestOperatorRejectsBlocksAndReopens(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		const words = "Your verification was declined. Please contact support."
		c := w.customer()
		a := c.handedIn()
		if _, err := w.Reject(ctx, operator, a.agentUID, "known fraud ring", true); err != nil {
			t.Fatal(err)
		}
		blocked := stepRejected(3, words)
		blocked.CanSubmit = false
		c.is(blocked)
		if r := c.status(); strings.Contains(r.raw, "fraud") {
			t.Errorf("the operator's reason reaches the customer: %s", r.raw)
		}
		c.tryStart(entries()).refused(t, 403, "KYC_BLOCKED")
		if c.records(false) != 1 {
			t.Error("a blocked customer has begun something")
		}
		// The issuer's yes does not lift it.
		a.verdict(2, "")
		w.eventually("the case", func() bool { return len(w.cases(a.agentUID)) == 1 })
		if got := standingFrom(c.status()); got.User != "rejected" || got.CanSubmit {
			t.Errorf("%+v", got)
		}

		if _, err := w.Reopen(ctx, operator, a.agentUID, "it was a namesake"); err != nil {
			t.Fatal(err)
		}
		// The providers are asked anew, and the issuer has said yes in the meantime.
		c.is(stepProcessing)
		w.stir(5 * time.Second)
		c.becomes(stepVerified)
		want := []string{"olga kyc.rejected: known fraud ring", "olga kyc.reopened: it was a namesake"}
		if diff := cmp.Diff(want, a.audited()); diff != "" {
			t.Errorf("audit:\n%s", diff)
		}
		if n := w.cases(a.agentUID); len(n) != 0 {
			t.Errorf("cases %v", n)
		}
	})
}

// Blocking somebody whose attempt is over changes no attempt, and reopening does not touch what a newer attempt has replaced.
func TestOperatorAndOldAttempts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		c := w.customer()
		old := c.start()
		old.verdict(3, "no")
		c.becomes(stepRejected(3, "no"))
		if _, err := w.Reject(ctx, operator, old.agentUID, "again", false); !errors.Is(err, kyc.ErrTransition) {
			t.Errorf("rejecting what is rejected: %v", err)
		}
		if _, err := w.Reject(ctx, operator, old.agentUID, "third copy of a passport", true); err != nil {
			t.Fatal(err)
		}
		blocked := stepRejected(3, "no")
		blocked.CanSubmit = false
		c.is(blocked)
		c.tryStart(entries()).refused(t, 403, "KYC_BLOCKED")
		if _, err := w.Reopen(ctx, operator, old.agentUID, "cleared up"); err != nil {
			t.Fatal(err)
		}
		w.stir(5 * time.Second)
		c.becomes(stepRejected(3, "no")) // the issuer still says so
		newer := c.start()
		for _, act := range []func() error{
			func() error { _, err := w.Reopen(ctx, operator, old.agentUID, "which one?"); return err },
			func() error { _, err := w.Approve(ctx, operator, old.agentUID, "which one?"); return err },
		} {
			if err := act(); !errors.Is(err, kyc.ErrTransition) {
				t.Errorf("an old attempt is touched: %v", err)
			}
		}
		c.is(stepSubmit)
		if diff := cmp.Diff([]string{">pending_submit"}, newer.moves()); diff != "" {
			t.Errorf("the newer attempt moved:\n%s", diff)
		}
	})
}

// A case about a no after the approval can be closed without believing the issuer.
func TestOperatorDismisses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		c := w.customer()
		a := c.start()
		a.verdict(2, "")
		c.becomes(stepVerified)
		if _, err := w.Dismiss(ctx, operator, a.agentUID, "nothing there"); !errors.Is(err, kyc.ErrNoCase) {
			t.Errorf("dismissing nothing: %v", err)
		}
		a.verdict(3, "mistake")
		w.eventually("the case", func() bool { return len(w.cases(a.agentUID)) == 1 })
		if _, err := w.Dismiss(ctx, operator, a.agentUID, "the issuer took it back by phone"); err != nil {
			t.Fatal(err)
		}
		a.mustPoll()
		c.is(stepVerified)
		if n := w.cases(a.agentUID); len(n) != 0 {
			t.Errorf("cases %v", n)
		}
		if diff := cmp.Diff([]string{"olga kyc.dismissed: the issuer took it back by phone"}, a.audited()); diff != "" {
			t.Errorf("audit:\n%s", diff)
		}
	})
}

// Whoever decides must say who they are and why, and looking at somebody's papers is noted.
func TestOperatorsAreNamed(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		c := w.customer()
		a := c.start()
		for name, act := range map[string]func(by identity.Operator, uid, why string) error{
			"approve": func(by identity.Operator, uid, why string) error { _, err := w.Approve(ctx, by, uid, why); return err },
			"reject": func(by identity.Operator, uid, why string) error {
				_, err := w.Reject(ctx, by, uid, why, true)
				return err
			},
			"reopen":  func(by identity.Operator, uid, why string) error { _, err := w.Reopen(ctx, by, uid, why); return err },
			"dismiss": func(by identity.Operator, uid, why string) error { _, err := w.Dismiss(ctx, by, uid, why); return err },
		} {
			if err := act(operator, a.agentUID, " \n"); !errors.Is(err, kyc.ErrReasonRequired) {
				t.Errorf("%s without a reason: %v", name, err)
			}
			if err := act(identity.Operator{Name: " "}, a.agentUID, "because"); !errors.Is(err, kyc.ErrReasonRequired) {
				t.Errorf("%s by nobody: %v", name, err)
			}
			if err := act(operator, "u1_1_aaaaaaaa", "because"); !errors.Is(err, kyc.ErrNotFound) {
				t.Errorf("%s of nothing: %v", name, err)
			}
		}
		c.is(stepSubmit)
		if n := a.audited(); len(n) != 0 {
			t.Errorf("audit: %v", n)
		}

		d, err := w.Show(ctx, operator, a.agentUID)
		if err != nil {
			t.Fatal(err)
		}
		if d.Email != c.email || d.Applicant.FirstName != "AMINA" || d.User != kyc.UserNone || d.Record.AgentUID != a.agentUID || len(d.History) != 1 {
			t.Errorf("dossier: %+v", d)
		}
		if n := a.audited(); len(n) != 1 || !strings.HasPrefix(n[0], "olga kyc.show") {
			t.Errorf("audit: %v", n)
		}
		if _, err := w.Show(ctx, operator, "nothing"); !errors.Is(err, kyc.ErrNotFound) {
			t.Errorf("show of nothing: %v", err)
		}
	})
}

// What support has is a customer's number or address: both lead to their attempts.
func TestOperatorsFindACustomersAttempts(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		other := w.customer().start()
		never := w.customer()
		c := w.customer()
		old := c.start()
		old.verdict(3, "no")
		c.becomes(stepRejected(3, "no"))
		newer := c.start()
		w.customer().start()

		number := strconv.FormatInt(c.id, 10)
		for which, want := range map[string]struct {
			attempt attempt
			newest  bool
		}{
			old.agentUID: {old, false}, " " + newer.agentUID + " ": {newer, false}, fmt.Sprintf("record:%d", old.recordID): {old, false},
			number: {newer, true}, c.email: {newer, true}, " " + strings.ToUpper(c.email): {newer, true},
			strconv.FormatInt(other.c.id, 10): {other, true},
		} {
			d, err := w.Show(ctx, operator, which)
			if err != nil || d.Record.ID != want.attempt.recordID || d.Newest != want.newest || d.Email != want.attempt.c.email {
				t.Errorf("%q: %+v, %v", which, d, err)
			}
		}
		if n := newer.audited(); len(n) != 4 {
			t.Errorf("looking is audited whichever way it was found: %v", n)
		}
		for which, want := range map[string]*problem.Problem{
			strconv.FormatInt(never.id, 10): kyc.ErrNotFound, never.email: kyc.ErrNotFound, "record:999999": kyc.ErrNotFound, "record:x": kyc.ErrNotFound, "": kyc.ErrNotFound,
			"999999": identity.ErrUserNotFound, "stranger@example.test": identity.ErrUserNotFound, "no address@": identity.ErrEmailInvalid,
		} {
			if _, err := w.Show(ctx, operator, which); !errors.Is(err, want) {
				t.Errorf("%q: %v", which, err)
			}
		}

		for name, test := range map[string]struct {
			filter kyc.Filter
			want   []int64
		}{
			"by number":         {kyc.Filter{Customer: number, Limit: 10}, []int64{newer.recordID, old.recordID}},
			"by address":        {kyc.Filter{Customer: c.email, Limit: 10}, []int64{newer.recordID, old.recordID}},
			"and state":         {kyc.Filter{Customer: c.email, Statuses: []kyc.Status{kyc.Rejected, kyc.Failed}, Limit: 10}, []int64{old.recordID}},
			"next page":         {kyc.Filter{Customer: number, Before: newer.recordID, Limit: 10}, []int64{old.recordID}},
			"who has not tried": {kyc.Filter{Customer: never.email, Limit: 10}, nil},
		} {
			records, err := w.List(ctx, test.filter)
			var got []int64
			for _, r := range records {
				got = append(got, r.ID)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("%s: %v\n%s", name, err, diff)
			}
		}
		if _, err := w.List(ctx, kyc.Filter{Customer: "999999", Limit: 1}); !errors.Is(err, identity.ErrUserNotFound) {
			t.Errorf("list of nobody: %v", err)
		}
	})
}

// The list pages from the newest backwards and keeps to the states it was asked for.
func TestOperatorsList(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		c := w.customer()
		var ids []int64
		for range 3 {
			a := c.start()
			a.verdict(3, "no")
			c.becomes(stepRejected(3, "no"))
			ids = append([]int64{a.recordID}, ids...)
		}
		open := c.start()
		list := func(statuses []kyc.Status, before int64, limit int) []int64 {
			t.Helper()
			records, err := w.List(ctx, kyc.Filter{Statuses: statuses, Before: before, Limit: limit})
			if err != nil {
				t.Fatal(err)
			}
			got := []int64{}
			for _, r := range records {
				got = append(got, r.ID)
			}
			return got
		}
		if diff := cmp.Diff(append([]int64{open.recordID}, ids...), list(nil, 0, 0)[:1:1]); diff == "" {
			t.Error("a limit below one is not one")
		}
		if diff := cmp.Diff(append([]int64{open.recordID}, ids...), list(nil, 0, 100)); diff != "" {
			t.Errorf("all:\n%s", diff)
		}
		if diff := cmp.Diff(ids[:2], list([]kyc.Status{kyc.Rejected, kyc.Failed}, 0, 2)); diff != "" {
			t.Errorf("first page:\n%s", diff)
		}
		if diff := cmp.Diff(ids[2:], list([]kyc.Status{kyc.Rejected, kyc.Failed}, ids[1], 2)); diff != "" {
			t.Errorf("second page:\n%s", diff)
		}
		if diff := cmp.Diff([]int64{}, list([]kyc.Status{kyc.Approved}, 0, 2)); diff != "" {
			t.Errorf("none:\n%s", diff)
		}
	})
}
