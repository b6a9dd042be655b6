package sandbox_test

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/sandbox"
	"github.com/comecomepay/comecomepay/internal/sandbox/didit"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	"github.com/comecomepay/comecomepay/internal/sandbox/pokepay"
	"github.com/comecomepay/comecomepay/internal/sandbox/udun"
)

func options(t *testing.T, service string) sandbox.Options {
	return sandbox.Options{
		Addr: "127.0.0.1:0", SMTPAddr: "127.0.0.1:0", DataDir: t.TempDir(), PublicURL: service, OpsURL: "http://127.0.0.1:8012",
		Didit:   sandbox.DiditAccount{APIKey: "key", WorkflowID: "99999999-8888-4777-8666-555555555555", WebhookSecrets: []string{"secret"}, WebhookPath: "/didit/webhook"},
		PokePay: sandbox.PokePayAccount{Account: "ops@example.com", Password: "password", CallbackPath: "/pokepay/callback/path"},
		Udun:    sandbox.UdunAccount{MerchantID: "300011", APIKey: "gateway-key"},
		Clock:   clock.NewFixed(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
	}
}

func startSandbox(t *testing.T, o sandbox.Options) *sandbox.Server {
	t.Helper()
	s, err := sandbox.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

type answer struct {
	status int
	header http.Header
	text   string
}

func ask(t *testing.T, s *sandbox.Server, method, path, body string, change ...func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(r)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, strings.TrimSpace(string(text))}
}

func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.text)
	}
	if err := json.Unmarshal([]byte(a.text), v); err != nil {
		t.Fatalf("%s: %v", a.text, err)
	}
}

// eventually looks until it finds, since webhooks and callbacks come by themselves.
func eventually(t *testing.T, what string, found func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !found(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what + " does not come")
		}
	}
}

// service stands for ours: it notes where it is called.
func service(t *testing.T) (url string, calls chan string) {
	calls = make(chan string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		calls <- r.URL.Path + " " + string(body)
	}))
	t.Cleanup(server.Close)
	return server.URL, calls
}

