package app

import (
	"encoding/base64"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
)

var update = flag.Bool("update", false, "write the generated pages anew")

func key(n int) string { return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", n))) }

func keyset(t *testing.T) string {
	t.Helper()
	text, err := secret.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return text.Reveal()
}

// production is an environment that serve accepts.
func production(t *testing.T) map[string]string {
	return map[string]string{
		"CCP_PUBLIC_URL":       "https://pay.example.com/",
		"CCP_DATABASE_URL":     "postgres://ccp:database-password@db.example.com/ccp",
		"CCP_TOKEN_KEYS":       "k1:" + key(32),
		"CCP_DATA_KEYSET":      keyset(t),
		"CCP_HASH_KEY":         key(32),
		"CCP_SMTP_ADDR":        "smtp.example.com:587",
		"CCP_SMTP_USERNAME":    "mailer",
		"CCP_SMTP_PASSWORD":    "smtp-password",
		"CCP_MAIL_FROM":        "cards@example.com",
		"CCP_POKEPAY_ACCOUNT":  "ops@example.com",
		"CCP_POKEPAY_PASSWORD": "issuer-password",
	}
}

func environ(values ...map[string]string) []string {
	lines := []string{"PATH=/usr/bin", "HOME=/root"}
	for _, v := range values {
		for name, value := range v {
			lines = append(lines, name+"="+value)
		}
	}
	return lines
}

func TestDefaultsAreThePromisedOnes(t *testing.T) {
	c, err := LoadConfig(environ())
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.General.Environment, c.HTTP.Addr, c.Sandbox.Addr, c.HTTP.OpsAddr, c.Database.URL, c.General.DataDir, string(c.General.DefaultLocale),
		c.KYC.Channel, c.Database.AutoMigrate, c.Didit.AllowSimpleSignature, c.Telemetry.OTelEndpoint}
	want := []any{Production, "127.0.0.1:8010", "127.0.0.1:8011", "127.0.0.1:8012", "sqlite://.comecomepay/comecomepay.db", "./.comecomepay", "zh",
		ChannelPokePay, true, false, ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
}

func TestValuesAreRead(t *testing.T) {
	c, err := LoadConfig(environ(production(t), map[string]string{
		"CCP_TRUSTED_PROXIES":       "10.0.0.0/8, 2001:db8::/32,",
		"CCP_CORS_ORIGINS":          "https://a.example.com, http://localhost:3000",
		"CCP_DIDIT_WEBHOOK_SECRETS": "one, two",
		"CCP_POKEPAY_PATHS":         "recharge=POST card/{pt}/recharge,kycInit=POST kyc/start",
		"CCP_TOKEN_KEYS":            "new:" + key(40) + ", old:" + key(32),
		"CCP_DRAIN_TIMEOUT":         "1m30s",
		"CCP_LOG_LEVEL":             "debug",
		"CCP_DATA_DIR":              "/var/lib/ccp",
		"CCP_TEST_POSTGRES_URL":     "not ours to read",
		"CCP_RATE_TABLE":            "USDT=7.80, BTC=780000",
		"CCP_BRAND":                 "", // as if it were not there
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.HTTP.TrustedProxies, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}; !slices.Equal(got, want) {
		t.Errorf("proxies %v", got)
	}
	if got := c.HTTP.CORSOrigins; !slices.Equal(got, []string{"https://a.example.com", "http://localhost:3000"}) {
		t.Errorf("origins %q", got)
	}
	if got := c.Didit.WebhookSecrets; len(got) != 2 || got[0].Reveal() != "one" || got[1].Reveal() != "two" {
		t.Errorf("webhook secrets: %d", len(got))
	}
	if got := c.Rates.Table.String(); got != "BTC=780000,USDT=7.8" {
		t.Errorf("rates %q", got)
	}
	if got := c.PokePay.Paths["recharge"]; got != "POST card/{pt}/recharge" {
		t.Errorf("path %q", got)
	}
	if k := c.Keys.TokenKeys; len(k) != 2 || k[0].ID != "new" || len(k[0].Secret.Reveal()) != 40 || k[1].ID != "old" {
		t.Errorf("token keys %v", k)
	}
	if c.General.DrainTimeout != 90*time.Second || c.Telemetry.LogLevel.String() != "DEBUG" || c.General.Brand != "ComeComePay" {
		t.Errorf("got %v, %v, %q", c.General.DrainTimeout, c.Telemetry.LogLevel, c.General.Brand)
	}
	if c.General.PublicURL != "https://pay.example.com" {
		t.Errorf("public address %q keeps its slash", c.General.PublicURL)
	}
	smtp, err := c.SMTPConfig()
	if err != nil || smtp.Host != "smtp.example.com" || smtp.Port != 587 || smtp.FromName != "ComeComePay" || smtp.Password.Reveal() != "smtp-password" {
		t.Errorf("mail server %+v, %v", smtp, err)
	}
	if err := c.CheckServe(); err != nil {
		t.Errorf("serve refuses a complete configuration: %v", err)
	}
}

func TestKeysetInBase64(t *testing.T) {
	plain := keyset(t)
	c, err := LoadConfig([]string{"CCP_DATA_KEYSET=" + base64.StdEncoding.EncodeToString([]byte(plain))})
	if err != nil {
		t.Fatal(err)
	}
	if c.Keys.DataKeyset.Reveal() != plain {
		t.Error("the keyset is not the one that was encoded")
	}
}

func TestBadValuesAreNamedAndNotRepeated(t *testing.T) {
	const canary = "kanarienvogel"
	for _, tt := range []struct{ name, value, says string }{
		{"CCP_ENV", canary, "production or development"},
		{"CCP_HTTP_ADDR", canary, "host:port"},
		{"CCP_OPS_ADDR", "127.0.0.1:99999", "host:port"},
		{"CCP_SANDBOX_ADDR", "0.0.0.0:8011", "loopback"},
		{"CCP_SANDBOX_ADDR", ":8011", "loopback"},
		{"CCP_SANDBOX_SMTP_ADDR", "192.0.2.1:25", "loopback"},
		{"CCP_PUBLIC_URL", canary, "absolute"},
		{"CCP_PUBLIC_URL", "https://pay.example.com/api/v1/", "without /api/v1"},
		{"CCP_PUBLIC_URL", "https://user:" + canary + "@pay.example.com", "absolute"},
		{"CCP_DATABASE_URL", "mysql://root:" + canary + "@db/x", "postgres://"},
		{"CCP_DATABASE_MAX_CONNS", canary, "whole number"},
		{"CCP_DATABASE_MAX_CONNS", "-1", "between"},
		{"CCP_AUTO_MIGRATE", canary, "true or false"},
		{"CCP_DEFAULT_LOCALE", "de", "zh, en or ar"},
		{"CCP_LOG_LEVEL", canary, "DEBUG"},
		{"CCP_LOG_FORMAT", canary, "json or text"},
		{"CCP_TRUSTED_PROXIES", "10.0.0.0/8," + canary, "networks"},
		{"CCP_TRUSTED_PROXIES", "0.0.0.0/0", "everybody"},
		{"CCP_CORS_ORIGINS", "*", "origins"},
		{"CCP_CORS_ORIGINS", "https://a.example.com/path", "origins"},
		{"CCP_RATE_PER_ADDRESS", "0", "more than 0"},
		{"CCP_RATE_PER_CUSTOMER", "NaN", "more than 0"},
		{"CCP_MAX_BODY_BYTES", "10", "between"},
		{"CCP_REQUEST_TIMEOUT", "30", "unit"},
		{"CCP_REQUEST_TIMEOUT", "-1s", "longer than nothing"},
		{"CCP_WITHDRAWAL_REPEAT_WINDOW", "89s", "at least 1m30s"},
		{"CCP_WITHDRAWAL_DAY_COUNT", "-1", "between 0 and"},
		{"CCP_KYC_CHANNEL", "both", "pokepay or didit"},
		{"CCP_KYC_ATTEMPTS_PER_HOUR", "0", "between 1 and"},
		{"CCP_KYC_ATTEMPTS_PER_DAY", "many", "whole number"},
		{"CCP_RATE_TABLE", canary, "currency=price"},
		{"CCP_RATE_TABLE", "USDT=0.1282", "between 6 and 10"},
		{"CCP_RATE_TABLE", "USDT=7.8,BTC=" + canary, "price of one BTC"},
		{"CCP_RATE_MAX_AGE", "119s", "twice CCP_RATE_REFRESH"},
		{"CCP_RATE_REFRESH", "often", "unit"},
		{"CCP_DIDIT_URL", "ftp://x", "absolute"},
		{"CCP_POKEPAY_AUTH", canary, "password or application"},
		{"CCP_POKEPAY_AREA_CODE", "+852x", "whole number"},
		{"CCP_POKEPAY_PATHS", canary, "METHOD path"},
		{"CCP_POKEPAY_PATHS", "nosuch=POST kyc", "no such operation: \"nosuch\"; there are kycInit, "},
		{"CCP_POKEPAY_CALLBACK_KEY", "short", "at least 16"},
		{"CCP_POKEPAY_CALLBACK_KEY", "with/a/slash/in/it/" + canary, "at least 16"},
		{"CCP_SMTP_ADDR", "smtp.example.com", "host:port"},
		{"CCP_SMTP_TLS", "opportunistic", "none, starttls or tls"},
		{"CCP_SMTP_USERNAME", "alone", "CCP_SMTP_PASSWORD"},
		{"CCP_MAIL_FROM", "Cards <cards@example.com>", "without a name"},
		{"CCP_BRAND", "two\nlines", "one line"},
		{"CCP_TOKEN_KEYS", canary, "id:base64"},
		{"CCP_TOKEN_KEYS", "k:" + key(31), "32 bytes"},
		{"CCP_TOKEN_KEYS", "k:" + key(32) + ",k:" + key(33), "twice"},
		{"CCP_TOKEN_KEYS", "k:" + canary + "!", "base64"},
		{"CCP_DATA_KEYSET", canary, "Tink"},
		{"CCP_DATA_KEYSET", `{"primaryKeyId":1,"key":"` + canary + `"}`, "Tink"},
		{"CCP_HASH_KEY", key(31), "32 bytes"},
		{"CCP_HASH_KEY", canary, "base64"},
		{"CCP_OTEL_ENDPOINT", "collector:4318", "absolute"},
		{"CCP_OTEL_SAMPLE_RATIO", "1.5", "between 0 and 1"},
		{"CCP_SANDBOX_KYC", "reject", "approve or not set"},
		{"CCP_HTP_ADDR", canary, "did you mean CCP_HTTP_ADDR?"},
		{"CCP_ENB", canary, "did you mean CCP_ENV?"},
		{"CCP_SMTP_ADRES", canary, "did you mean CCP_SMTP_ADDR?"},
		{"CCP_WHATEVER_IT_IS", canary, "no such setting"},
		{"CCP_http_addr", canary, "no such setting"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadConfig(environ(map[string]string{tt.name: tt.value}))
			if err == nil {
				t.Fatalf("%q is accepted", tt.value)
			}
			if !strings.HasPrefix(err.Error(), tt.name+": ") || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q does not name the setting and say %q", err, tt.says)
			}
			if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "kkkk") {
				t.Errorf("%q repeats the value", err)
			}
		})
	}
}

