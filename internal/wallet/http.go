package wallet

import (
	"context"
	"embed"
	"net/http"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
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
