package main

import (
	"math"
	"slices"
	"time"
)

// round is what one round of load on one server came to.
type round struct {
	requests int
	took     time.Duration
	p50, p99 time.Duration
}

func (r round) perSecond() float64 { return float64(r.requests) / r.took.Seconds() }

// newRound sums up the latencies of one round; it sorts them.
func newRound(latencies []time.Duration, took time.Duration) round {
	slices.Sort(latencies)
	return round{requests: len(latencies), took: took, p50: percentile(latencies, 50), p99: percentile(latencies, 99)}
}

// percentile is the smallest of the sorted values that at least p percent of them do not exceed (nearest rank).
func percentile[T any](sorted []T, p float64) (v T) {
	if len(sorted) == 0 {
		return v
	}
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// median is the middle of values, or the mean of the two in the middle.
func median[T ~int | ~int64 | ~float64](values []T) T {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if m := len(s) / 2; len(s)%2 == 1 {
		return s[m]
	} else {
		return (s[m-1] + s[m]) / 2
	}
}

// spread is what several rounds have in common: their median, and how far they lie apart.
type spread struct {
	median, least, most float64 // requests per second
	p50, p99            time.Duration
}

func newSpread(rounds []round) spread {
	var rates []float64
	var p50, p99 []time.Duration
	for _, r := range rounds {
		rates = append(rates, r.perSecond())
		p50, p99 = append(p50, r.p50), append(p99, r.p99)
	}
	s := spread{median: median(rates), p50: median(p50), p99: median(p99)}
	if len(rates) > 0 {
		s.least, s.most = slices.Min(rates), slices.Max(rates)
	}
	return s
}

// rateRatio and tailRatio compare with another spread of the same run.
func (s spread) rateRatio(to spread) float64 { return ratio(s.median, to.median) }
func (s spread) tailRatio(to spread) float64 { return ratio(float64(s.p99), float64(to.p99)) }

// pairedRatio is the rate of a over that of b, round by round: the median of what came to pass side by side.
func pairedRatio(a, b []round) float64 {
	var list []float64
	for i := range min(len(a), len(b)) {
		list = append(list, ratio(a[i].perSecond(), b[i].perSecond()))
	}
	return median(list)
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}
