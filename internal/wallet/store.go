package wallet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

type store struct{ db db.DB }

// partyQuery reads and locks customers on either side of transfers, in the order in which everybody locks them.
const (
	partyColumns  = `SELECT c.user_id, c.entries, c.day, c.transferred, c.withdrawn, c.revoked_at, u.status, u.kyc_status, u.wallet_ref FROM wallet_customers c JOIN users u ON u.id = c.user_id`
	partiesInPG   = partyColumns + ` WHERE c.user_id = ANY($1::bigint[]) ORDER BY c.user_id FOR NO KEY UPDATE OF c`
	partiesInLite = partyColumns + ` WHERE c.user_id IN (SELECT value FROM json_each($1))`

	newPartiesInPG   = `INSERT INTO wallet_customers (user_id) SELECT id FROM users WHERE id = ANY($1::bigint[]) ORDER BY id ON CONFLICT (user_id) DO NOTHING`
	newPartiesInLite = `INSERT INTO wallet_customers (user_id) SELECT id FROM users WHERE id IN (SELECT value FROM json_each($1)) ON CONFLICT (user_id) DO NOTHING`
)

// parties are customers on both sides of transfers; who is no customer is not among them.
type parties struct {
	ids  []int64 // sorted, each once
	byID map[int64]*party
}

// lockParties locks what the wallet keeps of customers until tx ends. ids are sorted, each once. The statement is queued;
// when it has run, complete makes what is missing.
func (s store) lockParties(ctx context.Context, tx db.Tx, ids []int64) (*parties, error) {
	p := &parties{ids: ids, byID: make(map[int64]*party, len(ids))}
	return p, p.lock(ctx, tx)
}

func (p *parties) lock(ctx context.Context, tx db.Tx) error {
	query := partiesInPG
	if tx.Engine() == db.SQLite {
		query = partiesInLite
	}
	list, err := p.list(tx)
	if err != nil {
		return err
	}
	return tx.Queue(ctx, func(rows db.Rows) error {
		for rows.Next() {
			c := &party{}
			if err := rows.Scan(&c.userID, &c.entries, &c.day, &c.transferred, &c.withdrawn, &c.revokedAt, (*string)(&c.status), &c.kycStatus, &c.walletRef); err != nil {
				return err
			}
			p.byID[c.userID] = c
		}
		return nil
	}, query, list)
}

// list is how each engine is given the ids.
func (p *parties) list(tx db.Tx) (any, error) {
	if tx.Engine() == db.PostgreSQL {
		return p.ids, nil
	}
	text, err := json.Marshal(p.ids)
	return string(text), err
}

// complete makes and locks the rows of customers that are not there.
func (p *parties) complete(ctx context.Context, tx db.Tx) error {
	if len(p.byID) == len(p.ids) {
		return nil
	}
	insert := newPartiesInPG
	if tx.Engine() == db.SQLite {
		insert = newPartiesInLite
	}
	list, err := p.list(tx)
	if err != nil {
		return err
	}
	if n, err := tx.Exec(ctx, insert, list); err != nil || n == 0 {
		return err
	}
	if err := p.lock(ctx, tx); err != nil {
		return err
	}
	return tx.Flush(ctx)
}

// newestCustomer is the highest id of a customer; known is one that is not above it.
func (s store) newestCustomer(ctx context.Context, known int64) (id int64, err error) {
	err = s.db.QueryRow(ctx, `SELECT id FROM users WHERE id > $1 ORDER BY id DESC LIMIT 1`, known).Scan(&id)
	if errors.Is(err, db.ErrNoRows) {
		return known, nil
	}
	return id, err
}

// recordTransfers writes the lines of history of transfers and what has changed about the customers, who are locked.
func (s store) recordTransfers(ctx context.Context, tx db.Tx, entries []Entry, customers []customer) error {
	if tx.Engine() == db.PostgreSQL {
		return recordTransfersInPG(ctx, tx, entries, customers)
	}
	return recordTransfersInLite(ctx, tx, entries, customers)
}

