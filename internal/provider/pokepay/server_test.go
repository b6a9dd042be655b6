package pokepay

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

const (
	testAccount  = "ops@example.test"
	testPassword = "demo-pokepay-password"
)

var testTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// testServer answers logins by itself and everything else by answer, once the token is good. It is no model
// of PokePay, only as much as one test needs.
type testServer struct {
	t      *testing.T
	client *Client
	clock  *clock.Fixed
	answer http.HandlerFunc

	mu       sync.Mutex
	logins   int
	login    http.HandlerFunc // instead of a successful login
	life     time.Duration    // of a token
	valid    string
	requests []string // "METHOD path?query body"
}

func newTestServer(t *testing.T, change func(*Config), answer http.HandlerFunc) *testServer {
	t.Helper()
	s := &testServer{t: t, clock: clock.NewFixed(testTime), answer: answer, life: 2 * time.Hour}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	config := Config{BaseURL: server.URL + "/pokepay/api/v1", Clock: s.clock,
		Authenticator: EmailLogin{URL: server.URL + "/pokepay/web/auth/login", Account: testAccount, Password: secret.NewText(testPassword), AreaCode: 852},
		Limits:        provider.Limits{Backoff: time.Millisecond, Timeout: 2 * time.Second, BreakerMinCalls: 1000}}
	if change != nil {
		change(&config)
	}
	client, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	return s
}

// ServeHTTP implements http.Handler.
func (s *testServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if strings.HasSuffix(r.URL.Path, "/login") {
		s.mu.Lock()
		s.logins++
		login := s.login
		s.valid = s.jwt(fmt.Sprint("token-", s.logins), s.clock.Now().Add(s.life))
		valid := s.valid
		s.mu.Unlock()
		var sent map[string]any
		if err := json.Unmarshal(body, &sent); err != nil {
			s.t.Errorf("login body: %v", err)
		}
		if login != nil {
			login(w, r)
			return
		}
		if sent["account"] != testAccount || sent["password"] != testPassword || sent["login_type"] != "email" || sent["area_code"] != 852.0 ||
			r.Header.Get("x-platform") != "web" || r.Header.Get("Origin") != "http://"+r.Host || r.Header.Get("Referer") != "http://"+r.Host {
			s.t.Errorf("login %v %v", sent, r.Header)
		}
		envelopeAnswer(200, `{"token":"`+valid+`"}`, "SUCCESS")(w, r)
		return
	}
	line := strings.TrimSpace(r.Method + " " + strings.TrimPrefix(r.URL.RequestURI(), "/pokepay/api/v1/") + " " + string(body))
	s.mu.Lock()
	s.requests = append(s.requests, line)
	good := s.valid != "" && r.Header.Get("Authorization") == "Bearer "+s.valid
	s.mu.Unlock()
	if !good {
		envelopeAnswer(401, "null", "Insufficient authority")(w, r)
		return
	}
	s.answer(w, r)
}

// seen returns the requests after the logins, and the number of logins.
func (s *testServer) seen() ([]string, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...), s.logins
}

// expire makes the token that is out there worthless.
func (s *testServer) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.valid = ""
}

func (s *testServer) jwt(id string, end time.Time) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"alg":"HS256","typ":"JWT"}`) + "." + part(fmt.Sprintf(`{"jti":%q,"exp":%d}`, id, end.Unix())) + ".c2lnbmF0dXJl"
}

func rawAnswer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// envelopeAnswer answers HTTP 200 with code as a number.
func envelopeAnswer(code int, data, errstr string) http.HandlerFunc {
	return rawAnswer(200, "application/json", fmt.Sprintf(`{"code":%d,"data":%s,"errstr":%q,"request_id":"req_1"}`, code, data, errstr))
}
