package wallet

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/provider/udun"
)

// registerGateway adds the operations of withdrawals and the gateway's callback to the edge.
func (s *Service) registerGateway(a *api.API) {
	api.Register(a, api.Operation{
		ID: "request-withdrawal", Method: http.MethodPost, Path: "/wallet/withdrawal", Tag: tagWallet,
		Summary: "Send coins to an address on chain",
		Describe: "The amount is reserved at once; a fee comes out of it. Large amounts wait for a person. The chain follows from the currency, network is not used. " +
			"An equal request within three minutes is the same withdrawal, unless each has an Idempotency-Key of its own.",
		Errors: []int{http.StatusBadRequest, http.StatusForbidden, http.StatusServiceUnavailable},
	}, s.postWithdrawal)
	api.Register(a, api.Operation{
		ID: "list-withdrawals", Method: http.MethodGet, Path: "/wallet/withdrawals", Tag: tagWallet,
		Summary: "The customer's withdrawals, newest first", Errors: []int{http.StatusBadRequest},
	}, s.getWithdrawals)
	for _, path := range []string{"/yudun/callback", "/yudun/callback/{key}"} {
		op := api.Operation{
			ID: "yudun-callback", Method: http.MethodPost, Path: path, Access: api.Provider, Tag: "Providers", MaxBody: udun.MaxCallback,
			Summary: "Callback of the crypto gateway", Describe: "A form, or JSON, with timestamp, nonce, sign and body. It is stored before it is answered.",
			Errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound, http.StatusRequestEntityTooLarge},
		}
		if strings.HasSuffix(path, "}") {
			op.ID = "yudun-callback-key"
			api.Register(a, op, s.postKeyedCallback)
			continue
		}
		api.Register(a, op, s.postCallback)
	}
}

type withdrawalInput struct {
	Key  string `header:"Idempotency-Key" hidden:"true"`
	Body struct {
		Amount   api.Number `json:"amount" doc:"Whole coins, more than 0, with no more decimals than the coin has. A fee comes out of it." example:"12.5"`
		Currency string     `json:"currency" doc:"Name of the coin, as in the wallet." example:"USDT-TRC20"`
		Address  string     `json:"address" doc:"On the coin's chain." example:"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"`
		Network  string     `json:"network,omitempty" doc:"Not used." example:"TRC20"`
	}
}

// withdrawalItem is contract/money 2.4.
type withdrawalItem struct {
	ID        int64      `json:"id"`
	Amount    api.Number `json:"amount" doc:"All that left the balance, the fee included."`
	Fee       api.Number `json:"fee"`
	Currency  string     `json:"currency"`
	Address   string     `json:"address"`
	Status    string     `json:"status" enum:"pending,processing,completed,rejected,failed"`
	TxHash    string     `json:"tx_hash" doc:"Empty until it is on chain."`
	CreatedAt string     `json:"created_at"`
	UpdatedAt string     `json:"updated_at"`
}

func (s *Service) item(w Withdrawal) withdrawalItem {
	coin := s.listed[w.Coin].Coin
	return withdrawalItem{
		ID: w.ID, Amount: api.Number(coin.Format(w.Units)), Fee: api.Number(coin.Format(w.Fee)), Currency: w.Coin, Address: w.Address,
		Status: w.State.shown(), TxHash: w.TxID, CreatedAt: stamp(w.RequestedAt), UpdatedAt: stamp(w.EnteredAt),
	}
}

