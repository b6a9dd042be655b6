package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/money"
)

// standing is how an account stands in a round: what was read under its lock, and what the round has made of it since.
type standing struct {
	id       int64
	account  Account
	floored  bool
	floor    int64
	balance  int64
	postings int64
	at       time.Time
	moved    bool
}

// errReferences says that a reference of the round stands in the book already: the round is taken back and run again with a look
// at the book first.
var errReferences = errors.New("a reference of the round is in the book")

// errNotKnown says that the accounts in the database are not those in memory, as after the restore of an older copy. What was remembered
// is forgotten, and the transaction run again.
var errNotKnown = fmt.Errorf("%w: the database has other accounts than before", db.ErrRunAgain)

// round posts the proposals in tx. What becomes of each is in its Posted and refusal. References of new business are new nearly
// always, so that looking them up first, which look says, is left out where a round can be run again.
//
// On PostgreSQL what is written stays in the queue of tx, for the commit to take along: that a reference stands in the book shows there,
// as a unique violation.
func (l *Ledger) round(ctx context.Context, tx db.Tx, proposals []*Proposal, look bool) error {
	open := proposals[:0:0]
	index := make(map[Account]int, 2*len(proposals))
	var accounts []Account
	for _, p := range proposals {
		p.Posted, p.refusal = Posted{}, p.Transaction.validate()
		if p.refusal != nil {
			continue
		}
		open = append(open, p)
		for _, line := range p.Lines {
			if _, known := index[line.Account]; !known {
				index[line.Account] = len(accounts)
				accounts = append(accounts, line.Account)
			}
		}
	}
	if len(open) == 0 {
		return nil
	}
	locked, err := l.lock(ctx, tx, accounts, len(open))
	if err != nil {
		return err
	}
	if look {
		if open, err = l.replay(ctx, tx, open); err != nil {
			return err
		}
	}
	if err := l.checkReversals(ctx, tx, open); err != nil {
		return err
	}
	rounds, err := l.openRules(ctx, tx, open)
	if err != nil {
		return err
	}
	if err := tx.Flush(ctx); err != nil {
		return err
	}
	if !locked.complete() {
		l.known.forget()
		return errNotKnown
	}
	for _, g := range l.rules {
		if round := rounds[g.kind]; round != nil {
			if err := round.Judge(ctx); err != nil {
				return err
			}
		}
	}
	standings, now := locked.standings, l.clock.Now()
	var posted, refused []*Proposal
	for i, p := range open {
		if p.refusal == nil {
			p.refusal = p.decide(locked.transactions[i], now, index, standings, rounds[p.Kind])
		}
		if p.refusal == nil {
			posted = append(posted, p)
		} else {
			refused = append(refused, p)
		}
	}
	if !look && len(refused) > 0 {
		// Who asks again for what was posted before must hear that it was, and not that there is no money left.
		if known, err := referenced(ctx, tx, refused); err != nil {
			return err
		} else if len(known) > 0 {
			return errReferences
		}
	}
	if len(posted) == 0 {
		return nil
	}
	if err := write(ctx, tx, posted, standings, index); err != nil {
		return err
	}
	return l.recordRules(ctx, rounds, posted)
}

// decide moves the balances by the lines of the proposal, or leaves everything as it is and says why.
func (p *Proposal) decide(id int64, now time.Time, index map[Account]int, standings []*standing, rule Round) error {
	postings := make([]Posting, 0, len(p.Lines))
	undo := func() {
		for i, posting := range slices.Backward(postings) {
			s := standings[index[p.Lines[i].Account]]
			s.balance -= posting.Amount
			s.postings--
		}
	}
	for _, line := range p.Lines {
		s := standings[index[line.Account]]
		after, ok := money.Add(s.balance, line.Amount)
		if !ok {
			undo()
			return fmt.Errorf("%w: %s", ErrOverflow, line.Account)
		}
		if s.floored && after < s.floor && line.Amount < 0 {
			err := &InsufficientError{Account: line.Account, Balance: s.balance, Amount: line.Amount}
			undo()
			return err
		}
		s.balance = after
		s.postings++
		postings = append(postings, Posting{Account: line.Account, Sequence: s.postings, Amount: line.Amount, BalanceAfter: after})
	}
	if rule != nil {
		if err := rule.Admit(p); err != nil {
			undo()
			return err
		}
	}
	// The time rises with the sequence in each account, also if replicas' clocks differ.
	at := now
	for _, line := range p.Lines {
		if s := standings[index[line.Account]]; s.at.After(at) {
			at = s.at
		}
	}
	for _, line := range p.Lines {
		s := standings[index[line.Account]]
		s.at, s.moved = at, true
	}
	p.Posted = Posted{ID: id, At: at, Postings: postings}
	return nil
}

