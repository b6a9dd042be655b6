package app

import (
	"context"
	"errors"
	"net"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/sandbox"
)

// Where the service takes what the providers send, below its public address.
const (
	diditWebhookPath    = "/didit/webhook"
	pokepayCallbackPath = "/pokepay/callback/"
)

// SandboxOptions are the simulators that fit a configuration: they know its secrets and call its public address.
func (c Config) SandboxOptions(x Extras) sandbox.Options {
	o := sandbox.Options{
		Addr: c.Sandbox.Addr, SMTPAddr: c.Sandbox.SMTPAddr, DataDir: c.General.DataDir,
		PublicURL: c.General.PublicURL, OpsURL: "http://" + reachable(c.HTTP.OpsAddr), Channel: string(c.KYC.Channel),
		Didit: sandbox.DiditAccount{
			APIKey: c.Didit.APIKey.Reveal(), WorkflowID: c.Didit.WorkflowID, WebhookSecrets: reveal(c.Didit.WebhookSecrets), WebhookPath: diditWebhookPath,
		},
		PokePay: sandbox.PokePayAccount{
			Account: c.PokePay.Account, Password: c.PokePay.Password.Reveal(), AppID: c.PokePay.AppID, AppSecret: c.PokePay.AppSecret.Reveal(),
			CallbackSecret: c.PokePay.CallbackSecret.Reveal(),
		},
		SMSSecret:   c.SMS.Secret,
		Udun:        sandbox.UdunAccount{MerchantID: c.Udun.MerchantID, APIKey: c.Udun.APIKey.Reveal()},
		AutoApprove: c.Sandbox.KYC == "approve", AutoPay: c.Sandbox.Withdrawals == "approve", Clock: x.Clock, Log: x.Log,
	}
	if key := c.PokePay.CallbackKey.Reveal(); key != "" {
		o.PokePay.CallbackPath = pokepayCallbackPath + key
	}
	return o
}

func reveal(secrets []secret.Text) []string {
	var list []string
	for _, s := range secrets {
		list = append(list, s.Reveal())
	}
	return list
}

// Sandbox is the whole product in one process, offline: the program and the simulators that it talks to.
type Sandbox struct {
	*App
	Simulators *sandbox.Server
}

// NewSandbox starts the simulators and puts the program together on them. c is of LoadSandboxConfig; change has the last
// word about the simulators' options and may be nil.
func NewSandbox(ctx context.Context, c Config, x Extras, change func(*sandbox.Options)) (*Sandbox, error) {
	// First of all the listeners, because both sides have to know where the other one is.
	var err error
	if x.HTTP, err = listen(ctx, x.HTTP, "CCP_HTTP_ADDR", c.HTTP.Addr); err != nil {
		return nil, err
	}
	if x.Ops, err = listen(ctx, x.Ops, "CCP_OPS_ADDR", c.HTTP.OpsAddr); err != nil {
		return nil, errors.Join(err, closeAll(x.HTTP))
	}
	c.HTTP.OpsAddr = x.Ops.Addr().String()
	c = c.Bound(Listeners{HTTP: x.HTTP.Addr().String()})
	o := c.SandboxOptions(x)
	if change != nil {
		change(&o)
	}
	// The simulators outlive ctx: the program still talks to them while it drains.
	simulators, err := sandbox.Start(context.WithoutCancel(ctx), o)
	if err != nil {
		return nil, errors.Join(err, closeAll(x.HTTP, x.Ops))
	}
	x.Clock = simulators.Clock()
	a, err := New(ctx, c.Bound(Listeners{Sandbox: simulators.Addr(), SMTP: simulators.SMTPAddr()}), x)
	if err != nil {
		return nil, errors.Join(err, simulators.Stop())
	}
	simulators.OpenOffice(a.office())
	return &Sandbox{App: a, Simulators: simulators}, nil
}

// Serve works until ctx ends, then drains the program and stops the simulators.
func (s *Sandbox) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// A program whose providers are gone is no sandbox.
		select {
		case <-s.Simulators.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	return errors.Join(s.App.Serve(ctx), s.Simulators.Stop())
}

// Close stops a sandbox that is not going to serve.
func (s *Sandbox) Close() error { return errors.Join(s.App.Close(), s.Simulators.Stop()) }

func closeAll(listeners ...net.Listener) error {
	var problems []error
	for _, l := range listeners {
		problems = append(problems, l.Close())
	}
	return errors.Join(problems...)
}
