package kyc_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/didit"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
	simdidit "github.com/comecomepay/comecomepay/internal/sandbox/didit"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	simpokepay "github.com/comecomepay/comecomepay/internal/sandbox/pokepay"
)

// These tests wait for queues and providers far more than they compute.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", "6"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

const (
	webhookSecret  = "whsec-of-the-tests"
	callbackSecret = "callback-secret-of-the-tests"
	callbackKey    = "callback-key-of-the-tests"
	diditKey       = "didit-key-of-the-tests"
	workflowID     = "7a1c3f52-5b0e-4c0e-9a51-0f6f3c5f2b11"
	password       = "Harbour-Lights7!"
)

var (
	beginning = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	cheapHash = &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	operator  = identity.Operator{Name: "olga"}
)

// world is the capability behind the real edge, with both providers beside it: simulators on listeners of their own, with
// databases of their own, spoken to by the real clients. Time is shared by all and stands still until a test moves it.
type world struct {
	*kyc.Service
	t      testing.TB
	db     db.DB
	clock  *clock.Fixed
	faults *fault.Plan
	people *identity.Service
	issuer *simpokepay.Simulator
	verify *simdidit.Simulator
	post   *postOffice
	mail   *courier // between the providers' servers and our receivers
	calls  *counter // calls that reached a provider
	vault  *secret.Vault
	texts  *i18n.Texts
	queue  *jobs.Queue
	url    string
	didit  string // the simulator's base address
	books  providerBooks
}

// providerBooks are the databases of the simulators.
type providerBooks struct{ didit, pokepay *sql.DB }

// setting changes how a world is built.
type setting func(*plan)

type plan struct {
	channel  kyc.Channel
	limits   provider.Limits
	service  func(*kyc.Service)
	options  func(*kyc.Options)
	asleep   bool // nobody looks after records by itself
	nameless bool // the issuer shows no reference of ours
}

func via(c kyc.Channel) setting { return func(p *plan) { p.channel = c } }

// asleep leaves the loop out that asks providers by itself: only the test asks.
func asleep(p *plan) { p.asleep = true }

// nameless has the issuer show its cardholders without our reference, as the confirmed form of them is.
func nameless(p *plan) { p.nameless = true }

