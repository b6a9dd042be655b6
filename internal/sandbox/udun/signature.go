package udun

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/hex"
	"strings"
)

// sign is the gateway's signature of a request or a callback (provider/udun section 2): MD5 over plain concatenation, with
// nonce and timestamp in the form in which they travel.
func sign(body, apiKey, nonce, timestamp string) string {
	sum := md5.Sum([]byte(body + apiKey + nonce + timestamp))
	return hex.EncodeToString(sum[:])
}

func same(a, b string) bool {
	return subtle.ConstantTimeCompare([]byte(strings.ToLower(a)), []byte(strings.ToLower(b))) == 1
}
