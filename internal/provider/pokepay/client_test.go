package pokepay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

func TestOneLoginForAll(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, envelopeAnswer(200, `{"id":7,"status":2}`, "SUCCESS"))
	all := func() {
		var group sync.WaitGroup
		start := make(chan struct{})
		for range 64 {
			group.Go(func() {
				<-start
				if _, err := s.client.GetKYC(t.Context(), 7); err != nil {
					t.Error(err)
				}
			})
		}
		close(start)
		group.Wait()
	}
	all()
	if requests, logins := s.seen(); logins != 1 || len(requests) != 64 {
		t.Fatalf("%d logins, %d requests; want 1, 64", logins, len(requests))
	}
	s.expire() // all of them meet code 401, and one logs in again
	all()
	if _, logins := s.seen(); logins != 2 {
		t.Errorf("%d logins after the token expired, want 2", logins)
	}
}

func TestTokenRenewal(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		life, wait time.Duration
		logins     int
	}{
		"plenty left":             {2 * time.Hour, 114 * time.Minute, 1},
		"less than 5 minutes":     {2 * time.Hour, 116 * time.Minute, 2},
		"short life, first half":  {time.Minute, 29 * time.Second, 1},
		"short life, second half": {time.Minute, 31 * time.Second, 2},
		"over":                    {time.Hour, 3 * time.Hour, 2},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, nil, envelopeAnswer(200, `{"id":7}`, "SUCCESS"))
			s.life = test.life
			for range 2 {
				if _, err := s.client.GetKYC(t.Context(), 7); err != nil {
					t.Fatal(err)
				}
				s.clock.Advance(test.wait)
			}
			if requests, logins := s.seen(); logins != test.logins || len(requests) != 2 {
				t.Errorf("%d logins, %d requests; want %d, 2", logins, len(requests), test.logins)
			}
		})
	}
	t.Run("a token that cannot be read lives two hours", func(t *testing.T) {
		t.Parallel()
		s := newTestServer(t, nil, nil)
		for name, opaque := range map[string]string{"no JWT": "opaque", "no base64": "a.!.c", "no JSON": "a.YWJj.c", "no exp": "a.e30.c"} {
			if end, ok := expiry(secret.NewText(opaque)); ok {
				t.Errorf("%s: ends %v", name, end)
			}
		}
		source := s.client.tokens
		source.keep(secret.NewText("opaque"), nil)
		if want := testTime.Add(assumedLife - renewBefore); !source.renewAt.Equal(want) {
			t.Errorf("renewed at %v, want %v", source.renewAt, want)
		}
	})
}

func TestAuthenticationFailures(t *testing.T) {
	t.Parallel()
	failures := map[string]http.HandlerFunc{
		"code 401":           envelopeAnswer(401, "null", ""),
		"code 401 as text":   rawAnswer(200, "application/json", `{"code":"401","data":null}`),
		"words only":         envelopeAnswer(500, "null", "Insufficient authority, please log in"),
		"words with success": envelopeAnswer(200, "null", "insufficient authority"),
		"HTTP 401":           rawAnswer(401, "application/json", `{"code":401}`),
		"HTTP 401 in HTML":   rawAnswer(401, "text/html", `<html>`),
	}
	for name, failure := range failures {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int64
			once := newTestServer(t, nil, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					failure(w, r)
					return
				}
				envelopeAnswer(200, `{"session_id":"s","url":"https://verify.example.test/x"}`, "SUCCESS")(w, r)
			})
			if _, err := once.client.InitKYC(t.Context(), HostedKYC{AgentUID: "u", Email: "a@example.test"}); err != nil {
				t.Errorf("not repeated after a new login: %v", err)
			}
			if requests, logins := once.seen(); logins != 2 || len(requests) != 2 {
				t.Errorf("%d logins, %d requests; want 2, 2", logins, len(requests))
			}
			always := newTestServer(t, nil, failure)
			_, err := always.client.InitKYC(t.Context(), HostedKYC{AgentUID: "u", Email: "a@example.test"})
			if provider.OutcomeOf(err) != provider.Refused {
				t.Errorf("got %v", err)
			}
			if requests, logins := always.seen(); logins != 2 || len(requests) != 2 {
				t.Errorf("%d logins, %d requests; want 2, 2: never a third", logins, len(requests))
			}
		})
	}
}

