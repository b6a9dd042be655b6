package sandbox

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func data(api string) HomeData {
	return HomeData{
		APIBase: api, SandboxBase: "http://127.0.0.1:8011", OpsBase: "http://127.0.0.1:8012", MailAddr: "127.0.0.1:8025",
		DataDir: `/home/a "b" <c>`, Channel: "pokepay",
	}
}

func get(t *testing.T, h http.Handler, target string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
	return w
}

func TestHomePage(t *testing.T) {
	t.Parallel()
	h := Home(data("http://127.0.0.1:8010"))
	w := get(t, h, "/")
	body := w.Body.String()
	if w.Code != http.StatusOK {
		t.Fatalf("status %d", w.Code)
	}
	for _, want := range []string{
		`href="/inbox"`, `href="/pokepay/desk"`, `href="/udun/desk"`, `href="http://127.0.0.1:8010/docs"`, `href="http://127.0.0.1:8012/metrics"`,
		`href="/control/state"`, "127.0.0.1:8025", "/home/a &#34;b&#34; &lt;c&gt;", "pokepay, the issuer waits",
		"API=http://127.0.0.1:8010/api/v1", "SANDBOX=http://127.0.0.1:8011",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	automatic := data("http://127.0.0.1:8010")
	automatic.AutoApprove, automatic.AutoPay = true, true
	for _, want := range []string{"accepts by itself two seconds after", "approves and pays by itself"} {
		if strings.Contains(body, want) || !strings.Contains(get(t, Home(automatic), "/").Body.String(), want) {
			t.Errorf("page says %q of the wrong sandbox", want)
		}
	}
	if w := get(t, h, "/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("unknown path: %d", w.Code)
	}
}

// The policy forbids everything inline; a page that needs it would be dead in the browser.
func TestHomePageKeepsItsPolicy(t *testing.T) {
	t.Parallel()
	h := Home(data("http://127.0.0.1:8010"))
	for target, kind := range map[string]string{"/": "text/html", "/walk/walk.js": "text/javascript", "/walk/style.css": "text/css"} {
		w := get(t, h, target)
		policy := w.Header().Get("Content-Security-Policy")
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) ||
			!strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %d, %v", target, w.Code, w.Header())
		}
	}
	body := get(t, h, "/").Body.String()
	for name, forbidden := range map[string]string{
		"inline script": `<script(\s[^>]*)?>[^<]`, "inline style": `<style|\sstyle=`, "inline handler": `\son[a-z]+="`,
		"foreign script or style": `(src|<link[^>]*href)="(https?:)?//`,
	} {
		if found := regexp.MustCompile(forbidden).FindString(body); found != "" {
			t.Errorf("%s: %q", name, found)
		}
	}
}

// The page and its script meet in names; a renamed one would be a button that does nothing.
func TestWalkNamesMatch(t *testing.T) {
	t.Parallel()
	h := Home(data("http://127.0.0.1:8010"))
	page, script := get(t, h, "/").Body.String(), get(t, h, "/walk/walk.js").Body.String()
	for _, button := range regexp.MustCompile(`data-run="([a-z]+)"`).FindAllStringSubmatch(page, -1) {
		if !regexp.MustCompile(`(?m)^  (async )?` + button[1] + `(\(\) \{|: \(\) =>)`).MatchString(script) {
			t.Errorf("no action for the button %q", button[1])
		}
	}
	for _, id := range regexp.MustCompile(`byId\("([a-z]+)"\)`).FindAllStringSubmatch(script, -1) {
		if !strings.Contains(page, `id="`+id[1]+`"`) {
			t.Errorf("the script wants an element %q", id[1])
		}
	}
	var steps []string
	for _, id := range regexp.MustCompile(`<li id="step-([a-z]+)"`).FindAllStringSubmatch(page, -1) {
		steps = append(steps, id[1])
	}
	var order []string
	list := regexp.MustCompile(`const order = (\[.*\]);`).FindStringSubmatch(script)
	if list == nil || json.Unmarshal([]byte(list[1]), &order) != nil {
		t.Fatal("the script has no order of steps")
	}
	if diff := cmp.Diff(order, steps); diff != "" {
		t.Errorf("steps (-script +page):\n%s", diff)
	}
}

// What people copy must at least be a shell script.
func TestCommandsParse(t *testing.T) {
	t.Parallel()
	var script strings.Builder
	body := get(t, Home(data("http://127.0.0.1:8010")), "/").Body.String()
	for _, block := range regexp.MustCompile(`(?s)<div class="command"><pre[^>]*>(.*?)</pre>`).FindAllStringSubmatch(body, -1) {
		script.WriteString(html.UnescapeString(block[1]) + "\n")
	}
	if strings.Count(script.String(), "curl") < 5 {
		t.Fatalf("commands are missing:\n%s", script.String())
	}
	sh := exec.CommandContext(t.Context(), "sh", "-n")
	sh.Stdin = strings.NewReader(script.String())
	if out, err := sh.CombinedOutput(); err != nil {
		t.Errorf("sh: %v\n%s", err, out)
	}
}

