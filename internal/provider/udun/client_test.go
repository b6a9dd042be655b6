package udun

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
)

const (
	tronAddress = "TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf"
	usdtTRC20   = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
)

var order = WithdrawRequest{Address: tronAddress, Amount: "12.5", MainCoinType: "195", CoinType: usdtTRC20, BusinessID: "wd-0001"}

// The bodies of the vectors 1 to 3 of provider/udun.md section 2.
const (
	bodyCreate   = `[{"merchantId":"300011","mainCoinType":195,"callUrl":"https://pay.example.test/udun/callback","walletId":"","alias":"u-42"}]`
	bodyCoins    = `{"merchantId":"300011","showBalance":false}`
	bodyWithdraw = `[{"address":"TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf","amount":"12.5","merchantId":"300011","mainCoinType":"195","coinType":"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t","callUrl":"https://pay.example.test/udun/callback","businessId":"wd-0001","memo":""}]`
)

func TestRequestsAreThoseOfTheVectors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newTestServer(t, nil, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/udun/mch/address/create":
			dataAnswer(`{"coinType":195,"address":"`+tronAddress+`"}`)(w, r)
		case "/udun/mch/support-coins":
			dataAnswer(`[]`)(w, r)
		default:
			codeAnswer("200")(w, r)
		}
	})
	address, err := s.client.CreateAddress(ctx, "195", "u-42", "")
	if err != nil || address != tronAddress {
		t.Errorf("%q, %v", address, err)
	}
	if coins, err := s.client.SupportCoins(ctx, false); err != nil || len(coins) != 0 {
		t.Errorf("%v, %v", coins, err)
	}
	for _, call := range []func() (Accepted, error){
		func() (Accepted, error) { return s.client.Withdraw(ctx, order) },
		func() (Accepted, error) { return s.client.ProxyPay(ctx, order) },
	} {
		if accepted, err := call(); err != nil || accepted.Duplicate {
			t.Errorf("%+v, %v", accepted, err)
		}
	}
	if ok, err := s.client.CheckAddress(ctx, "195", tronAddress); err != nil || !ok {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := s.client.AddressExists(ctx, "195", tronAddress); err != nil || !ok {
		t.Errorf("%v, %v", ok, err)
	}
	question := `[{"merchantId":"300011","mainCoinType":"195","address":"` + tronAddress + `"}]`
	want := [][2]string{{"/mch/address/create", bodyCreate}, {"/mch/support-coins", bodyCoins}, {"/mch/withdraw", bodyWithdraw},
		{"/mch/withdraw/proxypay", bodyWithdraw}, {"/mch/check/address", question}, {"/mch/exist/address", question}}
	var got [][2]string
	nonces := map[string]bool{}
	for _, r := range s.requests() {
		got = append(got, [2]string{r.path, r.body})
		nonces[r.nonce] = true
		if r.timestamp != "1767225600" || !regexp.MustCompile(`^[1-9][0-9]{8}$`).MatchString(r.nonce) {
			t.Errorf("timestamp %s, nonce %s", r.timestamp, r.nonce)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(nonces) != len(want) {
		t.Errorf("nonces repeat: %v", nonces)
	}
}

func TestOlderProtocol(t *testing.T) {
	t.Parallel()
	for field, want := range map[AddressField]string{
		FieldCoinType: `[{"merchantId":"300011","coinType":195,"callUrl":"https://pay.example.test/cb?a=1&b=<2>","walletId":"w7","alias":"张"}]`,
		FieldBoth:     `[{"merchantId":"300011","mainCoinType":195,"coinType":195,"callUrl":"https://pay.example.test/cb?a=1&b=<2>","walletId":"w7","alias":"张"}]`,
	} {
		s := newTestServer(t, func(c *Config) {
			c.AddressField, c.Milliseconds, c.CallURL = field, true, "https://pay.example.test/cb?a=1&b=<2>"
		}, dataAnswer(`[{"coinType":"195","address":" `+tronAddress+` "}]`))
		if address, err := s.client.CreateAddress(t.Context(), "195", "张", "w7"); err != nil || address != tronAddress {
			t.Errorf("%q, %v", address, err)
		}
		got := s.requests()[0]
		if got.body != want {
			t.Errorf("%s:\n got %s\nwant %s", field, got.body, want)
		}
		if got.timestamp != `"1767225600000"` || !regexp.MustCompile(`^"[A-Z]{6}"$`).MatchString(got.nonce) {
			t.Errorf("timestamp %s, nonce %s", got.timestamp, got.nonce)
		}
	}
}

func TestCreateAddressAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		outcome provider.Outcome
		code    Code
	}{
		"coin type left out":  {dataAnswer(`{"address":"` + tronAddress + `"}`), provider.OK, 0},
		"code as text":        {rawAnswer(200, "application/json", `{"code":"200","data":{"address":"`+tronAddress+`"}}`), provider.OK, 0},
		"another chain":       {dataAnswer(`{"coinType":60,"address":"0x52908400098527886E0F7030069857D2E4169EE7"}`), provider.Unknown, 0},
		"no data":             {dataAnswer(`null`), provider.Unknown, 0},
		"empty address":       {dataAnswer(`{"coinType":195,"address":""}`), provider.Unknown, 0},
		"address is an essay": {dataAnswer(`{"coinType":195,"address":"see our site"}`), provider.Unknown, 0},
		"two addresses":       {dataAnswer(`[{"address":"a"},{"address":"b"}]`), provider.Unknown, 0},
		"quota":               {codeAnswer("4168"), provider.Refused, CodeAddressQuota},
		"generation failed":   {codeAnswer("-1"), provider.Unknown, CodeAddressNotGenerated},
		"server error":        {codeAnswer(`"500"`), provider.Unknown, CodeServerError},
		"wrong field name":    {codeAnswer("4045"), provider.Refused, CodeWrongCoin},
		"cut off":             {cutOff, provider.Unknown, 0},
		"bad gateway":         {badGateway, provider.Unknown, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, nil, test.answer)
			address, err := s.client.CreateAddress(t.Context(), "195", "", "")
			code, _ := CodeOf(err)
			if provider.OutcomeOf(err) != test.outcome || code != test.code || (err == nil) != (address == tronAddress) {
				t.Errorf("%q, code %d, %v", address, code, err)
			}
			if n := len(s.requests()); n != 1 {
				t.Errorf("sent %d times: every call makes an address", n)
			}
		})
	}
}

