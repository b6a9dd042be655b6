package wallet_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/shopspring/decimal"
	_ "modernc.org/sqlite"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
	"github.com/comecomepay/comecomepay/internal/rate"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	simudun "github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

const (
	password = "Harbour-Lights7!"
	pin      = "739154"
)

var (
	beginning = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	cheapHash = &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	operator  = identity.Operator{Name: "olga"}
)

// world is the capability behind the real edge, on one database. Time stands still until a test moves it.
type world struct {
	*wallet.Service
	t      testing.TB
	db     db.DB
	clock  *clock.Fixed
	people *identity.Service
	ledger *ledger.Ledger
	queue  *jobs.Queue
	vault  *secret.Vault
	post   *postOffice
	udun   *gateway // nil without withGateway
	url    string
}

// setting changes what a world is made of.
type setting func(w *world, o *wallet.Options)

// gateway is the simulated gateway on a listener of its own.
type gateway struct {
	*simudun.Simulator
	faults *fault.Plan
	calls  atomic.Int64 // for new addresses, that reached it
	url    string       // base address
	// twist changes an answer to such a call on its way, twistCoins one to the list of coins; nil: it comes as it is.
	twist, twistCoins atomic.Pointer[func(answer string) string]
}

// withGateway puts a gateway beside the wallet. change may alter it; nil: nothing.
func withGateway(change func(*simudun.Options)) setting {
	return func(w *world, o *wallet.Options) {
		g := &gateway{faults: &fault.Plan{}}
		books, err := sql.Open("sqlite", "file:"+filepath.Join(w.t.TempDir(), "udun.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_pragma=foreign_keys(1)&_txlock=immediate")
		if err != nil {
			w.t.Fatal(err)
		}
		books.SetMaxOpenConns(1)
		settings := simudun.Options{DB: books, Clock: w.clock, Faults: g.faults, MerchantID: "300011", APIKey: "key-of-the-tests"}
		if change != nil {
			change(&settings)
		}
		if g.Simulator, err = simudun.New(context.Background(), settings); err != nil {
			w.t.Fatal(err)
		}
		handler := http.StripPrefix("/udun", g.Handler())
		server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			var twist *func(string) string
			switch {
			case strings.HasSuffix(r.URL.Path, "/address/create"):
				g.calls.Add(1)
				twist = g.twist.Load()
			case strings.HasSuffix(r.URL.Path, "/support-coins"):
				twist = g.twistCoins.Load()
			}
			if twist == nil {
				handler.ServeHTTP(rw, r)
				return
			}
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, r)
			rw.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(rw, (*twist)(answer.Body.String()))
		}))
		ctx, cancel := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { _ = g.Run(ctx) })
		w.t.Cleanup(func() {
			cancel()
			running.Wait()
			server.Close()
			_ = books.Close()
		})
		client, err := udun.NewClient(udun.Config{BaseURL: server.URL + "/udun", MerchantID: settings.MerchantID, APIKey: secret.NewText(settings.APIKey),
			CallURL: "http://127.0.0.1:1/yudun/callback", Clock: w.clock, Limits: provider.Limits{
				Timeout: time.Minute, Attempts: 2, Backoff: 5 * time.Millisecond, MaxBackoff: 10 * time.Millisecond, BreakerDelay: 10 * time.Millisecond,
			}})
		if err != nil {
			w.t.Fatal(err)
		}
		g.url = server.URL + "/udun"
		w.udun, o.Gateway.Client = g, client
	}
}

