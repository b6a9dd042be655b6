package cli

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
)

type casesCommand struct {
	List  casesListCommand  `cmd:"" help:"List what waits for an operator, oldest first."`
	Close casesCloseCommand `cmd:"" help:"Close a case and leave what it is about as it is."`
}

// caseLine is a case as operators see it; it holds no personal data.
type caseLine struct {
	cases.Case
	Age int64 `json:"age_seconds"`
}

func printCases(p Program, o output, list []cases.Case, now time.Time) error {
	lines := make([]caseLine, len(list))
	for i, c := range list {
		lines[i] = caseLine{c, int64(now.Sub(c.OpenedAt) / time.Second)}
	}
	return o.print(p, lines, func(w *tabwriter.Writer) {
		fmt.Fprintln(w, "ID\tOPENED\tAGE\tKIND\tABOUT\tDETAIL")
		for _, l := range lines {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\n", l.ID, moment(l.OpenedAt), time.Duration(l.Age)*time.Second, l.Kind, l.Subject, l.Detail)
		}
	})
}

type casesListCommand struct {
	Kind  []string `help:"Only these kinds, such as kyc_revocation." placeholder:"KIND,…"`
	After int64    `help:"Only cases with a greater id, for the next page." placeholder:"ID"`
	Limit int      `help:"How many, at most 1000." default:"50"`
	output
}

// Run lists cases.
func (c casesListCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		list, err := s.Cases.List(ctx, cases.Filter{Kinds: c.Kind, After: c.After, Limit: c.Limit})
		if err != nil {
			return err
		}
		return printCases(p, c.output, list, s.Clock.Now())
	})
}

type casesCloseCommand struct {
	ID int64 `arg:"" help:"Number of the case."`
	actor
	output
}

// Run closes a case.
func (c casesCloseCommand) Run(ctx context.Context, p Program) error {
	by, err := c.identity()
	if err != nil {
		return err
	}
	return withServices(ctx, p, func(s *app.Services) error {
		closed, err := s.CloseCase(ctx, by, c.ID, c.Reason)
		if err != nil {
			return err
		}
		return c.print(p, closed, func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "closed\t%d\t%s\t%s\n", closed.ID, closed.Kind, closed.Subject)
		})
	})
}