func TestWithdrawAnswers(t *testing.T) {
	t.Parallel()
	withStatus := func(status int, code string) http.HandlerFunc {
		return rawAnswer(status, "application/json", `{"code":`+code+`,"message":"m"}`)
	}
	for name, test := range map[string]struct {
		answer    http.HandlerFunc
		outcome   provider.Outcome
		duplicate bool
		code      Code
	}{
		"accepted":                    {codeAnswer("200"), provider.OK, false, 0},
		"accepted, code as text":      {codeAnswer(`"200"`), provider.OK, false, 0},
		"accepted, code as fraction":  {codeAnswer(`200.0`), provider.OK, false, 0},
		"there already":               {codeAnswer("571"), provider.OK, true, 0},
		"there already, as text":      {codeAnswer(`"571"`), provider.OK, true, 0},
		"there already, HTTP 400":     {withStatus(400, "571"), provider.OK, true, 0},
		"there already, HTTP 500":     {withStatus(500, "571"), provider.OK, true, 0},
		"coin not supported":          {codeAnswer("554"), provider.Refused, false, CodeCoinNotSupported},
		"bad amount":                  {codeAnswer(`"581"`), provider.Refused, false, CodeBadAmount},
		"invalid address":             {codeAnswer("596"), provider.Refused, false, CodeInvalidAddress},
		"wrong signature":             {codeAnswer("4162"), provider.Refused, false, CodeSignatureError},
		"wrong signature, misspelled": {codeAnswer("4612"), provider.Refused, false, 4612},
		"merchant disabled, HTTP 403": {withStatus(403, "4169"), provider.Refused, false, CodeMerchantDisabled},
		"refused, but HTTP 500":       {withStatus(500, "596"), provider.Unknown, false, CodeInvalidAddress},
		"server error":                {codeAnswer("500"), provider.Unknown, false, CodeServerError},
		"failed":                      {codeAnswer("-1"), provider.Unknown, false, CodeAddressNotGenerated},
		"server error, HTTP 400":      {withStatus(400, "500"), provider.Unknown, false, CodeServerError},
		"success, but HTTP 400":       {withStatus(400, "200"), provider.Unknown, false, CodeOK},
		"success, but HTTP 500":       {withStatus(500, "200"), provider.Unknown, false, CodeOK},
		"unverified code":             {codeAnswer("4261"), provider.Unknown, false, 4261},
		"code that nobody knows":      {codeAnswer(`"777"`), provider.Unknown, false, 777},
		"no code":                     {rawAnswer(200, "application/json", `{"message":"SUCCESS"}`), provider.Unknown, false, 0},
		"null":                        {rawAnswer(200, "application/json", `null`), provider.Unknown, false, 0},
		"code is a word":              {codeAnswer(`"SUCCESS"`), provider.Unknown, false, 0},
		"code beyond 64 bits":         {codeAnswer(`20000000000000000000000`), provider.Unknown, false, 0},
		"a list":                      {rawAnswer(200, "application/json", `[{"code":200}]`), provider.Unknown, false, 0},
		"empty":                       {rawAnswer(200, "application/json", ""), provider.Unknown, false, 0},
		"page":                        {page, provider.Unknown, false, 0},
		"bad gateway":                 {badGateway, provider.Unknown, false, 0},
		"cut off":                     {cutOff, provider.Unknown, false, 0},
		"dropped":                     {dropped, provider.Unknown, false, 0},
		"huge":                        {hugeAnswer, provider.Unknown, false, 0},
		"redirect":                    {redirect, provider.Refused, false, 0},
		"too many":                    {rawAnswer(429, "text/html", "slow down"), provider.Refused, false, 0},
		"not found":                   {rawAnswer(404, "text/html", "<html>"), provider.Refused, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, nil, test.answer)
			for _, call := range []func() (Accepted, error){
				func() (Accepted, error) { return s.client.Withdraw(t.Context(), order) },
				func() (Accepted, error) { return s.client.ProxyPay(t.Context(), order) },
			} {
				accepted, err := call()
				code, _ := CodeOf(err)
				if provider.OutcomeOf(err) != test.outcome || accepted.Duplicate != test.duplicate || code != test.code {
					t.Errorf("%+v, code %d, %v", accepted, code, err)
				}
				e := (*provider.Error)(nil)
				if err != nil && (!errors.As(err, &e) || !e.Sent || strings.Contains(err.Error(), "签名")) {
					t.Errorf("%+v", err)
				}
			}
			if n := len(s.requests()); n != 2 {
				t.Errorf("sent %d times in 2 calls", n)
			}
		})
	}
}

