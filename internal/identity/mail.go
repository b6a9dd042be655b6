package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/mail"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// mailJob sends one mail. Its row in the queue holds nothing that a reader of the database may not see: address, code
// and parameters are sealed, bound to the job by Ref.
type mailJob struct {
	Ref      string `json:"ref"`
	Template string `json:"template"`
	Locale   string `json:"locale"`
	Sealed   []byte `json:"sealed"`
}

// Kind implements river.JobArgs.
func (mailJob) Kind() string { return "identity_mail" }

// letter is the sealed part of a mailJob.
type letter struct {
	To      string         `json:"to"` // empty: goes nowhere, see sendCode
	Code    string         `json:"code,omitempty"`
	StaleAt time.Time      `json:"stale_at,omitzero"` // later it is of no use to anybody and is not sent
	Params  map[string]any `json:"params,omitempty"`
}

// mailAttempts spread over about four hours; a code has run out long before.
const mailAttempts = 10

// jobPlace is where the sealed part of a job stands.
func jobPlace(ref string) secret.Place {
	return secret.Place{Table: "river_job", Column: "args", Row: ref}
}

// post inserts a mail job in the transaction.
func (s *Service) post(ctx context.Context, tx db.Tx, template string, locale i18n.Locale, l letter) error {
	ref, err := s.newID()
	if err != nil {
		return err
	}
	plain, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("mail %s: parameters cannot be stored", template)
	}
	sealed, err := s.vault.Seal(plain, jobPlace(ref))
	if err != nil {
		return err
	}
	return s.jobs.Insert(ctx, tx, mailJob{Ref: ref, Template: template, Locale: string(s.locale(locale)), Sealed: sealed}, jobs.Attempts(mailAttempts))
}

// Notify sends a mail to a customer, in their language, once tx is committed. The capability that calls it brings the
// texts mail.<template>.subject, .heading and .body, and if it likes .note (a second paragraph); params fill their
// places and must be texts, numbers or truth values. A closed account gets mail all the same: it is told that it was closed.
//
// Errors: ErrUserNotFound.
func (s *Service) Notify(ctx context.Context, tx db.Tx, userID int64, template string, params map[string]any) error {
	u, err := userByID(ctx, tx, userID)
	if err != nil {
		return err
	}
	return s.notify(ctx, tx, u, template, params)
}

func (s *Service) notify(ctx context.Context, tx db.Tx, u userRow, template string, params map[string]any) error {
	to, err := s.openEmail(u)
	if err != nil {
		return err
	}
	return s.post(ctx, tx, template, i18n.Locale(u.locale), letter{To: to, Params: params})
}

// RegisterJobs adds the workers of this capability.
func (s *Service) RegisterJobs(q *jobs.Queue, sender mail.Sender) {
	jobs.AddFunc(q, jobs.Mail, func(ctx context.Context, job mailJob) error { return s.sendMail(ctx, sender, job) })
	jobs.AddFunc(q, jobs.Mail, s.sendText)
}

// sendMail is the worker of mailJob. It changes nothing: run again, it sends the same mail again.
func (s *Service) sendMail(ctx context.Context, sender mail.Sender, job mailJob) error {
	outcome, err := s.deliver(ctx, sender, job)
	s.metrics.mail.WithLabelValues(job.Template, outcome).Inc()
	return err
}

func (s *Service) deliver(ctx context.Context, sender mail.Sender, job mailJob) (outcome string, err error) {
	plain, err := s.vault.Open(job.Sealed, jobPlace(job.Ref))
	if err != nil {
		return "failed", err
	}
	var l letter
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.UseNumber() // 1000000 is to be printed as it was written
	if err := decoder.Decode(&l); err != nil {
		return "failed", river.JobCancel(errors.New("mail: letter cannot be read"))
	}
	if l.To == "" {
		return "nobody", nil
	}
	if !l.StaleAt.IsZero() && !s.clock.Now().Before(l.StaleAt) {
		return "stale", nil
	}
	m, err := mail.Render(s.content(job.Template, i18n.Locale(job.Locale), l))
	if err != nil {
		return "failed", river.JobCancel(err)
	}
	m.To = l.To
	if err := sender.Send(ctx, m); err != nil {
		var refused *mail.DeliveryError
		if errors.Is(err, mail.ErrInvalidMessage) || errors.As(err, &refused) && refused.Permanent {
			return "refused", river.JobCancel(err)
		}
		return "failed", err
	}
	return "sent", nil
}

func (s *Service) content(template string, locale i18n.Locale, l letter) mail.Content {
	params := map[string]any{"Brand": s.brand}
	for k, v := range l.Params {
		params[k] = v
	}
	text := func(part string) string {
		key := "mail." + template + "." + part
		if !s.texts.Has(key) {
			return ""
		}
		return s.texts.Get(locale, key, params)
	}
	return mail.Content{
		Locale: string(locale), Brand: s.brand, Subject: text("subject"), Heading: text("heading"),
		Paragraphs: []string{text("body"), text("note")}, Code: l.Code,
		Footer: s.texts.Get(locale, "mail.footer", params),
	}
}
