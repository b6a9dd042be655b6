-- +goose Up

-- What one unit of a currency costs in HKD, and when the issuer is asked next. One row per currency.
CREATE TABLE exchange_rates (
    currency         TEXT NOT NULL PRIMARY KEY,      -- short name: USDT
    hkd              TEXT,                           -- decimal, as the issuer gave it; NULL: it has never said
    as_of            TIMESTAMPTZ,                    -- when the question was asked that hkd answers
    next_ask_at      TIMESTAMPTZ NOT NULL            -- whoever moves it on asks
);

-- +goose Down
DROP TABLE exchange_rates;
