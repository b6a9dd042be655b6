package pokepay

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// protocolCall is one call of each operation.
type protocolCall struct {
	operation    *fault.Point
	method, path string
	body         any
}

// calls makes one good call for each operation; uid keeps those that write apart.
func (i *issuer) calls(images, uid string) []protocolCall {
	email := uid + "@example.test"
	return []protocolCall{
		{opLogin, "POST", "/web/auth/login", fields{"account": account, "login_type": "email", "password": password}},
		{opKYCInit, "POST", "/api/v1/kyc/didit/init", initBody(uid+"_h", email)},
		{opKYCSubmit, "POST", "/api/v1/kyc", submitBody(images, uid+"_s", email, "K-"+uid)},
		{opKYCList, "GET", "/api/v1/kyc", nil},
		{opKYCGet, "GET", "/api/v1/kyc/1", nil},
		{opRate, "GET", "/api/v1/system/currencySimple?src_currency_code=USDT&dst_currency_code=HKD", nil},
	}
}

func (i *issuer) kycCount() int {
	i.t.Helper()
	all, err := i.sim.KYCs(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	return len(all)
}

func TestFaultsThatDoNotAct(t *testing.T) {
	images, _ := gallery(t)
	i := open(t, nil)
	token := i.login()
	i.apply(token, "u0_1_a", "zero@example.test")
	for _, kind := range []fault.Kind{fault.HTTP500, fault.HTML502, fault.ExpiredToken, fault.RefuseInit} {
		for _, c := range i.calls(images, strings.ReplaceAll(string(kind), "_", "")) {
			if kind == fault.ExpiredToken && c.operation == opLogin {
				continue // a login carries no token
			}
			t.Run(string(kind)+" "+c.operation.Operation, func(t *testing.T) {
				defer i.faults.Clear()
				rule := fault.Rule{Operation: c.operation.Operation, Kind: kind, Count: 1}
				if kind == fault.RefuseInit {
					rule.Message = "系统维护中"
				}
				i.inject(rule)
				before := i.kycCount()
				resp, content, err := i.raw(c.method, c.path, token, c.body)
				if err != nil {
					t.Fatal(err)
				}
				var r reply
				isEnvelope := json.Unmarshal(content, &r) == nil
				switch kind {
				case fault.HTTP500:
					if resp.StatusCode != 500 || !isEnvelope || r.Code != 500 || string(r.Data) != "null" {
						t.Errorf("HTTP %d %s", resp.StatusCode, content)
					}
				case fault.HTML502:
					if resp.StatusCode != 502 || isEnvelope || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
						t.Errorf("HTTP %d %v %s", resp.StatusCode, resp.Header, content)
					}
				case fault.ExpiredToken:
					i.wantRefused(r, 401, "Insufficient authority")
				case fault.RefuseInit:
					i.wantRefused(r, 400, "系统维护中")
				}
				if after := i.kycCount(); after != before {
					t.Errorf("it acted: %d KYCs, before %d", after, before)
				}
				if r := i.call(c.method, c.path, token, c.body); r.Code != 200 { // once only
					t.Errorf("afterwards: code %d, %s", r.Code, r.Errstr)
				}
			})
		}
	}
}

// A call without authority must not use up a fault that was meant for a good one.
func TestBusinessFaultsWaitForAnAuthorisedCall(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	i.inject(fault.Rule{Operation: opKYCList.Operation, Kind: fault.RefuseInit, Message: "no", Count: 1})
	i.wantRefused(i.call("GET", "/api/v1/kyc", "", nil), 401, "Insufficient authority")
	i.wantRefused(i.call("GET", "/api/v1/kyc", token, nil), 400, "no")
}

func TestActThenTimeout(t *testing.T) {
	images, _ := gallery(t)
	i := open(t, nil)
	token := i.login()
	i.inject(fault.Rule{Operation: "*", Kind: fault.ActThenTimeout, Count: 2})
	for _, c := range i.calls(images, "u1")[1:3] {
		ctx, giveUp := context.WithCancel(t.Context())
		before := i.kycCount()
		ended := make(chan error, 1)
		go func() {
			body, err := json.Marshal(c.body)
			if err != nil {
				ended <- err
				return
			}
			req, err := http.NewRequestWithContext(ctx, c.method, i.url+c.path, strings.NewReader(string(body)))
			if err != nil {
				ended <- err
				return
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				resp.Body.Close()
				err = fmt.Errorf("answered HTTP %d", resp.StatusCode)
			}
			ended <- err
		}()
		eventually(t, c.operation.Operation+" has acted", func() bool { return i.kycCount() == before+1 })
		select {
		case err := <-ended:
			t.Fatalf("%s: ended by itself: %v", c.operation.Operation, err)
		default:
		}
		giveUp()
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "context canceled") {
			t.Errorf("%s: %v", c.operation.Operation, err)
		}
	}
}

// A call that is held must not keep the sandbox from stopping.
func TestStoppingLetsGoOfHeldCalls(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	i.inject(fault.Rule{Operation: opKYCInit.Operation, Kind: fault.ActThenTimeout})
	ended := make(chan error, 1)
	go func() {
		_, _, err := i.raw("POST", "/api/v1/kyc/didit/init", token, initBody("u1_1_a", "mei@example.test"))
		ended <- err
	}()
	eventually(t, "it has acted", func() bool { return i.kycCount() == 1 })
	i.stop()
	if err := <-ended; err == nil {
		t.Error("the held call was answered")
	}
}

func TestDelay(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	i.inject(fault.Rule{Operation: opKYCList.Operation, Kind: fault.Delay, DelayMS: 80, Count: 1})
	begun := time.Now()
	if r := i.call("GET", "/api/v1/kyc", token, nil); r.Code != 200 {
		t.Errorf("code %d", r.Code)
	}
	if took := time.Since(begun); took < 80*time.Millisecond {
		t.Errorf("answered after %v", took)
	}
}

func TestOddNumbers(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	i.apply(token, "u1_1_a", "mei@example.test")
	i.inject(fault.Rule{Operation: opKYCGet.Operation, Kind: fault.OddNumbers})
	forms := map[string]*regexp.Regexp{
		"integer": regexp.MustCompile(`"created_time":1767225600,`),
		"float":   regexp.MustCompile(`"created_time":1767225600\.0,`),
		"text":    regexp.MustCompile(`"created_time":"1767225600",`),
	}
	codes := map[string]bool{}
	eventually(t, "each form of a number was seen", func() bool {
		_, content, err := i.raw("GET", "/api/v1/kyc/1", token, nil)
		if err != nil {
			t.Fatal(err)
		}
		var r struct{ Code any }
		if err := json.Unmarshal(content, &r); err != nil { // it stays valid JSON
			t.Fatalf("%v: %s", err, content)
		}
		codes[fmt.Sprintf("%T %v", r.Code, r.Code)] = true
		for name, form := range forms {
			if form.Match(content) {
				delete(forms, name)
			}
		}
		return len(forms) == 0 && codes["float64 200"] && codes["string 200"]
	})
	if len(codes) != 2 {
		t.Errorf("codes %v, want 200 as number and as text", codes)
	}
}

func TestNoRequestID(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	if r := i.call("GET", "/api/v1/kyc", token, nil); r.RequestID == "" {
		t.Error("no request_id without the fault")
	}
	i.inject(fault.Rule{Operation: opKYCList.Operation, Kind: fault.NoRequestID, Count: 1})
	if r := i.call("GET", "/api/v1/kyc", token, nil); r.RequestID != "" || r.Code != 200 {
		t.Errorf("%+v", r)
	}
}
