package kyc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// Sixty-four taps at once: one attempt, one session that is paid for, one link for all of them.
func TestParallelStarts(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		// The provider takes its time, so that all of them come while the session is being made.
		operation, key := "kyc_init", callInit
		if w.Channel == kyc.ViaDidit {
			operation, key = "create_session", callSession
		}
		w.fault("*", operation, fault.Delay, 1, func(r *fault.Rule) { r.DelayMS = 700 })
		c := w.customer()
		const taps = 64
		replies := make([]reply, taps)
		var all sync.WaitGroup
		for i := range taps {
			all.Go(func() {
				// On a busy machine somebody may be asked to try again before the session is there, and does.
				for try := 0; try == 0 || try < 5 && replies[i].status == http.StatusServiceUnavailable; try++ {
					replies[i] = c.tryStart(entries())
				}
			})
		}
		all.Wait()
		first := attemptFrom(c, replies[0])
		for _, r := range replies {
			if got := attemptFrom(c, r); r.status != http.StatusOK || got != first {
				t.Fatalf("%d %s; the first got %+v", r.status, r.raw, first)
			}
		}
		if c.records(false) != 1 || w.billed() != 1 || w.calls.of(key) != 1 {
			t.Errorf("%d records, %d sessions billed, %d calls; want one of each", c.records(false), w.billed(), w.calls.of(key))
		}
		c.is(stepSubmit)
	})
}

// Customers do not wait for one another.
func TestManyCustomersStartAtOnce(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		const crowd = 12
		list := make([]*customer, crowd)
		for i := range list {
			list[i] = w.customer()
		}
		seen := map[string]bool{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, c := range list {
			for range 2 {
				all.Go(func() {
					r := c.tryStart(entries())
					a := attemptFrom(c, r)
					if r.status != http.StatusOK {
						t.Errorf("%d %s", r.status, r.raw)
					}
					mu.Lock()
					defer mu.Unlock()
					seen[a.agentUID] = true
				})
			}
		}
		all.Wait()
		if len(seen) != crowd || w.billed() != crowd {
			t.Errorf("%d attempts, %d sessions billed; want %d", len(seen), w.billed(), crowd)
		}
	})
}

var agentUIDForm = regexp.MustCompile(`^u[0-9]+_[0-9]{10}_[a-z0-9]{8}$`)

// The answer of a start, and what a second tap gets.
func TestStart(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		c.is(stepNone)
		r := c.tryStart(entries())
		a := attemptFrom(c, r)
		keys := []string{"status", "didit_token", "user_kyc_id", "verification_id"}
		wantKeys(t, "start", r.body, keys...)
		token := r.body["didit_token"].(fields)
		wantKeys(t, "didit_token", token, "code", "errstr", "request_id", "data")
		wantKeys(t, "data", token["data"].(fields), "session_id", "url")
		if token["code"] != 200.0 || token["errstr"] != "SUCCESS" || r.body["status"] != "success" || token["request_id"] == "" {
			t.Errorf("answer: %s", r.raw)
		}
		if !agentUIDForm.MatchString(a.agentUID) || !strings.HasPrefix(a.url, "http") {
			t.Errorf("verification id %q, url %q", a.agentUID, a.url)
		}
		for range 3 {
			w.clock.Advance(24 * time.Hour / 2)
			c.wait(time.Second)
			if again := c.start(); again != a {
				t.Errorf("second tap: %+v, first %+v", again, a)
			}
		}
		if w.billed() != 1 || c.records(false) != 1 {
			t.Errorf("%d sessions billed, %d records", w.billed(), c.records(false))
		}
		// The account's address counts, not the one the app sends.
		if w.Channel == kyc.ViaPokePay {
			if k, _ := w.cardholder(a.agentUID); k.Email != c.email {
				t.Errorf("the issuer got the address %q, want %q", k.Email, c.email)
			}
		}
		// Links and entries are not readable in the database.
		var url, applicant []byte
		if err := w.db.QueryRow(context.Background(), `SELECT session_url, applicant FROM kyc_records WHERE id = $1`, a.recordID).Scan(&url, &applicant); err != nil {
			t.Fatal(err)
		}
		for _, clear := range []string{"AMINA", "Harbour", "51234567", c.email, a.url[strings.LastIndex(a.url, "/")+1:]} {
			if strings.Contains(string(url)+string(applicant), clear) {
				t.Errorf("%q stands in the database in the clear", clear)
			}
		}
	})
}

