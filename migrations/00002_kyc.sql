-- +goose Up

-- One attempt of a customer to be verified.
CREATE TABLE kyc_records (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id          BIGINT NOT NULL REFERENCES users (id),
    agent_uid        TEXT NOT NULL UNIQUE,           -- our reference at the issuer, made before any call
    channel          TEXT NOT NULL,                  -- pokepay, didit
    status           TEXT NOT NULL,                  -- the eight words of the contract
    is_open          INTEGER,                        -- 1 while pending_submit, pending or processing, else NULL
    issuer_status    INTEGER NOT NULL DEFAULT 0,     -- 1 to 6, 0: the issuer has said nothing yet
    issuer_reason    TEXT NOT NULL DEFAULT '',       -- as the issuer gave it
    reason_code      TEXT NOT NULL DEFAULT '',       -- ours; its text is in the customer's language
    issuer_kyc_id    BIGINT,                         -- the cardholder's id at the issuer
    session_id       TEXT NOT NULL DEFAULT '',       -- verification session; not unique, a provider may hand one out twice
    session_url      BYTEA,                          -- sealed: it opens the flow
    session_state    TEXT NOT NULL,                  -- requested, open, denied: where the call that makes the session stands
    session_until    TIMESTAMPTZ NOT NULL,           -- requested: the call's lease; open: when the link runs out; denied: none is asked for before
    didit_status     TEXT NOT NULL DEFAULT '',       -- newest word of Didit about the session
    submission       TEXT NOT NULL DEFAULT '',       -- channel didit, handing the cardholder to the issuer: '', due, sending, done
    submitted_at     TIMESTAMPTZ,                    -- when sending began
    applicant        BYTEA NOT NULL,                 -- sealed: what the customer typed
    entered_at       TIMESTAMPTZ NOT NULL,           -- when the present status began
    deadline_at      TIMESTAMPTZ,                    -- when it ends by itself; NULL: never
    asked_at         TIMESTAMPTZ,                    -- when a provider was last asked
    answered_at      TIMESTAMPTZ,                    -- when the question was asked whose answer was applied last
    next_poll_at     TIMESTAMPTZ,                    -- NULL: not asked any more
    queued_at        TIMESTAMPTZ,                    -- since when a question waits in the queue, not yet asked; NULL: none does
    version          INTEGER NOT NULL DEFAULT 1,
    created_at       TIMESTAMPTZ NOT NULL,
    updated_at       TIMESTAMPTZ NOT NULL
);
-- At most one open attempt per customer, whoever asks and however often.
CREATE UNIQUE INDEX kyc_records_one_open ON kyc_records (user_id, is_open);
CREATE INDEX kyc_records_user_id ON kyc_records (user_id, id);
CREATE INDEX kyc_records_status ON kyc_records (status, id);
CREATE INDEX kyc_records_next_poll_at ON kyc_records (next_poll_at) WHERE next_poll_at IS NOT NULL;
CREATE INDEX kyc_records_session_id ON kyc_records (session_id) WHERE session_id <> '';
CREATE INDEX kyc_records_issuer_kyc_id ON kyc_records (issuer_kyc_id) WHERE issuer_kyc_id IS NOT NULL;

-- Why a record is what it is, and who said so when. Append-only.
CREATE TABLE kyc_events (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    record_id        BIGINT NOT NULL REFERENCES kyc_records (id),
    kind             TEXT NOT NULL,
    from_status      TEXT NOT NULL,
    to_status        TEXT NOT NULL,
    source           TEXT NOT NULL,                  -- customer, webhook, poll, timer, operator
    actor            TEXT NOT NULL DEFAULT '',
    why              TEXT NOT NULL DEFAULT '',       -- original text; staff only
    message_id       BIGINT,
    created_at       TIMESTAMPTZ NOT NULL
);
CREATE INDEX kyc_events_record_id ON kyc_events (record_id, id);

-- Raw calls of providers, stored before they are answered.
CREATE TABLE inbound_messages (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider         TEXT NOT NULL,
    event_id         TEXT NOT NULL,                  -- the provider's name of the event, else the same as content_key
    content_key      TEXT NOT NULL,                  -- what it says, for providers that name each delivery anew
    signature        TEXT NOT NULL,                  -- which signature fitted; none: unsigned provider
    headers          BYTEA NOT NULL,                 -- sealed JSON
    body             BYTEA NOT NULL,                 -- sealed raw bytes
    outcome          TEXT NOT NULL DEFAULT 'received',
    received_at      TIMESTAMPTZ NOT NULL,
    handled_at       TIMESTAMPTZ,
    UNIQUE (provider, event_id),
    UNIQUE (provider, content_key)
);
CREATE INDEX inbound_messages_received_at ON inbound_messages (received_at);

-- What a person has to look at.
CREATE TABLE operator_cases (
    id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind             TEXT NOT NULL,
    subject          TEXT NOT NULL,
    detail           TEXT NOT NULL,
    opened_at        TIMESTAMPTZ NOT NULL,
    closed_at        TIMESTAMPTZ,
    is_open          INTEGER                         -- 1 until closed, then NULL
);
CREATE INDEX operator_cases_open ON operator_cases (is_open, id) WHERE is_open = 1;
CREATE INDEX operator_cases_open_subject ON operator_cases (subject) WHERE is_open = 1;
CREATE UNIQUE INDEX operator_cases_one_open ON operator_cases (kind, subject, is_open);

-- +goose Down
DROP TABLE operator_cases;
DROP TABLE inbound_messages;
DROP TABLE kyc_events;
DROP TABLE kyc_records;
