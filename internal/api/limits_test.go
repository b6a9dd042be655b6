package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/comecomepay/comecomepay/internal/api"
)

// rare allows one request in a hundred seconds: whatever comes second is one too many.
const rare = 0.01

func trust(prefixes ...string) func(*api.Options) {
	return func(o *api.Options) {
		for _, p := range prefixes {
			o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(p))
		}
	}
}

func limitAddresses(o *api.Options) { o.AddressRate, o.SpareLoopback = rare, false }

func (r reply) limited(t *testing.T) {
	t.Helper()
	r.refused(t, 429, "TOO_MANY_REQUESTS")
	if got := r.header.Get("Retry-After"); got != "100" {
		t.Errorf("Retry-After %q, want 100", got)
	}
	if message, _ := r.body["message"].(string); !strings.Contains(message, "100") {
		t.Errorf("the message does not tell how long to wait: %s", r.raw)
	}
}

func TestAddressesAreLimited(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, limitAddresses, trust("127.0.0.0/8"))
	for _, tt := range []struct {
		address string
		first   bool
	}{
		{"203.0.113.1", true}, {"203.0.113.1", false}, {"::ffff:203.0.113.1", false}, {"203.0.113.2", true},
		{"2001:db8:0:1::1", true}, {"2001:db8:0:1::2", false}, {"2001:db8:0:1:ffff:ffff:ffff:ffff", false}, {"2001:db8:0:2::1", true}, {"2001:db8:1:1::1", true},
	} {
		r := e.get("/things", "X-Forwarded-For", tt.address)
		if tt.first {
			r.ok(t)
		} else {
			r.limited(t)
		}
		if t.Failed() {
			t.Fatal(tt.address)
		}
	}
	// One limit for all that an address does, guessing at routes included.
	e.get("/nowhere", "X-Forwarded-For", "203.0.113.9").refused(t, 404, "ROUTE_NOT_FOUND")
	e.post("/open", `{}`, "X-Forwarded-For", "203.0.113.9").limited(t)
	e.get("/private", "X-Forwarded-For", "203.0.113.9", "Authorization", "Bearer token-of-alice").limited(t)
	if n := e.orders.Load(); n != 0 {
		t.Errorf("%d effects of requests that were turned away", n)
	}
}

func TestProvidersAndProbesAreNotLimited(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, limitAddresses)
	for range 5 {
		for _, path := range []string{"/hook", "/api/v1/hook/", "//hook"} {
			e.post(path, "x").ok(t)
		}
		e.get("/healthz").ok(t)
		e.get("/readyz").ok(t)
	}
	e.get("/things").ok(t)
	e.get("/things").limited(t)
	e.get("/hook").limited(t) // another method of that path is not the provider's
	e.post("/hook", "x").ok(t)
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body is read")
	return 0, io.EOF
}

// Anybody can call a provider's route. What turns out not to be the provider's is limited per address.
func TestForgedCallsOfProvidersAreLimited(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, limitAddresses, trust("127.0.0.1/32"))
	from := func(address, body string) reply { return e.post("/hook", body, "X-Forwarded-For", address) }
	const forger, provider, clumsy = "203.0.113.66", "203.0.113.1", "203.0.113.2"
	from(provider, "x").ok(t)
	refused := 0
	for range 40 {
		if r := from(forger, "forged"); r.status == 401 {
			refused++
		} else {
			r.refused(t, 429, "TOO_MANY_REQUESTS")
			if got := r.header.Get("Retry-After"); got != "2" {
				t.Errorf("Retry-After %q", got)
			}
		}
	}
	if refused < 30 || refused > 32 { // a token or two may have come back meanwhile
		t.Errorf("%d forged calls were looked at, want 30", refused)
	}
	// Nothing of what it sends is read any more.
	r := httptest.NewRequest("POST", "/hook", unread{t})
	r.RemoteAddr, r.Header = "127.0.0.1:1", http.Header{"X-Forwarded-For": {forger}}
	answer := httptest.NewRecorder()
	e.api.Handler().ServeHTTP(answer, r)
	if answer.Code != http.StatusTooManyRequests {
		t.Errorf("answer %d", answer.Code)
	}
	// Nobody else pays for it, and its other calls have their own limit.
	from(provider, "x").ok(t)
	from("203.0.113.3", "x").ok(t)
	e.get("/things", "X-Forwarded-For", forger).ok(t)
	// A genuine provider is never shut out: neither by calls of its own that make no sense, nor by a forger behind the same address.
	for range 40 {
		from(clumsy, "nonsense").refused(t, 400, "IDEMPOTENCY_KEY_INVALID")
		from(provider, "forged").refused(t, 401, "UNAUTHENTICATED")
	}
	from(clumsy, "x").ok(t)
	from(provider, "x").ok(t)
}

func TestLoopbackIsSparedWhereAsked(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, limitAddresses, func(o *api.Options) { o.SpareLoopback = true }, trust("127.0.0.1/32"))
	for range 5 {
		e.get("/things").ok(t)
		e.get("/things", "X-Forwarded-For", "::1").ok(t)
	}
	for range 40 {
		e.post("/hook", "forged").refused(t, 401, "UNAUTHENTICATED")
	}
	e.get("/things", "X-Forwarded-For", "203.0.113.1").ok(t)
	e.get("/things", "X-Forwarded-For", "203.0.113.1").limited(t)
}

