package cli

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

type reconcileCommand struct {
	Compare reconcileCompareCommand `cmd:"" default:"withargs" help:"Compare the ledger with what the crypto gateway holds; exit code 1 if they differ. Done if nothing else is named."`
	Book    reconcileBookCommand    `cmd:"" help:"Book a difference that is none of a customer's: fees of the chain, or what the house has put in."`
}

type reconcileCompareCommand struct{ output }

var errDifferences = errors.New("the gateway does not hold what the ledger says")

// Run compares the ledger with what the gateway holds. Coins that cannot be compared are missing, and make it fail as well.
func (c reconcileCompareCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		list, err := s.Wallet.Reconcile(ctx)
		if err != nil && len(list) == 0 {
			return withStaffText(err)
		}
		printed := c.print(p, list, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "COIN\tLEDGER\tGATEWAY\tAT LEAST\tAT MOST\tDIFFERENCE\tSINCE")
			for _, r := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Coin, r.Ledger, r.Gateway, r.Least, r.Most, r.Difference, maybe(r.Since))
			}
		})
		for _, r := range list {
			if !r.Difference.IsZero() {
				return errors.Join(printed, err, errDifferences)
			}
		}
		return errors.Join(printed, err)
	})
}

type reconcileBookCommand struct {
	Coin      string `help:"Which coin." required:"" placeholder:"COIN"`
	Amount    string `help:"How much of the difference, in whole coins, with its sign: what the gateway has beyond the ledger, or --amount=-3.2 for what it lacks." required:"" placeholder:"AMOUNT"`
	Reason    string `name:"reason" aliases:"why" help:"Why, for the audit log and the ledger." required:"" placeholder:"TEXT"`
	Reference string `help:"Your name of it, such as gas-2026-03: under one name it is booked once. Without one the same amount is refused for ten minutes." placeholder:"TEXT"`
	Force     bool   `help:"Also if it is more than the last comparison has found."`
	operator
	output
}

// Run books a difference.
func (c reconcileBookCommand) Run(ctx context.Context, p Program) error {
	by, err := c.identity()
	if err != nil {
		return err
	}
	return withServices(ctx, p, func(s *app.Services) error {
		done, err := s.Wallet.BookDifference(ctx, by, wallet.Booking{Coin: c.Coin, Amount: c.Amount, Reference: c.Reference, Forced: c.Force}, c.Reason)
		if err != nil {
			return err
		}
		return c.print(p, done, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "COIN\tAMOUNT\tTRANSACTION\tREFERENCE\tTHE HOUSE HAS\tDIFFERENCE LEFT")
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", done.Coin, done.Amount, done.Transaction, done.Reference, done.House, done.Left)
			if done.Repeated {
				fmt.Fprintln(w, "It was booked before; nothing was booked now.")
			}
		})
	})
}
