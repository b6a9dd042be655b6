package flatjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// amount keeps a number as it is written, and refuses one.
type amount string

func (a *amount) UnmarshalJSON(token []byte) error {
	if string(token) == "13" {
		return errors.New("not thirteen")
	}
	*a = amount(token)
	return nil
}

// shout reads texts.
type shout string

func (s *shout) UnmarshalText(b []byte) error {
	*s = shout(strings.ToUpper(string(b)))
	return nil
}

type (
	named   string
	payment struct {
		Amount amount `json:"amount"`
		Name   named  `json:"name,omitempty"`
		To     int64  `json:"to"`
		Small  int8   `json:"small"`
		Gift   bool   `json:"gift"`
	}
	embedding struct {
		payment
		Name string `json:"name"`
	}
	quoted struct {
		To int64 `json:"to,string"`
	}
	shouting struct {
		Name shout `json:"name"`
	}
	untagged struct{ Name string }
	hidden   struct {
		Name string `json:"-"`
		To   int64  `json:"to"`
	}
	floating struct {
		Amount float64 `json:"amount"`
	}
	alike struct {
		Name  string `json:"name"`
		Upper string `json:"NAME"`
	}
)

// targets make pointers to what can be read into: empty, and filled already.
var targets = []func() any{
	func() any { return new(any) },
	func() any { var v any = &payment{Name: "kept"}; return &v },
	func() any { return &map[string]any{} },
	func() any { return &payment{} },
	func() any { return &payment{Amount: "1", Name: "kept", To: 2, Small: 3, Gift: true} },
	func() any { return &embedding{} },
	func() any { return &quoted{} },
	func() any { return &shouting{} },
	func() any { return &untagged{} },
	func() any { return &hidden{} },
	func() any { return &floating{} },
	func() any { return &alike{} },
	func() any { return new(string) },
	func() any { return (*payment)(nil) },
	func() any { return (*any)(nil) },
	func() any { return payment{} },
	func() any { return nil },
}

// same fails the test if Unmarshal and json.Unmarshal do not agree.
func same(t *testing.T, data []byte) {
	t.Helper()
	for _, target := range targets {
		ours, theirs := target(), target()
		before := string(data)
		got, want := Unmarshal(data, ours), json.Unmarshal([]byte(before), theirs)
		if !reflect.DeepEqual(ours, theirs) || fmt.Sprintf("%T %v", got, got) != fmt.Sprintf("%T %v", want, want) {
			t.Errorf("%q into %T: %#v, %v; encoding/json has %#v, %v", data, target(), ours, got, theirs, want)
		}
		if string(data) != before {
			t.Fatalf("%q has become %q", before, data)
		}
	}
}

var numbers = []string{"0", "-0", "7", "-7", "127", "128", "-128", "-129", "13", "9223372036854775807", "9223372036854775808", "1.5", "-0.0", "0.1e-7", "1e2", "1E+2",
	"1e400", "-1e400", "1e-400", "0.1000000000000000055511151231257827", "00", "01", "-", "-01", "+1", "1.", ".5", "1.e2", "1e", "1e+", "0x10", "1_0", "Infinity", "NaN", "1a"}

