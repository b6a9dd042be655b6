package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// operator is who acts; every act is audited with this name.
type operator struct {
	Operator string `help:"Your name, for the audit log." default:"${user}" placeholder:"NAME"`
}

// actor is operator with the reason that acts need.
type actor struct {
	operator
	Reason string `help:"Why, for the audit log." required:"" placeholder:"TEXT"`
}

// output is how results are printed.
type output struct {
	JSON bool `name:"json" help:"Print JSON."`
}

func (o operator) identity() (identity.Operator, error) {
	if strings.TrimSpace(o.Operator) == "" {
		return identity.Operator{}, errors.New("--operator: is missing, and the environment has no USER")
	}
	return identity.Operator{Name: o.Operator}, nil
}

// withServices runs an operator's act on the open services.
func withServices(ctx context.Context, p Program, act func(*app.Services) error) error {
	c, err := p.config(app.Config.CheckStorage)
	if err != nil {
		return err
	}
	s, err := app.OpenServices(ctx, c, app.Extras{Log: p.logger(c)})
	if err != nil {
		return err
	}
	return errors.Join(explained(s, act(s)), s.Close())
}

// explained puts a problem into the words that it has for people.
func explained(s *app.Services, err error) error {
	if known, ok := problem.Find(err); ok {
		return fmt.Errorf("%s (%s)", s.Texts.Get(i18n.English, known.TextKey(), known.Params), known.Code)
	}
	return err
}

func (o output) print(p Program, value any, people func(w *tabwriter.Writer)) error {
	if o.JSON {
		text, err := json.MarshalIndent(value, "", "  ")
		if err != nil {
			return err
		}
		return p.print("%s\n", text)
	}
	w := tabwriter.NewWriter(p.Stdout, 0, 0, 2, ' ', 0)
	people(w)
	return w.Flush()
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func maybe(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return moment(*t)
}

// --- accounts -------------------------------------------------------------------------------------------------------

type accountCommand struct {
	Show     showCommand     `cmd:"" help:"Show how an account stands, its address masked."`
	Freeze   freezeCommand   `cmd:"" help:"Let a customer read but not act."`
	Unfreeze unfreezeCommand `cmd:"" help:"End a freeze."`
	Close    closeCommand    `cmd:"" help:"Close an account for good and end its sessions."`
	Sessions sessionsCommand `cmd:"" help:"List the devices that are signed in."`

	UnblockWithdrawals unblockWithdrawalsCommand `cmd:"" help:"Let a customer withdraw before the day after a change of address, number or password is over."`
}

// customer is a customer as operators name them.
type customer struct {
	Who string `arg:"" name:"customer" help:"Number or e-mail address."`
}

// changesAccount is an act on an account.
type changesAccount struct {
	customer
	actor
	output
}

// accountLine is an account as operators see it.
type accountLine struct {
	ID         int64           `json:"id"`
	Email      string          `json:"email"`
	Status     identity.Status `json:"status"`
	KYCStatus  string          `json:"kyc_status"`
	KYCBlocked bool            `json:"kyc_blocked"`
	CreatedAt  time.Time       `json:"created_at"`

	WithdrawalsBlockedUntil *time.Time `json:"withdrawals_blocked_until"` // null: not blocked
}

func lineOfAccount(a identity.Account) accountLine {
	return accountLine{a.ID, a.Email, a.Status, a.KYCStatus, a.KYCBlocked, a.CreatedAt, a.WithdrawalsBlockedUntil}
}

type showCommand struct {
	customer
	output
}

// standingLine is how an account stands. It holds no personal data: the address is masked.
type standingLine struct {
	accountLine
	Locale   i18n.Locale `json:"locale"`
	Sessions int         `json:"sessions"` // devices that are signed in

	TransactionPassword bool `json:"transaction_password"` // whether one is set
}

// Run shows how an account stands.
func (c showCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		a, err := s.Identity.Find(ctx, c.Who)
		if err != nil {
			return err
		}
		sessions, err := s.Identity.ListSessions(ctx, c.Who)
		if err != nil {
			return err
		}
		pays, _, err := s.Identity.TransactionPasswordStatus(ctx, identity.Customer{ID: a.ID})
		if err != nil {
			return err
		}
		line := standingLine{lineOfAccount(a), a.Locale, len(sessions), pays}
		line.Email = masked(a.Email)
		return c.print(p, line, func(w *tabwriter.Writer) {
			blocked, withdrawals, digits := "", "not blocked", "not set"
			if line.KYCBlocked {
				blocked = ", may not try again"
			}
			if line.WithdrawalsBlockedUntil != nil {
				withdrawals = "blocked until " + moment(*line.WithdrawalsBlockedUntil)
			}
			if line.TransactionPassword {
				digits = "set"
			}
			for _, row := range [][2]string{
				{"customer", fmt.Sprint(line.ID)},
				{"address", line.Email},
				{"status", string(line.Status)},
				{"verification", line.KYCStatus + blocked},
				{"transaction password", digits},
				{"withdrawals", withdrawals},
				{"devices", fmt.Sprint(line.Sessions)},
				{"language", string(line.Locale)},
				{"since", moment(line.CreatedAt)},
			} {
				fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
			}
		})
	})
}

