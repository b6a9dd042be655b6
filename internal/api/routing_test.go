package api_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

func TestEveryFormOfAPathIsServed(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, path := range []string{"/things", "/CardFee/config"} {
		for _, form := range []string{
			path, path + "/", "/api/v1" + path, "/api/v1" + path + "/", "/" + path, "/" + path + "//", "/api/v1/" + path, "//api/v1" + path, "//api//v1//" + path + "//",
			path + "/.", path + "/x/..", "/x/.." + path, "/api/v1/." + path, path + "?a=b", path + "/?lang=ar", path + "/%2e",
		} {
			e.get(form).ok(t)
		}
	}
	// The base path once; another case is another path.
	for _, form := range []string{"/", "/api", "/api/v1", "/api/v1/", "/api/v2/things", "/api/v1/api/v1/things", "/api/v1things", "/cardfee/config", "/THINGS", "/things/x", "/things.json", "/api/things", "/*"} {
		e.get(form).refused(t, 404, "ROUTE_NOT_FOUND")
	}
	if r := e.do("HEAD", "/api/v1/things/", nil); r.status != 200 || r.raw != "" {
		t.Errorf("HEAD: %d %q", r.status, r.raw)
	}
}

func TestValuesInPathsComeThroughAsTheyAre(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, value := range []string{"amina@example.com", "a+b@example.com", "a b@example.com", "a/b@example.com", "a%2Fb@x.co", "100%", "名@例.cn", "é", "a?b#c", "a;b=c,d", "..x", "a\tb", "'\"<>\\", "🙂", "api", "v1"} {
		for _, form := range []string{"/people/", "/api/v1/people/", "//people//", "/api/v1//people/"} {
			for _, end := range []string{"", "/"} {
				path := form + url.PathEscape(value) + end
				if got := e.get(path).ok(t).body["email"]; got != value {
					t.Errorf("%s gives %q, want %q", path, got, value)
				}
			}
		}
	}
	for path, want := range map[string]string{
		"/people/amina%40example.com": "amina@example.com", "/people/a%2Bb%40example.com": "a+b@example.com", "/people/a+b@example.com": "a+b@example.com",
		"/people/%61": "a", "/people/a%2fb": "a/b",
	} {
		if got := e.get(path).ok(t).body["email"]; got != want {
			t.Errorf("%s gives %q, want %q", path, got, want)
		}
	}
}

// What PostgreSQL cannot even compare is turned away before it gets there.
func TestPathsAndQueriesThatAreNoText(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, path := range []string{"/people/a%00b", "/people/%ff%fe", "/people/%ed%a0%80", "/people/x?page=%00", "/people/x?q=%c3", "/people/x?a%00=1", "/people/x?q=%zz", "/people/x?%"} {
		e.get(path).refused(t, 422, "MALFORMED_REQUEST")
	}
	e.get("/nowhere%00").refused(t, 404, "ROUTE_NOT_FOUND")
	e.get("/people/x?page=2&q=%f0%9f%99%82+%2B;a").ok(t)
	r := e.get("/people/x?page="+canary).refused(t, 422, "MALFORMED_REQUEST")
	if !strings.Contains(r.body["message"].(string), "page") || strings.Contains(r.raw, canary) {
		t.Errorf("should name the parameter and not its value: %s", r.raw)
	}
	e.get("/people/x?page=99999999999999999999").refused(t, 422, "MALFORMED_REQUEST")
}

func TestUnknownMethodsAndRoutesInThreeLanguages(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, tt := range []struct {
		method, path string
		status       int
		code, allow  string
	}{
		{"GET", "/nowhere", 404, "ROUTE_NOT_FOUND", ""},
		{"POST", "/api/v1/nowhere/", 404, "ROUTE_NOT_FOUND", ""},
		{"POST", "/things", 405, "METHOD_NOT_ALLOWED", "GET, DELETE"},
		{"PUT", "/api/v1/things/", 405, "METHOD_NOT_ALLOWED", "GET, DELETE"},
		{"GET", "/orders", 405, "METHOD_NOT_ALLOWED", "POST"},
		{"OPTIONS", "/orders", 405, "METHOD_NOT_ALLOWED", "POST"},
		{"PROPFIND", "/people/a@b.co", 405, "METHOD_NOT_ALLOWED", "GET"},
		{"TRACE", "/things", 405, "METHOD_NOT_ALLOWED", "GET, DELETE"},
	} {
		seen := map[any]bool{}
		for _, language := range []string{"zh", "en", "ar"} {
			r := e.do(tt.method, tt.path, nil, "Accept-Language", language).refused(t, tt.status, tt.code)
			if got := r.header.Get("Allow"); got != tt.allow {
				t.Errorf("%s %s allows %q, want %q", tt.method, tt.path, got, tt.allow)
			}
			seen[r.body["message"]] = true
			if language == "en" && r.body["message"] != r.body["error"] || r.body["message"] != r.body["details"] {
				t.Errorf("%s: message, error and details differ: %s", language, r.raw)
			}
		}
		if len(seen) != 3 {
			t.Errorf("%s %s: messages %v in three languages", tt.method, tt.path, seen)
		}
	}
}

