package identity

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// Rows are locked in the order that docs/architecture.md has for all, so that no two transactions wait for each other. Before users stand
// here: the network address's rate_windows, guess_counters (code, then password), one_time_codes, the mailbox's rate_windows, registrations;
// after transaction_passwords: sessions. What hangs on a signed-in customer alone (their own codes and windows, what they have pending)
// is guarded by their own guess counter; of several counters the customer's comes last.

// userRow is a row of users; personal data is still sealed.
type userRow struct {
	id           int64
	ref          string
	email        []byte
	passwordHash string
	firstName    []byte
	lastName     []byte
	phone        []byte
	dateOfBirth  []byte
	accountType  string
	status       Status
	walletRef    string
	referralCode string
	referredBy   string
	locale       string
	kycStatus    string
	kycBlocked   bool
	blockedUntil *time.Time // withdrawals
	createdAt    time.Time
	updatedAt    time.Time
}

const userColumns = `u.id, u.row_ref, u.email, u.password_hash, u.first_name, u.last_name, u.phone, u.date_of_birth, u.account_type,
	u.status, u.wallet_ref, u.referral_code, COALESCE((SELECT r.referral_code FROM users r WHERE r.id = u.referred_by), ''),
	u.locale, u.kyc_status, u.kyc_blocked, u.withdrawals_blocked_until, u.created_at, u.updated_at`

func scanUser(row db.Row) (userRow, error) {
	var u userRow
	err := row.Scan(&u.id, &u.ref, &u.email, &u.passwordHash, &u.firstName, &u.lastName, &u.phone, &u.dateOfBirth, &u.accountType,
		&u.status, &u.walletRef, &u.referralCode, &u.referredBy, &u.locale, &u.kycStatus, &u.kycBlocked, &u.blockedUntil,
		&u.createdAt, &u.updatedAt)
	if errors.Is(err, db.ErrNoRows) {
		err = ErrUserNotFound
	}
	return u, err
}

// userByID and userByEmail give ErrUserNotFound if there is none.
func userByID(ctx context.Context, q db.Querier, id int64) (userRow, error) {
	return scanUser(q.QueryRow(ctx, `SELECT `+userColumns+` FROM users u WHERE u.id = $1`, id))
}

func userByEmail(ctx context.Context, q db.Querier, index []byte) (userRow, error) {
	return scanUser(q.QueryRow(ctx, `SELECT `+userColumns+` FROM users u WHERE u.email_index = $1`, index))
}

func lockUser(ctx context.Context, tx db.Tx, id int64) (userRow, error) {
	return scanUser(tx.QueryRow(ctx, `SELECT `+userColumns+` FROM users u WHERE u.id = $1`+db.ForUpdate(tx), id))
}

func lockUserByEmail(ctx context.Context, tx db.Tx, index []byte) (userRow, error) {
	return scanUser(tx.QueryRow(ctx, `SELECT `+userColumns+` FROM users u WHERE u.email_index = $1`+db.ForUpdate(tx), index))
}

func emailTaken(ctx context.Context, q db.Querier, index []byte) (taken bool, err error) {
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM users WHERE email_index = $1)`, index).Scan(&taken)
	return taken, err
}

// referrer is the customer with this referral code; 0 if there is none that may invite.
func referrer(ctx context.Context, q db.Querier, code string) (id int64, err error) {
	err = q.QueryRow(ctx, `SELECT id FROM users WHERE referral_code = $1 AND status <> $2`, code, Closed).Scan(&id)
	if errors.Is(err, db.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

type newUser struct {
	ref          string
	index        []byte
	email        []byte
	passwordHash string
	walletRef    string
	referralCode string
	referredBy   int64 // 0: nobody
	locale       string
	at           time.Time
}

func insertUser(ctx context.Context, tx db.Tx, u newUser) (id int64, err error) {
	var by *int64
	if u.referredBy != 0 {
		by = &u.referredBy
	}
	err = tx.QueryRow(ctx, `INSERT INTO users (row_ref, email_index, email, password_hash, wallet_ref, referral_code, referred_by, locale, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) RETURNING id`,
		u.ref, u.index, u.email, u.passwordHash, u.walletRef, u.referralCode, by, u.locale, u.at).Scan(&id)
	return id, err
}

func setPasswordHash(ctx context.Context, tx db.Tx, userID int64, hash string, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1`, userID, hash, now)
	return err
}