func TestLoginFailures(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		login       http.HandlerFunc
		calls       int // of the login, for three operations within the pause
		label, says string
	}{
		"wrong password": {envelopeAnswer(400, "null", "password error"), 1, "refused", "account or password not accepted (HTTP 200, code 400)"},
		"HTTP 401":       {rawAnswer(401, "text/html", "<html>"), 1, "refused", "account or password not accepted (HTTP 401)"},
		"wrong address":  {rawAnswer(404, "text/html", "<html>"), 1, "refused", "refused by the provider (HTTP 404)"},
		"too many":       {rawAnswer(429, "application/json", `{"code":429}`), 1, "refused", "too many calls (HTTP 429"},
		"HTML 502":       {rawAnswer(502, "text/html", "<html>"), 3, "unknown", "the provider failed (HTTP 502)"},
		"no token":       {envelopeAnswer(200, `{"token":""}`, "SUCCESS"), 3, "unknown", "the answer cannot be read"},
		"no data":        {envelopeAnswer(200, `"succeed"`, "SUCCESS"), 3, "unknown", "the answer cannot be read"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, nil, envelopeAnswer(200, `{"id":7}`, "SUCCESS"))
			s.login = test.login
			for range 3 {
				_, err := s.client.GetKYC(t.Context(), 7)
				e := (*provider.Error)(nil)
				if !errors.As(err, &e) || e.Outcome != provider.Refused || e.Sent || e.Operation != OpKYCGet || !e.Temporary() {
					t.Fatalf("got %+v", err)
				}
				if provider.Label(err) != test.label || !strings.Contains(err.Error(), "not sent, no login: "+test.says) {
					t.Errorf("label %q, %q; want %q, %q", provider.Label(err), err, test.label, test.says)
				}
				if strings.Contains(fmt.Sprintf("%v %+v", err, errors.Unwrap(err)), testPassword) {
					t.Error("the password is in the error")
				}
			}
			if requests, logins := s.seen(); logins != test.calls || len(requests) != 0 {
				t.Errorf("%d logins, %d requests; want %d, 0", logins, len(requests), test.calls)
			}
			s.mu.Lock()
			s.login = nil
			s.mu.Unlock()
			s.clock.Advance(pauseAfterWrong)
			if _, err := s.client.GetKYC(t.Context(), 7); err != nil {
				t.Errorf("does not recover: %v", err)
			}
		})
	}
}

// What keeps the login from its address is told by the operation that needed it, without the address.
func TestLoginThatIsNotReached(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.URL
	server.Close()
	for name, test := range map[string]struct{ address, says string }{
		"nobody listens": {address, "no login: no connection, connection refused"},
		"unknown host":   {"http://nowhere.example.test", "no login: no connection, name not found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			transport := http.DefaultTransport.(*http.Transport).Clone()
			transport.DialContext = func(ctx context.Context, network, host string) (net.Conn, error) {
				if strings.HasPrefix(host, "nowhere") {
					return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Name: host, IsNotFound: true}}
				}
				return (&net.Dialer{}).DialContext(ctx, network, host)
			}
			s := newTestServer(t, func(c *Config) {
				c.Transport = transport
				c.Authenticator = EmailLogin{URL: test.address, Account: testAccount, Password: secret.NewText(testPassword)}
			}, nil)
			_, err := s.client.GetKYC(t.Context(), 7)
			if provider.OutcomeOf(err) != provider.Refused || provider.Label(err) != "unreachable" || !strings.Contains(err.Error(), test.says) {
				t.Errorf("label %q: %v; want %q", provider.Label(err), err, test.says)
			}
			if strings.Contains(err.Error(), test.address) || strings.Contains(err.Error(), "nowhere") {
				t.Errorf("%q names the address", err)
			}
		})
	}
}

