package cli

import (
	"context"
	"errors"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/sandbox"
)

type serveCommand struct{}

// Run serves until ctx ends.
func (serveCommand) Run(ctx context.Context, p Program) error {
	c, err := p.config(app.Config.CheckServe)
	if err != nil {
		return err
	}
	app.ReserveHeap()
	a, err := app.New(ctx, c, app.Extras{Log: p.logger(c)})
	if err != nil {
		return err
	}
	return a.Serve(ctx)
}

type sandboxCommand struct {
	ProvidersOnly bool `help:"Run the simulators and the inbox alone, beside CCP_ENV=development comecomepay serve."`
	Unlimited     bool `help:"Let the simulators answer without rate limits, for load tests."`
}

// Run runs the sandbox until ctx ends.
func (s sandboxCommand) Run(ctx context.Context, p Program) error {
	c, err := app.LoadSandboxConfig(p.Environ)
	if err != nil {
		return configurationError{err}
	}
	x := app.Extras{Log: p.logger(c)}
	if s.ProvidersOnly {
		o := c.SandboxOptions(x)
		o.Unlimited = s.Unlimited
		server, err := sandbox.Start(ctx, o)
		if err != nil {
			return err
		}
		return errors.Join(s.announce(p, server, c.General.PublicURL), server.Wait())
	}
	box, err := app.NewSandbox(ctx, c, x, func(o *sandbox.Options) { o.Unlimited = s.Unlimited })
	if err != nil {
		return err
	}
	if err := s.announce(p, box.Simulators, box.Config.General.PublicURL); err != nil {
		return errors.Join(err, box.Close())
	}
	return box.Serve(ctx)
}

func (s sandboxCommand) announce(p Program, server *sandbox.Server, api string) error {
	if s.ProvidersOnly {
		return p.print(`
  The simulated providers are running.

    start here    %s
    inbox         %[1]s/inbox
    mail server   %s

  Beside them run:  CCP_ENV=development comecomepay serve
  They call back:   %s

`, server.URL(), server.SMTPAddr(), api)
	}
	return p.print(`
  ComeComePay is running in a sandbox: nothing leaves this machine.

    start here    %s
    inbox         %[1]s/inbox
    API           %s/api/v1
    reference     %[2]s/docs

  Walk two customers through it:  comecomepay demo
  Stop:                           Ctrl-C

`, server.URL(), api)
}
