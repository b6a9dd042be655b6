package cli_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/comecomepay/comecomepay/internal/sandbox/udun"
)

// Every route that the description of the API names, so that new ones are covered as soon as they are there: whoever calls, and
// whatever they send, the answer is one of ours. Nothing makes the program fail.
func TestEveryRoute(t *testing.T) {
	for _, engine := range engines {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			in := install(t, engine, 1)
			in.serve()
			r := &routes{installation: in}
			r.read()
			r.people()
			for _, op := range r.operations {
				r.deaths = 0
				if !r.equipped && strings.HasPrefix(op.path, "/wallet") {
					r.equip()
				}
				r.strangers(op)
				r.others(op)
				r.values(op)
				r.bodies(op)
				r.headers(op)
			}
			r.nowhere()
			t.Logf("%d requests to %d operations", r.sent, len(r.operations))
			in.replicas[0].stop()
			in.replicas[0].checkLog()
		})
	}
}

// schema is as much of a JSON schema as is needed to fill in a body, and to look for what an answer lacks.
type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"`
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Items      *schema           `json:"items"`
	Examples   []any             `json:"examples"`
}

type parameter struct {
	Name string `json:"name"`
	In   string `json:"in"`
}

// operation is one operation of the description.
type operation struct {
	method, path string
	Security     []map[string][]string `json:"security"`
	Parameters   []parameter           `json:"parameters"`
	RequestBody  *struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]*struct {
		Content map[string]struct {
			Schema schema `json:"schema"`
		} `json:"content"`
	} `json:"responses"`

	example object // a body as the description shows it
}

func (op operation) secured() bool { return len(op.Security) > 0 }

type routes struct {
	*installation
	operations                            []operation
	schemas                               map[string]schema
	caller, other, frozen, closed, former *customer // former: whose token has run out
	verification                          string    // of other
	session                               string    // of other
	deaths                                int       // sessions that the operation has ended
	alive                                 bool
	equipped                              bool // the caller can pay
	sent                                  int
}

