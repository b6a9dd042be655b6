package identity

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/alexedwards/argon2id"
	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// DefaultPasswordCost is OWASP's recommendation for argon2id: 19 MiB, two passes, one lane.
var DefaultPasswordCost = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

const (
	minPassword     = 8   // characters
	maxPassword     = 256 // bytes
	passwordSymbols = `!@#$%^&*(),.?":{}|<>`
)

// checkPassword applies the rules for a new password: those that the app announces (contract/accounts section 1), a
// largest length, and that it is none of the commonest. Errors: ErrPasswordRequired, ErrPasswordWeak,
// ErrPasswordTooLong, ErrPasswordCommon.
func checkPassword(password secret.Text) error {
	p := normalPassword(password)
	switch {
	case p == "":
		return ErrPasswordRequired
	case len(p) > maxPassword:
		return ErrPasswordTooLong
	case len([]rune(p)) < minPassword,
		!strings.ContainsFunc(p, func(r rune) bool { return 'A' <= r && r <= 'Z' }),
		!strings.ContainsFunc(p, func(r rune) bool { return '0' <= r && r <= '9' }),
		!strings.ContainsAny(p, passwordSymbols):
		return ErrPasswordWeak
	case isCommonPassword(p):
		return ErrPasswordCommon
	}
	return nil
}

// normalPassword is the password in Unicode's composed form: keyboards differ in how they write the same letter.
func normalPassword(password secret.Text) string { return norm.NFC.String(password.Reveal()) }

// The commonest passwords and the words that they are made of, lower case, one a line.
//
//go:embed common_passwords.txt
var commonPasswordList string

var commonPasswords = func() map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(commonPasswordList) {
		if word := strings.TrimSpace(line); word != "" && !strings.HasPrefix(word, "#") {
			set[word] = true
		}
	}
	return set
}()

// lookalikes undoes the usual replacements of letters.
var lookalikes = strings.NewReplacer("@", "a", "4", "a", "3", "e", "1", "i", "!", "i", "0", "o", "$", "s", "5", "s", "7", "t")

// isCommonPassword tells whether a password is one of the commonest, however its case is written, whichever of its
// letters are replaced by similar digits and signs, and whatever digits and signs are put around it.
func isCommonPassword(password string) bool {
	p := strings.ToLower(password)
	isLetter := func(r rune) bool { return r > 0x7f || 'a' <= r && r <= 'z' }
	isLetterOrNumber := func(r rune) bool { return isLetter(r) || '0' <= r && r <= '9' }
	trim := func(s string, keep func(rune) bool) string {
		return strings.TrimFunc(s, func(r rune) bool { return !keep(r) })
	}
	// "P@ssw0rd1!": without what surrounds the letters "p@ssw0rd", with letters put back "password".
	for _, s := range []string{p, trim(p, isLetterOrNumber), trim(p, isLetter)} {
		if len(s) >= 3 && (commonPasswords[s] || commonPasswords[lookalikes.Replace(s)]) {
			return true
		}
	}
	return false
}

// hashPassword computes the stored form of a password. It waits for its turn: hashes are meant to be expensive, and
// too many at once would exhaust the memory.
func (s *Service) hashPassword(ctx context.Context, password secret.Text) (string, error) {
	if err := s.passwordSlots.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer s.passwordSlots.Release(1)
	hash, err := argon2id.CreateHash(normalPassword(password), s.passwordCost)
	if err != nil {
		return "", errors.New("password hash failed")
	}
	return hash, nil
}

// verifyPassword compares a password with its stored form; stale tells that the stored form was made with another cost
// than the one configured now. An empty hash, of somebody who does not exist, takes the same time and never matches.
func (s *Service) verifyPassword(ctx context.Context, password secret.Text, hash string) (match, stale bool, err error) {
	if err := s.passwordSlots.Acquire(ctx, 1); err != nil {
		return false, false, err
	}
	defer s.passwordSlots.Release(1)
	nobody := hash == ""
	if nobody {
		hash = s.dummyHash
	}
	match, cost, err := argon2id.CheckHash(normalPassword(password), hash)
	if err != nil {
		return false, false, errors.New("stored password hash cannot be read")
	}
	return match && !nobody, *cost != *s.passwordCost, nil
}

// dummyHash is well-formed and belongs to no password that anybody knows.
func dummyHash(cost *argon2id.Params) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, cost.Memory, cost.Iterations, cost.Parallelism,
		base64.RawStdEncoding.EncodeToString(make([]byte, cost.SaltLength)), base64.RawStdEncoding.EncodeToString(make([]byte, cost.KeyLength)))
}
