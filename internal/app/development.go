package app

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Everybody knows the secrets of this file: they let the sandbox and development start without any preparation, and
// production refuses each of them by its value.
const (
	developmentDiditKey       = "development-didit-api-key"
	developmentDiditSecret    = "development-didit-webhook-secret"
	developmentAccount        = "ops@comecomepay.test"
	developmentPassword       = "development-pokepay-password"
	developmentCallbackKey    = "development-callback-key"
	developmentCallbackSecret = "development-pokepay-callback-secret"
	developmentSMSSecret      = "development-sms-secret"
	developmentMerchant       = "300011"
	developmentUdunKey        = "development-udun-api-key"
	developmentGatewayKey     = "development-gateway-callback-key"

	developmentWorkflow = "99999999-8888-4777-8666-555555555555"
	developmentFrom     = "no-reply@comecomepay.test"

	// The key is the words "development only, never for real".
	developmentKeyset = `{"primaryKeyId":1,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.AesGcmKey",` +
		`"value":"GiBkZXZlbG9wbWVudCBvbmx5LCBuZXZlciBmb3IgcmVhbA==","keyMaterialType":"SYMMETRIC"},` +
		`"status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}`
)

var (
	developmentTokenKeys = "development:" + base64.StdEncoding.EncodeToString([]byte("development only, never for real tokens"))
	developmentHashKey   = base64.StdEncoding.EncodeToString([]byte("development only, never for real hashes"))
)

// The prefixes of the simulators on the sandbox listener.
const (
	SandboxDiditPath        = "/didit"
	SandboxPokePayPath      = "/pokepay"
	sandboxSMSPath          = "/inbox/sms"
	sandboxUdunPath         = "/udun"
	sandboxPokePayAPIPath   = SandboxPokePayPath + "/api/v1"
	sandboxPokePayLoginPath = SandboxPokePayPath + "/web/auth/login"
)

// developmentValues are the values that stand in for what is not set. The addresses follow the listeners that are given.
func developmentValues(given map[string]string) map[string]string {
	or := func(name, standard string) string {
		if v := given[name]; v != "" {
			return v
		}
		return standard
	}
	values := map[string]string{
		"CCP_LOG_FORMAT":              "text",
		"CCP_TOKEN_KEYS":              developmentTokenKeys,
		"CCP_DATA_KEYSET":             developmentKeyset,
		"CCP_HASH_KEY":                developmentHashKey,
		"CCP_SMTP_TLS":                "none",
		"CCP_MAIL_FROM":               developmentFrom,
		"CCP_SMS_SECRET":              developmentSMSSecret,
		"CCP_UDUN_MERCHANT_ID":        developmentMerchant,
		"CCP_UDUN_API_KEY":            developmentUdunKey,
		"CCP_UDUN_CALLBACK_KEY":       developmentGatewayKey,
		"CCP_DIDIT_API_KEY":           developmentDiditKey,
		"CCP_DIDIT_WORKFLOW_ID":       developmentWorkflow,
		"CCP_DIDIT_WEBHOOK_SECRETS":   developmentDiditSecret,
		"CCP_POKEPAY_CALLBACK_KEY":    developmentCallbackKey,
		"CCP_POKEPAY_CALLBACK_SECRET": developmentCallbackSecret,
		"CCP_POKEPAY_ACCOUNT":         developmentAccount,
		"CCP_POKEPAY_PASSWORD":        developmentPassword,
		"CCP_RATE_TABLE":              "USDT=7.80,USDC=7.80,BTC=780000,ETH=27000,TRX=2.10,LTC=650,BNB=5500,USD=7.82",
	}
	for name, address := range developmentAddresses(Listeners{
		HTTP:    or("CCP_HTTP_ADDR", "127.0.0.1:8010"),
		Sandbox: or("CCP_SANDBOX_ADDR", "127.0.0.1:8011"),
		SMTP:    or("CCP_SANDBOX_SMTP_ADDR", "127.0.0.1:8025"),
	}) {
		values[name] = address
	}
	return values
}

// Listeners are the addresses (host:port) that listeners have in fact.
type Listeners struct{ HTTP, Sandbox, SMTP string }

// developmentAddresses are the settings that point at our own listeners.
func developmentAddresses(l Listeners) map[string]string {
	return map[string]string{
		"CCP_PUBLIC_URL":        "http://" + reachable(l.HTTP),
		"CCP_DIDIT_URL":         "http://" + l.Sandbox + SandboxDiditPath,
		"CCP_POKEPAY_URL":       "http://" + l.Sandbox + sandboxPokePayAPIPath,
		"CCP_POKEPAY_LOGIN_URL": "http://" + l.Sandbox + sandboxPokePayLoginPath,
		"CCP_SMTP_ADDR":         l.SMTP,
		"CCP_SMS_URL":           "http://" + l.Sandbox + sandboxSMSPath,
		"CCP_UDUN_URL":          "http://" + l.Sandbox + sandboxUdunPath,
	}
}