// recordTransfersInPG needs one statement per table, which go along with the commit.
func recordTransfersInPG(ctx context.Context, tx db.Tx, entries []Entry, customers []customer) error {
	n := len(entries)
	users, numbers, amounts, others, sources := make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n), make([]int64, n)
	coins, descriptions, references, times := make([]string, n), make([]string, n), make([]string, n), make([]time.Time, n)
	for i, e := range entries {
		users[i], numbers[i], amounts[i], others[i], sources[i] = e.UserID, e.Number, e.Amount, e.Counterparty, e.SourceID
		coins[i], descriptions[i], references[i], times[i] = e.Coin, e.Description, e.Reference, e.CreatedAt
	}
	m := len(customers)
	ids, newest, days, sums, withdrawn := make([]int64, m), make([]int64, m), make([]int64, m), make([]int64, m), make([]int64, m)
	for i, c := range customers {
		ids[i], newest[i], days[i], sums[i], withdrawn[i] = c.userID, c.entries, c.day, c.transferred, c.withdrawn
	}
	if err := tx.Queue(ctx, nil, `INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, counterparty, description, reference, source, source_id, created_at, completed_at)
		SELECT e.user_id, e.number, 'transfer', 'completed', e.coin, e.amount, e.counterparty, e.description, e.reference, 'ledger_transactions', e.source_id, e.at, e.at
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[])
			AS e (user_id, number, coin, amount, counterparty, description, reference, source_id, at)`,
		users, numbers, coins, amounts, others, descriptions, references, sources, times); err != nil {
		return err
	}
	return tx.Queue(ctx, nil, `UPDATE wallet_customers c SET entries = v.entries, day = v.day, transferred = v.transferred, withdrawn = v.withdrawn
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS v (user_id, entries, day, transferred, withdrawn) WHERE c.user_id = v.user_id`,
		ids, newest, days, sums, withdrawn)
}

// liteEntries are the statements that insert lines of transfers on SQLite, several at once and one: to be asked costs more there than
// to insert, and there are few texts because each is kept compiled.
var liteEntries = func() (texts [2]string) {
	const row = `(?, ?, 'transfer', 'completed', ?, ?, ?, ?, ?, 'ledger_transactions', ?, ?, ?)`
	for i, rows := range liteEntriesAtOnce {
		texts[i] = `INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, counterparty, description, reference, source, source_id, created_at, completed_at) VALUES ` +
			row + strings.Repeat(", "+row, rows-1)
	}
	return texts
}()

var liteEntriesAtOnce = [2]int{8, 1}

func recordTransfersInLite(ctx context.Context, tx db.Tx, entries []Entry, customers []customer) error {
	for i, rows := range liteEntriesAtOnce {
		for ; len(entries) >= rows; entries = entries[rows:] {
			values := make([]any, 0, 10*rows)
			for _, e := range entries[:rows] {
				values = append(values, e.UserID, e.Number, e.Coin, e.Amount, e.Counterparty, e.Description, e.Reference, e.SourceID, e.CreatedAt, e.CreatedAt)
			}
			if _, err := tx.Exec(ctx, liteEntries[i], values...); err != nil {
				return err
			}
		}
	}
	for _, c := range customers {
		if _, err := tx.Exec(ctx, `UPDATE wallet_customers SET entries = $2, day = $3, transferred = $4, withdrawn = $5 WHERE user_id = $1`,
			c.userID, c.entries, c.day, c.transferred, c.withdrawn); err != nil {
			return err
		}
	}
	return nil
}

// standing confirms a session and reads the customer's deposit addresses by main coin type, those included that are only asked for.
func (s store) standing(ctx context.Context, c identity.Customer) (st identity.Standing, createdAt time.Time, addresses map[string]depositAddress, err error) {
	rows, err := s.db.Query(ctx, `SELECT `+identity.StandingColumns+`, u.created_at, COALESCE(a.main_coin_type, ''), COALESCE(a.address, ''), a.asked_until
		FROM `+identity.StandingFrom+` LEFT JOIN wallet_addresses a ON a.user_id = u.id`, c.ID, c.SessionID)
	if err != nil {
		return st, createdAt, nil, err
	}
	defer rows.Close()
	addresses = map[string]depositAddress{}
	for rows.Next() {
		var chain string
		var a depositAddress
		var created *time.Time
		if err := rows.Scan(append(st.Dest(), &created, &chain, &a.address, &a.askedUntil)...); err != nil {
			return st, createdAt, nil, err
		}
		if created != nil {
			createdAt = *created
		}
		addresses[chain] = a
	}
	return st, createdAt, addresses, rows.Err()
}

func (s store) addCustomer(ctx context.Context, tx db.Tx, userID int64) error {
	_, err := tx.Exec(ctx, `INSERT INTO wallet_customers (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING`, userID)
	return err
}

// wantAddress marks that the customer's address on a chain is about to be asked for, until a moment. It returns 0 if it is there, or
// somebody else is about to ask.
func (s store) wantAddress(ctx context.Context, tx db.Tx, userID int64, chain string, now, until time.Time) (int64, error) {
	return tx.Exec(ctx, `INSERT INTO wallet_addresses (user_id, main_coin_type, asked_until, created_at) VALUES ($1, $2, $4, $3)
		ON CONFLICT (user_id, main_coin_type) DO UPDATE SET asked_until = excluded.asked_until
		WHERE wallet_addresses.address IS NULL AND (wallet_addresses.asked_until IS NULL OR wallet_addresses.asked_until <= $3)`, userID, chain, now, until)
}