func setUserLocale(ctx context.Context, tx db.Tx, userID int64, locale string) error {
	_, err := tx.Exec(ctx, `UPDATE users SET locale = $2 WHERE id = $1 AND locale <> $2`, userID, locale)
	return err
}

func setStatus(ctx context.Context, tx db.Tx, userID int64, status Status, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE users SET status = $2, updated_at = $3 WHERE id = $1`, userID, status, now)
	return err
}

// sealedOrNull is a sealed text as an argument: without a value NULL, on both engines.
func sealedOrNull(sealed []byte) any {
	if len(sealed) == 0 {
		return nil
	}
	return sealed
}

func updateProfile(ctx context.Context, tx db.Tx, u userRow, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE users SET first_name = $2, last_name = $3, phone = $4, date_of_birth = $5, updated_at = $6 WHERE id = $1`,
		u.id, sealedOrNull(u.firstName), sealedOrNull(u.lastName), sealedOrNull(u.phone), sealedOrNull(u.dateOfBirth), now)
	return err
}

// registration is a row of registrations.
type registration struct {
	referralCode string
	verifiedAt   *time.Time
}

func lockRegistration(ctx context.Context, tx db.Tx, index []byte) (r registration, found bool, err error) {
	err = tx.QueryRow(ctx, `SELECT referral_code, verified_at FROM registrations WHERE email_index = $1`+db.ForUpdate(tx), index).
		Scan(&r.referralCode, &r.verifiedAt)
	if errors.Is(err, db.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}

// saveRegistration begins a registration, or goes on with one. Of referral codes the last one stays until the address is
// verified, and from then on the first one.
func saveRegistration(ctx context.Context, tx db.Tx, index []byte, ref string, email []byte, referralCode string, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO registrations (email_index, row_ref, email, referral_code, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
		ON CONFLICT (email_index) DO UPDATE SET updated_at = excluded.updated_at,
			referral_code = CASE WHEN excluded.referral_code = '' OR registrations.referral_code <> '' AND registrations.verified_at IS NOT NULL
				THEN registrations.referral_code ELSE excluded.referral_code END`,
		index, ref, email, referralCode, now)
	return err
}

func markVerified(ctx context.Context, tx db.Tx, index []byte, referralCode string, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE registrations SET verified_at = $2, referral_code = $3, updated_at = $2 WHERE email_index = $1`,
		index, now, referralCode)
	return err
}

// codeRow is a row of one_time_codes.
type codeRow struct {
	purpose   purpose
	hash      []byte
	tries     int
	sentAt    time.Time
	expiresAt time.Time
	usedAt    *time.Time
}

const codeColumns = `purpose, code_hash, tries, sent_at, expires_at, used_at`

func scanCode(row db.Row) (c codeRow, err error) {
	err = row.Scan(&c.purpose, &c.hash, &c.tries, &c.sentAt, &c.expiresAt, &c.usedAt)
	return c, err
}

func lockCode(ctx context.Context, tx db.Tx, index []byte, p purpose) (c codeRow, found bool, err error) {
	c, err = scanCode(tx.QueryRow(ctx, `SELECT `+codeColumns+` FROM one_time_codes WHERE email_index = $1 AND purpose = $2`+db.ForUpdate(tx), index, p))
	if errors.Is(err, db.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, err
}

// pendingCode is the newest unused code of an address that was sent after since.
func pendingCode(ctx context.Context, tx db.Tx, index []byte, since time.Time) (c codeRow, found bool, err error) {
	c, err = scanCode(tx.QueryRow(ctx, `SELECT `+codeColumns+` FROM one_time_codes WHERE email_index = $1 AND used_at IS NULL AND sent_at > $2
		ORDER BY sent_at DESC, purpose LIMIT 1`+db.ForUpdate(tx), index, since))
	if errors.Is(err, db.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, err
}

func saveCode(ctx context.Context, tx db.Tx, index []byte, p purpose, hash []byte, sentAt, expiresAt time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO one_time_codes (email_index, purpose, code_hash, sent_at, expires_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (email_index, purpose) DO UPDATE SET code_hash = excluded.code_hash, tries = 0,
			sent_at = excluded.sent_at, expires_at = excluded.expires_at, checked_at = NULL, used_at = NULL`,
		index, p, hash, sentAt, expiresAt)
	return err
}

func countTry(ctx context.Context, tx db.Tx, index []byte, p purpose) error {
	_, err := tx.Exec(ctx, `UPDATE one_time_codes SET tries = tries + 1 WHERE email_index = $1 AND purpose = $2`, index, p)
	return err
}

func markChecked(ctx context.Context, tx db.Tx, index []byte, p purpose, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE one_time_codes SET checked_at = $3 WHERE email_index = $1 AND purpose = $2`, index, p, now)
	return err
}

func markUsed(ctx context.Context, tx db.Tx, index []byte, p purpose, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE one_time_codes SET used_at = $3 WHERE email_index = $1 AND purpose = $2`, index, p, now)
	return err
}

// guesses is a row of guess_counters.
type guesses struct {
	failures    int
	lockedUntil *time.Time
	updatedAt   time.Time
}

// lockGuesses locks the counter of an address, which exists afterwards. The counter of codes is also what puts all that
// happens to one address into a row: whoever changes its codes or its registration locks it first.
func lockGuesses(ctx context.Context, tx db.Tx, index []byte, kind guessKind, now time.Time) (g guesses, err error) {
	_, err = tx.Exec(ctx, `INSERT INTO guess_counters (subject, kind, updated_at) VALUES ($1, $2, $3) ON CONFLICT (subject, kind) DO NOTHING`, index, kind, now)
	if err != nil {
		return g, err
	}
	err = tx.QueryRow(ctx, `SELECT failures, locked_until, updated_at FROM guess_counters WHERE subject = $1 AND kind = $2`+db.ForUpdate(tx), index, kind).
		Scan(&g.failures, &g.lockedUntil, &g.updatedAt)
	return g, err
}

func saveGuesses(ctx context.Context, tx db.Tx, index []byte, kind guessKind, g guesses) error {
	_, err := tx.Exec(ctx, `UPDATE guess_counters SET failures = $3, locked_until = $4, updated_at = $5 WHERE subject = $1 AND kind = $2`,
		index, kind, g.failures, g.lockedUntil, g.updatedAt)
	return err
}

// hit counts a request in its window and returns how many there were and when the window began. A window that began
// before cutoff starts anew.
func hit(ctx context.Context, tx db.Tx, bucket []byte, now, cutoff time.Time) (hits int, started time.Time, err error) {
	err = tx.QueryRow(ctx, `INSERT INTO rate_windows (bucket, started_at, hits) VALUES ($1, $2, 1)
		ON CONFLICT (bucket) DO UPDATE SET
			hits = CASE WHEN rate_windows.started_at <= $3 THEN 1 ELSE rate_windows.hits + 1 END,
			started_at = CASE WHEN rate_windows.started_at <= $3 THEN excluded.started_at ELSE rate_windows.started_at END
		RETURNING hits, started_at`, bucket, now, cutoff).Scan(&hits, &started)
	return hits, started, err
}

// sessionRow is a row of sessions.
type sessionRow struct {
	id         string
	userID     int64
	generation int
	rotatedAt  time.Time
	device     string
	address    []byte
	createdAt  time.Time
	lastUsedAt time.Time
	expiresAt  time.Time
	revokedAt  *time.Time
}

const sessionColumns = `id, user_id, generation, rotated_at, device, address, created_at, last_used_at, expires_at, revoked_at`

func scanSession(row db.Row) (r sessionRow, err error) {
	err = row.Scan(&r.id, &r.userID, &r.generation, &r.rotatedAt, &r.device, &r.address, &r.createdAt, &r.lastUsedAt, &r.expiresAt, &r.revokedAt)
	return r, err
}

func insertSession(ctx context.Context, tx db.Tx, r sessionRow) error {
	_, err := tx.Exec(ctx, `INSERT INTO sessions (id, user_id, generation, rotated_at, device, address, created_at, last_used_at, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $4, $4, $7)`, r.id, r.userID, r.generation, r.createdAt, r.device, sealedOrNull(r.address), r.expiresAt)
	return err
}

func lockSession(ctx context.Context, tx db.Tx, id string) (r sessionRow, found bool, err error) {
	r, err = scanSession(tx.QueryRow(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`+db.ForUpdate(tx), id))
	if errors.Is(err, db.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}

// rotateSession goes from one generation to the next; it tells whether this call did it.
func rotateSession(ctx context.Context, tx db.Tx, id string, from int, now, expiresAt time.Time) (bool, error) {
	n, err := tx.Exec(ctx, `UPDATE sessions SET generation = generation + 1, rotated_at = $3, last_used_at = $3, expires_at = $4
		WHERE id = $1 AND generation = $2 AND revoked_at IS NULL`, id, from, now, expiresAt)
	return n == 1, err
}

// Why a session ended.
const (
	endedByLogout   = "logout"
	endedByCustomer = "ended by customer"
	endedEverywhere = "logout everywhere"
	endedByReuse    = "refresh token reused"
	endedByReset    = "password reset"
	endedByChange   = "password changed"
	endedByClosure  = "account closed"
)

// revokeSession ends a session of the customer; it tells whether there was one to end.
func revokeSession(ctx context.Context, q db.Querier, userID int64, id, why string, now time.Time) (bool, error) {
	n, err := q.Exec(ctx, `UPDATE sessions SET revoked_at = $3, revoked_why = $4 WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL AND expires_at > $3`,
		id, userID, now, why)
	return n == 1, err
}

func revokeSessions(ctx context.Context, q db.Querier, userID int64, why string, now time.Time) (int64, error) {
	return q.Exec(ctx, `UPDATE sessions SET revoked_at = $2, revoked_why = $3 WHERE user_id = $1 AND revoked_at IS NULL`, userID, now, why)
}

// revokeOtherSessions ends all sessions of the customer but one.
func revokeOtherSessions(ctx context.Context, q db.Querier, userID int64, except, why string, now time.Time) error {
	_, err := q.Exec(ctx, `UPDATE sessions SET revoked_at = $3, revoked_why = $4 WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL`, userID, except, now, why)
	return err
}

func openSessions(ctx context.Context, q db.Querier, userID int64, now time.Time) ([]sessionRow, error) {
	rows, err := q.Query(ctx, `SELECT `+sessionColumns+` FROM sessions WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2
		ORDER BY last_used_at DESC, id LIMIT 100`, userID, now)
	return db.Collect(rows, err, scanSession)
}

// rememberDevice notes that the customer signed in from a device; it tells whether the device is new and whether it
// is the customer's first.
func rememberDevice(ctx context.Context, tx db.Tx, userID int64, device []byte, now time.Time) (isNew, first bool, err error) {
	var known bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM known_devices WHERE user_id = $1)`, userID).Scan(&known); err != nil {
		return false, false, err
	}
	n, err := tx.Exec(ctx, `INSERT INTO known_devices (user_id, device_hash, first_seen_at) VALUES ($1, $2, $3) ON CONFLICT (user_id, device_hash) DO NOTHING`,
		userID, device, now)
	return n == 1, !known, err
}

func insertAudit(ctx context.Context, tx db.Tx, e AuditEntry, now time.Time) error {
	var user *int64
	if e.UserID != 0 {
		user = &e.UserID
	}
	_, err := tx.Exec(ctx, `INSERT INTO audit_log (actor, action, user_id, subject, reason, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		e.Operator.Name, e.Action, user, e.Subject, e.Reason, now)
	return err
}

// transactionPassword is a row of transaction_passwords.
type transactionPassword struct {
	userID      int64
	salt        []byte
	hash        []byte
	failures    int
	failedAt    *time.Time
	lockedUntil *time.Time

	changed bool          // what was counted is still to be written
	lockout time.Duration // that a try has brought about
}

// transferRow is what lockTransferPasswords finds for a try.
type transferRow struct {
	Standing
	password *transactionPassword // nil: none; the same one for all tries of a customer
}

const (
	transferColumns = `, p.salt, p.password_hash, COALESCE(p.failures, 0), p.failed_at, p.locked_until`
	transferOfOne   = `SELECT ` + StandingColumns + transferColumns + ` FROM ` + StandingFrom + ` LEFT JOIN transaction_passwords p ON p.user_id = u.id`
	// q are the tries, with a number for each. In SQLite a CROSS JOIN is the planner's promise to begin with them.
	transfersOfMany = `SELECT q.n, ` + StandingColumns + transferColumns + ` FROM q CROSS JOIN users u JOIN transaction_passwords p ON p.user_id = u.id
		LEFT JOIN sessions s ON s.id = q.session_id AND s.user_id = u.id WHERE u.id = q.user_id ORDER BY q.user_id`
)

// transfersOf is transfersOfMany for these tries. PostgreSQL locks the rows of passwords in the order in which they come out; SQLite,
// which has no arrays, has nothing to lock either.
func transfersOf(q db.Querier, tries []TransferTry) (statement string, args []any) {
	if q.Engine() == db.PostgreSQL {
		users, sessions := make([]int64, len(tries)), make([]string, len(tries))
		for i, try := range tries {
			users[i], sessions[i] = try.Customer.ID, try.Customer.SessionID
		}
		return `WITH q AS (SELECT * FROM unnest($1::bigint[], $2::text[]) WITH ORDINALITY AS q(user_id, session_id, n)) ` + transfersOfMany + ` FOR NO KEY UPDATE OF p`,
			[]any{users, sessions}
	}
	var list strings.Builder
	for i, try := range tries {
		if i > 0 {
			list.WriteByte(',')
		}
		fmt.Fprintf(&list, "(%d,$%d,$%d)", i+1, 2*i+1, 2*i+2)
		args = append(args, try.Customer.ID, try.Customer.SessionID)
	}
	return `WITH q (n, user_id, session_id) AS (VALUES ` + list.String() + `) ` + transfersOfMany, args
}

// scanTransfer reads a row of these statements; before are the targets of what stands in front.
func scanTransfer(row db.Row, before ...any) (r transferRow, err error) {
	var p transactionPassword
	err = row.Scan(append(append(before, r.Dest()...), &p.salt, &p.hash, &p.failures, &p.failedAt, &p.lockedUntil)...)
	if p.hash != nil {
		p.userID = r.userID
		r.password = &p
	}
	return r, err
}

// lockTransferPasswords locks the transaction passwords of those who try, in the order of customers, and reads into list how each one
// stands. The statement is queued; readPasswordless adds who has no password.
func lockTransferPasswords(ctx context.Context, tx db.Tx, tries []TransferTry, list []transferRow) error {
	if len(tries) == 0 {
		return nil
	}
	statement, args := transfersOf(tx, tries)
	passwords := make(map[int64]*transactionPassword, len(tries))
	return tx.Queue(ctx, func(rows db.Rows) error {
		for rows.Next() {
			var n int64
			r, err := scanTransfer(rows, &n)
			if err != nil {
				return err
			}
			if passwords[r.userID] == nil {
				passwords[r.userID] = r.password
			}
			r.password = passwords[r.userID]
			list[n-1] = r
		}
		return nil
	}, statement, args...)
}

// readPasswordless reads how those stand of whom no password was found.
func readPasswordless(ctx context.Context, tx db.Tx, tries []TransferTry, list []transferRow) (err error) {
	for i, try := range tries {
		if list[i].password != nil {
			continue
		}
		if list[i], err = scanTransfer(tx.QueryRow(ctx, transferOfOne, try.Customer.ID, try.Customer.SessionID)); err != nil {
			return err
		}
		list[i].password = nil // if there is one now, it was set at this very moment, and is not locked
	}
	return nil
}

func saveTransferFailures(ctx context.Context, tx db.Tx, p transactionPassword) error {
	_, err := tx.Exec(ctx, `UPDATE transaction_passwords SET failures = $2, failed_at = $3, locked_until = $4 WHERE user_id = $1`,
		p.userID, p.failures, p.failedAt, p.lockedUntil)
	return err
}

// recipients reads customers by id. SQLite has no arrays: there each number is an argument of its own.
func recipients(ctx context.Context, q db.Querier, ids []int64) (map[int64]Recipient, error) {
	found := make(map[int64]Recipient, len(ids))
	if len(ids) == 0 {
		return found, nil
	}
	which, args := `= ANY ($1)`, []any{ids}
	if q.Engine() == db.SQLite {
		marks := make([]string, len(ids))
		args = make([]any, len(ids))
		for i, id := range ids {
			marks[i], args[i] = "$"+strconv.Itoa(i+1), id
		}
		which = `IN (` + strings.Join(marks, ", ") + `)`
	}
	rows, err := q.Query(ctx, `SELECT id, status, wallet_ref, locale FROM users WHERE id `+which, args...)
	_, err = db.Collect(rows, err, func(row db.Row) (none struct{}, err error) {
		var id int64
		var r Recipient
		err = row.Scan(&id, (*string)(&r.Status), &r.WalletRef, (*string)(&r.Locale))
		found[id] = r
		return none, err
	})
	return found, err
}

// setWithdrawalBlock keeps the customer from withdrawing until then; nil lets them.
func setWithdrawalBlock(ctx context.Context, tx db.Tx, userID int64, until *time.Time, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE users SET withdrawals_blocked_until = $2, updated_at = $3 WHERE id = $1`, userID, until, now)
	return err
}

// lockTransactionPassword locks the customer's password; it tells whether there is one.
func lockTransactionPassword(ctx context.Context, tx db.Tx, userID int64) (set bool, err error) {
	var id int64
	err = tx.QueryRow(ctx, `SELECT user_id FROM transaction_passwords WHERE user_id = $1`+db.ForUpdate(tx), userID).Scan(&id)
	if errors.Is(err, db.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// setTransactionPassword puts a password in force that was pending, without failures and locks.
func setTransactionPassword(ctx context.Context, tx db.Tx, p pendingPassword, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO transaction_passwords (user_id, salt, password_hash, set_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id) DO UPDATE SET salt = excluded.salt, password_hash = excluded.password_hash, set_at = excluded.set_at,
			failures = 0, failed_at = NULL, locked_until = NULL`, p.userID, p.salt, p.hash, now)
	return err
}

