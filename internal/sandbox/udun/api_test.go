package udun

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// The vectors of provider/udun section 2.
func TestSignatureVectors(t *testing.T) {
	for _, v := range []struct{ body, nonce, timestamp, sign string }{
		{`[{"merchantId":"300011","mainCoinType":195,"callUrl":"https://pay.example.test/udun/callback","walletId":"","alias":"u-42"}]`,
			"583421", "1767225600", "c1ad0023c891c57a1c9a9f6e1c52275a"},
		{`{"merchantId":"300011","showBalance":false}`, "583422", "1767225601", "a087927cee9aa4b21737580f2c96ad5f"},
		{`[{"address":"TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf","amount":"12.5","merchantId":"300011","mainCoinType":"195","coinType":"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t","callUrl":"https://pay.example.test/udun/callback","businessId":"wd-0001","memo":""}]`,
			"583423", "1767225602", "7a3b6ddf0ce64267057433383d8f4435"},
		{`{"address":"TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf","amount":"25500000","blockHigh":"61234567","coinType":"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t","decimals":"6","fee":"0","mainCoinType":"195","memo":"","status":3,"tradeId":"900000000000000001","tradeType":1,"txId":"aa11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233"}`,
			"QWERTY", "1767225660123", "d1cf99e66bc8bc5f02d5d32bde0e6d98"},
		{`{"address":"TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf","amount":"12500000","blockHigh":"61234600","businessId":"wd-0001","coinType":"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t","decimals":"6","fee":"1000000","mainCoinType":"195","memo":"备注","status":3,"tradeId":"900000000000000002","tradeType":2,"txId":"bb11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233"}`,
			"ZXCVBN", "1767225700456", "1a3a019c4c5d1e71ceb06eafb0c2eca2"},
	} {
		if got := sign(v.body, apiKey, v.nonce, v.timestamp); got != v.sign {
			t.Errorf("%s: %s, want %s", v.body, got, v.sign)
		}
	}
}

// The wire request of the specification's first vector is understood as it stands.
func TestWireVector(t *testing.T) {
	g := open(t, nil)
	g.accepted(g.sendRaw("/mch/address/create", `{"timestamp": 1767225600, "nonce": 583421, "sign": "c1ad0023c891c57a1c9a9f6e1c52275a", "body": "[{\"merchantId\":\"300011\",\"mainCoinType\":195,\"callUrl\":\"https://pay.example.test/udun/callback\",\"walletId\":\"\",\"alias\":\"u-42\"}]"}`))
	want := []AddressState{{MainCoinType: "195", Alias: "u-42", CallURL: "https://pay.example.test/udun/callback", Created: start}}
	got := g.custody().Addresses
	want[0].Address = got[0].Address
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
}

const createBody = `[{"merchantId":"300011","mainCoinType":"195","callUrl":"http://127.0.0.1:1/"}]`

func TestBothGenerations(t *testing.T) {
	g := open(t, nil)
	for _, form := range []struct{ timestamp, nonce string }{
		{`1767225600`, `583421`}, {`"1767225600123"`, `"QWERTY"`}, {`1767225600123`, `"12ab"`}, {`"1767225600"`, `"583421"`},
	} {
		g.accepted(g.sendRaw("/mch/address/create", signed(createBody, form.timestamp, form.nonce)))
	}
	for _, fields := range []string{`"mainCoinType":60`, `"mainCoinType":"60"`, `"coinType":60`, `"coinType":"60"`, `"mainCoinType":"60","coinType":60`} {
		r := g.send("/mch/address/create", `[{"merchantId":"300011",`+fields+`,"callUrl":"http://127.0.0.1:1/"}]`)
		g.accepted(r)
		if !strings.Contains(string(r.Data), `"coinType":60`) {
			t.Errorf("%s: %s", fields, r.Data)
		}
	}
	g.refused(g.send("/mch/address/create", `[{"merchantId":"300011","mainCoinType":60,"coinType":195,"callUrl":"http://127.0.0.1:1/"}]`), codeBadParameters)
}

