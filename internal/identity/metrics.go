package identity

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// metrics count; none of them names a customer.
type metrics struct {
	logins   *prometheus.CounterVec
	codes    *prometheus.CounterVec
	lockouts *prometheus.CounterVec
	refresh  *prometheus.CounterVec
	mail     *prometheus.CounterVec
	texts    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	return &metrics{
		logins:   counter("ccp_identity_logins_total", "Sign-ins by step (password, code) and outcome.", "step", "outcome"),
		codes:    counter("ccp_identity_codes_total", "One-time codes by purpose and event (sent, accepted, refused, failed).", "purpose", "event"),
		lockouts: counter("ccp_identity_lockouts_total", "Lock-outs that guessing brought about, by what was guessed.", "kind"),
		refresh:  counter("ccp_identity_refreshes_total", "Refreshes by outcome (rotated, repeated, reused, refused).", "outcome"),
		mail:     counter("ccp_identity_mail_total", "Mail jobs by template and outcome (sent, stale, refused, failed).", "template", "outcome"),
		texts:    counter("ccp_identity_sms_total", "SMS jobs by outcome (sent, stale, refused, failed).", "outcome"),
	}
}

type codeEvent int

const (
	codeRequested codeEvent = iota
	codeChecked
)

// code counts what became of a request for a code, or of a code that was typed.
func (m *metrics) code(p purpose, e codeEvent, err error) {
	event := "sent"
	if e == codeChecked {
		event = "accepted"
	}
	if err != nil {
		event = "failed"
		if _, refused := problem.Find(err); refused {
			event = "refused"
		}
	}
	m.codes.WithLabelValues(string(p), event).Inc()
}

func (m *metrics) login(step string, err error) {
	outcome := "ok"
	if p, refused := problem.Find(err); refused {
		outcome = strings.ToLower(p.Code)
	} else if err != nil {
		outcome = "failed"
	}
	m.logins.WithLabelValues(step, outcome).Inc()
}
