package rate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
	"github.com/comecomepay/comecomepay/internal/rate"
)

const (
	currencies = 8 // that have prices in HKD
	maxAge     = 10 * time.Minute
	refresh    = time.Minute
)

var beginning = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// issuer answers the issuer's rate call with whatever a test has put in. It is no model of it: what matters here are answers that no
// sane issuer gives.
type issuer struct {
	url string

	mu     sync.Mutex
	data   map[string]string // by currency: data of the envelope; none: a refusal
	broken bool              // answers 500
	hold   map[string]chan struct{}
	held   chan string
	asked  map[string]int

	locked   bool // refuses logins
	loggedIn int
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{asked: map[string]int{}, hold: map[string]chan struct{}{}, held: make(chan string, 100), data: map[string]string{
		"USDT": `{"rate":"7.80"}`, "USDC": `{"rate":"7.79"}`, "BTC": `{"rate":"780000"}`, "ETH": `{"rate":"27000"}`,
		"TRX": `{"rate":"2.1"}`, "LTC": `{"rate":"650"}`, "BNB": `{"rate":"5500"}`, "USD": `{"rate":"7.82"}`,
	}}
	server := httptest.NewServer(i)
	t.Cleanup(server.Close)
	i.url = server.URL
	return i
}

// ServeHTTP implements http.Handler.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/login") {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.loggedIn++
		if i.locked {
			fmt.Fprint(w, `{"code":400,"data":null,"errstr":"wrong password"}`)
			return
		}
		fmt.Fprint(w, `{"code":200,"data":{"token":"t"},"errstr":"SUCCESS"}`)
		return
	}
	name := r.URL.Query().Get("src_currency_code")
	i.mu.Lock()
	i.asked[name]++
	data, known, broken, hold := i.data[name], i.data[name] != "", i.broken, i.hold[name]
	delete(i.hold, name)
	i.mu.Unlock()
	if hold != nil {
		i.held <- name
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	switch {
	case broken:
		w.WriteHeader(http.StatusInternalServerError)
	case !known:
		fmt.Fprint(w, `{"code":500100,"data":null,"errstr":"currency not supported"}`)
	default:
		fmt.Fprintf(w, `{"code":200,"data":%s,"errstr":"SUCCESS"}`, data)
	}
}

func (i *issuer) says(currency, data string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.data[currency] = data
}

func (i *issuer) breaks(broken bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.broken = broken
}

func (i *issuer) refusesLogins(locked bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.locked = locked
}

func (i *issuer) logins() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.loggedIn
}

// holds keeps the next answer about a currency back until the channel is closed.
func (i *issuer) holds(currency string) chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	hold := make(chan struct{})
	i.hold[currency] = hold
	return hold
}

func (i *issuer) times(currency string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[currency]
}

func (i *issuer) all() (n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, times := range i.asked {
		n += times
	}
	return n
}

// replica is the service beside an issuer.
type replica struct {
	*rate.Service
	t     *testing.T
	clock *clock.Fixed
}

func newReplica(t *testing.T, d db.DB, c *clock.Fixed, i *issuer, configured string, change ...func(*rate.Options)) replica {
	t.Helper()
	o := rate.Options{DB: d, Clock: c, Log: slog.New(slog.DiscardHandler), MaxAge: maxAge, Refresh: refresh}
	if configured != "" {
		if err := o.Configured.UnmarshalText([]byte(configured)); err != nil {
			t.Fatal(err)
		}
	}
	if i != nil {
		client, err := pokepay.NewClient(pokepay.Config{BaseURL: i.url + "/api/v1", Clock: c,
			Authenticator: pokepay.EmailLogin{URL: i.url + "/login", Account: "ops@example.test", Password: secret.NewText("x"), AreaCode: 852},
			Limits:        provider.Limits{Timeout: 10 * time.Second, Attempts: 1, BreakerMinCalls: 10_000}})
		if err != nil {
			t.Fatal(err)
		}
		o.Issuer = client
	}
	for _, f := range change {
		f(&o)
	}
	return replica{rate.New(o), t, c}
}

