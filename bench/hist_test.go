package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramQuantiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h histogram
	values := make([]float64, 100_000)
	for i := range values {
		values[i] = math.Exp(rng.Float64() * 20) // 1 ns .. 485 ms
		h.record(time.Duration(values[i]))
	}
	slices.Sort(values)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		want := math.Floor(values[int(q*float64(len(values)-1))]) / 1e3
		got := h.quantileUs(q)
		if math.Abs(got-want) > 0.016*want+0.001 {
			t.Errorf("quantile %v: got %v µs, want %v µs", q, got, want)
		}
	}
}

func TestHistogramBucketsAreOrdered(t *testing.T) {
	last := -1
	for ns := uint64(0); ns < 1<<42; ns += 1 + ns/100 {
		b := bucketOf(ns)
		if b < last {
			t.Fatalf("bucketOf(%d) = %d after %d: not rising", ns, b, last)
		}
		if mid := bucketMid(b); b < histBuckets-1 && math.Abs(mid-float64(ns)) > 0.01*float64(ns)+1 {
			t.Fatalf("bucketMid(bucketOf(%d)) = %v", ns, mid)
		}
		last = b
	}
}
