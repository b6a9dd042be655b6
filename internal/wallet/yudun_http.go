package wallet

import (
	"context"
	"math/big"
	"net/http"
	"strconv"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/money"
	"github.com/comecomepay/comecomepay/internal/platform/problem"
)

// Problems of the routes below /yudun.
var (
	ErrChainUnknown    = problem.Define("CHAIN_UNKNOWN", problem.Invalid)
	ErrAddressNotThere = problem.Define("ADDRESS_NOT_FOUND", problem.NotFound)
)

const tagGateway = "Gateway"

// registerYudun adds the routes of older integrations that look at the gateway through us (contract/money section 7). They show a
// customer what is their own, and move nothing: addresses are made and coins sent by the wallet only.
func (s *Service) registerYudun(a *api.API) {
	api.Register(a, api.Operation{
		ID: "list-gateway-coins", Method: http.MethodGet, Path: "/yudun/coins", Access: api.CustomerUnconfirmed, Tag: tagGateway,
		Summary: "The coins that can be paid in", Errors: []int{http.StatusNotFound},
	}, s.getGatewayCoins)
	api.Register(a, api.Operation{
		ID: "list-deposit-addresses", Method: http.MethodGet, Path: "/yudun/addresses", Tag: tagGateway,
		Summary: "The customer's deposit addresses",
	}, s.getAddresses)
	api.Register(a, api.Operation{
		ID: "get-deposit-address", Method: http.MethodGet, Path: "/yudun/addresses/{chain}", Tag: tagGateway,
		Summary: "The customer's deposit address on a chain", Errors: []int{http.StatusBadRequest, http.StatusNotFound},
	}, s.getAddress)
	api.Register(a, api.Operation{
		ID: "check-address", Method: http.MethodPost, Path: "/yudun/address/check", Tag: tagGateway,
		Summary: "Whether a text is an address of a chain, checksum included", Errors: []int{http.StatusBadRequest},
	}, s.postCheckAddress)
	api.Register(a, api.Operation{
		ID: "find-address", Method: http.MethodPost, Path: "/yudun/address/exists", Tag: tagGateway,
		Summary: "Whether an address is one of the customer's own deposit addresses", Errors: []int{http.StatusBadRequest},
	}, s.postFindAddress)
	api.Register(a, api.Operation{
		ID: "list-gateway-transactions", Method: http.MethodGet, Path: "/yudun/transactions", Access: api.CustomerUnconfirmed, Tag: tagGateway,
		Summary: "The customer's deposits and withdrawals, newest first", Errors: []int{http.StatusBadRequest, http.StatusNotFound},
	}, s.getGatewayTransactions)
}

// GatewaySuccess is what these routes say besides status.
type GatewaySuccess struct {
	api.Success
	OK bool `json:"ok" doc:"Always true."`
}

func gatewayOK() GatewaySuccess { return GatewaySuccess{api.OK(), true} }

type gatewayCoin struct {
	Name         string     `json:"name" example:"USDT-TRC20"`
	CoinName     string     `json:"coinName" example:"USDT (TRC20)"`
	Symbol       string     `json:"symbol" example:"USDT"`
	MainCoinType string     `json:"mainCoinType" example:"195"`
	CoinType     string     `json:"coinType" example:"TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"`
	Decimals     string     `json:"decimals" example:"6"`
	TokenStatus  int        `json:"tokenStatus" enum:"0,1"`
	MainSymbol   string     `json:"mainSymbol" example:"TRX"`
	Balance      api.Number `json:"balance" doc:"The customer's own; 0 unless show_balance is true." example:"12.5"`
	Logo         string     `json:"logo"`
}

type gatewayCoins struct {
	GatewaySuccess
	Coins []gatewayCoin `json:"coins" nullable:"false"`
}

func (s *Service) getGatewayCoins(ctx context.Context, in *struct {
	ShowBalance bool `query:"show_balance"`
}) (*output[gatewayCoins], error) {
	w, err := s.Wallet(ctx, identity.CustomerFrom(ctx))
	if err != nil {
		return nil, err
	}
	coins := make([]gatewayCoin, 0, len(w.Holdings))
	for _, h := range w.Holdings {
		c := gatewayCoin{Name: h.Code, CoinName: h.Title, Symbol: h.Symbol, MainCoinType: h.Chain.MainCoin, CoinType: h.CoinType,
			Decimals: strconv.Itoa(int(h.Decimals)), TokenStatus: h.tokenStatus(), MainSymbol: h.MainSymbol, Logo: h.Logo}
		if in.ShowBalance {
			c.Balance = api.Number(shown(h.Units, h.Scale))
		}
		coins = append(coins, c)
	}
	return &output[gatewayCoins]{gatewayCoins{gatewayOK(), coins}}, nil
}

