package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// office does what operators do, on the database of the sandbox itself, as their commands would. A sandbox of which the demo cannot reach
// the database gets along without.
type office struct {
	*walk
	services *app.Services // nil: the database is out of reach
}

// openOffice opens the database, if it is that of the sandbox that the demo walks through: it knows a customer who has just come.
func (w *walk) openOffice(p Program, c *walker) *office {
	o := &office{walk: w}
	if w.err != nil {
		return o
	}
	services, err := beside(w.ctx, p, w.sandbox, c)
	if err != nil {
		w.leftOut = append(w.leftOut, "an operator's approval, the check of the ledger and the comparison with the gateway. They need the sandbox's own database, "+
			"by the CCP_DATA_DIR and CCP_DATABASE_URL that it runs with ("+err.Error()+")")
	}
	o.services = services
	return o
}

func beside(ctx context.Context, p Program, sandbox string, c *walker) (*app.Services, error) {
	u, err := url.Parse(sandbox)
	if err != nil {
		return nil, err
	}
	config, err := app.LoadSandboxConfig(append(p.Environ, "CCP_SANDBOX_ADDR="+u.Host))
	if err != nil {
		return nil, err
	}
	s, err := app.OpenServices(ctx, config, app.Extras{})
	if errors.Is(err, app.ErrNoDatabase) {
		return nil, errors.New("there is none here")
	}
	if err != nil {
		return nil, err
	}
	if account, err := s.Identity.Find(ctx, c.email); err != nil || account.ID != c.uid {
		return nil, errors.Join(errors.New("the one at hand belongs to another"), s.Close())
	}
	return s, nil
}

func (o *office) closed() bool { return o.services == nil }

func (o *office) close() {
	if o.services != nil {
		_ = o.services.Close()
	}
}

// act is one step of an operator's. It is repeated while it says that what it waits for has not happened.
func (o *office) act(customer, title string, do func(ctx context.Context) (told any, wrong []string, err error)) {
	if o.err != nil || o.closed() {
		return
	}
	s := step{Customer: customer, Title: title}
	began := time.Now()
	for {
		told, wrong, err := do(o.ctx)
		s.Answer, s.Problems = told, wrong
		if err != nil {
			s.Problems = append(s.Problems, explained(o.services, err).Error())
		}
		if err != nil || len(wrong) == 0 || time.Since(began) >= o.patience {
			break
		}
		select {
		case <-o.ctx.Done():
			s.Problems = append(s.Problems, o.ctx.Err().Error())
		case <-time.After(demoPause):
			continue
		}
		break
	}
	s.Took = time.Since(began).Milliseconds()
	o.report(s)
}

// approves looks at a withdrawal that waits for an operator, and lets it go.
func (o *office) approves(d withdrawn) {
	id, _ := d.id.Int64()
	o.act(d.c.name, "an operator finds it waiting", func(ctx context.Context) (any, []string, error) {
		file, err := o.services.Wallet.ShowWithdrawal(ctx, id)
		if err == nil && file.State != wallet.InReview {
			return file.State, []string{"it must wait for an operator; CCP_WITHDRAWAL_AUTOMATIC_LIMIT is worth more than " + d.amount + " USDT, or nothing waits"}, nil
		}
		return file.State, nil, err
	})
	o.act(d.c.name, "the operator approves it", func(ctx context.Context) (any, []string, error) {
		w, err := o.services.Wallet.ApproveWithdrawal(ctx, identity.Operator{Name: "demo"}, id, "shown in the demo")
		return w.State, nil, err
	})
}

// closes is the end of the day: the ledger is sound, and the gateway holds what it says.
func (o *office) closes() {
	o.act("", "the ledger is sound", func(ctx context.Context) (any, []string, error) {
		report, err := o.services.Ledger.Verify(ctx, nil)
		var wrong []string
		for _, f := range report.Findings {
			wrong = append(wrong, fmt.Sprintf("%s: %s %s", f.Check, f.Account, f.Detail))
		}
		return map[string]any{"accounts": report.Accounts, "transactions": report.Transactions, "postings": report.Postings, "findings": len(report.Findings)}, wrong, err
	})
	o.act("", "the gateway holds what the ledger says", func(ctx context.Context) (any, []string, error) {
		list, err := o.services.Wallet.Reconcile(ctx)
		held := map[string]any{}
		var wrong []string
		for _, r := range list {
			held[r.Coin] = json.Number(r.Gateway.String())
			if !r.Difference.IsZero() {
				wrong = append(wrong, fmt.Sprintf("%s: the gateway has %s, the ledger %s; that is %s off", r.Coin, r.Gateway, r.Ledger, r.Difference))
			}
		}
		return held, wrong, err
	})
}
