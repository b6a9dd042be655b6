package identity_test

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
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/obs/logtest"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/platform/sms"
	"github.com/comecomepay/comecomepay/internal/sandbox/inbox"
)

const goodPassword = "Harbour-Lights7!"

var (
	cheapHash = &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	start     = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	firstKey  = identity.TokenKey{ID: "k1", Secret: secret.NewText(strings.Repeat("a", 32))}
	secondKey = identity.TokenKey{ID: "k2", Secret: secret.NewText(strings.Repeat("b", 32))}
)

// world is the capability behind the real edge, with a queue that works and a post office that keeps all mail.
type world struct {
	*identity.Service
	t     *testing.T
	db    db.DB
	clock *clock.Fixed
	vault *secret.Vault
	texts *i18n.Texts
	post  *postOffice
	phone *inbox.Inbox // takes short messages
	queue *jobs.Queue
	logs  *logtest.Buffer
	url   string

	options identity.Options
}

// gateway makes the phones of all customers, and the way to them.
func (w *world) gateway() sms.Sender {
	w.t.Helper()
	key := secret.NewText("a secret of both sides")
	memory, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		w.t.Fatal(err)
	}
	memory.SetMaxOpenConns(1)
	w.t.Cleanup(func() { _ = memory.Close() })
	if w.phone, err = inbox.New(w.t.Context(), inbox.Options{DB: memory, Clock: w.clock, SMSSecret: key}); err != nil {
		w.t.Fatal(err)
	}
	server := httptest.NewServer(w.phone.SMSHandler())
	w.t.Cleanup(server.Close)
	sender, err := sms.NewGateway(sms.Config{URL: server.URL, Secret: key})
	if err != nil {
		w.t.Fatal(err)
	}
	return sender
}

// replica is the capability in another process.
func (w *world) replica() *identity.Service { return identity.New(w.options) }

// setDigits gives a customer a transaction password.
func (w *world) setDigits(u *user, digits string) {
	w.t.Helper()
	salt := []byte(fmt.Sprint("salt of ", u.id))
	hash := w.vault.Hash("transaction password", fmt.Sprint(u.id), string(salt), digits)
	_, err := w.db.Exec(context.Background(), `INSERT INTO transaction_passwords (user_id, salt, password_hash, set_at) VALUES ($1, $2, $3, $4)`, u.id, salt, hash, w.clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
}

type postOffice struct {
	mu    sync.Mutex
	mail  []mail.Message
	fail  error
	tries int
}

func (p *postOffice) Send(_ context.Context, m mail.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	if p.fail != nil {
		return p.fail
	}
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

func newWorld(t *testing.T, d db.DB, change ...func(*identity.Options)) *world {
	t.Helper()
	keyset, err := secret.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	vault, err := secret.NewVault(keyset, secret.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	texts, err := i18n.Load(api.Locales, identity.Locales)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: d, clock: clock.NewFixed(start), vault: vault, texts: texts, post: &postOffice{}, logs: &logtest.Buffer{}}
	log := slog.New(slog.NewJSONHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	// The queue logs on its own; it is quiet here, since it is cut off when the test ends.
	if w.queue, err = jobs.New(d, jobs.Options{Log: slog.New(slog.DiscardHandler), Workers: 4}); err != nil {
		t.Fatal(err)
	}
	w.options = identity.Options{
		DB: d, Jobs: w.queue, Vault: vault, Clock: w.clock, Texts: texts, SMS: w.gateway(), Log: log, Keys: []identity.TokenKey{firstKey},
		PasswordCost: cheapHash, DefaultLocale: i18n.English, SpareLoopback: true,
	}
	for _, c := range change {
		c(&w.options)
	}
	w.Service = identity.New(w.options)
	w.RegisterJobs(w.queue, w.post)
	a := api.New(api.Options{
		DB: d, Vault: vault, Clock: w.clock, Texts: texts, Log: log, CheckToken: w.CheckToken,
		DefaultLocale: i18n.English, SpareLoopback: true, CallerRate: 1e6, Version: "test",
	})
	w.Register(a)
	api.Register(a, api.Operation{ID: "whoami", Method: http.MethodGet, Path: "/whoami", Access: api.CustomerUnconfirmed, Tag: "test"},
		func(ctx context.Context, _ *struct{}) (*struct{ Body api.Success }, error) {
			c := identity.CustomerFrom(ctx)
			var standing identity.Standing
			err := d.QueryRow(ctx, "SELECT "+identity.StandingColumns+" FROM "+identity.StandingFrom, c.ID, c.SessionID).Scan(standing.Dest()...)
			if err == nil {
				err = standing.Check(w.clock.Now())
			}
			if err == nil {
				err = standing.Confirm(c).MayAct()
			}
			return &struct{ Body api.Success }{api.OK()}, err
		})
	server := httptest.NewServer(a.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	if err := w.queue.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = w.queue.Stop(ctx)
	})
	return w
}

// each runs a test on both engines.
func each(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) { test(t, newWorld(t, d)) })
}

