package wallet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// addressOwner finds whose deposit address something is, and how their account stands; 0 if it is nobody's.
func (s store) addressOwner(ctx context.Context, q db.Querier, mainCoinType, key string) (userID int64, status identity.Status, err error) {
	err = q.QueryRow(ctx, `SELECT a.user_id, u.status FROM wallet_addresses a JOIN users u ON u.id = a.user_id
		WHERE a.main_coin_type = $1 AND a.address_key = $2`, mainCoinType, key).Scan(&userID, (*string)(&status))
	if errors.Is(err, db.ErrNoRows) {
		return 0, "", nil
	}
	return userID, status, err
}

const depositColumns = `id, trade_id, COALESCE(user_id, 0), coin, state, said, main_coin_type, coin_type, address, address_key, tx_id, amount, decimals,
	fee, units, remainder, stale, entry, COALESCE(transaction_id, 0), COALESCE(resolution_id, 0), reason, seen_at, booked_at, due_at`

func scanDeposit(row db.Row) (d Deposit, err error) {
	err = row.Scan(&d.ID, &d.TradeID, &d.UserID, &d.Coin, (*string)(&d.State), (*int)(&d.Said), &d.MainCoinType, &d.CoinType, &d.Address, &d.AddressKey,
		&d.TxID, &d.Amount, &d.Decimals, &d.Fee, &d.Units, &d.Remainder, &d.Stale, &d.Entry, &d.TransactionID, &d.ResolutionID, &d.Reason,
		&d.SeenAt, &d.BookedAt, &d.DueAt)
	return d, err
}

// lockDeposit finds a deposit by a unique key and locks it until tx ends. db.ErrNoRows if there is none.
func (s store) lockDeposit(ctx context.Context, tx db.Tx, where string, key any) (Deposit, error) {
	return scanDeposit(tx.QueryRow(ctx, `SELECT `+depositColumns+` FROM deposits WHERE `+where+db.ForUpdate(tx), key))
}

