package kyc_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

// The body of GET /didit/status key by key: what has no value is left out, and nothing is null (contract/money 1.1).
func TestStatusBody(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		want := fields{"status": "success", "user_kyc_status": "none", "can_submit_kyc": true, "message": "Please verify your identity."}
		if diff := cmp.Diff(want, c.status().body); diff != "" {
			t.Errorf("never tried:\n%s", diff)
		}
		a := c.start()
		latest := fields{"id": float64(a.recordID), "agent_uid": a.agentUID, "status": "pending_submit", "pokepay_status": 1.0,
			"created_at": "2026-03-01T09:00:00Z", "updated_at": "2026-03-01T09:00:00Z"}
		want = fields{"status": "success", "user_kyc_status": "none", "can_submit_kyc": true, "message": "Please finish your verification.", "latest_kyc": latest}
		if diff := cmp.Diff(want, c.status().body); diff != "" {
			t.Errorf("started:\n%s", diff)
		}
		w.clock.Advance(time.Minute + 300*time.Millisecond - time.Second)
		a.verdict(3, "证件照片不清晰，请重新上传")
		c.becomes(stepRejected(3, "证件照片不清晰，请重新上传"))
		latest["status"], latest["pokepay_status"], latest["fail_reason"], latest["updated_at"] = "rejected", 3.0, "证件照片不清晰，请重新上传", "2026-03-01T09:01:00Z"
		want["user_kyc_status"], want["message"] = "rejected", "Your verification was not successful. You can try again."
		if diff := cmp.Diff(want, c.status().body); diff != "" {
			t.Errorf("rejected:\n%s", diff)
		}
		second := c.start()
		second.verdict(2, "with words that nobody needs")
		c.becomes(stepVerified)
		body := c.status().body
		wantKeys(t, "status", body, "status", "user_kyc_status", "can_submit_kyc", "message", "latest_kyc")
		wantKeys(t, "latest_kyc", body["latest_kyc"].(fields), "id", "agent_uid", "status", "pokepay_status", "created_at", "updated_at")
	})
}

// Every row of contract/money 10.2 in three languages: a text of its own, in that language, and a reason where there must be one.
func TestStatusInThreeLanguages(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		rows := map[string]struct {
			reach func(*customer)
			key   string
		}{
			"none":           {func(*customer) {}, "none"},
			"pending_submit": {func(c *customer) { c.start() }, "pending_submit"},
			"pending": {func(c *customer) {
				c.start().comesBack("Approved")
				c.is(stepPending)
			}, "pending"},
			"manual review":  {func(c *customer) { c.start().verdict(5, ""); c.becomes(stepReview) }, "manual_review"},
			"verified":       {func(c *customer) { c.start().verdict(2, ""); c.becomes(stepVerified) }, "verified"},
			"rejected":       {func(c *customer) { c.start().verdict(3, ""); c.waitFor("rejected") }, "rejected"},
			"mismatch":       {func(c *customer) { c.start().verdict(4, ""); c.waitFor("rejected") }, "mismatch"},
			"document taken": {func(c *customer) { c.start().verdict(6, ""); c.waitFor("rejected") }, "document_taken"},
		}
		tests := map[string]func(*customer){}
		for name, row := range rows {
			tests[name] = func(c *customer) {
				row.reach(c)
				messages, reasons := map[string]bool{}, map[string]bool{}
				for _, l := range i18n.Locales {
					r := c.status("Accept-Language", string(l))
					if got, want := r.text("message"), c.w.texts.Get(l, "kyc.status."+row.key, nil); got != want {
						c.t.Errorf("%s: message %q, want %q", l, got, want)
					}
					messages[r.text("message")] = true
					reasons[standingFrom(r).Reason] = true
				}
				if len(messages) != 3 {
					c.t.Errorf("the message is not translated: %v", messages)
				}
				if rejected := standingFrom(c.status()).User == "rejected"; rejected && len(reasons) != 3 || !rejected && !(len(reasons) == 1 && reasons[""]) {
					c.t.Errorf("reasons %v", reasons)
				}
			}
		}
		customersIn(t, w, tests)
	})
}

func (c *customer) waitFor(user string) {
	c.t.Helper()
	c.w.eventually("the customer to be "+user, func() bool { return standingFrom(c.status()).User == user })
}

// All forms of a path are served, none by a redirect (contract/rules section 1).
func TestForms(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		bare := *http.DefaultClient
		bare.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		for _, prefix := range []string{"", "/api/v1"} {
			for _, slash := range []string{"", "/"} {
				for _, p := range []string{"/didit/status", "/kyc/eligibility", "/didit/get-result/" + a.agentUID, "/didit/get-user-kyc/" + url.PathEscape(c.email), "/kyc/return"} {
					r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, w.url+prefix+p+slash, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Authorization", "Bearer "+c.access)
					r.Header.Set("Content-Type", "application/json") // the app sends it with every GET
					res, err := bare.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
					if res.StatusCode != http.StatusOK {
						t.Errorf("GET %s: %d", r.URL.Path, res.StatusCode)
					}
				}
				again := w.call(http.MethodPost, prefix+"/didit/initialize-token"+slash, c.access, entries())
				if got := attemptFrom(c, again); got != a {
					t.Errorf("POST %s…%s: %d %s", prefix, slash, again.status, again.raw)
				}
				for _, p := range []string{"/didit/webhook", "/pokepay/callback/" + callbackKey} {
					if r := w.call(http.MethodPost, prefix+p+slash, "", "{}"); r.status != http.StatusUnauthorized {
						t.Errorf("POST %s: %d %s", prefix+p+slash, r.status, r.raw)
					}
				}
			}
		}
	})
}

