package kyc_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

// comesBack is the customer's browser on its way back from the verification page, with a status that anybody can write there.
func (a attempt) comesBack(status string) reply {
	a.c.t.Helper()
	q := url.Values{"ref": {a.agentUID}, "lang": {"en"}, "verificationSessionId": {a.sessionID}, "status": {status}}
	return a.c.w.call(http.MethodGet, "/kyc/return?"+q.Encode(), "", nil)
}

// After the verification the browser comes back to a page of ours, in the customer's language, that sends them to the app.
func TestLandingPage(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		for _, l := range i18n.Locales {
			t.Run(string(l), func(t *testing.T) {
				c := w.with(t).customer()
				r := c.tryStart(entries(), "Accept-Language", string(l))
				a := attemptFrom(c, r)
				back, err := url.Parse(a.page("approve", ""))
				if err != nil {
					t.Fatal(err)
				}
				if got := back.Scheme + "://" + back.Host; got != w.url {
					t.Fatalf("the browser is sent to %s", got)
				}
				// The browser has a language of its own and no token.
				page := w.with(t).call(http.MethodGet, back.RequestURI(), "", nil, "Accept-Language", "fr")
				if page.status != http.StatusOK || page.header.Get("Content-Type") != "text/html; charset=utf-8" || page.header.Get("Content-Language") != string(l) {
					t.Fatalf("%d %v", page.status, page.header)
				}
				for _, want := range []string{w.texts.Get(l, "kyc.return.title", nil), w.texts.Get(l, "kyc.return.text", nil), `lang="` + string(l) + `"`, `dir="` + l.Direction() + `"`, "width=device-width"} {
					if !strings.Contains(page.raw, want) {
						t.Errorf("the page lacks %q", want)
					}
				}
				for _, never := range []string{a.agentUID, a.sessionID, "<script", "Approved"} {
					if strings.Contains(page.raw, never) {
						t.Errorf("the page holds %q", never)
					}
				}
				if p := page.header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || page.header.Get("Referrer-Policy") != "no-referrer" {
					t.Errorf("headers: %v", page.header)
				}
				if w.Channel == kyc.ViaPokePay {
					c.is(stepPending) // handed in, and nobody has looked yet
				}
			})
		}
	})
}

// The status in the address is the customer's to write: it never decides anything.
func TestFakedReturn(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		for _, status := range []string{"Approved", "approved", "Declined", "In Review", "Expired", "Kyc Expired", "verified", "2", ""} {
			if r := a.comesBack(status); r.status != http.StatusOK {
				t.Errorf("status %q: %d %s", status, r.status, r.raw)
			}
		}
		w.idle()
		w.stir(6 * time.Second)
		if w.Channel == kyc.ViaPokePay {
			// At most they hurt themselves: their attempt counts as handed in.
			c.is(stepPending)
			a.verdict(3, "nothing was handed in")
			c.becomes(stepRejected(3, "nothing was handed in"))
			return
		}
		c.is(stepSubmit)
	})
}

// Nobody can move somebody else's attempt, and the page tells no one what exists.
func TestHostileReturn(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		plain := w.call(http.MethodGet, "/kyc/return?lang=en", "", nil)
		for name, q := range map[string]url.Values{
			"no session":        {"ref": {a.agentUID}, "status": {"Approved"}},
			"another session":   {"ref": {a.agentUID}, "status": {"Approved"}, "verificationSessionId": {"0d7c1b1e-1111-4222-8333-944445555566"}},
			"empty session":     {"ref": {a.agentUID}, "status": {"Approved"}, "verificationSessionId": {""}},
			"unknown reference": {"ref": {"u1_1_aaaaaaaa"}, "status": {"Approved"}, "verificationSessionId": {a.sessionID}},
			"markup":            {"ref": {"<script>alert(1)</script>"}, "status": {"\"><img src=x onerror=alert(1)>"}, "verificationSessionId": {"</style><b>"}},
			"template":          {"ref": {"{{.Style}}"}, "status": {"${7*7}"}},
			"SQL":               {"ref": {"' OR 1=1 --"}, "verificationSessionId": {"' OR '1'='1"}},
			"line breaks":       {"ref": {"a"}, "status": {"\r\nSet-Cookie: a=b"}},
			"direction":         {"ref": {"\u202eabc"}, "status": {"\u2066"}},
			"repeated":          {"ref": {"a", a.agentUID}, "status": {"x", "Approved"}, "verificationSessionId": {"", a.sessionID}},
		} {
			q.Set("lang", "en")
			r := w.call(http.MethodGet, "/kyc/return?"+q.Encode(), "", nil)
			if r.status != http.StatusOK || r.raw != plain.raw || r.header.Get("Set-Cookie") != "" {
				t.Errorf("%s: %d, the page is another one or has another header: %v", name, r.status, r.header)
			}
		}
		for _, query := range []string{"ref=" + strings.Repeat("a", 5000), "lang=xx", "lang=%00", "ref=%00%01%1b", "ref=%ff%fe&status=%c3%28", "lang=" + strings.Repeat("e", 500), "%zz=1", ";;;"} {
			if r := w.call(http.MethodGet, "/kyc/return?"+query, "", nil); r.status >= 500 || r.raw == "" {
				t.Errorf("%.20s: %d", query, r.status)
			}
		}
		w.idle()
		if diff := cmp.Diff([]string{">pending_submit"}, a.moves()); diff != "" {
			t.Errorf("the attempt moved:\n%s", diff)
		}
		c.is(stepSubmit)
	})
}

// Coming back is a reason to ask: whoever returns from the page reads the truth at once and need not wait for a poll.
func TestReturnAsks(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.mail.hold(true) // no webhook
		c := w.customer()
		a := c.start()
		w.stir(30 * time.Minute) // polls are a minute apart by now
		w.clock.Advance(6 * time.Second)
		a.page("approve", "")
		if r := a.comesBack("Approved"); r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		w.eventually("the question", func() bool {
			return w.count(`SELECT COUNT(*) FROM kyc_records WHERE id = $1 AND status = 'processing'`, a.recordID) == 1
		})
	}, via(kyc.ViaDidit))
}
