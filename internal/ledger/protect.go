package ledger

import (
	"context"
	"fmt"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// AppendOnly are the tables whose rows are never changed or removed.
var AppendOnly = []string{"ledger_transactions", "ledger_postings"}

// Protect has the database refuse to change or remove what is posted. On SQLite that is a trigger. On PostgreSQL the owner of the
// tables loses the right to; it could give itself the right again, and a superuser needs none: who wants more has the program
// serve under a role that owns nothing. It may be called again and by several at a time.
func Protect(ctx context.Context, d db.DB) error {
	err := d.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if tx.Engine() == db.SQLite {
			for _, table := range AppendOnly {
				for _, act := range []string{"UPDATE", "DELETE"} {
					if _, err := tx.Exec(ctx, fmt.Sprintf(`CREATE TRIGGER IF NOT EXISTS %s_no_%s BEFORE %[2]s ON %[1]s BEGIN SELECT RAISE(ABORT, 'what is posted stays as it is'); END`,
						table, act)); err != nil {
						return err
					}
				}
			}
			return nil
		}
		// Two replicas that change the rights of a table at once would disturb each other.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(7305463217)`); err != nil {
			return err
		}
		for _, table := range AppendOnly {
			var may bool
			err := tx.QueryRow(ctx, `SELECT COALESCE(bool_or(x.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE') AND pg_has_role(c.relowner, 'USAGE')), false)
				FROM pg_class c, aclexplode(COALESCE(c.relacl, acldefault('r', c.relowner))) x WHERE c.oid = to_regclass($1::text) AND x.grantee = c.relowner`, table).Scan(&may)
			if err != nil {
				return err
			}
			if !may {
				continue
			}
			var owner string
			if err := tx.QueryRow(ctx, `SELECT quote_ident(pg_get_userbyid(relowner)) FROM pg_class WHERE oid = to_regclass($1::text)`, table).Scan(&owner); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `REVOKE UPDATE, DELETE, TRUNCATE ON `+table+` FROM `+owner); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("protect the ledger: %w", err)
	}
	return nil
}

// Protected tells whether the database refuses the connected role to change what is posted.
func Protected(ctx context.Context, q db.Querier) (bool, error) {
	for _, table := range AppendOnly {
		var may bool
		query := `SELECT has_table_privilege($1::text, 'UPDATE') OR has_table_privilege($1::text, 'DELETE') OR has_table_privilege($1::text, 'TRUNCATE')`
		if q.Engine() == db.SQLite {
			query = `SELECT COUNT(*) < 2 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = $1 AND name LIKE '%_no_%'`
		}
		if err := q.QueryRow(ctx, query, table).Scan(&may); err != nil || may {
			return false, err
		}
	}
	return true, nil
}