type addressBody struct {
	ID           int64     `json:"id" example:"31"`
	Chain        string    `json:"chain" enum:"BTC,ETH,TRX,BSC,LTC"`
	MainCoinType int       `json:"main_coin_type" example:"195"`
	CoinType     int       `json:"coin_type" doc:"That of the chain's own coin." example:"195"`
	Address      string    `json:"address" example:"TQn9Y2khEsLJW1ChVWFMSMeRDow5KcbLSE"`
	Alias        string    `json:"alias"`
	CreatedAt    time.Time `json:"created_at"`
}

func addressOf(a DepositAddress) addressBody {
	return addressBody{ID: a.ID, Chain: a.Chain.Name, MainCoinType: a.Chain.number(), CoinType: a.Chain.number(), Address: a.Address.Text, CreatedAt: a.CreatedAt}
}

type addressesAnswer struct {
	GatewaySuccess
	Addresses []addressBody `json:"addresses" nullable:"false"`
	Total     int           `json:"total"`
}

func (s *Service) getAddresses(ctx context.Context, _ *struct{}) (*output[addressesAnswer], error) {
	list, err := s.DepositAddresses(ctx, identity.CustomerFrom(ctx))
	if err != nil {
		return nil, err
	}
	bodies := make([]addressBody, 0, len(list))
	for _, a := range list {
		bodies = append(bodies, addressOf(a))
	}
	return &output[addressesAnswer]{addressesAnswer{gatewayOK(), bodies, len(bodies)}}, nil
}

type addressAnswer struct {
	GatewaySuccess
	Address addressBody `json:"address"`
}

func (s *Service) getAddress(ctx context.Context, in *struct {
	Chain string `path:"chain" doc:"BTC, ETH, TRX, BSC or LTC." maxLength:"20"`
}) (*output[addressAnswer], error) {
	chain, known := s.chain(in.Chain)
	if !known {
		return nil, ErrChainUnknown
	}
	list, err := s.DepositAddresses(ctx, identity.CustomerFrom(ctx))
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		if a.Chain == chain {
			return &output[addressAnswer]{addressAnswer{gatewayOK(), addressOf(a)}}, nil
		}
	}
	return nil, ErrAddressNotThere
}

type addressInput struct {
	Body struct {
		MainCoinType string `json:"main_coin_type" doc:"The chain." example:"195"`
		Address      string `json:"address"`
	}
}

type addressCheck struct {
	GatewaySuccess
	Valid bool `json:"valid"`
}

func (s *Service) postCheckAddress(_ context.Context, in *addressInput) (*output[addressCheck], error) {
	chain, known := s.chain(in.Body.MainCoinType)
	if !known {
		return nil, ErrChainUnknown
	}
	_, err := chain.Form.Parse(in.Body.Address)
	return &output[addressCheck]{addressCheck{gatewayOK(), err == nil}}, nil
}

type addressExistence struct {
	GatewaySuccess
	Exists bool `json:"exists"`
}

func (s *Service) postFindAddress(ctx context.Context, in *addressInput) (*output[addressExistence], error) {
	chain, known := s.chain(in.Body.MainCoinType)
	if !known {
		return nil, ErrChainUnknown
	}
	list, err := s.DepositAddresses(ctx, identity.CustomerFrom(ctx))
	if err != nil {
		return nil, err
	}
	wanted, err := chain.Form.Parse(in.Body.Address)
	exists := false
	for _, a := range list {
		exists = exists || err == nil && a.Chain == chain && a.Address.Key == wanted.Key
	}
	return &output[addressExistence]{addressExistence{gatewayOK(), exists}}, nil
}

