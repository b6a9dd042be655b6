package cli_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"index/suffixarray"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	"github.com/comecomepay/comecomepay/internal/sandbox/udun"
)

// What customers entrust to the program, and what the program is configured with, is known here. It is pushed through every route,
// every failure and every job, and afterwards nothing of it stands in the log, the metrics, the traces, the answers that refuse
// something, or the database.
func TestNothingLeaks(t *testing.T) {
	for _, c := range []struct {
		engine  db.Engine
		channel string
	}{{db.SQLite, "didit"}, {db.PostgreSQL, "pokepay"}} {
		t.Run(string(c.engine)+", channel "+c.channel, func(t *testing.T) {
			t.Parallel()
			collector := newCollector(t)
			in := install(t, c.engine, 1, "CCP_KYC_CHANNEL="+c.channel, "CCP_LOG_LEVEL=DEBUG", "CCP_TRUSTED_PROXIES=127.0.0.0/8",
				"CCP_OTEL_ENDPOINT="+collector.url, "CCP_OTEL_SAMPLE_RATIO=1", "CCP_POKEPAY_TIMEOUT=1s", "CCP_DIDIT_TIMEOUT=1s", "CCP_UDUN_TIMEOUT=1s")
			in.serve()
			l := &leak{installation: in}
			l.configuration()
			l.accounts()
			l.credentials()
			l.payments()
			l.verifications(c.channel)
			l.providers()
			metrics, err := in.send("GET", in.replicas[0].opsURL()+"/metrics", nil, nil)
			if err != nil || !strings.Contains(metrics.text, "ccp_") {
				t.Fatalf("metrics: %v %v", metrics, err)
			}
			in.replicas[0].stop()
			if t.Failed() {
				for line := range strings.Lines(in.replicas[0].log.String()) {
					if strings.Contains(line, "level=WARN") || strings.Contains(line, "level=ERROR") {
						t.Log(line)
					}
				}
			}

			traces := collector.received()
			log := in.replicas[0].log.String()
			if !strings.Contains(log, "level=DEBUG") || len(traces) < 10_000 {
				t.Fatalf("%d bytes of log and %d of traces: too little to look for anything in", len(log), len(traces))
			}
			if !bytes.Contains(traces, []byte("GET /didit/get-user-kyc/{email}")) {
				t.Error("the traces do not name the routes")
			}
			l.search("log", []byte(log), everywhere)
			l.search("traces", traces, everywhere)
			l.search("metrics", []byte(metrics.text), everywhere)
			l.search("refusals", l.refusals.Bytes(), everywhere)
			dump := in.dump()
			l.search("database", dump, atRest)
			if len(l.secrets) < 30 || len(dump) < 10_000 {
				t.Errorf("%d secrets and %d bytes of database: too little has happened", len(l.secrets), len(dump))
			}
		})
	}
}

// A mail server's refusal repeats the address, and may repeat more.
func TestNothingLeaksFromMail(t *testing.T) {
	t.Parallel()
	server := newRefusingMailServer(t)
	in := install(t, db.SQLite, 1, "CCP_LOG_LEVEL=DEBUG", "CCP_SMTP_ADDR="+server.addr())
	in.serve()
	l := &leak{installation: in}
	c := in.newCustomer()
	c.email = "canary.bounce." + strings.ToLower(rand.Text()) + "@example.com"
	l.secret("address of mail", c.email)
	c.must("POST", "/auth/signup", object{"email": c.email})
	d := in.open()
	eventually(t, 30*time.Second, func() error {
		var n int
		if err := d.QueryRow(t.Context(), `SELECT COUNT(*) FROM river_job WHERE state IN ('cancelled', 'retryable', 'discarded')`).Scan(&n); err != nil || n == 0 {
			return fmt.Errorf("%d mails have failed: %v", n, err)
		}
		return nil
	})
	if match := codeInMail.FindString(server.text()); match != "" {
		t.Errorf("the server refused the recipient and got the mail all the same: %q", match)
	}
	in.replicas[0].stop()
	l.search("log", []byte(in.replicas[0].log.String()), everywhere)
	l.search("database", in.dump(), atRest)
}

// where a secret must not be.
type where int

const (
	// atRest is the database. What is kept there in the clear on purpose, such as the issuer's reasons, which are for staff, is
	// kept from everywhere else only.
	atRest where = 1 << iota
	elsewhere
	everywhere = atRest | elsewhere
)

type secretText struct {
	what, text string
	from       where
}

// leak knows what must not be found.
type leak struct {
	*installation
	secrets  []secretText
	codes    []string
	refusals bytes.Buffer
}

func (l *leak) secret(what, text string) string {
	l.except(what, text, everywhere)
	return text
}

