package kyc

import (
	"context"
	"fmt"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// apply brings events to an attempt in one transaction: lock the customer and the record, ask the machine, and write the
// record, its history, the customer's derived status and what must follow. Repeated and older events change nothing.
func (s *Service) apply(ctx context.Context, id int64, events ...Event) (Record, error) {
	var out Record
	err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		r, err := s.lockRecord(ctx, tx, id)
		if err != nil {
			return err
		}
		for _, e := range events {
			if r, err = s.step(ctx, tx, r, e); err != nil {
				return err
			}
		}
		out = r
		return nil
	})
	return out, err
}

// lockRecord locks a record together with its customer: customers first, everywhere, so that no two transactions wait for each other.
func (s *Service) lockRecord(ctx context.Context, tx db.Tx, id int64) (Record, error) {
	r, err := s.store.find(ctx, tx, id)
	if err != nil {
		return Record{}, err
	}
	if _, err := s.Customers.LockCustomer(ctx, tx, r.UserID); err != nil {
		return Record{}, err
	}
	return s.store.lock(ctx, tx, id)
}

// step takes one event through the machine. The record and its customer are locked.
func (s *Service) step(ctx context.Context, tx db.Tx, before Record, e Event) (Record, error) {
	around, err := s.store.surroundings(ctx, tx, before)
	if err != nil {
		return Record{}, err
	}
	now := s.Clock.Now()
	r, effects := next(before, around, e)
	told := news(before, r)
	if told {
		r.UpdatedAt = now
	}
	if err := s.store.save(ctx, tx, r); err != nil {
		return Record{}, err
	}
	r.Version++
	if told {
		if err := s.store.appendEvent(ctx, tx, r.ID, before.Status, r.Status, e, e.describe(), now); err != nil {
			return Record{}, err
		}
	}
	if before.Status != r.Status {
		from, to := before.Status, r.Status
		tx.AfterCommit(func() {
			s.metrics.transitions.WithLabelValues(string(from), string(to), string(e.Source)).Inc()
			s.Log.InfoContext(ctx, "kyc", "record_id", r.ID, "user_id", r.UserID, "from", from, "to", to, "event", e.Kind, "source", e.Source)
		})
	}
	if err := s.deriveStatus(ctx, tx, r.UserID); err != nil {
		return Record{}, err
	}
	for _, effect := range effects {
		if err := s.follow(ctx, tx, r, e, effect); err != nil {
			return Record{}, fmt.Errorf("%s: %w", effect, err)
		}
	}
	return r, nil
}

// news tells whether an event changed what is known, and not only when it was asked.
func news(a, b Record) bool {
	return a.Status != b.Status || a.Issuer != b.Issuer || a.IssuerReason != b.IssuerReason || a.Reason != b.Reason ||
		a.Didit != b.Didit || a.Submission != b.Submission
}

// describe is the original text for the history.
func (e Event) describe() string {
	what := ""
	switch e.Kind {
	case IssuerSaid:
		what = fmt.Sprintf("issuer %d", e.Verdict)
	case DiditSaid:
		what = string(e.Word)
	}
	switch {
	case what == "":
		return e.Text
	case e.Text == "":
		return what
	}
	return what + ": " + e.Text
}

// deriveStatus writes the customer's status as it follows from their records: it is never anything else.
func (s *Service) deriveStatus(ctx context.Context, tx db.Tx, userID int64) error {
	r, err := s.store.current(ctx, tx, userID)
	if err != nil {
		return err
	}
	return s.Customers.SetKYCStatus(ctx, tx, userID, string(answer(r.Status, r.Issuer, false).User))
}

// follow carries out an effect in the transaction of its cause.
func (s *Service) follow(ctx context.Context, tx db.Tx, r Record, cause Event, effect Effect) error {
	switch effect {
	case Revoke:
		for _, hook := range s.onRevoke {
			if err := hook(ctx, tx, r.UserID); err != nil {
				return err
			}
		}
		return nil
	case CaseRevoked:
		return s.openCase(ctx, tx, caseRevocation, r.AgentUID, "a no came after the approval: confirm with `kyc reject`")
	case CaseLateYes:
		return s.openCase(ctx, tx, caseLateApproval, r.AgentUID, "a yes came after the rejection: take it with `kyc approve`")
	case CaseNoVerdict:
		detail := "no decision before the deadline"
		if cause.Text != "" {
			detail = cause.Text
		}
		return s.openCase(ctx, tx, caseNoVerdict, r.AgentUID, detail)
	}
	account, err := s.Customers.LockCustomer(ctx, tx, r.UserID)
	if err != nil {
		return err
	}
	reason := ""
	if effect == TellRejected {
		reason = s.FailReason(account.Locale, Standing{Answer: answer(r.Status, r.Issuer, false), Record: r})
	}
	template := map[Effect]string{
		TellApproved: "kyc_approved", TellRejected: "kyc_rejected", TellResubmit: "kyc_resubmit", TellEnded: "kyc_ended",
	}[effect]
	return s.Customers.Notify(ctx, tx, r.UserID, template, map[string]any{"Reason": reason})
}
