package app

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/obs"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
	"github.com/comecomepay/comecomepay/internal/rate"
)

// Config is everything that can be set from outside. Each setting is one environment variable; its tags hold the
// name, the default, and the explanation that the configuration page prints. A variable that is empty counts as not set.
//
// LoadConfig has checked every setting by itself, and what a command needs beyond that: CheckStorage or CheckServe.
type Config struct {
	General  GeneralConfig  `group:"General"`
	HTTP     HTTPConfig     `group:"HTTP"`
	Database DatabaseConfig `group:"Database and jobs"`
	Keys     KeysConfig     `group:"Keys" intro:"Made by the command that prints a fresh set: comecomepay keys. Losing the data keyset or the hash key loses the data that they protect."`
	Mail     MailConfig     `group:"Mail"`
	SMS      SMSConfig      `group:"SMS" intro:"Only for changes of phone numbers, which need a code by SMS; without a gateway they are refused. A message is POST {\"to\", \"text\"} in JSON; X-Signature is sha256= and the HMAC-SHA256 of the body, Idempotency-Key the same whenever a message is sent again. Any 2xx says that the gateway has taken it."`
	KYC      KYCConfig      `group:"KYC"`
	Wallet   WalletConfig   `group:"Wallet"`
	Udun     UdunConfig     `group:"Crypto gateway" intro:"Udun, which holds the coins: deposit addresses, deposits and withdrawals."`

	Withdrawals WithdrawalsConfig `group:"Withdrawals"`

	Didit     DiditConfig     `group:"Didit" intro:"Needed in channel didit. A key that is set is used in both channels."`
	PokePay   PokePayConfig   `group:"PokePay"`
	Rates     RatesConfig     `group:"Exchange rates" intro:"Asked of PokePay, for all replicas together."`
	Telemetry TelemetryConfig `group:"Logs and traces"`
	Sandbox   SandboxConfig   `group:"Sandbox" intro:"Only the command sandbox reads these, and serve in development, to find the simulators."`

	sources map[string]Source
}

// Environment says how much an installation is trusted with.
type Environment string

// The environments. In Development the known keys and the simulators' addresses of development.go stand in for what
// is not set; in Production they are refused.
const (
	Production  Environment = "production"
	Development Environment = "development"
)

// GeneralConfig is what concerns the whole program.
type GeneralConfig struct {
	Environment   Environment   `env:"CCP_ENV" envDefault:"production" oneof:"production,development" doc:"In development, known keys and the sandbox's simulators stand in for what is not set. Production refuses both."`
	PublicURL     string        `env:"CCP_PUBLIC_URL" doc:"Address under which browsers and providers reach this service, without /api/v1: the landing page after a verification and the webhooks hang on it. Required by serve."`
	Brand         string        `env:"CCP_BRAND" envDefault:"ComeComePay" doc:"Name of the card programme, in mails and on pages."`
	DefaultLocale i18n.Locale   `env:"CCP_DEFAULT_LOCALE" envDefault:"zh" oneof:"zh,en,ar" doc:"Language of a caller who asks for none that we have."`
	DataDir       string        `env:"CCP_DATA_DIR" envDefault:"./.comecomepay" doc:"Directory of the SQLite files."`
	DrainTimeout  time.Duration `env:"CCP_DRAIN_TIMEOUT" envDefault:"20s" doc:"How long running requests and jobs may take to end after the signal to stop."`
}

// HTTPConfig is the edge: listeners and limits.
type HTTPConfig struct {
	Addr            string         `env:"CCP_HTTP_ADDR" envDefault:"127.0.0.1:8010" doc:"Public listener, host:port. The app expects port 8010."`
	OpsAddr         string         `env:"CCP_OPS_ADDR" envDefault:"127.0.0.1:8012" doc:"Listener of metrics, health and profiles, host:port. Keep it out of the public's reach."`
	TrustedProxies  []netip.Prefix `env:"CCP_TRUSTED_PROXIES" doc:"Networks (CIDR, separated by commas) of the proxies in front, whose X-Forwarded-For is believed. Behind a port that Docker publishes the proxy comes from the bridge, such as 172.16.0.0/12. Without it all customers behind a proxy share one address and its limits."`
	CORSOrigins     []string       `env:"CCP_CORS_ORIGINS" doc:"Origins (separated by commas, such as https://console.example.com) whose pages may call from a browser."`
	RatePerAddress  float64        `env:"CCP_RATE_PER_ADDRESS" envDefault:"20" doc:"Requests per second and network address; three seconds' worth may come at once. Counted in each replica."`
	RatePerCustomer float64        `env:"CCP_RATE_PER_CUSTOMER" envDefault:"20" doc:"Requests per second and customer; three seconds' worth may come at once. Counted in each replica."`
	MaxBodyBytes    int64          `env:"CCP_MAX_BODY_BYTES" envDefault:"65536" doc:"Largest request body, in bytes. Single routes may allow more."`
	RequestTimeout  time.Duration  `env:"CCP_REQUEST_TIMEOUT" envDefault:"30s" doc:"Longest time for one request. The app gives up after 60 s. Must be twice CCP_POKEPAY_TIMEOUT at least, or CCP_DIDIT_TIMEOUT in channel didit."`
}

