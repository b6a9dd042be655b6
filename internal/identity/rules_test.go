package identity

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"pgregory.net/rapid"

	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

func TestNormaliseEmail(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		" Amina.Haddad@Example.COM ": "amina.haddad@example.com", "a@b.co": "a@b.co", "o'neil+card@mail.example.co.uk": "o'neil+card@mail.example.co.uk",
		"x@xn--fiqs8s.cn": "x@xn--fiqs8s.cn", strings.Repeat("l", 64) + "@example.com": strings.Repeat("l", 64) + "@example.com",
		"123@456.com": "123@456.com",
	} {
		if got, err := normaliseEmail(typed); err != nil || got != want {
			t.Errorf("%q: %q, %v", typed, got, err)
		}
	}
	for _, typed := range []string{
		"x", "@", "a@", "@b.co", "a@b", "a@@b.co", "a@b@c.co", "a b@c.co", "a@b..co", ".a@b.co", "a.@b.co", "a..b@c.co", "a@-b.co", "a@b-.co", "a@b.co.",
		"a@1.2.3.4", "a@[1.2.3.4]", `"a b"@c.co`, "Amina <a@b.co>", "a@b.co,c@d.co", "a@b.co\r\nBcc: x@y.zz", "a\x00@b.co", "a@b.c\u202eo", "é@b.co", "a@bé.co", "𠮷@b.co",
		strings.Repeat("l", 65) + "@example.com", "a@" + strings.Repeat("l", 64) + ".com", "a@" + strings.Repeat("l.", 130) + "com",
	} {
		if got, err := normaliseEmail(typed); !errors.Is(err, ErrEmailInvalid) {
			t.Errorf("%q: accepted as %q, %v", typed, got, err)
		}
	}
	for _, typed := range []string{"", "  ", "\n"} {
		if _, err := normaliseEmail(typed); !errors.Is(err, ErrEmailRequired) {
			t.Errorf("%q: %v", typed, err)
		}
	}
}

// Whatever is accepted is in normal form and can be written to.
func FuzzNormaliseEmail(f *testing.F) {
	for _, seed := range []string{"a@b.co", " A@B.CO ", "a+b'c@x-y.example", "a@b", "\u212a@b.co", "a@\u0130.co"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		address, err := normaliseEmail(typed)
		if err != nil {
			return
		}
		if again, err := normaliseEmail(address); err != nil || again != address {
			t.Fatalf("%q: normal form %q becomes %q, %v", typed, address, again, err)
		}
		m, err := mail.Render(mail.Content{Locale: "en", Brand: "b", Subject: "s", Paragraphs: []string{"p"}})
		if err != nil {
			t.Fatal(err)
		}
		m.To = address
		// Nothing listens there: that it comes to connecting shows that the address was fine.
		sender, err := mail.NewSMTP(mail.SMTPConfig{Host: "localhost", Port: 1, TLS: mail.TLSNone, FromAddress: "a@b.co"})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := sender.Send(ctx, m); errors.Is(err, mail.ErrInvalidMessage) {
			t.Fatalf("%q cannot be written to: %v", address, err)
		}
	})
}

