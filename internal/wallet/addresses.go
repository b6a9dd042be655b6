package wallet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/platform/jobs"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

// Kinds of operator cases about deposit addresses. Their subject is the chain.
const (
	caseAddressesRefused = "wallet_addresses_refused" // the gateway makes none, for example because its quota is used up
	caseAddressUnusable  = "wallet_address_unusable"  // it gave one that is not of the chain, or another customer's
)

const (
	// queuedFor is how long a job that is in the queue keeps others from being put there.
	queuedFor = 10 * time.Minute
	// refusedFor is how long the gateway is left alone about an address that it has refused.
	refusedFor = time.Hour
	// addressTries is how often one job asks. Each try may leave an address at the gateway that nobody uses; afterwards the customer
	// has to look into the wallet before it is asked for again.
	addressTries = 5
)

// depositAddress is a row of wallet_addresses.
type depositAddress struct {
	address    string // empty: not there yet
	askedUntil *time.Time
}

// DepositAddress is where a customer pays in on a chain.
type DepositAddress struct {
	ID        int64
	Chain     Chain
	Address   Address
	CreatedAt time.Time
}

// DepositAddresses are the addresses that a customer has, on chains that are in use.
func (s *Service) DepositAddresses(ctx context.Context, c identity.Customer) ([]DepositAddress, error) {
	all, err := s.store.addressesOf(ctx, c.ID)
	list := all[:0]
	for _, a := range all {
		if chain, used := s.chain(a.Chain.MainCoin); used {
			a.Chain = chain
			list = append(list, a)
		}
	}
	return list, err
}

// chain finds a chain that is in use, by its main coin type or its name.
func (s *Service) chain(name string) (Chain, bool) {
	for _, c := range s.Coins {
		if c.Chain.MainCoin == name || strings.EqualFold(c.Chain.Name, name) {
			return c.Chain, true
		}
	}
	return Chain{}, false
}

// addressArgs is the job that asks the gateway for the addresses that a customer lacks.
type addressArgs struct {
	UserID int64 `json:"user_id"`
	// Queued is the lease under which the job was put into the queue, in microseconds from 1970: what it covers is this job's.
	Queued int64 `json:"queued"`
}

// Kind names the job.
func (addressArgs) Kind() string { return "wallet_addresses" }

// Open makes the wallet of a new customer, in the transaction that makes the customer. It is a hook of identity.OnCreated.
func (s *Service) Open(ctx context.Context, tx db.Tx, userID int64) error {
	if err := s.store.addCustomer(ctx, tx, userID); err != nil {
		return err
	}
	return s.askAddresses(ctx, tx, userID)
}

// chains are the chains on which addresses are made: those of coins that can be used.
func (s *Service) chains(terms map[string]coinTerms) []Chain {
	if s.Gateway.Client == nil {
		return nil
	}
	var list []Chain
	seen := map[string]bool{}
	for _, c := range s.Coins {
		if terms[c.Code].usable() && !seen[c.Chain.MainCoin] {
			seen[c.Chain.MainCoin] = true
			list = append(list, c.Chain)
		}
	}
	return list
}

// wanting tells whether an address is missing that nobody is about to ask for.
func (s *Service) wanting(have map[string]depositAddress, terms map[string]coinTerms, now time.Time) bool {
	for _, chain := range s.chains(terms) {
		a := have[chain.MainCoin]
		if a.address == "" && (a.askedUntil == nil || !now.Before(*a.askedUntil)) {
			return true
		}
	}
	return false
}

// askAddresses puts a job into the queue that asks for the addresses that the customer lacks, unless there is one.
func (s *Service) askAddresses(ctx context.Context, tx db.Tx, userID int64) error {
	terms, err := s.coinTerms(ctx, tx)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	until := now.Add(queuedFor)
	missing := int64(0)
	for _, chain := range s.chains(terms) {
		n, err := s.store.wantAddress(ctx, tx, userID, chain.MainCoin, now, until)
		if err != nil {
			return err
		}
		missing += n
	}
	if missing == 0 {
		return nil
	}
	return s.Jobs.Insert(ctx, tx, addressArgs{userID, until.UnixMicro()}, jobs.Attempts(addressTries))
}

// makeAddresses asks the gateway for each address that the customer lacks and that nobody else is asking for. An error is one that
// asking again may mend.
func (s *Service) makeAddresses(ctx context.Context, args addressArgs) error {
	terms, err := s.coinTerms(ctx, s.DB)
	if err != nil {
		return err
	}
	var failed []error
	for _, chain := range s.chains(terms) {
		if err := s.makeAddress(ctx, args, chain); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", chain.Name, err))
		}
	}
	return errors.Join(failed...)
}

func (s *Service) makeAddress(ctx context.Context, args addressArgs, chain Chain) error {
	now, queued := s.Clock.Now(), time.UnixMicro(args.Queued).UTC()
	lease := now.Add(s.lease())
	mine, err := s.store.claimAddress(ctx, args.UserID, chain.MainCoin, now, queued, lease)
	if err != nil || !mine {
		return err
	}
	text, err := s.Gateway.Client.CreateAddress(ctx, chain.MainCoin, strconv.FormatInt(args.UserID, 10), "")
	// The outcome is written down also if the time for the job is over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseMargin-5*time.Second)
	defer cancel()
	if err != nil {
		if code, answered := udun.CodeOf(err); answered && code.Class() != udun.ClassRetryable {
			return s.addressCase(ctx, args.UserID, chain, lease, caseAddressesRefused, fmt.Sprintf("code %d: %s", code, code))
		}
		return errors.Join(err, s.store.deferAddress(ctx, s.DB, args.UserID, chain.MainCoin, lease, queued))
	}
	address, err := chain.Form.Parse(text)
	if err != nil {
		return s.addressCase(ctx, args.UserID, chain, lease, caseAddressUnusable, "not an address of the chain")
	}
	kept := false
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
		if kept, err = s.store.keepAddress(ctx, tx, args.UserID, chain.MainCoin, text, address.Key); err != nil {
			return err
		}
		_, err = s.cases.Close(ctx, tx, chain.Name, caseAddressesRefused)
		return err
	})
	switch {
	case db.IsUniqueViolation(err):
		return s.addressCase(ctx, args.UserID, chain, lease, caseAddressUnusable, "the address belongs to another customer already")
	case err == nil && !kept:
		s.Log.InfoContext(ctx, "a deposit address came late and stays unused", "user_id", args.UserID, "chain", chain.Name)
	}
	return err
}

// addressCase tells an operator that an address cannot be had, and leaves the gateway alone about it for a while.
func (s *Service) addressCase(ctx context.Context, userID int64, chain Chain, lease time.Time, kind, detail string) error {
	s.Log.WarnContext(ctx, "no deposit address", "user_id", userID, "chain", chain.Name, "case", kind, "detail", detail)
	return s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if err := s.store.deferAddress(ctx, tx, userID, chain.MainCoin, lease, s.Clock.Now().Add(refusedFor)); err != nil {
			return err
		}
		_, err := s.cases.Open(ctx, tx, cases.Case{Kind: kind, Subject: chain.Name, Detail: detail})
		return err
	})
}
