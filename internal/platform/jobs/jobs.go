// Package jobs runs background work: River on either engine. A job is inserted in the transaction that needs
// it, so that it exists exactly if that transaction was committed; it runs at least once, and a worker must
// stand being run again.
package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
	"github.com/riverqueue/river/rivertype"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Inserter puts jobs into the queue.
type Inserter interface {
	// Insert adds a job in the transaction; it becomes visible to workers when tx commits.
	Insert(ctx context.Context, tx db.Tx, args river.JobArgs, opts ...Option) error
}

// Option changes how a job is inserted.
type Option func(*river.InsertOpts)

// Attempts is how often a job is tried before it is given up.
func Attempts(n int) Option { return func(o *river.InsertOpts) { o.MaxAttempts = n } }

// Lane keeps jobs that wait for one thing from holding up those that wait for another. Each has workers of its own.
type Lane string

// The lanes. A kind of job belongs to the one that it is registered for.
const (
	Mail      Lane = "mail"      // waits for the mail server, and a customer for it
	Providers Lane = "providers" // waits for the providers, who may take their time
)

// DefaultTimeout is how long a job may run if Options do not say otherwise.
const DefaultTimeout = 2 * time.Minute

// rescueMargin is how long after its time limit a job of a dead replica is taken over.
const rescueMargin = time.Minute

// Options configures a queue.
type Options struct {
	Log        *slog.Logger
	Registerer prometheus.Registerer // nil: no metrics
	// Workers is how many jobs of the lane Providers run at once; 0: 20 on PostgreSQL, 8 on SQLite. Mail has half as many besides.
	Workers int
	Timeout time.Duration // of one job, then its context ends; 0: DefaultTimeout
}

// Queue is the product's job queue.
type Queue struct {
	workers *river.Workers
	lanes   map[string]Lane // by kind of job
	client  interface {
		Start(context.Context) error
		Stop(context.Context) error
		StopAndCancel(context.Context) error
	}
	insert  func(ctx context.Context, tx db.Tx, args river.JobArgs, opts *river.InsertOpts) error
	running atomic.Bool
}

// New makes a queue on d. Workers are added with Add before Start; jobs can be inserted as soon as their worker is added.
func New(d db.DB, o Options) (*Queue, error) {
	if o.Workers == 0 {
		o.Workers = 20
		if d.Engine() == db.SQLite {
			o.Workers = 8
		}
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	q := &Queue{workers: river.NewWorkers(), lanes: map[string]Lane{}}
	cfg := &river.Config{
		Workers: q.workers,
		Queues: map[string]river.QueueConfig{
			string(Providers): {MaxWorkers: o.Workers},
			string(Mail):      {MaxWorkers: max(1, o.Workers/2)},
		},
		Logger:                      o.Log,
		JobTimeout:                  o.Timeout,
		RescueStuckJobsAfter:        o.Timeout + rescueMargin,
		FetchCooldown:               20 * time.Millisecond,
		CompletedJobRetentionPeriod: time.Hour,
		Middleware:                  []rivertype.Middleware{newObserver(o.Registerer)},
		ErrorHandler:                errorLog{o.Log},
	}
	switch e := d.(type) {
	case *db.Postgres:
		c, err := river.NewClient(riverpgxv5.New(e.Pool()), cfg)
		if err != nil {
			return nil, fmt.Errorf("job queue: %w", err)
		}
		q.client = c
		q.insert = func(ctx context.Context, tx db.Tx, args river.JobArgs, opts *river.InsertOpts) error {
			native, err := db.PgxTx(ctx, tx)
			if err == nil {
				_, err = c.InsertTx(ctx, native, args, opts)
			}
			return err
		}
	case *db.Lite:
		cfg.FetchPollInterval = 500 * time.Millisecond
		c, err := river.NewClient(riversqlite.New(e.Writer()), cfg)
		if err != nil {
			return nil, fmt.Errorf("job queue: %w", err)
		}
		q.client = c
		q.insert = func(ctx context.Context, tx db.Tx, args river.JobArgs, opts *river.InsertOpts) error {
			native, _ := db.SQLTx(tx)
			_, err := c.InsertTx(ctx, native, args, opts)
			return err
		}
	default:
		return nil, fmt.Errorf("job queue: unknown engine %T", d)
	}
	return q, nil
}

// Add registers the worker of one kind of job, and its lane.
func Add[T river.JobArgs](q *Queue, lane Lane, w river.Worker[T]) {
	river.AddWorker(q.workers, w)
	var args T
	q.lanes[args.Kind()] = lane
}

// AddFunc registers a function as the worker of one kind of job, and its lane.
func AddFunc[T river.JobArgs](q *Queue, lane Lane, work func(ctx context.Context, args T) error) {
	Add(q, lane, river.WorkFunc(func(ctx context.Context, job *river.Job[T]) error { return work(ctx, job.Args) }))
}

// Insert implements Inserter.
func (q *Queue) Insert(ctx context.Context, tx db.Tx, args river.JobArgs, opts ...Option) error {
	o := &river.InsertOpts{Queue: string(q.lanes[args.Kind()])}
	for _, opt := range opts {
		opt(o)
	}
	if err := q.insert(ctx, tx, args, o); err != nil {
		return fmt.Errorf("insert job %s: %w", args.Kind(), err)
	}
	return nil
}

// Start begins to work. The context must live as long as the queue.
func (q *Queue) Start(ctx context.Context) error {
	if err := q.client.Start(ctx); err != nil {
		return fmt.Errorf("start job queue: %w", err)
	}
	q.running.Store(true)
	return nil
}

// Running tells whether the queue has been started and not stopped.
func (q *Queue) Running() bool { return q.running.Load() }

// Stop lets running jobs finish until ctx ends, then cancels them; a cancelled job runs again later.
func (q *Queue) Stop(ctx context.Context) error {
	if !q.running.Swap(false) {
		return nil
	}
	if err := q.client.Stop(ctx); err == nil || ctx.Err() == nil {
		return err
	}
	hard, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return q.client.StopAndCancel(hard)
}

// Migrate brings the queue's own tables up to date.
func Migrate(ctx context.Context, d db.DB) error {
	up := func() error {
		switch e := d.(type) {
		case *db.Postgres:
			m, err := rivermigrate.New(riverpgxv5.New(e.Pool()), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return err
			}
			_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
			return err
		case *db.Lite:
			m, err := rivermigrate.New[*sql.Tx](riversqlite.New(e.Writer()), &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				return err
			}
			_, err = m.Migrate(ctx, rivermigrate.DirectionUp, nil)
			return err
		}
		return fmt.Errorf("unknown engine %T", d)
	}
	// Replicas that start together may get into each other's way: the one that came second finds the work done.
	err := up()
	for n := 0; err != nil && n < 5 && ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
		err = up()
	}
	if err != nil {
		return fmt.Errorf("migrate job queue: %w", err)
	}
	return nil
}

