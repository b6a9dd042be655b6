package kyc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"encoding/json"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/didit"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
)

// Started is an attempt with a link for the customer to open.
type Started struct {
	RecordID  int64
	AgentUID  string
	SessionID string
	URL       string
}

const (
	// How often and how long a request waits for the link that another one of the same customer is fetching: well within the
	// time that a request has at all, however slow the database is.
	waitAtLeast = 50 * time.Millisecond
	waitStep    = 400 * time.Millisecond
	waitAtMost  = 20 * time.Second
	// unavailableAtMost is how long a provider that had no time for a customer is not asked again for the same one.
	unavailableAtMost = time.Minute
)

// Start gives the customer a link to the verification page: that of the attempt that is waiting for them, else of a new one.
// However often and however parallel it is called, there is one open attempt and one session for it.
//
// Errors: identity.ErrAccountFrozen, ErrBlocked, ErrFeeUnpaid, ErrAlreadyVerified, ErrUnderReview, ErrNameInvalid, ErrFieldInvalid,
// ErrEmailTaken, ErrDocumentTaken, ErrRefused, ErrTooManyAttempts, ErrUnavailable, ErrBusy.
func (s *Service) Start(ctx context.Context, c identity.Customer, a Applicant) (Started, error) {
	if err := c.MayAct(); err != nil {
		return Started{}, err
	}
	eligible, err := s.Eligibility(ctx, c)
	if err != nil {
		return Started{}, err
	}
	if a, err = a.checked(s.Channel); err != nil {
		return Started{}, err
	}
	patience := time.NewTimer(waitAtMost)
	defer patience.Stop()
	for {
		step, err := s.claim(ctx, c, a, eligible.Eligible)
		if err != nil {
			return Started{}, err
		}
		switch {
		case step.ready != nil:
			return *step.ready, nil
		case step.call != nil:
			return s.openSession(ctx, *step.call, step.applicant)
		}
		// Another request of the same customer is making the session: wait for its link. Looking takes no lock.
		for pause, made := waitAtLeast, false; !made; pause = min(2*pause, waitStep) {
			select {
			case <-ctx.Done():
				return Started{}, ctx.Err()
			case <-patience.C:
				return Started{}, ErrBusy.After(step.busyFor)
			case <-time.After(pause):
			}
			current, err := s.store.current(ctx, s.DB, c.ID)
			if err != nil {
				return Started{}, err
			}
			made = current.SessionState != SessionRequested || !s.Clock.Now().Before(current.SessionUntil)
		}
	}
}

// claimed is what a call of claim leads to: a link, a call to make, or waiting for somebody else's call.
type claimed struct {
	ready     *Started
	call      *Record
	applicant Applicant
	busyFor   time.Duration
}

// claim decides under the customer's lock who makes the session.
func (s *Service) claim(ctx context.Context, c identity.Customer, a Applicant, eligible bool) (out claimed, err error) {
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		out = claimed{}
		now := s.Clock.Now()
		account, err := s.Customers.LockCustomer(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if account.Status != identity.Active {
			return identity.ErrAccountFrozen
		}
		if account.KYCBlocked {
			return ErrBlocked
		}
		a.Email = account.Email // the app's copy may be stale
		out.applicant = a
		current, err := s.store.current(ctx, tx, c.ID)
		switch {
		case errors.Is(err, db.ErrNoRows):
		case err != nil:
			return err
		case current.Status == Approved && answer(Approved, current.Issuer, false).User == UserVerified:
			return ErrAlreadyVerified
		case current.Status == Approved:
			return ErrUnderReview // the issuer looks at it once more
		case current.Status.UnderReview():
			return ErrUnderReview
		case !eligible:
			return ErrFeeUnpaid
		case current.SessionState == SessionDenied && now.Before(current.SessionUntil):
			return ErrUnavailable.After(current.SessionUntil.Sub(now)) // the provider had no time for anybody just now
		case current.Status == PendingSubmit:
			resumed, err := s.resume(ctx, tx, current, a, now)
			if err != nil || resumed != nil {
				if resumed != nil {
					out = *resumed
				}
				return err
			}
		}
		if !eligible {
			return ErrFeeUnpaid
		}
		if err := s.admit(ctx, tx, c.ID, now); err != nil {
			return err
		}
		r, err := s.newRecord(ctx, tx, c.ID, a, now)
		if err != nil {
			return err
		}
		out.call = &r
		return nil
	})
	return out, err
}