// reachable is where a listener on all addresses can be reached from this machine.
func reachable(address string) string {
	if p, err := netip.ParseAddrPort(address); err == nil && p.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.Port()).String()
	}
	if port, ok := strings.CutPrefix(address, ":"); ok {
		return "127.0.0.1:" + port
	}
	return address
}

// Bound returns the configuration with the addresses of our own listeners as they came out, for listeners on port 0.
// Addresses that the environment has set stay as they are; empty fields of l change nothing.
func (c Config) Bound(l Listeners) Config {
	use := func(to *string, address string) {
		if address != "" {
			*to = address
		}
	}
	use(&c.HTTP.Addr, l.HTTP)
	use(&c.Sandbox.Addr, l.Sandbox)
	use(&c.Sandbox.SMTPAddr, l.SMTP)
	addresses := developmentAddresses(Listeners{c.HTTP.Addr, c.Sandbox.Addr, c.Sandbox.SMTPAddr})
	for name, setting := range map[string]*string{"CCP_PUBLIC_URL": &c.General.PublicURL, "CCP_DIDIT_URL": &c.Didit.URL, "CCP_POKEPAY_URL": &c.PokePay.URL,
		"CCP_POKEPAY_LOGIN_URL": &c.PokePay.LoginURL, "CCP_SMTP_ADDR": &c.Mail.Addr, "CCP_SMS_URL": &c.SMS.URL,
		"CCP_UDUN_URL": &c.Udun.URL} {
		if c.source(name) == FromDevelopment {
			*setting = addresses[name]
		}
	}
	return c
}

// developmentLeftovers finds known secrets and providers on loopback, however they got into the configuration.
func (c Config) developmentLeftovers() []error {
	var problems []error
	known := map[string]bool{developmentDiditKey: true, developmentDiditSecret: true, developmentPassword: true, developmentCallbackKey: true,
		developmentCallbackSecret: true, developmentSMSSecret: true, developmentKeyset: true, developmentHashKey: true,
		developmentUdunKey: true, developmentGatewayKey: true}
	for s := range c.settings() {
		for _, text := range s.secrets() {
			if known[text] {
				problems = append(problems, fmt.Errorf("%s: holds a secret of development, which everybody knows", s.name))
				break
			}
		}
	}
	var development TokenKeys
	if err := development.UnmarshalText([]byte(developmentTokenKeys)); err != nil {
		panic(err) // a constant
	}
	for _, key := range c.Keys.TokenKeys {
		if key.Secret == development[0].Secret {
			problems = append(problems, errors.New("CCP_TOKEN_KEYS: holds a secret of development, which everybody knows"))
		}
	}
	addresses := map[string]string{"CCP_POKEPAY_URL": c.PokePay.URL, "CCP_POKEPAY_LOGIN_URL": c.PokePay.LoginURL}
	if !c.Didit.APIKey.Empty() || c.KYC.Channel == ChannelDidit {
		addresses["CCP_DIDIT_URL"] = c.Didit.URL
	}
	if c.Udun.configured() {
		addresses["CCP_UDUN_URL"] = c.Udun.URL
	}
	for _, name := range []string{"CCP_DIDIT_URL", "CCP_POKEPAY_URL", "CCP_POKEPAY_LOGIN_URL", "CCP_UDUN_URL"} {
		if onLoopback(addresses[name]) {
			problems = append(problems, fmt.Errorf("%s: points at this machine, where only a simulator can be; with CCP_ENV=development it may", name))
		}
	}
	return problems
}

// checkOffline refuses to let the sandbox talk to anybody outside of this machine. The database may be elsewhere.
func (c Config) checkOffline() error {
	var problems []error
	for _, a := range []struct{ name, address string }{{"CCP_DIDIT_URL", c.Didit.URL}, {"CCP_POKEPAY_URL", c.PokePay.URL},
		{"CCP_POKEPAY_LOGIN_URL", c.PokePay.LoginURL}, {"CCP_SMTP_ADDR", "smtp://" + c.Mail.Addr}, {"CCP_SMS_URL", c.SMS.URL},
		{"CCP_UDUN_URL", c.Udun.URL}} {
		if !onLoopback(a.address) {
			problems = append(problems, fmt.Errorf("%s: the sandbox talks to nobody outside of this machine; leave it unset", a.name))
		}
	}
	return errors.Join(problems...)
}

// onLoopback tells whether an address leads to this machine.
func onLoopback(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && addr.IsUnspecified() {
		return true
	}
	return loopbackHost(u.Hostname())
}