var _ rivertype.WorkerMiddleware = (*observer)(nil)

// observer records a span and the duration of every job, and carries the trace of its cause along.
type observer struct {
	river.MiddlewareDefaults
	seconds *prometheus.HistogramVec
}

func newObserver(reg prometheus.Registerer) *observer {
	o := &observer{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ccp_job_seconds", Help: "Duration of background jobs by kind and outcome.",
		Buckets: []float64{.005, .025, .1, .5, 2, 10, 60},
	}, []string{"kind", "outcome"})}
	if reg != nil {
		reg.MustRegister(o.seconds)
	}
	return o
}

// Work implements rivertype.WorkerMiddleware.
func (o *observer) Work(ctx context.Context, job *rivertype.JobRow, work func(context.Context) error) error {
	ctx, span := otel.Tracer("comecomepay/jobs").Start(ctx, "job "+job.Kind, trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.Int64("job.id", job.ID), attribute.Int("job.attempt", job.Attempt)))
	defer span.End()
	start, outcome := time.Now(), "panic"
	defer func() { o.seconds.WithLabelValues(job.Kind, outcome).Observe(time.Since(start).Seconds()) }()
	err := work(ctx)
	outcome = "ok"
	var snooze *river.JobSnoozeError
	if err != nil && !errors.As(err, &snooze) {
		outcome = "error"
		span.SetStatus(codes.Error, "job failed")
	}
	return err
}

// errorLog reports failed jobs without their arguments.
type errorLog struct{ log *slog.Logger }

func (l errorLog) HandleError(ctx context.Context, job *rivertype.JobRow, err error) *river.ErrorHandlerResult {
	if l.log != nil {
		l.log.WarnContext(ctx, "job failed", "kind", job.Kind, "job_id", job.ID, "attempt", job.Attempt, "error", err)
	}
	return nil
}

func (l errorLog) HandlePanic(ctx context.Context, job *rivertype.JobRow, panicVal any, stack string) *river.ErrorHandlerResult {
	if l.log != nil {
		l.log.ErrorContext(ctx, "job panicked", "kind", job.Kind, "job_id", job.ID, "attempt", job.Attempt, "panic", fmt.Sprint(panicVal), "stack", stack)
	}
	return nil
}
