package api

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// Problems of the edge itself.
var (
	ErrInternal        = problem.Define("INTERNAL_ERROR", problem.Internal)
	ErrTimeout         = problem.Define("REQUEST_TIMEOUT", problem.Unavailable)
	ErrUnavailable     = problem.Define("SERVICE_UNAVAILABLE", problem.Unavailable)
	ErrUnauthenticated = problem.Define("UNAUTHENTICATED", problem.Unauthenticated)
	ErrRouteNotFound   = problem.Define("ROUTE_NOT_FOUND", problem.NotFound)
	ErrMethod          = problem.Define("METHOD_NOT_ALLOWED", problem.NotAllowed)
	ErrTooLarge        = problem.Define("REQUEST_TOO_LARGE", problem.TooLarge)
	ErrMalformed       = problem.Define("MALFORMED_REQUEST", problem.Malformed)
	ErrTooManyRequests = problem.Define("TOO_MANY_REQUESTS", problem.TooMany)
	ErrKeyReused       = problem.Define("IDEMPOTENCY_KEY_REUSED", problem.Malformed)
	ErrKeyInUse        = problem.Define("IDEMPOTENCY_KEY_IN_USE", problem.Conflict)
	ErrKeyInvalid      = problem.Define("IDEMPOTENCY_KEY_INVALID", problem.Invalid)
)

var statuses = map[problem.Kind]int{
	problem.Invalid:         http.StatusBadRequest,
	problem.Malformed:       http.StatusUnprocessableEntity,
	problem.Unauthenticated: http.StatusUnauthorized,
	problem.Forbidden:       http.StatusForbidden,
	problem.NotFound:        http.StatusNotFound,
	problem.NotAllowed:      http.StatusMethodNotAllowed,
	problem.Conflict:        http.StatusConflict,
	problem.TooLarge:        http.StatusRequestEntityTooLarge,
	problem.TooMany:         http.StatusTooManyRequests,
	problem.Unavailable:     http.StatusServiceUnavailable,
	problem.Internal:        http.StatusInternalServerError,
}

// ErrorResponse is the body of every error (contract/rules section 4).
type ErrorResponse struct {
	status     int
	retryAfter int

	Message   string `json:"message,omitempty" doc:"What happened, in the customer's language; shown word for word."`
	Error_    string `json:"error,omitempty" doc:"What happened in English, for developers; of requests that cannot be read it says why." example:"Invalid credentials"`
	Details   string `json:"details,omitempty" doc:"详细错误信息" example:"详细错误信息"`
	Code      string `json:"code,omitempty" doc:"Stable machine code." example:"INVALID_CREDENTIALS"`
	Status    string `json:"status,omitempty" enum:"error"`
	RequestID string `json:"request_id,omitempty" doc:"Name of this request in our logs."`
}

// GetStatus implements huma.StatusError.
func (e *ErrorResponse) GetStatus() int { return e.status }

// GetHeaders implements huma.HeadersError.
func (e *ErrorResponse) GetHeaders() http.Header {
	h := http.Header{}
	if e.retryAfter != 0 {
		h["Retry-After"] = []string{strconv.Itoa(e.retryAfter)}
	}
	if e.status == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{"Bearer"} // RFC 9110, section 15.5.2
	}
	return h
}

// Error implements error.
func (e *ErrorResponse) Error() string { return e.Code }

// ContentType implements huma.ContentTypeFilter: plain JSON, since the app reads nothing else.
func (e *ErrorResponse) ContentType(string) string { return "application/json" }

// wire turns an error into what the caller gets, and logs what is ours.
func (a *API) wire(ctx context.Context, err error) *ErrorResponse {
	var ready *ErrorResponse
	if errors.As(err, &ready) {
		return ready
	}
	info := requestFrom(ctx)
	p, known := problem.Find(err)
	switch {
	case known && (p.Is(ErrMalformed) || p.Is(ErrTooLarge)) && a.unreadable[info.route()] != nil:
		p = a.unreadable[info.route()]
	case known:
	case errors.Is(err, context.DeadlineExceeded):
		p = ErrTimeout
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		p = ErrUnavailable // the caller has gone; nobody reads this
	default:
		p = ErrInternal
	}
	e := a.envelope(info, p)
	var x explained
	if errors.As(err, &x) {
		e.Error_ = x.says
	}
	gone := errors.Is(err, context.Canceled) && ctx.Err() != nil
	if e.status >= 500 && a.Log != nil && !gone {
		a.Log.ErrorContext(ctx, "request failed", "request_id", info.id, "route", info.route(), "code", p.Code, "error", err)
	}
	return e
}

