// Package fault makes the simulated providers misbehave on command, for tests and for people who want to
// see what their own programme does when a provider fails.
package fault

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
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
	OddNumbers      Kind = "odd_numbers"      // numbers as int, float or text at random
	NoRequestID     Kind = "no_request_id"    // PokePay: request_id is empty
	RefuseInit      Kind = "refuse"           // a business error with the text of Message
)

// Point is a place where a simulated provider can misbehave: a call that it answers, or what it sends by itself.
type Point struct {
	Provider  string
	Operation string
	Kinds     []Kind // what can happen here
}

var (
	known sync.Mutex
	all   []*Point
)

// Define makes a point known, so that rules can name it. A simulator defines its points in variables of its package.
func Define(provider, operation string, kinds ...Kind) *Point {
	known.Lock()
	defer known.Unlock()
	for _, p := range all {
		if p.Provider == provider && p.Operation == operation {
			panic("fault: point defined twice: " + provider + " " + operation)
		}
	}
	p := &Point{provider, operation, kinds}
	all = append(all, p)
	return p
}

// Points lists the points that are defined, in their order.
func Points() []*Point {
	known.Lock()
	defer known.Unlock()
	return slices.Clone(all)
}

// Rule is one fault to inject. It is the body of POST /control/faults.
type Rule struct {
	Provider    string  `json:"provider"`          // a point's, or "*"
	Operation   string  `json:"operation"`         // a point's, or "*"
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

// Add puts a rule into force, or says what is wrong with it. A rule that fits no point would never strike, and is wrong too.
func (p *Plan) Add(r Rule) error {
	if r.Provider == "" {
		r.Provider = "*"
	}
	if r.Operation == "" {
		r.Operation = "*"
	}
	if err := fits(r); err != nil {
		return err
	}
	switch {
	case math.IsNaN(r.Probability) || r.Probability < 0 || r.Probability > 1:
		return errors.New("probability must be above 0 and at most 1")
	case r.DelayMS < 0 || r.DelayMS > 600_000 || r.Kind == Delay && r.DelayMS == 0:
		return errors.New("delay_ms must be from 1 to 600000")
	case r.DelayMS > 0 && r.Kind != Delay:
		return errors.New("delay_ms belongs to kind delay")
	case r.Message != "" && r.Kind != RefuseInit:
		return errors.New("message belongs to kind refuse")
	case r.Count < 0:
		return errors.New("count must not be negative")
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

// fits looks for a point at which the rule can strike, and names what there is if it finds none.
func fits(r Rule) error {
	var providers, operations, kinds, here []string
	for _, p := range Points() {
		providers = append(providers, p.Provider)
		for _, k := range p.Kinds {
			kinds = append(kinds, string(k))
		}
		if r.Provider != "*" && r.Provider != p.Provider {
			continue
		}
		operations = append(operations, p.Operation)
		if r.Operation != "*" && r.Operation != p.Operation {
			continue
		}
		for _, k := range p.Kinds {
			here = append(here, string(k))
		}
	}
	names := func(list []string) string {
		slices.Sort(list)
		return strings.Join(slices.Compact(list), ", ")
	}
	switch {
	case slices.Contains(here, string(r.Kind)):
		return nil
	case r.Provider != "*" && !slices.Contains(providers, r.Provider):
		return fmt.Errorf("provider must be one of %s, or *", names(providers))
	case r.Operation != "*" && !slices.Contains(operations, r.Operation):
		return fmt.Errorf("operation must be one of %s, or *", names(operations))
	case !slices.Contains(kinds, string(r.Kind)):
		return fmt.Errorf("kind must be one of %s", names(here))
	}
	return fmt.Errorf("kind %s does not happen there (provider %s, operation %s), but %s", r.Kind, r.Provider, r.Operation, names(here))
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

// Strike asks whether a fault of one of the given kinds, which must be among the point's, hits now, and counts it if so.
func (p *Plan) Strike(at *Point, of ...Kind) (Rule, bool) {
	for _, k := range of {
		if !slices.Contains(at.Kinds, k) {
			panic("fault: " + at.Provider + " " + at.Operation + " does not list " + string(k))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.rules {
		if r.Provider != "*" && r.Provider != at.Provider || r.Operation != "*" && r.Operation != at.Operation {
			continue
		}
		if r.Count > 0 && r.Hits >= r.Count {
			continue
		}
		if slices.Contains(of, r.Kind) && (r.Probability >= 1 || rand.Float64() < r.Probability) {
			r.Hits++
			return *r, true
		}
	}
	return Rule{}, false
}
