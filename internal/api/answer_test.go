package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
)

type lines struct {
	Body struct {
		api.Success
		Lines []string `json:"lines"`
		Rate  float64  `json:"rate,omitempty"`
	}
}

// Long or short, an answer comes in one piece whose length is told, and each is itself, however many are written at once.
func TestAnswersTellTheirLength(t *testing.T) {
	t.Parallel()
	e := newEdge(t, nil)
	api.Register(e.api, api.Operation{ID: "lines", Method: "GET", Path: "/lines/{n}", Access: api.Public, Tag: "test"},
		func(_ context.Context, in *struct {
			N int `path:"n"`
		}) (*lines, error) {
			out := &lines{}
			out.Body.Success = api.OK()
			for range in.N {
				out.Body.Lines = append(out.Body.Lines, strconv.Itoa(in.N)+" <مرحبا>")
			}
			if in.N < 0 {
				out.Body.Rate = math.NaN()
			}
			return out, nil
		})
	for _, n := range []int{1, 100, 10_000} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			for range 5 {
				r := e.get("/lines/" + strconv.Itoa(n)).ok(t)
				want := `{"status":"success","lines":[` + strings.TrimSuffix(strings.Repeat(`"`+strconv.Itoa(n)+` <مرحبا>",`, n), ",") + "]}\n"
				if r.raw != want || r.header.Get("Content-Length") != strconv.Itoa(len(want)) || r.header.Get("Content-Type") != "application/json" {
					t.Errorf("%d bytes of %d, Content-Length %q: %.200s", len(r.raw), len(want), r.header.Get("Content-Length"), r.raw)
				}
			}
		})
	}
	e.get("/lines/-1").refused(t, 500, "INTERNAL_ERROR") // NaN is no number of JSON
}

// An answer is written as encoding/json would write it, whatever stands in it.
func TestAnswersAreThoseOfEncodingJSON(t *testing.T) {
	t.Parallel()
	type line struct {
		api.Success
		Text   string            `json:"text"`
		Maybe  string            `json:"maybe,omitempty"`
		Amount api.Number        `json:"amount"`
		At     time.Time         `json:"at"`
		End    *time.Time        `json:"end,omitempty"`
		By     map[string]int    `json:"by,omitempty"`
		Any    any               `json:"any"`
		Lines  []line            `json:"lines"`
		Names  map[string]string `json:"names"`
		Hidden string            `json:"-"`
	}
	e := newEdge(t, nil)
	texts := []string{"", "x", "مرحبا 中文 𠮷", "<b>&'", `"quoted" \ `, "\n\t\x00\x1f\x7f", "\u2028 \u2029", "\ufeff", "\xff\xfe", "a\xc3"}
	at := time.Date(2026, 3, 1, 9, 0, 0, 120_000_000, time.UTC)
	var all []line
	for i, text := range texts {
		l := line{Success: api.OK(), Text: text, Amount: "-0.5", At: at.Add(time.Duration(i) * time.Microsecond), Any: text, Hidden: text}
		all = append(all, l, line{Success: api.OK(), Maybe: text, Amount: "1234567890123456789.12345678", At: at.In(time.FixedZone("", 19800)), End: &at,
			By: map[string]int{"b": 1, "a": 2, text: 3}, Any: map[string]any{"x": []any{nil, true, 1.5, text}}, Lines: []line{l}, Names: map[string]string{text: text}})
	}
	for i, l := range all {
		path := "/line/" + strconv.Itoa(i)
		api.Register(e.api, api.Operation{ID: "line" + strconv.Itoa(i), Method: "GET", Path: path, Access: api.Public, Tag: "test"},
			func(context.Context, *struct{}) (*struct{ Body line }, error) { return &struct{ Body line }{l}, nil })
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(l); err != nil {
			t.Fatal(err)
		}
		if r := e.get(path).ok(t); r.raw != want.String() {
			t.Errorf("%q: got\n%s, want\n%s", l.Text+l.Maybe, r.raw, want.String())
		}
	}
}
