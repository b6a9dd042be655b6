package didit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

// ProviderName is the provider's name in errors, metrics and traces.
const ProviderName = "didit"

// The names of the operations in errors, metrics and traces.
const (
	OpCreateSession  = "create_session"
	OpListSessions   = "list_sessions"
	OpDecision       = "decision"
	OpUpdateStatus   = "update_status"
	OpDeleteSession  = "delete_session"
	OpDeleteSessions = "delete_sessions"
)

// Config is what a Client needs.
type Config struct {
	BaseURL    string                // https://verification.didit.me, without version
	APIKey     secret.Text           // one key is one application
	Limits     provider.Limits       // zero: defaults
	Clock      clock.Clock           // nil: the machine's
	Registerer prometheus.Registerer // nil: no metrics
	Transport  http.RoundTripper     // nil: a transport of its own
}

// Client calls Didit's API, version 3. It is safe for concurrent use.
type Client struct {
	base   string
	key    secret.Text
	caller *provider.Caller
}

// NewClient builds a Client, or says what is wrong with the configuration.
func NewClient(config Config) (*Client, error) {
	base, err := provider.BaseURL(config.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("didit base URL: %w", err)
	}
	if config.APIKey.Empty() {
		return nil, errors.New("didit API key is missing")
	}
	return &Client{base: base, key: config.APIKey, caller: provider.NewCaller(provider.Options{Provider: ProviderName,
		Limits: config.Limits, Clock: config.Clock, Registerer: config.Registerer, Transport: config.Transport})}, nil
}

// NotFound tells whether an error says that the session does not exist.
func NotFound(err error) bool {
	e := (*provider.Error)(nil)
	return errors.As(err, &e) && e.Status == http.StatusNotFound && e.Outcome == provider.Refused
}

// path is the address of a resource. The trailing slash is a must: without it Didit redirects, and the
// redirected call has lost its key (provider/didit.md section 1).
func (c *Client) path(segments ...string) string {
	var b strings.Builder
	b.WriteString(c.base + "/v3/")
	for _, s := range segments {
		b.WriteString(url.PathEscape(s) + "/")
	}
	return b.String()
}

func (c *Client) prepare(call provider.Call) provider.Call {
	call.Header = http.Header{"X-Api-Key": {c.key.Reveal()}}
	call.Judge = judge
	return call
}

// object performs a call whose answer is one object.
func (c *Client) object(ctx context.Context, call provider.Call) (provider.Object, error) {
	answer, err := c.caller.Do(ctx, c.prepare(call))
	if err != nil {
		return nil, err
	}
	o, err := provider.ParseObject(answer.Body)
	if err != nil {
		return nil, unreadable(call.Operation, err)
	}
	return o, nil
}

// judge reads Didit's error bodies: detail, message or error, or a map from field to complaints
// (provider/didit.md section 5). A success must be an object.
func judge(answer *provider.Answer) *provider.Error {
	o, err := provider.ParseObject(answer.Body)
	if answer.Status >= 200 && answer.Status < 300 {
		if err != nil && len(answer.Body) > 0 {
			return &provider.Error{Detail: "the answer cannot be read", Cause: err}
		}
		return nil
	}
	e := &provider.Error{Code: o.Text("code"), StaffText: o.Text("detail", "message", "error")}
	if e.StaffText == "" {
		var fields []string
		for name := range o {
			if complaints := o.Texts(name); len(complaints) > 0 {
				fields = append(fields, name+": "+strings.Join(complaints, " "))
			}
		}
		sort.Strings(fields)
		e.StaffText = strings.Join(fields, "; ")
	}
	return e
}

// invalid refuses a call that Didit would refuse, before it is sent.
func invalid(operation, why string) error {
	return &provider.Error{Provider: ProviderName, Operation: operation, Outcome: provider.Refused,
		Detail: why, Cause: provider.ErrInvalidCall}
}

// unreadable is a success that lacks what it should say.
func unreadable(operation string, cause error) error {
	return &provider.Error{Provider: ProviderName, Operation: operation, Outcome: provider.Unknown, Sent: true,
		Status: http.StatusOK, Detail: "the answer cannot be read", Cause: cause}
}

// validID tells whether a session id may stand in a path: ids are UUIDs, and nothing else must reach a path.
func validID(id string) bool {
	return id != "" && len(id) <= 64 && strings.Trim(id, "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}