// envelope is the answer that tells of a problem.
func (a *API) envelope(info *request, p *problem.Problem) *ErrorResponse {
	status := statuses[p.Kind]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	text := a.Texts.Get(info.locale, p.TextKey(), p.Params)
	return &ErrorResponse{
		status: status, retryAfter: int(p.RetryAfter.Seconds()),
		Message: text, Error_: a.Texts.Get(i18n.English, p.TextKey(), p.Params), Details: text,
		Code: p.Code, Status: "error", RequestID: info.id,
	}
}

// reject writes an error outside of an operation.
func (a *API) reject(w http.ResponseWriter, r *http.Request, err error) {
	a.wire(r.Context(), err).write(w)
}

func (e *ErrorResponse) write(w http.ResponseWriter) {
	for k, v := range e.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(e)
}

func (a *API) rejectOperation(ctx huma.Context, err error) {
	e := a.wire(ctx.Context(), err)
	for k, v := range e.GetHeaders() {
		ctx.SetHeader(k, v[0])
	}
	ctx.SetHeader("Content-Type", "application/json")
	ctx.SetStatus(e.status)
	_ = json.NewEncoder(ctx.BodyWriter()).Encode(e)
}

// The framework reports unreadable requests through these variables.
func init() {
	huma.NewErrorWithContext = func(ctx huma.Context, status int, _ string, errs ...error) huma.StatusError {
		e := fromFramework(ctx, status, errs)
		for k, v := range e.GetHeaders() { // the framework asks for them only when an operation refuses
			ctx.SetHeader(k, v[0])
		}
		return e
	}
	// Used only where there is no request: to describe the shape of errors.
	huma.NewError = func(status int, _ string, _ ...error) huma.StatusError { return &ErrorResponse{status: status} }
}

func fromFramework(ctx huma.Context, status int, errs []error) *ErrorResponse {
	info := requestFrom(ctx.Context())
	if info.api == nil {
		return &ErrorResponse{status: status}
	}
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return info.api.wire(ctx.Context(), ErrTooLarge)
	case status >= 500:
		// The framework calls it a fault of ours when a body ends early or is not chunked as announced.
		return info.api.wire(ctx.Context(), unreadable(errors.Join(errs...)))
	case status == http.StatusUnsupportedMediaType:
		return info.api.wire(ctx.Context(), malformed("expected Content-Type application/json"))
	case len(errs) == 0 && info.api.providers[info.route()]: // what a provider sends has a form of its own
		return info.api.wire(ctx.Context(), malformed("the body is empty"))
	case len(errs) == 0:
		return info.api.wire(ctx.Context(), malformed("the body is empty, expected a JSON object"))
	}
	// Which fields, but never their values: they may be passwords.
	var fields []string
	for _, err := range errs {
		var d huma.ErrorDetailer
		if !errors.As(err, &d) {
			continue
		}
		detail := d.ErrorDetail()
		at := strings.TrimPrefix(detail.Location, "body.")
		if at == "body" {
			return info.api.wire(ctx.Context(), malformed(flaw(detail)))
		}
		if at != "" {
			fields = append(fields, at)
		}
	}
	return info.api.wire(ctx.Context(), ErrMalformed.With("Fields", strings.Join(fields, ", ")))
}

// unreadable says what became of a body that could not be read to its end.
func unreadable(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return ErrTooLarge
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return explained{ErrMalformed.Because(err), couldNotRead + "the body breaks off, or is not chunked as announced"}
}

// explained is a problem of which developers are told more than customers: says stands in error.
type explained struct {
	*problem.Problem
	says string
}

// Unwrap leads to the problem.
func (e explained) Unwrap() error { return e.Problem }

const couldNotRead = "The request could not be read: "

// malformed is ErrMalformed with a reason for developers, which must not repeat anything of the request.
func malformed(reason string) error { return explained{ErrMalformed, couldNotRead + reason} }

// flaw says what is wrong with a body as a whole. The framework's own words are no use: they repeat what was sent.
func flaw(d *huma.ErrorDetail) string {
	body, _ := d.Value.(string)
	if d.Message == validation.MsgExpectedObject {
		return "the body must be a JSON object"
	}
	if strings.TrimLeft(body, " \t\r\n") == "" {
		return "the body is empty, expected a JSON object"
	}
	var whole any
	var syntax *json.SyntaxError
	switch err := json.Unmarshal([]byte(body), &whole); {
	case errors.As(err, &syntax):
	case repeatsKey(exact([]byte(body))):
		return errRepeatedKey.Error()
	case err != nil:
		return "a number is too large"
	default:
		return "a value has the wrong type"
	}
	at := "JSON error at byte " + strconv.FormatInt(syntax.Offset, 10)
	if strings.HasPrefix(body, "\ufeff") {
		return at + ", a byte order mark"
	}
	var first json.RawMessage
	switch err := json.NewDecoder(strings.NewReader(body)).Decode(&first); {
	case err == nil:
		return at + ", after the end of the first value"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return at + ", where the body ends too early"
	}
	return at
}

// Locales are the edge's own texts.
//
//go:embed locales
var Locales embed.FS
