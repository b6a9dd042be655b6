package rate

import (
	"context"
	"time"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

type store struct{ db db.DB }

// row is what is known of a currency.
type row struct {
	currency string
	hkd      decimal.Decimal
	asOf     *time.Time // nil: hkd is not known
	nextAsk  time.Time
}

func (s store) all(ctx context.Context) ([]row, error) {
	rows, err := s.db.Query(ctx, `SELECT currency, COALESCE(hkd, '0'), as_of, next_ask_at FROM exchange_rates`)
	return db.Collect(rows, err, func(from db.Row) (r row, err error) {
		var hkd string
		if err = from.Scan(&r.currency, &hkd, &r.asOf, &r.nextAsk); err == nil {
			r.hkd, err = decimal.NewFromString(hkd)
		}
		return r, err
	})
}

// claim is true for one of all who ask at the same time whether a currency is due: it asks the issuer, the others leave it alone until
// next. A turn after farthest was set by a clock that is wrong, and does not count.
func (s store) claim(ctx context.Context, currency string, now, next, farthest time.Time) (bool, error) {
	n, err := s.db.Exec(ctx, `INSERT INTO exchange_rates (currency, next_ask_at) VALUES ($1, $2)
		ON CONFLICT (currency) DO UPDATE SET next_ask_at = excluded.next_ask_at WHERE exchange_rates.next_ask_at <= $3 OR exchange_rates.next_ask_at > $4`,
		currency, next, now, farthest)
	return n == 1, err
}

// save keeps the answer to a question of asOf, unless that to a later one is there, and that one is not after farthest: of a clock that is
// wrong.
func (s store) save(ctx context.Context, currency string, hkd decimal.Decimal, asOf, farthest time.Time) error {
	_, err := s.db.Exec(ctx, `UPDATE exchange_rates SET hkd = $2, as_of = $3 WHERE currency = $1 AND (as_of IS NULL OR as_of < $3 OR as_of > $4)`,
		currency, hkd.String(), asOf, farthest)
	return err
}

// putOff moves the next question on.
func (s store) putOff(ctx context.Context, currency string, next time.Time) error {
	_, err := s.db.Exec(ctx, `UPDATE exchange_rates SET next_ask_at = $2 WHERE currency = $1`, currency, next)
	return err
}