func stamp(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

// shown is the state in the app's words.
func (s WithdrawalState) shown() string {
	switch s {
	case Ordered, Processing:
		return "processing"
	case Completed:
		return StatusCompleted
	case Declined:
		return StatusRejected
	case Broken:
		return StatusFailed
	}
	return StatusPending
}

// statesShownAs are the states that the app calls so (contract/money 2.4); none: it has no such word.
func statesShownAs(word string) (states []WithdrawalState) {
	switch word {
	case "approved": // the app shows it like completed
		word = StatusCompleted
	case "cancelled": // the app knows it, and no withdrawal is ever so
		return []WithdrawalState{"cancelled"}
	}
	for _, state := range []WithdrawalState{InReview, Approved, Sending, Ordered, Processing, Completed, Declined, Broken} {
		if state.shown() == word {
			states = append(states, state)
		}
	}
	return states
}

type withdrawalAnswer struct {
	api.Success
	Message    string         `json:"message" doc:"For the customer, in their language."`
	Withdrawal withdrawalItem `json:"withdrawal"`
}

type withdrawalOutput struct{ Body withdrawalAnswer }

func (s *Service) postWithdrawal(ctx context.Context, in *withdrawalInput) (*withdrawalOutput, error) {
	w, err := s.RequestWithdrawal(ctx, identity.CustomerFrom(ctx), WithdrawalRequest{Currency: in.Body.Currency, Amount: string(in.Body.Amount), Address: in.Body.Address, Key: in.Key})
	if err != nil {
		return nil, err
	}
	text := "wallet.withdrawal.requested"
	if w.State == InReview {
		text = "wallet.withdrawal.in_review"
	}
	return &withdrawalOutput{withdrawalAnswer{Success: api.OK(), Message: s.Texts.For(ctx, text, nil), Withdrawal: s.item(w)}}, nil
}

type withdrawalsInput struct {
	Page   string `query:"page" doc:"From 1, which is the default." example:"1"`
	Limit  string `query:"limit" doc:"1 to 100; 20 if there is none." example:"20"`
	Status string `query:"status" doc:"One of the statuses of the items, or approved or cancelled; empty: all." example:"completed"`
}

type withdrawalsAnswer struct {
	api.Success
	Page       int64            `json:"page"`
	Limit      int64            `json:"limit"`
	Total      int64            `json:"total"`
	TotalPages int64            `json:"total_pages"`
	Items      []withdrawalItem `json:"items" nullable:"false"`
}

type withdrawalsOutput struct{ Body withdrawalsAnswer }

func (s *Service) getWithdrawals(ctx context.Context, in *withdrawalsInput) (*withdrawalsOutput, error) {
	var states []WithdrawalState
	if word := strings.ToLower(strings.TrimSpace(in.Status)); word != "" {
		if states = statesShownAs(word); len(states) == 0 {
			return nil, ErrWithdrawalStatus
		}
	}
	page, err := wholeNumber(in.Page, 1)
	if err != nil {
		return nil, err
	}
	limit, err := wholeNumber(in.Limit, defaultPageSize)
	if err != nil {
		return nil, err
	}
	list, total, err := s.Withdrawals(ctx, identity.CustomerFrom(ctx), states, page, limit)
	if err != nil {
		return nil, err
	}
	answer := withdrawalsAnswer{Success: api.OK(), Page: page, Limit: limit, Total: total, TotalPages: (total + limit - 1) / limit,
		Items: make([]withdrawalItem, len(list))}
	for i, w := range list {
		answer.Items[i] = s.item(w)
	}
	return &withdrawalsOutput{answer}, nil
}

// callbackInput is a call of the gateway whose bytes and headers matter as they came.
type callbackInput struct {
	RawBody []byte
	header  http.Header
}

// Resolve implements huma.Resolver.
func (c *callbackInput) Resolve(ctx huma.Context) []error {
	c.header = http.Header{}
	ctx.EachHeader(func(name, value string) { c.header.Add(name, value) })
	return nil
}

type keyedCallbackInput struct {
	callbackInput
	Key string `path:"key" maxLength:"200" doc:"The secret path segment."`
}

// callbackAnswer is what the gateway reads; it takes any HTTP success for a delivery (contract/money 3.1).
type callbackAnswer struct {
	api.Success
	Code    int    `json:"code" example:"200"`
	Message string `json:"message" example:"SUCCESS"`
}

type callbackOutput struct{ Body callbackAnswer }

func (s *Service) postCallback(ctx context.Context, in *callbackInput) (*callbackOutput, error) {
	return s.received(ctx, "", in)
}

func (s *Service) postKeyedCallback(ctx context.Context, in *keyedCallbackInput) (*callbackOutput, error) {
	return s.received(ctx, in.Key, &in.callbackInput)
}

func (s *Service) received(ctx context.Context, key string, in *callbackInput) (*callbackOutput, error) {
	if err := s.ReceiveCallback(ctx, key, in.header, in.RawBody); err != nil {
		return nil, err
	}
	return &callbackOutput{callbackAnswer{api.OK(), http.StatusOK, "SUCCESS"}}, nil
}
