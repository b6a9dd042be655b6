package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
)

// fast are limits that let a test fail, retry and recover within milliseconds.
var fast = Limits{Timeout: 2 * time.Second, Backoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond, BreakerMinCalls: 1000}

func newTestCaller(t *testing.T, limits Limits) *Caller {
	t.Helper()
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return NewCaller(Options{Provider: "probe", Limits: limits, Transport: transport})
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func answerWith(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func failure(t *testing.T, err error) *Error {
	t.Helper()
	e := (*Error)(nil)
	if !errors.As(err, &e) {
		t.Fatalf("got %v (%T), want an *Error", err, err)
	}
	return e
}

func TestOutcomeOfAnswers(t *testing.T) {
	t.Parallel()
	const page = "<html><body>Bad Gateway</body></html>"
	said := func(*Answer) *Error { return &Error{Outcome: Refused, Code: "7", StaffText: "said no"} }
	readable := func(*Answer) *Error { return nil }
	cases := map[string]struct {
		handler http.HandlerFunc
		judge   func(*Answer) *Error
		empty   bool
		want    Outcome
	}{
		"success":                      {answerWith(200, "application/json", `{}`), readable, false, OK},
		"success with charset":         {answerWith(201, "application/json; charset=utf-8", `{}`), readable, false, OK},
		"problem type is JSON":         {answerWith(200, "application/vnd.x+json", `{}`), readable, false, OK},
		"provider says no":             {answerWith(200, "application/json", `{}`), said, false, Refused},
		"page of HTML as success":      {answerWith(200, "text/html", page), said, false, Unknown},
		"HTML without a type":          {answerWith(200, "", page), said, false, Unknown},
		"HTML where nothing expected":  {answerWith(200, "text/html", page), said, true, Unknown},
		"no content where expected":    {answerWith(204, "", ""), readable, true, OK},
		"no content where not":         {answerWith(204, "", ""), readable, false, Unknown},
		"bad gateway in HTML":          {answerWith(502, "text/html", page), said, false, Unknown},
		"server error in JSON":         {answerWith(500, "application/json", `{}`), said, false, Unknown},
		"request timeout":              {answerWith(408, "application/json", `{}`), said, false, Unknown},
		"forbidden":                    {answerWith(403, "application/json", `{}`), said, false, Refused},
		"forbidden in HTML":            {answerWith(403, "text/html", page), said, false, Refused},
		"conflict though body says ok": {answerWith(409, "application/json", `{}`), readable, false, Refused},
		"too many":                     {answerWith(429, "application/json", `{}`), said, false, Refused},
		"redirect":                     {answerWith(301, "text/html", page), said, false, Refused},
		"too long":                     {answerWith(200, "application/json", `"`+strings.Repeat("x", 2000)+`"`), readable, false, Unknown},
		"too long refusal":             {answerWith(400, "application/json", `"`+strings.Repeat("x", 2000)+`"`), readable, false, Refused},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"half":`)
		}, readable, false, Unknown},
		"connection dropped": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, readable, false, Unknown},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limits := fast
			limits.MaxBody = 1000
			caller := newTestCaller(t, limits)
			parsed := false
			_, err := caller.Do(t.Context(), Call{Operation: "probe", Method: "POST", URL: serve(t, test.handler), Body: struct{}{}, Empty: test.empty,
				Judge: func(a *Answer) *Error {
					parsed = true
					if !a.JSON || strings.HasPrefix(string(a.Body), "<") {
						t.Error("a body that is not JSON was given to be parsed")
					}
					return test.judge(a)
				}})
			if got := OutcomeOf(err); got != test.want {
				t.Errorf("outcome %v (%v), want %v", got, err, test.want)
			}
			if err != nil {
				e := failure(t, err)
				if !e.Sent || e.Provider != "probe" || e.Operation != "probe" || e.Detail == "" {
					t.Errorf("incomplete error: %+v", e)
				}
				if strings.Contains(err.Error(), "said no") {
					t.Errorf("the provider's words are in the text: %v", err)
				}
				if parsed && test.judge(nil) != nil && (e.Code != "7" || e.StaffText != "said no") {
					t.Errorf("the provider's code and words are lost: %q %q", e.Code, e.StaffText)
				}
			}
		})
	}
}

func TestRefusedOnlyIfCertainlyNotSent(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()

	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		_, err := newTestCaller(t, fast).Do(t.Context(), Call{Operation: "probe", Method: "POST", URL: "http://" + closed, Body: 1})
		if e := failure(t, err); e.Outcome != Refused || e.Sent || !e.Temporary() {
			t.Errorf("got %v, sent %v", e, e.Sent)
		}
	})
	t.Run("slow after it was sent", func(t *testing.T) {
		t.Parallel()
		release := make(chan struct{})
		address := serve(t, func(http.ResponseWriter, *http.Request) { <-release })
		t.Cleanup(func() { close(release) })
		limits := fast
		limits.Timeout = 50 * time.Millisecond
		_, err := newTestCaller(t, limits).Do(t.Context(), Call{Operation: "probe", Method: "POST", URL: address, Body: 1})
		e := failure(t, err)
		if e.Outcome != Unknown || !e.Sent || !strings.Contains(e.Error(), "timed out") || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, sent %v", e, e.Sent)
		}
	})
	t.Run("given up before", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		address := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
		_, err := newTestCaller(t, fast).Do(ctx, Call{Operation: "probe", Method: "POST", URL: address, Body: 1})
		if e := failure(t, err); e.Outcome != Refused || e.Sent || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, sent %v", e, e.Sent)
		}
	})
	t.Run("given up under way", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		address := serve(t, func(http.ResponseWriter, *http.Request) { cancel(); <-release })
		t.Cleanup(func() { close(release) })
		_, err := newTestCaller(t, fast).Do(ctx, Call{Operation: "probe", Method: "POST", URL: address, Body: 1})
		if e := failure(t, err); e.Outcome != Unknown || !e.Sent {
			t.Errorf("got %v, sent %v", e, e.Sent)
		}
	})
	t.Run("a body that cannot be written", func(t *testing.T) {
		t.Parallel()
		_, err := newTestCaller(t, fast).Do(t.Context(), Call{Operation: "probe", Method: "POST", URL: "http://" + closed, Body: func() {}})
		if e := failure(t, err); e.Outcome != Refused || e.Sent || e.Temporary() {
			t.Errorf("got %v, temporary %v", e, e.Temporary())
		}
	})
}

// Metrics and logs tell a provider that cannot be reached from one that says no, and name the kind of fault but no address.
func TestCallsThatWereNotSentSayWhy(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	listener.Close()
	plain := serve(t, answerWith(200, "application/json", "{}"))
	encrypted := httptest.NewUnstartedServer(answerWith(200, "application/json", "{}"))
	encrypted.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that fail
	encrypted.StartTLS()
	t.Cleanup(encrypted.Close)
	fails := func(err error) func(context.Context, string, string) (net.Conn, error) {
		return func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
		}
	}
	never := func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx         context.Context
		address     string
		dial        func(context.Context, string, string) (net.Conn, error)
		body        any
		label, says string
	}{
		"nobody listens":        {address: closed, label: "unreachable", says: "no connection, connection refused"},
		"unknown host":          {dial: fails(&net.DNSError{Err: "no such host", Name: "secret.example.test", IsNotFound: true}), label: "unreachable", says: "no connection, name not found"},
		"name server away":      {dial: fails(&net.DNSError{Err: "server misbehaving", Name: "secret.example.test"}), label: "unreachable", says: "no connection, name cannot be looked up"},
		"no route":              {dial: fails(os.NewSyscallError("connect", syscall.EHOSTUNREACH)), label: "unreachable", says: "no connection, no route to host"},
		"silence":               {dial: never, label: "unreachable", says: "no connection, timed out"},
		"unknown authority":     {address: encrypted.URL, label: "unreachable", says: "no connection, certificate of an unknown authority"},
		"no TLS":                {address: strings.Replace(plain, "http", "https", 1), label: "unreachable", says: "no connection, no TLS at that port"},
		"given up before":       {ctx: over, label: "not_sent", says: "given up"},
		"cannot be written":     {body: func() {}, label: "not_sent", says: "cannot be written"},
		"refused after sending": {address: serve(t, answerWith(403, "text/html", "<html>")), label: "refused", says: "HTTP 403"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := http.DefaultTransport.(*http.Transport).Clone()
			t.Cleanup(transport.CloseIdleConnections)
			if test.dial != nil {
				transport.DialContext = test.dial
			}
			limits := fast
			limits.Timeout = 10 * time.Second
			if name == "silence" {
				limits.Timeout = 20 * time.Millisecond
			}
			caller := NewCaller(Options{Provider: "probe", Limits: limits, Transport: transport})
			ctx, address := cmp.Or(test.ctx, t.Context()), cmp.Or(test.address, "http://secret.example.test")
			_, err := caller.Do(ctx, Call{Operation: "probe", Method: "POST", URL: address, Body: test.body})
			if e := failure(t, err); e.Outcome != Refused || e.Sent != (test.label == "refused") {
				t.Errorf("outcome %v, sent %v", e.Outcome, e.Sent)
			}
			if Label(err) != test.label || !strings.HasPrefix(err.Error(), "probe probe: "+test.label+": ") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("label %q, %q; want %q, %q", Label(err), err, test.label, test.says)
			}
			for _, hidden := range []string{"secret.example.test", "127.0.0.1"} {
				if strings.Contains(err.Error(), hidden) {
					t.Errorf("%q names %s", err, hidden)
				}
			}
			if got := testutil.ToFloat64(caller.metrics.calls.WithLabelValues("probe", "probe", test.label)); got != 1 {
				t.Errorf("counted %v times as %s, want once", got, test.label)
			}
		})
	}
}

func TestOnlySafeCallsAreRepeated(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		safe        bool
		status      int
		retryAfter  string
		succeedFrom int64 // attempt
		attempts    int64
		want        Outcome
	}{
		"safe, recovers":               {true, 503, "", 3, 3, OK},
		"safe, never recovers":         {true, 503, "", 99, 3, Unknown},
		"unsafe, 5xx":                  {false, 503, "", 2, 1, Unknown},
		"unsafe, too many":             {false, 429, "0", 2, 1, Refused},
		"safe, too many":               {true, 429, "1", 2, 2, OK},
		"safe, asked to wait too long": {true, 429, "3600", 2, 1, Refused},
		"safe, refused for good":       {true, 404, "", 2, 1, Refused},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int64
			var last atomic.Int64
			address := serve(t, func(w http.ResponseWriter, r *http.Request) {
				last.Store(time.Now().UnixMilli())
				if attempts.Add(1) >= test.succeedFrom {
					answerWith(200, "application/json", "{}")(w, r)
					return
				}
				if test.retryAfter != "" {
					w.Header().Set("Retry-After", test.retryAfter)
				}
				answerWith(test.status, "application/json", "{}")(w, r)
			})
			started := time.Now().UnixMilli()
			_, err := newTestCaller(t, fast).Do(t.Context(), Call{Operation: "probe", Method: "GET", URL: address, Safe: test.safe})
			if OutcomeOf(err) != test.want || attempts.Load() != test.attempts {
				t.Errorf("%d attempts, %v; want %d, %v", attempts.Load(), err, test.attempts, test.want)
			}
			if test.retryAfter == "1" && last.Load()-started < 1000 {
				t.Errorf("repeated after %d ms although asked to wait 1 s", last.Load()-started)
			}
			if test.retryAfter == "3600" && failure(t, err).RetryAfter != time.Hour {
				t.Errorf("Retry-After is lost: %v", failure(t, err).RetryAfter)
			}
		})
	}
}

func TestRetryAfterAsDate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", now.Add(90*time.Second).Format(http.TimeFormat))
		answerWith(429, "application/json", "{}")(w, r)
	})
	caller := NewCaller(Options{Provider: "probe", Limits: fast, Clock: clock.NewFixed(now)})
	_, err := caller.Do(t.Context(), Call{Operation: "probe", Method: "GET", URL: address})
	if got := failure(t, err).RetryAfter; got != 90*time.Second {
		t.Errorf("wait %v, want 90 s", got)
	}
}

func TestCircuitOpensAndCloses(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	var hits atomic.Int64
	broken.Store(true)
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		if broken.Load() {
			answerWith(502, "text/html", "<html>")(w, r)
			return
		}
		answerWith(200, "application/json", "{}")(w, r)
	})
	registry := prometheus.NewRegistry()
	limits := fast
	limits.BreakerMinCalls, limits.BreakerDelay = 4, 100*time.Millisecond
	caller := NewCaller(Options{Provider: "probe", Limits: limits, Registerer: registry})
	call := Call{Operation: "probe", Method: "POST", URL: address, Body: 1}
	var err error
	for range 20 {
		if _, err = caller.Do(t.Context(), call); errors.Is(err, ErrCircuitOpen) {
			break
		}
	}
	e := failure(t, err)
	if !errors.Is(err, ErrCircuitOpen) || e.Outcome != Refused || e.Sent || e.RetryAfter <= 0 || !e.Temporary() || Label(err) != "circuit_open" {
		t.Fatalf("the circuit did not open: %+v", e)
	}
	if got := hits.Load(); got != 4 {
		t.Errorf("%d calls reached the provider, want 4", got)
	}
	if got := testutil.ToFloat64(caller.metrics.open.WithLabelValues("probe")); got != 1 {
		t.Errorf("gauge %v, want 1", got)
	}
	if got := testutil.ToFloat64(caller.metrics.calls.WithLabelValues("probe", "probe", "circuit_open")); got != 1 {
		t.Errorf("withheld calls counted %v, want 1", got)
	}
	broken.Store(false)
	for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
		_, err = caller.Do(t.Context(), call)
	}
	if err != nil {
		t.Fatalf("the circuit stays open: %v", err)
	}
	if got := testutil.ToFloat64(caller.metrics.open.WithLabelValues("probe")); got != 0 {
		t.Errorf("gauge %v, want 0", got)
	}
}

func TestRefusalsAndImpatienceDoNotOpenTheCircuit(t *testing.T) {
	t.Parallel()
	limits := fast
	limits.BreakerMinCalls = 2
	caller := newTestCaller(t, limits)
	refusing := serve(t, answerWith(403, "application/json", "{}"))
	release := make(chan struct{})
	entered := make(chan struct{})
	slow := serve(t, func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-release })
	t.Cleanup(func() { close(release) })
	for range 10 {
		if _, err := caller.Do(t.Context(), Call{Operation: "probe", Method: "GET", URL: refusing}); failure(t, err).Status != 403 {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-entered; cancel() }()
		if _, err := caller.Do(ctx, Call{Operation: "probe", Method: "GET", URL: slow}); errors.Is(err, ErrCircuitOpen) {
			t.Fatal(err)
		}
	}
}

func TestMetricsAreSharedAndLabelled(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	good := serve(t, answerWith(200, "application/json", "{}"))
	bad := serve(t, answerWith(400, "application/json", "{}"))
	for _, name := range []string{"one", "two"} {
		caller := NewCaller(Options{Provider: name, Limits: fast, Registerer: registry})
		for _, address := range []string{good, good, bad} {
			caller.Do(t.Context(), Call{Operation: "probe", Method: "GET", URL: address})
		}
	}
	want := `
# HELP ccp_provider_calls_total Calls to outside providers, every attempt counted, by outcome: ok, refused, unknown; or, for calls not sent, unreachable, circuit_open, not_sent.
# TYPE ccp_provider_calls_total counter
ccp_provider_calls_total{operation="probe",outcome="ok",provider="one"} 2
ccp_provider_calls_total{operation="probe",outcome="ok",provider="two"} 2
ccp_provider_calls_total{operation="probe",outcome="refused",provider="one"} 1
ccp_provider_calls_total{operation="probe",outcome="refused",provider="two"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "ccp_provider_calls_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "ccp_provider_call_seconds"); err != nil || n != 4 {
		t.Errorf("%d histograms, %v; want 4", n, err)
	}
}

// TestNothingSecretLeavesTheCall is not parallel: it sets the global tracer.
func TestNothingSecretLeavesTheCall(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSpanProcessor(recorder)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	defer otel.SetTracerProvider(trace.NewTracerProvider())
	const mail, key = "canary@example.test", "canary-key"
	query := url.Values{"email": {mail}}
	var asked atomic.Value
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Query().Get("email") + "|" + r.Header.Get("Traceparent"))
		answerWith(400, "application/json", `{}`)(w, r)
	})
	caller := newTestCaller(t, fast)
	judge := func(*Answer) *Error { return &Error{Code: "no such user " + mail, StaffText: mail} }
	call := Call{Operation: "probe", Method: "POST", URL: address, Query: query, Header: http.Header{"X-Api-Key": {key}}, Body: map[string]string{"email": mail}, Judge: judge}
	_, refused := caller.Do(t.Context(), call)
	if asked.Load() != mail+"|" {
		t.Errorf("the provider got %q, want the query and no trace id", asked.Load())
	}
	call.URL = "http://127.0.0.1:1/"
	_, unreachable := caller.Do(t.Context(), call)
	for _, err := range []error{refused, unreachable} {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if text := fmt.Sprintf("%v %+v", e, e); strings.Contains(text, "canary") {
				t.Errorf("an error shows what it must not: %s", text)
			}
		}
	}
	spans := recorder.Ended()
	if len(spans) != 2 {
		t.Fatalf("%d spans, want 2", len(spans))
	}
	for _, span := range spans {
		if span.Name() != "probe probe" {
			t.Errorf("span %q", span.Name())
		}
		if text := fmt.Sprintf("%v %v %v", span.Attributes(), span.Events(), span.Status()); strings.Contains(text, "canary") {
			t.Errorf("a trace shows what it must not: %s", text)
		}
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://verification.didit.me":  "https://verification.didit.me",
		"http://127.0.0.1:8011/didit/":   "http://127.0.0.1:8011/didit",
		"":                               "",
		"verification.didit.me":          "",
		"ftp://example.test":             "",
		"https://user:pw@example.test/":  "",
		"https://example.test/?a=b":      "",
		"https://example.test/api#place": "",
	} {
		got, err := BaseURL(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("BaseURL(%q) = %q, %v; want %q", address, got, err, want)
		}
	}
}
