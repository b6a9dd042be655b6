package api_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// wrongBodies are all refused, whatever their operation does. None of their values may come back.
var wrongBodies = map[string]string{
	"empty":                    "",
	"blank":                    " \n\t ",
	"null":                     "null",
	"number":                   "5",
	"text":                     `"` + canary + `"`,
	"bool":                     "true",
	"array":                    `["` + canary + `"]`,
	"array of objects":         `[{"name":"` + canary + `"}]`,
	"cut short":                `{"name":"` + canary,
	"two objects":              `{"name":"x"}{"name":"` + canary + `"}`,
	"trailing text":            `{"name":"x"} ` + canary,
	"single quotes":            `{'name':'` + canary + `'}`,
	"comment":                  `{"name":"x"} // ` + canary,
	"trailing comma":           `{"name":"x",}`,
	"form":                     "name=" + canary,
	"XML":                      "<name>" + canary + "</name>",
	"NaN":                      `{"price":NaN}`,
	"control character":        "{\"name\":\"" + canary + "\x01\"}",
	"bad escape":               `{"name":"` + canary + `\q"}`,
	"bytes":                    "\xff\xfe\x00{",
	"byte order mark":          "\ufeff{\"name\":\"" + canary + "\"}",
	"number for text":          `{"name":4242424242424242}`,
	"object for text":          `{"name":{"a":"` + canary + `"}}`,
	"array for text":           `{"name":["` + canary + `"]}`,
	"text for a number":        `{"count":"` + canary + `"}`,
	"fraction for an int":      `{"count":1.5}`,
	"exponent for an int":      `{"count":1e2}`,
	"huge int":                 `{"count":99999999999999999999999999}`,
	"huge exponent":            `{"price":1e99999}`,
	"below the least":          `{"count":-1}`,
	"text for a bool":          `{"gift":"true"}`,
	"number for a bool":        `{"gift":1}`,
	"text for an array":        `{"tags":"` + canary + `"}`,
	"wrong items":              `{"tags":["a",5,null,{"x":"` + canary + `"}]}`,
	"text for an object":       `{"inner":"` + canary + `"}`,
	"not one of the enum":      `{"inner":{"deep":"` + canary + `"}}`,
	"too long":                 `{"secret":"` + strings.Repeat("x", 20) + canary + `"}`,
	"wrong type, then right":   `{"name":5,"name":"x"}`,
	"deep nesting of arrays":   strings.Repeat("[", 2000) + strings.Repeat("]", 2000),
	"deep nesting in a field":  `{"name":` + strings.Repeat(`{"a":`, 500) + "1" + strings.Repeat("}", 500) + `}`,
	"nesting without an end":   strings.Repeat(`{"a":`, 800),
	"nesting beyond the depth": `{"tags":` + strings.Repeat("[", 4000),
}

var rightBodies = map[string]string{
	"all fields":      `{"name":"Amina","secret":"s","count":3,"price":1.5e-7,"gift":true,"tags":["a"],"inner":{"deep":"a"}}`,
	"no fields":       `{}`,
	"unknown fields":  `{"name":"x","unknown":{"deep":[1,2,{"a":null}]},"":1}`,
	"odd characters":  `{"name":"مرحبا \u202e 𠮷 \ud800 \u0000 '--"}`,
	"white space":     "\r\n\t {\"name\" : \"x\"} \n",
	"large numbers":   `{"price":1e308,"unknown":[-1e309,1e999999999,{"a":1e309}]}`,
	"keys alike":      `{"name":"x","inner":{"name":"y"},"list":[{"name":"z"},{"name":"z"}]}`,
	"other case":      `{"NAME":"x"}`,
	"empty array":     `{"tags":[]}`,
	"nested unknowns": `{"extra":` + strings.Repeat("[", 500) + strings.Repeat("]", 500) + `}`,
	"nulls":           `{"name":null,"secret":null,"count":null,"price":null,"gift":null,"tags":null,"inner":null}`,
}

func TestBodies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for name, body := range wrongBodies {
		for _, path := range []string{"/open", "/api/v1/orders/"} {
			r := e.post(path, body, "Authorization", "Bearer token-of-alice").refused(t, 422, "MALFORMED_REQUEST")
			if strings.Contains(r.raw, canary) || strings.Contains(r.raw, "4242424242424242") {
				t.Errorf("%s: the answer repeats what was sent: %s", name, r.raw)
			}
			if t.Failed() {
				t.Fatalf("%s to %s", name, path)
			}
		}
	}
	if n := e.orders.Load(); n != 0 {
		t.Errorf("%d wrong bodies had an effect", n)
	}
	for name, body := range rightBodies {
		if r := e.post("/open", body); r.status != 200 {
			t.Errorf("%s: %d %s", name, r.status, r.raw)
		}
	}
	if strings.Contains(e.log.String(), canary) || strings.Contains(e.log.String(), `"level":"ERROR"`) {
		t.Errorf("bad requests are logged as faults of ours, or with their values:\n%s", e.log.String())
	}
}