func (r replica) refresh() {
	r.t.Helper()
	if err := r.RefreshDue(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// is checks a rate to HKD; "" is none.
func (r replica) is(from, want string, source rate.Source) {
	r.t.Helper()
	q, err := r.Rate(r.t.Context(), from, "HKD")
	if want == "" {
		if !errors.Is(err, rate.ErrUnavailable) {
			r.t.Errorf("%s: %s from %s, %v; want none", from, q.Rate, q.Source, err)
		}
		return
	}
	if err != nil || q.Rate.String() != want || q.Source != source || q.Stale != (source != rate.FromIssuer) {
		r.t.Errorf("%s: %s from %s, stale %t, %v; want %s from %s", from, q.Rate, q.Source, q.Stale, err, want, source)
	}
}

// The issuer's price counts as long as it is not older than the limit; then the configured one stands in, if there is one.
func TestFreshness(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i := newIssuer(t)
		r := newReplica(t, d, clock.NewFixed(beginning), i, "USDT=7.75")
		r.is("USDT", "7.75", rate.FromTable)
		r.is("BTC", "", "")
		r.refresh()
		r.is("USDT", "7.8", rate.FromIssuer)
		r.is("BTC", "780000", rate.FromIssuer)
		i.breaks(true)

		r.clock.Advance(maxAge)
		r.is("USDT", "7.8", rate.FromIssuer)
		q, err := r.Rate(t.Context(), "BTC", "USDT-TRC20")
		if err != nil || q.Rate.String() != "100000" || !q.AsOf.Equal(beginning) || !q.ValidUntil.Equal(r.clock.Now()) {
			t.Errorf("%+v, %v", q, err)
		}
		r.clock.Advance(time.Microsecond)
		r.is("USDT", "7.75", rate.FromTable)
		r.is("BTC", "", "")
		if q, err := r.Rate(t.Context(), "USDT", "HKD"); err != nil || !q.AsOf.Equal(r.clock.Now()) || !q.ValidUntil.Equal(r.clock.Now().Add(refresh)) {
			t.Errorf("%+v, %v", q, err)
		}
		if _, err := r.Rate(t.Context(), "BTC", "USDT"); !errors.Is(err, rate.ErrUnavailable) {
			t.Error(err)
		}

		i.breaks(false)
		r.refresh()
		r.is("USDT", "7.8", rate.FromIssuer)
		if worth, ok := r.InUSDT(t.Context(), "BTC"); !ok || worth.String() != "100000" {
			t.Errorf("%s %t", worth, ok)
		}
		if worth, ok := r.InUSDT(t.Context(), "USDT-ERC20"); !ok || worth.String() != "1" {
			t.Errorf("%s %t", worth, ok)
		}
		if _, ok := r.InUSDT(t.Context(), "DOGE"); ok {
			t.Error("a price for nothing")
		}
	})
}

// A cross rate is as old as its older half, and says when its halves come from two places.
func TestCrossRates(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i := newIssuer(t)
		r := newReplica(t, d, clock.NewFixed(beginning), i, "TRX=2.1,ETH=27000")
		i.says("TRX", "")
		i.says("ETH", "")
		_ = r.RefreshDue(t.Context())
		i.says("BTC", "garbage")
		r.clock.Advance(refresh)
		_ = r.RefreshDue(t.Context())
		for _, tt := range []struct {
			from, to    string
			asOf, until time.Duration
			source      rate.Source
		}{
			{"BTC", "USDT", 0, maxAge, rate.FromIssuer},
			{"USDT", "BTC", 0, maxAge, rate.FromIssuer},
			{"USDT", "USD", refresh, refresh + maxAge, rate.FromIssuer},
			{"USDT", "TRX", refresh, 2 * refresh, rate.FromBoth},
			{"TRX", "BTC", 0, 2 * refresh, rate.FromBoth},
			{"TRX", "ETH", refresh, 2 * refresh, rate.FromTable},
		} {
			q, err := r.Rate(t.Context(), tt.from, tt.to)
			if err != nil || !q.AsOf.Equal(beginning.Add(tt.asOf)) || !q.ValidUntil.Equal(beginning.Add(tt.until)) || q.Source != tt.source ||
				q.Stale != (tt.source != rate.FromIssuer) {
				t.Errorf("%s to %s: %+v, %v; want %+v", tt.from, tt.to, q, err, tt)
			}
		}
	})
}

