package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/platform/obs/logtest"
)

// The test binary is the program when this is set: what runs is the real main in a process of its own.
const asProgram = "CCP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main())
	}
	os.Exit(m.Run())
}

// process is a running program.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	output logtest.Buffer // both streams
	grown  chan struct{}
	ended  chan struct{}
	err    error
}

// ports lets the machine choose every port.
var ports = []string{"CCP_HTTP_ADDR=127.0.0.1:0", "CCP_OPS_ADDR=127.0.0.1:0", "CCP_SANDBOX_ADDR=127.0.0.1:0", "CCP_SANDBOX_SMTP_ADDR=127.0.0.1:0"}

// start runs the program; of a setting that is given twice the last one counts.
func start(t *testing.T, environ []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(os.Args[0], args...), grown: make(chan struct{}, 1), ended: make(chan struct{})}
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(slices.Concat(ports, environ), asProgram+"=1", "USER=tester")
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	go func() {
		lines := bufio.NewReader(read)
		for {
			line, err := lines.ReadString('\n')
			_, _ = p.output.Write([]byte(line))
			select {
			case p.grown <- struct{}{}:
			default:
			}
			if err != nil {
				break
			}
		}
		_ = read.Close()
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%s %v wrote:\n%s", "comecomepay", args, p.text())
		}
	})
	return p
}

func (p *process) text() string { return p.output.String() }

// patience is how long a test waits for something that comes by itself.
const patience = 2 * time.Minute

// printed waits until the program has written something of this form, and returns the first group.
func (p *process) printed(form string) string {
	p.t.Helper()
	re := regexp.MustCompile(form)
	deadline := time.After(patience)
	for {
		if match := re.FindStringSubmatch(p.text()); match != nil {
			return match[1]
		}
		select {
		case <-p.grown:
		case <-p.ended:
			if match := re.FindStringSubmatch(p.text()); match != nil {
				return match[1]
			}
			p.t.Fatalf("ended (%v) without writing %s", p.err, form)
		case <-deadline:
			p.t.Fatalf("does not write %s", form)
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code, -1 if a signal was the cause.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatal("does not end")
		return 0
	}
}

const (
	sandboxLine = `start here +(http://\S+)`
	apiLine     = `API +(http://\S+)/api/v1`
	mailLine    = `mail server +(\S+)`
	readyLine   = `msg=ready http=(\S+)`
)

// run runs one command in this process.
func run(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out, complaints bytes.Buffer
	code = Run(ctx, Program{Args: args, Environ: append(slices.Clone(environ), "USER=tester"), Stdout: &out, Stderr: &complaints})
	return code, out.String(), complaints.String()
}

// installed is a new installation: its environment for run, and its services until the test ends.
func installed(t *testing.T, extras app.Extras) (environ []string, s *app.Services) {
	t.Helper()
	environ = []string{"CCP_ENV=development", "CCP_SANDBOX_ADDR=127.0.0.1:1", "CCP_DATA_DIR=" + t.TempDir()}
	if code, _, complaints := run(t, environ, "migrate"); code != exitDone {
		t.Fatal(complaints)
	}
	c, err := app.LoadConfig(environ)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = app.OpenServices(t.Context(), c, extras); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return environ, s
}

func call(t *testing.T, method, address, body string) (int, map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if len(text) > 0 && text[0] == '{' {
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatalf("%s %s: %s", method, address, text)
		}
	}
	return response.StatusCode, answer
}