func wantKeys(t testing.TB, what string, object fields, keys ...string) {
	t.Helper()
	want, got := map[string]bool{}, map[string]bool{}
	for _, k := range keys {
		want[k] = true
	}
	for k, v := range object {
		got[k] = true
		if v == nil {
			t.Errorf("%s: %s is null", what, k)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys of %s (-want +got):\n%s", what, diff)
	}
}

// The rule of contract/money 10.4 number 5 at the door: without a usable fee nobody starts.
func TestStartNeedsTheFee(t *testing.T) {
	var paid sync.Map // customer's id: standing
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		key := fmt.Sprint(w.url, c.id)
		for _, tt := range []struct {
			standing                 kyc.FeeStanding
			eligible                 bool
			payment, action, because string
		}{
			{kyc.FeeNone, false, "none", "create_payment", "Please pay the card opening fee before you verify your identity."},
			{kyc.FeePending, false, "pending", "complete_payment", "Your payment of the card opening fee is not complete yet. Please finish it first."},
			{kyc.FeeCompleted, true, "completed", "", ""},
		} {
			paid.Store(key, tt.standing)
			r := w.call(http.MethodGet, "/kyc/eligibility", c.access, nil)
			want := fields{"status": "success", "payment_type": "virtual", "eligible": tt.eligible, "payment_status": tt.payment, "required_action": tt.action, "reason": tt.because}
			if diff := cmp.Diff(want, r.body); r.status != http.StatusOK || diff != "" {
				t.Errorf("%s: %d\n%s", tt.standing, r.status, diff)
			}
			if !tt.eligible {
				c.tryStart(entries()).refused(t, 400, "KYC_FEE_UNPAID")
				if c.records(false) != 0 || w.billed() != 0 {
					t.Errorf("%s: something was begun all the same", tt.standing)
				}
			}
		}
		// It stays so after a rejection, so that the retry button works.
		a := c.start()
		a.verdict(3, "no")
		c.becomes(stepRejected(3, "no"))
		if r := w.call(http.MethodGet, "/kyc/eligibility", c.access, nil); r.body["eligible"] != true {
			t.Errorf("after a rejection: %s", r.raw)
		}
		c.start()
	}, func(p *plan) {
		p.options = func(o *kyc.Options) {
			url := o.PublicURL
			o.Fee = func(_ context.Context, userID int64) (kyc.FeeStanding, error) {
				standing, _ := paid.Load(fmt.Sprint(url, userID))
				return standing.(kyc.FeeStanding), nil
			}
		}
	})
}

