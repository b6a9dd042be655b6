package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/ledger"
)

type ledgerCommand struct {
	Verify ledgerVerifyCommand `cmd:"" help:"Check every account, transaction and posting. It may run while customers are served."`
	Show   ledgerShowCommand   `cmd:"" help:"Show an account or a transaction."`
}

type ledgerVerifyCommand struct{ output }

var errUnsound = errors.New("the ledger is not sound")

// Run verifies the ledger. Findings make it fail.
func (c ledgerVerifyCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		last := time.Now()
		report, err := s.Ledger.Verify(ctx, func(r ledger.Report) {
			if now := time.Now(); now.Sub(last) >= time.Second {
				last = now
				fmt.Fprintf(p.Stderr, "%d accounts, %d postings, %d transactions, %d findings\n", r.Accounts, r.Postings, r.Transactions, len(r.Findings))
			}
		})
		if err != nil {
			return err
		}
		err = c.print(p, report, func(w *tabwriter.Writer) {
			for _, f := range report.Findings {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Check, f.Account, maybeNumber(f.Transaction), f.Detail)
			}
			fmt.Fprintf(w, "%d accounts, %d postings, %d transactions: %d findings\n", report.Accounts, report.Postings, report.Transactions, int64(len(report.Findings))+report.Unlisted)
		})
		if !report.OK() {
			err = errors.Join(err, errUnsound)
		}
		return err
	})
}

func maybeNumber(n int64) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

type ledgerShowCommand struct {
	Account     ledgerAccountCommand     `cmd:"" help:"Show the balance and the postings of an account."`
	Transaction ledgerTransactionCommand `cmd:"" help:"Show a transaction."`
}

type ledgerAccountCommand struct {
	Code  string    `arg:"" help:"Its code, such as user:42:available:USDT-TRC20 or custody:BTC."`
	At    time.Time `help:"Only the balance, as it was then." placeholder:"TIME"`
	From  time.Time `help:"Postings from then on." placeholder:"TIME"`
	To    time.Time `help:"Postings before then." placeholder:"TIME"`
	After int64     `help:"Postings with a greater number, for the next page." placeholder:"NUMBER"`
	Limit int       `help:"How many, at most 1000." default:"50"`
	output
}

// entryLine is a posting as operators see it. Amounts are in minor units.
type entryLine struct {
	Sequence    int64     `json:"sequence"`
	At          time.Time `json:"at"`
	Amount      int64     `json:"amount"`
	Balance     int64     `json:"balance"`
	Transaction int64     `json:"transaction"`
	Kind        string    `json:"kind"`
	Reference   string    `json:"reference"`
	Description string    `json:"description"`
}

// accountStatement is what happened on an account. Amounts are in minor units.
type accountStatement struct {
	Account string      `json:"account"`
	Opening int64       `json:"opening"`
	Closing int64       `json:"closing"`
	Entries []entryLine `json:"entries"`
	More    bool        `json:"more"`
}

// Run shows an account.
func (c ledgerAccountCommand) Run(ctx context.Context, p Program) error {
	a, err := ledger.ParseAccount(c.Code)
	if err != nil {
		return err
	}
	if c.Limit < 1 || c.Limit > 1000 {
		return errors.New("--limit: must be from 1 to 1000")
	}
	return withServices(ctx, p, func(s *app.Services) error {
		if !c.At.IsZero() {
			units, err := s.Ledger.BalanceAt(ctx, s.DB, a, c.At)
			if err != nil {
				return err
			}
			return c.print(p, map[string]any{"account": a.String(), "at": c.At.UTC(), "balance": units}, func(w *tabwriter.Writer) {
				fmt.Fprintf(w, "%s\t%s\t%d\n", a, moment(c.At), units)
			})
		}
		st, err := s.Ledger.Statement(ctx, s.DB, a, ledger.Period{From: c.From, To: c.To, After: c.After, Limit: c.Limit})
		if err != nil {
			return err
		}
		all := accountStatement{a.String(), st.Opening, st.Closing, []entryLine{}, st.More}
		for _, e := range st.Entries {
			all.Entries = append(all.Entries, entryLine{e.Sequence, e.At, e.Amount, e.BalanceAfter, e.TransactionID, string(e.Kind), e.Reference, e.Description})
		}
		return c.print(p, all, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "NUMBER\tWHEN\tAMOUNT\tBALANCE\tTRANSACTION\tKIND\tREFERENCE\tDESCRIPTION")
			fmt.Fprintf(w, "\t\t\t%d\n", all.Opening)
			for _, l := range all.Entries {
				fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%s\t%s\t%s\n", l.Sequence, moment(l.At), l.Amount, l.Balance, l.Transaction, l.Kind, l.Reference, l.Description)
			}
			if all.More {
				fmt.Fprintf(w, "more: --after %d\n", all.Entries[len(all.Entries)-1].Sequence)
			}
		})
	})
}

type ledgerTransactionCommand struct {
	Which string `arg:"" name:"transaction" help:"Its number, or its kind and reference with a slash between, such as deposit/998006370676506624."`
	output
}

// legLine is a posting of a transaction as operators see it. Amounts are in minor units.
type legLine struct {
	Account  string `json:"account"`
	Sequence int64  `json:"sequence"`
	Amount   int64  `json:"amount"`
	Balance  int64  `json:"balance"`
}

// transactionLine is a transaction as operators see it.
type transactionLine struct {
	ID          int64     `json:"id"`
	Kind        string    `json:"kind"`
	Reference   string    `json:"reference"`
	Description string    `json:"description"`
	Metadata    string    `json:"metadata"`
	At          time.Time `json:"at"`
	Reverses    int64     `json:"reverses"`
	ReversedBy  int64     `json:"reversed_by"`
	Postings    []legLine `json:"postings"`
}

// Run shows a transaction.
func (c ledgerTransactionCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		var r ledger.Record
		id, err := strconv.ParseInt(c.Which, 10, 64)
		if err == nil {
			r, err = s.Ledger.Transaction(ctx, s.DB, id)
		} else {
			kind, reference, _ := strings.Cut(c.Which, "/")
			r, err = s.Ledger.TransactionNamed(ctx, s.DB, ledger.Kind(kind), reference)
		}
		if err != nil {
			return err
		}
		line := transactionLine{r.ID, string(r.Kind), r.Reference, r.Description, r.Metadata, r.At, r.Reverses, r.ReversedBy, nil}
		for _, x := range r.Postings {
			line.Postings = append(line.Postings, legLine{x.Account.String(), x.Sequence, x.Amount, x.BalanceAfter})
		}
		return c.print(p, line, func(w *tabwriter.Writer) {
			for _, row := range [][2]string{
				{"transaction", fmt.Sprintf("%d, %s/%s", line.ID, line.Kind, line.Reference)},
				{"when", moment(line.At)},
				{"description", line.Description},
				{"metadata", line.Metadata},
				{"reverses", maybeNumber(line.Reverses)},
				{"reversed by", maybeNumber(line.ReversedBy)},
			} {
				fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
			}
			fmt.Fprintln(w, "\nACCOUNT\tNUMBER\tAMOUNT\tBALANCE")
			for _, l := range line.Postings {
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", l.Account, l.Sequence, l.Amount, l.Balance)
			}
		})
	})
}
