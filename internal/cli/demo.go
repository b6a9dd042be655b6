package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

type demoCommand struct {
	Base     string        `help:"Address of the API, without /api/v1." placeholder:"URL"`
	Sandbox  string        `help:"Address of the sandbox listener." placeholder:"URL"`
	Patience time.Duration `help:"How long to wait for what happens by itself, such as mail and webhooks." default:"20s"`
	output
}

const (
	demoPause   = 100 * time.Millisecond // between two looks
	demoTimeout = time.Minute            // of one request; what the app waits (contract/rules section 2)
)

// Run walks two customers through a running sandbox. It fails with the first answer that is not as it must be.
func (d demoCommand) Run(ctx context.Context, p Program) error {
	api := cmp.Or(strings.TrimRight(d.Base, "/"), "http://"+cmp.Or(p.variable("CCP_HTTP_ADDR"), "127.0.0.1:8010"))
	box := cmp.Or(strings.TrimRight(d.Sandbox, "/"), "http://"+cmp.Or(p.variable("CCP_SANDBOX_ADDR"), "127.0.0.1:8011"))
	w := &walk{ctx: ctx, out: p.Stdout, json: d.JSON, api: api, sandbox: box, patience: d.Patience, started: time.Now(), leftOut: []string{}, browser: &http.Client{
		Timeout: demoTimeout,
		// A redirect by the API would be a mistake: the app follows none.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if _, err := w.send(http.MethodGet, w.api+"/readyz", nil, nil); err != nil {
		return fmt.Errorf("no API at %s, is the sandbox running? %w", w.api, err)
	}
	if _, err := w.send(http.MethodGet, w.sandbox+"/control/clock", nil, nil); err != nil {
		return fmt.Errorf("no sandbox at %s: %w", w.sandbox, err)
	}
	amina := w.verifiedAtOnce()
	bilal := w.rejectedAndVerifiedLater()
	o := w.openOffice(p, amina)
	defer o.close()
	w.money(amina, bilal, o)
	amina.leaves()
	return w.end()
}

// walk is a run of the demo. After the first failure every step does nothing, so that a story reads from top to bottom.
type walk struct {
	ctx          context.Context
	out          io.Writer
	json         bool
	api, sandbox string
	browser      *http.Client
	patience     time.Duration
	started      time.Time
	steps        int
	leftOut      []string // what could not be shown here, and why
	err          error
}

// reply is an answer.
type reply struct {
	status int
	body   any // nil if it is no JSON
	page   string
}

// step is one line of the report.
type step struct {
	N        int      `json:"n"`
	Customer string   `json:"customer,omitempty"`
	Title    string   `json:"title"`
	Method   string   `json:"method,omitempty"`
	URL      string   `json:"url,omitempty"`
	Request  any      `json:"request,omitempty"`
	Status   int      `json:"status,omitempty"`
	Answer   any      `json:"answer,omitempty"`
	Took     int64    `json:"took_ms"`
	OK       bool     `json:"ok"`
	Problems []string `json:"problems,omitempty"`
}

// request is one step to make.
type request struct {
	title    string
	method   string
	url      string
	customer *walker
	language string // empty: the customer's
	body     object
	key      string // Idempotency-Key; empty: none
	status   int    // that must come; 0: 200
	want     any    // what the body must be; nil: anything
	page     bool   // a page for people is wanted
	// until lets a step be repeated while it is false: something has to happen first. nil: once.
	until func(reply) bool
}

// do makes a request, checks the answer and reports both.
func (w *walk) do(r request) object {
	if w.err != nil {
		return nil
	}
	header := http.Header{"Accept": {"application/json"}}
	name := ""
	if c := r.customer; c != nil {
		name = c.name
		header.Set("Accept-Language", cmp.Or(r.language, c.language))
		// The app sends its token with every call, wherever it goes.
		if c.token != "" && strings.HasPrefix(r.url, w.api) {
			header.Set("Authorization", "Bearer "+c.token)
		}
	}
	if r.key != "" {
		header.Set("Idempotency-Key", r.key)
	}
	began := time.Now()
	answer, err := w.send(r.method, r.url, r.body, header)
	for err == nil && r.until != nil && !r.until(answer) && time.Since(began) < w.patience {
		select {
		case <-w.ctx.Done():
			err = w.ctx.Err()
		case <-time.After(demoPause):
			answer, err = w.send(r.method, r.url, r.body, header)
		}
	}
	s := step{Customer: name, Title: r.title, Method: r.method, URL: r.url, Status: answer.status, Answer: shortened(answer.body), Took: time.Since(began).Milliseconds()}
	if r.body != nil {
		s.Request = shortened(r.body)
	}
	if err != nil {
		s.Problems = []string{err.Error()}
	} else {
		s.Problems = judge(r, answer)
	}
	w.report(s)
	got, _ := answer.body.(map[string]any)
	return got
}

func judge(r request, answer reply) []string {
	var problems []string
	if want := cmp.Or(r.status, http.StatusOK); answer.status != want {
		problems = append(problems, fmt.Sprintf("the answer is %d and must be %d", answer.status, want))
	}
	if r.until != nil && !r.until(answer) {
		problems = append(problems, "what this waits for has not happened")
	}
	switch {
	case r.page && !strings.Contains(answer.page, "<html"):
		problems = append(problems, "the answer must be a page")
	case r.want != nil && answer.body == nil:
		problems = append(problems, "the answer must be JSON")
	case r.want != nil:
		problems = append(problems, differences("answer", r.want, answer.body)...)
	}
	return problems
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 4 << 20

func (w *walk) send(method, address string, body object, header http.Header) (reply, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return reply{}, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(w.ctx, method, address, content)
	if err != nil {
		return reply{}, err
	}
	if header != nil {
		request.Header = header.Clone()
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := w.browser.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return reply{}, err
	}
	answer := reply{status: response.StatusCode}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		if err := decoder.Decode(&answer.body); err != nil {
			return answer, fmt.Errorf("the answer says that it is JSON and is not: %w", err)
		}
	} else {
		answer.page = string(text)
	}
	return answer, nil
}

func (w *walk) report(s step) {
	w.steps++
	s.N, s.OK = w.steps, len(s.Problems) == 0
	if !s.OK {
		who := s.Title
		if s.Customer != "" {
			who = s.Customer + ": " + s.Title
		}
		w.err = fmt.Errorf("step %d (%s): %s", s.N, who, strings.Join(s.Problems, "; "))
	}
	var err error
	if w.json {
		encoder := json.NewEncoder(w.out)
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(s)
	} else {
		_, err = io.WriteString(w.out, s.text())
	}
	w.err = errors.Join(w.err, err)
}

// text is a step for people.
func (s step) text() string {
	var b strings.Builder
	mark := "ok"
	if !s.OK {
		mark = "WRONG"
	}
	fmt.Fprintf(&b, "%3d  %-6s %s: %s", s.N, s.Customer, s.Title, mark)
	switch {
	case s.Method == "" && s.Answer == nil:
		b.WriteString("\n")
	case s.Method == "":
		fmt.Fprintf(&b, ", %d ms\n     %s\n", s.Took, clipped(s.Answer))
	default:
		fmt.Fprintf(&b, ", %d ms\n      %s %s%s\n      %d%s\n", s.Took, s.Method, s.URL, clipped(s.Request), s.Status, clipped(s.Answer))
	}
	for _, problem := range s.Problems {
		b.WriteString("      - " + problem + "\n")
	}
	return b.String()
}

// clipped is a body on what is left of a line.
func clipped(body any) string {
	if body == nil {
		return ""
	}
	const most = 200
	line := []rune(short(body))
	if len(line) > most {
		line = append(line[:most], '…')
	}
	return " " + string(line)
}

func (w *walk) end() error {
	if w.err != nil {
		return w.err
	}
	took := time.Since(w.started)
	if w.json {
		return json.NewEncoder(w.out).Encode(map[string]any{"steps": w.steps, "ok": true, "took_ms": took.Milliseconds(), "left_out": w.leftOut})
	}
	for _, what := range w.leftOut {
		if _, err := fmt.Fprintf(w.out, "\nLeft out: %s.\n", what); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w.out, "\nAll %d steps came out right, in %s.\n", w.steps, took.Round(time.Millisecond))
	return err
}

// walker is a customer.
type walker struct {
	*walk
	name, email, password, language string
	token, refresh                  string
	uid                             int64
	lastMail                        int64
	verification                    string // link of the verification page
	agentUID                        string
	deposits                        string // address where the demo's coin is paid in
}

func (w *walk) newWalker(name, language string) *walker {
	id := strings.ToLower(rand.Text()[:10])
	return &walker{walk: w, name: name, language: language, email: strings.ToLower(name) + "." + id + "@example.com", password: "Harbour-" + id + "-7!"}
}

func (c *walker) get(title, path string, want any) object {
	return c.do(request{title: title, method: http.MethodGet, url: c.api + "/api/v1" + path, customer: c, want: want})
}

func (c *walker) post(title, path string, body object, want any) object {
	return c.do(request{title: title, method: http.MethodPost, url: c.api + "/api/v1" + path, customer: c, body: body, want: want})
}

// refused makes a call that must be refused with a status and a machine code (contract/rules section 4).
func (c *walker) refused(title, method, path string, body object, status int, code string) {
	c.do(request{title: title, method: method, url: c.api + "/api/v1" + path, customer: c, body: body, status: status,
		want: object{"message": someText, "error": someText, "details": someText, "code": code, "status": "error", "request_id": someText}})
}

var codeInMail = regexp.MustCompile(`(?:^|\D)(\d{5})(?:\D|$)`)

// readCode waits for a mail that was not there before and reads the code in it.
func (c *walker) readCode() (code string) {
	found := func(r reply) bool {
		list, _ := r.body.([]any)
		for _, item := range list {
			message, _ := item.(map[string]any)
			number, _ := message["id"].(json.Number)
			id, _ := number.Int64()
			text, _ := message["text"].(string)
			if match := codeInMail.FindStringSubmatch(text); id > c.lastMail && match != nil {
				c.lastMail, code = id, match[1]
				return true
			}
		}
		return code != ""
	}
	c.do(request{title: "reads the code in the inbox", method: http.MethodGet, url: c.sandbox + "/control/inbox?to=" + url.QueryEscape(c.email), customer: c, until: found})
	return code
}

func text(o object, key string) string {
	s, _ := o[key].(string)
	return s
}

func inner(o object, key string) object {
	m, _ := o[key].(map[string]any)
	return m
}
