package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	_ "modernc.org/sqlite" // the "sqlite" driver

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/kyc"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

// This file is what the service is compared with: the least that can answer GET /didit/status at all, in plain net/http and
// the database's driver. It checks the same token with the same key, makes the same query, prepared, over as many connections, and
// writes the same bytes. It has no limits, no request id, no security headers, no metrics, no log, no other route, and the
// text of only those situations that the measured data have.

// statusQuery is the query of the package kyc, word for word.
const statusQuery = `SELECT ` + identity.StandingColumns + `, COALESCE(c.id, 0), COALESCE(c.agent_uid, ''), COALESCE(c.status, ''),
	COALESCE(c.issuer_status, 0), COALESCE(c.issuer_reason, ''), COALESCE(c.reason_code, ''), c.asked_at, c.created_at, c.updated_at
	FROM ` + identity.StandingFrom + ` LEFT JOIN (SELECT r.id, r.agent_uid, r.status, r.issuer_status, r.issuer_reason, r.reason_code,
		r.asked_at, r.created_at, r.updated_at FROM kyc_records r WHERE r.user_id = $1
		ORDER BY CASE r.status WHEN 'approved' THEN 0 ELSE 1 END, r.id DESC LIMIT 1) c ON TRUE`

// foundRow is a row of statusQuery.
type foundRow struct {
	userID                             int64
	userStatus, kycStatus, locale      string
	blocked                            bool
	revoked, expires                   *time.Time
	id, issuer                         int64
	agentUID, status, reason, itsCause string
	asked, created, updated            *time.Time
}

func (f *foundRow) dest() []any {
	return []any{&f.userID, &f.userStatus, &f.kycStatus, &f.blocked, &f.revoked, &f.expires, &f.locale,
		&f.id, &f.agentUID, &f.status, &f.issuer, &f.reason, &f.itsCause, &f.asked, &f.created, &f.updated}
}

// onSQLite are the destinations for SQLite, where times are texts.
func (f *foundRow) onSQLite() []any {
	dest := f.dest()
	for i, d := range dest {
		if t, ok := d.(**time.Time); ok {
			dest[i] = timeText{t}
		}
	}
	return dest
}

type timeText struct{ to **time.Time }

// Scan implements sql.Scanner.
func (t timeText) Scan(src any) error {
	text, there := src.(string)
	if !there {
		*t.to = nil
		return nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	*t.to = &at
	return err
}

type statusAnswer struct {
	Status    string        `json:"status"`
	KYC       string        `json:"user_kyc_status"`
	CanSubmit bool          `json:"can_submit_kyc"`
	Message   string        `json:"message"`
	Latest    *latestRecord `json:"latest_kyc,omitempty"`
}

type latestRecord struct {
	ID         int64  `json:"id"`
	AgentUID   string `json:"agent_uid"`
	Status     string `json:"status"`
	Issuer     int64  `json:"pokepay_status"`
	FailReason string `json:"fail_reason,omitempty"`
	Created    string `json:"created_at"`
	Updated    string `json:"updated_at"`
}

// serveBaseline listens on a port of its own, prints it, and answers until it is killed.
func serveBaseline(ctx context.Context) error {
	query, err := openBaseline(ctx, os.Getenv(databaseVariable))
	if err != nil {
		return err
	}
	key, err := base64.StdEncoding.DecodeString(os.Getenv(keyVariable))
	if err != nil {
		return err
	}
	texts, err := i18n.Load(kyc.Locales)
	if err != nil {
		return err
	}
	text := func(key string) string { return texts.Get(i18n.English, "kyc.status."+key, nil) }
	none, verified, processing, rejected := text("none"), text("verified"), text("processing"), text("rejected")

	mux := http.NewServeMux()
	mux.HandleFunc("GET /didit/status", func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			http.Error(w, "no token", http.StatusUnauthorized)
			return
		}
		userID, sessionID, err := checkToken(token, key)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		var f foundRow
		if err := query(r.Context(), &f, userID, sessionID); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if f.userID == 0 || f.expires == nil || f.revoked != nil || !time.Now().Before(*f.expires) || f.userStatus == "closed" {
			http.Error(w, "no session", http.StatusUnauthorized)
			return
		}
		a := statusAnswer{Status: "success", KYC: "none", CanSubmit: true, Message: none}
		if f.id != 0 {
			a.Latest = &latestRecord{ID: f.id, AgentUID: f.agentUID, Status: f.status, Issuer: 1,
				Created: f.created.UTC().Format(time.RFC3339), Updated: f.updated.UTC().Format(time.RFC3339)}
			switch f.status {
			case "approved":
				a.KYC, a.CanSubmit, a.Message, a.Latest.Issuer = "verified", false, verified, 2
			case "processing":
				a.KYC, a.CanSubmit, a.Message = "pending", false, processing
			case "rejected":
				a.KYC, a.Message, a.Latest.Issuer, a.Latest.FailReason = "rejected", rejected, 3, f.reason
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a)
	})
	// The same without token and query: what the generator of the load and net/http alone come to.
	mux.HandleFunc("GET /nothing", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}\n")) })

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, mux)
}

// openBaseline opens the database as the service does: with as many connections, and on SQLite with the same pragmas.
func openBaseline(ctx context.Context, address string) (func(context.Context, *foundRow, int64, string) error, error) {
	if path, ok := strings.CutPrefix(address, "sqlite://"); ok {
		pragmas := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "cache_size(-16000)",
			"mmap_size(2147418112)", "temp_store(MEMORY)", "query_only(ON)"}}
		lite, err := sql.Open("sqlite", "file:"+path+"?"+pragmas.Encode())
		if err != nil {
			return nil, err
		}
		readers := max(4, 2*runtime.NumCPU())
		lite.SetMaxOpenConns(readers)
		lite.SetMaxIdleConns(readers)
		prepared, err := lite.PrepareContext(ctx, statusQuery)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, f *foundRow, userID int64, sessionID string) error {
			return prepared.QueryRowContext(ctx, userID, sessionID).Scan(f.onSQLite()...)
		}, nil
	}
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 20
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, f *foundRow, userID int64, sessionID string) error {
		return pool.QueryRow(ctx, statusQuery, userID, sessionID).Scan(f.dest()...)
	}, nil
}

// checkToken checks a JWT's HMAC-SHA256 signature and expiry and nothing else.
func checkToken(token string, key []byte) (userID int64, sessionID string, err error) {
	signed, signature, ok := cutLast(token, ".")
	_, payload, ok2 := strings.Cut(signed, ".")
	if !ok || !ok2 {
		return 0, "", errors.New("no JWT")
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	given, err := base64.RawURLEncoding.DecodeString(signature)
	if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		return 0, "", errors.New("bad signature")
	}
	plain, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return 0, "", err
	}
	var c struct {
		Subject string `json:"sub"`
		Session string `json:"sid"`
		Expires int64  `json:"exp"`
	}
	if err := json.Unmarshal(plain, &c); err != nil {
		return 0, "", err
	}
	if time.Now().Unix() >= c.Expires {
		return 0, "", errors.New("expired")
	}
	userID, err = strconv.ParseInt(c.Subject, 10, 64)
	return userID, c.Session, err
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