func newWorld(t testing.TB, d db.DB, settings ...setting) *world {
	t.Helper()
	p := plan{channel: kyc.ViaPokePay, limits: provider.Limits{
		Timeout: 90 * time.Second, Attempts: 2, // patience with a busy machine: silence of a provider is cut short by the counter
		Backoff: 5 * time.Millisecond, MaxBackoff: 10 * time.Millisecond,
		MaxRetryAfter: time.Millisecond, BreakerDelay: 20 * time.Millisecond,
	}}
	for _, s := range settings {
		s(&p)
	}
	faults := &fault.Plan{}
	w := &world{t: t, db: d, clock: clock.NewFixed(beginning), faults: faults, post: &postOffice{}, calls: &counter{faults: faults, seen: map[string]int{}}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	w.vault = newVault(t)
	texts, err := i18n.Load(api.Locales, identity.Locales, kyc.Locales)
	if err != nil {
		t.Fatal(err)
	}
	w.texts = texts
	quiet := slog.New(slog.DiscardHandler)

	// The addresses must be known before those who live there exist.
	ours, verifier, issuer, receivers := openDoor(t), openDoor(t), openDoor(t), openDoor(t)
	w.url, w.didit = ours.url, verifier.url+"/didit"
	w.mail = &courier{target: w.url}
	receivers.let(w.mail)

	w.books = providerBooks{didit: providerDB(t, "didit.db"), pokepay: providerDB(t, "pokepay.db")}
	if w.verify, err = simdidit.New(ctx, simdidit.Options{
		DB: w.books.didit, Clock: w.clock, Faults: w.faults, BaseURL: w.didit, APIKey: diditKey, WorkflowID: workflowID,
		WebhookURL: receivers.url + "/didit/webhook", WebhookSecrets: []string{webhookSecret},
		Limits: simdidit.Limits{Create: -1, Decision: -1, PDF: -1, Read: -1, Write: -1},
	}); err != nil {
		t.Fatal(err)
	}
	if w.issuer, err = simpokepay.New(ctx, simpokepay.Options{
		DB: w.books.pokepay, Clock: w.clock, Faults: w.faults, Sessions: issuersDidit{w.verify},
		Account: "ops@example.test", Password: "correct horse", TokenLife: 1000 * time.Hour,
		CallbackURL: receivers.url + "/pokepay/callback/" + callbackKey, CallbackSecret: callbackSecret,
		HideReferences: p.nameless,
	}); err != nil {
		t.Fatal(err)
	}
	w.verify.OnForeign(func(ctx context.Context, e simdidit.ForeignEvent) {
		if err := w.issuer.DiditFinished(ctx, e.Reference, e.Status, e.Risk, e.Reason); err != nil {
			t.Errorf("the issuer does not know its own session: %v", err)
		}
	})
	verifier.let(http.StripPrefix("/didit", w.calls.count("didit", w.verify.Handler())))
	issuer.let(http.StripPrefix("/pokepay", w.calls.count("pokepay", w.issuer.Handler())))

	issuerClient, err := pokepay.NewClient(pokepay.Config{
		BaseURL: issuer.url + "/pokepay/api/v1", Limits: p.limits, Clock: w.clock,
		Authenticator: pokepay.EmailLogin{URL: issuer.url + "/pokepay/web/auth/login", Account: "ops@example.test", Password: secret.NewText("correct horse"), AreaCode: 852},
	})
	if err != nil {
		t.Fatal(err)
	}
	diditClient, err := didit.NewClient(didit.Config{BaseURL: w.didit, APIKey: secret.NewText(diditKey), Limits: p.limits, Clock: w.clock})
	if err != nil {
		t.Fatal(err)
	}
	webhooks, err := didit.NewVerifier(didit.VerifierConfig{Secrets: []secret.Text{secret.NewText(webhookSecret)}, Clock: w.clock, Window: didit.DeduplicatedWindow})
	if err != nil {
		t.Fatal(err)
	}

	// The queue's own log is quiet: tests cut it off when they end.
	if w.queue, err = jobs.New(d, jobs.Options{Log: quiet}); err != nil {
		t.Fatal(err)
	}
	w.people = identity.New(identity.Options{
		DB: d, Jobs: w.queue, Vault: w.vault, Clock: w.clock, Texts: texts, PasswordCost: cheapHash, DefaultLocale: i18n.English, SpareLoopback: true,
		Keys: []identity.TokenKey{{ID: "k1", Secret: secret.NewText(strings.Repeat("a", 32))}},
	})
	w.people.RegisterJobs(w.queue, w.post)
	o := kyc.Options{
		DB: d, Jobs: w.queue, Customers: w.people, Vault: w.vault, Clock: w.clock, Random: rand.Reader, Texts: texts, Log: quiet,
		Channel: p.channel, Issuer: issuerClient, Didit: diditClient, Webhooks: webhooks, WorkflowID: workflowID, PublicURL: w.url,
		CallbackKey: secret.NewText(callbackKey), CallbackSecret: secret.NewText(callbackSecret),
	}
	if p.options != nil {
		p.options(&o)
	}
	w.Service = kyc.New(o)
	if p.service != nil {
		p.service(w.Service)
	}
	w.RegisterJobs(w.queue)
	edge := api.New(api.Options{
		DB: d, Vault: w.vault, Clock: w.clock, Texts: texts, Log: quiet, CheckToken: w.people.CheckToken,
		DefaultLocale: i18n.English, SpareLoopback: true, CallerRate: 1e6, Version: "test",
		Timeout: 2 * time.Minute,
	})
	w.people.Register(edge)
	w.Register(edge)
	ours.let(edge.Handler())

	if err := w.queue.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	running.Go(func() { _ = w.verify.Run(ctx) })
	running.Go(func() { _ = w.issuer.Run(ctx) })
	if !p.asleep {
		running.Go(func() { w.Run(ctx) })
	}
	t.Cleanup(func() {
		cancel() // first, so that calls which a simulator holds are let go
		running.Wait()
		stop, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		if err := w.queue.Stop(stop); err != nil {
			t.Errorf("job queue: %v", err)
		}
		for _, door := range []*door{ours, verifier, issuer, receivers} {
			door.server.Close()
		}
	})
	return w
}

// each runs a test on both engines.
func each(t *testing.T, test func(t *testing.T, w *world), settings ...setting) {
	t.Helper()
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) { test(t, newWorld(t, d, settings...)) })
}