func transactionPasswordStatus(ctx context.Context, q db.Querier, userID int64) (set bool, blockedUntil *time.Time, err error) {
	err = q.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM transaction_passwords p WHERE p.user_id = u.id), u.withdrawals_blocked_until FROM users u WHERE u.id = $1`, userID).
		Scan(&set, &blockedUntil)
	if errors.Is(err, db.ErrNoRows) {
		err = ErrUserNotFound
	}
	return set, blockedUntil, err
}

// pendingPassword is a row of pending_transaction_passwords.
type pendingPassword struct {
	userID      int64
	token       []byte
	salt        []byte
	hash        []byte
	expiresAt   time.Time
	completedAt *time.Time
}

// These rows belong to a customer whose own codes are locked, see admitOwn.

func savePendingPassword(ctx context.Context, tx db.Tx, p pendingPassword) error {
	_, err := tx.Exec(ctx, `INSERT INTO pending_transaction_passwords (user_id, token_hash, salt, password_hash, expires_at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id) DO UPDATE SET token_hash = excluded.token_hash, salt = excluded.salt, password_hash = excluded.password_hash,
			expires_at = excluded.expires_at, completed_at = NULL`, p.userID, p.token, p.salt, p.hash, p.expiresAt)
	return err
}

func readPendingPassword(ctx context.Context, tx db.Tx, userID int64) (p pendingPassword, found bool, err error) {
	p.userID = userID
	err = tx.QueryRow(ctx, `SELECT token_hash, salt, password_hash, expires_at, completed_at FROM pending_transaction_passwords WHERE user_id = $1`, userID).
		Scan(&p.token, &p.salt, &p.hash, &p.expiresAt, &p.completedAt)
	if errors.Is(err, db.ErrNoRows) {
		return p, false, nil
	}
	return p, err == nil, err
}

func completePendingPassword(ctx context.Context, tx db.Tx, userID int64, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE pending_transaction_passwords SET completed_at = $2 WHERE user_id = $1`, userID, now)
	return err
}

