// Package wallet is what customers do with their coins: balances, deposit addresses, deposits, withdrawals, transfers among
// customers, and one history of it all. The money itself is in package ledger.
package wallet

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// Options is what the service needs.
type Options struct {
	DB         db.DB
	Jobs       jobs.Inserter
	Ledger     *ledger.Ledger
	Customers  *identity.Service
	Vault      *secret.Vault
	Clock      clock.Clock
	Random     io.Reader // safe for concurrent use; nil: crypto/rand
	Texts      *i18n.Texts
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	Coins      []Coin                // in the order that customers see them
	Prices     Prices                // nil: only USDT has a price

	TransferLimits LimitsByLevel // of what customers send to each other
}

// Service is the capability. It is safe for concurrent use; all that matters lives in the database.
type Service struct {
	Options
	store  store
	byName map[string]Coin

	newestCustomer atomic.Int64 // an id that is known to be taken
}

// New makes the service.
func New(o Options) *Service {
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{Options: o, store: store{o.DB}, byName: map[string]Coin{}}
	for _, c := range o.Coins {
		s.byName[c.Code] = c
	}
	if o.Ledger != nil {
		o.Ledger.Govern(KindTransfer, transferRule{s})
	}
	return s
}

// Revoke keeps a customer from sending until they are verified again. It is a kyc.RevocationHook.
func (s *Service) Revoke(ctx context.Context, tx db.Tx, userID int64) error {
	c, err := s.store.lockCustomer(ctx, tx, userID)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	c.revokedAt = &now
	return s.store.saveCustomer(ctx, tx, c)
}