func TestEnvelopeIsChecked(t *testing.T) {
	g := open(t, nil)
	good := signed(createBody, "1767225600", "583421")
	for name, c := range map[string]struct {
		envelope string
		code     int
	}{
		"no JSON":           {`hello`, 4005},
		"empty":             {``, 4005},
		"body as an array":  {`{"timestamp":1767225600,"nonce":1,"sign":"","body":[]}`, 4005},
		"timestamp in text": {signed(createBody, `"yesterday"`, "1"), 4005},
		"no nonce":          {signed(createBody, "1767225600", "null"), 4005},
		"forged":            {strings.Replace(good, "195", "196", 1), 4162},
		"unsigned":          {strings.Replace(good, `"sign":"`, `"sing":"`, 1), 4162},
		"other nonce":       {strings.Replace(good, "583421", "583422", 1), 4162},
		"merchant":          {signed(`[{"merchantId":"1","mainCoinType":195,"callUrl":"http://127.0.0.1:1/"}]`, "1767225600", "1"), 4001},
		"no merchant":       {signed(`[{"mainCoinType":195}]`, "1767225600", "1"), 4001},
		"object":            {signed(`{"merchantId":"300011","mainCoinType":195,"callUrl":"http://127.0.0.1:1/"}`, "1767225600", "1"), 4005},
		"empty array":       {signed(`[]`, "1767225600", "1"), 4005},
		"two elements":      {signed(strings.TrimSuffix(createBody, "]")+","+createBody[1:], "1767225600", "1"), 4005},
		"no object":         {signed(`[1]`, "1767225600", "1"), 4005},
	} {
		t.Run(name, func(t *testing.T) {
			sub := *g
			sub.t = t
			sub.refused(sub.sendRaw("/mch/address/create", c.envelope), c.code)
		})
	}
	if _, content, err := g.raw("/mch/address/create", "text/plain", good); err != nil || !strings.Contains(string(content), "4005") {
		t.Errorf("text/plain: %s, %v", content, err)
	}
	g.refused(g.send("/mch/support-coins", `[{"merchantId":"300011"}]`), codeBadParameters)
	if n := len(g.custody().Addresses); n != 0 {
		t.Errorf("%d addresses", n)
	}
	upper := strings.Replace(good, sign(createBody, apiKey, "583421", "1767225600"), strings.ToUpper(sign(createBody, apiKey, "583421", "1767225600")), 1)
	g.accepted(g.sendRaw("/mch/address/create", upper))
	resp, err := http.Get(g.url + "/mch/support-coins")
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %v, %v", resp, err)
	}
	resp.Body.Close()
}

func TestAddressRefusals(t *testing.T) {
	g := open(t, func(o *Options) { o.AddressQuota, o.WalletID = 2, "w-1" })
	create := func(fields string) reply {
		return g.send("/mch/address/create", `[{"merchantId":"300011",`+fields+`}]`)
	}
	g.refused(create(`"callUrl":"http://127.0.0.1:1/"`), codeBadParameters)
	g.refused(create(`"mainCoinType":195`), codeBadParameters)
	g.refused(create(`"mainCoinType":195,"callUrl":"ftp://x/"`), codeBadParameters)
	g.refused(create(`"mainCoinType":3,"callUrl":"http://127.0.0.1:1/"`), codeWrongCoin)
	g.refused(create(`"mainCoinType":195,"callUrl":"http://127.0.0.1:1/","walletId":"w-2"`), codeBadWallet)
	g.accepted(create(`"mainCoinType":195,"callUrl":"http://127.0.0.1:1/","walletId":"w-1"`))
	if a, b := g.custody().Addresses[0].Address, g.address("195", "http://127.0.0.1:1/"); a == b {
		t.Error("the same address twice")
	}
	g.refused(create(`"mainCoinType":195,"callUrl":"http://127.0.0.1:1/"`), codeQuota)

	disabled := open(t, func(o *Options) { o.Disabled = true })
	disabled.refused(disabled.send("/mch/address/create", createBody), codeDisabled)
	disabled.refused(disabled.send("/mch/support-coins", `{"merchantId":"300011"}`), codeDisabled)
}

