package api

import (
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// limiter is a token bucket per key, in this process: it keeps one caller from taking the whole service.
// What guards codes and passwords is counted in the database instead, for all replicas together.
type limiter struct {
	mu      sync.Mutex
	perSec  rate.Limit
	burst   int
	buckets map[string]*rate.Limiter
	swept   time.Time
}

const maxBuckets = 100_000

// newLimiter lets three seconds' worth come at once.
func newLimiter(perSecond float64) *limiter {
	return &limiter{perSec: rate.Limit(perSecond), burst: max(1, int(3*perSecond)), buckets: map[string]*rate.Limiter{}}
}

// wait is zero if the request may pass, else how long its caller should wait.
func (l *limiter) wait(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.swept) > time.Minute || len(l.buckets) > maxBuckets {
		l.swept = now
		for k, b := range l.buckets {
			if b.TokensAt(now) >= float64(l.burst) { // full: the same as none
				delete(l.buckets, k)
			}
		}
	}
	b := l.buckets[key]
	if b == nil {
		b = rate.NewLimiter(l.perSec, l.burst)
		l.buckets[key] = b
	}
	if b.AllowN(now, 1) {
		return 0
	}
	return l.pause()
}

// exhausted is what wait would say, and takes nothing.
func (l *limiter) exhausted(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.buckets[key]; b == nil || b.TokensAt(now) >= 1 {
		return 0
	}
	return l.pause()
}

func (l *limiter) pause() time.Duration {
	return max(time.Second, time.Duration(float64(time.Second)/float64(l.perSec)))
}

// forgeries limits, per network address, calls of providers' routes that turn out not to be a provider's: wrong signature, wrong
// key. What is genuine is never counted, and an address that something genuine has come from is not limited at all, so that
// nobody who shares it with a provider (behind a proxy that is not configured as such) can shut the provider out.
type forgeries struct {
	refused *limiter
	mu      sync.Mutex
	genuine map[string]bool
}

const (
	forgeriesPerMinute = 30
	maxGenuine         = 1000 // providers call from a handful of addresses
)

func newForgeries() *forgeries {
	return &forgeries{
		refused: &limiter{perSec: forgeriesPerMinute / 60.0, burst: forgeriesPerMinute, buckets: map[string]*rate.Limiter{}},
		genuine: map[string]bool{},
	}
}

// wait is how long an address should wait that has sent too many forgeries.
func (f *forgeries) wait(key string, now time.Time) time.Duration {
	f.mu.Lock()
	known := f.genuine[key]
	f.mu.Unlock()
	if known {
		return 0
	}
	return f.refused.exhausted(key, now)
}

// judge takes note of how a call was answered. A 400 is no forger's: only who has proved to be the provider hears that what it
// sent makes no sense.
func (f *forgeries) judge(key string, status int, now time.Time) {
	switch {
	case status >= 200 && status < 300:
		f.mu.Lock()
		if len(f.genuine) < maxGenuine {
			f.genuine[key] = true
		}
		f.mu.Unlock()
	case status > 400 && status < 500:
		f.refused.wait(key, now)
	}
}

// limitBody bounds what is read of a request's body.
func (a *API) limitBody(max int64) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(ctx)
		if r.Body != nil && r.Body != http.NoBody {
			if r.ContentLength > max {
				a.rejectOperation(ctx, ErrTooLarge)
				return
			}
			r.Body = http.MaxBytesReader(w, r.Body, max)
		}
		next(ctx)
	}
}

// bodyContext is a huma.Context whose body has been read already.
type bodyContext struct {
	humaContext
	body io.Reader
}

// humaContext renames the interface for embedding: it has a method called Context.
type humaContext = huma.Context

func (c bodyContext) BodyReader() io.Reader { return c.body }

// Unwrap lets the adapter find its own context.
func (c bodyContext) Unwrap() huma.Context { return c.humaContext }

type metrics struct {
	seconds *prometheus.HistogramVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "ccp_http_request_seconds", Help: "Duration of requests by route and status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10},
	}, []string{"route", "status"})}
	if reg != nil {
		reg.MustRegister(m.seconds)
	}
	return m
}

func (m *metrics) observe(route string, status int, took time.Duration) {
	if route == "" {
		route = "unknown"
	}
	m.seconds.WithLabelValues(route, strconv.Itoa(status)).Observe(took.Seconds())
}