func TestCommonPasswords(t *testing.T) {
	t.Parallel()
	for _, p := range []string{
		"Password1!", "PASSWORD1!", "P@ssw0rd1!", "Pa$$w0rd123!", "Qwerty123!", "Welcome2024!", "1Password!", "!Admin1234", "Iloveyou1!", "Abc12345!", "A1234567!",
		"Letmein99?", "Summer2025!", "Bitcoin1!", "1Qaz@Wsx3", "Comecomepay1!", "Dr@gon123", "Aa123456!",
	} {
		if err := checkPassword(secret.NewText(p)); !errors.Is(err, ErrPasswordCommon) {
			t.Errorf("%q: %v", p, err)
		}
	}
	for _, p := range []string{"Harbour-Lights7!", "Quiet-Mountains8?", "Xk7!qpZr", "A8472619!", "PasswordsAreBoring7!", "密码密码密码A1!"} {
		if err := checkPassword(secret.NewText(p)); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	if len(commonPasswords) < 400 {
		t.Errorf("only %d common passwords", len(commonPasswords))
	}
	for word := range commonPasswords {
		if word != strings.ToLower(word) || len(word) < 3 {
			t.Errorf("%q can never be found", word)
		}
	}
}

// What the app's own rule lets pass is refused only for its length or because it is common.
func TestPasswordRuleIsTheAppsRule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringOfN(rapid.RuneFrom([]rune(`abzAZ09!@#$%^&*(),.?":{}|<>~-_é密`)), 0, 14, -1).Draw(t, "password")
		app := len([]rune(p)) >= 8 && strings.ContainsFunc(p, func(r rune) bool { return r >= 'A' && r <= 'Z' }) &&
			strings.ContainsAny(p, "0123456789") && strings.ContainsAny(p, `!@#$%^&*(),.?":{}|<>`)
		err := checkPassword(secret.NewText(p))
		if app != (err == nil || errors.Is(err, ErrPasswordCommon)) {
			t.Fatalf("%q: app says %v, server %v", p, app, err)
		}
	})
}

func bareService() *Service {
	return New(Options{
		Keys:         []TokenKey{{ID: "k1", Secret: secret.NewText(strings.Repeat("s", 32))}},
		PasswordCost: &argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}, PasswordParallelism: 1,
	})
}

