package udun

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Times are unix microseconds, the resolution of clock.Clock. Amounts are base units in decimal digits: 18 decimals leave no
// room in 64 bits.
const schema = `
CREATE TABLE IF NOT EXISTS udun_addresses (
	id             INTEGER PRIMARY KEY AUTOINCREMENT,
	main_coin_type TEXT    NOT NULL,
	address        TEXT    NOT NULL,
	address_key    TEXT    NOT NULL,
	call_url       TEXT    NOT NULL, -- bound for good
	alias          TEXT    NOT NULL,
	created_at     INTEGER NOT NULL,
	UNIQUE (main_coin_type, address_key)
);
CREATE TABLE IF NOT EXISTS udun_balances (
	coin   TEXT PRIMARY KEY,
	amount TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS udun_trades (
	number        INTEGER PRIMARY KEY AUTOINCREMENT,
	trade_id      TEXT    NOT NULL UNIQUE,
	trade_type    INTEGER NOT NULL,
	status        INTEGER NOT NULL,
	coin          TEXT    NOT NULL,
	address       TEXT    NOT NULL,
	amount        TEXT    NOT NULL,
	fee           TEXT    NOT NULL,
	tx_id         TEXT    NOT NULL,
	block_high    INTEGER NOT NULL, -- -1: in none
	business_id   TEXT    UNIQUE,   -- of withdrawals
	memo          TEXT    NOT NULL,
	call_url      TEXT    NOT NULL,
	needed        INTEGER NOT NULL, -- confirmations of a deposit
	confirmations INTEGER NOT NULL,
	proxypay      INTEGER NOT NULL,
	next_at       INTEGER,          -- when it moves by itself
	telling       TEXT    NOT NULL, -- JSON: how its callbacks are written and sent
	created_at    INTEGER NOT NULL,
	updated_at    INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS udun_trades_next_at ON udun_trades (next_at) WHERE next_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS udun_callbacks (
	id         INTEGER PRIMARY KEY AUTOINCREMENT,
	trade      INTEGER NOT NULL REFERENCES udun_trades (number),
	status     INTEGER NOT NULL, -- that it tells
	call_url   TEXT    NOT NULL,
	body       TEXT    NOT NULL,
	envelope   TEXT    NOT NULL, -- JSON: how it is signed and wrapped
	copies     INTEGER NOT NULL,
	state      TEXT    NOT NULL,
	attempts   INTEGER NOT NULL,
	round      INTEGER NOT NULL, -- how often it was sent again by hand
	due_at     INTEGER NOT NULL,
	last_error TEXT    NOT NULL,
	created_at INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS udun_callbacks_open ON udun_callbacks (state, due_at) WHERE state IN ('waiting', 'held');
CREATE INDEX IF NOT EXISTS udun_callbacks_trade ON udun_callbacks (trade, state);
`

// querier is a pool or a transaction. The pool has one connection: inside a transaction only the transaction may be asked, or
// the caller waits for itself.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *Simulator) inTx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// errShort says that the gateway holds less than is to be paid.
var errShort = errors.New("custody balance too low")

