package cli

import (
	"encoding/json"
	"net/http"
	"slices"
	"unicode"
)

// verifiedAtOnce is the story of a customer whom the issuer accepts.
func (w *walk) verifiedAtOnce() *walker {
	c := w.newWalker("Amina", "en")
	c.signUp()
	c.logIn()
	c.get("has never tried", "/didit/status", statusWithout("none", true))
	c.inEveryLanguage()
	c.get("may start: no fee is charged", "/kyc/eligibility", object{"status": "success", "eligible": true, "payment_status": "completed",
		"payment_type": "virtual", "reason": "", "required_action": ""})
	c.refused("gives a name that no card can carry", http.MethodPost, "/didit/initialize-token", c.form("阿米娜", "HADDAD"), http.StatusBadRequest, "KYC_NAME_INVALID")
	c.start("AMINA", "HADDAD")
	c.status("has the link", "none", true, "pending_submit", 1)
	first := c.verification
	c.start("AMINA", "HADDAD")
	c.expect("a second tap gives the same link", c.verification == first)
	c.completePage("approve", "")
	c.waitForReview()
	c.refused("cannot start another one meanwhile", http.MethodPost, "/didit/initialize-token", c.form("AMINA", "HADDAD"), http.StatusBadRequest, "KYC_UNDER_REVIEW")
	c.decide(2, "")
	c.waitFor("verified", false, "approved", 2)
	c.get("the attempt by its id", "/didit/get-result/"+c.agentUID, object{"status": "success", "verification_id": c.agentUID, "result": "completed",
		"message": someText, "kyc": record("approved", 2, false)})
	c.refused("need not start again", http.MethodPost, "/didit/initialize-token", c.form("AMINA", "HADDAD"), http.StatusBadRequest, "KYC_ALREADY_VERIFIED")
	profile := c.get("the profile knows", "/user/profile", nil)
	c.expect("kyc_status in the profile is verified", inner(profile, "user")["kyc_status"] == "verified")
	return c
}

// leaves is the end of a customer's visit.
func (c *walker) leaves() {
	c.refreshTokens()
	c.post("logs out", "/auth/logout", object{}, object{"status": "success", "message": someText})
	c.refused("is out", http.MethodGet, "/didit/status", nil, http.StatusUnauthorized, "UNAUTHENTICATED")
}

// rejectedAndVerifiedLater is the story of a customer who is declined at first, by Didit and then by the issuer, and accepted
// at the third try.
func (w *walk) rejectedAndVerifiedLater() *walker {
	c := w.newWalker("Bilal", "ar")
	c.signUp()
	c.logIn()

	c.start("BILAL", "CHAN")
	c.completePage("decline", "DOCUMENT_EXPIRED")
	c.waitFor("rejected", true, "rejected", 3)
	declined := c.agentUID

	c.start("BILAL", "CHAN")
	c.expect("a new attempt has a new reference", c.agentUID != declined)
	c.completePage("approve", "")
	c.waitForReview()
	const reason = "The photo is not readable"
	c.decide(3, reason)
	rejected := c.waitFor("rejected", true, "rejected", 3)
	c.expect("the customer reads the issuer's own reason", inner(rejected, "latest_kyc")["fail_reason"] == reason)

	c.start("BILAL", "CHAN")
	c.completePage("approve", "")
	c.waitForReview()
	c.decide(2, "")
	c.waitFor("verified", false, "approved", 2)
	all := c.get("sees all attempts, newest first", "/didit/get-user-kyc/"+c.email, nil)
	list, _ := all["data"].([]any)
	var words []string
	for _, item := range list {
		entry, _ := item.(map[string]any)
		words = append(words, text(entry, "status"))
	}
	c.expect("there are three: approved, rejected, rejected", slices.Equal(words, []string{"approved", "rejected", "rejected"}))
	return c
}

// expect adds a step that holds what the answers before it say together.
func (c *walker) expect(title string, holds bool) {
	if c.err != nil {
		return
	}
	s := step{Customer: c.name, Title: title}
	if !holds {
		s.Problems = []string{"it is not so"}
	}
	c.report(s)
}

// nextStep is the shape of the answers that lead through sign-up and login (contract/accounts section 1).
func (c *walker) nextStep(next any) object {
	return object{"status": "success", "email": c.email, "message": someText, "next_step": next}
}

// person is the customer in sign-in answers; nothing may be null (contract/accounts 1.3).
func (c *walker) person() object {
	return object{"id": wholeNumber, "email": c.email, "first_name": anyText, "last_name": anyText, "phone": anyText, "account_type": someText,
		"status": "active", "wallet_id": someText, "kyc_status": "none", "kyc_level": 0, "referral_code": someText, "created_at": timestamp}
}

func (c *walker) signUp() {
	c.post("signs up", "/auth/signup", object{"email": c.email}, c.nextStep(someText))
	code := c.readCode()
	verified := c.nextStep("set_password")
	verified["referral_code"] = ""
	c.post("proves the address", "/auth/verify", object{"email": c.email, "otp_code": code}, verified)
	c.post("sets a password", "/auth/set-password", object{"email": c.email, "password": c.password}, object{"status": "success", "message": someText,
		"access_token": someText, "refresh_token": someText, "next_step": someText, "user": c.person()})
}

