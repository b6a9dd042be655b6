package internal_test

import (
	"context"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/rate"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

func allTexts(t *testing.T) *i18n.Texts {
	t.Helper()
	texts, err := i18n.Load(api.Locales, identity.Locales, kyc.Locales, rate.Locales, wallet.Locales)
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// Params of all problems; a text that uses another one shows <no value>.
func withParams(p *problem.Problem) *problem.Problem {
	return p.With("Fields", "email", "Field", "phone", "Max", 100, "Minutes", 5, "Status", "pending", "Left", 3, "Limit", "1000", "Decimals", 6, "Currency", "BTC",
		"Chain", "TRX", "Minimum", "10", "Until", "2026-03-01 09:00 UTC", "State", "review", "Why", "the account is frozen", "Version", 3, "Told", "12.5", "Most", 20,
		"Difference", "-3.2", "Transaction", 4711, "Reference", "fees of March").After(30 * time.Second)
}

// statuses are those that the app shows as they are (contract/rules section 4). Any other one is shown with its number, so
// a problem needs a reason to have it.
var (
	statuses        = []int{400, 403, 404, 422, 429, 500, 503}
	unusualStatuses = map[string]int{
		"UNAUTHENTICATED":            401,
		"WEBHOOK_SIGNATURE_INVALID":  401, // told to a provider, never to the app
		"CALLBACK_SIGNATURE_INVALID": 401, // likewise
		"METHOD_NOT_ALLOWED":         405,
		"IDEMPOTENCY_KEY_IN_USE":     409,
		"REQUEST_TOO_LARGE":          413,
	}
)

// Every problem that any capability defines, as it comes out of the real edge in each language.
func TestEveryProblemHasAStatusAndATextInEveryLanguage(t *testing.T) {
	texts := allTexts(t)
	a := api.New(api.Options{Clock: clock.System{}, Texts: texts, Log: slog.New(slog.DiscardHandler), DefaultLocale: i18n.English, SpareLoopback: true, Version: "test"})
	catalogue := problem.Catalogue()
	if len(catalogue) < 50 {
		t.Fatalf("only %d problems: the packages that define them are not all here", len(catalogue))
	}
	type input struct {
		Code string `path:"code"`
	}
	api.Register(a, api.Operation{ID: "problem", Method: http.MethodGet, Path: "/problem/{code}", Access: api.Public, Tag: "test"},
		func(_ context.Context, in *input) (*struct{ Body api.Success }, error) {
			for _, p := range catalogue {
				if p.Code == in.Code {
					return nil, withParams(p)
				}
			}
			return &struct{ Body api.Success }{api.OK()}, nil
		})
	handler := a.Handler()
	seen := map[string]string{} // message -> code
	for _, p := range catalogue {
		if !regexp.MustCompile(`^[A-Z][A-Z0-9_]{2,40}$`).MatchString(p.Code) {
			t.Errorf("%s is no code", p.Code)
		}
		messages := map[string]bool{}
		for _, l := range i18n.Locales {
			r := httptest.NewRequest(http.MethodGet, "/problem/"+p.Code, nil)
			r.RemoteAddr = "127.0.0.1:4711"
			r.Header.Set("Accept-Language", string(l))
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			var body struct{ Message, Error, Details, Code, Status string }
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Fatal(err)
			}
			want, unusual := unusualStatuses[p.Code]
			if unusual && w.Code != want || !unusual && !slices.Contains(statuses, w.Code) || w.Code == 500 && p.Code != "INTERNAL_ERROR" {
				t.Errorf("%s is answered with status %d", p.Code, w.Code)
			}
			if body.Code != p.Code || body.Status != "error" || body.Error != texts.Get(i18n.English, p.TextKey(), withParams(p).Params) || body.Details != body.Message {
				t.Errorf("%s in %s: %s", p.Code, l, w.Body)
			}
			if body.Message == "" || strings.Contains(body.Message, p.Code) || strings.Contains(body.Message, "<no value>") || strings.Contains(body.Message, "{{") {
				t.Errorf("%s in %s: message %q", p.Code, l, body.Message)
			}
			if other := seen[string(l)+body.Message]; other != "" && !slices.Contains(sameText, [2]string{other, p.Code}) {
				t.Errorf("%s and %s are told in the same words in %s: %s", other, p.Code, l, body.Message)
			}
			seen[string(l)+body.Message] = p.Code
			messages[body.Message] = true
			checkScript(t, p.TextKey(), l, body.Message)
		}
		if len(messages) != len(i18n.Locales) {
			t.Errorf("%s: %d different messages in %d languages", p.Code, len(messages), len(i18n.Locales))
		}
	}
	for code := range unusualStatuses {
		if !slices.ContainsFunc(catalogue, func(p *problem.Problem) bool { return p.Code == code }) {
			t.Errorf("%s is not defined any more", code)
		}
	}
}

// sameText are problems that callers should not tell apart by their words.
var sameText = [][2]string{{"ROUTE_NOT_FOUND", "WEBHOOK_UNKNOWN"}}

var scripts = map[i18n.Locale]*regexp.Regexp{i18n.Chinese: regexp.MustCompile(`\p{Han}`), i18n.English: regexp.MustCompile(`^[^\p{Han}\p{Arabic}]+$`), i18n.Arabic: regexp.MustCompile(`\p{Arabic}`)}

// checkScript finds texts that stand in the wrong file.
func checkScript(t *testing.T, key string, l i18n.Locale, text string) {
	t.Helper()
	if !scripts[l].MatchString(text) {
		t.Errorf("%s is not in %s: %s", key, l, text)
	}
}

// The words of the answer matrix, the reasons, and every key that the code names in full.
func TestEveryKeyThatIsUsedHasAText(t *testing.T) {
	texts := allTexts(t)
	used := usedKeys(t)
	for _, reason := range kyc.ReasonCodes {
		used["kyc.reason."+string(reason)] = true
	}
	if len(used) < 40 {
		t.Fatalf("only %d keys found: the search is wrong", len(used))
	}
	for key := range used {
		if !texts.Has(key) {
			t.Errorf("%s is used and has no text", key)
			continue
		}
		for _, l := range i18n.Locales {
			if text := texts.Get(l, key, map[string]any{"Brand": "ComeComePay"}); text != "" {
				checkScript(t, key, l, text)
			}
		}
	}
	// Nothing is translated in vain.
	for key := range definedKeys(t) {
		if !strings.HasPrefix(key, "problem.") && !strings.HasPrefix(key, "mail.") && !used[key] {
			t.Errorf("%s has a text and is never used", key)
		}
		if code, ok := strings.CutPrefix(key, "problem."); ok && !slices.ContainsFunc(problem.Catalogue(), func(p *problem.Problem) bool { return p.Code == code }) {
			t.Errorf("%s has a text and is not defined", key)
		}
	}
}

// usedKeys reads the code: the words of the rows of kyc's matrix, and literals that have the form of a key of a text.
func usedKeys(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	form := regexp.MustCompile(`^(kyc|auth|mail|sms|wallet)\.[a-z_]+(\.[a-z_]+)?$`)
	for _, pkg := range []string{"api", "identity", "kyc", "rate", "wallet"} {
		files, err := filepath.Glob(pkg + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					if kind, ok := n.Type.(*ast.Ident); ok && kind.Name == "Answer" && len(n.Elts) == 5 {
						if word, ok := n.Elts[3].(*ast.BasicLit); ok {
							text, _ := strconv.Unquote(word.Value)
							used["kyc.status."+text] = true
						}
					}
				case *ast.CallExpr:
					// say(ctx, "key") of the routes under /auth; Texts.Get(locale, key, …) and Texts.For(ctx, key, …).
					if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "say" && len(n.Args) == 2 {
						if s, ok := literal(n.Args[1]); ok {
							used["auth."+s] = true
						}
					}
					for _, argument := range n.Args {
						if s, ok := literal(argument); ok && form.MatchString(s) && isTextCall(n) {
							used[s] = true
						}
					}
				case *ast.KeyValueExpr:
					if s, ok := literal(n.Value); ok && form.MatchString(s) {
						used[s] = true
					}
				}
				return true
			})
		}
	}
	return used
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

func isTextCall(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (s.Sel.Name == "Get" || s.Sel.Name == "For")
}

// definedKeys reads the English files.
func definedKeys(t *testing.T) map[string]bool {
	t.Helper()
	keys := map[string]bool{}
	heading := regexp.MustCompile(`(?m)^\["?([^"\]]+)"?\]`)
	for _, files := range []fs.FS{api.Locales, identity.Locales, kyc.Locales, rate.Locales, wallet.Locales} {
		content, err := fs.ReadFile(files, "locales/en.toml")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range heading.FindAllStringSubmatch(string(content), -1) {
			keys[m[1]] = true
		}
	}
	return keys
}
