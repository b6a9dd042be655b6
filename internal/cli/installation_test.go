package cli_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
	"github.com/comecomepay/comecomepay/internal/platform/obs/logtest"
	"github.com/comecomepay/comecomepay/internal/sandbox"
)

var engines = []db.Engine{db.SQLite, db.PostgreSQL}

// program is the built program. It is built without the race detector, whatever the tests run with: what is tested here is how
// it gets on with being killed, crowded and attacked, at its real speed. The last test that uses it removes it.
var program struct {
	sync.Mutex
	users int
	dir   string
}

func build(t *testing.T) (path string) {
	t.Helper()
	program.Lock()
	defer program.Unlock()
	if program.users == 0 {
		dir, err := os.MkdirTemp("", "ccp-program")
		if err != nil {
			t.Fatal(err)
		}
		command := exec.Command("go", "build", "-o", dir, "../../cmd/comecomepay")
		if out, err := command.CombinedOutput(); err != nil {
			_ = os.RemoveAll(dir)
			t.Fatalf("build: %v\n%s", err, out)
		}
		program.dir = dir
	}
	program.users++
	t.Cleanup(func() {
		program.Lock()
		defer program.Unlock()
		if program.users--; program.users == 0 {
			_ = os.RemoveAll(program.dir)
		}
	})
	return filepath.Join(program.dir, "comecomepay")
}

// installation is the product on a database of its own: replicas that are processes, beside simulators in this process.
type installation struct {
	t          *testing.T
	path       string
	environ    []string
	dir        string
	database   string
	simulators *sandbox.Server
	replicas   []*replica
	browser    *http.Client
}

// install prepares an installation with so many replicas, none of which runs yet. Settings are added to those of development.
func install(t *testing.T, engine db.Engine, replicas int, settings ...string) *installation {
	t.Helper()
	in := &installation{t: t, path: build(t), dir: t.TempDir(), database: dbtest.URL(t, engine)}
	in.browser = &http.Client{
		Timeout:       40 * time.Second,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(in.browser.CloseIdleConnections)
	for range replicas {
		in.replicas = append(in.replicas, &replica{installation: in, address: freeAddress(t)})
	}
	environ := append([]string{
		"CCP_ENV=development", "CCP_DATABASE_URL=" + in.database, "CCP_DATA_DIR=" + in.dir, "CCP_DATABASE_MAX_CONNS=8",
		"CCP_PUBLIC_URL=" + in.replicas[0].url(), "CCP_HTTP_ADDR=" + in.replicas[0].address, "CCP_OPS_ADDR=127.0.0.1:0",
		"CCP_SANDBOX_ADDR=127.0.0.1:0", "CCP_SANDBOX_SMTP_ADDR=127.0.0.1:0", "CCP_RATE_PER_CUSTOMER=1000000", "CCP_RATE_PER_ADDRESS=1000000",
	}, settings...)
	c, err := app.LoadConfig(environ)
	if err != nil {
		t.Fatal(err)
	}
	o := c.SandboxOptions(app.Extras{})
	o.Unlimited, o.TimeScale = true, 20
	if in.simulators, err = sandbox.Start(context.WithoutCancel(t.Context()), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := in.simulators.Stop(); err != nil {
			t.Errorf("simulators: %v", err)
		}
	})
	in.environ = append(environ, "CCP_SANDBOX_ADDR="+in.simulators.Addr(), "CCP_SANDBOX_SMTP_ADDR="+in.simulators.SMTPAddr())
	return in
}

// freeAddress is an address for a listener that comes and goes. Its port lies below those that connections out are given, so
// that none of these takes it while the listener is away.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// open opens the installation's database beside the program.
func (in *installation) open() db.DB {
	in.t.Helper()
	d, err := db.Open(in.t.Context(), in.database, db.Options{MaxConns: 4})
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(func() { _ = d.Close() })
	return d
}

// operate runs an operator's command.
func (in *installation) operate(args ...string) {
	in.t.Helper()
	command := exec.Command(in.path, append(args, "--operator", "tester", "--reason", "a test")...)
	command.Env = in.environ
	if out, err := command.CombinedOutput(); err != nil {
		in.t.Fatalf("%v: %v\n%s", args, err, out)
	}
}

