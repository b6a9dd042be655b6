-- +goose Up

-- What the gateway has reported to have come in, one row per trade of its.
CREATE TABLE deposits (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trade_id         TEXT NOT NULL UNIQUE,           -- the gateway's
    user_id          BIGINT REFERENCES users (id),   -- whose address it came to; NULL: nobody's that we know
    coin             TEXT NOT NULL,                  -- empty: none that we know
    state            TEXT NOT NULL,                  -- seen, credited, suspense, unclear, dismissed
    said             INTEGER NOT NULL,               -- the gateway's status that counts
    main_coin_type   TEXT NOT NULL,
    coin_type        TEXT NOT NULL,
    address          TEXT NOT NULL,
    address_key      TEXT NOT NULL,                  -- as it is compared
    tx_id            TEXT NOT NULL,
    amount           TEXT NOT NULL,                  -- exact, in base units
    decimals         INTEGER NOT NULL,               -- of amount, as the gateway says
    fee              TEXT NOT NULL,                  -- as the gateway wrote it; unit unknown (provider/udun section 5.1)
    units            BIGINT NOT NULL,                -- in the ledger's scale, cut off; 0: cannot be told
    remainder        TEXT NOT NULL,                  -- what was cut off, in base units
    stale            BOOLEAN NOT NULL,               -- a callback about it was signed at another time than it came
    entry            BIGINT NOT NULL,                -- its number in the customer's history; 0: none
    transaction_id   BIGINT,                         -- ledger transaction that booked it, to the customer or to suspense
    resolution_id    BIGINT,                         -- ledger transaction by which an operator took it out of suspense
    reason           TEXT NOT NULL,                  -- why it is in suspense or unclear; empty otherwise
    seen_at          TIMESTAMPTZ NOT NULL,
    booked_at        TIMESTAMPTZ,
    due_at           TIMESTAMPTZ                     -- when somebody must look why it is not final; NULL: never
);
CREATE INDEX deposits_same ON deposits (tx_id, address_key);
CREATE INDEX deposits_user_id ON deposits (user_id, id);
CREATE INDEX deposits_due_at ON deposits (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deposits_open ON deposits (id) WHERE state IN ('seen', 'suspense', 'unclear');

-- What customers want to have sent out.
CREATE TABLE withdrawals (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    business_id      TEXT NOT NULL UNIQUE,           -- ours, what makes a repeated order harmless (provider/udun section 3.2)
    user_id          BIGINT NOT NULL REFERENCES users (id),
    coin             TEXT NOT NULL,
    units            BIGINT NOT NULL,                -- all that leaves the balance, in the ledger's scale
    fee              BIGINT NOT NULL,                -- of which is ours
    worth            BIGINT NOT NULL,                -- in millionths of a USDT, counted in the sum of the day; -1: no price
    day              BIGINT NOT NULL,                -- the day of that sum
    address          TEXT NOT NULL,
    address_key      TEXT NOT NULL,                  -- as it is compared
    state            TEXT NOT NULL,                  -- review, approved, sending, sent, processing, completed, refused, failed
    waits_for        TEXT NOT NULL,                  -- why it is in review: limit, customer, gateway; empty otherwise
    attempts         INTEGER NOT NULL,               -- orders begun
    uncertain        BOOLEAN NOT NULL,               -- an earlier order has no answer: it may be at the gateway
    said             INTEGER NOT NULL,               -- the gateway's newest status; -1: none yet
    trade_id         TEXT NOT NULL,                  -- the gateway's; empty until it says
    tx_id            TEXT NOT NULL,
    entry            BIGINT NOT NULL,                -- its number in the customer's history
    hold_id          BIGINT NOT NULL,                -- ledger transaction that reserved the money
    end_id           BIGINT,                         -- ledger transaction that paid or released it
    version          BIGINT NOT NULL,
    requested_at     TIMESTAMPTZ NOT NULL,
    entered_at       TIMESTAMPTZ NOT NULL,           -- when the state began
    ordered_at       TIMESTAMPTZ,                    -- when the first order began, since it was last in review
    ended_at         TIMESTAMPTZ,
    busy_until       TIMESTAMPTZ,                    -- lease of whoever is ordering
    next_at          TIMESTAMPTZ                     -- when it is looked at again; NULL: when somebody decides
);
CREATE INDEX withdrawals_user_id ON withdrawals (user_id, id);
CREATE INDEX withdrawals_requested_at ON withdrawals (user_id, requested_at);
CREATE INDEX withdrawals_next_at ON withdrawals (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX withdrawals_open ON withdrawals (id) WHERE ended_at IS NULL;

-- The history of withdrawals, for staff. Append-only.
CREATE TABLE withdrawal_events (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    withdrawal_id    BIGINT NOT NULL REFERENCES withdrawals (id),
    event            TEXT NOT NULL,
    state            TEXT NOT NULL,                  -- after it
    actor            TEXT NOT NULL,                  -- operator; empty: the program
    detail           TEXT NOT NULL,
    at               TIMESTAMPTZ NOT NULL
);
CREATE INDEX withdrawal_events_withdrawal_id ON withdrawal_events (withdrawal_id, id);

-- Per coin what the gateway should hold beyond the ledger, and how the last comparison came out.
CREATE TABLE gateway_custody (
    coin             TEXT NOT NULL PRIMARY KEY,
    remainder        TEXT NOT NULL,                  -- what was cut off deposits, in base units
    difference       TEXT NOT NULL,                  -- gateway less what is expected, in whole coins; empty: never compared
    differs_since    TIMESTAMPTZ,
    compared_at      TIMESTAMPTZ NOT NULL,           -- of a coin that never was: since when it should be
    bookings         BIGINT NOT NULL                 -- how often an operator has booked a difference
);

-- Every comparison of the ledger with the gateway.
CREATE TABLE reconciliations (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    coin             TEXT NOT NULL,
    at               TIMESTAMPTZ NOT NULL,
    ledger           TEXT NOT NULL,                  -- in whole coins, as all that follows
    gateway          TEXT NOT NULL,
    least            TEXT NOT NULL,                  -- what the gateway may hold, with all that is under way gone
    most             TEXT NOT NULL,                  -- and with all that is coming there
    difference       TEXT NOT NULL                   -- 0: within these
);
CREATE INDEX reconciliations_at ON reconciliations (at);

-- Work that one replica does for all.
CREATE TABLE wallet_leases (
    name             TEXT NOT NULL PRIMARY KEY,
    held_until       TIMESTAMPTZ NOT NULL
);

-- Calls that nobody has done with yet.
CREATE INDEX inbound_messages_unhandled ON inbound_messages (received_at) WHERE outcome = 'received';

-- +goose Down
DROP INDEX inbound_messages_unhandled;
DROP TABLE wallet_leases;
DROP TABLE reconciliations;
DROP TABLE gateway_custody;
DROP TABLE withdrawal_events;
DROP TABLE withdrawals;
DROP TABLE deposits;