// resume goes on with an attempt that waits for its customer; nil, nil means that it was withdrawn and a new one is due.
func (s *Service) resume(ctx context.Context, tx db.Tx, r Record, a Applicant, now time.Time) (*claimed, error) {
	r, err := s.store.lock(ctx, tx, r.ID)
	if err != nil {
		return nil, err
	}
	alive := now.Before(r.SessionUntil)
	switch {
	case r.SessionState == SessionOpen && alive:
		link, err := s.link(ctx, tx, r)
		if err != nil {
			return nil, err
		}
		// In the channel didit the cardholder is handed over later, with what the customer typed last.
		if r.Channel == ViaDidit {
			if err := s.keepApplicant(ctx, tx, r, a); err != nil {
				return nil, err
			}
		}
		return &claimed{ready: &link}, nil
	case r.SessionState == SessionRequested && alive:
		return &claimed{busyFor: r.SessionUntil.Sub(now)}, nil
	case r.SessionState == SessionLost && alive:
		return nil, ErrBusy.After(r.SessionUntil.Sub(now)) // nobody is asking: there is nothing to wait for
	case r.SessionState != SessionOpen && r.Channel == ViaDidit:
		// The answer to the last call was lost. Didit gives the unfinished session of the same customer out again.
		r.SessionState, r.SessionUntil = SessionRequested, now.Add(s.requestLease())
		r.UpdatedAt = now
		if err := s.store.save(ctx, tx, r); err != nil {
			return nil, err
		}
		r.Version++
		return &claimed{call: &r, applicant: a}, s.keepApplicant(ctx, tx, r, a)
	}
	// The link has run out, or the issuer's answer with it was lost: it gives no link out twice.
	_, err = s.step(ctx, tx, r, Event{Kind: Withdrawn, At: now, Source: FromCustomer, Text: "replaced by a new attempt"})
	return nil, err
}

func (s *Service) newRecord(ctx context.Context, tx db.Tx, userID int64, a Applicant, now time.Time) (Record, error) {
	uid, err := newAgentUID(s.Random, userID, now)
	if err != nil {
		return Record{}, err
	}
	deadline := now.Add(SessionLife)
	r := Record{
		UserID: userID, AgentUID: uid, Channel: s.Channel, Status: PendingSubmit,
		SessionState: SessionRequested, SessionUntil: now.Add(s.requestLease()), EnteredAt: now, DeadlineAt: &deadline,
		Version: 1, CreatedAt: now, UpdatedAt: now,
	}
	r.NextPollAt = nextPoll(r, now, 0)
	sealed, err := s.sealApplicant(r, a)
	if err != nil {
		return Record{}, err
	}
	if r.ID, err = s.store.insert(ctx, tx, r, sealed); err != nil {
		return Record{}, err
	}
	if err := s.store.appendEvent(ctx, tx, r.ID, "", PendingSubmit, Event{Kind: "started", Source: FromCustomer}, "", now); err != nil {
		return Record{}, err
	}
	tx.AfterCommit(s.metrics.transitions.WithLabelValues("", string(PendingSubmit), string(FromCustomer)).Inc)
	return r, s.deriveStatus(ctx, tx, userID)
}

const agentUIDAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

// newAgentUID makes our reference of an attempt in the published form u<user>_<unix>_<8 characters> (decision M20).
func newAgentUID(random io.Reader, userID int64, now time.Time) (string, error) {
	var b [8]byte
	for i := range b {
		for {
			var one [1]byte
			if _, err := io.ReadFull(random, one[:]); err != nil {
				return "", fmt.Errorf("randomness: %w", err)
			}
			// Reject what would make some characters likelier than others.
			if n := int(one[0]); n < 256-256%len(agentUIDAlphabet) {
				b[i] = agentUIDAlphabet[n%len(agentUIDAlphabet)]
				break
			}
		}
	}
	return fmt.Sprintf("u%d_%d_%s", userID, now.Unix(), b), nil
}

// openSession makes the call that costs money, outside of any transaction, and stores its outcome.
func (s *Service) openSession(ctx context.Context, r Record, a Applicant) (Started, error) {
	session, callErr := s.requestSession(ctx, r, a)
	// The customer may have gone meanwhile; what the provider did is kept all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if callErr != nil {
		return Started{}, s.sessionRefused(ctx, r, callErr)
	}
	var out Started
	replaced := false
	err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		now := s.Clock.Now()
		if _, err := s.Customers.LockCustomer(ctx, tx, r.UserID); err != nil {
			return err
		}
		locked, err := s.store.lock(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		locked.SessionID = session.id
		if replaced = locked.Status != PendingSubmit; !replaced {
			locked.SessionState = SessionOpen
			locked.SessionUntil = now.Add(SessionLife)
			deadline := locked.SessionUntil
			locked.DeadlineAt = &deadline
		}
		locked.UpdatedAt = now
		if err := s.store.save(ctx, tx, locked); err != nil {
			return err
		}
		if _, err := s.cases.Close(ctx, tx, string(locked.Channel), caseNoAccess); err != nil {
			return err
		}
		sealed, err := s.Vault.Seal([]byte(session.url), urlPlace(locked))
		if err != nil {
			return err
		}
		out = Started{RecordID: r.ID, AgentUID: r.AgentUID, SessionID: session.id, URL: session.url}
		return s.store.saveSessionURL(ctx, tx, r.ID, sealed)
	})
	if err == nil && replaced {
		return Started{}, ErrBusy.After(time.Second) // what is done at this link would count for nothing
	}
	return out, err
}

