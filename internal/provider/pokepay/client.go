package pokepay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

// ProviderName is the provider's name in errors, metrics and traces.
const ProviderName = "pokepay"

// Config is what a Client needs.
type Config struct {
	BaseURL       string // https://dash.pokepay.com/api/v1
	Authenticator Authenticator
	Paths         map[string]string // overrides of the operations table, see Operations

	// AgentUIDParam is the query parameter that finds a KYC by our agent_uid, a guess; default "agent_uid".
	AgentUIDParam string

	Limits     provider.Limits       // zero: defaults
	Clock      clock.Clock           // nil: the machine's
	Registerer prometheus.Registerer // nil: no metrics
	Transport  http.RoundTripper     // nil: a transport of its own
}

// Client calls PokePay's partner API. It is safe for concurrent use.
type Client struct {
	base          string
	operations    map[string]Operation
	agentUIDParam string
	caller        *provider.Caller
	tokens        *tokenSource
}

// NewClient builds a Client, or says everything that is wrong with the configuration.
func NewClient(config Config) (*Client, error) {
	base, err := provider.BaseURL(config.BaseURL)
	if err != nil {
		err = fmt.Errorf("pokepay base URL %w", err)
	}
	table, tableErr := Operations(config.Paths)
	var loginErr error
	if checked, ok := config.Authenticator.(interface{ check() error }); ok {
		loginErr = checked.check()
	} else if config.Authenticator == nil {
		loginErr = errors.New("pokepay authenticator is missing")
	}
	if err := errors.Join(err, loginErr, tableErr); err != nil {
		return nil, err
	}
	if config.Clock == nil {
		config.Clock = clock.System{}
	}
	if config.AgentUIDParam == "" {
		config.AgentUIDParam = "agent_uid"
	}
	c := &Client{base: base, operations: map[string]Operation{}, agentUIDParam: config.AgentUIDParam,
		caller: provider.NewCaller(provider.Options{Provider: ProviderName, Limits: config.Limits, Clock: config.Clock,
			Registerer: config.Registerer, Transport: config.Transport})}
	for _, operation := range table {
		c.operations[operation.Name] = operation
	}
	c.tokens = &tokenSource{authenticator: config.Authenticator, caller: c.caller, clock: config.Clock}
	return c, nil
}

// request is what an operation is called with.
type request struct {
	params map[string]string // for the placeholders of the path
	query  url.Values
	body   any
	once   bool // not repeated, even if that were safe
}

// call performs an operation and returns the data of its envelope, nil for null. A call that fails for its
// token is repeated once, with a new one: it had no effect.
func (c *Client) call(ctx context.Context, name string, r request) (json.RawMessage, error) {
	operation := c.operations[name]
	path, err := operation.expand(r.params)
	if err != nil {
		return nil, invalid(name, err.Error())
	}
	call := provider.Call{Operation: name, Method: operation.Method, URL: c.base + "/" + path, Query: r.query, Body: r.body,
		Safe: operation.Safe && !r.once, Judge: judge}
	token, err := c.tokens.token(ctx, secret.Text{})
	if err != nil {
		return nil, loginFailed(name, err)
	}
	answer, err := c.send(ctx, call, token)
	if unauthorised(err) {
		if token, err = c.tokens.token(ctx, token); err != nil {
			return nil, loginFailed(name, err)
		}
		answer, err = c.send(ctx, call, token)
	}
	if err != nil {
		return nil, err
	}
	e, err := parseEnvelope(answer.Body)
	if err != nil {
		return nil, unreadable(name, err)
	}
	return e.data, nil
}

func (c *Client) send(ctx context.Context, call provider.Call, token secret.Text) (*provider.Answer, error) {
	call.Header = http.Header{"Authorization": {"Bearer " + token.Reveal()}}
	return c.caller.Do(ctx, call)
}

// loginFailed is the error of an operation that was not sent, because there is no token. It says why there is none.
func loginFailed(operation string, cause error) error {
	e := &provider.Error{Provider: ProviderName, Operation: operation, Outcome: provider.Refused, Detail: "not sent, given up during the login", Cause: cause}
	if login := (*provider.Error)(nil); errors.As(cause, &login) {
		e.Detail = "not sent, no login: " + login.Description()
		e.RetryAfter, e.StaffText = login.RetryAfter, login.StaffText
	}
	return e
}

// invalid refuses a call that PokePay would refuse, before it is sent.
func invalid(operation, why string) error {
	return &provider.Error{Provider: ProviderName, Operation: operation, Outcome: provider.Refused, Detail: why, Cause: provider.ErrInvalidCall}
}

// unreadable is a success that lacks what it should say.
func unreadable(operation string, cause error) error {
	return &provider.Error{Provider: ProviderName, Operation: operation, Outcome: provider.Unknown, Sent: true,
		Status: http.StatusOK, Detail: "the answer cannot be read", Cause: cause}
}
