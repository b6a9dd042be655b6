package identity

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"

	"github.com/alexedwards/argon2id"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/comecomepay/comecomepay/internal/platform/clock"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
	"github.com/comecomepay/comecomepay/internal/platform/sms"
)

// Options is what the service needs.
type Options struct {
	DB                  db.DB
	Jobs                jobs.Inserter
	Vault               *secret.Vault
	Clock               clock.Clock
	Random              io.Reader // codes, session ids; safe for concurrent use. nil: crypto/rand
	Texts               *i18n.Texts
	SMS                 sms.Sender // nil: nobody can change their phone number
	Log                 *slog.Logger
	Keys                []TokenKey       // the first signs, all are accepted; at least one, each valid (TokenKey.Validate)
	PasswordParallelism int              // password hashes computed at once; 0: one per core
	PasswordCost        *argon2id.Params // nil: DefaultPasswordCost
	DefaultLocale       i18n.Locale      // where a request names none; empty: Chinese
	Brand               string           // the product's name in mail; empty: ComeComePay
	SpareLoopback       bool             // sandbox: no limits per network address on loopback
	Registerer          prometheus.Registerer
}

// Service is the capability. It is safe for concurrent use; all that matters lives in the database.
type Service struct {
	db            db.DB
	jobs          jobs.Inserter
	vault         *secret.Vault
	clock         clock.Clock
	random        io.Reader
	texts         *i18n.Texts
	sms           sms.Sender // may be nil
	log           *slog.Logger
	keys          []signingKey
	passwordCost  *argon2id.Params
	passwordSlots *semaphore.Weighted
	logins        singleflight.Group // tries of a password that are being checked
	dummyHash     string
	defaultLocale i18n.Locale
	brand         string
	spareLoopback bool
	created       []func(ctx context.Context, tx db.Tx, userID int64) error
	metrics       *metrics
}

// New makes the service. It panics without a usable key: configuration is checked before, with TokenKey.Validate.
func New(o Options) *Service {
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.PasswordParallelism <= 0 {
		o.PasswordParallelism = runtime.GOMAXPROCS(0)
	}
	if o.PasswordCost == nil {
		o.PasswordCost = DefaultPasswordCost
	}
	if o.DefaultLocale == "" {
		o.DefaultLocale = i18n.Chinese
	}
	if o.Brand == "" {
		o.Brand = "ComeComePay"
	}
	return &Service{
		db: o.DB, jobs: o.Jobs, vault: o.Vault, clock: o.Clock, random: o.Random, texts: o.Texts, sms: o.SMS, log: o.Log,
		keys:         signingKeys(o.Keys),
		passwordCost: o.PasswordCost, passwordSlots: semaphore.NewWeighted(int64(o.PasswordParallelism)),
		dummyHash:     dummyHash(o.PasswordCost),
		defaultLocale: o.DefaultLocale, brand: o.Brand, spareLoopback: o.SpareLoopback,
		metrics: newMetrics(o.Registerer),
	}
}

// OnCreated has hook run whenever a customer is made, in the transaction that makes them: either both last or neither. Hooks are
// set before the service is used.
func (s *Service) OnCreated(hook func(ctx context.Context, tx db.Tx, userID int64) error) {
	s.created = append(s.created, hook)
}

// decide runs fn in a transaction that is committed also when fn refuses with a Problem: what a refusal has counted
// (a wrong code, a request too many) must stand. Any other error rolls back. A step that refuses therefore does so
// before it changes anything that should not stand.
func (s *Service) decide(ctx context.Context, fn func(ctx context.Context, tx db.Tx) error) error {
	var refusal error
	err := s.db.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		refusal = nil
		err := fn(ctx, tx)
		if _, ok := problem.Find(err); ok {
			refusal, err = err, nil
		}
		return err
	})
	if err != nil {
		return err
	}
	return refusal
}

func (s *Service) randomBytes(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.random, b); err != nil {
		return nil, fmt.Errorf("randomness: %w", err)
	}
	return b, nil
}

// newID is a random name of 128 bits.
func (s *Service) newID() (string, error) {
	b, err := s.randomBytes(16)
	return base64.RawURLEncoding.EncodeToString(b), err
}

// unambiguous is an alphabet for what people read to each other: without 0 O 1 I.
const unambiguous = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"

var inUnambiguous = base32.NewEncoding(unambiguous).WithPadding(base32.NoPadding)

// newReference is a random text of n characters of the unambiguous alphabet.
func (s *Service) newReference(n int) (string, error) {
	b, err := s.randomBytes(n)
	if err != nil {
		return "", err
	}
	return inUnambiguous.EncodeToString(b)[:n], nil
}

// isReference tells whether a text could have come from newReference.
func isReference(text string, n int) bool {
	return len(text) == n && strings.Trim(text, unambiguous) == ""
}

func (s *Service) locale(l i18n.Locale) i18n.Locale {
	if parsed, ok := i18n.Parse(string(l)); ok {
		return parsed
	}
	return s.defaultLocale
}

// spares tells whether limits per network address leave this address alone.
func (s *Service) spares(address netip.Addr) bool { return s.spareLoopback && address.IsLoopback() }