func TestRefusalsKeepTheWordsForStaff(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, codeAnswer("4162"))
	_, err := s.client.Withdraw(t.Context(), order)
	e := (*provider.Error)(nil)
	if !errors.As(err, &e) || e.StaffText != "签名错误 u-42" || e.Code != "4162" || err.Error() != "udun withdraw: refused: refused by the provider, signature error (HTTP 200, code 4162)" {
		t.Errorf("%+v", err)
	}
}

// After a time-out the same order is repeated by the caller, and the answer tells whether it was there.
func TestWithdrawalIsRepeatedAfterATimeout(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var acted atomic.Bool
	s := newTestServer(t, func(c *Config) { c.Limits.Timeout = 100 * time.Millisecond }, func(w http.ResponseWriter, r *http.Request) {
		if acted.CompareAndSwap(false, true) {
			<-release
			return
		}
		codeAnswer("571")(w, r)
	})
	t.Cleanup(func() { close(release) })
	if _, err := s.client.Withdraw(t.Context(), order); provider.OutcomeOf(err) != provider.Unknown {
		t.Fatalf("got %v", err)
	}
	accepted, err := s.client.Withdraw(t.Context(), order)
	if err != nil || !accepted.Duplicate {
		t.Errorf("%+v, %v", accepted, err)
	}
	if seen := s.requests(); len(seen) != 2 || seen[0].body != seen[1].body || seen[0].nonce == seen[1].nonce {
		t.Errorf("sent %+v", seen)
	}
}