func TestPasswordHash(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := bareService()
	// The same letter, written composed and decomposed.
	hash, err := s.hashPassword(ctx, secret.NewText("Caf\u00e9-Lights7!"))
	if err != nil {
		t.Fatal(err)
	}
	if match, stale, err := s.verifyPassword(ctx, secret.NewText("Cafe\u0301-Lights7!"), hash); !match || stale || err != nil {
		t.Errorf("%v %v %v", match, stale, err)
	}
	if match, _, err := s.verifyPassword(ctx, secret.NewText("Cafe-Lights7!"), hash); match || err != nil {
		t.Errorf("a wrong password: %v %v", match, err)
	}
	if match, _, err := s.verifyPassword(ctx, secret.NewText("x"), ""); match || err != nil {
		t.Errorf("nobody's password: %v %v", match, err)
	}
	s.passwordCost = &argon2id.Params{Memory: 128, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}
	if match, stale, err := s.verifyPassword(ctx, secret.NewText("Caf\u00e9-Lights7!"), hash); !match || !stale || err != nil {
		t.Errorf("a hash of another cost must be told: %v %v %v", match, stale, err)
	}
	// Whoever waits for a turn does not wait longer than their request lasts.
	if err := s.passwordSlots.Acquire(ctx, 1); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.hashPassword(gone, secret.NewText("x")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, _, err := s.verifyPassword(gone, secret.NewText("x"), hash); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// The dummy takes the work of a real check: same cost, same lengths.
func TestDummyHash(t *testing.T) {
	t.Parallel()
	cost, salt, key, err := argon2id.DecodeHash(dummyHash(DefaultPasswordCost))
	if err != nil || *cost != *DefaultPasswordCost || len(salt) != 16 || len(key) != 32 {
		t.Errorf("%+v %d %d %v", cost, len(salt), len(key), err)
	}
}

func TestNewCode(t *testing.T) {
	t.Parallel()
	s := bareService()
	// 4,294,900,000 and above are drawn again; what follows is taken, zeros in front included.
	s.random = bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xfa, 0x20, 0, 0, 0, 7})
	code, err := s.newCode()
	if err != nil || code.Reveal() != "00007" {
		t.Errorf("%q %v", code.Reveal(), err)
	}
	if _, err := s.newCode(); err == nil {
		t.Error("without randomness there must be no code")
	}
	s.random = rand.Reader
	counts := map[byte]int{}
	for range 2000 {
		code, err := s.newCode()
		if err != nil || len(code.Reveal()) != 5 {
			t.Fatal(code.Reveal(), err)
		}
		if _, err := readCode(code.Reveal()); err != nil {
			t.Fatal(err)
		}
		counts[code.Reveal()[0]]++
	}
	for digit := byte('0'); digit <= '9'; digit++ {
		if counts[digit] < 100 { // 200 expected; less than half of it does not happen by chance
			t.Errorf("first digit %c came %d times in 2000", digit, counts[digit])
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	s := bareService()
	form := regexp.MustCompile(`^[A-HJ-NP-Z2-9]{12}$`)
	seen := map[string]bool{}
	for range 500 {
		ref, err := s.newReference(12)
		if err != nil || !form.MatchString(ref) || !isReference(ref, 12) || seen[ref] {
			t.Fatalf("%q %v", ref, err)
		}
		seen[ref] = true
	}
	for _, text := range []string{"", "ABCDEFGHJKL", "ABCDEFGHJKLMN", "abcdefghjklm", "ABCDEFGHJKL0", "1BCDEFGHJKLM", "ABCDEF\x00HJKLM", "\x00BCDEFGHJKLM", "ABCDEFGHé2", "𠮷𠮷𠮷"} {
		if isReference(text, 12) {
			t.Errorf("%q was not made here", text)
		}
	}
	s.random = io.LimitReader(rand.Reader, 3)
	if _, err := s.newReference(12); err == nil {
		t.Error("without randomness there must be no reference")
	}
}

func TestDeviceNames(t *testing.T) {
	t.Parallel()
	for agent, want := range map[string]string{
		"": "", "something new": "", "Dart/3.4 (dart:io)": "App", "okhttp/4.12.0": "App", "curl/8.5": "curl",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4 Mobile/15E148 Safari/604.1": "Safari, iPhone",
		"Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.0.0 Mobile Safari/537.36":                   "Chrome, Android",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/122.0.0.0 Safari/537.36 Edg/122.0.0.0":           "Edge, Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 14.4; rv:124.0) Gecko/20100101 Firefox/124.0":                                                     "Firefox, Mac",
	} {
		if got := deviceName(agent); got != want {
			t.Errorf("%q: %q, want %q", agent, got, want)
		}
	}
	if deviceFamily("Dart/3.4.1 (dart:io)") != deviceFamily("Dart/3.10 (dart:io)") {
		t.Error("an update makes a new device")
	}
	if deviceFamily("Mozilla (iPhone)") == deviceFamily("Mozilla (iPad)") {
		t.Error("two devices are one")
	}
}

func TestTokenKeys(t *testing.T) {
	t.Parallel()
	long := secret.NewText(strings.Repeat("s", 32))
	for _, k := range []TokenKey{{"", long}, {"a.b", long}, {strings.Repeat("k", 33), long}, {"k", secret.NewText("short")}, {"k", secret.Text{}}} {
		if err := k.Validate(); err == nil {
			t.Errorf("%+v is accepted", k)
		} else if strings.Contains(err.Error(), "short") {
			t.Errorf("the error repeats the secret: %v", err)
		}
	}
}

func FuzzReadRefreshToken(f *testing.F) {
	s := bareService()
	f.Add(s.refreshToken("session", 7).Reveal())
	f.Add("k1.session.7.")
	f.Add("....")
	f.Fuzz(func(t *testing.T, token string) {
		id, generation, ok := s.readRefreshToken(secret.NewText(token))
		if ok && s.refreshToken(id, generation).Reveal() != token {
			t.Fatalf("%q is accepted and was not made here", token)
		}
	})
}

func TestLockoutAfter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(-1, 1<<30).Draw(t, "failures")
		if got := lockoutAfter(n); n < freeFailures && got != 0 || got > longestLock || got < 0 || got > 0 && got < firstLockout {
			t.Fatalf("%d failures: %v", n, got)
		}
	})
	if lockoutAfter(10) != 15*time.Minute || lockoutAfter(11) != 0 || lockoutAfter(15) != 30*time.Minute || lockoutAfter(45) != 24*time.Hour {
		t.Error("lock-outs differ from the rule")
	}
}

