package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/didit"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
)

type doctorCommand struct{ output }

// finding is the outcome of one check.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // ok, problem, or skipped
	Note  string `json:"note"`
}

const (
	stateOK      = "ok"
	stateProblem = "problem"
	stateSkipped = "skipped"
)

// What one check may take, and by how much clocks may differ: a webhook five minutes old is refused, and tokens carry times.
const (
	checkTimeout = 20 * time.Second
	maxSkew      = 5 * time.Second
)

var errUnwell = errors.New("there are problems")

// Run makes all checks and prints them. It changes nothing, anywhere.
func (d doctorCommand) Run(ctx context.Context, p Program) error {
	var findings []finding
	check := func(what string, examine func(context.Context) (note string, err error)) {
		ctx, cancel := context.WithTimeout(ctx, checkTimeout)
		defer cancel()
		note, err := examine(ctx)
		state := stateOK
		switch {
		case errors.Is(err, errNotConfigured):
			state, note = stateSkipped, "not configured"
		case err != nil:
			state, note = stateProblem, strings.ReplaceAll(err.Error(), "\n", "; ")
		}
		findings = append(findings, finding{what, state, note})
	}
	c, err := app.LoadConfig(p.Environ)
	if err != nil { // nothing else can be examined: say with it what is missing
		_, err = app.LoadConfig(p.Environ, app.Config.CheckServe)
	}
	check("settings", func(context.Context) (string, error) { return "every setting can be used", err })
	if err == nil {
		check("complete", func(context.Context) (string, error) {
			return "environment " + string(c.General.Environment) + ", channel " + string(c.KYC.Channel), c.CheckServe()
		})
		check("secrets", func(context.Context) (string, error) { return secretStrength(c) })
		var d db.DB
		check("database", func(ctx context.Context) (note string, err error) {
			d, err = c.OpenExistingDatabase(ctx)
			if err != nil {
				return "", err
			}
			return string(d.Engine()), d.Ping(ctx)
		})
		if d != nil {
			defer d.Close()
			check("schema", func(ctx context.Context) (string, error) { return schemaState(ctx, c, d) })
			check("ledger", func(ctx context.Context) (string, error) { return ledgerRights(ctx, c, d) })
			check("clock", func(ctx context.Context) (string, error) { return clockSkew(ctx, d) })
		}
		check("pokepay", func(ctx context.Context) (string, error) { return askPokePay(ctx, c) })
		check("didit", func(ctx context.Context) (string, error) { return askDidit(ctx, c) })
		check("udun", func(ctx context.Context) (string, error) { return askUdun(ctx, c) })
		check("mail", func(ctx context.Context) (string, error) { return greetMailServer(ctx, c) })
	}
	printed := d.print(p, findings, func(w *tabwriter.Writer) {
		for _, f := range findings {
			fmt.Fprintf(w, "%s\t%s\t%s\n", f.Check, f.State, f.Note)
		}
	})
	for _, f := range findings {
		if f.State == stateProblem {
			return errors.Join(printed, errUnwell)
		}
	}
	return printed
}

var errNotConfigured = errors.New("not configured")

// secretStrength finds secrets that are shorter than what nobody can guess: 16 bytes. Lengths that the program insists on are
// checked when the settings are read.
func secretStrength(c app.Config) (string, error) {
	const enough = 16
	var weak []error
	note := func(setting, text string) {
		if text != "" && len(text) < enough {
			weak = append(weak, fmt.Errorf("%s: shorter than %d characters", setting, enough))
		}
	}
	for _, s := range c.Didit.WebhookSecrets {
		note("CCP_DIDIT_WEBHOOK_SECRETS", s.Reveal())
	}
	note("CCP_POKEPAY_CALLBACK_SECRET", c.PokePay.CallbackSecret.Reveal())
	note("CCP_POKEPAY_APP_SECRET", c.PokePay.AppSecret.Reveal())
	note("CCP_SMS_SECRET", c.SMS.Secret.Reveal())
	if c.General.Environment == app.Production && c.PokePay.CallbackKey.Empty() {
		return "long enough; without CCP_POKEPAY_CALLBACK_KEY verdicts are seen when they are asked for, not when they are made", errors.Join(weak...)
	}
	return "long enough", errors.Join(weak...)
}

func schemaState(ctx context.Context, c app.Config, d db.DB) (string, error) {
	current, needed, err := app.SchemaVersions(ctx, d)
	switch {
	case err != nil:
		return "", err
	case current > needed:
		return "", fmt.Errorf("%w: schema %d, known %d", db.ErrNewerSchema, current, needed)
	case current < needed && !c.Database.AutoMigrate:
		return "", fmt.Errorf("%w: schema %d, needed %d", app.ErrOlderSchema, current, needed)
	case current < needed:
		return fmt.Sprintf("version %d; serve will bring it to %d", current, needed), nil
	}
	return fmt.Sprintf("version %d", current), nil
}

