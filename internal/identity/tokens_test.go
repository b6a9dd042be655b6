package identity_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

func (w *world) refreshed(token string) (identity.Tokens, error) {
	return w.Refresh(context.Background(), secret.NewText(token))
}

// About five clients of one app refresh at once with the same token (contract/rules section 5); here it is sixty-four.
func TestParallelRefresh(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		var mu sync.Mutex
		refresh := map[string]bool{}
		var access []string
		outcomes := parallel(64, func(int) error {
			tokens, err := w.refreshed(u.refresh)
			mu.Lock()
			defer mu.Unlock()
			refresh[tokens.Refresh.Reveal()] = true
			access = append(access, tokens.Access.Reveal())
			return err
		})
		if outcomes[""] != 64 || len(refresh) != 1 {
			t.Fatalf("outcomes %v, %d different refresh tokens, want one", outcomes, len(refresh))
		}
		if n := w.count(`SELECT generation FROM sessions`); n != 2 {
			t.Errorf("generation %d, want one rotation", n)
		}
		// Neither the old access token nor any of the new ones is dead.
		for _, token := range append(access, u.access) {
			if _, _, err := w.CheckToken(context.Background(), token, api.Confirmed); err != nil {
				t.Fatal(err)
			}
		}
		for token := range refresh {
			if _, err := w.refreshed(token); err != nil {
				t.Errorf("the new refresh token: %v", err)
			}
		}
	})
}

func TestRefreshGraceAndReuse(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		first := u.refresh
		second := w.post200("/auth/refresh", fields{"refresh_token": first}).text("refresh_token")
		if first == second {
			t.Fatal("not rotated")
		}
		w.clock.Advance(identity.RefreshGrace)
		if again := w.post200("/auth/refresh", fields{"refresh_token": first}).text("refresh_token"); again != second {
			t.Error("within the grace period the same new token must come back")
		}
		third := w.post200("/auth/refresh", fields{"refresh_token": second}).text("refresh_token")

		// Two generations back, although everything happened within a minute: somebody has a copy.
		w.refusedPost("/auth/refresh", fields{"refresh_token": first}, 401, "UNAUTHENTICATED")
		w.refusedPost("/auth/refresh", fields{"refresh_token": third}, 401, "UNAUTHENTICATED")
		eventually(t, "security mail", func() bool {
			list := w.post.to(u.email)
			return strings.Contains(list[len(list)-1].Subject, "session")
		})
		if n := w.count(`SELECT COUNT(*) FROM sessions WHERE revoked_why = 'refresh token reused'`); n != 1 {
			t.Errorf("%d sessions ended for reuse", n)
		}
		// Told once: what comes later finds the session ended.
		w.refusedPost("/auth/refresh", fields{"refresh_token": first}, 401, "UNAUTHENTICATED")
		w.idle()
		if n := len(w.post.to(u.email)); n != 2 {
			t.Errorf("%d mails, want the code and one warning", n)
		}

		w.logIn(&user{email: u.email, codes: 1})
	})
}

func TestRefreshAfterGrace(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		second := w.post200("/auth/refresh", fields{"refresh_token": u.refresh}).text("refresh_token")
		w.clock.Advance(identity.RefreshGrace + time.Microsecond)
		w.refusedPost("/auth/refresh", fields{"refresh_token": u.refresh}, 401, "UNAUTHENTICATED")
		w.refusedPost("/auth/refresh", fields{"refresh_token": second}, 401, "UNAUTHENTICATED")
	})
}

func TestSessionsSlide(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		for range 3 {
			w.clock.Advance(identity.SessionLifetime - time.Second)
			u.take(w.post200("/auth/refresh", fields{"refresh_token": u.refresh}))
		}
		w.clock.Advance(identity.SessionLifetime)
		w.refusedPost("/auth/refresh", fields{"refresh_token": u.refresh}, 401, "UNAUTHENTICATED")
	})
}

