package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// book is a database of customers who have money: one account each, with what they did before in the ledger and in their history.
type book struct {
	dataset
	accounts int         // customers 1 to accounts take part; the next one only reads a long history
	long     int         // entries of that one
	postings int         // of the book before it is measured
	hashKey  secret.Text // CCP_HASH_KEY
}

const (
	asset           = "USDT-TRC20"
	fewAccounts     = 10_000
	hotAccounts     = 10
	openingBalance  = 1_000_000_000_000 // a million USDT
	password        = "739154"
	postingsPerHead = 20 // of an account in the large book, counting the other side of its deposit
)

// A book is made of a deposit for every customer, and then of rounds. In a round everybody sends one USDT to the customer {s} places
// after them, and so gets one from the customer {s} places before: two postings more in each account, and the balance is what it
// was. Whose number is at most {s} sends first and gets later, the others get first. Account 1 is custody, customer g has account g + 1.
//
// {n} is the number of customers, {r} the round from 1 on, {rounds} how many there are, {s} its distance, {unit} one USDT,
// {opening} the deposit, {long} the entries of the customer with the long history: customer {n} + 1, who gets deposits only.
var (
	openingStatements = []string{
		// The ledger.
		`INSERT INTO ledger_transactions (id, kind, reference, description, metadata, posted_at)
			SELECT g, 'deposit', {reference g}, '', '', {now} FROM {numbers}`,
		`INSERT INTO ledger_postings (account_id, sequence, transaction_id, amount, balance_after)
			SELECT 1, g, g, -{opening}, -{opening} * g FROM {numbers} UNION ALL SELECT g + 1, 1, g, {opening}, {opening} FROM {numbers}`,
		`INSERT INTO ledger_accounts (id, owner_kind, owner_id, purpose, asset, floor, balance, postings, posted_at)
			SELECT 1, 'custody', 0, '', '{asset}', CAST(NULL AS BIGINT), -{opening} * {n} - {unit} * {long}, {n} + {long}, {now}
			UNION ALL SELECT g + 1, 'user', g, 'available', '{asset}', 0, {opening}, 1 + 2 * {rounds}, {now} FROM {numbers}
			UNION ALL SELECT {n} + 2, 'user', {n} + 1, 'available', '{asset}', 0, {unit} * {long}, {long}, {now}`,
		// The wallet.
		`INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, reference, source, source_id, created_at, completed_at)
			SELECT g, 1, 'deposit', 'completed', '{asset}', {opening}, {reference g}, 'ledger_transactions', g, {now}, {now} FROM {numbers}`,
		`INSERT INTO wallet_customers (user_id, entries) SELECT g, 1 + 2 * {rounds} FROM {numbers} UNION ALL SELECT {n} + 1, {long}`,
	}
	roundStatements = []string{
		`INSERT INTO ledger_transactions (id, kind, reference, description, metadata, posted_at)
			SELECT {r} * {n} + g, 'transfer', {reference {r} * {n} + g}, 'Internal transfer', '', {now} FROM {numbers}`,
		`INSERT INTO ledger_postings (account_id, sequence, transaction_id, amount, balance_after)
			SELECT g + 1, 2 * {r} + k, {r} * {n} + {sender}, sign * {unit}, {opening} + (1 - k) * sign * {unit} FROM {legs}`,
		`INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, counterparty, description, reference, source, source_id, created_at, completed_at)
			SELECT g, 2 * {r} + k, 'transfer', 'completed', '{asset}', sign * {unit}, {other}, 'Internal transfer', {reference {r} * {n} + {sender}},
				'ledger_transactions', {r} * {n} + {sender}, {now}, {now} FROM {legs}`,
	}
	longStatements = []string{
		`INSERT INTO ledger_transactions (id, kind, reference, description, metadata, posted_at)
			SELECT ({rounds} + 1) * {n} + g, 'deposit', {reference ({rounds} + 1) * {n} + g}, '', '', {now} FROM {numbers to long}`,
		`INSERT INTO ledger_postings (account_id, sequence, transaction_id, amount, balance_after)
			SELECT 1, {n} + g, ({rounds} + 1) * {n} + g, -{unit}, -{opening} * {n} - {unit} * g FROM {numbers to long}
			UNION ALL SELECT {n} + 2, g, ({rounds} + 1) * {n} + g, {unit}, {unit} * g FROM {numbers to long}`,
		`INSERT INTO wallet_entries (user_id, number, type, status, coin, amount, address, tx_hash, reference, source, source_id, created_at, completed_at)
			SELECT {n} + 1, g, 'deposit', 'completed', '{asset}', {unit}, 'TXYZopYRdj2D9XRtbG411XZZ3kM5VkAeBf',
				'7c2d4206c03a883dd9066d620335dc1be272a8dc733cfa3f6d10308faa37facc', {reference ({rounds} + 1) * {n} + g},
				'ledger_transactions', ({rounds} + 1) * {n} + g, {now}, {now} FROM {numbers to long}`,
	}
)

