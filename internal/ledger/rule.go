package ledger

import (
	"context"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Rule is what a capability adds to the transactions of a kind: conditions that must hold at the moment of posting, and rows of
// its own that are committed together with them. It is asked once for all transactions that are decided together, so that what
// it reads and writes costs one statement for many.
type Rule interface {
	// Open begins a round. The accounts of all proposals are locked by what stands in the queue of tx: statements that are queued
	// here reach the database together with that, and after it. Nothing is known yet of what they read.
	Open(ctx context.Context, tx db.Tx, proposals []*Proposal) (Round, error)
}

// Round decides about the proposals of one round.
type Round interface {
	// Judge may refuse proposals, by what Open has read. Its writes are committed with the round, also when it refuses (a wrong
	// password is counted). An error fails the round and takes everything back.
	Judge(ctx context.Context) error
	// Admit is asked about one proposal after the other, unless it is refused and once its accounts are found to suffice. Unless it
	// returns an error, the proposal is posted.
	Admit(p *Proposal) error
	// Record writes the capability's own rows of what was posted, and not of what is only replayed. What it queues goes along with
	// the commit.
	Record(ctx context.Context, posted []*Proposal) error
}

// Proposal is a transaction in a round.
type Proposal struct {
	Transaction
	Subject any    // what the submitter gave along for the rule
	Posted  Posted // set before Record
	refusal error
}

// Refuse keeps the proposal from being posted; err is what its submitter gets.
func (p *Proposal) Refuse(err error) { p.refusal = err }
