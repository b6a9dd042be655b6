package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/obs"
	"github.com/comecomepay/comecomepay/internal/sandbox"
)

// App is the program, put together. Make it with New, then call Serve once.
type App struct {
	*Services
	API *api.API

	registry     *prometheus.Registry
	http, ops    net.Listener
	follow       *clock.Adjustable // set in development beside a sandbox of another process: its time
	stopTracing  func(context.Context) error
	started      time.Time // of New, on the machine's clock
	serving      atomic.Bool
	draining     atomic.Bool
	closeForOnce sync.Once
}

// New checks the configuration, opens listeners and database, brings the schema up to date if that is configured, and puts
// the program together. Every error names the setting that it is about.
func New(ctx context.Context, c Config, x Extras) (a *App, err error) {
	started := time.Now()
	if err := c.CheckServe(); err != nil {
		return nil, err
	}
	a = &App{started: started, http: x.HTTP, ops: x.Ops}
	var opened db.DB
	defer func() {
		if err == nil {
			return
		}
		if opened != nil {
			err = errors.Join(err, opened.Close())
		}
		a.closeListeners()
		a = nil
	}()
	if x.Clock == nil && c.General.Environment == Development {
		a.follow = developmentClock(ctx, c)
		x.Clock = a.follow
	}
	x = x.withDefaults()

	if a.http, err = listen(ctx, a.http, "CCP_HTTP_ADDR", c.HTTP.Addr); err != nil {
		return a, err
	}
	if a.ops, err = listen(ctx, a.ops, "CCP_OPS_ADDR", c.HTTP.OpsAddr); err != nil {
		return a, err
	}
	build := ReadBuild()
	if opened, err = c.OpenDatabase(ctx); err != nil {
		return a, err
	}
	if c.Database.AutoMigrate {
		applied, err := Migrate(ctx, opened)
		if err != nil {
			return a, err
		}
		if len(applied) > 0 {
			x.Log.InfoContext(ctx, "database brought up to date", "versions", applied)
		}
	} else if err := checkSchema(ctx, opened); err != nil {
		return a, fmt.Errorf("CCP_AUTO_MIGRATE is false: %w", err)
	}
	a.registry = obs.NewRegistry(build.Version)
	if a.follow != nil {
		a.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ccp_clock_offset_seconds",
			Help: "How far the program's clock runs ahead of the machine's, in development."}, func() float64 { return a.follow.Offset().Seconds() }))
	}
	if a.Services, err = assemble(c, x, opened, a.registry); err != nil {
		return a, err
	}
	a.API = a.edge(a.registry)
	a.API.ReadyWhen(a.Ready)
	if a.stopTracing, err = obs.StartTracing(ctx, c.Telemetry.OTelEndpoint, c.Telemetry.OTelRatio, build.Version); err != nil {
		return a, fmt.Errorf("CCP_OTEL_ENDPOINT: %w", err)
	}
	return a, nil
}

func listen(ctx context.Context, given net.Listener, setting, address string) (net.Listener, error) {
	if given != nil {
		return given, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", setting, err)
	}
	return l, nil
}

func (a *App) closeListeners() {
	for _, l := range []net.Listener{a.http, a.ops} {
		if l != nil {
			_ = l.Close()
		}
	}
}

// Addr is the public listener, host:port.
func (a *App) Addr() string { return a.http.Addr().String() }

// OpsAddr is the operators' listener, host:port.
func (a *App) OpsAddr() string { return a.ops.Addr().String() }

// Why the program is not ready.
var (
	errStarting = errors.New("starting")
	errDraining = errors.New("draining")
	errQueue    = errors.New("the job queue is not running")
)

// Ready tells whether requests can be served, or why not.
func (a *App) Ready(ctx context.Context) error {
	switch {
	case a.draining.Load():
		return errDraining
	case !a.serving.Load():
		return errStarting
	case !a.Jobs.Running():
		return errQueue
	}
	if err := a.DB.Ping(ctx); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return nil
}

const (
	// How long load balancers get to notice that the program is not ready any more, before connections are refused.
	balancerGrace = 3 * time.Second
	sweepEvery    = 10 * time.Minute
	// What is left to do after the drain: closing files, sending the last traces.
	closeTimeout = 5 * time.Second
)

