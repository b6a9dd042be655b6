package udun

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// CreateAddress makes a deposit address on a main chain, for its own coin and all tokens there. walletID names the wallet
// at Udun, empty for the main one; alias is a label shown there. Every call makes a new address, and their number is
// limited: it is never repeated by itself. An address of an unknown outcome stays unused and harms nobody
// (provider/udun.md section 3.1).
//
// The address comes as the gateway wrote it; whether it is a valid one of the chain is for the caller to check.
//
// Errors, all *provider.Error, with CodeOf: Refused, for example CodeAddressQuota; Unknown, also if the address is said
// to be of another chain.
func (c *Client) CreateAddress(ctx context.Context, mainCoinType, alias, walletID string) (string, error) {
	if !isDigits(mainCoinType) || len(mainCoinType) > 1 && mainCoinType[0] == '0' {
		return "", invalid(OpCreateAddress, "the main coin type must be a number")
	}
	if !isClean(alias) || !isClean(walletID) {
		return "", invalid(OpCreateAddress, "alias or wallet id cannot be sent")
	}
	content := struct {
		MerchantID   string      `json:"merchantId"`
		MainCoinType json.Number `json:"mainCoinType,omitempty"`
		CoinType     json.Number `json:"coinType,omitempty"`
		CallURL      string      `json:"callUrl"`
		WalletID     string      `json:"walletId"`
		Alias        string      `json:"alias"`
	}{MerchantID: c.merchant, CallURL: c.callURL, WalletID: walletID, Alias: alias}
	if c.addressField != FieldCoinType {
		content.MainCoinType = json.Number(mainCoinType)
	}
	if c.addressField != FieldMainCoinType {
		content.CoinType = json.Number(mainCoinType)
	}
	envelope, err := c.call(ctx, OpCreateAddress, "/mch/address/create", []any{content}, false, judge)
	if err != nil {
		return "", err
	}
	data := envelope.Objects("data")
	if len(data) != 1 {
		return "", unreadable(OpCreateAddress, errNoData)
	}
	address := strings.TrimSpace(data[0].Text("address"))
	if !isIdentifier(address) {
		return "", unreadable(OpCreateAddress, errNoData)
	}
	for _, key := range []string{"mainCoinType", "coinType"} {
		if made := identifier(data[0], key); made != "" && made != mainCoinType {
			return "", unreadable(OpCreateAddress, errOtherCoin) // money sent there would be lost
		}
	}
	return address, nil
}

// CheckAddress asks whether an address has a valid form for a main chain (provider/udun.md section 3.5).
//
// Errors, all *provider.Error, with CodeOf: Refused if the call as such is, for example CodeSignatureError; Unknown.
func (c *Client) CheckAddress(ctx context.Context, mainCoinType, address string) (bool, error) {
	return c.ask(ctx, OpCheckAddress, "/mch/check/address", mainCoinType, address)
}

// AddressExists asks whether an address was created under this merchant, so that paying to it stays in the house
// (provider/udun.md section 3.6). The errors are those of CheckAddress.
func (c *Client) AddressExists(ctx context.Context, mainCoinType, address string) (bool, error) {
	return c.ask(ctx, OpAddressExists, "/mch/exist/address", mainCoinType, address)
}

// ask performs a question about an address. The code that means "no" is not documented: it is every one that is not
// known to speak of something other than the address.
func (c *Client) ask(ctx context.Context, operation, path, mainCoinType, address string) (bool, error) {
	if !isDigits(mainCoinType) || !isIdentifier(address) {
		return false, invalid(operation, "main coin type or address cannot be sent")
	}
	_, err := c.call(ctx, operation, path, []any{struct {
		MerchantID   string `json:"merchantId"`
		MainCoinType string `json:"mainCoinType"`
		Address      string `json:"address"`
	}{c.merchant, mainCoinType, address}}, true, judge)
	if code, ok := CodeOf(err); ok && provider.OutcomeOf(err) == provider.Refused {
		if code == CodeInvalidAddress || code == CodeBadDestination || code.Class() == ClassUnclear {
			return false, nil
		}
	}
	return err == nil, err
}
