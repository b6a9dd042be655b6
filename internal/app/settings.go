package app

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
)

// Source says where a setting's value comes from.
type Source string

// The sources.
const (
	FromDefault     Source = "default"
	FromDevelopment Source = "development" // stands in because CCP_ENV is development
	FromEnvironment Source = "environment"
)

// Setting is one setting as it stands.
type Setting struct {
	Name    string // of the environment variable
	Value   string // secrets masked
	Source  Source
	Doc     string
	Default string
	Group   string
}

// Effective lists all settings as they stand, secrets masked, in the order of the configuration page.
func (c Config) Effective() []Setting {
	var list []Setting
	for s := range c.settings() {
		list = append(list, Setting{Name: s.name, Value: s.shown(), Source: c.source(s.name),
			Doc: s.field.Tag.Get("doc"), Default: s.field.Tag.Get("envDefault"), Group: s.group.Tag.Get("group")})
	}
	return list
}

func (c Config) source(name string) Source { return cmp.Or(c.sources[name], FromDefault) }

// setting is a field of a group.
type setting struct {
	name  string
	group reflect.StructField
	field reflect.StructField
	value reflect.Value
}

// settings walks the groups.
func (c Config) settings() iter.Seq[setting] {
	return func(yield func(setting) bool) {
		root := reflect.ValueOf(c)
		for i := range root.NumField() {
			group := root.Type().Field(i)
			if !group.IsExported() {
				continue
			}
			for j := range root.Field(i).NumField() {
				field := group.Type.Field(j)
				if !yield(setting{field.Tag.Get("env"), group, field, root.Field(i).Field(j)}) {
					return
				}
			}
		}
	}
}

// secrets are the contents of a setting that holds secret texts.
func (s setting) secrets() []string {
	switch v := s.value.Interface().(type) {
	case secret.Text:
		return []string{v.Reveal()}
	case []secret.Text:
		var list []string
		for _, t := range v {
			list = append(list, t.Reveal())
		}
		return list
	}
	return nil
}

// shown is the value for people.
func (s setting) shown() string {
	switch v := s.value.Interface().(type) {
	case TokenKeys:
		var list []string
		for _, key := range v {
			list = append(list, key.ID+":"+key.Secret.String())
		}
		return strings.Join(list, ",")
	case map[string]string:
		var list []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			list = append(list, name+"="+v[name])
		}
		return strings.Join(list, ",")
	}
	if s.field.Tag.Get("mask") == "url" {
		return maskAddress(s.value.String())
	}
	if s.value.Kind() == reflect.Slice {
		var list []string
		for i := range s.value.Len() {
			list = append(list, fmt.Sprint(s.value.Index(i).Interface()))
		}
		return strings.Join(list, ",")
	}
	return fmt.Sprint(s.value.Interface())
}

const masked = "[redacted]"

// maskAddress hides the password of an address, which may also stand in its query.
func maskAddress(address string) string {
	if address == "" || strings.HasPrefix(address, "sqlite://") {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return masked
	}
	user := ""
	if u.User != nil {
		user = u.User.Username()
		if _, has := u.User.Password(); has {
			user += ":" + masked
		}
		user += "@"
	}
	shown := u.Scheme + "://" + user + u.Host + u.Path
	if u.RawQuery == "" {
		return shown
	}
	var params []string
	query := u.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		value := query.Get(name)
		if strings.Contains(strings.ToLower(name), "password") {
			value = masked
		}
		params = append(params, name+"="+value)
	}
	return shown + "?" + strings.Join(params, "&")
}

// ConfigurationPage is docs/configuration.md: every setting with its default and meaning.
func ConfigurationPage() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"Generated from `internal/app/config.go` by `make docs`; change it there.\n\n" +
		"Every setting is an environment variable. An empty variable counts as not set. A variable that begins with `CCP_` and is no setting, " +
		"or a value that cannot be used, stops the start with a message that names it. `comecomepay config` prints the settings in effect, with secrets masked.\n\n" +
		"Durations carry a unit (`30s`, `5m`). Lists are separated by commas.\n\n" +
		"With `CCP_ENV=development`, and always in `comecomepay sandbox`, fixed keys and the addresses of the simulators stand in for what is not set. " +
		"`serve` refuses them in production.\n")
	group := ""
	for s := range (Config{}).settings() {
		if name := s.group.Tag.Get("group"); name != group {
			group = name
			fmt.Fprintf(&b, "\n## %s\n\n", group)
			if intro := s.group.Tag.Get("intro"); intro != "" {
				fmt.Fprintf(&b, "%s\n\n", intro)
			}
			b.WriteString("| setting | default | meaning |\n|---|---|---|\n")
		}
		standard := ""
		if d := s.field.Tag.Get("envDefault"); d != "" {
			standard = "`" + d + "`"
		}
		meaning := s.field.Tag.Get("doc")
		if choices, limited := s.field.Tag.Lookup("oneof"); limited {
			meaning += " One of: " + choice(choices) + "."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.name, standard, strings.ReplaceAll(meaning, "|", "\\|"))
	}
	b.WriteString("\n## PokePay's operations\n\n" +
		"What `CCP_POKEPAY_PATHS` may name. A path is relative to `CCP_POKEPAY_URL`; it may hold the placeholders of the third column, each as a whole segment, and with GET " +
		"it must hold those of the default. How well a default is known: CONFIRMED, seen in a working integration; CONFIRMED (text), written in a description; STRONG, from two " +
		"sources; INFERRED, a guess.\n\n" +
		"Metrics, traces and logs use these names, and `login` for the login, whose address is `CCP_POKEPAY_LOGIN_URL`. Fault rules of the sandbox write those that it simulates with " +
		"an underscore: `kyc_init`, `kyc_submit`, `kyc_list`, `kyc_get`, `fx_rate`. The operations of Didit have the same names everywhere.\n\n" +
		"| operation | default | placeholders | known |\n|---|---|---|---|\n")
	operations, err := pokepay.Operations(nil)
	if err != nil {
		panic(err) // a constant table
	}
	for _, o := range operations {
		var places []string
		for _, name := range o.Params {
			places = append(places, "`{"+name+"}`")
		}
		fmt.Fprintf(&b, "| `%s` | `%s %s` | %s | %s |\n", o.Name, o.Method, o.Path, strings.Join(places, ", "), o.Mark)
	}
	return b.String()
}