// Serve works until ctx ends, then drains: it stops being ready at once, lets requests and jobs that are under way finish
// within the configured time, and closes everything. What did not finish in time is cut off and reported; jobs run again later,
// in this replica or another.
func (a *App) Serve(ctx context.Context) (err error) {
	// Requests and jobs go on after the signal to stop, until they are told otherwise.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	defer func() { err = errors.Join(err, a.close(work)) }()
	if err := a.Jobs.Start(work); err != nil {
		return err
	}
	background, stopBackground := context.WithCancel(work)
	var loops sync.WaitGroup
	loops.Go(func() { a.KYC.Run(background) })
	loops.Go(func() { a.Rates.Run(background) })
	loops.Go(func() { a.Wallet.WatchCoins(background) })
	loops.Go(func() { a.Wallet.RunGateway(background) })
	loops.Go(func() { a.sweep(background) })
	loops.Go(func() { a.Ledger.Watch(background) })
	if a.follow != nil {
		loops.Go(func() { sandbox.FollowClock(background, "http://"+a.Config.Sandbox.Addr, a.follow) })
	}
	defer loops.Wait()
	defer stopBackground()

	failed := make(chan error, 2)
	public, ops := a.publicServer(), a.opsServer()
	for _, s := range []struct {
		server   *http.Server
		listener net.Listener
	}{{public, a.http}, {ops, a.ops}} {
		go func() {
			if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("listener %s: %w", s.listener.Addr(), err)
			}
		}()
	}
	a.serving.Store(true)
	a.log.InfoContext(ctx, "ready", "http", a.Addr(), "ops", a.OpsAddr(), "took", time.Since(a.started))

	var cause error
	select {
	case <-ctx.Done():
	case cause = <-failed:
	}
	return errors.Join(cause, a.drain(ctx, public, ops, stopBackground, &loops))
}

func (a *App) drain(ctx context.Context, public, ops *http.Server, stopBackground context.CancelFunc, loops *sync.WaitGroup) error {
	a.draining.Store(true)
	a.log.InfoContext(ctx, "draining", "timeout", a.Config.General.DrainTimeout)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.Config.General.DrainTimeout)
	defer cancel()
	public.SetKeepAlivesEnabled(false)
	if a.Config.General.Environment == Production {
		grace := time.NewTimer(min(balancerGrace, a.Config.General.DrainTimeout/4))
		defer grace.Stop()
		select {
		case <-grace.C:
		case <-ctx.Done():
		}
	}
	var problems []error
	if err := public.Shutdown(ctx); err != nil {
		problems = append(problems, fmt.Errorf("CCP_DRAIN_TIMEOUT: requests were cut off: %w", err), public.Close())
	}
	stopBackground()
	loops.Wait()
	if err := a.Jobs.Stop(ctx); err != nil {
		problems = append(problems, fmt.Errorf("CCP_DRAIN_TIMEOUT: jobs were cut off and will run again: %w", err))
	}
	if err := a.Ledger.Close(ctx); err != nil {
		problems = append(problems, fmt.Errorf("CCP_DRAIN_TIMEOUT: %w", err))
	}
	// Last, so that readiness and metrics can be read during the drain. A profile that is being taken is of no use any more.
	return errors.Join(append(problems, ops.Close())...)
}

// close lets go of everything. After a drain only the database and the traces are left.
func (a *App) close(ctx context.Context) (err error) {
	a.closeForOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		a.closeListeners()
		err = errors.Join(a.Jobs.Stop(ctx), a.Ledger.Close(ctx), a.Services.Close())
		if traces := a.stopTracing(ctx); traces != nil {
			a.log.WarnContext(ctx, "last traces not sent", "error", traces)
		}
		a.log.InfoContext(ctx, "stopped")
	})
	return err
}

// Close lets go of everything that New opened, for a program that is not going to serve.
func (a *App) Close() error { return a.close(context.Background()) }

func (a *App) publicServer() *http.Server {
	limit := a.Config.HTTP.RequestTimeout
	return &http.Server{
		// The time for reading must not end with that for the request: the server would take the caller for gone.
		Handler: a.API.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: limit + 10*time.Second, WriteTimeout: limit + 10*time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
}

func (a *App) opsServer() *http.Server {
	return &http.Server{
		Handler: obs.OpsHandler(a.registry, a.Ready), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
}

// sweep removes what has run out, from time to time. Nothing relies on it, and every replica may do it.
func (a *App) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.SweepOnce(ctx)
		}
	}
}

// SweepOnce removes what has run out: codes, sessions, counters, kept answers, raw webhooks.
func (a *App) SweepOnce(ctx context.Context) {
	for _, s := range []struct {
		what string
		run  func(context.Context) error
	}{{"identity", a.Identity.Sweep}, {"kyc", a.KYC.Sweep}, {"wallet", a.Wallet.Sweep}, {"idempotency keys", a.API.SweepIdempotencyKeys}} {
		if err := s.run(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "sweep failed", "of", s.what, "error", err)
		}
	}
}
