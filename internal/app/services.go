package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/platform/sms"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/didit"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
	"github.com/comecomepay/comecomepay/internal/rate"
	"github.com/comecomepay/comecomepay/internal/sandbox"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// Extras are what a program is made of besides its configuration. The zero value is that of production.
type Extras struct {
	Clock  clock.Clock  // nil: the machine's; in development, that of the sandbox beside
	Random io.Reader    // nil: crypto/rand
	Log    *slog.Logger // nil: nothing is logged

	// Listeners that are open already; nil: opened at the configured addresses.
	HTTP, Ops net.Listener
}

func (x Extras) withDefaults() Extras {
	if x.Clock == nil {
		x.Clock = clock.System{}
	}
	if x.Random == nil {
		x.Random = rand.Reader
	}
	if x.Log == nil {
		x.Log = slog.New(slog.DiscardHandler)
	}
	return x
}

// Services are the capabilities on an open database, without anybody to serve: what the operators' commands use, and what
// New builds the program on.
type Services struct {
	Config   Config
	DB       db.DB
	Clock    clock.Clock
	Vault    *secret.Vault
	Texts    *i18n.Texts
	Jobs     *jobs.Queue
	Cases    cases.Book
	Ledger   *ledger.Ledger
	Identity *identity.Service
	KYC      *kyc.Service
	Rates    *rate.Service
	Wallet   *wallet.Service

	log *slog.Logger
}

// developmentClock is the time of the sandbox beside. While that does not answer it is the machine's.
func developmentClock(ctx context.Context, c Config) *clock.Adjustable {
	t := clock.NewAdjustable(nil, 0)
	_ = sandbox.SetClock(ctx, "http://"+c.Sandbox.Addr, t)
	return t
}

// LoadTexts reads the texts of the whole program. A text that is missing in a language is an error.
func LoadTexts() (*i18n.Texts, error) {
	return i18n.Load(api.Locales, identity.Locales, kyc.Locales, rate.Locales, wallet.Locales)
}

// OpenServices opens the database as it is and the capabilities on it: nothing is created, migrated, served or worked on. A
// database whose schema is not that of this program is refused, and so is one that is not there: ErrNoDatabase. Beyond Config.CheckStorage nothing needs to be configured: an operator's
// command does not call providers, send mail or sign tokens.
func OpenServices(ctx context.Context, c Config, x Extras) (*Services, error) {
	if err := c.CheckStorage(); err != nil {
		return nil, err
	}
	if x.Clock == nil && c.General.Environment == Development {
		x.Clock = developmentClock(ctx, c)
	}
	x = x.withDefaults()
	d, err := c.OpenExistingDatabase(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkSchema(ctx, d); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	s, err := assemble(c, x, d, nil)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return s, nil
}

// Close closes the database.
func (s *Services) Close() error { return s.DB.Close() }

// ErrNoDatabase says that the SQLite file is not there: it was never made, or the command runs in another directory.
var ErrNoDatabase = errors.New("no database")

// OpenExistingDatabase opens the configured database if there is one, for commands that only look or act on what is there.
// Errors: ErrNoDatabase.
func (c Config) OpenExistingDatabase(ctx context.Context) (db.DB, error) {
	if path, ok := strings.CutPrefix(c.Database.URL, "sqlite://"); ok {
		absolute, err := filepath.Abs(path)
		if err != nil {
			return nil, fmt.Errorf("CCP_DATABASE_URL: %w", err)
		}
		if _, err := os.Stat(absolute); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("CCP_DATABASE_URL, CCP_DATA_DIR: %w at %s; comecomepay migrate makes one", ErrNoDatabase, absolute)
		} else if err != nil {
			return nil, fmt.Errorf("CCP_DATABASE_URL: %w", err)
		}
	}
	return c.OpenDatabase(ctx)
}

// OpenDatabase opens the configured database. A SQLite file that is not there is made.
func (c Config) OpenDatabase(ctx context.Context) (db.DB, error) {
	d, err := db.Open(ctx, c.Database.URL, db.Options{MaxConns: c.Database.MaxConns, Trace: c.traced()})
	if err != nil {
		return nil, fmt.Errorf("CCP_DATABASE_URL: %w", err)
	}
	return d, nil
}

// jobTimeout is how long a background job may run. The longest round of questions that goes well fits in, if every call takes all of
// the time that it has: in channel didit twice the decision, and a login, two look-ups and the submission at the issuer. One that
// has to try again may be cut off; it is taken up later, when its leases, which last longer, have run out.
func (c Config) jobTimeout() time.Duration {
	return max(jobs.DefaultTimeout, 2*c.Didit.Timeout+4*c.PokePay.Timeout, 2*c.Udun.Timeout)
}

func (c Config) traced() bool { return c.Telemetry.OTelEndpoint != "" }