// examples are whole documents, plain and otherwise.
func examples() (list []string) {
	list = []string{
		`{"amount":0.01,"name":"x","to":10,"small":1,"gift":true}`, "\r\n\t {\"name\" : \"x\" ,\n\"to\":\t1 } \n", `{"name":"x","name":"y"}`, `{"name":5,"name":"y"}`,
		`{"to":1,"NAME":"x"}`, `{"NAME":"x","name":"y"}`, `{"name":"y","NAME":"x"}`, `{"Name":"x"}`, `{"ſmall":1}`, `{"":1}`, `{"-":"x"}`, `{"unknown":1,"name":"x"}`, `{}`, `{ }`, ``, ` `, `null`, `5`, `"x"`, `[]`,
		`{"name":"x",}`, `{,"name":"x"}`, `{"name":"x"`, `{"name":"x"}}`, `{"name":"x"}{}`, `{"name":"x"} x`, `{"name" "x"}`, `{"name":}`, `{"name"}`, `{name:"x"}`, `{"name":'x'}`,
		`{"name":"x";"to":1}`, `{"name":"x" "to":1}`, `{"name":"x","to":1,"small":400}`, `{"amount":13,"name":"x"}`, `{"name":"x","amount":13,"to":4}`, `{"to":"x","name":"y"}`, "\ufeff{}", `{`, `{"`, `{"a`, `{"a":1,"b":2,"a":3}`,
		"{\"na\xffme\":1}", "{\"name\x00\":1}", `{"n\u0061me":"x"}`, "{\"name\":\"x\"}\x00", "{\"\u00a0name\":1}", "\u00a0{\"name\":\"x\"}",
	}
	var many []string
	for n := range maxMembers + 2 {
		many = append(many, fmt.Sprintf(`"k%d":%d`, n, n))
		list = append(list, "{"+strings.Join(many, ",")+"}")
	}
	values := append([]string{`""`, `"x"`, `"مرحبا 中文 𠮷"`, `"\n"`, `"\ud800"`, `"\q"`, "\"\xff\"", "\"a\x01\"", "\"\x7f\u2028\"", `"x`, "\"", `true`, `false`, `null`, `tru`, `True`, `truefalse`, `nul`,
		`{}`, `[]`, `{"a":1}`, `["a",{}]`, `[`, `"5"`}, numbers...)
	for _, key := range []string{"amount", "name", "to", "small", "gift", "unknown"} {
		for _, value := range values {
			list = append(list, `{"`+key+`":`+value+`}`, `{"name":"first","`+key+`":`+value+` , "to":1}`)
		}
	}
	return list
}

// Whatever the data is, encoding/json would have said the same.
func TestUnmarshalIsThatOfEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, data := range examples() {
		same(t, []byte(data))
	}
}

func FuzzUnmarshal(f *testing.F) {
	for _, data := range examples() {
		f.Add([]byte(data))
	}
	f.Fuzz(same)
}

// What is plain is read here, and what is not is left alone: else the package would be of no use, or of too much.
func TestWhatIsReadHere(t *testing.T) {
	t.Parallel()
	here := func(data string, v any) bool {
		members, plain := scan([]byte(data), nil)
		return plain && fill(members, v)
	}
	for data, want := range map[string]bool{
		`{"amount":0.01,"name":"مرحبا","to":10,"small":-1,"gift":true}`: true,
		` { "to" : 1 } `:         true,
		`{"to":1,"to":2}`:        false,
		`{"name":"\u0061"}`:      false,
		`{"name":null}`:          false,
		`{"name":["a"]}`:         false,
		"{\"name\":\"\xff\"}":    false,
		`{"name":"x"}` + "\x00":  false,
		`{"small":128}`:          false,
		`{"amount":13}`:          false,
		`{"amount":"text"}`:      false,
		`{"to":1,"unknown":"x"}`: true,
		`{"unknown":null}`:       false,
		`{"TO":1}`:               false,
		`{"ſmall":1}`:            false,
	} {
		if got := here(data, &payment{}); got != want {
			t.Errorf("%s is read here: %t", data, got)
		}
	}
	if !here(`{"unknown":1}`, new(any)) || here(`{"name":"x"}`, &embedding{}) {
		t.Error("an any is not read here, or a struct that holds another one is")
	}
}

// What was read does not change with the buffer that it was read from.
func TestNothingHoldsOnToTheData(t *testing.T) {
	t.Parallel()
	data := []byte(`{"amount":0.01,"name":"first","to":1}`)
	var p payment
	var whole any
	if err := errors.Join(Unmarshal(data, &p), Unmarshal(data, &whole)); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] = 'z'
	}
	if want := (payment{Amount: "0.01", Name: "first", To: 1}); p != want {
		t.Errorf("%+v", p)
	}
	if want := any(map[string]any{"amount": 0.01, "name": "first", "to": 1.0}); !reflect.DeepEqual(whole, want) {
		t.Errorf("%v", whole)
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	data := []byte(`{"amount":0.01,"name":"Internal transfer","to":10,"small":1,"gift":true}`)
	for name, read := range map[string]func([]byte, any) error{"flat": Unmarshal, "encoding/json": json.Unmarshal} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var p payment
				var whole any
				if err := errors.Join(read(data, &whole), read(data, &p)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
