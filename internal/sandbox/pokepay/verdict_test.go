package pokepay

import (
	"errors"
	"testing"
	"time"
)

func TestDiditFinished(t *testing.T) {
	for _, c := range []struct {
		before                 int
		word, risk, reason     string
		status                 int
		wantReason, wantRemark string
	}{
		{1, "Approved", "", "", 1, "", "documents received"},
		{5, "Approved", "", "", 5, "", "documents received"},
		{1, "Declined", "DOCUMENT_EXPIRED", "the document has expired", 3, "the document has expired", "didit declined DOCUMENT_EXPIRED"},
		{5, "DECLINED", "", "", 3, "verification failed, please submit again", "didit declined"},
		{1, "In Review", "", "", 5, "", "verification in manual review"},
		{1, "Abandoned", "", "", 1, "", "verification not completed"},
		{1, "Expired", "", "", 1, "", "verification not completed"},
		{1, "Not Started", "", "", 1, "", ""},
		{1, "In Progress", "", "", 1, "", ""},
		{1, "Some New Word", "", "", 1, "", ""},
		{2, "Declined", "", "late", 2, "", ""},
		{3, "Approved", "", "", 3, "", ""},
		{4, "In Review", "", "", 4, "", ""},
		{6, "Declined", "", "late", 6, "", ""},
	} {
		t.Run(statusWords[c.before]+" "+c.word, func(t *testing.T) {
			i := open(t, nil)
			i.apply(i.login(), "u1_1_a", "mei@example.test")
			if c.before != StatusOpen {
				i.decide(Key{AgentUID: "u1_1_a"}, c.before, "")
			}
			if err := i.sim.DiditFinished(t.Context(), "u1_1_a", c.word, c.risk, c.reason); err != nil {
				t.Fatal(err)
			}
			if got := i.kyc("u1_1_a"); got.Status != c.status || got.Reason != c.wantReason || got.Remark != c.wantRemark {
				t.Errorf("status %d, reason %q, remark %q", got.Status, got.Reason, got.Remark)
			}
		})
	}
	i := open(t, nil)
	for _, uid := range []string{"", "nobody"} {
		if err := i.sim.DiditFinished(t.Context(), uid, "Approved", "", ""); !errors.Is(err, ErrUnknownKYC) {
			t.Errorf("%q: %v", uid, err)
		}
	}
}

func TestAutoApproval(t *testing.T) {
	i := open(t, func(o *Options) { o.AutoApprove = true })
	images, _ := gallery(t)
	token := i.login()
	i.apply(token, "waits", "a@example.test")
	i.apply(token, "completes", "b@example.test")
	i.apply(token, "refused", "c@example.test")
	decode[kycObject](t, i.call("POST", "/api/v1/kyc", token, submitBody(images, "submits", "d@example.test", "K1")))
	for _, uid := range []string{"completes", "refused"} {
		if err := i.sim.DiditFinished(t.Context(), uid, "Approved", "", ""); err != nil {
			t.Fatal(err)
		}
	}
	i.decide(Key{AgentUID: "refused"}, StatusFailed, "a person was faster")
	i.restart() // what is due is not forgotten

	i.clock.Advance(2*time.Second - time.Microsecond)
	if worked, err := i.sim.approveDue(t.Context()); worked || err != nil {
		t.Errorf("approved too early: %v, %v", worked, err)
	}
	i.clock.Advance(time.Microsecond)
	eventually(t, "both complete ones are approved", func() bool {
		return i.kyc("completes").Status == StatusApproved && i.kyc("submits").Status == StatusApproved
	})
	if got := i.kyc("waits"); got.Status != StatusOpen {
		t.Errorf("approved without documents: %+v", got)
	}
	if got := i.kyc("refused"); got.Status != StatusFailed || got.Reason != "a person was faster" {
		t.Errorf("%+v", got)
	}
}

func TestWithoutAutoApprovalNothingIsDecided(t *testing.T) {
	i := open(t, nil)
	i.apply(i.login(), "u1_1_a", "mei@example.test")
	if err := i.sim.DiditFinished(t.Context(), "u1_1_a", "Approved", "", ""); err != nil {
		t.Fatal(err)
	}
	i.clock.Advance(72 * time.Hour)
	if worked, err := i.sim.approveDue(t.Context()); worked || err != nil || i.kyc("u1_1_a").Status != StatusOpen {
		t.Errorf("%v, %v, %+v", worked, err, i.kyc("u1_1_a"))
	}
}

func TestDecide(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	session := i.apply(token, "u1_1_a", "mei@example.test")
	i.apply(token, "u1_2_b", "Mei@example.test")
	id := i.kyc("u1_1_a").ID
	for n, c := range []struct {
		key Key
		uid string
	}{
		{Key{ID: id}, "u1_1_a"},
		{Key{AgentUID: "u1_1_a"}, "u1_1_a"},
		{Key{SessionID: session}, "u1_1_a"},
		{Key{Email: "MEI@example.test"}, "u1_2_b"}, // the newest of that address
		{Key{ID: id, Email: "mei@example.test"}, "u1_1_a"},
	} {
		i.clock.Advance(time.Minute)
		reason := string(rune('a' + n))
		i.decide(c.key, StatusMismatch, " "+reason+" ")
		if got := i.kyc(c.uid); got.Status != StatusMismatch || got.Reason != reason || !got.Updated.Equal(i.clock.Now()) {
			t.Errorf("%+v: %+v", c.key, got)
		}
	}
	for status := StatusOpen; status <= StatusDuplicate; status++ { // an approval can be taken back
		i.decide(Key{AgentUID: "u1_1_a"}, StatusApproved, "")
		i.decide(Key{AgentUID: "u1_1_a"}, status, "revoked")
		if got := i.kyc("u1_1_a"); got.Status != status || got.Reason != "revoked" {
			t.Errorf("%+v", got)
		}
	}
	for _, status := range []int{-1, 0, 7} {
		if err := i.sim.Decide(t.Context(), Key{ID: id}, status, ""); !errors.Is(err, ErrBadStatus) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	for _, key := range []Key{{}, {ID: 99}, {AgentUID: "nobody"}, {SessionID: "none"}, {Email: "x@example.test"}, {ID: id, AgentUID: "u1_2_b"}} {
		if err := i.sim.Decide(t.Context(), key, StatusApproved, ""); !errors.Is(err, ErrUnknownKYC) {
			t.Errorf("%+v: %v", key, err)
		}
	}
}
