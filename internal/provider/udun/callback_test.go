package udun

import (
	"crypto/md5"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// The callbacks of provider/udun.md section 2, vectors 4 and 5, and the wire form of vector 4.
const (
	bodyDeposit    = `{"address":"TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf","amount":"25500000","blockHigh":"61234567","coinType":"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t","decimals":"6","fee":"0","mainCoinType":"195","memo":"","status":3,"tradeId":"900000000000000001","tradeType":1,"txId":"aa11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233"}`
	signDeposit    = "d1cf99e66bc8bc5f02d5d32bde0e6d98"
	bodyWithdrawal = `{"address":"TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf","amount":"12500000","blockHigh":"61234600","businessId":"wd-0001","coinType":"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t","decimals":"6","fee":"1000000","mainCoinType":"195","memo":"备注","status":3,"tradeId":"900000000000000002","tradeType":2,"txId":"bb11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233"}`
	signWithdrawal = "1a3a019c4c5d1e71ceb06eafb0c2eca2"
	wireDeposit    = `timestamp=1767225660123&nonce=QWERTY&sign=d1cf99e66bc8bc5f02d5d32bde0e6d98&body=%7B%22address%22%3A%22TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf%22%2C%22amount%22%3A%2225500000%22%2C%22blockHigh%22%3A%2261234567%22%2C%22coinType%22%3A%22TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t%22%2C%22decimals%22%3A%226%22%2C%22fee%22%3A%220%22%2C%22mainCoinType%22%3A%22195%22%2C%22memo%22%3A%22%22%2C%22status%22%3A3%2C%22tradeId%22%3A%22900000000000000001%22%2C%22tradeType%22%3A1%2C%22txId%22%3A%22aa11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233%22%7D`
)

var callbackTime = time.UnixMilli(1767225660123).UTC()

func newTestVerifier(t testing.TB, change func(*VerifierConfig)) *Verifier {
	t.Helper()
	config := VerifierConfig{APIKeys: []secret.Text{secret.NewText(testKey)}, Clock: clock.NewFixed(callbackTime)}
	if change != nil {
		change(&config)
	}
	v, err := NewVerifier(config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func form(timestamp, nonce, sign, body string) []byte {
	return []byte(url.Values{"timestamp": {timestamp}, "nonce": {nonce}, "sign": {sign}, "body": {body}}.Encode())
}

func TestSignatureVectors(t *testing.T) {
	t.Parallel()
	for _, vector := range [][4]string{
		{bodyCreate, "583421", "1767225600", "c1ad0023c891c57a1c9a9f6e1c52275a"},
		{bodyCoins, "583422", "1767225601", "a087927cee9aa4b21737580f2c96ad5f"},
		{bodyWithdraw, "583423", "1767225602", "7a3b6ddf0ce64267057433383d8f4435"},
		{bodyDeposit, "QWERTY", "1767225660123", signDeposit},
		{bodyWithdrawal, "ZXCVBN", "1767225700456", signWithdrawal},
	} {
		if got := Sign(secret.NewText(testKey), vector[0], vector[1], vector[2]); got != vector[3] {
			t.Errorf("%s: %s", vector[1], got)
		}
	}
}

func TestCallbackVectors(t *testing.T) {
	t.Parallel()
	v := newTestVerifier(t, nil)
	deposit := Event{TradeID: "900000000000000001", TradeType: Deposit, Status: StatusSucceeded, Address: tronAddress, MainCoinType: "195", CoinType: usdtTRC20,
		Amount: big.NewInt(25500000), Decimals: 6, Fee: "0", TxID: "aa11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233", BlockHigh: 61234567,
		SentAt: callbackTime}
	withdrawal := Event{TradeID: "900000000000000002", TradeType: Withdrawal, Status: StatusSucceeded, Address: tronAddress, MainCoinType: "195", CoinType: usdtTRC20,
		Amount: big.NewInt(12500000), Decimals: 6, Fee: "1000000", TxID: "bb11bb22cc33dd44ee55ff6600112233445566778899aabbccddeeff00112233", BlockHigh: 61234600,
		BusinessID: "wd-0001", Memo: "备注", SentAt: time.UnixMilli(1767225700456).UTC()}
	asJSON := func(timestamp, nonce string, sign, body string) []byte {
		text, _ := json.Marshal(body)
		return []byte(` {"timestamp":` + timestamp + `,"nonce":` + nonce + `,"sign":"` + sign + `","body":` + string(text) + `} `)
	}
	number := Sign(secret.NewText(testKey), bodyDeposit, "583421", "1767225660")
	seconds := deposit
	seconds.SentAt = time.Unix(1767225660, 0).UTC()
	for name, test := range map[string]struct {
		raw  []byte
		want Event
	}{
		"wire form":          {[]byte(wireDeposit), deposit},
		"upper-case sign":    {[]byte(strings.Replace(wireDeposit, signDeposit, strings.ToUpper(signDeposit), 1)), deposit},
		"JSON":               {asJSON(`"1767225660123"`, `"QWERTY"`, signDeposit, bodyDeposit), deposit},
		"JSON, a number":     {asJSON(`1767225660123`, `"QWERTY"`, signDeposit, bodyDeposit), deposit},
		"seconds, int nonce": {form("1767225660", "583421", number, bodyDeposit), seconds},
		"JSON, both numbers": {asJSON(`1767225660`, `583421`, number, bodyDeposit), seconds},
		"memo in Chinese":    {form("1767225700456", "ZXCVBN", signWithdrawal, bodyWithdrawal), withdrawal},
		"the same in JSON":   {asJSON(`"1767225700456"`, `"ZXCVBN"`, signWithdrawal, bodyWithdrawal), withdrawal},
	} {
		e, err := ParseCallback(test.raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		event, err := v.Verify(e)
		if diff := cmp.Diff(test.want, event, cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 })); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}

// What is signed is the decoded text, byte for byte: with a plus, spaces at the ends, another order, in any script.
func TestBodyIsVerifiedAsReceived(t *testing.T) {
	t.Parallel()
	v := newTestVerifier(t, nil)
	for _, body := range []string{" " + bodyDeposit + "\n", strings.Replace(bodyDeposit, `"memo":""`, `"memo":"a+b c&d=%25<é>汉"`, 1),
		strings.Replace(bodyDeposit, `"memo":""`, `"memo":"\u0041\/"`, 1)} {
		e, err := ParseCallback(form("1767225660123", "QWERTY", Sign(secret.NewText(testKey), body, "QWERTY", "1767225660123"), body))
		if err != nil || e.Body != body {
			t.Fatalf("%q, %v", e.Body, err)
		}
		if event, err := v.Verify(e); err != nil || event.TradeID == "" {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestForgedCallbacks(t *testing.T) {
	t.Parallel()
	v := newTestVerifier(t, nil)
	genuine := Envelope{"1767225660123", "QWERTY", signDeposit, bodyDeposit}
	for name, change := range map[string]func(*Envelope){
		"more money":       func(e *Envelope) { e.Body = strings.Replace(e.Body, "25500000", "95500000", 1) },
		"a space more":     func(e *Envelope) { e.Body += " " },
		"another time":     func(e *Envelope) { e.Timestamp = "1767225660124" },
		"another nonce":    func(e *Envelope) { e.Nonce = "QWERTZ" },
		"no signature":     func(e *Envelope) { e.Sign = "" },
		"half a signature": func(e *Envelope) { e.Sign = e.Sign[:16] },
		"longer signature": func(e *Envelope) { e.Sign += "00" },
		"key of a stranger": func(e *Envelope) {
			e.Sign = Sign(secret.NewText("another key"), e.Body, e.Nonce, e.Timestamp)
		},
		"without the key": func(e *Envelope) {
			sum := md5.Sum([]byte(e.Body + e.Nonce + e.Timestamp))
			e.Sign = hex.EncodeToString(sum[:])
		},
	} {
		e := genuine
		change(&e)
		if event, err := v.Verify(e); !errors.Is(err, ErrSignature) || event != (Event{}) {
			t.Errorf("%s: %+v, %v", name, event, err)
		}
	}
}

// MD5 can be continued by who knows a sum and the length of what was summed: the signature of one callback gives that of
// another with the same body and any time. The bytes in between give it away.
func TestContinuedSignaturesAreRefused(t *testing.T) {
	t.Parallel()
	length := len(bodyDeposit) + len(testKey) + len("QWERTY") + len("1767225660123")
	padding := make([]byte, 1+(119-length%64)%64+8)
	padding[0] = 0x80
	binary.LittleEndian.PutUint64(padding[len(padding)-8:], uint64(length)*8)
	sum, err := hex.DecodeString(signDeposit)
	if err != nil {
		t.Fatal(err)
	}
	state := append([]byte("md5\x01"), make([]byte, 16+64)...)
	for i := range 4 {
		binary.BigEndian.PutUint32(state[4+4*i:], binary.LittleEndian.Uint32(sum[4*i:]))
	}
	state = binary.BigEndian.AppendUint64(state, uint64(length+len(padding)))
	digest := md5.New()
	if err := digest.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		t.Fatal(err)
	}
	const later = "1767312000000"
	digest.Write([]byte(later))
	forged := hex.EncodeToString(digest.Sum(nil))

	nonce := "QWERTY" + "1767225660123" + string(padding)
	if Sign(secret.NewText(testKey), bodyDeposit, nonce, later) != forged {
		t.Fatal("the attack does not work as it should, so that its refusal proves nothing")
	}
	for _, raw := range [][]byte{form(later, nonce, forged, bodyDeposit), form("1767225660123"+string(padding)+later, "QWERTY", forged, bodyDeposit)} {
		if e, err := ParseCallback(raw); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%q, %v", e, err)
		}
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	e := Envelope{"1767225660123", "QWERTY", signDeposit, bodyDeposit}
	for after, stale := range map[time.Duration]bool{0: false, FreshWindow: false, -FreshWindow: false, FreshWindow + time.Millisecond: true, -FreshWindow - time.Millisecond: true, 24 * time.Hour: true} {
		v := newTestVerifier(t, func(c *VerifierConfig) { c.Clock = clock.NewFixed(callbackTime.Add(after)) })
		if event, err := v.Verify(e); err != nil || event.Stale != stale || event.TradeID == "" {
			t.Errorf("after %v: stale %v, %v", after, event.Stale, err)
		}
	}
	for _, timestamp := range []string{"0", "99999999999999999999"} {
		e := Envelope{timestamp, "N", Sign(secret.NewText(testKey), bodyDeposit, "N", timestamp), bodyDeposit}
		if event, err := newTestVerifier(t, nil).Verify(e); err != nil || !event.Stale || !event.SentAt.IsZero() {
			t.Errorf("%s: %+v, %v", timestamp, event, err)
		}
	}
}

func TestKeysAreReplaced(t *testing.T) {
	t.Parallel()
	v := newTestVerifier(t, func(c *VerifierConfig) { c.APIKeys = []secret.Text{secret.NewText("new"), secret.NewText(testKey)} })
	for _, key := range []string{"new", testKey} {
		if _, err := v.Verify(Envelope{"1767225660123", "QWERTY", Sign(secret.NewText(key), bodyDeposit, "QWERTY", "1767225660123"), bodyDeposit}); err != nil {
			t.Error(err)
		}
	}
	for _, config := range []VerifierConfig{{}, {APIKeys: []secret.Text{{}}}, {APIKeys: []secret.Text{secret.NewText("k")}, Window: -1}} {
		if _, err := NewVerifier(config); err == nil {
			t.Errorf("%+v was accepted", config)
		}
	}
}

func TestCallbacksThatAreNone(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string][]byte{
		"nothing":           nil,
		"no fields":         []byte("a=b"),
		"no body":           []byte("timestamp=1&nonce=N&sign=x"),
		"no sign":           []byte("timestamp=1&nonce=N&body=x"),
		"no nonce":          []byte("timestamp=1&sign=x&body=x"),
		"no time":           []byte("nonce=N&sign=x&body=x"),
		"broken escape":     []byte("timestamp=1&nonce=N&sign=x&body=%7"),
		"time in words":     form("now", "N", "x", "{}"),
		"negative time":     form("-1", "N", "x", "{}"),
		"nonce with spaces": form("1", "N N", "x", "{}"),
		"broken JSON":       []byte(`{"timestamp":1`),
		"two objects":       []byte(`{"timestamp":1,"nonce":"N","sign":"x","body":"{}"}{}`),
		"body as object":    []byte(`{"timestamp":1,"nonce":"N","sign":"x","body":{}}`),
		"list":              []byte(`[]`),
		"page":              []byte(`<html>`),
		"bytes":             {0xff, 0xfe, 0},
	} {
		if e, err := ParseCallback(raw); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
	if _, err := ParseCallback(form("1", "N", "x", strings.Repeat("x", MaxCallback))); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func FuzzCallback(f *testing.F) {
	f.Add([]byte(wireDeposit), "QWERTY", "1767225660123", bodyDeposit)
	f.Add([]byte(`{"timestamp":1767225660123,"nonce":1,"sign":"x","body":"{}"}`), "1", "0", " ")
	f.Add([]byte("timestamp=1&nonce=%80&sign=x&body=%7B%7D"), "N\x80", "1\x80", "\x00")
	f.Add([]byte(`{"timestamp":1e3,"nonce":null,"sign":[],"body":7}`), "", "99999999999999999999", `{"tradeId":1}`)
	key := secret.NewText(testKey)
	v := newTestVerifier(f, nil)
	stranger := newTestVerifier(f, func(c *VerifierConfig) { c.APIKeys = []secret.Text{secret.NewText("another key")} })
	f.Fuzz(func(t *testing.T, raw []byte, nonce, timestamp, body string) {
		if e, err := ParseCallback(raw); err == nil {
			_, err := v.Verify(e)
			if want := strings.EqualFold(e.Sign, Sign(key, e.Body, e.Nonce, e.Timestamp)); want == errors.Is(err, ErrSignature) {
				t.Fatalf("signature fits: %v, but %v", want, err)
			}
			if !isDigits(e.Timestamp) || !isIdentifier(e.Nonce) {
				t.Fatalf("%+v", e)
			}
		}
		e, err := ParseCallback(form(timestamp, nonce, Sign(key, body, nonce, timestamp), body))
		if err != nil {
			return
		}
		if e.Body != body || e.Nonce != nonce || e.Timestamp != timestamp {
			t.Fatalf("changed on the way: %+v", e)
		}
		if _, err := v.Verify(e); errors.Is(err, ErrSignature) {
			t.Fatal("a right signature is not recognised")
		}
		if _, err := stranger.Verify(e); !errors.Is(err, ErrSignature) {
			t.Fatal("accepted with a key that nobody signed with")
		}
	})
}
