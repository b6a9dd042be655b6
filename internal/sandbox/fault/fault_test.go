package fault_test

import (
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

// Two invented providers.
var (
	create   = fault.Define("bank", "create", fault.Delay, fault.HTTP500, fault.RefuseInit)
	list     = fault.Define("bank", "list", fault.Delay, fault.HTTP500)
	callback = fault.Define("bank", "callback", fault.DropWebhook)
	send     = fault.Define("post", "create", fault.Delay, fault.HTTP500, fault.Forbidden)
)

func add(t *testing.T, p *fault.Plan, r fault.Rule) {
	t.Helper()
	if err := p.Add(r); err != nil {
		t.Fatal(err)
	}
}

func TestAnEmptyPlanStrikesNothing(t *testing.T) {
	var p fault.Plan
	if r, hit := p.Strike(create, fault.Delay, fault.HTTP500); hit {
		t.Errorf("struck by %+v", r)
	}
	if p.Rules() == nil || len(p.Rules()) != 0 {
		t.Error("the list of rules is not an empty list")
	}
}

func TestRulesStrikeWhatTheyName(t *testing.T) {
	for _, tt := range []struct {
		name string
		rule fault.Rule
		at   *fault.Point
		of   []fault.Kind
		want bool
	}{
		{"exactly", fault.Rule{Provider: "bank", Operation: "create", Kind: fault.HTTP500}, create, []fault.Kind{fault.HTTP500}, true},
		{"one of several kinds", fault.Rule{Provider: "bank", Operation: "create", Kind: fault.HTTP500}, create, []fault.Kind{fault.Delay, fault.HTTP500}, true},
		{"another provider", fault.Rule{Provider: "bank", Operation: "create", Kind: fault.HTTP500}, send, []fault.Kind{fault.HTTP500}, false},
		{"another operation", fault.Rule{Provider: "bank", Operation: "create", Kind: fault.HTTP500}, list, []fault.Kind{fault.HTTP500}, false},
		{"another kind", fault.Rule{Provider: "bank", Operation: "create", Kind: fault.HTTP500}, create, []fault.Kind{fault.Delay}, false},
		{"no kind asked for", fault.Rule{Provider: "bank", Operation: "create", Kind: fault.HTTP500}, create, nil, false},
		{"every operation", fault.Rule{Provider: "bank", Operation: "*", Kind: fault.Delay, DelayMS: 1}, list, []fault.Kind{fault.Delay}, true},
		{"every provider", fault.Rule{Provider: "*", Operation: "create", Kind: fault.Delay, DelayMS: 1}, send, []fault.Kind{fault.Delay}, true},
		{"nothing named means all", fault.Rule{Kind: fault.DropWebhook}, callback, []fault.Kind{fault.DropWebhook}, true},
	} {
		var p fault.Plan
		add(t, &p, tt.rule)
		r, hit := p.Strike(tt.at, tt.of...)
		if hit != tt.want {
			t.Errorf("%s: struck %t, want %t", tt.name, hit, tt.want)
		}
		if hit && (r.Kind != tt.rule.Kind || r.Hits != 1) {
			t.Errorf("%s: the rule comes back as %+v", tt.name, r)
		}
		if hits := p.Rules()[0].Hits; (hits == 1) != tt.want {
			t.Errorf("%s: %d hits counted", tt.name, hits)
		}
	}
}

func TestEarlierRulesStrikeFirstAndRunOut(t *testing.T) {
	var p fault.Plan
	add(t, &p, fault.Rule{Kind: fault.RefuseInit, Count: 2, Message: "first"})
	add(t, &p, fault.Rule{Kind: fault.RefuseInit, Count: 1, Message: "second"})
	for n, want := range []string{"first", "first", "second", ""} {
		r, hit := p.Strike(create, fault.RefuseInit)
		if hit != (want != "") || r.Message != want {
			t.Errorf("call %d: struck %t by %q, want %q", n+1, hit, r.Message, want)
		}
	}
	p.Clear()
	if len(p.Rules()) != 0 {
		t.Error("rules are left after clearing")
	}
}

func TestCountHoldsFromManySides(t *testing.T) {
	var p fault.Plan
	add(t, &p, fault.Rule{Kind: fault.HTTP500, Count: 10})
	var hits atomic.Int32
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			if _, hit := p.Strike(create, fault.HTTP500); hit {
				hits.Add(1)
			}
			p.Rules()
		})
	}
	all.Wait()
	if hits.Load() != 10 {
		t.Errorf("%d hits of a rule for 10", hits.Load())
	}
}

