package wallet_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// historySeen is contract/money 2.2, in the types of the app.
type historySeen struct {
	Status string `json:"status"`
	Data   struct {
		Items      []itemSeen `json:"items"`
		Page       int        `json:"page"`
		PageSize   int        `json:"page_size"`
		Total      int        `json:"total"`
		TotalPages int        `json:"total_pages"`
	} `json:"data"`
}

type itemSeen struct {
	ID           int         `json:"id"`
	Type         string      `json:"type"`
	TypeLabel    string      `json:"type_label"`
	Status       string      `json:"status"`
	StatusLabel  string      `json:"status_label"`
	Amount       json.Number `json:"amount"`
	Currency     string      `json:"currency"`
	Fee          float64     `json:"fee"`
	Counterparty any         `json:"counterparty_user_id"`
	Description  string      `json:"description"`
	Address      string      `json:"address"`
	TxHash       string      `json:"tx_hash"`
	Reference    string      `json:"reference"`
	SourceTable  string      `json:"source_table"`
	SourceID     int         `json:"source_id"`
	CreatedAt    time.Time   `json:"created_at"`
	CompletedAt  time.Time   `json:"completed_at"`
}

func (c *customer) history(query string) historySeen {
	c.t.Helper()
	var seen historySeen
	c.w.call(http.MethodGet, "/wallet/unified-transactions"+query, c.access, nil).into(c.t, &seen)
	return seen
}

// numbers are the ids of a page, newest first.
func (h historySeen) numbers() []int {
	list := []int{}
	for _, i := range h.Data.Items {
		list = append(list, i.ID)
	}
	return list
}

