package cli_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/app"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
	sandboxudun "github.com/comecomepay/comecomepay/internal/sandbox/udun"
	"github.com/comecomepay/comecomepay/internal/wallet"
)

// bank is an installation in which money of every kind moves: customers who receive coins, send them to each other and have them sent
// out, operators who approve, and the gateway's staff. Afterwards it knows what must be in the book, to the unit.
type bank struct {
	*installation
	services *app.Services // as operators' commands use them
	coins    map[string]wallet.Coin
	people   []*customer
	owners   map[string]*customer // by deposit address
	address  map[*customer]map[string]string
	fragile  bool // replicas are killed: calls may fail

	serial   atomic.Int64 // makes every amount its own
	accepted atomic.Int64
	refused  atomic.Int64
	cut      atomic.Int64 // calls without an answer

	mu       sync.Mutex
	payments map[string]*payment // by coin and amount
}

// payment is what somebody has asked for, and what they were told. Its amount is that of no other.
type payment struct {
	from, to *customer // to is nil for a withdrawal
	coin     string
	units    int64
	address  string
	wants    string // code of the refusal that it must meet; empty: none

	sure    bool  // answered as done
	id      int64 // as answered
	refused bool  // refused, and no call about it went without an answer
}

func (p *payment) key() string { return fmt.Sprintf("%s %d", p.coin, p.units) }

func (p *payment) String() string {
	to := p.address
	if p.to != nil {
		to = fmt.Sprint(p.to.id)
	}
	return fmt.Sprintf("%s from %d to %s (sure %t, refused %t, wants %q)", p.key(), p.from.id, to, p.sure, p.refused, p.wants)
}

const (
	paymentPIN = "739154"
	tether     = "USDT-TRC20"
	ether      = "ETH"                                // more decimals on its chain than in the ledger
	stock      = 100_000_000_000                      // units of each coin that a customer has to begin with
	outside    = "TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE" // of nobody here
)

// moneySettings leave amounts alone, and wait little for the gateway.
var moneySettings = []string{"CCP_TRANSFER_LIMIT=0", "CCP_TRANSFER_DAY_LIMIT=0", "CCP_WITHDRAWAL_LIMIT=0", "CCP_WITHDRAWAL_DAY_LIMIT=0", "CCP_WITHDRAWAL_DAY_COUNT=0",
	"CCP_WITHDRAWAL_FEES=USDT-TRC20=1.5,ETH=0.0005", "CCP_RECONCILE_EVERY=1m", "CCP_UDUN_TIMEOUT=1s"}