type openedSession struct{ id, url string }

func (s *Service) requestSession(ctx context.Context, r Record, a Applicant) (openedSession, error) {
	returnURL := s.PublicURL + "/kyc/return?" + url.Values{"ref": {r.AgentUID}, "lang": {string(i18n.FromContext(ctx))}}.Encode()
	if r.Channel == ViaPokePay {
		session, err := s.Issuer.InitKYC(ctx, pokepay.HostedKYC{
			AgentUID: r.AgentUID, Email: a.Email, FirstNameEN: a.FirstName, LastNameEN: a.LastName, AreaCode: a.AreaCode, Phone: a.Phone,
			Address: a.Address, City: a.City, State: a.State, PostCode: a.PostCode, BillCountryCode: a.CountryCode, ReturnURL: returnURL,
		})
		return openedSession{session.SessionID, session.URL}, err
	}
	session, err := s.Didit.CreateSession(ctx, didit.NewSession{
		WorkflowID: s.WorkflowID, VendorData: vendorData(r.UserID), Callback: returnURL, Language: string(i18n.FromContext(ctx)),
		Metadata: map[string]any{"agent_uid": r.AgentUID},
		Expected: &didit.ExpectedDetails{FirstName: a.FirstName, LastName: a.LastName},
	})
	return openedSession{session.SessionID, session.URL}, err
}

// vendorData is how Didit knows a customer.
func vendorData(userID int64) string { return "user-" + strconv.FormatInt(userID, 10) }

// sessionRefused ends an attempt that certainly has no session. One whose call has an unknown outcome keeps its lease: another session
// is asked for only when that call is certainly over.
func (s *Service) sessionRefused(ctx context.Context, r Record, callErr error) error {
	var failed *provider.Error
	if !errors.As(callErr, &failed) || failed.Outcome != provider.Refused {
		s.Log.WarnContext(ctx, "verification session: outcome unknown", "record_id", r.ID, "error", callErr)
		if err := s.sessionLost(ctx, r); err != nil {
			return err
		}
		return ErrUnavailable.After(s.requestLease()).Because(callErr)
	}
	result, caseKind := ErrUnavailable.After(30*time.Second), ""
	switch reason := pokepay.ReasonOf(callErr); {
	case noAccess(failed):
		// Our key, our credits: the customer can do nothing, and one case stands for all customers.
		caseKind = caseNoAccess
	case failed.Sent && reason == pokepay.ReasonEmailUsed:
		result, caseKind = ErrEmailTaken, caseEmailTaken
	case failed.Sent && (reason == pokepay.ReasonIDNumberUsed || reason == pokepay.ReasonDuplicate):
		result, caseKind = ErrDocumentTaken, caseDocumentTaken
	case failed.Sent && reason == pokepay.ReasonNameInvalid:
		result = ErrNameInvalid
	case failed.RetryAfter > 0:
		result = ErrUnavailable.After(failed.RetryAfter)
	case failed.Sent && failed.Status == 200:
		result = ErrRefused // the issuer said no in words that we do not know
	}
	err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if _, err := s.Customers.LockCustomer(ctx, tx, r.UserID); err != nil {
			return err
		}
		locked, err := s.store.lock(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		now := s.Clock.Now()
		switch caseKind {
		case "":
		case caseNoAccess:
			err = s.openCase(ctx, tx, caseKind, string(locked.Channel), failed.Detail)
		default:
			err = s.openCaseOfCustomer(ctx, tx, caseKind, locked, failed.Detail)
		}
		if err != nil {
			return err
		}
		if result.Kind == problem.Unavailable {
			// It was not about this customer and is not held against them; but they are kept to the wait that they are told.
			locked.SessionState, locked.SessionUntil = SessionDenied, now.Add(min(result.RetryAfter, unavailableAtMost))
		}
		_, err = s.step(ctx, tx, locked, Event{Kind: Withdrawn, At: now, Source: FromPoll, Text: "no session: " + failed.StaffText})
		return err
	})
	if err != nil {
		return err
	}
	return result.Because(callErr)
}

// sessionLost notes that nobody waits for the answer any more.
func (s *Service) sessionLost(ctx context.Context, r Record) error {
	return s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		locked, err := s.lockRecord(ctx, tx, r.ID)
		if err != nil || locked.SessionState != SessionRequested {
			return err
		}
		locked.SessionState = SessionLost
		return s.store.save(ctx, tx, locked)
	})
}

