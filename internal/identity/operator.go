package identity

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

const maxReason = 500 // characters

// Audit records an act of an operator in the transaction of the act itself.
//
// Errors: ErrReasonRequired.
func (s *Service) Audit(ctx context.Context, tx db.Tx, e AuditEntry) error {
	e.Reason = strings.TrimSpace(e.Reason)
	if e.Reason == "" || utf8.RuneCountInString(e.Reason) > maxReason {
		return ErrReasonRequired.With("Max", maxReason)
	}
	if strings.TrimSpace(e.Operator.Name) == "" {
		return fmt.Errorf("audit %s: no operator named", e.Action)
	}
	return insertAudit(ctx, tx, e, s.clock.Now())
}

// Find is a customer as operators name them: by number or by address of mail. Errors: ErrUserNotFound, ErrEmailInvalid.
func (s *Service) Find(ctx context.Context, who string) (Account, error) {
	if id, err := strconv.ParseInt(strings.TrimSpace(who), 10, 64); err == nil {
		return s.Account(ctx, id)
	}
	return s.FindByEmail(ctx, who)
}

// FreezeAccount lets a customer, given by number or address, read but not act, and tells them. Freezing a frozen account
// changes nothing. Errors: ErrUserNotFound, ErrEmailInvalid, ErrAccountClosed, ErrReasonRequired.
func (s *Service) FreezeAccount(ctx context.Context, op Operator, who, reason string) (Account, error) {
	return s.changeStatus(ctx, op, who, reason, Frozen, "account.freeze", "account_frozen")
}

// UnfreezeAccount ends a freeze. Errors: as FreezeAccount.
func (s *Service) UnfreezeAccount(ctx context.Context, op Operator, who, reason string) (Account, error) {
	return s.changeStatus(ctx, op, who, reason, Active, "account.unfreeze", "account_unfrozen")
}

// CloseAccount closes an account for good and ends its sessions. Errors: as FreezeAccount, except that closing a closed
// account changes nothing.
func (s *Service) CloseAccount(ctx context.Context, op Operator, who, reason string) (Account, error) {
	return s.changeStatus(ctx, op, who, reason, Closed, "account.close", "account_closed")
}

func (s *Service) changeStatus(ctx context.Context, op Operator, who, reason string, to Status, action, template string) (Account, error) {
	found, err := s.Find(ctx, who)
	if err != nil {
		return Account{}, err
	}
	var account Account
	err = s.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		u, err := lockUser(ctx, tx, found.ID)
		if err != nil {
			return err
		}
		if u.status == Closed && to != Closed {
			return ErrAccountClosed
		}
		if err := s.HoldTransfers(ctx, tx, u.id); err != nil {
			return err
		}
		if u.status != to {
			now := s.clock.Now()
			if err := s.Audit(ctx, tx, AuditEntry{op, action, u.id, fmt.Sprintf("user %d", u.id), reason}); err != nil {
				return err
			}
			if err := setStatus(ctx, tx, u.id, to, now); err != nil {
				return err
			}
			if to == Closed {
				if _, err := revokeSessions(ctx, tx, u.id, endedByClosure, now); err != nil {
					return err
				}
			}
			if err := s.notify(ctx, tx, u, template, nil); err != nil {
				return err
			}
			u.status = to
		}
		account, err = s.openAccount(u, nil)
		return err
	})
	return account, err
}

// ListSessions lists the sessions of a customer, given by number or address, that stand. Errors: ErrUserNotFound,
// ErrEmailInvalid.
func (s *Service) ListSessions(ctx context.Context, who string) ([]Session, error) {
	account, err := s.Find(ctx, who)
	if err != nil {
		return nil, err
	}
	return s.sessions(ctx, account.ID, "")
}