// eachChannel runs a test on both engines in both channels.
func eachChannel(t *testing.T, test func(t *testing.T, w *world), settings ...setting) {
	t.Helper()
	t.Parallel()
	for _, channel := range []kyc.Channel{kyc.ViaPokePay, kyc.ViaDidit} {
		t.Run(string(channel), func(t *testing.T) {
			t.Parallel()
			dbtest.Each(t, func(t *testing.T, d db.DB) { test(t, newWorld(t, d, append([]setting{via(channel)}, settings...)...)) })
		})
	}
}

// customersIn runs independent scenarios in one world at the same time, each with a customer of its own.
func customersIn(t *testing.T, w *world, scenarios map[string]func(c *customer)) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(scenarios)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenarios[name](w.with(t).customer())
		})
	}
}

// with is the same world, reporting to another test.
func (w *world) with(t testing.TB) *world {
	copied := *w
	copied.t = t
	return &copied
}

func newVault(t testing.TB) *secret.Vault {
	t.Helper()
	keyset, err := secret.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keyset, secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	return vault
}

func providerDB(t testing.TB, name string) *sql.DB {
	t.Helper()
	d, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), name)+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=foreign_keys(1)")
	if err != nil {
		t.Fatal(err)
	}
	d.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// issuersDidit is the issuer's own account at Didit.
type issuersDidit struct{ *simdidit.Simulator }

func (d issuersDidit) CreateForeign(ctx context.Context, reference, callback, firstName, lastName, email string) (string, string, error) {
	return d.Simulator.CreateForeign(ctx, simdidit.Foreign{Owner: "pokepay", Reference: reference, Callback: callback, FirstName: firstName, LastName: lastName, Email: email})
}

// door is a listener whose handler comes later.
type door struct {
	server  *httptest.Server
	url     string
	handler atomic.Pointer[http.Handler]
}

func openDoor(t testing.TB) *door {
	t.Helper()
	d := &door{}
	d.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if h := d.handler.Load(); h != nil {
			(*h).ServeHTTP(rw, r)
		} else {
			http.Error(rw, "not open yet", http.StatusServiceUnavailable)
		}
	}))
	d.url = d.server.URL
	return d
}

func (d *door) let(h http.Handler) { d.handler.Store(&h) }

// counter counts the calls that reach a provider, as "pokepay POST /api/v1/kyc". It also cuts the connection of a call that a
// provider holds in silence, so that a test need not wait until our side loses patience: to us both are a call without an answer.
type counter struct {
	faults *fault.Plan
	mu     sync.Mutex
	seen   map[string]int
}

const silence = time.Second

func (c *counter) holding(name string) bool {
	return slices.ContainsFunc(c.faults.Rules(), func(r fault.Rule) bool {
		return r.Kind == fault.ActThenTimeout && (r.Provider == name || r.Provider == "*") && (r.Count == 0 || r.Hits < r.Count)
	})
}

var idInPath = regexp.MustCompile(`/([0-9]+|[0-9a-f]{8}-[0-9a-f-]{27})(/|$)`)

func (c *counter) count(name string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		key := name + " " + r.Method + " " + idInPath.ReplaceAllString(r.URL.Path, "/{id}$2")
		c.mu.Lock()
		c.seen[key]++
		c.mu.Unlock()
		if c.holding(name) {
			ctx, cancel := context.WithTimeout(r.Context(), silence)
			defer cancel()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(rw, r)
	})
}

func (c *counter) of(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[key]
}

// Keys of the counter.
const (
	callInit     = "pokepay POST /api/v1/kyc/didit/init"
	callGet      = "pokepay GET /api/v1/kyc/{id}"
	callSubmit   = "pokepay POST /api/v1/kyc"
	callSession  = "didit POST /v3/session/"
	callDecision = "didit GET /v3/session/{id}/decision/"
)

// parcel is a call of a provider on its way to us.
type parcel struct {
	path   string
	header http.Header
	body   []byte
}

// courier carries the providers' calls to our receivers and keeps a copy of each. Held, it takes them and delivers none.
type courier struct {
	target string
	mu     sync.Mutex
	held   bool
	kept   []parcel
}

func (c *courier) hold(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = on
}

