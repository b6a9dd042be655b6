package kyc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/obs"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/provider/didit"
	"github.com/comecomepay/comecomepay/internal/provider/inbound"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
)

// Problems of this capability.
var (
	ErrFeeUnpaid       = problem.Define("KYC_FEE_UNPAID", problem.Invalid)
	ErrAlreadyVerified = problem.Define("KYC_ALREADY_VERIFIED", problem.Invalid)
	ErrUnderReview     = problem.Define("KYC_UNDER_REVIEW", problem.Invalid)
	ErrBlocked         = problem.Define("KYC_BLOCKED", problem.Forbidden)
	ErrNameInvalid     = problem.Define("KYC_NAME_INVALID", problem.Invalid)
	ErrFieldInvalid    = problem.Define("KYC_FIELD_INVALID", problem.Invalid)
	ErrEmailTaken      = problem.Define("KYC_EMAIL_TAKEN", problem.Invalid)
	ErrDocumentTaken   = problem.Define("KYC_DOCUMENT_TAKEN", problem.Invalid)
	ErrRefused         = problem.Define("KYC_REFUSED", problem.Invalid)
	ErrTooManyAttempts = problem.Define("KYC_TOO_MANY_ATTEMPTS", problem.TooMany)
	ErrUnavailable     = problem.Define("KYC_UNAVAILABLE", problem.Unavailable)
	ErrBusy            = problem.Define("KYC_BUSY", problem.Unavailable)
	ErrNotFound        = problem.Define("KYC_NOT_FOUND", problem.NotFound)
	ErrNotYours        = problem.Define("KYC_NOT_YOURS", problem.Forbidden)
	ErrSignature       = problem.Define("WEBHOOK_SIGNATURE_INVALID", problem.Unauthenticated)
	ErrWebhookBody     = problem.Define("WEBHOOK_BODY_INVALID", problem.Invalid)
	ErrNoSuchReceiver  = problem.Define("WEBHOOK_UNKNOWN", problem.NotFound)
	ErrTransition      = problem.Define("KYC_TRANSITION_REFUSED", problem.Invalid)
)

// FeeStanding is where the customer's card opening fee stands.
type FeeStanding string

// The standings (contract/money 10.4 rule 5).
const (
	FeeNone      FeeStanding = "none"      // no order
	FeePending   FeeStanding = "pending"   // an open order
	FeeCompleted FeeStanding = "completed" // a paid fee that no card has used up, or no fee is charged
)

// FeeHook tells where a customer's fee stands. The capability that sells cards fills it; without it no fee is charged.
type FeeHook func(ctx context.Context, userID int64) (FeeStanding, error)

// RevocationHook freezes what a verification allowed. It runs in the transaction that revokes.
type RevocationHook func(ctx context.Context, tx db.Tx, userID int64) error

// Options are what the service needs.
type Options struct {
	DB        db.DB
	Jobs      jobs.Inserter
	Customers *identity.Service
	Vault     *secret.Vault
	Clock     clock.Clock
	Random    io.Reader
	Texts     *i18n.Texts
	Log       *slog.Logger
	Registry  prometheus.Registerer // nil: no metrics

	Channel    Channel
	Issuer     *pokepay.Client
	Didit      *didit.Client   // channel didit
	Webhooks   *didit.Verifier // nil: no webhook of Didit is accepted
	WorkflowID string
	PublicURL  string // our own address, without a trailing slash: where the verification page returns

	CallbackKey    secret.Text // path segment of the issuer's callback; empty: none is accepted
	CallbackSecret secret.Text // if set, callbacks must be signed

	Fee FeeHook // nil: no fee is charged

	// How many attempts a customer may begin within an hour and within a day. Each may cost a session and somebody's time.
	AttemptsPerHour int // 0: DefaultAttemptsPerHour
	AttemptsPerDay  int // 0: DefaultAttemptsPerDay

	// How long a request and a background job may last at most. Leases outlast them.
	RequestTimeout time.Duration // 0: 30 s
	JobTimeout     time.Duration // 0: jobs.DefaultTimeout
}

// Service is the capability.
type Service struct {
	Options
	store    store
	cases    cases.Book
	inbound  inbound.Store
	onRevoke []RevocationHook
	hints    chan int64
	forged   obs.Sparse
	metrics  *metrics
}

// New makes the service.
func New(o Options) *Service {
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 30 * time.Second
	}
	if o.JobTimeout == 0 {
		o.JobTimeout = jobs.DefaultTimeout
	}
	o.AttemptsPerHour = cmp.Or(o.AttemptsPerHour, DefaultAttemptsPerHour)
	o.AttemptsPerDay = cmp.Or(o.AttemptsPerDay, DefaultAttemptsPerDay)
	return &Service{Options: o, store: store{o.DB}, cases: cases.NewBook(o.DB, o.Clock), inbound: inbound.NewStore(o.DB, o.Vault, o.Clock),
		hints: make(chan int64, 1024), metrics: newMetrics(o.Registry)}
}

// leaseMargin is what a lease lasts longer than the work that it covers: its outcome is still written, within ten seconds, when
// the time for the work is over.
const leaseMargin = 15 * time.Second

// requestLease is how long an unanswered call for a session keeps others from making one.
func (s *Service) requestLease() time.Duration { return s.RequestTimeout + leaseMargin }

