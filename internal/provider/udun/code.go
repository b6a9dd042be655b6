package udun

import (
	"errors"
	"strconv"
)

// Code is the result code of an answer (provider/udun.md section 4). It is no HTTP status, even where it looks like one.
type Code int64

// The codes.
const (
	CodeOK                  Code = 200
	CodeAddressNotGenerated Code = -1
	CodeServerError         Code = 500
	CodeCoinNotSupported    Code = 554
	CodeDuplicateBusinessID Code = 571
	CodeBadAmount           Code = 581
	CodeInvalidAddress      Code = 596
	CodeNoMerchant          Code = 4001
	CodeIllegalParameters   Code = 4005
	CodeNoWallet            Code = 4017
	CodeNoPrecision         Code = 4034
	CodeWrongCoin           Code = 4045
	CodeSignatureError      Code = 4162
	CodeWrongSignature      Code = 4163
	CodeIllegalSignature    Code = 4165
	CodeNoPackage           Code = 4166
	CodeAddressQuota        Code = 4168
	CodeMerchantDisabled    Code = 4169
	CodeWalletIDError       Code = 4175
	CodeWalletWithoutCoin   Code = 4176
	CodeBadDestination      Code = 4183
)

// Class is what to do about a code.
type Class string

// The classes.
const (
	ClassOK        Class = "ok"
	ClassRetryable Class = "retryable" // the gateway failed: once more later, a withdrawal with the same business id only
	ClassDuplicate Class = "duplicate" // a withdrawal of this business id is there: accepted earlier
	ClassPermanent Class = "permanent" // certainly without effect, and repeating it will not help: somebody must look
	ClassUnclear   Class = "unclear"   // a code that nobody has explained: somebody must look, and no effect can be ruled out
)

var codes = map[Code]struct {
	class   Class
	meaning string
}{
	CodeOK:                  {ClassOK, "ok"},
	CodeAddressNotGenerated: {ClassRetryable, "address generation failed"},
	CodeServerError:         {ClassRetryable, "server error"},
	CodeCoinNotSupported:    {ClassPermanent, "coin not supported by the merchant"},
	CodeDuplicateBusinessID: {ClassDuplicate, "duplicate business id"},
	CodeBadAmount:           {ClassPermanent, "amount empty or negative"},
	CodeInvalidAddress:      {ClassPermanent, "invalid address"},
	CodeNoMerchant:          {ClassPermanent, "no such merchant"},
	CodeIllegalParameters:   {ClassPermanent, "illegal parameters"},
	CodeNoWallet:            {ClassPermanent, "wallet data missing"},
	CodeNoPrecision:         {ClassPermanent, "coin precision missing"},
	CodeWrongCoin:           {ClassPermanent, "wrong coin information"},
	CodeSignatureError:      {ClassPermanent, "signature error"},
	4612:                    {ClassPermanent, "signature error"}, // as an official demo spells 4162
	CodeWrongSignature:      {ClassPermanent, "wrong signature"},
	CodeIllegalSignature:    {ClassPermanent, "illegal signature"},
	CodeNoPackage:           {ClassPermanent, "merchant without package"},
	CodeAddressQuota:        {ClassPermanent, "address quota reached"},
	CodeMerchantDisabled:    {ClassPermanent, "merchant disabled"},
	CodeWalletIDError:       {ClassPermanent, "wrong wallet id"},
	CodeWalletWithoutCoin:   {ClassPermanent, "wallet does not support the coin"},
	CodeBadDestination:      {ClassPermanent, "bad destination address"},
}

// Class tells what to do about the code.
func (c Code) Class() Class {
	if known, ok := codes[c]; ok {
		return known.class
	}
	return ClassUnclear
}

// String is the code's meaning in our words, for logs.
func (c Code) String() string {
	if known, ok := codes[c]; ok {
		return known.meaning
	}
	return "unexplained code " + strconv.FormatInt(int64(c), 10)
}

// Refusal is an answer that is no success. It is the cause of the provider.Error, whose StaffText holds the gateway's
// words.
type Refusal struct{ Code Code }

// Error gives the code's meaning, without the gateway's words.
func (r *Refusal) Error() string { return "udun: " + r.Code.String() }

// CodeOf reads the result code from an error of this client; false if the gateway gave none.
func CodeOf(err error) (Code, bool) {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r.Code, true
	}
	return 0, false
}
