package didit

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// The same session in the shape of version 3, with every list, and in that of version 2.
const (
	decisionV3 = `{"session_id":"11111111-2222-4333-8444-555555555555","session_number":1234.0,"session_url":"https://verify.example.test/session/x",
"status":"Declined","workflow_id":"w","vendor_data":"user-42","metadata":{"tier":1},"callback":"https://app.example.test/","features":["ID_VERIFICATION","LIVENESS"],
"created_at":"2026-01-01T00:00:00Z",
"id_verifications":[{"node_id":"feature_ocr","status":"Declined","document_type":"Passport","document_number":"P123","first_name":"Zo\u00eb","last_name":null,"date_of_birth":"1995-05-05",
 "age":31.0,"gender":"F","nationality":"HKG","issuing_state":"HKG","expiration_date":"2025-01-01","mrz":{"line":"P<"},"front_image":"https://img.example.test/f","back_image":null,
 "parsed_address":{"street_1":"1 Road","city":"Hong Kong","raw_results":{}},
 "matches":[{"session_id":"other","session_number":7,"similarity_percentage":97.5,"is_blocklisted":true,"status":"approved"}],
 "warnings":[{"feature":"ID_VERIFICATION","node_id":"feature_ocr","risk":"DOCUMENT_EXPIRED","additional_data":null,"log_type":"error","short_description":"Document expired"},
  {"feature":"ID_VERIFICATION","node_id":"feature_ocr","risk":"POSSIBLE_DUPLICATED_USER","additional_data":{"duplicated_session_id":"other","duplicated_session_number":7},"log_type":"warning"},
  {"risk":"BARCODE_NOT_DETECTED","log_type":"information"}]}],
"nfc_verifications":null,
"liveness_checks":[{"node_id":"feature_liveness","status":"Approved","method":"passive","score":92.0,"reference_image":"https://img.example.test/l","age_estimation":30.4,"warnings":[{"risk":"LOW_FACE_QUALITY","log_type":"information"}]}],
"face_matches":[{"node_id":"feature_face_match","status":"In Review","score":73.81,"warnings":[{"risk":"LOW_FACE_MATCH_SIMILARITY","log_type":"WARNING"}]}],
"aml_screenings":[{"status":"In Review","total_hits":"2","entity_type":"person","warnings":[{"risk":"POSSIBLE_MATCH_FOUND","log_type":"warning"}]}],
"ip_analyses":[{"status":"Approved","ip_country_code":"HK","is_vpn_or_tor":true,"warnings":[{"risk":"DUPLICATED_IP_ADDRESS","log_type":"information"}]}],
"poa_verifications":[],"phone_verifications":[{"status":"Approved"}],"email_verifications":null,"database_validations":null,"questionnaire_responses":null,
"palm_readings":[{"node_id":"feature_palm","status":"Declined","warnings":[{"risk":"PALM_TOO_SHORT","log_type":"error"}]}],
"warnings":[{"risk":"DOCUMENT_EXPIRED","log_type":"error"},{"risk":"SESSION_ODD","log_type":"error"}]}`

	decisionV2 = `{"session_id":"11111111-2222-4333-8444-555555555555","session_number":"1234","url":"https://verify.example.test/session/x","status":"KYC expired","vendor_data":null,
"metadata":"{\"tier\":1}","features":"OCR + FACE","created_at":1767225600,
"kyc":{"status":"Approved","document_type":"Identity Card","age":31,"expiry_date":"2030-01-01","issuing_country":"Hong Kong","mrz":"P<LINE","warnings":null},
"face":{"status":"Approved","score":"92.5","warnings":[{"risk":"LOW_LIVENESS_SCORE","log_type":"error"}]},
"face_match":{"status":"Approved","score":80},"aml":null,"email":"user@example.test","ip_analysis":{"status":"Approved","ip_address":"203.0.113.9"}}`
)

func risks(list []Warning) []string {
	var names []string
	for _, w := range list {
		names = append(names, w.Risk)
	}
	return names
}