func TestQuestionsAboutAddresses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		want    bool
		outcome provider.Outcome
		calls   int // for each of the two questions
	}{
		"yes":                   {codeAnswer("200"), true, provider.OK, 1},
		"invalid":               {codeAnswer("596"), false, provider.OK, 1},
		"bad destination":       {codeAnswer(`"4183"`), false, provider.OK, 1},
		"some other code":       {codeAnswer("4226"), false, provider.OK, 1},
		"our signature":         {codeAnswer("4163"), false, provider.Refused, 1},
		"our parameters":        {codeAnswer("4005"), false, provider.Refused, 1},
		"server error":          {codeAnswer("500"), false, provider.Unknown, 3},
		"page":                  {page, false, provider.Unknown, 3},
		"invalid, but HTTP 502": {rawAnswer(502, "application/json", `{"code":596}`), false, provider.Unknown, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, nil, test.answer)
			for _, call := range []func() (bool, error){
				func() (bool, error) { return s.client.CheckAddress(t.Context(), "195", tronAddress) },
				func() (bool, error) { return s.client.AddressExists(t.Context(), "195", tronAddress) },
			} {
				if got, err := call(); got != test.want || provider.OutcomeOf(err) != test.outcome {
					t.Errorf("%v, %v", got, err)
				}
			}
			seen := s.requests()
			if len(seen) != 2*test.calls {
				t.Errorf("sent %d times", len(seen))
			}
			for i := 1; i < len(seen); i++ {
				if seen[i].nonce == seen[i-1].nonce {
					t.Error("a repetition has the nonce of the first attempt")
				}
			}
		})
	}
}

func TestSupportCoins(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, dataAnswer(`[
		{"name":"TRCUSDT","coinName":"USDT","symbol":"TRCUSDT","mainCoinType":"195","coinType":"`+usdtTRC20+`","decimals":"6","tokenStatus":1,"mainSymbol":"TRX","balance":12345678901234567.890123,"logo":"https://x.example.test/u.png"},
		{"name":"BTC","coinName":"Bitcoin","symbol":"BTC","mainCoinType":0,"coinType":"0","decimals":8,"tokenStatus":"0","balance":"0.1"},
		{"name":"ETH","mainCoinType":"60","coinType":60.0,"decimals":"18.0","mainSymbol":null,"balance":null},
		{"name":"OMNI","mainCoinType":0,"coinType":31,"decimals":"31"},
		{"name":"none","mainCoinType":"7","decimals":"8"},
		{"name":"odd","mainCoinType":"7","coinType":"a b","decimals":"8"},
		null, 7, "x", []]`))
	coins, err := s.client.SupportCoins(t.Context(), true)
	want := []Coin{
		{Name: "TRCUSDT", CoinName: "USDT", Symbol: "TRCUSDT", MainCoinType: "195", CoinType: usdtTRC20, Decimals: 6, Token: true, MainSymbol: "TRX", Balance: "12345678901234567.890123", Logo: "https://x.example.test/u.png"},
		{Name: "BTC", CoinName: "Bitcoin", Symbol: "BTC", MainCoinType: "0", CoinType: "0", Decimals: 8, Balance: "0.1"},
		{Name: "ETH", MainCoinType: "60", CoinType: "60", Decimals: 18},
		{Name: "OMNI", MainCoinType: "0", CoinType: "31", Decimals: -1, Token: true},
	}
	if diff := cmp.Diff(want, coins); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if got := s.requests()[0].body; got != `{"merchantId":"300011","showBalance":true}` {
		t.Errorf("sent %s", got)
	}
	for _, data := range []string{"null", `{"name":"BTC"}`, `"[]"`, "7"} {
		s := newTestServer(t, nil, dataAnswer(data))
		if coins, err := s.client.SupportCoins(t.Context(), false); provider.OutcomeOf(err) != provider.Unknown {
			t.Errorf("%s: %v, %v", data, coins, err)
		}
	}
}

