package pokepay

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/comecomepay/comecomepay/internal/provider"
)

// envelope is what every JSON answer of PokePay is wrapped in (provider/pokepay.md section 2).
type envelope struct {
	code      string // "200" is the only success
	data      json.RawMessage
	errstr    string
	requestID string
}

var errNoCode = errors.New("no code in the envelope")

const codeOK = "200"

// parseEnvelope reads an envelope whose code is a number or a text.
func parseEnvelope(body []byte) (envelope, error) {
	o, err := provider.ParseObject(body)
	if err != nil {
		return envelope{}, err
	}
	e := envelope{code: strings.TrimSpace(o.Text("code")), data: o.Raw("data"), errstr: o.Text("errstr", "message"), requestID: o.Text("request_id")}
	if e.code == "" {
		return e, errNoCode
	}
	if number, ok := provider.ParseInt(e.code); ok && number == http.StatusOK {
		e.code = codeOK // also "200.0"
	}
	return e, nil
}

// judge tells success from refusal. The HTTP status is mostly 200 even for refusals.
func judge(answer *provider.Answer) *provider.Error {
	e, err := parseEnvelope(answer.Body)
	if err != nil {
		return &provider.Error{Detail: "the answer cannot be read", Cause: err}
	}
	reason := Classify(e.errstr)
	if e.code == "401" {
		reason = ReasonAuthority
	}
	if e.code == codeOK && reason != ReasonAuthority {
		return nil
	}
	failure := &provider.Error{Outcome: provider.Refused, Code: e.code, StaffText: e.errstr, Detail: "refused by the provider",
		Cause: &Refusal{Code: e.code, Reason: reason, RequestID: e.requestID}}
	if reason != ReasonOther {
		failure.Detail += ", " + string(reason)
	}
	// A server error in the envelope says as little about the effect as one in the HTTP status.
	if number, ok := provider.ParseInt(e.code); ok && number >= 500 && number < 600 && reason == ReasonOther {
		failure.Outcome, failure.Detail = provider.Unknown, "the provider failed"
	}
	return failure
}

// unauthorised tells whether a call failed because of its token; such a call had no effect.
func unauthorised(err error) bool {
	e := (*provider.Error)(nil)
	if !errors.As(err, &e) {
		return false
	}
	return e.Status == http.StatusUnauthorized || e.Outcome == provider.Refused && ReasonOf(err) == ReasonAuthority
}
