package kyc

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/provider"
	"github.com/comecomepay/comecomepay/internal/provider/didit"
	"github.com/comecomepay/comecomepay/internal/provider/inbound"
)

// inboundArgs works on one stored call.
type inboundArgs struct {
	MessageID int64 `json:"message_id"`
}

// Kind implements river.JobArgs.
func (inboundArgs) Kind() string { return "kyc_inbound" }

// What became of a stored call.
const (
	outcomeApplied = "applied"         // a record was asked about
	outcomeIgnored = "ignored"         // nothing that concerns us
	outcomeUnknown = "unknown_session" // no record, not even later
	outcomeSilence = "unanswered"      // a record, and a provider that did not answer for as long as the call was worked on
)

// inboundAttempts is how often a stored call is worked on: it can overtake the transaction that writes our record, and the
// provider may not answer. The queue waits 1 s, 16 s, 81 s and so on between the attempts: the last one comes after more than an hour.
const inboundAttempts = 8

// ReceiveDidit takes a webhook of Didit: it checks the signature over the raw bytes, stores the call and returns. What it
// says is only a reason to read the session's decision. A repeated delivery is accepted and does nothing.
//
// Errors: ErrSignature. ErrWebhookBody.
func (s *Service) ReceiveDidit(ctx context.Context, header http.Header, body []byte) error {
	if s.Webhooks == nil {
		return ErrSignature
	}
	v, err := s.Webhooks.Verify(header, body)
	if err != nil {
		s.metrics.inbound.WithLabelValues("didit", "refused").Inc()
		s.forged.Warn(ctx, s.Log, s.Clock.Now(), "webhook refused", "provider", "didit", "error", err)
		return ErrSignature.Because(err)
	}
	id, content := v.Event.Identity()
	if id == "" {
		id = content
	}
	_, err = s.keep(ctx, inbound.Message{Provider: "didit", EventID: id, ContentKey: inbound.Digest(content), Signature: string(v.Scheme), Body: body}, header)
	return err
}

// ReceivePokePay takes a callback of the issuer, whose form and signature nobody knows (provider/pokepay section 6.6): the
// secret path is its only credential, and its content only a reason to ask. It names no event: the same bytes may be a second
// delivery or news, so they are stored once and are a reason to ask each time.
//
// Errors: ErrNoSuchReceiver for a wrong key, ErrSignature, ErrWebhookBody.
func (s *Service) ReceivePokePay(ctx context.Context, key string, header http.Header, body []byte) error {
	want := s.CallbackKey.Reveal()
	if want == "" || subtle.ConstantTimeCompare([]byte(key), []byte(want)) != 1 {
		return ErrNoSuchReceiver
	}
	if secret := s.CallbackSecret.Reveal(); secret != "" && !s.callbackSigned(secret, header, body) {
		s.metrics.inbound.WithLabelValues("pokepay", "refused").Inc()
		return ErrSignature
	}
	if _, err := provider.ParseObject(body); err != nil {
		return ErrWebhookBody
	}
	content := inbound.Digest(string(body))
	known, err := s.keep(ctx, inbound.Message{Provider: "pokepay", EventID: content, ContentKey: content, Signature: "none", Body: body}, header)
	if err != nil || !known {
		return err
	}
	records, _, err := s.concerned(ctx, "pokepay", body)
	for _, r := range records {
		if err == nil {
			err = s.askOnceMore(ctx, r)
		}
	}
	return err
}

// askOnceMore brings the next question about a record forward to now or, if it was asked a moment ago, to askAgainAfter since then.
func (s *Service) askOnceMore(ctx context.Context, r Record) error {
	at := s.Clock.Now()
	if r.AskedAt != nil && at.Before(r.AskedAt.Add(askAgainAfter)) {
		at = r.AskedAt.Add(askAgainAfter)
	}
	if r.Status == Cancelled || r.NextPollAt != nil && !r.NextPollAt.After(at) {
		return nil // so that a flood of the same call writes nothing
	}
	return s.store.askBy(ctx, r.ID, at)
}

// callbackSigned checks the signature that callbacks of the simulator can carry; it is not PokePay's (provider/pokepay section 6.7).
func (s *Service) callbackSigned(secret string, header http.Header, body []byte) bool {
	stamp := header.Get("X-Sandbox-Timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || s.Clock.Now().Sub(time.Unix(seconds, 0)).Abs() > didit.DeduplicatedWindow {
		return false
	}
	given, err := hex.DecodeString(header.Get("X-Sandbox-Signature"))
	if err != nil {
		return false
	}
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(stamp + "."))
	m.Write(body)
	return hmac.Equal(given, m.Sum(nil))
}