// DatabaseConfig is where the data is kept.
type DatabaseConfig struct {
	URL         string `env:"CCP_DATABASE_URL" mask:"url" doc:"sqlite://path or postgres://user:password@host/name. Not set: sqlite://, the file comecomepay.db in the data directory."`
	MaxConns    int    `env:"CCP_DATABASE_MAX_CONNS" envDefault:"0" doc:"Connections at most, of one replica; on SQLite readers. 0: chosen by the number of cores."`
	AutoMigrate bool   `env:"CCP_AUTO_MIGRATE" envDefault:"true" doc:"Whether serve brings the database up to date when it starts. false: only comecomepay migrate does."`
	JobWorkers  int    `env:"CCP_JOB_WORKERS" envDefault:"0" doc:"Background jobs at once that ask providers, in one replica; half as many more send mail. 0: 20 on PostgreSQL, 8 on SQLite."`
}

// KeysConfig is what protects tokens, passwords and personal data.
type KeysConfig struct {
	TokenKeys           TokenKeys   `env:"CCP_TOKEN_KEYS" doc:"Keys of access and refresh tokens: id:base64, separated by commas, at least 32 bytes each. The first signs, all are accepted; to change keys put the new one first and remove the old one a week later. Required by serve."`
	DataKeyset          secret.Text `env:"CCP_DATA_KEYSET" doc:"Tink AEAD keyset in JSON, or base64 of it: encrypts personal data. The primary key seals, every key opens. Required."`
	HashKey             secret.Text `env:"CCP_HASH_KEY" doc:"Base64 of at least 32 bytes: finds customers by e-mail address and hashes one-time codes. It can never be changed. Required."`
	PasswordParallelism int         `env:"CCP_PASSWORD_PARALLELISM" envDefault:"0" doc:"Password hashes computed at once, each takes 19 MiB. 0: one per core."`
}

// MailConfig is how mail leaves.
type MailConfig struct {
	Addr     string       `env:"CCP_SMTP_ADDR" doc:"Mail server, host:port. Required by serve."`
	TLS      mail.TLSMode `env:"CCP_SMTP_TLS" envDefault:"starttls" oneof:"none,starttls,tls" doc:"How the connection to the mail server is protected; tls from the first byte (usually port 465)."`
	Username string       `env:"CCP_SMTP_USERNAME" doc:"Login name at the mail server, if it wants one."`
	Password secret.Text  `env:"CCP_SMTP_PASSWORD" doc:"Password that belongs to it."`
	From     string       `env:"CCP_MAIL_FROM" doc:"Sender's address of all mail; its name is the brand. Required by serve."`
}

// SMSConfig is how short messages leave.
type SMSConfig struct {
	URL    string      `env:"CCP_SMS_URL" doc:"Address of the gateway. Not set: phone numbers cannot be changed."`
	Secret secret.Text `env:"CCP_SMS_SECRET" doc:"Signs messages, so that the gateway knows who sends."`
}

// Channel says who opens verification sessions.
type Channel string

// The channels.
const (
	ChannelPokePay Channel = "pokepay"
	ChannelDidit   Channel = "didit"
)

// KYCConfig is how customers are verified.
type KYCConfig struct {
	Channel         Channel `env:"CCP_KYC_CHANNEL" envDefault:"pokepay" oneof:"pokepay,didit" doc:"Who opens the verification session: the issuer in its own Didit account (pokepay), or we in ours, and the result is handed to the issuer (didit). Attempts that are under way stay in the channel they began in."`
	AttemptsPerHour int     `env:"CCP_KYC_ATTEMPTS_PER_HOUR" envDefault:"5" doc:"Verifications that one customer may begin within an hour; each may cost a session. Counted in the database, for all replicas together."`
	AttemptsPerDay  int     `env:"CCP_KYC_ATTEMPTS_PER_DAY" envDefault:"10" doc:"The same within a day."`
}

