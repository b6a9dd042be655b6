package api_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/comecomepay/comecomepay/internal/api"
)

type (
	payBody struct {
		Amount    api.Number `json:"amount" doc:"Whole coins."`
		Currency  string     `json:"currency"`
		Recipient int64      `json:"recipient_uid"`
		Password  string     `json:"transaction_password"`
		Line      string     `json:"description" maxLength:"4000"`
	}
	payInput struct {
		Key  string `header:"Idempotency-Key" hidden:"true"`
		Body payBody
	}
	payReply struct {
		Body struct {
			api.Success
			Message     string     `json:"message"`
			Currency    string     `json:"currency"`
			Balance     api.Number `json:"new_balance"`
			Recipient   int64      `json:"recipient_uid"`
			Transaction int64      `json:"transaction_id"`
		}
	}
)

// discard is an answer that nobody reads.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

// BenchmarkEdge is what the edge itself costs, without network, token check and work: reading, and sending money.
func BenchmarkEdge(b *testing.B) {
	e := newEdge(b, nil, func(o *api.Options) { o.Log, o.CallerRate = slog.New(slog.DiscardHandler), 1e9 })
	api.Register(e.api, api.Operation{ID: "pay", Method: "POST", Path: "/pay", Access: api.CustomerUnconfirmed, Tag: "test"},
		func(_ context.Context, in *payInput) (*payReply, error) {
			out := &payReply{}
			out.Body.Success, out.Body.Message, out.Body.Currency, out.Body.Balance = api.OK(), "Sent.", in.Body.Currency, in.Body.Amount
			out.Body.Recipient, out.Body.Transaction = in.Body.Recipient, 5
			return out, nil
		})
	for _, of := range []struct{ name, method, path, body string }{
		{"reading", "GET", "/unconfirmed", ""},
		{"paying", "POST", "/pay", `{"amount":0.01,"currency":"USDT-TRC20","description":"Internal transfer","recipient_uid":10,"transaction_password":"739154"}`},
	} {
		b.Run(of.name, func(b *testing.B) {
			header := http.Header{"User-Agent": {"Dart/3.5 (dart:io)"}, "Accept": {"application/json"}, "Accept-Language": {"en"},
				"X-Forwarded-For": {"203.0.113.7"}, "Content-Type": {"application/json"}, "Authorization": {"Bearer token-of-alice"}}
			handler := e.api.Handler()
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.NewRequest(of.method, of.path, io.NopCloser(strings.NewReader(of.body)))
				if err != nil {
					b.Fatal(err)
				}
				r.Header, r.RemoteAddr, r.ContentLength = header, "127.0.0.1:50000", int64(len(of.body))
				out := &discard{header: http.Header{}}
				if handler.ServeHTTP(out, r); out.status != http.StatusOK {
					b.Fatalf("status %d", out.status)
				}
			}
		})
	}
}