type reply struct {
	status int
	header http.Header
	body   map[string]any
	raw    string
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
	r.Header.Set("User-Agent", "Dart/3.4 (dart:io)")
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

type fields = map[string]any

func (w *world) post200(path string, body any, headers ...string) reply {
	w.t.Helper()
	r := w.call(http.MethodPost, path, "", body, headers...)
	if r.status != http.StatusOK || r.body["status"] != "success" {
		w.t.Fatalf("POST %s: %d %s", path, r.status, r.raw)
	}
	return r
}

// refused makes a request that must be refused with this status and code, in the form of every error.
func (r reply) refused(t *testing.T, status int, code string) {
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
	if status == http.StatusTooManyRequests && r.header.Get("Retry-After") == "" {
		t.Errorf("%s: no Retry-After", code)
	}
}

func (r reply) text(key string) string {
	s, _ := r.body[key].(string)
	return s
}

// eventually polls until check holds.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if check() {
			return
		}
	}
	t.Fatal("timed out waiting for " + what)
}

var codeForm = regexp.MustCompile(`(?m)^ {4}(\d{5})$`)

// code waits for the nth mail with a code to address (from 1) and returns the code.
func (w *world) code(address string, nth int) string {
	w.t.Helper()
	var codes []string
	eventually(w.t, fmt.Sprintf("code %d", nth), func() bool {
		codes = nil
		for _, m := range w.post.to(address) {
			if found := codeForm.FindStringSubmatch(m.Text); found != nil {
				codes = append(codes, found[1])
			}
		}
		return len(codes) >= nth
	})
	return codes[nth-1]
}

// idle waits until no job is left to run.
func (w *world) idle() {
	w.t.Helper()
	eventually(w.t, "queue to be empty", func() bool {
		var n int
		err := w.db.QueryRow(context.Background(), `SELECT COUNT(*) FROM river_job WHERE state IN ('available', 'running', 'pending')`).Scan(&n)
		return err == nil && n == 0
	})
}

func wrong(code string) string {
	if code[0] == '9' {
		return "0" + code[1:]
	}
	return string(code[0]+1) + code[1:]
}

// user is a customer who has signed up and in.
type user struct {
	email, access, refresh, referral string
	id                               int64
	codes                            int // mailed so far
}

func (w *world) signUp(email string) *user {
	w.t.Helper()
	w.post200("/auth/signup", fields{"email": email})
	w.post200("/auth/verify", fields{"email": email, "otp_code": w.code(email, 1)})
	r := w.post200("/auth/set-password", fields{"email": email, "password": goodPassword})
	u := &user{email: email, codes: 1}
	u.take(r)
	return u
}

func (u *user) take(r reply) {
	u.access, u.refresh = r.text("access_token"), r.text("refresh_token")
	if person, ok := r.body["user"].(map[string]any); ok {
		u.id = int64(person["id"].(float64))
		u.referral, _ = person["referral_code"].(string)
	}
}

func (w *world) logIn(u *user, headers ...string) {
	w.t.Helper()
	w.post200("/auth/login", fields{"email": u.email, "password": goodPassword}, headers...)
	u.codes++
	u.take(w.post200("/auth/verify-login-otp", fields{"email": u.email, "otp_code": w.code(u.email, u.codes)}, headers...))
}

func has(err error, p *problem.Problem) bool {
	found, ok := problem.Find(err)
	return ok && found.Code == p.Code
}

func (w *world) count(query string, args ...any) int {
	w.t.Helper()
	var n int
	if err := w.db.QueryRow(context.Background(), query, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}