func TestLanguageOfAnAnswer(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, tt := range []struct{ path, header, want string }{
		{"/people/x", "en", "en"}, {"/people/x", "zh", "zh"}, {"/people/x", "ar", "ar"},
		{"/people/x", "ar-EG,ar;q=0.9,en;q=0.8", "ar"}, {"/people/x", "fr;q=0.9,en;q=0.1", "en"}, {"/people/x", "en-US", "en"},
		{"/people/x", "", "zh"}, {"/people/x", "fr", "zh"}, {"/people/x", ";;;", "zh"}, {"/people/x", strings.Repeat("a,", 2000), "zh"},
		{"/people/x?lang=ar", "en", "ar"}, {"/people/x?lang=AR", "", "ar"}, {"/people/x?lang=fr", "en", "en"}, {"/people/x?lang=", "ar", "ar"}, {"/people/x?lang=en&lang=ar", "zh", "en"},
	} {
		if got := e.get(tt.path, "Accept-Language", tt.header).ok(t).body["locale"]; got != tt.want {
			t.Errorf("%s with %.30q in %s, want %s", tt.path, tt.header, got, tt.want)
		}
	}
	english := newEdge(t, nil, func(o *api.Options) { o.DefaultLocale = i18n.English })
	if got := english.get("/people/x", "Accept-Language", "").ok(t).body["locale"]; got != "en" {
		t.Errorf("the configured language is en, not %s", got)
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, id := range []string{"12345678", "a-b_c.d:e-0123456789", strings.Repeat("x", 64)} {
		if got := e.get("/things", "X-Request-ID", id).ok(t).header.Get("X-Request-ID"); got != id {
			t.Errorf("%q became %q", id, got)
		}
	}
	seen := map[string]bool{}
	for _, id := range []string{"", "short", strings.Repeat("x", 65), "with space 1", "名名名名名名名名", "a\"b<c>d{e}", "12345678;drop", strings.Repeat("x", 5000)} {
		r := e.get("/nowhere", "X-Request-ID", id).refused(t, 404, "ROUTE_NOT_FOUND")
		got := r.header.Get("X-Request-ID")
		if got == id || len(got) != 24 || seen[got] {
			t.Errorf("%q became %q", id, got)
		}
		seen[got] = true
	}
}

func TestSecurityHeaders(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	want := map[string]string{
		"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
	}
	// The page in between has a policy of its own, which must stay its own.
	for _, path := range []string{"/things", "/page", "/things", "/nowhere", "/fails/panics", "/private", "/docs", "/openapi.json", "/healthz"} {
		r := e.get(path)
		for name, value := range want {
			if name == "Content-Security-Policy" && (path == "/page" || path == "/docs") {
				if got := r.header.Values(name); len(got) != 1 || got[0] == value {
					t.Errorf("%s: policy %q", path, got)
				}
				continue
			}
			if got := r.header.Values(name); len(got) != 1 || got[0] != value {
				t.Errorf("%s: %s is %q, want %q", path, name, got, value)
			}
		}
	}
	if r := e.get("/page"); r.header.Get("Content-Type") != "text/html; charset=utf-8" || r.header.Get("Content-Language") != "ar" || r.raw != "<p>" {
		t.Errorf("page %v %q", r.header, r.raw)
	}
}

func TestAnswersAreJSONWhateverIsAskedFor(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, accept := range []string{"application/json", "*/*", "", "text/html", "application/cbor", "application/xml;q=0.9, image/*", ";;;", "application/problem+json", "application/json;q=0"} {
		r := e.get("/things", "Accept", accept).ok(t)
		if got := r.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Accept %q is answered with %q", accept, got)
		}
		e.get("/fails/refuses", "Accept", accept).refused(t, 400, "IDEMPOTENCY_KEY_INVALID")
		e.post("/open", "{", "Accept", accept).refused(t, 422, "MALFORMED_REQUEST")
	}
	if r := e.get("/things"); strings.Contains(r.raw, "$schema") || r.header.Get("Link") != "" {
		t.Errorf("answers carry links to schemas: %s", r.raw)
	}
}