// Whatever is no price of the currency changes nothing: the last good one counts until it is too old.
func TestBadAnswersAreNotBelieved(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i := newIssuer(t)
		r := newReplica(t, d, clock.NewFixed(beginning), i, "")
		r.refresh()
		for _, data := range []string{`0`, `-7.8`, `"-7.8"`, `1e12`, `999999999999999999999`, `"0.128205128205128"`, `5.99`, `10.01`, `null`, `{}`, `"seven"`, `[7.8,7.9]`,
			`{"rate":`, `<html>`, `{"rate":"7.80","src_currency_code":"HKD","dst_currency_code":"USDT"}`, ``} {
			i.says("USDT", data)
			r.clock.Advance(refresh / 2)
			r.refresh() // nobody is due
			asked := i.times("USDT")
			r.clock.Advance(refresh / 2)
			if err := r.RefreshDue(t.Context()); err == nil || i.times("USDT") != asked+1 {
				t.Errorf("%s: %v, asked %d times", data, err, i.times("USDT")-asked)
			}
			if r.clock.Now().Sub(beginning) <= maxAge {
				r.is("USDT", "7.8", rate.FromIssuer)
			} else {
				r.is("USDT", "", "")
			}
			r.is("BTC", "780000", rate.FromIssuer)
		}
		i.says("USDT", `"10"`)
		r.clock.Advance(refresh)
		r.refresh()
		r.is("USDT", "10", rate.FromIssuer)
	})
}

// An issuer that fails is asked little, and no failing currency keeps the others from their turn.
func TestFailingIssuerIsSpared(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i := newIssuer(t)
		r := newReplica(t, d, clock.NewFixed(beginning), i, "")
		i.breaks(true)
		for round := 1; round <= 8; round++ {
			if err := r.RefreshDue(t.Context()); err == nil || i.all() != 2*round {
				t.Errorf("round %d: asked %d times, %v", round, i.all(), err)
			}
			r.clock.Advance(refresh)
		}
		i.breaks(false)
		for _, name := range []string{"USDT", "USDC", "BTC"} {
			i.says(name, "garbage")
		}
		for range 8 {
			_ = r.RefreshDue(t.Context())
			r.clock.Advance(refresh)
		}
		for _, name := range []string{"ETH", "TRX", "LTC", "BNB", "USD"} {
			if _, err := r.Rate(t.Context(), name, "HKD"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}

		i.refusesLogins(true)
		before := i.logins()
		fresh := newReplica(t, d, r.clock, i, "")
		if err := fresh.RefreshDue(t.Context()); err == nil || i.logins() != before+1 {
			t.Errorf("%d logins, %v", i.logins()-before, err)
		}
	})
}

// A currency that the issuer has never had is left alone for a while; one that it has had is not given up for a no.
func TestRefusedCurrencies(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i := newIssuer(t)
		r := newReplica(t, d, clock.NewFixed(beginning), i, "")
		i.says("TRX", "")
		for range 10 {
			_ = r.RefreshDue(t.Context())
			r.clock.Advance(refresh)
			i.says("USDT", "")
		}
		if trx, usdt := i.times("TRX"), i.times("USDT"); trx != 1 || usdt != 10 {
			t.Errorf("asked %d times about what was never there and %d times about what was", trx, usdt)
		}
		i.says("TRX", "2.2")
		_ = r.RefreshDue(t.Context())
		r.is("TRX", "2.2", rate.FromIssuer)
	})
}

// However many replicas there are and however often they look, one of them asks, and all know.
func TestReplicasShareTheAsking(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i, c := newIssuer(t), clock.NewFixed(beginning)
		var replicas []replica
		for range 4 {
			replicas = append(replicas, newReplica(t, d, c, i, ""))
		}
		for round := 1; round <= 3; round++ {
			var all sync.WaitGroup
			for range 4 {
				for _, r := range replicas {
					all.Go(func() {
						if err := r.RefreshDue(t.Context()); err != nil {
							t.Error(err)
						}
					})
				}
			}
			all.Wait()
			if n := i.all(); n != round*currencies {
				t.Errorf("round %d: asked %d times, want %d", round, n, round*currencies)
			}
			c.Advance(refresh)
			for _, r := range replicas {
				r.is("LTC", "650", rate.FromIssuer)
			}
		}
	})
}

// An answer that comes after that to a later question changes nothing.
func TestLateAnswer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i, c := newIssuer(t), clock.NewFixed(beginning)
		slow, quick := newReplica(t, d, c, i, ""), newReplica(t, d, c, i, "")
		late := i.holds("USDT")
		done := make(chan error, 1)
		go func() { done <- slow.RefreshDue(t.Context()) }()
		<-i.held
		c.Advance(refresh)
		i.says("USDT", `7.9`)
		quick.refresh()
		quick.is("USDT", "7.9", rate.FromIssuer)
		close(late)
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.Advance(refresh / 2)
		quick.is("USDT", "7.9", rate.FromIssuer)
		slow.is("USDT", "7.9", rate.FromIssuer)
	})
}