// DiditConfig is our own Didit application (provider/didit.md section 1).
type DiditConfig struct {
	URL                  string        `env:"CCP_DIDIT_URL" envDefault:"https://verification.didit.me" doc:"Base address of the API, without version."`
	APIKey               secret.Text   `env:"CCP_DIDIT_API_KEY" doc:"Key of the application."`
	WorkflowID           string        `env:"CCP_DIDIT_WORKFLOW_ID" doc:"Published workflow that sessions run."`
	WebhookSecrets       []secret.Text `env:"CCP_DIDIT_WEBHOOK_SECRETS" doc:"Secrets that sign webhooks, separated by commas; all are accepted, so that one can be changed without a gap."`
	AllowSimpleSignature bool          `env:"CCP_DIDIT_ALLOW_SIMPLE_SIGNATURE" envDefault:"false" doc:"Whether a webhook may come with nothing but X-Signature-Simple, which does not cover the whole body."`
	Timeout              time.Duration `env:"CCP_DIDIT_TIMEOUT" envDefault:"15s" doc:"Longest time for one attempt of a call."`
}

// PokePayConfig is the issuer (provider/pokepay.md sections 1, 6 and 7).
type PokePayConfig struct {
	URL            string            `env:"CCP_POKEPAY_URL" envDefault:"https://dash.pokepay.com/api/v1" doc:"Base address of the partner API."`
	LoginURL       string            `env:"CCP_POKEPAY_LOGIN_URL" envDefault:"https://dash.pokepay.com/web/auth/login" doc:"Address that gives tokens. With CCP_POKEPAY_AUTH=application it must be set: the default is that of the password login."`
	Auth           string            `env:"CCP_POKEPAY_AUTH" envDefault:"password" oneof:"password,application" doc:"How we log in: with account and password, or with application credentials."`
	Account        string            `env:"CCP_POKEPAY_ACCOUNT" doc:"E-mail address of the account."`
	Password       secret.Text       `env:"CCP_POKEPAY_PASSWORD" doc:"Password of the account."`
	AreaCode       int               `env:"CCP_POKEPAY_AREA_CODE" envDefault:"852" doc:"Calling code that belongs to the account."`
	AppID          string            `env:"CCP_POKEPAY_APP_ID" doc:"Application id."`
	AppSecret      secret.Text       `env:"CCP_POKEPAY_APP_SECRET" doc:"Application secret."`
	AppIDField     string            `env:"CCP_POKEPAY_APP_ID_FIELD" envDefault:"app_id" doc:"Name of the application id in the login request, which is not documented."`
	AppSecretField string            `env:"CCP_POKEPAY_APP_SECRET_FIELD" envDefault:"app_secret" doc:"Name of the application secret in the login request, which is not documented."`
	TokenField     string            `env:"CCP_POKEPAY_APP_TOKEN_FIELD" envDefault:"token" doc:"Name of the token in the answer to an application login, which is not documented."`
	Paths          map[string]string `env:"CCP_POKEPAY_PATHS" envKeyValSeparator:"=" doc:"Paths that are not as we believe: operation=METHOD path, separated by commas, such as recharge=POST card/{pt}/recharge. The operations are listed at the end of this page."`
	AgentUIDParam  string            `env:"CCP_POKEPAY_AGENT_UID_PARAM" envDefault:"agent_uid" doc:"Query parameter that finds a KYC by our own reference."`
	CallbackKey    secret.Text       `env:"CCP_POKEPAY_CALLBACK_KEY" doc:"Last segment of the callback address, at least 16 letters, digits, - or _: nobody can guess it, and the issuer signs nothing. Not set: no callbacks are taken, and polling has to do."`
	CallbackSecret secret.Text       `env:"CCP_POKEPAY_CALLBACK_SECRET" doc:"Signs callbacks in the sandbox; the issuer is not known to sign any. If it is set, callbacks without a good signature are refused."`
	Timeout        time.Duration     `env:"CCP_POKEPAY_TIMEOUT" envDefault:"15s" doc:"Longest time for one attempt of a call."`
}

// The values of PokePayConfig.Auth.
const (
	AuthPassword    = "password"
	AuthApplication = "application"
)

// RatesConfig is exchange rates.
type RatesConfig struct {
	Table   rate.Configured `env:"CCP_RATE_TABLE" doc:"Prices in HKD that stand in where the issuer's are missing or too old, such as USDT=7.80,BTC=780000. Without one there is no rate then, and what needs one is refused."`
	MaxAge  time.Duration   `env:"CCP_RATE_MAX_AGE" envDefault:"10m" doc:"A rate of the issuer that is older than this is not used. Must be twice CCP_RATE_REFRESH at least."`
	Refresh time.Duration   `env:"CCP_RATE_REFRESH" envDefault:"1m" doc:"How often the issuer is asked for rates."`
}