func (l *leak) except(what, text string, from where) {
	if len(text) < 8 {
		l.t.Fatalf("%s: %q is too short to be looked for", what, text)
	}
	if !slices.ContainsFunc(l.secrets, func(s secretText) bool { return s.text == text }) {
		l.secrets = append(l.secrets, secretText{what, text, from})
	}
}

// fresh is a text that stands nowhere else.
func (l *leak) fresh(what, prefix string) string {
	return l.secret(what, prefix+rand.Text()[:12])
}

// forms are the ways in which a text may stand somewhere without being protected.
func forms(text string) map[string][]byte {
	b := []byte(text)
	s256, s1, m5 := sha256.Sum256(b), sha1.Sum(b), md5.Sum(b)
	quoted, _ := json.Marshal(text)
	list := map[string][]byte{
		"in the clear": b, "in hexadecimal": []byte(hex.EncodeToString(b)), "escaped for an address": []byte(url.QueryEscape(text)),
		"escaped for a path": []byte(url.PathEscape(text)), "escaped for JSON": quoted[1 : len(quoted)-1], "escaped for ASCII": []byte(strings.Trim(strconv.QuoteToASCII(text), `"`)),
		"as SHA-256": []byte(hex.EncodeToString(s256[:])), "as SHA-1": []byte(hex.EncodeToString(s1[:])), "as MD5": []byte(hex.EncodeToString(m5[:])),
		"as SHA-256 in bytes": s256[:], "as SHA-256 in base64": []byte(base64.StdEncoding.EncodeToString(s256[:])[:42]),
	}
	// Inside of a longer text in base64 it stands in one of three ways; the characters at its ends depend on what is beside.
	for shift := range 3 {
		padded := append(make([]byte, shift), b...)
		for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64 for addresses": base64.RawURLEncoding} {
			encoded := e.EncodeToString(padded)
			first, last := (shift*8+5)/6, len(padded)*8/6
			list[fmt.Sprintf("in %s, shifted by %d", name, shift)] = []byte(encoded[first:last])
		}
	}
	return list
}

// continues tells whether a character beside digits makes them a part of something longer.
func continues(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || strings.IndexByte(".:+/=-", c) >= 0
}

// search looks for every secret in every form.
func (l *leak) search(name string, in []byte, kept where) {
	l.t.Helper()
	lower := bytes.ToLower(in)
	there, inLower := suffixarray.New(in), suffixarray.New(lower) // many texts are looked for
	find := func(index *suffixarray.Index, text []byte) int {
		if at := index.Lookup(text, 1); len(at) > 0 {
			return at[0]
		}
		return -1
	}
	shown := 0
	tell := func(what, how string, at int, text []byte) {
		if shown++; shown <= 20 {
			l.t.Errorf("%s: %s stands there %s: …%q…", name, what, how, text[max(0, at-120):min(len(text), at+120)])
		}
	}
	for _, s := range l.secrets {
		if kept == atRest && s.from&atRest == 0 {
			continue
		}
		for how, form := range forms(s.text) { // the first form that is found will do
			if at := find(there, form); at >= 0 {
				tell(s.what, how, at, in)
				break
			} else if at := find(inLower, bytes.ToLower(form)); at >= 0 && how != "as SHA-256 in bytes" && !strings.Contains(how, "base64") {
				tell(s.what, how+", in other letters", at, lower)
				break
			}
		}
	}
	// Five digits may be a part of many a number: a code is one only if it stands by itself.
	for _, code := range l.codes {
		for _, at := range there.Lookup([]byte(code), -1) {
			end := at + len(code)
			if !(at > 0 && continues(in[at-1])) && !(end < len(in) && continues(in[end])) {
				tell("a code", "in the clear", at, in)
				break
			}
		}
		for how, form := range forms(code) {
			if strings.HasPrefix(how, "as ") {
				if at := find(there, form); at >= 0 {
					tell("a code", how, at, in)
				}
			}
		}
	}
}

// configuration makes secrets of those that the program is configured with.
func (l *leak) configuration() {
	c, err := app.LoadConfig(l.environ)
	if err != nil {
		l.t.Fatal(err)
	}
	for what, text := range map[string]string{
		"the hash key": c.Keys.HashKey.Reveal(), "the password at PokePay": c.PokePay.Password.Reveal(), "the key of callbacks": c.PokePay.CallbackKey.Reveal(),
		"the secret of callbacks": c.PokePay.CallbackSecret.Reveal(), "the key at Didit": c.Didit.APIKey.Reveal(), "the secret of webhooks": c.Didit.WebhookSecrets[0].Reveal(),
		"the key of tokens": c.Keys.TokenKeys[0].Secret.Reveal(), "the data keyset": c.Keys.DataKeyset.Reveal(),
		"the key at the crypto gateway": c.Udun.APIKey.Reveal(), "the key of its callbacks": c.Udun.CallbackKey.Reveal(), "the secret of short messages": c.SMS.Secret.Reveal(),
	} {
		l.secret(what, text)
	}
}