// read gets the operations from the running program.
func (r *routes) read() {
	a, err := r.send("GET", r.replicas[0].url()+"/openapi.json", nil, nil)
	if err != nil || !a.ok() {
		r.t.Fatal(a, err)
	}
	var description struct {
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal([]byte(a.text), &description); err != nil {
		r.t.Fatal(err)
	}
	r.schemas = description.Components.Schemas
	for _, path := range slices.Sorted(maps.Keys(description.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(description.Paths[path])) {
			op := operation{method: strings.ToUpper(method), path: path}
			if err := json.Unmarshal(description.Paths[path][method], &op); err != nil {
				r.t.Fatalf("%s %s: %v", method, path, err)
			}
			if op.RequestBody != nil {
				s := r.resolved(op.RequestBody.Content["application/json"].Schema)
				op.example = object{}
				for name, property := range s.Properties {
					op.example[name] = "x"
					if len(property.Examples) > 0 {
						op.example[name] = property.Examples[0]
					}
				}
			}
			r.operations = append(r.operations, op)
		}
	}
	if len(r.operations) < 20 {
		r.t.Fatalf("the description names %d operations", len(r.operations))
	}
}

// people are those who call.
func (r *routes) people() {
	r.former = r.join()
	r.advance(25 * time.Hour) // an access token lasts for 24 hours
	r.caller, r.other, r.frozen, r.closed = r.join(), r.join(), r.join(), r.join()
	r.verification = r.other.must("POST", "/didit/initialize-token", r.other.form()).field("verification_id")
	for _, x := range r.other.must("GET", "/user/sessions", nil).body["sessions"].([]any) {
		if s := x.(object); s["current"] == true {
			r.session = s["id"].(string)
		}
	}
	if r.verification == "" || r.session == "" {
		r.t.Fatal("no verification or session to try with")
	}
	r.operate("account", "freeze", r.frozen.email)
	r.operate("account", "close", r.closed.email)
}

// equip makes somebody the caller who has coins and a transaction password, so that calls about money come as far as the money.
func (r *routes) equip() {
	r.caller, r.equipped = r.join(), true
	asked := r.caller.must("POST", "/user/transaction-password/request", object{"transaction_password": paymentPIN, "confirm_transaction_password": paymentPIN})
	r.caller.must("POST", "/user/transaction-password/complete", object{"otp_code": r.caller.code(), "temp_hash": asked.field("temp_hash")})
	paid := false
	eventually(r.t, time.Minute, func() error {
		first := r.caller.must("GET", "/wallet/", nil).body["wallet"].(object)["balances"].([]any)[0].(object)
		switch address := first["address"].(string); {
		case address != "" && !paid:
			paid = true
			if _, err := r.simulators.Udun().Deposit(r.t.Context(), udun.Deposit{Address: address, Coin: first["currency"].(string), Amount: "900"}); err != nil {
				return err
			}
			fallthrough
		case first["balance"].(json.Number).String() == "0":
			return fmt.Errorf("no coins: %v", first)
		}
		return nil
	})
	for _, op := range r.operations {
		if op.path == "/wallet/transfer-by-uid" {
			op.example["recipient_uid"], op.example["transaction_password"], op.example["amount"] = r.other.id, paymentPIN, json.Number("0.01")
			if a := r.caller.call("POST", op.path, op.example); !a.ok() {
				r.t.Errorf("the transfer that the others are made from: %v", a)
			}
		}
	}
}

var languages = []string{"en", "zh", "ar"}

// request sends one request under one of the forms of a path (contract/rules section 1), as a caller, in one of the languages,
// and checks what holds for every answer.
func (r *routes) request(op operation, as *customer, path string, header http.Header, body any) answer {
	r.t.Helper()
	r.sent++
	language := languages[r.sent%len(languages)]
	h := as.headers()
	h.Set("Accept-Language", language)
	for name, values := range header {
		h[name] = values
	}
	if r.sent%2 == 0 {
		path = "/api/v1" + path
	}
	if beforeQuery, query, has := strings.Cut(path, "?"); r.sent%5 == 0 && !strings.HasSuffix(beforeQuery, "/") {
		if path = beforeQuery + "/"; has {
			path += "?" + query
		}
	}
	a, err := r.send(op.method, r.replicas[0].url()+path, h, body)
	if err != nil {
		r.t.Errorf("%s %s: %v", op.method, clip(path, 200), err)
		return a
	}
	said := fmt.Sprintf("%s %s with %s", op.method, clip(path, 200), clip(fmt.Sprint(body), 200))
	switch {
	case a.status >= 500 && (a.status != http.StatusServiceUnavailable || op.path != "/didit/initialize-token"):
		r.t.Errorf("%s: %v", said, a)
	case op.Responses[strconv.Itoa(a.status)] == nil && op.path != "/didit/status" && !slices.Contains([]string{"ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"}, a.field("code")):
		r.t.Errorf("%s: %d is not described: %v", said, a.status, a)
	case a.status == http.StatusUnauthorized && op.Responses["401"] == nil:
		r.t.Errorf("%s: a 401 throws the customer out, and the description names none: %v", said, a)
	case a.status == http.StatusUnauthorized && op.secured() && as == r.caller && r.alive && header.Get("Authorization") == "":
		r.t.Errorf("%s: the token is good: %v", said, a)
	case a.status >= 300 && a.status < 400, a.status == http.StatusNoContent:
		r.t.Errorf("%s: the app takes %d for an error", said, a.status)
	case a.status < 300 && a.body != nil && a.field("status") != "success":
		r.t.Errorf("%s: %v", said, a)
	}
	if a.status == http.StatusOK && !r.leadsElsewhere(op, path) {
		r.checkComplete(said, op.Responses["200"].Content["application/json"].Schema, a.body)
	}
	if a.status >= 400 {
		if r.checkRefusal(said, a, h.Get("Accept-Language")); a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") == "" {
			r.t.Errorf("%s: 429 without Retry-After", said)
		}
	}
	return a
}

// leadsElsewhere tells whether a parameter without content has made the path that of another operation.
func (r *routes) leadsElsewhere(op operation, sent string) bool {
	sent, _, _ = strings.Cut(strings.TrimPrefix(sent, "/api/v1"), "?")
	if plain, err := url.PathUnescape(sent); err == nil {
		sent = path.Clean(plain)
	}
	return slices.ContainsFunc(r.operations, func(o operation) bool { return o.method == op.method && o.path == sent && o.path != op.path })
}

func (r *routes) resolved(s schema) schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok {
		return r.schemas[name]
	}
	return s
}

