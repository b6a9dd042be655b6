package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Object is a JSON object whose members change their type from one answer to the next: numbers as text, one
// object in place of a list, null for anything. Its methods give the zero value for what is missing, null or
// unreadable; keys are compared exactly.
type Object map[string]json.RawMessage

// ErrNotObject is the error of JSON that is not exactly one object.
var ErrNotObject = errors.New("not a JSON object")

// ParseObject reads one JSON object. Of a repeated key the last value counts.
func ParseObject(raw []byte) (Object, error) {
	var o Object
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return nil, ErrNotObject
	}
	return o, nil
}

// Has tells whether a member is there and not null.
func (o Object) Has(key string) bool {
	raw := bytes.TrimSpace(o[key])
	return len(raw) > 0 && !bytes.Equal(raw, []byte("null"))
}

// Raw is a member as it was written, nil for null.
func (o Object) Raw(key string) json.RawMessage {
	if !o.Has(key) {
		return nil
	}
	return o[key]
}

// Text is the first member among keys that holds a non-empty text, or a number or truth value as written.
func (o Object) Text(keys ...string) string {
	for _, key := range keys {
		if s := scalar(o[key]); s != "" {
			return s
		}
	}
	return ""
}

// Texts is a list of texts; elements of another kind are left out, a single text is a list of one.
func (o Object) Texts(key string) []string {
	var list []json.RawMessage
	if json.Unmarshal(o[key], &list) != nil {
		list = []json.RawMessage{o[key]}
	}
	var texts []string
	for _, raw := range list {
		if s := scalar(raw); s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

// Int is a whole number, from any of its spellings (31, 31.0, "31"), without passing through a float.
func (o Object) Int(key string) (int64, bool) { return ParseInt(scalar(o[key])) }

// Float is a finite number, or a text that holds one. Not for money.
func (o Object) Float(key string) (float64, bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(scalar(o[key])), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, false
	}
	return f, true
}

// Bool is true for true, 1 and the texts "true" and "1".
func (o Object) Bool(key string) bool {
	s := scalar(o[key])
	return s == "1" || strings.EqualFold(s, "true")
}

// Time reads unix seconds (or milliseconds), RFC 3339, or ISO 8601 without zone, which is taken as UTC.
func (o Object) Time(key string) time.Time {
	t, _ := ParseTime(scalar(o[key]))
	return t
}

// Object is a member that is an object.
func (o Object) Object(key string) (Object, bool) {
	inner, err := ParseObject(o[key])
	return inner, err == nil
}

// Objects is a list of objects; a single object is a list of one, elements of another kind are left out.
func (o Object) Objects(key string) []Object {
	if inner, ok := o.Object(key); ok {
		return []Object{inner}
	}
	var list []json.RawMessage
	if json.Unmarshal(o[key], &list) != nil {
		return nil
	}
	var objects []Object
	for _, raw := range list {
		if inner, err := ParseObject(raw); err == nil {
			objects = append(objects, inner)
		}
	}
	return objects
}

// scalar is a text's content, or a number or truth value as written; empty for everything else.
func scalar(raw json.RawMessage) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '{', '[', 'n':
		return ""
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	default:
		return string(raw)
	}
}

// maxExponent bounds the powers of ten that numbers from outside may carry; int64 needs 18.
const maxExponent = 40

// ParseInt reads a whole number from decimal text that may carry an all-zero fraction or an exponent. It is
// exact over the whole of int64 and false for anything else.
func ParseInt(s string) (int64, bool) {
	s = strings.TrimSpace(s)
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, true
	}
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	exponent := 0
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		var err error
		if exponent, err = strconv.Atoi(s[at+1:]); err != nil || exponent < -maxExponent || exponent > maxExponent {
			return 0, false
		}
		s = s[:at]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	digits := whole + fraction
	if whole == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	if shift := exponent - len(fraction); shift >= 0 {
		digits += strings.Repeat("0", shift)
	} else {
		cut := max(len(digits)+shift, 0)
		if strings.Trim(digits[cut:], "0") != "" {
			return 0, false
		}
		digits = "0" + digits[:cut]
	}
	i, err := strconv.ParseInt(sign+digits, 10, 64)
	return i, err == nil
}

// ParseTime reads a point in time: unix seconds, unix milliseconds (from 1e11 on), RFC 3339, or ISO 8601
// without zone, taken as UTC. False for anything else and for zero.
func ParseTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	if s == "" {
		return time.Time{}, false
	}
	unix, whole := ParseInt(s)
	if !whole {
		if f, err := strconv.ParseFloat(s, 64); err == nil && f > 0 && f < 1e15 {
			unix, whole = int64(f), true
		}
	}
	if whole {
		switch {
		case unix <= 0 || unix >= 1e15:
			return time.Time{}, false
		case unix >= 1e11:
			return time.UnixMilli(unix).UTC(), true
		default:
			return time.Unix(unix, 0).UTC(), true
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999Z0700", "2006-01-02 15:04:05.999999999Z07:00",
		"2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}
