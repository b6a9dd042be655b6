package udun

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/comecomepay/comecomepay/internal/provider"
)

const (
	maxIdentifier = 256  // bytes
	maxText       = 1024 // bytes
)

// identifier reads an id that may come as a text, taken as it is, or as a number, however it is spelled.
func identifier(o provider.Object, key string) string {
	if !bytes.HasPrefix(bytes.TrimSpace(o[key]), []byte(`"`)) {
		if n, ok := o.Int(key); ok {
			return strconv.FormatInt(n, 10)
		}
	}
	return strings.TrimSpace(o.Text(key))
}

// isIdentifier tells whether a text is printable ASCII without spaces, of a length that fits everywhere.
func isIdentifier(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxIdentifier
}

// isDigits tells whether a text is a number of plain digits, of any size that is meant seriously.
func isDigits(s string) bool {
	return s != "" && len(s) <= maxAmountDigits && strings.Trim(s, "0123456789") == ""
}

// isClean tells whether a text reaches the gateway as it is.
func isClean(s string) bool { return utf8.ValidString(s) && cleaned(s) == s }
