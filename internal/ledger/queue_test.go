package ledger

import (
	"testing"
	"time"
)

// What a round leaves over because of its name does not wait for that round, which may be held up: another worker is called.
func TestWhatARoundLeavesOver(t *testing.T) {
	called := make(chan struct{})
	q := &queue{workers: 1, most: 2, overdue: time.AfterFunc(time.Hour, func() { close(called) })}
	for range 2 {
		q.list = append(q.list, &submission{Proposal: Proposal{Transaction: Transaction{Kind: "transfer", Reference: "one"}}})
	}
	if round := q.take(); len(round) != 1 || len(q.list) != 1 {
		t.Fatalf("%d taken, %d left", len(round), len(q.list))
	}
	select {
	case <-called:
	case <-time.After(10 * time.Second):
		t.Error("nobody is called for what is left over")
	}
}
