package wallet

import (
	"context"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// MakeAddresses runs the job that asks for a customer's addresses, as it was put into the queue under a lease.
func (s *Service) MakeAddresses(ctx context.Context, userID int64, queued time.Time) error {
	return s.makeAddresses(ctx, addressArgs{userID, queued.UnixMicro()})
}

// AddEntry writes the next line of a customer's history.
func (s *Service) AddEntry(ctx context.Context, tx db.Tx, e Entry) error {
	c, err := s.store.lockCustomer(ctx, tx, e.UserID)
	if err != nil {
		return err
	}
	if _, err := s.store.addEntry(ctx, tx, &c, e); err != nil {
		return err
	}
	return s.store.saveCustomer(ctx, tx, c)
}
