package cli

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/comecomepay/comecomepay/internal/platform/browsertest"
)

// The sandbox's home page leads a person from a new customer to a verified one, and money in, across and out, by clicking and by keyboard,
// with a wide window and on a phone.
func TestHomePageLeadsOn(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "sandbox")
	box, api := p.printed(sandboxLine), p.printed(apiLine)
	p.printed(readyLine)
	browser := browsertest.Start(t)

	t.Run("accepted", func(t *testing.T) {
		w := clicking{t, browser.Open(t, browsertest.Look{Width: 1200}, box+"/"), api}
		w.Until(`document.querySelector("#step-signup.current")`)
		for _, place := range strings.Fields(w.Ask(`[...document.querySelectorAll(".place")].map((a) => a.href).join(" ")`)) {
			if status, _ := call(t, http.MethodGet, place, ""); status != http.StatusOK {
				t.Errorf("%s: %d", place, status)
			}
		}
		email := w.Ask(`document.getElementById("email").value`)

		// Whoever uses the keyboard finds the first button by Tab. From there on the next one always has the focus, so
		// that Enter leads through the walk.
		at := func() string { return w.Ask(`document.activeElement.dataset.run || document.activeElement.id`) }
		for tabs := 0; at() != "signup"; tabs++ {
			if tabs == 50 {
				t.Fatal("the first button cannot be reached by Tab")
			}
			w.Press(kb.Tab)
		}
		for _, next := range []string{"code", "verify", "password", "login", "logincode", "session", "status", "start"} {
			w.Press(kb.Enter)
			w.reaches(next)
			if has := at(); has != next {
				t.Fatalf("in the step %q the focus is at %q", next, has)
			}
		}
		if answer := w.Ask(`document.querySelector("#step-status .calls pre").textContent`); !strings.Contains(answer, `"user_kyc_status": "none"`) {
			t.Errorf("before the verification: %s", answer)
		}
		w.Press(kb.Enter)
		w.reaches("page")
		if has := at(); has != "link" {
			t.Errorf("the focus is at %q, not at the link to the verification page", has)
		}

		w.approve("en", "ltr")
		w.press("accept")
		w.reaches("result")
		w.Until(`document.querySelector(".verdict.verified")`)
		if verdict := w.Text("#verdict"); !strings.HasPrefix(verdict, "Verified.") {
			t.Errorf("verdict: %s", verdict)
		}
		// Money, again with nothing but Enter.
		w.Press(kb.Enter)
		for _, next := range []string{"wallet", "deposit", "pin", "pincode", "pinset", "friend", "transfer", "sides", "withdraw", "gateway"} {
			w.reaches(next)
			w.Fits()
			if next != "gateway" {
				w.Press(kb.Enter)
			}
		}
		for step, says := range map[string]string{"deposit": "The balance is 1000 USDT-TRC20.", "transfer": "959.75 USDT-TRC20 are left.", "sides": "+40.25 USDT-TRC20"} {
			if told := w.Text("#step-" + step + " .found"); !strings.Contains(told, says) {
				t.Errorf("the step %q says %q, not %q", step, told, says)
			}
		}
		w.Press(kb.Enter)
		w.reaches("outcome")
		w.Until(`document.querySelector("#fate.verified")`)
		if fate := w.Text("#fate"); fate != "Paid: 25 USDT-TRC20 have left, and 934.75 remain." {
			t.Errorf("what became of the withdrawal: %s", fate)
		}
		for _, next := range []string{"vain", "large", "operator", "payout", "audit"} {
			w.Press(kb.Enter)
			w.reaches(next)
			w.Fits()
		}
		for step, says := range map[string]string{"vain": "Not paid: 30 USDT-TRC20 are back, and the balance is 934.75.", "payout": "Paid: 600 USDT-TRC20 have left, and 334.75 remain."} {
			if told := w.Text("#step-" + step + " .found"); told != says {
				t.Errorf("the step %q says %q, not %q", step, told, says)
			}
		}
		w.Press(kb.Enter)
		w.Until(`document.querySelector("#books:not([hidden])")`)
		w.booksAddUp()
		if done := w.Ask(`document.querySelectorAll(".steps > li.done").length === document.querySelectorAll(".steps > li").length`); done != "true" {
			t.Error("not every step is ticked off")
		}
		if bad := w.Ask(`[...document.querySelectorAll(".code-status.bad")].map((e) => e.parentElement.textContent)`); bad != "" {
			t.Errorf("calls have failed: %s", bad)
		}
		w.Fits()
		w.Picture("home-1200")

		// The next customer begins with an empty sheet.
		w.press("over")
		w.reaches("signup")
		if next := w.Ask(`document.getElementById("email").value`); next == email || next == "" {
			t.Errorf("the customer after %s is %q", email, next)
		}
		if left := w.Ask(`document.querySelectorAll(".call, .found").length + document.querySelectorAll(".verdict:not([hidden])").length`); left != "0" {
			t.Errorf("%s answers of the former customer are still shown", left)
		}
		w.Quiet()
	})

	t.Run("rejected at first, on a phone", func(t *testing.T) {
		w := clicking{t, browser.Open(t, phone, box+"/"), api}
		w.Until(`document.querySelector("#step-signup.current")`)
		w.Do(chromedp.SetValue(chromedp.CSS("#language"), "ar"))
		for _, step := range []struct{ button, next string }{
			{"signup", "code"}, {"code", "verify"}, {"verify", "password"}, {"password", "login"}, {"login", "logincode"}, {"logincode", "session"},
			{"session", "status"}, {"status", "start"}, {"start", "page"},
		} {
			w.press(step.button)
			w.reaches(step.next)
			w.Fits()
		}
		w.approve("ar", "rtl")
		w.press("reject")
		w.reaches("result")
		w.Until(`document.querySelector(".verdict.rejected")`)
		if verdict := w.Text("#verdict"); !strings.Contains(verdict, "The document is not readable") || !strings.HasSuffix(verdict, ". The customer can try again.") {
			t.Errorf("the verdict does not say why: %s", verdict)
		}
		w.Fits()
		w.Picture("home-390-rejected")

		w.press("again")
		w.reaches("start")
		w.press("start")
		w.reaches("page")
		w.approve("ar", "rtl")
		w.press("accept")
		w.reaches("result")
		w.Until(`document.querySelector(".verdict.verified")`)
		for _, step := range []struct{ button, next string }{
			{"onward", "wallet"}, {"wallet", "deposit"}, {"deposit", "pin"}, {"pin", "pincode"}, {"pincode", "pinset"}, {"pinset", "friend"}, {"friend", "transfer"},
			{"transfer", "sides"}, {"sides", "withdraw"}, {"withdraw", "gateway"}, {"refuse", "outcome"},
		} {
			w.press(step.button)
			w.reaches(step.next)
			w.Fits()
		}
		w.Until(`document.querySelector("#fate.rejected")`)
		if fate := w.Text("#fate"); fate != "Not paid: 25 USDT-TRC20 are back, and the balance is 959.75." {
			t.Errorf("what became of the withdrawal: %s", fate)
		}
		w.Picture("home-390")
		w.Ask(`document.querySelectorAll("details").forEach((d) => { d.open = true })`)
		w.Fits()
		w.Picture("home-390-open")

		// The gateway's desk does the same.
		w.press("more")
		w.reaches("withdraw")
		w.press("withdraw")
		w.reaches("gateway")
		gateway := browser.Open(t, phone, box+"/udun/desk")
		gateway.Until(`document.querySelector('button[value="succeeded"]')`)
		gateway.Fits()
		gateway.Picture("gateway-desk")
		gateway.Click(`button[value="succeeded"]`)
		gateway.Until(`document.readyState === "complete" && !document.querySelector('button[value="succeeded"]')`)
		gateway.Quiet()
		w.Until(`document.querySelector("#fate.verified")`)

		// The operator refuses, and the gateway never hears of it.
		for _, step := range []struct{ button, next string }{{"further", "vain"}, {"vain", "large"}, {"large", "operator"}, {"decline", "audit"}} {
			w.press(step.button)
			w.reaches(step.next)
			w.Fits()
		}
		if told := w.Text("#step-operator .found"); told != "Not paid: 600 USDT-TRC20 are back, and the balance is 933.75." {
			t.Errorf("after the operator's no: %s", told)
		}
		w.press("audit")
		w.Until(`document.querySelector("#books:not([hidden])")`)
		w.booksAddUp()
		w.Fits()
		w.Picture("home-390-audit")
		w.Quiet()

		// What the walk points to, now that it has something to show.
		email := w.Ask(`document.getElementById("email").value`)
		inbox := browser.Open(t, phone, box+"/inbox?to="+url.QueryEscape(email))
		inbox.Fits()
		inbox.Picture("inbox")
		inbox.Click(".mails a") // the newest
		inbox.Until(`document.readyState === "complete" && document.querySelector("iframe")`)
		if mail := inbox.Text("pre"); strings.TrimSpace(mail) == "" {
			t.Error("the mail has no text")
		}
		inbox.Fits()
		inbox.Picture("mail")
		inbox.Click(`a[href$="/html"]`)
		inbox.Until(`document.readyState === "complete" && location.pathname.endsWith("/html")`)
		if direction := inbox.Ask(`getComputedStyle(document.querySelector("h1, p")).direction`); direction != "rtl" {
			t.Errorf("the Arabic mail is written %s", direction)
		}
		inbox.Fits()
		inbox.Picture("mail-html")
		inbox.Quiet()

		desk := browser.Open(t, phone, box+"/pokepay/desk")
		if rows := desk.Ask(`[...document.querySelectorAll("tbody tr")].filter((row) => row.textContent.includes("` + email + `")).length`); rows != "2" {
			t.Errorf("%s applications at the issuer's desk for two attempts", rows)
		}
		desk.Fits()
		desk.Picture("desk")
		desk.Quiet()
	})
}