// A sandbox in an empty folder is ready at once, the demo comes out right in either channel, and SIGTERM ends it cleanly.
func TestSandboxAndDemo(t *testing.T) {
	t.Parallel()
	for name, environ := range map[string][]string{
		"pokepay": nil, "didit": {"CCP_KYC_CHANNEL=didit"}, "approving": {"CCP_SANDBOX_KYC=approve"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, environ, "sandbox")
			box, api := p.printed(sandboxLine), p.printed(apiLine)
			took, err := time.ParseDuration(p.printed(`msg=ready .*took=(\S+)`))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("ready after %s", took)
			if took > 2*time.Second && !raceDetector {
				t.Errorf("ready after %s; 2 s are promised", took)
			}
			if status, _ := call(t, http.MethodGet, api+"/readyz", ""); status != http.StatusOK {
				t.Errorf("readyz: %d", status)
			}
			beside := []string{"CCP_DATA_DIR=" + filepath.Join(p.cmd.Dir, ".comecomepay")}
			code, out, complaints := run(t, beside, "demo", "--patience=2m", "--base", api, "--sandbox", box)
			if code != exitDone || strings.Contains(out, "Left out") || !strings.Contains(out, "the ledger is sound: ok") || !strings.Contains(out, "the gateway holds what the ledger says: ok") {
				t.Fatalf("demo: exit %d\n%s%s", code, out, complaints)
			}
			p.signal(syscall.SIGTERM)
			if code := p.exit(); code != exitDone {
				t.Errorf("exit %d after SIGTERM", code)
			}
			if !strings.Contains(p.text(), "msg=stopped") {
				t.Error("did not say that it stopped")
			}
		})
	}
}

// The demo is no demo if it cannot fail: a fault makes it say which step went wrong.
func TestDemoFails(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "sandbox")
	box, api := p.printed(sandboxLine), p.printed(apiLine)
	p.printed(readyLine)
	if status, answer := call(t, http.MethodPost, box+"/control/faults", `{"provider":"pokepay","operation":"kyc_init","kind":"refuse","message":"no"}`); status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	code, out, complaints := run(t, nil, "demo", "--patience=2m", "--base", api, "--sandbox", box, "--json")
	if code != exitFailed || !strings.Contains(complaints, "starts a verification") {
		t.Errorf("exit %d: %s", code, complaints)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var last step
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.OK || len(last.Problems) == 0 || last.N != len(lines) {
		t.Errorf("last line: %s (%v)", lines[len(lines)-1], err)
	}
	if code, _, complaints := run(t, nil, "demo", "--patience=2m", "--base", "http://"+unused(t), "--sandbox", box); code != exitFailed || !strings.Contains(complaints, "is the sandbox running?") {
		t.Errorf("without an API: exit %d: %s", code, complaints)
	}
}

// unused is an address where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// customerAt signs somebody up and in.
func customerAt(t *testing.T, api, box string) *walker {
	t.Helper()
	w := &walk{ctx: t.Context(), out: io.Discard, api: api, sandbox: box, patience: patience, started: time.Now(), browser: &http.Client{Timeout: demoTimeout}}
	c := w.newWalker("Chen", "en")
	c.signUp()
	c.logIn()
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c
}

// unhurried are time limits that no test gets into the way of.
var unhurried = []string{"CCP_REQUEST_TIMEOUT=8m", "CCP_POKEPAY_TIMEOUT=4m", "CCP_DRAIN_TIMEOUT=4m", "CCP_WITHDRAWAL_REPEAT_WINDOW=10m"}

// slow lets calls to the issuer's session take this long, and returns when one is under way.
func slow(t *testing.T, c *walker, ms int) (answered chan error) {
	t.Helper()
	if status, answer := call(t, http.MethodPost, c.sandbox+"/control/faults", fmt.Sprintf(`{"provider":"pokepay","operation":"kyc_init","kind":"delay","delay_ms":%d}`, ms)); status != http.StatusOK {
		t.Fatalf("%d %v", status, answer)
	}
	answered = make(chan error, 1)
	go func() { c.start("CHEN", "LI"); answered <- c.err }()
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		response, err := http.Get(c.sandbox + "/control/faults")
		if err != nil {
			t.Fatal(err)
		}
		var rules []struct{ Hits int }
		err = json.NewDecoder(response.Body).Decode(&rules)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if len(rules) > 0 && rules[0].Hits > 0 {
			return answered
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the call has not reached the issuer")
	return nil
}

// What is under way when the signal comes is finished; meanwhile the program is not ready.
func TestDrain(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "sandbox")
	box, api := p.printed(sandboxLine), p.printed(apiLine)
	ops := p.printed(`msg=ready .*ops=(\S+)`)
	answered := slow(t, customerAt(t, api, box), 1500)
	p.signal(syscall.SIGTERM)
	p.printed(`(msg=draining)`)
	if status, _ := call(t, http.MethodGet, "http://"+ops+"/readyz", ""); status != http.StatusServiceUnavailable {
		t.Errorf("readyz while draining: %d", status)
	}
	if err := <-answered; err != nil {
		t.Errorf("the call under way was not finished: %v", err)
	}
	if code := p.exit(); code != exitDone {
		t.Errorf("exit %d", code)
	}
}

