// Package pokepay speaks the partner API of PokePay, the card issuer (provider/pokepay.md). It knows the wire
// and nothing of what a cardholder or a card means to the product.
package pokepay

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Confidence is how well a path is known (provider/pokepay.md section 0).
type Confidence string

// The marks, best first. Everything below Confirmed may have to be overridden by configuration.
const (
	Confirmed     Confidence = "CONFIRMED"
	ConfirmedText Confidence = "CONFIRMED (text)" // written in a description, no exchange seen
	Strong        Confidence = "STRONG"
	Inferred      Confidence = "INFERRED"
)

// Operation is one call of the partner API.
type Operation struct {
	Name   string
	Method string
	Path   string // relative to the base address, with placeholders such as {pt}, the card's public token
	Mark   Confidence
	Safe   bool     // a read that may be repeated; reads of card secrets may not, the processor counts them
	Params []string // placeholders that a path may use
}

// The names of the operations, as in configuration, errors, metrics and traces.
const (
	OpKYCInit        = "kycInit"
	OpKYCSubmit      = "kycSubmit"
	OpKYCList        = "kycList"
	OpKYCGet         = "kycGet"
	OpCardList       = "cardList"
	OpCardBind       = "cardBind"
	OpCardApply      = "cardApply"
	OpCardTask       = "cardTask"
	OpCardAccount    = "cardAccount"
	OpCardStatusGet  = "cardStatusGet"
	OpCardStatusSet  = "cardStatusSet"
	OpCardCVV        = "cardCvv"
	OpCardPINGet     = "cardPinGet"
	OpCardPINSet     = "cardPinSet"
	OpCardPINStatus  = "cardPinStatus"
	OpCardFull       = "cardFull"
	OpCardConvert    = "cardConvert"
	OpRecharge       = "recharge"
	OpWithdraw       = "withdraw"
	OpLedger         = "ledger"
	OpSpendList      = "spendList"
	OpSpendGet       = "spendGet"
	OpFXRate         = "fxRate"
	OpThreeDSConfirm = "threeDSConfirm"
	OpThreeDSPlan    = "threeDSPlan"

	// OpLogin is not in the table: its address is a setting of the authenticator.
	OpLogin = "login"
)

// operations is provider/pokepay.md section 7. Paths without a Confirmed mark are guesses that
// configuration can replace.
var operations = []Operation{
	{OpKYCInit, "POST", "kyc/didit/init", Confirmed, false, nil},
	{OpKYCSubmit, "POST", "kyc", Confirmed, false, nil},
	{OpKYCList, "GET", "kyc", Confirmed, true, nil},
	{OpKYCGet, "GET", "kyc/{id}", Confirmed, true, []string{"id"}},
	{OpCardList, "GET", "card", Confirmed, true, nil},
	{OpCardBind, "PUT", "card/bind", Confirmed, false, []string{"pt", "kyc_id"}},
	{OpCardApply, "POST", "card/apply", Inferred, false, []string{"kyc_id"}},
	{OpCardTask, "GET", "card/apply/progress/{task_id}", Inferred, true, []string{"task_id"}},
	{OpCardAccount, "GET", "card/{pt}/account", Inferred, true, []string{"pt"}},
	{OpCardStatusGet, "GET", "card/{pt}/status", Strong, true, []string{"pt"}},
	{OpCardStatusSet, "PUT", "card/{pt}/status", Strong, false, []string{"pt"}},
	{OpCardCVV, "GET", "card/{pt}/cvv", Strong, false, []string{"pt"}},
	{OpCardPINGet, "GET", "card/{pt}/pin", Strong, false, []string{"pt"}},
	{OpCardPINSet, "POST", "card/{pt}/pin", Confirmed, false, []string{"pt"}},
	{OpCardPINStatus, "GET", "card/{pt}/pin/status", Confirmed, true, []string{"pt"}},
	{OpCardFull, "POST", "card/full-number", Inferred, false, []string{"pt"}},
	{OpCardConvert, "PUT", "card/convertToPhysical", Inferred, false, []string{"pt"}},
	{OpRecharge, "POST", "card/{pt}/account/recharge", Inferred, false, []string{"pt"}},
	{OpWithdraw, "POST", "card/{pt}/account/withdraw", Inferred, false, []string{"pt"}},
	{OpLedger, "GET", "card/{pt}/account/trade", ConfirmedText, true, []string{"pt"}},
	{OpSpendList, "GET", "card/trade", Inferred, true, nil},
	{OpSpendGet, "GET", "card/trade/{id}", ConfirmedText, true, []string{"id"}},
	{OpFXRate, "GET", "system/currencySimple", Confirmed, true, nil},
	{OpThreeDSConfirm, "PUT", "card/3ds/confirm", Inferred, false, []string{"notification_id", "pt"}},
	{OpThreeDSPlan, "PUT", "card/3ds", Inferred, false, []string{"pt"}},
}

