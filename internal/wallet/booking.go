package wallet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// KindCustodyBooked is the ledger's kind of what an operator books between custody and the house.
const KindCustodyBooked ledger.Kind = "custody.booked"

// Problems of booking a difference.
var (
	ErrBookingAbove     = problem.Define("BOOKING_ABOVE_DIFFERENCE", problem.Invalid) // Difference, Currency
	ErrBookingRepeated  = problem.Define("BOOKING_REPEATED", problem.Invalid)         // Transaction, Minutes
	ErrBookingReference = problem.Define("BOOKING_REFERENCE_USED", problem.Invalid)   // Reference
)

// Booking is a difference between the gateway and the ledger that is none of a customer's: fees of the chain, or what the house has put in.
type Booking struct {
	Coin      string // its name
	Amount    string // whole coins, with the sign of the difference: what the gateway holds beyond the ledger, or -, what it lacks
	Reference string // the operator's own name of it, which is booked once; empty: it is given one
	Forced    bool   // also beyond the difference of the last comparison
}

// Booked is a booking as it stands in the ledger.
type Booked struct {
	Coin        string          `json:"coin"`
	Amount      decimal.Decimal `json:"amount"`
	Reference   string          `json:"reference"`
	Transaction int64           `json:"transaction"`
	Repeated    bool            `json:"repeated"`        // it stood there before, and nothing was booked now
	House       decimal.Decimal `json:"house"`           // what the house had of the coin after it; below 0: customers' money has paid the chain
	Left        decimal.Decimal `json:"difference_left"` // now
}

// bookedAgainAfter is how long an equal booking without a reference passes for the same one, given twice.
const bookedAgainAfter = 10 * time.Minute

// BookDifference books what the gateway holds otherwise than the ledger says, and is none of a customer's, between custody and the house's
// own account. The case about the coin closes itself with the next comparison.
//
// Errors: ErrCurrencyUnknown, those of amounts, ErrBookingAbove, ErrBookingRepeated, ErrBookingReference, identity.ErrReasonRequired.
func (s *Service) BookDifference(ctx context.Context, by identity.Operator, b Booking, reason string) (Booked, error) {
	coin, known := s.byName[b.Coin]
	if !known {
		return Booked{}, ErrCurrencyUnknown
	}
	text, lacking := strings.CutPrefix(b.Amount, "-")
	units, err := parseAmount(coin, text)
	if err != nil {
		return Booked{}, err
	}
	if lacking {
		units = -units
	}
	named := b.Reference != ""
	if !named {
		id, err := uuid.NewV7FromReader(s.Random)
		if err != nil {
			return Booked{}, err
		}
		b.Reference = id.String()
	}
	reason = strings.TrimSpace(reason)
	about, err := json.Marshal(map[string]any{"operator": by.Name, "forced": b.Forced})
	if err != nil {
		return Booked{}, err
	}
	move := ledger.Move(KindCustodyBooked, b.Reference, ledger.CustodyOf(coin.Code), ledger.HouseOf(coin.Code), units)
	move.Description, move.Metadata = reason, string(about)

	var out Booked
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		// First of all, as for deposits: what is posted of the coin stands still from here on, and is taken back with any error.
		posted, err := s.Ledger.Post(ctx, tx, move)
		switch {
		case errors.Is(err, ledger.ErrReferenceUsed):
			return ErrBookingReference.With("Reference", b.Reference)
		case errors.Is(err, ledger.ErrOverflow):
			return ErrAmountTooLarge
		case err != nil:
			return err
		}
		now := s.Clock.Now()
		c, err := s.store.lockCustody(ctx, tx, coin.Code, now)
		if err != nil {
			return err
		}
		difference := decimal.Zero
		if c.difference != nil {
			difference = *c.difference
		}
		out = Booked{Coin: coin.Code, Amount: coin.Decimal(units), Reference: b.Reference, Transaction: posted.ID, Repeated: posted.Replayed,
			House: coin.Decimal(posted.Postings[1].BalanceAfter), Left: difference}
		if posted.Replayed {
			return nil
		}
		if !named {
			if err := s.bookedBefore(ctx, tx, coin, posted, now); err != nil {
				return err
			}
		}
		if !b.Forced && (out.Amount.Sign() != difference.Sign() || out.Amount.Abs().GreaterThan(difference.Abs())) {
			return ErrBookingAbove.With("Difference", signed(difference), "Currency", coin.Code)
		}
		out.Left = counted(coin, difference.Sub(out.Amount))
		if c.difference != nil {
			switch {
			case out.Left.IsZero():
				c.since = nil
			case c.since == nil || out.Left.Sign() != difference.Sign():
				c.since = &now
			}
			c.difference = &out.Left
		}
		if err := s.store.setDifference(ctx, tx, c); err != nil {
			return err
		}
		return s.Customers.Audit(ctx, tx, identity.AuditEntry{Operator: by, Action: "custody.booked", Reason: reason,
			Subject: fmt.Sprintf("transaction %d: %s %s", posted.ID, signed(out.Amount), coin.Code)})
	})
	if err != nil {
		return Booked{}, err
	}
	return out, nil
}

// bookedBefore is ErrBookingRepeated if another booking of the same amount has just been made.
func (s *Service) bookedBefore(ctx context.Context, tx db.Tx, coin Coin, posted ledger.Posted, now time.Time) error {
	latest, err := s.Ledger.Statement(ctx, tx, ledger.HouseOf(coin.Code), ledger.Period{From: now.Add(-bookedAgainAfter)})
	for _, e := range latest.Entries {
		if e.TransactionID != posted.ID && e.Amount == posted.Postings[1].Amount {
			return ErrBookingRepeated.With("Transaction", e.TransactionID, "Minutes", int(bookedAgainAfter/time.Minute))
		}
	}
	return err
}
