package pokepay

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestInitOpensAHostedKYC(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	r := i.call("POST", "/api/v1/kyc/didit/init", token, initBody("u7_1767225600_abcd1234", "Mei@example.test"))
	if got := string(r.Data); got != `{"session_id":"session-1","url":"http://didit.test/session/session-1?callback=http://app.test/kyc/return"}` {
		t.Errorf("data %s", got)
	}
	if !strings.HasPrefix(r.RequestID, "req_") {
		t.Errorf("request_id %q", r.RequestID)
	}

	state := i.kyc("u7_1767225600_abcd1234")
	if state.Status != StatusOpen || state.InitCalls != 1 || state.Kind != "hosted" || state.SessionID != "session-1" || !state.Created.Equal(start) {
		t.Errorf("%+v", state)
	}
	// The object as the issuer names its fields: first_en_name comes back as first_name_en.
	want := kycObject{ID: state.ID, AgentUID: "u7_1767225600_abcd1234", ClientUID: "u7_1767225600_abcd1234",
		CreatedTime: 1767225600, UpdatedTime: 1767225600, FirstName: "MEI", LastName: "CHAN", FirstNameEn: "MEI", LastNameEn: "CHAN",
		CountryID: 193, CountryCode: "HK", Status: 1, AreaCode: "852", Phone: "51234567", Email: "Mei@example.test",
		BillCountryID: 193, BillCountryCode: "HK", State: "HK", City: "Hong Kong", Address: "1 Queen's Road", PostCode: "000000"}
	got := decode[kycObject](t, i.call("GET", fmt.Sprintf("/api/v1/kyc/%d", state.ID), token, nil))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("KYC object (-want +got):\n%s", diff)
	}
}

