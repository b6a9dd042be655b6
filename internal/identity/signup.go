package identity

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// passwordWithin is how long after its code was right a registration may set its password. Neither code nor token comes
// with that call (contract/accounts 1.3), so the span is short.
const passwordWithin = 15 * time.Minute

// SignUp begins a registration and mails a code (contract/accounts 1.1). Repeated within a minute, it leaves the code
// that was sent in force. Until the address is verified, the referral code that was given last counts: nobody has shown yet
// that they sign up for themselves, so a stranger's must not stand against the owner's.
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrEmailTaken, ErrReferralUnknown, ErrCodeLocked, ErrResendTooSoon,
// ErrTooManyCodes, api.ErrTooManyRequests.
func (s *Service) SignUp(ctx context.Context, client Client, email, referralCode string) (address string, err error) {
	box, err := s.mailbox(email)
	if err != nil {
		return "", err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		if _, err := s.admitMailbox(ctx, tx, signupWindow, client, box, guessedCode, now); err != nil {
			return err
		}
		taken, err := emailTaken(ctx, tx, box.index)
		if err != nil {
			return err
		}
		if taken {
			return ErrEmailTaken
		}
		referralCode, err := s.knownReferral(ctx, tx, referralCode)
		if err != nil {
			return err
		}
		ref := uuid.NewString()
		sealed, err := s.vault.SealText(box.address, secret.Place{Table: "registrations", Column: "email", Row: ref})
		if err != nil {
			return err
		}
		if err := saveRegistration(ctx, tx, box.index, ref, sealed, referralCode, now); err != nil {
			return err
		}
		return s.ensureCode(ctx, tx, box, forSignup, client.Locale, now)
	})
	s.metrics.code(forSignup, codeRequested, err)
	return box.address, err
}

// knownReferral is a referral code as it is stored; empty stays empty. Errors: ErrReferralUnknown.
func (s *Service) knownReferral(ctx context.Context, q db.Querier, typed string) (string, error) {
	code := strings.ToUpper(strings.TrimSpace(typed))
	if code == "" {
		return "", nil
	}
	// Nothing else gets as far as a query: PostgreSQL takes no NUL in a text.
	if !isReference(code, referralLength) {
		return "", ErrReferralUnknown
	}
	id, err := referrer(ctx, q, code)
	if err != nil {
		return "", err
	}
	if id == 0 {
		return "", ErrReferralUnknown
	}
	return code, nil
}

// Verification is the outcome of a sign-up code.
type Verification struct {
	Email        string
	ReferralCode string // the one that is bound to the registration
}

// Verify accepts the code of a registration (contract/accounts 1.2); a password may be set afterwards. A referral code is
// taken if the registration has none yet (decision A14).
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrCodeRequired, ErrCodeForm, ErrCodeInvalid, ErrCodeLocked, ErrEmailTaken,
// ErrReferralUnknown, api.ErrTooManyRequests.
func (s *Service) Verify(ctx context.Context, client Client, email, code, referralCode string) (Verification, error) {
	var v Verification
	box, typed, err := s.boxAndCode(email, code)
	if err != nil {
		return v, err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		v = Verification{Email: box.address}
		now := s.clock.Now()
		if err := s.admitAddress(ctx, tx, codeWindow, client, now); err != nil {
			return err
		}
		// Before the code is used up: a referral code that is mistyped can be corrected.
		given, err := s.knownReferral(ctx, tx, referralCode)
		if err != nil {
			return err
		}
		if err := s.acceptCode(ctx, tx, box, forSignup, typed, true, now); err != nil {
			return err
		}
		r, found, err := lockRegistration(ctx, tx, box.index)
		if err != nil {
			return err
		}
		if !found {
			return ErrCodeInvalid // abandoned and swept meanwhile
		}
		taken, err := emailTaken(ctx, tx, box.index)
		if err != nil {
			return err
		}
		if taken {
			return ErrEmailTaken // there were two codes, and the account was made with the other one
		}
		v.ReferralCode = firstOf(r.referralCode, given)
		return markVerified(ctx, tx, box.index, v.ReferralCode, now)
	})
	s.metrics.code(forSignup, codeChecked, err)
	return v, err
}