// Operations lists the operations with their paths after the overrides, in the order of
// provider/pokepay.md section 7.
//
// An override maps a name to a method and a path, such as "recharge": "POST card/recharge". A path that
// leaves a placeholder of the default out is accepted where a body can say what it concerns, and refused for
// GET. All that is wrong is reported at once.
func Operations(overrides map[string]string) ([]Operation, error) {
	table := slices.Clone(operations)
	var unknown []string
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		at := slices.IndexFunc(table, func(o Operation) bool { return o.Name == name })
		if at < 0 {
			unknown = append(unknown, strconv.Quote(name))
			continue
		}
		changed, err := table[at].override(overrides[name])
		if err != nil {
			problems = append(problems, fmt.Errorf("pokepay path of %q: %w", name, err))
			continue
		}
		table[at] = changed
	}
	if len(unknown) > 0 {
		var known []string
		for _, o := range operations {
			known = append(known, o.Name)
		}
		problems = append(problems, fmt.Errorf("no such operation: %s; there are %s", strings.Join(unknown, ", "), strings.Join(known, ", ")))
	}
	return table, errors.Join(problems...)
}

var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// override replaces method and path.
func (o Operation) override(value string) (Operation, error) {
	method, path, _ := strings.Cut(strings.TrimSpace(value), " ")
	path = strings.TrimPrefix(strings.TrimSpace(path), "/")
	if !slices.Contains(methods, method) {
		return o, errors.New("must be a method and a path, such as \"POST kyc\"; the method one of " + strings.Join(methods, ", "))
	}
	if path == "" || strings.ContainsAny(path, " \t\r\n?#\\%") || strings.Contains(path, "://") {
		return o, errors.New("the path must be relative to the base address, without query, fragment or spaces")
	}
	used, err := placeholders(path)
	if err != nil {
		return o, err
	}
	for _, name := range used {
		if !slices.Contains(o.Params, name) {
			return o, fmt.Errorf("unknown placeholder {%s}", name)
		}
	}
	if method == http.MethodGet {
		needed, _ := placeholders(o.Path)
		for _, name := range needed {
			if !slices.Contains(used, name) {
				return o, fmt.Errorf("the placeholder {%s} is missing", name)
			}
		}
	}
	o.Safe = o.Safe && method == http.MethodGet
	o.Method, o.Path = method, path
	return o, nil
}

// placeholders lists the names in braces. A placeholder fills a whole segment.
func placeholders(path string) ([]string, error) {
	var names []string
	for segment := range strings.SplitSeq(path, "/") {
		name, opens := strings.CutPrefix(segment, "{")
		name, closes := strings.CutSuffix(name, "}")
		switch {
		case segment == "" || segment == "." || segment == "..":
			return nil, errors.New("the path has an empty or a dotted segment")
		case opens && closes && name != "" && !strings.ContainsAny(name, "{}"):
			names = append(names, name)
		case strings.ContainsAny(segment, "{}"):
			return nil, fmt.Errorf("the segment %q is neither text nor one placeholder", segment)
		}
	}
	return names, nil
}

// expand fills the placeholders. Only values that cannot leave their segment are taken.
func (o Operation) expand(params map[string]string) (string, error) {
	segments := strings.Split(o.Path, "/")
	for i, segment := range segments {
		if !strings.HasPrefix(segment, "{") {
			continue
		}
		value := params[strings.Trim(segment, "{}")]
		if value == "" || value == "." || value == ".." {
			return "", fmt.Errorf("%s is missing", segment)
		}
		segments[i] = url.PathEscape(value)
	}
	return strings.Join(segments, "/"), nil
}
