package wallet

import (
	"context"
	"fmt"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// verifiedAtOnce is how many customers one statement of the check looks at.
const verifiedAtOnce = 500

// verifyHistory checks that customers are told what the ledger has done, and nothing else: each transfer stands in the histories of both
// sides with the amount that was posted; of each coin, deposits and withdrawals add up to what was posted for them; lines are numbered
// without gaps. A withdrawal counts from its request on until it is refused, a deposit when it is credited. It is a ledger.Check.
func (s *Service) verifyHistory(ctx context.Context, q db.Querier, report func(ledger.Finding)) error {
	newest, err := s.store.newestCustomer(ctx, 0)
	if err != nil {
		return err
	}
	for after := int64(0); after < newest; after += verifiedAtOnce {
		differences, err := s.store.differences(ctx, q, after, after+verifiedAtOnce)
		if err != nil {
			return err
		}
		for _, d := range differences {
			report(ledger.Finding{Account: ledger.AvailableOf(d.userID, d.coin).String(), Transaction: d.transaction,
				Detail: fmt.Sprintf("%s units were posted, the history tells of %s", d.posted, d.told)})
		}
		gaps, err := s.store.gaps(ctx, q, after, after+verifiedAtOnce)
		if err != nil {
			return err
		}
		for _, g := range gaps {
			report(ledger.Finding{Detail: fmt.Sprintf("the history of customer %d has %d lines up to number %d, and should have %d", g.userID, g.lines, g.newest, g.entries)})
		}
	}
	return nil
}

// difference is what the ledger has posted to a customer's available coins and their history tells otherwise: by one transfer, or
// (transaction 0) by all deposits and withdrawals.
type difference struct {
	userID       int64
	coin         string
	transaction  int64
	posted, told string
}

// differences compares the histories of customers, of ids above one and up to another, with the ledger as they both are at one moment.
func (s store) differences(ctx context.Context, q db.Querier, above, upTo int64) ([]difference, error) {
	rows, err := q.Query(ctx, `SELECT user_id, coin, transfer, CAST(SUM(posted) AS TEXT), CAST(SUM(told) AS TEXT) FROM (
			SELECT a.owner_id AS user_id, a.asset AS coin, CASE t.kind WHEN 'transfer' THEN t.id ELSE 0 END AS transfer, p.amount AS posted, 0 AS told
			FROM ledger_accounts a JOIN ledger_postings p ON p.account_id = a.id JOIN ledger_transactions t ON t.id = p.transaction_id
			WHERE a.owner_id > $1 AND a.owner_id <= $2 AND a.owner_kind = 'user' AND a.purpose = 'available'
				AND t.kind IN ('transfer', 'deposit', 'deposit.assigned', 'deposit.reinstated', 'withdrawal.hold', 'withdrawal.end')
			UNION ALL SELECT e.user_id, e.coin, CASE e.type WHEN 'transfer' THEN e.source_id ELSE 0 END, 0, e.amount
			FROM wallet_entries e WHERE e.user_id > $1 AND e.user_id <= $2 AND e.type IN ('transfer', 'deposit', 'withdraw')
				AND (e.status = 'completed' OR e.status = 'pending' AND e.amount < 0)
		) x GROUP BY user_id, coin, transfer HAVING SUM(posted) <> SUM(told) ORDER BY user_id, coin, transfer`, above, upTo)
	return db.Collect(rows, err, func(row db.Row) (d difference, err error) {
		err = row.Scan(&d.userID, &d.coin, &d.transaction, &d.posted, &d.told)
		return d, err
	})
}

type gap struct{ userID, entries, lines, newest int64 }

// gaps finds histories whose lines are not numbered from 1 to as many as there are.
func (s store) gaps(ctx context.Context, q db.Querier, above, upTo int64) ([]gap, error) {
	rows, err := q.Query(ctx, `SELECT c.user_id, c.entries, COUNT(e.number), COALESCE(MAX(e.number), 0)
		FROM wallet_customers c LEFT JOIN wallet_entries e ON e.user_id = c.user_id WHERE c.user_id > $1 AND c.user_id <= $2
		GROUP BY c.user_id, c.entries HAVING COUNT(e.number) <> c.entries OR COALESCE(MAX(e.number), 0) <> c.entries ORDER BY c.user_id`, above, upTo)
	return db.Collect(rows, err, func(row db.Row) (g gap, err error) {
		err = row.Scan(&g.userID, &g.entries, &g.lines, &g.newest)
		return g, err
	})
}