func TestPublicOperationsDoNotLookAtTokens(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, header := range []string{"", "Bearer stale", "Bearer token-of-alice", "Basic eDp5", "Bearer", "garbage"} {
		e.get("/things", "Authorization", header).ok(t)
		e.post("/open", `{"name":"x"}`, "Authorization", header).ok(t)
		e.post("/hook", `x`, "Authorization", header).ok(t)
	}
	for _, path := range []string{"/private", "/unconfirmed"} {
		for _, header := range []string{"", "Bearer stale", "Basic dG9rZW4tb2YtYWxpY2U=", "Bearer", "Bearer ", "token-of-alice", "Bearer " + "token-of-" + strings.Repeat("x", 5000)} {
			r := e.get(path, "Authorization", header).refused(t, 401, "UNAUTHENTICATED")
			if strings.Contains(r.raw, "stale") {
				t.Errorf("the answer repeats the token: %s", r.raw)
			}
		}
		for _, header := range []string{"Bearer token-of-alice", "bearer token-of-alice", "BEARER  token-of-alice "} {
			e.get(path, "Authorization", header).ok(t)
		}
	}
	// Who is not let in learns nothing about the body.
	e.post("/orders", "{broken").refused(t, 401, "UNAUTHENTICATED")
}

func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	off, on := newEdge(t, nil), newEdge(t, nil, func(o *api.Options) { o.CORSOrigins = []string{"https://app.example.com", "http://localhost:5173"} })
	const asked = "Access-Control-Request-Method"
	for _, e := range []*edge{off, on} {
		for _, origin := range []string{"https://evil.example.com", "https://app.example.com.evil.com", "null", "http://app.example.com"} {
			for _, r := range []reply{e.get("/things", "Origin", origin).ok(t), e.do("OPTIONS", "/things", nil, "Origin", origin, asked, "GET").refused(t, 405, "METHOD_NOT_ALLOWED")} {
				for name := range r.header {
					if strings.HasPrefix(name, "Access-Control-") {
						t.Errorf("%s may: %s %s", origin, name, r.header.Get(name))
					}
				}
			}
		}
	}
	off.do("OPTIONS", "/things", nil, "Origin", "https://app.example.com", asked, "GET").refused(t, 405, "METHOD_NOT_ALLOWED")
	for _, origin := range []string{"https://app.example.com", "http://localhost:5173"} {
		r := on.get("/things", "Origin", origin).ok(t)
		if r.header.Get("Access-Control-Allow-Origin") != origin || r.header.Get("Vary") != "Origin" || r.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", origin, r.header)
		}
		r = on.do("OPTIONS", "/orders", nil, "Origin", origin, asked, "POST")
		if r.status != 204 || r.header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(r.header.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("preflight of %s: %d %v", origin, r.status, r.header)
		}
		for _, name := range []string{"Authorization", "Content-Type", "Accept-Language", "Idempotency-Key"} {
			if !strings.Contains(r.header.Get("Access-Control-Allow-Headers"), name) {
				t.Errorf("preflight does not allow %s", name)
			}
		}
		// Errors as well, or the page could not show them.
		if r := on.get("/nowhere", "Origin", origin).refused(t, 404, "ROUTE_NOT_FOUND"); r.header.Get("Access-Control-Allow-Origin") != origin {
			t.Error("an error without permission to read it")
		}
	}
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, path := range []string{"/healthz", "/readyz", "/api/v1/healthz", "/readyz/"} {
		e.get(path).ok(t)
	}
	e.api.ReadyWhen(func(context.Context) error { return errors.New("database of " + canary + " away") })
	r := e.get("/readyz").refused(t, 503, "SERVICE_UNAVAILABLE")
	if strings.Contains(r.raw, canary) {
		t.Errorf("the answer says why: %s", r.raw)
	}
	if !strings.Contains(e.log.String(), canary) {
		t.Error("the log does not say why")
	}
	e.get("/healthz").ok(t)
	// A check that hangs is not waited for.
	e.api.ReadyWhen(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	start := time.Now()
	if r := e.get("/readyz"); r.status != 503 {
		t.Errorf("answer %d", r.status)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("readiness took %s", took)
	}
	e.api.ReadyWhen(func(context.Context) error { return nil })
	e.get("/readyz").ok(t)
}