// contactKind is what a customer changes.
type contactKind string

const (
	contactEmail contactKind = "email"
	contactPhone contactKind = "phone"
)

// contactChange is a row of contact_changes.
type contactChange struct {
	index       []byte
	verifiedAt  *time.Time
	completedAt *time.Time
}

func saveContactChange(ctx context.Context, tx db.Tx, userID int64, kind contactKind, index []byte, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO contact_changes (user_id, kind, contact_index, updated_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, kind) DO UPDATE SET contact_index = excluded.contact_index, updated_at = excluded.updated_at, verified_at = NULL, completed_at = NULL`,
		userID, kind, index, now)
	return err
}

func readContactChange(ctx context.Context, tx db.Tx, userID int64, kind contactKind) (c contactChange, found bool, err error) {
	err = tx.QueryRow(ctx, `SELECT contact_index, verified_at, completed_at FROM contact_changes WHERE user_id = $1 AND kind = $2`, userID, kind).
		Scan(&c.index, &c.verifiedAt, &c.completedAt)
	if errors.Is(err, db.ErrNoRows) {
		return c, false, nil
	}
	return c, err == nil, err
}

func markContactVerified(ctx context.Context, tx db.Tx, userID int64, kind contactKind, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE contact_changes SET verified_at = $3, updated_at = $3 WHERE user_id = $1 AND kind = $2`, userID, kind, now)
	return err
}

func markContactCompleted(ctx context.Context, tx db.Tx, userID int64, kind contactKind, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE contact_changes SET completed_at = $3, updated_at = $3 WHERE user_id = $1 AND kind = $2`, userID, kind, now)
	return err
}

// setEmail moves a customer to another address. It fails with a unique violation if somebody else has it.
func setEmail(ctx context.Context, tx db.Tx, userID int64, index, sealed []byte, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE users SET email_index = $2, email = $3, updated_at = $4 WHERE id = $1`, userID, index, sealed, now)
	return err
}

func setPhone(ctx context.Context, tx db.Tx, userID int64, sealed []byte, now time.Time) error {
	_, err := tx.Exec(ctx, `UPDATE users SET phone = $2, updated_at = $3 WHERE id = $1`, userID, sealed, now)
	return err
}

// deleteCodes forgets all codes of an address, whose counter must be locked.
func deleteCodes(ctx context.Context, tx db.Tx, index []byte) error {
	_, err := tx.Exec(ctx, `DELETE FROM one_time_codes WHERE email_index = $1`, index)
	return err
}
