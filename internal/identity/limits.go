package identity

import (
	"context"
	"net/netip"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// window limits how many requests of one kind may come in one span of time. Windows are kept in the database, for all
// replicas together.
type window struct {
	name string
	hits int
	span time.Duration
}

// Per network address. Many customers of one mobile operator share an address, so these only stop machines; what
// guards one customer is counted per address of mail.
var (
	signupWindow = window{"signup", 60, time.Hour}
	loginWindow  = window{"login", 120, 10 * time.Minute}
	codeWindow   = window{"code", 120, 10 * time.Minute} // checks of codes and what follows them
	sendWindow   = window{"send", 120, time.Hour}        // requests that may send mail: resend, forgotten password
)

// Per address of mail, besides what p.window says. Whatever anybody can ask for in somebody else's name is counted apart from the codes of a login,
// which the right password has asked for: no stranger can use those up.
var (
	resentCodes  = window{"codes again", 20, time.Hour} // asked for without saying for what, pending or not
	resendWindow = window{"resend", 1, resendPeriod}    // the same
)

// Per new address or number, whoever asks to change to it.
var (
	newEmailWindow = window{"codes to a new address", 20, time.Hour}
	newPhoneWindow = window{"codes to a new number", 5, time.Hour}
)

// window is what limits how many codes of this purpose are sent to one address of mail, or to one customer. An SMS costs money.
func (p purpose) window() window {
	if p == forNewPhone {
		return window{"codes for " + string(p), 5, time.Hour}
	}
	return window{"codes for " + string(p), 20, time.Hour}
}

// admitAddress counts a request of a network address. Its refusal is api.ErrTooManyRequests.
func (s *Service) admitAddress(ctx context.Context, tx db.Tx, w window, client Client, now time.Time) error {
	key := client.Address
	if addr, err := netip.ParseAddr(client.Address); err == nil {
		addr = addr.Unmap()
		if s.spares(addr) {
			return nil
		}
		if addr.Is6() {
			// One line is a /64; its owner may use any address in it.
			p, _ := addr.WithZone("").Prefix(64)
			key = p.String()
		}
	}
	return s.admit(ctx, tx, w, []byte(key), api.ErrTooManyRequests, now)
}

func (s *Service) admit(ctx context.Context, tx db.Tx, w window, key []byte, refusal *problem.Problem, now time.Time) error {
	hits, started, err := hit(ctx, tx, s.vault.Hash("rate window", w.name, string(key)), now, now.Add(-w.span))
	if err != nil {
		return err
	}
	if hits > w.hits {
		return refusal.After(started.Add(w.span).Sub(now))
	}
	return nil
}
