package app

import (
	"context"
	"fmt"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// CloseCase closes a case of any capability for an operator, with an entry in the audit log, and changes nothing else.
//
// Errors: cases.ErrNoCase if it is not open; identity.ErrReasonRequired.
func (s *Services) CloseCase(ctx context.Context, by identity.Operator, id int64, reason string) (closed cases.Case, err error) {
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if closed, err = s.Cases.CloseByID(ctx, tx, id); err != nil {
			return err
		}
		return s.Identity.Audit(ctx, tx, identity.AuditEntry{Operator: by, Action: "case.close",
			Subject: fmt.Sprintf("case %d: %s %s", id, closed.Kind, closed.Subject), Reason: reason})
	})
	return closed, err
}
