package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// request is what the edge knows about a request; one value in its context.
type request struct {
	api     *API
	id      string
	locale  i18n.Locale
	address netip.Addr
	agent   string
	caller  string // as TokenCheck names them, once it has
	http    *http.Request
}

type requestKey struct{}

func requestFrom(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{locale: i18n.English}
}

func (r *request) route() string {
	if r.http == nil {
		return ""
	}
	return r.http.Pattern
}

// RequestID is the name of the request in logs and answers.
func RequestID(ctx context.Context) string { return requestFrom(ctx).id }

// ClientAddress is the network address of the caller, as far as the trusted proxies tell.
func ClientAddress(ctx context.Context) string {
	if a := requestFrom(ctx).address; a.IsValid() {
		return a.String()
	}
	return ""
}

// UserAgent is the caller's User-Agent.
func UserAgent(ctx context.Context) string { return requestFrom(ctx).agent }

const apiPrefix = "/api/v1"

// securityHeaders are on every answer. Their lists are shared by all answers: they are replaced, never changed.
var securityHeaders = http.Header{
	"X-Content-Type-Options":    {"nosniff"},
	"X-Frame-Options":           {"DENY"},
	"Referrer-Policy":           {"no-referrer"},
	"Cache-Control":             {"no-store"},
	"Content-Security-Policy":   {"default-src 'none'; frame-ancestors 'none'"},
	"Strict-Transport-Security": {"max-age=31536000; includeSubDomains"},
}

// serve is the way of every request up to its operation.
func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	info := &request{api: a, id: requestID(r), address: a.clientAddress(r), agent: clip(r.UserAgent(), 300)}
	info.locale = i18n.FromHeader(r.Header.Get("Accept-Language"), a.DefaultLocale)
	if r.URL.RawQuery != "" {
		if l, ok := i18n.Parse(r.URL.Query().Get("lang")); ok {
			info.locale = l
		}
	}
	ctx := context.WithValue(i18n.NewContext(r.Context(), info.locale), requestKey{}, info)
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	r = r.WithContext(ctx)
	normalisePath(r)
	info.http = r

	out := &statusWriter{ResponseWriter: w}
	h := out.Header()
	maps.Copy(h, securityHeaders)
	h.Set("X-Request-Id", info.id) // in the form that Set need not bring it to

	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				panic(v)
			}
			a.Log.ErrorContext(ctx, "request panicked", "request_id", info.id, "route", r.Pattern, "panic", v, "stack", string(debug.Stack()))
			if out.status == 0 {
				a.envelope(info, ErrInternal).write(out)
			}
		}
		took := time.Since(start)
		a.metrics.observe(r.Pattern, out.status, took)
		if a.Log.Enabled(ctx, slog.LevelDebug) {
			a.Log.DebugContext(ctx, "request", "request_id", info.id, "method", r.Method, "route", r.Pattern, "status", out.status, "took", took)
		}
	}()

	if a.crossOrigin(out, r) {
		return
	}
	_, pattern := a.mux.Handler(r)
	if wait := a.addressWait(info.address, pattern, start); wait > 0 {
		a.reject(out, r, ErrTooManyRequests.After(wait))
		return
	}
	if a.providers[pattern] {
		defer func() { a.forgeries.judge(line(info.address), out.status, time.Now()) }()
	}
	if pattern == "" {
		a.unknownRoute(out, r)
		return
	}
	if !storable(r) {
		r.Pattern = pattern
		a.reject(out, r, malformed("path and query must be UTF-8 without NUL"))
		return
	}
	a.mux.ServeHTTP(out, r)
}

// addressWait is how long the address has to wait before it may call the route, before anything of the request is read.
func (a *API) addressWait(addr netip.Addr, pattern string, now time.Time) time.Duration {
	switch {
	case a.SpareLoopback && addr.IsLoopback(), a.unlimited[pattern]:
		return 0
	case a.providers[pattern]:
		return a.forgeries.wait(line(addr), now)
	}
	return a.byAddress.wait(line(addr), now)
}

// line is whom an address stands for in limits. One customer's line is a /64: its owner may use any address in it.
func line(addr netip.Addr) string {
	if addr.Is6() {
		p, _ := addr.Prefix(64)
		return p.String()
	}
	return addr.String()
}

// unknownRoute answers 404, or 405 with Allow when the path exists for another method.
func (a *API) unknownRoute(w http.ResponseWriter, r *http.Request) {
	var allow []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := *r
		probe.Method = m
		if _, pattern := a.mux.Handler(&probe); pattern != "" {
			allow = append(allow, m)
		}
	}
	var p *problem.Problem = ErrRouteNotFound
	if len(allow) > 0 {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		p = ErrMethod
	}
	a.reject(w, r, p)
}

// normalisePath brings all forms of a path that are served (contract/rules section 1) to the registered one, so that
// none is answered by a redirect.
func normalisePath(r *http.Request) {
	clean := func(p string) string {
		if !strings.HasPrefix(p, "/") {
			p = "/" + p
		}
		p = path.Clean(p)
		if rest, ok := strings.CutPrefix(p, apiPrefix); ok && (rest == "" || rest[0] == '/') {
			p = path.Clean("/" + rest)
		}
		return p
	}
	cleaned, raw := clean(r.URL.Path), r.URL.RawPath
	if raw != "" {
		raw = clean(raw)
	}
	if cleaned == r.URL.Path && raw == r.URL.RawPath {
		return
	}
	u := *r.URL
	u.Path, u.RawPath = cleaned, raw
	r.URL = &u
}

// storable tells whether path and query are text that both databases can keep and compare: PostgreSQL refuses NUL and
// what is not UTF-8.
func storable(r *http.Request) bool {
	query, err := url.QueryUnescape(r.URL.RawQuery)
	return err == nil && isText(query) && isText(r.URL.Path)
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// crossOrigin answers browsers' preflight requests; it tells whether the request is done.
func (a *API) crossOrigin(w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	w.Header().Add("Vary", "Origin")
	for _, o := range a.CORSOrigins {
		if o != origin {
			continue
		}
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "X-Request-ID, Retry-After")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept-Language, Idempotency-Key, X-Request-ID")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent) // to a browser's preflight, never to the app
			return true
		}
	}
	return false
}

// clientAddress walks X-Forwarded-For from the right, past the proxies that are trusted.
func (a *API) clientAddress(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	addr = addr.Unmap()
	forwarded := r.Header.Values("X-Forwarded-For")
	if len(forwarded) == 0 {
		return addr
	}
	if !a.trusts(addr) {
		a.distrusted.Do(func() {
			a.Log.WarnContext(r.Context(), "X-Forwarded-For from a peer that is not trusted: if that is your proxy, name its network in CCP_TRUSTED_PROXIES; "+
				"all customers behind it share one address, and its limits", "peer", addr.String())
		})
		return addr
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		addr = hop.Unmap()
		if !a.trusts(addr) {
			break
		}
	}
	return addr
}

func (a *API) trusts(addr netip.Addr) bool {
	for _, p := range a.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9_.:-]{8,64}$`)

// requestID takes over the id that a proxy gave, if it is harmless.
func requestID(r *http.Request) string {
	if id := r.Header.Get("X-Request-Id"); id != "" && requestIDForm.MatchString(id) {
		return id
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "")
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
