package udun

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// desk fetches a page of the desk.
func (g *gateway) desk(query string) string {
	g.t.Helper()
	resp, err := http.Get(g.url + "/desk" + query)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" || strings.Contains(resp.Header.Get("Content-Security-Policy"), "unsafe") {
		g.t.Fatalf("HTTP %d %v (%v)", resp.StatusCode, resp.Header, err)
	}
	return string(page)
}

// press posts a form of the desk and returns the page that the browser ends on, with its address.
func (g *gateway) press(id, action, page string, headers map[string]string) (status int, path, shown string) {
	g.t.Helper()
	form := url.Values{"trade_id": {id}, "action": {action}, "page": {page}}
	req, err := http.NewRequestWithContext(g.t.Context(), "POST", g.url+"/desk", strings.NewReader(form.Encode()))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, resp.Request.URL.RequestURI(), string(content)
}

// actions lists the buttons on a page with one trade that matters, in their order.
func actions(page string) (list []string) {
	for _, part := range strings.Split(page, `name="action" value="`)[1:] {
		action, _, _ := strings.Cut(part, `"`)
		list = append(list, action)
	}
	return list
}

func TestDesk(t *testing.T) {
	box := receive(t, always(200))
	g := open(t, nil)
	if page := g.desk(""); !strings.Contains(page, "No money has moved yet") || !strings.Contains(page, "Simulated gateway") {
		t.Error("the empty desk does not say that it is empty and simulated")
	}
	deposit := g.deposit(Deposit{Address: g.address("195", box.url), Coin: "USDT-TRC20", Amount: "20", Confirmations: 5, Memo: "<b>"})
	if page := g.desk(""); !strings.Contains(page, "0 of 5 confirmations") || !strings.Contains(page, "&lt;b&gt;") || strings.Join(actions(page), " ") != "confirm resend" {
		t.Errorf("a deposit: %v", actions(page))
	}
	if status, path, page := g.press(deposit.TradeID, "confirm", "1", nil); status != 200 || path != "/udun/desk" || !strings.Contains(page, "3 arrived") || !strings.Contains(page, "<strong>20</strong> USDT-TRC20") {
		t.Errorf("confirmed: HTTP %d %s", status, path)
	}
	g.withdraw("wd-1", "12.5", box.url)
	id := g.trade(Key{BusinessID: "wd-1"}).TradeID
	for _, step := range []struct{ offered, action, shows string }{
		{"approved refused succeeded failed resend", "approved", "1 being sent"},
		{"succeeded failed resend", "succeeded", "3 paid"},
		{"resend", "resend", "3 paid"},
	} {
		page := g.desk("")
		if got := strings.TrimSuffix(strings.Join(actions(page), " "), " resend"); got != strings.TrimSuffix(step.offered+" resend", " resend") { // the deposit's own
			t.Errorf("offered %q, want %q", got, step.offered)
		}
		if _, _, page = g.press(id, step.action, "1", nil); !strings.Contains(page, step.shows) || !strings.Contains(page, "business id wd-1") {
			t.Errorf("after %s: no %q", step.action, step.shows)
		}
	}
	eventually(t, "six callbacks", func() bool { return len(box.calls()) == 6 })
	if g.balance("USDT-TRC20") != "7.5" {
		t.Errorf("balance %s", g.balance("USDT-TRC20"))
	}
}

func TestDeskRefusals(t *testing.T) {
	g := open(t, nil)
	g.withdraw("wd-1", "1", "http://127.0.0.1:1/")
	id := g.trade(Key{BusinessID: "wd-1"}).TradeID
	for _, headers := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.test"}} {
		if code, _, _ := g.press(id, Approved, "1", headers); code != http.StatusForbidden {
			t.Errorf("%v: HTTP %d", headers, code)
		}
	}
	for _, c := range []struct{ id, action, says string }{
		{"99", Approved, "Trade 99: no such trade"}, {"", Approved, "no such trade"}, {id, "gift", "outcome must be"}, {id, "confirm", "cannot become that"},
	} {
		if code, _, page := g.press(c.id, c.action, "1", nil); code != 200 || !strings.Contains(page, c.says) {
			t.Errorf("%+v: HTTP %d", c, code)
		}
	}
	if got := g.trade(Key{BusinessID: "wd-1"}); got.Status != StatusReview {
		t.Errorf("a refused form decided: %+v", got)
	}
}

func TestDeskPages(t *testing.T) {
	g := open(t, nil)
	for range deskRows + 1 {
		g.fund("1")
	}
	first, second := g.desk(""), g.desk("?page=2")
	if !strings.Contains(first, `href="?page=2"`) || strings.Contains(first, "Newer") || strings.Count(first, "<tr>") != deskRows+1 {
		t.Error("the first page is wrong")
	}
	if !strings.Contains(second, `href="?page=1"`) || strings.Contains(second, "Older") || strings.Count(second, "<tr>") != 1+1 {
		t.Error("the second page is wrong")
	}
	if _, path, _ := g.press(g.custody().Trades[0].TradeID, "confirm", "2", nil); !strings.HasPrefix(path, "/udun/desk?error=") || !strings.HasSuffix(path, "&page=2") {
		t.Errorf("an action on the second page leads to %s", path)
	}
	for _, query := range []string{"?page=0", "?page=-1", "?page=x", "?page=9223372036854775807"} {
		if g.desk(query) == "" {
			t.Errorf("%s: empty", query)
		}
	}
}