// openBank starts an installation with customers who have coins.
func openBank(t *testing.T, engine db.Engine, replicas, customers int) *bank {
	t.Helper()
	b := &bank{installation: install(t, engine, replicas, moneySettings...), coins: map[string]wallet.Coin{}, owners: map[string]*customer{},
		address: map[*customer]map[string]string{}, payments: map[string]*payment{}}
	for _, c := range wallet.Catalogue(wallet.DefaultBSC) {
		b.coins[c.Code] = c
	}
	begun := time.Now()
	b.serve()
	config, err := app.LoadConfig(b.environ)
	if err != nil {
		t.Fatal(err)
	}
	if b.services, err = app.OpenServices(t.Context(), config, app.Extras{Clock: b.simulators.Clock()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.services.Close() })
	for n := range customers {
		c := b.newCustomer()
		c.replica = n % replicas
		b.people = append(b.people, c)
	}
	var all sync.WaitGroup
	for _, c := range b.people {
		all.Go(func() {
			// Fatal ends this goroutine, and the test fails.
			c.signUp()
			c.logIn()
			asked := c.must("POST", "/user/transaction-password/request", object{"transaction_password": paymentPIN, "confirm_transaction_password": paymentPIN})
			c.must("POST", "/user/transaction-password/complete", object{"otp_code": c.code(), "temp_hash": asked.field("temp_hash")})
		})
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, c := range b.people {
		eventually(t, time.Minute, func() error { b.advanceAnyhow(time.Second); return b.readAddresses(c) })
		for _, coin := range []string{tether, ether} {
			b.receive(c, coin, stock, sandboxudun.Deposit{})
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, c := range b.people {
		eventually(t, time.Minute, func() error {
			_, balances := b.holdings(c)
			if balances[tether] < stock || balances[ether] < stock {
				return fmt.Errorf("%s has %v", c.email, balances)
			}
			return nil
		})
	}
	t.Logf("open after %s", time.Since(begun).Round(time.Second/10))
	return b
}

// advanceAnyhow moves the time of the simulators; replicas follow in theirs.
func (b *bank) advanceAnyhow(by time.Duration) {
	if err := b.simulators.Advance(context.WithoutCancel(b.t.Context()), by); err != nil {
		b.t.Error(err)
	}
}

// holdings reads addresses and balances, in the ledger's units, from the wallet as the app shows it.
func (b *bank) holdings(c *customer) (addresses map[string]string, balances map[string]int64) {
	addresses, balances = map[string]string{}, map[string]int64{}
	a, err := c.try("GET", "/wallet/", nil)
	if err != nil || !a.ok() {
		return addresses, balances
	}
	list, _ := a.body["wallet"].(object)["balances"].([]any)
	for _, x := range list {
		line := x.(object)
		code := line["currency"].(string)
		units, err := b.coins[code].Parse(line["balance"].(json.Number).String())
		if err != nil {
			b.t.Errorf("balance of %s: %v", code, err)
		}
		addresses[code], balances[code] = line["address"].(string), units
	}
	return addresses, balances
}

func (b *bank) readAddresses(c *customer) error {
	addresses, _ := b.holdings(c)
	if addresses[tether] == "" || addresses[ether] == "" {
		return fmt.Errorf("%s has no addresses", c.email)
	}
	b.address[c] = addresses
	for _, a := range addresses {
		b.owners[a] = c
	}
	return nil
}

// receive lets coins arrive for a customer.
func (b *bank) receive(c *customer, coin string, units int64, how sandboxudun.Deposit) {
	amount := b.coins[coin].Format(units)
	if coin == ether {
		// Below what the ledger counts.
		amount = fmt.Sprintf("%s%010d", money.Format(units, 8)+zeros(money.Format(units, 8), 8), mathrand.Int64N(1e10))
	}
	how.Address, how.Coin, how.Amount = b.address[c][coin], coin, sandboxudun.Decimal(amount)
	if _, err := b.simulators.Udun().Deposit(context.WithoutCancel(b.t.Context()), how); err != nil {
		b.t.Error(err)
	}
}

// zeros are what a number lacks for so many decimals, with the point if that is missing as well.
func zeros(number string, decimals int) string {
	_, after, has := strings.Cut(number, ".")
	pad := strings.Repeat("0", decimals-len(after))
	if !has {
		return "." + pad
	}
	return pad
}

// own makes an amount of so many whole million units that belongs to no other payment.
func (b *bank) own(millions int64) int64 { return millions*1_000_000 + b.serial.Add(1) }

// spender is one phone of a customer's. Several may be at work at once.
type spender struct {
	*customer // a copy: phones do not share where they call
	bank      *bank
	self      *customer
	random    *mathrand.Rand
}

func (b *bank) spender(c *customer, seed uint64) *spender {
	phone := *c
	s := &spender{customer: &phone, bank: b, self: c, random: mathrand.New(mathrand.NewPCG(seed, uint64(c.id)))}
	s.replica = s.random.IntN(len(b.replicas))
	return s
}

// live spends and receives until ctx ends. What has been begun is followed to its answer.
func (s *spender) live(ctx context.Context, pause time.Duration) {
	for ctx.Err() == nil {
		switch n := s.random.IntN(20); {
		case n < 9:
			s.transfer()
		case n < 13:
			s.withdraw()
		case n < 17:
			s.deposit()
		case n < 19:
			s.wrong()
		default:
			s.look()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(s.random.Int64N(int64(pause)) + 1)):
		}
	}
}

func (s *spender) coin() string { return []string{tether, tether, ether}[s.random.IntN(3)] }

func (s *spender) friend() *customer {
	for {
		if c := s.bank.people[s.random.IntN(len(s.bank.people))]; c != s.self {
			return c
		}
	}
}

// transfer sends a little to somebody else. With a key it is asked for again until there is an answer; without one, never.
func (s *spender) transfer() {
	p := &payment{from: s.self, to: s.friend(), coin: s.coin()}
	p.units = s.bank.own(1 + s.random.Int64N(20))
	key, tries := "", 1
	if s.random.IntN(3) > 0 {
		key, tries = "money-"+rand.Text(), 100
	}
	s.pay(p, "/wallet/transfer-by-uid", object{"amount": s.amount(p), "currency": p.coin, "recipient_uid": p.to.id, "description": "rent", "transaction_password": paymentPIN}, key, tries)
}

// withdraw has something sent out: sometimes so much that an operator is asked.
func (s *spender) withdraw() {
	p := &payment{from: s.self, coin: s.coin(), address: outside}
	if p.coin == ether {
		id := make([]byte, 20)
		_, _ = rand.Read(id)
		p.address = "0x" + hex.EncodeToString(id)
	}
	millions := 20 + s.random.Int64N(60)
	if s.random.IntN(3) == 0 {
		millions += 600
	}
	p.units = s.bank.own(millions)
	// An equal request soon afterwards is the same withdrawal, with a key and without.
	key, tries := "", 1
	switch s.random.IntN(3) {
	case 0:
		key, tries = "money-"+rand.Text(), 20
	case 1:
		tries = 20
	}
	s.pay(p, "/wallet/withdrawal", object{"amount": s.amount(p), "currency": p.coin, "address": p.address, "network": ""}, key, tries)
}

func (s *spender) amount(p *payment) json.Number {
	return json.Number(s.bank.coins[p.coin].Format(p.units))
}

// wrong asks for what must be refused.
func (s *spender) wrong() {
	p := &payment{from: s.self, coin: s.coin()}
	p.units = s.bank.own(10)
	body := object{"currency": p.coin}
	path := "/wallet/transfer-by-uid"
	switch s.random.IntN(7) {
	case 0:
		p.to, p.units, p.wants = s.friend(), s.bank.own(900_000_000), "INSUFFICIENT_BALANCE"
	case 1:
		p.to, p.wants = s.self, "TRANSFER_TO_SELF"
	case 2:
		p.to, p.wants = &customer{id: 1 << 40}, "RECIPIENT_NOT_FOUND"
	case 3:
		p.to, p.wants = s.friend(), "TRANSACTION_PASSWORD_WRONG"
		body["transaction_password"] = "739155"
	case 4:
		p.address, p.wants = outside[:len(outside)-1]+"F", "ADDRESS_INVALID"
	case 5:
		p.address, p.wants = s.bank.address[s.friend()][p.coin], "ADDRESS_OF_CUSTOMER"
	case 6:
		p.address, p.units, p.wants = outside, s.bank.own(900_000_000), "INSUFFICIENT_BALANCE"
		p.coin = tether
		body["currency"] = tether
	}
	if p.to == nil {
		path = "/wallet/withdrawal"
		body["address"] = p.address
	} else {
		body["recipient_uid"] = p.to.id
		if body["transaction_password"] == nil {
			body["transaction_password"] = paymentPIN
		}
	}
	body["amount"] = s.amount(p)
	s.pay(p, path, body, "", 1)
}

// pay asks for a payment, and remembers what was said about it.
func (s *spender) pay(p *payment, path string, body object, key string, tries int) {
	b := s.bank
	b.mu.Lock()
	b.payments[p.key()] = p
	b.mu.Unlock()
	unheard := false
	begun := time.Now()
	for n := 0; n < tries && (n == 0 || time.Since(begun) < 4*time.Second); n++ {
		if n > 0 {
			time.Sleep(100 * time.Millisecond)
		}
		h := s.headers()
		if key != "" {
			h.Set("Idempotency-Key", key)
		}
		a, err := s.send("POST", s.replicas[s.replica].url()+"/api/v1"+path, h, body)
		if s.unanswered(a, err, path) {
			unheard = true
			continue
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		switch code := a.code(); {
		case a.ok() && p.wants == "":
			p.sure, p.id = true, max(a.number("transaction_id"), a.number("withdrawal", "id"))
			b.accepted.Add(1)
		case code != "" && (code == p.wants || code == "TRANSACTION_PASSWORD_LOCKED"):
			p.refused = !unheard
			b.refused.Add(1)
		default:
			b.t.Errorf("%s of %v: %v", path, p, a)
		}
		return
	}
}

// unanswered tells whether nothing is known after a call: it was cut off, found nobody, or met a program that was busy.
func (s *spender) unanswered(a answer, err error, path string) bool {
	busy := a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests || a.code() == "IDEMPOTENCY_KEY_IN_USE"
	switch {
	case err == nil && a.status < 500 && !busy:
		return false
	case !s.bank.fragile || err == nil && !busy:
		s.bank.t.Errorf("%s: %v %v", path, a, err)
	}
	s.bank.cut.Add(1)
	s.replica = (s.replica + 1) % len(s.replicas)
	return true
}

// deposit lets coins arrive, with all that can happen to the news of them.
func (s *spender) deposit() {
	how := sandboxudun.Deposit{}
	switch s.random.IntN(8) {
	case 0:
		how.Duplicates = 1 + s.random.IntN(3)
	case 1:
		how.DelayMS = 1 + s.random.IntN(5000)
	case 2:
		how.Drop = true
	case 3:
		how.Reorder = true
	case 4:
		how.Confirmations = 1 + s.random.IntN(3)
	case 5:
		how.Types, how.JSON = []string{"numbers", "strings"}[s.random.IntN(2)], true
	}
	s.bank.receive(s.self, s.coin(), s.bank.own(1+s.random.Int64N(9)), how)
}

// look reads what the app shows.
func (s *spender) look() {
	for _, path := range []string{"/wallet/", "/wallet/unified-transactions?page=1&page_size=10", "/wallet/withdrawals?page=1&limit=10"} {
		a, err := s.try("GET", path, nil)
		if s.unanswered(a, err, path) {
			return
		}
		if !a.ok() {
			s.bank.t.Errorf("%s: %v", path, a)
		}
	}
	_, balances := s.bank.holdings(s.customer)
	for coin, units := range balances {
		if units < 0 {
			s.bank.t.Errorf("%s has %d of %s", s.email, units, coin)
		}
	}
}

// gatewayFaults are what befalls calls of the gateway and its callbacks.
var gatewayFaults = []fault.Rule{
	{Operation: "withdraw", Kind: fault.ActThenTimeout, Probability: 0.1}, {Operation: "withdraw", Kind: fault.HTTP500, Probability: 0.1},
	{Operation: "withdraw", Kind: fault.HTML502, Probability: 0.05}, {Operation: "withdraw", Kind: fault.RefuseInit, Message: "4005 illegal parameter", Probability: 0.05},
	{Operation: "withdraw", Kind: fault.Delay, DelayMS: 300, Probability: 0.3},
	{Operation: "callback", Kind: fault.DuplicateWebhook, Probability: 0.2}, {Operation: "callback", Kind: fault.Reorder, Probability: 0.1},
	{Operation: "callback", Kind: fault.Delay, DelayMS: 3000, Probability: 0.2}, {Operation: "callback", Kind: fault.DropWebhook, Probability: 0.05},
	{Operation: "callback", Kind: fault.ForgeSignature, Probability: 0.02}, {Operation: "callback", Kind: fault.StaleTimestamp, Probability: 0.05},
}

func (b *bank) misbehave() {
	for _, rule := range gatewayFaults {
		rule.Provider = "udun"
		if err := b.simulators.Faults().Add(rule); err != nil {
			b.t.Fatal(err)
		}
	}
}

// staff decides what waits for a person, here and at the gateway, until ctx ends.
func (b *bank) staff(ctx context.Context, seed uint64) {
	random := mathrand.New(mathrand.NewPCG(seed, 0))
	for ctx.Err() == nil {
		b.decide(ctx, random)
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (b *bank) decide(ctx context.Context, random *mathrand.Rand) {
	waiting, err := b.services.Wallet.ListWithdrawals(ctx, wallet.WithdrawalFilter{States: []wallet.WithdrawalState{wallet.InReview}, Limit: 100})
	if err != nil {
		b.office(ctx, err)
		return
	}
	for _, w := range waiting {
		// Two operators who have not agreed, now and then; the second one comes too late.
		acts := []func(context.Context, identity.Operator, int64, string) (wallet.Withdrawal, error){b.services.Wallet.ApproveWithdrawal, b.services.Wallet.RefuseWithdrawal}
		if random.IntN(3) == 0 {
			slices.Reverse(acts)
		}
		var both sync.WaitGroup
		for _, act := range acts[:1+random.IntN(5)/4] {
			both.Go(func() {
				_, err := act(ctx, identity.Operator{Name: "tester"}, w.ID, "a test")
				b.office(ctx, err)
			})
		}
		both.Wait()
	}
	custody, err := b.simulators.Udun().Custody(ctx)
	if err != nil {
		b.office(ctx, err)
		return
	}
	for _, trade := range custody.Trades {
		if trade.Type != "withdrawal" || trade.Status > sandboxudun.StatusSending || random.IntN(3) == 0 {
			continue
		}
		outcome := []string{sandboxudun.Approved, sandboxudun.Succeeded, sandboxudun.Succeeded, sandboxudun.Refused, sandboxudun.Failed}[random.IntN(5)]
		how := sandboxudun.Telling{Duplicates: random.IntN(2), Reorder: random.IntN(6) == 0, DelayMS: random.IntN(1000)}
		if _, err := b.simulators.Udun().Decide(ctx, sandboxudun.Key{BusinessID: trade.BusinessID}, outcome, how); !errors.Is(err, sandboxudun.ErrDecided) {
			b.office(ctx, err)
		}
	}
}

// office takes note of what an act of the staff came to.
func (b *bank) office(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil && !errors.Is(err, wallet.ErrWithdrawalTransition) {
		b.t.Error(err)
	}
}

// settle brings everything that is under way to its end: the gateway behaves, its staff sends once more what was not taken, and time
// passes.
func (b *bank) settle() {
	b.t.Helper()
	b.simulators.Faults().Clear()
	ctx := b.t.Context()
	random := mathrand.New(mathrand.NewPCG(1, 1))
	database := b.services.DB
	count := func(query string) (n int) {
		if err := database.QueryRow(ctx, query).Scan(&n); err != nil {
			b.t.Fatal(err)
		}
		return n
	}
	rounds := -1
	eventually(b.t, 2*time.Minute, func() error {
		b.decide(ctx, random)
		rounds++
		custody, err := b.simulators.Udun().Custody(ctx)
		if err != nil {
			return err
		}
		told := map[string]bool{}
		for _, query := range []string{`SELECT trade_id FROM deposits WHERE state = 'credited'`, `SELECT business_id FROM withdrawals WHERE ended_at IS NOT NULL`} {
			rows, err := database.Query(ctx, query)
			ids, err := db.Collect(rows, err, func(row db.Row) (id string, err error) { return id, row.Scan(&id) })
			if err != nil {
				return err
			}
			for _, id := range ids {
				told[id] = true
			}
		}
		open := 0
		for _, trade := range custody.Trades {
			if told[trade.TradeID] || told[trade.BusinessID] {
				continue
			}
			open++
			if rounds%10 == 0 && trade.Status > sandboxudun.StatusSending {
				if _, err := b.simulators.Udun().Resend(ctx, sandboxudun.Key{TradeID: trade.TradeID}); err != nil {
					return err
				}
			}
		}
		b.advanceAnyhow(3 * time.Second)
		open += count(`SELECT COUNT(*) FROM withdrawals WHERE ended_at IS NULL`)
		open += count(`SELECT COUNT(*) FROM inbound_messages WHERE outcome = 'received'`)
		if open > 0 {
			return fmt.Errorf("%d things are still under way", open)
		}
		return nil
	})
}

// booked is a transaction of the ledger.
type booked struct {
	id              int64
	kind, reference string
	lines           map[ledger.Account]int64
}

// line is an entry of a customer's history.
type line struct {
	user, amount, counterparty, sourceID int64
	kind, status, coin, source           string
}

// judge holds book, history, withdrawals and deposits against what customers were told and what the gateway says. Nothing may be lost, and
// nothing doubled.
func (b *bank) judge() {
	t := b.t
	ctx := t.Context()
	custody, err := b.simulators.Udun().Custody(ctx)
	if err != nil {
		t.Fatal(err)
	}
	trades := map[string]sandboxudun.TradeState{} // deposits by trade, withdrawals by business id
	for _, trade := range custody.Trades {
		key := trade.TradeID
		if trade.Type == "withdrawal" {
			key = trade.BusinessID
		}
		if _, twice := trades[key]; twice {
			t.Errorf("the gateway has %s twice", key)
		}
		trades[key] = trade
	}
	book, histories := b.readBook(), b.readHistories()
	unmatched := map[string]*booked{}
	for _, x := range book {
		if unmatched[x.kind+" "+x.reference] != nil {
			t.Errorf("%s %s is booked twice", x.kind, x.reference)
		}
		unmatched[x.kind+" "+x.reference] = x
	}
	expected := map[ledger.Account]int64{}
	// claim takes a transaction out of the book and compares it with what it must be.
	claim := func(what, kind, reference string, lines map[ledger.Account]int64) *booked {
		x := unmatched[kind+" "+reference]
		if x == nil {
			t.Errorf("%s: no transaction %s %s", what, kind, reference)
			return &booked{}
		}
		delete(unmatched, kind+" "+reference)
		same := len(x.lines) == len(lines)
		for a, units := range lines {
			same = same && x.lines[a] == units
			expected[a] += units
		}
		if !same {
			t.Errorf("%s: booked as %v, want %v", what, x.lines, lines)
		}
		return x
	}
	// shown compares the lines of a history with what they must be, and takes them out.
	shown := func(what, source string, id int64, want ...line) {
		key := fmt.Sprintf("%s %d", source, id)
		if !sameLines(histories[key], want) {
			t.Errorf("%s: the history says %+v, want %+v", what, histories[key], want)
		}
		delete(histories, key)
	}

	transfers := b.judgeTransfers(book, claim, shown)
	ends := b.judgeWithdrawals(trades, claim, shown)
	b.judgeDeposits(trades, claim, shown)
	for key := range unmatched {
		t.Errorf("nobody has asked for transaction %s", key)
	}
	for key, lines := range histories {
		t.Errorf("nothing is behind the history's %s: %+v", key, lines)
	}
	b.judgeBalances(expected, custody)
	t.Logf("%d payments accepted, %d refused, %d calls without an answer; %d transfers, withdrawals %v, %d trades at the gateway",
		b.accepted.Load(), b.refused.Load(), b.cut.Load(), transfers, ends, len(custody.Trades))
	if transfers == 0 || ends[wallet.Completed] == 0 || ends[wallet.Declined]+ends[wallet.Broken] == 0 || b.refused.Load() == 0 {
		t.Error("too little has happened for the test to say anything")
	}
}

func sameLines(got, want []line) bool {
	if len(got) != len(want) {
		return false
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			return false
		}
	}
	return true
}

type (
	claimer = func(what, kind, reference string, lines map[ledger.Account]int64) *booked
	showing = func(what, source string, id int64, want ...line)
)

// judgeTransfers goes through the transfers of the book, then through those that somebody was told of.
func (b *bank) judgeTransfers(book map[int64]*booked, claim claimer, shown showing) (found int) {
	t := b.t
	there := map[*payment]int64{}
	for _, x := range book {
		if x.kind != string(wallet.KindTransfer) {
			continue
		}
		var p *payment
		for account, units := range x.lines {
			if units > 0 {
				p = b.payments[(&payment{coin: account.Asset, units: units}).key()]
			}
		}
		if p == nil || p.to == nil {
			t.Errorf("transaction %d is a transfer that nobody has asked for: %v", x.id, x.lines)
			continue
		}
		if other, twice := there[p]; twice {
			t.Errorf("%v was done twice: %d and %d", p, other, x.id)
		}
		there[p] = x.id
		found++
		what := fmt.Sprintf("transfer %v", p)
		claim(what, x.kind, x.reference, map[ledger.Account]int64{ledger.AvailableOf(p.from.id, p.coin): -p.units, ledger.AvailableOf(p.to.id, p.coin): p.units})
		out := line{p.from.id, -p.units, p.to.id, x.id, wallet.TypeTransfer, wallet.StatusCompleted, p.coin, "ledger_transactions"}
		in := line{p.to.id, p.units, p.from.id, x.id, wallet.TypeTransfer, wallet.StatusCompleted, p.coin, "ledger_transactions"}
		shown(what, "ledger_transactions", x.id, out, in)
	}
	for _, p := range b.payments {
		if p.to == nil {
			continue
		}
		id, done := there[p]
		switch {
		case p.sure && (!done || id != p.id):
			t.Errorf("%v was answered as done with transaction %d; the ledger has %d", p, p.id, id)
		case p.refused && done:
			t.Errorf("%v was refused, and is there as %d", p, id)
		}
	}
	return found
}

// judgeWithdrawals compares each withdrawal with what was answered, with the book, and with the gateway.
func (b *bank) judgeWithdrawals(trades map[string]sandboxudun.TradeState, claim claimer, shown showing) (ends map[wallet.WithdrawalState]int) {
	t := b.t
	ends = map[wallet.WithdrawalState]int{}
	rows, err := b.services.DB.Query(t.Context(), `SELECT id, business_id, user_id, coin, units, fee, address, state, hold_id, COALESCE(end_id, 0)
		FROM withdrawals ORDER BY id`)
	list, err := db.Collect(rows, err, func(row db.Row) (w wallet.Withdrawal, err error) {
		return w, row.Scan(&w.ID, &w.BusinessID, &w.UserID, &w.Coin, &w.Units, &w.Fee, &w.Address, (*string)(&w.State), &w.HoldID, &w.EndID)
	})
	if err != nil {
		t.Fatal(err)
	}
	there := map[*payment]wallet.Withdrawal{}
	for _, w := range list {
		what := fmt.Sprintf("withdrawal %d, %s", w.ID, w.State)
		p := b.payments[(&payment{coin: w.Coin, units: w.Units}).key()]
		if p == nil || p.to != nil || p.from.id != w.UserID || !strings.EqualFold(p.address, w.Address) {
			t.Errorf("%s: nobody has asked for it", what)
			continue
		}
		// Whoever asks again after the money has come back gets another one.
		if earlier := there[p]; earlier.ID != 0 && (earlier.State == wallet.Completed || earlier.EndID == 0 || earlier.EndID > w.HoldID) {
			t.Errorf("%s: %v was reserved twice: %+v", what, p, earlier)
		}
		there[p] = w
		ends[w.State]++
		available, held := ledger.AvailableOf(w.UserID, w.Coin), ledger.HeldOf(w.UserID, w.Coin)
		claim(what, string(wallet.KindWithdrawalHold), w.BusinessID, map[ledger.Account]int64{available: -w.Units, held: w.Units})
		trade, ordered := trades[w.BusinessID]
		delete(trades, w.BusinessID)
		status := map[wallet.WithdrawalState]string{wallet.Completed: wallet.StatusCompleted, wallet.Declined: wallet.StatusRejected, wallet.Broken: wallet.StatusFailed}[w.State]
		if w.State == wallet.Completed {
			lines := map[ledger.Account]int64{held: -w.Units, ledger.CustodyOf(w.Coin): w.Units - w.Fee}
			if w.Fee > 0 {
				lines[ledger.RevenueOf("withdrawal", w.Coin)] = w.Fee
			}
			claim(what, string(wallet.KindWithdrawalEnd), w.BusinessID, lines)
			if trade.Status != sandboxudun.StatusSucceeded || trade.BaseUnits != b.baseUnits(w.Coin, w.Units-w.Fee).String() || trade.Address != w.Address {
				t.Errorf("%s: the gateway has %+v", what, trade)
			}
		} else {
			claim(what, string(wallet.KindWithdrawalEnd), w.BusinessID, map[ledger.Account]int64{held: -w.Units, available: w.Units})
			if status == "" || ordered && trade.Status != sandboxudun.StatusRefused && trade.Status != sandboxudun.StatusFailed {
				t.Errorf("%s, which is no end, or not the gateway's: %+v", what, trade)
			}
		}
		shown(what, "withdrawals", w.ID, line{w.UserID, -w.Units, 0, w.ID, wallet.TypeWithdrawal, status, w.Coin, "withdrawals"})
	}
	for _, p := range b.payments {
		if p.to != nil {
			continue
		}
		switch id := there[p].ID; {
		case p.sure && id != p.id:
			t.Errorf("%v was answered as withdrawal %d; there is %d", p, p.id, id)
		case p.refused && id != 0:
			t.Errorf("%v was refused, and is there as %d", p, id)
		}
	}
	return ends
}

// judgeDeposits compares each deposit at the gateway with ours; trades hold nothing else any more.
func (b *bank) judgeDeposits(trades map[string]sandboxudun.TradeState, claim claimer, shown showing) {
	t := b.t
	rows, err := b.services.DB.Query(t.Context(), `SELECT id, trade_id, COALESCE(user_id, 0), coin, units, amount, state FROM deposits`)
	list, err := db.Collect(rows, err, func(row db.Row) (d wallet.Deposit, err error) {
		return d, row.Scan(&d.ID, &d.TradeID, &d.UserID, &d.Coin, &d.Units, &d.Amount, (*string)(&d.State))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range list {
		what := fmt.Sprintf("deposit %d of trade %s", d.ID, d.TradeID)
		trade := trades[d.TradeID]
		owner := b.owners[trade.Address]
		if owner == nil || owner.id != d.UserID || trade.Status != sandboxudun.StatusSucceeded || trade.BaseUnits != d.Amount || d.State != wallet.Credited {
			t.Errorf("%s: %+v; the gateway has %+v", what, d, trade)
			continue
		}
		delete(trades, d.TradeID)
		claim(what, string(wallet.KindDeposit), d.TradeID, map[ledger.Account]int64{ledger.CustodyOf(d.Coin): -d.Units, ledger.AvailableOf(d.UserID, d.Coin): d.Units})
		shown(what, "deposits", d.ID, line{d.UserID, d.Units, 0, d.ID, wallet.TypeDeposit, wallet.StatusCompleted, d.Coin, "deposits"})
	}
	for key, trade := range trades {
		t.Errorf("trade %s of the gateway is not known here: %+v", key, trade)
	}
}

// baseUnits are units of the ledger in the chain's own.
func (b *bank) baseUnits(coin string, units int64) *big.Int {
	c := b.coins[coin]
	return new(big.Int).Mul(big.NewInt(units), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Decimals-c.Scale)), nil))
}

// judgeBalances compares every balance with what the transactions that are accounted for sum up to, with what the app shows, and with what
// the gateway holds; then the program's own checks have to agree.
func (b *bank) judgeBalances(expected map[ledger.Account]int64, custody sandboxudun.Custody) {
	t := b.t
	ctx := t.Context()
	for account, want := range expected {
		got, err := b.services.Ledger.Balance(ctx, b.services.DB, account)
		if err != nil || got != want {
			t.Errorf("%s holds %d, want %d (%v)", account, got, want, err)
		}
		if account.Owner == ledger.User && account.Purpose == ledger.HeldOf(1, tether).Purpose && got != 0 {
			t.Errorf("%s holds %d when nothing is under way", account, got)
		}
	}
	for _, c := range b.people {
		_, balances := b.holdings(c)
		for _, coin := range []string{tether, ether} {
			if want := expected[ledger.AvailableOf(c.id, coin)]; balances[coin] != want {
				t.Errorf("%s is shown %d %s, want %d", c.email, balances[coin], coin, want)
			}
		}
	}
	for _, held := range custody.Balances {
		coin, known := b.coins[held.Coin]
		if !known {
			t.Fatalf("coin %s", held.Coin)
		}
		want := b.baseUnits(held.Coin, -expected[ledger.CustodyOf(held.Coin)])
		var remainder string
		if err := b.services.DB.QueryRow(ctx, `SELECT COALESCE(MAX(remainder), '0') FROM gateway_custody WHERE coin = $1`, coin.Code).Scan(&remainder); err != nil {
			t.Fatal(err)
		}
		cutOff, ok := new(big.Int).SetString(remainder, 10)
		if !ok || held.BaseUnits != want.Add(want, cutOff).String() {
			t.Errorf("the gateway holds %s %s; the ledger says %s, with %s that were cut off", held.BaseUnits, held.Coin, want, remainder)
		}
	}
	report, err := b.services.Ledger.Verify(ctx, nil)
	if err != nil || !report.OK() || report.Postings == 0 {
		t.Errorf("the ledger is not sound: %+v %v", report, err)
	}
	list, err := b.services.Wallet.Reconcile(ctx)
	if err != nil || len(list) == 0 {
		t.Errorf("reconciliation: %v %v", list, err)
	}
	for _, r := range list {
		if !r.Difference.IsZero() || !r.Ledger.Equal(r.Gateway) {
			t.Errorf("reconciliation: %+v", r)
		}
	}
	for _, args := range [][]string{{"ledger", "verify"}, {"reconcile"}} {
		command := exec.Command(b.path, args...)
		command.Env = b.environ
		if out, err := command.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	// Cases may be open about what the gateway was slow to say; none about money that went two ways.
	for what, query := range map[string]string{
		"contradictions": `SELECT COUNT(*) FROM operator_cases WHERE kind IN ('wallet_withdrawal_contradiction', 'wallet_deposit_contradiction', 'wallet_deposit_twin',
			'wallet_withdrawal_unknown', 'wallet_deposit_suspense', 'wallet_deposit_unclear', 'wallet_callback', 'wallet_withdrawal_failed_hash')`,
		"histories with gaps": `SELECT COUNT(*) FROM wallet_customers c WHERE c.entries <> (SELECT COUNT(*) FROM wallet_entries e WHERE e.user_id = c.user_id)
			OR c.entries <> (SELECT COALESCE(MAX(e.number), 0) FROM wallet_entries e WHERE e.user_id = c.user_id)`,
	} {
		var n int
		if err := b.services.DB.QueryRow(ctx, query).Scan(&n); err != nil || n != 0 {
			t.Errorf("%d %s (%v)", n, what, err)
		}
	}
}

func (b *bank) readBook() map[int64]*booked {
	type leg struct {
		id, units       int64
		kind, reference string
		account         ledger.Account
	}
	rows, err := b.services.DB.Query(b.t.Context(), `SELECT t.id, t.kind, t.reference, p.amount, a.owner_kind, a.owner_id, a.purpose, a.asset
		FROM ledger_transactions t JOIN ledger_postings p ON p.transaction_id = t.id JOIN ledger_accounts a ON a.id = p.account_id`)
	legs, err := db.Collect(rows, err, func(row db.Row) (l leg, err error) {
		return l, row.Scan(&l.id, &l.kind, &l.reference, &l.units, (*string)(&l.account.Owner), &l.account.OwnerID, &l.account.Purpose, &l.account.Asset)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	book := map[int64]*booked{}
	for _, l := range legs {
		if book[l.id] == nil {
			book[l.id] = &booked{l.id, l.kind, l.reference, map[ledger.Account]int64{}}
		}
		book[l.id].lines[l.account] += l.units
	}
	return book
}

// readHistories reads all histories, by what is behind their lines.
func (b *bank) readHistories() map[string][]line {
	rows, err := b.services.DB.Query(b.t.Context(), `SELECT user_id, amount, counterparty, source_id, type, status, coin, source FROM wallet_entries`)
	list, err := db.Collect(rows, err, func(row db.Row) (l line, err error) {
		return l, row.Scan(&l.user, &l.amount, &l.counterparty, &l.sourceID, &l.kind, &l.status, &l.coin, &l.source)
	})
	if err != nil {
		b.t.Fatal(err)
	}
	all := map[string][]line{}
	for _, l := range list {
		key := fmt.Sprintf("%s %d", l.source, l.sourceID)
		all[key] = append(all[key], l)
	}
	return all
}
