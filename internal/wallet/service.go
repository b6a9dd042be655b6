// Package wallet is what customers do with their coins: balances, deposit addresses, deposits, withdrawals, transfers among
// customers, and one history of it all. The money itself is in package ledger.
package wallet

import (
	"cmp"
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
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
	BSC        string                // the gateway's number of BSC, also for coins that are not listed any more; empty: DefaultBSC
	Prices     Prices                // nil: only USDT has a price
	Gateway    GatewayOptions

	TransferLimits LimitsByLevel // of what customers send to each other
}

// Service is the capability. It is safe for concurrent use; all that matters lives in the database.
type Service struct {
	Options
	store  store
	gate   *gate
	cases  cases.Book
	byName map[string]Coin
	listed map[string]listed // the whole catalogue, by name
	terms  atomic.Pointer[termsMemory]

	newestCustomer atomic.Int64 // an id that is known to be taken
}

// listed is a coin of the catalogue, whether customers see it or not, with its place there, from 1: its id, for ever.
type listed struct {
	Coin
	id int
}

// New makes the service.
func New(o Options) *Service {
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Service{store: store{o.DB}, gate: newGate(&o), cases: cases.NewBook(o.DB, o.Clock), byName: map[string]Coin{}, listed: map[string]listed{}}
	s.Options = o
	for i, c := range Catalogue(cmp.Or(o.BSC, DefaultBSC)) {
		s.listed[c.Code] = listed{c, i + 1}
	}
	for _, c := range o.Coins {
		s.byName[c.Code] = c
		s.listed[c.Code] = listed{c, s.listed[c.Code].id}
	}
	if o.Ledger != nil {
		o.Ledger.Govern(KindTransfer, transferRule{s})
		o.Ledger.RegisterCheck("wallet history", s.verifyHistory)
		o.Ledger.RegisterCheck("withdrawals", s.verifyWithdrawals)
		o.Ledger.RegisterCheck("deposits", s.verifyDeposits)
	}
	return s
}

// Revoke keeps a customer, whose row is locked, from sending until they are verified again. It is a kyc.RevocationHook.
func (s *Service) Revoke(ctx context.Context, tx db.Tx, userID int64) error {
	if err := s.Customers.HoldTransfers(ctx, tx, userID); err != nil {
		return err
	}
	c, err := s.store.lockCustomer(ctx, tx, userID)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	c.revokedAt = &now
	return s.store.saveCustomer(ctx, tx, c)
}
