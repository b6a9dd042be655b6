// Package obs is how the program shows what it does: logs, metrics, health and traces.
package obs

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// LogFormat is how log lines look.
type LogFormat string

// The formats.
const (
	JSON LogFormat = "json" // one object per line, for machines
	Text LogFormat = "text" // key=value, for people
)

// UnmarshalText reads a format from configuration.
func (f *LogFormat) UnmarshalText(text []byte) error {
	switch format := LogFormat(text); format {
	case JSON, Text:
		*f = format
		return nil
	}
	return errors.New("must be json or text")
}

// NewLogger writes records of at least the given level to w, times in UTC. A record that belongs to a traced request
// carries its trace_id.
//
// A secret.Text shows as "[redacted]" in both formats, wherever in a value it stands.
func NewLogger(level slog.Leveler, format LogFormat, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindTime:
			a.Value = slog.TimeValue(a.Value.Time().UTC())
		case slog.KindDuration:
			a.Value = slog.StringValue(a.Value.Duration().Round(time.Microsecond).String())
		case slog.KindAny:
			if format == Text {
				a.Value = plain(a.Value)
			}
		}
		return a
	}}
	if format == Text {
		return slog.New(traced{slog.NewTextHandler(w, options)})
	}
	return slog.New(traced{slog.NewJSONHandler(w, options)})
}

// plain turns a structured value into JSON. Printed with %+v, as the text handler would, an unexported field shows its
// content even if its type has a String method: a secret inside would come to light.
func plain(v slog.Value) slog.Value {
	switch any := v.Any().(type) {
	case error, *slog.Source, slog.Level:
		return v
	default:
		text, err := json.Marshal(any)
		if err != nil {
			return slog.StringValue("!unprintable: " + err.Error())
		}
		var quoted string
		if json.Unmarshal(text, &quoted) == nil {
			return slog.StringValue(quoted)
		}
		return slog.StringValue(string(text))
	}
}

// traced adds the trace that a record belongs to.
type traced struct{ slog.Handler }

// Handle implements slog.Handler.
func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsSampled() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