func TestKYCObjectHasTheIssuersKeys(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	i.apply(token, "u1_1_a", "mei@example.test")
	list := decode[struct {
		Total int
		List  []map[string]any
	}](t, i.call("GET", "/api/v1/kyc", token, nil)).List
	want := strings.Fields(`id created_time updated_time deleted_time first_name last_name first_name_en last_name_en birthday
		country_id country_code card_type card_number status area_code phone email reason remark hold_card_num
		hold_cancelled_card_num bill_country_id bill_country_code state city address post_code agent_uid client_uid`)
	var got []string
	for key := range list[0] {
		got = append(got, key)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestInitRefusals(t *testing.T) {
	i := open(t, func(o *Options) { o.ForeignEmails = []string{"Known@example.test"} })
	token := i.login()
	good := initBody("u1_1_a", "mei@example.test")
	const names = "first_en_name or last_en_name invalid"
	for _, c := range []struct {
		name   string
		body   any
		errstr string
	}{
		{"Chinese name", good.with("first_en_name", "美"), names},
		{"accented name", good.with("last_en_name", "GARCÍA"), names},
		{"digits in the name", good.with("last_en_name", "CHAN2"), names},
		{"empty name", good.with("first_en_name", ""), names},
		{"name is null", good.with("first_en_name", nil), names},
		{"no agent_uid", good.with("agent_uid", ""), "agent_uid invalid"},
		{"no e-mail", good.with("email", ""), "email invalid"},
		{"e-mail with a name", good.with("email", "Mei <mei@example.test>"), "email invalid"},
		{"another agent's e-mail", good.with("email", "known@EXAMPLE.test"), "邮箱已被其它客户端使用"},
		{"+taken", good.with("email", "mei+taken@example.test"), "邮箱已被其它客户端使用"},
		{"-taken", good.with("email", "mei-taken@example.test"), "邮箱已被其它客户端使用"},
		{"plus in the area code", good.with("area_code", "+852"), "area_code invalid"},
		{"letters in the phone", good.with("phone", "call me"), "phone invalid"},
		{"no address", good.with("address", " "), "address invalid"},
		{"no city", good.with("city", ""), "city invalid"},
		{"country of three letters", good.with("bill_country_code", "HKG"), "bill_country_code invalid"},
		{"relative return_url", good.with("return_url", "/back"), "return_url invalid"},
		{"script in return_url", good.with("return_url", "javascript:alert(1)"), "return_url invalid"},
		{"object for a text", good.with("email", fields{}), "invalid request body"},
		{"broken JSON", `{"email":`, "invalid request body"},
		{"array", `[]`, "invalid request body"},
	} {
		t.Run(c.name, func(t *testing.T) {
			i.wantRefused(i.call("POST", "/api/v1/kyc/didit/init", token, c.body), 400, c.errstr)
		})
	}
	if n := i.verifier.count(); n != 0 {
		t.Errorf("%d sessions were opened for refused calls", n)
	}
}

func TestInitAcceptsWhatTheAppMaySend(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	good := initBody("", "")
	for n, body := range []fields{good.with("phone", ""), good.with("area_code", 86), good.with("first_en_name", "Anna-Maria"),
		good.with("last_en_name", "O'Neil"), good.with("state", ""), good.with("email", "taken@example.test")} {
		body = body.with("agent_uid", fmt.Sprintf("u%d_1_a", n))
		if body["email"] == "" {
			body = body.with("email", fmt.Sprintf("u%d@example.test", n))
		}
		if r := i.call("POST", "/api/v1/kyc/didit/init", token, body); r.Code != 200 {
			t.Errorf("%v: code %d, %s", body, r.Code, r.Errstr)
		}
	}
}

// Every init call costs money: also the one that repeats an attempt.
func TestInitAgainIsTheSameKYCAndBilledAgain(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	first := i.apply(token, "u1_1_a", "mei@example.test")
	id := i.kyc("u1_1_a").ID
	second := i.apply(token, "u1_1_a", "mei@example.test")
	if first == second {
		t.Error("the second call got the first session")
	}
	state := i.kyc("u1_1_a")
	if state.ID != id || state.InitCalls != 2 || state.SessionID != second {
		t.Errorf("%+v", state)
	}
	// Both sessions lead to it.
	i.decide(Key{SessionID: first}, StatusReview, "")
	i.decide(Key{SessionID: second}, StatusFailed, "blurred")
	if state := i.kyc("u1_1_a"); state.Status != StatusFailed {
		t.Errorf("%+v", state)
	}
	// After a failure a further session opens it anew; under review it stays with the reviewer.
	i.apply(token, "u1_1_a", "mei@example.test")
	if state := i.kyc("u1_1_a"); state.Status != StatusOpen || state.Reason != "" || state.InitCalls != 3 {
		t.Errorf("%+v", state)
	}
	i.decide(Key{AgentUID: "u1_1_a"}, StatusReview, "")
	i.apply(token, "u1_1_a", "mei@example.test")
	if state := i.kyc("u1_1_a"); state.Status != StatusReview {
		t.Errorf("%+v", state)
	}
	i.decide(Key{AgentUID: "u1_1_a"}, StatusApproved, "")
	i.wantRefused(i.call("POST", "/api/v1/kyc/didit/init", token, initBody("u1_1_a", "other@example.test")), 400, "agent_uid already exist")
	if n := i.kyc("u1_1_a").InitCalls; n != 4 {
		t.Errorf("%d sessions billed, want 4", n)
	}
}

func TestParallelInitsMakeOneKYC(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	const callers = 16
	var done sync.WaitGroup
	codes := make([]int, callers)
	for n := range callers {
		done.Go(func() {
			_, content, err := i.raw("POST", "/api/v1/kyc/didit/init", token, initBody("u1_1_a", "mei@example.test"))
			var r reply
			if err == nil && json.Unmarshal(content, &r) == nil {
				codes[n] = r.Code
			}
		})
	}
	done.Wait()
	for n, code := range codes {
		if code != 200 {
			t.Errorf("caller %d: code %d", n, code)
		}
	}
	all, err := i.sim.KYCs(t.Context())
	if err != nil || len(all) != 1 || all[0].InitCalls != callers {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestEmailUsedAgainByTheSameAgent(t *testing.T) {
	for status, usable := range map[int]bool{1: true, 2: false, 3: true, 4: true, 5: true, 6: false} {
		t.Run(statusWords[status], func(t *testing.T) {
			i := open(t, nil)
			token := i.login()
			i.apply(token, "u1_1_a", "mei@example.test")
			i.decide(Key{AgentUID: "u1_1_a"}, status, "")
			r := i.call("POST", "/api/v1/kyc/didit/init", token, initBody("u1_2_b", "MEI@example.test"))
			if usable {
				if r.Code != 200 {
					t.Errorf("code %d, %s", r.Code, r.Errstr)
				}
				return
			}
			i.wantRefused(r, 400, "邮箱已被其它客户端使用")
		})
	}
}

// gallery serves images under /ok/ and refuses links that have expired.
func gallery(t *testing.T) (base string, fetched func() []string) {
	var mu sync.Mutex
	var paths []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths = append(paths, r.URL.Path)
		mu.Unlock()
		switch {
		case strings.HasPrefix(r.URL.Path, "/ok/"):
			_, _ = io.WriteString(w, "image")
		case r.URL.Path == "/empty":
		case r.URL.Path == "/moved":
			http.Redirect(w, r, "/ok/moved", http.StatusFound)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(paths)
	}
}

func submitBody(images, clientUID, email, idNumber string) fields {
	return fields{"client_uid": clientUID, "email": email, "first_en_name": "MEI", "last_en_name": "CHAN", "birth_date": "1990-02-28",
		"id_type": 12, "id_number": idNumber, "id_front": images + "/ok/front", "id_back": images + "/ok/front", "selfie": images + "/ok/selfie",
		"address": "1 Queen's Road", "city": "Hong Kong", "state": "HK", "post_code": "000000", "bill_country_code": "HK", "area_code": "852", "phone": "51234567"}
}

func TestSubmit(t *testing.T) {
	i := open(t, nil)
	images, fetched := gallery(t)
	token := i.login()
	got := decode[kycObject](t, i.call("POST", "/api/v1/kyc", token, submitBody(images, "u1_1_a", "mei@example.test", "K1234567")))
	want := kycObject{ID: got.ID, AgentUID: "u1_1_a", ClientUID: "u1_1_a", CreatedTime: 1767225600, UpdatedTime: 1767225600,
		FirstName: "MEI", LastName: "CHAN", FirstNameEn: "MEI", LastNameEn: "CHAN", Birthday: "1990-02-28",
		CountryID: 193, CountryCode: "HK", CardType: 12, CardNumber: "K1234567", Status: 1, AreaCode: "852", Phone: "51234567",
		Email: "mei@example.test", Remark: "documents received", BillCountryID: 193, BillCountryCode: "HK", State: "HK",
		City: "Hong Kong", Address: "1 Queen's Road", PostCode: "000000"}
	if diff := cmp.Diff(want, got); diff != "" || got.ID == 0 {
		t.Errorf("id %d (-want +got):\n%s", got.ID, diff)
	}
	if diff := cmp.Diff([]string{"/ok/front", "/ok/front", "/ok/selfie"}, fetched()); diff != "" {
		t.Errorf("images fetched (-want +got):\n%s", diff)
	}
	if state := i.kyc("u1_1_a"); state.Kind != "self" || state.InitCalls != 0 {
		t.Errorf("%+v", state)
	}
}

func TestSubmitRefusals(t *testing.T) {
	i := open(t, nil)
	images, _ := gallery(t)
	token := i.login()
	good := submitBody(images, "u1_1_a", "mei@example.test", "K1234567")
	for _, c := range []struct {
		field  string
		value  any
		errstr string
	}{
		{"client_uid", "", "client_uid invalid"},
		{"first_en_name", "美", "first_en_name or last_en_name invalid"},
		{"email", "mei-taken@example.test", "邮箱已被其它客户端使用"},
		{"birth_date", "28.02.1990", "birth_date invalid"},
		{"birth_date", "1990-02-30", "birth_date invalid"},
		{"birth_date", "2026-01-02", "birth_date invalid"},
		{"id_type", 2, "id_type invalid"},
		{"id_type", "passport", "id_type invalid"},
		{"id_type", 12.5, "id_type invalid"},
		{"id_number", "", "id_number invalid"},
		{"address", "路路路路", "address invalid"},
		{"city", "A", "city invalid"},
		{"state", "", "state invalid"},
		{"post_code", "", "post_code invalid"},
		{"phone", "", "phone invalid"},
		{"area_code", "", "area_code invalid"},
		{"bill_country_code", "hk", "bill_country_code invalid"},
		{"id_front", "", "id_front invalid"},
		{"selfie", "file:///etc/passwd", "selfie invalid"},
		{"id_front", images + "/expired", "id_front download failed: HTTP 403"},
		{"id_back", images + "/moved", "id_back download failed: HTTP 302"},
		{"selfie", images + "/empty", "selfie download failed: empty"},
		{"selfie", "http://127.0.0.1:1/", "selfie download failed: no answer"},
	} {
		t.Run(fmt.Sprintf("%s %v", c.field, c.value), func(t *testing.T) {
			i.wantRefused(i.call("POST", "/api/v1/kyc", token, good.with(c.field, c.value)), 400, c.errstr)
		})
	}
	all, err := i.sim.KYCs(t.Context())
	if err != nil || len(all) != 0 {
		t.Errorf("refused submissions left %+v, %v", all, err)
	}
}

func TestSubmitRefusesDuplicates(t *testing.T) {
	i := open(t, nil)
	images, _ := gallery(t)
	token := i.login()
	submit := func(uid, email, number string) reply {
		return i.call("POST", "/api/v1/kyc", token, submitBody(images, uid, email, number))
	}
	decode[kycObject](t, submit("u1_1_a", "mei@example.test", "K1"))
	i.wantRefused(submit("u2_1_a", "other@example.test", "K1"), 400, "id_number already exist")
	i.wantRefused(submit("u1_1_a", "mei@example.test", "K1"), 400, "id_number already exist")
	i.wantRefused(submit("u1_1_a", "mei@example.test", "K2"), 400, "agent_uid already exist")

	i.decide(Key{AgentUID: "u1_1_a"}, StatusFailed, "photo unclear, upload again")
	decode[kycObject](t, submit("u1_2_b", "mei@example.test", "K1"))
	i.decide(Key{AgentUID: "u1_2_b"}, StatusApproved, "")
	i.wantRefused(submit("u1_3_c", "mei@example.test", "K3"), 400, "邮箱已被其它客户端使用")
	i.wantRefused(i.call("POST", "/api/v1/kyc/didit/init", token, initBody("u1_1_a", "new@example.test")), 400, "agent_uid already exist")
}

func TestParallelSubmissionsOfOneDocument(t *testing.T) {
	i := open(t, nil)
	images, _ := gallery(t)
	token := i.login()
	var done sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for n := range 8 {
		done.Go(func() {
			_, content, err := i.raw("POST", "/api/v1/kyc", token, submitBody(images, fmt.Sprintf("u%d_1_a", n), fmt.Sprintf("u%d@example.test", n), "K1"))
			var r reply
			if err == nil && json.Unmarshal(content, &r) == nil && r.Code == 200 {
				mu.Lock()
				accepted++
				mu.Unlock()
			}
		})
	}
	done.Wait()
	if accepted != 1 {
		t.Errorf("%d submissions with one document were accepted", accepted)
	}
}

func TestListAndGet(t *testing.T) {
	i := open(t, nil)
	token := i.login()
	for n := range 25 {
		i.apply(token, fmt.Sprintf("u%d_1_a", n), fmt.Sprintf("u%d@example.test", n%20))
		i.clock.Advance(time.Minute)
	}
	i.decide(Key{AgentUID: "u3_1_a"}, StatusApproved, "")

	type list struct {
		Total int
		List  []kycObject
	}
	for _, c := range []struct {
		query string
		total int
		want  []string // agent_uid without its tail
	}{
		{"/api/v1/kyc", 25, []string{"u24", "u23", "u22", "u21", "u20", "u19", "u18", "u17", "u16", "u15"}},
		{"/api/v1/kyc?page=3&limit=10", 25, []string{"u4", "u3", "u2", "u1", "u0"}},
		{"/api/v1/kyc?page=4&limit=10", 25, nil},
		{"/api/v1/kyc?page=0&limit=0", 25, []string{"u24"}},
		{"/api/v1/kyc?email=U2@example.test", 2, []string{"u22", "u2"}},
		{"/api/v1/kyc?email=u2", 0, nil},
		{"/api/v1/kyc?status=2", 1, []string{"u3"}},
		{"/api/v1/kyc?status=1&email=u3@example.test", 1, []string{"u23"}},
		{"/api/v1/kyc?agent_uid=u3_1_a", 1, []string{"u3"}},
		{"/api/v1/kyc?agent_uid=u3_1_a&email=&status=", 1, []string{"u3"}},
		{"/api/v1/kyc?agent_uid=u3", 0, nil},
		{fmt.Sprintf("/web/kyc?start_time=%d&end_time=%d", start.Add(5*time.Minute).Unix(), start.Add(6*time.Minute).Unix()), 2, []string{"u6", "u5"}},
	} {
		t.Run(c.query, func(t *testing.T) {
			got := decode[list](t, i.call("GET", c.query, token, nil))
			var names []string
			for _, k := range got.List {
				names = append(names, strings.TrimSuffix(k.AgentUID, "_1_a"))
			}
			if diff := cmp.Diff(c.want, names); diff != "" || got.Total != c.total {
				t.Errorf("total %d, want %d (-want +got):\n%s", got.Total, c.total, diff)
			}
		})
	}
	if r := i.call("GET", "/api/v1/kyc?agent_uid=nobody", token, nil); string(r.Data) != `{"total":0,"list":[]}` {
		t.Errorf("empty list: %s", r.Data)
	}
	i.wantRefused(i.call("GET", "/api/v1/kyc?status=approved", token, nil), 400, "status invalid")
	i.wantRefused(i.call("GET", "/api/v1/kyc?page=-1", token, nil), 400, "page invalid")
	i.wantRefused(i.call("GET", "/api/v1/kyc?page=9000000000000000000", token, nil), 400, "page invalid")
	i.wantRefused(i.call("GET", "/api/v1/kyc/999", token, nil), 404, "kyc not found")
	i.wantRefused(i.call("GET", "/api/v1/kyc/abc", token, nil), 400, "id invalid")
}