var phone = browsertest.Look{Width: 390, Dark: true}

// clicking is somebody at the home page.
type clicking struct {
	t *testing.T
	*browsertest.Page
	api string
}

func (w *clicking) press(button string) {
	w.t.Helper()
	w.Click(`button[data-run="` + button + `"]`)
}

// reaches waits until a step is the one to do.
func (w *clicking) reaches(step string) {
	w.t.Helper()
	w.Until(`document.querySelector("#step-` + step + `.current, .problem")`)
	if problem := w.Ask(`document.querySelector(".problem")?.textContent ?? ""`); problem != "" {
		w.t.Fatalf("on the way to the step %q: %s", step, problem)
	}
}

// booksAddUp is the last verdict, in which the gateway holds something.
func (w *clicking) booksAddUp() {
	w.t.Helper()
	if verdict := w.Text("#books"); !strings.HasPrefix(verdict, "All adds up") {
		w.t.Errorf("the books: %s", verdict)
	}
	if told := w.Text("#step-audit .found"); !regexp.MustCompile(`USDT-TRC20: ([1-9][0-9.]*) in the ledger, [1-9][0-9.]* at the gateway`).MatchString(told) {
		w.t.Errorf("the books say: %s", told)
	}
}

// approve completes the verification page, comes back over the product's own page, and says so at the home page.
func (w *clicking) approve(language, direction string) {
	w.t.Helper()
	link := w.Ask(`document.getElementById("link").href`)
	w.Click("#link")
	tab := w.Opened(link)
	// The provider does not hear of the customer's language: its page is in the browser's until one is chosen.
	tab.Click(`nav a[lang="` + language + `"]`)
	tab.Until(`document.readyState === "complete" && location.search === "?lang=` + language + `"`)
	written := func() {
		w.t.Helper()
		if got := tab.Ask(`document.documentElement.lang + " " + document.documentElement.dir + " " + getComputedStyle(document.querySelector("h1")).direction`); got != language+" "+direction+" "+direction {
			w.t.Errorf("%s is written in %s, not in %s %s", tab.Ask("location.pathname"), got, language, direction)
		}
		tab.Fits()
	}
	written()
	tab.Picture("verification-" + language)
	tab.Click(`button[value="approve"]`)
	tab.Until(`document.readyState === "complete" && location.href.startsWith("` + w.api + `/kyc/return?")`)
	written()
	tab.Picture("return-" + language)
	tab.Quiet()
	tab.Close()

	w.press("page")
	w.reaches("decide")
}