func TestAddressesAreChecked(t *testing.T) {
	g := open(t, nil)
	for _, chain := range []string{"0", "2", "60", "195", "714"} {
		address := g.address(chain, "http://127.0.0.1:1/")
		body := fmt.Sprintf(`[{"merchantId":"300011","mainCoinType":%q,"address":%q}]`, chain, address)
		g.accepted(g.send("/mch/check/address", body))
		g.accepted(g.send("/mch/exist/address", body))
		wrong := strings.Replace(body, address, address+"1", 1)
		g.refused(g.send("/mch/check/address", wrong), codeBadDestination)
		g.refused(g.send("/mch/exist/address", wrong), codeBadDestination)
		if chain == "60" { // the case of these does not matter, and the chain does
			g.accepted(g.send("/mch/exist/address", strings.Replace(body, address, strings.ToLower(address), 1)))
			g.refused(g.send("/mch/exist/address", strings.Replace(body, `"60"`, `"714"`, 1)), codeBadDestination)
		}
	}
	g.accepted(g.send("/mch/check/address", `[{"merchantId":"300011","mainCoinType":195,"address":"`+somebody+`"}]`))
	g.refused(g.send("/mch/exist/address", `[{"merchantId":"300011","mainCoinType":195,"address":"`+somebody+`"}]`), codeBadDestination)
	for _, path := range []string{"/mch/check/address", "/mch/exist/address"} {
		g.refused(g.send(path, `[{"merchantId":"300011","mainCoinType":"3","address":"x"}]`), codeWrongCoin)
		g.refused(g.send(path, `[{"merchantId":"300011","address":"x"}]`), codeBadParameters)
	}
}

func TestSupportCoins(t *testing.T) {
	g := open(t, nil)
	g.fund("0.000001")
	g.deposit(Deposit{Address: somebody, Coin: "BNB", Amount: "123456789012.000000000000000001", UnknownAddress: true})
	read := func(body string) map[string]map[string]json.RawMessage {
		r := g.send("/mch/support-coins", body)
		g.accepted(r)
		var list []map[string]json.RawMessage
		if err := json.Unmarshal(r.Data, &list); err != nil {
			t.Fatal(err)
		}
		byName := map[string]map[string]json.RawMessage{}
		for _, c := range list {
			var name string
			if err := json.Unmarshal(c["name"], &name); err != nil {
				t.Fatal(err)
			}
			byName[name] = c
		}
		return byName
	}
	with, without := read(`{"merchantId":"300011","showBalance":true}`), read(`{"merchantId":"300011","showBalance":false}`)
	if len(with) != len(coins) || len(without) != len(coins) {
		t.Errorf("%d and %d coins", len(with), len(without))
	}
	got := fmt.Sprintf("%s", with["USDT-TRC20"])
	want := fmt.Sprintf("%s", map[string]json.RawMessage{"name": []byte(`"USDT-TRC20"`), "coinName": []byte(`"USDT"`), "symbol": []byte(`"TRCUSDT"`), "mainCoinType": []byte(`"195"`),
		"coinType": []byte(`"` + usdtContract + `"`), "decimals": []byte(`"6"`), "tokenStatus": []byte(`1`), "mainSymbol": []byte(`"TRX"`), "balance": []byte(`0.000001`), "logo": []byte(`""`)})
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if b := string(with["BNB"]["balance"]); b != "123456789012.000000000000000001" { // a number with all its digits
		t.Errorf("balance %s", b)
	}
	missing := 0
	for name, c := range without {
		if _, shown := c["balance"]; shown {
			t.Errorf("%s shows its balance", name)
		}
		if _, named := c["mainSymbol"]; !named {
			missing++
		}
		main := string(c["mainCoinType"]) == string(c["coinType"])
		if main != (string(c["tokenStatus"]) == "0") {
			t.Errorf("%s: token status %s", name, c["tokenStatus"])
		}
	}
	if missing != 1 {
		t.Errorf("%d coins without mainSymbol, want 1", missing)
	}
	g.refused(g.send("/mch/support-coins", `{"merchantId":"300011","showBalance":"maybe"}`), codeBadParameters)
}

