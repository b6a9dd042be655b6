// Package udun speaks the merchant API of the Udun crypto gateway and reads its callbacks (provider/udun.md). It knows
// the wire and nothing of what an address, a deposit or a withdrawal means to the product.
package udun

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

// ProviderName is the provider's name in errors, metrics and traces.
const ProviderName = "udun"

// The names of the operations in errors, metrics and traces.
const (
	OpCreateAddress = "create_address"
	OpWithdraw      = "withdraw"
	OpProxyPay      = "proxy_pay"
	OpSupportCoins  = "support_coins"
	OpCheckAddress  = "check_address"
	OpAddressExists = "address_exists"
)

// AddressField is how the main chain is called when an address is created. Which name counts depends on the age of the
// merchant account (provider/udun.md section 3.1).
type AddressField string

// The names; the newer one is the default.
const (
	FieldMainCoinType AddressField = "mainCoinType"
	FieldCoinType     AddressField = "coinType" // the older protocol
	FieldBoth         AddressField = "both"
)

// Config is what a Client needs.
type Config struct {
	BaseURL      string       // the merchant's node, such as https://sig11.udun.io
	MerchantID   string       // digits
	APIKey       secret.Text  //
	CallURL      string       // where callbacks go; an address keeps the one that it was created with for ever
	AddressField AddressField // empty: FieldMainCoinType

	// Milliseconds chooses the older form of the envelope: time in milliseconds and a nonce of letters, both as texts,
	// instead of seconds and a nonce of digits, both as numbers (provider/udun.md section 1).
	Milliseconds bool

	Limits     provider.Limits       // zero: defaults, but 30 s for an attempt
	Clock      clock.Clock           // nil: the machine's
	Random     io.Reader             // of nonces; nil: the system's
	Registerer prometheus.Registerer // nil: no metrics
	Transport  http.RoundTripper     // nil: a transport of its own
}

// Client calls Udun's merchant API. It is safe for concurrent use if Config.Random is.
type Client struct {
	base         string
	merchant     string
	key          secret.Text
	callURL      string
	addressField AddressField
	milliseconds bool
	clock        clock.Clock
	random       io.Reader
	caller       *provider.Caller
}

