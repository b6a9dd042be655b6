package ledger

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what sort of business a transaction belongs to: transfer, deposit, withdrawal.hold … Within a kind the reference is unique.
type Kind string

// Line is one leg of a transaction that is to be posted.
type Line struct {
	Account Account
	Amount  int64 // minor units of the account's asset; positive: the account gets them
}

// Transaction is what is to be posted, all of it or nothing.
type Transaction struct {
	Kind        Kind
	Reference   string // the business's own name of it, unique within the kind: posting it again has no second effect
	Description string // the customer may read it
	Metadata    string // a JSON object for whoever looks into it later, or empty
	Lines       []Line // at least two; for each asset they sum to zero
	Reverses    int64  // id of the transaction that this one corrects; 0: none
}

// Move is the transaction that moves an amount from one account to another.
func Move(kind Kind, reference string, from, to Account, units int64) Transaction {
	return Transaction{Kind: kind, Reference: reference, Lines: []Line{{from, -units}, {to, units}}}
}

// Posting is one leg of a transaction as it stands in the book.
type Posting struct {
	Account      Account
	Sequence     int64 // 1, 2, 3 … within the account
	Amount       int64
	BalanceAfter int64
}

// Posted is a transaction that stands in the book.
type Posted struct {
	ID       int64
	At       time.Time
	Postings []Posting // in the order of the lines
	Replayed bool      // it stood there before, under the same reference and with the same lines
}

// Errors of posting. Nothing was posted.
var (
	ErrInvalid         = errors.New("not a transaction")                     // no lines, a zero amount, does not sum to zero …
	ErrInsufficient    = errors.New("balance would fall below the floor")    // see InsufficientError
	ErrOverflow        = errors.New("balance beyond what can be counted")    //
	ErrReferenceUsed   = errors.New("reference used by another transaction") // same kind and reference, other lines
	ErrAlreadyReversed = errors.New("transaction was reversed before")       //
	ErrNoTransaction   = errors.New("no such transaction")                   //
	ErrClosed          = errors.New("ledger is stopping")                    //
)

// InsufficientError is an ErrInsufficient that says where.
type InsufficientError struct {
	Account Account
	Balance int64 // as it stands
	Amount  int64 // what was to be added; negative
}

// Error implements error.
func (e *InsufficientError) Error() string {
	return fmt.Sprintf("%s: balance %d, asked for %d", e.Account, e.Balance, e.Amount)
}

// Is makes it an ErrInsufficient.
func (e *InsufficientError) Is(target error) bool { return target == ErrInsufficient }