func TestLoginOutlivesItsFirstCaller(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, envelopeAnswer(200, `{"id":7}`, "SUCCESS"))
	entered, release := make(chan struct{}), make(chan struct{})
	s.login = func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		s.mu.Lock()
		valid := s.valid
		s.mu.Unlock()
		envelopeAnswer(200, `{"token":"`+valid+`"}`, "SUCCESS")(w, r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := s.client.GetKYC(ctx, 7); first <- err }()
	<-entered
	second := make(chan error, 1)
	go func() { _, err := s.client.GetKYC(t.Context(), 7); second <- err }()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) || provider.OutcomeOf(err) != provider.Refused {
		t.Errorf("first: %v", err)
	}
	close(release)
	if err := <-second; err != nil {
		t.Errorf("second: %v", err)
	}
	if _, logins := s.seen(); logins != 1 {
		t.Errorf("%d logins, want 1", logins)
	}
}

func TestApplicationLogin(t *testing.T) {
	t.Parallel()
	var asked atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked.Store(string(body))
		envelopeAnswer(200, `{"access_token":"bearer-1"}`, "SUCCESS")(w, r)
	}))
	t.Cleanup(server.Close)
	s := newTestServer(t, func(c *Config) {
		c.Authenticator = ApplicationLogin{URL: server.URL, AppID: "app", AppSecret: secret.NewText("demo-secret"), SecretField: "key", TokenField: "access_token"}
	}, envelopeAnswer(200, `{"id":7}`, "SUCCESS"))
	s.valid = "bearer-1"
	if _, err := s.client.GetKYC(t.Context(), 7); err != nil {
		t.Error(err)
	}
	if got := asked.Load(); got != `{"app_id":"app","key":"demo-secret"}` {
		t.Errorf("asked with %v", got)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	const session = `{"session_id":"s","url":"https://verify.example.test/x"}`
	cases := map[string]struct {
		answer  http.HandlerFunc
		outcome provider.Outcome
		reason  Reason
		code    string
	}{
		"success":                   {envelopeAnswer(200, session, "SUCCESS"), provider.OK, "", ""},
		"code as text":              {rawAnswer(200, "application/json", `{"code":"200","data":`+session+`,"request_id":""}`), provider.OK, "", ""},
		"code as float":             {rawAnswer(200, "application/json", `{"code":200.0,"data":`+session+`}`), provider.OK, "", ""},
		"no data":                   {envelopeAnswer(200, "null", "SUCCESS"), provider.Unknown, "", ""},
		"a word as data":            {envelopeAnswer(200, `"succeed"`, "SUCCESS"), provider.Unknown, "", ""},
		"a list as data":            {envelopeAnswer(200, `[]`, "SUCCESS"), provider.Unknown, "", ""},
		"no link":                   {envelopeAnswer(200, `{"session_id":"s"}`, "SUCCESS"), provider.Unknown, "", ""},
		"no code":                   {rawAnswer(200, "application/json", `{"data":`+session+`}`), provider.Unknown, "", ""},
		"no envelope":               {rawAnswer(200, "application/json", `[]`), provider.Unknown, "", ""},
		"HTML as success":           {rawAnswer(200, "text/html", `<html>`), provider.Unknown, "", ""},
		"envelope in HTML":          {rawAnswer(200, "text/html", `{"code":200,"data":`+session+`}`), provider.Unknown, "", ""},
		"bad gateway":               {rawAnswer(502, "text/html", `<html>`), provider.Unknown, "", ""},
		"bad gateway with envelope": {rawAnswer(502, "application/json", `{"code":200,"data":`+session+`}`), provider.Unknown, "", ""},
		"server error in envelope":  {envelopeAnswer(500, "null", "internal error"), provider.Unknown, "", "500"},
		"e-mail used":               {envelopeAnswer(400, "null", "邮箱已被其它客户端使用"), provider.Refused, ReasonEmailUsed, "400"},
		"e-mail used, code 500":     {envelopeAnswer(500, "null", "email already exist"), provider.Refused, ReasonEmailUsed, "500"},
		"name":                      {envelopeAnswer(10001, "null", "first_en_name or last_en_name invalid"), provider.Refused, ReasonNameInvalid, "10001"},
		"unknown words":             {envelopeAnswer(400, "null", "computer says no to a@example.test"), provider.Refused, ReasonOther, "400"},
		"HTTP 400 with envelope":    {rawAnswer(400, "application/json", `{"code":400,"errstr":"duplicate"}`), provider.Refused, ReasonDuplicate, "400"},
		"HTTP 404":                  {rawAnswer(404, "text/html", `<html>`), provider.Refused, "", ""},
		"acted, then dropped":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, provider.Unknown, "", ""},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, nil, test.answer)
			got, err := s.client.InitKYC(t.Context(), HostedKYC{AgentUID: "u", Email: "a@example.test"})
			if provider.OutcomeOf(err) != test.outcome || ReasonOf(err) != test.reason {
				t.Errorf("outcome %v, reason %q (%v); want %v, %q", provider.OutcomeOf(err), ReasonOf(err), err, test.outcome, test.reason)
			}
			if err == nil && (got.SessionID != "s" || got.URL != "https://verify.example.test/x") {
				t.Errorf("got %+v", got)
			}
			if e := (*provider.Error)(nil); errors.As(err, &e) {
				if e.Code != test.code || !e.Sent {
					t.Errorf("code %q, sent %v", e.Code, e.Sent)
				}
				if strings.Contains(err.Error(), "example.test") || strings.Contains(err.Error(), "邮箱") {
					t.Errorf("PokePay's words are in the text: %v", err)
				}
			}
			if requests, _ := s.seen(); len(requests) != 1 {
				t.Errorf("a billed call was sent %d times", len(requests))
			}
		})
	}
}

