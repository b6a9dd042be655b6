package api

import (
	"context"
	"net/http"
	"net/url"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
)

type cameAsKey struct{}

// traced records a span of every request: method, route, status and sizes. What stands in path, query and headers, and where
// the request came from, stays out of it: addresses of mail, secret segments of receivers, network addresses.
func (a *API) traced(next http.Handler) http.Handler {
	spans := otelhttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, shown *http.Request) {
		r := shown.Context().Value(cameAsKey{}).(*http.Request).WithContext(shown.Context())
		r.Body = shown.Body // the wrapper that counts
		next.ServeHTTP(w, r)
	}), "http", otelhttp.WithSpanNameFormatter(func(_ string, shown *http.Request) string {
		if shown.Pattern != "" {
			return shown.Pattern
		}
		return shown.Method
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown := r.WithContext(context.WithValue(r.Context(), cameAsKey{}, r))
		normalisePath(shown)
		_, shown.Pattern = a.mux.Handler(shown)
		shown.URL, shown.RequestURI, shown.RemoteAddr = &url.URL{}, "", ""
		shown.Header = http.Header{}
		for _, name := range []string{"Traceparent", "Tracestate"} { // the caller's trace goes on
			if values := r.Header.Values(name); len(values) > 0 {
				shown.Header[name] = values
			}
		}
		spans.ServeHTTP(w, shown)
	})
}
