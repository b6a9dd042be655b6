package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// name is what a transaction is known by.
type name struct {
	kind      Kind
	reference string
}

// locked are the accounts of a round, in its order, and new transaction ids.
type locked struct {
	standings    []*standing // nil for one that is not there under the id that was thought to be its
	transactions []int64
	wanted       int // of these
}

// complete tells whether all is there that was asked for.
func (k *locked) complete() bool {
	return !slices.Contains(k.standings, nil) && len(k.transactions) == k.wanted
}

// lock makes the accounts that are not there, locks all of them in the order of their ids, and reads how they stand. It also gets as
// many new transaction ids as are wanted. The statement is queued: the result is there after the next one, or Flush.
func (l *Ledger) lock(ctx context.Context, tx db.Tx, accounts []Account, wanted int) (*locked, error) {
	ids, err := l.accountIDs(ctx, tx, accounts)
	if err != nil {
		return nil, err
	}
	found := &locked{standings: make([]*standing, len(accounts)), transactions: make([]int64, 0, wanted), wanted: wanted}
	place := make(map[int64]int, len(ids))
	for i, id := range ids {
		place[id] = i
	}
	rows := make([]standing, 0, len(accounts))
	read := func(list db.Rows) error {
		for list.Next() {
			var s standing
			var floor *int64
			var at *time.Time
			if err := list.Scan(&s.id, (*string)(&s.account.Owner), &s.account.OwnerID, &s.account.Purpose, &s.account.Asset, &floor, &s.balance, &s.postings, &at); err != nil {
				return err
			}
			if at == nil {
				found.transactions = append(found.transactions, s.id)
				continue
			}
			if s.at = *at; floor != nil {
				s.floored, s.floor = true, *floor
			}
			if i := place[s.id]; s.account == accounts[i] {
				rows = append(rows, s)
				found.standings[i] = &rows[len(rows)-1]
			}
		}
		return nil
	}
	if tx.Engine() == db.PostgreSQL {
		return found, tx.Queue(ctx, read, `WITH locked AS (SELECT `+standingColumns+` FROM ledger_accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE)
			SELECT `+standingColumns+` FROM locked
			UNION ALL SELECT nextval('ledger_transactions_id_seq'), '', 0, '', '', NULL, 0, -1, NULL FROM generate_series(1, $2)`, ids, wanted)
	}
	// There is no other writer: nothing to lock, and the next id is free.
	var last int64
	if err := tx.QueryRow(ctx, `SELECT COALESCE(MAX(id), 0) FROM ledger_transactions`).Scan(&last); err != nil {
		return nil, err
	}
	for range wanted {
		last++
		found.transactions = append(found.transactions, last)
	}
	for i := 0; i < len(ids); i += idsAtOnce {
		some := make([]any, idsAtOnce)
		for j := range some {
			some[j] = ids[min(i+j, len(ids)-1)] // the last one again and again: the text stays the same
		}
		if err := tx.Queue(ctx, read, standingsOfSome, some...); err != nil {
			return nil, err
		}
	}
	return found, nil
}

const idsAtOnce = 64

const standingColumns = `id, owner_kind, owner_id, purpose, asset, floor, balance, postings, posted_at`

var standingsOfSome = `SELECT ` + standingColumns + ` FROM ledger_accounts WHERE id IN (?` + strings.Repeat(", ?", idsAtOnce-1) + `)`

