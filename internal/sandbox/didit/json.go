package didit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// style is how a JSON text is spelled. Keys are always sorted by code point and separators are compact: the
// receiver's signature check depends on every byte.
type style struct {
	ascii    bool // non-ASCII characters and DEL as \uXXXX, as Python's json.dumps does by default
	integral bool // numbers with a fraction of zero as integers: 92.0 becomes 92
}

var (
	wireStyle      = style{ascii: true}    // webhook bodies
	canonicalStyle = style{integral: true} // what X-Signature-V2 is computed over
	answerStyle    = style{}               // API answers
)

var errNumber = errors.New("number out of range")

// encodeJSON writes v, which is made of nil, bool, string, int, int64, float64, json.Number, []any and
// map[string]any. Numbers are spelled as Python spells them.
func encodeJSON(v any, st style) ([]byte, error) {
	var b bytes.Buffer
	if err := st.write(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (st style) write(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case string:
		st.writeString(b, v)
	case int:
		b.WriteString(strconv.Itoa(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return errNumber
		}
		b.WriteString(st.float(v))
	case json.Number:
		text, err := st.number(string(v))
		if err != nil {
			return err
		}
		b.WriteString(text)
	case []any:
		b.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			if err := st.write(b, e); err != nil {
				return err
			}
		}
		b.WriteByte(']')
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys) // bytes of UTF-8 sort like code points
		b.WriteByte('{')
		for i, k := range keys {
			if i > 0 {
				b.WriteByte(',')
			}
			st.writeString(b, k)
			b.WriteByte(':')
			if err := st.write(b, v[k]); err != nil {
				return err
			}
		}
		b.WriteByte('}')
	default:
		return fmt.Errorf("cannot encode %T", v)
	}
	return nil
}

// number respells a number token.
func (st style) number(token string) (string, error) {
	if !strings.ContainsAny(token, ".eE") {
		if token == "-0" {
			return "0", nil
		}
		return token, nil
	}
	f, err := strconv.ParseFloat(token, 64)
	if err != nil {
		return "", errNumber
	}
	return st.float(f), nil
}

// float spells a finite float as Python's repr does: shortest digits that read back the same, an exponent
// below 1e-4 and from 1e16 on, and always a fraction otherwise.
func (st style) float(f float64) string {
	if st.integral && f == math.Trunc(f) {
		whole, _ := big.NewFloat(f).Int(nil)
		return whole.String()
	}
	if abs := math.Abs(f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

func (st style) writeString(b *bytes.Buffer, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r < 0x20, st.ascii && r >= 0x7f && r <= 0xffff:
			fmt.Fprintf(b, `\u%04x`, r)
		case st.ascii && r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(b, `\u%04x\u%04x`, 0xd800+(r>>10), 0xdc00+(r&0x3ff))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// decodeJSON reads exactly one JSON value and keeps numbers as they are spelled.
func decodeJSON(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("extra data after the value")
	}
	return v, nil
}

// decodeObject reads a stored JSON object; an empty text is an empty object.
func decodeObject(text string) (map[string]any, error) {
	if text == "" {
		return map[string]any{}, nil
	}
	v, err := decodeJSON([]byte(text))
	if err != nil {
		return nil, err
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a JSON object was expected, not %T", v)
	}
	return object, nil
}