// ask makes a call and keeps a refusal.
func (l *leak) ask(c *customer, method, path string, body any) answer {
	l.t.Helper()
	return l.asking(c, method, path, c.headers(), body)
}

func (l *leak) asking(c *customer, method, path string, h http.Header, body any) answer {
	l.t.Helper()
	a, err := c.send(method, l.replicas[0].url()+path, h, body)
	if err != nil {
		l.t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.status >= 400 {
		l.refusals.WriteString(a.text + "\n")
	}
	return a
}

// refused makes a call that must be refused, so that the way that is meant is certainly taken.
func (l *leak) refused(c *customer, method, path string, body any, status int) {
	l.t.Helper()
	if a := l.ask(c, method, path, body); a.status != status {
		l.t.Errorf("%s %s: %d is wanted: %v", method, path, status, a)
	}
}

func (l *leak) code(c *customer) string {
	l.t.Helper()
	code := c.code()
	l.codes = append(l.codes, code)
	return code
}

func (l *leak) wrongCode(right string) string {
	code := wrongCode(right)
	l.codes = append(l.codes, code)
	return code
}

func (l *leak) tokens(a answer) {
	for _, name := range []string{"access_token", "refresh_token"} {
		token := l.secret("an "+name, a.field(name))
		if parts := strings.Split(token, "."); len(parts) == 3 {
			l.secret("the signature of an "+name, parts[2])
		}
	}
}

// newcomer is somebody all of whose data is secret.
func (l *leak) newcomer() *customer {
	c := l.newCustomer()
	c.email = "canary." + strings.ToLower(rand.Text()) + "@example.com"
	l.secret("address of mail", c.email)
	l.secret("name of a mailbox", strings.TrimSuffix(c.email, "@example.com"))
	c.password = l.fresh("a password", "Pw!7-")
	c.address = "203.0.113." + strconv.Itoa(100+len(l.secrets)%100)
	l.secret("network address", c.address)
	return c
}

func (l *leak) join() *customer {
	l.t.Helper()
	c := l.newcomer()
	l.ask(c, "POST", "/auth/signup", object{"email": c.email})
	l.ask(c, "POST", "/auth/verify", object{"email": c.email, "otp_code": l.code(c)})
	l.tokens(l.ask(c, "POST", "/auth/set-password", object{"email": c.email, "password": c.password}))
	l.ask(c, "POST", "/auth/login", object{"email": c.email, "password": c.password})
	a := l.ask(c, "POST", "/auth/verify-login-otp", object{"email": c.email, "otp_code": l.code(c)})
	l.tokens(a)
	c.signedIn(a)
	return c
}

// accounts goes every way, right and wrong, from sign-up to a password that is forgotten.
func (l *leak) accounts() {
	c := l.newcomer()
	l.refused(c, "POST", "/auth/signup", object{"email": l.fresh("no address", "no-address-")}, http.StatusBadRequest)
	l.refused(c, "POST", "/auth/signup", object{"email": c.email, "referral_code": l.fresh("a referral code", "REF")}, http.StatusBadRequest)
	l.ask(c, "POST", "/auth/signup", object{"email": strings.ToUpper(c.email)})
	code := l.code(c)
	l.refused(c, "POST", "/auth/resend-otp", object{"email": c.email}, http.StatusTooManyRequests)
	l.refused(c, "POST", "/auth/verify", object{"email": c.email, "otp_code": l.wrongCode(code)}, http.StatusBadRequest)
	l.refused(c, "POST", "/auth/verify", object{"email": c.email, "otp_code": l.fresh("no code", "code-")}, http.StatusBadRequest)
	l.refused(c, "POST", "/auth/set-password", object{"email": c.email, "password": c.password}, http.StatusBadRequest)
	l.ask(c, "POST", "/auth/verify", object{"email": c.email, "otp_code": code})
	l.refused(c, "POST", "/auth/set-password", object{"email": c.email, "password": strings.ToLower(l.fresh("a weak password", "weak"))}, http.StatusBadRequest)
	l.refused(c, "POST", "/auth/set-password", object{"email": c.email, "password": l.fresh("a long password", "Long!1"+strings.Repeat("x", 2000))}, http.StatusBadRequest)
	l.tokens(l.ask(c, "POST", "/auth/set-password", object{"email": c.email, "password": c.password}))
	l.refused(c, "POST", "/auth/signup", object{"email": c.email}, http.StatusBadRequest)

	l.refused(c, "POST", "/auth/login", object{"email": c.email, "password": l.fresh("a wrong password", "Wrong!1")}, http.StatusBadRequest)
	with := func(h http.Header) http.Header {
		all := c.headers()
		for name, values := range h {
			all[name] = values
		}
		return all
	}
	l.ask(c, "POST", "/auth/login", object{"email": c.email, "password": c.password})
	code = l.code(c)
	l.refused(c, "POST", "/auth/verify-login-otp", object{"email": c.email, "otp_code": l.wrongCode(code)}, http.StatusBadRequest)
	in := l.asking(c, "POST", "/auth/verify-login-otp", with(nil), object{"email": c.email, "otp_code": code})
	if !in.ok() {
		l.t.Fatal(in)
	}
	l.tokens(in)
	c.signedIn(in)

	// What is no request at all.
	for _, path := range []string{"/auth/login", "/auth/set-password", "/auth/reset-password", "/auth/refresh", "/auth/signup", "/didit/initialize-token", "/user/profile"} {
		method := "POST"
		if path == "/user/profile" {
			method = "PUT"
		}
		text := l.fresh("a broken body", "broken-")
		for _, body := range []string{
			`{"email":"` + text + `","password":"` + text, `{"email":{"` + text + `":1},"password":["` + text + `"],"refresh_token":{"a":"` + text + `"},"first_name":["` + text + `"]}`,
			`"` + text + `"`, text, `{"password":"` + text + strings.Repeat("x", 100_000) + `"}`, `{"` + text + `":`, `{"email":"` + text + "\x00\xff" + `"}`,
			`{"new_password":"` + text + `","confirm_password":"other` + text + `","email":"` + c.email + `","otp_code":"12"}`,
		} {
			l.ask(c, method, path, body)
			l.asking(c, method, path, with(http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}), "password="+text)
			l.asking(c, method, path, with(http.Header{"Idempotency-Key": {"canary-" + rand.Text()}}), body)
		}
	}
	l.ask(c, "GET", "/didit/status?access_token="+l.fresh("a token in the query", "query-"), nil)
	for _, token := range []string{l.fresh("a bad token", "bad-"), "a." + l.fresh("a bad token", "bad-") + ".c", c.access + l.fresh("a bad end", "end")} {
		for _, path := range []string{"/didit/status", "/user/profile"} {
			if a := l.asking(c, "GET", path, with(http.Header{"Authorization": {"Bearer " + token}}), nil); a.status != http.StatusUnauthorized {
				l.t.Errorf("%v", a)
			}
		}
	}

	// The profile.
	profile := object{"first_name": l.fresh("a first name", "Kanari-"), "last_name": l.fresh("a last name", "金丝雀"), "phone": "+852" + strconv.Itoa(int(time.Now().UnixNano()%1e9)+1e9),
		"date_of_birth": l.fresh("a date of birth", "1990-"), "account_type": "personal", "referral_code": ""}
	l.secret("a phone number", profile["phone"].(string))
	key := http.Header{"Idempotency-Key": {"canary-" + rand.Text()}}
	for range 2 { // the second answer is the first one, kept
		if a := l.asking(c, "PUT", "/user/profile", with(key), profile); !a.ok() {
			l.t.Error(a)
		}
	}
	if a := l.asking(c, "PUT", "/user/profile", with(key), object{"first_name": l.fresh("a name", "Reuse-")}); a.code() != "IDEMPOTENCY_KEY_REUSED" {
		l.t.Errorf("another request with the same key: %v", a)
	}
	l.ask(c, "GET", "/user/profile", nil)
	l.refused(c, "PUT", "/user/profile", object{"first_name": l.fresh("a name", "Control-") + "\x01"}, http.StatusBadRequest)
	l.refused(c, "PUT", "/user/profile", object{"first_name": l.fresh("a name", "Long-") + strings.Repeat("x", 5000)}, http.StatusBadRequest)

	// Tokens: renewed, used once more within the grace and after it, invented.
	before := c.refresh
	for range 2 {
		l.tokens(l.ask(c, "POST", "/auth/refresh", object{"refresh_token": before}))
	}
	a := l.ask(c, "POST", "/auth/refresh", object{"refresh_token": before})
	l.tokens(a)
	l.refused(c, "POST", "/auth/refresh", object{"refresh_token": l.fresh("no refresh token", "refresh-")}, http.StatusUnauthorized)
	l.ask(c, "GET", "/didit/get-user-kyc/"+url.PathEscape(c.email), nil)
	l.refused(c, "GET", "/didit/get-user-kyc/"+url.PathEscape(l.fresh("another's address", "other-")+"@example.com"), nil, http.StatusForbidden)
	l.ask(c, "GET", "/didit/get-result/"+l.fresh("a verification", "verification-"), nil)
	l.ask(c, "GET", "/user/sessions", nil)
	l.ask(c, "DELETE", "/user/sessions/"+l.fresh("a session", "session-"), nil)
	l.ask(c, "GET", "/no/such/"+l.fresh("a path", "path-"), nil)
	l.advance(2 * time.Minute)
	l.ask(c, "POST", "/auth/refresh", object{"refresh_token": a.field("refresh_token")})
	l.refused(c, "POST", "/auth/refresh", object{"refresh_token": before}, http.StatusUnauthorized)

	// A password that is forgotten.
	l.ask(c, "POST", "/auth/forgot-password", object{"email": c.email})
	l.ask(c, "POST", "/auth/forgot-password", object{"email": l.fresh("nobody's address", "nobody.") + "@example.com"})
	code = l.code(c)
	l.refused(c, "POST", "/auth/verify-forgot-password-otp", object{"email": c.email, "otp_code": l.wrongCode(code)}, http.StatusBadRequest)
	l.ask(c, "POST", "/auth/verify-forgot-password-otp", object{"email": c.email, "otp_code": code})
	l.refused(c, "POST", "/auth/reset-password", object{"email": c.email, "otp_code": code, "new_password": l.fresh("a password", "One!1"), "confirm_password": l.fresh("a password", "Two!2")}, http.StatusBadRequest)
	c.password = l.fresh("a password", "New!7-")
	if a := l.ask(c, "POST", "/auth/reset-password", object{"email": c.email, "otp_code": code, "new_password": c.password, "confirm_password": c.password}); !a.ok() {
		l.t.Error(a)
	}
	for range 12 { // until the address is locked
		l.ask(c, "POST", "/auth/login", object{"email": c.email, "password": l.fresh("a wrong password", "Guess!1")})
	}
	gone := l.join()
	l.operate("account", "freeze", gone.email)
	l.ask(gone, "PUT", "/user/profile", profile)
	l.operate("account", "close", gone.email)
	l.ask(gone, "GET", "/didit/status", nil)
	l.ask(gone, "POST", "/auth/login", object{"email": gone.email, "password": gone.password})
}

