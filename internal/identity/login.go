package identity

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// loginTimeout ends a try, which goes on when its callers are gone. It is shorter than callers wait: tries that nobody waits
// for must not hold up the others for long.
const loginTimeout = 15 * time.Second

var errLogInPanicked = errors.New("log-in panicked")

// LogIn checks a password and mails a code, without which nobody is signed in (contract/accounts 1.4). Every try counts as
// a failure until the password has turned out right, so that tries in parallel cannot slip through. An address that is
// nobody's is refused with the same words after the same time.
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrPasswordRequired, ErrCredentials, ErrPasswordLocked, ErrAccountClosed,
// ErrCodeLocked, ErrResendTooSoon, ErrTooManyCodes, api.ErrTooManyRequests.
func (s *Service) LogIn(ctx context.Context, client Client, email string, password secret.Text) (address string, err error) {
	box, err := s.mailbox(email)
	if err != nil {
		return "", err
	}
	if password.Empty() {
		return "", ErrPasswordRequired
	}
	err = s.logInOnce(ctx, client, box, password)
	s.metrics.login("password", err)
	return box.address, err
}

// logInOnce lets the same request, sent many times at once, be one try: an impatient customer does not lock themselves out. A
// caller that gives up does not take the others' try away.
func (s *Service) logInOnce(ctx context.Context, client Client, box mailbox, password secret.Text) error {
	same := string(s.vault.Hash("log-in", client.Address, box.address, password.Reveal()))
	try := s.logins.DoChan(same, func() (_ any, err error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), loginTimeout)
		defer cancel()
		// This is no goroutine of the edge, which would recover: a panic that leaves it ends the program.
		defer func() {
			if v := recover(); v != nil {
				s.log.ErrorContext(ctx, "log-in panicked", "request_id", api.RequestID(ctx), "panic", v, "stack", string(debug.Stack()))
				err = errLogInPanicked
			}
		}()
		return nil, s.logIn(ctx, client, box, password)
	})
	select {
	case result := <-try:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Service) logIn(ctx context.Context, client Client, box mailbox, password secret.Text) error {
	var u userRow
	var refusal *problem.Problem
	err := s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		u, refusal = userRow{}, ErrCredentials
		g, err := s.admitMailbox(ctx, tx, loginWindow, client, box, guessedPassword, now)
		if err != nil {
			return err
		}
		lockout, err := s.failed(ctx, tx, box, guessedPassword, g, now)
		if err != nil {
			return err
		}
		if lockout > 0 {
			refusal = guessedPassword.refusal(lockout)
		}
		u, err = userByEmail(ctx, tx, box.index)
		if errors.Is(err, ErrUserNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	match, stale, err := s.verifyPassword(ctx, password, u.passwordHash)
	if err != nil {
		return err
	}
	if !match {
		return refusal
	}
	newHash := ""
	if stale {
		if newHash, err = s.hashPassword(ctx, password); err != nil {
			return err
		}
	}
	return s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.clock.Now()
		g, err := lockGuesses(ctx, tx, box.index, guessedCode, now)
		if err != nil {
			return err
		}
		if err := s.forgive(ctx, tx, box, guessedPassword, now); err != nil {
			return err
		}
		if err := guessedCode.locked(g, now); err != nil {
			return err
		}
		current, err := lockUser(ctx, tx, u.id)
		switch {
		case err != nil:
			return err
		case current.passwordHash != u.passwordHash:
			return ErrCredentials // changed at this very moment
		case current.status == Closed:
			return ErrAccountClosed
		}
		if newHash != "" {
			if err := setPasswordHash(ctx, tx, u.id, newHash, now); err != nil {
				return err
			}
		}
		return s.ensureCode(ctx, tx, box, forLogin, client.Locale, now)
	})
}

// VerifyLogin accepts the code of a login and signs the customer in (contract/accounts 1.5). A device they have not used
// before is announced to them by mail.
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrCodeRequired, ErrCodeForm, ErrCodeInvalid, ErrCodeLocked,
// ErrAccountClosed, api.ErrTooManyRequests.
func (s *Service) VerifyLogin(ctx context.Context, client Client, email, code string) (SignedIn, error) {
	var out SignedIn
	box, typed, err := s.boxAndCode(email, code)
	if err != nil {
		return out, err
	}
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		out = SignedIn{}
		now := s.clock.Now()
		if err := s.admitAddress(ctx, tx, codeWindow, client, now); err != nil {
			return err
		}
		if err := s.acceptCode(ctx, tx, box, forLogin, typed, true, now); err != nil {
			return err
		}
		u, err := lockUserByEmail(ctx, tx, box.index)
		if errors.Is(err, ErrUserNotFound) {
			return ErrCodeInvalid
		}
		if err != nil {
			return err
		}
		if u.status == Closed {
			return ErrAccountClosed
		}
		u.locale = string(s.locale(client.Locale))
		if err := setUserLocale(ctx, tx, u.id, u.locale); err != nil {
			return err
		}
		out, err = s.signIn(ctx, tx, u, client, now)
		return err
	})
	s.metrics.code(forLogin, codeChecked, err)
	s.metrics.login("code", err)
	return out, err
}

// Resend mails another code of whichever purpose is pending for the address (contract/accounts 1.6): the app names only
// the address. One for which nothing is pending is answered alike.
//
// Errors: ErrEmailRequired, ErrEmailInvalid, ErrCodeLocked, ErrResendTooSoon, ErrTooManyCodes, api.ErrTooManyRequests.
func (s *Service) Resend(ctx context.Context, client Client, email string) error {
	box, err := s.mailbox(email)
	if err != nil {
		return err
	}
	var sent purpose
	err = s.decide(ctx, func(ctx context.Context, tx db.Tx) error {
		sent = ""
		now := s.clock.Now()
		if _, err := s.admitMailbox(ctx, tx, sendWindow, client, box, guessedCode, now); err != nil {
			return err
		}
		code, found, err := pendingCode(ctx, tx, box.index, now.Add(-pendingFor))
		if err != nil {
			return err
		}
		if found {
			if wait := code.coolDown(now); wait > 0 {
				return ErrResendTooSoon.After(wait)
			}
		}
		if err := s.admit(ctx, tx, resendWindow, box.index, ErrResendTooSoon, now); err != nil {
			return err
		}
		if err := s.admit(ctx, tx, resentCodes, box.index, ErrTooManyCodes, now); err != nil || !found {
			return err
		}
		real, err := s.mayReceive(ctx, tx, box, code.purpose)
		if err != nil {
			return err
		}
		sent = code.purpose
		return s.sendCode(ctx, tx, box, code.purpose, client.Locale, real, now)
	})
	if sent != "" {
		s.metrics.code(sent, codeRequested, err)
	}
	return err
}

// mayReceive tells whether a code of this purpose is to be mailed to the address: for sign-up while nobody has it, else to a
// customer whose account is not closed.
func (s *Service) mayReceive(ctx context.Context, q db.Querier, box mailbox, p purpose) (bool, error) {
	u, err := userByEmail(ctx, q, box.index)
	switch {
	case errors.Is(err, ErrUserNotFound):
		return p == forSignup, nil
	case err != nil:
		return false, err
	}
	return p != forSignup && u.status != Closed, nil
}
