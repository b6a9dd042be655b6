package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/platform/obs"
)

// What this program is when it is started again by itself, and what it is told.
const (
	roleVariable     = "BENCH_ROLE"
	databaseVariable = "BENCH_DATABASE_URL"
	keyVariable      = "BENCH_ACCESS_KEY" // base64

	roleBaseline = "baseline"
	roleService  = "service"
)

// process is a server in a process of its own.
type process struct {
	*exec.Cmd
	address string // host:port
	ops     string // host:port of metrics and profiles; the service only
}

// start starts this program again as one of the roles and waits until it has said where it listens.
func start(ctx context.Context, role string, variables ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{Cmd: exec.CommandContext(ctx, self)}
	p.Env = append(withoutSettings(os.Environ()), append(variables, roleVariable+"="+role)...)
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", role, err), p.stop())
	}
	p.address, p.ops, _ = strings.Cut(strings.TrimSpace(line), " ")
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return p, nil
}

// stop ends the process at once: nothing in it is needed any more.
func (p *process) stop() error {
	if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = p.Wait()
	return nil
}

// withoutSettings is an environment without what configures the product or this program.
func withoutSettings(environ []string) (rest []string) {
	for _, v := range environ {
		if !strings.HasPrefix(v, "CCP_") && !strings.HasPrefix(v, "BENCH_") {
			rest = append(rest, v)
		}
	}
	return rest
}

// serviceSettings configure the product as it is in production behind a proxy, with limits that the load does not reach:
// they are counted all the same. The mode is that of development, so that no provider outside of this machine can be meant.
func serviceSettings(database string, k tokenKeys) []string {
	return []string{
		"CCP_ENV=development", "CCP_DATABASE_URL=" + database, "CCP_HTTP_ADDR=127.0.0.1:0", "CCP_OPS_ADDR=127.0.0.1:0",
		"CCP_TOKEN_KEYS=" + k.setting(), "CCP_TRUSTED_PROXIES=127.0.0.0/8", "CCP_RATE_PER_ADDRESS=1000000", "CCP_RATE_PER_CUSTOMER=1000000",
		"CCP_LOG_FORMAT=json",
	}
}

// serveProduct is what the command serve runs, on ports of its own, which it prints.
func serveProduct(ctx context.Context) error {
	config, err := app.LoadConfig(os.Environ())
	if err != nil {
		return err
	}
	app.ReserveHeap()
	log := obs.NewLogger(config.Telemetry.LogLevel, config.Telemetry.LogFormat, io.Discard)
	a, err := app.New(ctx, config, app.Extras{Log: log})
	if err != nil {
		return err
	}
	fmt.Println(a.Addr(), a.OpsAddr())
	return a.Serve(ctx)
}

// startService and startBaseline start the two sides of a comparison on a dataset.
func startService(ctx context.Context, d dataset, k tokenKeys) (*process, error) {
	return start(ctx, roleService, serviceSettings(d.url, k)...)
}

func startBaseline(ctx context.Context, d dataset, k tokenKeys) (*process, error) {
	return start(ctx, roleBaseline, databaseVariable+"="+d.url, keyVariable+"="+base64.StdEncoding.EncodeToString(k.access))
}

// memory is the resident memory of a process in bytes.
func memory(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d tells nothing of its memory", pid)
}

// clockTick is the unit of processor time in /proc: 100 a second on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processorTime is the processor time that a process has used, by itself and in the kernel.
func processorTime(pid int) (time.Duration, error) {
	stat, err := readStat(pid)
	return stat.used, err
}

// processStat is what /proc tells of a process.
type processStat struct {
	name   string
	parent int
	used   time.Duration // processor time of the process
	reaped time.Duration // processor time of its children that have ended
}

func readStat(pid int) (s processStat, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return s, err
	}
	// The name in parentheses may hold anything; after it stand state, parent, nine fields, and four times.
	before, rest, _ := cutLast(string(stat), ")")
	_, s.name, _ = strings.Cut(before, "(")
	fields := strings.Fields(rest)
	if len(fields) < 15 {
		return s, fmt.Errorf("process %d: unexpected form of /proc", pid)
	}
	var numbers [5]int
	for i, field := range append(fields[1:2:2], fields[11:15]...) {
		if numbers[i], err = strconv.Atoi(field); err != nil {
			return s, err
		}
	}
	s.parent, s.used, s.reaped = numbers[0], time.Duration(numbers[1]+numbers[2])*clockTick, time.Duration(numbers[3]+numbers[4])*clockTick
	return s, nil
}

// ownProcessorTime is the processor time of this process.
func ownProcessorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
