package kyc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/didit"
	"github.com/comecomepay/comecomepay/internal/provider/pokepay"
)

// pollArgs asks the providers about one record.
type pollArgs struct {
	RecordID  int64 `json:"record_id"`
	MessageID int64 `json:"message_id,omitempty"`
}

// Kind implements river.JobArgs.
func (pollArgs) Kind() string { return "kyc_poll" }

const (
	sweepEvery = time.Second
	sweepBatch = 100
	countEvery = time.Minute
	// overdueGrace is how long a deadline waits for providers that do not answer: nothing is decided while they are away.
	overdueGrace = 24 * time.Hour
	// How soon an attempt is asked about again whose provider did not answer: at first, and when it has been away for long.
	retryAtFirst = time.Minute
	retryAtMost  = time.Hour
)

// A cardholder whom the issuer refuses in words that we do not know is sent again after refusalPause, then after twice as long and
// so on: it may be a fault that passes. After so many refusals it is the data, which only the customer can correct.
const (
	submissionsAtMost = 5
	refusalPause      = 30 * time.Second
)

// submissionRefused is the kind of the history's lines about such refusals.
const submissionRefused EventKind = "submission_refused"

// Run looks after all records until ctx ends: it queues a poll for each whose time has come. Every replica runs it; a
// record is claimed by one of them. It is a loop and no periodic job, since time here is the service's clock.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	count := time.NewTicker(countEvery)
	defer count.Stop()
	s.countCases(ctx)
	for ctx.Err() == nil {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "kyc sweep failed", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-count.C:
			s.countCases(ctx)
		case id := <-s.hints:
			if err := s.bringForward(ctx, id); err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "kyc hint failed", "record_id", id, "error", err)
			}
		}
	}
}

// bringForward takes one hint and whatever others wait behind it.
func (s *Service) bringForward(ctx context.Context, id int64) error {
	ids := map[int64]bool{id: true}
	for more := true; more && len(ids) < sweepBatch; {
		select {
		case id := <-s.hints:
			ids[id] = true
		default:
			more = false
		}
	}
	now := s.Clock.Now()
	return s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		for id := range ids {
			if err := s.store.askSoon(ctx, tx, id, now, now.Add(-askAgainAfter)); err != nil {
				return err
			}
		}
		return nil
	})
}

// countCases brings the metric of open cases up to date.
func (s *Service) countCases(ctx context.Context) {
	open, err := s.cases.Count(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.Log.WarnContext(ctx, "cases could not be counted", "error", err)
		}
		return
	}
	s.metrics.cases.Reset()
	for kind, n := range open {
		s.metrics.cases.WithLabelValues(kind).Set(float64(n))
	}
}

func (s *Service) sweep(ctx context.Context) error {
	for {
		now := s.Clock.Now()
		due, err := s.store.anyDue(ctx, now)
		if err != nil || !due {
			return err
		}
		claimed := 0
		err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
			ids, err := s.store.claimDue(ctx, tx, now, now.Add(s.pollLease()), sweepBatch)
			if err != nil {
				return err
			}
			claimed = len(ids)
			for _, id := range ids {
				// One try: what fails comes back when the claim runs out.
				if err := s.Jobs.Insert(ctx, tx, pollArgs{RecordID: id}, jobs.Attempts(1)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || claimed < sweepBatch {
			return err
		}
	}
}

// Poll asks the providers about a record and applies what they say. A provider that does not answer decides nothing.
func (s *Service) Poll(ctx context.Context, id, messageID int64) error {
	var before Record
	over := false
	var asked time.Time
	err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if before, err = s.store.lock(ctx, tx, id); err != nil {
			return err
		}
		asked = s.nextMoment(before)
		around, err := s.store.surroundings(ctx, tx, before)
		if err != nil {
			return err
		}
		// Nothing that anybody says about it would move it any more.
		if over = before.Status == Cancelled || around.late() && !before.Status.Open() && before.Status != Approved; over {
			return s.store.neverAsk(ctx, tx, id)
		}
		return s.store.noteAsked(ctx, tx, id, asked)
	})
	if errors.Is(err, db.ErrNoRows) {
		return nil
	}
	if err != nil || over {
		return err
	}
	source := FromPoll
	if messageID != 0 {
		source = FromWebhook
	}
	asker := asking{Service: s, source: source, messageID: messageID, at: asked}
	r, askErr := asker.ask(ctx, before)
	s.metrics.polls.WithLabelValues(string(r.Channel), provider.Label(askErr)).Inc()

	// Whatever came of it, the record is looked at again in its time.
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		r, err := s.lockRecord(ctx, tx, id)
		if err != nil {
			return err
		}
		now := s.Clock.Now()
		// The last word is what was asked for after the deadline.
		if r.DeadlineAt != nil && !asked.Before(*r.DeadlineAt) && (askErr == nil || asked.Sub(*r.DeadlineAt) >= overdueGrace) {
			if r, err = s.step(ctx, tx, r, Event{Kind: DeadlinePassed, At: now, Source: FromTimer}); err != nil {
				return err
			}
		}
		jitter := rand.Float64()*2 - 1
		next := nextPoll(r, now, jitter)
		if askErr != nil {
			next = earlier(next, now.Add(afterSilence(before, asked, jitter)))
		}
		// A hint that came while the question was under way is not answered by it.
		if hinted := r.NextPollAt != nil && (before.NextPollAt == nil || r.NextPollAt.Before(*before.NextPollAt)); hinted {
			next = earlier(next, *r.NextPollAt)
		}
		r.NextPollAt = next
		return s.store.save(ctx, tx, r)
	})
	return errors.Join(err, askErr)
}

