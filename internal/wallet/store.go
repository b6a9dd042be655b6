package wallet

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

type store struct{ db db.DB }

// partyQuery reads and locks customers on either side of transfers, in the order in which everybody locks them.
const (
	partyColumns  = `SELECT c.user_id, c.entries, c.day, c.transferred, c.withdrawn, c.revoked_at, u.status, u.wallet_ref FROM wallet_customers c JOIN users u ON u.id = c.user_id`
	partiesInPG   = partyColumns + ` WHERE c.user_id = ANY($1::bigint[]) ORDER BY c.user_id FOR UPDATE OF c`
	partiesInLite = partyColumns + ` WHERE c.user_id IN (SELECT value FROM json_each($1))`

	newPartiesInPG   = `INSERT INTO wallet_customers (user_id) SELECT id FROM users WHERE id = ANY($1::bigint[]) ORDER BY id ON CONFLICT (user_id) DO NOTHING`
	newPartiesInLite = `INSERT INTO wallet_customers (user_id) SELECT id FROM users WHERE id IN (SELECT value FROM json_each($1)) ON CONFLICT (user_id) DO NOTHING`
)

// lockParties locks what the wallet keeps of customers until tx ends, making what is missing. ids are sorted, each once. Who is no
// customer is not in what comes back.
func (s store) lockParties(ctx context.Context, tx db.Tx, ids []int64) (map[int64]*party, error) {
	read, insert, list := partiesInPG, newPartiesInPG, any(ids)
	if tx.Engine() == db.SQLite {
		text, err := json.Marshal(ids)
		if err != nil {
			return nil, err
		}
		read, insert, list = partiesInLite, newPartiesInLite, string(text)
	}
	parties, err := scanParties(ctx, tx, read, list, len(ids))
	if err != nil || len(parties) == len(ids) {
		return parties, err
	}
	n, err := tx.Exec(ctx, insert, list)
	if err != nil || n == 0 {
		return parties, err
	}
	return scanParties(ctx, tx, read, list, len(ids))
}

func scanParties(ctx context.Context, tx db.Tx, query string, ids any, n int) (map[int64]*party, error) {
	rows, err := tx.Query(ctx, query, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	parties := make(map[int64]*party, n)
	for rows.Next() {
		p := &party{}
		if err := rows.Scan(&p.userID, &p.entries, &p.day, &p.transferred, &p.withdrawn, &p.revokedAt, (*string)(&p.status), &p.walletRef); err != nil {
			return nil, err
		}
		parties[p.userID] = p
	}
	return parties, rows.Err()
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
	if native, ok := db.PgxTx(tx); ok {
		return recordTransfersInPG(ctx, native, entries, customers)
	}
	return recordTransfersInLite(ctx, tx, entries, customers)
}

// recordTransfersInPG sends one statement per table, both in one round trip.
func recordTransfersInPG(ctx context.Context, tx pgx.Tx, entries []Entry, customers []customer) error {
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
	batch := &pgx.Batch{}
	batch.Queue(`INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, counterparty, description, reference, source, source_id, created_at, completed_at)
		SELECT e.user_id, e.number, 'transfer', 'completed', e.coin, e.amount, e.counterparty, e.description, e.reference, 'ledger_transactions', e.source_id, e.at, e.at
		FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[])
			AS e (user_id, number, coin, amount, counterparty, description, reference, source_id, at)`,
		users, numbers, coins, amounts, others, descriptions, references, sources, times)
	batch.Queue(`UPDATE wallet_customers c SET entries = v.entries, day = v.day, transferred = v.transferred, withdrawn = v.withdrawn
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS v (user_id, entries, day, transferred, withdrawn) WHERE c.user_id = v.user_id`,
		ids, newest, days, sums, withdrawn)
	return tx.SendBatch(ctx, batch).Close()
}

// recordTransfersInLite compiles each statement once and runs it for each row: on SQLite a statement is a call, not a round trip.
func recordTransfersInLite(ctx context.Context, tx db.Tx, entries []Entry, customers []customer) error {
	native, _ := db.SQLTx(tx)
	insert, err := native.PrepareContext(ctx, `INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, counterparty, description, reference,
		source, source_id, created_at, completed_at) VALUES (?1, ?2, 'transfer', 'completed', ?3, ?4, ?5, ?6, ?7, 'ledger_transactions', ?8, ?9, ?9)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	update, err := native.PrepareContext(ctx, `UPDATE wallet_customers SET entries = ?2, day = ?3, transferred = ?4, withdrawn = ?5 WHERE user_id = ?1`)
	if err != nil {
		return err
	}
	defer update.Close()
	for _, e := range entries {
		if _, err := insert.ExecContext(ctx, e.UserID, e.Number, e.Coin, e.Amount, e.Counterparty, e.Description, e.Reference, e.SourceID, db.LiteTime(e.CreatedAt)); err != nil {
			return err
		}
	}
	for _, c := range customers {
		if _, err := update.ExecContext(ctx, c.userID, c.entries, c.day, c.transferred, c.withdrawn); err != nil {
			return err
		}
	}
	return nil
}
