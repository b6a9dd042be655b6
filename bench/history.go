package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

const (
	longHistory        = 100_000 // entries
	historyConnections = 4
	historyEvery       = 20 * time.Millisecond // of each connection: 200 requests a second in all
	historyPage        = 100                   // entries of a page
)

// paging is what came of GET /wallet/unified-transactions for the customer with the long history, on one engine.
type paging struct {
	first, last *runner
	pages       int // number of the last one
}

// measurePaging reads the first page of a long history and the last, at a moderate pace.
func measurePaging(ctx context.Context, engine string, b *book, o options) (h *paging, err error) {
	keys, err := newTokenKeys()
	if err != nil {
		return nil, err
	}
	tokens, err := keys.tokens([]int{b.accounts + 1})
	if err != nil {
		return nil, err
	}
	p, err := startWallet(ctx, b, keys)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	page := func(n int) *runner {
		request := fmt.Sprintf("GET /wallet/unified-transactions?page=%d&page_size=%d HTTP/1.1\r\n%sAuthorization: Bearer %s\r\n\r\n", n, historyPage, headers, tokens[0])
		l := load{address: p.address, connections: historyConnections, every: historyEvery, compose: func(out []byte) []byte { return append(out, request...) }}
		return &runner{load: l.run, spent: p.spent}
	}
	h = &paging{pages: b.long / historyPage}
	h.first, h.last = page(1), page(h.pages)
	if err := takeTurns(ctx, engine+": GET /wallet/unified-transactions", o.transferRounds, o.transferRound, o.warmUp, o.base, h.first, h.last); err != nil {
		return nil, err
	}
	if o.profiles != "" {
		err = profileRound(ctx, p, h.last, filepath.Join(o.profiles, "history-"+strings.ToLower(engine)+".pprof"), o.transferRound)
	}
	return h, err
}
