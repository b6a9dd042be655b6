package main

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/migrations"
)

// dataset is a database of its own, with customers and their attempts in it.
type dataset struct {
	url       string
	customers int
	drop      func(context.Context) error
}

// createDatabase makes an empty migrated database. postgres is the address of a server whose role may create databases;
// empty: a SQLite file in dir.
func createDatabase(ctx context.Context, postgres, dir string) (dataset, error) {
	set, err := emptyDatabase(ctx, postgres, dir)
	if err != nil {
		return set, err
	}
	migrate := func() error {
		d, err := db.Open(ctx, set.url, db.Options{MaxConns: 2})
		if err != nil {
			return err
		}
		defer d.Close()
		if _, err := (db.Migrations{Files: migrations.Files}).Up(ctx, d); err != nil {
			return err
		}
		return jobs.Migrate(ctx, d)
	}
	if err := migrate(); err != nil {
		return set, errors.Join(err, set.drop(ctx))
	}
	return set, nil
}

// emptyDatabase makes a database with nothing in it.
func emptyDatabase(ctx context.Context, postgres, dir string) (dataset, error) {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	name := "ccp_bench_" + hex.EncodeToString(b)
	set := dataset{url: "sqlite://" + filepath.Join(dir, name+".db"), drop: func(context.Context) error { return nil }}
	if postgres == "" {
		return set, nil
	}
	u, err := url.Parse(postgres)
	if err != nil {
		return set, errors.New("-postgres is not an address")
	}
	u.Path = "/" + name
	set.url = u.String()
	set.drop = func(ctx context.Context) error {
		return execute(ctx, postgres, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
	}
	return set, execute(ctx, postgres, "CREATE DATABASE "+name)
}

func execute(ctx context.Context, address, statement string) error {
	d, err := db.Open(ctx, address, db.Options{MaxConns: 1})
	if err != nil {
		return err
	}
	defer d.Close()
	_, err = d.Exec(ctx, statement)
	return err
}

// The numbers 1 to $1, which are the customers' ids.
const numbers = `WITH RECURSIVE n (g) AS (SELECT 1 UNION ALL SELECT g + 1 FROM n WHERE g < $1) `

// fillStatements put customers, one session each, and 13 attempts per 10 customers into empty tables. By the last digit of
// the customer's id: 0 has never tried; 1 to 3 are approved and 4 is under review at the first attempt; 5 was rejected; 6
// to 9 were rejected once, and of their second attempts 6 to 8 are approved and 9 is under review.
//
// Sealed columns hold random bytes of the usual length: GET /didit/status does not read them. Open attempts look as if a
// provider was asked about them later than now, and are not polled, so that reading them sets nothing else going.
var fillStatements = []string{
	numbers + `INSERT INTO users (row_ref, email_index, email, password_hash, wallet_ref, referral_code, locale, kyc_status, created_at, updated_at)
		SELECT 'bench-row-' || g, {hash g}, {bytes g},
			'$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA',
			'CCP' || g, 'R' || g, 'en',
			CASE WHEN g % 10 = 0 THEN 'none' WHEN g % 10 IN (4, 9) THEN 'pending' WHEN g % 10 = 5 THEN 'rejected' ELSE 'verified' END,
			{now}, {now} FROM n`,
	numbers + `INSERT INTO sessions (id, user_id, rotated_at, device, address, created_at, last_used_at, expires_at)
		SELECT 'bench-session-' || g, g, {now}, 'App, Android', {bytes g}, {now}, {now}, {later} FROM n`,
	numbers + `INSERT INTO kyc_records (user_id, agent_uid, channel, status, issuer_status, issuer_reason, issuer_kyc_id, session_id, session_state,
			session_until, applicant, entered_at, asked_at, answered_at, created_at, updated_at)
		SELECT g, 'u' || g || '_1700000000_aaaaaaaa', 'pokepay', 'rejected', 3, 'The photo of the document is not clear', 10000000 + g, 'first-' || g, 'open',
			{now}, {bytes g}, {now}, {now}, {now}, {now}, {now} FROM n WHERE g % 10 >= 6`,
	numbers + `INSERT INTO kyc_records (user_id, agent_uid, channel, status, is_open, issuer_status, issuer_reason, issuer_kyc_id, session_id, session_state,
			session_until, applicant, entered_at, asked_at, answered_at, created_at, updated_at)
		SELECT g, 'u' || g || '_1700000001_bbbbbbbb', 'pokepay',
			CASE WHEN g % 10 IN (4, 9) THEN 'processing' WHEN g % 10 = 5 THEN 'rejected' ELSE 'approved' END,
			CASE WHEN g % 10 IN (4, 9) THEN 1 END,
			CASE WHEN g % 10 IN (4, 9) THEN 0 WHEN g % 10 = 5 THEN 3 ELSE 2 END,
			CASE WHEN g % 10 = 5 THEN 'The photo of the document is not clear' ELSE '' END,
			g, 'last-' || g, 'open', {now}, {bytes g}, {now}, {later}, {now}, {now}, {now} FROM n WHERE g % 10 >= 1`,
}

// What the statements need of each engine. Bytes are derived from the id: the statements have no state.
var fillWords = map[db.Engine]*strings.Replacer{
	db.PostgreSQL: strings.NewReplacer("{now}", "CAST($2 AS timestamptz)", "{later}", "CAST($3 AS timestamptz)",
		"{hash g}", "sha256(CAST(CAST(g AS text) AS bytea))", "{bytes g}", "sha512(CAST(CAST(g AS text) AS bytea))"),
	db.SQLite: strings.NewReplacer("{now}", "$2", "{later}", "$3", "{hash g}", "randomblob(32)", "{bytes g}", "randomblob(64)"),
}

// fill puts customers and attempts into a fresh dataset. PostgreSQL takes its statistics at once, as it would by itself later.
func (d *dataset) fill(ctx context.Context, customers int) error {
	store, err := db.Open(ctx, d.url, db.Options{MaxConns: 2})
	if err != nil {
		return err
	}
	defer store.Close()
	d.customers = customers
	if err := fillCustomers(ctx, store, fillStatements, customers, time.Now().UTC()); err != nil {
		return err
	}
	return settle(ctx, store)
}

// fillCustomers runs the statements for customers 1 to so many.
func fillCustomers(ctx context.Context, store db.DB, statements []string, customers int, now time.Time) error {
	words := fillWords[store.Engine()]
	for _, s := range statements {
		args := []any{customers, now}
		if strings.Contains(s, "{later}") {
			args = append(args, now.Add(7*24*time.Hour))
		}
		if _, err := store.Exec(ctx, words.Replace(s), args...); err != nil {
			return fmt.Errorf("fill: %w", err)
		}
	}
	return nil
}

// settle leaves a database as it would be some time after it was filled.
func settle(ctx context.Context, store db.DB) error {
	if lite, ok := store.(*db.Lite); ok {
		// No ANALYZE: nobody runs it on an installation's file either.
		_, err := lite.Writer().ExecContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)")
		return err
	}
	if _, err := store.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return err
	}
	// What was written just now is not to be written out while something is measured. Not every role may ask for it, and then the
	// server does it a little later.
	_, _ = store.Exec(ctx, "CHECKPOINT")
	return nil
}

