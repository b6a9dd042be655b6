package kyc

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"

	"github.com/comecomepay/comecomepay/internal/platform/jobs"
)

// RegisterJobs adds the capability's workers to the queue.
func (s *Service) RegisterJobs(q *jobs.Queue) {
	jobs.AddFunc(q, jobs.Providers, func(ctx context.Context, args pollArgs) error {
		if err := s.Poll(ctx, args.RecordID, args.MessageID); err != nil {
			// Not a failure of the job: the record comes back in its time.
			s.Log.InfoContext(ctx, "kyc poll without an answer", "record_id", args.RecordID, "error", err)
		}
		return nil
	})
	jobs.Add(q, jobs.Providers, &inboundWorker{service: s})
}

type inboundWorker struct {
	river.WorkerDefaults[inboundArgs]
	service *Service
}

// Work implements river.Worker.
func (w *inboundWorker) Work(ctx context.Context, job *river.Job[inboundArgs]) error {
	return w.service.handleInbound(ctx, job.Args.MessageID, job.Attempt >= job.MaxAttempts)
}

// Sweep removes what is kept no longer.
func (s *Service) Sweep(ctx context.Context) error { return s.inbound.Sweep(ctx) }

type metrics struct {
	transitions *prometheus.CounterVec
	polls       *prometheus.CounterVec
	inbound     *prometheus.CounterVec
	cases       *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ccp_kyc_transitions_total", Help: "Changes of state of verification attempts."}, []string{"from", "to", "source"}),
		polls:       prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ccp_kyc_polls_total", Help: "Rounds of questions to the providers."}, []string{"channel", "outcome"}),
		inbound:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ccp_kyc_inbound_total", Help: "Calls of providers."}, []string{"provider", "result"}),
		cases:       prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "ccp_operator_cases_open", Help: "What waits for an operator, counted once a minute."}, []string{"kind"}),
	}
	if reg != nil {
		reg.MustRegister(m.transitions, m.polls, m.inbound, m.cases)
	}
	return m
}
