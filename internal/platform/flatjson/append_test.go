package flatjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"
)

// price is written as it stands, the way amounts are.
type price string

func (p price) MarshalJSON() ([]byte, error) {
	if p == "fails" {
		return nil, errors.New("it does")
	}
	return []byte(p), nil
}

// loud writes itself, but only where it has an address.
type loud string

func (l *loud) MarshalJSON() ([]byte, error) { return json.Marshal(string(*l) + "!") }

type worded int

func (w worded) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "<%d>", int(w)), nil }

type (
	success struct {
		Status string `json:"status"`
	}
	line struct {
		ID     int64      `json:"id"`
		Text   string     `json:"text"`
		Amount price      `json:"amount"`
		Maybe  string     `json:"maybe,omitempty"`
		Other  int64      `json:"other,omitempty"`
		At     time.Time  `json:"at"`
		End    *time.Time `json:"end,omitempty"`
		hidden string
		Skip   string `json:"-"`
	}
	page struct {
		success
		Lines []line           `json:"lines"`
		Last  *line            `json:"last"`
		By    map[string]price `json:"by,omitempty"`
		OK    bool             `json:"ok"`
		Any   any              `json:"any"`
		Rate  float64          `json:"rate,omitempty"`
		Bytes []byte           `json:"bytes"`
		Small []int8           `json:"small,omitempty"`
		Size  uint16           `json:"size"`
		Loud  loud             `json:"loud"`
		Word  worded           `json:"word"`
		Fixed [2]string        `json:"fixed,omitempty"`
	}
	tree struct {
		Name  string  `json:"name"`
		Below []tree  `json:"below"`
		Up    *tree   `json:"up,omitempty"`
		Pairs [2]*int `json:"pairs"`
	}
	weighed struct {
		success
		Status int `json:"status"`
	}
	pointing struct{ *success }
	odd      struct {
		A int       `json:"a,string"`
		B string    `json:"b c"`
		C time.Time `json:"c,omitzero"`
		D string
		E chan int `json:"e,omitempty"`
	}
	renamed struct {
		success `json:"inner"`
	}
	dash struct {
		Name string `json:"-,"`
	}
)

// Whatever it is, encoding/json would have written the same.
func TestAppendIsThatOfEncodingJSON(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 9, 0, 0, 120_000_000, time.UTC)
	elsewhere := now.In(time.FixedZone("", 8*3600+1800))
	texts := []string{"", "x", "مرحبا 中文 𠮷", "<b>&'", `"quoted" \ `, "\n\t\x00\x1f", "\x7f", "\u2028 \u2029", "\xff\xfe", "a\xc3", "\ufeff", "\ufffd"}
	endless := &tree{Name: "endless"}
	endless.Up = endless
	values := []any{nil, 5, "x", true, now, &now, (*time.Time)(nil), price("1.50"), []line(nil), []line{}, map[string]any{"b": 1, "a": price("2")}, (*line)(nil), endless, *endless,
		tree{Name: "a", Below: []tree{{Name: "b"}}, Up: &tree{}}, &tree{}, weighed{success{"a"}, 5}, pointing{}, pointing{&success{"x"}}, odd{A: 1, D: "x"}, odd{E: make(chan int)},
		renamed{success{"x"}}, dash{"x"}, page{}, &page{}, []any{1, nil, "x"}, struct{}{}, []string{"a", "b"}, [][]int{{1}, nil}, math.NaN(), make(chan int), loud("x"), []loud{"x"}, worded(3), []worded{3},
		json.RawMessage(` { "a" : 1 } `), []json.RawMessage{[]byte("1")}, json.Number("12"), []error{nil}}
	for _, s := range texts {
		l := line{ID: -7, Text: s, Amount: "-0.5", Maybe: s, Other: 1, At: elsewhere, End: &now, hidden: s, Skip: s}
		values = append(values, s, l, &l, page{success: success{s}, Lines: []line{l, {Amount: "1"}}, Last: &l, By: map[string]price{s: "1"}, OK: true, Any: s, Rate: 0.1, Bytes: []byte(s),
			Small: []int8{-1}, Size: 9, Loud: loud(s), Word: 2})
	}
	for _, amount := range []price{"", "0", "-0", "1e5", "01", "x", `"text"`, " 1 ", `{"a": 1}`, "fails", "1\n", "NaN"} {
		values = append(values, amount, line{Amount: amount}, []line{{Amount: amount}})
	}
	for _, at := range []time.Time{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), {}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		now.In(time.FixedZone("", 25*3600)), now.In(time.FixedZone("", 30))} {
		values = append(values, line{Amount: "1", At: at}, []line{{Amount: "1", End: &at}})
	}
	for _, v := range values {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		wantErr := e.Encode(v)
		for range 2 { // how it is done is found out, and then known
			got, err := Append([]byte("before"), v)
			if wantErr != nil {
				if err == nil || string(got) != "before" {
					t.Errorf("%T: %s, %v; encoding/json says %v", v, got, err, wantErr)
				}
			} else if err != nil || string(got)+"\n" != "before"+want.String() {
				t.Errorf("%T: %s, %v; encoding/json writes %s", v, got, err, want.String())
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 120_000_000, time.UTC)
	p := struct {
		success
		Lines []line `json:"lines"`
	}{success: success{"success"}}
	for i := range 100 {
		p.Lines = append(p.Lines, line{ID: int64(i), Text: "Internal transfer", Amount: "-12.5", Maybe: "معاملة", Other: 5, At: now, End: &now})
	}
	var out []byte
	for name, write := range map[string]func() error{
		"flat":          func() (err error) { out, err = Append(out[:0], p); return err },
		"encoding/json": func() error { return json.NewEncoder(bytes.NewBuffer(out[:0])).Encode(p) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := write(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