// What the issuer's words at the start of an attempt lead to; a refused attempt leaves nothing open.
func TestStartRefusedByTheIssuer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		for words, want := range map[string]struct {
			code  string
			cases []string
		}{
			"邮箱已被其它客户端使用":                           {"KYC_EMAIL_TAKEN", []string{"kyc_email_taken"}},
			"email already in use":                  {"KYC_EMAIL_TAKEN", []string{"kyc_email_taken"}},
			"证件号重复":                                 {"KYC_DOCUMENT_TAKEN", []string{"kyc_document_taken"}},
			"first_en_name or last_en_name invalid": {"KYC_NAME_INVALID", []string{}},
			"the stars are not right":               {"KYC_REFUSED", []string{}},
		} {
			t.Run(want.code+" "+words, func(t *testing.T) {
				c := w.with(t).customer()
				w.fault("pokepay", "kyc_init", fault.RefuseInit, 1, func(r *fault.Rule) { r.Message = words })
				r := c.tryStart(entries())
				r.refused(t, 400, want.code)
				if strings.Contains(r.raw, words) {
					t.Errorf("the issuer's words reach the customer: %s", r.raw)
				}
				c.is(stepCancelled)
				var agentUID string
				if err := w.db.QueryRow(context.Background(), `SELECT agent_uid FROM kyc_records WHERE user_id = $1`, c.id).Scan(&agentUID); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want.cases, w.cases(agentUID)); diff != "" {
					t.Errorf("cases:\n%s", diff)
				}
				if w.count(`SELECT COUNT(*) FROM kyc_events WHERE why LIKE '%' || $1`, words) != 1 {
					t.Error("staff cannot read the issuer's words")
				}
				c.start() // and the way is free
				c.is(stepSubmit)
			})
		}
		t.Run("an address of a cardholder of somebody else", func(t *testing.T) {
			c := w.with(t).customer()
			if err := w.issuer.AddForeignEmail(context.Background(), c.email); err != nil {
				t.Fatal(err)
			}
			before := w.billed()
			c.tryStart(entries()).refused(t, 400, "KYC_EMAIL_TAKEN")
			if w.billed() != before {
				t.Error("a session was billed")
			}
		})
	})
}

// However often a customer tries, there is a limit to what it costs: five attempts within an hour, ten within a day, and one case.
func TestAttemptsAreLimited(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.fault("pokepay", "kyc_init", fault.RefuseInit, 0, func(r *fault.Rule) { r.Message = "email already in use" })
		c := w.customer()
		limited := func() (wait time.Duration) {
			t.Helper()
			r := c.tryStart(entries())
			r.refused(t, http.StatusTooManyRequests, "KYC_TOO_MANY_ATTEMPTS")
			seconds, err := strconv.Atoi(r.header.Get("Retry-After"))
			if err != nil {
				t.Fatalf("Retry-After %q", r.header.Get("Retry-After"))
			}
			return time.Duration(seconds) * time.Second
		}
		open := func() int { return w.count(`SELECT COUNT(*) FROM operator_cases WHERE is_open = 1`) }
		refused := func() {
			t.Helper()
			c.tryStart(entries()).refused(t, http.StatusBadRequest, "KYC_EMAIL_TAKEN")
			w.clock.Advance(time.Minute)
		}
		for range 5 {
			refused()
		}
		for range 25 {
			if wait := limited(); wait != 55*time.Minute {
				t.Fatalf("told to wait %s, want 55 min", wait)
			}
		}
		if c.records(false) != 5 || w.calls.of(callInit) != 5 || open() != 1 {
			t.Errorf("%d attempts, %d calls, %d cases; want 5, 5 and 1", c.records(false), w.calls.of(callInit), open())
		}
		for l, words := range map[string]string{"en": "55 min", "zh": "55 分钟", "ar": "55 دقيقة"} {
			if r := c.tryStart(entries(), "Accept-Language", l); !strings.Contains(r.text("message"), words) {
				t.Errorf("%s: %s", l, r.raw)
			}
		}
		// Nobody else is stopped by it, and what is wrong with them is another case.
		w.customer().tryStart(entries()).refused(t, http.StatusBadRequest, "KYC_EMAIL_TAKEN")
		if open() != 2 {
			t.Errorf("%d cases for two customers", open())
		}

		w.clock.Advance(55*time.Minute - time.Second)
		limited()
		w.clock.Advance(time.Second)
		refused()
		w.clock.Advance(time.Hour)
		for range 4 {
			refused()
		}
		if wait := limited(); wait < 21*time.Hour || wait > 22*time.Hour {
			t.Errorf("told to wait %s after ten attempts within a day, want until the first of them is a day old", wait)
		}
		c.wait(limited())
		refused()
		if c.records(false) != 11 || open() != 2 {
			t.Errorf("%d attempts, %d cases; want 11 and 2", c.records(false), open())
		}

		// A case that was settled does not keep the next one from being opened.
		var subject string
		if err := w.db.QueryRow(context.Background(), `SELECT agent_uid FROM kyc_records WHERE user_id = $1 ORDER BY id LIMIT 1`, c.id).Scan(&subject); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Dismiss(context.Background(), operator, subject, "told them to use another address"); err != nil {
			t.Fatal(err)
		}
		c.wait(2 * time.Hour)
		refused()
		if open() != 2 {
			t.Errorf("%d cases, want 2", open())
		}
	})
}

