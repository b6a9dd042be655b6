package pokepay

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/provider"
)

func TestParseKYC(t *testing.T) {
	t.Parallel()
	want := KYC{ID: 450, AgentUID: "u1_1767225600_abc12345", Status: KYCMismatch, Reason: "photo unclear", FirstNameEN: "ZOE", LastNameEN: "CHAN",
		Email: "a@example.test", DocumentType: 12, DocumentNumber: "P123", HeldCards: 2, HeldCancelledCards: 1, CreatedAt: testTime, UpdatedAt: testTime.Add(time.Minute)}
	for name, body := range map[string]string{
		"numbers": `{"id":450,"agent_uid":"u1_1767225600_abc12345","status":4,"reason":"photo unclear","first_name_en":"ZOE","last_name_en":"CHAN","email":"a@example.test",
			"card_type":12,"card_number":"P123","hold_card_num":2,"hold_cancelled_card_num":1,"created_time":1767225600,"updated_time":1767225660,"deleted_time":0}`,
		"texts and floats": `{"id":"450","client_uid":"u1_1767225600_abc12345","status":"4","reason":"photo unclear","first_en_name":"ZOE","last_en_name":"CHAN","email":"a@example.test",
			"card_type":12.0,"card_number":"P123","hold_card_num":"2","hold_cancelled_card_num":1.0,"created_time":"1767225600","updated_time":1.76722566e9,"deleted_time":null}`,
		"Beijing": `{"id":450.0,"agent_uid":"u1_1767225600_abc12345","status":4.0,"reason":"photo unclear","first_name_en":"ZOE","last_name_en":"CHAN","email":"a@example.test",
			"card_type":"12","card_number":"P123","hold_card_num":2,"hold_cancelled_card_num":1,"created_time":"2026-01-01 08:00:00","updated_time":"2026-01-01T00:01:00Z","deleted_time":""}`,
	} {
		got, err := ParseKYC([]byte(body))
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestKYCStatuses(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]struct {
		status       KYCStatus
		known, final bool
	}{
		`1`: {KYCPending, true, false}, `2`: {KYCApproved, true, true}, `3`: {KYCFailed, true, true}, `4`: {KYCMismatch, true, true},
		`5`: {KYCManualReview, true, false}, `6`: {KYCDuplicate, true, true}, `"2"`: {KYCApproved, true, true}, `2.0`: {KYCApproved, true, true},
		`0`: {0, false, false}, `7`: {7, false, false}, `-2`: {0, false, false}, `2.5`: {0, false, false}, `null`: {0, false, false}, `"approved"`: {0, false, false},
		`[2]`: {0, false, false}, `true`: {0, false, false}, `65538`: {0, false, false}, `4294967298`: {0, false, false},
	} {
		got, err := ParseKYC([]byte(`{"status":` + word + `}`))
		if err != nil || got.Status != want.status || got.Status.Known() != want.known || got.Status.Final() != want.final {
			t.Errorf("%s: status %d, known %v, final %v, %v", word, got.Status, got.Status.Known(), got.Status.Final(), err)
		}
	}
}

func TestHostedKYCOnTheWire(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, envelopeAnswer(200, `{"session_id":"s","url":"https://verify.example.test/x"}`, "SUCCESS"))
	_, err := s.client.InitKYC(t.Context(), HostedKYC{AgentUID: "u1_1_a", Email: "a@example.test", FirstNameEN: "ZOE", LastNameEN: "CHAN", AreaCode: "852", Phone: "91234567",
		Address: "1 Road", City: "Hong Kong", State: "HK", PostCode: "000", BillCountryCode: "HK", ReturnURL: "https://app.example.test/"})
	if err != nil {
		t.Fatal(err)
	}
	requests, _ := s.seen()
	want := `POST kyc/didit/init {"agent_uid":"u1_1_a","email":"a@example.test","first_en_name":"ZOE","last_en_name":"CHAN","area_code":"852","phone":"91234567","address":"1 Road","city":"Hong Kong","state":"HK","post_code":"000","bill_country_code":"HK","return_url":"https://app.example.test/"}`
	if requests[0] != want {
		t.Errorf("sent %s", requests[0])
	}
}