// afterSilence is how long to wait after a question that was not answered: a minute after the first one, twice as long as before
// after each further one, an hour at most, so that a provider that is down is left in peace. before is the record as it was then.
// jitter is as in nextPoll.
func afterSilence(before Record, asked time.Time, jitter float64) time.Duration {
	wait := retryAtFirst
	if before.AskedAt != nil && (before.AnsweredAt == nil || before.AnsweredAt.Before(*before.AskedAt)) {
		wait = min(max(wait, 2*asked.Sub(*before.AskedAt)), retryAtMost)
	}
	return wait + time.Duration(jitter*float64(wait)/10)
}

func earlier(a *time.Time, b time.Time) *time.Time {
	if a != nil && a.Before(b) {
		return a
	}
	return &b
}

// nextMoment is the time of another question about a record, which must be locked. No two are of the same moment, whatever the clocks of
// the replicas say: of two questions that overtake each other, the one asked later counts.
func (s *Service) nextMoment(r Record) time.Time {
	now := s.Clock.Now()
	if r.AskedAt != nil && !now.After(*r.AskedAt) {
		return r.AskedAt.Add(time.Microsecond)
	}
	return now
}

// asking is one round of questions about one record.
type asking struct {
	*Service
	source    Source
	messageID int64
	at        time.Time // when it began; for the order of answers
}

func (a asking) event(e Event) Event {
	e.Source, e.MessageID = a.source, a.messageID
	return e
}

func (a asking) ask(ctx context.Context, r Record) (Record, error) {
	if r.Channel == ViaPokePay {
		return a.askIssuer(ctx, r)
	}
	// Our own session decides first, and may still change its mind afterwards.
	var err error
	if r.SessionID != "" {
		if r, err = a.askDidit(ctx, r); err != nil {
			return r, err
		}
	}
	switch r.Submission {
	case Due, Sending:
		return a.submit(ctx, r)
	case Done:
		return a.askIssuer(ctx, r)
	}
	return r, nil
}

// askIssuer reads the issuer's verdict, by its own id of the cardholder as soon as we know it, else by our reference.
func (a asking) askIssuer(ctx context.Context, r Record) (Record, error) {
	r, _, err := a.knownCardholder(ctx, r)
	return r, err
}

func (a asking) findCardholder(ctx context.Context, r Record) (pokepay.KYC, bool, error) {
	if r.IssuerKYCID != 0 {
		holder, err := a.Issuer.GetKYC(ctx, r.IssuerKYCID)
		if pokepay.ReasonOf(err) == pokepay.ReasonNotFound {
			return pokepay.KYC{}, false, nil
		}
		return holder, err == nil, err
	}
	applicant, err := a.applicantOf(ctx, r)
	if err != nil {
		return pokepay.KYC{}, false, err
	}
	earlier, err := a.store.otherCardholders(ctx, r)
	if err != nil {
		return pokepay.KYC{}, false, err
	}
	return a.Issuer.FindKYC(ctx, pokepay.KYCLookup{AgentUID: r.AgentUID, Email: applicant.Email, Begun: r.CreatedAt, Earlier: earlier})
}

func verdictEvent(k pokepay.KYC, at time.Time) Event {
	return Event{Kind: IssuerSaid, Verdict: Verdict(k.Status), Text: clipText(k.Reason), IssuerID: k.ID, At: at}
}