// Who may call what.
func TestAccess(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		ctx := context.Background()
		c := w.customer()
		a := c.start()
		calls := map[string]func(token string) reply{
			"status":      func(token string) reply { return w.call(http.MethodGet, "/didit/status", token, nil) },
			"eligibility": func(token string) reply { return w.call(http.MethodGet, "/kyc/eligibility", token, nil) },
			"start":       func(token string) reply { return w.call(http.MethodPost, "/didit/initialize-token", token, entries()) },
			"result":      func(token string) reply { return w.call(http.MethodGet, "/didit/get-result/"+a.agentUID, token, nil) },
			"attempts":    func(token string) reply { return w.call(http.MethodGet, "/didit/get-user-kyc/"+c.email, token, nil) },
		}
		refusedAll := func(t *testing.T, token string) {
			t.Helper()
			for name, call := range calls {
				r := call(token)
				if r.status != http.StatusUnauthorized || r.text("message") == "" {
					t.Errorf("%s: %d %s, want 401", name, r.status, r.raw)
				}
			}
		}
		t.Run("no token", func(t *testing.T) { refusedAll(t, "") })
		t.Run("garbage", func(t *testing.T) { refusedAll(t, "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.") })
		t.Run("altered", func(t *testing.T) { refusedAll(t, c.access[:len(c.access)-4]+"AAAA") })
		t.Run("granted", func(t *testing.T) {
			for name, call := range calls {
				if r := call(c.access); r.status != http.StatusOK {
					t.Errorf("%s: %d %s", name, r.status, r.raw)
				}
			}
		})
		t.Run("frozen", func(t *testing.T) {
			if _, err := w.people.FreezeAccount(ctx, operator, c.email, "looks odd"); err != nil {
				t.Fatal(err)
			}
			for name, call := range calls {
				r := call(c.access)
				if name == "start" {
					r.refused(t, http.StatusForbidden, "ACCOUNT_FROZEN")
				} else if r.status != http.StatusOK { // they may read
					t.Errorf("%s: %d %s", name, r.status, r.raw)
				}
			}
			if _, err := w.people.UnfreezeAccount(ctx, operator, c.email, "it was not"); err != nil {
				t.Fatal(err)
			}
			if r := calls["start"](c.access); r.status != http.StatusOK {
				t.Errorf("after the freeze: %d %s", r.status, r.raw)
			}
		})
		t.Run("signed out", func(t *testing.T) {
			other := w.with(t).customer()
			if r := w.call(http.MethodPost, "/auth/logout", other.access, nil); r.status != http.StatusOK {
				t.Fatalf("logout: %d %s", r.status, r.raw)
			}
			refusedAll(t, other.access)
		})
		t.Run("closed", func(t *testing.T) {
			other := w.with(t).customer()
			if _, err := w.people.CloseAccount(ctx, operator, other.email, "asked for it"); err != nil {
				t.Fatal(err)
			}
			refusedAll(t, other.access)
		})
		t.Run("user is gone", func(t *testing.T) {
			other := w.with(t).customer()
			for _, table := range []string{"sessions", "known_devices"} {
				if _, err := w.db.Exec(ctx, `DELETE FROM `+table+` WHERE user_id = $1`, other.id); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := w.db.Exec(ctx, `DELETE FROM users WHERE id = $1`, other.id); err != nil {
				t.Fatal(err)
			}
			calls["status"](other.access).refused(t, http.StatusNotFound, "USER_NOT_FOUND")
		})
		t.Run("expired", func(t *testing.T) {
			w.clock.Advance(24*time.Hour + time.Second)
			refusedAll(t, c.access)
		})
	})
}

// A verification that goes on while the account is frozen is decided all the same; the customer reads it.
func TestFrozenCustomerIsDecided(t *testing.T) {
	eachChannel(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.handedIn()
		if _, err := w.people.FreezeAccount(context.Background(), operator, c.email, "looks odd"); err != nil {
			t.Fatal(err)
		}
		a.verdict(2, "")
		c.becomes(stepVerified)
	})
}

