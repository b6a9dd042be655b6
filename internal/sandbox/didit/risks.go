package didit

import (
	"regexp"
	"strings"
)

// feature is one step of the simulated workflow.
type feature struct {
	name    string // as update-status names it
	node    string
	warning string // as warnings name it
	backend bool   // runs without the user
}

var (
	ocr       = feature{name: "OCR", node: "feature_ocr", warning: "ID_VERIFICATION"}
	liveness  = feature{name: "LIVENESS", node: "feature_liveness", warning: "LIVENESS"}
	faceMatch = feature{name: "FACE_MATCH", node: "feature_face_match", warning: "FACE_MATCH"}
	aml       = feature{name: "AML", node: "feature_aml", warning: "AML", backend: true}
	ip        = feature{name: "IP_ANALYSIS", node: "feature_ip_analysis", warning: "IP_ANALYSIS", backend: true}

	workflow = []feature{ocr, liveness, faceMatch, aml, ip}
)

// featureAt finds a step by its node id.
func featureAt(node string) (feature, bool) {
	for _, f := range workflow {
		if f.node == node {
			return f, true
		}
	}
	return feature{}, false
}

// risk is why a step was not passed (provider/didit.md 6).
type risk struct {
	code  string
	step  feature
	short string // short_description
}

// risks are the codes whose step or wording cannot be told from the code alone. The first dozen or so is what
// the verification page offers.
var risks = []risk{
	{"DOCUMENT_EXPIRED", ocr, "Document expired"},
	{"IMAGE_TOO_BLURRY", ocr, "Document image too blurry"},
	{"IMAGE_TOO_DARK", ocr, "Document image too dark"},
	{"DOCUMENT_NOT_SUPPORTED_FOR_APPLICATION", ocr, "Document type not supported"},
	{"SCREEN_CAPTURE_DETECTED", ocr, "Document shown on a screen"},
	{"PRINTED_COPY_DETECTED", ocr, "Printed copy of a document"},
	{"MINIMUM_AGE_NOT_MET", ocr, "Minimum age not met"},
	{"FULL_NAME_MISMATCH_WITH_PROVIDED", ocr, "Full name differs from the one provided"},
	{"POSSIBLE_DUPLICATED_USER", ocr, "Possible duplicated approved user from other session"},
	{"LOW_FACE_MATCH_SIMILARITY", faceMatch, "Low face match similarity"},
	{"LOW_LIVENESS_SCORE", liveness, "Low liveness score"},
	{"LIVENESS_FACE_ATTACK", liveness, "Liveness face attack"},
	{"DUPLICATED_FACE", liveness, "Duplicated face from other approved session"},
	{"POSSIBLE_MATCH_FOUND", aml, "Possible AML match found"},

	{"POSSIBLE_DUPLICATED_FACE", liveness, "Possible duplicated face from other approved session"},
	{"LOW_FACE_QUALITY", liveness, "Low face quality"},
	{"LOW_FRONT_CAMERA_FACE_MATCH_SIMILARITY", faceMatch, "Low face match similarity with the front camera"},
	{"MULTIPLE_FACES_DETECTED", liveness, "Multiple faces detected"},
	{"NO_FACE_DETECTED", liveness, "No face detected"},
	{"NO_REFERENCE_IMAGE", faceMatch, "No reference image"},
	{"HIGH_FACE_LUMINANCE", liveness, "High face luminance"},
	{"LOW_FACE_LUMINANCE", liveness, "Low face luminance"},
	{"FACE_IN_BLOCKLIST", liveness, "Face in blocklist"},
	{"POSSIBLE_FACE_IN_BLOCKLIST", liveness, "Possible face in blocklist"},
	{"COULD_NOT_PERFORM_AML_SCREENING", aml, "AML screening could not be performed"},
	{"DUPLICATED_IP_ADDRESS", ip, "Duplicated IP address from other session"},
}

const (
	offeredRisks  = 14 // of the list above, on the page
	declineRisk   = "DOCUMENT_EXPIRED"
	reviewRisk    = "POSSIBLE_DUPLICATED_FACE"
	harmlessRisk  = "DUPLICATED_IP_ADDRESS"
	maxRiskLength = 64
)

var riskCode = regexp.MustCompile(`^[A-Z][A-Z0-9_]+$`)

// lookRisk describes a risk code. Codes outside the table are taken as well, so that a client can be shown one
// that it has never seen; they belong to the document step. It reports false for what is no code at all.
func lookRisk(code string) (risk, bool) {
	for _, r := range risks {
		if r.code == code {
			return r, true
		}
	}
	if len(code) > maxRiskLength || !riskCode.MatchString(code) {
		return risk{}, false
	}
	words := strings.ToLower(strings.ReplaceAll(code, "_", " "))
	return risk{code: code, step: ocr, short: strings.ToUpper(words[:1]) + words[1:]}, true
}
