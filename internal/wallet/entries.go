package wallet

import (
	"context"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Types and statuses of the history (contract/money 2.2). The app translates these and no others.
const (
	TypeDeposit    = "deposit"
	TypeWithdrawal = "withdraw"
	TypeTransfer   = "transfer"

	StatusPending   = "pending"
	StatusCompleted = "completed"
	StatusFailed    = "failed"
	StatusRejected  = "rejected"
)

// Entry is one line of a customer's history.
type Entry struct {
	UserID       int64
	Number       int64 // 1, 2, 3 … of the customer; given when it is written
	Type         string
	Status       string
	Coin         string
	Amount       int64 // ledger units; what went out is negative
	Fee          int64
	Counterparty int64 // the other customer of a transfer
	Description  string
	Address      string
	TxHash       string
	Reference    string
	Source       string // table of the row behind it
	SourceID     int64
	CreatedAt    time.Time
	CompletedAt  *time.Time
}

// lockCustomer locks what the wallet keeps of a customer until tx ends, making it if need be. Of several customers the one with the
// smaller id comes first; what comes before all of them stands in docs/architecture.md, "The order of locks".
func (s store) lockCustomer(ctx context.Context, tx db.Tx, userID int64) (c customer, err error) {
	if _, err := tx.Exec(ctx, `INSERT INTO wallet_customers (user_id) VALUES ($1) ON CONFLICT (user_id) DO NOTHING`, userID); err != nil {
		return customer{}, err
	}
	c.userID = userID
	err = tx.QueryRow(ctx, `SELECT entries, day, transferred, withdrawn, revoked_at FROM wallet_customers WHERE user_id = $1`+db.ForUpdate(tx), userID).
		Scan(&c.entries, &c.day, &c.transferred, &c.withdrawn, &c.revokedAt)
	return c, err
}

// customer is a row of wallet_customers.
type customer struct {
	userID      int64
	entries     int64
	day         int64
	transferred int64 // millionths of a USDT
	withdrawn   int64
	revokedAt   *time.Time
}

func (s store) saveCustomer(ctx context.Context, tx db.Tx, c customer) error {
	_, err := tx.Exec(ctx, `UPDATE wallet_customers SET entries = $2, day = $3, transferred = $4, withdrawn = $5, revoked_at = $6 WHERE user_id = $1`,
		c.userID, c.entries, c.day, c.transferred, c.withdrawn, c.revokedAt)
	return err
}

// addEntry writes the next line of a customer's history and gives its number. The customer is locked (lockCustomer) and saved by the
// caller afterwards.
func (s store) addEntry(ctx context.Context, tx db.Tx, c *customer, e Entry) (int64, error) {
	c.entries++
	_, err := tx.Exec(ctx, `INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, fee, counterparty, description, address, tx_hash,
		reference, source, source_id, created_at, completed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
		c.userID, c.entries, e.Type, e.Status, e.Coin, e.Amount, e.Fee, e.Counterparty, e.Description, e.Address, e.TxHash,
		e.Reference, e.Source, e.SourceID, e.CreatedAt, e.CompletedAt)
	return c.entries, err
}

// setEntry writes what may change about a line: its status, amount and coin, hash and end.
func (s store) setEntry(ctx context.Context, tx db.Tx, e Entry) error {
	_, err := tx.Exec(ctx, `UPDATE wallet_entries SET status = $3, coin = $4, amount = $5, fee = $6, tx_hash = $7, completed_at = $8 WHERE user_id = $1 AND number = $2`,
		e.UserID, e.Number, e.Status, e.Coin, e.Amount, e.Fee, e.TxHash, e.CompletedAt)
	return err
}
