package didit

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxWebhook is the longest webhook body that is looked at, in bytes.
const MaxWebhook = 1 << 20

const (
	maxCanonicalDepth = 64             // a decision is about six levels deep
	maxCanonical      = 4 * MaxWebhook // 1e300 becomes 301 digits: a body may grow, but not without bound
)

// The reasons why a body has no canonical form.
var (
	ErrNotJSON       = errors.New("not one JSON value in UTF-8")
	ErrTooLarge      = errors.New("too long or too deep")
	ErrNumberUnclear = errors.New("a number whose canonical form is not specified")
)

// Canonical re-encodes a webhook body the way X-Signature-V2 signs it (provider/didit.md section 4.5): keys in
// code-point order, no spaces, whole floats as integers, and nothing escaped that need not be. Numbers that
// are not whole and below 0.0001 have no specified form: ErrNumberUnclear.
func Canonical(body []byte) ([]byte, error) {
	switch {
	case len(body) > MaxWebhook || tooDeep(body):
		return nil, ErrTooLarge
	case !utf8.Valid(body) || !json.Valid(body):
		return nil, ErrNotJSON
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, ErrNotJSON
	}
	return appendCanonical(make([]byte, 0, len(body)), value)
}

// tooDeep counts brackets before anything is built from the body.
func tooDeep(body []byte) bool {
	depth, quoted := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxCanonicalDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

func appendCanonical(out []byte, value any) ([]byte, error) {
	if len(out) > maxCanonical {
		return nil, ErrTooLarge
	}
	var err error
	switch v := value.(type) {
	case nil:
		return append(out, "null"...), nil
	case bool:
		return strconv.AppendBool(out, v), nil
	case string:
		return appendString(out, v), nil
	case json.Number:
		return appendNumber(out, v.String())
	case []any:
		out = append(out, '[')
		for i, element := range v {
			if i > 0 {
				out = append(out, ',')
			}
			if out, err = appendCanonical(out, element); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case map[string]any:
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		slices.Sort(keys) // the order of UTF-8 bytes is the order of code points
		out = append(out, '{')
		for i, key := range keys {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, key), ':')
			if out, err = appendCanonical(out, v[key]); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	}
	return nil, ErrNotJSON
}

// appendString escapes quotes, backslashes and control characters, and nothing else.
func appendString(out []byte, s string) []byte {
	const hex = "0123456789abcdef"
	out = append(out, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, '\\', 'n')
		case c == '\r':
			out = append(out, '\\', 'r')
		case c == '\t':
			out = append(out, '\\', 't')
		case c == '\b':
			out = append(out, '\\', 'b')
		case c == '\f':
			out = append(out, '\\', 'f')
		case c < 0x20:
			out = append(out, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			out = append(out, c)
		}
	}
	return append(out, '"')
}

func appendNumber(out []byte, token string) ([]byte, error) {
	if !strings.ContainsAny(token, ".eE") {
		if token == "-0" {
			token = "0"
		}
		return append(out, token...), nil // of any size
	}
	f, err := strconv.ParseFloat(token, 64)
	switch {
	case err != nil: // beyond the largest float
		return nil, ErrNumberUnclear
	case f == math.Trunc(f):
		whole, _ := new(big.Float).SetFloat64(f).Int(nil)
		return whole.Append(out, 10), nil
	case math.Abs(f) < 1e-4:
		return nil, ErrNumberUnclear
	default:
		return strconv.AppendFloat(out, f, 'f', -1, 64), nil
	}
}
