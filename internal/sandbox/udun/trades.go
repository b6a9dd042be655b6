package udun

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Types of trades (provider/udun section 5.1).
const (
	deposit    = 1
	withdrawal = 2
)

// Statuses of trades (provider/udun section 5.2).
const (
	StatusReview    = 0 // a withdrawal waits for a person; a deposit has been seen
	StatusSending   = 1 // a withdrawal has been approved; a deposit has confirmations, but too few
	StatusRefused   = 2
	StatusSucceeded = 3
	StatusFailed    = 4
)

// Outcomes that a person can give a withdrawal.
const (
	Approved  = "approved"
	Refused   = "refused"
	Succeeded = "succeeded"
	Failed    = "failed"
)

// Errors of the control methods.
var (
	ErrUnknownTrade   = errors.New("no such trade")
	ErrUnknownAddress = errors.New("no such address on that chain")
	ErrBadOutcome     = errors.New("outcome must be approved, refused, succeeded or failed")
	ErrDecided        = errors.New("cannot become that any more")
	ErrBadDeposit     = errors.New("bad deposit")
)

// Key says which trade is meant. The fields that are set must fit.
type Key struct {
	TradeID    string
	BusinessID string // of a withdrawal
}

// Deposit is money that arrives on chain.
type Deposit struct {
	Address string  `json:"address"`
	Coin    string  `json:"coin"`   // by its name in wallets, such as USDT-TRC20, or "mainCoinType/coinType"
	Amount  Decimal `json:"amount"` // in the coin's own unit, above 0

	// Confirmations is how many blocks the deposit waits for. With 0 it succeeds at once and is told once, as status 3;
	// otherwise it is told as 0, as 1 after the first block and as 3 after the last.
	Confirmations int    `json:"confirmations"`
	TxID          string `json:"tx_id"` // made up when empty; one transaction may pay an address twice
	Memo          string `json:"memo"`
	// UnknownAddress lets the money arrive at an address that the gateway has not made. Options.CallbackURL hears of it.
	UnknownAddress bool `json:"unknown_address"`

	Telling
}

const (
	maxConfirmations = 10_000
	maxText          = 300
)

// Deposit lets money arrive and returns the trade. Its errors wrap ErrBadDeposit, ErrUnknownAddress or ErrBadTelling, or are
// of the database.
func (s *Simulator) Deposit(ctx context.Context, d Deposit) (TradeState, error) {
	c, known := coinNamed(d.Coin)
	if !known {
		return TradeState{}, fmt.Errorf("%w: coin must be a name such as USDT-TRC20, or mainCoinType/coinType", ErrBadDeposit)
	}
	amount, err := baseUnits(string(d.Amount), c.decimals)
	switch {
	case err != nil:
		return TradeState{}, fmt.Errorf("%w: amount: %w", ErrBadDeposit, err)
	case d.Confirmations < 0 || d.Confirmations > maxConfirmations:
		return TradeState{}, fmt.Errorf("%w: confirmations must be from 0 to %d", ErrBadDeposit, maxConfirmations)
	case d.Confirmations > 0 && len(d.Statuses) > 0:
		return TradeState{}, fmt.Errorf("%w: give confirmations or statuses", ErrBadDeposit)
	case d.Address == "" || len(d.Address) > maxText || len(d.TxID) > maxText || len(d.Memo) > maxText:
		return TradeState{}, fmt.Errorf("%w: address is required; no text may be longer than %d", ErrBadDeposit, maxText)
	}
	if err := d.check(); err != nil {
		return TradeState{}, err
	}
	t := trade{kind: deposit, coin: c, address: d.Address, amount: amount, txID: d.TxID, memo: d.Memo, callURL: s.CallbackURL,
		needed: d.Confirmations, telling: d.Telling}
	return s.changed(s.inTx(ctx, func(tx *sql.Tx) error {
		a, ours, err := findAddress(ctx, tx, c.chain, d.Address)
		switch {
		case err != nil:
			return err
		case ours:
			t.address, t.callURL = a.address, a.callURL
		case !d.UnknownAddress:
			return ErrUnknownAddress
		case t.callURL == "":
			if t.callURL, err = newestCallURL(ctx, tx); err != nil {
				return err
			}
		}
		return s.arrive(ctx, tx, &t)
	}), &t)
}

