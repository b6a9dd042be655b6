package ledger

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Finding is something in the book that must not be.
type Finding struct {
	Check       string `json:"check"`
	Account     string `json:"account,omitempty"`     // its code, or # and its id if that is all there is
	Transaction int64  `json:"transaction,omitempty"` // 0: it is not about one
	Detail      string `json:"detail"`
}

// Report is the outcome of Verify.
type Report struct {
	Accounts     int64     `json:"accounts"`
	Transactions int64     `json:"transactions"`
	Postings     int64     `json:"postings"`
	Findings     []Finding `json:"findings"`
	Unlisted     int64     `json:"unlisted"` // findings beyond the first thousand
}

const maxFindings = 1000

func (r *Report) add(f Finding) {
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
	} else {
		r.Unlisted++
	}
}

// OK tells whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 }

// Check looks for what must not be and reports it. It is made while postings go on.
type Check func(ctx context.Context, q db.Querier, report func(Finding)) error

type namedCheck struct {
	name string
	run  Check
}

// RegisterCheck has Verify make a check of a capability as well, before Verify is called.
func (l *Ledger) RegisterCheck(name string, check Check) {
	l.checks = append(l.checks, namedCheck{name, check})
}

// verifyChunk is how many rows one statement of Verify reads.
const verifyChunk = 5000

// Verify checks the whole book: it reads every row once, in chunks, and remembers none. Postings may go on meanwhile. What belongs
// together is read by one statement, which sees each transaction whole or not at all; what is posted behind the place that has been
// reached waits for the next run. After each chunk progress is told how far it is, if it is not nil. The error says that the book
// could not be read, not that something was found.
func (l *Ledger) Verify(ctx context.Context, progress func(Report)) (Report, error) {
	return l.verify(ctx, l.db, progress)
}

func (l *Ledger) verify(ctx context.Context, q db.Querier, progress func(Report)) (Report, error) {
	v := verifier{q: q, ledger: l, report: Report{Findings: []Finding{}}, progress: progress, chunk: l.verifyChunk}
	for _, step := range []func(context.Context) error{v.assets, v.accounts, v.postings, v.transactions, v.reversals} {
		if err := step(ctx); err != nil {
			return v.report, fmt.Errorf("verify ledger: %w", err)
		}
	}
	for _, check := range l.checks {
		err := check.run(ctx, q, func(f Finding) {
			if f.Check == "" {
				f.Check = check.name
			}
			v.report.add(f)
		})
		if err != nil {
			return v.report, fmt.Errorf("verify %s: %w", check.name, err)
		}
	}
	return v.report, nil
}

type verifier struct {
	q        db.Querier
	ledger   *Ledger
	report   Report
	progress func(Report)
	chunk    int
}

func (v *verifier) done() {
	if v.progress != nil {
		v.progress(v.report)
	}
}

// standingOfAsset are sums over the accounts of an asset.
type standingOfAsset struct {
	asset string
	book  *big.Int // of all accounts: 0
	open  *big.Int // what customers have beyond what is held for them: 0 or less
}

// standingOfAssets reads the balances of all accounts at one moment. The sums are made in two halves, so that none overflows.
func standingOfAssets(ctx context.Context, q db.Querier) ([]standingOfAsset, error) {
	const half = 1_000_000_000
	rows, err := q.Query(ctx, `SELECT asset, owner_kind, CAST(SUM(balance / 1000000000) AS BIGINT), CAST(SUM(balance % 1000000000) AS BIGINT)
		FROM ledger_accounts GROUP BY asset, owner_kind ORDER BY asset`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []standingOfAsset
	for rows.Next() {
		var asset string
		var owner OwnerKind
		var high, low int64
		if err := rows.Scan(&asset, (*string)(&owner), &high, &low); err != nil {
			return nil, err
		}
		if n := len(list); n == 0 || list[n-1].asset != asset {
			list = append(list, standingOfAsset{asset, new(big.Int), new(big.Int)})
		}
		sum := new(big.Int).Mul(big.NewInt(high), big.NewInt(half))
		sum.Add(sum, big.NewInt(low))
		s := list[len(list)-1]
		s.book.Add(s.book, sum)
		if slices.Contains([]OwnerKind{User, Custody, Issuer, Position}, owner) {
			s.open.Add(s.open, sum)
		}
	}
	return list, rows.Err()
}

// assets checks invariants 1, for the whole book, and 6.
func (v *verifier) assets(ctx context.Context) error {
	list, err := standingOfAssets(ctx, v.q)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.book.Sign() != 0 {
			v.report.add(Finding{Check: "balanced book", Detail: fmt.Sprintf("the accounts in %s sum to %s, not to zero", s.asset, s.book)})
		}
		if s.open.Sign() > 0 {
			v.report.add(Finding{Check: "covered customers", Detail: fmt.Sprintf("customers have %s units of %s more than custody, issuer and position hold", s.open, s.asset)})
		}
	}
	return nil
}