// pin is a transaction password.
func (l *leak) pin() string {
	for {
		pin := fmt.Sprintf("%06d", mathrand.IntN(1_000_000))
		if !strings.Contains("01234567890123456789 09876543210987654321", pin) {
			l.codes = append(l.codes, pin)
			return pin
		}
	}
}

// payer is a customer who has a transaction password, after everything that can go wrong with one.
func (l *leak) payer() (c *customer, pin string) {
	c, pin = l.join(), l.pin()
	const request, complete = "/user/transaction-password/request", "/user/transaction-password/complete"
	l.refused(c, "POST", request, object{"transaction_password": pin, "confirm_transaction_password": l.pin()}, http.StatusBadRequest)
	l.refused(c, "POST", request, object{"transaction_password": l.fresh("no transaction password", "pin-"), "confirm_transaction_password": pin}, http.StatusBadRequest)
	l.refused(c, "POST", request, object{"transaction_password": []string{pin}, "confirm_transaction_password": pin}, http.StatusUnprocessableEntity)
	asked := l.ask(c, "POST", request, object{"transaction_password": pin, "confirm_transaction_password": pin})
	token, code := l.secret("a temp_hash", asked.field("temp_hash")), l.code(c)
	l.refused(c, "POST", complete, object{"otp_code": l.wrongCode(code), "temp_hash": token}, http.StatusBadRequest)
	l.refused(c, "POST", complete, object{"otp_code": code, "temp_hash": l.fresh("no temp_hash", "hash-")}, http.StatusBadRequest)
	if a := l.ask(c, "POST", complete, object{"otp_code": code, "temp_hash": token}); !a.ok() {
		l.t.Error(a)
	}
	return c, pin
}

