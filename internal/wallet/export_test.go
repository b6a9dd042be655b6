package wallet

import (
	"context"
	"time"
)

// MakeAddresses runs the job that asks for a customer's addresses, as it was put into the queue under a lease.
func (s *Service) MakeAddresses(ctx context.Context, userID int64, queued time.Time) error {
	return s.makeAddresses(ctx, addressArgs{userID, queued.UnixMicro()})
}
