package ledger

import (
	"context"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// SetVerifyChunk sets how many rows Verify reads at once.
func (l *Ledger) SetVerifyChunk(n int) { l.verifyChunk = n }

// VerifyIn verifies the book as a transaction sees it.
func (l *Ledger) VerifyIn(tx db.Tx) (Report, error) { return l.verify(context.Background(), tx, nil) }
