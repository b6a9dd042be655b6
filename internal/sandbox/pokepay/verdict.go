package pokepay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrUnknownKYC says that no KYC fits the key.
var ErrUnknownKYC = errors.New("no such kyc")

// ErrBadStatus says that a verdict is none of the statuses 1 to 6.
var ErrBadStatus = errors.New("status must be from 1 to 6")

// Remarks, which the agent sees beside a status that has not changed yet.
const (
	documentsReceived = "documents received"
	notCompleted      = "verification not completed"
	inManualReview    = "verification in manual review"
)

// declinedReason stands in when Didit's decline came without a text.
const declinedReason = "verification failed, please submit again"

// Key says which KYC is meant. All fields that are set must fit; of several KYCs the newest is taken.
// A session may be any that was opened for the KYC.
type Key struct {
	AgentUID  string
	SessionID string
	Email     string
	ID        int64
}

// KYCState is what the simulated issuer believes about one KYC.
type KYCState struct {
	ID        int64     `json:"id"`
	Kind      string    `json:"kind"` // "hosted" or "self"
	AgentUID  string    `json:"agent_uid"`
	Email     string    `json:"email"`
	SessionID string    `json:"session_id"` // the newest; "" for self
	Status    int       `json:"status"`     // 1 to 6
	Reason    string    `json:"reason"`
	Remark    string    `json:"remark"`
	InitCalls int64     `json:"init_calls"` // sessions opened for it, each of them billed
	Created   time.Time `json:"created"`
	Updated   time.Time `json:"updated"`
}

// KYCs lists everything the issuer knows, the oldest first.
func (s *Simulator) KYCs(ctx context.Context) ([]KYCState, error) {
	found, err := applications(ctx, s.DB, filter{}, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("simulated pokepay: %w", err)
	}
	list := make([]KYCState, len(found))
	for i, a := range found {
		list[len(found)-1-i] = KYCState{ID: a.id, Kind: string(a.kind), AgentUID: a.agentUID, Email: a.email,
			SessionID: a.sessionID, Status: a.status, Reason: a.reason, Remark: a.remark, InitCalls: a.initCalls,
			Created: a.created, Updated: a.updated}
	}
	return list, nil
}

// Decide sets the issuer's verdict, which may also be a change of an earlier one (a revocation of 2), and
// sends a hint. It returns ErrUnknownKYC or ErrBadStatus.
func (s *Simulator) Decide(ctx context.Context, key Key, status int, reason string) error {
	if status < StatusOpen || status > StatusDuplicate {
		return ErrBadStatus
	}
	if key == (Key{}) {
		return ErrUnknownKYC
	}
	f := filter{id: key.ID, agentUID: key.AgentUID, sessionID: key.SessionID, email: key.Email}
	return s.change(ctx, f, func(a *application) (hint bool) {
		a.status, a.reason = status, strings.TrimSpace(reason)
		a.approveAt = sql.NullInt64{} // somebody has decided: the automatic approval is off
		return true
	})
}

// DiditFinished tells the issuer how a session in its own Didit account ended. A decline is the issuer's
// verdict too; an approval only means that the documents are there. A KYC that the issuer has decided stays
// as it is. It returns ErrUnknownKYC.
func (s *Simulator) DiditFinished(ctx context.Context, agentUID, diditStatus, risk, reason string) error {
	if agentUID == "" {
		return ErrUnknownKYC
	}
	return s.change(ctx, filter{agentUID: agentUID}, func(a *application) (hint bool) {
		if a.status != StatusOpen && a.status != StatusReview {
			return false
		}
		before := a.status
		switch strings.ToLower(diditStatus) {
		case "approved":
			a.remark = documentsReceived
			a.approveAt = s.approvalDue(s.Clock.Now())
		case "declined":
			a.status, a.reason, a.approveAt = StatusFailed, strings.TrimSpace(reason), sql.NullInt64{}
			a.remark = strings.TrimSpace("didit declined " + risk)
			if a.reason == "" {
				a.reason = declinedReason
			}
		case "in review":
			a.status, a.remark, a.approveAt = StatusReview, inManualReview, sql.NullInt64{}
		case "abandoned", "expired", "kyc expired":
			a.remark = notCompleted
		}
		return a.status != before
	})
}

// approvalDue is when the issuer will approve by itself what is complete now; never, if it does not do so.
func (s *Simulator) approvalDue(now time.Time) sql.NullInt64 {
	if !s.AutoApprove {
		return sql.NullInt64{}
	}
	return sql.NullInt64{Int64: now.Add(s.AutoApproveAfter).UnixMicro(), Valid: true}
}

// change applies a decision to the newest KYC of the filter, and the hint that follows, in one transaction.
func (s *Simulator) change(ctx context.Context, f filter, decide func(*application) (hint bool)) error {
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		a, err := findApplication(ctx, tx, f)
		if err != nil {
			return err
		}
		before := a
		hint := decide(&a)
		if a == before && !hint {
			return nil
		}
		a.updated = s.Clock.Now()
		if err := updateApplication(ctx, tx, a); err != nil {
			return err
		}
		if !hint {
			return nil
		}
		return s.enqueueCallback(ctx, tx, a)
	})
	if err == nil {
		s.stir()
		return nil
	}
	if errors.Is(err, ErrUnknownKYC) {
		return ErrUnknownKYC
	}
	return fmt.Errorf("simulated pokepay: %w", err)
}

// approveDue approves one KYC whose automatic approval has come.
func (s *Simulator) approveDue(ctx context.Context) (worked bool, err error) {
	if !s.AutoApprove {
		return false, nil
	}
	var id int64
	err = s.DB.QueryRowContext(ctx, `SELECT id FROM pokepay_kycs WHERE approve_at <= $1 ORDER BY approve_at LIMIT 1`,
		s.Clock.Now().UnixMicro()).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, s.change(ctx, filter{id: id}, func(a *application) (hint bool) {
		if !a.approveAt.Valid {
			return false // decided in between
		}
		a.approveAt = sql.NullInt64{}
		a.status, a.reason = StatusApproved, ""
		return true
	})
}
