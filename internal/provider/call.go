package provider

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
)

// Limits bounds the calls to one provider. Zero fields take the defaults named here.
type Limits struct {
	Timeout time.Duration // one attempt, from dialling to the last byte; 15 s
	MaxBody int64         // bytes of an answer; 4 MiB

	Attempts      int           // of an operation that is safe to repeat; 3
	Backoff       time.Duration // before the second attempt, doubled for each further one, with jitter; 250 ms
	MaxBackoff    time.Duration // 4 s
	MaxRetryAfter time.Duration // a longer wait asked by the provider is left to our own caller; 10 s

	BreakerMinCalls uint          // calls within BreakerWindow from which on it matters whether half of them fail; 10
	BreakerWindow   time.Duration // 30 s
	BreakerDelay    time.Duration // how long the provider is left alone before one call tries it again; 10 s
}

// jitter is the part by which a delay is randomly shortened or lengthened.
const jitter = 0.25

func (l Limits) withDefaults() Limits {
	or := func(d *time.Duration, standard time.Duration) {
		if *d <= 0 {
			*d = standard
		}
	}
	or(&l.Timeout, 15*time.Second)
	or(&l.Backoff, 250*time.Millisecond)
	or(&l.MaxBackoff, 4*time.Second)
	l.MaxBackoff = max(l.MaxBackoff, l.Backoff+1) // the retry policy insists on room to grow
	or(&l.MaxRetryAfter, 10*time.Second)
	or(&l.BreakerWindow, 30*time.Second)
	or(&l.BreakerDelay, 10*time.Second)
	if l.MaxBody <= 0 {
		l.MaxBody = 4 << 20
	}
	if l.Attempts <= 0 {
		l.Attempts = 3
	}
	if l.BreakerMinCalls == 0 {
		l.BreakerMinCalls = 10
	}
	return l
}

// Options describes a Caller.
type Options struct {
	Provider   string                // name in errors, metrics and traces
	Limits     Limits                //
	Clock      clock.Clock           // reads Retry-After dates; nil: the machine's
	Registerer prometheus.Registerer // nil: no metrics
	Transport  http.RoundTripper     // nil: a transport of its own
}

// Caller sends the calls to one provider. It is safe for concurrent use.
type Caller struct {
	provider string
	limits   Limits
	clock    clock.Clock
	client   *http.Client
	metrics  *metrics
	breaker  circuitbreaker.CircuitBreaker[*Answer]
	once     failsafe.Executor[*Answer]
	repeat   failsafe.Executor[*Answer]
}

// NewCaller builds a Caller.
func NewCaller(o Options) *Caller {
	c := &Caller{provider: o.Provider, limits: o.Limits.withDefaults(), clock: o.Clock}
	if c.clock == nil {
		c.clock = clock.System{}
	}
	c.metrics = newMetrics(o.Registerer)
	transport := o.Transport
	if transport == nil {
		standard := http.DefaultTransport.(*http.Transport).Clone()
		standard.MaxIdleConnsPerHost = 32
		transport = standard
	}
	c.client = &http.Client{
		Transport: otelhttp.NewTransport(queryTransport{transport},
			otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator()), // trace ids stay in the house
			otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
				operation, _ := r.Context().Value(operationKey{}).(string)
				return c.provider + " " + operation
			})),
		// A redirect would drop the key or turn a POST into a GET: it is an answer, not a way to go.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.breaker = circuitbreaker.NewBuilder[*Answer]().
		HandleIf(func(_ *Answer, err error) bool { return unhealthy(err) }).
		WithFailureRateThreshold(0.5, c.limits.BreakerMinCalls, c.limits.BreakerWindow).
		WithDelay(c.limits.BreakerDelay).
		WithSuccessThreshold(1).
		OnStateChanged(func(e circuitbreaker.StateChangedEvent) {
			c.metrics.circuit(c.provider, e.NewState == circuitbreaker.OpenState)
		}).
		Build()
	retry := retrypolicy.NewBuilder[*Answer]().
		HandleIf(func(_ *Answer, err error) bool { return c.repeatable(err) }).
		WithMaxAttempts(c.limits.Attempts).
		WithBackoff(c.limits.Backoff, c.limits.MaxBackoff).
		WithJitterFactor(jitter).
		WithDelayFunc(func(exec failsafe.ExecutionAttempt[*Answer]) time.Duration {
			if e := (*Error)(nil); errors.As(exec.LastError(), &e) && e.RetryAfter > 0 {
				return time.Duration(float64(e.RetryAfter) / (1 - jitter)) // never sooner than asked
			}
			return -1 // none asked for: back off
		}).
		ReturnLastFailure().
		Build()
	c.once = failsafe.With[*Answer](c.breaker)
	c.repeat = failsafe.With[*Answer](retry, c.breaker)
	return c
}