func TestActThenTimeoutIsUnknown(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := newTestServer(t, func(c *Config) { c.Limits.Timeout = 200 * time.Millisecond },
		func(http.ResponseWriter, *http.Request) { <-release })
	t.Cleanup(func() { close(release) })
	_, err := s.client.SubmitKYC(t.Context(), SelfKYC{ClientUID: "u", Email: "a@example.test", IDNumber: "1"})
	e := (*provider.Error)(nil)
	if !errors.As(err, &e) || e.Outcome != provider.Unknown || !e.Sent || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %+v", err)
	}
	if requests, _ := s.seen(); len(requests) != 1 {
		t.Errorf("sent %d times", len(requests))
	}
}

func TestReadsAreRepeated(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	s := newTestServer(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < 3 {
			rawAnswer(502, "text/html", "<html>")(w, r)
			return
		}
		envelopeAnswer(200, `{"id":"7","status":"2"}`, "SUCCESS")(w, r)
	})
	kyc, err := s.client.GetKYC(t.Context(), 7)
	if err != nil || kyc.Status != KYCApproved || calls.Load() != 3 {
		t.Errorf("%d calls, %+v, %v", calls.Load(), kyc.Status, err)
	}
}

func TestOperations(t *testing.T) {
	t.Parallel()
	table, err := Operations(nil)
	if err != nil {
		t.Fatal(err)
	}
	// provider/pokepay.md section 7.
	want := []string{"kycInit", "kycSubmit", "kycList", "kycGet", "cardList", "cardBind", "cardApply", "cardTask", "cardAccount", "cardStatusGet", "cardStatusSet",
		"cardCvv", "cardPinGet", "cardPinSet", "cardPinStatus", "cardFull", "cardConvert", "recharge", "withdraw", "ledger", "spendList", "spendGet", "fxRate",
		"threeDSConfirm", "threeDSPlan"}
	var names []string
	for _, o := range table {
		names = append(names, o.Name)
		if o.Safe && o.Method != http.MethodGet {
			t.Errorf("%s is no read, and safe", o.Name)
		}
		// Every default must pass the check that overrides pass.
		if again, err := o.override(o.Method + " " + o.Path); err != nil || !cmp.Equal(again, o) {
			t.Errorf("%s: %v", o.Name, err)
		}
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		operation, value string
		wrong            string // part of the complaint; empty: fine
	}{
		"another path":             {"recharge", "POST card/recharge", ""},
		"another method":           {"threeDSConfirm", "POST card/3ds/{notification_id}/confirm", ""},
		"leading slash":            {"kycInit", "POST /kyc/init", ""},
		"placeholder kept":         {"cardAccount", "GET account/{pt}", ""},
		"unknown operation":        {"kycinit", "POST kyc", "no such operation"},
		"no method":                {"kycInit", "kyc/didit/init", "method"},
		"no path":                  {"kycInit", "POST", "relative"},
		"lower-case method":        {"kycInit", "post kyc", "method"},
		"absolute":                 {"kycInit", "POST https://example.test/kyc", "relative"},
		"query":                    {"kycList", "GET kyc?x=1", "query"},
		"up and out":               {"kycList", "GET ../web/kyc", "dotted"},
		"double slash":             {"kycList", "GET //example.test/kyc", "empty"},
		"placeholder missing":      {"cardAccount", "GET card/account", "{pt} is missing"},
		"placeholder unknown":      {"cardAccount", "GET card/{token}/account", "{token}"},
		"placeholder of no use":    {"kycInit", "POST kyc/{pt}", "{pt}"},
		"placeholder half written": {"cardAccount", "GET card/{pt/account", "segment"},
		"placeholder inside":       {"cardAccount", "GET card-{pt}/account", "segment"},
	} {
		_, err := Operations(map[string]string{test.operation: test.value})
		switch {
		case test.wrong == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong) || !strings.Contains(err.Error(), test.operation)):
			t.Errorf("%s: %v, want a complaint with %q", name, err, test.wrong)
		}
	}
	_, err := Operations(map[string]string{"a": "POST x", "b": "POST y"})
	if err == nil || !strings.Contains(err.Error(), `"a"`) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("not all problems are reported: %v", err)
	}
}

