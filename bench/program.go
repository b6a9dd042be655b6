package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// program is the product's binary, as it is released.
type program struct {
	path           string
	size, stripped int64 // bytes; stripped: without symbol table and debug information
}

const mainPackage = "github.com/comecomepay/comecomepay/cmd/comecomepay"

// buildProgram builds the binary into dir.
func buildProgram(ctx context.Context, dir string) (p program, err error) {
	build := func(name string, flags ...string) (path string, size int64, err error) {
		path = filepath.Join(dir, name)
		c := exec.CommandContext(ctx, "go", append(append([]string{"build", "-trimpath", "-o", path}, flags...), mainPackage)...)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			return "", 0, fmt.Errorf("build: %w\n%s", err, out)
		}
		info, err := os.Stat(path)
		if err != nil {
			return "", 0, err
		}
		return path, info.Size(), nil
	}
	if _, p.stripped, err = build("comecomepay-stripped", "-ldflags=-s -w"); err != nil {
		return p, err
	}
	p.path, p.size, err = build("comecomepay")
	return p, err
}

// ports are addresses of this machine for the listeners of one installation.
type ports struct{ http, ops, sandbox, smtp string }

// freePorts finds ports that nobody listens on. Somebody else could take one before it is used; then the start fails.
func freePorts() (p ports, err error) {
	var open []net.Listener
	for _, address := range []*string{&p.http, &p.ops, &p.sandbox, &p.smtp} {
		l, listenErr := net.Listen("tcp", "127.0.0.1:0")
		if listenErr != nil {
			err = listenErr
			break
		}
		open = append(open, l)
		*address = l.Addr().String()
	}
	for _, l := range open {
		err = errors.Join(err, l.Close())
	}
	return p, err
}

// run starts the binary with a command, on these ports and with a data directory; settings may add to that.
func (p program) run(ctx context.Context, at ports, data string, command []string, settings ...string) (*process, error) {
	c := exec.CommandContext(ctx, p.path, command...)
	c.Env = append(withoutSettings(os.Environ()), append([]string{"CCP_HTTP_ADDR=" + at.http, "CCP_OPS_ADDR=" + at.ops, "CCP_SANDBOX_ADDR=" + at.sandbox,
		"CCP_SANDBOX_SMTP_ADDR=" + at.smtp, "CCP_DATA_DIR=" + data, "CCP_LOG_LEVEL=WARN"}, settings...)...)
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		return nil, err
	}
	return &process{Cmd: c, address: at.http, ops: at.ops}, nil
}

// await asks an address until it answers 200.
func await(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", address, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// startup is what came of starting a sandbox in empty directories.
type startup struct {
	median, slowest time.Duration // from the start of the process to the first 200 of /readyz
	idle            int64         // bytes of resident memory after idleFor
}

const (
	starts  = 7
	idleFor = 10 * time.Second
)

func measureStartup(ctx context.Context, p program, dir string) (s startup, err error) {
	var took []time.Duration
	for n := range starts {
		progress("start %d of %d in an empty directory", n+1, starts)
		once := func() error {
			at, err := freePorts()
			if err != nil {
				return err
			}
			began := time.Now()
			box, err := p.run(ctx, at, filepath.Join(dir, fmt.Sprintf("start-%d", n)), []string{"sandbox"})
			if err != nil {
				return err
			}
			err = await(ctx, "http://"+at.http+"/readyz")
			took = append(took, time.Since(began))
			if err == nil && n == starts-1 {
				progress("sandbox at rest for %s", idleFor)
				select {
				case <-time.After(idleFor):
					s.idle, err = memory(box.Process.Pid)
				case <-ctx.Done():
					err = ctx.Err()
				}
			}
			return errors.Join(err, box.stop())
		}
		if err := once(); err != nil {
			return s, err
		}
	}
	s.median, s.slowest = median(took), slices.Max(took)
	return s, nil
}

// hashShare is the part of a processor profile that was spent on password hashes, as go tool pprof counts it.
func hashShare(ctx context.Context, binary, profile string) (share float64, err error) {
	out, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-focus=golang.org/x/crypto/argon2", binary, profile).Output()
	if err != nil {
		return 0, fmt.Errorf("go tool pprof: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		// Showing nodes accounting for 5.30s, 61.63% of 8.60s total
		if rest, ok := strings.CutPrefix(line, "Showing nodes accounting for "); ok {
			var part string
			if _, err := fmt.Sscanf(rest, "%s %f%% of", &part, &share); err != nil {
				return 0, fmt.Errorf("go tool pprof said %q: %w", strings.TrimSpace(line), err)
			}
			return share / 100, nil
		}
	}
	return 0, errors.New("go tool pprof said nothing of a total")
}