// Call is one operation to perform.
type Call struct {
	Operation string
	Method    string
	URL       string      // absolute, without query
	Query     url.Values  // kept out of traces: it may hold an e-mail address
	Header    http.Header // may be nil
	Body      any         // sent as JSON; nil: no body
	Safe      bool        // repeating it does no harm, so that it may be retried
	Empty     bool        // a success without a body is expected

	// Judge reads a JSON answer: nil if it means success, else an Error with whatever it knows of outcome,
	// code, words and cause. An HTTP status other than 2xx decides the outcome by itself. May be nil.
	Judge func(*Answer) *Error
}

// Answer is an answer that arrived whole.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	JSON   bool // the content type says JSON; otherwise the body must not be parsed
}

// Do performs a call and returns its answer if that means success. Every error is an *Error.
func (c *Caller) Do(ctx context.Context, call Call) (*Answer, error) {
	executor := c.once
	if call.Safe {
		executor = c.repeat
	}
	answer, err := executor.WithContext(ctx).GetWithExecution(func(failsafe.Execution[*Answer]) (*Answer, error) {
		answer, failure := c.attempt(ctx, call)
		if failure != nil {
			return nil, failure
		}
		return answer, nil
	})
	if err == nil {
		return answer, nil
	}
	if e := (*Error)(nil); errors.As(err, &e) {
		return nil, e
	}
	e := &Error{Provider: c.provider, Operation: call.Operation, Cause: err}
	switch {
	case errors.Is(err, circuitbreaker.ErrOpen):
		e.Outcome, e.Detail, e.Cause = Refused, "not sent, the provider fails too often", ErrCircuitOpen
		e.RetryAfter = max(c.breaker.RemainingDelay(), time.Millisecond)
		c.metrics.withheld(c.provider, call.Operation)
	case ctx.Err() != nil: // while waiting for the next attempt
		e.Sent, e.Detail = true, "given up between attempts"
	default:
		e.Sent, e.Detail = true, "failed"
	}
	return nil, e
}