// Developers are told what is wrong; message stays the customer's text, and nothing of the body comes back.
func TestErrorSaysWhyARequestCannotBeRead(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	const json = "application/json"
	for _, tt := range []struct{ contentType, body, why string }{
		{"application/x-www-form-urlencoded", `{"name":"x"}`, "expected Content-Type application/json"},
		{"text/plain; charset=utf-8", ``, "the body is empty, expected a JSON object"},
		{json, ``, "the body is empty, expected a JSON object"},
		{json, " \n\t ", "the body is empty, expected a JSON object"},
		{json, `[{"name":"x"}]`, "the body must be a JSON object"},
		{json, `"` + canary + `"`, "the body must be a JSON object"},
		{json, `null`, "the body must be a JSON object"},
		{json, `{"name":"` + canary + `",}`, "JSON error at byte 24"},
		{json, `{'name':1}`, "JSON error at byte 2"},
		{json, `{"name":"` + canary, "JSON error at byte 21, where the body ends too early"},
		{json, `{"name":"x"} ` + canary, "JSON error at byte 14, after the end of the first value"},
		{json, `{"name":"x"}{"name":"y"}`, "JSON error at byte 13, after the end of the first value"},
		{json, "\ufeff{}", "JSON error at byte 1, a byte order mark"},
		{json, `{"count":1e2}`, "a value has the wrong type"},
		{json, `{"count":1e309}`, "a number is too large"},
		{json, `{"name":"x","name":"y"}`, "a key is there more than once"},
		{json, `{"name":"x","name":"x"}`, "a key is there more than once"},
		{json, `{"name":"x","n\u0061me":"y"}`, "a key is there more than once"},
		{json, `{"name":"x","Name":"y"}`, "a key is there more than once"},
		{json, `{"secret":"x","ſecret":"y"}`, "a key is there more than once"}, // equal to encoding/json, which folds the case
		{json, `{"price":1,"extra":[{"a":1,"b":{"a":2},"a":3}]}`, "a key is there more than once"},
		{json, `{"price":1e309,"price":2}`, "a key is there more than once"},
	} {
		r := e.post("/open", tt.body, "Content-Type", tt.contentType, "Accept-Language", "zh").refused(t, 422, "MALFORMED_REQUEST")
		if want := "The request could not be read: " + tt.why; r.body["error"] != want {
			t.Errorf("%s as %s: error %q, want %q", tt.body, tt.contentType, r.body["error"], want)
		}
		if strings.Contains(r.raw, canary) || strings.ContainsFunc(r.body["message"].(string), func(c rune) bool { return c < 0x80 }) {
			t.Errorf("%s: not for customers: %s", tt.body, r.raw)
		}
	}
	if r := e.get("/things?x=%00").refused(t, 422, "MALFORMED_REQUEST"); !strings.Contains(r.body["error"].(string), "path and query") {
		t.Errorf("error %q", r.body["error"])
	}
}

// An operation may have an answer of its own to whatever cannot be read.
func TestUnreadableRequestsOfAnOperationWithAnAnswerOfItsOwn(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for name, body := range wrongBodies {
		if r := e.post("/strict", body).refused(t, 401, "UNAUTHENTICATED"); strings.Contains(r.raw, canary) {
			t.Errorf("%s: %s", name, r.raw)
		}
	}
	e.post("/strict", `{"name":"`+strings.Repeat("x", 5000)+`"}`).refused(t, 401, "UNAUTHENTICATED")
	e.do("POST", "/strict", struct{ io.Reader }{strings.NewReader(strings.Repeat(" ", 5000))}).refused(t, 401, "UNAUTHENTICATED")
	e.post("/strict", `{}`, "Content-Type", "text/plain").refused(t, 401, "UNAUTHENTICATED")
	e.post("/strict?x=%00", `{}`).refused(t, 401, "UNAUTHENTICATED")
	e.post("/strict", `{"name":"x"}`).ok(t)
}