func TestSafeCallsRecover(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]http.HandlerFunc{"bad gateway": badGateway, "cut off": cutOff, "dropped": dropped, "code 500": codeAnswer("500")} {
		var calls atomic.Int64
		s := newTestServer(t, nil, func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) < 3 {
				fault(w, r)
				return
			}
			dataAnswer("[]")(w, r)
		})
		if _, err := s.client.SupportCoins(t.Context(), false); err != nil || calls.Load() != 3 {
			t.Errorf("%s: %d calls, %v", name, calls.Load(), err)
		}
	}
}

func TestCallsThatAreNotSent(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, codeAnswer("200"))
	ctx := t.Context()
	change := func(f func(*WithdrawRequest)) error {
		o := order
		f(&o)
		_, err := s.client.Withdraw(ctx, o)
		return err
	}
	cases := map[string]error{
		"no address":         change(func(o *WithdrawRequest) { o.Address = "" }),
		"address with space": change(func(o *WithdrawRequest) { o.Address += " " }),
		"no coin":            change(func(o *WithdrawRequest) { o.CoinType = "" }),
		"main coin a word":   change(func(o *WithdrawRequest) { o.MainCoinType = "TRX" }),
		"no business id":     change(func(o *WithdrawRequest) { o.BusinessID = "" }),
		"business id in 汉字":  change(func(o *WithdrawRequest) { o.BusinessID = "提现" }),
		"memo not UTF-8":     change(func(o *WithdrawRequest) { o.Memo = "\xff" }),
	}
	for _, amount := range []string{"", "0", "0.000", "-1", "+1", "1e3", "1E3", ".5", "5.", "05", "1,5", "1 ", "NaN", "0x10", "1.2.3", "٣", strings.Repeat("9", 79)} {
		cases["amount "+amount] = change(func(o *WithdrawRequest) { o.Amount = amount })
	}
	for _, chain := range []string{"", "TRX", "-1", "0195", "1.5"} {
		_, cases["chain "+chain] = s.client.CreateAddress(ctx, chain, "", "")
	}
	_, cases["alias not UTF-8"] = s.client.CreateAddress(ctx, "195", "\xff", "")
	_, cases["check nothing"] = s.client.CheckAddress(ctx, "195", "")
	_, cases["exists nowhere"] = s.client.AddressExists(ctx, "", tronAddress)
	for name, err := range cases {
		if !errors.Is(err, provider.ErrInvalidCall) || provider.OutcomeOf(err) != provider.Refused {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d calls were sent", n)
	}
	for _, amount := range []string{"1", "0.11", "10.50", strings.Repeat("9", 78) + ".000000000000000001"} {
		if err := change(func(o *WithdrawRequest) { o.Amount = amount }); err != nil {
			t.Errorf("%s: %v", amount, err)
		}
	}
}