// Whoever cannot wait sends the signal again.
func TestSecondSignalKills(t *testing.T) {
	t.Parallel()
	p := start(t, unhurried, "sandbox")
	box, api := p.printed(sandboxLine), p.printed(apiLine)
	p.printed(readyLine)
	slow(t, customerAt(t, api, box), 200_000)
	p.signal(syscall.SIGINT)
	p.printed(`(msg=draining)`)
	began := time.Now()
	p.signal(syscall.SIGINT)
	if code := p.exit(); code == exitDone || time.Since(began) > time.Minute {
		t.Errorf("exit %d after %s", code, time.Since(began))
	}
}

// A request that takes longer than the drain may is cut off, and the exit code tells.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	p := start(t, append(slices.Clone(unhurried), "CCP_DRAIN_TIMEOUT=300ms"), "sandbox")
	box, api := p.printed(sandboxLine), p.printed(apiLine)
	p.printed(readyLine)
	slow(t, customerAt(t, api, box), 200_000)
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != exitFailed || !strings.Contains(p.text(), "CCP_DRAIN_TIMEOUT") {
		t.Errorf("exit %d", code)
	}
}

// Everything outlives kill -9: the customers, what the providers believe, the mail, and the time that the sandbox was moved to.
func TestSandboxGoesOnAfterKill(t *testing.T) {
	t.Parallel()
	data := "CCP_DATA_DIR=" + t.TempDir()
	p := start(t, []string{data}, "sandbox")
	box, api := p.printed(sandboxLine), p.printed(apiLine)
	p.printed(readyLine)
	c := customerAt(t, api, box)
	c.start("CHEN", "LI")
	if c.err != nil {
		t.Fatal(c.err)
	}
	if status, _ := call(t, http.MethodPost, box+"/control/clock", `{"advance":"12h"}`); status != http.StatusOK {
		t.Fatalf("clock: %d", status)
	}
	p.signal(syscall.SIGKILL)
	p.exit()

	p = start(t, []string{data}, "sandbox")
	c.walk.sandbox, c.walk.api = p.printed(sandboxLine), p.printed(apiLine)
	p.printed(readyLine)
	if _, clock := call(t, http.MethodGet, c.sandbox+"/control/clock", ""); clock["offset"] != "12h0m0s" {
		t.Errorf("clock: %v", clock)
	}
	_, state := call(t, http.MethodGet, c.sandbox+"/control/state", "")
	if sessions, _ := state["sessions"].([]any); len(sessions) != 1 {
		t.Errorf("state: %v", state)
	}
	c.status("still has the link", "none", true, "pending_submit", 1)
	c.decide(2, "")
	c.waitFor("verified", false, "approved", 2)
	if c.err != nil {
		t.Error(c.err)
	}
}

