// Package cli is the command line: it reads arguments and environment, calls internal/app, and prints.
//
// Exit codes: 0 done; 1 failed, the last line on standard error says why; 2 wrong arguments or configuration, nothing was
// done.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/platform/obs"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main runs the program with the process's arguments and environment. The first interrupt (Ctrl-C, SIGTERM) lets it
// drain; the second one kills it.
func Main() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // before the drain begins: from now on a signal has its usual effect
		cancel()
	}()
	return Run(ctx, Program{Args: os.Args[1:], Environ: os.Environ(), Stdout: os.Stdout, Stderr: os.Stderr})
}

// Program is what a run of the program is given from outside.
type Program struct {
	Args    []string
	Environ []string // as os.Environ gives it
	Stdout  io.Writer
	Stderr  io.Writer
}

// commands are the command line.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Serve customers."`
	Sandbox sandboxCommand `cmd:"" help:"Run the whole product offline: API, simulated providers, mail inbox."`
	Demo    demoCommand    `cmd:"" help:"Walk two customers through a running sandbox and check every answer."`
	Doctor  doctorCommand  `cmd:"" help:"Check configuration, database, providers and mail server."`
	Migrate migrateCommand `cmd:"" help:"Bring the database up to date."`
	Config  configCommand  `cmd:"" help:"Print the settings in effect, secrets masked."`
	Keys    keysCommand    `cmd:"" help:"Print a fresh set of keys for the environment."`
	Account accountCommand `cmd:"" help:"Show, freeze, unfreeze and close accounts; list their sessions."`
	KYC     kycCommand     `cmd:"" name:"kyc" help:"Look at verifications and decide about them."`
	Cases   casesCommand   `cmd:"" help:"List what waits for an operator; close what is settled."`
	Ledger  ledgerCommand  `cmd:"" help:"Verify the ledger; show accounts and transactions."`

	Withdrawal withdrawalCommand `cmd:"" help:"Look at withdrawals and decide about them."`
	Deposit    depositCommand    `cmd:"" help:"Look at deposits and find their owners."`
	Reconcile  reconcileCommand  `cmd:"" help:"Compare the ledger with what the crypto gateway holds; book what the chain took or you put in."`

	OpenAPI openAPICommand `cmd:"" name:"openapi" help:"Print the description of the API (OpenAPI 3.1, YAML)."`
	Version versionCommand `cmd:"" help:"Print which build this is."`
}

const description = `Backend of a crypto-funded card wallet.

Settings are environment variables, see docs/configuration.md. To try it out: comecomepay sandbox

Exit codes: 0 done; 1 failed; 2 wrong arguments or configuration.`

// Run runs one command until it is done or ctx ends, and returns its exit code.
func Run(ctx context.Context, p Program) int {
	var c commands
	exited, code := false, exitDone
	parser, err := kong.New(&c, kong.Name("comecomepay"), kong.Description(description), kong.UsageOnError(),
		kong.Writers(p.Stdout, p.Stderr), kong.Exit(func(n int) { exited, code = true, n }), kong.Vars{"user": p.variable("USER")},
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.BindTo(ctx, (*context.Context)(nil)))
	if err != nil {
		return p.fail(err, exitFailed) // a mistake in the definition of the commands
	}
	if len(p.Args) == 0 {
		p.Args = []string{"--help"}
	}
	chosen, err := parser.Parse(p.Args)
	switch {
	case exited: // help was printed
		return code
	case err != nil:
		return p.fail(err, exitUsage)
	}
	if err := chosen.Run(ctx, p); err != nil {
		var wrong configurationError
		if errors.As(err, &wrong) {
			return p.fail(wrong, exitUsage)
		}
		return p.fail(err, exitFailed)
	}
	return exitDone
}

// configurationError is a configuration that cannot be used.
type configurationError struct{ error }

// Unwrap gives the cause.
func (e configurationError) Unwrap() error { return e.error }

func (p Program) fail(err error, code int) int {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(p.Stderr, "comecomepay:", line)
	}
	return code
}

// variable is the last value of an environment variable.
func (p Program) variable(name string) (value string) {
	for _, line := range p.Environ {
		if n, v, _ := strings.Cut(line, "="); n == name {
			value = v
		}
	}
	return value
}

// config reads the configuration and checks what the command needs of it.
func (p Program) config(needs ...app.Need) (app.Config, error) {
	c, err := app.LoadConfig(p.Environ, needs...)
	if err != nil {
		return c, configurationError{err}
	}
	return c, nil
}

// logger writes to standard error, so that standard output holds results only.
func (p Program) logger(c app.Config) *slog.Logger {
	log := obs.NewLogger(c.Telemetry.LogLevel, c.Telemetry.LogFormat, p.Stderr)
	slog.SetDefault(log)
	return log
}

// print writes a result.
func (p Program) print(format string, args ...any) error {
	_, err := fmt.Fprintf(p.Stdout, format, args...)
	return err
}
