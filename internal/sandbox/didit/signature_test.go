package didit

import (
	"encoding/json"
	"strings"
	"testing"
)

const vectorSecret = "demo-didit-secret-Zk3pQ9_xT7"

// The vectors are those of provider/didit.md 4.6.
func TestSignatureVectors(t *testing.T) {
	t.Parallel()
	const a = `{"application_id":"00000000-0000-4000-8000-000000000001","created_at":1767225600,"decision":{"aml_screenings":null,"face_matches":[{"score":73.81,"status":"Approved"}],"id_verifications":[{"age":31.0,"first_name":"Zo\u00eb","last_name":"\u9673","status":"Approved","warnings":[]}],"liveness_checks":[{"score":92.0,"status":"Approved"}]},"environment":"sandbox","event_id":"6f1c2d3e-0000-4a5b-8c7d-9e0f1a2b3c4d","metadata":{"note":"a<b & c>d","tier":1},"session_id":"11111111-2222-4333-8444-555555555555","session_kind":"user","status":"Approved","timestamp":1767225605,"vendor_data":"user-42","webhook_type":"status.updated","workflow_id":"99999999-8888-4777-8666-555555555555","workflow_version":3}`
	got, err := sign(vectorSecret, []byte(a))
	if err != nil {
		t.Fatal(err)
	}
	want := signatures{
		raw:       "578c35a219d22020cf3a10e587fa14629bb8eb0f044e2868aa24a51f967e4f24",
		canonical: "5eb4517b3667e1ef5dbad9d83db7f69718d4a6b1a70a4900e59a75c0cfd79ab1",
		simple:    "1ce43e696d0ab2eb4a6ed41f3330e84a40ffe73b6baf0eadb209fa34e9ba8987",
	}
	if got != want {
		t.Errorf("vector A: %+v", got)
	}
	// The encoder must arrive at the provider's bytes from the values.
	object, err := decodeObject(a)
	if err != nil {
		t.Fatal(err)
	}
	again, err := encodeJSON(object, wireStyle)
	if err != nil || string(again) != a || len(again) != 699 {
		t.Errorf("vector A re-encoded: %v\n%s", err, again)
	}

	const b = `{"b":1.0,"a":{"z":[1,2.50,0.0,-0.0],"y":null},"status":"Declined"}`
	got, err = sign(vectorSecret, []byte(b))
	if err != nil {
		t.Fatal(err)
	}
	if got.raw != "b2bc39f28136ae578fbc94435dc548dda0cd378bcd6e7ecb86fcf1400dda02e6" ||
		got.canonical != "939e0abf254c425b8aa1043484782248018af5a221a3416f79f8938347a0d699" {
		t.Errorf("vector B: %+v", got)
	}
	object, err = decodeObject(b)
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := encodeJSON(object, canonicalStyle)
	if err != nil || string(canonical) != `{"a":{"y":null,"z":[1,2.5,0,0]},"b":1,"status":"Declined"}` {
		t.Errorf("vector B canonical: %v %s", err, canonical)
	}
}

func TestSimpleString(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"timestamp":1767225605,"session_id":"s","status":"In Review","webhook_type":"status.updated"}`: "1767225605:s:In Review:status.updated",
		`{"timestamp":"2026-01-01T00:00:00Z","session_id":null}`:                                         "2026-01-01T00:00:00Z:::",
	} {
		object, err := decodeObject(body)
		if err != nil {
			t.Fatal(err)
		}
		if got := simpleString(object); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// The expectations are what Python 3 prints: json.dumps(v, sort_keys=True, separators=(",", ":")).
func TestPythonSpelling(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ in, wire, canonical string }{
		{`1.0`, `1.0`, `1`},
		{`-0.0`, `-0.0`, `0`},
		{`-0`, `0`, `0`},
		{`2.50`, `2.5`, `2.5`},
		{`1e2`, `100.0`, `100`},
		{`0.0001`, `0.0001`, `0.0001`},
		{`0.00001`, `1e-05`, `1e-05`},
		{`123456789012345678901234567890`, `123456789012345678901234567890`, `123456789012345678901234567890`},
		{`1e16`, `1e+16`, `10000000000000000`},
		{`9007199254740993.0`, `9007199254740992.0`, `9007199254740992`},
		{`"é\u007f\u0001/\"\\\n\u2028😀"`, `"\u00e9\u007f\u0001/\"\\\n\u2028\ud83d\ude00"`, "\"é\u007f\\u0001/\\\"\\\\\\n\u2028😀\""},
		{`{"b":1,"a":[],"B":{},"é":null,"aa":true}`, `{"B":{},"a":[],"aa":true,"b":1,"\u00e9":null}`, `{"B":{},"a":[],"aa":true,"b":1,"é":null}`},
	} {
		v, err := decodeJSON([]byte(c.in))
		if err != nil {
			t.Fatal(c.in, err)
		}
		wire, err := encodeJSON(v, wireStyle)
		if err != nil || string(wire) != c.wire {
			t.Errorf("%s: %s, want %s (%v)", c.in, wire, c.wire, err)
		}
		canonical, err := encodeJSON(v, canonicalStyle)
		if err != nil || string(canonical) != c.canonical {
			t.Errorf("%s: %s, want %s (%v)", c.in, canonical, c.canonical, err)
		}
	}
	if _, err := encodeJSON(json.Number("1e999"), wireStyle); err == nil {
		t.Error("an infinite number was written")
	}
	for _, bad := range []string{``, `{} {}`, `{"a":}`, "\"\xff\"", strings.Repeat("[", 20000)} {
		if _, err := decodeJSON([]byte(bad)); err == nil {
			t.Errorf("%.20q was read", bad)
		}
	}
}

// FuzzEncode checks that what is written reads back and is written the same again.
func FuzzEncode(f *testing.F) {
	f.Add(`{"a":[1.5,"é",null,{"b":-0.0}]}`)
	f.Add(`"\ud800"`)
	f.Add(`1E-320`)
	f.Fuzz(func(t *testing.T, text string) {
		v, err := decodeJSON([]byte(text))
		if err != nil {
			return
		}
		for _, st := range []style{wireStyle, canonicalStyle, answerStyle} {
			once, err := encodeJSON(v, st)
			if err != nil {
				return // a number beyond floats
			}
			back, err := decodeJSON(once)
			if err != nil {
				t.Fatalf("%q became %q: %v", text, once, err)
			}
			twice, err := encodeJSON(back, st)
			if err != nil || string(twice) != string(once) {
				t.Fatalf("%q became %q, then %q: %v", text, once, twice, err)
			}
		}
	})
}