func TestForgedRefreshTokens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		parts := strings.Split(u.refresh, ".")
		join := func(p ...string) string { return strings.Join(p, ".") }
		for _, token := range []string{
			"", "x", u.access, join(parts[0], parts[1], "2", parts[3]), join("k9", parts[1], parts[2], parts[3]), join(parts[0], "other", parts[2], parts[3]),
			u.refresh + "A", u.refresh[:len(u.refresh)-1], join(parts[0], parts[1], parts[2], ""), join(parts[0], parts[1], "99999999999999999999", parts[3]),
			strings.Repeat("a.", 400),
		} {
			w.refusedPost("/auth/refresh", fields{"refresh_token": token}, 401, "UNAUTHENTICATED")
		}
		// None of it has touched the session.
		w.post200("/auth/refresh", fields{"refresh_token": u.refresh})
	})
}

// forge makes an access token as somebody would who has this key.
func forge(t *testing.T, method jwt.SigningMethod, key any, kid string, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestForgedAccessTokens(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		parts := strings.Split(u.access, ".")
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		var genuine jwt.MapClaims
		if err := json.Unmarshal(payload, &genuine); err != nil {
			t.Fatal(err)
		}
		other := jwt.MapClaims{}
		for k, v := range genuine {
			other[k] = v
		}
		other["sub"] = strconv.FormatInt(u.id+1, 10)
		otherPayload, _ := json.Marshal(other)
		for name, token := range map[string]string{
			"alg none":          forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "k1", genuine),
			"foreign key":       forge(t, jwt.SigningMethodHS256, []byte(strings.Repeat("z", 32)), "k1", genuine),
			"configured secret": forge(t, jwt.SigningMethodHS256, []byte(firstKey.Secret.Reveal()), "k1", genuine), // keys are derived from it
			"empty key":         forge(t, jwt.SigningMethodHS256, []byte{}, "k1", genuine),
			"other algorithm":   forge(t, jwt.SigningMethodHS512, []byte(strings.Repeat("z", 64)), "k1", genuine),
			"no key id":         forge(t, jwt.SigningMethodHS256, []byte(strings.Repeat("z", 32)), "", genuine),
			"changed claims":    parts[0] + "." + base64.RawURLEncoding.EncodeToString(otherPayload) + "." + parts[2],
			"no signature":      parts[0] + "." + parts[1] + ".",
			"refresh token":     u.refresh,
			"garbage":           "a.b.c",
		} {
			r := w.call(http.MethodGet, "/user/profile", token, nil)
			if r.status != 401 || r.body["code"] != "UNAUTHENTICATED" {
				t.Errorf("%s: %d %s", name, r.status, r.raw)
			}
			if r := w.call(http.MethodGet, "/whoami", token, nil); r.status != 401 {
				t.Errorf("%s, signature only: %d %s", name, r.status, r.raw)
			}
		}
		w.call(http.MethodGet, "/user/profile", "", nil).refused(t, 401, "UNAUTHENTICATED")

		w.clock.Advance(identity.AccessLifetime - time.Second)
		if r := w.call(http.MethodGet, "/whoami", u.access, nil); r.status != 200 {
			t.Errorf("a second before the end: %d", r.status)
		}
		w.clock.Advance(time.Second)
		w.call(http.MethodGet, "/whoami", u.access, nil).refused(t, 401, "UNAUTHENTICATED")
		w.call(http.MethodGet, "/user/profile", u.access, nil).refused(t, 401, "UNAUTHENTICATED")
	})
}

