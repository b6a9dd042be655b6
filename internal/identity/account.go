package identity

import (
	"context"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

func userPlace(u userRow, column string) secret.Place {
	return secret.Place{Table: "users", Column: column, Row: u.ref}
}

func (s *Service) openEmail(u userRow) (string, error) {
	return s.vault.OpenText(u.email, userPlace(u, "email"))
}

func (s *Service) openProfile(u userRow) (Profile, error) {
	email, err1 := s.openEmail(u)
	first, err2 := s.vault.OpenText(u.firstName, userPlace(u, "first_name"))
	last, err3 := s.vault.OpenText(u.lastName, userPlace(u, "last_name"))
	phone, err4 := s.vault.OpenText(u.phone, userPlace(u, "phone"))
	birth, err5 := s.vault.OpenText(u.dateOfBirth, userPlace(u, "date_of_birth"))
	return Profile{
		ID: u.id, Email: email, FirstName: first, LastName: last, Phone: phone, DateOfBirth: birth,
		AccountType: u.accountType, Status: u.status, WalletRef: u.walletRef, KYCStatus: u.kycStatus,
		ReferralCode: u.referralCode, ReferredBy: u.referredBy, CreatedAt: u.createdAt, UpdatedAt: u.updatedAt,
		WithdrawalsBlockedUntil: s.stillBlocked(u.blockedUntil),
	}, errors.Join(err1, err2, err3, err4, err5)
}

func (s *Service) openAccount(u userRow, err error) (Account, error) {
	if err != nil {
		return Account{}, err
	}
	p, err := s.openProfile(u)
	return Account{
		ID: u.id, Email: p.Email, Status: u.status, KYCStatus: u.kycStatus, KYCBlocked: u.kycBlocked,
		Locale: i18n.Locale(u.locale), FirstName: p.FirstName, LastName: p.LastName, CreatedAt: u.createdAt,
		WithdrawalsBlockedUntil: s.stillBlocked(u.blockedUntil),
	}, err
}

// LockCustomer locks the customer's row until tx ends and returns it. Whoever decides something about a customer that must
// happen once locks them first. Errors: ErrUserNotFound.
func (s *Service) LockCustomer(ctx context.Context, tx db.Tx, userID int64) (Account, error) {
	return s.openAccount(lockUser(ctx, tx, userID))
}

// Account is a customer by id. Errors: ErrUserNotFound.
func (s *Service) Account(ctx context.Context, userID int64) (Account, error) {
	return s.openAccount(userByID(ctx, s.db, userID))
}

// FindByEmail is a customer by address, in any case and with spaces around it. Errors: ErrEmailRequired, ErrEmailInvalid,
// ErrUserNotFound.
func (s *Service) FindByEmail(ctx context.Context, email string) (Account, error) {
	box, err := s.mailbox(email)
	if err != nil {
		return Account{}, err
	}
	return s.openAccount(userByEmail(ctx, s.db, box.index))
}

// SetKYCStatus writes the customer's derived verification status: none, pending, verified or rejected.
func (s *Service) SetKYCStatus(ctx context.Context, tx db.Tx, userID int64, status string) error {
	_, err := tx.Exec(ctx, `UPDATE users SET kyc_status = $2, updated_at = $3 WHERE id = $1 AND kyc_status <> $2`, userID, status, s.clock.Now())
	return err
}

// SetKYCBlocked forbids or allows further attempts at verification.
func (s *Service) SetKYCBlocked(ctx context.Context, tx db.Tx, userID int64, blocked bool) error {
	_, err := tx.Exec(ctx, `UPDATE users SET kyc_blocked = $2, updated_at = $3 WHERE id = $1 AND kyc_blocked <> $2`, userID, blocked, s.clock.Now())
	return err
}

// Profile is the customer's own profile. Errors: ErrUserNotFound.
func (s *Service) Profile(ctx context.Context, c Customer) (Profile, error) {
	u, err := userByID(ctx, s.db, c.ID)
	if err != nil {
		return Profile{}, err
	}
	return s.openProfile(u)
}

const (
	maxName        = 100 // characters
	maxPhone       = 40
	maxDateOfBirth = 40
)

// UpdateProfile changes the customer's own profile and returns it (contract/accounts 2.2).
//
// Errors: ErrAccountFrozen, ErrProfileTooLong, ErrProfileText, ErrUserNotFound.
func (s *Service) UpdateProfile(ctx context.Context, c Customer, change ProfileChange) (Profile, error) {
	if err := c.MayAct(); err != nil {
		return Profile{}, err
	}
	fields := []struct {
		value  *string
		column string
		max    int
		target func(*userRow) *[]byte
	}{
		{change.FirstName, "first_name", maxName, func(u *userRow) *[]byte { return &u.firstName }},
		{change.LastName, "last_name", maxName, func(u *userRow) *[]byte { return &u.lastName }},
		{change.Phone, "phone", maxPhone, func(u *userRow) *[]byte { return &u.phone }},
		{change.DateOfBirth, "date_of_birth", maxDateOfBirth, func(u *userRow) *[]byte { return &u.dateOfBirth }},
	}
	for _, f := range fields {
		if f.value == nil {
			continue
		}
		if err := checkProfileText(*f.value, f.column, f.max); err != nil {
			return Profile{}, err
		}
	}
	var p Profile
	err := s.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		u, err := lockUser(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if u.status != Active { // frozen since the token was checked
			return ErrAccountFrozen
		}
		for _, f := range fields {
			if f.value == nil {
				continue
			}
			if *f.target(&u), err = s.vault.SealText(strings.TrimSpace(*f.value), userPlace(u, f.column)); err != nil {
				return err
			}
		}
		u.updatedAt = s.clock.Now()
		if err := updateProfile(ctx, tx, u, u.updatedAt); err != nil {
			return err
		}
		p, err = s.openProfile(u)
		return err
	})
	return p, err
}

// checkProfileText refuses what cannot be shown safely on one line: control characters, line and paragraph separators, and
// the marks that turn the direction of text around. Letters of any language pass, as do joiners, which some need.
func checkProfileText(text, field string, max int) error {
	if !utf8.ValidString(text) {
		return ErrProfileText.With("Field", field)
	}
	if utf8.RuneCountInString(text) > max {
		return ErrProfileTooLong.With("Field", field, "Max", max)
	}
	for _, r := range text {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) ||
			0x202A <= r && r <= 0x202E || 0x2066 <= r && r <= 0x2069 || r == utf8.RuneError {
			return ErrProfileText.With("Field", field)
		}
	}
	return nil
}