// TelemetryConfig is what the program tells about itself.
type TelemetryConfig struct {
	LogLevel     slog.Level    `env:"CCP_LOG_LEVEL" envDefault:"INFO" doc:"Least level that is logged: DEBUG, INFO, WARN or ERROR. DEBUG logs every request."`
	LogFormat    obs.LogFormat `env:"CCP_LOG_FORMAT" envDefault:"json" oneof:"json,text" doc:"One JSON object per line, or text for people."`
	OTelEndpoint string        `env:"CCP_OTEL_ENDPOINT" mask:"url" doc:"Address of an OpenTelemetry collector for traces (OTLP over HTTP), such as http://127.0.0.1:4318. Not set: no traces."`
	OTelRatio    float64       `env:"CCP_OTEL_SAMPLE_RATIO" envDefault:"0.1" doc:"Share of requests that are traced, 0 to 1, unless the caller has decided already."`
}

// SandboxConfig is where the simulators listen and how they behave.
type SandboxConfig struct {
	Addr     string `env:"CCP_SANDBOX_ADDR" envDefault:"127.0.0.1:8011" doc:"Listener of the simulators, the inbox and the control interface, host:port. Loopback only."`
	SMTPAddr string `env:"CCP_SANDBOX_SMTP_ADDR" envDefault:"127.0.0.1:8025" doc:"Listener that takes mail for the inbox, host:port. Loopback only."`
	KYC      string `env:"CCP_SANDBOX_KYC" oneof:",approve" doc:"approve: the issuer approves by itself two seconds after the verification page is completed. Not set: it waits for a click."`

	Withdrawals string `env:"CCP_SANDBOX_WITHDRAWALS" oneof:",approve" doc:"approve: the crypto gateway approves and pays withdrawals by itself, a second for each step. Not set: it waits for a click."`
}

// TokenKeys are the keys of tokens; the first signs.
type TokenKeys []TokenKey

// TokenKey is one key of HMAC-SHA256. Its id stands in the header of a token.
type TokenKey struct {
	ID     string
	Secret secret.Text // the bytes themselves, no longer in base64
}

const minTokenKey = 32 // bytes; RFC 7518 section 3.2 wants a key no shorter than the hash

// UnmarshalText reads "id:base64,id2:base64". Its errors do not repeat what was read.
func (k *TokenKeys) UnmarshalText(text []byte) error {
	var keys TokenKeys
	for part := range strings.SplitSeq(string(text), ",") {
		id, encoded, ok := strings.Cut(strings.TrimSpace(part), ":")
		if !ok || id == "" {
			return errors.New("must be id:base64, separated by commas")
		}
		if slices.ContainsFunc(keys, func(other TokenKey) bool { return other.ID == id }) {
			return errors.New("names the same key id twice")
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil || len(raw) < minTokenKey {
			return fmt.Errorf("each key must be base64 of at least %d bytes", minTokenKey)
		}
		keys = append(keys, TokenKey{ID: id, Secret: secret.NewText(string(raw))})
	}
	*k = keys
	return nil
}

// Need is what a command needs beyond settings that can be used, such as Config.CheckServe: an error for each setting, which
// begins with its name.
type Need func(Config) error

// LoadConfig reads the configuration from an environment as os.Environ gives it. A variable CCP_… that is no setting, a value
// that cannot be used, and what the needs miss, is an error that names the variable and never repeats a value; all are reported
// at once. CCP_TEST_… is left to the tests.
func LoadConfig(environ []string, needs ...Need) (Config, error) {
	return load(given(environ), needs...)
}

// LoadSandboxConfig is LoadConfig for the command sandbox: in development, and every provider and the mail server on loopback,
// so that nothing that is invented here ever reaches anybody.
func LoadSandboxConfig(environ []string) (Config, error) {
	values := given(environ)
	if Environment(values["CCP_ENV"]) == Production {
		return Config{}, errors.New("CCP_ENV: the sandbox is no production")
	}
	chosen := Environment(values["CCP_ENV"]) == Development
	values["CCP_ENV"] = string(Development)
	c, err := load(values, Config.checkOffline)
	if err != nil {
		return Config{}, err
	}
	if !chosen {
		c.sources["CCP_ENV"] = FromDevelopment
	}
	return c, nil
}

const (
	prefix     = "CCP_"
	testPrefix = "CCP_TEST_" // settings of the tests, see dbtest
)

// given picks our variables out of an environment; of a variable that stands there twice the last one counts.
func given(environ []string) map[string]string {
	values := map[string]string{}
	for _, line := range environ {
		name, value, _ := strings.Cut(line, "=")
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(name, testPrefix) {
			continue
		}
		values[name] = strings.TrimSpace(value)
	}
	return values
}

func load(values map[string]string, needs ...Need) (Config, error) {
	known := map[string]bool{}
	c := Config{sources: map[string]Source{}}
	for s := range c.settings() {
		known[s.name] = true
	}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case !known[name]:
			problems = append(problems, unknownSetting(name, known))
			delete(values, name)
		case values[name] == "":
			delete(values, name)
		default:
			c.sources[name] = FromEnvironment
		}
	}
	if Environment(values["CCP_ENV"]) == Development {
		for name, value := range developmentValues(values) {
			if _, set := values[name]; !set {
				values[name] = value
				c.sources[name] = FromDevelopment
			}
		}
	}
	problems = append(problems, c.parse(values)...)
	wrong := map[string]bool{} // settings with a complaint; one that could not be read would look as if it were not set
	note := func() {
		for _, p := range problems {
			name, _, _ := strings.Cut(p.Error(), ":")
			wrong[name] = true
		}
	}
	note()
	c.complete()
	problems = append(problems, except(wrong, c.check())...)
	note()
	for _, need := range needs {
		problems = append(problems, except(wrong, split(need(c)))...)
	}
	if err := errors.Join(problems...); err != nil {
		return Config{}, err
	}
	return c, nil
}

