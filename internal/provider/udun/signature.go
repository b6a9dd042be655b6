package udun

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/hex"
	"strings"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// Sign is the lower-case hex MD5 of body, key, nonce and timestamp written one after the other, each in exactly the
// form of the envelope; it signs requests and callbacks alike (provider/udun.md section 2).
func Sign(key secret.Text, body, nonce, timestamp string) string {
	sum := md5.Sum([]byte(body + key.Reveal() + nonce + timestamp))
	return hex.EncodeToString(sum[:])
}

// signed compares in constant time. Some languages print hex in upper case.
func signed(key secret.Text, e Envelope) bool {
	return subtle.ConstantTimeCompare([]byte(strings.ToLower(e.Sign)), []byte(Sign(key, e.Body, e.Nonce, e.Timestamp))) == 1
}
