package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

const canary = "canary-5f1c9"

type holder struct {
	Open   secret.Text
	closed secret.Text
	ptr    *secret.Text
	list   []secret.Text
	byName map[string]secret.Text
	any    any
}

func newHolder() holder {
	t := secret.NewText(canary)
	return holder{t, t, &t, []secret.Text{t}, map[string]secret.Text{"key": t}, t}
}

func TestTextNeverPrints(t *testing.T) {
	text := secret.NewText(canary)
	for _, v := range []any{text, &text, newHolder(), &holder{closed: text, any: newHolder()}, []any{text}, map[secret.Text]int{text: 1}, struct{ err error }{fmt.Errorf("with %v", text)}} {
		for _, verb := range "vTsqxXdobOcUtbeEfFgGpw" {
			for _, flags := range []string{"", "+", "#", "-20", "020", ".3", " "} {
				format := "%" + flags + string(verb)
				shown := fmt.Sprintf(format, v)
				// Hexadecimal forms of the content count as well.
				for _, form := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("% x", canary), "99 97 110"} {
					if strings.Contains(shown, form) {
						t.Errorf("%s of %T shows the secret: %s", format, v, shown)
					}
				}
			}
		}
	}
	if got := fmt.Sprintf("%v|%s|%d|%#v|%s", text, text, text, text, secret.Text{}); got != "[redacted]|[redacted]|[redacted]|[redacted]|" {
		t.Errorf("printed as %s", got)
	}
}

func TestTextIsNeverEncoded(t *testing.T) {
	text := secret.NewText(canary)
	encoded, err := json.Marshal(map[string]any{"text": text, "pointer": &text, "holder": newHolder(), "empty": secret.Text{}})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"empty":"","holder":{"Open":"[redacted]"},"pointer":"[redacted]","text":"[redacted]"}`
	if string(encoded) != want {
		t.Errorf("encoded as %s, want %s", encoded, want)
	}
}

func TestTextIsNeverLogged(t *testing.T) {
	for name, handler := range map[string]func(*bytes.Buffer) slog.Handler{
		"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			text := secret.NewText(canary)
			slog.New(handler(&out)).With("with", text).Error("failed", "text", text, "pointer", &text, "holder", newHolder(), "address", &holder{closed: text},
				slog.Group("group", "inner", text), "error", fmt.Errorf("refused %v: %w", text, errors.New("why")), "list", []secret.Text{text})
			if strings.Contains(out.String(), canary) {
				t.Errorf("logged: %s", out.String())
			}
			if strings.Count(out.String(), "[redacted]") < 5 {
				t.Errorf("the log does not show that something was there: %s", out.String())
			}
		})
	}
}

func TestTextReadsAndCompares(t *testing.T) {
	var fromJSON, fromText secret.Text
	if err := json.Unmarshal([]byte(`"`+canary+`"`), &fromJSON); err != nil {
		t.Fatal(err)
	}
	if err := fromText.UnmarshalText([]byte(canary)); err != nil {
		t.Fatal(err)
	}
	if fromJSON.Reveal() != canary || fromJSON != fromText || fromJSON != secret.NewText(canary) {
		t.Error("texts of equal content differ")
	}
	if fromJSON == secret.NewText(canary+"x") {
		t.Error("texts of other content are equal")
	}
	if !secret.NewText("").Empty() || secret.NewText("") != (secret.Text{}) || fromJSON.Empty() || (secret.Text{}).Reveal() != "" {
		t.Error("emptiness is told wrong")
	}
	for _, bad := range []string{`12345`, `{"a":"` + canary + `"}`, `["` + canary + `"]`} {
		err := json.Unmarshal([]byte(bad), &fromJSON)
		if err == nil {
			t.Errorf("%s was read", bad)
		} else if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "12345") {
			t.Errorf("the error repeats the content: %v", err)
		}
	}
	if fromJSON.Reveal() != canary {
		t.Error("a failed read changed the text")
	}
}
