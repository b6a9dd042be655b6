package rate_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/rate"
)

// serve puts the service behind the real edge, for one customer.
func serve(t *testing.T, r replica) (get func(path, token string) (int, string)) {
	t.Helper()
	texts, err := i18n.Load(api.Locales, rate.Locales)
	if err != nil {
		t.Fatal(err)
	}
	edge := api.New(api.Options{Clock: r.clock, Texts: texts, Log: slog.New(slog.DiscardHandler), DefaultLocale: i18n.English, SpareLoopback: true, CallerRate: 1e6, Version: "test",
		CheckToken: func(ctx context.Context, token string, _ api.Depth) (context.Context, string, error) {
			if token != "good" {
				return nil, "", api.ErrUnauthenticated
			}
			return ctx, token, nil
		}})
	r.Register(edge)
	server := httptest.NewServer(edge.Handler())
	t.Cleanup(server.Close)
	return func(path, token string) (int, string) {
		t.Helper()
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Authorization", "Bearer "+token)
		q.Header.Set("Accept-Language", "en")
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, strings.TrimSpace(string(body))
	}
}

func TestExchangeRate(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		r := newReplica(t, d, clock.NewFixed(beginning.Add(999*time.Millisecond)), newIssuer(t), "TRX=2.1")
		get := serve(t, r)
		// Numbers are JSON numbers, as exact as they are known.
		const configured = `"timestamp":"2026-03-01T09:00:00Z","valid_until":"2026-03-01T09:01:00Z","source":"configured"}`
		if code, body := get("/wallet/exchange-rate?from=TRX&to=HKD", "good"); code != http.StatusOK ||
			body != `{"status":"success","data":{"from_currency":"TRX","to_currency":"HKD","rate":2.1,"inverse_rate":0.476190476190476,`+configured+`}` {
			t.Errorf("%d %s", code, body)
		}
		if code, body := get("/wallet/exchange-rates", "good"); code != http.StatusOK ||
			body != `{"status":"success","data":{"rates":[{"from_currency":"TRX","to_currency":"HKD","rate":2.1,"inverse_rate":0.476190476190476}],`+
				strings.TrimSuffix(configured, "}")+`,"from_cache":true}}` {
			t.Errorf("%d %s", code, body)
		}
		r.refresh()
		const fresh = `"timestamp":"2026-03-01T09:00:00Z","valid_until":"2026-03-01T09:10:00Z","source":"pokepay"}}`
		for _, names := range []string{"from=USDT&to=HKD", "from=USDT-TRC20&to=HKD", "from=usdt-erc20&to=hkd"} {
			if code, body := get("/api/v1/wallet/exchange-rate/?"+names, "good"); code != http.StatusOK ||
				body != `{"status":"success","data":{"from_currency":"USDT","to_currency":"HKD","rate":7.8,"inverse_rate":0.128205128205128,`+fresh {
				t.Errorf("%s: %d %s", names, code, body)
			}
		}
		if code, body := get("/wallet/exchange-rate?from=HKD&to=BTC", "good"); code != http.StatusOK ||
			body != `{"status":"success","data":{"from_currency":"HKD","to_currency":"BTC","rate":0.00000128205128205128,"inverse_rate":780000,`+fresh {
			t.Errorf("%d %s", code, body)
		}
		if code, body := get("/wallet/exchange-rates", "good"); code != http.StatusOK || strings.Count(body, `"to_currency":"HKD"`) != currencies ||
			!strings.Contains(body, `{"from_currency":"BTC","to_currency":"HKD","rate":780000,"inverse_rate":0.00000128205128205128}`) ||
			!strings.HasSuffix(body, strings.TrimSuffix(fresh, "}}")+`,"from_cache":true}}`) {
			t.Errorf("%d %s", code, body)
		}
		// What is left when nobody has refreshed for too long.
		r.clock.Advance(maxAge + time.Second)
		if code, body := get("/wallet/exchange-rate?from=USDT&to=HKD", "good"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"code":"RATE_UNAVAILABLE"`) {
			t.Errorf("%d %s", code, body)
		}
		if code, body := get("/wallet/exchange-rates", "good"); code != http.StatusOK || strings.Count(body, `"to_currency"`) != 1 {
			t.Errorf("%d %s", code, body)
		}
	})
}

func TestExchangeRateRefusals(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		r := newReplica(t, d, clock.NewFixed(beginning), nil, "")
		get := serve(t, r)
		for _, tt := range []struct {
			path string
			code int
			says string
		}{
			{"/wallet/exchange-rate", 400, "RATE_CURRENCY_MISSING"},
			{"/wallet/exchange-rate?from=USDT", 400, "RATE_CURRENCY_MISSING"},
			{"/wallet/exchange-rate?to=HKD&from=", 400, "RATE_CURRENCY_MISSING"},
			{"/wallet/exchange-rate?from=DOGE&to=HKD", 400, "RATE_CURRENCY_UNKNOWN"},
			{"/wallet/exchange-rate?from=USDT&to=" + strings.Repeat("A", 3000), 400, "RATE_CURRENCY_UNKNOWN"},
			{"/wallet/exchange-rate?from=HKD&to=HKD", 400, "RATE_SAME_CURRENCY"},
			{"/wallet/exchange-rate?from=USDT-TRC20&to=USDT", 400, "RATE_SAME_CURRENCY"},
			{"/wallet/exchange-rate?from=USDT&to=HKD", 503, "RATE_UNAVAILABLE"},
			{"/wallet/exchange-rates", 503, "RATE_UNAVAILABLE"},
		} {
			code, body := get(tt.path, "good")
			if code != tt.code || !strings.Contains(body, fmt.Sprintf(`"code":%q`, tt.says)) || !strings.Contains(body, `"message":"`) {
				t.Errorf("%.60s: %d %s", tt.path, code, body)
			}
			if code, _ := get(tt.path, "bad"); code != http.StatusUnauthorized {
				t.Errorf("%.60s without a token: %d", tt.path, code)
			}
		}
	})
}
