package didit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// signatures are the three signatures of a webhook (provider/didit.md 4.5), each HMAC-SHA256 in lower-case
// hex under the UTF-8 bytes of the secret.
type signatures struct {
	raw       string // X-Signature: over the bytes of the body
	canonical string // X-Signature-V2: over a re-encoding of the parsed body
	simple    string // X-Signature-Simple: over four fields of the body
}

// sign computes all signatures of a body, which must be a JSON object.
func sign(secret string, body []byte) (signatures, error) {
	object, err := decodeObject(string(body))
	if err != nil {
		return signatures{}, err
	}
	canonical, err := encodeJSON(object, canonicalStyle)
	if err != nil {
		return signatures{}, err
	}
	return signatures{
		raw:       mac(secret, body),
		canonical: mac(secret, canonical),
		simple:    mac(secret, []byte(simpleString(object))),
	}, nil
}

// simpleString is "timestamp:session_id:status:webhook_type", each as the body has it or empty.
func simpleString(object map[string]any) string {
	parts := make([]string, 0, 4)
	for _, key := range []string{"timestamp", "session_id", "status", "webhook_type"} {
		switch v := object[key].(type) {
		case string:
			parts = append(parts, v)
		case json.Number:
			parts = append(parts, v.String())
		default:
			parts = append(parts, "")
		}
	}
	return strings.Join(parts, ":")
}

func mac(secret string, message []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(message)
	return hex.EncodeToString(h.Sum(nil))
}
