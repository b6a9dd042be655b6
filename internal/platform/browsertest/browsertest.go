// Package browsertest leads a real browser through pages, for tests: it clicks, types and looks as a person does, and
// notices what a page complains about.
package browsertest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Variable names a directory for pictures of the pages, to look at by hand. If it is not set no pictures are kept.
const Variable = "CCP_TEST_SCREENSHOTS"

// Patience is how long a page may take for whatever is waited for: a busy machine is many times slower than a quiet one.
const Patience = 2 * time.Minute

// height is that of every window, in CSS pixels.
const height = 844

// pause is the time between two looks at a page that is waited for.
const pause = 25 * time.Millisecond

// programs are the names that Chromium and Chrome go by; ./test looks for the same.
var programs = []string{"headless_shell", "headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// Browser is a browser that runs until its test ends.
type Browser struct{ ctx context.Context }

// Start starts a browser that has no page yet. The test fails if there is none on this machine.
func Start(t testing.TB) *Browser {
	t.Helper()
	program := ""
	for _, name := range programs {
		if found, err := exec.LookPath(name); err == nil {
			program = found
			break
		}
	}
	if program == "" {
		t.Fatal("no Chromium or Chrome: run ./test, which installs it")
	}
	// Not the test's own context, which ends before the browser has been asked to close and to clean up behind it.
	ctx, cancel := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.WSURLReadTimeout(Patience))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		_ = chromedp.Cancel(end)
	})
	return &Browser{ctx: ctx}
}

// Look is what a page is looked at with.
type Look struct {
	Width int64 // of the window in CSS pixels
	Dark  bool  // the person prefers dark colours
}

// Page is one tab. Its methods end the test if something takes longer than Patience.
type Page struct {
	t    testing.TB
	ctx  context.Context
	look Look

	mu         sync.Mutex
	complaints []string
	read       chan string // marks that have come through the console
}

// Open opens a page in a tab of its own, which is closed when the test ends.
func (b *Browser) Open(t testing.TB, look Look, address string) *Page {
	t.Helper()
	p := attach(t, b.ctx, look)
	p.Do(chromedp.Navigate(address))
	return p
}

func attach(t testing.TB, browser context.Context, look Look, options ...chromedp.ContextOption) *Page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(browser, options...)
	t.Cleanup(cancel)
	p := &Page{t: t, ctx: ctx, look: look, read: make(chan string, 1)}
	// A tab lives as long as the context of its first action: no time limit here.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			p.note(m)
		}
	}()
	scheme := "light"
	if look.Dark {
		scheme = "dark"
	}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}); err != nil {
		t.Fatal(err)
	}
	p.Do(chromedp.EmulateViewport(look.Width, height))
	return p
}

const markPrefix = "browsertest mark "

var marks atomic.Int64

func (p *Page) note(m chromedp.ConsoleMessage) {
	switch {
	case strings.HasPrefix(m.Text, markPrefix):
		p.read <- m.Text
	case m.Type == chromedp.ConsoleException || m.Type == "error" || m.Type == "warning":
		p.mu.Lock()
		defer p.mu.Unlock()
		p.complaints = append(p.complaints, fmt.Sprintf("%s: %s (%s)", m.Type, m.Text, m.URL))
	}
}

// said is what the page has complained about, as far as it has been heard of.
func (p *Page) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.complaints)
}

// fatal ends the test, with a picture of what a person would see.
func (p *Page) fatal(format string, args ...any) {
	p.t.Helper()
	at, _ := p.ask("location.href")
	if name := "failed-" + strings.NewReplacer("/", "-", " ", "-").Replace(p.t.Name()); os.Getenv(Variable) != "" {
		_ = p.picture(name)
	}
	p.t.Fatalf("%s\nat %s; the page complains: %q", fmt.Sprintf(format, args...), at, p.said())
}

// Do carries out steps.
func (p *Page) Do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.fatal("%v", err)
	}
}

// Text is what a person reads in the first element of a selector.
func (p *Page) Text(selector string) string {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	s, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS(selector)))
	if err != nil {
		p.fatal("%s: %v", selector, err)
	}
	return s
}

