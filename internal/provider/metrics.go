package provider

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts attempts. All callers that share a registerer share the vectors.
type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	open    *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	labels := []string{"provider", "operation", "outcome"}
	return &metrics{
		calls: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ccp_provider_calls_total",
			Help: "Calls to outside providers, every attempt counted, by outcome: ok, refused, unknown; or, for calls not sent, unreachable, circuit_open, not_sent.",
		}, labels)),
		seconds: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ccp_provider_call_seconds",
			Help:    "Duration of the attempts that were made.",
			Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20},
		}, labels)),
		open: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "ccp_provider_circuit_open",
			Help: "1 while calls to the provider are withheld because it fails too often.",
		}, []string{"provider"})),
	}
}

// register adds a collector, or finds the one that another caller has added.
func register[C prometheus.Collector](r prometheus.Registerer, collector C) C {
	if r == nil {
		return collector
	}
	err := r.Register(collector)
	if known := (prometheus.AlreadyRegisteredError{}); errors.As(err, &known) {
		if existing, ok := known.ExistingCollector.(C); ok {
			return existing
		}
	}
	return collector
}

func (m *metrics) observe(provider, operation, label string, seconds float64) {
	m.calls.WithLabelValues(provider, operation, label).Inc()
	m.seconds.WithLabelValues(provider, operation, label).Observe(seconds)
}

func (m *metrics) withheld(provider, operation string) {
	m.calls.WithLabelValues(provider, operation, labelCircuitOpen).Inc()
}

func (m *metrics) circuit(provider string, open bool) {
	value := 0.0
	if open {
		value = 1
	}
	m.open.WithLabelValues(provider).Set(value)
}