// assemble makes the capabilities and tells them of each other.
func assemble(c Config, x Extras, d db.DB, metrics prometheus.Registerer) (*Services, error) {
	vault, err := secret.NewVault(c.Keys.DataKeyset, c.Keys.HashKey)
	if err != nil {
		return nil, fmt.Errorf("CCP_DATA_KEYSET, CCP_HASH_KEY: %w", err)
	}
	texts, err := LoadTexts()
	if err != nil {
		return nil, err
	}
	queue, err := jobs.New(d, jobs.Options{Log: riverLog(x.Log), Registerer: metrics, Workers: c.Database.JobWorkers, Timeout: c.jobTimeout()})
	if err != nil {
		return nil, err
	}
	keys, err := c.signingKeys()
	if err != nil {
		return nil, err
	}
	var sender mail.Sender
	if c.Mail.Addr != "" {
		if sender, err = c.NewMailSender(x.Clock); err != nil {
			return nil, err
		}
	}
	var gateway sms.Sender
	if c.SMS.URL != "" {
		if gateway, err = sms.NewGateway(sms.Config{URL: c.SMS.URL, Secret: c.SMS.Secret}); err != nil {
			return nil, fmt.Errorf("CCP_SMS_URL, CCP_SMS_SECRET: %w", err)
		}
	}
	customers := identity.New(identity.Options{
		DB: d, Jobs: queue, Vault: vault, Clock: x.Clock, Random: x.Random, Texts: texts, SMS: gateway, Log: x.Log,
		Keys: keys, PasswordParallelism: c.Keys.PasswordParallelism, DefaultLocale: c.General.DefaultLocale,
		Brand: c.General.Brand, SpareLoopback: c.sparesLoopback(), Registerer: metrics,
	})
	customers.RegisterJobs(queue, sender)

	verification := kyc.Options{
		DB: d, Jobs: queue, Customers: customers, Vault: vault, Clock: x.Clock, Random: x.Random, Texts: texts, Log: x.Log, Registry: metrics,
		Channel: kyc.Channel(c.KYC.Channel), WorkflowID: c.Didit.WorkflowID, PublicURL: c.General.PublicURL,
		CallbackKey: c.PokePay.CallbackKey, CallbackSecret: c.PokePay.CallbackSecret,
		AttemptsPerHour: c.KYC.AttemptsPerHour, AttemptsPerDay: c.KYC.AttemptsPerDay,
		RequestTimeout: c.HTTP.RequestTimeout, JobTimeout: c.jobTimeout(),
	}
	if c.PokePay.configured() {
		if verification.Issuer, err = c.NewIssuer(x.Clock, metrics); err != nil {
			return nil, err
		}
	}
	if !c.Didit.APIKey.Empty() {
		if verification.Didit, err = c.NewDidit(x.Clock, metrics); err != nil {
			return nil, err
		}
	}
	if len(c.Didit.WebhookSecrets) > 0 {
		// Repetitions are recognised by their event, so the wide window is safe (provider/didit.md 4.7).
		verification.Webhooks, err = didit.NewVerifier(didit.VerifierConfig{Secrets: c.Didit.WebhookSecrets, Clock: x.Clock, Window: didit.DeduplicatedWindow, RefuseSimple: !c.Didit.AllowSimpleSignature})
		if err != nil {
			return nil, fmt.Errorf("CCP_DIDIT_WEBHOOK_SECRETS: %w", err)
		}
	}
	verified := kyc.New(verification)
	verified.RegisterJobs(queue)

	rates := rate.New(rate.Options{DB: d, Clock: x.Clock, Log: x.Log, Registry: metrics, Issuer: verification.Issuer,
		Configured: c.Rates.Table, MaxAge: c.Rates.MaxAge, Refresh: c.Rates.Refresh})

	book := ledger.New(ledger.Options{DB: d, Clock: x.Clock, Log: x.Log, Registerer: metrics})
	coins, err := c.Wallet.coins()
	if err != nil {
		return nil, fmt.Errorf("CCP_WALLET_COINS: %w", err)
	}
	custody, err := c.gatewayOptions(x.Clock, metrics)
	if err != nil {
		return nil, err
	}
	purse := wallet.New(wallet.Options{
		DB: d, Jobs: queue, Ledger: book, Customers: customers, Vault: vault, Clock: x.Clock, Random: x.Random, Texts: texts, Log: x.Log, Registerer: metrics,
		Coins: coins, BSC: c.Wallet.BSC, Prices: rates, TransferLimits: c.Wallet.transferLimits(), Gateway: custody,
	})
	purse.RegisterJobs(queue)
	customers.OnCreated(purse.Open)
	verified.OnRevoke(purse.Revoke)

	return &Services{Config: c, DB: d, Clock: x.Clock, Vault: vault, Texts: texts, Jobs: queue, Cases: cases.NewBook(d, x.Clock), Ledger: book,
		Identity: customers, KYC: verified, Rates: rates, Wallet: purse, log: x.Log}, nil
}

// sparesLoopback: in development everything comes from one machine, hence from one network address.
func (c Config) sparesLoopback() bool { return c.General.Environment == Development }

