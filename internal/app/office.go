package app

import (
	"context"
	"fmt"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/sandbox"
)

// office lets the sandbox's home page do what operators' commands do. There is one only where everything is simulated.
func (a *App) office() sandbox.Office { return sandbox.Office{Decide: a.decide, Audit: a.audit} }

func (a *App) decide(ctx context.Context, withdrawal int64, approve bool) (state string, err error) {
	act := a.Wallet.RefuseWithdrawal
	if approve {
		act = a.Wallet.ApproveWithdrawal
	}
	w, err := act(ctx, identity.Operator{Name: "sandbox"}, withdrawal, "decided in the sandbox")
	if known, ok := problem.Find(err); ok {
		return "", sandbox.Refused(fmt.Sprintf("%s (%s)", a.Texts.Get(i18n.English, known.TextKey(), known.Params), known.Code))
	}
	return string(w.State), err
}

func (a *App) audit(ctx context.Context) (sandbox.Audit, error) {
	report, err := a.Ledger.Verify(ctx, nil)
	if err != nil {
		return sandbox.Audit{}, err
	}
	out := sandbox.Audit{Sound: report.OK(), Accounts: report.Accounts, Transactions: report.Transactions, Postings: report.Postings, Findings: []string{}, Coins: []sandbox.Holding{}}
	for _, f := range report.Findings {
		out.Findings = append(out.Findings, fmt.Sprintf("%s: %s %s", f.Check, f.Account, f.Detail))
	}
	list, err := a.Wallet.Reconcile(ctx)
	if err != nil {
		// The gateway is one of the simulators, and may be made to fail.
		return sandbox.Audit{}, sandbox.Refused("the gateway does not say what it holds: " + err.Error())
	}
	for _, r := range list {
		out.Sound = out.Sound && r.Difference.IsZero()
		out.Coins = append(out.Coins, sandbox.Holding{Coin: r.Coin, Ledger: r.Ledger, Gateway: r.Gateway, Difference: r.Difference})
	}
	return out, nil
}
