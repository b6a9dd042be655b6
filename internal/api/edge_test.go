package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/obs/logtest"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// canary is put where only secrets are: it must come out nowhere.
const canary = "canary-5f1c9"

// edge is the real edge on a loopback port with the operations of an invented capability.
type edge struct {
	t     testing.TB
	url   string
	clock *clock.Fixed
	log   *logtest.Buffer
	reg   *prometheus.Registry
	api   *api.API
	// orders counts the effects of POST /orders and POST /open; hold, if set, keeps them waiting.
	orders atomic.Int64
	hold   atomic.Pointer[func(context.Context)]
	answer atomic.Pointer[func() error]
}

type (
	nothing    struct{}
	plainReply struct{ Body api.Success }

	orderBody struct {
		Name   string   `json:"name" maxLength:"50"`
		Secret string   `json:"secret,omitempty" maxLength:"20"`
		Count  int      `json:"count,omitempty" minimum:"0"`
		Price  float64  `json:"price,omitempty"`
		Gift   bool     `json:"gift,omitempty"`
		Tags   []string `json:"tags,omitempty"`
		Inner  struct {
			Deep string `json:"deep,omitempty" enum:"a,b"`
		} `json:"inner,omitempty"`
	}
	orderInput struct{ Body orderBody }
	orderReply struct {
		Location string `header:"Location"`
		Body     struct {
			api.Success
			Number int64  `json:"number"`
			Name   string `json:"name"`
			Secret string `json:"secret"`
		}
	}
	personInput struct {
		Email string `path:"email"`
		Page  int    `query:"page"`
	}
	personReply struct {
		Body struct {
			api.Success
			Email   string `json:"email"`
			Address string `json:"address"`
			Agent   string `json:"agent"`
			Locale  string `json:"locale"`
		}
	}
	rawInput struct{ RawBody []byte }
	rawReply struct {
		Body struct {
			api.Success
			Length int `json:"length"`
		}
	}
)

func newEdge(t testing.TB, d db.DB, change ...func(*api.Options)) *edge {
	t.Helper()
	keyset, err := secret.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keyset, secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	texts, err := i18n.Load(api.Locales)
	if err != nil {
		t.Fatal(err)
	}
	e := &edge{t: t, clock: clock.NewFixed(time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)), log: &logtest.Buffer{}, reg: prometheus.NewRegistry()}
	o := api.Options{
		DB: d, Vault: vault, Clock: e.clock, Texts: texts, Log: slog.New(slog.NewJSONHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Registerer: e.reg, DefaultLocale: i18n.Chinese, SpareLoopback: true, CallerRate: 1e6, MaxBody: 4096, Version: "test",
		CheckToken: func(ctx context.Context, token string, _ api.Depth) (context.Context, string, error) {
			name, ok := strings.CutPrefix(token, "token-of-")
			if !ok {
				return nil, "", api.ErrUnauthenticated
			}
			return ctx, name, nil
		},
	}
	for _, c := range change {
		c(&o)
	}
	a := api.New(o)
	e.api = a
	op := func(method, path string, access api.Access) api.Operation {
		id := strings.ToLower(method) + strings.NewReplacer("/", "-", "{", "", "}", "").Replace(path)
		return api.Operation{ID: id, Method: method, Path: path, Access: access, Tag: "test", Errors: []int{400}}
	}
	plain := func(context.Context, *nothing) (*plainReply, error) { return &plainReply{api.OK()}, nil }
	api.Register(a, op("GET", "/things", api.Public), plain)
	api.Register(a, op("DELETE", "/things", api.Public), plain)
	api.Register(a, op("GET", "/CardFee/config", api.Public), plain)
	api.Register(a, op("GET", "/private", api.Customer), plain)
	api.Register(a, op("GET", "/unconfirmed", api.CustomerUnconfirmed), plain)
	api.Register(a, op("GET", "/people/{email}", api.Public), func(ctx context.Context, in *personInput) (*personReply, error) {
		out := &personReply{}
		out.Body.Success = api.OK()
		out.Body.Email, out.Body.Address, out.Body.Agent, out.Body.Locale = in.Email, api.ClientAddress(ctx), api.UserAgent(ctx), string(i18n.FromContext(ctx))
		return out, nil
	})
	order := func(ctx context.Context, in *orderInput) (*orderReply, error) {
		out := &orderReply{Location: "/orders/1"}
		out.Body.Success, out.Body.Number, out.Body.Name, out.Body.Secret = api.OK(), e.orders.Add(1), in.Body.Name, in.Body.Secret
		if hold := e.hold.Load(); hold != nil {
			(*hold)(ctx)
		}
		if answer := e.answer.Load(); answer != nil {
			if err := (*answer)(); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	api.Register(a, op("POST", "/orders", api.Customer), order)
	api.Register(a, op("POST", "/open", api.Public), order)
	strict := op("POST", "/strict", api.Public)
	strict.Unreadable = api.ErrUnauthenticated
	api.Register(a, strict, order)
	api.Register(a, op("POST", "/hook", api.Provider), func(_ context.Context, in *rawInput) (*rawReply, error) {
		switch string(in.RawBody) {
		case "forged":
			return nil, api.ErrUnauthenticated
		case "nonsense":
			return nil, api.ErrKeyInvalid
		}
		out := &rawReply{}
		out.Body.Success, out.Body.Length = api.OK(), len(in.RawBody)
		return out, nil
	})
	large := op("POST", "/large", api.Public)
	large.MaxBody = 1 << 20
	api.Register(a, large, func(_ context.Context, in *rawInput) (*rawReply, error) {
		out := &rawReply{}
		out.Body.Success, out.Body.Length = api.OK(), len(in.RawBody)
		return out, nil
	})
	for name, fail := range map[string]func(context.Context) error{
		"panics":    func(context.Context) error { panic("spilled " + canary) },
		"nil":       func(context.Context) error { var p *orderInput; _ = p.Body.Name; return nil },
		"breaks":    func(context.Context) error { return fmt.Errorf("select of %s: %w", canary, io.ErrUnexpectedEOF) },
		"cancelled": func(context.Context) error { return fmt.Errorf("inner work: %w", context.Canceled) },
		"slow":      func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("query: %w", ctx.Err()) },
		"refuses": func(context.Context) error {
			return fmt.Errorf("outer: %w", api.ErrKeyInvalid.Because(errors.New(canary)))
		},
		"waits": func(context.Context) error { return api.ErrTooManyRequests.After(1500 * time.Millisecond) },
	} {
		api.Register(a, op("GET", "/fails/"+name, api.Public), func(ctx context.Context, _ *nothing) (*plainReply, error) { return nil, fail(ctx) })
	}
	api.Register(a, op("GET", "/page", api.Public), func(context.Context, *nothing) (*api.Page, error) {
		return &api.Page{ContentType: "text/html; charset=utf-8", ContentLanguage: "ar", ContentSecurity: "default-src 'self'", Body: []byte("<p>")}, nil
	})
	server := httptest.NewServer(a.Handler())
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}

type reply struct {
	status int
	header http.Header
	raw    string
	body   map[string]any // nil if the answer is not a JSON object
}

// noRedirects reports a redirect instead of following it.
var noRedirects = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64},
	Timeout:       20 * time.Second,
}