// claimAddress takes the lease of asking the gateway for an address: from the job in the queue that it was given to, or from whoever
// let it run out. false: the address is there, or somebody else is asking.
func (s store) claimAddress(ctx context.Context, userID int64, chain string, now, queued, lease time.Time) (bool, error) {
	n, err := s.db.Exec(ctx, `UPDATE wallet_addresses SET asked_until = $5 WHERE user_id = $1 AND main_coin_type = $2 AND address IS NULL
		AND (asked_until IS NULL OR asked_until <= $3 OR asked_until = $4)`, userID, chain, now, queued, lease)
	return n == 1, err
}

// deferAddress turns a lease that is still held into another one: until then nobody asks but who knows it.
func (s store) deferAddress(ctx context.Context, q db.Querier, userID int64, chain string, lease, until time.Time) error {
	_, err := q.Exec(ctx, `UPDATE wallet_addresses SET asked_until = $4 WHERE user_id = $1 AND main_coin_type = $2 AND address IS NULL AND asked_until = $3`,
		userID, chain, lease, until)
	return err
}

// keepAddress gives the customer an address for ever, unless they have one on the chain: the first one to be kept stays. A unique
// violation says that it is another customer's.
func (s store) keepAddress(ctx context.Context, tx db.Tx, userID int64, chain, address, key string) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE wallet_addresses SET address = $3, address_key = $4, asked_until = NULL WHERE user_id = $1 AND main_coin_type = $2 AND address IS NULL`,
		userID, chain, address, key)
	return n == 1, err
}

func (s store) coinTerms(ctx context.Context, q db.Querier) (map[string]coinTerms, error) {
	rows, err := q.Query(ctx, `SELECT coin, state, symbol, logo FROM gateway_coins`)
	terms := map[string]coinTerms{}
	_, err = db.Collect(rows, err, func(row db.Row) (coin string, err error) {
		var t coinTerms
		err = row.Scan(&coin, (*string)(&t.state), &t.symbol, &t.logo)
		terms[coin] = t
		return coin, err
	})
	return terms, err
}

func (s store) saveCoinTerms(ctx context.Context, tx db.Tx, coin string, t coinTerms, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO gateway_coins (coin, state, symbol, logo, checked_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (coin) DO UPDATE SET state = excluded.state, symbol = excluded.symbol, logo = excluded.logo, checked_at = excluded.checked_at`,
		coin, string(t.state), t.symbol, t.logo, now)
	return err
}

// historyStanding confirms a session and reads how many lines the customer's history has, and which was the newest when the session
// turned to the first page of this size and choice; 0: never.
func (s store) historyStanding(ctx context.Context, c identity.Customer, size int64, filter string) (st identity.Standing, entries, newest int64, err error) {
	err = s.db.QueryRow(ctx, `SELECT `+identity.StandingColumns+`, COALESCE(w.entries, 0), COALESCE(p.newest, 0) FROM `+identity.StandingFrom+`
		LEFT JOIN wallet_customers w ON w.user_id = u.id LEFT JOIN wallet_history_pages p ON p.session_id = s.id AND p.page_size = $3 AND p.filter = $4`,
		c.ID, c.SessionID, size, filter).Scan(append(st.Dest(), &entries, &newest)...)
	return st, entries, newest, err
}

// historyPage confirms a session as historyStanding does for everything, and reads a page in the same statement: so many lines up to the
// newest one, or for pages after the first (skip is not 0) up to the one that was it, newest first. Lines are numbered without gaps, so
// that every page is found by its numbers, however many there are.
func (s store) historyPage(ctx context.Context, c identity.Customer, size, skip int64) (st identity.Standing, entries, newest int64, list []Entry, err error) {
	var e Entry
	head, line := append(st.Dest(), &entries, &newest), e.dest()
	// One row says who asks, the others are lines, with nothing in the columns of the one: to repeat them in each is dear.
	rows, err := s.db.Query(ctx, `SELECT `+identity.StandingColumns+`, COALESCE(w.entries, 0), COALESCE(p.newest, 0)`+strings.Repeat(", NULL", len(line))+
		` FROM `+identity.StandingFrom+` LEFT JOIN wallet_customers w ON w.user_id = u.id LEFT JOIN wallet_history_pages p ON p.session_id = s.id AND p.page_size = $3 AND p.filter = ''
		UNION ALL SELECT `+strings.Repeat("NULL, ", len(head))+entryColumns+` FROM wallet_customers w
		LEFT JOIN wallet_history_pages p ON p.session_id = $2 AND p.page_size = $3 AND p.filter = '' JOIN wallet_entries e ON e.user_id = w.user_id
		AND e.number <= `+upTo+` AND e.number > `+upTo+` - $3 WHERE w.user_id = $1`, c.ID, c.SessionID, size, skip)
	if err != nil {
		return st, 0, 0, nil, err
	}
	defer rows.Close()
	list = make([]Entry, 0, size)
	var number *int64
	none := make([]any, len(head)+len(line))
	which, who, lines := slices.Clone(none), slices.Concat(head, none[len(head):]), slices.Concat(none[:len(head)], line)
	which[len(head)] = &number // NULL in the row that says who asks
	for known := false; rows.Next(); {
		if !known {
			if err := rows.Scan(which...); err != nil {
				return st, 0, 0, nil, err
			}
			if known = number == nil; known {
				if err := rows.Scan(who...); err != nil {
					return st, 0, 0, nil, err
				}
				continue
			}
		}
		if err := rows.Scan(lines...); err != nil {
			return st, 0, 0, nil, err
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(b.Number, a.Number) }) // the database would sort copies
	return st, entries, newest, list, rows.Err()
}

