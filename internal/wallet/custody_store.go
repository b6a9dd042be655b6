package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// custody is what is known of a coin at the gateway beside the ledger.
type custody struct {
	coin       string
	difference *decimal.Decimal // of the last comparison, less what was booked since, in whole coins; nil: never compared
	since      *time.Time       // since when there is one
	comparedAt time.Time        // of a coin that never was: since when it should be
	bookings   int64
}

const custodyColumns = `coin, difference, differs_since, compared_at, bookings`

func scanCustody(row db.Row) (c custody, err error) {
	var difference string
	if err = row.Scan(&c.coin, &difference, &c.since, &c.comparedAt, &c.bookings); err != nil || difference == "" {
		return c, err
	}
	d, err := decimal.NewFromString(difference)
	c.difference = &d
	return c, err
}

// expectComparison makes the row of a coin, unless it is there.
func (s store) expectComparison(ctx context.Context, q db.Querier, coin string, now time.Time) error {
	_, err := q.Exec(ctx, `INSERT INTO gateway_custody (coin, remainder, difference, compared_at, bookings) VALUES ($1, '0', '', $2, 0) ON CONFLICT (coin) DO NOTHING`, coin, now)
	return err
}

// lockCustody locks the row of a coin until tx ends.
func (s store) lockCustody(ctx context.Context, tx db.Tx, coin string, now time.Time) (custody, error) {
	if err := s.expectComparison(ctx, tx, coin, now); err != nil {
		return custody{}, err
	}
	return scanCustody(tx.QueryRow(ctx, `SELECT `+custodyColumns+` FROM gateway_custody WHERE coin = $1`+db.ForUpdate(tx), coin))
}

// custodies are the rows of all coins.
func (s store) custodies(ctx context.Context) (map[string]custody, error) {
	rows, err := s.db.Query(ctx, `SELECT `+custodyColumns+` FROM gateway_custody`)
	list, err := db.Collect(rows, err, scanCustody)
	byCoin := map[string]custody{}
	for _, c := range list {
		byCoin[c.coin] = c
	}
	return byCoin, err
}

// setDifference writes what is left of the difference after a booking. The row is locked.
func (s store) setDifference(ctx context.Context, tx db.Tx, c custody) error {
	difference := ""
	if c.difference != nil {
		difference = c.difference.String()
	}
	_, err := tx.Exec(ctx, `UPDATE gateway_custody SET difference = $2, differs_since = $3, bookings = bookings + 1 WHERE coin = $1`, c.coin, difference, c.since)
	return err
}

// addReconciliation writes a comparison down. The row of the coin is locked.
func (s store) addReconciliation(ctx context.Context, tx db.Tx, r Reconciliation) error {
	if _, err := tx.Exec(ctx, `UPDATE gateway_custody SET difference = $2, differs_since = $3, compared_at = $4 WHERE coin = $1`, r.Coin, r.Difference.String(), r.Since, r.At); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO reconciliations (coin, at, ledger, gateway, least, most, difference) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		r.Coin, r.At, r.Ledger.String(), r.Gateway.String(), r.Least.String(), r.Most.String(), r.Difference.String())
	return err
}

// remainder is what the gateway holds of a coin beyond the ledger, in base units, and how often a difference was booked.
func (s store) remainder(ctx context.Context, coin string) (n *big.Int, bookings int64, err error) {
	var text string
	err = s.db.QueryRow(ctx, `SELECT remainder, bookings FROM gateway_custody WHERE coin = $1`, coin).Scan(&text, &bookings)
	if errors.Is(err, db.ErrNoRows) {
		return new(big.Int), 0, nil
	}
	n, ok := new(big.Int).SetString(text, 10)
	if err == nil && !ok {
		err = fmt.Errorf("remainder of %s is no number", coin)
	}
	return n, bookings, err
}

// addRemainder adds to what the gateway holds of a coin beyond the ledger, in base units.
func (s store) addRemainder(ctx context.Context, tx db.Tx, coin, remainder string, now time.Time) error {
	if err := s.expectComparison(ctx, tx, coin, now); err != nil {
		return err
	}
	var text string
	if err := tx.QueryRow(ctx, `SELECT remainder FROM gateway_custody WHERE coin = $1`+db.ForUpdate(tx), coin).Scan(&text); err != nil {
		return err
	}
	sum, ok := new(big.Int).SetString(text, 10)
	part, fine := new(big.Int).SetString(remainder, 10)
	if !ok || !fine {
		return fmt.Errorf("remainder of %s is no number", coin)
	}
	_, err := tx.Exec(ctx, `UPDATE gateway_custody SET remainder = $2 WHERE coin = $1`, coin, sum.Add(sum, part).String())
	return err
}