func TestProbability(t *testing.T) {
	var p fault.Plan
	add(t, &p, fault.Rule{Kind: fault.HTTP500, Probability: 0.3})
	const calls = 20_000
	hits := 0
	for range calls {
		if _, hit := p.Strike(create, fault.HTTP500); hit {
			hits++
		}
	}
	// Six standard deviations: a right program fails here once in 500 million runs.
	deviation := math.Sqrt(calls * 0.3 * 0.7)
	if math.Abs(float64(hits)-calls*0.3) > 6*deviation {
		t.Errorf("%d of %d calls struck with probability 0.3", hits, calls)
	}
	if p.Rules()[0].Hits != hits {
		t.Error("hits are miscounted")
	}
}

func TestWrongRulesAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		rule fault.Rule
		says string
	}{
		"no kind":               {fault.Rule{}, "kind must be one of delay, drop_webhook, http_403, http_500, refuse"},
		"unknown kind":          {fault.Rule{Kind: "explode"}, "kind must be one of delay, drop_webhook, http_403, http_500, refuse"},
		"unknown kind there":    {fault.Rule{Provider: "bank", Operation: "list", Kind: "explode"}, "kind must be one of delay, http_500"},
		"unknown provider":      {fault.Rule{Provider: "visa", Kind: fault.Delay, DelayMS: 1}, "provider must be one of bank, post, or *"},
		"unknown operation":     {fault.Rule{Operation: "crate", Kind: fault.Delay, DelayMS: 1}, "operation must be one of callback, create, list, or *"},
		"another's operation":   {fault.Rule{Provider: "post", Operation: "list", Kind: fault.HTTP500}, "operation must be one of create, or *"},
		"another's kind":        {fault.Rule{Provider: "post", Kind: fault.RefuseInit}, "refuse does not happen there (provider post, operation *), but delay, http_403, http_500"},
		"a call's kind at none": {fault.Rule{Operation: "callback", Kind: fault.HTTP500}, "http_500 does not happen there (provider *, operation callback), but drop_webhook"},
		"probability above 1":   {fault.Rule{Kind: fault.HTTP500, Probability: 1.1}, "probability"},
		"probability below 0":   {fault.Rule{Kind: fault.HTTP500, Probability: -0.1}, "probability"},
		"probability no number": {fault.Rule{Kind: fault.HTTP500, Probability: math.NaN()}, "probability"},
		"no delay":              {fault.Rule{Kind: fault.Delay}, "delay_ms must be from 1"},
		"delay below 0":         {fault.Rule{Kind: fault.Delay, DelayMS: -1}, "delay_ms must be from 1"},
		"delay too long":        {fault.Rule{Kind: fault.Delay, DelayMS: 600_001}, "to 600000"},
		"delay of another kind": {fault.Rule{Kind: fault.HTTP500, DelayMS: 5}, "belongs to kind delay"},
		"words of another kind": {fault.Rule{Kind: fault.HTTP500, Message: "no"}, "belongs to kind refuse"},
		"count below 0":         {fault.Rule{Kind: fault.HTTP500, Count: -1}, "count"},
	} {
		var p fault.Plan
		if err := p.Add(tt.rule); err == nil || !strings.Contains(err.Error(), tt.says) || len(p.Rules()) != 0 {
			t.Errorf("%s: %v, rules %+v", name, err, p.Rules())
		}
	}
}

// A simulator cannot ask for a fault that rules could not name.
func TestStrikingOutsideOfThePointPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it was asked in silence")
		}
	}()
	(&fault.Plan{}).Strike(callback, fault.HTTP500)
}

func TestDefaultsOfARule(t *testing.T) {
	var p fault.Plan
	add(t, &p, fault.Rule{Kind: fault.Delay, DelayMS: 1500, Hits: 99})
	got := p.Rules()[0]
	want := fault.Rule{Provider: "*", Operation: "*", Kind: fault.Delay, Probability: 1, DelayMS: 1500}
	if got != want {
		t.Errorf("stored as %+v, want %+v", got, want)
	}
	if got.Delay() != 1500*time.Millisecond {
		t.Errorf("delays %s", got.Delay())
	}
	got.Kind = fault.HTTP500
	if p.Rules()[0].Kind != fault.Delay {
		t.Error("the list lets its reader change the plan")
	}
}