func TestCallersAreLimited(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil, func(o *api.Options) { o.CallerRate = rare }, trust("127.0.0.1/32"))
	const alice, bob = "Bearer token-of-alice", "Bearer token-of-bob"
	e.get("/private", "Authorization", alice, "X-Forwarded-For", "203.0.113.1").ok(t)
	e.get("/unconfirmed", "Authorization", alice, "X-Forwarded-For", "203.0.113.2").limited(t)
	e.get("/private", "Authorization", bob, "X-Forwarded-For", "203.0.113.1").ok(t)
	e.get("/private", "Authorization", bob).limited(t)
	// Without a genuine token nobody's share is used up.
	for range 3 {
		e.get("/private", "Authorization", "Bearer carol").refused(t, 401, "UNAUTHENTICATED")
	}
	e.get("/private", "Authorization", "Bearer token-of-carol").ok(t)
	e.get("/things", "Authorization", alice).ok(t)
}

func TestBurstsPass(t *testing.T) {
	t.Parallel()
	// The app's home screen makes a dozen calls at once.
	e := newEdge(t, nil, func(o *api.Options) { o.SpareLoopback, o.AddressRate, o.CallerRate = false, 0, 0 })
	for range 40 {
		e.get("/private", "Authorization", "Bearer token-of-alice").ok(t)
	}
}

func TestWhoCallsBehindProxies(t *testing.T) {
	t.Parallel()
	behind := newEdge(t, nil, trust("127.0.0.1/32", "10.0.0.0/8", "fd00::/8"))
	for forwarded, want := range map[string]string{
		"":                               "127.0.0.1",
		"203.0.113.9":                    "203.0.113.9",
		"6.6.6.6, 203.0.113.9":           "203.0.113.9", // what stands left of it anybody may have written
		"6.6.6.6,203.0.113.9, 10.1.2.3":  "203.0.113.9",
		"203.0.113.9, 10.1.2.3, fd00::1": "203.0.113.9",
		"10.9.9.9, 10.1.2.3":             "10.9.9.9",
		"127.0.0.1":                      "127.0.0.1",
		"unknown, 10.1.2.3":              "10.1.2.3",
		"203.0.113.9, nonsense":          "127.0.0.1",
		"203.0.113.9:4711":               "127.0.0.1",
		" 2001:db8::1 ":                  "2001:db8::1",
		"::ffff:203.0.113.9":             "203.0.113.9",
		"203.0.113.9,":                   "127.0.0.1",
		"<script>alert(1)</script>":      "127.0.0.1",
		strings.Repeat("6.6.6.6,", 500) + "7.7.7.7": "7.7.7.7",
	} {
		if got := behind.get("/people/x", "X-Forwarded-For", forwarded).ok(t).body["address"]; got != want {
			t.Errorf("%.60q comes from %v, want %s", forwarded, got, want)
		}
	}
	// Several headers are one list.
	r, err := http.NewRequest("GET", behind.url+"/people/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["X-Forwarded-For"] = []string{"203.0.113.9", "10.1.2.3"}
	answer, err := noRedirects.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if raw, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(raw), `"address":"203.0.113.9"`) {
		t.Errorf("two headers: %s, %v", raw, err)
	}

	// A peer that is no proxy of ours does not say who it is, and cannot get around its limit.
	bare := newEdge(t, nil, trust("10.0.0.0/8"), limitAddresses)
	if got := bare.get("/people/x", "X-Forwarded-For", "203.0.113.1", "X-Real-IP", "203.0.113.2", "Forwarded", "for=203.0.113.3").ok(t).body["address"]; got != "127.0.0.1" {
		t.Errorf("an unknown peer passes for %v", got)
	}
	bare.get("/people/x", "X-Forwarded-For", "203.0.113.7").limited(t)
	// A proxy that was forgotten shows in the log, once.
	if log := bare.log.String(); strings.Count(log, "CCP_TRUSTED_PROXIES") != 1 || !strings.Contains(log, `"peer":"127.0.0.1"`) || strings.Contains(log, "203.0.113.") {
		t.Errorf("log of the peer that is not trusted:\n%s", log)
	}
	if log := behind.log.String(); strings.Contains(log, "CCP_TRUSTED_PROXIES") {
		t.Errorf("log behind a trusted proxy:\n%s", log)
	}
}

func TestAgentsAreClipped(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for given, want := range map[string]string{
		"Dart/3.4 (dart:io)": "Dart/3.4 (dart:io)", strings.Repeat("x", 5000): strings.Repeat("x", 300),
		strings.Repeat("x", 299) + "é": strings.Repeat("x", 299), "a\xff\xfeb": "ab",
	} {
		if got := e.get("/people/x", "User-Agent", given).ok(t).body["agent"]; got != want {
			t.Errorf("%.20q became %.20q", given, got)
		}
	}
}
