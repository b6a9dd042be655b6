package kyc

import (
	"fmt"
	"strings"
	"testing"
)

// The full matrix as the contract prints it (contract/money section 10.3): user_kyc_status / can_submit_kyc / pokepay_status,
// per stored state, for silence or 1, 2, 3, 4, 5, 6. A star: false once risk control blocks the customer.
const contractMatrix = `
pending_submit | none / true / 1      | verified / false / 2 | rejected / true / 3  | rejected / true / 4  | pending / false / 5  | rejected / true* / 6
pending        | pending / false / 1  | verified / false / 2 | rejected / true / 3  | rejected / true / 4  | pending / false / 5  | rejected / true* / 6
processing     | pending / false / 1  | verified / false / 2 | rejected / true / 3  | rejected / true / 4  | pending / false / 5  | rejected / true* / 6
approved       | pending / false / 1  | verified / false / 2 | verified / false / 2 | verified / false / 2 | pending / false / 5  | verified / false / 2
rejected       | rejected / true / 3  | rejected / true / 3  | rejected / true / 3  | rejected / true / 4  | rejected / true / 3  | rejected / true* / 6
failed         | rejected / true / 1  | verified / false / 2 | rejected / true / 3  | rejected / true / 4  | rejected / true / 1  | rejected / true* / 6
not_completed  | none / true / 1      | verified / false / 2 | rejected / true / 3  | rejected / true / 4  | pending / false / 5  | rejected / true* / 6
cancelled      | none / true / 1      | none / true / 1      | none / true / 1      | none / true / 1      | none / true / 1      | none / true* / 1
`

// Cells where what is stored disagrees with itself: the next poll repairs them.
var unsettled = map[Status]string{
	PendingSubmit: "23456", Pending: "23456", Processing: "2346", Failed: "23456", NotCompleted: "23456", Approved: "015",
}

func TestAnswerMatrix(t *testing.T) {
	rows := strings.Split(strings.TrimSpace(contractMatrix), "\n")
	if len(rows) != len(Statuses) {
		t.Fatalf("%d rows for %d states", len(rows), len(Statuses))
	}
	for _, row := range rows {
		cells := strings.Split(row, "|")
		status := Status(strings.TrimSpace(cells[0]))
		for v := Silence; v <= DocumentTaken; v++ {
			column := max(1, int(v))
			want := strings.TrimSpace(cells[column])
			got := answer(status, v, false)
			text := fmt.Sprintf("%s / %t / %d", got.User, got.CanSubmit, got.PokePayStatus)
			if text != strings.ReplaceAll(want, "*", "") {
				t.Errorf("%s, issuer %d: %s, want %s", status, v, text, want)
			}
			blocked := answer(status, v, true)
			if blocked.CanSubmit {
				t.Errorf("%s, issuer %d: a blocked customer may submit", status, v)
			}
			if blocked.User != got.User || blocked.PokePayStatus != got.PokePayStatus {
				t.Errorf("%s, issuer %d: blocking changed more than can_submit_kyc", status, v)
			}
			if want := !strings.Contains(unsettled[status], fmt.Sprint(int(v))); settled(status, v) != want {
				t.Errorf("%s, issuer %d: settled %t, want %t", status, v, !want, want)
			}
		}
	}
}

// Rules of contract/money 1.1 and 10.4 that every cell keeps, whatever is stored.
func TestAnswerRules(t *testing.T) {
	for _, s := range Statuses {
		for v := Verdict(-3); v < 12; v++ {
			a := answer(s, v, false)
			if a.PokePayStatus < 1 || a.PokePayStatus > 6 {
				t.Errorf("%s, issuer %d: pokepay_status %d", s, v, a.PokePayStatus)
			}
			if (a.PokePayStatus == 2) != (a.User == UserVerified) {
				t.Errorf("%s, issuer %d: 2 without verified, or the reverse", s, v)
			}
			if late := answerLate(s, v, false); s != Approved && (late.User == UserVerified || late.PokePayStatus == 2) || s == Approved && late != a {
				t.Errorf("%s, issuer %d: about one attempt of several %+v", s, v, late)
			}
			if (s == Rejected || s == Cancelled) && a.User == UserVerified {
				t.Errorf("%s, issuer %d: verified", s, v)
			}
			if a.HasReason != (a.User == UserRejected) {
				t.Errorf("%s, issuer %d: reason %t for %s", s, v, a.HasReason, a.User)
			}
			if a.HasReason && reasonFor(s, v, NoReason) == NoReason {
				t.Errorf("%s, issuer %d: rejected without any reason", s, v)
			}
		}
	}
	if a := answerNoRecord(false); a.User != UserNone || !a.CanSubmit {
		t.Errorf("a fresh account: %+v", a)
	}
	if answerNoRecord(true).CanSubmit {
		t.Error("a blocked fresh account may submit")
	}
}

func TestEligibilityRule(t *testing.T) {
	for _, c := range []struct {
		fee      FeeStanding
		eligible bool
		action   string
		text     bool
	}{
		{FeeNone, false, "create_payment", true},
		{FeePending, false, "complete_payment", true},
		{FeeCompleted, true, "", false},
		{"something new", false, "create_payment", true},
	} {
		e := eligibility(c.fee)
		if e.Eligible != c.eligible || e.RequiredAction != c.action || (e.ReasonKey != "") != c.text {
			t.Errorf("%s: %+v", c.fee, e)
		}
	}
}
