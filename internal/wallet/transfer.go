package wallet

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/ledger"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// Problems of transfers.
var (
	ErrRecipientNotFound  = problem.Define("RECIPIENT_NOT_FOUND", problem.NotFound) // nobody, or closed
	ErrTransferToSelf     = problem.Define("TRANSFER_TO_SELF", problem.Invalid)
	ErrDescriptionInvalid = problem.Define("DESCRIPTION_INVALID", problem.Invalid) // too long, or not one line of text: Max
)

// KindTransfer is the ledger's kind of transfers between customers.
const KindTransfer ledger.Kind = "transfer"

const maxDescription = 200 // characters

// Transfer is what a customer asks to be sent to another one.
type Transfer struct {
	Recipient   int64  // the other customer's id, which the app calls UID
	Currency    string // name of the coin
	Amount      string // whole coins, as the number stands in the request
	Description string // both customers read it
	Password    secret.Text
	Key         string // Idempotency-Key of the request; empty: none
}

// Sent is a transfer that has been done.
type Sent struct {
	TransactionID int64
	Coin          Coin
	Units         int64
	Balance       int64  // of the sender afterwards
	RecipientRef  string // the recipient's wallet_id
}

// keyLife is how long the key of a request names one transfer; the edge forgets answers as soon.
const keyLife = 24 * time.Hour

// Transfer sends coins to another customer, at once and free of charge (contract/money 2.5). Session, account, transaction password,
// recipient and limits are all judged in the database transaction that moves the money.
//
// Errors: ErrCurrencyUnknown, ErrAmountInvalid, ErrAmountTooPrecise, ErrAmountTooLarge, ErrAmountNotPositive, ErrDescriptionInvalid,
// ErrTransferToSelf, ErrRecipientNotFound, ErrSendingBlocked, ErrOperationLimit, ErrDayLimit, ErrPriceUnavailable,
// ErrInsufficientBalance, api.ErrKeyReused, api.ErrUnavailable while stopping or when somebody else keeps an account locked, and those of
// identity.AuthorizeTransfers.
func (s *Service) Transfer(ctx context.Context, c identity.Customer, t Transfer) (Sent, error) {
	coin, known := s.byName[t.Currency]
	if !known {
		return Sent{}, ErrCurrencyUnknown
	}
	units, err := parseAmount(coin, t.Amount)
	if err != nil {
		return Sent{}, err
	}
	description := strings.TrimSpace(t.Description)
	switch {
	case !isLine(description, maxDescription):
		return Sent{}, ErrDescriptionInvalid.With("Max", maxDescription)
	case t.Recipient == c.ID:
		return Sent{}, ErrTransferToSelf
	case t.Recipient <= 0:
		return Sent{}, ErrRecipientNotFound
	}
	if exists, err := s.mayExist(ctx, t.Recipient); err != nil {
		return Sent{}, err
	} else if !exists {
		return Sent{}, ErrRecipientNotFound
	}
	reference, err := s.transferReference(c.ID, t.Key)
	if err != nil {
		return Sent{}, err
	}
	move := ledger.Move(KindTransfer, reference, ledger.AvailableOf(c.ID, coin.Code), ledger.AvailableOf(t.Recipient, coin.Code), units)
	move.Description = description
	request := &transferRequest{
		try: identity.TransferTry{Customer: c, Password: t.Password}, to: t.Recipient, coin: coin.Code, units: units, worth: s.worth(ctx, coin, units),
	}
	posted, err := s.Ledger.Submit(ctx, move, request)
	switch {
	case errors.Is(err, ledger.ErrInsufficient):
		return Sent{}, ErrInsufficientBalance
	case errors.Is(err, ledger.ErrOverflow):
		return Sent{}, ErrAmountTooLarge
	case errors.Is(err, ledger.ErrReferenceUsed):
		return Sent{}, api.ErrKeyReused
	case errors.Is(err, ledger.ErrClosed), db.IsLockTimeout(err):
		return Sent{}, api.ErrUnavailable.Because(err)
	case err != nil:
		return Sent{}, err
	case posted.Replayed:
		if s.Clock.Now().Sub(posted.At) > keyLife {
			return Sent{}, api.ErrKeyReused // an old transfer, which this request does not mean
		}
		if err := s.authorizeReplay(ctx, request); err != nil {
			return Sent{}, err
		}
	}
	return Sent{TransactionID: posted.ID, Coin: coin, Units: units, Balance: posted.Postings[0].BalanceAfter, RecipientRef: request.recipientRef}, nil
}

// authorizeReplay judges who asks about a transfer that has been made, and finds its recipient: of what stands in its book the ledger
// does not ask the rule. Wrong passwords count here as well.
func (s *Service) authorizeReplay(ctx context.Context, t *transferRequest) error {
	var verdict identity.Authorization
	err := s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		verdicts, err := s.Customers.AuthorizeTransfers(ctx, tx, []identity.TransferTry{t.try})
		if err != nil {
			return err
		}
		verdict = verdicts[0]
		to, err := s.Customers.Recipients(ctx, tx, []int64{t.to})
		t.recipientRef = to[t.to].WalletRef
		return err
	})
	if err != nil {
		return err
	}
	return verdict.Err
}

// mayExist is false for ids that no customer has had yet. The ledger keeps an account for whoever a transfer names, also if it is
// refused: numbers out of the air must not fill it. Ids rise, so that the newest one, kept in memory, tells nearly always.
func (s *Service) mayExist(ctx context.Context, id int64) (bool, error) {
	newest := s.newestCustomer.Load()
	if id <= newest {
		return true, nil
	}
	found, err := s.store.newestCustomer(ctx, newest)
	if err != nil {
		return false, err
	}
	s.newestCustomer.Store(found)
	return id <= found, nil
}