func TestTheAnswerNamesTheFields(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for body, want := range map[string]string{
		`{"count":"x","gift":5}`: "count, gift", `{"inner":{"deep":"x"}}`: "inner.deep", `{"tags":["a",5]}`: "tags[1]",
	} {
		for _, language := range []string{"zh", "en", "ar"} {
			r := e.post("/open", body, "Accept-Language", language).refused(t, 422, "MALFORMED_REQUEST")
			message := r.body["message"].(string)
			if want == "count, gift" && strings.Contains(message, "gift, count") {
				continue
			}
			if !strings.Contains(message, want) {
				t.Errorf("%s in %s: %q does not name %s", body, language, message, want)
			}
		}
	}
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for _, contentType := range []string{"application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8", ""} {
		e.post("/open", `{"name":"x"}`, "Content-Type", contentType).ok(t)
	}
	for _, contentType := range []string{"text/plain", "application/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/cbor", "json/application"} {
		e.post("/open", `{"name":"x"}`, "Content-Type", contentType).refused(t, 422, "MALFORMED_REQUEST")
	}
	// The app sends the header with requests that have no body (contract/rules section 2).
	e.get("/things", "Content-Type", "application/json").ok(t)
	e.do("DELETE", "/things", nil, "Content-Type", "application/json").ok(t)
	e.do("GET", "/things", strings.NewReader("{broken"), "Content-Type", "application/json").ok(t)
	// Bytes of providers are taken as they are.
	if r := e.post("/hook", "\x00\xff not JSON", "Content-Type", "text/plain").ok(t); r.body["length"] != 11.0 {
		t.Errorf("answer %s", r.raw)
	}
}

func TestLargeBodies(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil) // 4096 bytes by default
	padded := func(n int) string { return `{"name":"x"}` + strings.Repeat(" ", n-12) }
	for _, tt := range []struct {
		path string
		size int
		ok   bool
	}{
		{"/open", 4096, true}, {"/open", 4097, false}, {"/open", 100_000, false}, {"/hook", 4096, true}, {"/hook", 4097, false},
		{"/large", 1 << 20, true}, {"/large", 1<<20 + 1, false},
	} {
		for how, body := range map[string]io.Reader{
			"with its length": strings.NewReader(padded(tt.size)),
			"chunked":         struct{ io.Reader }{strings.NewReader(padded(tt.size))},
		} {
			r := e.do("POST", tt.path, body)
			if tt.ok {
				r.ok(t)
				continue
			}
			r.refused(t, 413, "REQUEST_TOO_LARGE")
			if t.Failed() {
				t.Fatalf("%s, %d bytes %s", tt.path, tt.size, how)
			}
		}
	}
	if strings.Contains(e.log.String(), `"level":"ERROR"`) {
		t.Error("too large requests are logged as faults of ours")
	}
}

// Bodies that end early or are not what their headers say: the caller's fault, not ours.
func TestBodiesThatBreakOff(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	for name, rest := range map[string]string{
		"shorter than announced": "Content-Length: 100\r\n\r\n{\"name\":",
		"no chunk at all":        "Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"a chunk cut short":      "Transfer-Encoding: chunked\r\n\r\n40\r\n{\"name\":",
		"a length too long":      "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprintf(conn, "POST /open HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAccept-Language: en\r\n%s", rest); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		raw, _ := io.ReadAll(answer.Body)
		_ = conn.Close()
		r := reply{status: answer.StatusCode, header: answer.Header, raw: string(raw)}
		_ = json.Unmarshal(raw, &r.body)
		r.refused(t, 422, "MALFORMED_REQUEST")
	}
	if e.orders.Load() != 0 || strings.Contains(e.log.String(), `"level":"ERROR"`) {
		t.Errorf("%d effects, log\n%s", e.orders.Load(), e.log.String())
	}
}

func FuzzRequestBody(f *testing.F) {
	for _, body := range wrongBodies {
		f.Add([]byte(body), "application/json")
	}
	for _, body := range rightBodies {
		f.Add([]byte(body), "application/json; charset=utf-8")
	}
	f.Add([]byte(`{}`), "text/plain")
	handler := newEdge(f, nil).api.Handler()
	f.Fuzz(func(t *testing.T, body []byte, contentType string) {
		r := httptest.NewRequest("POST", "/api/v1/open/", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", contentType)
		r.RemoteAddr = "127.0.0.1:4711" // spared by the limits
		r.Header.Set("Accept-Language", "ar")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 413 && w.Code != 422 {
			t.Errorf("answer %d %s", w.Code, w.Body)
		}
		var object map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &object); err != nil || object == nil {
			t.Errorf("the answer is no JSON object: %s", w.Body)
		}
		if text, ok := object["message"].(string); w.Code != 200 && (!ok || text == "") {
			t.Errorf("no message in %s", w.Body)
		}
	})
}