// noAccess tells whether a provider has turned us away, and not this customer: the call itself, or the login before it.
func noAccess(failed *provider.Error) bool {
	var login *provider.Error
	if !failed.Sent && errors.As(failed.Cause, &login) {
		return login.Sent && login.Outcome == provider.Refused && login.Status != 429
	}
	return failed.Sent && (failed.Status == 401 || failed.Status == 403 || pokepay.ReasonOf(failed) == pokepay.ReasonAuthority)
}

func (s *Service) link(ctx context.Context, q db.Querier, r Record) (Started, error) {
	sealed, err := s.store.sessionURL(ctx, q, r.ID)
	if err != nil {
		return Started{}, err
	}
	plain, err := s.Vault.Open(sealed, urlPlace(r))
	if err != nil {
		return Started{}, err
	}
	return Started{RecordID: r.ID, AgentUID: r.AgentUID, SessionID: r.SessionID, URL: string(plain)}, nil
}

func urlPlace(r Record) secret.Place {
	return secret.Place{Table: "kyc_records", Column: "session_url", Row: r.AgentUID}
}

func applicantPlace(r Record) secret.Place {
	return secret.Place{Table: "kyc_records", Column: "applicant", Row: r.AgentUID}
}

func (s *Service) sealApplicant(r Record, a Applicant) ([]byte, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	return s.Vault.Seal(text, applicantPlace(r))
}

func (s *Service) keepApplicant(ctx context.Context, tx db.Tx, r Record, a Applicant) error {
	sealed, err := s.sealApplicant(r, a)
	if err != nil {
		return err
	}
	return s.store.saveApplicant(ctx, tx, r.ID, sealed)
}

func (s *Service) applicantOf(ctx context.Context, r Record) (a Applicant, err error) {
	sealed, err := s.store.applicant(ctx, s.DB, r.ID)
	if err != nil {
		return a, err
	}
	text, err := s.Vault.Open(sealed, applicantPlace(r))
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(text, &a)
}

var (
	latinName   = regexp.MustCompile(`^[A-Z]{1,40}$`)
	digits      = regexp.MustCompile(`^[0-9]{1,4}$`)
	phoneDigits = regexp.MustCompile(`^[0-9]{0,20}$`)
	countryCode = regexp.MustCompile(`^[A-Z]{2}$`)
)

// checked brings the customer's entries into the form that the issuer takes (provider/pokepay section 3.1), or says what is wrong.
// The name is embossed on the card as it stands: A to Z only (contract/money 1.3).
func (a Applicant) checked(channel Channel) (Applicant, error) {
	a.FirstName = strings.ToUpper(strings.TrimSpace(a.FirstName))
	a.LastName = strings.ToUpper(strings.TrimSpace(a.LastName))
	if !latinName.MatchString(a.FirstName) || !latinName.MatchString(a.LastName) {
		return a, ErrNameInvalid
	}
	a.AreaCode = strings.TrimPrefix(strings.TrimSpace(a.AreaCode), "+")
	a.Phone = strings.NewReplacer(" ", "", "-", "", "(", "", ")", "").Replace(a.Phone)
	a.CountryCode = strings.ToUpper(strings.TrimSpace(a.CountryCode))
	var wrong []string
	check := func(name string, ok bool) {
		if !ok {
			wrong = append(wrong, name)
		}
	}
	check("area_code", digits.MatchString(a.AreaCode))
	// A cardholder that we hand over ourselves needs a phone number; the hosted verification does without.
	check("phone", phoneDigits.MatchString(a.Phone) && (channel != ViaDidit || a.Phone != ""))
	check("bill_country_code", countryCode.MatchString(a.CountryCode))
	// Self-KYC has least lengths (provider/pokepay section 3.2), the hosted one only wants something.
	minCity, minAddress := 1, 1
	if channel == ViaDidit {
		minCity, minAddress = 2, 5
	}
	for _, f := range []struct {
		name     string
		value    *string
		min, max int
	}{{"state", &a.State, 1, 100}, {"city", &a.City, minCity, 100}, {"address", &a.Address, minAddress, 200}, {"post_code", &a.PostCode, 1, 20}} {
		*f.value = strings.TrimSpace(*f.value)
		n := utf8.RuneCountInString(*f.value)
		check(f.name, n >= f.min && n <= f.max && printable(*f.value))
	}
	if len(wrong) > 0 {
		return a, ErrFieldInvalid.With("Fields", strings.Join(wrong, ", "))
	}
	return a, nil
}

// printable refuses control characters and broken UTF-8; every script is welcome.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar })
}