func TestOverridesAreUsed(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, func(c *Config) {
		c.Paths = map[string]string{"kycGet": "GET cardholder/{id}/detail", "kycInit": "PUT start"}
	}, envelopeAnswer(200, `{"id":7,"session_id":"s","url":"https://verify.example.test/x"}`, "SUCCESS"))
	if _, err := s.client.GetKYC(t.Context(), 7); err != nil {
		t.Error(err)
	}
	if _, err := s.client.InitKYC(t.Context(), HostedKYC{AgentUID: "u", Email: "e"}); err != nil {
		t.Error(err)
	}
	requests, _ := s.seen()
	if len(requests) != 2 || requests[0] != "GET cardholder/7/detail" || !strings.HasPrefix(requests[1], "PUT start {") {
		t.Errorf("requests %q", requests)
	}
}

func TestParametersStayInTheirSegment(t *testing.T) {
	t.Parallel()
	o := Operation{Path: "card/{pt}/account"}
	if got, err := o.expand(map[string]string{"pt": "1/2?x#y"}); err != nil || got != "card/1%2F2%3Fx%23y/account" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, value := range []string{"", ".", ".."} {
		if got, err := o.expand(map[string]string{"pt": value}); err == nil {
			t.Errorf("%q was taken: %q", value, got)
		}
	}
}

func TestNewClientReportsAllProblems(t *testing.T) {
	t.Parallel()
	_, err := NewClient(Config{BaseURL: "dash", Paths: map[string]string{"x": "y"}})
	for _, part := range []string{"base URL", "authenticator", `"x"`} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not mention %s", err, part)
		}
	}
	for name, authenticator := range map[string]Authenticator{
		"no account":  EmailLogin{URL: "https://x.example.test/login", Password: secret.NewText("p")},
		"no password": EmailLogin{URL: "https://x.example.test/login", Account: "a"},
		"no URL":      EmailLogin{Account: "a", Password: secret.NewText("p")},
		"no app id":   ApplicationLogin{URL: "https://x.example.test/token", AppSecret: secret.NewText("p")},
		"no app URL":  ApplicationLogin{AppID: "a", AppSecret: secret.NewText("p")},
	} {
		if _, err := NewClient(Config{BaseURL: "https://x.example.test", Authenticator: authenticator}); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
