package api_test

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"

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
