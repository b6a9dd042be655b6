package i18n_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

// files makes a file system of names and contents in turn.
func files(pairs ...string) fstest.MapFS {
	f := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		f[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return f
}

func text(key, value string) string { return "[\"" + key + "\"]\nother = \"" + value + "\"\n" }

func greetings() fstest.MapFS {
	return files(
		"locales/zh.toml", text("hello", "你好")+text("wait", "请等待 {{.Seconds}} 秒"),
		"locales/en.toml", text("hello", "Hello")+text("wait", "Wait {{.Seconds}} s"),
		"locales/ar.toml", text("hello", "مرحبا")+text("wait", "انتظر {{.Seconds}} ثانية"),
		"locales/notes.toml", "not = even a text",
	)
}

func TestTextsInThreeLanguages(t *testing.T) {
	texts, err := i18n.Load(greetings(), files("a/b/zh.toml", text("bye", "再见"), "en.toml", text("bye", "Bye"), "deep/er/ar.toml", text("bye", "وداعا")))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		locale i18n.Locale
		key    string
		params map[string]any
		want   string
	}{
		{i18n.Chinese, "hello", nil, "你好"},
		{i18n.English, "hello", nil, "Hello"},
		{i18n.Arabic, "hello", nil, "مرحبا"},
		{i18n.Chinese, "wait", map[string]any{"Seconds": 5}, "请等待 5 秒"},
		{i18n.Arabic, "wait", map[string]any{"Seconds": 5}, "انتظر 5 ثانية"},
		{i18n.English, "wait", map[string]any{"Seconds": 6}, "Wait 6 s"},
		{i18n.Arabic, "bye", nil, "وداعا"},
		{"fr", "hello", nil, "Hello"},
		{i18n.English, "unknown.key", nil, "unknown.key"},
		{i18n.English, "unknown.key", map[string]any{"Seconds": 5}, "unknown.key"},
	} {
		// Twice: the second time comes from what is kept.
		for range 2 {
			if got := texts.Get(tt.locale, tt.key, tt.params); got != tt.want {
				t.Errorf("%s %s: %q, want %q", tt.locale, tt.key, got, tt.want)
			}
		}
	}
	if !texts.Has("bye") || texts.Has("unknown.key") {
		t.Error("what exists is told wrong")
	}
	ctx := i18n.NewContext(t.Context(), i18n.Arabic)
	if got := texts.For(ctx, "hello", nil); got != "مرحبا" {
		t.Errorf("in the context's language: %q", got)
	}
	if got := texts.For(context.Background(), "hello", nil); got != "Hello" {
		t.Errorf("without a language: %q", got)
	}
}

func TestTextsAreReadFromManySides(t *testing.T) {
	texts, err := i18n.Load(greetings())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range 16 {
		all.Go(func() {
			for range 50 {
				l := i18n.Locales[n%3]
				if got := texts.Get(l, "hello", nil); got == "hello" {
					t.Errorf("%s: no text", l)
				}
				texts.Get(l, "wait", map[string]any{"Seconds": n})
			}
		})
	}
	all.Wait()
}

func TestIncompleteTextsDoNotLoad(t *testing.T) {
	without := func(name string) fstest.MapFS {
		f := greetings()
		delete(f, name)
		return f
	}
	with := func(name, content string) fstest.MapFS {
		f := greetings()
		f[name] = &fstest.MapFile{Data: []byte(content)}
		return f
	}
	for name, tt := range map[string]struct {
		files fstest.MapFS
		want  string
	}{
		"a language is missing":      {without("locales/ar.toml"), "missing in ar"},
		"a text is missing":          {with("locales/zh.toml", text("hello", "你好")), "wait is missing in zh"},
		"a text in Arabic only":      {with("more/ar.toml", text("extra", "x")), "extra is missing in"},
		"a text in two files":        {with("more/en.toml", text("hello", "Hi")), "hello defined twice in en"},
		"not TOML":                   {with("locales/en.toml", "[[["), "locales/en.toml"},
		"the default language lacks": {without("locales/en.toml"), "missing in en"},
	} {
		if _, err := i18n.Load(tt.files); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, should tell %q", name, err, tt.want)
		}
	}
	if _, err := i18n.Load(greetings(), files("en.toml", text("hello", "Hi"))); err == nil {
		t.Error("a text that two capabilities define loads")
	}
}

func TestLanguageOfAHeader(t *testing.T) {
	const fallback = i18n.Locale("fallback")
	for header, want := range map[string]i18n.Locale{
		// What the app sends (contract/rules section 9).
		"zh": i18n.Chinese, "en": i18n.English, "ar": i18n.Arabic,
		"ZH": i18n.Chinese, " ar ": i18n.Arabic,
		// What browsers send.
		"zh-CN": i18n.Chinese, "zh-Hant-HK": i18n.Chinese, "zh_TW": i18n.Chinese, "en-GB": i18n.English, "ar-EG": i18n.Arabic, "ar-SA,ar;q=0.9,en;q=0.8": i18n.Arabic,
		"en;q=0.5, zh;q=0.9": i18n.Chinese, "en-US,en;q=0.9,zh-CN;q=0.8": i18n.English, "fr-FR, ar;q=0.3": i18n.Arabic, "fr,de;q=0.9,en;q=0.1": i18n.English,
		"en;q=0, ar": i18n.Arabic, "zh;q=0, en;q=0.1": i18n.English,
		// Neither.
		"": fallback, "fr": fallback, "id-ID": fallback, "*": fallback, "en;q=0": fallback, "zh;q=0,fr": fallback, ";;;": fallback, "q=0.5": fallback, "e\x00n": fallback,
		"12345": fallback, "中文": fallback, "en-US;q=abc": fallback, strings.Repeat("en,", 100): fallback, strings.Repeat("a", 10000): fallback,
	} {
		if got := i18n.FromHeader(header, fallback); got != want {
			t.Errorf("%.40q gives %s, want %s", header, got, want)
		}
	}
}

func FuzzFromHeader(f *testing.F) {
	for _, seed := range []string{"en", "zh-CN,zh;q=0.9", "*;q=0.1", ";", "ar-u-nu-latn", "x-private"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		switch got := i18n.FromHeader(header, i18n.Chinese); got {
		case i18n.Chinese, i18n.English, i18n.Arabic:
		default:
			t.Errorf("%q gives %q", header, got)
		}
	})
}

func TestParse(t *testing.T) {
	for given, want := range map[string]bool{"zh": true, "EN": true, " ar\n": true, "": false, "id": false, "zh-CN": false, "e n": false} {
		if _, ok := i18n.Parse(given); ok != want {
			t.Errorf("%q is a language: %t, want %t", given, ok, want)
		}
	}
}

func TestDirection(t *testing.T) {
	for l, want := range map[i18n.Locale]string{i18n.Chinese: "ltr", i18n.English: "ltr", i18n.Arabic: "rtl"} {
		if l.Direction() != want {
			t.Errorf("%s runs %s", l, l.Direction())
		}
	}
}