// do sends a request; headers are name and value in turn.
func (e *edge) do(method, path string, body io.Reader, headers ...string) reply {
	e.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, e.url+path, body)
	if err != nil {
		e.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Language", "en")
	for i := 0; i < len(headers); i += 2 {
		if headers[i+1] == "" {
			r.Header.Del(headers[i])
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := noRedirects.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	out := reply{status: answer.StatusCode, header: answer.Header, raw: string(raw)}
	_ = json.Unmarshal(raw, &out.body)
	return out
}

func (e *edge) get(path string, headers ...string) reply {
	e.t.Helper()
	return e.do("GET", path, nil, headers...)
}

func (e *edge) post(path, body string, headers ...string) reply {
	e.t.Helper()
	return e.do("POST", path, strings.NewReader(body), headers...)
}

// ok fails the test unless the answer is the success that the app understands.
func (r reply) ok(t testing.TB) reply {
	t.Helper()
	if r.status != 200 || r.body["status"] != "success" {
		t.Fatalf("answer %d %s", r.status, r.raw)
	}
	return r
}

// refused fails the test unless the answer is the error envelope (contract/rules section 4) with this status and code.
func (r reply) refused(t testing.TB, status int, code string) reply {
	t.Helper()
	if r.status != status || r.body["code"] != code {
		t.Errorf("answer %d %s, want %d %s", r.status, r.raw, status, code)
	}
	for _, key := range []string{"message", "error", "details", "code", "request_id"} {
		if text, ok := r.body[key].(string); !ok || text == "" {
			t.Errorf("%s is no text in %s", key, r.raw)
		}
	}
	if r.body["status"] != "error" || len(r.body) != 6 {
		t.Errorf("envelope %s", r.raw)
	}
	if challenged := r.header.Get("WWW-Authenticate") == "Bearer"; challenged != (status == 401) {
		t.Errorf("%d with WWW-Authenticate %q", status, r.header.Values("WWW-Authenticate"))
	}
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("error of type %q", got)
	}
	if r.header.Get("X-Request-ID") != r.body["request_id"] {
		t.Errorf("request %v in the body, %q in the header", r.body["request_id"], r.header.Get("X-Request-ID"))
	}
	return r
}
