package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"
)

// sending is what came of POST /wallet/transfer-by-uid on one engine.
type sending struct {
	small, large, one *runner       // large: nil without a large book; one: over a single connection
	bench             *runner       // one client of pgbench; nil on SQLite
	generatorCost     time.Duration // processor time of the load generator for one request
}

// transferRequests are whole requests, one of every sender, each to a customer chosen at random.
func (b *book) transferRequests(k tokenKeys) ([][]byte, error) {
	senders := make([]int, min(b.accounts, maxTokens))
	for i := range senders {
		senders[i] = i + 1
	}
	tokens, err := k.tokens(senders)
	if err != nil {
		return nil, err
	}
	list := make([][]byte, len(senders))
	for i, from := range senders {
		to := 1 + (from+rand.IntN(b.accounts-1))%b.accounts
		body := fmt.Sprintf(`{"amount":0.01,"currency":"%s","description":"Internal transfer","recipient_uid":%d,"transaction_password":"%s"}`, asset, to, password)
		list[i] = fmt.Appendf(nil, "POST /wallet/transfer-by-uid HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\nAuthorization: Bearer %s\r\n\r\n%s",
			headers, len(body), tokens[i], body)
	}
	return list, nil
}

// startWallet starts the product on a book. The limits of a day are so high that nobody meets them; they are counted all the same.
func startWallet(ctx context.Context, b *book, k tokenKeys) (*process, error) {
	return start(ctx, roleService, append(serviceSettings(b.url, k), "CCP_HASH_KEY="+b.hashKey.Reveal(),
		"CCP_TRANSFER_DAY_LIMIT=1000000000", "CCP_TRANSFER_DAY_LIMIT_VERIFIED=1000000000")...)
}

func (p *process) spent() (time.Duration, error) { return processorTime(p.Process.Pid) }

// measureSending sends transfers through the whole program.
func measureSending(ctx context.Context, engine string, small, large *book, bench *pgbench, o options) (s *sending, err error) {
	s = &sending{}
	keys, err := newTokenKeys()
	if err != nil {
		return s, err
	}
	var runners []*runner
	add := func(b *book, over ...int) (p *process, err error) {
		requests, err := b.transferRequests(keys)
		if err != nil {
			return nil, err
		}
		if p, err = startWallet(ctx, b, keys); err != nil {
			return nil, err
		}
		for _, n := range over {
			l := load{address: p.address, connections: n, compose: func(out []byte) []byte {
				return append(out, requests[rand.IntN(len(requests))]...)
			}}
			runners = append(runners, &runner{load: l.run, spent: p.spent})
		}
		return p, nil
	}
	onSmall, err := add(small, connections, 1)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, onSmall.stop()) }()
	s.small, s.one = runners[0], runners[1]
	if large != nil {
		onLarge, err2 := add(large, connections)
		if err2 != nil {
			return s, err2
		}
		defer func() { err = errors.Join(err, onLarge.stop()) }()
		s.large = runners[2]
	}
	served := runners
	if bench != nil {
		s.bench = bench.among(1, fewAccounts)
		runners = append(runners, s.bench)
	}
	if err := takeTurns(ctx, engine+": POST /wallet/transfer-by-uid", o.transferRounds, o.transferRound, o.warmUp, o.base, runners...); err != nil {
		return s, err
	}
	s.generatorCost = ownCost(served...)
	if o.profiles != "" {
		err = profileRound(ctx, onSmall, s.small, filepath.Join(o.profiles, "transfers-"+strings.ToLower(engine)+".pprof"), o.transferRound)
	}
	return s, err
}
