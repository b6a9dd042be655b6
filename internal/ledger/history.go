package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Reversal is the kind of the transactions that Reverse posts.
const Reversal Kind = "reversal"

// Reverse posts inside tx the transaction that undoes another one, line by line. A transaction is reversed once; a reversal may be
// reversed in its turn. The floors hold as for every transaction: what has been spent cannot be taken back.
//
// Errors: ErrNoTransaction, ErrAlreadyReversed, and those of Post.
func (l *Ledger) Reverse(ctx context.Context, tx db.Tx, id int64, reference, description string) (Posted, error) {
	original, err := l.Transaction(ctx, tx, id)
	if err != nil {
		return Posted{}, err
	}
	t := Transaction{Kind: Reversal, Reference: reference, Description: description, Reverses: id}
	// What is given back comes first: an account that stands in several lines is not below its floor in between.
	for _, gives := range []bool{true, false} {
		for _, p := range original.Postings {
			if (p.Amount < 0) == gives {
				t.Lines = append(t.Lines, Line{p.Account, -p.Amount})
			}
		}
	}
	return l.Post(ctx, tx, t)
}

// TransactionNamed is a transaction by what its business calls it. Errors: ErrNoTransaction.
func (l *Ledger) TransactionNamed(ctx context.Context, q db.Querier, kind Kind, reference string) (Record, error) {
	var id int64
	err := q.QueryRow(ctx, `SELECT id FROM ledger_transactions WHERE kind = $1 AND reference = $2`, string(kind), reference).Scan(&id)
	if errors.Is(err, db.ErrNoRows) {
		return Record{}, fmt.Errorf("%w: %s/%s", ErrNoTransaction, kind, reference)
	}
	if err != nil {
		return Record{}, err
	}
	return l.Transaction(ctx, q, id)
}

// Entry is a line of a statement: a posting, and the transaction that it belongs to.
type Entry struct {
	Posting
	TransactionID int64
	Kind          Kind
	Reference     string
	Description   string
	At            time.Time
}

// Period is the part of an account's postings that a statement is about.
type Period struct {
	From, To time.Time // from From on, before To; zero: from the first, up to the last one
	After    int64     // only postings with a greater sequence: the last one of the page before
	Limit    int       // how many entries at most; 0: all
}

// Statement is what happened on an account. Opening plus the amounts of all entries is Closing, and the closing balance of one page
// is the opening one of the next.
type Statement struct {
	Opening, Closing int64
	Entries          []Entry
	More             bool // there are more in the period
}

// Statement lists the postings of an account, oldest first. Postings are numbered and never change, so that pages neither skip nor
// repeat any.
func (l *Ledger) Statement(ctx context.Context, q db.Querier, a Account, p Period) (Statement, error) {
	id, last, err := accountRow(ctx, q, a)
	if err != nil || last == 0 {
		return Statement{}, err
	}
	first := min(max(p.After, 0), last)
	if !p.From.IsZero() {
		before, err := sequenceBefore(ctx, q, id, last, p.From)
		if err != nil {
			return Statement{}, err
		}
		first = max(first, before)
	}
	if !p.To.IsZero() {
		if last, err = sequenceBefore(ctx, q, id, last, p.To); err != nil {
			return Statement{}, err
		}
	}
	var s Statement
	if s.Opening, err = balanceAfter(ctx, q, id, first); err != nil {
		return Statement{}, err
	}
	s.Closing = s.Opening
	if p.Limit > 0 && last-first > int64(p.Limit) {
		last, s.More = first+int64(p.Limit), true
	}
	rows, err := q.Query(ctx, `SELECT p.sequence, p.amount, p.balance_after, t.id, t.kind, t.reference, t.description, t.posted_at
		FROM ledger_postings p JOIN ledger_transactions t ON t.id = p.transaction_id
		WHERE p.account_id = $1 AND p.sequence > $2 AND p.sequence <= $3 ORDER BY p.sequence`, id, first, last)
	s.Entries, err = db.Collect(rows, err, func(row db.Row) (Entry, error) {
		e := Entry{Posting: Posting{Account: a}}
		return e, row.Scan(&e.Sequence, &e.Amount, &e.BalanceAfter, &e.TransactionID, (*string)(&e.Kind), &e.Reference, &e.Description, &e.At)
	})
	if n := len(s.Entries); n > 0 {
		s.Closing = s.Entries[n-1].BalanceAfter
	}
	return s, err
}

// BalanceAt is what the balance of an account was at a time, all that was posted at that very time included; 0 before its first posting.
func (l *Ledger) BalanceAt(ctx context.Context, q db.Querier, a Account, at time.Time) (int64, error) {
	id, last, err := accountRow(ctx, q, a)
	if err != nil || last == 0 {
		return 0, err
	}
	sequence, err := sequenceBefore(ctx, q, id, last, at.Add(time.Microsecond)) // the resolution of both databases
	if err != nil {
		return 0, err
	}
	return balanceAfter(ctx, q, id, sequence)
}

// accountRow is the id of an account and the sequence of its last posting: 0 if it has none.
func accountRow(ctx context.Context, q db.Querier, a Account) (id, last int64, err error) {
	err = q.QueryRow(ctx, `SELECT id, postings FROM ledger_accounts WHERE owner_id = $1 AND owner_kind = $2 AND asset = $3 AND purpose = $4`,
		a.OwnerID, string(a.Owner), a.Asset, a.Purpose).Scan(&id, &last)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return id, last, err
}

// sequenceBefore is the sequence of the last posting before a time. Times rise with sequences, so that some twenty looks find it
// among a million.
func sequenceBefore(ctx context.Context, q db.Querier, account, last int64, before time.Time) (int64, error) {
	low, high := int64(0), last // the one looked for is in [low, high]
	for low < high {
		middle := low + (high-low+1)/2
		var at time.Time
		err := q.QueryRow(ctx, `SELECT t.posted_at FROM ledger_postings p JOIN ledger_transactions t ON t.id = p.transaction_id
			WHERE p.account_id = $1 AND p.sequence = $2`, account, middle).Scan(&at)
		if err != nil {
			return 0, err
		}
		if at.Before(before) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, nil
}

func balanceAfter(ctx context.Context, q db.Querier, account, sequence int64) (balance int64, err error) {
	if sequence <= 0 {
		return 0, nil
	}
	err = q.QueryRow(ctx, `SELECT balance_after FROM ledger_postings WHERE account_id = $1 AND sequence = $2`, account, sequence).Scan(&balance)
	return balance, err
}