func next(t *testing.T, calls chan string) string {
	t.Helper()
	select {
	case c := <-calls:
		return c
	case <-time.After(10 * time.Second):
		t.Fatal("no call")
		return ""
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := startSandbox(t, options(t, "http://127.0.0.1:8010"))
	for _, c := range []struct {
		method, path, body string
		status             int
		says               string
	}{
		{"POST", "/control/operator", ``, 400, "object"},
		{"POST", "/control/operator", `{"withdrawal":7}`, 400, "approve or refuse"},
		{"POST", "/control/operator", `{"withdrawal":0,"decision":"approve"}`, 400, "by its number"},
		{"POST", "/control/operator", `{"withdrawal":7,"decision":"Approve"}`, 400, "approve or refuse"},
		{"POST", "/control/operator", `{"withdrawal":7,"decision":"approve"}`, 503, "comecomepay withdrawal approve"},
		{"POST", "/control/audit", ``, 503, "ledger verify"},
		{"GET", "/control/audit", ``, 405, "use POST"},
		{"POST", "/control/kyc", ``, 400, "object"},
		{"POST", "/control/kyc", `[]`, 400, "cannot be read"},
		{"POST", "/control/kyc", `{"agent_uid":"u"} {}`, 400, "one JSON object"},
		{"POST", "/control/kyc", `{"agent_uid":"u"}`, 400, "either pokepay_status"},
		{"POST", "/control/kyc", `{"agent_uid":"u","pokepay_status":2,"didit_status":"Approved"}`, 400, "either pokepay_status"},
		{"POST", "/control/kyc", `{"agentuid":"u","pokepay_status":2}`, 400, "agentuid"},
		{"POST", "/control/kyc", `{"pokepay_status":2}`, 400, "agent_uid, session_id or email"},
		{"POST", "/control/kyc", `{"agent_uid":"u","pokepay_status":7}`, 400, "1 to 6"},
		{"POST", "/control/kyc", `{"agent_uid":"u","pokepay_status":0}`, 400, "1 to 6"},
		{"POST", "/control/kyc", `{"agent_uid":"u","pokepay_status":2.5}`, 400, "cannot be read"},
		{"POST", "/control/kyc", `{"agent_uid":"u","pokepay_status":2,"risk":"X"}`, 400, "risk"},
		{"POST", "/control/kyc", `{"agent_uid":"u","pokepay_status":2}`, 404, "no such verification"},
		{"POST", "/control/kyc", `{"didit_status":"Approved"}`, 400, "session_id"},
		{"POST", "/control/kyc", `{"session_id":"s","email":"e","didit_status":"Approved"}`, 400, "session_id"},
		{"POST", "/control/kyc", `{"session_id":"s","didit_status":"Approved","reason":"x"}`, 400, "reason"},
		{"POST", "/control/kyc", `{"session_id":"s","didit_status":"Splendid"}`, 400, "status"},
		{"POST", "/control/kyc", `{"session_id":"s","didit_status":"Declined","risk":"no risk code"}`, 400, "risk"},
		{"POST", "/control/kyc", `{"session_id":"s","didit_status":"Approved"}`, 404, "no such session"},
		{"POST", "/control/kyc", `{"reason":"` + strings.Repeat("x", 70_000) + `"}`, 413, "large"},
		{"POST", "/control/deposit", `{"address":"x","coin":"USDT","amount":"1","unknown_address":true}`, 400, "coin must be"},
		{"POST", "/control/deposit", `{"address":"x","coin":"TRX","amount":0,"unknown_address":true}`, 400, "above 0"},
		{"POST", "/control/deposit", `{"address":"x","coin":"TRX","amount":1e3,"unknown_address":true}`, 400, "plain decimal"},
		{"POST", "/control/deposit", `{"address":"x","coin":"TRX","amount":"1"}`, 404, "no such address"},
		{"POST", "/control/deposit", `{"address":"x","coin":"TRX","amount":"1","unknown_address":true,"sign":"odd"}`, 400, "sign must be"},
		{"POST", "/control/deposit", `{"address":"x","coin":"TRX","amount":"1","confirmation":3}`, 400, "confirmation"},
		{"POST", "/control/deposit", `{"trade_id":"1","amount":"1"}`, 400, "leave out"},
		{"POST", "/control/deposit", `{"trade_id":"1"}`, 404, "no such trade"},
		{"POST", "/control/withdrawal", `{"business_id":"w","outcome":"paid"}`, 400, "outcome must be"},
		{"POST", "/control/withdrawal", `{"business_id":"w","outcome":"approved"}`, 404, "no such trade"},
		{"POST", "/control/withdrawal", `{"outcome":"approved"}`, 404, "no such trade"},
		{"POST", "/control/resend", `{}`, 404, "no such trade"},
		{"POST", "/control/rate", `{"src":"USDT","dst":"HKD","rate":"-1"}`, 400, "above 0"},
		{"GET", "/control/deposit", ``, 405, "POST"},
		{"POST", "/control/faults", `{"kind":"gremlins"}`, 400, "kind"},
		{"POST", "/control/faults", `{"provider":"visa","kind":"delay"}`, 400, "provider"},
		{"POST", "/control/faults", `{"provider":"pokepay","operation":"kyc_int","kind":"http_500"}`, 400, "operation must be one of callback, fx_rate, kyc_get, kyc_init, kyc_list, kyc_submit, login, or *"},
		{"POST", "/control/faults", `{"provider":"pokepay","operation":"webhook","kind":"drop_webhook"}`, 400, "callback"},
		{"POST", "/control/faults", `{"provider":"didit","kind":"refuse"}`, 400, "refuse does not happen there"},
		{"POST", "/control/faults", `{"operation":"callback","kind":"http_500"}`, 400, "drop_webhook, duplicate_webhook, forge_signature, reorder"},
		{"POST", "/control/faults", `{"operation":"login","kind":"expired_token"}`, 400, "expired_token does not happen there"},
		{"POST", "/control/faults", `{"kind":"delay"}`, 400, "delay_ms"},
		{"POST", "/control/faults", `{"kind":"http_500"}x`, 400, "one JSON object"},
		{"POST", "/control/faults", `{"kind":"http_500"}}`, 400, "one JSON object"},
		{"POST", "/control/faults", `{"kind":"http_500"}]`, 400, "one JSON object"},
		{"POST", "/control/faults", `{"kind":"http_500"},`, 400, "one JSON object"},
		{"POST", "/control/faults", "{\"kind\":\"http_500\"}\x00", 400, "one JSON object"},
		{"POST", "/control/faults", `null`, 400, "kind must be"},
		{"POST", "/control/faults", `{"kind":"http_500","probability":0}`, 400, "probability"},
		{"POST", "/control/faults", `{"kind":"http_500","probability":1.1}`, 400, "probability"},
		{"POST", "/control/faults", `{"kind":"delay","delay":5}`, 400, "delay"},
		{"POST", "/control/clock", `{"advance":"-1h"}`, 400, "forward"},
		{"POST", "/control/clock", `{"advance":"0s"}`, 400, "forward"},
		{"POST", "/control/clock", `{"advance":"72"}`, 400, "unit"},
		{"POST", "/control/clock", `{"advance":"1000000h"}`, 400, "50 years"},
		{"POST", "/control/clock", `{}`, 400, "unit"},
		{"PUT", "/control/clock", `{}`, 405, "GET, POST"},
		{"GET", "/control/kyc", ``, 405, "POST"},
		{"DELETE", "/control/state", ``, 405, "GET"},
		{"GET", "/control/weather", ``, 404, "no such path"},
		{"GET", "/control/", ``, 404, "no such path"},
	} {
		a := ask(t, s, c.method, c.path, c.body)
		var body map[string]string
		if err := json.Unmarshal([]byte(a.text), &body); err != nil || len(body) != 1 || a.status != c.status || !strings.Contains(body["error"], c.says) {
			t.Errorf("%s %s %.80s: %d %s; want %d and %q", c.method, c.path, c.body, a.status, a.text, c.status, c.says)
		}
		if c.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
	var clock struct{ Offset string }
	ask(t, s, "GET", "/control/clock", "").into(t, &clock)
	if clock.Offset != "0s" {
		t.Errorf("a refused move moved the clock by %s", clock.Offset)
	}
	if a := ask(t, s, "GET", "/control/faults", ""); a.text != "[]" {
		t.Errorf("a refused fault is in force: %s", a.text)
	}
}

// Pages of the web must neither read nor control the sandbox of whoever has them open.
func TestOnlyThisMachine(t *testing.T) {
	t.Parallel()
	s := startSandbox(t, options(t, "http://127.0.0.1:8010"))
	host := func(name string) func(*http.Request) { return func(r *http.Request) { r.Host = name } }
	for name, status := range map[string]int{
		"localhost": 200, "localhost:8011": 200, "LOCALHOST.": 200, "127.0.0.1:1": 200, "127.9.9.9": 200, "[::1]:8011": 200, "sandbox.localhost": 200,
		"example.com": 421, "localhost.example.com": 421, "192.168.1.5:8011": 421, "127.0.0.1.nip.io": 421, "0.0.0.0": 421,
	} {
		for _, path := range []string{"/", "/inbox", "/control/inbox", "/control/state"} {
			if a := ask(t, s, "GET", path, "", host(name)); a.status != status {
				t.Errorf("Host %s, %s: %d, want %d", name, path, a.status, status)
			}
		}
	}
	from := func(site string) func(*http.Request) {
		return func(r *http.Request) {
			r.Header.Set("Origin", "https://example.com")
			r.Header.Set("Sec-Fetch-Site", site)
		}
	}
	for _, path := range []string{"/control/kyc", "/control/faults", "/control/clock"} {
		if a := ask(t, s, "POST", path, `{}`, from("cross-site")); a.status != http.StatusForbidden || !strings.HasPrefix(a.text, `{"error":`) {
			t.Errorf("%s for a foreign page: %d %s", path, a.status, a.text)
		}
	}
	if a := ask(t, s, "DELETE", "/control/inbox", "", from("same-site")); a.status != http.StatusForbidden {
		t.Errorf("inbox emptied by a foreign page: %d", a.status)
	}
	for _, address := range []string{"0.0.0.0:0", ":0"} {
		o := options(t, "http://127.0.0.1:8010")
		o.Addr = address
		if s, err := sandbox.Start(t.Context(), o); err == nil {
			_ = s.Stop()
			t.Errorf("listens on %s", address)
		}
		o.Addr, o.SMTPAddr = "127.0.0.1:0", address
		if s, err := sandbox.Start(t.Context(), o); err == nil {
			_ = s.Stop()
			t.Errorf("takes mail on %s", address)
		}
	}
}

// The issuer's customer goes the whole way between the two simulators: session in the issuer's account, page, verdict,
// callback to us.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	url, calls := service(t)
	s := startSandbox(t, options(t, url))
	token := ask(t, s, "POST", "/pokepay/web/auth/login", `{"account":"ops@example.com","password":"password","login_type":"email","area_code":852}`)
	var login struct{ Data struct{ Token string } }
	token.into(t, &login)
	authorised := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+login.Data.Token) }
	open := func(uid, email string) (session, link string) {
		var opened struct {
			Data struct {
				SessionID string `json:"session_id"`
				URL       string
			}
		}
		ask(t, s, "POST", "/pokepay/api/v1/kyc/didit/init", `{"agent_uid":"`+uid+`","email":"`+email+`","first_en_name":"ADA","last_en_name":"LI",
			"area_code":"852","phone":"1","address":"1 Road","city":"HK","state":"HK","post_code":"0","bill_country_code":"HK","return_url":"http://app.test/"}`,
			authorised).into(t, &opened)
		if opened.Data.URL == "" {
			t.Fatalf("no session for %s", uid)
		}
		return opened.Data.SessionID, opened.Data.URL
	}
	state := func() (st sandbox.State) {
		ask(t, s, "GET", "/control/state", "").into(t, &st)
		return st
	}
	kyc := func(uid string) pokepay.KYCState {
		for _, k := range state().KYC {
			if k.AgentUID == uid {
				return k
			}
		}
		t.Fatalf("the issuer does not know %s", uid)
		return pokepay.KYCState{}
	}

	// By agent_uid, and by e-mail, and by session.
	first, link := open("a1", "a1@example.com")
	if !strings.HasPrefix(link, s.URL()+"/didit/session/") {
		t.Errorf("link %s", link)
	}
	for i, c := range []struct{ key, word string }{{`"agent_uid":"a1"`, "no"}, {`"email":"A1@Example.com"`, ""}, {`"session_id":"` + first + `"`, "again no"}} {
		status := []string{"3", "2", "4"}[i]
		if a := ask(t, s, "POST", "/control/kyc", `{`+c.key+`,"pokepay_status":`+status+`,"reason":"`+c.word+`"}`); a.status != 200 || a.text != "{}" {
			t.Fatalf("%s: %d %s", c.key, a.status, a.text)
		}
		if k := kyc("a1"); k.Reason != c.word || k.Status != map[string]int{"3": 3, "2": 2, "4": 4}[status] {
			t.Errorf("after %s: %+v", c.key, k)
		}
		if got := next(t, calls); !strings.HasPrefix(got, "/pokepay/callback/path ") || !strings.Contains(got, "a1") {
			t.Errorf("callback %q", got)
		}
	}

	// Didit's word about a session of the issuer's account reaches the issuer, not us.
	second, _ := open("a2", "a2@example.com")
	if a := ask(t, s, "POST", "/control/kyc", `{"session_id":"`+second+`","didit_status":"Declined","risk":"DOCUMENT_EXPIRED"}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if k := kyc("a2"); k.Status != 3 || k.Reason == "" {
		t.Errorf("after a decline: %+v", k)
	}
	if got := next(t, calls); !strings.HasPrefix(got, "/pokepay/callback/path ") {
		t.Errorf("call %q", got)
	}

	// A session of our own account: its webhook comes.
	var own struct {
		SessionID string `json:"session_id"`
	}
	a := ask(t, s, "POST", "/didit/v3/session/", `{"workflow_id":"99999999-8888-4777-8666-555555555555","vendor_data":"user-1"}`, func(r *http.Request) {
		r.Header.Set("X-Api-Key", "key")
		r.Header.Set("Content-Type", "application/json")
	})
	if err := json.Unmarshal([]byte(a.text), &own); err != nil || own.SessionID == "" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if a := ask(t, s, "POST", "/control/kyc", `{"session_id":"`+own.SessionID+`","didit_status":"approved"}`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if got := next(t, calls); !strings.HasPrefix(got, "/didit/webhook ") || !strings.Contains(got, own.SessionID) {
		t.Errorf("webhook %q", got)
	}
	words := map[string]string{}
	for _, x := range state().Sessions {
		words[x.ID] = x.Status + " " + x.Owner
	}
	want := map[string]string{first: "Not Started pokepay", second: "Declined pokepay", own.SessionID: "Approved "}
	if diff := cmp.Diff(want, words); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
}

// Money comes and goes by the control interface as the guide writes it.
func TestMoney(t *testing.T) {
	t.Parallel()
	url, calls := service(t)
	o := options(t, url)
	s := startSandbox(t, o)
	gateway := func(path, body string) (data struct{ Address string }) {
		sum := md5.Sum([]byte(body + o.Udun.APIKey + "1" + "1772366400"))
		envelope, err := json.Marshal(map[string]any{"timestamp": 1772366400, "nonce": 1, "sign": hex.EncodeToString(sum[:]), "body": body})
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Code int
			Data struct{ Address string }
		}
		ask(t, s, "POST", "/udun/mch/"+path, string(envelope), func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }).into(t, &answer)
		if answer.Code != 200 {
			t.Fatalf("%s: %d", path, answer.Code)
		}
		return answer.Data
	}
	told := func(status string) {
		t.Helper()
		if got := next(t, calls); !strings.HasPrefix(got, "/udun/callback body=") || !strings.Contains(got, status) {
			t.Errorf("callback %q, want %s", got, status)
		}
	}
	const status0, status1, status3, status4 = "%22status%22%3A0", "%22status%22%3A1", "%22status%22%3A3", "%22status%22%3A4"

	address := gateway("address/create", `[{"merchantId":"300011","mainCoinType":195,"callUrl":"`+url+`/udun/callback"}]`).Address
	var trade udun.TradeState
	ask(t, s, "POST", "/control/deposit", `{"address":"`+address+`","coin":"USDT-TRC20","amount":25.5,"confirmations":3}`).into(t, &trade)
	told(status0)
	ask(t, s, "POST", "/control/deposit", `{"trade_id":"`+trade.TradeID+`","confirmations":1}`).into(t, &trade)
	told(status1)
	ask(t, s, "POST", "/control/clock", `{"advance":"1m"}`)
	told(status3)
	ask(t, s, "POST", "/control/deposit", `{"address":"anywhere","coin":"195/195","amount":"1","unknown_address":true}`).into(t, &trade)
	told("anywhere")
	ask(t, s, "POST", "/control/resend", `{"trade_id":"`+trade.TradeID+`"}`).into(t, &trade)
	told("anywhere")

	for _, id := range []string{"w1", "w2"} {
		gateway("withdraw", `[{"merchantId":"300011","address":"TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf","amount":"20","mainCoinType":"195",
			"coinType":"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t","callUrl":"`+url+`/udun/callback","businessId":"`+id+`","memo":""}]`)
		told(status0)
	}
	ask(t, s, "POST", "/control/withdrawal", `{"business_id":"w1","outcome":"approved"}`).into(t, &trade)
	told(status1)
	ask(t, s, "POST", "/control/withdrawal", `{"business_id":"w1","outcome":"succeeded","duplicates":1}`).into(t, &trade)
	told(status3)
	told(status3)
	if a := ask(t, s, "POST", "/control/withdrawal", `{"business_id":"w1","outcome":"failed"}`); a.status != http.StatusConflict {
		t.Errorf("after its end: %d %s", a.status, a.text)
	}
	ask(t, s, "POST", "/control/withdrawal", `{"business_id":"w2","outcome":"succeeded"}`).into(t, &trade) // more than there is
	told(status1)
	told(status4)

	var state sandbox.State
	ask(t, s, "GET", "/control/state", "").into(t, &state)
	held := map[string]string{}
	for _, b := range state.Custody.Balances {
		held[b.Coin] = b.Balance + " = " + b.BaseUnits
	}
	if held["USDT-TRC20"] != "5.5 = 5500000" || held["TRX"] != "1 = 1000000" || held["BTC"] != "0 = 0" {
		t.Errorf("balances %v", held)
	}
	if len(state.Custody.Trades) != 4 || len(state.Custody.Addresses) != 1 || state.Custody.Addresses[0].Address != address {
		t.Errorf("%+v", state.Custody)
	}
}

func TestRate(t *testing.T) {
	t.Parallel()
	s := startSandbox(t, options(t, "http://127.0.0.1:8010"))
	if a := ask(t, s, "POST", "/control/rate", `{"src":"USDT","dst":"HKD","rate":7.75}`); a.status != 200 || a.text != "{}" {
		t.Fatalf("%d %s", a.status, a.text)
	}
	var login struct{ Data struct{ Token string } }
	ask(t, s, "POST", "/pokepay/web/auth/login", `{"account":"ops@example.com","password":"password","login_type":"email"}`).into(t, &login)
	a := ask(t, s, "GET", "/pokepay/api/v1/system/currencySimple?src_currency_code=USDT&dst_currency_code=HKD", "", func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer "+login.Data.Token)
	})
	if !strings.Contains(a.text, `"rate":"7.75"`) {
		t.Errorf("%d %s", a.status, a.text)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := startSandbox(t, options(t, "http://127.0.0.1:8010"))
	added := ask(t, s, "POST", "/control/faults", `{"provider":"pokepay","operation":"login","kind":"http_500","count":1}`)
	var rules []map[string]any
	added.into(t, &rules)
	if len(rules) != 1 || rules[0]["kind"] != "http_500" || rules[0]["probability"] != 1.0 {
		t.Errorf("rules %v", rules)
	}
	login := `{"account":"ops@example.com","password":"password","login_type":"email"}`
	if a := ask(t, s, "POST", "/pokepay/web/auth/login", login); a.status != 500 {
		t.Errorf("with the fault: %d", a.status)
	}
	if a := ask(t, s, "POST", "/pokepay/web/auth/login", login); a.status != 200 {
		t.Errorf("after its count: %d", a.status)
	}
	ask(t, s, "GET", "/control/faults", "").into(t, &rules)
	if rules[0]["hits"] != 1.0 {
		t.Errorf("rules %v", rules)
	}
	if a := ask(t, s, "DELETE", "/control/faults", ""); a.text != "{}" {
		t.Errorf("clear: %s", a.text)
	}
	if a := ask(t, s, "GET", "/control/faults", ""); a.text != "[]" {
		t.Errorf("after clear: %s", a.text)
	}
}

// The clock moves all simulators and outlives a restart, as do mail and verdicts.
func TestRestart(t *testing.T) {
	t.Parallel()
	o := options(t, "http://127.0.0.1:8010")
	s, err := sandbox.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := smtp.SendMail(s.SMTPAddr(), nil, "a@example.com", []string{"b@example.com"}, []byte("Subject: hello\r\n\r\ntext\r\n")); err != nil {
		t.Fatal(err)
	}
	session, _, err := s.Didit().CreateForeign(t.Context(), didit.Foreign{Owner: "somebody", Reference: "r"})
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		Now    time.Time
		Offset string
	}
	for range 2 {
		ask(t, s, "POST", "/control/clock", `{"advance":"100h"}`).into(t, &state)
	}
	if want := time.Date(2026, 3, 9, 20, 0, 0, 0, time.UTC); !state.Now.Equal(want) || state.Offset != "200h0m0s" || !s.Clock().Now().Equal(want) {
		t.Errorf("clock %+v, want %s", state, want)
	}
	status := func(s *sandbox.Server) string {
		list, err := s.Didit().Sessions(t.Context())
		if err != nil || len(list) != 1 || list[0].ID != session {
			t.Fatalf("sessions %v (%v)", list, err)
		}
		return list[0].Status
	}
	// 200 hours are more than the seven days that a session waits for its person.
	eventually(t, "the end of the session", func() bool { return status(s) == "Expired" })
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}

	s = startSandbox(t, o)
	ask(t, s, "GET", "/control/clock", "").into(t, &state)
	if state.Offset != "200h0m0s" {
		t.Errorf("clock after the restart: %+v", state)
	}
	var mail []struct{ To, Subject string }
	ask(t, s, "GET", "/control/inbox?to=b@example.com", "").into(t, &mail)
	if len(mail) != 1 || mail[0].Subject != "hello" || status(s) != "Expired" {
		t.Errorf("after the restart: mail %v, session %s", mail, status(s))
	}
	// Somebody else's clock follows.
	follower := clock.NewAdjustable(nil, 0)
	ctx, cancel := context.WithCancel(t.Context())
	followed := make(chan struct{})
	go func() { sandbox.FollowClock(ctx, s.URL(), follower); close(followed) }()
	eventually(t, "the time", func() bool { return follower.Offset() == 200*time.Hour })
	if err := s.Advance(ctx, time.Hour); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new time", func() bool { return follower.Offset() == 201*time.Hour })
	cancel()
	<-followed
}

// A sandbox that stops lets go of calls that a fault holds open.
func TestStopIsQuick(t *testing.T) {
	t.Parallel()
	s, err := sandbox.Start(t.Context(), options(t, "http://127.0.0.1:8010"))
	if err != nil {
		t.Fatal(err)
	}
	ask(t, s, "POST", "/control/faults", `{"provider":"pokepay","operation":"login","kind":"delay","delay_ms":60000}`)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if response, err := http.Post(s.URL()+"/pokepay/web/auth/login", "application/json", strings.NewReader(`{}`)); err == nil {
			_ = response.Body.Close()
		}
	}()
	eventually(t, "the call", func() bool { return s.Faults().Rules()[0].Hits == 1 })
	began := time.Now()
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	<-gone
	if took := time.Since(began); took > 6*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := startSandbox(t, options(t, "http://127.0.0.1:8010"))
	for path, says := range map[string]string{
		"/": s.SMTPAddr(), "/walk/walk.js": "addEventListener", "/inbox": "<html", "/inbox/style.css": "{", "/pokepay/desk": "<html",
		"/udun/desk": "<html",
	} {
		if a := ask(t, s, "GET", path, ""); a.status != 200 || !strings.Contains(a.text, says) {
			t.Errorf("%s: %d, %q is missing", path, a.status, says)
		}
	}
}

// docs/sandbox.md names every operation and, for every kind, where it happens.
func TestFaultsAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/sandbox.md")
	if err != nil {
		t.Fatal(err)
	}
	sends := []string{"webhook", "callback"}
	at := map[fault.Kind]map[string]int{} // kind -> provider -> calls, and provider + what it sends -> 1
	calls := map[string]int{}
	for _, p := range fault.Points() {
		if !strings.Contains(string(page), "`"+p.Operation+"`") {
			t.Errorf("operation %s is not named", p.Operation)
		}
		place := p.Provider
		if slices.Contains(sends, p.Operation) {
			place += " " + p.Operation
		} else {
			calls[place]++
		}
		for _, k := range p.Kinds {
			if at[k] == nil {
				at[k] = map[string]int{}
			}
			at[k][place]++
		}
	}
	for kind, at := range at {
		var providers, words []string
		for _, p := range []string{"didit", "pokepay", "udun"} {
			switch at[p] {
			case 0:
			case calls[p]:
				providers = append(providers, "`"+p+"`")
			case calls[p] - 1:
				providers = append(providers, "`"+p+"` except `login`")
			default:
				t.Errorf("no words for where %s happens: %v", kind, at)
			}
		}
		switch len(providers) {
		case 0:
		case 3:
			words = append(words, "calls of all")
		default:
			words = append(words, "calls of "+strings.Join(providers, " and "))
		}
		var sent []string
		if at["didit webhook"] > 0 {
			sent = append(sent, "`webhook`")
		}
		switch {
		case at["pokepay callback"] > 0 && at["udun callback"] > 0:
			sent = append(sent, "`callback`")
		case at["udun callback"] > 0:
			sent = append(sent, "`callback` of `udun`")
		}
		if len(sent) > 0 {
			words = append(words, strings.Join(sent, ", "))
		}
		row := regexp.MustCompile("(?m)^\\| `" + string(kind) + "` \\|.*\\| " + regexp.QuoteMeta(strings.Join(words, "; ")) + " \\|$")
		if !row.Match(page) {
			t.Errorf("the page does not say that %s happens at %s", kind, strings.Join(words, "; "))
		}
	}
}
