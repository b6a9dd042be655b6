package pokepay

import (
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// login answers both ways in: {account, password, login_type, area_code} and {app_id, app_secret}
// (provider/pokepay.md 1). The token of either opens all paths.
func (s *Simulator) login(r *http.Request) answer {
	var in struct {
		Account   looseText `json:"account"`
		LoginType looseText `json:"login_type"`
		Password  looseText `json:"password"`
		AppID     looseText `json:"app_id"`
		AppSecret looseText `json:"app_secret"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return refuse(codeRefused, "invalid request body")
	}
	var subject string
	switch {
	case in.AppID != "":
		if s.AppID == "" || !same(string(in.AppID), s.AppID) || !same(string(in.AppSecret), s.AppSecret) {
			return refuse(codeRefused, "app_id or app_secret invalid")
		}
		subject = "app:" + s.AppID
	case in.LoginType != "email":
		return refuse(codeRefused, "login_type invalid")
	default:
		if s.Account == "" || !same(emailKey(string(in.Account)), emailKey(s.Account)) || !same(string(in.Password), s.Password) {
			return refuse(codeRefused, "account or password invalid")
		}
		subject = "account:" + emailKey(s.Account)
	}

	now := s.Clock.Now()
	id := uuid.NewString()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   subject,
		ID:        id,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(s.TokenLife)),
	}).SignedString(s.signingKey)
	if err != nil {
		return s.failed(r.Context(), err)
	}
	if _, err := s.DB.ExecContext(r.Context(), `INSERT INTO pokepay_settings (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, newestToken(subject), id); err != nil {
		return s.failed(r.Context(), err)
	}
	return succeed(struct {
		Token string `json:"token"`
	}{token})
}

// newestToken names the setting that holds the id of a subject's newest token.
func newestToken(subject string) string { return "newest_token:" + subject }

// authorised tells whether the call carries a token of ours that is still good.
func (s *Simulator) authorised(r *http.Request) (bool, error) {
	bearer, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return false, nil
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(bearer, &claims, func(*jwt.Token) (any, error) { return s.signingKey, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.Clock.Now))
	if err != nil {
		return false, nil //nolint:nilerr // a token that cannot be read or has expired is a refusal, not a failure
	}
	if !s.SingleToken {
		return true, nil
	}
	var newest string
	err = s.DB.QueryRowContext(r.Context(), `SELECT value FROM pokepay_settings WHERE name = $1`, newestToken(claims.Subject)).Scan(&newest)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil && newest == claims.ID, err
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