// except leaves out the problems of settings that are known to be wrong.
func except(known map[string]bool, problems []error) []error {
	return slices.DeleteFunc(problems, func(p error) bool {
		name, _, _ := strings.Cut(p.Error(), ":")
		return known[name]
	})
}

// split takes errors apart that errors.Join has joined.
func split(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return slices.Clone(joined.Unwrap())
	}
	if err == nil {
		return nil
	}
	return []error{err}
}

// parse fills the groups. It goes group by group, because the library names a field and not the variable.
func (c *Config) parse(values map[string]string) []error {
	var problems []error
	root := reflect.ValueOf(c).Elem()
	for i := range root.NumField() {
		if !root.Type().Field(i).IsExported() {
			continue
		}
		group := root.Field(i)
		tidy := maps.Clone(values)
		for j := range group.NumField() {
			field := group.Type().Field(j)
			name := field.Tag.Get("env")
			if value, set := tidy[name]; set && field.Type.Kind() == reflect.Slice {
				tidy[name] = tidyList(value)
			}
		}
		err := env.ParseWithOptions(group.Addr().Interface(), env.Options{Environment: tidy})
		if err == nil {
			continue
		}
		var all env.AggregateError
		if !errors.As(err, &all) {
			all.Errors = []error{err}
		}
		for _, one := range all.Errors {
			wrong, ok := one.(env.ParseError)
			if !ok {
				problems = append(problems, one)
				continue
			}
			field, _ := group.Type().FieldByName(wrong.Name)
			problems = append(problems, fmt.Errorf("%s: %s", field.Tag.Get("env"), mustBe(field, wrong.Err)))
		}
	}
	return problems
}

// tidyList allows spaces and a comma too many in a list.
func tidyList(value string) string {
	var parts []string
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ",")
}

// mustBe says what a setting wants, without the value that it got: what was meant for another variable may be a secret.
func mustBe(field reflect.StructField, cause error) string {
	switch field.Type {
	case reflect.TypeFor[time.Duration]():
		return "must be a duration with a unit, such as 30s or 5m"
	case reflect.TypeFor[[]netip.Prefix]():
		return "must be networks such as 10.0.0.0/8, separated by commas"
	case reflect.TypeFor[slog.Level]():
		return "must be DEBUG, INFO, WARN or ERROR"
	case reflect.TypeFor[map[string]string]():
		return "must be operation=METHOD path, separated by commas"
	case reflect.TypeFor[TokenKeys](), reflect.TypeFor[rate.Configured](), reflect.TypeFor[Amounts]():
		return cause.Error()
	}
	if choices := field.Tag.Get("oneof"); choices != "" {
		return "must be " + choice(choices)
	}
	switch field.Type.Kind() {
	case reflect.Bool:
		return "must be true or false"
	case reflect.Int, reflect.Int64:
		return "must be a whole number"
	case reflect.Float64:
		return "must be a number"
	}
	return "cannot be read"
}