func (c *courier) parcels() []parcel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.kept)
}

func (c *courier) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		rw.WriteHeader(http.StatusInternalServerError)
		return
	}
	p := parcel{r.URL.Path, r.Header.Clone(), body}
	c.mu.Lock()
	c.kept = append(c.kept, p)
	held := c.held
	c.mu.Unlock()
	if held {
		return
	}
	status, err := c.deliver(p)
	if err != nil {
		status = http.StatusBadGateway
	}
	rw.WriteHeader(status)
}

// deliver brings a parcel to us and says what we answered.
func (c *courier) deliver(p parcel) (int, error) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.target+p.path, bytes.NewReader(p.body))
	if err != nil {
		return 0, err
	}
	r.Header = p.header.Clone()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode, nil
}

// deliver brings a parcel and checks our answer.
func (w *world) deliver(p parcel, want int) {
	w.t.Helper()
	got, err := w.mail.deliver(p)
	if err != nil || got != want {
		w.t.Errorf("delivery of %s: %d, %v; want %d", p.body, got, err, want)
	}
}

// held waits until the courier holds n parcels and returns them.
func (w *world) held(n int) []parcel {
	w.t.Helper()
	patience := time.Now().Add(20 * time.Second)
	w.eventually(fmt.Sprintf("%d calls of providers", n), func() bool {
		if time.Now().After(patience) { // on a busy machine a provider may give a call up; it calls again within a minute
			w.clock.Advance(time.Minute)
			patience = time.Now().Add(20 * time.Second)
		}
		return len(w.mail.parcels()) >= n
	})
	return w.mail.parcels()
}

type postOffice struct {
	mu   sync.Mutex
	mail []mail.Message
}

func (p *postOffice) Send(_ context.Context, m mail.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mail = append(p.mail, m)
	return nil
}

func (p *postOffice) to(address string) []mail.Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []mail.Message
	for _, m := range p.mail {
		if m.To == address {
			list = append(list, m)
		}
	}
	return list
}

// eventually polls until check holds.
func (w *world) eventually(what string, check func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if check() {
			return
		}
	}
	w.t.Fatal("timed out waiting for " + what)
}

// idle waits until the providers have told us all that they would tell by now, and no job is left to run now.
func (w *world) idle() {
	w.t.Helper()
	w.eventually("the queue to be empty", func() bool {
		return w.untold() == 0 && w.count(`SELECT COUNT(*) FROM river_job WHERE state IN ('available', 'running', 'pending')`) == 0 &&
			w.untold() == 0 // a job may have set a provider going
	})
}

// untold counts what a provider is about to tell or telling at this moment; what a fault delays, holds or drops is not among it.
// The order is that in which one follows from another.
func (w *world) untold() (n int) {
	w.t.Helper()
	now := w.clock.Now().UnixMicro()
	add := func(d *sql.DB, query string, args ...any) {
		w.t.Helper()
		var more int
		if err := d.QueryRowContext(context.Background(), query, args...).Scan(&more); err != nil {
			w.t.Fatal(err)
		}
		n += more
	}
	add(w.books.didit, `SELECT COUNT(*) FROM didit_foreign_events`)
	add(w.books.didit, `SELECT COUNT(*) FROM didit_webhooks WHERE state = 'pending' AND due_at <= $1`, now)
	add(w.books.pokepay, `SELECT COUNT(*) FROM pokepay_callbacks WHERE state = 'waiting' AND due_at <= $1`, now)
	return n
}

// stir moves time forward and lets everything happen that follows by itself: the loop claims what is due, the queue asks the
// providers, and so on until nothing is left.
func (w *world) stir(d time.Duration) {
	w.t.Helper()
	w.idle()
	w.clock.Advance(d)
	w.eventually("nothing to be due", func() bool {
		return w.count(`SELECT COUNT(*) FROM kyc_records WHERE next_poll_at <= $1`, w.clock.Now()) == 0
	})
	w.idle()
}

