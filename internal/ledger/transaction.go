package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
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

// What PostgreSQL could not keep or an index could not hold is not a text here.
const (
	maxName = 200
	maxText = 10_000
)

// validate tells whether this is a transaction at all. Errors: ErrInvalid.
func (t *Transaction) validate() error {
	switch {
	case !isText(string(t.Kind), 1, maxName), !isText(t.Reference, 1, maxName), !isText(t.Description, 0, maxText), !isText(t.Metadata, 0, maxText):
		return fmt.Errorf("%w: kind, reference, description or metadata is missing, too long or no text", ErrInvalid)
	case t.Metadata != "" && (t.Metadata[0] != '{' || !json.Valid([]byte(t.Metadata))):
		return fmt.Errorf("%w: the metadata is not a JSON object", ErrInvalid)
	case len(t.Lines) < 2 || len(t.Lines) > maxLines:
		return fmt.Errorf("%w: %d lines", ErrInvalid, len(t.Lines))
	case t.Reverses < 0:
		return fmt.Errorf("%w: reverses %d", ErrInvalid, t.Reverses)
	}
	for i, line := range t.Lines {
		if err := line.Account.validate(); err != nil {
			return fmt.Errorf("%w: line %d: %w", ErrInvalid, i+1, err)
		}
		if line.Amount == 0 || line.Amount == math.MinInt64 {
			return fmt.Errorf("%w: line %d: amount %d", ErrInvalid, i+1, line.Amount)
		}
	}
	// For each asset, from its first line on.
	for i, first := range t.Lines {
		if slices.ContainsFunc(t.Lines[:i], func(l Line) bool { return l.Account.Asset == first.Account.Asset }) {
			continue
		}
		var sum total
		for _, line := range t.Lines[i:] {
			if line.Account.Asset == first.Account.Asset {
				sum.add(line.Amount)
			}
		}
		if sum != (total{}) {
			return fmt.Errorf("%w: the lines in %s do not sum to zero", ErrInvalid, first.Account.Asset)
		}
	}
	return nil
}

// maxLines is far beyond any business: a batch of payments is many transactions.
const maxLines = 1000

func isText(s string, least, most int) bool {
	return len(s) >= least && len(s) <= most && utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// total is a sum of amounts, in 128 bits: all amounts that there ever will be cannot overflow it.
type total struct{ high, low uint64 }

func (t *total) add(n int64) {
	var carry uint64
	t.low, carry = bits.Add64(t.low, uint64(n), 0)
	t.high += uint64(n>>63) + carry // the sign fills the upper half
}

// String is the sum in decimal digits.
func (t total) String() string {
	n := new(big.Int).Lsh(big.NewInt(int64(t.high)), 64)
	return n.Add(n, new(big.Int).SetUint64(t.low)).String()
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

// Record is a transaction with everything that the book holds about it.
type Record struct {
	ID          int64
	Kind        Kind
	Reference   string
	Description string
	Metadata    string
	At          time.Time
	Reverses    int64     // id of the transaction that this one corrects; 0: none
	ReversedBy  int64     // id of the transaction that corrects this one; 0: none
	Postings    []Posting // by account and sequence
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