// The service can be killed and started beside the simulators, follows their time, and operators' commands work beside it.
func TestServeBesideProviders(t *testing.T) {
	t.Parallel()
	data := "CCP_DATA_DIR=" + t.TempDir()
	address := unused(t)
	providers := start(t, []string{data, "CCP_HTTP_ADDR=" + address}, "sandbox", "--providers-only")
	box := providers.printed(sandboxLine)
	environ := []string{data, "CCP_ENV=development", "CCP_HTTP_ADDR=" + address, "CCP_OPS_ADDR=127.0.0.1:0",
		"CCP_SANDBOX_ADDR=" + strings.TrimPrefix(box, "http://"), "CCP_SANDBOX_SMTP_ADDR=" + providers.printed(mailLine)}
	api := "http://" + address
	serve := start(t, environ, "serve")
	serve.printed(readyLine)
	c := customerAt(t, api, box)
	c.start("CHEN", "LI")
	serve.signal(syscall.SIGKILL)
	serve.exit()

	serve = start(t, environ, "serve")
	serve.printed(readyLine)
	c.completePage("approve", "")
	c.waitForReview()
	if c.err != nil {
		t.Fatal(c.err)
	}

	// Operators.
	code, out, complaints := run(t, environ, "kyc", "list", "--json", "--status", "pending,processing")
	var list []recordLine
	if err := json.Unmarshal([]byte(out), &list); code != exitDone || err != nil || len(list) != 1 || list[0].AgentUID != c.agentUID {
		t.Fatalf("kyc list: exit %d: %s%s", code, out, complaints)
	}
	if code, out, _ := run(t, environ, "kyc", "list", "--status", "approved"); code != exitDone || strings.Contains(out, c.agentUID) {
		t.Errorf("kyc list --status approved: exit %d: %s", code, out)
	}
	if code, out, complaints := run(t, environ, "kyc", "approve", c.agentUID, "--reason", "trying"); code != exitFailed || !strings.Contains(complaints, "KYC_TRANSITION_REFUSED") {
		t.Errorf("kyc approve without the issuer's word: exit %d: %s%s", code, out, complaints)
	}
	if code, out, complaints := run(t, environ, "kyc", "reject", c.agentUID, "--reason", "looks forged", "--block", "--json"); code != exitDone || !strings.Contains(out, `"status": "rejected"`) {
		t.Errorf("kyc reject: exit %d: %s%s", code, out, complaints)
	}
	c.waitFor("rejected", false, "rejected", 3)
	if c.err != nil {
		t.Fatal(c.err)
	}
	code, out, complaints = run(t, environ, "kyc", "show", c.agentUID)
	for _, want := range []string{c.email, "CHEN LI", "operator_rejected", "tester", "looks forged"} {
		if code != exitDone || !strings.Contains(out, want) {
			t.Errorf("kyc show: exit %d, %q is missing: %s%s", code, want, out, complaints)
		}
	}
	// Support knows customers by number or address.
	number := strconv.FormatInt(list[0].UserID, 10)
	for _, who := range []string{c.email, number} {
		if code, out, complaints := run(t, environ, "kyc", "show", who); code != exitDone || !strings.Contains(out, c.agentUID) || !strings.Contains(out, "newest attempt of customer "+number) {
			t.Errorf("kyc show %s: exit %d: %s%s", who, code, out, complaints)
		}
		if code, out, complaints := run(t, environ, "kyc", "list", "--customer", who); code != exitDone || !strings.Contains(out, c.agentUID) {
			t.Errorf("kyc list --customer %s: exit %d: %s%s", who, code, out, complaints)
		}
		code, out, complaints := run(t, environ, "account", "show", who, "--json")
		var line standingLine
		if err := json.Unmarshal([]byte(out), &line); err != nil || code != exitDone {
			t.Errorf("account show %s: exit %d: %s%s", who, code, out, complaints)
		}
		want := standingLine{accountLine{list[0].UserID, c.email[:1] + "***" + c.email[strings.Index(c.email, "@"):], "active", "rejected", true, line.CreatedAt, nil}, "en", 2, false}
		if line != want || strings.Contains(out, c.email) {
			t.Errorf("account show %s: %s; want %+v", who, out, want)
		}
	}
	if code, out, _ := run(t, environ, "account", "show", number); code != exitDone || !strings.Contains(out, "rejected, may not try again") || strings.Contains(out, c.email) {
		t.Errorf("account show: exit %d: %s", code, out)
	}
	if code, _, complaints := run(t, environ, "kyc", "list", "--customer", "4711"); code != exitFailed || !strings.Contains(complaints, "USER_NOT_FOUND") {
		t.Errorf("kyc list of nobody: exit %d: %s", code, complaints)
	}
	if code, out, complaints := run(t, environ, "kyc", "reopen", c.agentUID, "--reason", "a mistake"); code != exitDone || !strings.Contains(out, "processing") && !strings.Contains(out, "pending") {
		t.Errorf("kyc reopen: exit %d: %s%s", code, out, complaints)
	}
	if code, out, complaints := run(t, environ, "kyc", "cases", "--json"); code != exitDone || !strings.HasPrefix(out, "[") {
		t.Errorf("kyc cases: exit %d: %s%s", code, out, complaints)
	}
	if code, _, complaints := run(t, environ, "kyc", "dismiss", c.agentUID, "--reason", "settled"); code != exitFailed || !strings.Contains(complaints, "KYC_NO_CASE") {
		t.Errorf("kyc dismiss without a case: exit %d: %s", code, complaints)
	}
	if code, out, complaints := run(t, environ, "account", "sessions", c.email, "--json"); code != exitDone || !strings.Contains(out, `"address": "127.0.0.1"`) {
		t.Errorf("account sessions: exit %d: %s%s", code, out, complaints)
	}
	for _, step := range []struct{ act, status string }{{"freeze", "frozen"}, {"unfreeze", "active"}, {"close", "closed"}} {
		if code, out, complaints := run(t, environ, "account", step.act, c.email, "--reason", "asked by mail"); code != exitDone || !strings.Contains(out, step.status) {
			t.Errorf("account %s: exit %d: %s%s", step.act, code, out, complaints)
		}
	}
	if code, _, complaints := run(t, environ, "account", "freeze", "4711", "--reason", "x"); code != exitFailed || !strings.Contains(complaints, "USER_NOT_FOUND") {
		t.Errorf("freeze of nobody: exit %d: %s", code, complaints)
	}

	// Time: the service has followed when a token has run out.
	token := customerAt(t, api, box).token
	if status, _ := call(t, http.MethodPost, box+"/control/clock", `{"advance":"720h"}`); status != http.StatusOK {
		t.Fatalf("clock: %d", status)
	}
	eventually(t, func() error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api+"/didit/status", nil)
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("a token of a month ago is answered %d", response.StatusCode)
		}
		return nil
	})
	// Without the same time on both sides every webhook is stale.
	code, out, complaints = run(t, nil, "demo", "--patience=2m", "--base", api, "--sandbox", box, "--json")
	if code != exitDone || !strings.Contains(out, `"left_out":["an operator's approval`) {
		t.Errorf("demo a month later, without the database: exit %d\n%s%s", code, out, complaints)
	}
	if code, out, complaints := run(t, environ, "doctor"); code != exitDone {
		t.Errorf("doctor: exit %d: %s%s", code, out, complaints)
	}
	providers.signal(syscall.SIGTERM)
	if code := providers.exit(); code != exitDone {
		t.Errorf("providers: exit %d", code)
	}
	code, out, _ = run(t, environ, "doctor", "--json")
	var findings []finding
	if err := json.Unmarshal([]byte(out), &findings); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, f := range findings {
		states[f.Check] = f.State
	}
	if code != exitFailed || states["pokepay"] != stateProblem || states["didit"] != stateProblem || states["mail"] != stateProblem || states["database"] != stateOK {
		t.Errorf("doctor without providers: exit %d, %v", code, states)
	}
}

func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	err := try()
	for err != nil && time.Now().Before(deadline) {
		time.Sleep(200 * time.Millisecond)
		err = try()
	}
	if err != nil {
		t.Fatal(err)
	}
}
