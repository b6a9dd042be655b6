package cli

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/app"
)

var update = flag.Bool("update", false, "write generated files anew")

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args    []string
		environ []string
		code    int
		says    string // on either stream
	}{
		{nil, nil, exitDone, "sandbox"},
		{[]string{"--help"}, nil, exitDone, "Exit codes"},
		{[]string{"version"}, nil, exitDone, "comecomepay "},
		{[]string{"nonsense"}, nil, exitUsage, "nonsense"},
		{[]string{"kyc", "reject", "u1_1_abcdefgh"}, nil, exitUsage, "--reason"},
		{[]string{"kyc", "list", "--status", "wrong"}, nil, exitUsage, "--status"},
		{[]string{"config"}, []string{"CCP_DRAIN_TIMOUT=1s"}, exitUsage, "CCP_DRAIN_TIMOUT: there is no such setting; did you mean CCP_DRAIN_TIMEOUT?"},
		{[]string{"config"}, []string{"CCP_DRAIN_TIMEOUT=soon"}, exitUsage, "CCP_DRAIN_TIMEOUT"},
		{[]string{"serve"}, nil, exitUsage, "CCP_TOKEN_KEYS: is missing"},
		{[]string{"sandbox"}, []string{"CCP_ENV=production"}, exitUsage, "CCP_ENV"},
		{[]string{"sandbox"}, []string{"CCP_SANDBOX_ADDR=0.0.0.0:0"}, exitUsage, "CCP_SANDBOX_ADDR"},
		{[]string{"account", "sessions", "1"}, nil, exitUsage, "CCP_HASH_KEY: is missing"},
		{[]string{"account", "freeze", "1", "--reason", "x"}, []string{"CCP_ENV=development", "CCP_DATA_DIR=" + t.TempDir(), "CCP_SANDBOX_ADDR=127.0.0.1:1"}, exitFailed, "no database at "},
		{[]string{"serve"}, []string{"CCP_DRAIN_TIMEOUT=soon"}, exitUsage, "CCP_TOKEN_KEYS: is missing"},
		{[]string{"kyc", "list"}, []string{"CCP_DRAIN_TIMEOUT=soon"}, exitUsage, "CCP_HASH_KEY: is missing"},
	} {
		code, out, complaints := run(t, c.environ, c.args...)
		if code != c.code || !strings.Contains(out+complaints, c.says) {
			t.Errorf("%v: exit %d, want %d and %q\n%s%s", c.args, code, c.code, c.says, out, complaints)
		}
	}
}

func TestOperatorMustHaveAName(t *testing.T) {
	t.Parallel()
	environ := []string{"CCP_ENV=development", "CCP_DATA_DIR=" + t.TempDir()}
	code, _, complaints := run(t, environ, "account", "freeze", "1", "--reason", "x", "--operator", " ")
	if code != exitFailed || !strings.Contains(complaints, "--operator") {
		t.Errorf("exit %d: %s", code, complaints)
	}
}

func TestConfigMasksSecrets(t *testing.T) {
	t.Parallel()
	const password = "wonderfully-secret"
	code, out, complaints := run(t, []string{"CCP_ENV=development", "CCP_POKEPAY_PASSWORD=" + password, "CCP_DATABASE_URL=postgres://u:" + password + "@db.example/x"}, "config")
	if code != exitDone || !strings.Contains(out, "CCP_POKEPAY_PASSWORD=[redacted]") || !strings.Contains(out, "db.example") {
		t.Errorf("exit %d: %s%s", code, out, complaints)
	}
	for _, secret := range []string{password, "development-didit-api-key", `"keyData"`} {
		if strings.Contains(out+complaints, secret) {
			t.Errorf("shows %q", secret)
		}
	}
}