// arrive stores a new deposit and tells what is to be told of it now.
func (s *Simulator) arrive(ctx context.Context, tx *sql.Tx, t *trade) error {
	if t.txID == "" {
		t.txID = newTxID(t.coin.chain)
	}
	t.fee, t.status, t.blockHigh = "0", StatusSucceeded, s.height(t.coin)
	switch told := t.telling.Statuses; {
	case t.needed > 0:
		t.status, t.blockHigh, t.nextAt = StatusReview, -1, s.due(t.coin.chain.blockTime)
	case len(told) > 0 && !slices.Contains(told, StatusSucceeded) && !slices.Contains(told, StatusRefused):
		// Neither of the words that receivers take for success (provider/udun section 5.2): it has not arrived yet.
		t.status = told[len(told)-1]
	}
	if t.status == StatusSucceeded {
		if err := book(ctx, tx, t.coin, t.amount); err != nil {
			return err
		}
	}
	if err := s.insertTrade(ctx, tx, t); err != nil {
		return err
	}
	return s.tell(ctx, tx, t, t.status)
}

// Confirm adds blocks to a deposit that waits for them; n of 0 are all that it needs. A deposit of statuses that has not
// succeeded does so. It returns ErrUnknownTrade or ErrDecided.
func (s *Simulator) Confirm(ctx context.Context, tradeID string, n int) (TradeState, error) {
	var t trade
	return s.changed(s.inTx(ctx, func(tx *sql.Tx) (err error) {
		if t, err = findTrade(ctx, tx, Key{TradeID: tradeID}); err != nil {
			return err
		}
		if t.kind != deposit || t.status > StatusSending || n < 0 {
			return fmt.Errorf("trade %s %w", t.id, ErrDecided)
		}
		if n == 0 {
			n = t.needed
		}
		t.telling.Statuses = nil // what it is from now on is told
		return s.confirm(ctx, tx, &t, n)
	}), &t)
}

// confirm adds n blocks to a deposit.
func (s *Simulator) confirm(ctx context.Context, tx *sql.Tx, t *trade, n int) error {
	before := t.status
	if t.seen == 0 {
		t.blockHigh = s.height(t.coin)
	}
	t.seen, t.nextAt = min(t.seen+n, t.needed), s.due(t.coin.chain.blockTime)
	t.status = StatusSending
	if t.seen == t.needed {
		t.status, t.nextAt = StatusSucceeded, sql.NullInt64{}
		if err := book(ctx, tx, t.coin, t.amount); err != nil {
			return err
		}
	}
	if err := s.updateTrade(ctx, tx, t); err != nil || t.status == before {
		return err
	}
	return s.tell(ctx, tx, t, t.status)
}

// Decide does as the gateway's staff, or the chain, with a withdrawal: it goes from 0 to 1 when it is approved or to 2 when it
// is refused, and from 1 to 3 or 4; succeeded and failed take both steps from 0. One that cannot be paid from the custody
// balance fails instead. Said again, it changes nothing. It returns ErrUnknownTrade, ErrBadOutcome, ErrDecided or ErrBadTelling.
func (s *Simulator) Decide(ctx context.Context, k Key, outcome string, telling Telling) (TradeState, error) {
	to, known := map[string]int{Approved: StatusSending, Refused: StatusRefused, Succeeded: StatusSucceeded, Failed: StatusFailed}[outcome]
	if !known {
		return TradeState{}, ErrBadOutcome
	}
	if err := telling.check(); err != nil {
		return TradeState{}, err
	}
	var t trade
	return s.changed(s.inTx(ctx, func(tx *sql.Tx) (err error) {
		if t, err = findTrade(ctx, tx, k); err != nil {
			return err
		}
		switch {
		case t.kind != withdrawal:
			return ErrUnknownTrade
		case t.status == to:
			return nil
		case t.status > StatusSending || t.status == StatusSending && to == StatusRefused:
			return fmt.Errorf("withdrawal %s %w: its status is %d", t.businessID, ErrDecided, t.status)
		}
		t.telling = telling
		return s.move(ctx, tx, &t, to)
	}), &t)
}