// accounts checks the first half of invariant 2, and 3 for the present: the balance is that of the last posting.
func (v *verifier) accounts(ctx context.Context) error {
	type row struct {
		id, balance, postings int64
		floor, last           *int64
		account               Account
	}
	for after := int64(0); ; {
		rows, err := v.q.Query(ctx, `SELECT a.id, a.owner_kind, a.owner_id, a.purpose, a.asset, a.floor, a.balance, a.postings, p.balance_after
			FROM (SELECT * FROM ledger_accounts WHERE id > $1 ORDER BY id LIMIT $2) a
			LEFT JOIN ledger_postings p ON p.account_id = a.id AND p.sequence = a.postings ORDER BY a.id`, after, v.chunk)
		list, err := db.Collect(rows, err, func(r db.Row) (x row, err error) {
			return x, r.Scan(&x.id, (*string)(&x.account.Owner), &x.account.OwnerID, &x.account.Purpose, &x.account.Asset, &x.floor, &x.balance, &x.postings, &x.last)
		})
		if err != nil {
			return err
		}
		for _, x := range list {
			found := func(check, detail string, args ...any) {
				v.report.add(Finding{Check: check, Account: x.account.String(), Detail: fmt.Sprintf(detail, args...)})
			}
			switch {
			case x.postings == 0 && x.balance != 0:
				found("balance", "balance %d without postings", x.balance)
			case x.postings != 0 && x.last == nil:
				found("balance", "posting %d, the last one, is missing", x.postings)
			case x.last != nil && *x.last != x.balance:
				found("balance", "balance %d, but %d after the last posting", x.balance, *x.last)
			}
			if x.account.floored() && x.floor == nil || x.floor != nil && x.balance < *x.floor {
				found("floor", "balance %d, and no floor or a higher one", x.balance)
			}
			after = x.id
		}
		v.report.Accounts += int64(len(list))
		v.done()
		if len(list) < v.chunk {
			return nil
		}
	}
}

// leg is a posting with what it belongs to.
type leg struct {
	account, sequence, transaction, amount, after int64
	at                                            *time.Time // of the transaction; nil: there is none
	found                                         *int64     // id of the account; nil: there is none
	floor                                         *int64
	postings                                      int64 // of the account, at the moment of reading
}

// postings walks the postings of one account after the other: invariants 2 and 3 for the past, and that nothing stands alone.
func (v *verifier) postings(ctx context.Context) error {
	var before leg // the leg in front; its account 0: none
	// The account is over. All its legs were there when the last one was read, since later ones would have followed.
	end := func() {
		if before.account != 0 && before.found != nil && before.sequence != before.postings {
			v.report.add(Finding{Check: "sequence", Account: v.code(ctx, before.account), Detail: fmt.Sprintf("%d postings, but the last one is %d", before.postings, before.sequence)})
		}
	}
	for {
		rows, err := v.q.Query(ctx, `SELECT p.account_id, p.sequence, p.transaction_id, p.amount, p.balance_after, t.posted_at, a.id, a.floor, COALESCE(a.postings, 0)
			FROM (SELECT * FROM ledger_postings WHERE (account_id, sequence) > ($1, $2) ORDER BY account_id, sequence LIMIT $3) p
			LEFT JOIN ledger_transactions t ON t.id = p.transaction_id LEFT JOIN ledger_accounts a ON a.id = p.account_id
			ORDER BY p.account_id, p.sequence`, before.account, before.sequence, v.chunk)
		legs, err := db.Collect(rows, err, func(r db.Row) (x leg, err error) {
			return x, r.Scan(&x.account, &x.sequence, &x.transaction, &x.amount, &x.after, &x.at, &x.found, &x.floor, &x.postings)
		})
		if err != nil {
			return err
		}
		for _, x := range legs {
			if x.account != before.account {
				end()
				before = leg{account: x.account}
			}
			v.leg(ctx, before, x)
			before = x
		}
		v.report.Postings += int64(len(legs))
		v.done()
		if len(legs) < v.chunk {
			end()
			return nil
		}
	}
}

