package didit

import (
	"bytes"
	"encoding/json"
	"sort"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// Decision is the result of a session, from the decision call or a webhook (provider/didit.md section 2.2).
// It holds personal data: do not log it. Features that have not run have no entries.
type Decision struct {
	SessionID     string
	SessionNumber int64 // 0 if it was not given
	SessionURL    string
	Status        Status
	WorkflowID    string
	VendorData    string
	Metadata      json.RawMessage // the object given at creation, also where it came back as text; nil for none
	Callback      string
	Requested     []string  // names of the features in the workflow, as far as given
	CreatedAt     time.Time // zero if it was not given

	IDVerifications []IDVerification
	LivenessChecks  []LivenessCheck
	FaceMatches     []FaceMatch
	AMLScreenings   []AMLScreening
	IPAnalyses      []IPAnalysis
	Features        []Feature // every feature that has run, those above included
	Warnings        []Warning // of all features and of the session itself, in that order, without repetition
}

// Feature is what every feature reports.
type Feature struct {
	Kind     string // the v3 name of its list, such as "id_verifications"
	NodeID   string // such as "feature_ocr"; needed to ask for a resubmission
	Status   Status
	Warnings []Warning
}

// IDVerification is a document that was read. Texts are empty where nothing was read.
type IDVerification struct {
	Feature
	DocumentType     string // "Identity Card", "Passport", …: an open list, in varying case
	DocumentSubtype  string
	DocumentNumber   string
	PersonalNumber   string
	FirstName        string
	LastName         string // empty for people with a single name
	FullName         string
	DateOfBirth      string // YYYY-MM-DD
	Age              int64  // years; 0 if it was not read
	Gender           string // M, F or U
	Nationality      string // ISO 3166 alpha-3
	IssuingState     string // ISO 3166 alpha-3
	IssuingStateName string
	ExpirationDate   string // YYYY-MM-DD
	DateOfIssue      string // YYYY-MM-DD
	PlaceOfBirth     string
	MaritalStatus    string
	Address          string
	FormattedAddress string
	ParsedAddress    Address
	MRZ              json.RawMessage // an object or a text; nil for none

	// Presigned addresses that stop working within an hour: fetch them at once, never keep them.
	PortraitImage  string
	FrontImage     string
	BackImage      string // empty for passports
	FullFrontImage string
	FullBackImage  string

	Matches []Match
}

// Address is an address as Didit took it apart.
type Address struct {
	Street1, Street2, City, Region, Country, PostalCode string
}

// LivenessCheck tells whether a living person stood before the camera.
type LivenessCheck struct {
	Feature
	Method         string  // PASSIVE, ACTIVE_3D or FLASHING, in varying case
	Score          float64 // 0 to 100
	AgeEstimation  float64 // years
	ReferenceImage string  // presigned, as in IDVerification
	VideoURL       string  // presigned
	Matches        []Match
}

// FaceMatch compares the face with the document's portrait.
type FaceMatch struct {
	Feature
	Score       float64 // 0 to 100
	SourceImage string  // presigned
	TargetImage string  // presigned
}

// AMLScreening is a search in sanction and similar lists.
type AMLScreening struct {
	Feature
	TotalHits  int64
	EntityType string
	Score      float64
}

// IPAnalysis is where the user's connection seemed to come from.
type IPAnalysis struct {
	Feature
	IPAddress, IPCountryCode, IPState, IPCity   string
	DeviceBrand, DeviceModel, DeviceFingerprint string
	Platform, OSFamily, BrowserFamily, TimeZone string
	VPNOrTor, DataCenter                        bool
}

// Match is another session with the same face or document.
type Match struct {
	SessionID            string
	SessionNumber        int64
	VendorData           string
	Status               Status
	Blocklisted          bool
	SimilarityPercentage float64
}

// LogType says what the workflow does about a risk.
type LogType string

// The log types (provider/didit.md section 2.2).
const (
	LogError       LogType = "error"       // led to a decline
	LogWarning     LogType = "warning"     // led to a review
	LogInformation LogType = "information" // led to nothing
)

// Warning is a risk that a feature found.
type Warning struct {
	Feature          string // "ID_VERIFICATION", …
	NodeID           string
	Risk             string // code of provider/didit.md section 6, such as "DOCUMENT_EXPIRED"
	LogType          LogType
	ShortDescription string
	LongDescription  string

	// For duplicates: the other session.
	DuplicatedSessionID     string
	DuplicatedSessionNumber int64
}

// DeclineReasons are the warnings that led to a decline.
func (d Decision) DeclineReasons() []Warning { return d.warnings(LogError) }

// ReviewReasons are the warnings that led to a review.
func (d Decision) ReviewReasons() []Warning { return d.warnings(LogWarning) }

func (d Decision) warnings(of LogType) []Warning {
	var found []Warning
	for _, w := range d.Warnings {
		if w.LogType == of {
			found = append(found, w)
		}
	}
	return found
}

// ApprovedDocument is the first document that was read and approved.
func (d Decision) ApprovedDocument() (IDVerification, bool) {
	for _, v := range d.IDVerifications {
		if v.Status.Is(StatusApproved) {
			return v, true
		}
	}
	return IDVerification{}, false
}

// features names the lists of version 3 and the single objects of version 2 and older, best name first.
var features = []struct {
	kind  string
	older []string
}{
	{"id_verifications", []string{"id_verification", "kyc"}},
	{"nfc_verifications", []string{"nfc"}},
	{"liveness_checks", []string{"liveness", "face"}},
	{"face_matches", []string{"face_match"}},
	{"poa_verifications", []string{"poa"}},
	{"phone_verifications", []string{"phone"}},
	{"email_verifications", []string{"email"}},
	{"aml_screenings", []string{"aml"}},
	{"ip_analyses", []string{"ip_analysis"}},
	{"database_validations", []string{"database_validation"}},
	{"questionnaire_responses", nil},
	{"signatures", nil},
	{"bank_verifications", nil},
	{"reviews", nil},
	{"registry_checks", nil},
	{"document_verifications", nil},
	{"key_people_checks", nil},
}

// decisionMembers are the members that are not features.
var decisionMembers = map[string]bool{"session_id": true, "session_number": true, "session_url": true, "status": true,
	"workflow_id": true, "vendor_data": true, "metadata": true, "callback": true, "features": true, "created_at": true,
	"warnings": true, "contact_details": true, "expected_details": true}

// ParseDecision reads a decision of any version. The only error is provider.ErrNotObject: what cannot be read
// inside is left out, and a missing status reads as the empty one, which is not known and approves nothing.
func ParseDecision(raw []byte) (Decision, error) {
	o, err := provider.ParseObject(raw)
	if err != nil {
		return Decision{}, err
	}
	return decisionFrom(o), nil
}

func decisionFrom(o provider.Object) Decision {
	d := Decision{
		SessionID: o.Text("session_id"), SessionURL: o.Text("session_url", "url"), Status: ParseStatus(o.Text("status")),
		WorkflowID: o.Text("workflow_id"), VendorData: o.Text("vendor_data"), Metadata: metadata(o),
		Callback: o.Text("callback"), Requested: requested(o), CreatedAt: o.Time("created_at"),
	}
	d.SessionNumber, _ = o.Int("session_number")
	read, seen := map[string]bool{}, map[warningKey]bool{}
	for _, f := range features {
		read[f.kind] = true
		runs := o.Objects(f.kind)
		for _, name := range f.older {
			read[name] = true
			if len(runs) == 0 {
				runs = o.Objects(name)
			}
		}
		for _, run := range runs {
			d.add(f.kind, run, seen)
		}
	}
	// A feature that is newer than this client still counts with its status and warnings.
	var unknown []string
	for name := range o {
		if !read[name] && !decisionMembers[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	for _, name := range unknown {
		for _, run := range o.Objects(name) {
			if run.Has("status") || run.Has("warnings") {
				d.add(name, run, seen)
			}
		}
	}
	d.collect(warnings(o), seen)
	return d
}

// add takes in one run of a feature.
func (d *Decision) add(kind string, o provider.Object, seen map[warningKey]bool) {
	f := Feature{Kind: kind, NodeID: o.Text("node_id"), Status: ParseStatus(o.Text("status")), Warnings: warnings(o)}
	d.Features = append(d.Features, f)
	d.collect(f.Warnings, seen)
	switch kind {
	case "id_verifications":
		d.IDVerifications = append(d.IDVerifications, idVerification(f, o))
	case "liveness_checks":
		check := LivenessCheck{Feature: f, Method: o.Text("method"), ReferenceImage: o.Text("reference_image"),
			VideoURL: o.Text("video_url"), Matches: matches(o)}
		check.Score, _ = o.Float("score")
		check.AgeEstimation, _ = o.Float("age_estimation")
		d.LivenessChecks = append(d.LivenessChecks, check)
	case "face_matches":
		match := FaceMatch{Feature: f, SourceImage: o.Text("source_image"), TargetImage: o.Text("target_image")}
		match.Score, _ = o.Float("score")
		d.FaceMatches = append(d.FaceMatches, match)
	case "aml_screenings":
		screening := AMLScreening{Feature: f, EntityType: o.Text("entity_type")}
		screening.TotalHits, _ = o.Int("total_hits")
		screening.Score, _ = o.Float("score")
		d.AMLScreenings = append(d.AMLScreenings, screening)
	case "ip_analyses":
		d.IPAnalyses = append(d.IPAnalyses, IPAnalysis{Feature: f,
			IPAddress: o.Text("ip_address"), IPCountryCode: o.Text("ip_country_code"), IPState: o.Text("ip_state"), IPCity: o.Text("ip_city"),
			DeviceBrand: o.Text("device_brand"), DeviceModel: o.Text("device_model"), DeviceFingerprint: o.Text("device_fingerprint"),
			Platform: o.Text("platform"), OSFamily: o.Text("os_family"), BrowserFamily: o.Text("browser_family"), TimeZone: o.Text("time_zone"),
			VPNOrTor: o.Bool("is_vpn_or_tor"), DataCenter: o.Bool("is_data_center")})
	}
}

// warningKey is what makes two warnings the same one.
type warningKey struct {
	risk, node, duplicated string
	log                    LogType
	anyNode                bool
}

// collect adds warnings that are not in seen: some bodies repeat those of the features at the top, without
// their node.
func (d *Decision) collect(found []Warning, seen map[warningKey]bool) {
	for _, w := range found {
		exact := warningKey{risk: w.Risk, node: w.NodeID, duplicated: w.DuplicatedSessionID, log: w.LogType}
		somewhere := warningKey{risk: w.Risk, duplicated: w.DuplicatedSessionID, log: w.LogType, anyNode: true}
		if seen[exact] || w.NodeID == "" && seen[somewhere] {
			continue
		}
		seen[exact], seen[somewhere] = true, true
		d.Warnings = append(d.Warnings, w)
	}
}

func idVerification(f Feature, o provider.Object) IDVerification {
	v := IDVerification{Feature: f,
		DocumentType: o.Text("document_type"), DocumentSubtype: o.Text("document_subtype"),
		DocumentNumber: o.Text("document_number"), PersonalNumber: o.Text("personal_number"),
		FirstName: o.Text("first_name"), LastName: o.Text("last_name"), FullName: o.Text("full_name"),
		DateOfBirth: o.Text("date_of_birth"), Gender: o.Text("gender"), Nationality: o.Text("nationality"),
		IssuingState: o.Text("issuing_state"), IssuingStateName: o.Text("issuing_state_name", "issuing_country"),
		ExpirationDate: o.Text("expiration_date", "expiry_date"), DateOfIssue: o.Text("date_of_issue"),
		PlaceOfBirth: o.Text("place_of_birth"), MaritalStatus: o.Text("marital_status"),
		Address: o.Text("address"), FormattedAddress: o.Text("formatted_address"), MRZ: o.Raw("mrz"),
		PortraitImage: o.Text("portrait_image"), FrontImage: o.Text("front_image"), BackImage: o.Text("back_image"),
		FullFrontImage: o.Text("full_front_image"), FullBackImage: o.Text("full_back_image"), Matches: matches(o),
	}
	v.Age, _ = o.Int("age")
	if a, ok := o.Object("parsed_address"); ok {
		v.ParsedAddress = Address{Street1: a.Text("street_1"), Street2: a.Text("street_2"), City: a.Text("city"),
			Region: a.Text("region"), Country: a.Text("country"), PostalCode: a.Text("postal_code")}
	}
	return v
}

func matches(o provider.Object) []Match {
	var list []Match
	for _, m := range o.Objects("matches") {
		match := Match{SessionID: m.Text("session_id"), VendorData: m.Text("vendor_data"),
			Status: ParseStatus(m.Text("status")), Blocklisted: m.Bool("is_blocklisted")}
		match.SessionNumber, _ = m.Int("session_number")
		match.SimilarityPercentage, _ = m.Float("similarity_percentage")
		list = append(list, match)
	}
	return list
}

func warnings(o provider.Object) []Warning {
	var list []Warning
	for _, w := range o.Objects("warnings") {
		warning := Warning{Feature: w.Text("feature"), NodeID: w.Text("node_id"), Risk: w.Text("risk"),
			LogType:          LogType(strings.ToLower(w.Text("log_type"))),
			ShortDescription: w.Text("short_description"), LongDescription: w.Text("long_description")}
		if more, ok := w.Object("additional_data"); ok {
			warning.DuplicatedSessionID = more.Text("duplicated_session_id")
			warning.DuplicatedSessionNumber, _ = more.Int("duplicated_session_number")
		}
		list = append(list, warning)
	}
	return list
}

// requested reads the features of the workflow: a list of names, a list of objects, or names joined by plus
// signs in the older versions.
func requested(o provider.Object) []string {
	var names []string
	for _, text := range o.Texts("features") {
		for name := range strings.SplitSeq(text, "+") {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	for _, f := range o.Objects("features") {
		if name := f.Text("feature"); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// metadata gives the metadata as JSON: older versions keep the object as a text.
func metadata(o provider.Object) json.RawMessage {
	if text := o.Text("metadata"); strings.HasPrefix(strings.TrimSpace(text), "{") && json.Valid([]byte(text)) {
		return bytes.TrimSpace([]byte(text))
	}
	return o.Raw("metadata")
}