// masked leaves of an address what tells two of them apart: its first letter and the domain.
func masked(address string) string {
	local, domain, _ := strings.Cut(address, "@")
	_, size := utf8.DecodeRuneInString(local)
	return local[:size] + "***@" + domain
}

func (c changesAccount) run(ctx context.Context, p Program, act func(*identity.Service) func(context.Context, identity.Operator, string, string) (identity.Account, error)) error {
	by, err := c.identity()
	if err != nil {
		return err
	}
	return withServices(ctx, p, func(s *app.Services) error {
		a, err := act(s.Identity)(ctx, by, c.Who, c.Reason)
		if err != nil {
			return err
		}
		return c.print(p, lineOfAccount(a), func(w *tabwriter.Writer) {
			fmt.Fprintf(w, "customer %d\t%s\t%s\n", a.ID, a.Email, a.Status)
		})
	})
}

type freezeCommand struct{ changesAccount }

// Run freezes an account.
func (c freezeCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *identity.Service) func(context.Context, identity.Operator, string, string) (identity.Account, error) {
		return s.FreezeAccount
	})
}

type unfreezeCommand struct{ changesAccount }

// Run ends a freeze.
func (c unfreezeCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *identity.Service) func(context.Context, identity.Operator, string, string) (identity.Account, error) {
		return s.UnfreezeAccount
	})
}

type unblockWithdrawalsCommand struct{ changesAccount }

// Run lets a customer withdraw again.
func (c unblockWithdrawalsCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *identity.Service) func(context.Context, identity.Operator, string, string) (identity.Account, error) {
		return s.UnblockWithdrawals
	})
}

type closeCommand struct{ changesAccount }

// Run closes an account.
func (c closeCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *identity.Service) func(context.Context, identity.Operator, string, string) (identity.Account, error) {
		return s.CloseAccount
	})
}

type sessionsCommand struct {
	customer
	output
}