// accountIDs finds the ids of accounts, and makes those that are not there.
func (l *Ledger) accountIDs(ctx context.Context, tx db.Tx, accounts []Account) ([]int64, error) {
	ids := make([]int64, len(accounts))
	var unknown []Account // not in memory
	for i, a := range accounts {
		if ids[i] = l.known.id(a); ids[i] == 0 {
			unknown = append(unknown, a)
		}
	}
	if len(unknown) == 0 {
		return ids, nil
	}
	found, err := findAccounts(ctx, tx, unknown)
	if err != nil {
		return nil, err
	}
	if len(found) < len(unknown) {
		missing := slices.DeleteFunc(slices.Clone(unknown), func(a Account) bool { return found[a] != 0 })
		if err := createAccounts(ctx, tx, missing, l.clock.Now()); err != nil {
			return nil, err
		}
		made, err := findAccounts(ctx, tx, missing)
		if err != nil {
			return nil, err
		}
		for a, id := range made {
			found[a] = id
		}
	}
	for i, a := range accounts {
		if ids[i] == 0 {
			if ids[i] = found[a]; ids[i] == 0 {
				return nil, fmt.Errorf("ledger: account %s was made and is not there", a)
			}
		}
	}
	// An account that is made here is there for others only if the transaction is committed.
	tx.AfterCommit(func() {
		for a, id := range found {
			l.known.add(a, id)
		}
	})
	return ids, nil
}

// names are the accounts as PostgreSQL takes them, column by column.
func names(accounts []Account) (kinds []string, owners []int64, purposes, assets []string) {
	for _, a := range accounts {
		kinds, owners, purposes, assets = append(kinds, string(a.Owner)), append(owners, a.OwnerID), append(purposes, a.Purpose), append(assets, a.Asset)
	}
	return
}

func findAccounts(ctx context.Context, q db.Querier, accounts []Account) (map[Account]int64, error) {
	found := make(map[Account]int64, len(accounts))
	read := func(rows db.Rows, err error) error {
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var i, id int64
			if err := rows.Scan(&i, &id); err != nil {
				return err
			}
			found[accounts[i-1]] = id
		}
		return rows.Err()
	}
	if q.Engine() == db.PostgreSQL {
		kinds, owners, purposes, assets := names(accounts)
		return found, read(q.Query(ctx, `SELECT k.n, a.id FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY AS k(kind, owner, purpose, asset, n)
			JOIN ledger_accounts a ON a.owner_id = k.owner AND a.owner_kind = k.kind AND a.asset = k.asset AND a.purpose = k.purpose`, kinds, owners, purposes, assets))
	}
	for i, a := range accounts {
		err := read(q.Query(ctx, `SELECT $1, id FROM ledger_accounts WHERE owner_id = $2 AND owner_kind = $3 AND asset = $4 AND purpose = $5`,
			i+1, a.OwnerID, string(a.Owner), a.Asset, a.Purpose))
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// createAccounts makes accounts, unless somebody else does at this moment. All that make some do so in one order.
func createAccounts(ctx context.Context, tx db.Tx, accounts []Account, now time.Time) error {
	slices.SortFunc(accounts, func(a, b Account) int {
		return cmp.Or(cmp.Compare(a.OwnerID, b.OwnerID), cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Asset, b.Asset), cmp.Compare(a.Purpose, b.Purpose))
	})
	floors := make([]*int64, len(accounts))
	for i, a := range accounts {
		if a.floored() {
			floors[i] = new(int64)
		}
	}
	if tx.Engine() == db.PostgreSQL {
		kinds, owners, purposes, assets := names(accounts)
		_, err := tx.Exec(ctx, `INSERT INTO ledger_accounts (owner_kind, owner_id, purpose, asset, floor, posted_at)
			SELECT *, $6::timestamptz FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
			ON CONFLICT (owner_id, owner_kind, asset, purpose) DO NOTHING`, kinds, owners, purposes, assets, floors, now)
		return err
	}
	for i, a := range accounts {
		if _, err := tx.Exec(ctx, `INSERT INTO ledger_accounts (owner_kind, owner_id, purpose, asset, floor, posted_at) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (owner_id, owner_kind, asset, purpose) DO NOTHING`, string(a.Owner), a.OwnerID, a.Purpose, a.Asset, floors[i], now); err != nil {
			return err
		}
	}
	return nil
}

