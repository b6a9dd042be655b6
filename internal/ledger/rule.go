package ledger

import (
	"context"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Rule is what a capability adds to the transactions of a kind: conditions that must hold at the moment of posting, and rows of
// its own that are committed together with them. It is asked once for all transactions that are decided together, so that what
// it reads and writes costs one statement for many.
type Rule interface {
	// Open begins a round. The accounts of all proposals are locked. It may refuse proposals. Its writes are committed with the
	// round, also when it refuses (a wrong password is counted). An error fails the round and takes everything back.
	Open(ctx context.Context, tx db.Tx, proposals []*Proposal) (Round, error)
}

// Round decides about the proposals of one round that Open has not refused.
type Round interface {
	// Admit is asked about one proposal after the other, once its accounts are found to suffice. Unless it returns an error, the
	// proposal is posted.
	Admit(p *Proposal) error
	// Record writes the capability's own rows of what was posted, and not of what is only replayed.
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