func TestSelfKYCOnTheWire(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, envelopeAnswer(200, `{"id":"450","status":5}`, "SUCCESS"))
	kyc, err := s.client.SubmitKYC(t.Context(), SelfKYC{ClientUID: "u", Email: "a@example.test", IDType: IDPassport, IDNumber: "P1", IDFront: "https://img.example.test/f", Selfie: "https://img.example.test/s"})
	if err != nil || kyc.ID != 450 || kyc.Status != KYCManualReview {
		t.Fatalf("%+v, %v", kyc, err)
	}
	requests, _ := s.seen()
	var sent map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(requests[0], "POST kyc ")), &sent); err != nil {
		t.Fatalf("%s: %v", requests[0], err)
	}
	if sent["id_type"] != 12.0 || sent["id_back"] != "https://img.example.test/f" || sent["client_uid"] != "u" || sent["selfie"] != "https://img.example.test/s" {
		t.Errorf("sent %v", sent)
	}
}

func TestGetKYCAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  http.HandlerFunc
		outcome provider.Outcome
		reason  Reason
	}{
		"there":        {envelopeAnswer(200, `{"id":7}`, "SUCCESS"), provider.OK, ""},
		"null":         {envelopeAnswer(200, `null`, "SUCCESS"), provider.Refused, ReasonNotFound},
		"words":        {envelopeAnswer(404, `null`, "record not found"), provider.Refused, ReasonNotFound},
		"another":      {envelopeAnswer(200, `{"id":8}`, "SUCCESS"), provider.Unknown, ""},
		"no id":        {envelopeAnswer(200, `{"status":2}`, "SUCCESS"), provider.Unknown, ""},
		"not a object": {envelopeAnswer(200, `[{"id":7}]`, "SUCCESS"), provider.Unknown, ""},
	} {
		s := newTestServer(t, nil, test.answer)
		_, err := s.client.GetKYC(t.Context(), 7)
		if provider.OutcomeOf(err) != test.outcome || ReasonOf(err) != test.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestListKYC(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, func(c *Config) { c.AgentUIDParam = "uid" }, envelopeAnswer(200, `{"total":"9","list":[{"id":1},{"id":"2"},{"note":"no cardholder"}]}`, "SUCCESS"))
	page, err := s.client.ListKYC(t.Context(), KYCFilter{Page: 2, Limit: 5, Email: "a+b@example.test", AgentUID: "u", Status: KYCManualReview})
	if err != nil || page.Total != 9 || len(page.List) != 2 || page.List[1].ID != 2 {
		t.Errorf("%+v, %v", page, err)
	}
	if requests, _ := s.seen(); requests[0] != "GET kyc?email=a%2Bb%40example.test&limit=5&page=2&status=5&uid=u" {
		t.Errorf("asked %q", requests[0])
	}
	for body, want := range map[string]int{`null`: 0, `{"total":0,"list":null}`: 0, `{"total":0}`: 0, `[]`: 0, `[{"id":1}]`: 1, `"succeed"`: -1, `{"list":{}}`: -1, `{"list":[7]}`: -1} {
		data := json.RawMessage(body)
		if body == "null" {
			data = nil
		}
		page, err := parseKYCPage(data)
		if got := len(page.List); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%s: %d rows, %v", body, got, err)
		}
	}
}

