package wallet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

var allStates = []WithdrawalState{InReview, Approved, Sending, Ordered, Processing, Completed, Declined, Broken}

// machineEvents is everything that can be said to the machine, with what makes a difference about it.
func machineEvents(at time.Time) (list []WithdrawalEvent) {
	for _, kind := range []WithdrawalEventKind{OperatorApproved, OperatorRefused, OperatorSucceeded, OperatorFailed, CustomerBarred, OrderBegun, Overdue, OrderAccepted} {
		list = append(list, WithdrawalEvent{Kind: kind, At: at})
	}
	for attempt := range 4 {
		list = append(list, WithdrawalEvent{Kind: OrderNotSent, Attempt: attempt, At: at},
			WithdrawalEvent{Kind: OrderRefused, Attempt: attempt, At: at}, WithdrawalEvent{Kind: OrderRefused, BadAddress: true, Attempt: attempt, At: at})
	}
	for status := udun.StatusWaiting; status <= udun.StatusFailed; status++ {
		list = append(list, WithdrawalEvent{Kind: GatewaySaid, Status: status, At: at}, WithdrawalEvent{Kind: GatewaySaid, Status: status, TxID: "aa11", TradeID: "9", At: at})
	}
	return list
}

// Every state, every event: what the table of provider/udun section 5.2 and the design say, and nothing else.
func TestEveryTransition(t *testing.T) {
	type arrow struct {
		from WithdrawalState
		kind WithdrawalEventKind
		to   WithdrawalState
	}
	allowed := map[arrow]bool{}
	allow := func(kind WithdrawalEventKind, to WithdrawalState, from ...WithdrawalState) {
		for _, f := range from {
			allowed[arrow{f, kind, to}] = true
		}
	}
	open := []WithdrawalState{InReview, Approved, Sending, Ordered, Processing}
	allow(OperatorApproved, Approved, InReview)
	allow(OperatorRefused, Declined, InReview, Approved)
	allow(OperatorSucceeded, Completed, Sending, Ordered, Processing)
	allow(OperatorFailed, Broken, Sending, Ordered, Processing)
	allow(CustomerBarred, InReview, Approved)
	allow(OrderBegun, Sending, Approved)
	allow(OrderAccepted, Ordered, InReview, Approved, Sending)
	allow(OrderNotSent, Approved, Sending)
	allow(OrderRefused, InReview, Sending)
	allow(OrderRefused, Declined, Sending)
	allow(GatewaySaid, Ordered, InReview, Approved, Sending)
	allow(GatewaySaid, Processing, InReview, Approved, Sending, Ordered)
	allow(GatewaySaid, Declined, open...)
	allow(GatewaySaid, Completed, open...)
	allow(GatewaySaid, Broken, open...)
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	seen := map[arrow]bool{}
	for _, state := range allStates {
		for attempts := range 4 {
			for said := nothingSaid; said <= udun.StatusFailed; said++ {
				for _, uncertain := range []bool{false, true} {
					for _, e := range machineEvents(at) {
						w := Withdrawal{State: state, Attempts: attempts, Said: said, Uncertain: uncertain}
						after, effects := decideWithdrawal(w, e)
						if after.State != state {
							step := arrow{state, e.Kind, after.State}
							if seen[step] = true; !allowed[step] {
								t.Errorf("%+v on %+v goes to %s", e, w, after.State)
							}
						}
						paid, released := slices.Contains(effects, PayOut), slices.Contains(effects, Release)
						if paid != (after.State == Completed && state != Completed) || released != (after.State.Ended() && after.State != Completed && !state.Ended()) {
							t.Errorf("%+v on %+v: %s with %v", e, w, after.State, effects)
						}
						if released && uncertain && (e.Kind == OrderRefused || e.Kind == OrderNotSent) {
							t.Errorf("%+v on %+v: released although an order has no answer", e, w)
						}
						if (after.NextAt == nil) != (after.State == InReview || after.State.Ended()) && after.State != state {
							t.Errorf("%+v on %+v: %s is looked at again at %v", e, w, after.State, after.NextAt)
						}
						// The same once more changes nothing, except that orders are counted.
						if again, more := decideWithdrawal(after, e); e.Kind != OrderBegun && (again.State != after.State || slices.Contains(more, PayOut) || slices.Contains(more, Release)) {
							t.Errorf("%+v twice on %+v: %s, then %s with %v", e, w, after.State, again.State, more)
						}
					}
				}
			}
		}
	}
	for step := range allowed {
		if !seen[step] {
			t.Errorf("never seen: %v", step)
		}
	}
}

// gatewayModel is a gateway that takes one order, whatever its answers say, and then tells about it in any order, again and again.
type gatewayModel struct {
	has      bool
	path     []udun.Status
	position int
}

func (g *gatewayModel) paid() bool { return g.has && g.path[g.position] == udun.StatusSucceeded }

// mayStillPay tells whether the money could leave yet, or has.
func (g *gatewayModel) mayStillPay() bool {
	return g.has && !slices.Contains(g.path[:g.position+1], udun.StatusRejected) && !slices.Contains(g.path[:g.position+1], udun.StatusFailed)
}

