package rate

import (
	"context"
	"embed"
	"net/http"
	"time"

	"github.com/shopspring/decimal"

	"github.com/comecomepay/comecomepay/internal/api"
)

// Locales are the capability's texts.
//
//go:embed locales
var Locales embed.FS

// Register adds the capability's operations to the edge.
func (s *Service) Register(a *api.API) {
	api.Register(a, api.Operation{
		ID: "get-exchange-rate", Method: http.MethodGet, Path: "/wallet/exchange-rate", Tag: "Wallet",
		Summary:  "What one currency is worth in another one",
		Describe: "Names may be short (USDT) or those of the wallet (USDT-TRC20). No currency is changed into itself.",
		Errors:   []int{http.StatusBadRequest, http.StatusServiceUnavailable},
	}, s.getRate)
	api.Register(a, api.Operation{
		ID: "list-exchange-rates", Method: http.MethodGet, Path: "/wallet/exchange-rates", Tag: "Wallet",
		Summary: "What every currency is worth in HKD", Errors: []int{http.StatusServiceUnavailable},
	}, s.getRates)
}

// ExchangeRate is a rate on the wire (contract/money section 4.1 and decision M5).
type ExchangeRate struct {
	FromCurrency string     `json:"from_currency" example:"USDT"`
	ToCurrency   string     `json:"to_currency" example:"HKD"`
	Rate         api.Number `json:"rate" doc:"One from_currency in to_currency; more than 0, 15 significant digits." example:"7.8"`
	InverseRate  api.Number `json:"inverse_rate" doc:"One to_currency in from_currency." example:"0.128205128205128"`
}

// Freshness is how old a rate is and where it comes from.
type Freshness struct {
	Timestamp  string `json:"timestamp" doc:"When the oldest price in it was asked for." example:"2026-03-01T09:00:00Z"`
	ValidUntil string `json:"valid_until" example:"2026-03-01T09:10:00Z"`
	Source     Source `json:"source" enum:"pokepay,configured,mixed" doc:"configured: the issuer's price is missing or too old, and the one that the operator has set stands in."`
}

type rateInput struct {
	From string `query:"from" example:"USDT"`
	To   string `query:"to" example:"HKD"`
}

type quoted struct {
	ExchangeRate
	Freshness
}

type rateOutput struct {
	Body struct {
		api.Success
		Data quoted `json:"data"`
	}
}

func (s *Service) getRate(ctx context.Context, in *rateInput) (*rateOutput, error) {
	q, err := s.Rate(ctx, in.From, in.To)
	if err != nil {
		return nil, err
	}
	out := &rateOutput{}
	out.Body.Success, out.Body.Data = api.OK(), quoted{pairOf(q), Freshness{wireTime(q.AsOf), wireTime(q.ValidUntil), q.Source}}
	return out, nil
}

type quotedToHKD struct {
	Rates []ExchangeRate `json:"rates" nullable:"false" doc:"Each to HKD. A currency without a price that may be used is left out."`
	Freshness
	FromCache bool `json:"from_cache" doc:"Always true: no customer waits for the issuer."`
}

type ratesOutput struct {
	Body struct {
		api.Success
		Data quotedToHKD `json:"data"`
	}
}

func (s *Service) getRates(ctx context.Context, _ *struct{}) (*ratesOutput, error) {
	t, err := s.Table(ctx)
	if err != nil {
		return nil, err
	}
	quotes := t.ToHKD()
	if len(quotes) == 0 {
		return nil, ErrUnavailable
	}
	whole := quotes[0]
	out := &ratesOutput{}
	for _, q := range quotes {
		out.Body.Data.Rates = append(out.Body.Data.Rates, pairOf(q))
		if q.AsOf.Before(whole.AsOf) {
			whole.AsOf = q.AsOf
		}
		if q.ValidUntil.Before(whole.ValidUntil) {
			whole.ValidUntil = q.ValidUntil
		}
		if q.Source != whole.Source {
			whole.Source = FromBoth
		}
	}
	out.Body.Success = api.OK()
	out.Body.Data.Freshness = Freshness{wireTime(whole.AsOf), wireTime(whole.ValidUntil), whole.Source}
	out.Body.Data.FromCache = true
	return out, nil
}

func pairOf(q Quote) ExchangeRate {
	return ExchangeRate{q.From, q.To, number(q.Rate), number(q.Inverse)}
}

func number(d decimal.Decimal) api.Number { return api.Number(d.String()) }

func wireTime(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }
