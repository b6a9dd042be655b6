// Package ledger is a double-entry book on SQLite or PostgreSQL: accounts, transactions whose postings sum to zero, balances that
// never fall below their floor. It knows nothing of customers, coins or HTTP.
//
// There are two doors. Post writes a transaction inside a database transaction of the caller, who writes rows of its own in it.
// Submit is for pure movements: what is submitted at the same time is decided and committed together.
package ledger

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Options is what a ledger needs.
type Options struct {
	DB         db.DB
	Clock      clock.Clock
	Log        *slog.Logger          // nil: nothing is logged
	Registerer prometheus.Registerer // nil: no metrics
}

// Ledger is the book. It is safe for concurrent use, also by several processes on one database.
type Ledger struct {
	db      db.DB
	clock   clock.Clock
	log     *slog.Logger
	metrics *metrics
	rules   []governed
	known   knownAccounts
	queue   queue
	checks  []namedCheck

	verifyChunk int
}

// New makes the ledger.
func New(o Options) *Ledger {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Ledger{db: o.DB, clock: o.Clock, log: o.Log, metrics: newMetrics(o.Registerer), queue: queue{most: workers(o.DB.Engine())}, verifyChunk: verifyChunk}
	l.queue.overdue = time.AfterFunc(longWait, l.helpOut)
	return l
}

// governed is a kind with its rule. Rules are asked in one order, so that rounds do not wait for each other's rows in a circle.
type governed struct {
	kind Kind
	rule Rule
}

// Govern sets the rule of a kind, once and before anything is posted.
func (l *Ledger) Govern(kind Kind, rule Rule) { l.rules = append(l.rules, governed{kind, rule}) }

// Post writes a transaction inside tx. It locks the accounts, in one order for everybody, until tx ends. A reference that was posted
// before with the same lines gives what stands in the book, as Replayed.
//
// Errors: ErrInvalid, ErrInsufficient, ErrOverflow, ErrReferenceUsed, ErrAlreadyReversed, and what the kind's rule refuses with.
func (l *Ledger) Post(ctx context.Context, tx db.Tx, t Transaction, subject ...any) (Posted, error) {
	p := proposal(t, subject)
	err := l.round(ctx, tx, []*Proposal{p}, true)
	if err == nil {
		err = tx.Flush(ctx) // so that no statement of the caller meets what was queued here
	}
	if err != nil {
		if errors.Is(err, errReferences) || db.IsUniqueViolation(err) {
			// Another transaction, over other accounts, has just taken the reference. The next run sees it.
			return Posted{}, db.ErrRunAgain
		}
		return Posted{}, err
	}
	return p.Posted, p.refusal
}

func proposal(t Transaction, subject []any) *Proposal {
	p := &Proposal{Transaction: t}
	if len(subject) > 0 {
		p.Subject = subject[0]
	}
	return p
}

// Balance is an account's balance in minor units; 0 for one that was never posted to.
func (l *Ledger) Balance(ctx context.Context, q db.Querier, a Account) (int64, error) {
	var balance int64
	err := q.QueryRow(ctx, `SELECT balance FROM ledger_accounts WHERE owner_id = $1 AND owner_kind = $2 AND asset = $3 AND purpose = $4`,
		a.OwnerID, string(a.Owner), a.Asset, a.Purpose).Scan(&balance)
	if errors.Is(err, db.ErrNoRows) {
		return 0, nil
	}
	return balance, err
}

// Balances are the balances of all accounts of an owner.
func (l *Ledger) Balances(ctx context.Context, q db.Querier, owner OwnerKind, id int64) (map[Account]int64, error) {
	rows, err := q.Query(ctx, `SELECT purpose, asset, balance FROM ledger_accounts WHERE owner_id = $1 AND owner_kind = $2`, id, string(owner))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	balances := map[Account]int64{}
	for rows.Next() {
		a := Account{Owner: owner, OwnerID: id}
		var balance int64
		if err := rows.Scan(&a.Purpose, &a.Asset, &balance); err != nil {
			return nil, err
		}
		balances[a] = balance
	}
	return balances, rows.Err()
}
