// Package flatjson reads JSON as encoding/json does, and faster where the JSON is as plain as that of nearly every request: one
// object whose values are texts without escapes, numbers, true and false.
package flatjson

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// Unmarshal is json.Unmarshal: the same values and the same errors.
//
// It reads the data itself only if all of it is plain, each key is there once, and v is a pointer to an empty any or to a struct
// of plain fields. Whatever else there is, it leaves to json.Unmarshal, so that no second opinion exists on what is odd or wrong.
func Unmarshal(data []byte, v any) error {
	if Plain(data, v) {
		return nil
	}
	return json.Unmarshal(data, v)
}

// Plain is the part of Unmarshal that reads the data itself. It tells whether it has; if not, v may be filled in part.
func Plain(data []byte, v any) bool {
	var list [maxMembers]member
	members, plain := scan(data, list[:0])
	return plain && fill(members, v)
}

// member is a key and its value in an object, as they are written; texts without their quotes.
type member struct {
	key, value []byte
	kind       kind
}

type kind byte

const (
	text kind = iota
	number
	boolean
)

// maxMembers is how many members an object may have that is read here: one is compared with all others.
const maxMembers = 16

// scan appends the members of the object that data consists of. It is not plain if it is not valid, or has a key twice, in whatever
// case, a null, an escape, or anything inside that has members itself.
func scan(data []byte, list []member) (members []member, plain bool) {
	rest, ok := bytes.CutPrefix(trim(data), []byte("{"))
	if !ok {
		return nil, false
	}
	for rest = trim(rest); ; rest = trim(rest[1:]) {
		var m member
		if len(list) == maxMembers {
			return nil, false
		}
		if m.key, rest, ok = cutText(rest); !ok {
			return nil, false
		}
		for _, earlier := range list {
			if bytes.EqualFold(earlier.key, m.key) { // as encoding/json compares the names of fields
				return nil, false
			}
		}
		if rest, ok = bytes.CutPrefix(trim(rest), []byte(":")); !ok {
			return nil, false
		}
		if m.value, m.kind, rest, ok = cutValue(trim(rest)); !ok {
			return nil, false
		}
		list = append(list, m)
		rest = trim(rest)
		switch {
		case len(rest) > 0 && rest[0] == ',':
		case len(rest) > 0 && rest[0] == '}':
			return list, len(trim(rest[1:])) == 0
		default:
			return nil, false
		}
	}
}

// trim cuts off the white space before the next token.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\n' || b[0] == '\t' || b[0] == '\r') {
		b = b[1:]
	}
	return b
}

func cutValue(b []byte) (value []byte, k kind, rest []byte, ok bool) {
	switch {
	case len(b) == 0:
	case b[0] == '"':
		value, rest, ok = cutText(b)
		return value, text, rest, ok
	case bytes.HasPrefix(b, []byte("true")):
		return b[:4], boolean, b[4:], true
	case bytes.HasPrefix(b, []byte("false")):
		return b[:5], boolean, b[5:], true
	default:
		n := numberLength(b)
		return b[:n], number, b[n:], n > 0
	}
	return nil, 0, nil, false
}

// cutText cuts off a text that stands for itself: without escapes, and valid as UTF-8.
func cutText(b []byte) (inside, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, nil, false
	}
	ascii := true
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			inside = b[1:i]
			return inside, b[i+1:], ascii || utf8.Valid(inside)
		case c == '\\' || c < ' ':
			return nil, nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, nil, false
}

// numberLength is how long the number is that b begins with (RFC 8259 section 6); 0 if it begins with none.
func numberLength(b []byte) int {
	digits := func(from int) int {
		for from < len(b) && b[from] >= '0' && b[from] <= '9' {
			from++
		}
		return from
	}
	n := 0
	if n < len(b) && b[n] == '-' {
		n++
	}
	whole := digits(n)
	if whole == n || b[n] == '0' && whole > n+1 {
		return 0
	}
	if n = whole; n < len(b) && b[n] == '.' {
		end := digits(n + 1)
		if end == n+1 {
			return 0
		}
		n = end
	}
	if n < len(b) && (b[n] == 'e' || b[n] == 'E') {
		n++
		if n < len(b) && (b[n] == '+' || b[n] == '-') {
			n++
		}
		end := digits(n)
		if end == n {
			return 0
		}
		n = end
	}
	return n
}

// fill stores the members, if v is something that it knows how to. What it has stored when it gives up, json.Unmarshal stores again.
func fill(members []member, v any) bool {
	if whole, ok := v.(*any); ok {
		if whole == nil || *whole != nil {
			return false
		}
		object := make(map[string]any, len(members))
		for _, m := range members {
			value, ok := m.any()
			if !ok {
				return false
			}
			object[string(m.key)] = value
		}
		*whole = object
		return true
	}
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return false
	}
	fields := plainFields(p.Type().Elem())
	if fields == nil {
		return false
	}
	for _, m := range members {
		i, plain := fields.named(m.key)
		if !plain || i >= 0 && !m.store(p.Elem().Field(i)) {
			return false
		}
	}
	return true
}

// any is what encoding/json makes of the value without knowing a type.
func (m member) any() (any, bool) {
	switch m.kind {
	case text:
		return string(m.value), true
	case boolean:
		return m.value[0] == 't', true
	default:
		n, err := strconv.ParseFloat(string(m.value), 64)
		return n, err == nil
	}
}

func (m member) store(f reflect.Value) bool {
	switch f.Kind() {
	case reflect.String:
		if own, ok := f.Addr().Interface().(json.Unmarshaler); ok {
			return m.kind != text && own.UnmarshalJSON(m.value) == nil
		}
		if m.kind != text {
			return false
		}
		f.SetString(string(m.value))
	case reflect.Bool:
		if m.kind != boolean {
			return false
		}
		f.SetBool(m.value[0] == 't')
	default: // of the integers, by plainFields
		n, err := strconv.ParseInt(string(m.value), 10, f.Type().Bits())
		if err != nil || m.kind != number {
			return false
		}
		f.SetInt(n)
	}
	return true
}

// fields are the keys of a struct's fields by their index; nil for what is no struct of plain fields.
type fields []string

// named is the field of that name; -1 if there is none. A key that means a field in another case is not plain.
func (f fields) named(key []byte) (index int, plain bool) {
	for i, name := range f {
		if name == string(key) {
			return i, true
		}
	}
	for _, name := range f {
		if strings.EqualFold(name, string(key)) {
			return -1, false
		}
	}
	return -1, true
}

var known sync.Map // reflect.Type -> fields

func plainFields(t reflect.Type) fields {
	if f, ok := known.Load(t); ok {
		return f.(fields)
	}
	f := fieldsOf(t)
	known.Store(t, f)
	return f
}

func fieldsOf(t reflect.Type) fields {
	if t.Kind() != reflect.Struct || unmarshals(t) {
		return nil
	}
	var list fields
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || !isName(name) || strings.Contains(options, "string") || slices.Contains(list, name) {
			return nil
		}
		switch f.Type.Kind() {
		case reflect.String: // may read itself, as api.Number does
			if reflect.PointerTo(f.Type).Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]()) {
				return nil
			}
		case reflect.Bool, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
			if unmarshals(f.Type) {
				return nil
			}
		default:
			return nil
		}
		list = append(list, name)
	}
	return list
}

// unmarshals tells whether a type reads itself.
func unmarshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[json.Unmarshaler]()) || p.Implements(reflect.TypeFor[interface{ UnmarshalText([]byte) error }]())
}

// isName tells whether a tag gives a name that encoding/json takes as it is; "-" is none.
func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") == ""
}
