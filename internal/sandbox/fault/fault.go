// Package fault makes the simulated providers misbehave on command, for tests and for people who want to
// see what their own programme does when a provider fails.
package fault

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Kind is a way to misbehave.
type Kind string

// The kinds. The webhook kinds concern what a provider sends to us, the others what it answers.
const (
	Delay            Kind = "delay"             // wait DelayMS, then go on
	DropWebhook      Kind = "drop_webhook"      // the webhook is never sent
	DuplicateWebhook Kind = "duplicate_webhook" // the webhook is sent twice
	Reorder          Kind = "reorder"           // the webhook is held back until the next one has been sent
	ForgeSignature   Kind = "forge_signature"   // the webhook carries signatures of another key
	HTTP500          Kind = "http_500"          // answer 500 in the provider's error form, without acting
	HTML502          Kind = "html_502"          // answer 502 with a page of HTML, without acting
	ActThenTimeout   Kind = "act_then_timeout"  // act, then never answer

	StaleTimestamp  Kind = "stale_timestamp"  // the webhook's time lies an hour back
	ISOTimestamp    Kind = "iso_timestamp"    // the webhook's time is ISO-8601 text
	NullVendorData  Kind = "null_vendor_data" // the webhook has no vendor_data
	MissingDecision Kind = "missing_decision" // the webhook lacks its decision
	ExpiredToken    Kind = "expired_token"    // PokePay: HTTP 200 with code 401
	RateLimited     Kind = "http_429"         // answer 429 with Retry-After
	Forbidden       Kind = "http_403"         // Didit: bad key, or no credits
	OddNumbers      Kind = "odd_numbers"      // PokePay: numbers as int, float or text at random
	NoRequestID     Kind = "no_request_id"    // PokePay: request_id is empty
	RefuseInit      Kind = "refuse"           // a business error with the text of Message
)

var kinds = []Kind{Delay, DropWebhook, DuplicateWebhook, Reorder, ForgeSignature, HTTP500, HTML502, ActThenTimeout,
	StaleTimestamp, ISOTimestamp, NullVendorData, MissingDecision, ExpiredToken, RateLimited, Forbidden, OddNumbers,
	NoRequestID, RefuseInit}

// Rule is one fault to inject. It is the body of POST /control/faults.
type Rule struct {
	Provider    string  `json:"provider"`          // "didit", "pokepay" or "*"
	Operation   string  `json:"operation"`         // an operation's name or "*"
	Kind        Kind    `json:"kind"`              // what happens
	Probability float64 `json:"probability"`       // 0 < p <= 1; left out: 1
	DelayMS     int     `json:"delay_ms"`          // for delay
	Count       int     `json:"count"`             // how many times at most; 0: until cleared
	Message     string  `json:"message,omitempty"` // for refuse: the provider's error text
	Hits        int     `json:"hits"`              // how often it happened so far
}

// Delay is the rule's delay.
func (r Rule) Delay() time.Duration { return time.Duration(r.DelayMS) * time.Millisecond }

// Plan is the set of rules in force. The zero value injects nothing. It is safe for concurrent use.
type Plan struct {
	mu    sync.Mutex
	rules []*Rule
}

// Add puts a rule into force, or says what is wrong with it.
func (p *Plan) Add(r Rule) error {
	known := false
	for _, k := range kinds {
		known = known || k == r.Kind
	}
	switch {
	case !known:
		return errors.New("unknown kind of fault")
	case math.IsNaN(r.Probability) || r.Probability < 0 || r.Probability > 1:
		return errors.New("probability must be above 0 and at most 1")
	case r.DelayMS < 0 || r.DelayMS > 600_000:
		return errors.New("delay_ms must be from 0 to 600000")
	case r.Count < 0:
		return errors.New("count must not be negative")
	}
	if r.Provider == "" {
		r.Provider = "*"
	}
	if r.Operation == "" {
		r.Operation = "*"
	}
	if r.Probability == 0 {
		r.Probability = 1
	}
	r.Hits = 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, &r)
	return nil
}

// Rules lists the rules in force.
func (p *Plan) Rules() []Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]Rule, 0, len(p.rules))
	for _, r := range p.rules {
		list = append(list, *r)
	}
	return list
}

// Clear ends all faults.
func (p *Plan) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// Strike asks whether a fault of one of the given kinds hits this operation now, and counts it if so.
func (p *Plan) Strike(provider, operation string, of ...Kind) (Rule, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.rules {
		if r.Provider != "*" && r.Provider != provider || r.Operation != "*" && r.Operation != operation {
			continue
		}
		if r.Count > 0 && r.Hits >= r.Count {
			continue
		}
		for _, k := range of {
			if k == r.Kind && (r.Probability >= 1 || rand.Float64() < r.Probability) {
				r.Hits++
				return *r, true
			}
		}
	}
	return Rule{}, false
}
