-- +goose Up

-- For a day after a change of e-mail address, phone or a password nothing is withdrawn.
ALTER TABLE users ADD COLUMN withdrawals_blocked_until TIMESTAMPTZ;

-- The six digits that confirm a transfer. Whoever compares them locks the row first, so that tries in parallel are counted one by one.
CREATE TABLE transaction_passwords (
    user_id        BIGINT NOT NULL PRIMARY KEY REFERENCES users (id),
    salt           BYTEA NOT NULL,
    password_hash  BYTEA NOT NULL,                   -- keyed, with user and salt
    failures       INTEGER NOT NULL DEFAULT 0,       -- wrong tries in a row
    failed_at      TIMESTAMPTZ,                      -- the last of them
    locked_until   TIMESTAMPTZ,
    set_at         TIMESTAMPTZ NOT NULL
);

-- A transaction password that waits for its code; a new request replaces the former.
CREATE TABLE pending_transaction_passwords (
    user_id        BIGINT NOT NULL PRIMARY KEY REFERENCES users (id),
    token_hash     BYTEA NOT NULL,                   -- keyed; the token is the temp_hash of the app
    salt           BYTEA NOT NULL,
    password_hash  BYTEA NOT NULL,
    expires_at     TIMESTAMPTZ NOT NULL,
    completed_at   TIMESTAMPTZ
);
CREATE INDEX pending_transaction_passwords_expires_at ON pending_transaction_passwords (expires_at);

-- A new e-mail address or phone number that waits for its codes; a new request replaces the former.
CREATE TABLE contact_changes (
    user_id        BIGINT NOT NULL REFERENCES users (id),
    kind           TEXT NOT NULL,                    -- email, phone
    contact_index  BYTEA NOT NULL,                   -- blind index of the new one, which every step names again
    verified_at    TIMESTAMPTZ,                      -- the code that was sent there was right
    completed_at   TIMESTAMPTZ,
    updated_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, kind)
);
CREATE INDEX contact_changes_updated_at ON contact_changes (updated_at);

-- +goose Down
DROP TABLE contact_changes;
DROP TABLE pending_transaction_passwords;
DROP TABLE transaction_passwords;
ALTER TABLE users DROP COLUMN withdrawals_blocked_until;
