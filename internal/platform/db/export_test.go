package db

import (
	"context"

	"github.com/pressly/goose/v3"
)

// DownAll undoes all migrations, which no command does: it shows that each file can be undone.
func (m Migrations) DownAll(ctx context.Context, d DB) error {
	return m.with(d, func(p *goose.Provider) error {
		_, err := p.DownTo(ctx, 0)
		return err
	})
}

// SweepBatches is Sweep with batches of another size.
var SweepBatches = sweep