// upTo is the number that a page ends with.
const upTo = `(CASE WHEN CAST($4 AS BIGINT) > 0 AND p.newest > 0 THEN p.newest ELSE w.entries END - $4)`

const entryColumns = `e.number, e.type, e.status, e.coin, e.amount, e.fee, e.counterparty, e.description, e.address, e.tx_hash, e.reference, e.source, e.source_id,
	e.created_at, e.completed_at`

// dest are the scan targets for entryColumns.
func (e *Entry) dest() []any {
	return []any{&e.Number, &e.Type, &e.Status, &e.Coin, &e.Amount, &e.Fee, &e.Counterparty, &e.Description, &e.Address, &e.TxHash, &e.Reference, &e.Source, &e.SourceID,
		&e.CreatedAt, &e.CompletedAt}
}

// chosenEntries are the lines of a customer's history up to a number that fit a choice, newest first, from the one after skip on, and
// how many fit in all. It reads all lines of the customer.
func (s store) chosenEntries(ctx context.Context, userID int64, q HistoryQuery, newest, skip int64) (list []Entry, total int64, err error) {
	where, args := ` FROM wallet_entries e WHERE user_id = $1 AND number <= $2`, []any{userID, newest}
	add := func(condition string, values ...any) {
		for _, v := range values {
			args = append(args, v)
			condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(args)), 1)
		}
		where += " AND " + condition
	}
	if len(q.Types) > 0 {
		values := make([]any, len(q.Types))
		for i, t := range q.Types {
			values[i] = t
		}
		add("type IN ("+strings.TrimSuffix(strings.Repeat("?, ", len(values)), ", ")+")", values...)
	}
	if q.Status != "" {
		add("status = ?", q.Status)
	}
	if q.Coin != "" {
		add("coin = ?", q.Coin)
	}
	if !q.From.IsZero() {
		add("created_at >= ?", q.From)
	}
	if !q.Until.IsZero() {
		add("created_at < ?", q.Until)
	}
	if err := s.db.QueryRow(ctx, `SELECT COUNT(*)`+where, args...).Scan(&total); err != nil || skip >= total {
		return nil, total, err
	}
	args = append(args, q.Size, skip)
	rows, err := s.db.Query(ctx, fmt.Sprintf(`SELECT `+entryColumns+where+` ORDER BY number DESC LIMIT $%d OFFSET $%d`, len(args)-1, len(args)), args...)
	list, err = db.Collect(rows, err, func(row db.Row) (e Entry, err error) {
		err = row.Scan(e.dest()...)
		return e, err
	})
	return list, total, err
}

func (s store) rememberPage(ctx context.Context, sessionID string, size int64, filter string, newest int64, now time.Time) error {
	_, err := s.db.Exec(ctx, `INSERT INTO wallet_history_pages (session_id, page_size, filter, newest, taken_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (session_id, page_size) DO UPDATE SET filter = excluded.filter, newest = excluded.newest, taken_at = excluded.taken_at`,
		sessionID, size, filter, newest, now)
	return err
}

func (s store) dropPages(ctx context.Context, before time.Time) error {
	return db.Sweep(ctx, s.db, "wallet_history_pages", `taken_at < $1`, before)
}

// addressesOf are the deposit addresses that a customer has.
func (s store) addressesOf(ctx context.Context, userID int64) ([]DepositAddress, error) {
	rows, err := s.db.Query(ctx, `SELECT id, main_coin_type, address, address_key, created_at FROM wallet_addresses WHERE user_id = $1 AND address IS NOT NULL ORDER BY id`, userID)
	return db.Collect(rows, err, func(row db.Row) (a DepositAddress, err error) {
		err = row.Scan(&a.ID, &a.Chain.MainCoin, &a.Address.Text, &a.Address.Key, &a.CreatedAt)
		return a, err
	})
}