func TestPassage(t *testing.T) {
	t.Parallel()
	type call struct {
		Method, URI, Host, Body string
		Header                  http.Header
	}
	var got []call
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = append(got, call{r.Method, r.URL.RequestURI(), r.Host, string(body), r.Header})
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"message":"no"}`))
	}))
	defer api.Close()
	front := httptest.NewServer(Home(data(api.URL)))
	defer front.Close()

	send := func(method, path, body string, header map[string]string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, front.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Opaque = "//" + strings.TrimPrefix(front.URL, "http://") + path // as written, uncleaned
		for name, value := range header {
			r.Header.Set(name, value)
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	read := func(r *http.Response) string {
		defer func() { _ = r.Body.Close() }()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}

	response := send(http.MethodPost, "/walk/api/v1/auth/signup?a=b", `{"email":"x"}`, map[string]string{
		"Content-Type": "application/json", "Authorization": "Bearer t", "Accept-Language": "ar", "Cookie": "c=1",
		"X-Forwarded-For": "10.0.0.1", "Sec-Fetch-Site": "same-origin",
	})
	if body := read(response); response.StatusCode != http.StatusBadRequest || body != `{"message":"no"}` {
		t.Errorf("answer: %d %s", response.StatusCode, body)
	}
	if len(got) != 1 {
		t.Fatalf("%d calls reached the API", len(got))
	}
	first := got[0]
	if first.Method != "POST" || first.URI != "/api/v1/auth/signup?a=b" || "http://"+first.Host != api.URL || first.Body != `{"email":"x"}` {
		t.Errorf("call = %+v", first)
	}
	if first.Header.Get("Authorization") != "Bearer t" || first.Header.Get("Accept-Language") != "ar" {
		t.Errorf("headers are lost: %v", first.Header)
	}
	for _, name := range []string{"Cookie", "X-Forwarded-For", "Sec-Fetch-Site"} {
		if first.Header.Get(name) != "" {
			t.Errorf("%s is passed on", name)
		}
	}

	for name, test := range map[string]struct {
		method, path string
		header       map[string]string
	}{
		"outside the API":    {http.MethodGet, "/walk/api/v2/x", nil},
		"root":               {http.MethodGet, "/walk/healthz", nil},
		"escape":             {http.MethodGet, "/walk/api/v1/../../healthz", nil},
		"encoded escape":     {http.MethodGet, "/walk/api/v1/%2e%2e/%2e%2e/healthz", nil},
		"encoded slash":      {http.MethodGet, "/walk/api/v1/..%2f..%2fhealthz", nil},
		"other host":         {http.MethodGet, "/walk/http://example.com/api/v1/x", nil},
		"upgrade":            {http.MethodGet, "/walk/api/v1/x", map[string]string{"Connection": "Upgrade", "Upgrade": "websocket"}},
		"another site":       {http.MethodPost, "/walk/api/v1/x", map[string]string{"Sec-Fetch-Site": "cross-site"}},
		"another origin":     {http.MethodPost, "/walk/api/v1/x", map[string]string{"Origin": "https://example.com"}},
		"sandboxed document": {http.MethodPost, "/walk/api/v1/x", map[string]string{"Origin": "null"}},
	} {
		response := send(test.method, test.path, "", test.header)
		_ = read(response)
		if response.StatusCode < 300 || response.StatusCode == http.StatusBadRequest || len(got) != 1 {
			t.Errorf("%s: status %d, %d calls reached the API", name, response.StatusCode, len(got))
			got = got[:1]
		}
	}

	response = send(http.MethodPost, "/walk/api/v1/x", strings.Repeat("a", walkBodyLimit+1), nil)
	_ = read(response)
	api.Close() // waits for the call that was cut off
	if response.StatusCode != http.StatusRequestEntityTooLarge || len(got) > 1 && len(got[1].Body) > walkBodyLimit {
		t.Errorf("huge request: %d", response.StatusCode)
	}
}

func TestPassageWithoutAPI(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	w := get(t, Home(data(gone.URL)), "/walk/api/v1/didit/status")
	var body struct{ Error string }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != http.StatusBadGateway || !strings.Contains(body.Error, "does not answer") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestHomeRefusesABadAddress(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("an API without a host is accepted")
		}
	}()
	Home(data("127.0.0.1"))
}
