// Package sms sends short messages through a gateway of the operator's choice. There are as many interfaces as providers, so this
// speaks a small one of its own, which an adapter of a few lines turns into that of any provider:
//
//	POST <url>
//	Content-Type: application/json
//	Idempotency-Key: <reference of the message, the same whenever it is sent again>
//	X-Signature: sha256=<HMAC-SHA256 of the body with the shared secret, in hexadecimal>
//
//	{"to": "+85291234567", "text": "…"}
//
// Any 2xx means that the gateway has taken the message. Any 4xx except 408 and 429 means that it never will.
package sms

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// SignatureHeader carries the signature of a message.
const SignatureHeader = "X-Signature"

// Sign is the signature of a body.
func Sign(key secret.Text, body []byte) string {
	m := hmac.New(sha256.New, []byte(key.Reveal()))
	m.Write(body)
	return "sha256=" + hex.EncodeToString(m.Sum(nil))
}

// Message is one short message to one number.
type Message struct {
	Reference string // the same when the message is sent again
	To        string // digits, with + in front if the calling code is among them
	Text      string
}

// Sender carries messages away.
type Sender interface {
	// Send hands a message over and returns once the gateway has taken it. It fails with a *DeliveryError; the message may have been
	// taken nevertheless.
	Send(ctx context.Context, m Message) error
}

// DeliveryError says that the gateway did not take a message, or that we cannot know. Its text holds nothing of the message.
type DeliveryError struct {
	Status    int  // of the answer; 0: none
	Permanent bool // sending it again is useless
	cause     error
}

// Error implements error.
func (e *DeliveryError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("sms: the gateway answered %d", e.Status)
	}
	return "sms: " + e.cause.Error()
}

// Unwrap gives the context's or the network's error, if that was the reason.
func (e *DeliveryError) Unwrap() error { return e.cause }

// Config says which gateway takes messages.
type Config struct {
	URL     string
	Secret  secret.Text
	Timeout time.Duration // for one message; 0: 15 s
}

const defaultTimeout = 15 * time.Second

// Gateway sends through an HTTP gateway. It is safe for concurrent use.
type Gateway struct {
	config Config
	client *http.Client
}

// NewGateway checks the configuration; it does not connect.
func NewGateway(c Config) (*Gateway, error) {
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("sms: the address of the gateway must be http:// or https://")
	}
	if c.Secret.Empty() {
		return nil, errors.New("sms: without a secret the gateway cannot tell who sends")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return &Gateway{c, &http.Client{
		Timeout: c.Timeout,
		// A redirect would turn the message into a GET, or carry it to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Send implements Sender.
func (g *Gateway) Send(ctx context.Context, m Message) error {
	body, err := json.Marshal(struct {
		To   string `json:"to"`
		Text string `json:"text"`
	}{m.To, m.Text})
	if err != nil {
		return errors.New("sms: message cannot be written")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, g.config.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("sms: request cannot be made")
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Idempotency-Key", m.Reference)
	r.Header.Set(SignatureHeader, Sign(g.config.Secret, body))
	answer, err := g.client.Do(r)
	if err != nil {
		var named *url.Error
		if errors.As(err, &named) {
			err = named.Err // the address may hold a key
		}
		return &DeliveryError{cause: err}
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 64<<10)) // so that the connection can be used again
	switch status := answer.StatusCode; {
	case status >= 200 && status < 300:
		return nil
	default:
		never := status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
		return &DeliveryError{Status: status, Permanent: never}
	}
}
