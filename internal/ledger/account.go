package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Account names an account: whose it is, what for, and in which asset. It is its identity; there is one such account.
type Account struct {
	Owner   OwnerKind
	OwnerID int64  // of a user or a card; 0: the house's own account
	Purpose string // tells the accounts of one owner in one asset apart; empty: there is only one
	Asset   string // code of the asset
}

// OwnerKind says whose an account is.
type OwnerKind string

// The chart of accounts. A positive balance is what we owe to the owner; what we have elsewhere is negative, so that the whole
// book sums to zero.
const (
	User     OwnerKind = "user"     // a customer
	Card     OwnerKind = "card"     // mirrors what is on a card at the issuer
	Custody  OwnerKind = "custody"  // what the gateway holds for us: the other side of deposits and withdrawals
	Issuer   OwnerKind = "issuer"   // our prefunded account at the issuer
	Position OwnerKind = "position" // our own stock for swaps
	Revenue  OwnerKind = "revenue"  // fees earned; the purpose is their kind
	Reward   OwnerKind = "reward"   // what commissions and coupons cost
	Suspense OwnerKind = "suspense" // money whose owner is not known yet
	House    OwnerKind = "house"    // what the house has put in, less what the chains have taken
)

// Purposes of a customer's accounts.
const (
	Available = "available" // what the customer can spend
	Held      = "held"      // reserved for what is not decided yet
)

// AvailableOf is what a customer can spend of an asset.
func AvailableOf(userID int64, asset string) Account { return Account{User, userID, Available, asset} }

// HeldOf is what of a customer's money is reserved for a withdrawal, a fee or a card load that is not decided yet.
func HeldOf(userID int64, asset string) Account { return Account{User, userID, Held, asset} }

// CustodyOf is what the gateway holds of an asset.
func CustodyOf(asset string) Account { return Account{Owner: Custody, Asset: asset} }

// SuspenseOf is money of an asset whose owner is not known yet.
func SuspenseOf(asset string) Account { return Account{Owner: Suspense, Asset: asset} }

// HouseOf is what the house itself has put in of an asset, less what its chain has taken. Below zero, customers' money has paid the chain.
func HouseOf(asset string) Account { return Account{Owner: House, Asset: asset} }

// RevenueOf is what fees of a kind have earned in an asset.
func RevenueOf(kind, asset string) Account {
	return Account{Owner: Revenue, Purpose: kind, Asset: asset}
}

// floored tells whether the balance of the account must never be below zero. House accounts that stand for what we have
// elsewhere are below zero by their nature, and a card may be overdrawn by its issuer.
func (a Account) floored() bool {
	return a.Owner == User || a.Owner == Revenue || a.Owner == Suspense
}

// String is the code of the account: user:42:available:USDT-TRC20, custody:BTC, revenue:withdrawal:BTC.
func (a Account) String() string {
	parts := []string{string(a.Owner)}
	if a.OwnerID != 0 {
		parts = append(parts, strconv.FormatInt(a.OwnerID, 10))
	}
	if a.Purpose != "" {
		parts = append(parts, a.Purpose)
	}
	return strings.Join(append(parts, a.Asset), ":")
}

// ErrAccount says that something is not the code of an account.
var ErrAccount = errors.New("not an account")

// ParseAccount reads the code of an account. Errors: ErrAccount.
func ParseAccount(code string) (Account, error) {
	parts := strings.Split(code, ":")
	a := Account{Owner: OwnerKind(parts[0]), Asset: parts[len(parts)-1]}
	middle := parts[min(1, len(parts)):max(1, len(parts)-1)]
	if len(middle) > 0 {
		if id, err := strconv.ParseInt(middle[0], 10, 64); err == nil {
			a.OwnerID, middle = id, middle[1:]
		}
	}
	if len(middle) > 0 {
		a.Purpose, middle = middle[0], middle[1:]
	}
	if len(parts) < 2 || len(middle) > 0 || a.validate() != nil || a.String() != code {
		return Account{}, fmt.Errorf("%w: %q", ErrAccount, code)
	}
	return a, nil
}

func (a Account) validate() error {
	private := false
	switch a.Owner {
	case User, Card:
		private = true
	case Custody, Issuer, Position, Revenue, Reward, Suspense, House:
	default:
		return ErrAccount
	}
	if a.Asset == "" || private != (a.OwnerID > 0) || a.OwnerID < 0 || strings.Contains(a.Purpose+a.Asset, ":") ||
		a.Owner == User && a.Purpose != Available && a.Purpose != Held {
		return ErrAccount
	}
	return nil
}
