-- +goose Up

-- What the wallet keeps of a customer. Whoever writes a customer's history locks this row first, after the ledger's accounts.
CREATE TABLE wallet_customers (
    user_id          BIGINT NOT NULL PRIMARY KEY REFERENCES users (id),
    entries          BIGINT NOT NULL DEFAULT 0,      -- number of the newest entry of the history
    day              BIGINT NOT NULL DEFAULT 0,      -- day the sums below belong to, counted in UTC from 1970
    transferred      BIGINT NOT NULL DEFAULT 0,      -- sent to other customers on that day, in millionths of a USDT
    withdrawn        BIGINT NOT NULL DEFAULT 0,      -- withdrawals asked for on that day and not refused since, likewise
    revoked_at       TIMESTAMPTZ                     -- when a verification was revoked: nothing is sent until they are verified again
) WITH (fillfactor = 70);

-- The history that a customer sees, numbered without gaps, so that any page is found by its numbers.
CREATE TABLE wallet_entries (
    user_id          BIGINT NOT NULL,
    number           BIGINT NOT NULL,                -- 1, 2, 3 … of the customer
    type             TEXT NOT NULL,                  -- deposit, withdraw, transfer … (contract/money section 2.2)
    status           TEXT NOT NULL,                  -- pending, completed, failed, cancelled, approved, rejected, credited
    coin             TEXT NOT NULL,
    amount           BIGINT NOT NULL,                -- ledger units; what went out is negative
    fee              BIGINT NOT NULL DEFAULT 0,      -- of which is a fee
    counterparty     BIGINT NOT NULL DEFAULT 0,      -- the other customer of a transfer; 0: none
    description      TEXT NOT NULL DEFAULT '',
    address          TEXT NOT NULL DEFAULT '',
    tx_hash          TEXT NOT NULL DEFAULT '',
    reference        TEXT NOT NULL,
    source           TEXT NOT NULL,                  -- table of the row behind it: ledger_transactions, deposits, withdrawals
    source_id        BIGINT NOT NULL,
    created_at       TIMESTAMPTZ NOT NULL,
    completed_at     TIMESTAMPTZ,
    PRIMARY KEY (user_id, number)
) WITH (fillfactor = 70) /* SQLite: WITHOUT ROWID */;

-- Which entry was the newest when a session turned to the first page: the pages after it go on from there, whatever has come since.
CREATE TABLE wallet_history_pages (
    session_id       TEXT NOT NULL,
    page_size        INTEGER NOT NULL,
    filter           TEXT NOT NULL,                  -- what was chosen, as a digest; empty: everything
    newest           BIGINT NOT NULL,
    taken_at         TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (session_id, page_size)
);
CREATE INDEX wallet_history_pages_taken_at ON wallet_history_pages (taken_at);

-- Deposit addresses, one per customer and chain. One is never given to another customer.
CREATE TABLE wallet_addresses (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          BIGINT NOT NULL REFERENCES users (id),
    main_coin_type   TEXT NOT NULL,                  -- the chain, as the gateway numbers it
    address          TEXT,                           -- as the gateway wrote it; NULL: asked for, not there yet
    address_key      TEXT,                           -- as it is compared: EVM addresses in lower case
    asked_until      TIMESTAMPTZ,                    -- lease of the job that asks the gateway, or is about to
    created_at       TIMESTAMPTZ NOT NULL,
    UNIQUE (user_id, main_coin_type),
    UNIQUE (main_coin_type, address_key)
);

-- What the gateway's list of coins says about each of ours.
CREATE TABLE gateway_coins (
    coin             TEXT NOT NULL PRIMARY KEY,
    state            TEXT NOT NULL,                  -- usable, missing, mismatched
    symbol           TEXT NOT NULL,
    logo             TEXT NOT NULL,
    checked_at       TIMESTAMPTZ NOT NULL
);

-- +goose Down
DROP TABLE gateway_coins;
DROP TABLE wallet_addresses;
DROP TABLE wallet_history_pages;
DROP TABLE wallet_entries;
DROP TABLE wallet_customers;