// happened writes n lines into the customer's history, as a deposit of one coin each.
func (c *customer) happened(n int, change ...func(i int, e *wallet.Entry)) {
	c.t.Helper()
	err := c.w.db.RunTx(context.Background(), func(ctx context.Context, tx db.Tx) error {
		for i := range n {
			e := wallet.Entry{UserID: c.id, Type: wallet.TypeDeposit, Status: wallet.StatusCompleted, Coin: "BTC", Amount: 100_000_000, Reference: "test", Source: "deposits",
				CreatedAt: c.w.clock.Now()}
			for _, f := range change {
				f(i, &e)
			}
			if err := c.w.AddEntry(ctx, tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		c.t.Error(err)
	}
}

func TestHistory(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina, bo := w.customer(), w.customer()
		r := w.call(http.MethodGet, "/wallet/unified-transactions?page=1&page_size=10", amina.access, nil)
		if r.raw != `{"status":"success","data":{"items":[],"page":1,"page_size":10,"total":0,"total_pages":0}}`+"\n" {
			t.Errorf("%s", r.raw)
		}
		amina.grant("USDT-TRC20", "12.5")
		var sent transferred
		amina.send(bo.id, "USDT-TRC20", "10.25").into(t, &sent)
		for _, side := range []struct {
			who    *customer
			amount json.Number
			other  int64
		}{{amina, "-10.25", bo.id}, {bo, "10.25", amina.id}} {
			seen := side.who.history("?page=1&page_size=10")
			if len(seen.Data.Items) != 1 || seen.Data.Total != 1 || seen.Data.TotalPages != 1 {
				t.Fatalf("%+v", seen)
			}
			got := seen.Data.Items[0]
			want := itemSeen{ID: 1, Type: "transfer", TypeLabel: "Transfer", Status: "completed", StatusLabel: "Completed", Amount: side.amount, Currency: "USDT-TRC20",
				Counterparty: float64(side.other), Description: "Internal transfer", Reference: got.Reference, SourceTable: "ledger_transactions", SourceID: int(sent.Transaction),
				CreatedAt: beginning, CompletedAt: beginning}
			if got != want || got.Reference == "" {
				t.Errorf("%+v", got)
			}
		}
		// What is not over has no end, and nothing is ever null.
		bo.happened(1, func(_ int, e *wallet.Entry) {
			e.Status, e.TxHash, e.Address, e.Fee = wallet.StatusPending, "0xabc", "bc1q", 5
		})
		raw := w.call(http.MethodGet, "/wallet/unified-transactions/", bo.access, nil, "Accept-Language", "ar").raw
		want := fmt.Sprintf(`{"id":2,"type":"deposit","type_label":"إيداع","status":"pending","status_label":"قيد التنفيذ","amount":1,"currency":"BTC","fee":0.00000005,"description":"",`+
			`"address":"bc1q","tx_hash":"0xabc","reference":"test","source_table":"deposits","source_id":0,"created_at":"%s"}`, beginning.Format(time.RFC3339))
		if !strings.HasPrefix(raw, `{"status":"success","data":{"items":[`+want) {
			t.Errorf("got  %s\nwant %s", raw, want)
		}
	})
}

func TestHistoryParameters(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina := w.customer()
		days := []time.Time{beginning.Add(-34 * time.Hour), beginning.Add(-9 * time.Hour), beginning.Add(-9*time.Hour - time.Microsecond), beginning}
		amina.happened(len(days), func(i int, e *wallet.Entry) {
			e.CreatedAt = days[i]
			if i%2 == 1 {
				e.Type, e.Status = wallet.TypeWithdrawal, wallet.StatusPending
			} else {
				end := days[i].Add(time.Second)
				e.CompletedAt = &end
			}
		})
		for _, query := range []string{"", "?start_date=2026-02-01"} { // all, and chosen
			for i, item := range amina.history(query).Data.Items {
				at := days[len(days)-1-i]
				end := at.Add(time.Second)
				if i%2 == 0 {
					end = time.Time{}
				}
				if item.CreatedAt != at || item.CompletedAt != end {
					t.Errorf("%q, line %d: from %s to %s", query, item.ID, item.CreatedAt, item.CompletedAt)
				}
			}
		}
		for query, want := range map[string][]int{
			"":                              {4, 3, 2, 1},
			"?page=1&page_size=3":           {4, 3, 2},
			"?page=2&page_size=3":           {1},
			"?page=3&page_size=3":           {},
			"?page=1099511627776":           {},
			"?type=withdraw":                {4, 2},
			"?type=transfer":                {},
			"?status=pending":               {4, 2},
			"?status=completed&page_size=1": {3},
			"?type=deposit&status=pending":  {},
			"?start_date=2026-02-28":        {4, 3, 2},
			"?start_date=2026-03-01":        {4, 2},
			"?end_date=2026-02-28":          {3, 1},
			"?end_date=9999-12-31":          {4, 3, 2, 1},
			"?start_date=2026-02-28&end_date=2026-02-28&type=deposit": {3},
			"?start_date=2026-03-02&end_date=2026-03-01":              {},
			"?type=withdraw&page_size=1&page=2":                       {2},
			"?type=withdraw&page_size=1&page=3":                       {},
		} {
			if got := amina.history(query).numbers(); !slices.Equal(got, want) {
				t.Errorf("%q: %v, want %v", query, got, want)
			}
		}
		if got := amina.history("?type=withdraw&page_size=1").Data; got.Total != 2 || got.TotalPages != 2 {
			t.Errorf("%+v", got)
		}
		for query, code := range map[string]string{
			"?page=0": "PAGE_INVALID", "?page=-1": "PAGE_INVALID", "?page=x": "PAGE_INVALID", "?page=1.0": "PAGE_INVALID", "?page=99999999999999999999": "PAGE_INVALID",
			"?page=9223372036854775807": "PAGE_INVALID", "?page_size=0": "PAGE_INVALID", "?page_size=101": "PAGE_INVALID", "?page_size=ten": "PAGE_INVALID",
			"?type=bribe": "FILTER_INVALID", "?status=done": "FILTER_INVALID", "?start_date=2026-13-01": "DATE_INVALID", "?start_date=01.03.2026": "DATE_INVALID",
			"?end_date=2026-02-30": "DATE_INVALID", "?end_date=tomorrow": "DATE_INVALID", "?start_date=0000-01-01": "DATE_INVALID",
		} {
			w.call(http.MethodGet, "/wallet/unified-transactions"+query, amina.access, nil).refused(t, 400, code)
		}
		// Nobody sees anybody else's.
		if got := w.customer().history(""); len(got.Data.Items) != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// While lines arrive, a reader who only counts pages sees each line that was there when they began exactly once.
func TestPagesAddUp(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		amina := w.customer()
		amina.happened(60)
		stop := make(chan struct{})
		var writing sync.WaitGroup
		for range 2 {
			writing.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						amina.happened(1)
					}
				}
			})
		}
		for _, query := range []string{"", "&type=deposit"} {
			for _, size := range []int{7, 20} {
				var seen []int
				for page, pages := 1, 1; page <= pages; page++ {
					h := amina.history(fmt.Sprintf("?page=%d&page_size=%d%s", page, size, query))
					pages = h.Data.TotalPages
					seen = append(seen, h.numbers()...)
				}
				if len(seen) < 60 {
					t.Errorf("only %d lines", len(seen))
				}
				for i, number := range seen {
					if number != len(seen)-i {
						t.Fatalf("%q, %d on a page: %v", query, size, seen)
					}
				}
			}
		}
		close(stop)
		writing.Wait()

		// Turning to the first page again begins anew; another size, and another session, go their own ways.
		newest := amina.history("?page_size=20").numbers()[0]
		amina.happened(5)
		for query, first := range map[string]int{"?page_size=20&page=2": newest - 20, "?page_size=10&page=2": newest + 5 - 10} {
			if got := amina.history(query).numbers()[0]; got != first {
				t.Errorf("%s begins with %d, want %d", query, got, first)
			}
		}
		if got := amina.history("?page_size=20").numbers()[0]; got != newest+5 {
			t.Errorf("the first page begins with %d, want %d", got, newest+5)
		}
		if got := amina.history("?page_size=20&page=2").numbers()[0]; got != newest+5-20 {
			t.Errorf("the second page begins with %d", got)
		}

		// Nothing is written for a page that is looked at again, and what is old is removed.
		taken := func() (n int) { return w.count(`SELECT COUNT(*) FROM wallet_history_pages`) }
		before := w.count(`SELECT COUNT(*) FROM wallet_history_pages WHERE taken_at >= $1`, w.clock.Now())
		w.clock.Advance(time.Minute)
		amina.history("?page_size=20")
		if n := w.count(`SELECT COUNT(*) FROM wallet_history_pages WHERE taken_at >= $1`, w.clock.Now()); n != 0 || before == 0 {
			t.Errorf("written again: %d of %d", n, before)
		}
		if err := w.Sweep(t.Context()); err != nil || taken() == 0 {
			t.Errorf("%v, %d pages", err, taken())
		}
		w.clock.Advance(24 * time.Hour)
		if err := w.Sweep(t.Context()); err != nil || taken() != 0 {
			t.Errorf("%v, %d pages", err, taken())
		}
	})
}