// sessionLine is a session as operators see it.
type sessionLine struct {
	ID         string    `json:"id"`
	Device     string    `json:"device"`
	Address    string    `json:"address"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Run lists the sessions of a customer.
func (c sessionsCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		sessions, err := s.Identity.ListSessions(ctx, c.Who)
		if err != nil {
			return err
		}
		lines := make([]sessionLine, len(sessions))
		for i, x := range sessions {
			lines[i] = sessionLine{x.ID, x.Device, x.Address, x.CreatedAt, x.LastUsedAt, x.ExpiresAt}
		}
		return c.print(p, lines, func(w *tabwriter.Writer) {
			fmt.Fprintln(w, "SESSION\tDEVICE\tADDRESS\tSIGNED IN\tLAST USED\tEXPIRES")
			for _, l := range lines {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.Device, l.Address, moment(l.CreatedAt), moment(l.LastUsedAt), moment(l.ExpiresAt))
			}
		})
	})
}

// --- verifications --------------------------------------------------------------------------------------------------

type kycCommand struct {
	List    kycListCommand    `cmd:"" help:"List attempts, newest first."`
	Show    kycShowCommand    `cmd:"" help:"Show an attempt with its history. This is audited: it shows personal data."`
	Cases   kycCasesCommand   `cmd:"" help:"List what waits for an operator about verifications."`
	Approve kycApproveCommand `cmd:"" help:"Take an approval of the issuer that came too late to move the attempt by itself."`
	Reject  kycRejectCommand  `cmd:"" help:"Reject an open attempt, or confirm that an approved one is revoked."`
	Dismiss kycDismissCommand `cmd:"" help:"Close the cases about an attempt and leave it as it is."`
	Reopen  kycReopenCommand  `cmd:"" help:"Put the customer's newest attempt back under review, ask the providers again, and lift a block."`
}

// attempt is an attempt as operators name it.
type attempt struct {
	AgentUID string `arg:"" name:"agent_uid" help:"Our reference, such as u1_1704067200_abc12345."`
}

// recordLine is an attempt as operators see it in lists; it holds no personal data.
type recordLine struct {
	ID            int64       `json:"id"`
	UserID        int64       `json:"user_id"`
	AgentUID      string      `json:"agent_uid"`
	Channel       kyc.Channel `json:"channel"`
	Status        kyc.Status  `json:"status"`
	PokePayStatus kyc.Verdict `json:"pokepay_status"`
	Reason        string      `json:"reason"`
	SessionID     string      `json:"session_id"`
	CreatedAt     time.Time   `json:"created_at"`
	UpdatedAt     time.Time   `json:"updated_at"`
	NextPollAt    *time.Time  `json:"next_poll_at"`
	DeadlineAt    *time.Time  `json:"deadline_at"`
}

func lineOf(r kyc.Record) recordLine {
	return recordLine{ID: r.ID, UserID: r.UserID, AgentUID: r.AgentUID, Channel: r.Channel, Status: r.Status, PokePayStatus: r.Issuer,
		Reason: string(r.Reason), SessionID: r.SessionID, CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt, NextPollAt: r.NextPollAt, DeadlineAt: r.DeadlineAt}
}

func printRecords(w *tabwriter.Writer, lines []recordLine) {
	fmt.Fprintln(w, "ID\tATTEMPT\tCUSTOMER\tCHANNEL\tSTATUS\tISSUER\tREASON\tUPDATED")
	for _, l := range lines {
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\t%d\t%s\t%s\n", l.ID, l.AgentUID, l.UserID, l.Channel, l.Status, l.PokePayStatus, l.Reason, moment(l.UpdatedAt))
	}
}

type kycListCommand struct {
	Customer string   `help:"Only those of one customer, by number or e-mail address." placeholder:"CUSTOMER"`
	Status   []string `help:"Only these states (${enum})." enum:"pending_submit,pending,processing,approved,rejected,failed,not_completed,cancelled" placeholder:"STATE,…"`
	Before   int64    `help:"Only attempts with a smaller id, for the next page." placeholder:"ID"`
	Limit    int      `help:"How many, at most 1000." default:"50"`
	output
}

// Run lists attempts.
func (c kycListCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		var statuses []kyc.Status
		for _, status := range c.Status {
			statuses = append(statuses, kyc.Status(status))
		}
		records, err := s.KYC.List(ctx, kyc.Filter{Statuses: statuses, Customer: c.Customer, Before: c.Before, Limit: c.Limit})
		if err != nil {
			return err
		}
		lines := make([]recordLine, len(records))
		for i, r := range records {
			lines[i] = lineOf(r)
		}
		return c.print(p, lines, func(w *tabwriter.Writer) { printRecords(w, lines) })
	})
}

type kycShowCommand struct {
	Which string `arg:"" name:"attempt" help:"Our reference (agent_uid), record:ID as in logs, or a customer's number or e-mail address for their newest attempt."`
	operator
	output
}

// dossier is an attempt with everything that an operator may see.
type dossier struct {
	Newest bool `json:"newest"` // the customer was named, and has older attempts perhaps
	recordLine
	UserKYCStatus kyc.UserStatus     `json:"user_kyc_status"`
	Email         string             `json:"email"`
	Applicant     kyc.Applicant      `json:"applicant"`
	History       []kyc.HistoryEntry `json:"history"`
}

// Run shows an attempt.
func (c kycShowCommand) Run(ctx context.Context, p Program) error {
	by, err := c.identity()
	if err != nil {
		return err
	}
	return withServices(ctx, p, func(s *app.Services) error {
		d, err := s.KYC.Show(ctx, by, c.Which)
		if err != nil {
			return err
		}
		all := dossier{d.Newest, lineOf(d.Record), d.User, d.Email, d.Applicant, d.History}
		return c.print(p, all, func(w *tabwriter.Writer) { printDossier(w, all, d.Record.IssuerReason) })
	})
}

func printDossier(w *tabwriter.Writer, d dossier, issuerReason string) {
	a := d.Applicant
	if d.Newest {
		fmt.Fprintf(w, "This is the newest attempt of customer %d; all of them: kyc list --customer %[1]d\n\n", d.UserID)
	}
	for _, row := range [][2]string{
		{"attempt", fmt.Sprintf("%s (id %d, channel %s)", d.AgentUID, d.ID, d.Channel)},
		{"customer", fmt.Sprintf("%d, %s, %s", d.UserID, d.Email, d.UserKYCStatus)},
		{"status", string(d.Status)},
		{"issuer", strings.TrimSpace(fmt.Sprintf("%d %s", d.PokePayStatus, issuerReason))},
		{"reason", d.Reason},
		{"session", d.SessionID},
		{"name", a.FirstName + " " + a.LastName},
		{"phone", "+" + a.AreaCode + " " + a.Phone},
		{"address", strings.Join([]string{a.Address, a.City, a.State, a.PostCode, a.CountryCode}, ", ")},
		{"began", moment(d.CreatedAt)},
		{"updated", moment(d.UpdatedAt)},
		{"asked next", maybe(d.NextPollAt)},
		{"deadline", maybe(d.DeadlineAt)},
	} {
		fmt.Fprintf(w, "%s\t%s\n", row[0], row[1])
	}
	fmt.Fprintln(w, "\nWHEN\tWHAT\tFROM\tTO\tBY\tWHY")
	for _, e := range d.History {
		by := string(e.Source)
		if e.Actor != "" {
			by += " " + e.Actor
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", moment(e.At), e.Kind, e.From, e.To, by, e.Why)
	}
}

type kycCasesCommand struct{ output }

// Run lists what waits for an operator about verifications.
func (c kycCasesCommand) Run(ctx context.Context, p Program) error {
	return withServices(ctx, p, func(s *app.Services) error {
		list, err := s.KYC.Cases(ctx)
		if err != nil {
			return err
		}
		return printCases(p, c.output, list, s.Clock.Now())
	})
}

// decision is an act on an attempt.
type decision struct {
	attempt
	actor
	output
}

func (d decision) run(ctx context.Context, p Program, act func(*kyc.Service, identity.Operator) (kyc.Record, error)) error {
	by, err := d.identity()
	if err != nil {
		return err
	}
	return withServices(ctx, p, func(s *app.Services) error {
		r, err := act(s.KYC, by)
		if err != nil {
			return err
		}
		return d.print(p, lineOf(r), func(w *tabwriter.Writer) { printRecords(w, []recordLine{lineOf(r)}) })
	})
}

type kycApproveCommand struct{ decision }

// Run approves.
func (c kycApproveCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *kyc.Service, by identity.Operator) (kyc.Record, error) {
		return s.Approve(ctx, by, c.AgentUID, c.Reason)
	})
}

type kycRejectCommand struct {
	decision
	Block bool `help:"Let the customer try no more, until an attempt is reopened."`
}

// Run rejects.
func (c kycRejectCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *kyc.Service, by identity.Operator) (kyc.Record, error) {
		return s.Reject(ctx, by, c.AgentUID, c.Reason, c.Block)
	})
}

type kycReopenCommand struct{ decision }

// Run reopens.
func (c kycReopenCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *kyc.Service, by identity.Operator) (kyc.Record, error) {
		return s.Reopen(ctx, by, c.AgentUID, c.Reason)
	})
}

type kycDismissCommand struct{ decision }

// Run closes cases.
func (c kycDismissCommand) Run(ctx context.Context, p Program) error {
	return c.run(ctx, p, func(s *kyc.Service, by identity.Operator) (kyc.Record, error) {
		return s.Dismiss(ctx, by, c.AgentUID, c.Reason)
	})
}