// checkComplete looks in an answer for what is described as always there, and for null, which is described nowhere.
func (r *routes) checkComplete(said string, s schema, value any) {
	r.t.Helper()
	s = r.resolved(s)
	switch v := value.(type) {
	case nil:
		if s.Type != nil {
			r.t.Errorf("%s: null for what is described as %v", said, s.Type)
		}
	case object:
		for _, key := range s.Required {
			if _, ok := v[key]; !ok {
				r.t.Errorf("%s: the answer lacks %s: %v", said, key, v)
			}
		}
		for key, below := range v {
			r.checkComplete(said+" "+key, s.Properties[key], below)
		}
	case []any:
		for _, below := range v {
			if s.Items != nil {
				r.checkComplete(said, *s.Items, below)
			}
		}
	}
}

var scripts = map[string]*unicode.RangeTable{"en": unicode.Latin, "zh": unicode.Han, "ar": unicode.Arabic}

// checkRefusal holds an error against contract/rules section 4.
func (r *routes) checkRefusal(said string, a answer, language string) {
	r.t.Helper()
	if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		r.t.Errorf("%s: an error as %s", said, a.header.Get("Content-Type"))
	}
	for _, key := range []string{"message", "error", "details", "code", "request_id"} {
		if a.field(key) == "" {
			r.t.Errorf("%s: no text %s: %v", said, key, a)
		}
	}
	if a.field("status") != "error" {
		r.t.Errorf("%s: %v", said, a)
	}
	script := scripts[language]
	if script == nil {
		return
	}
	in := func(table *unicode.RangeTable) bool {
		return strings.ContainsFunc(a.field("message"), func(c rune) bool { return unicode.Is(table, c) })
	}
	if !in(script) || language == "en" && (in(unicode.Han) || in(unicode.Arabic)) {
		r.t.Errorf("%s: not in %s: %v", said, language, a)
	}
	if strings.ContainsFunc(a.field("error"), func(c rune) bool { return unicode.Is(unicode.Han, c) || unicode.Is(unicode.Arabic, c) }) {
		r.t.Errorf("%s: error is not in English: %v", said, a)
	}
}

// filled is the path with a value in the place of every parameter.
func (op operation) filled(value string) string {
	path := op.path
	for _, p := range op.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", value)
		}
	}
	return path
}

// body is what the operation wants, as far as the description tells.
func (op operation) body() any {
	if op.example == nil {
		return nil
	}
	return op.example
}

// enough sessions have been ended by one operation; its other requests are made with a token that is of no use any more.
const enough = 10

// signedIn is the caller with a token that works, unless the operation ends sessions and has done so often enough.
func (r *routes) signedIn() *customer {
	r.alive = r.caller.call("GET", "/user/profile", nil).ok()
	if r.alive || r.deaths >= enough {
		return r.caller
	}
	r.deaths++
	r.caller, r.alive = r.join(), true // somebody new, since one address gets only so many codes in an hour
	return r.caller
}

const sample = "u1_1700000000_abcdefgh"

// strangers call without a token that is good for anything.
func (r *routes) strangers(op operation) {
	forged := strings.Split(r.other.access, ".")
	forged[2] = strings.Repeat("A", len(forged[2]))
	none := strings.Split(r.other.access, ".")
	none[0] = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0" // {"alg":"none","typ":"JWT"}
	for what, authorization := range map[string]string{
		"nothing": "", "only the word": "Bearer", "another scheme": "Basic YTpi", "garbage": "Bearer garbage", "three parts": "Bearer a.b.c",
		"a forged signature": "Bearer " + strings.Join(forged, "."), "no signature": "Bearer " + none[0] + "." + none[1] + ".",
		"a refresh token": "Bearer " + r.other.refresh, "a long one": "Bearer " + strings.Repeat("x", 8000), "bytes": "Bearer \xff\xfe",
		"one that has run out": "Bearer " + r.former.access, "one of a closed account": "Bearer " + r.closed.access,
	} {
		h := http.Header{"Authorization": {authorization}}
		if authorization == "" {
			h = http.Header{"Authorization": nil}
		}
		a := r.request(op, r.other, op.filled(sample), h, op.body())
		if op.secured() && a.status != http.StatusUnauthorized {
			r.t.Errorf("%s %s with %s: %v", op.method, op.path, what, a)
		}
	}
	if !op.secured() {
		return
	}
	// Who is frozen may look and may not act; in no case is the token to blame.
	if a := r.request(op, r.frozen, op.filled(sample), nil, op.body()); a.status == http.StatusUnauthorized {
		r.t.Errorf("%s %s with a frozen account: %v", op.method, op.path, a)
	}
	if !r.frozen.call("GET", "/user/profile", nil).ok() {
		r.operate("account", "unfreeze", r.frozen.email)
		r.frozen = r.join()
		r.operate("account", "freeze", r.frozen.email)
	}
}

