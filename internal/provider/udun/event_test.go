package udun

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// eventBody is the deposit of vector 4 with some members replaced, or left out for "".
func eventBody(t testing.TB, changes map[string]string) string {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(bodyDeposit), &members); err != nil {
		t.Fatal(err)
	}
	for key, value := range changes {
		if members[key] = json.RawMessage(value); value == "" {
			delete(members, key)
		}
	}
	body, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestEventsBend(t *testing.T) {
	t.Parallel()
	largest := "115792089237316195423570985008687907853269984665640564039457584007913129639935" // 2^256-1
	for name, test := range map[string]struct {
		changes map[string]string
		check   func(Event) bool
	}{
		"all numbers": {map[string]string{"tradeId": "998006370676506625", "tradeType": "1", "status": "3", "mainCoinType": "195", "coinType": "195", "amount": "9007199254740993", "decimals": "6", "fee": "12", "blockHigh": "7"}, func(e Event) bool {
			return e.TradeID == "998006370676506625" && e.MainCoinType == "195" && e.CoinType == "195" && e.Amount.String() == "9007199254740993" && e.Fee == "12" && e.BlockHigh == 7
		}},
		"all texts": {map[string]string{"tradeType": `"2"`, "status": `"4"`, "decimals": `"18"`}, func(e Event) bool {
			return e.TradeType == Withdrawal && e.Status == StatusFailed && e.Decimals == 18
		}},
		"with fractions":        {map[string]string{"tradeType": "1.0", "status": "3.0", "mainCoinType": "195.0", "amount": "25500000.0", "decimals": "6.0"}, func(e Event) bool { return e.MainCoinType == "195" && e.Amount.Int64() == 25500000 }},
		"largest number":        {map[string]string{"amount": largest}, func(e Event) bool { return e.Amount.String() == largest }},
		"largest text":          {map[string]string{"amount": `"` + largest + `"`}, func(e Event) bool { return e.Amount.String() == largest }},
		"zero":                  {map[string]string{"amount": `"0"`}, func(e Event) bool { return e.Amount.Sign() == 0 }},
		"other spelling":        {map[string]string{"txId": "", "txid": `"ab"`}, func(e Event) bool { return e.TxID == "ab" }},
		"empty, then spelled":   {map[string]string{"txId": `""`, "txid": `"ab"`}, func(e Event) bool { return e.TxID == "ab" }},
		"not broadcast":         {map[string]string{"txId": `""`, "blockHigh": `"-1"`, "status": "1"}, func(e Event) bool { return e.TxID == "" && e.BlockHigh == -1 && e.Status == StatusSending }},
		"the least":             {map[string]string{"txId": "", "blockHigh": "", "businessId": "", "memo": "", "fee": ""}, func(e Event) bool { return e.TxID == "" && e.BlockHigh == -1 && e.BusinessID == "" && e.Fee == "" }},
		"nulls":                 {map[string]string{"txId": "null", "blockHigh": "null", "businessId": "null", "memo": "null", "fee": "null"}, func(e Event) bool { return e.TxID == "" && e.BlockHigh == -1 && e.Memo == "" }},
		"not ordered by us":     {map[string]string{"tradeType": "2", "businessId": `""`}, func(e Event) bool { return e.TradeType == Withdrawal && e.BusinessID == "" }},
		"business id a number":  {map[string]string{"tradeType": "2", "businessId": "17"}, func(e Event) bool { return e.BusinessID == "17" }},
		"memo with controls":    {map[string]string{"memo": `"a\u0000b\n备"`}, func(e Event) bool { return e.Memo == "ab备" }},
		"endless memo":          {map[string]string{"memo": `"` + strings.Repeat("备", 1000) + `"`}, func(e Event) bool { return len(e.Memo) == 1023 }},
		"fee as fraction":       {map[string]string{"fee": "1.5e-7"}, func(e Event) bool { return e.Fee == "1.5e-7" }},
		"coin 0":                {map[string]string{"mainCoinType": "0", "coinType": `"0"`, "decimals": "0"}, func(e Event) bool { return e.MainCoinType == "0" && e.CoinType == "0" && e.Decimals == 0 }},
		"members unknown to us": {map[string]string{"chain": `{"x":[1]}`}, func(e Event) bool { return e.TradeID != "" }},
	} {
		if e, err := ParseEvent(eventBody(t, test.changes)); err != nil || !test.check(e) {
			t.Errorf("%s: %v, %+v", name, err, e)
		}
	}
}

func TestEventsThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	long := `"` + strings.Repeat("a", 300) + `"`
	for field, values := range map[string][]string{
		"tradeId":      {"", `""`, "null", "{}", `"a\u0000"`, `"a b"`, `"编号"`, long},
		"tradeType":    {"", "0", "3", `"deposit"`, "-1", "1.5", "null", "true"},
		"status":       {"", "5", "-1", `"done"`, `""`, "null", "3e30"},
		"address":      {"", `""`, `"T\nx"`, `"a b"`, long},
		"mainCoinType": {"", `""`, "null", "[]"},
		"coinType":     {"", `""`, "null"},
		"decimals":     {"", "31", "-1", `"six"`, "6.5", "null", "99999999999999999999"},
		"amount": {"", `""`, "null", `"-1"`, "-1", "0.5", `"1e7"`, "1e7", "1E+21", `"NaN"`, `"0x10"`, `"+5"`, `"1_000"`, `"1,000"`, "true", "{}",
			strings.Repeat("9", 79), `"٣"`, `".5"`},
		"txId":       {`"a\u0000"`, long},
		"businessId": {`"a\tb"`, long},
	} {
		for _, value := range values {
			e, err := ParseEvent(eventBody(t, map[string]string{field: value}))
			f := (*FieldError)(nil)
			if !errors.As(err, &f) || f.Field != field || !errors.Is(err, ErrEvent) {
				t.Errorf("%s %s: %v", field, value, err)
			}
			if field == "amount" && (e.Amount != nil || e.TradeID == "") || field != "tradeId" && e.TradeID != "900000000000000001" {
				t.Errorf("%s %s: what can be read is missing: %+v", field, value, e)
			}
			if value != "" && len(value) > 8 && strings.Contains(err.Error(), strings.Trim(value, `"`)) {
				t.Errorf("the value is in the error: %v", err)
			}
		}
	}
	for _, body := range []string{"", "[]", "null", "7", "<html>", bodyDeposit + "{}"} {
		if _, err := ParseEvent(body); !errors.Is(err, ErrEvent) {
			t.Errorf("%q: %v", body, err)
		}
	}
	// A signed one that cannot be read keeps its time, for the record.
	e := Envelope{"1767225660123", "QWERTY", Sign(secret.NewText(testKey), "[]", "QWERTY", "1767225660123"), "[]"}
	if event, err := newTestVerifier(t, nil).Verify(e); !errors.Is(err, ErrEvent) || !event.SentAt.Equal(callbackTime) || event.Stale {
		t.Errorf("%+v, %v", event, err)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	got := map[string]bool{}
	for s := Status(-1); s <= 5; s++ {
		got[s.String()] = s.Final()
	}
	if want := map[string]bool{"unknown": false, "waiting": false, "sending": false, "rejected": true, "succeeded": true, "failed": true}; !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
	if Deposit.String() != "deposit" || Withdrawal.String() != "withdrawal" || TradeType(0).String() != "unknown" {
		t.Error("trade types are misnamed")
	}
}

func FuzzEvent(f *testing.F) {
	for _, seed := range []string{bodyDeposit, bodyWithdrawal, `{}`, `{"amount":1e999999999,"decimals":1e-5,"tradeId":{}}`, `{"tradeId":"\ud800","txid":7,"amount":"000.000"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		e, err := ParseEvent(body)
		if err != nil {
			if f := (*FieldError)(nil); !errors.As(err, &f) {
				t.Fatalf("unexpected error %v", err)
			}
			return
		}
		if e.TradeType != Deposit && e.TradeType != Withdrawal || e.Status < StatusWaiting || e.Status > StatusFailed || e.Decimals < 0 || e.Decimals > MaxDecimals || e.BlockHigh < -1 {
			t.Fatalf("out of range: %+v", e)
		}
		if e.Amount == nil || e.Amount.Sign() < 0 || len(e.Amount.String()) > maxAmountDigits {
			t.Fatalf("amount %v", e.Amount)
		}
		for _, s := range []string{e.TradeID, e.Address, e.MainCoinType, e.CoinType} {
			if !isIdentifier(s) {
				t.Fatalf("%q is no identifier", s)
			}
		}
		if e.TxID != "" && !isIdentifier(e.TxID) || e.BusinessID != "" && !isIdentifier(e.BusinessID) || !isClean(e.Memo) || !isClean(e.Fee) {
			t.Fatalf("unclean text: %+v", e)
		}
	})
}
