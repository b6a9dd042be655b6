package didit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// The vectors of provider/didit.md section 4.6.
const (
	vectorSecret = "demo-didit-secret-Zk3pQ9_xT7"

	vectorA = `{"application_id":"00000000-0000-4000-8000-000000000001","created_at":1767225600,"decision":{"aml_screenings":null,"face_matches":[{"score":73.81,"status":"Approved"}],"id_verifications":[{"age":31.0,"first_name":"Zo\u00eb","last_name":"\u9673","status":"Approved","warnings":[]}],"liveness_checks":[{"score":92.0,"status":"Approved"}]},"environment":"sandbox","event_id":"6f1c2d3e-0000-4a5b-8c7d-9e0f1a2b3c4d","metadata":{"note":"a<b & c>d","tier":1},"session_id":"11111111-2222-4333-8444-555555555555","session_kind":"user","status":"Approved","timestamp":1767225605,"vendor_data":"user-42","webhook_type":"status.updated","workflow_id":"99999999-8888-4777-8666-555555555555","workflow_version":3}`

	vectorACanonical = `{"application_id":"00000000-0000-4000-8000-000000000001","created_at":1767225600,"decision":{"aml_screenings":null,"face_matches":[{"score":73.81,"status":"Approved"}],"id_verifications":[{"age":31,"first_name":"Zoë","last_name":"陳","status":"Approved","warnings":[]}],"liveness_checks":[{"score":92,"status":"Approved"}]},"environment":"sandbox","event_id":"6f1c2d3e-0000-4a5b-8c7d-9e0f1a2b3c4d","metadata":{"note":"a<b & c>d","tier":1},"session_id":"11111111-2222-4333-8444-555555555555","session_kind":"user","status":"Approved","timestamp":1767225605,"vendor_data":"user-42","webhook_type":"status.updated","workflow_id":"99999999-8888-4777-8666-555555555555","workflow_version":3}`

	vectorARaw    = "578c35a219d22020cf3a10e587fa14629bb8eb0f044e2868aa24a51f967e4f24"
	vectorAV2     = "5eb4517b3667e1ef5dbad9d83db7f69718d4a6b1a70a4900e59a75c0cfd79ab1"
	vectorASimple = "1ce43e696d0ab2eb4a6ed41f3330e84a40ffe73b6baf0eadb209fa34e9ba8987"

	vectorB          = `{"b":1.0,"a":{"z":[1,2.50,0.0,-0.0],"y":null},"status":"Declined"}`
	vectorBCanonical = `{"a":{"y":null,"z":[1,2.5,0,0]},"b":1,"status":"Declined"}`
	vectorBRaw       = "b2bc39f28136ae578fbc94435dc548dda0cd378bcd6e7ecb86fcf1400dda02e6"
	vectorBV2        = "939e0abf254c425b8aa1043484782248018af5a221a3416f79f8938347a0d699"
)

// The values of known mistakes: HTML escaping left on, whole floats not shortened, timestamp prefix added.
var vectorAMistakes = []string{
	"ce5c3dbcc26e4617d079687338078a3cc6e709a9b1811e647335a213bc35897f",
	"b34519f3e30a6d356ba1cab5296edd4a468d98fe676bfc728d8144f32718ebce",
	"f085ddc0e59435f740fcc7d9839e8f983ae211132f8e922850f912ec9b876609",
}

var vectorTime = time.Unix(1767225605, 0).UTC()