// referenced finds the ids of the proposals whose reference stands in the book.
func referenced(ctx context.Context, q db.Querier, proposals []*Proposal) (map[name]int64, error) {
	found := map[name]int64{}
	read := func(rows db.Rows, err error) error {
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var n name
			var id int64
			if err := rows.Scan((*string)(&n.kind), &n.reference, &id); err != nil {
				return err
			}
			found[n] = id
		}
		return rows.Err()
	}
	if q.Engine() == db.PostgreSQL {
		var kinds, references []string
		for _, p := range proposals {
			kinds, references = append(kinds, string(p.Kind)), append(references, p.Reference)
		}
		return found, read(q.Query(ctx, `SELECT t.kind, t.reference, t.id FROM unnest($1::text[], $2::text[]) AS p(kind, reference)
			JOIN ledger_transactions t ON t.kind = p.kind AND t.reference = p.reference`, kinds, references))
	}
	for _, p := range proposals {
		if err := read(q.Query(ctx, `SELECT kind, reference, id FROM ledger_transactions WHERE kind = $1 AND reference = $2`, string(p.Kind), p.Reference)); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// write writes what was decided. Errors: errReferences if a reference stands in the book; what was written must not be kept then,
// and no balance has moved. On PostgreSQL, where the statement is only queued, it is a unique violation of whatever sends it.
func write(ctx context.Context, tx db.Tx, posted []*Proposal, standings []*standing, index map[Account]int) error {
	if tx.Engine() == db.PostgreSQL {
		return writePostgres(ctx, tx, posted, standings, index)
	}
	return writeSQLite(ctx, tx, posted, standings, index)
}

func writePostgres(ctx context.Context, tx db.Tx, posted []*Proposal, standings []*standing, index map[Account]int) error {
	n := len(posted)
	id, kind, reference, description, metadata := make([]int64, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	reverses, at := make([]*int64, n), make([]time.Time, n)
	var account, sequence, transaction, amount, after []int64
	for i, p := range posted {
		id[i], kind[i], reference[i], description[i], metadata[i], at[i] = p.Posted.ID, string(p.Kind), p.Reference, p.Description, p.Metadata, p.Posted.At
		if p.Reverses != 0 {
			reverses[i] = &p.Reverses
		}
		for _, x := range p.Posted.Postings {
			account, sequence, transaction = append(account, standings[index[x.Account]].id), append(sequence, x.Sequence), append(transaction, p.Posted.ID)
			amount, after = append(amount, x.Amount), append(after, x.BalanceAfter)
		}
	}
	var accounts, balances, postings []int64
	var times []time.Time
	for _, s := range standings {
		if s.moved {
			accounts, balances, postings, times = append(accounts, s.id), append(balances, s.balance), append(postings, s.postings), append(times, s.at)
		}
	}
	return tx.Queue(ctx, nil, `WITH t AS (INSERT INTO ledger_transactions (id, kind, reference, description, metadata, reverses, posted_at)
			SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[])),
		p AS (INSERT INTO ledger_postings (account_id, sequence, transaction_id, amount, balance_after)
			SELECT * FROM unnest($8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[]))
		UPDATE ledger_accounts a SET balance = u.balance, postings = u.postings, posted_at = u.posted_at
			FROM unnest($13::bigint[], $14::bigint[], $15::bigint[], $16::timestamptz[]) AS u(id, balance, postings, posted_at) WHERE a.id = u.id`,
		id, kind, reference, description, metadata, reverses, at, account, sequence, transaction, amount, after, accounts, balances, postings, times)
}

func writeSQLite(ctx context.Context, tx db.Tx, posted []*Proposal, standings []*standing, index map[Account]int) error {
	transactions, legs := make([]any, 0, 7*len(posted)), make([]any, 0, 10*len(posted))
	for _, p := range posted {
		var reverses any
		if p.Reverses != 0 {
			reverses = p.Reverses
		}
		transactions = append(transactions, p.Posted.ID, string(p.Kind), p.Reference, p.Description, p.Metadata, reverses, p.Posted.At)
		for _, x := range p.Posted.Postings {
			legs = append(legs, standings[index[x.Account]].id, x.Sequence, p.Posted.ID, x.Amount, x.BalanceAfter)
		}
	}
	if written, err := insert(ctx, tx, &transactionRows, transactions); err != nil {
		return err
	} else if written != int64(len(posted)) {
		return errReferences
	}
	if _, err := insert(ctx, tx, &postingRows, legs); err != nil {
		return err
	}
	moved := make([]any, 0, 4*len(standings))
	for _, s := range standings {
		if s.moved {
			moved = append(moved, s.id, s.balance, s.postings, s.at)
		}
	}
	_, err := insert(ctx, tx, &balanceRows, moved)
	return err
}

// rowsOf is a statement that writes several rows: SQLite takes longer to be asked than to write one. The sizes are few, so that each
// text is compiled once. OR FAIL leaves written what was written before a row that fails, which is for the transaction to take back:
// SQLite keeps no copies of pages for the statement alone.
type rowsOf struct {
	columns int
	texts   [len(rowSizes)]string
}

var rowSizes = [...]int{64, 16, 4, 1}

func rowsInto(head string, columns int, tail string) (r rowsOf) {
	r.columns = columns
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	for i, size := range rowSizes {
		r.texts[i] = head + " VALUES " + row + strings.Repeat(", "+row, size-1) + tail
	}
	return r
}

var (
	transactionRows = rowsInto(`INSERT OR FAIL INTO ledger_transactions (id, kind, reference, description, metadata, reverses, posted_at)`, 7, ` ON CONFLICT (kind, reference) DO NOTHING`)
	balanceRows     = rowsInto(`WITH u (id, balance, postings, posted_at) AS (`, 4, `) UPDATE OR FAIL ledger_accounts SET balance = u.balance, postings = u.postings, posted_at = u.posted_at FROM u WHERE ledger_accounts.id = u.id`)
	postingRows     = rowsInto(`INSERT OR FAIL INTO ledger_postings (account_id, sequence, transaction_id, amount, balance_after)`, 5, ``)
)

// insert inserts rows and tells how many were new.
func insert(ctx context.Context, tx db.Tx, into *rowsOf, values []any) (written int64, err error) {
	for i, size := range rowSizes {
		for n := size * into.columns; len(values) >= n; values = values[n:] {
			rows, err := tx.Exec(ctx, into.texts[i], values[:n]...)
			if err != nil {
				return 0, err
			}
			written += rows
		}
	}
	return written, nil
}

// Transaction is a transaction in the book. Errors: ErrNoTransaction.
func (l *Ledger) Transaction(ctx context.Context, q db.Querier, id int64) (Record, error) {
	r := Record{ID: id}
	err := q.QueryRow(ctx, `SELECT t.kind, t.reference, t.description, t.metadata, t.posted_at, COALESCE(t.reverses, 0), COALESCE(r.id, 0)
		FROM ledger_transactions t LEFT JOIN ledger_transactions r ON r.reverses = t.id WHERE t.id = $1`, id).
		Scan((*string)(&r.Kind), &r.Reference, &r.Description, &r.Metadata, &r.At, &r.Reverses, &r.ReversedBy)
	if errors.Is(err, db.ErrNoRows) {
		return Record{}, fmt.Errorf("%w: %d", ErrNoTransaction, id)
	}
	if err != nil {
		return Record{}, err
	}
	rows, err := q.Query(ctx, `SELECT a.owner_kind, a.owner_id, a.purpose, a.asset, p.sequence, p.amount, p.balance_after
		FROM ledger_postings p JOIN ledger_accounts a ON a.id = p.account_id WHERE p.transaction_id = $1 ORDER BY p.account_id, p.sequence`, id)
	r.Postings, err = db.Collect(rows, err, func(row db.Row) (p Posting, err error) {
		return p, row.Scan((*string)(&p.Account.Owner), &p.Account.OwnerID, &p.Account.Purpose, &p.Account.Asset, &p.Sequence, &p.Amount, &p.BalanceAfter)
	})
	return r, err
}
