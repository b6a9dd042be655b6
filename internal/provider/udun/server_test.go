package udun

import (
	"crypto/md5"
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
	testKey      = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
	testMerchant = "300011"
	testCallURL  = "https://pay.example.test/udun/callback"
)

var testTime = time.Unix(1767225600, 0).UTC()

// sent is one request, unwrapped.
type sent struct{ path, timestamp, nonce, body string }

// testServer checks the envelope of every request by its own means and lets answer say the rest. It is no model of
// Udun, only as much as one test needs.
type testServer struct {
	t      *testing.T
	client *Client

	mu   sync.Mutex
	seen []sent
}

func newTestServer(t *testing.T, change func(*Config), answer http.HandlerFunc) *testServer {
	t.Helper()
	s := &testServer{t: t}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.receive(r)
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	config := Config{BaseURL: server.URL + "/udun/", MerchantID: testMerchant, APIKey: secret.NewText(testKey), CallURL: testCallURL,
		Clock: clock.NewFixed(testTime), Limits: provider.Limits{Backoff: time.Millisecond, Timeout: 2 * time.Second, BreakerMinCalls: 1000}}
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

func (s *testServer) receive(r *http.Request) {
	raw, _ := io.ReadAll(r.Body)
	var envelope map[string]json.RawMessage
	var body, sign string
	if err := json.Unmarshal(raw, &envelope); err != nil || len(envelope) != 4 {
		s.t.Errorf("envelope %s: %v", raw, err)
	}
	if json.Unmarshal(envelope["body"], &body) != nil || json.Unmarshal(envelope["sign"], &sign) != nil {
		s.t.Errorf("body and sign must be texts: %s", raw)
	}
	nonce, timestamp := strings.Trim(string(envelope["nonce"]), `"`), strings.Trim(string(envelope["timestamp"]), `"`)
	if want := fmt.Sprintf("%x", md5.Sum([]byte(body+testKey+nonce+timestamp))); sign != want {
		s.t.Errorf("sign %q, want %q", sign, want)
	}
	if r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" || r.URL.RawQuery != "" || !strings.HasPrefix(r.URL.Path, "/udun/mch/") {
		s.t.Errorf("request %s %s %v", r.Method, r.URL, r.Header)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, sent{strings.TrimPrefix(r.URL.Path, "/udun"), string(envelope["timestamp"]), string(envelope["nonce"]), body})
}

func (s *testServer) requests() []sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]sent(nil), s.seen...)
}

func rawAnswer(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// codeAnswer answers HTTP 200 with a code, written as given.
func codeAnswer(code string) http.HandlerFunc {
	return rawAnswer(200, "application/json;charset=UTF-8", `{"code":`+code+`,"message":"签名错误 u-42","data":null}`)
}

func dataAnswer(data string) http.HandlerFunc {
	return rawAnswer(200, "application/json", `{"code":200,"message":"SUCCESS","data":`+data+`}`)
}

// Faults of the way, not of the gateway.
var (
	badGateway = rawAnswer(502, "text/html", "<html><body>Bad Gateway</body></html>")
	page       = rawAnswer(200, "text/html", "<html>maintenance</html>")
	redirect   = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/udun/mch/elsewhere", http.StatusFound)
	}
	hugeAnswer = rawAnswer(200, "application/json", `{"code":200,"data":"`+strings.Repeat("x", 5<<20)+`"}`)
	dropped    = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	cutOff     = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, `{"code":200,"mess`)
	}
)