func newTestVerifier(t testing.TB, config VerifierConfig) *Verifier {
	t.Helper()
	if config.Secrets == nil {
		config.Secrets = []secret.Text{secret.NewText(vectorSecret)}
	}
	if config.Clock == nil {
		config.Clock = clock.NewFixed(vectorTime)
	}
	v, err := NewVerifier(config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestVectors(t *testing.T) {
	t.Parallel()
	if sum := sha256.Sum256([]byte(vectorA)); hex.EncodeToString(sum[:]) != "e21a4c44b618e419dd20eac75b9b9beea5c12e9bc72423531e302e25c11763a7" {
		t.Fatal("vector A is not copied exactly")
	}
	signer := NewSigner(secret.NewText(vectorSecret))
	for _, vector := range []struct{ name, body, canonical, raw, v2 string }{
		{"A", vectorA, vectorACanonical, vectorARaw, vectorAV2},
		{"B", vectorB, vectorBCanonical, vectorBRaw, vectorBV2},
	} {
		canonical, err := Canonical([]byte(vector.body))
		if err != nil || string(canonical) != vector.canonical {
			t.Errorf("%s: canonical form, %v:\n got %s\nwant %s", vector.name, err, canonical, vector.canonical)
		}
		if got := signer.Raw([]byte(vector.body)); got != vector.raw {
			t.Errorf("%s: raw signature %s, want %s", vector.name, got, vector.raw)
		}
		if got, err := signer.Canonical([]byte(vector.body)); err != nil || got != vector.v2 {
			t.Errorf("%s: canonical signature %s, %v, want %s", vector.name, got, err, vector.v2)
		}
	}
	if got, err := signer.Simple([]byte(vectorA)); err != nil || got != vectorASimple {
		t.Errorf("simple signature %s, %v, want %s", got, err, vectorASimple)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	const now = "1767225605"
	reencoded := strings.ReplaceAll(vectorACanonical, `,"`, `, "`) // what a proxy makes of it
	tampered := strings.Replace(vectorA, "user-42", "user-43", 1)
	all := func(body string) http.Header {
		s := NewSigner(secret.NewText(vectorSecret))
		v2, _ := s.Canonical([]byte(body))
		simple, _ := s.Simple([]byte(body))
		return headers(HeaderTimestamp, now, HeaderSignature, s.Raw([]byte(body)), HeaderSignatureV2, v2, HeaderSignatureSimple, simple)
	}
	at := func(timestamp string) string { return strings.Replace(vectorA, "1767225605", timestamp, 1) }
	cases := map[string]struct {
		header http.Header
		body   string
		after  time.Duration // since the vector's time
		config VerifierConfig
		scheme Scheme
		err    error
	}{
		"raw":                                {headers(HeaderTimestamp, now, HeaderSignature, vectorARaw), vectorA, 0, VerifierConfig{}, SchemeRaw, nil},
		"raw in capitals":                    {headers(HeaderTimestamp, now, HeaderSignature, strings.ToUpper(vectorARaw)), vectorA, 0, VerifierConfig{}, SchemeRaw, nil},
		"canonical":                          {headers(HeaderTimestamp, now, HeaderSignatureV2, vectorAV2), vectorA, 0, VerifierConfig{}, SchemeCanonical, nil},
		"canonical after re-encoding":        {headers(HeaderTimestamp, now, HeaderSignature, vectorARaw, HeaderSignatureV2, vectorAV2), reencoded, 0, VerifierConfig{}, SchemeCanonical, nil},
		"simple":                             {headers(HeaderTimestamp, now, HeaderSignatureSimple, vectorASimple), vectorA, 0, VerifierConfig{}, SchemeSimple, nil},
		"simple, other content":              {headers(HeaderTimestamp, now, HeaderSignatureSimple, vectorASimple), tampered, 0, VerifierConfig{}, SchemeSimple, nil},
		"simple refused":                     {headers(HeaderTimestamp, now, HeaderSignatureSimple, vectorASimple), vectorA, 0, VerifierConfig{RefuseSimple: true}, "", ErrSignature},
		"all three":                          {all(vectorA), vectorA, 0, VerifierConfig{}, SchemeRaw, nil},
		"no signature":                       {headers(HeaderTimestamp, now), vectorA, 0, VerifierConfig{}, "", ErrSignature},
		"raw of a tampered body":             {headers(HeaderTimestamp, now, HeaderSignature, vectorARaw, HeaderSignatureV2, vectorAV2), tampered, 0, VerifierConfig{}, "", ErrSignature},
		"signature of the other header":      {headers(HeaderTimestamp, now, HeaderSignature, vectorAV2, HeaderSignatureV2, vectorARaw), vectorA, 0, VerifierConfig{}, "", ErrSignature},
		"HTML escaping left on":              {headers(HeaderTimestamp, now, HeaderSignatureV2, vectorAMistakes[0]), vectorA, 0, VerifierConfig{}, "", ErrSignature},
		"whole floats not shortened":         {headers(HeaderTimestamp, now, HeaderSignatureV2, vectorAMistakes[1]), vectorA, 0, VerifierConfig{}, "", ErrSignature},
		"timestamp prefix":                   {headers(HeaderTimestamp, now, HeaderSignatureV2, vectorAMistakes[2]), vectorA, 0, VerifierConfig{}, "", ErrSignature},
		"empty signature":                    {headers(HeaderTimestamp, now, HeaderSignature, ""), vectorA, 0, VerifierConfig{}, "", ErrSignature},
		"half a signature":                   {headers(HeaderTimestamp, now, HeaderSignature, vectorARaw[:32]), vectorA, 0, VerifierConfig{}, "", ErrSignature},
		"not hex":                            {headers(HeaderTimestamp, now, HeaderSignature, strings.Repeat("zz", 32)), vectorA, 0, VerifierConfig{}, "", ErrSignature},
		"another secret":                     {headers(HeaderTimestamp, now, HeaderSignature, vectorARaw), vectorA, 0, VerifierConfig{Secrets: []secret.Text{secret.NewText("other")}}, "", ErrSignature},
		"second of two secrets":              {headers(HeaderTimestamp, now, HeaderSignature, vectorARaw), vectorA, 0, VerifierConfig{Secrets: []secret.Text{secret.NewText("new"), secret.NewText(vectorSecret)}}, SchemeRaw, nil},
		"at the end of the window":           {all(vectorA), vectorA, 300 * time.Second, VerifierConfig{}, SchemeRaw, nil},
		"past the window":                    {all(vectorA), vectorA, 301 * time.Second, VerifierConfig{}, SchemeRaw, ErrStale},
		"from the future":                    {all(vectorA), vectorA, -301 * time.Second, VerifierConfig{}, SchemeRaw, ErrStale},
		"late, wide window":                  {all(vectorA), vectorA, 600 * time.Second, VerifierConfig{Window: DeduplicatedWindow}, SchemeRaw, nil},
		"too late, wide window":              {all(vectorA), vectorA, 601 * time.Second, VerifierConfig{Window: DeduplicatedWindow}, SchemeRaw, ErrStale},
		"replayed under a fresh header":      {headers(HeaderTimestamp, strconv.Itoa(1767225605+3600), HeaderSignature, vectorARaw), vectorA, time.Hour, VerifierConfig{}, SchemeRaw, ErrStale},
		"fresh body, stale header":           {headers(HeaderTimestamp, strconv.Itoa(1767225605-3600), HeaderSignature, vectorARaw), vectorA, 0, VerifierConfig{}, SchemeRaw, ErrStale},
		"no timestamp header":                {headers(HeaderSignature, vectorARaw), vectorA, 0, VerifierConfig{}, SchemeRaw, ErrStale},
		"timestamp header is text":           {headers(HeaderTimestamp, "now", HeaderSignature, vectorARaw), vectorA, 0, VerifierConfig{}, SchemeRaw, ErrStale},
		"ISO timestamp":                      {all(at(`"2026-01-01T00:00:05Z"`)), at(`"2026-01-01T00:00:05Z"`), 0, VerifierConfig{}, SchemeRaw, nil},
		"stale ISO timestamp":                {all(at(`"2025-12-31T23:00:05Z"`)), at(`"2025-12-31T23:00:05Z"`), 0, VerifierConfig{}, SchemeRaw, ErrStale},
		"created_at stands in for timestamp": {all(at(`null`)), at(`null`), 0, VerifierConfig{}, SchemeRaw, nil},
		"no time in the body at all":         {all(`{"session_id":"x"}`), `{"session_id":"x"}`, 0, VerifierConfig{}, SchemeRaw, ErrStale},
		"simple does not sign created_at":    {headers(HeaderTimestamp, now, HeaderSignatureSimple, all(at(`null`)).Get(HeaderSignatureSimple)), at(`null`), 0, VerifierConfig{}, SchemeSimple, ErrStale},
		"signed, but not an object":          {all(`[1]`), `[1]`, 0, VerifierConfig{}, SchemeRaw, ErrBody},
		"signed, but not JSON":               {all(`<html>`), `<html>`, 0, VerifierConfig{}, SchemeRaw, ErrBody},
		"empty":                              {all(``), ``, 0, VerifierConfig{}, SchemeRaw, ErrBody},
		"huge":                               {all(`{}`), strings.Repeat(" ", MaxWebhook) + "{}", 0, VerifierConfig{}, "", ErrBody},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.config.Clock = clock.NewFixed(vectorTime.Add(test.after))
			result, err := newTestVerifier(t, test.config).Verify(test.header, []byte(test.body))
			if !errors.Is(err, test.err) || result.Scheme != test.scheme {
				t.Fatalf("got %q, %v; want %q, %v", result.Scheme, err, test.scheme, test.err)
			}
			if result.MustRefetch != (test.scheme == SchemeSimple) {
				t.Errorf("must refetch: %v", result.MustRefetch)
			}
			if err == nil && (result.Event.Status != StatusApproved || result.Event.SessionID == "") {
				t.Errorf("the event is not read: %+v", result.Event)
			}
		})
	}
}

func TestVerifySaysWhichSecret(t *testing.T) {
	t.Parallel()
	v := newTestVerifier(t, VerifierConfig{Secrets: []secret.Text{secret.NewText("new"), secret.NewText(vectorSecret)}})
	result, err := v.Verify(headers(HeaderTimestamp, "1767225605", HeaderSignature, vectorARaw, HeaderTest, "true"), []byte(vectorA))
	if err != nil || result.Secret != 1 || !result.Test || !result.Timestamp.Equal(vectorTime) {
		t.Errorf("got %+v, %v", result, err)
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	t.Parallel()
	one := []secret.Text{secret.NewText("s")}
	for name, config := range map[string]VerifierConfig{
		"no secret":         {},
		"an empty secret":   {Secrets: append(one, secret.Text{})},
		"a negative window": {Secrets: one, Window: -time.Second},
		"a wide window":     {Secrets: one, Window: time.Hour},
	} {
		if _, err := NewVerifier(config); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestCanonical(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`92.0`: `92`, `-0.0`: `0`, `-0`: `0`, `0e5`: `0`, `2.50`: `2.5`, `1e2`: `100`, `1E+2`: `100`, `-1.5e1`: `-15`, `0.0001`: `0.0001`,
		`1e-4`: `0.0001`, `0.1`: `0.1`, `73.81`: `73.81`, `1e16`: `10000000000000000`, `1e22`: `10000000000000000000000`,
		`123456789012345678901234567890`:       `123456789012345678901234567890`,
		`9007199254740993`:                     `9007199254740993`,
		`1234567.125`:                          `1234567.125`,
		`0.30000000000000004`:                  `0.30000000000000004`,
		`"<>&/\u2028\u2029\u00eb"`:             "\"<>&/\u2028\u2029ë\"",
		`"\u0000\u001f\b\f\n\r\t\"\\\/\u007f"`: `"\u0000\u001f\b\f\n\r\t\"\\/` + "\x7f\"",
		`"\ud83d\ude00"`:                       `"😀"`,
		` { "b" : [ ] , "a" : { } } `:          `{"a":{},"b":[]}`,
		`{"ﬀ":1,"😀":2,"z":3,"Z":4,"é":5}`:      `{"Z":4,"z":3,"é":5,"ﬀ":1,"😀":2}`, // by code point, not by UTF-16 unit
		`{"a":1,"a":2}`:                        `{"a":2}`,
		`[true,false,null]`:                    `[true,false,null]`,
	} {
		got, err := Canonical([]byte(body))
		if err != nil || string(got) != want {
			t.Errorf("Canonical(%s) = %s, %v; want %s", body, got, err, want)
		}
	}
	for body, want := range map[string]error{
		"":                                ErrNotJSON,
		"{":                               ErrNotJSON,
		"{} {}":                           ErrNotJSON,
		"NaN":                             ErrNotJSON,
		"01":                              ErrNotJSON,
		"\"\xff\"":                        ErrNotJSON,
		"1e-7":                            ErrNumberUnclear,
		"0.00009":                         ErrNumberUnclear,
		"1e400":                           ErrNumberUnclear,
		strings.Repeat("[", 10_000):       ErrTooLarge,
		strings.Repeat(" ", MaxWebhook+1): ErrTooLarge,
		"[" + strings.Repeat("1e300,", 100_000) + "1]": ErrTooLarge,
	} {
		if got, err := Canonical([]byte(body)); !errors.Is(err, want) {
			t.Errorf("Canonical(%.20q…) = %.20q, %v; want %v", body, got, err, want)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{vectorA, vectorB, `{"a":[1e22,-0.0,0.1,"\u2028\ud800<"],"ﬀ":null}`, `1e-7`, `"\\\""`, `[[[[]]]]`, `{"":{"":[]}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		canonical, err := Canonical(body)
		if err != nil {
			return
		}
		if !json.Valid(canonical) {
			t.Fatalf("not JSON: %q", canonical)
		}
		if len(canonical) > MaxWebhook {
			return // too long to be a body again
		}
		again, err := Canonical(canonical)
		if err != nil || !bytes.Equal(again, canonical) {
			t.Fatalf("not stable, %v: %q then %q", err, canonical, again)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, body, " ", "\t"); err != nil {
			t.Fatal(err)
		}
		if spaced, err := Canonical(indented.Bytes()); err == nil && !bytes.Equal(spaced, canonical) {
			t.Fatalf("spaces change it: %q, %q", canonical, spaced)
		}
	})
}

func FuzzVerify(f *testing.F) {
	f.Add(vectorARaw, vectorAV2, vectorASimple, "1767225605", []byte(vectorA))
	f.Add("", "", "", "", []byte(""))
	f.Add(vectorBRaw, vectorBV2, "", "1767225605", []byte(vectorB))
	f.Add("00", "zz", strings.Repeat("0", 64), "2026-01-01T00:00:05Z", []byte(`{"timestamp":1e400,"status":[]}`))
	signer := NewSigner(secret.NewText(vectorSecret))
	verifier := newTestVerifier(f, VerifierConfig{})
	stranger := newTestVerifier(f, VerifierConfig{Secrets: []secret.Text{secret.NewText("another secret")}})
	f.Fuzz(func(t *testing.T, raw, v2, simple, timestamp string, body []byte) {
		header := http.Header{}
		header.Set(HeaderSignature, raw)
		header.Set(HeaderSignatureV2, v2)
		header.Set(HeaderSignatureSimple, simple)
		header.Set(HeaderTimestamp, timestamp)
		if result, err := verifier.Verify(header, body); err == nil {
			wantRaw := signer.Raw(body)
			wantV2, _ := signer.Canonical(body)
			wantSimple, _ := signer.Simple(body)
			same := func(a, b string) bool { return b != "" && strings.EqualFold(strings.TrimSpace(a), b) }
			if !same(raw, wantRaw) && !same(v2, wantV2) && !same(simple, wantSimple) {
				t.Fatalf("accepted as %q without a signature that fits", result.Scheme)
			}
		}
		if result, _ := stranger.Verify(header, body); result.Scheme != "" {
			t.Fatal("accepted with a secret that nobody signed with")
		}
		header.Set(HeaderSignature, signer.Raw(body))
		if result, err := verifier.Verify(header, body); len(body) <= MaxWebhook && result.Scheme != SchemeRaw {
			t.Fatalf("a right signature is not recognised: %v", err)
		}
	})
}