// While keys are exchanged tokens of both are good; when the former key is taken away, its tokens are not.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		ctx := context.Background()
		w := newWorld(t, d)
		u := w.signUp("u@example.com")
		with := func(keys ...identity.TokenKey) *identity.Service {
			return identity.New(identity.Options{DB: d, Jobs: w.queue, Vault: w.vault, Clock: w.clock, Texts: w.texts, Keys: keys, PasswordCost: cheapHash})
		}
		both := with(secondKey, firstKey)
		if _, _, err := both.CheckToken(ctx, u.access, api.Confirmed); err != nil {
			t.Errorf("token of the former key: %v", err)
		}
		tokens, err := both.Refresh(ctx, secret.NewText(u.refresh))
		if err != nil || !strings.HasPrefix(tokens.Refresh.Reveal(), "k2.") {
			t.Fatalf("refresh with a token of the former key: %v", err)
		}
		after := with(secondKey)
		if _, _, err := after.CheckToken(ctx, u.access, api.Confirmed); !has(err, api.ErrUnauthenticated) {
			t.Errorf("token of a key that was taken away: %v", err)
		}
		if _, _, err := after.CheckToken(ctx, tokens.Access.Reveal(), api.Confirmed); err != nil {
			t.Errorf("token of the new key: %v", err)
		}
	})
}

// A token whose customer is not in the database: 404 where the use case looks itself, as published for GET /didit/status.
func TestTokenOfNobody(t *testing.T) {
	t.Parallel()
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		w := newWorld(t, d)
		u := w.signUp("u@example.com")
		if _, err := d.Exec(context.Background(), `DELETE FROM sessions`); err != nil {
			t.Fatal(err)
		}
		w.call(http.MethodGet, "/whoami", u.access, nil).refused(t, 401, "UNAUTHENTICATED")
		for _, statement := range []string{`DELETE FROM known_devices`, `DELETE FROM users`} {
			if _, err := d.Exec(context.Background(), statement); err != nil {
				t.Fatal(err)
			}
		}
		w.call(http.MethodGet, "/whoami", u.access, nil).refused(t, 404, "USER_NOT_FOUND")
		w.call(http.MethodGet, "/user/profile", u.access, nil).refused(t, 401, "UNAUTHENTICATED")
	})
}

func TestSessions(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		u := w.signUp("u@example.com")
		stranger := w.signUp("stranger@example.com")
		phone := *u
		w.clock.Advance(time.Minute)
		w.logIn(u, "User-Agent", "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36")

		r := w.call(http.MethodGet, "/user/sessions", u.access, nil)
		list, _ := r.body["sessions"].([]any)
		if r.status != 200 || len(list) != 2 {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		first := list[0].(map[string]any)
		if first["current"] != true || first["device"] != "Chrome, Windows" || first["address"] != "127.0.0.1" || list[1].(map[string]any)["device"] != "App" {
			t.Errorf("sessions: %s", r.raw)
		}
		id := list[1].(map[string]any)["id"].(string)
		w.call(http.MethodDelete, "/user/sessions/"+id, stranger.access, nil).refused(t, 404, "SESSION_NOT_FOUND")
		if r := w.call(http.MethodGet, "/user/profile", phone.access, nil); r.status != 200 {
			t.Fatalf("a stranger ended a session: %s", r.raw)
		}
		if r := w.call(http.MethodDelete, "/user/sessions/"+id, u.access, nil); r.status != 200 {
			t.Errorf("%d %s", r.status, r.raw)
		}
		w.call(http.MethodGet, "/user/profile", phone.access, nil).refused(t, 401, "UNAUTHENTICATED")
		w.call(http.MethodDelete, "/user/sessions/"+id, u.access, nil).refused(t, 404, "SESSION_NOT_FOUND")

		w.clock.Advance(time.Minute)
		w.logIn(u)
		if r := w.call(http.MethodPost, "/auth/logout-all", u.access, nil); r.status != 200 {
			t.Errorf("%d %s", r.status, r.raw)
		}
		if n := w.count(`SELECT COUNT(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL`, u.id); n != 0 {
			t.Errorf("%d sessions left", n)
		}
		if r := w.call(http.MethodGet, "/user/profile", stranger.access, nil); r.status != 200 {
			t.Errorf("somebody else was signed out: %s", r.raw)
		}
	})
}
