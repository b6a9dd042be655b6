package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

type depositCommand struct {
	List    depositListCommand    `cmd:"" help:"List deposits that wait for somebody, oldest first, or those of a customer."`
	Assign  depositAssignCommand  `cmd:"" help:"Give a deposit to a customer whose owner, amount or coin was not known."`
	Dismiss depositDismissCommand `cmd:"" help:"Set a deposit aside that is none of a customer's; what was booked goes back to custody."`
}

func printDeposits(w *tabwriter.Writer, list ...wallet.Deposit) {
	fmt.Fprintln(w, "ID\tTRADE\tSEEN\tCUSTOMER\tAMOUNT\tSTATE\tGATEWAY SAYS\tWHY\tADDRESS\tTRANSACTION")
	for _, d := range list {
		amount := amountOf(d.Coin, d.Units)
		if d.Units == 0 {
			amount = fmt.Sprintf("%s base units of %s/%s with %d decimals", d.Amount, d.MainCoinType, d.CoinType, d.Decimals)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\t%d (%s)\t%s\t%s\t%s\n", d.ID, d.TradeID, moment(d.SeenAt), d.UserID, amount, d.State, d.Said, d.Said, orDash(d.Reason), d.Address, orDash(d.TxID))
	}
}

type depositListCommand struct {
	State    []wallet.DepositState `help:"Only these states, such as suspense." placeholder:"STATE,…"`
	Customer string                `help:"Only this customer's, credited ones included: number or e-mail address." placeholder:"CUSTOMER"`
	After    int64                 `help:"Only greater numbers, for the next page." placeholder:"ID"`
	Limit    int                   `help:"How many, at most 1000." default:"50"`
	output
}

// Run lists deposits.
func (c depositListCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		list, err := s.Wallet.ListDeposits(ctx, wallet.DepositFilter{States: c.State, Customer: c.Customer, After: c.After, Limit: c.Limit})
		if err != nil {
			return err
		}
		return c.print(p, list, func(w *tabwriter.Writer) { printDeposits(w, list...) })
	})
}

// decidesDeposit is an act on a deposit.
type decidesDeposit struct {
	ID int64 `arg:"" help:"Number of the deposit."`
	actor
	output
}

func (c decidesDeposit) run(ctx context.Context, p Program, act func(*wallet.Service, identity.Operator) (wallet.Deposit, error)) error {
	by, err := c.identity()
	if err != nil {
		return err
	}
	return withServices(ctx, p, func(s *app.Services) error {
		d, err := act(s.Wallet, by)
		if err != nil {
			return err
		}
		return c.print(p, d, func(w *tabwriter.Writer) { printDeposits(w, d) })
	})
}

type depositAssignCommand struct {
	decidesDeposit
	User   string `help:"The customer: number or e-mail address." required:"" placeholder:"CUSTOMER"`
	Amount string `help:"How much came in, in whole coins, if that is not known." placeholder:"AMOUNT"`
	Coin   string `help:"Which coin, if that is not known." placeholder:"COIN"`
}

// Run assigns a deposit.
func (c depositAssignCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *wallet.Service, by identity.Operator) (wallet.Deposit, error) {
		return s.AssignDeposit(ctx, by, c.ID, wallet.Assignment{Customer: c.User, Amount: c.Amount, Currency: c.Coin}, c.Reason)
	})
}

type depositDismissCommand struct{ decidesDeposit }

// Run dismisses a deposit.
func (c depositDismissCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *wallet.Service, by identity.Operator) (wallet.Deposit, error) {
		return s.DismissDeposit(ctx, by, c.ID, c.Reason)
	})
}
