package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
)

var errRepeatedKey = errors.New("a key is there more than once")

// unmarshal reads the body of a request as encoding/json does. Every body is read twice: without a type, to be held against the schema,
// and into its type. The first time differs in two things:
//
//   - A body with a key twice, in whatever case, is refused: of two amounts nobody can say which one is meant.
//   - A number beyond float64 is the largest float64. What is too much for its field, the field's own type says; amounts are exact there.
func unmarshal(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	whole, untyped := v.(*any)
	if !untyped {
		return err
	}
	if errors.As(err, new(*json.UnmarshalTypeError)) { // of what has no type only numbers can be
		d := exact(data)
		if err = d.Decode(whole); err == nil {
			*whole = bounded(*whole)
		}
	}
	if err == nil && repeatsKey(exact(data)) {
		return errRepeatedKey
	}
	return err
}

func exact(data []byte) *json.Decoder {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d
}

// bounded is a decoded value with every number as float64, the largest where it is beyond.
func bounded(v any) any {
	switch v := v.(type) {
	case json.Number:
		n, _ := strconv.ParseFloat(v.String(), 64)
		return max(-math.MaxFloat64, min(n, math.MaxFloat64))
	case []any:
		for i := range v {
			v[i] = bounded(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = bounded(v[key])
		}
	}
	return v
}

// repeatsKey tells whether an object in the next value, which is valid, has two keys that mean the same field to encoding/json.
func repeatsKey(d *json.Decoder) bool {
	token, _ := d.Token()
	open, _ := token.(json.Delim)
	keys := map[string]bool{}
	for (open == '{' || open == '[') && d.More() {
		if open == '{' {
			key, _ := d.Token()
			name, _ := key.(string)
			if name = folded(name); keys[name] {
				return true
			}
			keys[name] = true
		}
		if repeatsKey(d) {
			return true
		}
	}
	if open != 0 {
		_, _ = d.Token() // its end
	}
	return false
}

// folded is the same for all texts that are equal under strings.EqualFold.
func folded(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, s)
}