// Ask evaluates JavaScript in the page and returns the value as text.
func (p *Page) Ask(script string) string {
	p.t.Helper()
	s, err := p.ask(script)
	if err != nil {
		p.fatal("%s: %v", script, err)
	}
	return s
}

func (p *Page) ask(script string) (string, error) {
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string]("String("+script+")"))
}

// Until waits until JavaScript in the page says true. It goes on while the page moves to another address.
func (p *Page) Until(script string) {
	p.t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		// An error is one page going and another one coming.
		if said, err := p.ask("!!(" + script + ")"); err == nil && said == "true" {
			return
		} else if time.Now().After(deadline) {
			p.fatal("this does not come true: %s (%v)", script, err)
		}
		time.Sleep(pause)
	}
}

// Click clicks on the first element of a selector, as soon as a person could.
func (p *Page) Click(selector string) {
	p.t.Helper()
	p.Until(fmt.Sprintf(`((e) => e && e.checkVisibility() && !e.disabled)(document.querySelector(%s))`, strconv.Quote(selector)))
	p.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Press presses keys, one after the other; kb has those that have no letter.
func (p *Page) Press(keys string) {
	p.t.Helper()
	p.Do(chromedp.KeyEvent(keys))
}

// Opened waits for the tab that the page opens at an address that begins like this, and turns to it.
func (p *Page) Opened(prefix string) *Page {
	p.t.Helper()
	deadline := time.Now().Add(Patience)
	for time.Now().Before(deadline) {
		ctx, cancel := context.WithTimeout(p.ctx, Patience)
		tabs, err := chromedp.Targets(ctx)
		cancel()
		if err != nil {
			p.fatal("%v", err)
		}
		for _, tab := range tabs {
			if tab.Type == "page" && !tab.Attached && strings.HasPrefix(tab.URL, prefix) {
				opened := attach(p.t, p.ctx, p.look, chromedp.WithTargetID(tab.TargetID))
				opened.Until(`document.readyState === "complete"`)
				return opened
			}
		}
		time.Sleep(pause)
	}
	p.fatal("opens no tab at %s", prefix)
	return nil
}

// Close closes the tab, so that the one behind it is seen again.
func (p *Page) Close() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		p.t.Fatal(err)
	}
}

// Fits fails the test if the page can be scrolled sideways.
func (p *Page) Fits() {
	p.t.Helper()
	if wide := p.Ask(`document.documentElement.scrollWidth + ">" + innerWidth`); wide != fmt.Sprintf("%d>%d", p.look.Width, p.look.Width) {
		p.t.Errorf("%s is too wide: %s", p.Ask("location.pathname"), wide)
	}
}

// Quiet fails the test if the page has complained about anything: exceptions, errors and warnings of the console, missing
// files, breaches of the content security policy.
func (p *Page) Quiet() {
	p.t.Helper()
	// What the page said before the mark has been heard once the mark has.
	mark := markPrefix + strconv.FormatInt(marks.Add(1), 10)
	p.Ask("console.debug(" + strconv.Quote(mark) + ")")
	select {
	case got := <-p.read:
		if got != mark {
			p.t.Errorf("the console says %q, not %q", got, mark)
		}
	case <-time.After(Patience):
		p.fatal("nothing comes from the console")
	}
	if list := p.said(); len(list) > 0 {
		p.t.Errorf("%s complains: %q", p.Ask("location.pathname"), list)
	}
}

// Picture keeps a picture of the page, from its top to its bottom, if somebody has asked for pictures.
func (p *Page) Picture(name string) {
	p.t.Helper()
	if os.Getenv(Variable) == "" {
		return
	}
	if err := p.picture(name); err != nil {
		p.fatal("%v", err)
	}
}

func (p *Page) picture(name string) error {
	ctx, cancel := context.WithTimeout(p.ctx, Patience)
	defer cancel()
	// The window grows to the page's length for it: a picture beyond the window's edge shifts pages that are written from
	// right to left.
	length, err := chromedp.Run(ctx, chromedp.Evaluate[int64]("document.documentElement.scrollHeight"))
	if err != nil {
		return err
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(p.look.Width, max(length, height))); err != nil {
		return err
	}
	image, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return err
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(p.look.Width, height)); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(os.Getenv(Variable), name+".png"), image, 0o644)
}