// credentials changes what somebody signs in and is reached with.
func (l *leak) credentials() {
	c, _ := l.payer()
	phone := "+8529" + strconv.Itoa(1_000_000+mathrand.IntN(9_000_000))
	l.secret("a new phone number", phone)
	if a := l.ask(c, "POST", "/user/change-phone/request", object{"new_phone": phone}); !a.ok() {
		l.t.Fatal(a)
	}
	sms := ""
	eventually(l.t, 30*time.Second, func() error {
		list, err := l.simulators.Inbox().Messages(l.t.Context(), phone)
		if err != nil || len(list) == 0 {
			return fmt.Errorf("%d short messages: %v", len(list), err)
		}
		if match := codeInMail.FindStringSubmatch(list[0].Text); match != nil {
			sms = match[1]
		}
		return nil
	})
	if sms == "" {
		l.t.Fatal("no code by SMS")
	}
	l.codes = append(l.codes, sms)
	l.refused(c, "POST", "/user/change-phone/verify-new", object{"new_phone": phone, "otp_code": l.wrongCode(sms)}, http.StatusBadRequest)
	l.refused(c, "POST", "/user/change-phone/verify-new", object{"new_phone": l.fresh("no phone", "+phone-"), "otp_code": sms}, http.StatusBadRequest)
	if a := l.ask(c, "POST", "/user/change-phone/verify-new", object{"new_phone": phone, "otp_code": sms}); !a.ok() {
		l.t.Error(a)
	}
	if a := l.ask(c, "POST", "/user/change-phone/complete", object{"new_phone": phone, "email_otp": l.code(c)}); !a.ok() {
		l.t.Error(a)
	}
	l.refused(c, "POST", "/user/change-password", object{"old_password": l.fresh("a wrong password", "Wrong!1"), "new_password": l.fresh("a password", "Other!1"), "confirm_password": "x"}, http.StatusBadRequest)
	l.refused(c, "POST", "/user/change-email/request", object{"new_email": l.fresh("no address", "no-address-")}, http.StatusBadRequest)
	after := "canary.new." + strings.ToLower(rand.Text()) + "@example.com"
	l.secret("a new address", after)
	if a := l.ask(c, "POST", "/user/change-email/request", object{"new_email": after}); !a.ok() {
		l.t.Error(a)
	}
	there := l.newCustomer()
	there.email = after
	l.code(there)
}