// NewClient builds a Client, or says everything that is wrong with the configuration.
func NewClient(config Config) (*Client, error) {
	base, err := provider.BaseURL(config.BaseURL)
	if err != nil {
		err = fmt.Errorf("udun base URL %w", err)
	}
	problems := []error{err}
	if !isDigits(config.MerchantID) {
		problems = append(problems, errors.New("udun merchant id must be a number"))
	}
	if config.APIKey.Empty() {
		problems = append(problems, errors.New("udun API key is missing"))
	}
	if u, err := url.Parse(config.CallURL); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Fragment != "" {
		problems = append(problems, errors.New("udun callback URL must be an absolute http or https address"))
	}
	switch config.AddressField {
	case "":
		config.AddressField = FieldMainCoinType
	case FieldMainCoinType, FieldCoinType, FieldBoth:
	default:
		problems = append(problems, fmt.Errorf("udun address field must be %s, %s or %s", FieldMainCoinType, FieldCoinType, FieldBoth))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if config.Limits.Timeout <= 0 {
		config.Limits.Timeout = 30 * time.Second
	}
	if config.Clock == nil {
		config.Clock = clock.System{}
	}
	if config.Random == nil {
		config.Random = rand.Reader
	}
	return &Client{base: base, merchant: config.MerchantID, key: config.APIKey, callURL: config.CallURL,
		addressField: config.AddressField, milliseconds: config.Milliseconds, clock: config.Clock, random: config.Random,
		caller: provider.NewCaller(provider.Options{Provider: ProviderName, Limits: config.Limits, Clock: config.Clock,
			Registerer: config.Registerer, Transport: config.Transport})}, nil
}

// call performs an operation: content is written once, and that very text is signed and sent. It returns the answer's
// envelope.
func (c *Client) call(ctx context.Context, operation, path string, content any, safe bool, judge func(*provider.Answer) *provider.Error) (provider.Object, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // the callback URL may have a query
	if err := encoder.Encode(content); err != nil {
		return nil, invalid(operation, "the request cannot be written")
	}
	answer, err := c.caller.Do(ctx, provider.Call{Operation: operation, Method: http.MethodPost, URL: c.base + path,
		Body: sealed{c, strings.TrimSuffix(text.String(), "\n")}, Safe: safe, Judge: judge})
	if err != nil {
		return nil, err
	}
	envelope, err := provider.ParseObject(answer.Body)
	if err != nil {
		return nil, unreadable(operation, err)
	}
	return envelope, nil
}

// sealed is a text that becomes an envelope each time it is sent, so that a repetition has a nonce and a time of its
// own: the gateway may insist on both.
type sealed struct {
	client *Client
	body   string
}

// MarshalJSON implements json.Marshaler.
func (s sealed) MarshalJSON() ([]byte, error) {
	c := s.client
	nonce, err := c.nonce()
	if err != nil {
		return nil, err
	}
	now := c.clock.Now()
	timestamp := strconv.FormatInt(now.Unix(), 10)
	envelope := struct {
		Timestamp any    `json:"timestamp"`
		Nonce     any    `json:"nonce"`
		Sign      string `json:"sign"`
		Body      string `json:"body"`
	}{json.Number(timestamp), json.Number(nonce), "", s.body}
	if c.milliseconds {
		timestamp = strconv.FormatInt(now.UnixMilli(), 10)
		envelope.Timestamp, envelope.Nonce = timestamp, nonce
	}
	envelope.Sign = Sign(c.key, s.body, nonce, timestamp)
	return json.Marshal(envelope)
}

// nonce is a number that fits 32 bits, without leading zero, or six letters.
func (c *Client) nonce() (string, error) {
	if !c.milliseconds {
		n, err := rand.Int(c.random, big.NewInt(900_000_000))
		if err != nil {
			return "", err
		}
		return strconv.FormatInt(100_000_000+n.Int64(), 10), nil
	}
	letters := make([]byte, 6)
	for i := range letters {
		n, err := rand.Int(c.random, big.NewInt(26))
		if err != nil {
			return "", err
		}
		letters[i] = 'A' + byte(n.Int64())
	}
	return string(letters), nil
}

// judge tells success from refusal. The HTTP status is 200 even for refusals.
func judge(answer *provider.Answer) *provider.Error {
	code, message, err := parseCode(answer.Body)
	if err != nil {
		return &provider.Error{Detail: "the answer cannot be read", Cause: err}
	}
	if code == CodeOK && answer.Status >= 200 && answer.Status < 300 {
		return nil
	}
	failure := &provider.Error{Outcome: provider.Refused, Code: strconv.FormatInt(int64(code), 10), StaffText: message,
		Detail: "refused by the provider, " + code.String(), Cause: &Refusal{Code: code}}
	if code.Class() == ClassRetryable {
		failure.Outcome, failure.Detail = provider.Unknown, "the provider failed, "+code.String()
	}
	return failure
}

var errNoCode = errors.New("no code in the envelope")

// parseCode reads the code of an answer, a number or a text, and the words that come with it.
func parseCode(body []byte) (Code, string, error) {
	o, err := provider.ParseObject(body)
	if err != nil {
		return 0, "", err
	}
	code, ok := o.Int("code")
	if !ok {
		return 0, "", errNoCode
	}
	return Code(code), o.Text("message", "msg"), nil
}

// invalid refuses a call that Udun would refuse, before it is sent.
func invalid(operation, why string) error {
	return &provider.Error{Provider: ProviderName, Operation: operation, Outcome: provider.Refused, Detail: why, Cause: provider.ErrInvalidCall}
}

var (
	errNoData    = errors.New("data is missing or has another form")
	errOtherCoin = errors.New("the address is of another chain")
)

// unreadable is a success that lacks what it should say.
func unreadable(operation string, cause error) error {
	return &provider.Error{Provider: ProviderName, Operation: operation, Outcome: provider.Unknown, Sent: true,
		Status: http.StatusOK, Detail: "the answer cannot be read", Cause: cause}
}