// The keys that are printed are what production needs, and nobody else's.
func TestKeys(t *testing.T) {
	t.Parallel()
	_, first, _ := run(t, nil, "keys")
	code, second, complaints := run(t, nil, "keys")
	if code != exitDone || first == second {
		t.Fatalf("exit %d, twice the same: %t: %s", code, first == second, complaints)
	}
	c, err := app.LoadConfig(append(strings.Fields(second), "CCP_PUBLIC_URL=https://pay.example.com", "CCP_SMTP_ADDR=mail.example.com:587",
		"CCP_MAIL_FROM=cards@example.com", "CCP_POKEPAY_ACCOUNT=ops@example.com", "CCP_POKEPAY_PASSWORD=long-enough-for-us"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.CheckServe(); err != nil {
		t.Error(err)
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	environ := []string{"CCP_DATABASE_URL=sqlite://" + filepath.Join(t.TempDir(), "a.db")}
	for _, step := range []struct {
		args []string
		says string
	}{
		{[]string{"migrate"}, "applied [1"},
		{[]string{"migrate"}, "the database is up to date"},
		{[]string{"migrate", "--status"}, ": up to date"},
	} {
		code, out, complaints := run(t, environ, step.args...)
		if code != exitDone || !strings.Contains(out, step.says) {
			t.Errorf("%v: exit %d: %s%s", step.args, code, out, complaints)
		}
	}
}

// Only what makes or serves a database makes the file of one: a command in a wrong directory says so and leaves nothing behind.
func TestNoDatabase(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"doctor"}, {"migrate", "--status"}, {"kyc", "list"}, {"kyc", "cases"}, {"cases", "list"}, {"cases", "close", "1", "--reason", "x"}, {"kyc", "show", "u1_1_abcdefgh"},
		{"account", "sessions", "1"}, {"account", "freeze", "1", "--reason", "x"}} {
		directory := filepath.Join(t.TempDir(), "data")
		code, out, complaints := run(t, []string{"CCP_ENV=development", "CCP_SANDBOX_ADDR=127.0.0.1:1", "CCP_DATA_DIR=" + directory}, args...)
		if code != exitFailed || !strings.Contains(out+complaints, "no database at "+directory) {
			t.Errorf("%v: exit %d: %s%s", args, code, out, complaints)
		}
		if _, err := os.Stat(directory); !os.IsNotExist(err) {
			t.Errorf("%v made %s (%v)", args, directory, err)
		}
	}
}

// The doctor goes on after the first problem, as far as it gets.
func TestDoctorOnAnEmptyEnvironment(t *testing.T) {
	t.Parallel()
	environ := []string{"CCP_DATA_DIR=" + t.TempDir()}
	code, out, complaints := run(t, environ, "doctor", "--json")
	var findings []finding
	if err := json.Unmarshal([]byte(out), &findings); err != nil {
		t.Fatalf("%v: %s%s", err, out, complaints)
	}
	got := map[string]string{}
	for _, f := range findings {
		got[f.Check] = f.State
	}
	want := map[string]string{"settings": stateOK, "complete": stateProblem, "secrets": stateOK, "database": stateProblem,
		"pokepay": stateSkipped, "didit": stateSkipped, "udun": stateSkipped, "mail": stateSkipped}
	if diff := cmp.Diff(want, got); diff != "" || code != exitFailed {
		t.Errorf("exit %d (-want +got):\n%s", code, diff)
	}
	code, out, _ = run(t, []string{"CCP_RATE_PER_ADDRESS=fast"}, "doctor")
	if code != exitFailed || !strings.Contains(out, "CCP_RATE_PER_ADDRESS") || !strings.Contains(out, "CCP_HASH_KEY: is missing") {
		t.Errorf("wrong setting: exit %d: %s", code, out)
	}
}

// The doctor tells a provider that is not there from one at another address and from a wrong password.
func TestDoctorSaysWhyALoginFails(t *testing.T) {
	t.Parallel()
	answering := func(status int, kind, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	plain := answering(http.StatusOK, "text/plain", "")
	for name, test := range map[string]struct{ login, says string }{
		"nobody listens": {"http://" + unused(t), "unreachable: not sent, no login: no connection, connection refused"},
		"no TLS":         {strings.Replace(plain, "http", "https", 1), "unreachable: not sent, no login: no connection, no TLS at that port"},
		"other address":  {answering(http.StatusNotFound, "text/html", "<html>"), "refused: not sent, no login: refused by the provider (HTTP 404)"},
		"wrong password": {answering(http.StatusOK, "application/json", `{"code":400,"data":null,"errstr":"密码错误"}`), `account or password not accepted (HTTP 200, code 400): "密码错误"`},
		"broken":         {answering(http.StatusBadGateway, "text/html", "<html>"), "unknown: not sent, no login: the provider failed (HTTP 502)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, complaints := run(t, []string{"CCP_ENV=development", "CCP_SANDBOX_ADDR=127.0.0.1:1", "CCP_DATA_DIR=" + t.TempDir(), "CCP_POKEPAY_LOGIN_URL=" + test.login}, "doctor", "--json")
			var findings []finding
			if err := json.Unmarshal([]byte(out), &findings); err != nil || code != exitFailed {
				t.Fatalf("exit %d, %v: %s%s", code, err, out, complaints)
			}
			at := slices.IndexFunc(findings, func(f finding) bool { return f.Check == "pokepay" })
			if at < 0 || findings[at].State != stateProblem || !strings.Contains(findings[at].Note, test.says) {
				t.Errorf("%+v does not say %q", findings, test.says)
			}
			if strings.Contains(out, "development-pokepay-password") || strings.Contains(out, test.login) {
				t.Errorf("shows the password or the address: %s", out)
			}
		})
	}
}

func TestOpenAPIPageIsCurrent(t *testing.T) {
	t.Parallel()
	const path = "../../docs/openapi.yaml"
	code, text, complaints := run(t, nil, "openapi")
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, complaints)
	}
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, string(page)); diff != "" {
		t.Errorf("%s is not current, run make docs (-want +got):\n%s", path, diff)
	}
}

func TestDifferences(t *testing.T) {
	t.Parallel()
	var got any
	decoder := json.NewDecoder(strings.NewReader(`{"a":"x","n":3,"inner":{"id":0,"extra":null},"more":1}`))
	decoder.UseNumber()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := object{"a": "x", "n": 4, "inner": object{"id": wholeNumber}, "gone": someText}
	if diff := cmp.Diff([]string{"it.gone is missing", "it.inner.id must be a whole number above 0", "it.inner.extra should not be there",
		"it.n is 3 and must be 4", "it.more should not be there"}, differences("it", want, got)); diff != "" {
		t.Error(diff)
	}
	if wrong := differences("it", object{"a": "x", "n": 3, "inner": object{"id": 0, "extra": nil}, "more": 1}, got); wrong != nil {
		t.Error(wrong)
	}
	decoder = json.NewDecoder(strings.NewReader(`{"list":[{"n":1.50},{"n":"1.5"}],"none":[]}`))
	decoder.UseNumber()
	if err := decoder.Decode(&got); err != nil {
		t.Fatal(err)
	}
	sum := object{"n": amount("1.5")}
	if diff := cmp.Diff([]string{`it.list[1].n is "1.5" and must be the number 1.5`, "it.none must be a list that is not empty"},
		differences("it", object{"list": []any{sum, sum}, "none": each{sum}}, got)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"it.list[1].n must be a number that is not below 0", "it.none must be a list of 1"},
		differences("it", object{"list": each{object{"n": anyAmount}}, "none": []any{sum}}, got)); diff != "" {
		t.Error(diff)
	}
}
