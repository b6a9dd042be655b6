package identity

import (
	"context"
	"errors"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

func sessionAddress(id string) secret.Place {
	return secret.Place{Table: "sessions", Column: "address", Row: id}
}

// signIn opens a session.
func (s *Service) signIn(ctx context.Context, tx db.Tx, u userRow, client Client, now time.Time) (SignedIn, error) {
	id, err := s.newID()
	if err != nil {
		return SignedIn{}, err
	}
	address, err := s.vault.SealText(client.Address, sessionAddress(id))
	if err != nil {
		return SignedIn{}, err
	}
	err = insertSession(ctx, tx, sessionRow{
		id: id, userID: u.id, generation: 1, createdAt: now, device: deviceName(client.Agent), address: address, expiresAt: now.Add(SessionLifetime),
	})
	if err != nil {
		return SignedIn{}, err
	}
	if err := s.noteDevice(ctx, tx, u, client, now); err != nil {
		return SignedIn{}, err
	}
	access, err := s.accessToken(u.id, id, now)
	if err != nil {
		return SignedIn{}, err
	}
	profile, err := s.openProfile(u)
	return SignedIn{Tokens{access, s.refreshToken(id, 1)}, profile}, err
}

// Refresh exchanges a refresh token for fresh tokens (contract/accounts 1.8). The first call with the current token rotates
// the session; whoever comes with the same token within RefreshGrace gets the same new one. A token that was exchanged
// longer ago has been copied by somebody: the session ends and the customer is told.
//
// Errors: api.ErrUnauthenticated, whatever is wrong with the token.
func (s *Service) Refresh(ctx context.Context, token secret.Text) (Tokens, error) {
	id, generation, ok := s.readRefreshToken(token)
	if !ok {
		s.metrics.refresh.WithLabelValues("refused").Inc()
		return Tokens{}, api.ErrUnauthenticated
	}
	var current sessionRow
	outcome := ""
	err := s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		outcome = "refused"
		row, found, err := lockSession(ctx, tx, id)
		if err != nil {
			return err
		}
		if !found || row.revokedAt != nil || !now.Before(row.expiresAt) {
			return api.ErrUnauthenticated
		}
		u, err := userByID(ctx, tx, row.userID)
		if err != nil {
			return err
		}
		if u.status == Closed {
			return api.ErrUnauthenticated
		}
		current = row
		switch {
		case generation == row.generation:
			outcome = "rotated"
			rotated, err := rotateSession(ctx, tx, id, generation, now, now.Add(SessionLifetime))
			if err != nil {
				return err
			}
			if !rotated {
				return errors.New("session changed under its lock")
			}
			current.generation++
			return nil
		case generation == row.generation-1 && now.Sub(row.rotatedAt) <= RefreshGrace:
			outcome = "repeated"
			return nil
		case generation < row.generation:
			outcome = "reused"
			if _, err := revokeSession(ctx, tx, row.userID, id, endedByReuse, now); err != nil {
				return err
			}
			if err := s.notify(ctx, tx, u, "session_reuse", map[string]any{"Device": row.device, "Time": mailTime(now)}); err != nil {
				return err
			}
			return api.ErrUnauthenticated
		}
		// Of a generation that is still to come: the database was restored from a copy. The session cannot be told from others.
		return api.ErrUnauthenticated
	})
	if _, refused := problem.Find(err); err != nil && !refused {
		outcome = "failed"
	}
	s.metrics.refresh.WithLabelValues(outcome).Inc()
	if err != nil {
		return Tokens{}, err
	}
	access, err := s.accessToken(current.userID, id, s.clock.Now())
	return Tokens{access, s.refreshToken(id, current.generation)}, err
}

// LogOut ends the session of the customer.
func (s *Service) LogOut(ctx context.Context, c Customer) error {
	_, err := revokeSession(ctx, s.db, c.ID, c.SessionID, endedByLogout, s.clock.Now())
	return err
}

// LogOutEverywhere ends every session of the customer, the one that asks included.
func (s *Service) LogOutEverywhere(ctx context.Context, c Customer) error {
	_, err := revokeSessions(ctx, s.db, c.ID, endedEverywhere, s.clock.Now())
	return err
}

// Sessions lists the customer's sessions that stand, the latest used first, at most a hundred.
func (s *Service) Sessions(ctx context.Context, c Customer) ([]Session, error) {
	return s.sessions(ctx, c.ID, c.SessionID)
}

func (s *Service) sessions(ctx context.Context, userID int64, currentID string) ([]Session, error) {
	rows, err := openSessions(ctx, s.db, userID, s.clock.Now())
	if err != nil {
		return nil, err
	}
	list := make([]Session, 0, len(rows))
	for _, r := range rows {
		address, err := s.vault.OpenText(r.address, sessionAddress(r.id))
		if err != nil {
			return nil, err
		}
		list = append(list, Session{
			ID: r.id, Device: r.device, Address: address, CreatedAt: r.createdAt, LastUsedAt: r.lastUsedAt, ExpiresAt: r.expiresAt,
			Current: r.id == currentID,
		})
	}
	return list, nil
}

// EndSession ends one session of the customer. Errors: ErrSessionNotFound, also for one of somebody else.
func (s *Service) EndSession(ctx context.Context, c Customer, sessionID string) error {
	ended, err := revokeSession(ctx, s.db, c.ID, sessionID, endedByCustomer, s.clock.Now())
	if err == nil && !ended {
		return ErrSessionNotFound
	}
	return err
}