func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRow(context.Background(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// fault injects a fault; count 0 is until it is cleared.
func (w *world) fault(providerName, operation string, kind fault.Kind, count int, more ...func(*fault.Rule)) {
	w.t.Helper()
	r := fault.Rule{Provider: providerName, Operation: operation, Kind: kind, Count: count}
	for _, m := range more {
		m(&r)
	}
	if err := w.faults.Add(r); err != nil {
		w.t.Fatal(err)
	}
}

// cases lists the kinds of open operator cases about an attempt.
func (w *world) cases(agentUID string) []string {
	w.t.Helper()
	all, err := w.Cases(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	kinds := []string{}
	for _, c := range all {
		if c.Subject == agentUID {
			kinds = append(kinds, c.Kind)
		}
	}
	return kinds
}

// billed is how many sessions the providers have charged for.
func (w *world) billed() int {
	w.t.Helper()
	sessions, err := w.verify.Sessions(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return len(sessions) // none is ever deleted here
}

// cardholder is what the issuer believes about an attempt.
func (w *world) cardholder(agentUID string) (simpokepay.KYCState, bool) {
	w.t.Helper()
	all, err := w.issuer.KYCs(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, k := range all {
		if k.AgentUID == agentUID {
			return k, true
		}
	}
	return simpokepay.KYCState{}, false
}

type fields = map[string]any

type reply struct {
	status int
	header http.Header
	body   fields
	raw    string
}

func (r reply) text(key string) string {
	s, _ := r.body[key].(string)
	return s
}

// call makes a request. body: nil, a string sent as it is, or a value sent as JSON. headers: name and value in turn.
func (w *world) call(method, path, token string, body any, headers ...string) reply {
	w.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, w.url+path, content)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept-Language", "en")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Error(err)
		return reply{}
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	out := reply{status: res.StatusCode, header: res.Header, raw: string(raw)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &out.body); err != nil {
			w.t.Errorf("%s %s: answer is not a JSON object: %q", method, path, raw)
		}
	}
	return out
}

// refused checks an error answer: status, code, and the form of every error (contract/rules section 4).
func (r reply) refused(t testing.TB, status int, code string) {
	t.Helper()
	if r.status != status || r.body["code"] != code {
		t.Errorf("got %d %s, want %d %s", r.status, r.raw, status, code)
		return
	}
	for _, key := range []string{"message", "error", "details"} {
		if text, ok := r.body[key].(string); !ok || text == "" || strings.Contains(text, "problem.") || strings.Contains(text, "<no value>") {
			t.Errorf("%s: key %q must be a readable text: %s", code, key, r.raw)
		}
	}
}

// customer is somebody who has signed up and in.
type customer struct {
	w       *world
	t       testing.TB
	id      int64
	email   string
	access  string
	refresh secret.Text
}

var (
	customers atomic.Int64
	codeForm  = regexp.MustCompile(`(?m)^ {4}(\d{5})$`)
)

func (w *world) customer() *customer {
	w.t.Helper()
	ctx, device := context.Background(), identity.Client{Address: "127.0.0.1", Agent: "Dart/3.4 (dart:io)", Locale: i18n.English}
	c := &customer{w: w, t: w.t, email: fmt.Sprintf("customer-%d@example.test", customers.Add(1))}
	if _, err := w.people.SignUp(ctx, device, c.email, ""); err != nil {
		w.t.Fatal(err)
	}
	code := ""
	w.eventually("the code by mail", func() bool {
		for _, m := range w.post.to(c.email) {
			if found := codeForm.FindStringSubmatch(m.Text); found != nil {
				code = found[1]
			}
		}
		return code != ""
	})
	if _, err := w.people.Verify(ctx, device, c.email, code, ""); err != nil {
		w.t.Fatal(err)
	}
	in, err := w.people.SetPassword(ctx, device, c.email, secret.NewText(password), "")
	if err != nil {
		w.t.Fatal(err)
	}
	c.id, c.access, c.refresh = in.Profile.ID, in.Access.Reveal(), in.Refresh
	return c
}

// wait lets time pass for this customer, who looks into the app every few days and so stays signed in.
func (c *customer) wait(d time.Duration) {
	c.t.Helper()
	const stretch = 5 * 24 * time.Hour
	c.w.idle()
	for ; d > 0; d -= stretch {
		c.w.clock.Advance(min(d, stretch))
		tokens, err := c.w.people.Refresh(context.Background(), c.refresh)
		if err != nil {
			c.t.Fatal(err)
		}
		c.access, c.refresh = tokens.Access.Reveal(), tokens.Refresh
	}
}

// entries is what a customer types, as the app sends it: always all twelve keys.
func entries() fields {
	return fields{
		"first_en_name": "AMINA", "last_en_name": "CHAN", "email": "stale@example.test", "area_code": "852", "phone": "51234567",
		"bill_country_code": "HK", "state": "Hong Kong", "city": "Hong Kong", "address": "1 Harbour Road", "post_code": "000000",
		"agent_uid": "AMINA_CHAN_1772355600000", "return_url": "https://yourapp.com/kyc/didit/callback",
	}
}

// attempt is a verification that was started.
type attempt struct {
	c         *customer
	recordID  int64
	agentUID  string
	sessionID string
	url       string
}

func (c *customer) tryStart(body any, headers ...string) reply {
	c.t.Helper()
	return c.w.call(http.MethodPost, "/didit/initialize-token", c.access, body, headers...)
}

func attemptFrom(c *customer, r reply) attempt {
	token, _ := r.body["didit_token"].(fields)
	data, _ := token["data"].(fields)
	id, _ := r.body["user_kyc_id"].(float64)
	a := attempt{c: c, recordID: int64(id), agentUID: r.text("verification_id")}
	a.sessionID, _ = data["session_id"].(string)
	a.url, _ = data["url"].(string)
	return a
}

// start begins a verification that must be granted.
func (c *customer) start() attempt {
	c.t.Helper()
	r := c.tryStart(entries())
	a := attemptFrom(c, r)
	if r.status != http.StatusOK || a.recordID == 0 || a.agentUID == "" || a.sessionID == "" || a.url == "" {
		c.t.Fatalf("start: %d %s", r.status, r.raw)
	}
	return a
}

// page does what a person does on the verification page: approve, decline, review or abandon. It returns where the browser goes.
func (a attempt) page(action, risk string) (redirect string) {
	a.c.t.Helper()
	body, err := json.Marshal(map[string]string{"action": action, "risk": risk})
	if err != nil {
		a.c.t.Fatal(err)
	}
	res, err := http.Post(a.url, "application/json", bytes.NewReader(body))
	if err != nil {
		a.c.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(res.Body)
	var out struct {
		Redirect string `json:"redirect"`
	}
	if err := json.Unmarshal(raw, &out); err != nil || res.StatusCode != http.StatusOK || out.Redirect == "" {
		a.c.t.Fatalf("verification page, %s: %d %s", action, res.StatusCode, raw)
	}
	return out.Redirect
}

// opened opens the verification page and leaves it again.
func (a attempt) opened() {
	a.c.t.Helper()
	res, err := http.Get(a.url)
	if err != nil {
		a.c.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		a.c.t.Fatalf("verification page: %d", res.StatusCode)
	}
}

// verdict lets the issuer decide. Time moves a little: within one second the issuer's hint about the same verdict is the
// same hint.
func (a attempt) verdict(status int, reason string) {
	a.c.t.Helper()
	a.c.w.clock.Advance(time.Second)
	if err := a.c.w.issuer.Decide(context.Background(), simpokepay.Key{AgentUID: a.agentUID}, status, reason); err != nil {
		a.c.t.Fatal(err)
	}
}

// didit brings the session into a status, as a reviewer there or time does.
func (a attempt) didit(status, risk string) {
	a.c.t.Helper()
	if err := a.c.w.verify.SetStatus(context.Background(), a.sessionID, status, risk); err != nil {
		a.c.t.Fatal(err)
	}
}

// poll asks the providers about the attempt, once and at once.
func (a attempt) poll() error {
	a.c.t.Helper()
	return a.c.w.Poll(context.Background(), a.recordID, 0)
}

// mustPoll asks the providers about the attempt and expects an answer.
func (a attempt) mustPoll() {
	a.c.t.Helper()
	if err := a.poll(); err != nil {
		a.c.t.Fatalf("poll: %v", err)
	}
}

// standing is the part of GET /didit/status that the app acts on.
type standing struct {
	User      string
	CanSubmit bool
	Status    string
	PokePay   int
	Reason    string
}

// Answers of contract/money section 10.2.
var (
	stepNone         = standing{User: "none", CanSubmit: true}
	stepSubmit       = standing{User: "none", CanSubmit: true, Status: "pending_submit", PokePay: 1}
	stepPending      = standing{User: "pending", Status: "pending", PokePay: 1}
	stepProcessing   = standing{User: "pending", Status: "processing", PokePay: 1}
	stepReview       = standing{User: "pending", Status: "processing", PokePay: 5}
	stepVerified     = standing{User: "verified", Status: "approved", PokePay: 2}
	stepNotCompleted = standing{User: "none", CanSubmit: true, Status: "not_completed", PokePay: 1}
	stepCancelled    = standing{User: "none", CanSubmit: true, Status: "cancelled", PokePay: 1}
)

func stepRejected(pokePay int, reason string) standing {
	return standing{User: "rejected", CanSubmit: true, Status: "rejected", PokePay: pokePay, Reason: reason}
}

// underway is where a customer stands who has handed everything in, while nobody has decided.
func (w *world) underway() standing {
	if w.Channel == kyc.ViaDidit {
		return stepProcessing
	}
	return stepSubmit
}

func standingFrom(r reply) standing {
	out := standing{User: r.text("user_kyc_status")}
	out.CanSubmit, _ = r.body["can_submit_kyc"].(bool)
	if latest, ok := r.body["latest_kyc"].(fields); ok {
		out.Status, _ = latest["status"].(string)
		number, _ := latest["pokepay_status"].(float64)
		out.PokePay = int(number)
		out.Reason, _ = latest["fail_reason"].(string)
	}
	return out
}

func (c *customer) status(headers ...string) reply {
	c.t.Helper()
	r := c.w.call(http.MethodGet, "/didit/status", c.access, nil, headers...)
	if r.status != http.StatusOK {
		c.t.Fatalf("status: %d %s", r.status, r.raw)
	}
	// Rule 3 of contract/money 10.4, whatever the test is about: 2 never leaves without "verified".
	if got := standingFrom(r); got.PokePay == 2 && got.User != "verified" {
		c.t.Errorf("pokepay_status 2 for a customer who is not verified: %s", r.raw)
	}
	return r
}

// is checks where the customer stands now.
func (c *customer) is(want standing) {
	c.t.Helper()
	if diff := cmp.Diff(want, standingFrom(c.status())); diff != "" {
		c.t.Errorf("customer's standing (-want +got):\n%s", diff)
	}
	c.profileAgrees(want.User)
}

// becomes waits until the customer stands there.
func (c *customer) becomes(want standing) {
	c.t.Helper()
	var got standing
	defer func() {
		if c.t.Failed() && got != want {
			c.t.Logf("last standing: %+v, want %+v", got, want)
		}
	}()
	c.w.eventually("the customer to stand at "+want.User+" "+want.Status, func() bool {
		got = standingFrom(c.status())
		return got == want
	})
	c.profileAgrees(want.User)
}

// profileAgrees checks that the word kept with the account is the derived one (contract/money 10.4 rule 10).
func (c *customer) profileAgrees(want string) {
	c.t.Helper()
	account, err := c.w.people.Account(context.Background(), c.id)
	if err != nil {
		c.t.Fatal(err)
	}
	if account.KYCStatus != want {
		c.t.Errorf("the account says %q, the verification %q", account.KYCStatus, want)
	}
}

// mails counts the mails to the customer with a subject.
func (c *customer) mails(subject string) int {
	n := 0
	for _, m := range c.w.post.to(c.email) {
		if m.Subject == subject {
			n++
		}
	}
	return n
}

// records counts the customer's attempts, all of them or the open ones.
func (c *customer) records(open bool) int {
	c.t.Helper()
	if open {
		return c.w.count(`SELECT COUNT(*) FROM kyc_records WHERE user_id = $1 AND status IN ('pending_submit', 'pending', 'processing')`, c.id)
	}
	return c.w.count(`SELECT COUNT(*) FROM kyc_records WHERE user_id = $1`, c.id)
}

// moves lists the changes of state of an attempt.
func (a attempt) moves() []string {
	a.c.t.Helper()
	d, err := a.c.w.Show(context.Background(), identity.Operator{Name: "test"}, a.agentUID)
	if err != nil {
		a.c.t.Fatal(err)
	}
	list := []string{}
	for _, h := range d.History {
		if h.From != h.To {
			list = append(list, fmt.Sprintf("%s>%s", h.From, h.To))
		}
	}
	return list
}