// Against any gateway, with answers that are lost, late and out of order, and operators who settle by hand only what they know, the
// customer is never given back what is paid or may still be paid, and the money moves once.
func TestNeverBothPaidAndReleased(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := Withdrawal{State: rapid.SampledFrom([]WithdrawalState{InReview, Approved}).Draw(t, "begin"), Said: nothingSaid}
		g := gatewayModel{path: rapid.SampledFrom([][]udun.Status{
			{0, 1, 3}, {0, 1, 4}, {0, 2}, {1, 3}, {3}, {4},
		}).Draw(t, "path")}
		var late []WithdrawalEvent // answers that are under way
		paid, released := 0, 0
		at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
		tell := func(e WithdrawalEvent) {
			at = at.Add(time.Second)
			e.At = at
			after, effects := decideWithdrawal(w, e)
			for _, effect := range effects {
				switch effect {
				case PayOut:
					paid++
					if !g.paid() {
						t.Fatalf("%+v: paid, and the gateway has not", e)
					}
				case Release:
					released++
					if g.mayStillPay() {
						t.Fatalf("%+v on %+v: released, and the gateway may still pay", e, w)
					}
				}
			}
			if paid+released > 1 || (paid+released == 1) != after.State.Ended() {
				t.Fatalf("%+v: %s, paid %d times, released %d times", e, after.State, paid, released)
			}
			w = after
		}
		t.Repeat(map[string]func(*rapid.T){
			"operator approves": func(*rapid.T) { tell(WithdrawalEvent{Kind: OperatorApproved}) },
			"operator refuses":  func(*rapid.T) { tell(WithdrawalEvent{Kind: OperatorRefused}) },
			"customer barred":   func(*rapid.T) { tell(WithdrawalEvent{Kind: CustomerBarred}) },
			"overdue":           func(*rapid.T) { tell(WithdrawalEvent{Kind: Overdue}) },
			"order": func(t *rapid.T) {
				if w.State != Approved && w.State != Sending {
					t.Skip("nothing to order")
				}
				tell(WithdrawalEvent{Kind: OrderBegun})
				switch rapid.SampledFrom([]string{"arrives", "lost", "refused", "bad address"}).Draw(t, "order") {
				case "arrives":
					g.has = true
					late = append(late, WithdrawalEvent{Kind: OrderAccepted, Attempt: w.Attempts}) // 200 or 571
				case "lost":
					late = append(late, WithdrawalEvent{Kind: OrderNotSent, Attempt: w.Attempts})
				case "refused":
					late = append(late, WithdrawalEvent{Kind: OrderRefused, Attempt: w.Attempts})
				case "bad address":
					late = append(late, WithdrawalEvent{Kind: OrderRefused, BadAddress: true, Attempt: w.Attempts})
				}
			},
			"answer": func(t *rapid.T) {
				if len(late) == 0 {
					t.Skip("no answer under way")
				}
				i := rapid.IntRange(0, len(late)-1).Draw(t, "which")
				if e := late[i]; rapid.Bool().Draw(t, "comes") {
					tell(e)
				}
				late = slices.Delete(late, i, i+1)
			},
			"gateway goes on": func(t *rapid.T) {
				if !g.has || g.position == len(g.path)-1 {
					t.Skip("nothing there, or done")
				}
				g.position++
			},
			"callback": func(t *rapid.T) {
				if !g.has {
					t.Skip("nothing there")
				}
				said := g.path[rapid.IntRange(0, g.position).Draw(t, "which")] // old ones come again
				e := WithdrawalEvent{Kind: GatewaySaid, Status: said}
				if said == udun.StatusSucceeded || said == udun.StatusFailed && rapid.Bool().Draw(t, "hash") {
					e.TxID = "aa11"
				}
				tell(e)
			},
			"operator settles": func(t *rapid.T) {
				switch {
				case g.paid():
					tell(WithdrawalEvent{Kind: OperatorSucceeded})
				case g.has && !g.mayStillPay():
					tell(WithdrawalEvent{Kind: OperatorFailed})
				default:
					t.Skip("not decided there")
				}
			},
		})
		// Whatever happened before, the gateway's last word and nothing else is enough for the end, unless a person must look.
		if g.has && !w.State.Ended() {
			g.position = len(g.path) - 1
			tell(WithdrawalEvent{Kind: GatewaySaid, Status: g.path[g.position]})
			if !w.State.Ended() && w.Said != udun.StatusFailed {
				t.Fatalf("%s after the gateway's last word %s", w.State, g.path[g.position])
			}
		}
	})
}

func TestOrdersArePlacedAgainLessAndLessOften(t *testing.T) {
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	var pauses []string
	for _, attempts := range []int{0, 1, 2, 3, 6, 7, 8, 50} {
		w := Withdrawal{State: Sending, Attempts: attempts}
		pauses = append(pauses, nextLook(w, at).Sub(at).String())
	}
	if got, want := fmt.Sprint(pauses), "[0s 10s 20s 40s 5m20s 10m40s 15m0s 15m0s]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