// Every text that this package asks for exists, and every text that exists is asked for.
func TestTextsAreThoseInUse(t *testing.T) {
	t.Parallel()
	texts, err := i18n.Load(Locales)
	if err != nil {
		t.Fatal(err)
	}
	sources := ""
	files, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if !strings.HasSuffix(name, "_test.go") {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			sources += string(text)
		}
	}
	used := map[string]bool{"mail.footer": true, "sms.code": true}
	for _, m := range regexp.MustCompile(`say\(ctx, "([a-z_]+)"\)`).FindAllStringSubmatch(sources, -1) {
		used["auth."+m[1]] = true
	}
	for _, m := range regexp.MustCompile(`problem\.Define\("([A-Z_]+)"`).FindAllStringSubmatch(sources, -1) {
		used["problem."+m[1]] = true
	}
	var templates []string
	for _, p := range []purpose{forSignup, forLogin, forReset, forTransactionPassword, forNewEmail, forOldEmail, forChangePhone} {
		templates = append(templates, p.template())
	}
	for _, m := range regexp.MustCompile(`notify\(ctx, tx, (?:u|current), "([a-z_]+)"|"account\.[a-z]+", "(account_[a-z]+)"`).FindAllStringSubmatch(sources, -1) {
		templates = append(templates, m[1]+m[2])
	}
	if len(templates) != 20 || len(used) < 58 {
		t.Errorf("found %d templates and %d texts in the sources: the search has lost its way", len(templates), len(used))
	}
	for _, template := range templates {
		for _, part := range []string{"subject", "heading", "body"} {
			used["mail."+template+"."+part] = true
		}
		if note := "mail." + template + ".note"; texts.Has(note) {
			used[note] = true
		}
	}
	for key := range used {
		if !texts.Has(key) {
			t.Errorf("%s has no text", key)
		}
	}
	file, err := Locales.ReadFile("locales/en.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^\["([^"]+)"\]`).FindAllStringSubmatch(string(file), -1) {
		if !used[m[1]] {
			t.Errorf("%s is asked for by nobody", m[1])
		}
	}
}

// Checking nobody's password takes as long as checking somebody's. Of several runs in turn the quickest count, since a busy
// machine only ever makes them slower; a very busy one takes more of them.
func TestNobodysPasswordTakesAsLong(t *testing.T) {
	ctx := context.Background()
	s := New(Options{
		Keys:         []TokenKey{{ID: "k1", Secret: secret.NewText(strings.Repeat("s", 32))}},
		PasswordCost: &argon2id.Params{Memory: 8 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32},
	})
	hash, err := s.hashPassword(ctx, secret.NewText("Harbour-Lights7!"))
	if err != nil {
		t.Fatal(err)
	}
	check := func(hash string) time.Duration {
		begin := time.Now()
		if _, _, err := s.verifyPassword(ctx, secret.NewText("wrong"), hash); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin)
	}
	somebody, nobody := time.Hour, time.Hour
	alike := func() bool { return somebody/2 <= nobody && nobody <= somebody*2 }
	for n := 0; n < 7 || n < 70 && !alike(); n++ {
		somebody, nobody = min(somebody, check(hash)), min(nobody, check(""))
	}
	if !alike() {
		t.Errorf("somebody's takes %v, nobody's %v", somebody, nobody)
	}
}

// A check must hold no transfer up: it takes microseconds, where a millisecond would be the most.
func BenchmarkTransactionPassword(b *testing.B) {
	s := bareService()
	keyset, err := secret.NewKeyset()
	if err != nil {
		b.Fatal(err)
	}
	if s.vault, err = secret.NewVault(keyset, secret.NewKey()); err != nil {
		b.Fatal(err)
	}
	typed := secret.NewText("482913")
	p := transactionPassword{userID: 7, salt: make([]byte, 16)}
	p.hash = s.hashTransactionPassword(p.userID, p.salt, typed)
	for b.Loop() {
		if err := s.tryTransactionPassword(&p, typed, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
	if each := b.Elapsed() / time.Duration(b.N); each > time.Millisecond {
		b.Errorf("%v for each check", each)
	}
}