// Parts of the statements.
const (
	numbersTo  = `(WITH RECURSIVE n (g) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT g + 1 FROM n WHERE g < %s) SELECT g FROM n) AS n`
	partLegs   = `(SELECT g, k, CASE WHEN (k = 0) = (g <= {s}) THEN -1 ELSE 1 END AS sign FROM {numbers} CROSS JOIN (SELECT 0 AS k UNION ALL SELECT 1) AS pair) AS legs`
	partSender = `CASE WHEN sign < 0 THEN g ELSE (g - 1 - {s} + {n}) % {n} + 1 END`
	partOther  = `CASE WHEN sign < 0 THEN (g - 1 + {s}) % {n} ELSE (g - 1 - {s} + {n}) % {n} END + 1`
)

var referenceForm = regexp.MustCompile(`\{reference ([^}]+)\}`)

// statement fills in a statement; its argument, if it has one, is the time.
func (b *book) statement(e db.Engine, s string, rounds, r int) string {
	// References have the form of the product's: UUIDs that rise with time.
	reference, now := `'0190a000-0000-7000-8000-' || lpad(to_hex($1), 12, '0')`, "CAST($1 AS timestamptz)"
	if e == db.SQLite {
		reference, now = `'0190a000-0000-7000-8000-' || printf('%012x', $1)`, "$1"
	}
	// PostgreSQL would count in 32 bits if all that it sees is small.
	parts := strings.NewReplacer("{legs}", partLegs, "{sender}", partSender, "{other}", partOther,
		"{numbers}", fmt.Sprintf(numbersTo, "{n}"), "{numbers to long}", fmt.Sprintf(numbersTo, "{long}"),
		"{n}", strconv.Itoa(b.accounts), "{rounds}", strconv.Itoa(rounds), "{r}", strconv.Itoa(r), "{s}", strconv.Itoa(1+r*7919%(b.accounts-1)),
		"{unit}", "CAST(1000000 AS BIGINT)", "{opening}", strconv.Itoa(openingBalance), "{long}", strconv.Itoa(b.long), "{asset}", asset)
	for range 3 { // parts hold parts
		s = parts.Replace(s)
	}
	return strings.ReplaceAll(referenceForm.ReplaceAllString(s, reference), "{now}", now)
}

// createBook makes a database of so many customers and rounds, and with a history so long. What is in it verifies like any other book.
func createBook(ctx context.Context, postgres, dir string, accounts, rounds, long int) (b *book, err error) {
	b = &book{accounts: accounts, long: long, postings: 2*accounts*(rounds+1) + 2*long, hashKey: secret.NewKey()}
	if b.dataset, err = createDatabase(ctx, postgres, dir); err != nil {
		return b, err
	}
	if err := b.fill(ctx, rounds); err != nil {
		return b, errors.Join(err, b.drop(context.WithoutCancel(ctx)))
	}
	return b, nil
}

