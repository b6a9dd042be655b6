package ledger_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/db/dbtest"
)

func TestAccountCodes(t *testing.T) {
	for code, want := range map[string]ledger.Account{
		"user:42:available:USDT-TRC20": ledger.AvailableOf(42, "USDT-TRC20"),
		"user:42:held:BTC":             ledger.HeldOf(42, "BTC"),
		"custody:BTC":                  ledger.CustodyOf("BTC"),
		"suspense:BTC":                 ledger.SuspenseOf("BTC"),
		"revenue:withdrawal:BTC":       ledger.RevenueOf("withdrawal", "BTC"),
		"issuer:float:HKD":             {Owner: ledger.Issuer, Purpose: "float", Asset: "HKD"},
		"card:7:HKD":                   {Owner: ledger.Card, OwnerID: 7, Asset: "HKD"},
	} {
		if got, err := ledger.ParseAccount(code); err != nil || got != want || got.String() != code {
			t.Errorf("%s: %+v %v", code, got, err)
		}
	}
	for _, code := range []string{"", ":", "user", "user:42", "user:42:BTC", "user:0:available:BTC", "user:-1:available:BTC", "user:042:available:BTC", "user:42:spent:BTC",
		"user:42:available:", "custody:", "custody:1:BTC", "card:HKD", "bank:BTC", "revenue:a:b:BTC", "user:9223372036854775808:available:BTC"} {
		if got, err := ledger.ParseAccount(code); !errors.Is(err, ledger.ErrAccount) {
			t.Errorf("%s: %+v %v", code, got, err)
		}
	}
}

func FuzzParseAccount(f *testing.F) {
	for _, seed := range []string{"user:42:available:USDT-TRC20", "custody:BTC", "revenue:withdrawal:BTC", "card:7:HKD", "user:+1:held:X", "::", "revenue:7:8:9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, code string) {
		a, err := ledger.ParseAccount(code)
		if err == nil && a.String() != code {
			t.Errorf("%q is %+v, whose code is %q", code, a, a)
		}
		if err != nil && a != (ledger.Account{}) {
			t.Errorf("%q: %+v and %v", code, a, err)
		}
	})
}

// What is no transaction is refused at both doors and leaves nothing behind.
func TestWhatIsNoTransaction(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, d db.DB) {
		b := open(t, d)
		good := ledger.Move("transfer", "x", ledger.CustodyOf(usdt), available(1), 5)
		with := func(change func(*ledger.Transaction)) ledger.Transaction {
			t := good
			t.Lines = append([]ledger.Line(nil), good.Lines...)
			change(&t)
			return t
		}
		for name, bad := range map[string]ledger.Transaction{
			"no kind":           with(func(t *ledger.Transaction) { t.Kind = "" }),
			"no reference":      with(func(t *ledger.Transaction) { t.Reference = "" }),
			"long reference":    with(func(t *ledger.Transaction) { t.Reference = strings.Repeat("x", 201) }),
			"NUL":               with(func(t *ledger.Transaction) { t.Description = "a\x00b" }),
			"no UTF-8":          with(func(t *ledger.Transaction) { t.Reference = "\xff" }),
			"metadata":          with(func(t *ledger.Transaction) { t.Metadata = "[1]" }),
			"half an object":    with(func(t *ledger.Transaction) { t.Metadata = `{"a":` }),
			"no lines":          with(func(t *ledger.Transaction) { t.Lines = nil }),
			"one line":          with(func(t *ledger.Transaction) { t.Lines = t.Lines[:1] }),
			"zero":              with(func(t *ledger.Transaction) { t.Lines[0].Amount, t.Lines[1].Amount = 0, 0 }),
			"does not sum":      with(func(t *ledger.Transaction) { t.Lines[1].Amount = 6 }),
			"other assets":      with(func(t *ledger.Transaction) { t.Lines[1].Account.Asset = "BTC" }),
			"what has no minus": with(func(t *ledger.Transaction) { t.Lines[0].Amount, t.Lines[1].Amount = math.MinInt64, math.MinInt64 }),
			"a sum that wraps": with(func(t *ledger.Transaction) {
				t.Lines = []ledger.Line{{available(1), math.MaxInt64}, {available(2), math.MaxInt64}, {available(3), 2}}
			}),
			"user 0":             with(func(t *ledger.Transaction) { t.Lines[1].Account.OwnerID = 0 }),
			"no such purpose":    with(func(t *ledger.Transaction) { t.Lines[1].Account.Purpose = "spent" }),
			"no such owner":      with(func(t *ledger.Transaction) { t.Lines[0].Account.Owner = "bank" }),
			"asset with a colon": with(func(t *ledger.Transaction) { t.Lines[0].Account.Asset, t.Lines[1].Account.Asset = "A:B", "A:B" }),
			"a thousand lines":   with(func(t *ledger.Transaction) { t.Lines = make([]ledger.Line, 1001) }),
		} {
			for door, post := range b.doors() {
				if p, err := post(bad); !errors.Is(err, ledger.ErrInvalid) || p.ID != 0 {
					t.Errorf("%s, %s: %+v %v", name, door, p, err)
				}
			}
		}
		if report, err := b.Verify(t.Context(), nil); err != nil || report.Accounts+report.Transactions+report.Postings != 0 {
			t.Errorf("%+v %v", report, err)
		}
	})
}