// payments receives, transfers and withdraws, with a gateway that fails in every way.
func (l *leak) payments() {
	const coin = "USDT-TRC20"
	c, pin := l.payer()
	friend := l.join()
	address := ""
	l.soon(func() error {
		wallet, _ := l.ask(c, "GET", "/wallet/", nil).body["wallet"].(object)
		balances, _ := wallet["balances"].([]any)
		for _, b := range balances {
			if b := b.(object); b["currency"] == coin {
				address, _ = b["address"].(string)
			}
		}
		if address == "" {
			return fmt.Errorf("no address: %v", wallet)
		}
		return nil
	})
	if _, err := l.simulators.Udun().Deposit(l.t.Context(), udun.Deposit{Address: address, Coin: coin, Amount: "900"}); err != nil {
		l.t.Fatal(err)
	}
	// Both customers read it; nobody else does.
	description := "for-" + rand.Text()
	l.except("what a transfer is for", description, elsewhere)
	transfer := func(amount, pin string) object {
		return object{"amount": json.Number(amount), "currency": coin, "recipient_uid": friend.id, "description": description, "transaction_password": pin}
	}
	l.soon(func() error {
		if a := l.ask(c, "POST", "/wallet/transfer-by-uid", transfer("1", pin)); !a.ok() {
			return fmt.Errorf("transfer: %v", a)
		}
		return nil
	})
	l.refused(c, "POST", "/wallet/transfer-by-uid", transfer("1e9", pin), http.StatusBadRequest)
	l.refused(c, "POST", "/wallet/transfer-by-uid", transfer("1", l.fresh("no transaction password", "pin-")), http.StatusBadRequest)
	l.ask(c, "POST", "/wallet/transfer-by-uid", `{"transaction_password":"`+pin)
	l.ask(c, "GET", "/wallet/unified-transactions?type="+l.fresh("no type", "type-")+"&page=1", nil)
	for _, kind := range []fault.Kind{fault.ActThenTimeout, fault.HTTP500, fault.HTML502, fault.RefuseInit, fault.OddNumbers} {
		rule := fault.Rule{Provider: "udun", Operation: "withdraw", Kind: kind, Count: 2}
		if kind == fault.RefuseInit {
			rule.Message = "refused: " + rand.Text()
			l.except("the gateway's refusal", rule.Message, elsewhere)
		}
		if err := l.simulators.Faults().Add(rule); err != nil {
			l.t.Fatal(err)
		}
		body := object{"amount": json.Number("20." + strconv.Itoa(1+len(l.secrets))), "currency": coin, "address": outside, "network": "TRC20"}
		if a := l.ask(c, "POST", "/wallet/withdrawal", body); !a.ok() {
			l.t.Errorf("withdrawal: %v", a)
		}
		l.advance(time.Minute)
	}
	l.simulators.Faults().Clear()
	for range 5 { // until it is locked
		l.ask(c, "POST", "/wallet/transfer-by-uid", transfer("1", l.pin()))
	}
	l.refused(c, "POST", "/wallet/transfer-by-uid", transfer("1", pin), http.StatusTooManyRequests)
}

// application is a form all of whose texts are secret.
func (l *leak) application(c *customer) object {
	name := func() string { // letters only
		return strings.Map(func(r rune) rune {
			if r < 'A' || r > 'Z' {
				return 'Q'
			}
			return r
		}, rand.Text()[:12])
	}
	form := c.form()
	for _, field := range []struct{ name, value string }{
		{"first_en_name", "KANARI" + name()}, {"last_en_name", "VOGEL" + name()}, {"state", "State " + name()}, {"city", "City " + name()}, {"address", "Road " + name()},
		{"post_code", "PC" + name()}, {"phone", strconv.Itoa(int(time.Now().UnixNano()%1e9) + 5e9)}, {"agent_uid", "AGENT" + name()}, {"return_url", "https://app.example/" + name()},
	} {
		form[field.name] = l.secret("the "+field.name+" of an application", field.value)
	}
	return form
}

