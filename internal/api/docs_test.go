package api_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/browsertest"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
)

// The operations of an invented service, with everything that the page has to draw.
type (
	treeNode struct {
		Name     string      `json:"name" maxLength:"20" doc:"Never <b>read</b> as HTML."`
		Children []*treeNode `json:"children"`
	}
	plantInput struct {
		Garden string `path:"garden" minLength:"3" doc:"Where it grows." example:"north/1"`
		Season string `query:"season" required:"true" enum:"spring,autumn"`
		Body   struct {
			Kind  string            `json:"kind" required:"true" enum:"oak,elm" doc:"What is planted."`
			Note  string            `json:"note" example:"it's \"old\" $HOME"`
			Roots treeNode          `json:"roots"`
			Marks map[string]string `json:"marks"`
		}
	}
	plantOutput struct {
		Body struct {
			api.Success
			PlantedAt time.Time `json:"planted_at"`
			Height    *float64  `json:"height" minimum:"0"`
		}
	}
)

func docsServer(t *testing.T) string {
	t.Helper()
	a := api.New(api.Options{Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Version: "v9.8.7", SpareLoopback: true})
	plant := func(context.Context, *plantInput) (*plantOutput, error) { return &plantOutput{}, nil }
	api.Register(a, api.Operation{ID: "plant", Method: "POST", Path: "/gardens/{garden}/trees", Tag: "Gardens", Access: api.Public,
		Summary: "Plant a tree", Describe: "Takes <script>alert(1)</script> a season.", Errors: []int{400, 404}}, plant)
	api.Register(a, api.Operation{ID: "weather", Method: "GET", Path: "/weather-of-a-place-with-a-very-long-name/and-of-another-one/today", Tag: "Weather",
		Summary: "Today's weather", Errors: []int{401}}, func(context.Context, *struct{}) (*plantOutput, error) { return &plantOutput{}, nil })
	server := httptest.NewServer(a.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

func TestDocsPage(t *testing.T) {
	address := docsServer(t)
	browser := browsertest.Start(t)
	for _, tt := range []struct {
		width int64
		dark  bool
	}{{390, false}, {390, true}, {1200, false}, {1200, true}} {
		t.Run(fmt.Sprintf("%d dark=%t", tt.width, tt.dark), func(t *testing.T) {
			page := browser.Open(t, browsertest.Look{Width: tt.width, Dark: tt.dark}, address+"/docs#op-plant")
			do, text, ask := page.Do, page.Text, page.Ask
			do(chromedp.WaitVisible(chromedp.CSS(".operation")))

			if title := text("h1"); !strings.Contains(title, "ComeComePay") || !strings.Contains(title, "v9.8.7") {
				t.Errorf("title %q", title)
			}
			// The address named an operation: it is open and has the focus.
			if open := ask(`document.getElementById("op-plant").open && document.activeElement.closest("details")?.id`); open != "op-plant" {
				t.Errorf("the operation of the address is not open and focused: %v", open)
			}
			plant := text("#op-plant")
			for _, want := range []string{"Takes <script>alert(1)</script> a season.", "Never <b>read</b> as HTML.", "Where it grows.", "at least 3 characters",
				"in path", "in query", "required", `one of "oak", "elm"`, "map of string", "array of object", "the same fields as above", "Needs no token"} {
				if !strings.Contains(plant, want) {
					t.Errorf("the operation does not say %q:\n%s", want, plant)
				}
			}
			command := text("#op-plant .sample code")
			for _, want := range []string{"curl -X POST '" + address + "/api/v1/gardens/north%2F1/trees?season=spring'", `"kind": "oak"`, `it'\''s \"old\" $HOME`} {
				if !strings.Contains(command, want) {
					t.Errorf("the command does not have %q:\n%s", want, command)
				}
			}
			do(chromedp.Click(chromedp.CSS("#op-plant .answers details:first-child summary")),
				chromedp.WaitVisible(chromedp.CSS("#op-plant .answers details:first-child .sample")))
			if answers := text("#op-plant .answers"); !strings.Contains(answers, "planted_at") || !strings.Contains(answers, `"status": "success"`) ||
				!strings.Contains(answers, "404") {
				t.Errorf("answers: %s", answers)
			}

			// Everything open, and nothing sticks out sideways.
			do(chromedp.Click(chromedp.CSS(".bar button")), chromedp.WaitVisible(chromedp.CSS("#op-weather .answers")))
			if !strings.Contains(text("#op-weather"), `Authorization: Bearer $TOKEN`) {
				t.Error("the command of an operation for customers carries no token")
			}
			ask(`document.querySelectorAll(".answers details, .deeper").forEach((d) => { d.open = true })`)
			do(chromedp.WaitVisible(chromedp.CSS("#op-weather .answers details:last-child .sample")))
			page.Fits()
			page.Picture(fmt.Sprintf("docs-%d-dark-%t", tt.width, tt.dark))

			// Search by keyboard: the name of a field finds its operation, what fits nothing says so.
			const shown = `[...document.querySelectorAll(".operation:not([hidden])")].map((d) => d.id)`
			ask(`document.activeElement.blur()`)
			do(chromedp.KeyEvent("/"))
			if at := ask(`document.activeElement.id`); at != "query" {
				t.Errorf("the key / leads to %q", at)
			}
			// The browser's driver types the slash although the page has prevented it; a person's keyboard does not.
			do(chromedp.KeyEvent(kb.Backspace), chromedp.KeyEvent("roots children"))
			if got, says := ask(shown), text("#found"); got != "op-plant" || says != "1 operation" {
				t.Errorf("search shows %q, says %q", got, says)
			}
			do(chromedp.KeyEvent("zzz"))
			if got, says := ask(shown), text("#found"); got != "" || !strings.Contains(says, "Nothing") {
				t.Errorf("search for nonsense shows %q, says %q", got, says)
			}
			do(chromedp.KeyEvent(kb.Escape))
			if got := ask(shown); got != "op-plant,op-weather" {
				t.Errorf("after Escape %q is shown", got)
			}
			page.Quiet()
		})
	}
}

// The pages draw everything from here: no address of another host stands in them, and no inline script or style, which
// the content security policy would block.
func TestDocsFilesNeedNobodyElse(t *testing.T) {
	for _, name := range []string{"index.html", "docs.css", "docs.js"} {
		content, err := os.ReadFile(filepath.Join("docs", name))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(content), "https://example.com/", "") // an example of an address
		for _, foreign := range []string{"http://", "https://", "//cdn", "@import", ":url(", " url(", " style=", "onclick=", "innerHTML", "eval("} {
			if strings.Contains(text, foreign) {
				t.Errorf("%s contains %s", name, foreign)
			}
		}
	}
}