func (b *book) fill(ctx context.Context, rounds int) error {
	store, err := db.Open(ctx, b.url, db.Options{MaxConns: 4})
	if err != nil {
		return err
	}
	defer store.Close()
	b.customers = b.accounts + 1
	now := time.Now().UTC()
	run := func(statements []string, r int) error {
		for _, s := range statements {
			var args []any
			if strings.Contains(s, "{now}") {
				args = append(args, now)
			}
			if _, err := store.Exec(ctx, b.statement(store.Engine(), s, rounds, r), args...); err != nil {
				return fmt.Errorf("fill: %w\n%s", err, s)
			}
		}
		return nil
	}
	restore, err := withoutIndexes(ctx, store, "ledger_transactions", "ledger_postings", "wallet_entries")
	if err != nil {
		return err
	}
	if err := fillCustomers(ctx, store, fillStatements[:2], b.customers, now); err != nil {
		return err
	}
	// Each table of the rounds by itself: two cores are better than one.
	var tables errgroup.Group
	tables.SetLimit(2)
	for i := range roundStatements {
		tables.Go(func() error {
			for r := 1; r <= rounds; r++ {
				if err := run(roundStatements[i:i+1], r); err != nil {
					return err
				}
			}
			return nil
		})
	}
	tables.Go(func() error { return run(openingStatements, 0) })
	if b.long > 0 {
		tables.Go(func() error { return run(longStatements, 0) })
	}
	tables.Go(func() error { return b.setPasswords(ctx, store, now) })
	if err := tables.Wait(); err != nil {
		return err
	}
	if err := restore(); err != nil {
		return err
	}
	if store.Engine() == db.PostgreSQL {
		for _, table := range []string{"ledger_accounts", "ledger_transactions"} {
			if _, err := store.Exec(ctx, fmt.Sprintf(`SELECT setval(pg_get_serial_sequence('%s', 'id'), MAX(id)) FROM %s`, table, table)); err != nil {
				return err
			}
		}
	}
	return settle(ctx, store)
}

// withoutIndexes takes the indexes and keys of tables away, as far as the engine can, and gives what brings them back: made at once
// they take a fraction of the time.
func withoutIndexes(ctx context.Context, store db.DB, tables ...string) (restore func() error, err error) {
	query := `SELECT 'DROP INDEX ' || name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = $1`
	if store.Engine() == db.PostgreSQL {
		query = `SELECT 'ALTER TABLE ' || conrelid::regclass || ' DROP CONSTRAINT ' || conname,
				'ALTER TABLE ' || conrelid::regclass || ' ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
				FROM pg_constraint WHERE conrelid = to_regclass($1) AND contype IN ('p', 'u')
			UNION ALL SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
				WHERE indrelid = to_regclass($1) AND NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conindid = indexrelid)`
	}
	var again []string
	for _, table := range tables {
		rows, err := store.Query(ctx, query, table)
		pairs, err := db.Collect(rows, err, func(row db.Row) (p [2]string, err error) { return p, row.Scan(&p[0], &p[1]) })
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			if _, err := store.Exec(ctx, p[0]); err != nil {
				return nil, err
			}
			again = append(again, p[1])
		}
	}
	return func() error {
		var all errgroup.Group
		all.SetLimit(2)
		for _, s := range again {
			all.Go(func() error { _, err := store.Exec(ctx, s); return err })
		}
		return all.Wait()
	}, nil
}

// setPasswords gives a transaction password to everybody who may be a sender, stored as package identity stores it.
func (b *book) setPasswords(ctx context.Context, store db.DB, now time.Time) error {
	keyset, err := secret.NewKeyset()
	if err != nil {
		return err
	}
	vault, err := secret.NewVault(keyset, b.hashKey)
	if err != nil {
		return err
	}
	const atOnce = 500
	for from := 1; from <= b.senders(); from += atOnce {
		var values []string
		var args []any
		for id := from; id < min(from+atOnce, b.senders()+1); id++ {
			salt := strconv.Itoa(id)
			i := len(args)
			values = append(values, fmt.Sprintf("($%d, $%d, $%d, $%d)", i+1, i+2, i+3, i+4))
			args = append(args, int64(id), []byte(salt), vault.Hash("transaction password", strconv.Itoa(id), salt, password), now)
		}
		if _, err := store.Exec(ctx, `INSERT INTO transaction_passwords (user_id, salt, password_hash, set_at) VALUES `+strings.Join(values, ", "), args...); err != nil {
			return err
		}
	}
	return nil
}

// senders is how many customers send through HTTP: the first ones.
func (b *book) senders() int { return min(b.accounts, maxTokens) }