// advance moves the time of simulators and replicas forward, and waits until the replicas that run have followed.
func (in *installation) advance(by time.Duration) {
	in.t.Helper()
	if err := in.simulators.Advance(in.t.Context(), by); err != nil {
		in.t.Fatal(err)
	}
	want := time.Until(in.simulators.Clock().Now()).Seconds()
	for _, r := range in.replicas {
		if !r.running() {
			continue // it asks for the time when it starts
		}
		address := r.opsURL() + "/metrics"
		eventually(in.t, 30*time.Second, func() error {
			a, err := in.send(http.MethodGet, address, http.Header{}, nil)
			if err != nil {
				return err
			}
			at := clockOffset.FindStringSubmatch(a.text)
			if at == nil {
				return fmt.Errorf("no offset of the clock at %s", address)
			}
			if offset, err := strconv.ParseFloat(at[1], 64); err != nil || math.Abs(offset-want) > 1 {
				return fmt.Errorf("a replica's clock is %s s ahead, want %f", at[1], want)
			}
			return nil
		})
	}
}

var clockOffset = regexp.MustCompile(`(?m)^ccp_clock_offset_seconds (\S+)$`)

// replica is one process of the program, again and again.
type replica struct {
	*installation
	address string
	log     logtest.Buffer // of all lives
	command *exec.Cmd
	ended   chan struct{}
}

func (r *replica) url() string { return "http://" + r.address }

// start begins a life and does not wait for anything.
func (r *replica) start() {
	r.t.Helper()
	r.command = exec.Command(r.path, "serve")
	r.command.Env = append(r.environ[:len(r.environ):len(r.environ)], "CCP_HTTP_ADDR="+r.address)
	r.command.Stdout, r.command.Stderr = &r.log, &r.log
	if err := r.command.Start(); err != nil {
		r.t.Fatal(err)
	}
	command, ended := r.command, make(chan struct{})
	r.ended = ended
	go func() { _ = command.Wait(); close(ended) }()
	r.t.Cleanup(func() { _ = command.Process.Kill(); <-ended })
}

// running tells whether a life has begun and not ended.
func (r *replica) running() bool {
	if r.ended == nil {
		return false
	}
	select {
	case <-r.ended:
		return false
	default:
		return true
	}
}

// kill ends a life at once.
func (r *replica) kill() {
	r.t.Helper()
	select {
	case <-r.ended:
		r.t.Fatalf("the program ended by itself: %v\n%s", r.command.ProcessState, tail(r.log.String()))
	default:
	}
	if err := r.command.Process.Signal(syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	<-r.ended
}

// stop drains.
func (r *replica) stop() {
	r.t.Helper()
	if err := r.command.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	select {
	case <-r.ended:
	case <-time.After(30 * time.Second):
		r.t.Fatal("the program does not drain")
	}
	if code := r.command.ProcessState.ExitCode(); code != 0 {
		r.t.Errorf("exit code %d after SIGTERM\n%s", code, tail(r.log.String()))
	}
}

// ready waits until requests are served.
func (r *replica) ready() {
	r.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		select {
		case <-r.ended:
			r.t.Fatalf("the program ended by itself: %v\n%s", r.command.ProcessState, tail(r.log.String()))
		default:
		}
		if answer, err := r.browser.Get(r.url() + "/readyz"); err == nil {
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("not ready\n%s", tail(r.log.String()))
}

// serve starts all replicas and waits for them.
func (in *installation) serve() {
	in.t.Helper()
	for _, r := range in.replicas {
		r.start()
	}
	for _, r := range in.replicas {
		r.ready()
	}
}

var opsLine = regexp.MustCompile(`msg=ready .*ops=(\S+)`)

// opsURL is where the newest life shows its metrics.
func (r *replica) opsURL() string {
	r.t.Helper()
	found := opsLine.FindAllStringSubmatch(r.log.String(), -1)
	if len(found) == 0 {
		r.t.Fatalf("no address of the operators' listener in the log\n%s", tail(r.log.String()))
	}
	return "http://" + found[len(found)-1][1]
}

// checkLog fails the test if the program has panicked or has made a mistake that it knows of.
func (r *replica) checkLog() {
	r.t.Helper()
	shown := 0
	for line := range strings.Lines(r.log.String()) {
		if strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") || strings.Contains(line, "INTERNAL_ERROR") || strings.HasPrefix(line, "goroutine ") {
			r.t.Errorf("in the log: %s", clip(line, 2000))
			if shown++; shown == 10 {
				return
			}
		}
	}
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