// Customers see their own attempts and nobody else's.
func TestOwnAttemptsOnly(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c, stranger := w.customer(), w.customer()
		first := c.start()
		first.verdict(4, "")
		c.waitFor("rejected")
		second := c.start()

		r := w.call(http.MethodGet, "/didit/get-result/"+first.agentUID, c.access, nil)
		wantKeys(t, "result", r.body, "status", "verification_id", "result", "message", "kyc")
		if r.body["result"] != "rejected" || r.body["verification_id"] != first.agentUID || r.body["kyc"].(fields)["pokepay_status"] != 4.0 {
			t.Errorf("result: %s", r.raw)
		}
		if r := w.call(http.MethodGet, "/didit/get-result/"+second.agentUID+"?email="+url.QueryEscape(stranger.email), c.access, nil); r.body["result"] != "pending" {
			t.Errorf("result: %d %s", r.status, r.raw)
		}
		unknown := w.call(http.MethodGet, "/didit/get-result/u1_1_aaaaaaaa", stranger.access, nil)
		unknown.refused(t, http.StatusNotFound, "KYC_NOT_FOUND")
		foreign := w.call(http.MethodGet, "/didit/get-result/"+first.agentUID, stranger.access, nil)
		foreign.refused(t, http.StatusNotFound, "KYC_NOT_FOUND")
		sameBut(t, foreign, unknown)
		for _, id := range []string{"%00", "%ff%fe", "..%2f..%2fstatus", "'%20OR%201=1", strings.Repeat("a", 5000), "%F0%9F%8F%A0", "أمينة"} {
			if r := w.call(http.MethodGet, "/didit/get-result/"+id, c.access, nil); r.status < 400 || r.status >= 500 || r.text("message") == "" {
				t.Errorf("get-result/%.20s: %d %s", id, r.status, r.raw)
			}
		}

		for _, form := range []string{c.email, strings.ToUpper(c.email), "%20" + c.email + "%20"} {
			r := w.call(http.MethodGet, "/didit/get-user-kyc/"+form, c.access, nil)
			list, _ := r.body["data"].([]any)
			if r.status != http.StatusOK || len(list) != 2 || list[0].(fields)["agent_uid"] != second.agentUID || list[1].(fields)["agent_uid"] != first.agentUID {
				t.Errorf("attempts of %q: %d %s", form, r.status, r.raw)
			}
		}
		if r := w.call(http.MethodGet, "/didit/get-user-kyc/"+stranger.email, stranger.access, nil); r.raw == "" || len(r.body["data"].([]any)) != 0 {
			t.Errorf("attempts of somebody who has none: %s", r.raw)
		}
		known := w.call(http.MethodGet, "/didit/get-user-kyc/"+c.email, stranger.access, nil)
		known.refused(t, http.StatusForbidden, "KYC_NOT_YOURS")
		nobody := w.call(http.MethodGet, "/didit/get-user-kyc/nobody@example.test", stranger.access, nil)
		nobody.refused(t, http.StatusForbidden, "KYC_NOT_YOURS")
		sameBut(t, known, nobody)
		for _, address := range []string{"no-address", "%00@example.test", "a@b@c", strings.Repeat("a", 300) + "@example.test", "%ff@example.test"} {
			if r := w.call(http.MethodGet, "/didit/get-user-kyc/"+address, c.access, nil); r.status < 400 || r.status >= 500 || r.text("message") == "" {
				t.Errorf("get-user-kyc/%.20s: %d %s", address, r.status, r.raw)
			}
		}
	})
}

// sameBut checks that two answers cannot be told apart, so that nobody learns what exists.
func sameBut(t testing.TB, a, b reply) {
	t.Helper()
	x, y := maps.Clone(a.body), maps.Clone(b.body)
	delete(x, "request_id")
	delete(y, "request_id")
	if a.status != b.status || !cmp.Equal(x, y) {
		t.Errorf("what is there and what is not can be told apart:\n%s\n%s", a.raw, b.raw)
	}
}

// Providers' bodies have a bound of their own, larger than the app's and far from endless.
func TestHugeWebhook(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		a := c.start()
		large := event("large", a.sessionID, "In Progress")
		large["padding"] = strings.Repeat("x", 900_000)
		w.deliver(signed(w.clock.Now(), large), http.StatusOK)
		huge := event("huge", a.sessionID, "In Progress")
		huge["padding"] = strings.Repeat("x", 1_100_000)
		w.deliver(signed(w.clock.Now(), huge), http.StatusRequestEntityTooLarge)
		deep := signed(w.clock.Now(), event("deep", a.sessionID, "In Progress"))
		deep.body = []byte(strings.Repeat(`[`, 500_000))
		w.deliver(deep, http.StatusUnauthorized)
		if w.messages() != 1 {
			t.Errorf("%d calls stored, want 1", w.messages())
		}
	}, via(kyc.ViaDidit))
}

// Retrying with a key gives the first answer again.
func TestStartWithIdempotencyKey(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		c := w.customer()
		first := c.tryStart(entries(), "Idempotency-Key", "tap-0001")
		again := c.tryStart(entries(), "Idempotency-Key", "tap-0001")
		if first.status != http.StatusOK || fmt.Sprint(first.body) != fmt.Sprint(again.body) {
			t.Errorf("first %d %s\nagain %d %s", first.status, first.raw, again.status, again.raw)
		}
		if w.billed() != 1 {
			t.Errorf("%d sessions billed", w.billed())
		}
	})
}