// maxTokens bounds how many customers are asked about: signing in advance takes no time from the measurement.
const maxTokens = 100_000

const (
	keyID       = "bench"
	tokenIssuer = "comecomepay"
)

// tokenKeys are the keys of a run: the one that the service is configured with, and the one that it derives for access tokens.
type tokenKeys struct{ secret, access []byte }

func newTokenKeys() (tokenKeys, error) {
	k := tokenKeys{secret: make([]byte, 32)}
	_, _ = rand.Read(k.secret)
	var err error
	k.access, err = hkdf.Key(sha256.New, k.secret, nil, "comecomepay/token/access", sha256.Size)
	return k, err
}

// setting is the value of CCP_TOKEN_KEYS.
func (k tokenKeys) setting() string {
	return keyID + ":" + base64.StdEncoding.EncodeToString(k.secret)
}

// someCustomers are customers chosen at random, each once.
func (d *dataset) someCustomers() []int {
	chosen := mathrand.Perm(d.customers)[:min(d.customers, maxTokens)]
	for i := range chosen {
		chosen[i]++
	}
	return chosen
}

// tokens are access tokens of customers, as the service makes them.
func (k tokenKeys) tokens(customers []int) ([]string, error) {
	now := time.Now()
	list := make([]string, len(customers))
	for i, id := range customers {
		t := jwt.NewWithClaims(jwt.SigningMethodHS256, struct {
			jwt.RegisteredClaims
			SessionID string `json:"sid"`
		}{jwt.RegisteredClaims{Issuer: tokenIssuer, Subject: strconv.Itoa(id), IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(24 * time.Hour))},
			"bench-session-" + strconv.Itoa(id)})
		t.Header["kid"] = keyID
		var err error
		if list[i], err = t.SignedString(k.access); err != nil {
			return nil, err
		}
	}
	return list, nil
}
