package fault_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comecomepay/comecomepay/internal/sandbox/fault"
)

func add(t *testing.T, p *fault.Plan, r fault.Rule) {
	t.Helper()
	if err := p.Add(r); err != nil {
		t.Fatal(err)
	}
}

func TestAnEmptyPlanStrikesNothing(t *testing.T) {
	var p fault.Plan
	if r, hit := p.Strike("didit", "create", fault.Delay, fault.HTTP500); hit {
		t.Errorf("struck by %+v", r)
	}
	if p.Rules() == nil || len(p.Rules()) != 0 {
		t.Error("the list of rules is not an empty list")
	}
}

func TestRulesStrikeWhatTheyName(t *testing.T) {
	for _, tt := range []struct {
		name                string
		rule                fault.Rule
		provider, operation string
		of                  []fault.Kind
		want                bool
	}{
		{"exactly", fault.Rule{Provider: "didit", Operation: "create", Kind: fault.HTTP500}, "didit", "create", []fault.Kind{fault.HTTP500}, true},
		{"one of several kinds", fault.Rule{Provider: "didit", Operation: "create", Kind: fault.HTTP500}, "didit", "create", []fault.Kind{fault.Delay, fault.HTTP500}, true},
		{"another provider", fault.Rule{Provider: "didit", Operation: "create", Kind: fault.HTTP500}, "pokepay", "create", []fault.Kind{fault.HTTP500}, false},
		{"another operation", fault.Rule{Provider: "didit", Operation: "create", Kind: fault.HTTP500}, "didit", "list", []fault.Kind{fault.HTTP500}, false},
		{"another kind", fault.Rule{Provider: "didit", Operation: "create", Kind: fault.HTTP500}, "didit", "create", []fault.Kind{fault.Delay}, false},
		{"no kind asked for", fault.Rule{Provider: "didit", Operation: "create", Kind: fault.HTTP500}, "didit", "create", nil, false},
		{"every operation", fault.Rule{Provider: "didit", Operation: "*", Kind: fault.Delay}, "didit", "anything", []fault.Kind{fault.Delay}, true},
		{"every provider", fault.Rule{Provider: "*", Operation: "create", Kind: fault.Delay}, "pokepay", "create", []fault.Kind{fault.Delay}, true},
		{"nothing named means all", fault.Rule{Kind: fault.DropWebhook}, "pokepay", "callback", []fault.Kind{fault.DropWebhook}, true},
	} {
		var p fault.Plan
		add(t, &p, tt.rule)
		r, hit := p.Strike(tt.provider, tt.operation, tt.of...)
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
		r, hit := p.Strike("pokepay", "init", fault.RefuseInit)
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
			if _, hit := p.Strike("didit", "create", fault.HTTP500); hit {
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
		if _, hit := p.Strike("didit", "create", fault.HTTP500); hit {
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
	for name, r := range map[string]fault.Rule{
		"no kind":               {},
		"unknown kind":          {Kind: "explode"},
		"probability above 1":   {Kind: fault.Delay, Probability: 1.1},
		"probability below 0":   {Kind: fault.Delay, Probability: -0.1},
		"probability no number": {Kind: fault.Delay, Probability: math.NaN()},
		"delay below 0":         {Kind: fault.Delay, DelayMS: -1},
		"delay too long":        {Kind: fault.Delay, DelayMS: 600_001},
		"count below 0":         {Kind: fault.Delay, Count: -1},
	} {
		var p fault.Plan
		if err := p.Add(r); err == nil || len(p.Rules()) != 0 {
			t.Errorf("%s: %v, rules %+v", name, err, p.Rules())
		}
	}
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
