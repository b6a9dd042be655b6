package flatjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Append appends v as encoding/json writes it without escaping HTML, byte for byte. What encoding/json cannot write is an error here
// as well, and b is returned as it was.
//
// It writes itself what answers are made of: structs, lists, texts, whole numbers, amounts and times. Whatever else there is inside, or
// would look odd, it has encoding/json write.
func Append(b []byte, v any) ([]byte, error) {
	if v == nil {
		return append(b, "null"...), nil
	}
	value := reflect.ValueOf(v)
	out, err := appenderOf(value.Type(), nil)(b, value)
	if err != nil {
		return b, err
	}
	return out, nil
}

type appender func(b []byte, v reflect.Value) ([]byte, error)

var appenders sync.Map // reflect.Type -> appender

var (
	timeType      = reflect.TypeFor[time.Time]()
	marshalerType = reflect.TypeFor[json.Marshaler]()
)

// appenderOf finds how a type is written. around are the types that it stands in: where one holds itself, the inner one is left to
// encoding/json, which notices when data never ends.
func appenderOf(t reflect.Type, around []reflect.Type) appender {
	if a, ok := appenders.Load(t); ok {
		return a.(appender)
	}
	if slices.Contains(around, t) {
		return appendAny
	}
	a := newAppender(t, append(slices.Clip(around), t))
	if len(around) == 0 {
		appenders.Store(t, a)
	}
	return a
}

func newAppender(t reflect.Type, around []reflect.Type) appender {
	switch {
	case t == timeType:
		return appendTime
	case t == reflect.PointerTo(timeType):
		return pointerAppender(appendTime)
	case t.Kind() == reflect.String && t.Implements(marshalerType):
		return appendAmount
	case marshals(t), t == reflect.TypeFor[json.Number]():
		return appendAny
	}
	switch t.Kind() {
	case reflect.Struct:
		return structAppender(t, around)
	case reflect.Pointer:
		return pointerAppender(appenderOf(t.Elem(), around))
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return appendAny
		}
		return sliceAppender(appenderOf(t.Elem(), around))
	case reflect.String:
		return appendText
	case reflect.Bool:
		return func(b []byte, v reflect.Value) ([]byte, error) { return strconv.AppendBool(b, v.Bool()), nil }
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(b []byte, v reflect.Value) ([]byte, error) { return strconv.AppendInt(b, v.Int(), 10), nil }
	}
	return appendAny
}

// marshals tells whether a type, or a pointer to it, writes itself.
func marshals(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(marshalerType) || p.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || t.Implements(marshalerType)
}

func pointerAppender(to appender) appender {
	return func(b []byte, v reflect.Value) ([]byte, error) {
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return to(b, v.Elem())
	}
}

func sliceAppender(of appender) appender {
	return func(b []byte, v reflect.Value) (_ []byte, err error) {
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = of(b, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	}
}

// written is a field of a struct, or of one that it embeds.
type written struct {
	index     []int
	key       string // in quotes, with a colon
	omitEmpty bool
	append    appender
}

func structAppender(t reflect.Type, around []reflect.Type) appender {
	list, plain := writtenOf(t, nil, around)
	if !plain {
		return appendAny
	}
	return func(b []byte, v reflect.Value) (_ []byte, err error) {
		b = append(b, '{')
		empty := len(b)
		for i := range list {
			f := &list[i]
			value := v.Field(f.index[0])
			for _, inner := range f.index[1:] {
				value = value.Field(inner)
			}
			if f.omitEmpty && isEmpty(value) {
				continue
			}
			if len(b) > empty {
				b = append(b, ',')
			}
			if b, err = f.append(append(b, f.key...), value); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
}

// writtenOf lists what is written of a struct. It is not plain if names have to be weighed against each other, or a tag says something
// unusual.
func writtenOf(t reflect.Type, at []int, around []reflect.Type) (list []written, plain bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clip(at), i)
		tag := f.Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		var own []written
		switch {
		case tag == "-":
		case f.Anonymous && (tag != "" || f.Type.Kind() != reflect.Struct):
			return nil, false
		case f.Anonymous:
			if own, plain = writtenOf(f.Type, index, around); !plain {
				return nil, false
			}
		case !f.IsExported():
		case !isName(name), options != "" && options != "omitempty":
			return nil, false
		default:
			own = []written{{index: index, key: `"` + name + `":`, omitEmpty: options != "", append: appenderOf(f.Type, around)}}
		}
		for _, f := range own {
			if slices.ContainsFunc(list, func(other written) bool { return other.key == f.key }) {
				return nil, false
			}
			list = append(list, f)
		}
	}
	return list, true
}

// isEmpty is what omitempty means.
func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func appendTime(b []byte, v reflect.Value) ([]byte, error) {
	var t time.Time
	if v.CanAddr() {
		t = *v.Addr().Interface().(*time.Time) // not copied to the heap
	} else {
		t = v.Interface().(time.Time)
	}
	out, err := t.AppendText(append(b, '"'))
	if err != nil {
		return nil, err
	}
	return append(out, '"'), nil
}

// appendAmount writes a text that writes itself, as a rule as a number.
func appendAmount(b []byte, v reflect.Value) ([]byte, error) {
	token, err := reached(v).(json.Marshaler).MarshalJSON()
	if err != nil || len(token) == 0 || numberLength(token) != len(token) {
		return appendAny(b, v)
	}
	return append(b, token...), nil
}

func appendText(b []byte, v reflect.Value) ([]byte, error) {
	s := v.String()
	var all byte
	for i := range len(s) {
		if itself[s[i]] == 0 {
			return appendAny(b, v)
		}
		all |= s[i]
	}
	if all >= utf8.RuneSelf && (!utf8.ValidString(s) || strings.ContainsAny(s, "\u2028\u2029")) {
		return appendAny(b, v)
	}
	return append(append(append(b, '"'), s...), '"'), nil
}

// itself has 1 for each byte that stands for itself in a text.
var itself = func() (table [256]byte) {
	for c := ' '; int(c) < len(table); c++ {
		if c != '"' && c != '\\' {
			table[c] = 1
		}
	}
	return table
}()

// appendAny has encoding/json write a value.
func appendAny(b []byte, v reflect.Value) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(reached(v)); err != nil {
		return nil, err
	}
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...), nil
}

// reached is the value, by its address if it has one: then the methods of its pointer count.
func reached(v reflect.Value) any {
	if v.CanAddr() {
		return v.Addr().Interface()
	}
	return v.Interface()
}
