package wallet

import (
	"context"
	"fmt"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// verifyWithdrawals checks that each withdrawal and its transactions in the ledger belong together (design/ledger invariants 4 and 5): one
// that reserved the amount, and one that paid it or gave it back exactly if the withdrawal has ended. It is a ledger.Check.
func (s *Service) verifyWithdrawals(ctx context.Context, q db.Querier, report func(ledger.Finding)) error {
	for after := int64(0); ; {
		list, err := s.store.bookedWithdrawals(ctx, q, after, verifiedAtOnce)
		if err != nil {
			return err
		}
		for _, b := range list {
			after = b.id
			for _, flaw := range b.flaws() {
				report(ledger.Finding{Transaction: flaw.transaction, Detail: fmt.Sprintf("withdrawal %d, %s: %s", b.id, b.state, flaw.what)})
			}
		}
		if len(list) < verifiedAtOnce {
			return s.verifyOwned(ctx, q, report, "withdrawals", "business_id", KindWithdrawalHold, KindWithdrawalEnd)
		}
	}
}

// verifyDeposits checks likewise that a deposit was booked once, with its amount, exactly if it says so. It is a ledger.Check.
func (s *Service) verifyDeposits(ctx context.Context, q db.Querier, report func(ledger.Finding)) error {
	for after := int64(0); ; {
		list, err := s.store.bookedDeposits(ctx, q, after, verifiedAtOnce)
		if err != nil {
			return err
		}
		for _, b := range list {
			after = b.id
			for _, flaw := range b.flaws() {
				report(ledger.Finding{Transaction: flaw.transaction, Detail: fmt.Sprintf("deposit %d, %s: %s", b.id, b.state, flaw.what)})
			}
		}
		if len(list) < verifiedAtOnce {
			return s.verifyOwned(ctx, q, report, "deposits", "trade_id", KindDeposit, KindDepositAssigned, KindDepositDismissed, KindDepositReinstated)
		}
	}
}

// verifyOwned finds transactions of the kinds that no row stands behind.
func (s *Service) verifyOwned(ctx context.Context, q db.Querier, report func(ledger.Finding), table, column string, kinds ...ledger.Kind) error {
	for _, kind := range kinds {
		for after := ""; ; {
			list, err := s.store.owned(ctx, q, table, column, kind, after, verifiedAtOnce)
			if err != nil {
				return err
			}
			for _, o := range list {
				after = o.reference
				if !o.there {
					report(ledger.Finding{Transaction: o.id, Detail: fmt.Sprintf("%s %s: there is no such row in %s", kind, o.reference, table)})
				}
			}
			if len(list) < verifiedAtOnce {
				break
			}
		}
	}
	return nil
}

type flaw struct {
	transaction int64
	what        string
}

// bookedWithdrawal is a withdrawal with what the ledger has of it; ids are 0 where there is nothing.
type bookedWithdrawal struct {
	id          int64
	state       WithdrawalState
	units, fee  int64
	hold, end   int64 // as the row says
	held, ended int64 // transactions by reference
	heldUnits   int64 // of the transaction
	paidUnits   int64 // to custody and revenue, by the end
	backUnits   int64 // to the customer
}

func (b bookedWithdrawal) flaws() (list []flaw) {
	add := func(wrong bool, transaction int64, what string) {
		if wrong {
			list = append(list, flaw{transaction, what})
		}
	}
	add(b.held == 0 || b.held != b.hold, b.held, "the transaction that reserved the amount is another one")
	add(b.heldUnits != b.units, b.held, "another amount was reserved")
	add(b.ended != b.end, b.ended, "the transaction that ended it is another one")
	add((b.ended != 0) != b.state.Ended(), b.ended, "it has ended in the ledger or as a row, and not in the other")
	if b.ended != 0 && b.state.Ended() {
		paid, back := b.units, int64(0)
		if b.state != Completed {
			paid, back = 0, b.units
		}
		add(b.paidUnits != paid || b.backUnits != back, b.ended, "what was paid and given back is not what its state says")
	}
	return list
}

const sumOf = `(SELECT CAST(COALESCE(SUM(p.amount), 0) AS BIGINT) FROM ledger_postings p JOIN ledger_accounts a ON a.id = p.account_id
	WHERE p.transaction_id = %s AND p.amount > 0 AND %s)`

func (s store) bookedWithdrawals(ctx context.Context, q db.Querier, after int64, limit int) ([]bookedWithdrawal, error) {
	rows, err := q.Query(ctx, `SELECT w.id, w.state, w.units, w.fee, w.hold_id, COALESCE(w.end_id, 0), COALESCE(h.id, 0), COALESCE(e.id, 0),
		`+fmt.Sprintf(sumOf, "h.id", "a.purpose = 'held' AND a.owner_id = w.user_id")+`,
		`+fmt.Sprintf(sumOf, "e.id", "a.owner_kind IN ('custody', 'revenue')")+`,
		`+fmt.Sprintf(sumOf, "e.id", "a.purpose = 'available' AND a.owner_id = w.user_id")+`
		FROM withdrawals w LEFT JOIN ledger_transactions h ON h.kind = 'withdrawal.hold' AND h.reference = w.business_id
		LEFT JOIN ledger_transactions e ON e.kind = 'withdrawal.end' AND e.reference = w.business_id
		WHERE w.id > $1 ORDER BY w.id LIMIT $2`, after, limit)
	return db.Collect(rows, err, func(row db.Row) (b bookedWithdrawal, err error) {
		return b, row.Scan(&b.id, (*string)(&b.state), &b.units, &b.fee, &b.hold, &b.end, &b.held, &b.ended, &b.heldUnits, &b.paidUnits, &b.backUnits)
	})
}

// bookedDeposit is a deposit with what the ledger has of it.
type bookedDeposit struct {
	id          int64
	state       DepositState
	units       int64
	transaction int64 // as the row says
	resolution  int64
	booked      int64 // transactions by reference
	resolved    int64
	dismissed   int64 // of what is resolved
	reinstated  int64
	bookedUnits int64
}

func (b bookedDeposit) flaws() (list []flaw) {
	add := func(wrong bool, transaction int64, what string) {
		if wrong {
			list = append(list, flaw{transaction, what})
		}
	}
	add(b.booked != b.transaction, b.booked, "the transaction that booked it is another one")
	add(b.resolved != b.resolution, b.resolved, "the transaction that took it out of suspense is another one")
	add((b.state == Credited || b.state == InSuspense) && b.booked == 0, 0, "it is not booked")
	add((b.state == Seen || b.state == Unbookable) && b.booked != 0, b.booked, "it is booked")
	add(b.state == InSuspense && b.resolved != 0, b.resolved, "it is out of suspense")
	add((b.reinstated != 0) != (b.state == Credited && b.dismissed != 0), b.reinstated, "it was dismissed, and is credited in the ledger or as a row, and not in the other")
	add(b.booked != 0 && b.bookedUnits != b.units, b.booked, "another amount was booked")
	return list
}

func (s store) bookedDeposits(ctx context.Context, q db.Querier, after int64, limit int) ([]bookedDeposit, error) {
	rows, err := q.Query(ctx, `SELECT d.id, d.state, d.units, COALESCE(d.transaction_id, 0), COALESCE(d.resolution_id, 0), COALESCE(b.id, 0),
		COALESCE(r.id, 0) + COALESCE(x.id, 0), COALESCE(x.id, 0), COALESCE(i.id, 0), `+fmt.Sprintf(sumOf, "b.id", "a.owner_kind <> 'custody'")+`
		FROM deposits d LEFT JOIN ledger_transactions b ON b.kind = 'deposit' AND b.reference = d.trade_id
		LEFT JOIN ledger_transactions r ON r.kind = 'deposit.assigned' AND r.reference = d.trade_id
		LEFT JOIN ledger_transactions x ON x.kind = 'deposit.dismissed' AND x.reference = d.trade_id
		LEFT JOIN ledger_transactions i ON i.kind = 'deposit.reinstated' AND i.reference = d.trade_id
		WHERE d.id > $1 ORDER BY d.id LIMIT $2`, after, limit)
	return db.Collect(rows, err, func(row db.Row) (b bookedDeposit, err error) {
		return b, row.Scan(&b.id, (*string)(&b.state), &b.units, &b.transaction, &b.resolution, &b.booked, &b.resolved, &b.dismissed, &b.reinstated, &b.bookedUnits)
	})
}

// ownedTransaction is a transaction and whether the row that it belongs to is there.
type ownedTransaction struct {
	id        int64
	reference string
	there     bool
}

func (s store) owned(ctx context.Context, q db.Querier, table, column string, kind ledger.Kind, after string, limit int) ([]ownedTransaction, error) {
	rows, err := q.Query(ctx, fmt.Sprintf(`SELECT t.id, t.reference, x.id IS NOT NULL FROM ledger_transactions t LEFT JOIN %s x ON x.%s = t.reference
		WHERE t.kind = $1 AND t.reference > $2 ORDER BY t.reference LIMIT $3`, table, column), string(kind), after, limit)
	return db.Collect(rows, err, func(row db.Row) (o ownedTransaction, err error) { return o, row.Scan(&o.id, &o.reference, &o.there) })
}