// askDidit reads our own session.
func (a asking) askDidit(ctx context.Context, r Record) (Record, error) {
	decision, err := a.Didit.Decision(ctx, r.SessionID)
	if didit.NotFound(err) {
		if r.Status == PendingSubmit {
			return a.apply(ctx, r.ID, a.event(Event{Kind: SessionRanOut, At: a.at, Text: "the session does not exist any more"}))
		}
		return r, nil
	}
	if err != nil {
		return r, err
	}
	return a.apply(ctx, r.ID, a.event(decisionEvent(decision, a.at)))
}

// decisionEvent turns a decision into an event: for a decline, the first risk that explains it in a way the customer may know.
func decisionEvent(d didit.Decision, at time.Time) Event {
	e := Event{Kind: DiditSaid, Word: Word(d.Status), At: at}
	warnings := d.ReviewReasons()
	if d.Status.Is(didit.StatusDeclined) {
		warnings = d.DeclineReasons()
	}
	var risks []string
	for _, w := range warnings {
		risks = append(risks, w.Risk)
		if code := diditReason(w.Risk); d.Status.Is(didit.StatusDeclined) && (e.Reason == NoReason || e.Reason == ReasonGeneric) {
			e.Reason = code
		}
	}
	e.Text = clipText(strings.Join(risks, ", "))
	return e
}

// submit hands the cardholder to the issuer, once: what was sent without an answer is looked up before it is sent again.
func (a asking) submit(ctx context.Context, r Record) (Record, error) {
	if r.Submission == Sending || r.IssuerKYCID != 0 {
		if known, found, err := a.knownCardholder(ctx, r); err != nil || found {
			return known, err
		}
	}
	// Whoever writes this sends; a second poll of the same record at the same time finds it written.
	now := a.Clock.Now()
	mine := false
	err := a.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		mine = false
		locked, err := a.lockRecord(ctx, tx, r.ID)
		if err != nil {
			return err
		}
		free := locked.Submission == Due || locked.Submission == Sending && locked.SubmittedAt != nil && now.Sub(*locked.SubmittedAt) >= a.pollLease()
		refusals, err := a.store.countEvents(ctx, tx, r.ID, submissionRefused, locked.EnteredAt)
		if err != nil {
			return err
		}
		pausing := refusals > 0 && locked.SubmittedAt != nil && now.Before(locked.SubmittedAt.Add(refusalPause<<(refusals-1)))
		if !free || pausing || locked.Status != Processing {
			r = locked
			return nil
		}
		// Handing over is a question of its own: another round may have had its answers since this one began.
		a.at = a.nextMoment(locked)
		asked := a.at
		locked.Submission, locked.SubmittedAt, locked.AskedAt, mine = Sending, &now, &asked, true
		if err := a.store.save(ctx, tx, locked); err != nil {
			return err
		}
		locked.Version++
		r = locked
		return nil
	})
	if err != nil || !mine {
		return r, err
	}
	cardholder, err := a.cardholder(ctx, r)
	if errors.Is(err, errNoDocument) {
		return a.notTaken(ctx, r, err.Error())
	}
	if err != nil {
		return r, errors.Join(err, a.submissionDue(ctx, r.ID)) // nothing was sent
	}
	holder, err := a.Issuer.SubmitKYC(ctx, cardholder)
	if err == nil {
		return a.apply(ctx, r.ID, a.event(verdictEvent(holder, a.at)))
	}
	if provider.OutcomeOf(err) != provider.Refused {
		return r, err // still Sending: looked up next time
	}
	reason := pokepay.ReasonOf(err)
	if reason == pokepay.ReasonIDNumberUsed || reason == pokepay.ReasonDuplicate {
		// What is registered already may be this very attempt.
		if known, found, err := a.knownCardholder(ctx, r); err != nil || found {
			return known, err
		}
	}
	no := Event{Kind: IssuerSaid, Verdict: Refused, At: a.at}
	var failed *provider.Error
	if errors.As(err, &failed) {
		no.Text = clipText(failed.StaffText)
	}
	switch reason {
	case pokepay.ReasonIDNumberUsed, pokepay.ReasonDuplicate:
		no.Verdict = DocumentTaken
	case pokepay.ReasonNameInvalid:
		no.Verdict, no.Reason = Mismatch, ReasonNameInvalid
	case pokepay.ReasonEmailUsed:
		no.Reason = ReasonEmailTaken
	default:
		if !aboutCardholder(failed) {
			return r, errors.Join(err, a.submissionDue(ctx, r.ID))
		}
		a.Log.WarnContext(ctx, "the issuer refuses a cardholder in words that we do not know", "record_id", r.ID, "error", err)
		if no.Text == "" {
			no.Text = failed.Error()
		}
		return a.notTaken(ctx, r, no.Text)
	}
	// The words are meant for us and not for the customer, who reads the text of the code.
	no.Hidden = true
	return a.apply(ctx, r.ID, a.event(no))
}

