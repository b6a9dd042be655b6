package wallet

import "context"

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

// PursueWithdrawal runs the job of a withdrawal.
func (s *Service) PursueWithdrawal(ctx context.Context, id int64) error { return s.pursue(ctx, id) }

// ReconcileWhenDue does as the loop does.
func (s *Service) ReconcileWhenDue(ctx context.Context) error { return s.reconcileWhenDue(ctx) }

// TronAddress is the address of a key hash.
func TronAddress(hash [hashLength]byte) string {
	body := append([]byte{tronAddress}, hash[:]...)
	return encodeBase58(append(body, base58Sum(body)...))
}