// keep stores a call and the job that works on it, together. After that it may be answered. known: it was stored before.
func (s *Service) keep(ctx context.Context, m inbound.Message, header http.Header) (known bool, err error) {
	known, err = s.inbound.Keep(ctx, m, header, func(ctx context.Context, tx db.Tx, id int64) error {
		return s.Jobs.Insert(ctx, tx, inboundArgs{id}, jobs.Attempts(inboundAttempts))
	})
	if err != nil {
		return false, err
	}
	result := "stored"
	if known {
		result = "repeated"
	}
	s.metrics.inbound.WithLabelValues(m.Provider, result).Inc()
	return known, nil
}

// handleInbound asks about every record that a stored call may concern. An error means that it is to be worked on again: the call
// has done its work when the provider has answered.
func (s *Service) handleInbound(ctx context.Context, id int64, lastTry bool) error {
	m, err := s.inbound.Find(ctx, id)
	if err != nil {
		return err
	}
	if m.Outcome != inbound.Received {
		return nil
	}
	records, concern, err := s.concerned(ctx, m.Provider, m.Body)
	if err != nil {
		return err
	}
	outcome := outcomeApplied
	switch {
	case !concern:
		outcome = outcomeIgnored
	case len(records) == 0 && !lastTry:
		return fmt.Errorf("message %d: no record yet", id)
	case len(records) == 0:
		outcome = outcomeUnknown
	}
	var unanswered error
	for _, r := range records {
		if err := s.Poll(ctx, r.ID, id); err != nil {
			unanswered = errors.Join(unanswered, fmt.Errorf("record %d: %w", r.ID, err))
		}
	}
	if unanswered != nil {
		if !lastTry {
			return unanswered
		}
		// The poller goes on with it.
		s.Log.WarnContext(ctx, "webhook leads to a question that nobody answers", "message_id", id, "error", unanswered)
		outcome = outcomeSilence
	}
	return s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		return s.inbound.SetOutcome(ctx, tx, id, outcome)
	})
}

// concerned finds the records that a call is about; concern is false for calls that no record can be about.
func (s *Service) concerned(ctx context.Context, from string, body []byte) (records []Record, concern bool, err error) {
	if from == "didit" {
		event, err := didit.ParseEvent(body)
		if err != nil || event.Ignorable() || event.SessionID == "" {
			return nil, false, nil
		}
		records, err = s.store.bySession(ctx, event.SessionID)
		return records, true, err
	}
	object, err := provider.ParseObject(body)
	if err != nil {
		return nil, false, nil
	}
	if uid := object.Text("agent_uid", "client_uid"); uid != "" {
		r, err := s.store.findByAgentUID(ctx, s.DB, clipText(uid))
		if err == nil {
			return []Record{r}, true, nil
		}
		if err != db.ErrNoRows {
			return nil, true, err
		}
	}
	if id, ok := object.Int("kyc_id"); ok && id > 0 {
		records, err = s.store.byIssuerID(ctx, id)
		return records, true, err
	}
	return nil, object.Has("agent_uid") || object.Has("client_uid"), nil
}

// Returned takes note that the customer's browser came back from the verification page with a status. It proves nothing: it is
// a reason to ask, and lets an attempt of the issuer's channel count as handed in, which only its own customer can bring about.
func (s *Service) Returned(ctx context.Context, agentUID, sessionID, status string) error {
	r, err := s.store.findByAgentUID(ctx, s.DB, agentUID)
	if err != nil || r.SessionID == "" || r.SessionID != sessionID || !r.Status.Open() {
		return nil // nobody learns from the page what exists
	}
	switch didit.ParseStatus(status) {
	case didit.StatusApproved, didit.StatusDeclined, didit.StatusInReview:
		if r.Status == PendingSubmit && r.Channel == ViaPokePay {
			if _, err := s.apply(ctx, r.ID, Event{Kind: DocumentsReceived, At: s.Clock.Now(), Source: FromCustomer, Text: "returned from the verification page"}); err != nil {
				return err
			}
		}
	}
	s.hint(r.ID)
	return nil
}
