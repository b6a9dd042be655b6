package api

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

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
	Error_    string `json:"error,omitempty" doc:"The same in English, for developers." example:"Invalid credentials"`
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
	case known:
	case errors.Is(err, context.DeadlineExceeded):
		p = ErrTimeout
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		p = ErrUnavailable // the caller has gone; nobody reads this
	default:
		p = ErrInternal
	}
	e := a.envelope(info, p)
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
func (a *API) reject(w http.ResponseWriter, r *http.Request, p *problem.Problem) {
	a.wire(r.Context(), p).write(w)
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
		return fromFramework(ctx.Context(), status, errs)
	}
	// Used only where there is no request: to describe the shape of errors.
	huma.NewError = func(status int, _ string, _ ...error) huma.StatusError { return &ErrorResponse{status: status} }
}

func fromFramework(ctx context.Context, status int, errs []error) *ErrorResponse {
	info := requestFrom(ctx)
	if info.api == nil {
		return &ErrorResponse{status: status}
	}
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return info.api.wire(ctx, ErrTooLarge)
	case status >= 500:
		// The framework calls it a fault of ours when a body ends early or is not chunked as announced.
		return info.api.wire(ctx, unreadable(errors.Join(errs...)))
	}
	// Which fields, but never their values: they may be passwords.
	var fields []string
	for _, err := range errs {
		var d huma.ErrorDetailer
		if errors.As(err, &d) {
			if at := strings.TrimPrefix(d.ErrorDetail().Location, "body."); at != "" && at != "body" {
				fields = append(fields, at)
			}
		}
	}
	return info.api.wire(ctx, ErrMalformed.With("Fields", strings.Join(fields, ", ")))
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
	return ErrMalformed.Because(err)
}

// Locales are the edge's own texts.
//
//go:embed locales
var Locales embed.FS