func TestFindKYC(t *testing.T) {
	t.Parallel()
	const mine = "u1_1767225600_abc12345"
	// PokePay's answers to the query by agent_uid and to the query by e-mail address.
	cases := map[string]struct {
		byUID, byEmail string
		begun          time.Time
		want           int64 // 0: none
		queries        int
	}{
		"parameter works, uid shown":            {`[{"id":5,"agent_uid":"` + mine + `"}]`, ``, time.Time{}, 5, 1},
		"several, newest":                       {`[{"id":5,"agent_uid":"` + mine + `","created_time":1},{"id":4,"agent_uid":"` + mine + `","created_time":2}]`, ``, time.Time{}, 4, 1},
		"deleted":                               {`[{"id":5,"agent_uid":"` + mine + `","deleted_time":1767225600}]`, `[]`, time.Time{}, 0, 2},
		"parameter ignored, uid shown":          {`[{"id":9,"agent_uid":"other"},{"id":8,"agent_uid":"other2"}]`, `[{"id":5,"agent_uid":"` + mine + `"},{"id":6,"agent_uid":"other"}]`, time.Time{}, 5, 2},
		"parameter ignored, everybody's":        {`[{"id":9,"email":"x@example.test"}]`, `[]`, time.Time{}, 0, 2},
		"uid not shown, newest by e-mail":       {`[{"id":9,"email":"x@example.test"}]`, `[{"id":5,"email":"A@example.test","created_time":10},{"id":6,"email":"a@example.test","created_time":20}]`, time.Time{}, 6, 2},
		"same time, higher id":                  {`[]`, `[{"id":6,"email":"a@example.test"},{"id":5,"email":"a@example.test"}]`, time.Time{}, 6, 2},
		"e-mail filter ignored":                 {`[]`, `[{"id":9,"email":"x@example.test"}]`, time.Time{}, 0, 2},
		"by e-mail only another attempt":        {`[]`, `[{"id":6,"email":"a@example.test","agent_uid":"u1_1_older"}]`, time.Time{}, 0, 2},
		"by e-mail only older than the attempt": {`[]`, `[{"id":6,"email":"a@example.test","created_time":1767225539,"updated_time":1767225539}]`, testTime, 0, 2},
		"by e-mail, changed since the attempt":  {`[]`, `[{"id":6,"email":"a@example.test","created_time":1767225539,"updated_time":1767225600}]`, testTime, 6, 2},
		"clocks that differ":                    {`[]`, `[{"id":6,"email":"a@example.test","created_time":1767225540}]`, testTime, 6, 2},
		"an earlier attempt's, just decided":    {`[]`, `[{"id":7,"email":"a@example.test","created_time":1767225540,"updated_time":1767225599}]`, testTime, 0, 2},
		"an earlier attempt's, used again":      {`[]`, `[{"id":7,"email":"a@example.test","created_time":1767225540,"updated_time":1767225600}]`, testTime, 7, 2},
		"nobody":                                {`null`, `null`, time.Time{}, 0, 2},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, nil, func(w http.ResponseWriter, r *http.Request) {
				list := test.byUID
				switch query := r.URL.Query(); {
				case query.Get("email") == "a@example.test":
					list = test.byEmail
				case query.Get("agent_uid") != mine:
					t.Errorf("asked %s", r.URL.RawQuery)
				}
				envelopeAnswer(200, `{"total":1,"list":`+list+`}`, "SUCCESS")(w, r)
			})
			kyc, found, err := s.client.FindKYC(t.Context(), KYCLookup{AgentUID: mine, Email: "a@example.test", Begun: test.begun, Earlier: []int64{7}})
			if err != nil || kyc.ID != test.want || found != (test.want != 0) {
				t.Errorf("found %v %d, %v; want %d", found, kyc.ID, err, test.want)
			}
			if requests, _ := s.seen(); len(requests) != test.queries {
				t.Errorf("queries %q", requests)
			}
		})
	}
	t.Run("no answer is not nobody", func(t *testing.T) {
		t.Parallel()
		s := newTestServer(t, nil, rawAnswer(502, "text/html", "<html>"))
		if _, found, err := s.client.FindKYC(t.Context(), KYCLookup{AgentUID: mine, Email: "a@example.test"}); found || provider.OutcomeOf(err) != provider.Unknown {
			t.Errorf("%v, %v", found, err)
		}
	})
}