// attempt sends the request once and counts it.
func (c *Caller) attempt(ctx context.Context, call Call) (answer *Answer, failure *Error) {
	label := Unknown.String()
	timer := prometheus.NewTimer(prometheus.ObserverFunc(func(seconds float64) {
		c.metrics.observe(c.provider, call.Operation, label, seconds)
	}))
	defer func() {
		if label = OK.String(); failure != nil {
			failure.Provider, failure.Operation = c.provider, call.Operation
			label = failure.label()
		}
		timer.ObserveDuration()
	}()

	if err := ctx.Err(); err != nil {
		return nil, &Error{Outcome: Refused, Detail: "given up before it was sent", Cause: err, blameless: true}
	}
	attemptCtx, cancel := context.WithTimeout(ctx, c.limits.Timeout)
	defer cancel()
	var asked, connected atomic.Bool
	attemptCtx = httptrace.WithClientTrace(attemptCtx, &httptrace.ClientTrace{
		GetConn: func(string) { asked.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	request, err := newRequest(attemptCtx, call)
	if err != nil {
		return nil, &Error{Outcome: Refused, Detail: "the request cannot be written", Cause: fmt.Errorf("%w: %w", ErrInvalidCall, err), blameless: true}
	}
	response, err := c.client.Do(request)
	if err != nil {
		return nil, transportError(ctx, err, asked.Load() && !connected.Load())
	}
	defer response.Body.Close()
	answer = &Answer{Status: response.StatusCode, Header: response.Header, JSON: isJSON(response.Header)}
	body, err := io.ReadAll(io.LimitReader(response.Body, c.limits.MaxBody+1))
	switch {
	case int64(len(body)) > c.limits.MaxBody:
		answer.JSON = false
		failure = &Error{Detail: fmt.Sprintf("the answer is longer than %d bytes", c.limits.MaxBody)}
	case err != nil:
		answer.JSON = false
		failure = transportError(ctx, err, false)
	default:
		answer.Body = body
	}
	return answer, c.judge(call, answer, failure)
}

// judge turns an answer into nil or an Error; reading is what went wrong while the body was read.
func (c *Caller) judge(call Call, answer *Answer, reading *Error) *Error {
	var said *Error
	if answer.JSON && call.Judge != nil {
		said = call.Judge(answer)
	}
	failure := byStatus(answer.Status)
	switch {
	case failure != nil:
		if said != nil {
			failure.Code, failure.StaffText, failure.Cause = said.Code, said.StaffText, said.Cause
		}
	case reading != nil:
		failure = reading
	case said != nil:
		if failure = said; failure.Detail == "" {
			failure.Detail = "refused by the provider"
		}
	case call.Empty && len(bytes.TrimSpace(answer.Body)) == 0:
		return nil
	case !answer.JSON:
		failure = &Error{Detail: "the answer is not JSON"}
	default:
		return nil
	}
	failure.Sent, failure.Status = true, answer.Status
	failure.RetryAfter = c.retryAfter(answer.Header)
	return failure
}

// byStatus is what an HTTP status other than 2xx says about the effect of a call.
func byStatus(status int) *Error {
	switch {
	case status >= 200 && status < 300:
		return nil
	case status == http.StatusRequestTimeout || status >= 500 || status < 200:
		return &Error{Outcome: Unknown, Detail: "the provider failed"}
	case status < 400:
		return &Error{Outcome: Refused, Detail: "a redirect, which is not followed: check the base address"}
	case status == http.StatusTooManyRequests:
		return &Error{Outcome: Refused, Detail: "too many calls"}
	default:
		return &Error{Outcome: Refused, Detail: "refused by the provider"}
	}
}

// transportError describes a call without a whole answer. Only if no connection was had is it certain that
// nothing was sent.
func transportError(ctx context.Context, err error, neverConnected bool) *Error {
	// The URL, which *url.Error repeats, may hold personal data.
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	e := &Error{Outcome: Unknown, Sent: true, Detail: "the connection was lost", Cause: err}
	if dial := (*net.OpError)(nil); neverConnected || errors.As(err, &dial) && dial.Op == "dial" {
		e.Outcome, e.Sent, e.Detail, e.unreached = Refused, false, "no connection", true
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		e.Detail, e.blameless, e.unreached = e.Detail+", given up", true, false
	} else if fault := connectionFault(err); fault != "" {
		e.Detail += ", " + fault
	}
	return e
}

// connectionFault is the kind of what befell a connection, as far as it is known. It names no host, address or certificate.
func connectionFault(err error) string {
	var (
		lookup      *net.DNSError
		timeout     net.Error
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		alert       tls.AlertError
		authority   x509.UnknownAuthorityError
		host        x509.HostnameError
		invalid     x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return "name not found"
	case errors.As(err, &lookup):
		return "name cannot be looked up"
	case errors.As(err, &authority):
		return "certificate of an unknown authority"
	case errors.As(err, &host):
		return "certificate of another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate expired or not yet valid"
	case errors.As(err, &certificate):
		return "certificate not accepted"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "no TLS at that port"
	case errors.As(err, &alert):
		return "TLS refused"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return "no route to host"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timed out"
	default:
		return ""
	}
}

// unhealthy tells whether an attempt's error speaks against the provider's health.
func unhealthy(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && !e.blameless && (e.Outcome == Unknown || !e.Sent)
}

// repeatable tells whether another attempt of a safe operation makes sense at once.
func (c *Caller) repeatable(err error) bool {
	e := (*Error)(nil)
	return errors.As(err, &e) && !e.blameless && e.Temporary() && e.RetryAfter <= c.limits.MaxRetryAfter
}

// retryAfter reads Retry-After, in seconds or as a date.
func (c *Caller) retryAfter(h http.Header) time.Duration {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(at.Sub(c.clock.Now()), 0)
	}
	return 0
}

func newRequest(ctx context.Context, call Call) (*http.Request, error) {
	var body io.Reader
	if call.Body != nil {
		encoded, err := json.Marshal(call.Body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
	}
	ctx = context.WithValue(ctx, operationKey{}, call.Operation)
	if len(call.Query) > 0 {
		ctx = context.WithValue(ctx, queryKey{}, call.Query.Encode())
	}
	request, err := http.NewRequestWithContext(ctx, call.Method, call.URL, body)
	if err != nil {
		return nil, err
	}
	for name, values := range call.Header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return request, nil
}

func isJSON(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && (kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json"))
}

type (
	operationKey struct{}
	queryKey     struct{}
)

// queryTransport adds the query below the tracing transport, so that no span ever holds it.
type queryTransport struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t queryTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if query, ok := r.Context().Value(queryKey{}).(string); ok {
		r = r.Clone(r.Context())
		r.URL.RawQuery = query
	}
	return t.next.RoundTrip(r)
}

// BaseURL checks the address that a provider's paths are appended to and cuts its trailing slash.
func BaseURL(address string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("must be an absolute http or https address")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("must have no user, query or fragment")
	}
	return strings.TrimRight(u.String(), "/"), nil
}