// A verification that is declined over and over is limited like any other, and a link that is open is given out for ever.
func TestDeclinesAreLimited(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c, declined := w.customer(), stepRejected(3, "The photo is not clear. Please take it again in good light.")
		for range 2 {
			a := c.start()
			a.page("decline", "IMAGE_TOO_BLURRY")
			c.becomes(declined)
		}
		a := c.start()
		for range 5 {
			if again := c.start(); again != a {
				t.Errorf("another link: %+v, was %+v", again, a)
			}
		}
		a.page("decline", "IMAGE_TOO_BLURRY")
		c.becomes(declined)
		billed := w.billed()
		c.tryStart(entries()).refused(t, http.StatusTooManyRequests, "KYC_TOO_MANY_ATTEMPTS")
		if w.billed() != billed {
			t.Error("a session was billed")
		}
		c.is(declined)
	}, via(kyc.ViaDidit), func(p *plan) { p.options = func(o *kyc.Options) { o.AttemptsPerHour = 3 } })
}

// Names go onto the card letter by letter (contract/money 1.3).
func TestNames(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		for _, name := range []string{"", " ", "AMINA CHAN", "O'NEIL", "ANNE-MARIE", "JOSÉ", "李", "أمينة", "AMINA1", "AMINA\x00", "AMINA\n", "АMINA", "ＡＭＩＮＡ", "𝐀MINA",
			strings.Repeat("A", 41), "AMINA\u202e", "<B>", "A.B"} {
			for _, key := range []string{"first_en_name", "last_en_name"} {
				in := entries()
				in[key] = name
				r := c.tryStart(in)
				if strings.TrimSpace(name) == "AMINA" { // a line break at the end is trimmed like a space
					if r.status != http.StatusOK {
						t.Errorf("%s %q: %d %s", key, name, r.status, r.raw)
					}
					continue
				}
				if r.status != http.StatusBadRequest || r.body["code"] != "KYC_NAME_INVALID" {
					t.Errorf("%s %q: %d %s", key, name, r.status, r.raw)
				}
			}
		}
	})
}

