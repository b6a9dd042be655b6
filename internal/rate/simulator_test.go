package rate_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http/httptest"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
	"github.com/comecomepay/comecomepay/internal/rate"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	simpokepay "github.com/comecomepay/comecomepay/internal/sandbox/pokepay"
)

// noSessions is the verification that nobody asks for here.
type noSessions struct{ simpokepay.SessionMaker }

// The capability and the simulated issuer, which share no code, understand each other, faults included.
func TestBesideTheSimulator(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		c, faults := clock.NewFixed(beginning), &fault.Plan{}
		books, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "pokepay.db")+"?_pragma=synchronous(OFF)")
		if err != nil {
			t.Fatal(err)
		}
		books.SetMaxOpenConns(1)
		t.Cleanup(func() { _ = books.Close() })
		simulator, err := simpokepay.New(t.Context(), simpokepay.Options{DB: books, Clock: c, Faults: faults, Sessions: noSessions{},
			Account: "ops@example.test", Password: "correct horse"})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(simulator.Handler())
		t.Cleanup(server.Close)
		client, err := pokepay.NewClient(pokepay.Config{BaseURL: server.URL + "/api/v1", Clock: c,
			Authenticator: pokepay.EmailLogin{URL: server.URL + "/web/auth/login", Account: "ops@example.test", Password: secret.NewText("correct horse"), AreaCode: 852},
			Limits:        provider.Limits{BreakerMinCalls: 10_000}})
		if err != nil {
			t.Fatal(err)
		}
		r := newReplica(t, d, c, nil, "", func(o *rate.Options) { o.Issuer = client })
		r.refresh()
		table, err := r.Table(t.Context())
		if err != nil || len(table.ToHKD()) != currencies {
			t.Fatalf("%d rates, %v", len(table.ToHKD()), err)
		}
		r.is("USDT", "7.8", rate.FromIssuer)
		r.is("BTC", "780000", rate.FromIssuer)

		for _, kind := range []fault.Kind{fault.HTTP500, fault.HTML502, fault.ExpiredToken} {
			if err := faults.Add(fault.Rule{Provider: "pokepay", Operation: "fx_rate", Kind: kind, Count: 1}); err != nil {
				t.Fatal(err)
			}
			if err := simulator.SetRate(t.Context(), "USDT", "HKD", "7.81"); err != nil {
				t.Fatal(err)
			}
			c.Advance(refresh)
			if err := r.RefreshDue(t.Context()); (err == nil) != (kind == fault.ExpiredToken) {
				t.Errorf("%s: %v", kind, err) // a dead token is mended by the client
			}
			for _, q := range tableOf(t, r).ToHKD() {
				if q.Source != rate.FromIssuer {
					t.Errorf("%s: %+v", kind, q)
				}
			}
		}
		r.is("USDT", "7.81", rate.FromIssuer)
		server.Close()
		c.Advance(maxAge)
		if err := r.RefreshDue(context.WithoutCancel(t.Context())); err == nil {
			t.Error("an issuer that is gone has answered")
		}
		r.is("USDT", "7.81", rate.FromIssuer)
		c.Advance(refresh)
		if _, err := r.Rate(t.Context(), "USDT", "HKD"); !errors.Is(err, rate.ErrUnavailable) {
			t.Error(err)
		}
	})
}

func tableOf(t *testing.T, r replica) rate.Table {
	t.Helper()
	table, err := r.Table(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return table
}