func TestDecisionOfVersion3(t *testing.T) {
	t.Parallel()
	d, err := ParseDecision([]byte(decisionV3))
	if err != nil {
		t.Fatal(err)
	}
	if d.SessionNumber != 1234 || d.Status != StatusDeclined || d.VendorData != "user-42" || string(d.Metadata) != `{"tier":1}` ||
		!d.CreatedAt.Equal(time.Unix(1767225600, 0)) || !cmp.Equal(d.Requested, []string{"ID_VERIFICATION", "LIVENESS"}) {
		t.Errorf("session: %+v", d)
	}
	if len(d.IDVerifications) != 1 || len(d.LivenessChecks) != 1 || len(d.FaceMatches) != 1 || len(d.AMLScreenings) != 1 || len(d.IPAnalyses) != 1 {
		t.Fatalf("features: %+v", d.Features)
	}
	id := d.IDVerifications[0]
	if id.FirstName != "Zoë" || id.LastName != "" || id.Age != 31 || id.ExpirationDate != "2025-01-01" || id.BackImage != "" || id.ParsedAddress.City != "Hong Kong" ||
		string(id.MRZ) != `{"line":"P<"}` || len(id.Matches) != 1 || id.Matches[0].Status != StatusApproved || !id.Matches[0].Blocklisted || id.Matches[0].SimilarityPercentage != 97.5 {
		t.Errorf("document: %+v", id)
	}
	if d.LivenessChecks[0].Score != 92 || d.FaceMatches[0].Score != 73.81 || d.AMLScreenings[0].TotalHits != 2 || !d.IPAnalyses[0].VPNOrTor {
		t.Errorf("features: %+v %+v %+v %+v", d.LivenessChecks[0], d.FaceMatches[0], d.AMLScreenings[0], d.IPAnalyses[0])
	}
	var kinds []string
	for _, f := range d.Features {
		kinds = append(kinds, f.Kind)
	}
	if diff := cmp.Diff([]string{"id_verifications", "liveness_checks", "face_matches", "phone_verifications", "aml_screenings", "ip_analyses", "palm_readings"}, kinds); diff != "" {
		t.Errorf("features: %s", diff)
	}
	if diff := cmp.Diff([]string{"DOCUMENT_EXPIRED", "PALM_TOO_SHORT", "SESSION_ODD"}, risks(d.DeclineReasons())); diff != "" {
		t.Errorf("decline reasons: %s", diff)
	}
	if diff := cmp.Diff([]string{"POSSIBLE_DUPLICATED_USER", "LOW_FACE_MATCH_SIMILARITY", "POSSIBLE_MATCH_FOUND"}, risks(d.ReviewReasons())); diff != "" {
		t.Errorf("review reasons: %s", diff)
	}
	if w := d.ReviewReasons()[0]; w.DuplicatedSessionID != "other" || w.DuplicatedSessionNumber != 7 {
		t.Errorf("duplicate: %+v", w)
	}
	if _, ok := d.ApprovedDocument(); ok {
		t.Error("a declined document counts as approved")
	}
}

func TestDecisionOfVersion2(t *testing.T) {
	t.Parallel()
	d, err := ParseDecision([]byte(decisionV2))
	if err != nil {
		t.Fatal(err)
	}
	if d.SessionNumber != 1234 || d.Status != StatusKycExpired || d.VendorData != "" || string(d.Metadata) != `{"tier":1}` || d.SessionURL == "" ||
		!d.CreatedAt.Equal(time.Unix(1767225600, 0)) || !cmp.Equal(d.Requested, []string{"OCR", "FACE"}) || len(d.Features) != 4 {
		t.Errorf("session: %+v", d)
	}
	document, ok := d.ApprovedDocument()
	if !ok || document.ExpirationDate != "2030-01-01" || document.IssuingStateName != "Hong Kong" || document.Age != 31 || string(document.MRZ) != `"P<LINE"` {
		t.Errorf("document: %+v", document)
	}
	if len(d.LivenessChecks) != 1 || d.LivenessChecks[0].Score != 92.5 || len(d.IPAnalyses) != 1 {
		t.Errorf("features: %+v", d.Features)
	}
	if diff := cmp.Diff([]string{"LOW_LIVENESS_SCORE"}, risks(d.DeclineReasons())); diff != "" {
		t.Error(diff)
	}
}

func TestNewShapeWinsOverOld(t *testing.T) {
	t.Parallel()
	d, err := ParseDecision([]byte(`{"id_verifications":[{"first_name":"new"}],"id_verification":{"first_name":"old"},"kyc":{"first_name":"older"}}`))
	if err != nil || len(d.IDVerifications) != 1 || d.IDVerifications[0].FirstName != "new" {
		t.Errorf("%+v, %v", d.IDVerifications, err)
	}
}

func TestWhatCannotBeReadApprovesNothing(t *testing.T) {
	t.Parallel()
	for _, body := range []string{`{}`, `{"status":null}`, `{"status":["Approved"]}`, `{"status":{"x":"Approved"}}`, `{"Status":"Approved"}`,
		`{"id_verifications":"Approved"}`, `{"id_verifications":[null,7,"Approved",[]]}`, `{"id_verifications":[{"status":null}]}`} {
		d, err := ParseDecision([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		if _, ok := d.ApprovedDocument(); ok || d.Status.Is(StatusApproved) {
			t.Errorf("%s approves", body)
		}
	}
	for _, body := range []string{"", "[]", `"Approved"`, "<html>", "null"} {
		if _, err := ParseDecision([]byte(body)); !errors.Is(err, provider.ErrNotObject) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func FuzzDecision(f *testing.F) {
	for _, seed := range []string{decisionV3, decisionV2, `{"features":[{"feature":"OCR"},"A+B",null]}`, `{"warnings":{"risk":1}}`, `{"kyc":{"matches":{"a":1},"parsed_address":[]}}`, `{"metadata":"{"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d, err := ParseDecision(body)
		if err != nil {
			return
		}
		if d.Metadata != nil && !json.Valid(d.Metadata) {
			t.Fatalf("metadata is not JSON: %q", d.Metadata)
		}
		if len(d.DeclineReasons())+len(d.ReviewReasons()) > len(d.Warnings) {
			t.Fatal("more reasons than warnings")
		}
		for _, w := range d.DeclineReasons() {
			if w.LogType != LogError {
				t.Fatalf("%q explains a decline", w.LogType)
			}
		}
		if typed := len(d.IDVerifications) + len(d.LivenessChecks) + len(d.FaceMatches) + len(d.AMLScreenings) + len(d.IPAnalyses); typed > len(d.Features) {
			t.Fatal("a feature is missing from the list of all")
		}
		again, err := ParseDecision(body)
		if err != nil || !cmp.Equal(again, d) {
			t.Fatal("the same body reads differently")
		}
	})
}
