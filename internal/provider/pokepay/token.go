package pokepay

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

// Authenticator obtains bearer tokens (provider/pokepay.md section 1). The token source calls it for one token at a
// time.
type Authenticator interface {
	// Authenticate logs in and returns the bearer token. It performs the call with the given caller, so that
	// limits and metrics are those of the client. Every error is a *provider.Error.
	Authenticate(ctx context.Context, caller *provider.Caller) (secret.Text, error)
}

// EmailLogin logs in to the dashboard, whose tokens are good for the partner API as well.
type EmailLogin struct {
	URL      string // https://dash.pokepay.com/web/auth/login
	Account  string // an e-mail address
	Password secret.Text
	AreaCode int // calling code that belongs to the account, such as 852
}

// Authenticate implements Authenticator.
func (l EmailLogin) Authenticate(ctx context.Context, caller *provider.Caller) (secret.Text, error) {
	origin := ""
	if u, err := url.Parse(l.URL); err == nil {
		origin = u.Scheme + "://" + u.Host
	}
	return login(ctx, caller, l.URL,
		http.Header{"Origin": {origin}, "Referer": {origin}, "X-Platform": {"web"}},
		map[string]any{"account": l.Account, "login_type": "email", "password": l.Password.Reveal(), "area_code": l.AreaCode}, "token", "account or password")
}

func (l EmailLogin) check() error {
	if _, err := provider.BaseURL(l.URL); err != nil {
		return errors.New("pokepay login URL " + err.Error())
	}
	if l.Account == "" || l.Password.Empty() {
		return errors.New("pokepay account or password is missing")
	}
	return nil
}

// ApplicationLogin exchanges application credentials for a token. That such a scheme exists is known, its
// address and names are not: all of them are settings (provider/pokepay.md section 1).
type ApplicationLogin struct {
	URL         string
	AppID       string
	AppSecret   secret.Text
	IDField     string // in the request; default "app_id"
	SecretField string // in the request; default "app_secret"
	TokenField  string // in the answer's data; default "token"
}

// Authenticate implements Authenticator.
func (l ApplicationLogin) Authenticate(ctx context.Context, caller *provider.Caller) (secret.Text, error) {
	or := func(name, standard string) string {
		if name == "" {
			return standard
		}
		return name
	}
	return login(ctx, caller, l.URL, nil, map[string]any{
		or(l.IDField, "app_id"): l.AppID, or(l.SecretField, "app_secret"): l.AppSecret.Reveal()}, or(l.TokenField, "token"), "application credentials")
}

func (l ApplicationLogin) check() error {
	if _, err := provider.BaseURL(l.URL); err != nil {
		return errors.New("pokepay application login URL " + err.Error())
	}
	if l.AppID == "" || l.AppSecret.Empty() {
		return errors.New("pokepay application id or secret is missing")
	}
	return nil
}

func login(ctx context.Context, caller *provider.Caller, address string, header http.Header, body map[string]any, field, credentials string) (secret.Text, error) {
	answer, err := caller.Do(ctx, provider.Call{Operation: OpLogin, Method: http.MethodPost, URL: address, Header: header, Body: body, Judge: judge})
	if err != nil {
		if e := (*provider.Error)(nil); errors.As(err, &e) && credentialsRefused(e) {
			e.Detail = credentials + " not accepted"
		}
		return secret.Text{}, err
	}
	e, err := parseEnvelope(answer.Body)
	if err == nil {
		var data provider.Object
		if data, err = provider.ParseObject(e.data); err == nil {
			if token := strings.TrimSpace(data.Text(field)); token != "" {
				return secret.NewText(token), nil
			}
			err = errors.New("no token")
		}
	}
	return secret.Text{}, unreadable(OpLogin, err)
}

// credentialsRefused tells a login that was understood and refused from one that met another address, another gateway or a limit.
func credentialsRefused(e *provider.Error) bool {
	if e.Status == http.StatusUnauthorized {
		return true
	}
	refusal := (*Refusal)(nil)
	if e.Outcome != provider.Refused || !errors.As(e.Cause, &refusal) || refusal.Code == "404" || refusal.Code == "429" {
		return false
	}
	return e.Status == http.StatusOK || e.Status == http.StatusBadRequest || e.Status == http.StatusForbidden
}

// When a token is renewed (provider/pokepay.md section 1).
const (
	renewBefore     = 5 * time.Minute  // before its end, but not before half of its life
	assumedLife     = 2 * time.Hour    // of a token whose end cannot be read
	loginTimeout    = 30 * time.Second // for the one login that all callers wait for
	pauseAfterWrong = 5 * time.Second  // after a refused login, lest wrong credentials lock the account
)

// tokenSource holds the token that all calls share. Parallel logins would end each other's sessions, so there
// is never more than one.
type tokenSource struct {
	authenticator Authenticator
	caller        *provider.Caller
	clock         clock.Clock
	flight        singleflight.Group

	mu         sync.Mutex
	current    secret.Text
	renewAt    time.Time
	refusal    error // of the last login, if it was refused
	pauseUntil time.Time
}

// token gives a token that has some time left; one that equals rejected is renewed. An empty rejected asks
// for any.
func (s *tokenSource) token(ctx context.Context, rejected secret.Text) (secret.Text, error) {
	if token, err, known := s.peek(rejected); known {
		return token, err
	}
	token, err := s.fly(ctx, rejected)
	if err == nil && token == rejected {
		token, err = s.fly(ctx, rejected) // joined a flight of somebody who had not yet seen it rejected
	}
	return token, err
}

// fly logs in, or joins the login that is under way.
func (s *tokenSource) fly(ctx context.Context, rejected secret.Text) (secret.Text, error) {
	result := s.flight.DoChan(OpLogin, func() (any, error) {
		if token, err, known := s.peek(rejected); known {
			return token, err // another flight has just landed
		}
		// The login must not end with the caller that happened to start it.
		loginCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTimeout)
		defer cancel()
		token, err := s.authenticator.Authenticate(loginCtx, s.caller)
		s.keep(token, err)
		return token, err
	})
	select {
	case r := <-result:
		token, _ := r.Val.(secret.Text)
		return token, r.Err
	case <-ctx.Done():
		return secret.Text{}, ctx.Err()
	}
}

// peek answers without a login, if it can.
func (s *tokenSource) peek(rejected secret.Text) (secret.Text, error, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if !s.current.Empty() && s.current != rejected && now.Before(s.renewAt) {
		return s.current, nil, true
	}
	if s.refusal != nil && now.Before(s.pauseUntil) {
		return secret.Text{}, s.refusal, true
	}
	return secret.Text{}, nil, false
}

// keep stores the result of a login.
func (s *tokenSource) keep(token secret.Text, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	s.refusal = nil
	if err != nil {
		if e := (*provider.Error)(nil); errors.As(err, &e) && e.Outcome == provider.Refused && e.Sent {
			s.refusal, s.pauseUntil = err, now.Add(max(pauseAfterWrong, e.RetryAfter))
		}
		return
	}
	end, ok := expiry(token)
	if !ok {
		end = now.Add(assumedLife)
	}
	s.current, s.renewAt = token, end.Add(-min(renewBefore, end.Sub(now)/2))
}

// expiry reads the end of a JWT without verifying it: the token is PokePay's to judge.
func expiry(token secret.Text) (time.Time, bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return time.Time{}, false
	}
	claims, err := provider.ParseObject(payload)
	if err != nil {
		return time.Time{}, false
	}
	return provider.ParseTime(claims.Text("exp"))
}
