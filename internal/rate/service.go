package rate

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/obs"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
)

// Options are what the service needs.
type Options struct {
	DB       db.DB
	Clock    clock.Clock
	Log      *slog.Logger
	Registry prometheus.Registerer // nil: no metrics

	Issuer     *pokepay.Client // nil: only the configured prices are there
	Configured Configured
	MaxAge     time.Duration // an older price of the issuer is not used; 0: 10 minutes
	Refresh    time.Duration // how often the issuer is asked; 0: 1 minute
}

// Service is the capability. What it answers comes from memory, which Run keeps up to date: no customer waits for the issuer.
type Service struct {
	Options
	store  store
	memory atomic.Pointer[memory]
	rounds atomic.Uint32 // of questions to the issuer
	asked  sync.Map      // when this replica last had its turn, by currency
	failed obs.Sparse
	age    *prometheus.GaugeVec
}

// memory is the issuer's prices as the database had them at a moment.
type memory struct {
	readAt time.Time
	rows   []row
}

// memoryLife is how long memory is used without a look into the database.
const memoryLife = 5 * time.Second

// New makes the service.
func New(o Options) *Service {
	o.MaxAge = cmp.Or(o.MaxAge, 10*time.Minute)
	o.Refresh = cmp.Or(o.Refresh, time.Minute)
	s := &Service{Options: o, store: store{o.DB}, age: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ccp_rate_age_seconds", Help: "Time since the issuer was asked for the price that it gave last."}, []string{"currency"})}
	if o.Registry != nil {
		o.Registry.MustRegister(s.age)
	}
	return s
}

// Rate is the rate from a currency to another one now, by long or short names. It is meant for decisions about money: what is older
// than MaxAge is not used.
//
// Errors: as Table.Rate.
func (s *Service) Rate(ctx context.Context, from, to string) (Quote, error) {
	t, err := s.Table(ctx)
	if err != nil {
		return Quote{}, err
	}
	return t.Rate(from, to)
}

// Table is all prices that may be used now, to value a whole wallet with.
func (s *Service) Table(ctx context.Context) (Table, error) {
	now := s.Clock.Now()
	m := s.memory.Load()
	if m == nil || now.Before(m.readAt) || now.Sub(m.readAt) >= memoryLife {
		var err error
		if m, err = s.read(ctx); err != nil {
			return Table{}, err
		}
	}
	return s.table(m.rows, now), nil
}

// InUSDT is what one unit of a coin is worth in USDT; ok is false if there is no price that may be used.
func (s *Service) InUSDT(ctx context.Context, coin string) (worth decimal.Decimal, ok bool) {
	if Short(coin) == "USDT" {
		return decimal.NewFromInt(1), true
	}
	q, err := s.Rate(ctx, coin, "USDT")
	return q.Rate, err == nil
}

// table picks for each currency the issuer's price, or the configured one if that is missing or too old.
func (s *Service) table(rows []row, now time.Time) Table {
	t := Table{At: now, prices: map[string]price{HKD: {hkd: decimal.NewFromInt(1)}}}
	for name, hkd := range s.Configured {
		t.prices[name] = price{hkd, now, now.Add(s.Refresh), FromTable}
	}
	for _, r := range rows {
		c, known := find(r.currency)
		if known && r.asOf != nil && now.Sub(*r.asOf) <= s.MaxAge && !r.asOf.After(now.Add(clockSkew)) && c.believes(r.hkd) {
			t.prices[r.currency] = price{r.hkd, *r.asOf, r.asOf.Add(s.MaxAge), FromIssuer}
		}
	}
	return t
}

// read brings memory up to date.
func (s *Service) read(ctx context.Context) (*memory, error) {
	now := s.Clock.Now()
	rows, err := s.store.all(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.asOf != nil {
			s.age.WithLabelValues(r.currency).Set(now.Sub(*r.asOf).Abs().Seconds()) // a price of a time to come is not used either
		}
	}
	m := &memory{now, rows}
	s.memory.Store(m)
	return m, nil
}
