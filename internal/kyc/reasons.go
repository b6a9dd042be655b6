package kyc

import "strings"

// diditReason chooses what a customer is told about a risk that Didit found (provider/didit section 6). Whatever
// would reveal how fraud is recognised is told as the generic reason.
func diditReason(risk string) ReasonCode {
	switch r := strings.ToUpper(strings.TrimSpace(risk)); {
	case strings.Contains(r, "DUPLICATED"), strings.Contains(r, "BLOCKLIST"):
		return ReasonGeneric
	case r == "DOCUMENT_EXPIRED":
		return ReasonDocumentOld
	case r == "COULD_NOT_DETECT_DOCUMENT_TYPE", r == "DOCUMENT_NOT_SUPPORTED_FOR_APPLICATION", r == "DOCUMENT_SIDES_MISMATCH":
		return ReasonUnsupported
	case strings.HasPrefix(r, "IMAGE_TOO_"), strings.HasSuffix(r, "_NOT_DETECTED"), strings.HasSuffix(r, "_FACE_LUMINANCE"),
		r == "LOW_FACE_QUALITY", r == "NO_FACE_DETECTED":
		return ReasonPhoto
	case r == "SCREEN_CAPTURE_DETECTED", r == "PRINTED_COPY_DETECTED":
		return ReasonCopy
	case r == "LOW_FACE_MATCH_SIMILARITY", r == "LOW_FRONT_CAMERA_FACE_MATCH_SIMILARITY", r == "LOW_LIVENESS_SCORE":
		return ReasonFace
	case r == "MINIMUM_AGE_NOT_MET":
		return ReasonAge
	case strings.HasSuffix(r, "_MISMATCH_WITH_PROVIDED"):
		return ReasonMismatch
	}
	return ReasonGeneric
}
