package identity

import (
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// TokenKey signs tokens. While keys are exchanged two are valid: the new one, which signs, and the former one.
type TokenKey struct {
	ID     string // stands in every token
	Secret secret.Text
}

var keyIDForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

const minTokenSecret = 32 // bytes: the strength of SHA-256

// Validate says what is wrong with a key.
func (k TokenKey) Validate() error {
	if !keyIDForm.MatchString(k.ID) {
		return errors.New("token key: the id must be 1 to 32 letters, digits, - or _")
	}
	if len(k.Secret.Reveal()) < minTokenSecret {
		return fmt.Errorf("token key %s: the secret must have at least %d bytes", k.ID, minTokenSecret)
	}
	return nil
}

type signingKey struct {
	id      string
	header  string // first part of every access token of this key
	access  []byte
	refresh []byte
}

func signingKeys(keys []TokenKey) []signingKey {
	if len(keys) == 0 {
		panic("identity: no token key")
	}
	list := make([]signingKey, 0, len(keys))
	for _, k := range keys {
		if err := k.Validate(); err != nil {
			panic("identity: " + err.Error())
		}
		derive := func(purpose string) []byte {
			key, err := hkdf.Key(sha256.New, []byte(k.Secret.Reveal()), nil, "comecomepay/token/"+purpose, sha256.Size)
			if err != nil {
				panic(err) // only for impossible lengths
			}
			return key
		}
		key := signingKey{id: k.ID, access: derive("access"), refresh: derive("refresh")}
		signed, err := key.newToken(jwt.MapClaims{}).SigningString()
		if err != nil {
			panic(err) // the header is a map of texts
		}
		key.header, _, _ = strings.Cut(signed, ".")
		list = append(list, key)
	}
	return list
}

func (s *Service) key(id string) (signingKey, bool) {
	for _, k := range s.keys {
		if k.id == id {
			return k, true
		}
	}
	return signingKey{}, false
}

const issuer = "comecomepay"

// claims are what we read of an access token; exp is in whole seconds since 1970.
type claims struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	ExpiresAt int64  `json:"exp"`
	SessionID string `json:"sid"`
}

func (k signingKey) newToken(c jwt.MapClaims) *jwt.Token {
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	t.Header["kid"] = k.id
	return t
}

// accessToken is a JWT signed with HMAC-SHA256 (design/architecture section 4).
func (s *Service) accessToken(userID int64, sessionID string, now time.Time) (secret.Text, error) {
	key := s.keys[0]
	signed, err := key.newToken(jwt.MapClaims{
		"iss": issuer, "sub": strconv.FormatInt(userID, 10), "sid": sessionID,
		"iat": now.Unix(), "exp": now.Add(AccessLifetime).Unix(),
	}).SignedString(key.access)
	if err != nil {
		return secret.Text{}, fmt.Errorf("sign access token: %w", err)
	}
	return secret.NewText(signed), nil
}

// readAccessToken is what a genuine access token of ours says that has not run out.
//
// A header that is not, letter for letter, the one that we write is not read at all: it cannot choose an algorithm or
// anything else. It is also cheaper than a parser for any JWT, and this is on the way of every request.
func (s *Service) readAccessToken(token string, now time.Time) (c claims, ok bool) {
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, found := strings.Cut(rest, ".")
	if !found {
		return c, false
	}
	for _, k := range s.keys {
		if k.header != header {
			continue
		}
		mac := hmac.New(sha256.New, k.access)
		mac.Write([]byte(token[:len(header)+1+len(payload)]))
		given, err := base64.RawURLEncoding.Strict().DecodeString(signature)
		if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
			return c, false
		}
		plain, err := base64.RawURLEncoding.Strict().DecodeString(payload)
		if err != nil || json.Unmarshal(plain, &c) != nil {
			return c, false
		}
		return c, c.Issuer == issuer && now.Before(time.Unix(c.ExpiresAt, 0))
	}
	return c, false
}

// CheckToken is the edge's token check (api.TokenCheck). At depth SignatureOnly the customer in the context is
// genuine but not confirmed: the use case joins StandingFrom into its query and asks Standing.Check.
//
// Errors: api.ErrUnauthenticated for a token that is not ours, has run out, or whose session or account is gone.
func (s *Service) CheckToken(ctx context.Context, token string, depth api.Depth) (context.Context, string, error) {
	now := s.clock.Now()
	c, ok := s.readAccessToken(token, now)
	id, err := strconv.ParseInt(c.Subject, 10, 64)
	if !ok || err != nil || id <= 0 || c.SessionID == "" {
		return nil, "", api.ErrUnauthenticated
	}
	customer := Customer{ID: id, SessionID: c.SessionID, Locale: i18n.FromContext(ctx)}
	if depth != api.SignatureOnly {
		var standing Standing
		err := s.db.QueryRow(ctx, "SELECT "+StandingColumns+" FROM "+StandingFrom, id, c.SessionID).Scan(standing.Dest()...)
		if err != nil {
			return nil, "", fmt.Errorf("confirm session: %w", err)
		}
		if err := standing.Check(now); err != nil {
			// Whoever is not there any more has to sign in again, whatever the reason.
			return nil, "", api.ErrUnauthenticated
		}
		customer = standing.Confirm(customer)
	}
	return NewContext(ctx, customer), "user:" + c.Subject, nil
}

// refreshToken computes the refresh token of a session's generation. It is not stored: who holds the key can compute
// it again, so everybody who refreshes within the grace period gets the same one.
func (s *Service) refreshToken(sessionID string, generation int) secret.Text {
	k := s.keys[0]
	body := k.id + "." + sessionID + "." + strconv.Itoa(generation)
	return secret.NewText(body + "." + base64.RawURLEncoding.EncodeToString(k.sign(body)))
}

func (k signingKey) sign(body string) []byte {
	m := hmac.New(sha256.New, k.refresh)
	m.Write([]byte(body))
	return m.Sum(nil)
}

// readRefreshToken checks a refresh token's signature and returns what it names.
func (s *Service) readRefreshToken(token secret.Text) (sessionID string, generation int, ok bool) {
	text := token.Reveal()
	if len(text) > 512 {
		return "", 0, false
	}
	parts := strings.Split(text, ".")
	if len(parts) != 4 {
		return "", 0, false
	}
	key, known := s.key(parts[0])
	if !known {
		return "", 0, false
	}
	mac, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	if err != nil || !hmac.Equal(mac, key.sign(strings.Join(parts[:3], "."))) {
		return "", 0, false
	}
	generation, err = strconv.Atoi(parts[2])
	return parts[1], generation, err == nil
}