// addDeposit inserts a deposit and gives its number; 0 if the trade is there already.
func (s store) addDeposit(ctx context.Context, tx db.Tx, d Deposit) (id int64, err error) {
	err = tx.QueryRow(ctx, `INSERT INTO deposits (trade_id, user_id, coin, state, said, main_coin_type, coin_type, address, address_key, tx_id, amount,
		decimals, fee, units, remainder, stale, entry, reason, seen_at, due_at)
		VALUES ($1, NULLIF($2, 0), $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
		ON CONFLICT (trade_id) DO NOTHING RETURNING id`,
		d.TradeID, d.UserID, d.Coin, string(d.State), int(d.Said), d.MainCoinType, d.CoinType, d.Address, d.AddressKey, d.TxID, d.Amount,
		d.Decimals, d.Fee, d.Units, d.Remainder, d.Stale, d.Entry, d.Reason, d.SeenAt, d.DueAt).Scan(&id)
	if errors.Is(err, db.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// saveDeposit writes what may change about a deposit.
func (s store) saveDeposit(ctx context.Context, tx db.Tx, d Deposit) error {
	_, err := tx.Exec(ctx, `UPDATE deposits SET user_id = NULLIF($2, 0), coin = $3, state = $4, said = $5, tx_id = $6, units = $7, remainder = $8, stale = $9,
		entry = $10, transaction_id = NULLIF($11, 0), resolution_id = NULLIF($12, 0), reason = $13, booked_at = $14, due_at = $15 WHERE id = $1`,
		d.ID, d.UserID, d.Coin, string(d.State), int(d.Said), d.TxID, d.Units, d.Remainder, d.Stale,
		d.Entry, d.TransactionID, d.ResolutionID, d.Reason, d.BookedAt, d.DueAt)
	return err
}

// twin finds another deposit with the same transaction on chain, address, coin and amount; 0 if there is none.
func (s store) twin(ctx context.Context, tx db.Tx, d Deposit) (id int64, err error) {
	err = tx.QueryRow(ctx, `SELECT COALESCE(MIN(id), 0) FROM deposits WHERE tx_id = $1 AND address_key = $2 AND main_coin_type = $3 AND coin = $4
		AND amount = $5 AND id <> $6`, d.TxID, d.AddressKey, d.MainCoinType, d.Coin, d.Amount, d.ID).Scan(&id)
	return id, err
}

// overdueDeposits lists deposits that should have become final, each once.
func (s store) overdueDeposits(ctx context.Context, tx db.Tx, now time.Time, limit int) ([]int64, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM deposits WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at LIMIT $2`+db.SkipLocked(tx), now, limit)
	ids, err := db.Collect(rows, err, scanID)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, err := tx.Exec(ctx, `UPDATE deposits SET due_at = NULL WHERE id = $1`, id); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

func scanID(row db.Row) (id int64, err error) { return id, row.Scan(&id) }

// due tells whether a row of a table waits to be looked at, so that nobody takes a lock for nothing.
func (s store) due(ctx context.Context, table, column string, now time.Time) (bool, error) {
	var n int
	err := s.db.QueryRow(ctx, fmt.Sprintf(`SELECT COUNT(*) FROM (SELECT 1 FROM %s WHERE %s IS NOT NULL AND %[2]s <= $1 LIMIT 1) x`, table, column), now).Scan(&n)
	return n > 0, err
}

// waitingDeposits lists deposits that are in one of the states that wait for something, from the oldest on; none: in any of these. The
// condition stands there as it does in the index, which would not be used otherwise.
func (s store) waitingDeposits(ctx context.Context, states []DepositState, after int64, limit int) ([]Deposit, error) {
	args := []any{after, limit}
	chosen := ""
	if len(states) > 0 {
		marks := make([]string, len(states))
		for i, state := range states {
			args = append(args, string(state))
			marks[i] = fmt.Sprintf("$%d", len(args))
		}
		chosen = " AND state IN (" + strings.Join(marks, ", ") + ")"
	}
	rows, err := s.db.Query(ctx, `SELECT `+depositColumns+` FROM deposits WHERE state IN ('seen', 'suspense', 'unclear') AND id > $1`+chosen+` ORDER BY id LIMIT $2`, args...)
	return db.Collect(rows, err, scanDeposit)
}

// smallDeposit tells whether a customer has a deposit of a coin that waits because it is small.
func (s store) smallDeposit(ctx context.Context, tx db.Tx, userID int64, coin string) (bool, error) {
	var n int
	err := tx.QueryRow(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM deposits WHERE user_id = $1 AND coin = $2 AND state IN ('suspense', 'unclear') AND reason IN ($3, $4) LIMIT 1) x`,
		userID, coin, reasonMinimum, reasonAmount).Scan(&n)
	return n > 0, err
}

// depositsOf lists a customer's deposits, from the oldest on.
func (s store) depositsOf(ctx context.Context, userID, after int64, limit int) ([]Deposit, error) {
	rows, err := s.db.Query(ctx, `SELECT `+depositColumns+` FROM deposits WHERE user_id = $1 AND id > $2 ORDER BY id LIMIT $3`, userID, after, limit)
	return db.Collect(rows, err, scanDeposit)
}

const withdrawalColumns = `id, business_id, user_id, coin, units, fee, worth, day, address, address_key, state, waits_for, attempts, uncertain, said,
	trade_id, tx_id, entry, hold_id, COALESCE(end_id, 0), version, requested_at, entered_at, ordered_at, ended_at, busy_until, next_at`

func scanWithdrawal(row db.Row) (w Withdrawal, err error) {
	err = row.Scan(&w.ID, &w.BusinessID, &w.UserID, &w.Coin, &w.Units, &w.Fee, &w.Worth, &w.Day, &w.Address, &w.AddressKey, (*string)(&w.State), &w.WaitsFor,
		&w.Attempts, &w.Uncertain, (*int)(&w.Said), &w.TradeID, &w.TxID, &w.Entry, &w.HoldID, &w.EndID, &w.Version, &w.RequestedAt, &w.EnteredAt,
		&w.OrderedAt, &w.EndedAt, &w.BusyUntil, &w.NextAt)
	return w, err
}

// findWithdrawal reads a withdrawal by its number. db.ErrNoRows if there is none.
func (s store) findWithdrawal(ctx context.Context, q db.Querier, id int64) (Withdrawal, error) {
	return scanWithdrawal(q.QueryRow(ctx, `SELECT `+withdrawalColumns+` FROM withdrawals WHERE id = $1`, id))
}

// lockWithdrawal finds a withdrawal by a unique key and locks it until tx ends. db.ErrNoRows if there is none.
func (s store) lockWithdrawal(ctx context.Context, tx db.Tx, where string, key any) (Withdrawal, error) {
	return scanWithdrawal(tx.QueryRow(ctx, `SELECT `+withdrawalColumns+` FROM withdrawals WHERE `+where+db.ForUpdate(tx), key))
}

// equalWithdrawal finds the newest withdrawal of a customer that is the same as w, not older than since, and whose money is not back.
func (s store) equalWithdrawal(ctx context.Context, tx db.Tx, w Withdrawal, since time.Time) (Withdrawal, error) {
	return scanWithdrawal(tx.QueryRow(ctx, `SELECT `+withdrawalColumns+` FROM withdrawals WHERE user_id = $1 AND coin = $2 AND units = $3 AND address_key = $4
		AND requested_at >= $5 AND state NOT IN ($6, $7) ORDER BY requested_at DESC LIMIT 1`,
		w.UserID, w.Coin, w.Units, w.AddressKey, since, string(Declined), string(Broken)))
}

// withdrawalDay is the day of the nth newest withdrawal of a customer. db.ErrNoRows if there are not so many.
func (s store) withdrawalDay(ctx context.Context, tx db.Tx, userID int64, nth int) (day int64, err error) {
	return day, tx.QueryRow(ctx, `SELECT day FROM withdrawals WHERE user_id = $1 ORDER BY user_id DESC, id DESC LIMIT 1 OFFSET $2`, userID, nth-1).Scan(&day)
}

func (s store) addWithdrawal(ctx context.Context, tx db.Tx, w Withdrawal) (id int64, err error) {
	err = tx.QueryRow(ctx, `INSERT INTO withdrawals (business_id, user_id, coin, units, fee, worth, day, address, address_key, state, waits_for, attempts,
		uncertain, said, trade_id, tx_id, entry, hold_id, version, requested_at, entered_at, next_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, FALSE, $12, '', '', $13, $14, 0, $15, $15, $16) RETURNING id`,
		w.BusinessID, w.UserID, w.Coin, w.Units, w.Fee, w.Worth, w.Day, w.Address, w.AddressKey, string(w.State), w.WaitsFor, int(w.Said),
		w.Entry, w.HoldID, w.RequestedAt, w.NextAt).Scan(&id)
	return id, err
}

var errOvertaken = errors.New("the withdrawal has been changed by somebody else")

// saveWithdrawal writes what may change about a withdrawal, if nobody else has since it was read.
func (s store) saveWithdrawal(ctx context.Context, tx db.Tx, w Withdrawal) error {
	n, err := tx.Exec(ctx, `UPDATE withdrawals SET state = $3, waits_for = $4, attempts = $5, uncertain = $6, said = $7, trade_id = $8, tx_id = $9, entry = $10,
		end_id = NULLIF($11, 0), entered_at = $12, ordered_at = $13, ended_at = $14, busy_until = $15, next_at = $16, version = version + 1
		WHERE id = $1 AND version = $2`,
		w.ID, w.Version, string(w.State), w.WaitsFor, w.Attempts, w.Uncertain, int(w.Said), w.TradeID, w.TxID, w.Entry,
		w.EndID, w.EnteredAt, w.OrderedAt, w.EndedAt, w.BusyUntil, w.NextAt)
	if err == nil && n == 0 {
		err = errOvertaken
	}
	return err
}

func (s store) addWithdrawalEvent(ctx context.Context, tx db.Tx, w Withdrawal, e WithdrawalEvent, detail string) error {
	_, err := tx.Exec(ctx, `INSERT INTO withdrawal_events (withdrawal_id, event, state, actor, detail, at) VALUES ($1, $2, $3, $4, $5, $6)`,
		w.ID, string(e.Kind), string(w.State), e.Actor, detail, e.At)
	return err
}

// WithdrawalStep is a line of a withdrawal's history.
type WithdrawalStep struct {
	Event  string    `json:"event"`
	State  string    `json:"state"` // after it
	Actor  string    `json:"actor,omitempty"`
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
}

func (s store) withdrawalSteps(ctx context.Context, id int64) ([]WithdrawalStep, error) {
	rows, err := s.db.Query(ctx, `SELECT event, state, actor, detail, at FROM withdrawal_events WHERE withdrawal_id = $1 ORDER BY id`, id)
	return db.Collect(rows, err, func(row db.Row) (x WithdrawalStep, err error) {
		return x, row.Scan(&x.Event, &x.State, &x.Actor, &x.Detail, &x.At)
	})
}

// dueWithdrawals claims withdrawals whose time has come for whoever asks, until the given time.
func (s store) dueWithdrawals(ctx context.Context, tx db.Tx, now, until time.Time, limit int) ([]int64, error) {
	rows, err := tx.Query(ctx, `SELECT id FROM withdrawals WHERE next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at LIMIT $2`+db.SkipLocked(tx), now, limit)
	ids, err := db.Collect(rows, err, scanID)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if _, err := tx.Exec(ctx, `UPDATE withdrawals SET next_at = $2, version = version + 1 WHERE id = $1`, id, until); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// withdrawalsOf lists a page of a customer's withdrawals in some states, newest first, and tells how many there are.
func (s store) withdrawalsOf(ctx context.Context, userID int64, states []WithdrawalState, offset, limit int64) (list []Withdrawal, total int64, err error) {
	args := []any{userID}
	where := ` FROM withdrawals WHERE user_id = $1` + inStates(states, &args)
	if err := s.db.QueryRow(ctx, `SELECT COUNT(*)`+where, args...).Scan(&total); err != nil || total <= offset {
		return nil, total, err
	}
	args = append(args, limit, offset)
	rows, err := s.db.Query(ctx, fmt.Sprintf(`SELECT %s%s ORDER BY user_id, id DESC LIMIT $%d OFFSET $%d`, withdrawalColumns, where, len(args)-1, len(args)), args...)
	list, err = db.Collect(rows, err, scanWithdrawal)
	return list, total, err
}

func inStates(states []WithdrawalState, args *[]any) string {
	if len(states) == 0 {
		return ""
	}
	marks := make([]string, len(states))
	for i, state := range states {
		*args = append(*args, string(state))
		marks[i] = fmt.Sprintf("$%d", len(*args))
	}
	return " AND state IN (" + strings.Join(marks, ", ") + ")"
}

// openWithdrawals lists withdrawals that have not ended, from the oldest on.
func (s store) openWithdrawals(ctx context.Context, q db.Querier, states []WithdrawalState, after int64, limit int) ([]Withdrawal, error) {
	args := []any{after, limit}
	rows, err := q.Query(ctx, `SELECT `+withdrawalColumns+` FROM withdrawals WHERE ended_at IS NULL AND id > $1`+inStates(states, &args)+` ORDER BY id LIMIT $2`, args...)
	return db.Collect(rows, err, scanWithdrawal)
}

// takeLease takes a lease that nobody holds, and tells whether it did.
func (s store) takeLease(ctx context.Context, name string, now, until time.Time) (bool, error) {
	n, err := s.db.Exec(ctx, `INSERT INTO wallet_leases (name, held_until) VALUES ($1, $3)
		ON CONFLICT (name) DO UPDATE SET held_until = excluded.held_until WHERE wallet_leases.held_until <= $2`, name, now, until)
	return n == 1, err
}

// revoked tells whether a customer's verification was revoked at some time.
func (s store) revoked(ctx context.Context, q db.Querier, userID int64) (bool, error) {
	var at *time.Time
	err := q.QueryRow(ctx, `SELECT revoked_at FROM wallet_customers WHERE user_id = $1`, userID).Scan(&at)
	if errors.Is(err, db.ErrNoRows) {
		err = nil
	}
	return at != nil, err
}

// leaseFree tells whether nobody holds a lease.
func (s store) leaseFree(ctx context.Context, name string, now time.Time) (bool, error) {
	var until time.Time
	err := s.db.QueryRow(ctx, `SELECT held_until FROM wallet_leases WHERE name = $1`, name).Scan(&until)
	if errors.Is(err, db.ErrNoRows) {
		return true, nil
	}
	return err == nil && !now.Before(until), err
}
