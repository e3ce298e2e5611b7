package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// histogram counts latencies in buckets that are 1/64 of a power of two wide,
// so a percentile is at most 1.6 % off, and any goroutine may record into it.
type histogram struct {
	counts [histBuckets]atomic.Uint64
}

const (
	histSubBits = 6
	histSub     = 1 << histSubBits
	histOctaves = 37 // 64 ns .. 2 h in buckets, smaller values one by one
	histBuckets = histSub * (histOctaves + 1)
)

func bucketOf(ns uint64) int {
	if ns < histSub {
		return int(ns)
	}
	octave := bits.Len64(ns) - histSubBits // ≥ 1
	i := octave*histSub + int(ns>>(octave-1))&(histSub-1)
	return min(i, histBuckets-1)
}

// bucketMid is the middle of bucket i in nanoseconds.
func bucketMid(i int) float64 {
	octave, sub := i/histSub, i%histSub
	if octave == 0 {
		return float64(sub)
	}
	width := uint64(1) << (octave - 1)
	return float64((histSub+uint64(sub))*width) + float64(width-1)/2
}

func (h *histogram) record(d time.Duration) {
	h.counts[bucketOf(uint64(max(d, 0)))].Add(1)
}

func (h *histogram) reset() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
}

func (h *histogram) samples() uint64 {
	var n uint64
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// quantileUs is the q-quantile in microseconds, 0 without samples.
func (h *histogram) quantileUs(q float64) float64 {
	n := h.samples()
	if n == 0 {
		return 0
	}
	rank := uint64(q * float64(n-1))
	var seen uint64
	for i := range h.counts {
		seen += h.counts[i].Load()
		if seen > rank {
			return bucketMid(i) / 1e3
		}
	}
	return bucketMid(histBuckets-1) / 1e3
}
