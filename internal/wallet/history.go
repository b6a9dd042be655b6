package wallet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// Problems of the history.
var (
	ErrPageInvalid   = problem.Define("PAGE_INVALID", problem.Invalid) // page or page_size: Max
	ErrFilterInvalid = problem.Define("FILTER_INVALID", problem.Invalid)
	ErrDateInvalid   = problem.Define("DATE_INVALID", problem.Invalid)
)

// Words of the history that other capabilities will write; TypeDeposit and its neighbours are the others.
const (
	typeSwap       = "swap"
	typeCardFee    = "card_fee"
	typeCommission = "commission"
	typeFee        = "fee"

	statusCancelled = "cancelled"
	statusApproved  = "approved"
	statusCredited  = "credited"
)

// The words that the app translates (contract/money 2.2), with the keys of our own texts for them.
var (
	typeLabels = map[string]string{
		TypeDeposit: "wallet.type.deposit", TypeWithdrawal: "wallet.type.withdraw", TypeTransfer: "wallet.type.transfer", typeSwap: "wallet.type.swap",
		typeCardFee: "wallet.type.card_fee", typeCommission: "wallet.type.commission", typeFee: "wallet.type.fee",
	}
	statusLabels = map[string]string{
		StatusPending: "wallet.status.pending", StatusCompleted: "wallet.status.completed", StatusFailed: "wallet.status.failed",
		StatusRejected: "wallet.status.rejected", statusCancelled: "wallet.status.cancelled", statusApproved: "wallet.status.approved",
		statusCredited: "wallet.status.credited",
	}
)

const (
	defaultPageSize = 20
	// MaxPageSize is how many lines one page has at most.
	MaxPageSize = 100
	// maxPage keeps the arithmetic of pages within bounds; no history has as many.
	maxPage = 1 << 40
	// pagesKept is how long the pages of a session go on from its last look at the first one.
	pagesKept = 24 * time.Hour
)

// HistoryQuery chooses a page of a history. Empty fields choose everything.
type HistoryQuery struct {
	Page   int64 // from 1
	Size   int64 // 1 to MaxPageSize
	Types  []string
	Status string
	Coin   string
	From   time.Time
	Until  time.Time // not included
}

// digest names what is chosen; empty: everything.
func (q HistoryQuery) digest() string {
	if len(q.Types) == 0 && q.Status == "" && q.Coin == "" && q.From.IsZero() && q.Until.IsZero() {
		return ""
	}
	sum := sha256.Sum256([]byte(fmt.Sprintf("%s %s %s %d %d", q.Types, q.Status, q.Coin, q.From.Unix(), q.Until.Unix())))
	return hex.EncodeToString(sum[:16])
}

// History is a page of what has happened to a customer's coins, newest first.
type History struct {
	Entries []Entry
	Total   int64 // of all pages
	Pages   int64
}

// History gives a page (contract/money 2.2). It confirms the session in the same query.
//
// The app only counts pages. So when a session turns to the first page, and there are more, what the newest line was is remembered: the
// following pages go on from there, and no line is shown twice or left out because others have come since. Only a choice by status can
// change under a reader.
//
// Errors: ErrPageInvalid, ErrFilterInvalid, identity.ErrUserNotFound, api.ErrUnauthenticated.
func (s *Service) History(ctx context.Context, c identity.Customer, q HistoryQuery) (History, error) {
	switch unknownType := func(t string) bool { return typeLabels[t] == "" }; {
	case q.Page < 1, q.Page > maxPage, q.Size < 1, q.Size > MaxPageSize:
		return History{}, ErrPageInvalid.With("Max", MaxPageSize)
	case slices.ContainsFunc(q.Types, unknownType), q.Status != "" && statusLabels[q.Status] == "":
		return History{}, ErrFilterInvalid
	}
	var (
		h               History
		standing        identity.Standing
		entries, anchor int64
		err             error
	)
	filter, skip := q.digest(), (q.Page-1)*q.Size
	if filter == "" {
		standing, entries, anchor, h.Entries, err = s.store.historyPage(ctx, c, q.Size, skip)
	} else {
		standing, entries, anchor, err = s.store.historyStanding(ctx, c, q.Size, filter)
	}
	if err != nil {
		return History{}, err
	}
	now := s.Clock.Now()
	if err := standing.Check(now); err != nil {
		return History{}, err
	}
	newest := entries
	if q.Page > 1 && anchor > 0 {
		newest = anchor
	}
	h.Total = newest
	if filter != "" {
		h.Entries, h.Total, err = s.store.chosenEntries(ctx, c.ID, q, newest, skip)
	}
	if err != nil {
		return History{}, err
	}
	h.Pages = (h.Total + q.Size - 1) / q.Size
	if q.Page == 1 && h.Pages > 1 && newest != anchor {
		err = s.store.rememberPage(ctx, c.SessionID, q.Size, filter, newest, now)
	}
	return h, err
}

// parseDay reads a date, YYYY-MM-DD, as the beginning of a day of UTC; empty is no date.
func parseDay(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	day, err := time.Parse(time.DateOnly, strings.TrimSpace(text))
	if err != nil || day.Year() < 1 {
		return time.Time{}, ErrDateInvalid
	}
	return day, nil
}

// parseDays reads the two ends of a span of days, of which the last one is included.
func parseDays(start, end string) (from, until time.Time, err error) {
	if from, err = parseDay(start); err != nil {
		return from, until, err
	}
	if until, err = parseDay(end); err != nil || end == "" {
		return from, until, err
	}
	if until = until.AddDate(0, 0, 1); until.Year() > 9999 {
		until = time.Time{} // the last day that can be written: no end
	}
	return from, until, nil
}