// verifications goes through KYC with providers that fail in every way.
func (l *leak) verifications(channel string) {
	create := fault.Rule{Provider: "pokepay", Operation: "kyc_init"}
	kinds := []fault.Kind{fault.ActThenTimeout, fault.HTML502, fault.HTTP500, fault.ExpiredToken, fault.RefuseInit}
	if channel == "didit" {
		create = fault.Rule{Provider: "didit", Operation: "*"}
		kinds = []fault.Kind{fault.ActThenTimeout, fault.HTML502, fault.HTTP500, fault.RateLimited, fault.Forbidden}
	}
	for _, kind := range kinds {
		c := l.join()
		rule := create
		rule.Kind, rule.Count = kind, 3
		if kind == fault.RefuseInit {
			rule.Message = "refused: " + rand.Text()
			l.except("the issuer's refusal", rule.Message, elsewhere)
		}
		if err := l.simulators.Faults().Add(rule); err != nil {
			l.t.Fatal(err)
		}
		form := l.application(c)
		l.ask(c, "POST", "/didit/initialize-token", form)
		l.simulators.Faults().Clear()
		form["first_en_name"] = l.fresh("a name that fits no card", "Ünfit-")
		l.refused(c, "POST", "/didit/initialize-token", form, http.StatusBadRequest)
	}
	// A breaker may have opened: time passes until the providers are asked again.
	l.advance(2 * time.Minute)

	for _, next := range []struct {
		action  string
		verdict int // 0: the issuer is not asked
	}{{"approve", 2}, {"approve", 4}, {"decline", 0}, {"review", 0}, {"abandon", 0}} {
		c := l.join()
		var link, attempt string
		l.soon(func() error {
			a := l.ask(c, "POST", "/didit/initialize-token", l.application(c))
			if link, attempt = a.field("didit_token", "data", "url"), a.field("verification_id"); link == "" {
				return fmt.Errorf("no link: %v", a)
			}
			return nil
		})
		if link == "" {
			return
		}
		l.secret("a link to a verification page", link)
		l.secret("a session token", link[strings.LastIndexByte(link, '/')+1:])
		for _, kind := range []fault.Kind{fault.HTML502, fault.ActThenTimeout, fault.OddNumbers} {
			if err := l.simulators.Faults().Add(fault.Rule{Kind: kind, Count: 2}); err != nil {
				l.t.Fatal(err)
			}
		}
		if err := c.page(link, next.action); err != nil {
			l.t.Error(err)
		}
		l.ask(c, "GET", "/kyc/return?ref="+attempt+"&verificationSessionId="+l.fresh("a session in an address", "sid-")+"&status="+l.fresh("a status in an address", "status-"), nil)
		reason := "reason-" + rand.Text()
		// Staff read the issuer's own words in the history; they are kept as they came.
		l.except("the issuer's reason", reason, elsewhere)
		if next.verdict != 0 {
			l.soon(func() error { return c.decide(attempt, next.verdict, reason) })
			l.soon(func() error {
				a := l.ask(c, "GET", "/didit/status", nil)
				if user := a.field("user_kyc_status"); user != "verified" && user != "rejected" {
					return fmt.Errorf("no verdict: %v", a)
				}
				return nil
			})
		}
		l.simulators.Faults().Clear()
		l.ask(c, "GET", "/didit/get-result/"+attempt, nil)
		l.ask(c, "GET", "/didit/get-user-kyc/"+url.PathEscape(c.email), nil)
	}
	l.advance(time.Minute)
}

// soon tries until something holds, while the time of the program runs ahead: what failed is tried again in its time.
func (l *leak) soon(try func() error) {
	l.t.Helper()
	eventually(l.t, time.Minute, func() error { // a circuit breaker may be open, whose time is the machine's
		err := try()
		if err != nil {
			l.advance(10 * time.Second)
		}
		return err
	})
}

