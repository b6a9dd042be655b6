package didit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	stamp       = "2006-01-02T15:04:05.000000Z"
	notFinished = "Not Finished"
)

// resultArrays are all arrays of a person's decision (provider/didit.md 2.2); each is null until its step ran.
var resultArrays = []string{
	"id_verifications", "nfc_verifications", "liveness_checks", "face_matches", "poa_verifications",
	"phone_verifications", "email_verifications", "aml_screenings", "ip_analyses", "database_validations",
	"questionnaire_responses", "signatures", "bank_verifications", "reviews",
}

// stepStatus is how a step of the session stands; "" when it has not run.
func stepStatus(x *session, f feature) string {
	switch x.outcome {
	case "":
		return ""
	case abandoned:
		if f == ocr {
			return notFinished
		}
		return ""
	}
	if !statusIsResult(x.status) {
		for _, node := range x.resubmit {
			if node == f.node {
				return notFinished
			}
		}
	}
	if x.status == kycExpired && f == ocr {
		return expired
	}
	if r, ok := lookRisk(x.risk); ok && r.step == f && x.outcome != approved {
		return x.outcome
	}
	return approved
}

// statusIsResult tells whether a status comes with a decision in its webhook (provider/didit.md 4.3).
func statusIsResult(status string) bool {
	switch status {
	case approved, declined, inReview, abandoned:
		return true
	}
	return false
}

// decision is the answer of the decision endpoint, with picture links that are fresh.
func (s *Simulator) decision(ctx context.Context, q querier, x *session) (map[string]any, error) {
	d := map[string]any{
		"session_id": x.id, "session_number": x.number, "session_url": s.url(x), "status": x.status,
		"workflow_id": x.workflowID, "vendor_data": orNull(x.vendorData), "callback": orNull(x.callback),
		"created_at": x.created.Format(stamp),
	}
	metadata, err := stored(x.metadata)
	if err != nil {
		return nil, err
	}
	d["metadata"] = metadata
	features := make([]any, 0, len(workflow))
	for _, f := range workflow {
		features = append(features, f.name)
	}
	d["features"] = features
	for _, key := range resultArrays {
		d[key] = nil
	}
	who, err := s.person(x)
	if err != nil {
		return nil, err
	}
	results := map[string]struct {
		step feature
		data func(*session, person) map[string]any
	}{
		"id_verifications": {ocr, s.idVerification},
		"liveness_checks":  {liveness, s.livenessCheck},
		"face_matches":     {faceMatch, s.faceMatch},
		"aml_screenings":   {aml, amlScreening},
		"ip_analyses":      {ip, ipAnalysis},
	}
	for key, result := range results {
		status := stepStatus(x, result.step)
		if status == "" {
			continue
		}
		data := map[string]any{}
		if status == notFinished {
			for field := range result.data(x, who) {
				data[field] = nil
			}
			data["warnings"] = []any{}
		} else {
			data = result.data(x, who)
			data["warnings"] = s.warnings(x, result.step)
		}
		data["node_id"], data["status"] = result.step.node, status
		d[key] = []any{data}
	}
	if ids, ok := d["id_verifications"].([]any); ok {
		corrections, err := decodeObject(x.corrections)
		if err != nil {
			return nil, err
		}
		for field, value := range corrections {
			ids[0].(map[string]any)[field] = value
		}
	}
	reviews, err := reviewLog(ctx, q, x.id)
	if err != nil {
		return nil, err
	}
	if len(reviews) > 0 {
		d["reviews"] = reviews
	}
	return d, nil
}

// legacyDecision is the shape of v2: one object per feature instead of arrays.
func legacyDecision(d map[string]any) map[string]any {
	singular := map[string]string{
		"id_verifications": "id_verification", "nfc_verifications": "nfc", "liveness_checks": "liveness",
		"face_matches": "face_match", "poa_verifications": "poa", "phone_verifications": "phone",
		"email_verifications": "email", "aml_screenings": "aml", "ip_analyses": "ip_analysis",
	}
	out := map[string]any{}
	for key, value := range d {
		name, known := singular[key]
		list, isList := value.([]any)
		switch {
		case known && isList && len(list) > 0:
			out[name] = list[0]
		case known:
			out[name] = nil
		default:
			out[key] = value
		}
	}
	return out
}

// warnings of a step: the risk with the log_type of what it did, and one harmless note that explains nothing.
func (s *Simulator) warnings(x *session, f feature) []any {
	list := []any{}
	if r, ok := lookRisk(x.risk); ok && r.step == f && x.outcome != approved {
		level := "error"
		if x.outcome == inReview {
			level = "warning"
		}
		list = append(list, warning(r, level, x))
	}
	if f == ip && x.risk != harmlessRisk {
		r, _ := lookRisk(harmlessRisk)
		list = append(list, warning(r, "information", x))
	}
	return list
}

func warning(r risk, level string, x *session) map[string]any {
	w := map[string]any{
		"feature": r.step.warning, "node_id": r.step.node, "risk": r.code, "additional_data": nil,
		"log_type": level, "short_description": r.short,
		"long_description": "Simulated: " + r.short + ". No document, face or person was examined.",
	}
	if strings.Contains(r.code, "DUPLICATED") {
		w["additional_data"] = map[string]any{
			"api_service": nil, "duplicated_session_id": uuid.NewSHA1(uuid.NameSpaceOID, []byte(x.id)).String(),
			"duplicated_session_number": x.number + 100_000,
		}
	}
	return w
}

