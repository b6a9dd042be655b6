package kyc

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// Problems of operator commands.
var (
	ErrReasonRequired = problem.Define("KYC_REASON_REQUIRED", problem.Invalid)
	ErrNoCase         = problem.Define("KYC_NO_CASE", problem.NotFound)
)

// Dossier is everything an operator may see of an attempt.
type Dossier struct {
	Newest    bool           `json:"newest"` // the customer was named: of their attempts this is the newest
	Record    Record         `json:"record"`
	User      UserStatus     `json:"user_kyc_status"`
	Email     string         `json:"email"`
	Applicant Applicant      `json:"applicant"`
	History   []HistoryEntry `json:"history"`
}

// Show gives an operator an attempt with its whole history: by agent_uid, by the record's id as in logs ("record:7"), or, for a
// customer's number or address of mail, the newest one. Looking is audited: it shows personal data.
//
// Errors: ErrNotFound, identity.ErrUserNotFound, identity.ErrEmailInvalid.
func (s *Service) Show(ctx context.Context, by identity.Operator, which string) (Dossier, error) {
	r, newest, err := s.named(ctx, strings.TrimSpace(which))
	if errors.Is(err, db.ErrNoRows) {
		return Dossier{}, ErrNotFound
	}
	if err != nil {
		return Dossier{}, err
	}
	account, err := s.Customers.Account(ctx, r.UserID)
	if err != nil {
		return Dossier{}, err
	}
	applicant, err := s.applicantOf(ctx, r)
	if err != nil {
		return Dossier{}, err
	}
	history, err := s.store.history(ctx, s.DB, r.ID)
	if err != nil {
		return Dossier{}, err
	}
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error { return s.audit(ctx, tx, by, "kyc.show", r, "dossier shown") })
	return Dossier{Newest: newest, Record: r, User: UserStatus(account.KYCStatus), Email: account.Email, Applicant: applicant, History: history}, err
}

// recordPrefix marks the id of a record, lest it be taken for the number of a customer.
const recordPrefix = "record:"

// named finds the attempt that an operator names; newest tells that they named its customer. db.ErrNoRows if there is none.
func (s *Service) named(ctx context.Context, which string) (r Record, newest bool, err error) {
	if text, ok := strings.CutPrefix(which, recordPrefix); ok {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Record{}, false, db.ErrNoRows
		}
		r, err = s.store.find(ctx, s.DB, id)
		return r, false, err
	}
	if _, err := strconv.ParseInt(which, 10, 64); err != nil && !strings.Contains(which, "@") {
		r, err = s.store.findByAgentUID(ctx, s.DB, which)
		return r, false, err
	}
	account, err := s.Customers.Find(ctx, which)
	if err != nil {
		return Record{}, false, err
	}
	records, err := s.store.list(ctx, nil, account.ID, anyID, 1)
	if err == nil && len(records) == 0 {
		err = db.ErrNoRows
	}
	if err != nil {
		return Record{}, false, err
	}
	return records[0], true, nil
}

// anyID is above every id.
const anyID = 1<<63 - 1

// Filter chooses attempts for an operator's list.
type Filter struct {
	Statuses []Status // none: all
	Customer string   // number or address of mail; empty: everybody's
	Before   int64    // only smaller ids; 0: from the newest
	Limit    int      // 1 to 1000
}

// List gives an operator attempts, newest first. Errors: identity.ErrUserNotFound, identity.ErrEmailInvalid.
func (s *Service) List(ctx context.Context, f Filter) ([]Record, error) {
	if f.Before <= 0 {
		f.Before = anyID
	}
	var userID int64
	if f.Customer != "" {
		account, err := s.Customers.Find(ctx, f.Customer)
		if err != nil {
			return nil, err
		}
		userID = account.ID
	}
	return s.store.list(ctx, f.Statuses, userID, f.Before, max(1, min(f.Limit, 1000)))
}

// Approve takes the issuer's approval that came too late to move the attempt by itself. Without the issuer's 2 there is nothing
// to approve: ErrTransition.
func (s *Service) Approve(ctx context.Context, by identity.Operator, agentUID, reason string) (Record, error) {
	return s.decide(ctx, by, OperatorApproved, agentUID, reason, false)
}

// Reject rejects an open attempt, or confirms that an approved one is revoked. block keeps the customer from trying again.
func (s *Service) Reject(ctx context.Context, by identity.Operator, agentUID, reason string, block bool) (Record, error) {
	return s.decide(ctx, by, OperatorRejected, agentUID, reason, block)
}

// Reopen puts the customer's newest attempt, if it ended without approval, back under review and asks the providers again. It
// also lifts a block.
func (s *Service) Reopen(ctx context.Context, by identity.Operator, agentUID, reason string) (Record, error) {
	return s.decide(ctx, by, OperatorReopened, agentUID, reason, false)
}

// Dismiss closes the cases about an attempt and leaves the attempt as it is: a no that was a mistake of the issuer's, a case that
// was settled with the customer. ErrNoCase if none is open.
func (s *Service) Dismiss(ctx context.Context, by identity.Operator, agentUID, reason string) (Record, error) {
	found, err := s.subject(ctx, by, agentUID, reason)
	if err != nil {
		return Record{}, err
	}
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		closed, err := s.cases.Close(ctx, tx, agentUID)
		if err != nil {
			return err
		}
		if closed == 0 {
			return ErrNoCase
		}
		return s.audit(ctx, tx, by, "kyc.dismissed", found, strings.TrimSpace(reason))
	})
	return found, err
}

// subject finds what an operator wants to decide about; a name and a reason must come with it.
func (s *Service) subject(ctx context.Context, by identity.Operator, agentUID, reason string) (Record, error) {
	if strings.TrimSpace(reason) == "" || strings.TrimSpace(by.Name) == "" {
		return Record{}, ErrReasonRequired
	}
	r, err := s.store.findByAgentUID(ctx, s.DB, agentUID)
	if errors.Is(err, db.ErrNoRows) {
		return Record{}, ErrNotFound
	}
	return r, err
}

// decide applies an operator's decision, with its audit entry, or nothing.
func (s *Service) decide(ctx context.Context, by identity.Operator, kind EventKind, agentUID, reason string, block bool) (Record, error) {
	reason = strings.TrimSpace(reason)
	found, err := s.subject(ctx, by, agentUID, reason)
	if err != nil {
		return Record{}, err
	}
	var out Record
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		r, err := s.lockRecord(ctx, tx, found.ID)
		if err != nil {
			return err
		}
		now := s.Clock.Now()
		after, err := s.step(ctx, tx, r, Event{Kind: kind, At: now, Source: FromOperator, Actor: by.Name, Text: clipText(reason)})
		if err != nil {
			return err
		}
		if after.Status == r.Status && !block {
			return ErrTransition.With("Status", string(r.Status))
		}
		if block || kind == OperatorReopened {
			if err := s.Customers.SetKYCBlocked(ctx, tx, r.UserID, block); err != nil {
				return err
			}
		}
		if _, err := s.cases.Close(ctx, tx, r.AgentUID); err != nil {
			return err
		}
		out = after
		return s.audit(ctx, tx, by, "kyc."+strings.TrimPrefix(string(kind), "operator_"), r, reason)
	})
	if err == nil && out.Status.Open() {
		s.hint(out.ID)
	}
	return out, err
}

func (s *Service) audit(ctx context.Context, tx db.Tx, by identity.Operator, action string, r Record, reason string) error {
	return s.Customers.Audit(ctx, tx, identity.AuditEntry{Operator: by, Action: action, UserID: r.UserID, Subject: r.AgentUID, Reason: reason})
}
