-- +goose Up

-- A customer. id is the number shown in the app as "ID" and typed by others as the transfer UID.
-- Personal data is sealed; row_ref is bound into the seal, so that a value cannot be moved to another row.
CREATE TABLE users (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    row_ref        TEXT NOT NULL UNIQUE,
    email_index    BYTEA NOT NULL UNIQUE,            -- blind index of the lower-cased address
    email          BYTEA NOT NULL,                   -- sealed
    password_hash  TEXT NOT NULL,                    -- argon2id
    first_name     BYTEA,                            -- sealed
    last_name      BYTEA,                            -- sealed
    phone          BYTEA,                            -- sealed
    date_of_birth  BYTEA,                            -- sealed, free text as the app sends it
    account_type   TEXT NOT NULL DEFAULT 'personal',
    status         TEXT NOT NULL DEFAULT 'active',   -- active, frozen, closed
    wallet_ref     TEXT NOT NULL UNIQUE,             -- CCP…
    referral_code  TEXT NOT NULL UNIQUE,
    referred_by    BIGINT REFERENCES users (id),
    locale         TEXT NOT NULL,                    -- of the last sign-in: the language of mail
    kyc_status     TEXT NOT NULL DEFAULT 'none',     -- derived from kyc_records, written with them: none, pending, verified, rejected
    kyc_blocked    BOOLEAN NOT NULL DEFAULT FALSE,   -- risk control: no further attempt
    created_at     TIMESTAMPTZ NOT NULL,
    updated_at     TIMESTAMPTZ NOT NULL
);
CREATE INDEX users_referred_by ON users (referred_by);

-- Somebody who has begun to sign up. For a day it stays when the account is made, which then is what counts.
CREATE TABLE registrations (
    email_index    BYTEA NOT NULL PRIMARY KEY,
    row_ref        TEXT NOT NULL,
    email          BYTEA NOT NULL,                   -- sealed
    referral_code  TEXT NOT NULL DEFAULT '',
    verified_at    TIMESTAMPTZ,                      -- the code was right: a password may be set for a short while
    created_at     TIMESTAMPTZ NOT NULL,
    updated_at     TIMESTAMPTZ NOT NULL
);
CREATE INDEX registrations_updated_at ON registrations (updated_at);

-- One-time codes sent by mail. A new code of the same purpose replaces the former.
CREATE TABLE one_time_codes (
    email_index    BYTEA NOT NULL,
    purpose        TEXT NOT NULL,                    -- signup, login, reset
    code_hash      BYTEA NOT NULL,                   -- keyed
    tries          INTEGER NOT NULL DEFAULT 0,
    sent_at        TIMESTAMPTZ NOT NULL,
    expires_at     TIMESTAMPTZ NOT NULL,
    checked_at     TIMESTAMPTZ,                      -- reset: looked at once, still usable
    used_at        TIMESTAMPTZ,
    PRIMARY KEY (email_index, purpose)
);
CREATE INDEX one_time_codes_expires_at ON one_time_codes (expires_at);

-- Wrong codes and wrong passwords, counted per address of mail across codes, known or not.
CREATE TABLE guess_counters (
    subject        BYTEA NOT NULL,
    kind           TEXT NOT NULL,                    -- code, password
    failures       INTEGER NOT NULL DEFAULT 0,
    locked_until   TIMESTAMPTZ,
    updated_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (subject, kind)
);
CREATE INDEX guess_counters_updated_at ON guess_counters (updated_at);

-- Counters of requests, shared by all replicas.
CREATE TABLE rate_windows (
    bucket         BYTEA NOT NULL PRIMARY KEY,       -- keyed hash of what is limited
    started_at     TIMESTAMPTZ NOT NULL,
    hits           INTEGER NOT NULL
);
CREATE INDEX rate_windows_started_at ON rate_windows (started_at);

-- A login on one device. Refresh tokens are not stored: they are computed from id and generation.
CREATE TABLE sessions (
    id             TEXT NOT NULL PRIMARY KEY,
    user_id        BIGINT NOT NULL REFERENCES users (id),
    generation     INTEGER NOT NULL DEFAULT 1,
    rotated_at     TIMESTAMPTZ NOT NULL,
    device         TEXT NOT NULL,                    -- readable form of the user agent
    address        BYTEA,                            -- sealed network address
    created_at     TIMESTAMPTZ NOT NULL,
    last_used_at   TIMESTAMPTZ NOT NULL,
    expires_at     TIMESTAMPTZ NOT NULL,
    revoked_at     TIMESTAMPTZ,
    revoked_why    TEXT
);
CREATE INDEX sessions_expires_at ON sessions (expires_at);
CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX sessions_user_id ON sessions (user_id, created_at);

-- Devices that a customer has signed in from; a new one is announced by mail.
CREATE TABLE known_devices (
    user_id        BIGINT NOT NULL REFERENCES users (id),
    device_hash    BYTEA NOT NULL,
    first_seen_at  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, device_hash)
);

-- What operators did to accounts and verifications. Append-only.
CREATE TABLE audit_log (
    id             BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor          TEXT NOT NULL,
    action         TEXT NOT NULL,                    -- account.freeze, kyc.reject …
    user_id        BIGINT,
    subject        TEXT NOT NULL,
    reason         TEXT NOT NULL,
    created_at     TIMESTAMPTZ NOT NULL
);
CREATE INDEX audit_log_user_id ON audit_log (user_id, id);

-- Answers kept for Idempotency-Key.
CREATE TABLE idempotency_keys (
    key_hash       BYTEA NOT NULL PRIMARY KEY,       -- keyed hash of caller and key
    request_hash   BYTEA NOT NULL,                   -- keyed: a request may hold a code or a password
    status         INTEGER,                          -- NULL while the first request runs
    content_type   TEXT,
    body           BYTEA,                            -- sealed: an answer may hold a token
    created_at     TIMESTAMPTZ NOT NULL
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE audit_log;
DROP TABLE known_devices;
DROP TABLE sessions;
DROP TABLE rate_windows;
DROP TABLE guess_counters;
DROP TABLE one_time_codes;
DROP TABLE registrations;
DROP TABLE users;