// move takes a withdrawal to a status, over 1 if need be, and tells of each step. After the first one it has time of its own
// only if nobody has to click.
func (s *Simulator) move(ctx context.Context, tx *sql.Tx, t *trade, to int) error {
	var told []int
	if t.status == StatusReview && (to == StatusSucceeded || to == StatusFailed) {
		told = append(told, StatusSending)
	}
	t.status, t.nextAt = to, sql.NullInt64{}
	switch to {
	case StatusSending:
		if s.AutoApprove || t.proxyPay {
			t.nextAt = s.due(stepAfter)
		}
	case StatusSucceeded:
		paid, err := s.pay(ctx, tx, t)
		if err != nil {
			return err
		}
		if !paid {
			t.status = StatusFailed
		}
	}
	if err := s.updateTrade(ctx, tx, t); err != nil {
		return err
	}
	return s.tell(ctx, tx, t, append(told, t.status)...)
}

// pay sends a withdrawal's money on chain, if there is enough.
func (s *Simulator) pay(ctx context.Context, tx *sql.Tx, t *trade) (paid bool, err error) {
	fee, err := units(t.coin.chain.fee)
	if err != nil {
		return false, err
	}
	costs := map[string]*big.Int{t.coin.name: new(big.Int).Set(t.amount)}
	if main := t.coin.chain.mainCoin(); s.TakeFees {
		if costs[main.name] == nil {
			costs[main.name] = new(big.Int)
		}
		costs[main.name].Add(costs[main.name], fee)
	}
	for name, cost := range costs { // first look, so that nothing is taken by half
		c, _ := coinNamed(name)
		balance, err := balanceOf(ctx, tx, c)
		if err != nil || balance.Cmp(cost) < 0 {
			return false, err
		}
	}
	for name, cost := range costs {
		c, _ := coinNamed(name)
		if err := book(ctx, tx, c, cost.Neg(cost)); err != nil {
			return false, err
		}
	}
	t.fee, t.txID, t.blockHigh = t.coin.chain.fee, newTxID(t.coin.chain), s.height(t.coin)
	// A chain knows no inside: what is paid to an address of the merchant's arrives there.
	a, ours, err := findAddress(ctx, tx, t.coin.chain, t.address)
	if err != nil || !ours {
		return true, err
	}
	return true, s.arrive(ctx, tx, &trade{kind: deposit, coin: t.coin, address: a.address, callURL: a.callURL, amount: t.amount, txID: t.txID})
}

// moveDue takes one step of a trade whose time has come.
func (s *Simulator) moveDue(ctx context.Context) (worked bool, err error) {
	err = s.inTx(ctx, func(tx *sql.Tx) error {
		t, err := scanTrade(tx.QueryRowContext(ctx, selectTrade+`WHERE next_at <= $1 ORDER BY next_at, number LIMIT 1`, s.Clock.Now().UnixMicro()))
		switch {
		case errors.Is(err, ErrUnknownTrade):
			return nil
		case err != nil:
			return err
		}
		worked = true
		if t.kind == deposit {
			blocks := 1 + (s.Clock.Now().UnixMicro()-t.nextAt.Int64)/t.coin.chain.blockTime.Microseconds()
			return s.confirm(ctx, tx, &t, int(min(blocks, maxConfirmations)))
		}
		return s.move(ctx, tx, &t, map[int]int{StatusReview: StatusSending, StatusSending: StatusSucceeded}[t.status])
	})
	if worked && err == nil {
		s.stir()
	}
	return worked, err
}

// changed ends a control call: callbacks go out, and the caller sees the trade.
func (s *Simulator) changed(err error, t *trade) (TradeState, error) {
	if err != nil {
		return TradeState{}, err
	}
	s.stir()
	return t.state(), nil
}

func (s *Simulator) due(after time.Duration) sql.NullInt64 {
	return sql.NullInt64{Int64: s.Clock.Now().Add(after).UnixMicro(), Valid: true}
}

func (s *Simulator) height(c coin) int64 { return c.chain.heightAt(s.Clock.Now()) }

func newTxID(c *chain) string {
	id := make([]byte, 32)
	rand.Read(id)
	return c.txPrefix + hex.EncodeToString(id)
}

// BalanceState is what the gateway holds of one coin.
type BalanceState struct {
	Coin         string `json:"coin"`
	MainCoinType string `json:"main_coin_type"`
	CoinType     string `json:"coin_type"`
	Decimals     int    `json:"decimals"`
	Balance      string `json:"balance"`    // in the coin's own unit, exact
	BaseUnits    string `json:"base_units"` // exact
}

// AddressState is an address that the gateway has made.
type AddressState struct {
	MainCoinType string    `json:"main_coin_type"`
	Address      string    `json:"address"`
	Alias        string    `json:"alias"`
	CallURL      string    `json:"call_url"`
	Created      time.Time `json:"created"`
}

