package ledger

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count; none of them names a customer.
type metrics struct {
	submissions *prometheus.CounterVec
	posted      prometheus.Counter
	replayed    prometheus.Counter
	size        prometheus.Histogram
	duration    prometheus.Histogram
	imbalance   *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		submissions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ccp_ledger_submissions_total",
			Help: "Transactions that were submitted, by outcome (posted, replayed, refused)."}, []string{"outcome"}),
		size: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ccp_ledger_round_size",
			Help: "How many transactions were decided and committed together.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ccp_ledger_round_seconds",
			Help: "How long a round took, its commit included.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12)}),
	}
	m.imbalance = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ccp_ledger_imbalance",
		Help: "Sum of all balances of an asset in minor units. Anything but 0 means that money was lost or made."}, []string{"asset"})
	m.posted, m.replayed = m.submissions.WithLabelValues("posted"), m.submissions.WithLabelValues("replayed")
	if reg != nil {
		reg.MustRegister(m.submissions, m.size, m.duration, m.imbalance)
	}
	return m
}

// imbalanceEvery is how often the book is summed up: one statement over all accounts, which takes a second for some millions.
const imbalanceEvery = 5 * time.Minute

// Watch keeps the metric of the imbalance until ctx ends.
func (l *Ledger) Watch(ctx context.Context) {
	tick := time.NewTicker(imbalanceEvery)
	defer tick.Stop()
	for {
		if err := l.MeasureImbalance(ctx); err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "imbalance of the ledger not known", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// MeasureImbalance sums up the book for the metric.
func (l *Ledger) MeasureImbalance(ctx context.Context) error {
	list, err := standingOfAssets(ctx, l.db)
	for _, s := range list {
		sum, _ := s.book.Float64() // a gauge is a float; 0 is exact, and only 0 is right
		l.metrics.imbalance.WithLabelValues(s.asset).Set(sum)
		if sum != 0 {
			l.log.ErrorContext(ctx, "the ledger does not balance", "asset", s.asset, "units", s.book)
		}
	}
	return err
}

func (m *metrics) submitted(p Posted, err error) {
	switch {
	case err != nil:
		m.submissions.WithLabelValues("refused").Inc()
	case p.Replayed:
		m.replayed.Inc()
	default:
		m.posted.Inc()
	}
}

func (m *metrics) ran(size int, took time.Duration) {
	m.size.Observe(float64(size))
	m.duration.Observe(took.Seconds())
}