// signingKeys are the keys of tokens. Without any, one that nobody knows stands in: what it signs is never accepted, and
// only a program that signs nothing comes so far (CheckServe).
func (c Config) signingKeys() ([]identity.TokenKey, error) {
	var keys []identity.TokenKey
	for _, k := range c.Keys.TokenKeys {
		key := identity.TokenKey{ID: k.ID, Secret: k.Secret}
		if err := key.Validate(); err != nil {
			return nil, fmt.Errorf("CCP_TOKEN_KEYS: %w", err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		keys = []identity.TokenKey{{ID: "none", Secret: secret.NewText(rand.Text() + rand.Text())}}
	}
	return keys, nil
}

// NewMailSender makes the sender of all mail. It does not connect.
func (c Config) NewMailSender(t clock.Clock) (*mail.SMTP, error) {
	settings, err := c.SMTPConfig()
	if err != nil {
		return nil, err
	}
	settings.Clock = t
	sender, err := mail.NewSMTP(settings)
	if err != nil {
		return nil, fmt.Errorf("CCP_SMTP_ADDR, CCP_MAIL_FROM: %w", err)
	}
	return sender, nil
}

// NewIssuer makes the client of PokePay. It does not connect.
func (c Config) NewIssuer(t clock.Clock, metrics prometheus.Registerer) (*pokepay.Client, error) {
	p := c.PokePay
	var login pokepay.Authenticator = pokepay.EmailLogin{URL: p.LoginURL, Account: p.Account, Password: p.Password, AreaCode: p.AreaCode}
	if p.Auth == AuthApplication {
		login = pokepay.ApplicationLogin{URL: p.LoginURL, AppID: p.AppID, AppSecret: p.AppSecret,
			IDField: p.AppIDField, SecretField: p.AppSecretField, TokenField: p.TokenField}
	}
	client, err := pokepay.NewClient(pokepay.Config{BaseURL: p.URL, Authenticator: login, Paths: p.Paths, AgentUIDParam: p.AgentUIDParam,
		Limits: provider.Limits{Timeout: p.Timeout}, Clock: t, Registerer: metrics})
	if err != nil {
		return nil, fmt.Errorf("CCP_POKEPAY_…: %w", err)
	}
	return client, nil
}

// configured tells whether there is an account with the issuer.
func (p PokePayConfig) configured() bool {
	if p.Auth == AuthApplication {
		return p.AppID != "" && !p.AppSecret.Empty()
	}
	return p.Account != "" && !p.Password.Empty()
}

// NewDidit makes the client of our own Didit application. It does not connect.
func (c Config) NewDidit(t clock.Clock, metrics prometheus.Registerer) (*didit.Client, error) {
	client, err := didit.NewClient(didit.Config{BaseURL: c.Didit.URL, APIKey: c.Didit.APIKey,
		Limits: provider.Limits{Timeout: c.Didit.Timeout}, Clock: t, Registerer: metrics})
	if err != nil {
		return nil, fmt.Errorf("CCP_DIDIT_…: %w", err)
	}
	return client, nil
}

// apiVersion is the version of what goes over the wire, in the description of the API. It changes with the wire, not with
// the build.
const apiVersion = "1.0.0"

// edge makes the HTTP edge with every operation of the program.
func (s *Services) edge(metrics prometheus.Registerer) *api.API {
	c := s.Config
	edge := api.New(api.Options{
		DB: s.DB, Vault: s.Vault, Clock: s.Clock, Texts: s.Texts, Log: s.log, Registerer: metrics, CheckToken: s.Identity.CheckToken,
		DefaultLocale: c.General.DefaultLocale, TrustedProxies: c.HTTP.TrustedProxies, CORSOrigins: c.HTTP.CORSOrigins,
		MaxBody: c.HTTP.MaxBodyBytes, Timeout: c.HTTP.RequestTimeout, AddressRate: c.HTTP.RatePerAddress, CallerRate: c.HTTP.RatePerCustomer,
		SpareLoopback: c.sparesLoopback(), Trace: c.traced(), Version: apiVersion,
	})
	s.Identity.Register(edge)
	s.KYC.Register(edge)
	s.Rates.Register(edge)
	s.Wallet.Register(edge)
	return edge
}

// OpenAPI is the description of the API in YAML. It needs neither configuration nor database.
func OpenAPI() ([]byte, error) {
	keys, err := Config{}.signingKeys()
	if err != nil {
		return nil, err
	}
	s := &Services{log: slog.New(slog.DiscardHandler), Identity: identity.New(identity.Options{Keys: keys}), KYC: kyc.New(kyc.Options{}),
		Rates: rate.New(rate.Options{}), Wallet: wallet.New(wallet.Options{})}
	return s.edge(nil).OpenAPI().YAML()
}

// riverLog keeps the queue's own chatter, which reports every start and stop, out of a log of everyday.
func riverLog(log *slog.Logger) *slog.Logger { return slog.New(quieter{log.Handler()}) }

// quieter lowers information to debugging.
type quieter struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h quieter) Enabled(ctx context.Context, level slog.Level) bool {
	return h.Handler.Enabled(ctx, lowered(level))
}

// Handle implements slog.Handler.
func (h quieter) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lowered(r.Level)
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h quieter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quieter{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h quieter) WithGroup(name string) slog.Handler { return quieter{h.Handler.WithGroup(name)} }

func lowered(level slog.Level) slog.Level {
	if level == slog.LevelInfo {
		return slog.LevelDebug
	}
	return level
}