// Entries are checked before anybody is asked, and the refusal names the field.
func TestEntries(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		long := strings.Repeat("界", 201)
		for _, tt := range []struct{ key, value string }{
			{"area_code", ""}, {"area_code", "++852"}, {"area_code", "85a"}, {"area_code", "12345"}, {"area_code", "٨٥٢"},
			{"phone", "51234567x"}, {"phone", strings.Repeat("1", 21)}, {"phone", "٥١٢٣"},
			{"bill_country_code", ""}, {"bill_country_code", "HKG"}, {"bill_country_code", "香港"}, {"bill_country_code", "1H"},
			{"state", ""}, {"state", long}, {"city", " "}, {"city", long}, {"address", ""}, {"address", long}, {"address", "a\x00b"}, {"address", "a\x1b[2Jb"},
			{"city", "a\nb"}, {"post_code", ""}, {"post_code", strings.Repeat("9", 21)}, {"state", "a\u0085b"},
		} {
			in := entries()
			in[tt.key] = tt.value
			r := c.tryStart(in)
			r.refused(t, 400, "KYC_FIELD_INVALID")
			if !strings.Contains(r.text("message"), tt.key) {
				t.Errorf("%s %q: the message does not name the field: %s", tt.key, tt.value, r.raw)
			}
		}
		if c.records(false) != 0 || w.billed() != 0 {
			t.Fatal("something was begun all the same")
		}
		// Whatever script an address is written in, it arrives as it was typed.
		in := entries()
		in["city"], in["address"], in["state"] = "دبي", "شارع الوصل ١٢, 𠮷野家 🏠 Málaga", "香港特別行政區"
		in["area_code"], in["bill_country_code"], in["phone"], in["first_en_name"] = "+852", "hk", "5123-4567 (8)", " amina "
		r := c.tryStart(in)
		if r.status != http.StatusOK {
			t.Fatalf("%d %s", r.status, r.raw)
		}
		d, err := w.Show(context.Background(), operator, attemptFrom(c, r).agentUID)
		if err != nil {
			t.Fatal(err)
		}
		want := kyc.Applicant{FirstName: "AMINA", LastName: "CHAN", AreaCode: "852", Phone: "512345678", CountryCode: "HK",
			State: "香港特別行政區", City: "دبي", Address: "شارع الوصل ١٢, 𠮷野家 🏠 Málaga", PostCode: "000000", Email: c.email}
		if diff := cmp.Diff(want, d.Applicant); diff != "" {
			t.Errorf("applicant:\n%s", diff)
		}
	})
}

// The app does not check the phone number and may send none. The hosted verification does without; the issuer takes no
// cardholder without one, which the customer should learn before the verification and not after it.
func TestPhoneMayBeEmpty(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		in := entries()
		in["phone"] = ""
		r := c.tryStart(in)
		if w.Channel == kyc.ViaDidit {
			r.refused(t, 400, "KYC_FIELD_INVALID")
		} else if r.status != http.StatusOK {
			t.Errorf("%d %s", r.status, r.raw)
		}
	})
}

// Bodies that are no entries at all.
func TestStartWithAnyBody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		text := func(change func(fields)) string {
			in := entries()
			change(in)
			b, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		bodies := map[string]string{
			"empty": "", "null": "null", "array": "[]", "text": `"x"`, "number": "1", "broken": `{"first_en_name":`, "two": `{}{}`,
			"deep":      strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000),
			"deep list": strings.Repeat("[", 20000),
			"no UTF-8":  "{\"first_en_name\":\"\xff\xfe\"}", "html": "<html></html>", "form": "first_en_name=AMINA",
		}
		for key := range entries() {
			for name, value := range map[string]any{"null": nil, "number": 1, "float": 1.5e300, "bool": true, "list": []int{1}, "object": fields{"a": 1}} {
				bodies[key+" "+name] = text(func(in fields) { in[key] = value })
			}
		}
		for name, body := range bodies {
			r := c.tryStart(body)
			unused := strings.HasPrefix(name, "email ") || strings.HasPrefix(name, "agent_uid ") || strings.HasPrefix(name, "return_url ") ||
				name == "phone null" // the same as none
			switch {
			case r.status == http.StatusOK && unused:
			case r.status < 400 || r.status >= 500 || r.text("message") == "":
				t.Errorf("%s: %d %s", name, r.status, r.raw)
			}
		}
		r := c.tryStart(text(func(in fields) { in["address"] = strings.Repeat("a", 70_000) }))
		r.refused(t, http.StatusRequestEntityTooLarge, "REQUEST_TOO_LARGE")
		if c.records(false) > 1 {
			t.Errorf("%d attempts", c.records(false))
		}
		c.start()
		// Keys that the app does not send today are no reason to refuse what it sends.
		if r := c.tryStart(text(func(in fields) { in["new_in_the_next_version"] = []int{1} })); r.status != http.StatusOK {
			t.Errorf("unknown key: %d %s", r.status, r.raw)
		}
	})
}
