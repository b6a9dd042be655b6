// Package api is the HTTP edge that the capabilities share: one router, authentication, language, the error
// envelope, limits, idempotency and the OpenAPI description. It knows no capability; each registers its
// operations in its own http.go.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// Depth says how far a token is checked before the operation runs.
type Depth int

const (
	// Confirmed: signature, expiry, and that the session and the account stand, by a look into the database.
	Confirmed Depth = iota
	// SignatureOnly: signature and expiry. The use case confirms the session in the query that it makes anyway.
	SignatureOnly
)

// TokenCheck checks a bearer token. It returns a context that carries the customer, and a name for whom limits
// and idempotency keys are kept apart. Its error is a Problem.
type TokenCheck func(ctx context.Context, token string, depth Depth) (context.Context, string, error)

// Options configures the edge.
type Options struct {
	DB             db.DB
	Vault          *secret.Vault
	Clock          clock.Clock
	Texts          *i18n.Texts
	Log            *slog.Logger
	Registerer     prometheus.Registerer // nil: no metrics
	CheckToken     TokenCheck
	DefaultLocale  i18n.Locale
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	CORSOrigins    []string       // browsers' origins that may call; empty: none
	MaxBody        int64          // bytes of a request body; 0: 64 KiB
	Timeout        time.Duration  // of one request; 0: 30 s
	AddressRate    float64        // requests per second and network address; 0: 20
	CallerRate     float64        // requests per second and customer; 0: 20
	SpareLoopback  bool           // sandbox: no limit per address on loopback
	Trace          bool           // OpenTelemetry spans of requests
	Version        string
}

// API is the edge. Make it with New, register operations, then serve Handler.
type API struct {
	Options
	huma      huma.API
	mux       *http.ServeMux
	metrics   *metrics
	byAddress *limiter
	byCaller  *limiter
	forgeries *forgeries
	unlimited map[string]bool // patterns of routes without a limit per address
	providers map[string]bool // patterns of providers' routes
	// unreadable says by the pattern of a route what answers a request that cannot be read, where it is not ErrMalformed.
	unreadable map[string]*problem.Problem
	ready      func(context.Context) error
	distrusted sync.Once // somebody who is not trusted has named whom they forward for
}

// New makes the edge.
func New(o Options) *API {
	if o.MaxBody == 0 {
		o.MaxBody = 64 << 10
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.AddressRate == 0 {
		o.AddressRate = 20
	}
	if o.CallerRate == 0 {
		o.CallerRate = 20
	}
	a := &API{
		Options:    o,
		mux:        http.NewServeMux(),
		metrics:    newMetrics(o.Registerer),
		byAddress:  newLimiter(o.AddressRate),
		byCaller:   newLimiter(o.CallerRate),
		forgeries:  newForgeries(),
		unlimited:  map[string]bool{"GET /healthz": true, "GET /readyz": true},
		unreadable: map[string]*problem.Problem{},
		providers:  map[string]bool{},
	}
	a.huma = humago.New(a.mux, configuration(o.Version))
	a.registerDocs()
	return a
}

// ReadyWhen sets the check behind GET /readyz: nil means that requests can be served.
func (a *API) ReadyWhen(check func(context.Context) error) { a.ready = check }

// Handler is the whole edge as one handler.
func (a *API) Handler() http.Handler {
	var h http.Handler = http.HandlerFunc(a.serve)
	if a.Trace {
		h = a.traced(h)
	}
	return h
}

// Access says who may call an operation.
type Access int

const (
	// Customer: a bearer token whose session is confirmed before the operation runs.
	Customer Access = iota
	// CustomerUnconfirmed: a bearer token that is genuine; the use case confirms the session itself.
	CustomerUnconfirmed
	// Public: anybody. A bearer token is not looked at, stale ones come along with every call (contract/rules section 2).
	Public
	// Provider: a provider's server. Like Public, but not limited per network address: all its calls come from one, and
	// one that is turned away may not come again. Only calls that are refused are counted, and too many of them shut their
	// address out for a while.
	Provider
)

// Operation describes a route.
type Operation struct {
	ID       string // unique, lower-case with dashes
	Method   string
	Path     string // without prefix and without trailing slash
	Access   Access
	Tag      string
	Summary  string
	Describe string
	Errors   []int // statuses of its own refusals; what the edge itself may answer is described without being named here
	MaxBody  int64 // bytes; 0: as configured
	// Unreadable answers a request that cannot be read; nil: ErrMalformed, and ErrTooLarge for a body beyond MaxBody.
	Unreadable *problem.Problem
	// Published is for an operation of the published reference: its answers by status, in the reference's words. Then nothing
	// is described but these, no parameter is added and no property is required.
	Published map[int]string
}

// forCustomers tells whether the operation needs a token.
func (op Operation) forCustomers() bool {
	return op.Access == Customer || op.Access == CustomerUnconfirmed
}

// takesKey tells whether the operation heeds Idempotency-Key. Only customers' ones: a stranger must not be able to fill the
// database with answers that are kept.
func (op Operation) takesKey() bool { return op.forCustomers() && op.Method != http.MethodGet }

// Register adds an operation. It answers under its path and under /api/v1, with and without a trailing slash.
// An error of handler that is not a Problem is logged and answered 500 without its text.
func Register[I, O any](a *API, op Operation, handler func(context.Context, *I) (*O, error)) {
	h := huma.Operation{
		OperationID: op.ID, Method: op.Method, Path: op.Path, Tags: []string{op.Tag},
		Summary: op.Summary, Description: op.Describe, MaxBodyBytes: -1,
		DefaultStatus: http.StatusOK, SkipValidateParams: false,
	}
	if op.MaxBody == 0 {
		op.MaxBody = a.MaxBody
	}
	if op.Unreadable != nil {
		a.unreadable[op.Method+" "+op.Path] = op.Unreadable
	}
	if op.Access == Provider {
		a.providers[op.Method+" "+op.Path] = true
	}
	h.Middlewares = huma.Middlewares{a.limitBody(op.MaxBody), a.authenticate(op.Access)}
	if op.takesKey() {
		h.Middlewares = append(h.Middlewares, a.idempotent)
	}
	a.describe(op, &h, reflect.TypeFor[O]() == reflect.TypeFor[Page]())
	huma.Register(a.huma, h, func(ctx context.Context, in *I) (*O, error) {
		out, err := handler(ctx, in)
		if err != nil {
			return nil, a.wire(ctx, err)
		}
		return out, nil
	})
	a.complete(op, &h)
}

// Success is the key that every successful answer carries (contract/rules section 3).
type Success struct {
	Status string `json:"status" enum:"success" doc:"Always success."`
}

// OK is the value of Success.
func OK() Success { return Success{Status: "success"} }

// Page is a ready HTML page, for the few routes that people's browsers open.
type Page struct {
	ContentType     string `header:"Content-Type" hidden:"true"`
	ContentLanguage string `header:"Content-Language"`
	ContentSecurity string `header:"Content-Security-Policy"`
	Body            []byte
}