// knownCardholder looks the attempt up at the issuer and applies what is found.
func (a asking) knownCardholder(ctx context.Context, r Record) (Record, bool, error) {
	holder, found, err := a.findCardholder(ctx, r)
	if err != nil || !found {
		return r, false, err
	}
	r, err = a.apply(ctx, r.ID, a.event(verdictEvent(holder, a.at)))
	return r, true, err
}

// submissionDue puts a submission back that certainly had no effect.
func (a asking) submissionDue(ctx context.Context, id int64) error {
	return a.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		r, err := a.lockRecord(ctx, tx, id)
		if err != nil || r.Submission != Sending {
			return err
		}
		r.Submission = Due
		return a.store.save(ctx, tx, r)
	})
}

// aboutCardholder tells whether a refusal is about what was sent, and not about us, our haste or the way there. The issuer can say
// those in its envelope as well as in the HTTP status.
func aboutCardholder(failed *provider.Error) bool {
	return !failed.Temporary() && !noAccess(failed) && failed.Code != "403" && failed.Code != "429"
}

// notTaken puts a submission back that was refused for what it says, and gives it up after submissionsAtMost of them: the attempt
// fails with a case that tells staff why, and the customer can correct what they typed and try again.
func (a asking) notTaken(ctx context.Context, r Record, why string) (Record, error) {
	var out Record
	err := a.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		r, err := a.lockRecord(ctx, tx, r.ID)
		out = r
		if err != nil || r.Submission != Sending {
			return err
		}
		r.Submission = Due
		if err := a.store.save(ctx, tx, r); err != nil {
			return err
		}
		r.Version++
		out = r
		now := a.Clock.Now()
		if now.Before(a.at) {
			now = a.at // clocks of replicas differ; a state begins before what happens in it
		}
		if err := a.store.appendEvent(ctx, tx, r.ID, r.Status, r.Status, a.event(Event{Kind: submissionRefused}), why, now); err != nil {
			return err
		}
		refusals, err := a.store.countEvents(ctx, tx, r.ID, submissionRefused, r.EnteredAt)
		if err != nil || refusals < submissionsAtMost {
			return err
		}
		out, err = a.step(ctx, tx, r, a.event(Event{Kind: Broke, At: now, Text: fmt.Sprintf("not taken by the issuer, %d times: %s", refusals, why)}))
		return err
	})
	return out, err
}

var errNoDocument = errors.New("approved without a document that could be read")

// cardholder puts together what the issuer wants to know, with image links that are fresh.
func (a asking) cardholder(ctx context.Context, r Record) (pokepay.SelfKYC, error) {
	decision, err := a.Didit.Decision(ctx, r.SessionID)
	if err != nil {
		return pokepay.SelfKYC{}, err
	}
	applicant, err := a.applicantOf(ctx, r)
	if err != nil {
		return pokepay.SelfKYC{}, err
	}
	doc, ok := decision.ApprovedDocument()
	if !ok {
		return pokepay.SelfKYC{}, fmt.Errorf("session of record %d: %w", r.ID, errNoDocument)
	}
	selfie := doc.PortraitImage
	for _, l := range decision.LivenessChecks {
		if l.ReferenceImage != "" {
			selfie = l.ReferenceImage
		}
	}
	return pokepay.SelfKYC{
		ClientUID: r.AgentUID, Email: applicant.Email, FirstNameEN: applicant.FirstName, LastNameEN: applicant.LastName,
		BirthDate: doc.DateOfBirth, IDType: documentType(doc.DocumentType), IDNumber: doc.DocumentNumber,
		IDFront: doc.FrontImage, IDBack: doc.BackImage, Selfie: selfie,
		Address: applicant.Address, City: applicant.City, State: applicant.State, PostCode: applicant.PostCode,
		BillCountryCode: applicant.CountryCode, AreaCode: applicant.AreaCode, Phone: applicant.Phone,
	}, nil
}

// documentType maps Didit's words to the issuer's numbers (provider/didit section 7). Identity cards and residence permits are 1.
func documentType(words string) pokepay.IDType {
	switch w := strings.ToLower(words); {
	case strings.Contains(w, "passport"):
		return pokepay.IDPassport
	case strings.Contains(w, "driv"):
		return pokepay.IDDriverLicence
	}
	return pokepay.IDCard
}

// clipText bounds what a provider says.
func clipText(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "")
	if runes := []rune(s); len(runes) > 500 {
		return string(runes[:500])
	}
	return s
}
