package metrics

import (
	"math"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// weighted is a histogram to which one sample can be added for many tasks: the
// library's own would have to be told of each. It shows classic and native
// buckets.
type weighted struct {
	count  uint64
	sum    float64
	zero   uint64
	counts [len(lengthBuckets)]uint64 // by classic bucket, not summed up; above the last: in none
	native map[int32]uint64           // by key: up to 2^(key/8) seconds
}

var lengthBuckets = [...]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600}

const (
	nativeSchema  = 3    // 8 buckets a doubling
	nativeZero    = 5e-4 // times come in milliseconds
	nativeKeysMax = 400  // from a millisecond to centuries are 330
)

func (w *weighted) add(seconds float64, of int) {
	if of <= 0 {
		return
	}
	n := uint64(of)
	seconds = max(0, seconds) // clocks differ
	w.count += n
	w.sum += seconds * float64(of)
	if i, _ := slices.BinarySearch(lengthBuckets[:], seconds); i < len(lengthBuckets) {
		w.counts[i] += n
	}
	if seconds < nativeZero {
		w.zero += n
		return
	}
	if w.native == nil {
		w.native = make(map[int32]uint64)
	}
	key := int32(math.Ceil(math.Log2(seconds) * (1 << nativeSchema)))
	if _, known := w.native[key]; known || len(w.native) < nativeKeysMax {
		w.native[key] += n
	}
}

// dto is the histogram as it is sent.
func (w *weighted) dto() *dto.Histogram {
	schema, threshold := int32(nativeSchema), nativeZero
	h := &dto.Histogram{SampleCount: &w.count, SampleSum: &w.sum, Schema: &schema, ZeroThreshold: &threshold, ZeroCount: &w.zero}
	total := uint64(0)
	for i, n := range w.counts {
		total += n
		upTo, upper := total, lengthBuckets[i]
		h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: &upTo, UpperBound: &upper})
	}
	keys := make([]int32, 0, len(w.native))
	for k := range w.native {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	next, before := int32(0), int64(0)
	for i, k := range keys {
		if i == 0 || k != next {
			offset, length := k-next, uint32(0)
			h.PositiveSpan = append(h.PositiveSpan, &dto.BucketSpan{Offset: &offset, Length: &length})
		}
		*h.PositiveSpan[len(h.PositiveSpan)-1].Length++
		n := int64(w.native[k])
		h.PositiveDelta = append(h.PositiveDelta, n-before)
		next, before = k+1, n
	}
	return h
}

var (
	waitSeconds = desc("wait_seconds", "From enqueued to the first attempt; sampled, and weighted for it.", "queue")
	runSeconds  = desc("run_seconds", "From dispatched to the outcome, retries included; sampled, and weighted for it.", "queue")
)

// lengths shows the histograms of all queues.
type lengths struct{ m *Metrics }

// Describe tells both names.
func (c *lengths) Describe(out chan<- *prometheus.Desc) { out <- waitSeconds; out <- runSeconds }

// Collect copies the histograms, so that nobody waits for the scraper.
func (c *lengths) Collect(out chan<- prometheus.Metric) {
	c.m.mu.Lock()
	var all []sent
	for name, q := range c.m.queues {
		all = append(all, sent{waitSeconds, name, q.wait.copied().dto()}, sent{runSeconds, name, q.run.copied().dto()})
	}
	c.m.mu.Unlock()
	for i := range all {
		out <- &all[i]
	}
}

func (w *weighted) copied() *weighted {
	c := *w
	return &c
}

// sent is one histogram on its way out.
type sent struct {
	desc  *prometheus.Desc
	queue string
	h     *dto.Histogram
}

// Desc names the metric.
func (s *sent) Desc() *prometheus.Desc { return s.desc }

// Write fills in the metric.
func (s *sent) Write(m *dto.Metric) error {
	label := "queue"
	m.Label = []*dto.LabelPair{{Name: &label, Value: &s.queue}}
	m.Histogram = s.h
	return nil
}