func (s *Simulator) idVerification(x *session, p person) map[string]any {
	var back, fullBack any
	if p.documentType != "Passport" {
		back, fullBack = s.presign(x.id, "back"), s.presign(x.id, "full_back")
	}
	formatted := strings.Join(nonEmpty(p.address, p.home.city, p.home.post, p.home.name), ", ")
	return map[string]any{
		"document_type": p.documentType, "document_subtype": nil, "document_number": p.documentNumber,
		"personal_number": p.personalNumber, "first_name": p.first, "last_name": orNull(p.last),
		"full_name": p.fullName(), "date_of_birth": p.birth.Format(day), "age": p.age(s.clock.Now()), "gender": p.gender,
		"nationality": p.nationality, "issuing_state": p.home.code, "issuing_state_name": p.home.name,
		"date_of_issue": p.issued.Format(day), "expiration_date": p.expiry.Format(day),
		"place_of_birth": p.home.birthplace, "marital_status": "UNKNOWN",
		"address": p.address, "formatted_address": formatted,
		"parsed_address": map[string]any{
			"street_1": p.address, "street_2": nil, "city": p.home.city, "region": p.home.state,
			"country": p.home.alpha2, "postal_code": orNull(p.home.post), "label": "Address", "category": "building",
			"is_verified": true,
			"raw_results": map[string]any{"geometry": map[string]any{"location": map[string]any{"lat": p.home.lat, "lng": p.home.lng}}},
		},
		"mrz":            map[string]any{"surname": strings.ToUpper(p.last), "name": strings.ToUpper(p.first), "document_number": p.documentNumber},
		"portrait_image": s.presign(x.id, "portrait"), "front_image": s.presign(x.id, "front"), "back_image": back,
		"full_front_image": s.presign(x.id, "full_front"), "full_back_image": fullBack, "front_video": nil, "back_video": nil,
		"front_image_quality_score": p.scores[1], "back_image_quality_score": nil,
		"extra_fields": map[string]any{}, "extra_files": []any{}, "matches": []any{},
	}
}

func (s *Simulator) livenessCheck(x *session, p person) map[string]any {
	score := p.scores[0] // a whole number on purpose: 92.0 on the wire is what signatures stumble over
	if strings.HasPrefix(x.risk, "LOW_LIVENESS") || x.risk == "LIVENESS_FACE_ATTACK" {
		score = 21.37
	}
	return map[string]any{
		"method": "PASSIVE", "score": score, "reference_image": s.presign(x.id, "selfie"), "video_url": nil,
		"age_estimation": float64(p.age(s.clock.Now())) + 0.5, "face_quality": p.scores[1], "face_luminance": p.scores[2],
		"matches": []any{},
	}
}

func (s *Simulator) faceMatch(x *session, p person) map[string]any {
	score := p.scores[2]
	if strings.HasSuffix(x.risk, "FACE_MATCH_SIMILARITY") {
		score = 18.04
	}
	return map[string]any{
		"score": score, "source_image": s.presign(x.id, "selfie"), "target_image": s.presign(x.id, "portrait"),
		"source_image_session_id": x.id,
	}
}

func amlScreening(x *session, p person) map[string]any {
	hits := []any{}
	score := 0.0
	if x.risk == "POSSIBLE_MATCH_FOUND" {
		score = 87.5
		hits = append(hits, map[string]any{
			"caption": p.fullName(), "score": score, "pep_matches": []any{map[string]any{"list_name": "Simulated list"}},
			"sanction_matches": []any{}, "warning_matches": []any{}, "adverse_media_matches": []any{},
		})
	}
	return map[string]any{
		"total_hits": len(hits), "hits": hits, "entity_type": "person", "score": score, "is_ongoing_monitoring_enabled": false,
		"screened_data": map[string]any{
			"full_name": p.fullName(), "nationality": p.nationality, "date_of_birth": p.birth.Format(day),
			"document_number": p.documentNumber,
		},
	}
}

func ipAnalysis(_ *session, p person) map[string]any {
	return map[string]any{
		"ip_address": p.network, "ip_country": p.home.name, "ip_country_code": p.home.alpha2, "ip_state": p.home.state,
		"ip_city": p.home.city, "device_brand": "Simulated", "device_model": "Phone", "browser_family": "Mobile Browser",
		"os_family": "Android", "platform": "mobile", "device_fingerprint": fmt.Sprintf("sim%s", p.documentNumber),
		"is_vpn_or_tor": false, "is_data_center": false, "time_zone": p.home.zone,
	}
}

// reviewLog is what people did to a session by hand, oldest first.
func reviewLog(ctx context.Context, q querier, id string) ([]any, error) {
	rows, err := q.QueryContext(ctx, `SELECT id, action, old_status, new_status, note, created_at FROM didit_reviews
		WHERE session_id = $1 ORDER BY id`, id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []any{}
	for rows.Next() {
		var number, at int64
		var action, from, to, note string
		if err := rows.Scan(&number, &action, &from, &to, &note, &at); err != nil {
			return nil, err
		}
		list = append(list, map[string]any{
			"id": number, "action": action, "old_status": from, "new_status": to, "note": orNull(note),
			"created_at": time.UnixMicro(at).UTC().Format(stamp),
		})
	}
	return list, rows.Err()
}

// stored reads a JSON text of the database; an empty one is null.
func stored(text string) (any, error) {
	if text == "" {
		return nil, nil
	}
	return decodeJSON([]byte(text))
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func nonEmpty(texts ...string) []string {
	var kept []string
	for _, t := range texts {
		if t != "" {
			kept = append(kept, t)
		}
	}
	return kept
}