// newWorld builds a world.
func newWorld(t testing.TB, d db.DB, settings ...setting) *world {
	t.Helper()
	w := &world{t: t, db: d, clock: clock.NewFixed(beginning), post: &postOffice{}}
	keyset, err := secret.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	if w.vault, err = secret.NewVault(keyset, secret.NewKey()); err != nil {
		t.Fatal(err)
	}
	texts, err := i18n.Load(api.Locales, identity.Locales, wallet.Locales)
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	if w.queue, err = jobs.New(d, jobs.Options{Log: quiet}); err != nil {
		t.Fatal(err)
	}
	w.people = identity.New(identity.Options{
		DB: d, Jobs: w.queue, Vault: w.vault, Clock: w.clock, Texts: texts, PasswordCost: cheapHash, DefaultLocale: i18n.English, SpareLoopback: true,
		Keys: []identity.TokenKey{{ID: "k1", Secret: secret.NewText(strings.Repeat("a", 32))}},
	})
	w.people.RegisterJobs(w.queue, w.post)
	w.ledger = ledger.New(ledger.Options{DB: d, Clock: w.clock, Log: quiet})
	coins, err := wallet.Select(wallet.Catalogue(wallet.DefaultBSC), strings.Split(wallet.DefaultCoins, ","))
	if err != nil {
		t.Fatal(err)
	}
	o := wallet.Options{DB: d, Jobs: w.queue, Ledger: w.ledger, Customers: w.people, Vault: w.vault, Clock: w.clock, Texts: texts, Log: quiet, Coins: coins}
	for _, set := range settings {
		set(w, &o)
	}
	w.Service = wallet.New(o)
	w.RegisterJobs(w.queue)
	w.people.OnCreated(w.Service.Open)
	edge := api.New(api.Options{
		DB: d, Vault: w.vault, Clock: w.clock, Texts: texts, Log: quiet, CheckToken: w.people.CheckToken,
		DefaultLocale: i18n.English, SpareLoopback: true, CallerRate: 1e6, Version: "test", Timeout: 2 * time.Minute,
	})
	w.people.Register(edge)
	w.Register(edge)
	server := httptest.NewServer(edge.Handler())
	w.url = server.URL
	if err := w.queue.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Close()
		stop, done := context.WithTimeout(context.Background(), 20*time.Second)
		defer done()
		if err := w.queue.Stop(stop); err != nil {
			t.Errorf("job queue: %v", err)
		}
		if err := w.ledger.Close(stop); err != nil {
			t.Errorf("ledger: %v", err)
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

// prices of coins in USDT, and of one USDT in HKD.
type prices map[string]string

// Rate implements wallet.Prices.
func (p prices) Rate(_ context.Context, from, to string) (rate.Quote, error) {
	text, ok := p[to]
	if !ok || from != "USDT" {
		return rate.Quote{}, rate.ErrUnavailable
	}
	return rate.Quote{From: from, To: to, Rate: decimal.RequireFromString(text)}, nil
}

// InUSDT implements wallet.Prices.
func (p prices) InUSDT(_ context.Context, coin string) (decimal.Decimal, bool) {
	text, ok := p[coin]
	if !ok {
		return decimal.Decimal{}, false
	}
	return decimal.RequireFromString(text), true
}

// eventually polls until check holds.
func (w *world) eventually(what string, check func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if check() {
			return
		}
	}
	w.t.Fatal("timed out waiting for " + what)
}

func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRow(context.Background(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) exec(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Exec(context.Background(), statement, args...); err != nil {
		w.t.Fatal(err)
	}
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

// refused checks an error answer: status, code, and that it can be read (contract/rules section 4).
func (r reply) refused(t testing.TB, status int, code string) {
	t.Helper()
	if r.status != status || r.body["code"] != code {
		t.Errorf("got %d %s, want %d %s", r.status, r.raw, status, code)
		return
	}
	for _, key := range []string{"message", "error"} {
		if text, ok := r.body[key].(string); !ok || text == "" || strings.Contains(text, "problem.") || strings.Contains(text, "<no value>") {
			t.Errorf("%s: key %q must be a readable text: %s", code, key, r.raw)
		}
	}
}

// into decodes a successful answer strictly: an unknown key or a value of another type is an error.
func (r reply) into(t testing.TB, model any) {
	t.Helper()
	if r.status != http.StatusOK || r.body["status"] != "success" {
		t.Fatalf("got %d %s", r.status, r.raw)
	}
	d := json.NewDecoder(strings.NewReader(r.raw))
	d.DisallowUnknownFields()
	if err := d.Decode(model); err != nil {
		t.Fatalf("%v: %s", err, r.raw)
	}
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
	if err := json.Unmarshal(raw, &out.body); err != nil {
		w.t.Errorf("%s %s: answer is not a JSON object: %q", method, path, raw)
	}
	return out
}

// customer is somebody who has signed up and in and has set a transaction password.
type customer struct {
	w       *world
	t       testing.TB
	id      int64
	email   string
	ref     string
	access  string
	session string
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
	c.id, c.access, c.ref = in.Profile.ID, in.Access.Reveal(), in.Profile.WalletRef
	if err := w.db.QueryRow(ctx, `SELECT id FROM sessions WHERE user_id = $1`, c.id).Scan(&c.session); err != nil {
		w.t.Fatal(err)
	}
	salt := []byte("salt")
	w.exec(`INSERT INTO transaction_passwords (user_id, salt, password_hash, set_at) VALUES ($1, $2, $3, $4)`,
		c.id, salt, w.vault.Hash("transaction password", strconv.FormatInt(c.id, 10), string(salt), pin), w.clock.Now())
	return c
}

var grants atomic.Int64

// grant gives the customer coins out of custody, as a deposit does.
func (c *customer) grant(currency, amount string) {
	c.t.Helper()
	move := ledger.Move("grant", strconv.FormatInt(grants.Add(1), 10), ledger.CustodyOf(currency), ledger.AvailableOf(c.id, currency), units(c.t, currency, amount))
	if _, err := c.w.ledger.Submit(context.Background(), move); err != nil {
		c.t.Fatal(err)
	}
}

// has checks the balance of a coin.
func (c *customer) has(currency, amount string) {
	c.t.Helper()
	if got := c.balance(currency); got != units(c.t, currency, amount) {
		c.t.Errorf("customer %d has %d units of %s, want %s", c.id, got, currency, amount)
	}
}

func (c *customer) balance(currency string) int64 {
	c.t.Helper()
	got, err := c.w.ledger.Balance(context.Background(), c.w.db, ledger.AvailableOf(c.id, currency))
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func units(t testing.TB, currency, amount string) int64 {
	t.Helper()
	for _, coin := range wallet.Catalogue(wallet.DefaultBSC) {
		if coin.Code == currency {
			n, err := money.Asset{Code: coin.Code, Scale: coin.Scale}.Parse(amount)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no coin %q", currency)
	return 0
}

// send asks for a transfer; amount stands in the request as it is.
func (c *customer) send(to int64, currency, amount string, headers ...string) reply {
	c.t.Helper()
	return c.sendWith(pin, to, currency, amount, headers...)
}

func (c *customer) sendWith(pin string, to int64, currency, amount string, headers ...string) reply {
	c.t.Helper()
	body := fmt.Sprintf(`{"amount":%s,"currency":%q,"description":"Internal transfer","recipient_uid":%d,"transaction_password":%q}`, amount, currency, to, pin)
	return c.w.call(http.MethodPost, "/wallet/transfer-by-uid", c.access, body, headers...)
}

// open opens an empty database for a benchmark.
func open(b *testing.B, engine db.Engine) db.DB {
	b.Helper()
	d, err := db.Open(b.Context(), dbtest.URL(b, engine), db.Options{MaxConns: 16})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = d.Close() })
	return d
}