func TestWithdrawalRefusals(t *testing.T) {
	g := open(t, nil)
	g.fund("100")
	good := withdrawBody("wd-1", "12.5", "http://127.0.0.1:1/")
	replace := func(old, new string) string {
		changed := strings.Replace(good, old, new, 1)
		if changed == good {
			t.Fatalf("%s is not there", old)
		}
		return changed
	}
	for _, c := range []struct {
		body string
		code int
	}{
		{replace(`"wd-1"`, `""`), codeBadParameters},
		{replace(`"wd-1"`, `"`+strings.Repeat("x", 101)+`"`), codeBadParameters},
		{replace(`"http://127.0.0.1:1/"`, `""`), codeBadParameters},
		{replace(`"mainCoinType":"195",`, ``), codeBadParameters},
		{replace(usdtContract, ``), codeBadParameters},
		{replace(usdtContract, strings.ToLower(usdtContract)), codeUnsupportedCoin},
		{replace(`"195"`, `"3"`), codeUnsupportedCoin},
		{replace(`"12.5"`, `""`), codeBadAmount},
		{replace(`"12.5"`, `"0"`), codeBadAmount},
		{replace(`"12.5"`, `-1`), codeBadAmount},
		{replace(`"12.5"`, `"0.00"`), codeBadAmount},
		{replace(`"12.5"`, `"1e2"`), codeBadParameters},
		{replace(`"12.5"`, `"12.0000001"`), codeBadParameters},
		{replace(`"12.5"`, `"abc"`), codeBadParameters},
		{replace(somebody, somebody[:33]+"g"), codeBadAddress},
		{replace(somebody, "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), codeBadAddress},
		{replace(`"memo":""`, `"memo":"","walletId":"2"`), codeBadWallet},
	} {
		for _, path := range []string{"/mch/withdraw", "/mch/withdraw/proxypay"} {
			g.refused(g.send(path, c.body), c.code)
		}
	}
	// What was refused has not used its id up; what was accepted has, for good.
	r := g.send("/mch/withdraw", good)
	g.accepted(r)
	if string(r.Data) != "null" {
		t.Errorf("data %s: a withdrawal's answer has none", r.Data)
	}
	g.restart()
	g.refused(g.send("/mch/withdraw", good), codeDuplicate)
	g.refused(g.send("/mch/withdraw", replace(`"12.5"`, `"99"`)), codeDuplicate)
	g.decide("wd-1", Refused)
	g.refused(g.send("/mch/withdraw", good), codeDuplicate)
	if n := len(g.custody().Trades); n != 2 {
		t.Errorf("%d trades, want the deposit and one withdrawal", n)
	}
}

func TestOneOfManyEqualWithdrawals(t *testing.T) {
	g := open(t, nil)
	var wait sync.WaitGroup
	var mu sync.Mutex
	codes := map[string]int{}
	for range 16 {
		wait.Go(func() {
			r := g.send("/mch/withdraw", withdrawBody("wd-1", "1", "http://127.0.0.1:1/"))
			mu.Lock()
			defer mu.Unlock()
			codes[string(r.Code)]++
		})
	}
	wait.Wait()
	if diff := cmp.Diff(map[string]int{"200": 1, "571": 15}, codes); diff != "" {
		t.Errorf("codes (-want +got):\n%s", diff)
	}
}

// protocolCalls are one good call of each operation.
func (g *gateway) protocolCalls() map[*fault.Point][2]string {
	address := `[{"merchantId":"300011","mainCoinType":195,"address":"` + somebody + `"}]`
	return map[*fault.Point][2]string{
		opCreateAddress: {"/mch/address/create", createBody},
		opWithdraw:      {"/mch/withdraw", withdrawBody("w", "1", "http://127.0.0.1:1/")},
		opProxyPay:      {"/mch/withdraw/proxypay", withdrawBody("p", "1", "http://127.0.0.1:1/")},
		opSupportCoins:  {"/mch/support-coins", `{"merchantId":"300011"}`},
		opCheckAddress:  {"/mch/check/address", address},
		opExistAddress:  {"/mch/exist/address", address},
	}
}

func TestFaultsThatDoNotAct(t *testing.T) {
	g := open(t, nil)
	for at, call := range g.protocolCalls() {
		for _, c := range []struct {
			rule   fault.Rule
			status int
			says   string
		}{
			{fault.Rule{Kind: fault.HTTP500}, 500, `"code":500`},
			{fault.Rule{Kind: fault.HTML502}, 502, `<html>`},
			{fault.Rule{Kind: fault.RefuseInit, Message: "4168 address quota reached"}, 200, `{"code":4168,"data":null,"message":"address quota reached"}`},
			{fault.Rule{Kind: fault.RefuseInit, Message: "-1 no"}, 200, `"code":-1,`},
			{fault.Rule{Kind: fault.RefuseInit, Message: "out of order"}, 200, `{"code":500,"data":null,"message":"out of order"}`},
		} {
			c.rule.Operation, c.rule.Count = at.Operation, 1
			g.inject(c.rule)
			resp, content, err := g.raw(call[0], "application/json", signed(call[1], "1767225600", "1"))
			if err != nil || resp.StatusCode != c.status || !strings.Contains(string(content), c.says) {
				t.Errorf("%s at %s: HTTP %d %s (%v)", c.rule.Kind, at.Operation, resp.StatusCode, content, err)
			}
			g.faults.Clear()
		}
	}
	if c := g.custody(); len(c.Trades)+len(c.Addresses) != 0 {
		t.Errorf("something was done: %+v", c)
	}
}

func TestOddCode(t *testing.T) {
	g := open(t, nil)
	g.inject(fault.Rule{Operation: "*", Kind: fault.OddNumbers})
	for at, call := range g.protocolCalls() {
		if r := g.send(call[0], call[1]); !strings.HasPrefix(string(r.Code), `"`) {
			t.Errorf("%s: code %s", at.Operation, r.Code)
		}
	}
}

func TestDelay(t *testing.T) {
	g := open(t, nil)
	g.inject(fault.Rule{Operation: opSupportCoins.Operation, Kind: fault.Delay, DelayMS: 120})
	began := time.Now()
	g.accepted(g.send("/mch/support-coins", `{"merchantId":"300011"}`))
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("it took %s", took)
	}
}

// The caller hears nothing, and the same id is refused afterwards, also after a restart.
func TestActThenTimeout(t *testing.T) {
	g := open(t, nil)
	g.fund("5")
	g.inject(fault.Rule{Operation: opWithdraw.Operation, Kind: fault.ActThenTimeout, Count: 1})
	answered := make(chan error, 1)
	go func() {
		_, _, err := g.raw("/mch/withdraw", "application/json", signed(withdrawBody("wd-1", "1", "http://127.0.0.1:1/"), "1767225600", "1"))
		answered <- err
	}()
	eventually(t, "the withdrawal is there", func() bool { return len(g.custody().Trades) == 2 })
	g.restart()
	if err := <-answered; err == nil {
		t.Error("the call was answered")
	}
	g.refused(g.send("/mch/withdraw", withdrawBody("wd-1", "1", "http://127.0.0.1:1/")), codeDuplicate)
}