// A page far back is found as quickly as the first one.
func BenchmarkHistory(b *testing.B) {
	for _, engine := range engines {
		b.Run(string(engine), func(b *testing.B) {
			w := newWorld(b, open(b, engine))
			amina := w.customer()
			const lines = 100_000
			w.exec(`INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, reference, source, source_id, created_at, completed_at)
				WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < `+fmt.Sprint(lines)+`)
				SELECT $1, i, 'transfer', 'completed', 'BTC', 1, 'r', 'ledger_transactions', i, $2, $2 FROM n`, amina.id, w.clock.Now())
			w.exec(`UPDATE wallet_customers SET entries = $2 WHERE user_id = $1`, amina.id, lines)
			for _, page := range []int{1, 1000} {
				b.Run(fmt.Sprint("page ", page), func(b *testing.B) {
					var times []time.Duration
					for b.Loop() {
						began := time.Now()
						if n := len(amina.history(fmt.Sprintf("?page=%d&page_size=100", page)).Data.Items); n != 100 {
							b.Fatal(n)
						}
						times = append(times, time.Since(began))
					}
					slices.Sort(times)
					b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
					b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
				})
			}
		})
	}
}

// One transfer alone, through HTTP.
func BenchmarkTransfer(b *testing.B) {
	for _, engine := range engines {
		b.Run(string(engine), func(b *testing.B) {
			w := newWorld(b, open(b, engine))
			amina, bo := w.customer(), w.customer()
			amina.grant("USDT-TRC20", "1000000")
			var times []time.Duration
			for b.Loop() {
				began := time.Now()
				amina.send(bo.id, "USDT-TRC20", "0.01").into(b, &transferred{})
				times = append(times, time.Since(began))
			}
			slices.Sort(times)
			b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
		})
	}
}

var engines = []db.Engine{db.SQLite, db.PostgreSQL}