// transferReference names a transfer. With the key of its request, a request that comes again after its answer was lost, even to a
// crash between the posting and the keeping of the answer, finds the transfer that it made.
func (s *Service) transferReference(userID int64, key string) (string, error) {
	if key != "" {
		return base64.RawURLEncoding.EncodeToString(s.Vault.Hash("transfer", strconv.FormatInt(userID, 10), key)), nil
	}
	id, err := uuid.NewV7FromReader(s.Random)
	return id.String(), err
}

// isLine tells whether a text can be shown safely on one line: no control characters, separators of lines, or marks that turn the
// direction of text around.
func isLine(text string, most int) bool {
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > most {
		return false
	}
	return !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) || 0x202A <= r && r <= 0x202E || 0x2066 <= r && r <= 0x2069
	})
}

// transferRequest is what the rule needs to know about one transfer besides its lines.
type transferRequest struct {
	try          identity.TransferTry
	to           int64
	coin         string
	units        int64
	worth        int64
	verified     bool   // found in the round
	recipientRef string // found in the round
}

// transferRule judges and records all transfers of one round of the ledger with a handful of statements.
type transferRule struct{ *Service }

// transferRound holds the customers of one round, locked: first the passwords of the senders, then what the wallet keeps of all. What the
// second statement reads of senders holds until the round ends: who changes it has to hold the password (identity.HoldTransfers).
type transferRound struct {
	transferRule
	tx          db.Tx
	proposals   []*ledger.Proposal
	authorizing *identity.Authorizing
	parties     *parties
	day         int64
}

// party is a customer on either side of a transfer.
type party struct {
	customer
	status    identity.Status
	kycStatus string
	walletRef string
}

// Open implements ledger.Rule. All that a round needs to know is asked for together.
func (r transferRule) Open(ctx context.Context, tx db.Tx, proposals []*ledger.Proposal) (_ ledger.Round, err error) {
	tries := make([]identity.TransferTry, len(proposals))
	ids := make([]int64, 0, 2*len(proposals))
	for i, p := range proposals {
		t := p.Subject.(*transferRequest)
		tries[i] = t.try
		ids = append(ids, t.try.Customer.ID, t.to)
	}
	round := &transferRound{transferRule: r, tx: tx, proposals: proposals, day: dayOf(r.Clock.Now().Unix())}
	if round.authorizing, err = r.Customers.QueueTransfers(ctx, tx, tries); err != nil {
		return nil, err
	}
	slices.Sort(ids)
	round.parties, err = r.store.lockParties(ctx, tx, slices.Compact(ids))
	return round, err
}

// Judge implements ledger.Round.
func (r *transferRound) Judge(ctx context.Context) error {
	verdicts, err := r.authorizing.Judge(ctx)
	if err != nil {
		return err
	}
	if err := r.parties.complete(ctx, r.tx); err != nil {
		return err
	}
	for i, p := range r.proposals {
		t := p.Subject.(*transferRequest)
		from, to := r.parties.byID[t.try.Customer.ID], r.parties.byID[t.to]
		t.verified = from != nil && from.kycStatus == verified
		switch {
		case verdicts[i].Err != nil:
			p.Refuse(verdicts[i].Err)
		case from.status == identity.Frozen: // while the password was waited for
			p.Refuse(identity.ErrAccountFrozen)
		case from.status == identity.Closed:
			p.Refuse(api.ErrUnauthenticated)
		case to == nil || to.status == identity.Closed:
			p.Refuse(ErrRecipientNotFound)
		case from.revokedAt != nil && !t.verified:
			p.Refuse(ErrSendingBlocked)
		default:
			t.recipientRef = to.walletRef
		}
	}
	return nil
}

// Admit implements ledger.Round. Several transfers of one customer in a round are judged one after the other.
func (r *transferRound) Admit(p *ledger.Proposal) error {
	t := p.Subject.(*transferRequest)
	from := r.parties.byID[t.try.Customer.ID]
	from.enter(r.day)
	if err := r.TransferLimits.Of(t.verified).allow(t.worth, from.transferred); err != nil {
		return err
	}
	from.transferred = add(from.transferred, t.worth)
	return nil
}

// Record implements ledger.Round: a line of history for each side.
func (r *transferRound) Record(ctx context.Context, posted []*ledger.Proposal) error {
	entries := make([]Entry, 0, 2*len(posted))
	touched := make(map[int64]*party, 2*len(posted))
	for _, p := range posted {
		t := p.Subject.(*transferRequest)
		sender := t.try.Customer.ID
		for _, side := range [2]struct{ user, other, units int64 }{{sender, t.to, -t.units}, {t.to, sender, t.units}} {
			c := r.parties.byID[side.user]
			c.entries++
			touched[side.user] = c
			entries = append(entries, Entry{
				UserID: side.user, Number: c.entries, Coin: t.coin, Amount: side.units, Counterparty: side.other,
				Description: p.Description, Reference: p.Reference, SourceID: p.Posted.ID, CreatedAt: p.Posted.At,
			})
		}
	}
	customers := make([]customer, 0, len(touched))
	for _, c := range touched {
		customers = append(customers, c.customer)
	}
	return r.store.recordTransfers(ctx, r.tx, entries, customers)
}

// enter begins a new day of the sums, unless the customer is there already. Clocks of replicas differ: a day never begins again.
func (c *customer) enter(day int64) {
	if day > c.day {
		c.day, c.transferred, c.withdrawn = day, 0, 0
	}
}