// ledgerRights tells whether what is posted could be changed from here. It is a warning: the program never does.
func ledgerRights(ctx context.Context, c app.Config, d db.DB) (string, error) {
	current, needed, err := app.SchemaVersions(ctx, d)
	if err != nil || current < needed {
		return "not migrated yet", err
	}
	protected, err := ledger.Protected(ctx, d)
	switch {
	case err != nil:
		return "", err
	case protected:
		return "the database refuses to change what is posted", nil
	case d.Engine() == db.SQLite || c.General.Environment != app.Production:
		return "warning: the database would let this role change what is posted", nil
	}
	return "warning: the database would let this role change what is posted; serve under a role of its own: comecomepay migrate --grant-to", nil
}

// clockSkew compares this machine's time with that of a PostgreSQL server; SQLite has no time of its own.
func clockSkew(ctx context.Context, d db.DB) (string, error) {
	if d.Engine() == db.SQLite {
		return "the database has none of its own", nil
	}
	before := time.Now()
	var theirs time.Time
	if err := d.QueryRow(ctx, `SELECT clock_timestamp()`).Scan(&theirs); err != nil {
		return "", err
	}
	after := time.Now()
	skew := theirs.Sub(before.Add(after.Sub(before) / 2))
	if skew.Abs() > maxSkew+after.Sub(before) {
		return "", fmt.Errorf("this machine and the database differ by %s", skew.Abs().Round(time.Millisecond))
	}
	return fmt.Sprintf("within %s of the database", skew.Abs().Round(time.Millisecond)), nil
}

func askPokePay(ctx context.Context, c app.Config) (string, error) {
	if c.PokePay.Account == "" && c.PokePay.AppID == "" {
		return "", errNotConfigured
	}
	client, err := c.NewIssuer(nil, nil)
	if err != nil {
		return "", err
	}
	if _, err := client.ListKYC(ctx, pokepay.KYCFilter{Limit: 1}); err != nil {
		return "", withStaffText(err)
	}
	return "logged in, list of verifications read", nil
}

func askDidit(ctx context.Context, c app.Config) (string, error) {
	if c.Didit.APIKey.Empty() {
		return "", errNotConfigured
	}
	client, err := c.NewDidit(nil, nil)
	if err != nil {
		return "", err
	}
	if _, err := client.ListSessions(ctx, didit.ListFilter{Limit: 1}); err != nil {
		return "", withStaffText(err)
	}
	return "key accepted, list of sessions read", nil
}

// askUdun reads the list of coins and compares it with ours.
func askUdun(ctx context.Context, c app.Config) (string, error) {
	if c.Udun.URL == "" {
		return "", errNotConfigured
	}
	client, err := c.NewGateway(nil, nil)
	if err != nil {
		return "", err
	}
	coins, err := client.SupportCoins(ctx, false)
	if err != nil {
		return "", withStaffText(err)
	}
	return fmt.Sprintf("key accepted, %d coins read", len(coins)), nil
}

// withStaffText adds the provider's own words, which the operator may see.
func withStaffText(err error) error {
	if e := (*provider.Error)(nil); errors.As(err, &e) && e.StaffText != "" {
		return fmt.Errorf("%w: %q", err, e.StaffText)
	}
	return err
}

// greetMailServer connects and waits for the server's greeting (RFC 5321 section 3.1). TLS and login are tried with the
// first mail.
func greetMailServer(ctx context.Context, c app.Config) (string, error) {
	if c.Mail.Addr == "" {
		return "", errNotConfigured
	}
	if _, err := c.NewMailSender(nil); err != nil {
		return "", err
	}
	return greet(ctx, c.Mail.Addr, string(c.Mail.TLS) == "tls")
}

func greet(ctx context.Context, address string, implicitTLS bool) (string, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("CCP_SMTP_ADDR: %w", err)
	}
	defer connection.Close()
	if implicitTLS {
		return "connected", nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	greeting := make([]byte, 512)
	n, err := connection.Read(greeting)
	if err != nil {
		return "", fmt.Errorf("CCP_SMTP_ADDR: no greeting: %w", err)
	}
	if !strings.HasPrefix(string(greeting[:n]), "220") {
		return "", errors.New("CCP_SMTP_ADDR: the greeting is not that of a mail server that is ready")
	}
	return "greeted", nil
}