// A replica whose clock is a day ahead leaves prices of tomorrow, and takes the turns until then. The others believe neither; while it is
// still there, each asks no more often than it would alone.
func TestClockThatIsAhead(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i, c, ahead := newIssuer(t), clock.NewFixed(beginning), clock.NewFixed(beginning.Add(24*time.Hour))
		metrics := prometheus.NewRegistry()
		wrong := newReplica(t, d, ahead, i, "")
		right := newReplica(t, d, c, i, "", func(o *rate.Options) { o.Registry = metrics })
		i.says("USDT", "9")
		wrong.refresh()
		wrong.is("USDT", "9", rate.FromIssuer)
		right.is("USDT", "", "")
		if age := ageOf(t, metrics, "USDT"); age != 86400 {
			t.Errorf("age %v", age)
		}

		i.says("USDT", "7.9")
		for range 3 {
			right.refresh()
			right.is("USDT", "7.9", rate.FromIssuer)
			wrong.refresh() // it is not its turn by its own clock
		}
		if n := i.times("USDT"); n != 2 {
			t.Errorf("asked %d times, want one turn each", n)
		}
		c.Advance(refresh)
		ahead.Advance(refresh)
		for range 3 {
			wrong.refresh()
			right.refresh()
		}
		if n := i.times("USDT"); n != 4 {
			t.Errorf("asked %d times, want two turns each", n)
		}
		right.is("USDT", "7.9", rate.FromIssuer)

		// A clock that was ahead and has been set right has its turns again; what differs by less than a minute counts.
		ahead.Advance(-24 * time.Hour)
		c.Advance(refresh)
		ahead.Advance(refresh)
		i.says("USDT", "7.8")
		wrong.refresh()
		right.is("USDT", "7.8", rate.FromIssuer)
		ahead.Advance(refresh + 59*time.Second)
		i.says("USDT", "7.7")
		wrong.refresh()
		c.Advance(refresh)
		right.is("USDT", "7.7", rate.FromIssuer)
	})
}

// ageOf is what the metric says of a currency.
func ageOf(t *testing.T, metrics prometheus.Gatherer, currency string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "ccp_rate_age_seconds" && m.GetLabel()[0].GetValue() == currency {
				return m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// A replica that dies while it asks keeps nobody from asking when the next turn comes.
func TestDeadReplica(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i, c := newIssuer(t), clock.NewFixed(beginning)
		dying, other := newReplica(t, d, c, i, ""), newReplica(t, d, c, i, "")
		never := i.holds("BTC")
		defer close(never)
		ctx, die := context.WithCancel(t.Context())
		defer die()
		done := make(chan error, 1)
		go func() { done <- dying.RefreshDue(ctx) }()
		<-i.held
		die()
		if err := <-done; err == nil {
			t.Error("no answer, and no error")
		}
		other.refresh()
		other.is("BTC", "", "")
		if n := i.times("BTC"); n != 1 {
			t.Errorf("asked %d times within one turn", n)
		}
		c.Advance(refresh)
		other.refresh()
		other.is("BTC", "780000", rate.FromIssuer)
	})
}

// Run asks by itself, keeps what others have learned, shows the age, and ends.
func TestRun(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		i, c, metrics := newIssuer(t), clock.NewFixed(beginning), prometheus.NewRegistry()
		r := newReplica(t, d, c, i, "", func(o *rate.Options) { o.Registry = metrics })
		silent := i.holds("USD") // what is known of the others counts meanwhile
		defer close(silent)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { r.Run(ctx); close(ended) }()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			table, err := r.Table(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(table.ToHKD()) == currencies-1 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("never asked")
			}
		}
		cancel()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatal("does not end")
		}
		c.Advance(30 * time.Second)
		r.is("USDT", "7.8", rate.FromIssuer)
		want := "# HELP ccp_rate_age_seconds Time since the issuer was asked for the price that it gave last.\n# TYPE ccp_rate_age_seconds gauge\n"
		for _, name := range []string{"BNB", "BTC", "ETH", "LTC", "TRX", "USDC", "USDT"} {
			want += fmt.Sprintf("ccp_rate_age_seconds{currency=%q} 30\n", name)
		}
		if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "ccp_rate_age_seconds"); err != nil {
			t.Error(err)
		}
	})
}

// Without an issuer the configured prices are all there is.
func TestWithoutAnIssuer(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		r := newReplica(t, d, clock.NewFixed(beginning), nil, "USDT=7.8,USD=7.82")
		r.refresh()
		r.is("USDT", "7.8", rate.FromTable)
		r.is("BTC", "", "")
		table, err := r.Table(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var listed []string
		for _, q := range table.ToHKD() {
			listed = append(listed, q.From)
		}
		if diff := cmp.Diff([]string{"USDT", "USD"}, listed); diff != "" {
			t.Error(diff)
		}
	})
}
