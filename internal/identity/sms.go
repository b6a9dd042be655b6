package identity

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/platform/sms"
)

// textJob sends one SMS with a code. Number and code are sealed, bound to the job by Ref.
type textJob struct {
	Ref    string `json:"ref"`
	Locale string `json:"locale"`
	Sealed []byte `json:"sealed"`
}

// Kind implements river.JobArgs.
func (textJob) Kind() string { return "identity_sms" }

// shortText is the sealed part of a textJob.
type shortText struct {
	To      string    `json:"to"`
	Code    string    `json:"code"`
	StaleAt time.Time `json:"stale_at"`
}

// textAttempts spread over less than the lifetime of a code.
const textAttempts = 5

// textCode inserts a job that sends a code by SMS.
func (s *Service) textCode(ctx context.Context, tx db.Tx, locale i18n.Locale, to string, code secret.Text, now time.Time) error {
	ref, err := s.newID()
	if err != nil {
		return err
	}
	plain, err := json.Marshal(shortText{to, code.Reveal(), now.Add(codeLifetime)})
	if err != nil {
		return errors.New("sms: parameters cannot be stored")
	}
	sealed, err := s.vault.Seal(plain, jobPlace(ref))
	if err != nil {
		return err
	}
	return s.jobs.Insert(ctx, tx, textJob{Ref: ref, Locale: string(s.locale(locale)), Sealed: sealed}, jobs.Attempts(textAttempts))
}

// sendText is the worker of textJob. Run again, it sends the same SMS under the same reference, by which a gateway can tell.
func (s *Service) sendText(ctx context.Context, job textJob) error {
	outcome, err := s.deliverText(ctx, job)
	s.metrics.texts.WithLabelValues(outcome).Inc()
	return err
}

func (s *Service) deliverText(ctx context.Context, job textJob) (outcome string, err error) {
	plain, err := s.vault.Open(job.Sealed, jobPlace(job.Ref))
	if err != nil {
		return "failed", err
	}
	var t shortText
	if err := json.Unmarshal(plain, &t); err != nil {
		return "failed", river.JobCancel(errors.New("sms: text cannot be read"))
	}
	if !s.clock.Now().Before(t.StaleAt) {
		return "stale", nil
	}
	if s.sms == nil {
		return "failed", errors.New("sms: no gateway is configured any more")
	}
	text := s.texts.Get(i18n.Locale(job.Locale), "sms.code", map[string]any{"Brand": s.brand, "Code": t.Code, "Minutes": int(codeLifetime / time.Minute)})
	if err := s.sms.Send(ctx, sms.Message{Reference: job.Ref, To: t.To, Text: text}); err != nil {
		var refused *sms.DeliveryError
		if errors.As(err, &refused) && refused.Permanent {
			return "refused", river.JobCancel(err)
		}
		return "failed", err
	}
	return "sent", nil
}
