package obs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

const canary = "kanarienvogel"

type credentials struct {
	User     string
	Password secret.Text
	hidden   secret.Text
}

func TestNoSecretReachesTheLog(t *testing.T) {
	s := secret.NewText(canary)
	for name, attr := range map[string]slog.Attr{
		"the secret itself":     slog.Any("v", s),
		"a pointer to it":       slog.Any("v", &s),
		"in a struct":           slog.Any("v", credentials{"u", s, s}),
		"in a pointer":          slog.Any("v", &credentials{"u", s, s}),
		"in a slice":            slog.Any("v", []secret.Text{s}),
		"in a map":              slog.Any("v", map[string]any{"k": credentials{"u", s, s}}),
		"in a group":            slog.Group("g", "v", credentials{"u", s, s}),
		"in the text of errors": slog.Any("v", errors.Join(errors.New("login: "+s.String()))),
	} {
		for _, format := range []LogFormat{JSON, Text} {
			t.Run(string(format)+" "+name, func(t *testing.T) {
				var out bytes.Buffer
				log := NewLogger(slog.LevelDebug, format, &out)
				log.Info("said", attr)
				log.With(attr).WithGroup("group").Info("said before")
				if text := out.String(); strings.Contains(text, canary) || !strings.Contains(text, "redacted") {
					t.Errorf("logged %s", text)
				}
			})
		}
	}
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	log := NewLogger(slog.LevelInfo, JSON, &out)
	log.Debug("too little")
	log.Info("moved", "record", 7, "at", time.Date(2026, 3, 1, 8, 0, 0, 0, time.FixedZone("HKT", 8*3600)), "took", 1500*time.Microsecond)
	var line struct {
		Time    time.Time
		Level   string
		Msg     string
		Record  int
		At      string
		Took    string
		TraceID string `json:"trace_id"`
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	if line.Msg != "moved" || line.Record != 7 || line.At != "2026-03-01T00:00:00Z" || line.Took != "1.5ms" || line.TraceID != "" {
		t.Errorf("logged %s", out.String())
	}
	if _, offset := line.Time.Zone(); offset != 0 || !strings.Contains(out.String(), `Z","level"`) {
		t.Errorf("time is not in UTC: %s", out.String())
	}

	out.Reset()
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	log.With("a", 1).InfoContext(trace.ContextWithSpanContext(context.Background(), span), "traced")
	if !strings.Contains(out.String(), `"trace_id":"0100000000000000`) {
		t.Errorf("no trace in %s", out.String())
	}

	out.Reset()
	NewLogger(slog.LevelInfo, Text, &out).Info("moved", "why", []string{"a", "b"}, "bad", func() {}, "error", errors.New("gone"))
	for _, want := range []string{`why="[\"a\",\"b\"]"`, "unprintable", "error=gone", "msg=moved"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

func TestLogFormatFromConfiguration(t *testing.T) {
	var f LogFormat
	if err := f.UnmarshalText([]byte("text")); err != nil || f != Text {
		t.Errorf("%q, %v", f, err)
	}
	if err := f.UnmarshalText([]byte("xml")); err == nil || f != Text {
		t.Errorf("xml gave %q, %v", f, err)
	}
}

func TestOps(t *testing.T) {
	registry := NewRegistry("v1.2.3")
	count := prometheus.NewCounter(prometheus.CounterOpts{Name: "ccp_things_total", Help: "Things."})
	registry.MustRegister(count)
	count.Inc()
	var unready error
	deadline := false
	server := httptest.NewServer(OpsHandler(registry, func(ctx context.Context) error {
		_, deadline = ctx.Deadline()
		return unready
	}))
	defer server.Close()
	get := func(path string) (int, string) {
		t.Helper()
		response, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	status, metrics := get("/metrics")
	for _, want := range []string{"ccp_things_total 1", `version="v1.2.3"`, "go_goroutines", "process_start_time_seconds"} {
		if status != http.StatusOK || !strings.Contains(metrics, want) {
			t.Errorf("metrics (%d) do not show %s", status, want)
		}
	}
	if status, body := get("/readyz"); status != http.StatusOK || body != "ok\n" || !deadline {
		t.Errorf("ready: %d %q, with a deadline: %t", status, body, deadline)
	}
	unready = errors.New("draining")
	if status, body := get("/readyz"); status != http.StatusServiceUnavailable || body != "draining\n" {
		t.Errorf("not ready: %d %q", status, body)
	}
	if status, _ := get("/healthz"); status != http.StatusOK {
		t.Errorf("healthy although not ready: %d", status)
	}
	if status, body := get("/debug/pprof/"); status != http.StatusOK || !strings.Contains(body, "goroutine") {
		t.Errorf("profiles: %d", status)
	}
	if status, body := get("/debug/pprof/heap?debug=1"); status != http.StatusOK || !strings.Contains(body, "heap profile") {
		t.Errorf("heap profile: %d", status)
	}
	if status, _ := get("/"); status != http.StatusNotFound {
		t.Errorf("root: %d", status)
	}
}

func TestTracing(t *testing.T) {
	t.Cleanup(func() {
		otel.SetTracerProvider(noop.NewTracerProvider())
		otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())
	})
	received := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- r.URL.Path + " " + string(body)
	}))
	defer collector.Close()

	stop, err := StartTracing(t.Context(), collector.URL, 1, "v1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := otel.Tracer("test").Start(t.Context(), "a span of ours")
	header := propagation.HeaderCarrier{}
	otel.GetTextMapPropagator().Inject(ctx, header)
	if !strings.Contains(header.Get("traceparent"), span.SpanContext().TraceID().String()) {
		t.Errorf("traceparent %q", header.Get("traceparent"))
	}
	span.End()
	if err := stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(received)
	var all string
	for call := range received {
		all += call
	}
	for _, want := range []string{"/v1/traces", "a span of ours", "comecomepay", "v1.2.3"} {
		if !strings.Contains(all, want) {
			t.Errorf("the collector has not received %q", want)
		}
	}
}

func TestTracingSampling(t *testing.T) {
	t.Cleanup(func() {
		otel.SetTracerProvider(noop.NewTracerProvider())
		otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())
	})
	collector := httptest.NewServer(http.NotFoundHandler())
	defer collector.Close()
	stop, err := StartTracing(t.Context(), collector.URL, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = stop(ended) // what it holds need not be sent
	}()
	_, own := otel.Tracer("test").Start(t.Context(), "ours")
	if own.SpanContext().IsSampled() {
		t.Error("a trace of ours is kept although the ratio is 0")
	}
	caller := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
	_, theirs := otel.Tracer("test").Start(trace.ContextWithSpanContext(t.Context(), caller), "theirs")
	if !theirs.SpanContext().IsSampled() {
		t.Error("the caller's decision does not stand")
	}
}

func TestTracingIsOffWithoutEndpoint(t *testing.T) {
	before := otel.GetTracerProvider()
	stop, err := StartTracing(t.Context(), "", 1, "")
	if err != nil || otel.GetTracerProvider() != before {
		t.Errorf("installed something: %v", err)
	}
	if err := stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := StartTracing(t.Context(), "collector:4318", 1, ""); err == nil {
		t.Error("an endpoint without scheme is accepted")
	}
}

// A line a minute, whoever calls how often.
func TestSparse(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := NewLogger(slog.LevelInfo, Text, &out)
	var refusals Sparse
	start := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for _, after := range []time.Duration{0, time.Second, 59 * time.Second, time.Minute, 61 * time.Second, 10 * time.Minute} {
		refusals.Warn(t.Context(), log, start.Add(after), "refused", "why", after)
	}
	var lines []string
	for line := range strings.Lines(out.String()) {
		_, line, _ = strings.Cut(strings.TrimSpace(line), "level=")
		lines = append(lines, line)
	}
	want := []string{"WARN msg=refused why=0s count=1", "WARN msg=refused why=1m0s count=3", "WARN msg=refused why=10m0s count=2"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q, want %q", lines, want)
	}
}