func TestInvalidCallsAreNotSent(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, nil, envelopeAnswer(200, `{}`, "SUCCESS"))
	ctx := t.Context()
	_, initErr := s.client.InitKYC(ctx, HostedKYC{Email: "a@example.test"})
	_, submitErr := s.client.SubmitKYC(ctx, SelfKYC{ClientUID: "u", Email: "a@example.test"})
	_, getErr := s.client.GetKYC(ctx, 0)
	_, _, findErr := s.client.FindKYC(ctx, KYCLookup{Email: "a@example.test"})
	for _, err := range []error{initErr, submitErr, getErr, findErr} {
		if e := (*provider.Error)(nil); !errors.As(err, &e) || e.Outcome != provider.Refused || e.Sent || e.Temporary() {
			t.Errorf("got %v", err)
		}
	}
	if requests, logins := s.seen(); len(requests)+logins != 0 {
		t.Errorf("sent %q, %d logins", requests, logins)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Reason{
		"first_en_name or last_en_name invalid": ReasonNameInvalid,
		"邮箱已被其它客户端使用":                           ReasonEmailUsed,
		"郵箱重複":                                  ReasonEmailUsed,
		"Email already used by another client":  ReasonEmailUsed,
		"e-mail already used by another client": ReasonEmailUsed,
		"duplicate key: email":                  ReasonEmailUsed,
		"id_number exist":                       ReasonIDNumberUsed,
		"证件号重复":                                 ReasonIDNumberUsed,
		"The identity number already exists":    ReasonIDNumberUsed,
		"重复提交":                                  ReasonDuplicate,
		"record exist":                          ReasonDuplicate,
		"Insufficient authority":                ReasonAuthority,
		"email does not exist":                  ReasonNotFound,
		"记录不存在":                                 ReasonNotFound,
		"SUCCESS":                               ReasonOther,
		"":                                      ReasonOther,
		"email invalid":                         ReasonOther,
		"内部错误":                                  ReasonOther,
	} {
		if got := Classify(text); got != want {
			t.Errorf("Classify(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestParseTime(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"1767225600", "1767225600.0", "2026-01-01 08:00:00", " 2026-01-01 08:00:00 ", "2026-01-01T00:00:00Z", "2026-01-01T08:00:00+08:00"} {
		if got, ok := ParseTime(text); !ok || !got.Equal(testTime) || got.Location() != time.UTC {
			t.Errorf("ParseTime(%q) = %v, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "0", "-1", "soon", "2026-02-30 00:00:00", "1e30"} {
		if got, ok := ParseTime(text); ok {
			t.Errorf("ParseTime(%q) = %v", text, got)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, seed := range []string{`{"code":200,"data":{"id":1},"errstr":"SUCCESS","request_id":"r"}`, `{"code":"200","data":"succeed"}`, `{"code":2e2}`, `{"code":401,"errstr":"x"}`,
		`{"code":200,"errstr":"Insufficient authority"}`, `{"code":null}`, `{"code":[200]}`, `<html>`, `{"code":500,"errstr":"重复"}`, `{"code":true,"code":200}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		failure := judge(&provider.Answer{Status: 200, JSON: true, Body: body})
		e, err := parseEnvelope(body)
		switch {
		case failure == nil && (err != nil || e.code != codeOK):
			t.Fatalf("success without code 200: %+v, %v", e, err)
		case err != nil && failure.Outcome != provider.Unknown:
			t.Fatalf("an unreadable answer is %v", failure.Outcome)
		case err == nil && e.data != nil && !json.Valid(e.data):
			t.Fatalf("data is not JSON: %q", e.data)
		case failure != nil && failure.StaffText != "" && len(failure.StaffText) > 25 && strings.Contains(failure.Error(), failure.StaffText):
			t.Fatalf("PokePay's words are in the text: %v", failure)
		}
	})
}

func FuzzKYC(f *testing.F) {
	for _, seed := range []string{`{"id":450,"status":2,"created_time":1767225600}`, `{"id":"3000000522486060","status":"6","deleted_time":"0"}`, `{"id":1e18,"status":1e400,"email":{}}`,
		`{"total":1,"list":[{"id":1},null,7]}`, `[{"id":1}]`, `null`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if k, err := ParseKYC(body); err == nil {
			var exact map[string]json.RawMessage
			if err := json.Unmarshal(body, &exact); err != nil {
				t.Fatal(err)
			}
			if said := string(exact["status"]); k.Status == KYCApproved && !strings.ContainsAny(said, `2\\`) {
				t.Fatalf("approved by %s", said)
			}
			if k.Status < 0 || k.Status.Final() && !k.Status.Known() {
				t.Fatalf("status %d", k.Status)
			}
		}
		if !json.Valid(body) {
			return
		}
		page, err := parseKYCPage(body)
		if err != nil {
			return
		}
		if best, ok := newest(page.List, func(KYC) bool { return true }); ok && (best.ID <= 0 || !best.DeletedAt.IsZero()) {
			t.Fatalf("found %+v", best)
		}
	})
}