func (c *walker) logIn() {
	credentials := object{"email": c.email, "password": c.password}
	c.refused("mistypes the password", http.MethodPost, "/auth/login", object{"email": c.email, "password": c.password + "x"}, http.StatusBadRequest, "INVALID_CREDENTIALS")
	c.post("logs in", "/auth/login", credentials, c.nextStep("verify_login_otp"))
	code := c.readCode()
	in := c.post("enters the code", "/auth/verify-login-otp", object{"email": c.email, "otp_code": code}, object{"status": "success", "message": someText,
		"access_token": someText, "refresh_token": someText, "user": c.person()})
	c.token, c.refresh = text(in, "access_token"), text(in, "refresh_token")
	uid, _ := inner(in, "user")["id"].(json.Number)
	c.uid, _ = uid.Int64()
}

func (c *walker) refreshTokens() {
	fresh := c.post("exchanges the refresh token", "/auth/refresh", object{"refresh_token": c.refresh}, object{"status": "success", "message": someText,
		"access_token": someText, "refresh_token": someText})
	c.token = text(fresh, "access_token")
}

// statusWithout is the answer of GET /didit/status without a record.
func statusWithout(user string, canSubmit bool) object {
	return object{"status": "success", "user_kyc_status": user, "can_submit_kyc": canSubmit, "message": someText}
}

// record is latest_kyc. fail_reason is there exactly if the attempt came to a bad end (contract/money section 1.1).
func record(status any, pokepay any, failed bool) object {
	o := object{"id": wholeNumber, "agent_uid": agentUID, "status": status, "pokepay_status": pokepay, "created_at": timestamp, "updated_at": timestamp}
	if failed {
		o["fail_reason"] = someText
	}
	return o
}

// status reads where the customer stands, in full.
func (c *walker) status(title, user string, canSubmit bool, recorded string, pokepay int) {
	want := statusWithout(user, canSubmit)
	want["latest_kyc"] = record(recorded, pokepay, user == "rejected")
	c.get(title, "/didit/status", want)
}

func (c *walker) inEveryLanguage() {
	for _, l := range []struct {
		code, name string
		script     *unicode.RangeTable
	}{{"zh", "Chinese", unicode.Han}, {"en", "English", unicode.Latin}, {"ar", "Arabic", unicode.Arabic}} {
		want := statusWithout("none", true)
		want["message"] = written(l.name, l.script)
		c.do(request{title: "is told in " + l.name, method: http.MethodGet, url: c.api + "/didit/status/", customer: c, language: l.code, want: want})
	}
}

// form is what the app sends to begin a verification (contract/money 1.3).
func (c *walker) form(first, last string) object {
	return object{"first_en_name": first, "last_en_name": last, "email": c.email, "area_code": "852", "phone": "51234567", "bill_country_code": "HK",
		"state": "Hong Kong", "city": "Hong Kong", "address": "1 Queen's Road", "post_code": "999077",
		"agent_uid": first + "_" + last, "return_url": "https://yourapp.com/kyc/didit/callback"}
}

func (c *walker) start(first, last string) {
	started := c.post("starts a verification", "/didit/initialize-token", c.form(first, last), object{"status": "success", "user_kyc_id": wholeNumber,
		"verification_id": agentUID, "didit_token": object{"code": 200, "errstr": "SUCCESS", "request_id": someText,
			"data": object{"session_id": someText, "url": link}}})
	c.agentUID = text(started, "verification_id")
	c.verification = text(inner(inner(started, "didit_token"), "data"), "url")
}

// completePage does on the verification page what a person would do, and follows it back to the landing page.
func (c *walker) completePage(action, risk string) {
	c.do(request{title: "opens the verification page", method: http.MethodGet, url: c.verification, customer: c, page: true})
	body := object{"action": action}
	if risk != "" {
		body["risk"] = risk
	}
	outcome := map[string]string{"approve": "Approved", "decline": "Declined"}[action]
	done := c.do(request{title: "Didit says " + outcome, method: http.MethodPost, url: c.verification, customer: c, body: body,
		want: object{"session_id": someText, "status": outcome, "redirect": link}})
	c.do(request{title: "is sent back to the app", method: http.MethodGet, url: text(done, "redirect"), customer: c, page: true})
}

func userStatus(r reply) string {
	body, _ := r.body.(map[string]any)
	return text(body, "user_kyc_status")
}

// waitForReview waits until the documents are with the issuer, whose verdict may be there already if it decides by itself.
func (c *walker) waitForReview() {
	c.do(request{title: "waits for the documents to arrive", method: http.MethodGet, url: c.api + "/didit/status", customer: c,
		until: func(r reply) bool { s := userStatus(r); return s == "pending" || s == "verified" }})
}

// decide lets the issuer say its word. In channel didit the issuer hears of the customer a moment after Didit's approval.
func (c *walker) decide(pokepay int, reason string) {
	body := object{"agent_uid": c.agentUID, "pokepay_status": pokepay}
	title := "the issuer accepts"
	if reason != "" {
		body["reason"], title = reason, "the issuer rejects"
	}
	c.do(request{title: title, method: http.MethodPost, url: c.sandbox + "/control/kyc", customer: c, body: body, want: object{},
		until: func(r reply) bool { return r.status != http.StatusNotFound }})
}

// waitFor waits for a verdict and checks the whole answer that tells it.
func (c *walker) waitFor(user string, canSubmit bool, recorded string, pokepay int) object {
	want := statusWithout(user, canSubmit)
	want["latest_kyc"] = record(recorded, pokepay, user == "rejected")
	return c.do(request{title: "is " + user, method: http.MethodGet, url: c.api + "/didit/status", customer: c, want: want,
		until: func(r reply) bool {
			body, _ := r.body.(map[string]any)
			return userStatus(r) == user && text(inner(body, "latest_kyc"), "status") == recorded
		}})
}