// replay takes out of the proposals those whose reference stands in the book, and settles them.
func (l *Ledger) replay(ctx context.Context, tx db.Tx, open []*Proposal) ([]*Proposal, error) {
	known, err := referenced(ctx, tx, open)
	if err != nil || len(known) == 0 {
		return open, err
	}
	var rest []*Proposal
	for _, p := range open {
		id, ok := known[name{p.Kind, p.Reference}]
		if !ok {
			rest = append(rest, p)
			continue
		}
		record, err := l.Transaction(ctx, tx, id)
		if err != nil {
			return nil, err
		}
		if p.Posted, ok = record.as(p.Transaction); !ok {
			p.refusal = ErrReferenceUsed
		}
	}
	return rest, nil
}

// as is the transaction in the book in the words of one that is proposed again, if it is the same.
func (r Record) as(t Transaction) (Posted, bool) {
	if len(t.Lines) != len(r.Postings) || t.Reverses != r.Reverses {
		return Posted{}, false
	}
	p := Posted{ID: r.ID, At: r.At, Postings: make([]Posting, 0, len(t.Lines)), Replayed: true}
	left := slices.Clone(r.Postings)
	for _, line := range t.Lines {
		i := slices.IndexFunc(left, func(x Posting) bool { return x.Account == line.Account && x.Amount == line.Amount })
		if i < 0 {
			return Posted{}, false
		}
		p.Postings = append(p.Postings, left[i])
		left = slices.Delete(left, i, i+1)
	}
	return p, true
}

// checkReversals refuses what claims to reverse a transaction and does not do just that, or is not the first to.
func (l *Ledger) checkReversals(ctx context.Context, tx db.Tx, open []*Proposal) error {
	taken := map[int64]bool{}
	for _, p := range open {
		if p.Reverses == 0 {
			continue
		}
		original, err := l.Transaction(ctx, tx, p.Reverses)
		switch {
		case errors.Is(err, ErrNoTransaction):
			p.refusal = err
			continue
		case err != nil:
			return err
		}
		if _, mirrors := original.as(Transaction{Lines: mirrored(p.Lines), Reverses: original.Reverses}); !mirrors {
			p.refusal = fmt.Errorf("%w: it does not undo transaction %d", ErrInvalid, p.Reverses)
			continue
		}
		// The accounts of both are the same, and locked: nobody else is about to.
		if original.ReversedBy != 0 || taken[p.Reverses] {
			p.refusal = ErrAlreadyReversed
			continue
		}
		taken[p.Reverses] = true
	}
	return nil
}

func mirrored(lines []Line) []Line {
	out := make([]Line, len(lines))
	for i, line := range lines {
		out[i] = Line{line.Account, -line.Amount}
	}
	return out
}

// openRules begins the rounds of the rules that something is proposed to.
func (l *Ledger) openRules(ctx context.Context, tx db.Tx, open []*Proposal) (map[Kind]Round, error) {
	var rounds map[Kind]Round
	for _, g := range l.rules {
		of := ofKind(open, g.kind)
		if len(of) == 0 {
			continue
		}
		round, err := g.rule.Open(ctx, tx, of)
		if err != nil {
			return nil, err
		}
		if rounds == nil {
			rounds = map[Kind]Round{}
		}
		rounds[g.kind] = round
	}
	return rounds, nil
}

func (l *Ledger) recordRules(ctx context.Context, rounds map[Kind]Round, posted []*Proposal) error {
	for _, g := range l.rules {
		round := rounds[g.kind]
		if round == nil {
			continue
		}
		if of := ofKind(posted, g.kind); len(of) > 0 {
			if err := round.Record(ctx, of); err != nil {
				return err
			}
		}
	}
	return nil
}

// ofKind are the proposals of a kind that are not refused.
func ofKind(proposals []*Proposal, kind Kind) (of []*Proposal) {
	for _, p := range proposals {
		if p.Kind == kind && p.refusal == nil {
			of = append(of, p)
		}
	}
	return of
}
