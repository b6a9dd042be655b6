package pokepay

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// desk fetches a page of the desk.
func (i *issuer) desk(query string) string {
	i.t.Helper()
	resp, content, err := i.raw("GET", "/desk"+query, "", nil)
	if err != nil {
		i.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		i.t.Fatalf("HTTP %d %v", resp.StatusCode, resp.Header)
	}
	return string(content)
}

// press posts a form of the desk and returns the page that the browser ends on, with its address.
func (i *issuer) press(form url.Values, headers map[string]string) (status int, path, page string) {
	i.t.Helper()
	req, err := http.NewRequestWithContext(i.t.Context(), "POST", i.url+"/desk", strings.NewReader(form.Encode()))
	if err != nil {
		i.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		i.t.Fatal(err)
	}
	return resp.StatusCode, resp.Request.URL.RequestURI(), string(content)
}

func form(id int64, status int, reason string) url.Values {
	return url.Values{"id": {fmt.Sprint(id)}, "status": {fmt.Sprint(status)}, "reason": {reason}, "page": {"1"}}
}

func TestDesk(t *testing.T) {
	i := open(t, nil)
	if page := i.desk(""); !strings.Contains(page, "Nobody has applied yet") || !strings.Contains(page, "Simulated issuer") {
		t.Error("the empty desk does not say that it is empty and simulated")
	}
	i.apply(i.login(), "u1_1_a", "mei@example.test")
	id := i.kyc("u1_1_a").ID
	page := i.desk("")
	for _, want := range []string{"MEI CHAN", "mei@example.test", "u1_1_a", "session-1", "1 not reviewed", "billed sessions: 1"} {
		if !strings.Contains(page, want) {
			t.Errorf("the desk does not show %q", want)
		}
	}
	for _, status := range []int{StatusApproved, StatusFailed, StatusMismatch, StatusReview, StatusDuplicate} {
		if button := fmt.Sprintf(`name="status" value="%d">`, status); !strings.Contains(page, button) {
			t.Errorf("no button for status %d", status)
		}
		code, path, shown := i.press(form(id, status, "照片不清 <b>&"), nil)
		if code != 200 || path != "/pokepay/desk" {
			t.Errorf("the form ends at %s with HTTP %d", path, code)
		}
		if got := i.kyc("u1_1_a"); got.Status != status || got.Reason != "照片不清 <b>&" {
			t.Errorf("%+v", got)
		}
		if !strings.Contains(shown, "照片不清 &lt;b&gt;&amp;") || !strings.Contains(shown, statusWords[status]) {
			t.Errorf("status %d is not shown, or its reason not escaped", status)
		}
	}
}

func TestDeskRefusals(t *testing.T) {
	i := open(t, nil)
	i.apply(i.login(), "u1_1_a", "mei@example.test")
	id := i.kyc("u1_1_a").ID

	if code, _, page := i.press(form(99, StatusApproved, ""), nil); code != 200 || !strings.Contains(page, "Application 99: no such kyc") {
		t.Errorf("unknown application: HTTP %d", code)
	}
	if code, _, page := i.press(form(id, 9, ""), nil); code != 200 || !strings.Contains(page, "status must be from 1 to 6") {
		t.Errorf("unknown status: HTTP %d", code)
	}
	if code, _, _ := i.press(url.Values{"id": {"x"}, "status": {"2"}}, nil); code != 400 {
		t.Errorf("id that is no number: HTTP %d", code)
	}
	for _, headers := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.test"}} {
		if code, _, _ := i.press(form(id, StatusApproved, ""), headers); code != http.StatusForbidden {
			t.Errorf("%v: HTTP %d", headers, code)
		}
	}
	if got := i.kyc("u1_1_a"); got.Status != StatusOpen {
		t.Errorf("a refused form decided: %+v", got)
	}
}

func TestDeskPages(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	for n := range deskRows + 1 {
		i.apply(token, fmt.Sprintf("u%d_1_a", n), fmt.Sprintf("u%d@example.test", n))
	}
	first, second := i.desk(""), i.desk("?page=2")
	if strings.Contains(first, "u0@example.test") || !strings.Contains(first, `href="?page=2"`) || strings.Contains(first, "Newer") {
		t.Error("the first page is wrong")
	}
	if !strings.Contains(second, "u0@example.test") || !strings.Contains(second, `href="?page=1"`) || strings.Contains(second, "Older") {
		t.Error("the second page is wrong")
	}
	answers := form(i.kyc("u0_1_a").ID, StatusApproved, "")
	answers.Set("page", "2")
	if _, path, _ := i.press(answers, nil); path != "/pokepay/desk?page=2" {
		t.Errorf("a decision on the second page leads to %s", path)
	}
	for _, query := range []string{"?page=0", "?page=-1", "?page=x", "?page=9223372036854775807"} {
		if i.desk(query) == "" {
			t.Errorf("%s: empty", query)
		}
	}
}