// others are customers who name what belongs to somebody else.
func (r *routes) others(op operation) {
	if !op.secured() || op.filled("") == op.path {
		return
	}
	for what, id := range map[string]string{"session": r.session, "verification": r.verification, "address": r.other.email,
		"number": fmt.Sprint(r.other.id), "number of a verification": "1"} {
		a := r.request(op, r.signedIn(), op.filled(id), nil, op.body())
		if a.ok() {
			r.t.Errorf("%s %s with the %s of another customer: %v", op.method, op.path, what, a)
		}
	}
	if a := r.other.call("GET", "/didit/status", nil); a.field("latest_kyc", "status") != "pending_submit" {
		r.t.Errorf("after %s %s the other customer is not where they were: %v", op.method, op.path, a)
	}
}

// awkward are texts that break programs.
var awkward = []string{
	"", " ", "null", "0", "-1", "\x00", "a\x00b", "\x01\x1b[31m\x7f", "\r\nX-Injected: 1", "\u202eمرحبا\u202c", "مرحبا بالعالم", "你好", "😀🏦𝕏",
	"e\u0301\u0301\u0301", "\ufeff", "\ufffd", "' OR 1=1 --", `"; DROP TABLE users; --`, "<script>alert(1)</script>", "${jndi:ldap://127.0.0.1/a}", "%s%n%d", "{{.}}",
	"../../etc/passwd", `..\..`, "a@b", "@", "a@@b.c", "amina@example.com\n", strings.Repeat("a", 10_000), strings.Repeat("😀", 3_000), strings.Repeat("a", 300) + "@example.com",
	"18446744073709551616", "1e999", "00000", "٠١٢٣٤", "\xff\xfe", "\xc3\x28", "\xed\xa0\x80",
}

// values puts them where the path and the query have room.
func (r *routes) values(op operation) {
	for _, text := range awkward {
		if op.filled("") != op.path {
			r.request(op, r.signedIn(), op.filled(url.PathEscape(text)), nil, op.body())
		}
		for _, p := range op.Parameters {
			if p.In == "query" {
				r.request(op, r.signedIn(), op.filled(sample)+"?"+p.Name+"="+url.QueryEscape(text), nil, op.body())
			}
		}
	}
	for _, text := range []string{"%00", "%", "%zz", "%ff%fe", "%2e%2e%2f", "%2F%2F", "a%0d%0ab", "..;", strings.Repeat("%F0%9F%98%80", 500)} {
		if op.filled("") != op.path {
			r.requestRaw(op, op.filled(text))
		}
		for _, name := range []string{"lang", "page", "unknown"} {
			r.requestRaw(op, op.filled(sample)+"?"+name+"="+text)
		}
	}
}

// requestRaw sends a path as it stands, if a client can send it at all.
func (r *routes) requestRaw(op operation, path string) {
	if _, err := url.Parse(r.replicas[0].url() + path); err == nil {
		r.request(op, r.signedIn(), path, nil, op.body())
	}
}