// providers calls the receivers as the providers do, and as others do.
func (l *leak) providers() {
	c := l.newCustomer()
	c.access = ""
	body := func() string {
		return `{"session_id":"s","status":"Approved","webhook_type":"status.updated","timestamp":1,"vendor_data":"user-1","decision":{"id_verifications":[{"first_name":"` +
			l.fresh("a name in a webhook", "Hook-") + `","document_number":"` + l.fresh("a document number", "DOC") + `"}]}}`
	}
	for _, h := range []http.Header{nil, {"X-Signature": {l.fresh("a signature", "sig-")}}, {"X-Signature-V2": {"00"}, "X-Timestamp": {"1"}}, {"X-Signature-Simple": {strings.Repeat("0", 64)}, "X-Timestamp": {"x"}}} {
		if a := l.asking(c, "POST", "/didit/webhook", h, body()); a.status != http.StatusUnauthorized {
			l.t.Errorf("webhook: %v", a)
		}
	}
	l.asking(c, "POST", "/didit/webhook", nil, `{"broken":"`+l.fresh("a broken webhook", "hook-"))
	settings, err := app.LoadConfig(l.environ)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, key := range []string{l.fresh("a wrong key of callbacks", "key-"), settings.PokePay.CallbackKey.Reveal()} {
		if a := l.asking(c, "POST", "/pokepay/callback/"+key, nil, body()); a.ok() {
			l.t.Errorf("callback: %v", a)
		}
		l.asking(c, "POST", "/api/v1/pokepay/callback/"+key+"/", http.Header{"X-Sandbox-Signature": {"00"}, "X-Sandbox-Timestamp": {"1"}}, `{"broken":"`+l.fresh("a broken callback", "call-"))
	}
	for _, key := range []string{l.fresh("a wrong key of callbacks", "key-"), settings.Udun.CallbackKey.Reveal()} {
		for _, form := range []string{
			url.Values{"timestamp": {"1700000000000"}, "nonce": {"ABCDEF"}, "sign": {strings.Repeat("0", 32)}, "body": {`{"address":"` + l.fresh("an address in a callback", "T") + `"}`}}.Encode(),
			`{"broken":"` + l.fresh("a broken callback", "call-"),
		} {
			if a := l.asking(c, "POST", "/yudun/callback/"+key, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, form); a.ok() {
				l.t.Errorf("callback: %v", a)
			}
		}
	}
}

// collector takes traces.
type collector struct {
	url string
	mu  sync.Mutex
	got bytes.Buffer
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(r.Body)
			if err != nil {
				t.Error(err)
				return
			}
			body = z
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if _, err := c.got.ReadFrom(body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *collector) received() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.got.Bytes())
}

var hexBytes = regexp.MustCompile(`\\x((?:[0-9a-f]{2})+)`)

// dump is everything that the database holds: every column of every table, as text and, where it is bytes, as those; on SQLite the files
// too, in which what has been removed may still stand.
func (in *installation) dump() []byte {
	in.t.Helper()
	d := in.open()
	var all bytes.Buffer
	tables := `SELECT name FROM sqlite_master WHERE type = 'table'`
	if d.Engine() == db.PostgreSQL {
		tables = `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`
	}
	texts := func(query string) []string {
		rows, err := d.Query(in.t.Context(), query)
		list, err := db.Collect(rows, err, func(row db.Row) (s string, err error) { return s, row.Scan(&s) })
		if err != nil {
			in.t.Fatalf("%s: %v", query, err)
		}
		return list
	}
	for _, table := range texts(tables) {
		fmt.Fprintf(&all, "\n--- %s\n", table)
		if d.Engine() == db.PostgreSQL {
			for _, row := range texts(`SELECT t::text FROM "` + table + `" AS t`) {
				all.WriteString(row + "\n")
				for _, match := range hexBytes.FindAllStringSubmatch(row, -1) {
					if raw, err := hex.DecodeString(match[1]); err == nil {
						all.Write(append(raw, '\n'))
					}
				}
			}
			continue
		}
		for _, column := range texts(`SELECT name FROM pragma_table_info('` + table + `')`) {
			for _, value := range texts(`SELECT HEX(CAST("` + column + `" AS BLOB)) FROM "` + table + `" WHERE "` + column + `" IS NOT NULL`) {
				raw, err := hex.DecodeString(value)
				if err != nil {
					in.t.Fatal(err)
				}
				fmt.Fprintf(&all, "%s: %s\n", column, raw)
			}
		}
	}
	if path, ok := strings.CutPrefix(in.database, "sqlite://"); ok {
		for _, end := range []string{"", "-wal"} {
			raw, err := os.ReadFile(path + end)
			if err != nil && !os.IsNotExist(err) {
				in.t.Fatal(err)
			}
			all.Write(raw)
		}
	}
	return all.Bytes()
}

// refusingMailServer refuses every recipient and repeats what it was told.
type refusingMailServer struct {
	listener net.Listener
	mu       sync.Mutex
	heard    strings.Builder
}

func newRefusingMailServer(t *testing.T) *refusingMailServer {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &refusingMailServer{listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			connection, err := l.Accept()
			if err != nil {
				return
			}
			go s.talk(connection)
		}
	}()
	return s
}

func (s *refusingMailServer) addr() string { return s.listener.Addr().String() }

func (s *refusingMailServer) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heard.String()
}

func (s *refusingMailServer) talk(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, "220 mail.example ESMTP\r\n")
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		line := lines.Text()
		s.mu.Lock()
		s.heard.WriteString(line + "\n")
		s.mu.Unlock()
		switch word, _, _ := strings.Cut(strings.ToUpper(line), " "); {
		case strings.HasPrefix(strings.ToUpper(line), "RCPT TO:"):
			fmt.Fprintf(c, "550 5.1.1 nobody here: %s\r\n", line)
		case word == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 fine\r\n")
		}
	}
}
