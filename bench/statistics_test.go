package main

import (
	"math"
	"testing"
	"time"
)

func TestPercentileIsNearestRank(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for _, c := range []struct {
		values []int
		p      float64
		want   int
	}{
		{hundred, 50, 50}, {hundred, 99, 99}, {hundred, 99.5, 100}, {hundred, 100, 100}, {hundred, 0, 1},
		{[]int{7}, 99, 7}, {[]int{1, 2, 3}, 50, 2}, {[]int{1, 2, 3, 4}, 50, 2}, {nil, 50, 0},
	} {
		if got := percentile(c.values, c.p); got != c.want {
			t.Errorf("percentile %v of %d values: %d, want %d", c.p, len(c.values), got, c.want)
		}
	}
}

func TestMedianLeavesItsArgumentAlone(t *testing.T) {
	values := []float64{9, 1, 4}
	if got := median(values); got != 4 {
		t.Errorf("median of three: %v", got)
	}
	if values[0] != 9 || values[1] != 1 {
		t.Errorf("the values were put in order: %v", values)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median of four: %v", got)
	}
	if got := median([]time.Duration(nil)); got != 0 {
		t.Errorf("median of nothing: %v", got)
	}
}

func TestRoundsAreComparedByTheirMedians(t *testing.T) {
	// One round of three went wrong: 10 requests a second with a second of latency.
	ours := newSpread([]round{
		newRound([]time.Duration{3, 1, 2, 4}, 2*time.Second),
		{requests: 10, took: time.Second, p50: time.Second, p99: time.Second},
		newRound([]time.Duration{2, 4, 6, 8}, 2*time.Second),
	})
	if ours.median != 2 || ours.least != 2 || ours.most != 10 {
		t.Errorf("rates: median %v, least %v, most %v", ours.median, ours.least, ours.most)
	}
	if ours.p50 != 4 || ours.p99 != 8 {
		t.Errorf("latencies: p50 %d, p99 %d", ours.p50, ours.p99)
	}
	other := spread{median: 4, p99: 2}
	if ours.rateRatio(other) != 0.5 || ours.tailRatio(other) != 4 {
		t.Errorf("ratios %v and %v", ours.rateRatio(other), ours.tailRatio(other))
	}
	if !math.IsNaN(ours.rateRatio(spread{})) {
		t.Error("a ratio to nothing is a number")
	}
}