func (s *Service) boxAndCode(email, code string) (mailbox, secret.Text, error) {
	box, err := s.mailbox(email)
	if err != nil {
		return box, secret.Text{}, err
	}
	typed, err := readCode(code)
	return box, typed, err
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

const (
	referralLength  = 8
	walletRefLength = 12 // after CCP
)

// SetPassword ends a registration: it makes the customer and signs them in (contract/accounts 1.3). It needs a Verify of
// the address within the last quarter of an hour, and works once. Until then the answer does not tell whether the address
// has an account: this call sends no mail, so nobody would notice a search.
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrPassword…, ErrNotVerified, ErrEmailTaken, ErrReferralUnknown,
// api.ErrTooManyRequests.
func (s *Service) SetPassword(ctx context.Context, client Client, email string, password secret.Text, referralCode string) (SignedIn, error) {
	var out SignedIn
	box, err := s.mailbox(email)
	if err != nil {
		return out, err
	}
	if err := checkPassword(password); err != nil {
		return out, err
	}
	// Looked at before the password is hashed, which is expensive, and again afterwards, when it counts.
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		if err := s.admitAddress(ctx, tx, codeWindow, client, now); err != nil {
			return err
		}
		_, err := openRegistration(ctx, tx, box, now)
		return err
	})
	if err != nil {
		return out, err
	}
	hash, err := s.hashPassword(ctx, password)
	if err != nil {
		return out, err
	}
	for tries := 1; ; tries++ {
		err = s.decide(ctx, func(ctx context.Context, tx db.Tx) (err error) {
			out, err = s.createUser(ctx, tx, client, box, hash, referralCode)
			return err
		})
		// Two random references were the same: drawn again.
		if !db.IsUniqueViolation(err) || tries == 3 {
			return out, err
		}
	}
}

// openRegistration locks the registration of an address that was verified within the last quarter of an hour and has no
// account. It outlives the account that is made of it, so that a call that comes twice is told what has happened.
//
// Errors: ErrNotVerified, whether there is an account or not; ErrEmailTaken, only to whom the mailbox was proved.
func openRegistration(ctx context.Context, tx db.Tx, box mailbox, now time.Time) (registration, error) {
	r, found, err := lockRegistration(ctx, tx, box.index)
	if err != nil {
		return r, err
	}
	if !found || r.verifiedAt == nil || now.Sub(*r.verifiedAt) >= passwordWithin {
		return r, ErrNotVerified
	}
	taken, err := emailTaken(ctx, tx, box.index)
	if err == nil && taken {
		err = ErrEmailTaken
	}
	return r, err
}

func (s *Service) createUser(ctx context.Context, tx db.Tx, client Client, box mailbox, passwordHash, referralCode string) (SignedIn, error) {
	now := s.clock.Now()
	if _, err := lockGuesses(ctx, tx, box.index, guessedCode, now); err != nil {
		return SignedIn{}, err
	}
	r, err := openRegistration(ctx, tx, box, now)
	if err != nil {
		return SignedIn{}, err
	}
	code := r.referralCode
	if code == "" {
		if code, err = s.knownReferral(ctx, tx, referralCode); err != nil {
			return SignedIn{}, err
		}
	}
	u := newUser{ref: uuid.NewString(), index: box.index, passwordHash: passwordHash, locale: string(s.locale(client.Locale)), at: now}
	if code != "" {
		if u.referredBy, err = referrer(ctx, tx, code); err != nil {
			return SignedIn{}, err
		}
	}
	wallet, err1 := s.newReference(walletRefLength)
	referral, err2 := s.newReference(referralLength)
	email, err3 := s.vault.SealText(box.address, secret.Place{Table: "users", Column: "email", Row: u.ref})
	if err := errors.Join(err1, err2, err3); err != nil {
		return SignedIn{}, err
	}
	u.walletRef, u.referralCode, u.email = "CCP"+wallet, referral, email
	id, err := insertUser(ctx, tx, u)
	if err != nil {
		return SignedIn{}, err
	}
	for _, hook := range s.created {
		if err := hook(ctx, tx, id); err != nil {
			return SignedIn{}, err
		}
	}
	row, err := userByID(ctx, tx, id)
	if err != nil {
		return SignedIn{}, err
	}
	return s.signIn(ctx, tx, row, client, now)
}
