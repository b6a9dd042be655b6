package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/obs/logtest"
	"github.com/comecomepay/comecomepay/internal/sandbox"
)

// development is a configuration whose listeners have ports of their own and whose providers are away.
func development(t *testing.T, environ ...string) Config {
	t.Helper()
	c, err := LoadConfig(append([]string{"CCP_ENV=development", "CCP_HTTP_ADDR=127.0.0.1:0", "CCP_OPS_ADDR=127.0.0.1:0", "CCP_SANDBOX_ADDR=127.0.0.1:1",
		"CCP_SANDBOX_SMTP_ADDR=127.0.0.1:1", "CCP_DATA_DIR=" + t.TempDir()}, environ...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serving is a program that runs until the test ends.
func serving(t *testing.T, a interface {
	Serve(context.Context) error
}) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = stop() })
	return stop
}

func get(t *testing.T, address string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func ready(t *testing.T, a *App) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		status, text := get(t, "http://"+a.Addr()+"/readyz")
		if status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %d %s", status, text)
		}
	}
}

// On either engine the program migrates, serves, shows its metrics, sweeps and stops.
func TestServe(t *testing.T) {
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			var log logtest.Buffer
			a, err := New(t.Context(), development(t, "CCP_DATABASE_URL="+dbtest.URL(t, engine)), Extras{Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Ready(t.Context()); err == nil {
				t.Error("ready before it serves")
			}
			stop := serving(t, a)
			ready(t, a)
			for path, says := range map[string]string{"/healthz": "ok", "/readyz": "ok", "/metrics": "ccp_build_info", "/debug/pprof/": "goroutine"} {
				if status, text := get(t, "http://"+a.OpsAddr()+path); status != http.StatusOK || !strings.Contains(text, says) {
					t.Errorf("ops %s: %d", path, status)
				}
			}
			for path, want := range map[string]int{"/healthz": 200, "/didit/status": 401, "/api/v1/didit/status/": 401, "/docs": 200, "/openapi.yaml": 200,
				"/metrics": 404, "/debug/pprof/": 404, "/control/clock": 404} {
				if status, _ := get(t, "http://"+a.Addr()+path); status != want {
					t.Errorf("%s: %d, want %d", path, status, want)
				}
			}
			a.SweepOnce(t.Context())
			if err := stop(); err != nil {
				t.Error(err)
			}
			if text := log.String(); strings.Contains(text, "sweep failed") || !strings.Contains(text, "msg=stopped") {
				t.Errorf("log:\n%s", text)
			}
			if err := a.Ready(t.Context()); !errors.Is(err, errDraining) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// Every start that fails names the setting to look at, and leaves no listener behind.
func TestStartRefused(t *testing.T) {
	t.Parallel()
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := t.TempDir()
	for says, environ := range map[string][]string{
		"CCP_HTTP_ADDR":     {"CCP_HTTP_ADDR=" + busy.Addr().String()},
		"CCP_OPS_ADDR":      {"CCP_OPS_ADDR=" + busy.Addr().String()},
		"CCP_DATABASE_URL":  {"CCP_DATABASE_URL=sqlite://" + dir}, // a directory
		"CCP_AUTO_MIGRATE":  {"CCP_AUTO_MIGRATE=false"},
		"CCP_OTEL_ENDPOINT": {"CCP_OTEL_ENDPOINT=http://127.0.0.1:1/%zz"},
	} {
		c, err := LoadConfig(append([]string{"CCP_ENV=development", "CCP_HTTP_ADDR=127.0.0.1:0", "CCP_OPS_ADDR=127.0.0.1:0", "CCP_DATA_DIR=" + t.TempDir()}, environ...))
		if err == nil {
			_, err = New(t.Context(), c, Extras{Clock: clock.System{}})
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v: %v", environ, err)
		}
	}
	if _, err := New(t.Context(), Config{}, Extras{}); err == nil || !strings.Contains(err.Error(), "CCP_TOKEN_KEYS") {
		t.Errorf("without settings: %v", err)
	}
}

// A program does not touch a database that a newer release has changed.
func TestNewerSchemaRefused(t *testing.T) {
	for _, engine := range []db.Engine{db.SQLite, db.PostgreSQL} {
		t.Run(string(engine), func(t *testing.T) {
			t.Parallel()
			address := dbtest.URL(t, engine)
			d, err := db.Open(t.Context(), address, db.Options{})
			if err != nil {
				t.Fatal(err)
			}
			statement := `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, ` + map[db.Engine]string{db.SQLite: "1", db.PostgreSQL: "TRUE"}[engine] + `)`
			if _, err := d.Exec(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			for _, auto := range []string{"true", "false"} {
				c := development(t, "CCP_DATABASE_URL="+address, "CCP_AUTO_MIGRATE="+auto)
				if _, err := New(t.Context(), c, Extras{}); !errors.Is(err, db.ErrNewerSchema) {
					t.Errorf("CCP_AUTO_MIGRATE=%s: %v", auto, err)
				}
				if _, err := OpenServices(t.Context(), c, Extras{}); !errors.Is(err, db.ErrNewerSchema) {
					t.Errorf("operators' commands: %v", err)
				}
			}
		})
	}
}

// A migration by hand makes the start possible that CCP_AUTO_MIGRATE=false refused.
func TestMigrationByHand(t *testing.T) {
	t.Parallel()
	c := development(t, "CCP_AUTO_MIGRATE=false", "CCP_DATABASE_URL=sqlite://"+filepath.Join(t.TempDir(), "a.db"))
	if _, err := New(t.Context(), c, Extras{}); !errors.Is(err, ErrOlderSchema) {
		t.Fatalf("before: %v", err)
	}
	d, err := c.OpenDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if applied, err := Migrate(t.Context(), d); err != nil || len(applied) == 0 {
		t.Fatalf("applied %v: %v", applied, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := New(t.Context(), c, Extras{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// Replicas that start together on an empty database all come up.
func TestReplicasStartTogether(t *testing.T) {
	t.Parallel()
	// An address of a migrated database, emptied: what replicas meet on the day of the first start.
	address := dbtest.URL(t, db.PostgreSQL)
	d, err := db.Open(t.Context(), address, db.Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"DROP SCHEMA public CASCADE", "CREATE SCHEMA public"} {
		if _, err := d.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			a, err := New(t.Context(), development(t, "CCP_DATABASE_URL="+address, "CCP_DATABASE_MAX_CONNS=4"), Extras{})
			if err != nil {
				t.Error(err)
				return
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

// The whole sandbox in this process, as other tests use it, on the simulators' time.
func TestSandboxInProcess(t *testing.T) {
	t.Parallel()
	c, err := LoadSandboxConfig([]string{"CCP_HTTP_ADDR=127.0.0.1:0", "CCP_OPS_ADDR=127.0.0.1:0", "CCP_SANDBOX_ADDR=127.0.0.1:0",
		"CCP_SANDBOX_SMTP_ADDR=127.0.0.1:0", "CCP_DATA_DIR=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSandbox(t.Context(), c, Extras{}, func(o *sandbox.Options) { o.Unlimited = true })
	if err != nil {
		t.Fatal(err)
	}
	stop := serving(t, s)
	ready(t, s.App)
	before := s.Clock.Now()
	if err := s.Simulators.Advance(t.Context(), 72*time.Hour); err != nil {
		t.Fatal(err)
	}
	if moved := s.Clock.Now().Sub(before); moved < 72*time.Hour || moved > 73*time.Hour {
		t.Errorf("the service's clock moved by %s", moved)
	}
	if s.Config.General.PublicURL != "http://"+s.Addr() || s.Config.Mail.Addr != s.Simulators.SMTPAddr() || s.Config.Didit.URL != s.Simulators.URL()+"/didit" {
		t.Errorf("addresses: %+v", s.Config.General.PublicURL)
	}
	// Operators' work can be done by the control interface.
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/control/audit", ``, http.StatusOK, `{"sound":true,"accounts":0,"transactions":0,"postings":0,"findings":[],"coins":[{"coin":"USDT-TRC20","ledger":"0","gateway":"0","difference":"0"},`},
		{"/control/operator", `{"withdrawal":7,"decision":"approve"}`, http.StatusConflict, "(WITHDRAWAL_NOT_FOUND)"},
		{"/control/operator", `{"withdrawal":7,"decision":"refuse"}`, http.StatusConflict, "(WITHDRAWAL_NOT_FOUND)"},
	} {
		response, err := http.Post(s.Simulators.URL()+c.path, "application/json", strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != c.status || !strings.Contains(string(answer), c.says) {
			t.Errorf("%s %s: %d %s %v", c.path, c.body, response.StatusCode, answer, err)
		}
	}
	// Without its providers it ends.
	if err := s.Simulators.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestOpenAPIDescribesEverything(t *testing.T) {
	t.Parallel()
	text, err := OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/didit/status:", "/auth/signup:", "/user/profile:", "/didit/webhook:"} {
		if !strings.Contains(string(text), "\n  "+path) {
			t.Errorf("%s is missing", path)
		}
	}
}