// bodies sends what is no body for the operation, and what is one with something wrong in every place.
func (r *routes) bodies(op operation) {
	if op.method == http.MethodGet || op.method == http.MethodHead {
		// The app sends a content type with these too, and an old one a body.
		r.request(op, r.signedIn(), op.filled(sample), nil, "")
		r.request(op, r.signedIn(), op.filled(sample), nil, `{"broken`)
		return
	}
	deep := strings.Repeat(`{"a":[`, 10_000) + "1" + strings.Repeat("]}", 10_000)
	for _, text := range []string{"", " ", "null", "true", "0", `""`, "[]", "{}", "[{}]", "{", `{"a"`, `{"a":}`, "{}{}", "{} garbage", "'", "\x00", "\ufeff{}", "\xff\xfe{",
		`{"email":"a@example.com","email":"b@example.com"}`, `{"":""}`, "<xml/>", "a=b&c=d", deep, `{"email":` + deep + `}`, strings.Repeat("[", 30_000), strings.Repeat(`{"a":`, 10_000),
		`{"email":"` + strings.Repeat("x", 1<<20) + `"}`, strings.Repeat(" ", 1<<20), `{"email":1e99999}`, `{"email":"\ud800"}`, `{"otp_code":"\u0000"}`} {
		a := r.request(op, r.signedIn(), op.filled(sample), nil, text)
		if len(text) >= 1<<20 && op.example != nil && op.secured() && a.status != http.StatusRequestEntityTooLarge {
			r.t.Errorf("%s %s with a megabyte: %v", op.method, op.path, a)
		}
	}
	for name, value := range op.example {
		for _, value := range []any{nil, true, 0, -1.5, 1e300, json.Number("123456789012345678901234567890"), []any{}, []any{"a", nil}, object{}, object{"a": object{"b": nil}}} {
			r.request(op, r.signedIn(), op.filled(sample), nil, with(op.example, name, value))
		}
		for _, text := range awkward {
			r.request(op, r.signedIn(), op.filled(sample), nil, with(op.example, name, text))
		}
		// Of the right length, which is often looked at first.
		if text, _ := value.(string); text != "" {
			for _, odd := range []string{"\x00" + text[1:], text[:len(text)-1] + "\x00", "\u202e" + text[min(3, len(text)):]} {
				r.request(op, r.signedIn(), op.filled(sample), nil, with(op.example, name, odd))
			}
		}
		without := maps.Clone(op.example)
		delete(without, name)
		r.request(op, r.signedIn(), op.filled(sample), nil, without)
	}
	r.request(op, r.signedIn(), op.filled(sample), nil, with(op.example, "unknown", object{"a": []any{1, "b", nil}}))
}

// with is a body with one other value.
func with(body object, name string, value any) object {
	changed := object{}
	maps.Copy(changed, body)
	changed[name] = value
	return changed
}

// headers sends what no app sends.
func (r *routes) headers(op operation) {
	for _, h := range []http.Header{
		{"Content-Type": {"text/plain"}}, {"Content-Type": {"application/x-www-form-urlencoded"}}, {"Content-Type": {"multipart/form-data; boundary=x"}},
		{"Content-Type": {"application/json; charset=\xff"}}, {"Content-Type": {""}}, {"Content-Type": {"application/cbor"}}, {"Content-Encoding": {"gzip"}},
		{"Accept": {"text/html"}}, {"Accept": {"application/cbor"}}, {"Accept": {"\xff"}},
		{"Accept-Language": {"xx"}}, {"Accept-Language": {"\x80"}}, {"Accept-Language": {strings.Repeat("en,", 2000)}},
		{"Idempotency-Key": {"short"}}, {"Idempotency-Key": {strings.Repeat("k", 500)}}, {"Idempotency-Key": {"with spaces and مرحبا"}}, {"Idempotency-Key": {"key-of-all-routes"}},
		{"X-Request-Id": {"\x80"}}, {"X-Request-Id": {strings.Repeat("r", 1000)}}, {"X-Forwarded-For": {"garbage, 1.2.3.4"}}, {"User-Agent": {strings.Repeat("\xf0\x9f", 500)}},
		{"Origin": {"https://evil.example"}}, {"Range": {"bytes=0-1"}}, {"Expect": {"100-continue"}}, {"Traceparent": {"00-zz"}},
	} {
		a := r.request(op, r.signedIn(), op.filled(sample), h, op.body())
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			r.t.Errorf("browsers of other origins may call: %v", a)
		}
	}
}

// nowhere is where no route is.
func (r *routes) nowhere() {
	for _, path := range []string{"/", "/api", "/api/v1", "/api/v2/didit/status", "/didit", "/auth/verify-otp", "/card/list", "/%2e%2e/etc/passwd", "/didit/status/extra", "/DIDIT/status", "/😀", "//"} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"} {
			if a := r.request(operation{method: method}, r.caller, path, nil, nil); a.status != http.StatusNotFound && a.status != http.StatusMethodNotAllowed {
				r.t.Errorf("%s %s: %v", method, path, a)
			}
		}
	}
	for _, op := range r.operations {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if !slices.ContainsFunc(r.operations, func(o operation) bool { return o.path == op.path && o.method == method }) {
				if a := r.request(operation{method: method}, r.caller, op.filled(sample), nil, nil); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") == "" {
					r.t.Errorf("%s %s: %v", method, op.path, a)
				}
			}
		}
	}
}
