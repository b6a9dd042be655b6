// Package i18n gives texts in the product's three languages: Chinese, English and Arabic. Each capability
// brings its own files; contract/rules section 9 fixes the languages.
package i18n

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/nicksnyder/go-i18n/v2/i18n"
	"golang.org/x/text/language"
)

// Locale is one of the languages: "zh", "en" or "ar".
type Locale string

// The languages.
const (
	Chinese Locale = "zh"
	English Locale = "en"
	Arabic  Locale = "ar"
)

// Locales lists the languages.
var Locales = []Locale{Chinese, English, Arabic}

// Direction is "rtl" or "ltr", for HTML.
func (l Locale) Direction() string {
	if l == Arabic {
		return "rtl"
	}
	return "ltr"
}

// Parse reads a language as it is configured or sent in a parameter.
func Parse(s string) (Locale, bool) {
	l := Locale(strings.ToLower(strings.TrimSpace(s)))
	return l, slices.Contains(Locales, l)
}

var matcher = language.NewMatcher([]language.Tag{language.Chinese, language.English, language.Arabic})

// FromHeader picks the language of an Accept-Language header. The app sends a bare code; a browser sends
// regions and weights. What does not fit gives fallback.
func FromHeader(header string, fallback Locale) Locale {
	if l, ok := Parse(header); ok {
		return l
	}
	if header == "" || len(header) > 200 {
		return fallback
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil || len(tags) == 0 {
		return fallback
	}
	_, index, confidence := matcher.Match(tags...)
	if confidence == language.No {
		return fallback
	}
	return Locales[index]
}

type contextKey struct{}

// NewContext returns a context that carries the customer's language.
func NewContext(ctx context.Context, l Locale) context.Context {
	return context.WithValue(ctx, contextKey{}, l)
}

// FromContext is the customer's language; English outside of a request.
func FromContext(ctx context.Context) Locale {
	if l, ok := ctx.Value(contextKey{}).(Locale); ok {
		return l
	}
	return English
}

// Texts is a set of texts in all languages.
type Texts struct {
	localizers map[Locale]*i18n.Localizer
	plain      map[Locale]map[string]string // by key: texts that have no places to fill
	keys       map[string]bool
}

// Load reads zh.toml, en.toml and ar.toml from each file system, at any depth. A text that is missing in one language, or
// defined twice, is an error.
func Load(files ...fs.FS) (*Texts, error) {
	bundle := i18n.NewBundle(language.English)
	bundle.RegisterUnmarshalFunc("toml", toml.Unmarshal)
	t := &Texts{localizers: map[Locale]*i18n.Localizer{}, plain: map[Locale]map[string]string{Chinese: {}, English: {}, Arabic: {}}, keys: map[string]bool{}}
	seen := map[Locale]map[string]bool{Chinese: {}, English: {}, Arabic: {}}
	for _, f := range files {
		err := fs.WalkDir(f, ".", func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			locale, ok := Parse(strings.TrimSuffix(path.Base(name), ".toml"))
			if !ok {
				return nil
			}
			file, err := bundle.LoadMessageFileFS(f, name)
			if err != nil {
				return fmt.Errorf("texts %s: %w", name, err)
			}
			for _, m := range file.Messages {
				if seen[locale][m.ID] {
					return fmt.Errorf("texts: %s defined twice in %s", m.ID, locale)
				}
				seen[locale][m.ID] = true
				t.keys[m.ID] = true
				if m.Other != "" && !strings.Contains(m.Other, "{{") {
					t.plain[locale][m.ID] = m.Other
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, l := range Locales {
		for key := range t.keys {
			if !seen[l][key] {
				return nil, fmt.Errorf("texts: %s is missing in %s", key, l)
			}
		}
		t.localizers[l] = i18n.NewLocalizer(bundle, string(l))
	}
	return t, nil
}

// Has tells whether a text exists.
func (t *Texts) Has(key string) bool { return t.keys[key] }

// Get is the text of key; params fill its {{.Name}} places. An unknown key gives the key itself, which a test
// of the catalogue keeps from happening.
func (t *Texts) Get(l Locale, key string, params map[string]any) string {
	if text, ok := t.plain[l][key]; ok {
		return text
	}
	localizer := t.localizers[l]
	if localizer == nil {
		localizer = t.localizers[English]
	}
	text, err := localizer.Localize(&i18n.LocalizeConfig{MessageID: key, TemplateData: params})
	if err != nil || text == "" {
		return key
	}
	return text
}

// For is Get in the language of the context.
func (t *Texts) For(ctx context.Context, key string, params map[string]any) string {
	return t.Get(FromContext(ctx), key, params)
}
