package wallet

import (
	"context"
	"embed"
	"net/http"
	"strconv"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

// Locales are the capability's texts.
//
//go:embed locales
var Locales embed.FS

const tagWallet = "Wallet"

// Register adds the capability's operations to the edge.
func (s *Service) Register(a *api.API) {
	api.Register(a, api.Operation{
		ID: "transfer-by-uid", Method: http.MethodPost, Path: "/wallet/transfer-by-uid", Access: api.CustomerUnconfirmed, Tag: tagWallet,
		Summary:  "Send coins to another customer",
		Describe: "Free of charge and at once. The transaction password is asked for every time; after five wrong ones it is locked for a while.",
		Errors:   []int{http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound},
	}, s.postTransfer)
	api.Register(a, api.Operation{
		ID: "get-wallet", Method: http.MethodGet, Path: "/wallet", Access: api.CustomerUnconfirmed, Tag: tagWallet,
		Summary:  "What the customer has of every coin, and where it is paid in",
		Describe: "The first coin is a USDT. Balances are what can be spent, cut off after eight decimals. An address that is empty is about to be made.",
		Errors:   []int{http.StatusNotFound},
	}, s.getWallet)
	api.Register(a, api.Operation{
		ID: "list-transactions", Method: http.MethodGet, Path: "/wallet/unified-transactions", Access: api.CustomerUnconfirmed, Tag: tagWallet,
		Summary: "What has happened to the customer's coins, newest first",
		Describe: "What went out is negative. The pages that follow the first one go on from it, whatever has come since: turning to the first page again begins anew. " +
			"Days are those of UTC.",
		Errors: []int{http.StatusBadRequest, http.StatusNotFound},
	}, s.getHistory)
	s.registerYudun(a)
	s.registerGateway(a)
}

type walletAnswer struct {
	api.Success
	Wallet walletBody `json:"wallet"`
}

// walletBody is contract/money 2.1.
type walletBody struct {
	ID           int64                 `json:"id" example:"9"`
	UserID       int64                 `json:"user_id" example:"9"`
	Currency     string                `json:"currency" example:"USD"`
	Status       string                `json:"status" enum:"active,frozen"`
	DailyLimit   api.Number            `json:"daily_limit" doc:"What may be sent to other customers within a day of UTC, in USDT by value; 0: no limit." example:"2000"`
	MonthlyLimit api.Number            `json:"monthly_limit" doc:"Always 0: there is none." example:"0"`
	TotalUSDT    api.Number            `json:"total_asset_usdt" doc:"Value of all balances that have a price." example:"12.5"`
	TotalHKD     api.Number            `json:"total_asset_hkd" doc:"The same in HKD; 0 without a rate." example:"97.5"`
	ByCurrency   map[string]api.Number `json:"balances_by_currency"`
	Balances     []balanceBody         `json:"balances" nullable:"false"`
	CreatedAt    time.Time             `json:"created_at"`
	UpdatedAt    time.Time             `json:"updated_at"`
}

type balanceBody struct {
	ID           int        `json:"id" doc:"Of the coin." example:"1"`
	Currency     string     `json:"currency" doc:"Name of the coin; what every other request calls it." example:"USDT-TRC20"`
	Balance      api.Number `json:"balance" doc:"What can be spent." example:"12.5"`
	MainCoinType int        `json:"main_coin_type" doc:"The chain." example:"195"`
	CoinType     string     `json:"coin_type" doc:"The chain's number for its own coin, else the token's contract." example:"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"`
	Symbol       string     `json:"symbol" example:"USDT"`
	Decimals     int        `json:"decimals" doc:"Of the coin on its chain." example:"6"`
	TokenStatus  int        `json:"token_status" enum:"0,1" doc:"1: a token." example:"1"`
	MainSymbol   string     `json:"main_symbol" doc:"Symbol of a token's chain; empty for a chain's own coin." example:"TRX"`
	Logo         string     `json:"logo" doc:"Address of an image, or empty."`
	CoinName     string     `json:"coin_name" example:"USDT (TRC20)"`
	Address      string     `json:"address" doc:"Where the coin is paid in; coins of one chain share it." example:"TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE"`
	CreatedAt    time.Time  `json:"created_at"`
	UpdatedAt    time.Time  `json:"updated_at"`
}

// totalDecimals is how many decimals totals have.
const totalDecimals = 2

func (s *Service) getWallet(ctx context.Context, _ *struct{}) (*output[walletAnswer], error) {
	w, err := s.Wallet(ctx, identity.CustomerFrom(ctx))
	if err != nil {
		return nil, err
	}
	body := walletBody{
		ID: w.UserID, UserID: w.UserID, Currency: "USD", Status: string(w.Status), DailyLimit: api.Number(micros(w.DayLimit)), MonthlyLimit: "0",
		TotalUSDT: api.Number(w.USDT.Truncate(totalDecimals).String()), TotalHKD: api.Number(w.HKD.Truncate(totalDecimals).String()),
		ByCurrency: make(map[string]api.Number, len(w.Holdings)), Balances: make([]balanceBody, 0, len(w.Holdings)), CreatedAt: w.CreatedAt, UpdatedAt: w.CreatedAt,
	}
	for _, h := range w.Holdings {
		balance := api.Number(shown(h.Units, h.Scale))
		body.ByCurrency[h.Code] = balance
		body.Balances = append(body.Balances, balanceBody{
			ID: h.ID, Currency: h.Code, Balance: balance, MainCoinType: h.Chain.number(), CoinType: h.CoinType, Symbol: h.Symbol, Decimals: int(h.Decimals),
			TokenStatus: h.tokenStatus(), MainSymbol: h.MainSymbol, Logo: h.Logo, CoinName: h.Title, Address: h.Address, CreatedAt: w.CreatedAt, UpdatedAt: w.CreatedAt,
		})
	}
	return &output[walletAnswer]{walletAnswer{api.OK(), body}}, nil
}

// number is the chain's number as the app wants it. That it is one, the settings have seen to.
func (c Chain) number() int {
	n, _ := strconv.Atoi(c.MainCoin)
	return n
}

func (c Coin) tokenStatus() int {
	if c.Native() {
		return 0
	}
	return 1
}

// Parameters come as texts: what cannot be read is told to the customer in their language, with status 400.
type pageInput struct {
	Page      string `query:"page" doc:"From 1, which is the default." example:"1"`
	PageSize  string `query:"page_size" doc:"1 to 100; 20 if there is none." example:"20"`
	Type      string `query:"type" doc:"deposit, withdraw, swap, card_fee, commission, transfer or fee." example:"transfer"`
	Status    string `query:"status" doc:"pending, completed, failed, cancelled, approved, rejected or credited." example:"completed"`
	StartDate string `query:"start_date" doc:"First day." example:"2026-03-01"`
	EndDate   string `query:"end_date" doc:"Last day." example:"2026-03-31"`
}

// query reads the parameters. Errors: ErrPageInvalid, ErrDateInvalid.
func (in *pageInput) query() (q HistoryQuery, err error) {
	if q.Page, err = wholeNumber(in.Page, 1); err != nil {
		return q, err
	}
	if q.Size, err = wholeNumber(in.PageSize, defaultPageSize); err != nil {
		return q, err
	}
	if in.Type != "" {
		q.Types = []string{in.Type}
	}
	q.Status = in.Status
	q.From, q.Until, err = parseDays(in.StartDate, in.EndDate)
	return q, err
}

// wholeNumber reads a parameter that says which page, or how long it is.
func wholeNumber(text string, standard int64) (int64, error) {
	if text == "" {
		return standard, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, ErrPageInvalid.With("Max", MaxPageSize)
	}
	return n, nil
}

type historyAnswer struct {
	api.Success
	Data historyBody `json:"data"`
}

type historyBody struct {
	Items      []historyItem `json:"items" nullable:"false"`
	Page       int64         `json:"page" example:"1"`
	PageSize   int64         `json:"page_size" example:"20"`
	Total      int64         `json:"total" doc:"Of all pages." example:"42"`
	TotalPages int64         `json:"total_pages" example:"3"`
}

// historyItem is contract/money 2.2.
type historyItem struct {
	ID           int64      `json:"id" doc:"Number of the line in the customer's history." example:"42"`
	Type         string     `json:"type" enum:"deposit,withdraw,swap,card_fee,commission,transfer,fee"`
	TypeLabel    string     `json:"type_label"`
	Status       string     `json:"status" enum:"pending,completed,failed,cancelled,approved,rejected,credited"`
	StatusLabel  string     `json:"status_label"`
	Amount       api.Number `json:"amount" doc:"Whole coins; what went out is negative." example:"-10"`
	Currency     string     `json:"currency" example:"USDT-TRC20"`
	Fee          api.Number `json:"fee" doc:"What of it is a fee." example:"0"`
	Counterparty int64      `json:"counterparty_user_id,omitempty" doc:"The other customer of a transfer." example:"10"`
	Description  string     `json:"description"`
	Address      string     `json:"address" doc:"Of a deposit ours, of a withdrawal the destination."`
	TxHash       string     `json:"tx_hash" doc:"On the chain; empty until it is known."`
	Reference    string     `json:"reference"`
	SourceTable  string     `json:"source_table" example:"ledger_transactions"`
	SourceID     int64      `json:"source_id" example:"5"`
	CreatedAt    time.Time  `json:"created_at"`
	CompletedAt  *time.Time `json:"completed_at,omitempty"`
}

func (s *Service) getHistory(ctx context.Context, in *pageInput) (*output[historyAnswer], error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	h, err := s.History(ctx, identity.CustomerFrom(ctx), q)
	if err != nil {
		return nil, err
	}
	items, locale := make([]historyItem, 0, len(h.Entries)), i18n.FromContext(ctx)
	for _, e := range h.Entries {
		scale := s.listed[e.Coin].Scale
		items = append(items, historyItem{
			ID: e.Number, Type: e.Type, TypeLabel: s.Texts.Get(locale, typeLabels[e.Type], nil), Status: e.Status, StatusLabel: s.Texts.Get(locale, statusLabels[e.Status], nil),
			Amount: api.Number(shown(e.Amount, scale)), Currency: e.Coin, Fee: api.Number(shown(e.Fee, scale)), Counterparty: e.Counterparty,
			Description: e.Description, Address: e.Address, TxHash: e.TxHash, Reference: e.Reference, SourceTable: e.Source, SourceID: e.SourceID,
			CreatedAt: e.CreatedAt, CompletedAt: e.CompletedAt,
		})
	}
	return &output[historyAnswer]{historyAnswer{api.OK(), historyBody{items, q.Page, q.Size, h.Total, h.Pages}}}, nil
}

// transferBody is contract/money 2.5.
type transferBody struct {
	Amount      api.Number `json:"amount" doc:"Whole coins, more than 0, with no more decimals than the coin has." example:"12.5"`
	Currency    string     `json:"currency" doc:"Name of the coin, as in the wallet." example:"USDT-TRC20"`
	Recipient   int64      `json:"recipient_uid" doc:"The recipient's UID, which their profile shows." example:"10"`
	Password    string     `json:"transaction_password" doc:"Six digits." example:"739154"`
	Description string     `json:"description" maxLength:"4000" doc:"One line that both customers read." example:"Internal transfer"`
}

type transferInput struct {
	Key  string `header:"Idempotency-Key" hidden:"true"`
	Body transferBody
}

type transferAnswer struct {
	api.Success
	Message       string     `json:"message" doc:"For the customer, in their language."`
	Currency      string     `json:"currency" example:"USDT-TRC20"`
	NewBalance    api.Number `json:"new_balance" doc:"What the sender has left of the coin, cut off after eight decimals." example:"2.5"`
	RecipientUID  int64      `json:"recipient_uid" example:"10"`
	RecipientRef  string     `json:"recipient_wallet_id" example:"CCPK7QX2MVP4HZA"`
	TransactionID int64      `json:"transaction_id" example:"5"`
}

type output[T any] struct{ Body T }

func (s *Service) postTransfer(ctx context.Context, in *transferInput) (*output[transferAnswer], error) {
	b := in.Body
	sent, err := s.Transfer(ctx, identity.CustomerFrom(ctx), Transfer{
		Recipient: b.Recipient, Currency: b.Currency, Amount: string(b.Amount), Description: b.Description, Password: secret.NewText(b.Password), Key: in.Key,
	})
	if err != nil {
		return nil, err
	}
	return &output[transferAnswer]{transferAnswer{
		Success: api.OK(), Message: s.Texts.For(ctx, "wallet.transfer.sent", nil), Currency: sent.Coin.Code,
		NewBalance: api.Number(shown(sent.Balance, sent.Coin.Scale)), RecipientUID: b.Recipient, RecipientRef: sent.RecipientRef, TransactionID: sent.TransactionID,
	}}, nil
}
