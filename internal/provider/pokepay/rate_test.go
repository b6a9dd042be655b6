package pokepay

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/provider"
)

func TestFXRate(t *testing.T) {
	for data, want := range map[string]string{
		`{"rate":"7.80"}`:                  "7.8",
		`{"rate":7.80}`:                    "7.8",
		`7.80`:                             "7.8",
		`"7.80"`:                           "7.8",
		`" 7.80 "`:                         "7.8",
		`[{"exchange_rate":"7.80"}]`:       "7.8",
		`["7.80"]`:                         "7.8",
		`{"price":780000}`:                 "780000",
		`{"currency_rate":1.5e-3}`:         "0.0015",
		`{"rate":null,"value":"7.8"}`:      "7.8",
		`{"rate":"7.80","price":"1"}`:      "7.8",
		`{"rate":"7.1234567890123456789"}`: "7.1234567890123456789",
		`{"rate":"7.8","src_currency_code":"usdt","dst_currency_code":"HKD"}`: "7.8",

		`null`: "", `""`: "", `{}`: "", `[]`: "", `true`: "", `"seven"`: "", `{"rate":{"rate":7.8}}`: "", `["7.8","7.9"]`: "",
		`0`: "", `"0.000"`: "", `-7.8`: "", `"-7.8"`: "", `"+7.8"`: "", `"7,80"`: "", `"NaN"`: "", `"Inf"`: "", `"0x7"`: "", `"7.8 HKD"`: "",
		`1e16`: "", `1e99`: "", `1e-16`: "", `1e999999999`: "", `"` + strings.Repeat("9", 5000) + `"`: "",
		`{"rate":"0.1282","src_currency_code":"HKD","dst_currency_code":"USDT"}`: "",
		`{"rate":"7.82","src_currency_code":"USD"}`:                              "",
	} {
		t.Run(data[:min(len(data), 40)], func(t *testing.T) {
			s := newTestServer(t, nil, envelopeAnswer(200, data, "SUCCESS"))
			rate, err := s.client.FXRate(t.Context(), "USDT", "HKD")
			if want == "" {
				if e := (*provider.Error)(nil); !errors.As(err, &e) || e.Outcome != provider.Unknown || !rate.IsZero() {
					t.Errorf("%s, %v", rate, err)
				}
			} else if err != nil || !rate.Equal(decimal.RequireFromString(want)) {
				t.Errorf("%s, %v; want %s", rate, err, want)
			}
			if requests, _ := s.seen(); len(requests) != 1 || requests[0] != "GET system/currencySimple?dst_currency_code=HKD&src_currency_code=USDT" {
				t.Errorf("sent %q", requests)
			}
		})
	}
}

func TestFXRateFails(t *testing.T) {
	refused := newTestServer(t, nil, envelopeAnswer(500100, "null", "currency not supported"))
	if _, err := refused.client.FXRate(t.Context(), "XYZ", "HKD"); ReasonOf(err) != ReasonOther {
		t.Errorf("refused: %v", err)
	} else if e := (*provider.Error)(nil); !errors.As(err, &e) || e.Outcome != provider.Refused || !e.Sent {
		t.Errorf("refused: %v", err)
	}
	page := newTestServer(t, nil, rawAnswer(200, "text/html", "<html>7.80</html>"))
	if _, err := page.client.FXRate(t.Context(), "USDT", "HKD"); err == nil {
		t.Error("a page was taken for a rate")
	}
	failing := newTestServer(t, nil, rawAnswer(500, "text/plain", "x"))
	if _, err := failing.client.FXRate(t.Context(), "USDT", "HKD"); err == nil {
		t.Error("a failure was taken for a rate")
	} else if requests, _ := failing.seen(); len(requests) != 1 {
		t.Errorf("asked %d times", len(requests))
	}
	gone := make(chan struct{})
	silent := newTestServer(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	})
	defer close(gone)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := silent.client.FXRate(ctx, "USDT", "HKD"); err == nil {
		t.Error("silence was taken for a rate")
	}
}