func TestWithoutRandomnessNothingIsSent(t *testing.T) {
	t.Parallel()
	for _, milliseconds := range []bool{false, true} {
		s := newTestServer(t, func(c *Config) { c.Random, c.Milliseconds = &bytes.Buffer{}, milliseconds }, codeAnswer("200"))
		if _, err := s.client.Withdraw(t.Context(), order); provider.OutcomeOf(err) != provider.Refused || len(s.requests()) != 0 {
			t.Errorf("got %v", err)
		}
	}
}

func TestNewClientRefuses(t *testing.T) {
	t.Parallel()
	_, err := NewClient(Config{AddressField: "chain"})
	for _, word := range []string{"base URL", "merchant id", "API key", "callback URL", "address field"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not speak of the %s", err, word)
		}
	}
	good := Config{BaseURL: "https://sig11.example.test", MerchantID: "1", APIKey: secret.NewText("k"), CallURL: "https://pay.example.test/x?y=z"}
	if _, err := NewClient(good); err != nil {
		t.Error(err)
	}
	for _, address := range []string{"", "/callback", "ftp://pay.example.test/", "https:///x", "https://pay.example.test/#x"} {
		bad := good
		if bad.CallURL = address; func() error { _, err := NewClient(bad); return err }() == nil {
			t.Errorf("%q was accepted", address)
		}
	}
}

func TestSecretsStayOut(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, codeAnswer("4162"))
	_, err := s.client.Withdraw(t.Context(), order)
	for _, text := range []string{fmt.Sprintf("%+v", err), fmt.Sprintf("%+v", s.client), fmt.Sprintf("%#v", s.client)} {
		if strings.Contains(text, testKey) {
			t.Errorf("the key is in %s", text)
		}
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	for class, list := range map[Class][]Code{
		ClassOK:        {200},
		ClassRetryable: {-1, 500},
		ClassDuplicate: {571},
		ClassPermanent: {554, 581, 596, 4001, 4005, 4017, 4034, 4045, 4162, 4163, 4165, 4166, 4168, 4169, 4175, 4176, 4183, 4612},
		ClassUnclear:   {4188, 4226, 4261, 4262, 0, 201, 404, 502},
	} {
		for _, code := range list {
			if code.Class() != class || code.String() == "" || strings.HasPrefix(code.String(), "unexplained") != (class == ClassUnclear) {
				t.Errorf("%d: %s, %s", int64(code), code.Class(), code)
			}
		}
	}
	if code, ok := CodeOf(errors.New("x")); ok || code != 0 {
		t.Error("any error has a code")
	}
}

func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{`{"code":200,"message":"SUCCESS","data":{"coinType":195,"address":"T"}}`, `{"code":"571"}`, `{"code":-1.0,"data":[]}`, `[]`, `null`,
		`{"code":200,"data":[{"mainCoinType":"195","coinType":"` + usdtTRC20 + `","decimals":"6","balance":1e400},null]}`, `{"code":2e2}`} {
		f.Add(200, []byte(seed))
		f.Add(400, []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		answer := &provider.Answer{Status: status, Body: body, JSON: true}
		code, _, err := parseCode(body)
		failure, orderFailure := judge(answer), judgeWithdrawal(answer)
		fine := status >= 200 && status < 300
		if (failure == nil) != (err == nil && fine && code == CodeOK) || (orderFailure == nil) != (err == nil && fine && (code == CodeOK || code == CodeDuplicateBusinessID)) {
			t.Fatalf("code %d, HTTP %d: %v, %v", int64(code), status, failure, orderFailure)
		}
		if orderFailure != nil && orderFailure.Outcome == provider.Refused && code.Class() != ClassPermanent && code.Class() != ClassDuplicate {
			t.Fatalf("code %d is no proof", int64(code))
		}
		o, _ := provider.ParseObject(body)
		for _, entry := range o.Objects("data") {
			if coin, ok := coinFrom(entry); ok && (coin.Decimals < -1 || coin.Decimals > MaxDecimals || !isIdentifier(coin.CoinType)) {
				t.Fatalf("%+v", coin)
			}
		}
	})
}