// book adds to the custody balance of a coin, or takes from it.
func book(ctx context.Context, tx *sql.Tx, c coin, by *big.Int) error {
	balance, err := balanceOf(ctx, tx, c)
	if err != nil {
		return err
	}
	if balance.Add(balance, by).Sign() < 0 {
		return errShort
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO udun_balances (coin, amount) VALUES ($1, $2)
		ON CONFLICT (coin) DO UPDATE SET amount = excluded.amount`, c.name, balance.String())
	return err
}

func balanceOf(ctx context.Context, q querier, c coin) (*big.Int, error) {
	var text string
	err := q.QueryRowContext(ctx, `SELECT amount FROM udun_balances WHERE coin = $1`, c.name).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return new(big.Int), nil
	}
	if err != nil {
		return nil, err
	}
	return units(text)
}

func units(text string) (*big.Int, error) {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return nil, fmt.Errorf("stored amount %q is no number", text)
	}
	return n, nil
}

// addressRow is an address that the gateway has made.
type addressRow struct {
	chain            *chain
	address, callURL string
	alias            string
	created          time.Time
}

func insertAddress(ctx context.Context, q querier, a addressRow) error {
	_, err := q.ExecContext(ctx, `INSERT INTO udun_addresses (main_coin_type, address, address_key, call_url, alias, created_at)
		VALUES ($1, $2, $3, $4, $5, $6)`, a.chain.mainCoinType, a.address, a.chain.form.key(a.address), a.callURL, a.alias, a.created.UnixMicro())
	return err
}

// findAddress looks for an address of the merchant's on a chain; ok tells whether there is one.
func findAddress(ctx context.Context, q querier, c *chain, address string) (a addressRow, ok bool, err error) {
	a.chain = c
	var created int64
	err = q.QueryRowContext(ctx, `SELECT address, call_url, alias, created_at FROM udun_addresses WHERE main_coin_type = $1 AND address_key = $2`,
		c.mainCoinType, c.form.key(address)).Scan(&a.address, &a.callURL, &a.alias, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return a, false, nil
	}
	a.created = time.UnixMicro(created).UTC()
	return a, err == nil, err
}

// newestCallURL is where the newest address reports to; empty if there is none.
func newestCallURL(ctx context.Context, q querier) (callURL string, err error) {
	err = q.QueryRowContext(ctx, `SELECT call_url FROM udun_addresses ORDER BY id DESC LIMIT 1`).Scan(&callURL)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return callURL, err
}

// trade is a deposit or a withdrawal.
type trade struct {
	number        int64
	id            string
	kind          int // deposit or withdrawal
	status        int
	coin          coin
	address       string
	amount        *big.Int // base units
	fee           string   // base units of the chain's main coin
	txID          string
	blockHigh     int64
	businessID    string
	memo, callURL string
	needed, seen  int // confirmations
	proxyPay      bool
	nextAt        sql.NullInt64
	telling       Telling
	created       time.Time
	updated       time.Time
}

const selectTrade = `SELECT number, trade_id, trade_type, status, coin, address, amount, fee, tx_id, block_high,
	coalesce(business_id, ''), memo, call_url, needed, confirmations, proxypay, next_at, telling, created_at, updated_at FROM udun_trades `

func scanTrade(row interface{ Scan(...any) error }) (trade, error) {
	var t trade
	var coinName, amount string
	var telling []byte
	var created, updated int64
	err := row.Scan(&t.number, &t.id, &t.kind, &t.status, &coinName, &t.address, &amount, &t.fee, &t.txID, &t.blockHigh,
		&t.businessID, &t.memo, &t.callURL, &t.needed, &t.seen, &t.proxyPay, &t.nextAt, &telling, &created, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return t, ErrUnknownTrade
	}
	if err != nil {
		return t, err
	}
	t.created, t.updated = time.UnixMicro(created).UTC(), time.UnixMicro(updated).UTC()
	t.coin, _ = coinNamed(coinName)
	if t.amount, err = units(amount); err != nil {
		return t, err
	}
	return t, json.Unmarshal(telling, &t.telling)
}

// findTrade finds a trade by the gateway's id or the merchant's, or returns ErrUnknownTrade.
func findTrade(ctx context.Context, q querier, k Key) (trade, error) {
	if k == (Key{}) {
		return trade{}, ErrUnknownTrade
	}
	if k.TradeID == "" {
		return scanTrade(q.QueryRowContext(ctx, selectTrade+`WHERE business_id = $1`, k.BusinessID))
	}
	return scanTrade(q.QueryRowContext(ctx, selectTrade+`WHERE trade_id = $1 AND ($2 = '' OR business_id = $2)`, k.TradeID, k.BusinessID))
}

// trades lists the newest first; limit -1 is all of them.
func trades(ctx context.Context, q querier, limit, offset int) ([]trade, error) {
	rows, err := q.QueryContext(ctx, selectTrade+`ORDER BY number DESC LIMIT $1 OFFSET $2`, limit, offset)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []trade
	for rows.Next() {
		t, err := scanTrade(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// insertTrade stores a new trade and gives it its number and id.
func (s *Simulator) insertTrade(ctx context.Context, tx *sql.Tx, t *trade) error {
	now := s.Clock.Now()
	t.created, t.updated = now, now
	telling, err := json.Marshal(t.telling)
	if err != nil {
		return err
	}
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(number), 0) + 1 FROM udun_trades`).Scan(&t.number); err != nil {
		return err
	}
	t.id = tradeID(now, t.number)
	_, err = tx.ExecContext(ctx, `INSERT INTO udun_trades (number, trade_id, trade_type, status, coin, address, amount, fee, tx_id, block_high,
		business_id, memo, call_url, needed, confirmations, proxypay, next_at, telling, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, nullif($11, ''), $12, $13, $14, $15, $16, $17, $18, $19, $19)`,
		t.number, t.id, t.kind, t.status, t.coin.name, t.address, t.amount.String(), t.fee, t.txID, t.blockHigh,
		t.businessID, t.memo, t.callURL, t.needed, t.seen, t.proxyPay, t.nextAt, string(telling), now.UnixMicro())
	return err
}

// updateTrade stores what can change.
func (s *Simulator) updateTrade(ctx context.Context, tx *sql.Tx, t *trade) error {
	t.updated = s.Clock.Now()
	telling, err := json.Marshal(t.telling)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE udun_trades SET status = $1, fee = $2, tx_id = $3, block_high = $4, confirmations = $5, next_at = $6,
		telling = $7, updated_at = $8 WHERE number = $9`,
		t.status, t.fee, t.txID, t.blockHigh, t.seen, t.nextAt, string(telling), t.updated.UnixMicro(), t.number)
	return err
}

// tradeID makes an id of the gateway's kind: a snowflake, too large for a float. The time in it keeps ids of a sandbox that
// begins anew apart from those of before.
func tradeID(now time.Time, number int64) string {
	const epoch = 1_288_834_974_657 // milliseconds; as the inventors of the form count
	return fmt.Sprint((now.UnixMilli()-epoch)<<22 | number&(1<<22-1))
}
