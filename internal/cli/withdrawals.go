package cli

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

type withdrawalCommand struct {
	List    withdrawalListCommand    `cmd:"" help:"List withdrawals that have not ended, oldest first, or those of a customer."`
	Show    withdrawalShowCommand    `cmd:"" help:"Show a withdrawal with all that has happened to it."`
	Approve withdrawalApproveCommand `cmd:"" help:"Let a withdrawal be sent that waits for an operator."`
	Refuse  withdrawalRefuseCommand  `cmd:"" help:"Give the money of a withdrawal back that has not been sent."`
	Settle  withdrawalSettleCommand  `cmd:"" help:"End a withdrawal by hand that the gateway says no more about, after looking there and on chain."`
}

func amountOf(coin string, units int64) string {
	for _, c := range wallet.Catalogue(wallet.DefaultBSC) {
		if c.Code == coin {
			return c.Format(units) + " " + coin
		}
	}
	return money.Format(units, 0) + " units of " + coin
}

func printWithdrawals(w *tabwriter.Writer, list ...wallet.Withdrawal) {
	fmt.Fprintln(w, "ID\tCUSTOMER\tREQUESTED\tAMOUNT\tFEE\tSTATE\tWAITS FOR\tORDERS\tADDRESS")
	for _, x := range list {
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", x.ID, x.UserID, moment(x.RequestedAt), amountOf(x.Coin, x.Units), amountOf(x.Coin, x.Fee), x.State, x.WaitsFor, x.Attempts, x.Address)
	}
}

type withdrawalListCommand struct {
	State    []wallet.WithdrawalState `help:"Only these states, such as review." placeholder:"STATE,…"`
	Customer string                   `help:"Only this customer's, ended ones included: number or e-mail address." placeholder:"CUSTOMER"`
	After    int64                    `help:"Only greater numbers, for the next page." placeholder:"ID"`
	Limit    int                      `help:"How many, at most 1000." default:"50"`
	output
}

// Run lists withdrawals.
func (c withdrawalListCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		list, err := s.Wallet.ListWithdrawals(ctx, wallet.WithdrawalFilter{States: c.State, Customer: c.Customer, After: c.After, Limit: c.Limit})
		if err != nil {
			return err
		}
		return c.print(p, list, func(w *tabwriter.Writer) { printWithdrawals(w, list...) })
	})
}

type withdrawalShowCommand struct {
	ID int64 `arg:"" help:"Number of the withdrawal."`
	output
}

// Run shows a withdrawal.
func (c withdrawalShowCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		file, err := s.Wallet.ShowWithdrawal(ctx, c.ID)
		if err != nil {
			return err
		}
		return c.print(p, file, func(w *tabwriter.Writer) {
			printWithdrawals(w, file.Withdrawal)
			fmt.Fprintf(w, "\nversion %d, business id %s, trade %s, transaction on chain %s\n\n", file.Version, file.BusinessID, orDash(file.TradeID), orDash(file.TxID))
			fmt.Fprintln(w, "AT\tEVENT\tSTATE\tBY\tDETAIL")
			for _, x := range file.Steps {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", moment(x.At), x.Event, x.State, orDash(x.Actor), x.Detail)
			}
		})
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// decidesWithdrawal is an act on a withdrawal.
type decidesWithdrawal struct {
	ID int64 `arg:"" help:"Number of the withdrawal."`
	actor
	output
}

func (c decidesWithdrawal) run(ctx context.Context, p Program, act func(*wallet.Service, identity.Operator) (wallet.Withdrawal, error)) error {
	by, err := c.identity()
	if err != nil {
		return err
	}
	return withServices(ctx, p, func(s *app.Services) error {
		done, err := act(s.Wallet, by)
		if err != nil {
			return err
		}
		return c.print(p, done, func(w *tabwriter.Writer) { printWithdrawals(w, done) })
	})
}

type withdrawalApproveCommand struct{ decidesWithdrawal }

// Run approves a withdrawal.
func (c withdrawalApproveCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *wallet.Service, by identity.Operator) (wallet.Withdrawal, error) {
		return s.ApproveWithdrawal(ctx, by, c.ID, c.Reason)
	})
}

type withdrawalRefuseCommand struct{ decidesWithdrawal }

// Run refuses a withdrawal.
func (c withdrawalRefuseCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *wallet.Service, by identity.Operator) (wallet.Withdrawal, error) {
		return s.RefuseWithdrawal(ctx, by, c.ID, c.Reason)
	})
}

type withdrawalSettleCommand struct {
	decidesWithdrawal
	Version int64  `help:"Version that withdrawal show printed before you looked at the gateway. If an order has been placed since, look again." required:""`
	Outcome string `help:"What came of it: succeeded (the coins left) or failed (they did not and will not: the customer gets them back)." enum:"succeeded,failed" required:""`
}

// Run settles a withdrawal.
func (c withdrawalSettleCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *wallet.Service, by identity.Operator) (wallet.Withdrawal, error) {
		return s.SettleWithdrawal(ctx, by, c.ID, c.Version, c.Outcome == "succeeded", c.Reason)
	})
}