// TradeState is what the gateway believes about one trade.
type TradeState struct {
	TradeID       string         `json:"trade_id"`
	Type          string         `json:"type"` // "deposit" or "withdrawal"
	Status        int            `json:"status"`
	Coin          string         `json:"coin"`
	Address       string         `json:"address"`
	Amount        string         `json:"amount"`     // in the coin's own unit, exact
	BaseUnits     string         `json:"base_units"` // exact
	Fee           string         `json:"fee"`        // base units of the chain's main coin
	TxID          string         `json:"tx_id"`
	BlockHigh     int64          `json:"block_high"` // -1: in no block
	BusinessID    string         `json:"business_id,omitempty"`
	Memo          string         `json:"memo"`
	Needed        int            `json:"confirmations_needed"`
	Confirmations int            `json:"confirmations"`
	Callbacks     CallbackCounts `json:"callbacks"`
	Created       time.Time      `json:"created"`
	Updated       time.Time      `json:"updated"`
}

// CallbackCounts sums up the callbacks of a trade.
type CallbackCounts struct {
	Waiting   int `json:"waiting"` // to be sent, also those held back
	Delivered int `json:"delivered"`
	Dropped   int `json:"dropped"`
	Failed    int `json:"failed"` // given up
	Attempts  int `json:"attempts"`
}

func (t *trade) state() TradeState {
	return TradeState{TradeID: t.id, Type: map[int]string{deposit: "deposit", withdrawal: "withdrawal"}[t.kind], Status: t.status, Coin: t.coin.name,
		Address: t.address, Amount: ownUnit(t.amount, t.coin.decimals), BaseUnits: t.amount.String(), Fee: t.fee, TxID: t.txID,
		BlockHigh: t.blockHigh, BusinessID: t.businessID, Memo: t.memo, Needed: t.needed, Confirmations: t.seen, Created: t.created, Updated: t.updated}
}

// Custody is everything that the gateway knows.
type Custody struct {
	Balances  []BalanceState `json:"balances"`  // of every coin
	Addresses []AddressState `json:"addresses"` // oldest first
	Trades    []TradeState   `json:"trades"`    // newest first
}

// Custody tells what the gateway holds and has done, all as of one moment.
func (s *Simulator) Custody(ctx context.Context) (Custody, error) {
	all := Custody{Addresses: []AddressState{}, Trades: []TradeState{}}
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		var err error
		if all.Balances, err = balances(ctx, tx); err != nil {
			return err
		}
		if err := all.readAddresses(ctx, tx); err != nil {
			return err
		}
		counts, err := callbackCounts(ctx, tx, `SELECT trade, state, count(*), sum(attempts) FROM udun_callbacks GROUP BY trade, state`)
		if err != nil {
			return err
		}
		list, err := trades(ctx, tx, -1, 0)
		for _, t := range list {
			state := t.state()
			state.Callbacks = counts[t.number]
			all.Trades = append(all.Trades, state)
		}
		return err
	})
	if err != nil {
		return Custody{}, fmt.Errorf("simulated udun: %w", err)
	}
	return all, nil
}

// balances lists the custody balances of all coins.
func balances(ctx context.Context, q querier) (list []BalanceState, err error) {
	for _, c := range coins {
		balance, err := balanceOf(ctx, q, c)
		if err != nil {
			return nil, err
		}
		list = append(list, BalanceState{Coin: c.name, MainCoinType: c.chain.mainCoinType, CoinType: c.coinType, Decimals: c.decimals,
			Balance: ownUnit(balance, c.decimals), BaseUnits: balance.String()})
	}
	return list, nil
}

func (all *Custody) readAddresses(ctx context.Context, q querier) error {
	rows, err := q.QueryContext(ctx, `SELECT main_coin_type, address, alias, call_url, created_at FROM udun_addresses ORDER BY id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var a AddressState
		var created int64
		if err := rows.Scan(&a.MainCoinType, &a.Address, &a.Alias, &a.CallURL, &created); err != nil {
			return err
		}
		a.Created = time.UnixMicro(created).UTC()
		all.Addresses = append(all.Addresses, a)
	}
	return rows.Err()
}

// rawStatuses are the words that callbacks may carry.
func rawStatuses(list []int) bool {
	for _, status := range list {
		if status < StatusReview || status > StatusFailed {
			return false
		}
	}
	return true
}
