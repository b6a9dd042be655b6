package ledger

import (
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
	m.posted, m.replayed = m.submissions.WithLabelValues("posted"), m.submissions.WithLabelValues("replayed")
	if reg != nil {
		reg.MustRegister(m.submissions, m.size, m.duration)
	}
	return m
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
