package udun

import (
	"context"
	"errors"
	"strings"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// WithdrawRequest is an order to send a coin.
type WithdrawRequest struct {
	Address      string // the destination
	Amount       string // in human units: plain decimal above zero, with at most the coin's decimals
	MainCoinType string // a number
	CoinType     string // a number, or a token's contract
	BusinessID   string // ours, unique for ever: what makes a repetition harmless
	Memo         string // the tag of chains that have one; may be empty
}

// Accepted is an order that the gateway has. It means "accepted for review", never "paid": what becomes of it, and the
// gateway's own id, come by callback.
type Accepted struct {
	// Duplicate says that an order of this business id was there already (code 571), from an earlier attempt unless the
	// id was used for something else.
	Duplicate bool
}

// Withdraw orders a withdrawal that people review (provider/udun.md section 3.2). It is never repeated by itself. There
// is no way to look an order up: after an Unknown outcome repeat it unchanged, above all with the same BusinessID, until
// it is accepted. A Refused repetition says nothing about the attempt before it.
//
// Errors, all *provider.Error, with CodeOf: Refused, certainly without effect; Unknown, also for a code that nobody has
// explained (ClassUnclear).
func (c *Client) Withdraw(ctx context.Context, order WithdrawRequest) (Accepted, error) {
	return c.withdraw(ctx, OpWithdraw, "/mch/withdraw", order)
}

// ProxyPay orders a withdrawal that is paid without review if the merchant's limits allow it, and reviewed otherwise;
// the answer does not tell which (provider/udun.md section 3.3). Everything else is as for Withdraw, and the business
// ids are the same.
func (c *Client) ProxyPay(ctx context.Context, order WithdrawRequest) (Accepted, error) {
	return c.withdraw(ctx, OpProxyPay, "/mch/withdraw/proxypay", order)
}

func (c *Client) withdraw(ctx context.Context, operation, path string, order WithdrawRequest) (Accepted, error) {
	switch {
	case !isIdentifier(order.Address):
		return Accepted{}, invalid(operation, "the address cannot be sent")
	case !isPlainAmount(order.Amount):
		return Accepted{}, invalid(operation, "the amount must be a plain decimal above zero")
	case !isDigits(order.MainCoinType) || !isIdentifier(order.CoinType):
		return Accepted{}, invalid(operation, "the coin must have a main coin type, a number, and a coin type")
	case !isIdentifier(order.BusinessID):
		return Accepted{}, invalid(operation, "the business id cannot be sent")
	case !isClean(order.Memo):
		return Accepted{}, invalid(operation, "the memo cannot be sent")
	}
	envelope, err := c.call(ctx, operation, path, []any{struct {
		Address      string `json:"address"`
		Amount       string `json:"amount"`
		MerchantID   string `json:"merchantId"`
		MainCoinType string `json:"mainCoinType"`
		CoinType     string `json:"coinType"`
		CallURL      string `json:"callUrl"`
		BusinessID   string `json:"businessId"`
		Memo         string `json:"memo"`
	}{order.Address, order.Amount, c.merchant, order.MainCoinType, order.CoinType, c.callURL, order.BusinessID, order.Memo}},
		false, judgeWithdrawal)
	if err == nil {
		code, _ := envelope.Int("code")
		return Accepted{Duplicate: Code(code) == CodeDuplicateBusinessID}, nil
	}
	// What the code says counts more than an HTTP status that contradicts it: money may have moved.
	if e := (*provider.Error)(nil); errors.As(err, &e) {
		switch code, ok := CodeOf(err); {
		case ok && code == CodeDuplicateBusinessID:
			return Accepted{Duplicate: true}, nil
		case ok && code.Class() != ClassPermanent:
			e.Outcome = provider.Unknown
		}
	}
	return Accepted{}, err
}

// judgeWithdrawal is judge for orders: one that is there already is a success, and a code that nobody has explained is
// no proof that nothing happens.
func judgeWithdrawal(answer *provider.Answer) *provider.Error {
	failure := judge(answer)
	if failure == nil {
		return nil
	}
	switch code, ok := CodeOf(failure); {
	case ok && code == CodeDuplicateBusinessID && answer.Status >= 200 && answer.Status < 300:
		return nil
	case ok && code.Class() != ClassPermanent:
		failure.Outcome = provider.Unknown
	}
	return failure
}

// isPlainAmount tells whether a text is a decimal above zero without sign, exponent or superfluous zeros in front.
func isPlainAmount(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	if len(s) > maxAmountDigits+MaxDecimals || !isDigits(whole) || point && !isDigits(fraction) {
		return false
	}
	return (whole == "0" || whole[0] != '0') && strings.Trim(s, "0.") != ""
}
