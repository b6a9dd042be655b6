package kyc

import "context"

// LastTry works on a stored call the way the queue does when there is no further attempt: the waits between the attempts
// are the queue's own, minutes of the machine's time.
func (s *Service) LastTry(ctx context.Context, messageID int64) error {
	return s.handleInbound(ctx, messageID, true)
}

// InboundAttempts is how often a stored call is worked on before it is given up.
const InboundAttempts = inboundAttempts
