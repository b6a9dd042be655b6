package wallet

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

// caseCoinUnusable is an operator case about a coin, which is its subject: the gateway counts it otherwise than we do, or does not have
// it for us. It gets no addresses, and withdrawals of it are refused.
const caseCoinUnusable = "wallet_coin_unusable"

// coinState is what the gateway's list says about a coin of ours.
type coinState string

// The states.
const (
	stateUsable     coinState = "usable"
	stateMissing    coinState = "missing"    // not in the list
	stateMismatched coinState = "mismatched" // there with other decimals, or as another sort of coin: its amounts cannot be trusted
)

// coinTerms is a row of gateway_coins.
type coinTerms struct {
	state        coinState
	symbol, logo string
}

// usable tells whether coins may be received and sent. Of a coin that was never looked up it is not known.
func (t coinTerms) usable() bool { return t.state == stateUsable }

// termsLife is how long what was read about the coins is used again. It changes hardly ever.
const termsLife = 30 * time.Second

type termsMemory struct {
	at    time.Time
	terms map[string]coinTerms
}

// coinTerms is what is known of the coins, by name, from memory mostly.
func (s *Service) coinTerms(ctx context.Context, q db.Querier) (map[string]coinTerms, error) {
	now := s.Clock.Now()
	if m := s.terms.Load(); m != nil && !now.Before(m.at) && now.Sub(m.at) < termsLife {
		return m.terms, nil
	}
	terms, err := s.store.coinTerms(ctx, q)
	if err != nil {
		return nil, err
	}
	s.terms.Store(&termsMemory{now, terms})
	return terms, nil
}

// coinUsable tells whether a coin may be received and sent: the gateway has it, with the decimals that we count with
// (provider/udun section 6).
func (s *Service) coinUsable(ctx context.Context, c Coin) (bool, error) {
	terms, err := s.coinTerms(ctx, s.DB)
	return s.Gateway.Client != nil && terms[c.Code].usable(), err
}

// CheckCoins compares our coins with the gateway's list of the merchant's coins and opens or closes a case for each.
//
// Errors: *provider.Error if the gateway does not say; nothing changes then.
func (s *Service) CheckCoins(ctx context.Context) error {
	list, err := s.Gateway.Client.SupportCoins(ctx, false)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("the gateway lists no coin at all")
	}
	now := s.Clock.Now()
	err = s.DB.RunTx(ctx, func(ctx context.Context, tx db.Tx) error {
		for _, c := range s.Coins {
			terms, flaw := compareCoin(c, list)
			if err := s.store.saveCoinTerms(ctx, tx, c.Code, terms, now); err != nil {
				return err
			}
			if terms.usable() {
				if _, err := s.cases.Close(ctx, tx, c.Code, caseCoinUnusable); err != nil {
					return err
				}
				continue
			}
			isNew, err := s.cases.Open(ctx, tx, cases.Case{Kind: caseCoinUnusable, Subject: c.Code, Detail: flaw})
			if err != nil {
				return err
			}
			if isNew {
				tx.AfterCommit(func() { s.Log.WarnContext(ctx, "coin cannot be used at the gateway", "coin", c.Code, "why", flaw) })
			}
		}
		return nil
	})
	s.terms.Store(nil)
	return err
}

// compareCoin finds a coin of ours in the gateway's list and says what is wrong with it there. Contracts of Ethereum's kind differ in
// case from one place to the next.
func compareCoin(c Coin, list []udun.Coin) (coinTerms, string) {
	for _, theirs := range list {
		if theirs.MainCoinType != c.Chain.MainCoin || theirs.CoinType != c.CoinType && !(c.Chain.Form == EVM && strings.EqualFold(theirs.CoinType, c.CoinType)) {
			continue
		}
		t := coinTerms{state: stateUsable, symbol: theirs.Symbol, logo: imageAddress(theirs.Logo)}
		switch {
		case theirs.Decimals != int(c.Decimals):
			t.state = stateMismatched
			return t, fmt.Sprintf("decimals: %d at the gateway, %d here", theirs.Decimals, c.Decimals)
		case theirs.Token == c.Native():
			t.state = stateMismatched
			return t, "the gateway does not agree whether it is a token or its chain's own coin"
		}
		return t, ""
	}
	return coinTerms{state: stateMissing}, "the merchant does not have it"
}

// imageAddress is an address that an app may fetch an image from, or "".
func imageAddress(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || len(text) > 500 {
		return ""
	}
	return text
}
