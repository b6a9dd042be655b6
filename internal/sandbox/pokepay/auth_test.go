package pokepay

import (
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestLogin(t *testing.T) {
	i := open(t, func(o *Options) { o.TokenLife = 7 * time.Minute })
	for _, c := range []struct {
		name, path string
		body       any
		errstr     string // "" for a token
	}{
		{"e-mail", "/web/auth/login", fields{"account": account, "login_type": "email", "password": password, "area_code": 852}, ""},
		{"area code as text", "/web/auth/login", fields{"account": account, "login_type": "email", "password": password, "area_code": "852"}, ""},
		{"application", "/api/v1/auth/token", fields{"app_id": appID, "app_secret": appSecret}, ""},
		{"wrong password", "/web/auth/login", fields{"account": account, "login_type": "email", "password": "wrong"}, "account or password invalid"},
		{"wrong account", "/web/auth/login", fields{"account": "x@example.test", "login_type": "email", "password": password}, "account or password invalid"},
		{"other login type", "/web/auth/login", fields{"account": account, "login_type": "phone", "password": password}, "login_type invalid"},
		{"wrong secret", "/api/v1/auth/token", fields{"app_id": appID, "app_secret": "wrong"}, "app_id or app_secret invalid"},
		{"wrong application", "/api/v1/auth/token", fields{"app_id": "app-2", "app_secret": appSecret}, "app_id or app_secret invalid"},
		{"no JSON", "/web/auth/login", "account=ops", "invalid request body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := i.call("POST", c.path, "", c.body)
			if c.errstr != "" {
				i.wantRefused(r, 400, c.errstr)
				return
			}
			token := decode[struct{ Token string }](t, r).Token
			var claims jwt.RegisteredClaims
			if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
				t.Fatal(err)
			}
			if want := start.Add(7 * time.Minute); !claims.ExpiresAt.Equal(want) {
				t.Errorf("exp %v, want %v", claims.ExpiresAt, want)
			}
			for _, path := range []string{"/api/v1/kyc", "/web/kyc"} {
				if r := i.call("GET", path, token, nil); r.Code != 200 {
					t.Errorf("%s: code %d", path, r.Code)
				}
			}
		})
	}
}

func TestLoginThatIsNotConfiguredIsOff(t *testing.T) {
	i := open(t, func(o *Options) { o.Account, o.Password, o.AppID, o.AppSecret = "", "", "", "" })
	i.wantRefused(i.call("POST", "/web/auth/login", "", fields{"account": "", "login_type": "email", "password": ""}), 400, "account or password invalid")
	i.wantRefused(i.call("POST", "/api/v1/auth/token", "", fields{"app_id": "app", "app_secret": ""}), 400, "app_id or app_secret invalid")
}

// Whatever is wrong with the token, the answer is HTTP 200 with code 401 (provider/pokepay.md 1).
func TestNoAuthority(t *testing.T) {
	i := open(t, nil)
	good := i.login()
	claims := jwt.RegisteredClaims{Subject: "account:" + account, ExpiresAt: jwt.NewNumericDate(start.Add(time.Hour))}
	foreign, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("another key"))
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, claims).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	eternal, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{Subject: claims.Subject}).SignedString(i.sim.signingKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"none": "", "rubbish": "rubbish", "foreign": foreign, "unsigned": unsigned, "eternal": eternal} {
		for _, call := range [][2]string{{"GET", "/api/v1/kyc"}, {"GET", "/api/v1/kyc/1"}, {"GET", "/web/kyc"}, {"POST", "/api/v1/kyc"}, {"POST", "/api/v1/kyc/didit/init"}} {
			t.Run(name+" "+call[1], func(t *testing.T) {
				i.wantRefused(i.call(call[0], call[1], token, nil), 401, "Insufficient authority")
			})
		}
	}

	i.clock.Advance(2*time.Hour - time.Second)
	if r := i.call("GET", "/api/v1/kyc", good, nil); r.Code != 200 {
		t.Errorf("a second before its end the token is refused: code %d", r.Code)
	}
	i.clock.Advance(time.Second)
	i.wantRefused(i.call("GET", "/api/v1/kyc", good, nil), 401, "Insufficient authority")
}

func TestSecondLogin(t *testing.T) {
	for name, single := range map[string]bool{"keeps the first token": false, "ends the first token": true} {
		t.Run(name, func(t *testing.T) {
			i := open(t, func(o *Options) { o.SingleToken = single })
			first, second := i.login(), i.login()
			application := decode[struct{ Token string }](t, i.call("POST", "/api/v1/auth/token", "", fields{"app_id": appID, "app_secret": appSecret})).Token
			want := map[string]int{first: 200, second: 200, application: 200}
			if single {
				want[first] = 401
			}
			for token, code := range want {
				if r := i.call("GET", "/api/v1/kyc", token, nil); r.Code != code {
					t.Errorf("code %d, want %d", r.Code, code)
				}
			}
		})
	}
}

func TestOversizedBodyIsRefused(t *testing.T) {
	i := open(t, nil)
	huge := fields{"account": string(make([]byte, bodyLimit)), "login_type": "email"}
	i.wantRefused(i.call(http.MethodPost, "/web/auth/login", "", huge), 400, "invalid request body")
}