// choice words a oneof tag: "a, b or c"; an empty choice is "not set".
func choice(choices string) string {
	names := strings.Split(choices, ",")
	var empty bool
	names = slices.DeleteFunc(names, func(n string) bool { empty = empty || n == ""; return n == "" })
	if empty {
		names = append(names, "not set")
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// complete fills in what follows from other settings, and brings values to one form.
func (c *Config) complete() {
	if c.Database.URL == "" {
		c.Database.URL = "sqlite://" + filepath.Join(c.General.DataDir, "comecomepay.db")
	}
	if text := c.Keys.DataKeyset.Reveal(); text != "" && !strings.HasPrefix(text, "{") {
		if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			c.Keys.DataKeyset = secret.NewText(string(decoded))
		}
	}
	for _, address := range []*string{&c.General.PublicURL, &c.Didit.URL, &c.PokePay.URL, &c.Udun.URL} {
		*address = strings.TrimRight(*address, "/")
	}
}

// check looks at every setting by itself.
func (c *Config) check() []error {
	var problems []error
	refuse := func(name, why string) { problems = append(problems, errors.New(name+": "+why)) }

	for s := range c.settings() {
		choices, limited := s.field.Tag.Lookup("oneof")
		if limited && !slices.Contains(strings.Split(choices, ","), fmt.Sprint(s.value.Interface())) {
			refuse(s.name, "must be "+choice(choices))
		}
		if d, ok := s.value.Interface().(time.Duration); ok && d <= 0 {
			refuse(s.name, "must be longer than nothing")
		}
	}
	for name, n := range map[string]int{"CCP_DATABASE_MAX_CONNS": c.Database.MaxConns, "CCP_JOB_WORKERS": c.Database.JobWorkers,
		"CCP_PASSWORD_PARALLELISM": c.Keys.PasswordParallelism} {
		if n < 0 || n > 10_000 {
			refuse(name, "must be between 0 and 10000")
		}
	}
	for name, n := range map[string]int{"CCP_KYC_ATTEMPTS_PER_HOUR": c.KYC.AttemptsPerHour, "CCP_KYC_ATTEMPTS_PER_DAY": c.KYC.AttemptsPerDay} {
		if n < 1 || n > 10_000 {
			refuse(name, "must be between 1 and 10000")
		}
	}
	for name, rate := range map[string]float64{"CCP_RATE_PER_ADDRESS": c.HTTP.RatePerAddress, "CCP_RATE_PER_CUSTOMER": c.HTTP.RatePerCustomer} {
		if !(rate > 0 && rate <= 1e6) {
			refuse(name, "must be more than 0 and at most 1000000")
		}
	}
	if c.HTTP.MaxBodyBytes < 1024 || c.HTTP.MaxBodyBytes > 64<<20 {
		refuse("CCP_MAX_BODY_BYTES", "must be between 1024 and 67108864")
	}
	if !(c.Telemetry.OTelRatio >= 0 && c.Telemetry.OTelRatio <= 1) {
		refuse("CCP_OTEL_SAMPLE_RATIO", "must be between 0 and 1")
	}
	if c.Rates.MaxAge < 2*c.Rates.Refresh {
		refuse("CCP_RATE_MAX_AGE", "must be twice CCP_RATE_REFRESH at least")
	}
	if c.PokePay.AreaCode < 1 || c.PokePay.AreaCode > 999_999 {
		refuse("CCP_POKEPAY_AREA_CODE", "must be a calling code, such as 852")
	}

	for name, address := range map[string]string{"CCP_HTTP_ADDR": c.HTTP.Addr, "CCP_OPS_ADDR": c.HTTP.OpsAddr} {
		if !listenable(address) {
			refuse(name, "must be host:port")
		}
	}
	for name, address := range map[string]string{"CCP_SANDBOX_ADDR": c.Sandbox.Addr, "CCP_SANDBOX_SMTP_ADDR": c.Sandbox.SMTPAddr} {
		switch host, _, _ := net.SplitHostPort(address); {
		case !listenable(address):
			refuse(name, "must be host:port")
		case !loopbackHost(host):
			refuse(name, "must be on loopback, such as 127.0.0.1: the simulators obey everybody who reaches them")
		}
	}
	if c.Mail.Addr != "" && c.source("CCP_SMTP_ADDR") != FromDevelopment { // that is our own inbox, whose port may be 0 until it listens
		if host, port, err := net.SplitHostPort(c.Mail.Addr); err != nil || host == "" || !validPort(port) {
			refuse("CCP_SMTP_ADDR", "must be host:port")
		}
	}
	for name, address := range map[string]string{"CCP_PUBLIC_URL": c.General.PublicURL, "CCP_DIDIT_URL": c.Didit.URL, "CCP_POKEPAY_URL": c.PokePay.URL,
		"CCP_POKEPAY_LOGIN_URL": c.PokePay.LoginURL, "CCP_OTEL_ENDPOINT": c.Telemetry.OTelEndpoint, "CCP_SMS_URL": c.SMS.URL} {
		if address != "" && !webAddress(address) {
			refuse(name, "must be an absolute http or https address without user, query and fragment")
		}
	}
	if strings.HasSuffix(c.General.PublicURL, "/api/v1") {
		refuse("CCP_PUBLIC_URL", "must be without /api/v1, which is appended where it is needed")
	}
	if scheme, rest, _ := strings.Cut(c.Database.URL, "://"); rest == "" || !slices.Contains([]string{"sqlite", "postgres", "postgresql"}, scheme) {
		refuse("CCP_DATABASE_URL", "must be sqlite://path or postgres://user:password@host/name")
	}

	for _, network := range c.HTTP.TrustedProxies {
		if network.Bits() == 0 {
			refuse("CCP_TRUSTED_PROXIES", "must not be everybody: any caller could claim any address")
		}
	}
	for _, origin := range c.HTTP.CORSOrigins {
		if u, err := url.Parse(origin); err != nil || !webAddress(origin) || u.Path != "" {
			refuse("CCP_CORS_ORIGINS", "must be origins such as https://console.example.com, separated by commas")
			break
		}
	}
	if c.Mail.From != "" && !mailAddress(c.Mail.From) {
		refuse("CCP_MAIL_FROM", "must be an address such as cards@example.com, without a name")
	}
	if c.SMS.URL != "" && c.SMS.Secret.Empty() {
		refuse("CCP_SMS_SECRET", "is missing: the gateway could not tell who sends")
	}
	if (c.Mail.Username == "") != c.Mail.Password.Empty() {
		refuse("CCP_SMTP_USERNAME", "goes together with CCP_SMTP_PASSWORD")
	}
	if strings.ContainsFunc(c.General.Brand, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		refuse("CCP_BRAND", "must be one line of text")
	}
	if _, err := pokepay.Operations(c.PokePay.Paths); err != nil {
		for _, p := range split(err) {
			refuse("CCP_POKEPAY_PATHS", p.Error())
		}
	}
	if key := c.PokePay.CallbackKey.Reveal(); key != "" && (len(key) < 16 || strings.Trim(key, letters+"0123456789-_") != "") {
		refuse("CCP_POKEPAY_CALLBACK_KEY", "must be at least 16 letters, digits, - or _")
	}

	if text := c.Keys.HashKey.Reveal(); text != "" {
		if raw, err := base64.StdEncoding.DecodeString(text); err != nil || len(raw) < secret.MinHashKey {
			refuse("CCP_HASH_KEY", fmt.Sprintf("must be base64 of at least %d bytes", secret.MinHashKey))
		}
	}
	if !c.Keys.DataKeyset.Empty() {
		// With a hash key that is certainly good, only the keyset can be wrong.
		if _, err := secret.NewVault(c.Keys.DataKeyset, secret.NewKey()); err != nil {
			refuse("CCP_DATA_KEYSET", "must be a Tink AEAD keyset in JSON, or base64 of it")
		}
	}
	problems = append(problems, c.Wallet.check()...)
	problems = append(problems, c.gatewayProblems()...)
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return problems
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// CheckStorage tells what is missing to open the database and read personal data. Every command that touches data needs it.
func (c Config) CheckStorage() error { return errors.Join(c.missing(c.storageNeeds())...) }

// CheckServe tells what is missing to serve customers, and, in production, what must not be there: the known keys of
// development and providers on loopback.
func (c Config) CheckServe() error {
	needs := append(c.storageNeeds(),
		need{"CCP_TOKEN_KEYS", len(c.Keys.TokenKeys) > 0},
		need{"CCP_PUBLIC_URL", c.General.PublicURL != ""},
		need{"CCP_SMTP_ADDR", c.Mail.Addr != ""},
		need{"CCP_MAIL_FROM", c.Mail.From != ""})
	switch c.PokePay.Auth {
	case AuthPassword:
		needs = append(needs, need{"CCP_POKEPAY_ACCOUNT", c.PokePay.Account != ""}, need{"CCP_POKEPAY_PASSWORD", !c.PokePay.Password.Empty()})
	case AuthApplication:
		needs = append(needs, need{"CCP_POKEPAY_APP_ID", c.PokePay.AppID != ""}, need{"CCP_POKEPAY_APP_SECRET", !c.PokePay.AppSecret.Empty()},
			need{"CCP_POKEPAY_LOGIN_URL", c.source("CCP_POKEPAY_LOGIN_URL") != FromDefault})
	}
	if c.KYC.Channel == ChannelDidit {
		needs = append(needs, need{"CCP_DIDIT_API_KEY", !c.Didit.APIKey.Empty()}, need{"CCP_DIDIT_WORKFLOW_ID", c.Didit.WorkflowID != ""},
			need{"CCP_DIDIT_WEBHOOK_SECRETS", len(c.Didit.WebhookSecrets) > 0})
	}
	if c.Udun.configured() && c.General.Environment == Production {
		needs = append(needs, need{"CCP_UDUN_CALLBACK_KEY", !c.Udun.CallbackKey.Empty()})
	}
	problems := append(c.missing(needs), c.timeouts()...)
	if c.General.Environment == Production {
		problems = append(problems, c.developmentLeftovers()...)
	}
	return errors.Join(problems...)
}

// timeouts finds calls that a request would not wait for to the end: a session that a provider makes and bills, and whose link nobody
// gets.
func (c Config) timeouts() []error {
	setting, per, calls := "CCP_POKEPAY_TIMEOUT", c.PokePay.Timeout, "a login and a call"
	longest := 2 * per
	if c.KYC.Channel == ChannelDidit {
		setting, per, calls = "CCP_DIDIT_TIMEOUT", c.Didit.Timeout, "one call"
		longest = per
	}
	if longest <= c.HTTP.RequestTimeout || c.HTTP.RequestTimeout <= 0 {
		return nil
	}
	return []error{fmt.Errorf("%s: %s for %s does not fit into CCP_REQUEST_TIMEOUT, which is %s: shorten the one or lengthen the other", setting, per, calls, c.HTTP.RequestTimeout)}
}

type need struct {
	name string
	met  bool
}

func (c Config) storageNeeds() []need {
	return []need{{"CCP_DATA_KEYSET", !c.Keys.DataKeyset.Empty()}, {"CCP_HASH_KEY", !c.Keys.HashKey.Empty()}}
}

func (c Config) missing(needs []need) []error {
	var problems []error
	for _, n := range needs {
		if !n.met {
			problems = append(problems, fmt.Errorf("%s: is missing", n.name))
		}
	}
	return problems
}

// SMTPConfig is the mail settings as the sender wants them.
func (c Config) SMTPConfig() (mail.SMTPConfig, error) {
	host, port, err := net.SplitHostPort(c.Mail.Addr)
	if err != nil {
		return mail.SMTPConfig{}, errors.New("CCP_SMTP_ADDR: must be host:port")
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		return mail.SMTPConfig{}, errors.New("CCP_SMTP_ADDR: must be host:port")
	}
	return mail.SMTPConfig{Host: host, Port: number, Username: c.Mail.Username, Password: c.Mail.Password, TLS: c.Mail.TLS,
		FromAddress: c.Mail.From, FromName: c.General.Brand}, nil
}

// listenable tells whether a listener can have this address; port 0 lets the machine choose.
func listenable(address string) bool {
	_, port, err := net.SplitHostPort(address)
	return err == nil && (port == "0" || validPort(port))
}

func validPort(port string) bool {
	p, err := netip.ParseAddrPort("0.0.0.0:" + port)
	return err == nil && p.Port() > 0
}

func webAddress(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

func mailAddress(address string) bool {
	local, domain, ok := strings.Cut(address, "@")
	return ok && local != "" && domain != "" && !strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("<>(),;:\\\"[]", r) }) &&
		!strings.Contains(domain, "@")
}

// loopbackHost tells whether a host is this machine. A name that happens to resolve to it is not looked up.
func loopbackHost(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// unknownSetting names a variable that is no setting, and the one that was probably meant.
func unknownSetting(name string, known map[string]bool) error {
	// More than a third of its letters apart, or more than three, is another word.
	best, distance := "", min((len(name)-len(prefix))/3, 3)+1
	for _, candidate := range slices.Sorted(maps.Keys(known)) {
		if d := editDistance(name, candidate); d < distance {
			best, distance = candidate, d
		}
	}
	if best != "" {
		return fmt.Errorf("%s: there is no such setting; did you mean %s?", name, best)
	}
	return fmt.Errorf("%s: there is no such setting", name)
}

// editDistance is the number of letters to insert, remove or change to get from a to b (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
