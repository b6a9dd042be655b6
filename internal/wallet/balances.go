package wallet

import (
	"context"
	"time"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Wallet is what a customer has.
type Wallet struct {
	UserID    int64
	Status    identity.Status
	CreatedAt time.Time // of the account
	DayLimit  int64     // of transfers, in millionths of a USDT; 0: none
	Holdings  []Holding // every coin, in the order in which customers see them
	USDT, HKD decimal.Decimal
}

// Holding is what a customer has of one coin.
type Holding struct {
	Coin
	ID      int    // the same for everybody and ever
	Units   int64  // what can be spent
	Address string // where the coin is paid in; empty: there is none yet
	Logo    string // address of an image; may be empty
}

// Wallet tells a customer what they have (contract/money 2.1). It confirms the session in the same query. Deposit addresses that are
// missing are asked for in the background.
//
// Errors: identity.ErrUserNotFound, api.ErrUnauthenticated.
func (s *Service) Wallet(ctx context.Context, c identity.Customer) (Wallet, error) {
	standing, createdAt, addresses, err := s.store.standing(ctx, c)
	if err != nil {
		return Wallet{}, err
	}
	now := s.Clock.Now()
	if err := standing.Check(now); err != nil {
		return Wallet{}, err
	}
	balances, err := s.Ledger.Balances(ctx, s.DB, ledger.User, c.ID)
	if err != nil {
		return Wallet{}, err
	}
	terms, err := s.coinTerms(ctx, s.DB)
	if err != nil {
		return Wallet{}, err
	}
	w := Wallet{UserID: c.ID, Status: standing.Status(), CreatedAt: createdAt, DayLimit: s.TransferLimits.Of(standing.KYCStatus() == verified).Day}
	for _, coin := range s.Coins {
		h := Holding{Coin: coin, ID: s.listed[coin.Code].id, Units: balances[ledger.AvailableOf(c.ID, coin.Code)]}
		if t, known := terms[coin.Code]; !known || t.usable() {
			h.Address = addresses[coin.Chain.MainCoin].address
		}
		if t := terms[coin.Code]; t.usable() {
			h.Logo = t.logo
			if t.symbol != "" {
				h.Symbol = t.symbol
			}
		}
		w.Holdings = append(w.Holdings, h)
		if price, ok := s.price(ctx, coin); ok {
			w.USDT = w.USDT.Add(coin.Decimal(h.Units).Mul(price))
		}
	}
	if s.Prices != nil {
		if q, err := s.Prices.Rate(ctx, "USDT", "HKD"); err == nil {
			w.HKD = w.USDT.Mul(q.Rate)
		}
	}
	if s.wanting(addresses, terms, now) {
		if err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error { return s.askAddresses(ctx, tx, c.ID) }); err != nil {
			return Wallet{}, err
		}
	}
	return w, nil
}

// price is what one unit of a coin is worth in USDT.
func (s *Service) price(ctx context.Context, c Coin) (decimal.Decimal, bool) {
	switch {
	case c.stable():
		return decimal.NewFromInt(1), true
	case s.Prices == nil:
		return decimal.Decimal{}, false
	}
	return s.Prices.InUSDT(ctx, c.Code)
}
