package wallet

import (
	"context"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// BeginOrder writes down that the gateway is about to be called for a withdrawal, and dies before the call.
func (s *Service) BeginOrder(ctx context.Context, id int64) (attempts int, err error) {
	order, err := s.beginOrder(ctx, id)
	if err != nil || order == nil {
		return 0, err
	}
	return order.Attempts, nil
}

// PostAtGateway orders a withdrawal and dies before the answer is written down.
func (s *Service) PostAtGateway(ctx context.Context, id int64) error {
	order, err := s.beginOrder(ctx, id)
	if err != nil {
		return err
	}
	_, err = s.placeOrder(ctx, *order)
	return err
}

// AnswerOrder has the gateway's answer to the newest order come in: it has taken it.
func (s *Service) AnswerOrder(ctx context.Context, id int64) error {
	return s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		w, err := s.store.lockWithdrawal(ctx, tx, `id = $1`, id)
		if err == nil {
			_, err = s.step(ctx, tx, w, WithdrawalEvent{Kind: OrderAccepted, Attempt: w.Attempts, At: s.Clock.Now()})
		}
		return err
	})
}

// PursueWithdrawal runs the job of a withdrawal.
func (s *Service) PursueWithdrawal(ctx context.Context, id int64) error { return s.pursue(ctx, id) }

// ReconcileWhenDue does as the loop does.
func (s *Service) ReconcileWhenDue(ctx context.Context) error { return s.reconcileWhenDue(ctx) }

// TronAddress is the address of a key hash.
func TronAddress(hash [hashLength]byte) string {
	body := append([]byte{tronAddress}, hash[:]...)
	return encodeBase58(append(body, base58Sum(body)...))
}
