package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/shopspring/decimal"
)

// object is a JSON object: as it was read, or as it has to be. In the latter a value is a literal, an object, or a rule; the
// object that is read must have these keys and no others.
type object map[string]any

// rule says what is wrong with a value, or "".
type rule func(value any) string

// The rules.
var (
	someText rule = func(v any) string {
		if s, ok := v.(string); !ok || strings.TrimSpace(s) == "" {
			return "must be a text that is not empty"
		}
		return ""
	}
	anyText rule = func(v any) string {
		if _, ok := v.(string); !ok {
			return "must be a text"
		}
		return ""
	}
	wholeNumber rule = func(v any) string {
		n, ok := v.(json.Number)
		if !ok {
			return "must be a number"
		}
		if i, err := n.Int64(); err != nil || i < 1 {
			return "must be a whole number above 0"
		}
		return ""
	}
	timestamp rule = func(v any) string {
		s, _ := v.(string)
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			return "must be a time (RFC 3339)"
		}
		return ""
	}
	link rule = func(v any) string {
		if s, _ := v.(string); !strings.HasPrefix(s, "http://") && !strings.HasPrefix(s, "https://") {
			return "must be an absolute address"
		}
		return ""
	}
	anyAmount rule = func(v any) string {
		if d, err := decimalOf(v); err != nil || d.IsNegative() {
			return "must be a number that is not below 0"
		}
		return ""
	}
	agentUID = like(`^u[0-9]+_[0-9]+_[a-z0-9]{8}$`)
)

// amount demands a number of this value. Sums of money are compared exactly.
func amount(value string) rule {
	return func(v any) string {
		if d, err := decimalOf(v); err != nil || !d.Equal(decimal.RequireFromString(value)) {
			return "is " + short(v) + " and must be the number " + value
		}
		return ""
	}
}

func decimalOf(v any) (decimal.Decimal, error) {
	n, ok := v.(json.Number)
	if !ok {
		return decimal.Decimal{}, errors.New("no number")
	}
	return decimal.NewFromString(n.String())
}

// each demands a list that is not empty, of elements that are all like this.
type each struct{ element any }

// like demands a text of a form.
func like(form string) rule {
	re := regexp.MustCompile(form)
	return func(v any) string {
		if s, ok := v.(string); !ok || !re.MatchString(s) {
			return "must be of the form " + form
		}
		return ""
	}
}

// oneOf demands one of some texts.
func oneOf(choices ...string) rule {
	return func(v any) string {
		if s, ok := v.(string); !ok || !slices.Contains(choices, s) {
			return "must be one of " + strings.Join(choices, ", ")
		}
		return ""
	}
}

// written demands a text with letters of a script.
func written(name string, script *unicode.RangeTable) rule {
	return func(v any) string {
		s, _ := v.(string)
		if !strings.ContainsFunc(s, func(r rune) bool { return unicode.Is(script, r) }) {
			return "must be written in " + name
		}
		return ""
	}
}

// differences lists how got differs from what it has to be.
func differences(at string, want, got any) []string {
	switch w := want.(type) {
	case rule:
		if wrong := w(got); wrong != "" {
			return []string{at + " " + wrong}
		}
		return nil
	case object:
		g, ok := got.(map[string]any)
		if !ok {
			return []string{at + " must be an object"}
		}
		var list []string
		for _, key := range slices.Sorted(maps.Keys(w)) {
			if value, has := g[key]; has {
				list = append(list, differences(at+"."+key, w[key], value)...)
			} else {
				list = append(list, at+"."+key+" is missing")
			}
		}
		for _, key := range slices.Sorted(maps.Keys(g)) {
			if _, known := w[key]; !known {
				list = append(list, at+"."+key+" should not be there")
			}
		}
		return list
	case each:
		g, _ := got.([]any)
		if len(g) == 0 {
			return []string{at + " must be a list that is not empty"}
		}
		var list []string
		for i := range g {
			list = append(list, differences(fmt.Sprintf("%s[%d]", at, i), w.element, g[i])...)
		}
		return list
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return []string{fmt.Sprintf("%s must be a list of %d", at, len(w))}
		}
		var list []string
		for i := range g {
			list = append(list, differences(fmt.Sprintf("%s[%d]", at, i), w[i], g[i])...)
		}
		return list
	case int, int64:
		want = json.Number(fmt.Sprint(w))
	}
	if !reflect.DeepEqual(want, got) {
		return []string{fmt.Sprintf("%s is %s and must be %s", at, short(got), short(want))}
	}
	return nil
}

// hidden are keys whose values nobody wants to read, or should.
var hidden = map[string]bool{"access_token": true, "refresh_token": true, "password": true, "html": true,
	"transaction_password": true, "confirm_transaction_password": true, "temp_hash": true}

// shortened is a copy of a JSON value for showing: long texts are cut, secrets hidden.
func shortened(v any) any {
	const most = 160
	switch t := v.(type) {
	case object:
		return shortened(map[string]any(t))
	case map[string]any:
		out := map[string]any{}
		for key, value := range t {
			if s, ok := value.(string); ok && hidden[key] && s != "" {
				value = "…"
			}
			out[key] = shortened(value)
		}
		return out
	case []any:
		out := make([]any, len(t))
		for i := range t {
			out[i] = shortened(t[i])
		}
		return out
	case string:
		if r := []rune(t); len(r) > most {
			return string(r[:most]) + "…"
		}
	}
	return v
}

// short is a JSON value on one line.
func short(v any) string {
	var b strings.Builder
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(shortened(v)); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}