// pollLease is how long a claimed record is left alone, and a cardholder that is being handed in.
func (s *Service) pollLease() time.Duration { return s.JobTimeout + leaseMargin }

// OnRevoke adds a hook that runs when a verification is taken away.
func (s *Service) OnRevoke(h RevocationHook) { s.onRevoke = append(s.onRevoke, h) }

// Standing is what a customer is told about their verification.
type Standing struct {
	Answer
	Record Record // ID 0: the customer has never tried
}

// Status tells a customer where they stand, at once and from the database only; an attempt that has not been asked
// about for a while is asked about soon. It confirms the session in the same query.
//
// Errors: identity.ErrUserNotFound, api.ErrUnauthenticated.
func (s *Service) Status(ctx context.Context, c identity.Customer) (Standing, error) {
	session, record, err := s.store.standing(ctx, c)
	if err != nil {
		return Standing{}, err
	}
	now := s.Clock.Now()
	if err := session.Check(now); err != nil {
		return Standing{}, err
	}
	if record.ID == 0 {
		return Standing{Answer: answerNoRecord(session.KYCBlocked())}, nil
	}
	stale := record.AskedAt == nil || now.Sub(*record.AskedAt) > askAgainAfter
	if stale && (record.Status.Open() || !settled(record.Status, record.Issuer)) {
		s.hint(record.ID)
	}
	return Standing{Answer: answer(record.Status, record.Issuer, session.KYCBlocked()), Record: record}, nil
}

// askAgainAfter is how old the last question to a provider must be for a reader to cause another.
const askAgainAfter = 5 * time.Second

// hint asks the poller to look at a record now. It is lost when the poller is swamped or the process dies; then the
// regular poll does it.
func (s *Service) hint(id int64) {
	select {
	case s.hints <- id:
	default:
	}
}

// FailReason is what the customer reads about a bad end: the issuer's own words, else ours in their language.
func (s *Service) FailReason(l i18n.Locale, st Standing) string {
	if !st.HasReason {
		return ""
	}
	r := st.Record
	// The words belong to the issuer's no, and not to what came before or after it.
	if r.Issuer.Negative() && r.IssuerReason != "" && r.Reason != ReasonExpired && r.Reason != ReasonOperator {
		return r.IssuerReason
	}
	return s.Texts.Get(l, "kyc.reason."+string(reasonFor(r.Status, r.Issuer, r.Reason)), nil)
}

// Eligibility is whether a customer may start, as far as the fee is concerned.
type Eligibility struct {
	Eligible       bool
	PaymentStatus  FeeStanding
	RequiredAction string // create_payment, complete_payment, or empty
	ReasonKey      string // key of the text; empty if eligible
}

// eligibility is the rule of contract/money 10.4 rule 5: a usable paid fee makes eligible, whatever became of earlier attempts.
func eligibility(f FeeStanding) Eligibility {
	switch f {
	case FeeCompleted:
		return Eligibility{Eligible: true, PaymentStatus: f}
	case FeePending:
		return Eligibility{PaymentStatus: f, RequiredAction: "complete_payment", ReasonKey: "kyc.eligibility.pending"}
	}
	return Eligibility{PaymentStatus: FeeNone, RequiredAction: "create_payment", ReasonKey: "kyc.eligibility.none"}
}

// Eligibility tells whether the customer has paid what must be paid before a verification.
func (s *Service) Eligibility(ctx context.Context, c identity.Customer) (Eligibility, error) {
	if s.Fee == nil {
		return eligibility(FeeCompleted), nil
	}
	standing, err := s.Fee(ctx, c.ID)
	if err != nil {
		return Eligibility{}, fmt.Errorf("fee standing: %w", err)
	}
	return eligibility(standing), nil
}

// Attempt finds one of the customer's own attempts by its verification id.
func (s *Service) Attempt(ctx context.Context, c identity.Customer, verificationID string) (Standing, error) {
	r, err := s.store.findByAgentUID(ctx, s.DB, verificationID)
	if errors.Is(err, db.ErrNoRows) || err == nil && r.UserID != c.ID {
		return Standing{}, ErrNotFound
	}
	if err != nil {
		return Standing{}, err
	}
	if r.Status.Open() {
		s.hint(r.ID)
	}
	return s.standingOf(ctx, r)
}

// Attempts lists the customer's own attempts, newest first. Another customer's address is refused, known or not.
func (s *Service) Attempts(ctx context.Context, c identity.Customer, email string) ([]Standing, error) {
	account, err := s.Customers.FindByEmail(ctx, email)
	if _, known := problem.Find(err); known || err == nil && account.ID != c.ID {
		return nil, ErrNotYours
	}
	if err != nil {
		return nil, err
	}
	records, err := s.store.ofUser(ctx, s.DB, c.ID)
	if err != nil {
		return nil, err
	}
	list := make([]Standing, len(records))
	for i, r := range records {
		list[i] = Standing{Answer: answerLate(r.Status, r.Issuer, account.KYCBlocked), Record: r}
	}
	return list, nil
}

func (s *Service) standingOf(ctx context.Context, r Record) (Standing, error) {
	account, err := s.Customers.Account(ctx, r.UserID)
	if err != nil {
		return Standing{}, err
	}
	return Standing{Answer: answerLate(r.Status, r.Issuer, account.KYCBlocked), Record: r}, nil
}