// Nobody has to mend one problem to see the next: unknown names, values that cannot be read, values that must not be, and what is
// missing are told together, each setting once.
func TestAllProblemsAtOnce(t *testing.T) {
	_, err := LoadConfig([]string{"CCP_NOPE_NOPE=1", "CCP_REQUEST_TIMEOUT=soon", "CCP_HASH_KEY=x", "CCP_PUBLIC_URL=pay", "CCP_TOKEN_KEYS=y",
		"CCP_POKEPAY_PATHS=a=POST x,kycInit=nothing"}, Config.CheckServe)
	if err == nil {
		t.Fatal("accepted")
	}
	var got []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		name, _, _ := strings.Cut(line, ":")
		got = append(got, name)
	}
	want := []string{"CCP_NOPE_NOPE", "CCP_REQUEST_TIMEOUT", "CCP_TOKEN_KEYS", "CCP_HASH_KEY", "CCP_POKEPAY_PATHS", "CCP_POKEPAY_PATHS", "CCP_PUBLIC_URL",
		"CCP_DATA_KEYSET", "CCP_SMTP_ADDR", "CCP_MAIL_FROM", "CCP_POKEPAY_ACCOUNT", "CCP_POKEPAY_PASSWORD"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, err)
	}
}

// A name is suggested only if it is probably the one that was meant.
func TestOnlyCloseNamesAreSuggested(t *testing.T) {
	for _, name := range []string{"CCP_FOO", "CCP_X", "CCP_ADDRESS", "CCP_MAIL"} {
		if _, err := LoadConfig([]string{name + "=1"}); err == nil || strings.Contains(err.Error(), "did you mean") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServeNeeds(t *testing.T) {
	complete := production(t)
	for _, tt := range []struct {
		name   string
		change map[string]string // "" takes away
		missed []string
	}{
		{"nothing set", nil, []string{"CCP_DATA_KEYSET", "CCP_HASH_KEY", "CCP_TOKEN_KEYS", "CCP_PUBLIC_URL", "CCP_SMTP_ADDR", "CCP_MAIL_FROM",
			"CCP_POKEPAY_ACCOUNT", "CCP_POKEPAY_PASSWORD"}},
		{"complete", map[string]string{}, nil},
		{"channel didit", map[string]string{"CCP_KYC_CHANNEL": "didit"}, []string{"CCP_DIDIT_API_KEY", "CCP_DIDIT_WORKFLOW_ID", "CCP_DIDIT_WEBHOOK_SECRETS"}},
		{"channel didit, complete", map[string]string{"CCP_KYC_CHANNEL": "didit", "CCP_DIDIT_API_KEY": "a", "CCP_DIDIT_WORKFLOW_ID": "b",
			"CCP_DIDIT_WEBHOOK_SECRETS": "c"}, nil},
		{"application credentials", map[string]string{"CCP_POKEPAY_AUTH": "application", "CCP_POKEPAY_ACCOUNT": "", "CCP_POKEPAY_PASSWORD": ""},
			[]string{"CCP_POKEPAY_APP_ID", "CCP_POKEPAY_APP_SECRET", "CCP_POKEPAY_LOGIN_URL"}},
		{"an issuer that no request waits for", map[string]string{"CCP_POKEPAY_TIMEOUT": "16s"}, []string{"CCP_POKEPAY_TIMEOUT"}},
		{"a hasty request", map[string]string{"CCP_REQUEST_TIMEOUT": "29s"}, []string{"CCP_POKEPAY_TIMEOUT"}},
		{"patience on both sides", map[string]string{"CCP_POKEPAY_TIMEOUT": "30s", "CCP_REQUEST_TIMEOUT": "60s"}, nil},
		{"didit has no time, but is not asked", map[string]string{"CCP_DIDIT_TIMEOUT": "31s"}, nil},
		{"didit has no time", map[string]string{"CCP_KYC_CHANNEL": "didit", "CCP_DIDIT_API_KEY": "a", "CCP_DIDIT_WORKFLOW_ID": "b",
			"CCP_DIDIT_WEBHOOK_SECRETS": "c", "CCP_DIDIT_TIMEOUT": "31s", "CCP_POKEPAY_TIMEOUT": "30s"}, []string{"CCP_DIDIT_TIMEOUT"}},
		{"mail server on this machine", map[string]string{"CCP_SMTP_ADDR": "127.0.0.1:25"}, nil},
		{"didit on this machine, not used", map[string]string{"CCP_DIDIT_URL": "http://127.0.0.1:1"}, nil},
		{"didit on this machine", map[string]string{"CCP_DIDIT_URL": "http://127.0.0.1:1", "CCP_DIDIT_API_KEY": "a"}, []string{"CCP_DIDIT_URL"}},
		{"issuer on this machine", map[string]string{"CCP_POKEPAY_URL": "http://localhost:8011/pokepay"}, []string{"CCP_POKEPAY_URL"}},
		{"issuer's login on this machine", map[string]string{"CCP_POKEPAY_LOGIN_URL": "https://[::1]/x"}, []string{"CCP_POKEPAY_LOGIN_URL"}},
		{"issuer on this machine, mapped", map[string]string{"CCP_POKEPAY_URL": "http://[::ffff:127.0.0.1]"}, []string{"CCP_POKEPAY_URL"}},
		{"issuer on this machine, by zero", map[string]string{"CCP_POKEPAY_URL": "http://0.0.0.0:1"}, []string{"CCP_POKEPAY_URL"}},
		{"issuer on this machine, in development", map[string]string{"CCP_POKEPAY_URL": "http://127.0.0.1:1", "CCP_ENV": "development"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			values := maps.Clone(complete)
			if tt.change == nil {
				values = nil
			}
			maps.Copy(values, tt.change)
			c, err := LoadConfig(environ(values))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			if err := c.CheckServe(); err != nil {
				for line := range strings.SplitSeq(err.Error(), "\n") {
					name, _, _ := strings.Cut(line, ":")
					got = append(got, name)
				}
			}
			if !slices.Equal(got, tt.missed) {
				t.Errorf("complains about %v, should about %v", got, tt.missed)
			}
		})
	}
}

// Whatever time limits are configured, jobs have time for what the providers may take.
func TestJobsOutlastTheProviders(t *testing.T) {
	for _, tt := range []struct{ didit, pokepay, want time.Duration }{
		{15 * time.Second, 15 * time.Second, 2 * time.Minute}, {30 * time.Second, 15 * time.Second, 2 * time.Minute},
		{time.Minute, 15 * time.Second, 3 * time.Minute}, {time.Second, 4 * time.Minute, 16*time.Minute + 2*time.Second},
	} {
		c := Config{Didit: DiditConfig{Timeout: tt.didit}, PokePay: PokePayConfig{Timeout: tt.pokepay}}
		if got := c.jobTimeout(); got != tt.want {
			t.Errorf("didit %s, pokepay %s: %s for a job, want %s", tt.didit, tt.pokepay, got, tt.want)
		}
	}
}

func TestStorageNeedsOnlyItsKeys(t *testing.T) {
	c, err := LoadConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckStorage(); err == nil || strings.Contains(err.Error(), "SMTP") || !strings.Contains(err.Error(), "CCP_HASH_KEY") {
		t.Errorf("without keys: %v", err)
	}
	c, err = LoadConfig([]string{"CCP_HASH_KEY=" + key(32), "CCP_DATA_KEYSET=" + keyset(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckStorage(); err != nil {
		t.Error(err)
	}
}

// Whoever copies a development secret into production is stopped, whichever it is.
func TestProductionRefusesEverySecretOfDevelopment(t *testing.T) {
	development, err := LoadConfig([]string{"CCP_ENV=development"})
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for s := range development.settings() {
		isSecret := s.value.Type() == reflect.TypeFor[TokenKeys]() || len(s.secrets()) > 0 && s.secrets()[0] != ""
		if !isSecret {
			continue
		}
		refused++
		t.Run(s.name, func(t *testing.T) {
			values := production(t)
			values[s.name] = developmentValues(nil)[s.name]
			c, err := LoadConfig(environ(values))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CheckServe(); err == nil || !strings.Contains(err.Error(), s.name+": holds a secret of development") {
				t.Errorf("serve says %v", err)
			}
		})
	}
	if refused < 8 {
		t.Errorf("only %d secrets of development found", refused)
	}
}

func TestDevelopmentNeedsNothing(t *testing.T) {
	for name, load := range map[string]func() (Config, error){
		"serve":   func() (Config, error) { return LoadConfig([]string{"CCP_ENV=development"}) },
		"sandbox": func() (Config, error) { return LoadSandboxConfig(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CheckServe(); err != nil {
				t.Error(err)
			}
			got := []string{c.General.PublicURL, c.Didit.URL, c.PokePay.URL, c.PokePay.LoginURL, c.Mail.Addr}
			want := []string{"http://127.0.0.1:8010", "http://127.0.0.1:8011/didit", "http://127.0.0.1:8011/pokepay/api/v1",
				"http://127.0.0.1:8011/pokepay/web/auth/login", "127.0.0.1:8025"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
			if _, err := secret.NewVault(c.Keys.DataKeyset, c.Keys.HashKey); err != nil {
				t.Error(err)
			}
			if _, err := pokepay.NewClient(pokepay.Config{BaseURL: c.PokePay.URL, Authenticator: pokepay.EmailLogin{URL: c.PokePay.LoginURL,
				Account: c.PokePay.Account, Password: c.PokePay.Password, AreaCode: c.PokePay.AreaCode}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSandboxStaysOffline(t *testing.T) {
	for name, value := range map[string]string{
		"CCP_ENV":               "production",
		"CCP_DIDIT_URL":         "https://verification.didit.me",
		"CCP_POKEPAY_URL":       "https://dash.pokepay.com/api/v1",
		"CCP_POKEPAY_LOGIN_URL": "https://dash.pokepay.com/web/auth/login",
		"CCP_SMTP_ADDR":         "smtp.example.com:587",
	} {
		if _, err := LoadSandboxConfig([]string{name + "=" + value}); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s=%s: %v", name, value, err)
		}
	}
	if _, err := LoadSandboxConfig([]string{"CCP_DIDIT_URL=http://localhost:9/didit"}); err != nil {
		t.Error(err)
	}
}

func TestListenersThatTheMachineChose(t *testing.T) {
	c, err := LoadSandboxConfig([]string{"CCP_HTTP_ADDR=0.0.0.0:0", "CCP_SANDBOX_ADDR=127.0.0.1:0", "CCP_DIDIT_URL=http://127.0.0.1:7/didit"})
	if err != nil {
		t.Fatal(err)
	}
	bound := c.Bound(Listeners{HTTP: "0.0.0.0:41", Sandbox: "127.0.0.1:42", SMTP: "127.0.0.1:43"})
	got := []string{bound.General.PublicURL, bound.HTTP.Addr, bound.Didit.URL, bound.PokePay.URL, bound.Mail.Addr}
	want := []string{"http://127.0.0.1:41", "0.0.0.0:41", "http://127.0.0.1:7/didit", "http://127.0.0.1:42/pokepay/api/v1", "127.0.0.1:43"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if c.HTTP.Addr != "0.0.0.0:0" || c.Mail.Addr != "127.0.0.1:8025" {
		t.Error("the configuration itself was changed")
	}
}

func TestEffectiveShowsNoSecret(t *testing.T) {
	values := production(t)
	maps.Copy(values, map[string]string{"CCP_DIDIT_API_KEY": "didit-api-key", "CCP_DIDIT_WEBHOOK_SECRETS": "webhook-one,webhook-two",
		"CCP_POKEPAY_APP_SECRET": "application-secret", "CCP_POKEPAY_CALLBACK_KEY": "callback-key-of-ours", "CCP_POKEPAY_CALLBACK_SECRET": "callback-secret",
		"CCP_DATABASE_URL": "postgres://ccp:database-password@db.example.com/ccp?sslmode=require&sslpassword=other-password"})
	c, err := LoadConfig(environ(values))
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%+v", c.Effective())
	for _, hidden := range []string{"database-password", "other-password", "smtp-password", "issuer-password", "didit-api-key", "webhook-",
		"application-secret", "callback-key-of-ours", "callback-secret", key(32), strings.Repeat("k", 32), "primaryKeyId"} {
		if strings.Contains(shown, hidden) {
			t.Errorf("%q is shown", hidden)
		}
	}
	byName := map[string]Setting{}
	for _, s := range c.Effective() {
		byName[s.Name] = s
	}
	for name, want := range map[string]string{
		"CCP_DATABASE_URL":          "postgres://ccp:[redacted]@db.example.com/ccp?sslmode=require&sslpassword=[redacted]",
		"CCP_TOKEN_KEYS":            "k1:[redacted]",
		"CCP_HASH_KEY":              "[redacted]",
		"CCP_DRAIN_TIMEOUT":         "20s",
		"CCP_LOG_LEVEL":             "INFO",
		"CCP_DIDIT_WEBHOOK_SECRETS": "[redacted],[redacted]",
		"CCP_OTEL_ENDPOINT":         "",
	} {
		if got := byName[name].Value; got != want {
			t.Errorf("%s is shown as %q, want %q", name, got, want)
		}
	}
	if byName["CCP_HASH_KEY"].Source != FromEnvironment || byName["CCP_DRAIN_TIMEOUT"].Source != FromDefault {
		t.Errorf("sources %q, %q", byName["CCP_HASH_KEY"].Source, byName["CCP_DRAIN_TIMEOUT"].Source)
	}
	sandbox, err := LoadSandboxConfig(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sandbox.Effective() {
		if s.Name == "CCP_DIDIT_URL" && s.Source != FromDevelopment {
			t.Errorf("source of %s in the sandbox is %q", s.Name, s.Source)
		}
	}
}

// Every setting is explained, named once, and has the prefix.
func TestSettingsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for s := range (Config{}).settings() {
		if !strings.HasPrefix(s.name, "CCP_") || strings.HasPrefix(s.name, "CCP_TEST_") || s.name != strings.ToUpper(s.name) || seen[s.name] {
			t.Errorf("%s.%s: the name %q is missing, ill-formed or taken", s.group.Name, s.field.Name, s.name)
		}
		seen[s.name] = true
		if doc := s.field.Tag.Get("doc"); !strings.HasSuffix(doc, ".") {
			t.Errorf("%s has no sentence that explains it", s.name)
		}
	}
	for name := range developmentValues(nil) {
		if !seen[name] {
			t.Errorf("development sets %s, which is no setting", name)
		}
	}
}

func TestConfigurationPageIsCurrent(t *testing.T) {
	const path = "../../docs/configuration.md"
	if *update {
		if err := os.WriteFile(path, []byte(ConfigurationPage()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ConfigurationPage(), string(page)); diff != "" {
		t.Errorf("%s is not current, run make docs (-want +got):\n%s", path, diff)
	}
}

// The example of an environment file leaves nothing out but the keys, and holds no setting that is not one.
func TestEnvironmentFileExample(t *testing.T) {
	file, err := os.ReadFile("../../.env.example")
	if err != nil {
		t.Fatal(err)
	}
	complete := production(t)
	var lines []string
	listed := map[string]bool{}
	for line := range strings.Lines(string(file)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		listed[name] = true
		if value == "" {
			value = complete[name]
		}
		lines = append(lines, name+"="+value)
	}
	for name := range complete {
		if made := strings.HasSuffix(name, "KEYS") || strings.HasSuffix(name, "KEYSET") || name == "CCP_HASH_KEY"; made || name == "CCP_DATABASE_URL" {
			lines = append(lines, name+"="+complete[name])
		} else if !listed[name] {
			t.Errorf("%s is missing in .env.example", name)
		}
	}
	c, err := LoadConfig(lines)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckServe(); err != nil {
		t.Error(err)
	}
}