type gatewayPageInput struct {
	Page      string `query:"page" doc:"From 1, which is the default." example:"1"`
	PageSize  string `query:"page_size" doc:"1 to 100; 20 if there is none." example:"20"`
	Status    string `query:"status" doc:"0 under way, 2 done." example:"2"`
	StartDate string `query:"start_date" doc:"First day." example:"2026-03-01"`
	EndDate   string `query:"end_date" doc:"Last day." example:"2026-03-31"`
	CoinType  string `query:"coin_type" doc:"Of the coin." example:"195"`
	TradeType string `query:"trade_type" doc:"1 deposits, 2 withdrawals." example:"1"`
}

type gatewayTransaction struct {
	ID           int64     `json:"id"`
	TradeID      string    `json:"trade_id" doc:"Our reference."`
	TxID         string    `json:"tx_id"`
	Address      string    `json:"address"`
	Amount       string    `json:"amount" doc:"In the coin's smallest unit on its chain." example:"12500000"`
	ActualAmount string    `json:"actual_amount" doc:"In whole coins." example:"12.5"`
	Fee          string    `json:"fee" doc:"In whole coins." example:"0"`
	Decimals     int       `json:"decimals" example:"6"`
	MainCoinType int       `json:"main_coin_type" example:"195"`
	CoinType     string    `json:"coin_type"`
	Status       int       `json:"status" enum:"0,2,4" doc:"0 under way, 2 done, 4 refused or failed."`
	TradeType    int       `json:"trade_type" enum:"1,2" doc:"1 deposit, 2 withdrawal."`
	CreatedAt    time.Time `json:"created_at"`
}

type gatewayTransactions struct {
	GatewaySuccess
	Transactions []gatewayTransaction `json:"transactions" nullable:"false"`
	Total        int64                `json:"total"`
	Page         int64                `json:"page"`
	PageSize     int64                `json:"page_size"`
}

// The numbers of these routes, which are not the gateway's own of today (provider/udun section 5.2).
var (
	tradeTypes    = map[string]int{TypeDeposit: 1, TypeWithdrawal: 2}
	tradeStatuses = map[string]int{StatusPending: 0, StatusCompleted: 2, StatusRejected: 4, StatusFailed: 4}
	statusOfTrade = map[string]string{"0": StatusPending, "2": StatusCompleted}
)

func (s *Service) getGatewayTransactions(ctx context.Context, in *gatewayPageInput) (*output[gatewayTransactions], error) {
	page := pageInput{Page: in.Page, PageSize: in.PageSize, Status: in.Status, StartDate: in.StartDate, EndDate: in.EndDate}
	q, err := page.query()
	if err != nil {
		return nil, err
	}
	if q.Status != "" {
		if q.Status = statusOfTrade[q.Status]; q.Status == "" {
			return nil, ErrFilterInvalid
		}
	}
	for _, kind := range []string{TypeDeposit, TypeWithdrawal} {
		if in.TradeType == "" || in.TradeType == strconv.Itoa(tradeTypes[kind]) {
			q.Types = append(q.Types, kind)
		}
	}
	if len(q.Types) == 0 {
		return nil, ErrFilterInvalid
	}
	if in.CoinType != "" {
		for _, c := range s.Coins {
			if c.CoinType == in.CoinType {
				q.Coin = c.Code
			}
		}
		if q.Coin == "" {
			return nil, ErrFilterInvalid
		}
	}
	h, err := s.History(ctx, identity.CustomerFrom(ctx), q)
	if err != nil {
		return nil, err
	}
	list := make([]gatewayTransaction, 0, len(h.Entries))
	for _, e := range h.Entries {
		c := s.listed[e.Coin]
		units := max(e.Amount, -e.Amount)
		base := new(big.Int).Mul(big.NewInt(units), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(c.Decimals-c.Scale)), nil))
		list = append(list, gatewayTransaction{
			ID: e.Number, TradeID: e.Reference, TxID: e.TxHash, Address: e.Address, Amount: base.String(), ActualAmount: money.Format(units, c.Scale),
			Fee: money.Format(e.Fee, c.Scale), Decimals: int(c.Decimals), MainCoinType: c.Chain.number(), CoinType: c.CoinType,
			Status: tradeStatuses[e.Status], TradeType: tradeTypes[e.Type], CreatedAt: e.CreatedAt,
		})
	}
	return &output[gatewayTransactions]{gatewayTransactions{gatewayOK(), list, h.Total, q.Page, q.Size}}, nil
}
