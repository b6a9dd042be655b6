package sms_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/platform/sms"
)

var key = secret.NewText("a secret of both sides")

func gateway(t *testing.T, url string, timeout time.Duration) *sms.Gateway {
	t.Helper()
	g, err := sms.NewGateway(sms.Config{URL: url, Secret: key, Timeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestSend(t *testing.T) {
	t.Parallel()
	var body, signature, reference, kind string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		body, signature, reference, kind = string(b), r.Header.Get("X-Signature"), r.Header.Get("Idempotency-Key"), r.Header.Get("Content-Type")
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	if err := gateway(t, server.URL, 0).Send(t.Context(), sms.Message{Reference: "ref-1", To: "+85291234567", Text: `验证码 "04821"`}); err != nil {
		t.Fatal(err)
	}
	if body != `{"to":"+85291234567","text":"验证码 \"04821\""}` || reference != "ref-1" || kind != "application/json" {
		t.Errorf("%s %s %s", body, reference, kind)
	}
	// Computed with another program: printf '<body>' | openssl dgst -sha256 -hmac 'a secret of both sides'
	if want := "sha256=29e141f74eef121fb167b0252db1b6cb0bd6731e325c30ccf24227a8c9597057"; signature != want {
		t.Errorf("signature %s, want %s", signature, want)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for status, permanent := range map[int]bool{400: true, 403: true, 404: true, 422: true, 408: false, 429: false, 302: false, 500: false, 503: false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "no credit for +85291234567")
		}))
		err := gateway(t, server.URL, 0).Send(t.Context(), sms.Message{To: "+85291234567", Text: "04821"})
		server.Close()
		var refused *sms.DeliveryError
		if !errors.As(err, &refused) || refused.Status != status || refused.Permanent != permanent || strings.Contains(err.Error(), "9123") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestAway(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, send := range map[string]func() error{
		"silent": func() error {
			return gateway(t, silent.URL+"/?key=canary", 50*time.Millisecond).Send(t.Context(), sms.Message{To: "1"})
		},
		"gone":      func() error { return gateway(t, gone.URL+"/?key=canary", 0).Send(t.Context(), sms.Message{To: "1"}) },
		"cancelled": func() error { return gateway(t, silent.URL, 0).Send(ended, sms.Message{To: "1"}) },
	} {
		err := send()
		var unknown *sms.DeliveryError
		if !errors.As(err, &unknown) || unknown.Status != 0 || unknown.Permanent || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "cancelled" && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []sms.Config{{}, {URL: "sms.example.com", Secret: key}, {URL: "ftp://sms.example.com", Secret: key}, {URL: "https://", Secret: key}, {URL: "https://sms.example.com"}} {
		if _, err := sms.NewGateway(c); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
