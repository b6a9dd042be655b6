package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// customer is somebody with the app.
type customer struct {
	*installation
	email, password string
	language        string
	address         string // network address that a trusted proxy reports; empty: none
	replica         int    // calls go to this one first

	id              int64
	access, refresh string
	mail            int64 // the newest mail that was read
}

var customers atomic.Int64

func (in *installation) newCustomer() *customer {
	n := customers.Add(1)
	return &customer{installation: in, email: fmt.Sprintf("amina.%d@example.com", n), password: fmt.Sprintf("Harbour-Lights-%d!", n), language: "en"}
}

type object = map[string]any

// answer is what came back.
type answer struct {
	status int
	header http.Header
	text   string
	body   object // nil if it is no JSON object
}

func (a answer) ok() bool { return a.status == http.StatusOK }

// code is the machine code of a refusal.
func (a answer) code() string { return a.field("code") }

// field is a text in the body, by its path.
func (a answer) field(path ...string) string {
	at := a.body
	for _, name := range path[:len(path)-1] {
		at, _ = at[name].(object)
	}
	s, _ := at[path[len(path)-1]].(string)
	return s
}

func (a answer) number(path ...string) int64 {
	at := a.body
	for _, name := range path[:len(path)-1] {
		at, _ = at[name].(object)
	}
	n, _ := at[path[len(path)-1]].(json.Number)
	i, _ := n.Int64()
	return i
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, clip(a.text, 600)) }

// send makes any request. A body that is neither nil nor text is written as JSON.
func (in *installation) send(method, address string, header http.Header, body any) (answer, error) {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(in.t.Context(), method, address, content)
	if err != nil {
		return answer{}, err
	}
	request.Header = header.Clone()
	response, err := in.browser.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: response.StatusCode, header: response.Header, text: string(text)}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&a.body) != nil {
		a.body = nil
	}
	return a, nil
}

// headers are those of the app, which sends its token wherever it goes.
func (c *customer) headers() http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "Accept-Language": {c.language}}
	if c.access != "" {
		h.Set("Authorization", "Bearer "+c.access)
	}
	if c.address != "" {
		h.Set("X-Forwarded-For", c.address)
	}
	return h
}

// try makes a call that may fail for want of a program that runs.
func (c *customer) try(method, path string, body any) (answer, error) {
	return c.send(method, c.replicas[c.replica].url()+"/api/v1"+path, c.headers(), body)
}

// call makes a call that must reach the program.
func (c *customer) call(method, path string, body any) answer {
	c.t.Helper()
	a, err := c.try(method, path, body)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

// must makes a call that has to succeed.
func (c *customer) must(method, path string, body any) answer {
	c.t.Helper()
	a := c.call(method, path, body)
	if !a.ok() {
		c.t.Fatalf("%s %s: %v", method, path, a)
	}
	return a
}

var codeInMail = regexp.MustCompile(`(?:^|\D)(\d{5})(?:\D|$)`)

// newCode is the code in a mail that has come since the last one was read; "" if there is none.
func (c *customer) newCode() string {
	list, err := c.simulators.Inbox().Messages(c.t.Context(), c.email)
	if err != nil {
		c.t.Error(err)
		return ""
	}
	for _, m := range list {
		if match := codeInMail.FindStringSubmatch(m.Text); m.ID > c.mail && match != nil {
			c.mail = m.ID
			return match[1]
		}
	}
	return ""
}

// waitCode waits for the next code; "" if none comes.
func (c *customer) waitCode(atMost time.Duration) string {
	deadline := time.Now().Add(atMost)
	for {
		if code := c.newCode(); code != "" || time.Now().After(deadline) {
			return code
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *customer) code() string {
	c.t.Helper()
	code := c.waitCode(30 * time.Second)
	if code == "" {
		c.t.Fatalf("no mail for %s", c.email)
	}
	return code
}

// signUp makes the account.
func (c *customer) signUp() {
	c.t.Helper()
	c.must("POST", "/auth/signup", object{"email": c.email})
	c.must("POST", "/auth/verify", object{"email": c.email, "otp_code": c.code()})
	c.id = c.must("POST", "/auth/set-password", object{"email": c.email, "password": c.password}).number("user", "id")
}

// logIn signs in.
func (c *customer) logIn() {
	c.t.Helper()
	c.must("POST", "/auth/login", object{"email": c.email, "password": c.password})
	c.signedIn(c.must("POST", "/auth/verify-login-otp", object{"email": c.email, "otp_code": c.code()}))
}

func (c *customer) signedIn(a answer) {
	c.id, c.access, c.refresh = a.number("user", "id"), a.field("access_token"), a.field("refresh_token")
}

// join is a new customer who is signed in.
func (in *installation) join() *customer {
	in.t.Helper()
	c := in.newCustomer()
	c.signUp()
	c.logIn()
	return c
}

// form is what the app sends to begin a verification.
func (c *customer) form() object {
	return object{"first_en_name": "AMINA", "last_en_name": "HADDAD", "email": c.email, "area_code": "852", "phone": "51234567", "bill_country_code": "HK",
		"state": "Hong Kong", "city": "Hong Kong", "address": "1 Queen's Road", "post_code": "999077",
		"agent_uid": "AMINA_HADDAD_1", "return_url": "https://yourapp.com/kyc/didit/callback"}
}

// page does on the verification page what a person would do.
func (c *customer) page(link, action string) error {
	a, err := c.send("POST", link, http.Header{"Content-Type": {"application/json"}}, object{"action": action})
	if err == nil && !a.ok() {
		err = fmt.Errorf("verification page: %v", a)
	}
	return err
}

// decide lets the issuer say its word about an attempt.
func (c *customer) decide(agentUID string, verdict int, reason string) error {
	a, err := c.send("POST", c.simulators.URL()+"/control/kyc", http.Header{}, object{"agent_uid": agentUID, "pokepay_status": verdict, "reason": reason})
	if err == nil && !a.ok() {
		err = fmt.Errorf("control: %v", a)
	}
	return err
}

// eventually looks until check finds nothing wrong any more.
func eventually(t *testing.T, atMost time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(atMost)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Error(err)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