func (v *verifier) leg(ctx context.Context, before, x leg) {
	found := func(check, detail string, args ...any) {
		v.report.add(Finding{Check: check, Account: v.code(ctx, x.account), Transaction: x.transaction, Detail: fmt.Sprintf(detail, args...)})
	}
	switch {
	case x.found == nil:
		found("orphan", "posting %d of an account that does not exist", x.sequence)
	case x.at == nil:
		found("orphan", "posting %d of a transaction that does not exist", x.sequence)
	}
	if x.sequence != before.sequence+1 {
		found("sequence", "posting %d comes after %d", x.sequence, before.sequence)
	}
	if x.amount == 0 || before.after+x.amount != x.after {
		found("running balance", "posting %d: %d and %d are not %d", x.sequence, before.after, x.amount, x.after)
	}
	if x.floor != nil && x.after < *x.floor && x.amount < 0 {
		found("floor", "posting %d: %d is below the floor", x.sequence, x.after)
	}
	if x.at != nil && before.at != nil && x.at.Before(*before.at) {
		found("time", "posting %d is older than the one before", x.sequence)
	}
}

// code is the code of an account for a finding: there are few of these.
func (v *verifier) code(ctx context.Context, id int64) string {
	var a Account
	err := v.q.QueryRow(ctx, `SELECT owner_kind, owner_id, purpose, asset FROM ledger_accounts WHERE id = $1`, id).Scan((*string)(&a.Owner), &a.OwnerID, &a.Purpose, &a.Asset)
	if err != nil || len(v.report.Findings) >= maxFindings {
		return fmt.Sprintf("#%d", id)
	}
	return a.String()
}

// transactions checks invariant 1 for each transaction.
func (v *verifier) transactions(ctx context.Context) error {
	for after := int64(0); ; {
		var id, seen int64
		legs := 0
		sums := map[string]*total{}
		end := func() {
			if id == 0 {
				return
			}
			if legs < 2 {
				v.report.add(Finding{Check: "balanced transaction", Transaction: id, Detail: fmt.Sprintf("it has %d postings", legs)})
			}
			for asset, sum := range sums {
				if *sum != (total{}) {
					v.report.add(Finding{Check: "balanced transaction", Transaction: id, Detail: fmt.Sprintf("its postings in %s sum to %s, not to zero", asset, sum)})
				}
			}
			legs = 0
			clear(sums)
		}
		err := func() error {
			rows, err := v.q.Query(ctx, `SELECT t.id, COALESCE(a.asset, ''), p.amount
				FROM (SELECT id FROM ledger_transactions WHERE id > $1 ORDER BY id LIMIT $2) t
				LEFT JOIN ledger_postings p ON p.transaction_id = t.id LEFT JOIN ledger_accounts a ON a.id = p.account_id ORDER BY t.id`, after, v.chunk)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				var next int64
				var asset string
				var amount *int64
				if err := rows.Scan(&next, &asset, &amount); err != nil {
					return err
				}
				if next != id {
					end()
					id = next
					seen++
				}
				if amount != nil {
					if sums[asset] == nil {
						sums[asset] = &total{}
					}
					sums[asset].add(*amount)
					legs++
				}
			}
			return rows.Err()
		}()
		if err != nil {
			return err
		}
		end()
		after = id
		v.report.Transactions += seen
		v.done()
		if seen < int64(v.chunk) {
			return nil
		}
	}
}

// reversals checks that each reversal undoes a transaction that exists, line by line. That there is one at most is the index's doing.
func (v *verifier) reversals(ctx context.Context) error {
	for after := int64(0); ; {
		rows, err := v.q.Query(ctx, `SELECT id, reverses FROM ledger_transactions WHERE reverses > $1 ORDER BY reverses LIMIT $2`, after, v.chunk)
		list, err := db.Collect(rows, err, func(r db.Row) (x [2]int64, err error) { return x, r.Scan(&x[0], &x[1]) })
		if err != nil {
			return err
		}
		for _, x := range list {
			after = x[1]
			reversal, err := v.ledger.Transaction(ctx, v.q, x[0])
			if err != nil {
				return err
			}
			original, err := v.ledger.Transaction(ctx, v.q, x[1])
			var lines []Line
			for _, p := range reversal.Postings {
				lines = append(lines, Line{p.Account, -p.Amount})
			}
			if _, mirrors := original.as(Transaction{Lines: lines, Reverses: original.Reverses}); err != nil || !mirrors {
				v.report.add(Finding{Check: "reversal", Transaction: x[0], Detail: fmt.Sprintf("it does not undo transaction %d", x[1])})
			}
		}
		v.done()
		if len(list) < v.chunk {
			return nil
		}
	}
}
