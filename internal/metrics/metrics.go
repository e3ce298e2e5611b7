// Package metrics tells Prometheus what a node is and does: gauges asked of
// task.Inspector at a scrape, counters handed over once a batch. It measures
// nothing itself and nothing depends on it.
// Its rule: labels are bounded, and what was folded away is counted.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/penstock-io/penstock/internal/task"
)

// The bounds of labels: at 1,000 queues of 19 buckets, histograms are 40,000
// lines of a scrape. What is over a bound is shown as Other.
const (
	queuesMaxDefault = 1_000
	typesMaxDefault  = 2_000 // pairs of queue and type
	buildsMax        = 50
	scrapeMax        = 5 * time.Second // for the node's answers
)

// Other is the label under which everything over a bound is added up.
const Other = "(other)"

// Options of a Metrics. Inspector must be set.
type Options struct {
	Inspector task.Inspector
	Version   string
	QueuesMax int              // queues with labels of their own; 0 = 1,000
	TypesMax  int              // pairs of queue and type with labels of their own; 0 = 2,000
	Engine    func() []Reading // what the storage engine tells of itself; may be nil
}

// Reading is one number that the storage engine tells of itself.
type Reading struct {
	Name    string // without "penstock_storage_"
	Help    string
	Counter bool
	Value   float64
}

// Metrics holds every metric of one node. Make it with New.
type Metrics struct {
	o        Options
	registry *prometheus.Registry

	enqueued    *prometheus.CounterVec
	attempts    *prometheus.CounterVec
	dead        prometheus.Counter
	expirations prometheus.Counter
	rpc         *prometheus.HistogramVec
	commit      prometheus.Histogram
	batch       prometheus.Histogram
	folded      *prometheus.CounterVec
	scrapeFails prometheus.Counter

	mu     sync.Mutex
	queues map[string]*queueSeries // guarded by mu
	types  map[pair]*typeSeries    // guarded by mu
}

type pair struct{ queue, typ string }

// queueSeries and typeSeries are resolved once, so that a batch costs a look-up a
// pair and an addition a number.
type queueSeries struct {
	name      string // the label
	wait, run weighted
}

type typeSeries struct {
	enqueued prometheus.Counter
	attempts [task.AttemptCanceled + 1]prometheus.Counter
}

// New makes the metrics of one node.
func New(o Options) *Metrics {
	if o.QueuesMax == 0 {
		o.QueuesMax = queuesMaxDefault
	}
	if o.TypesMax == 0 {
		o.TypesMax = typesMaxDefault
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "penstock_" + name, Help: help}, labels)
	}
	m := &Metrics{
		o: o, registry: prometheus.NewRegistry(),
		queues: make(map[string]*queueSeries), types: make(map[pair]*typeSeries),
		enqueued:    counters("enqueued_total", "Tasks enqueued.", "queue", "type"),
		attempts:    counters("attempts_total", "Attempts that ended, by outcome.", "queue", "type", "outcome"),
		folded:      counters("metrics_folded_total", "Counts shown under "+Other+" because a label had too many values.", "label"),
		dead:        prometheus.NewCounter(prometheus.CounterOpts{Name: "penstock_dead_total", Help: "Tasks that became dead letters."}),
		expirations: prometheus.NewCounter(prometheus.CounterOpts{Name: "penstock_lease_expirations_total", Help: "Leases that ended without an outcome."}),
		scrapeFails: prometheus.NewCounter(prometheus.CounterOpts{Name: "penstock_metrics_failed_total", Help: "Scrapes for which the node could not be asked."}),
		rpc:         histogram("rpc_seconds", "Unary calls over the network.", rpcBuckets, "method", "code"),
	}
	m.commit = single("commit_seconds", "From begin to durable, a batch.", commitBuckets)
	m.batch = single("commit_batch", "Changes in one batch.", batchBuckets)
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "penstock_build_info", Help: "1, with what is running."}, []string{"version", "goversion"})
	build.WithLabelValues(o.Version, runtime.Version()).Set(1)
	for _, label := range []string{"queue", "type", "build"} {
		m.folded.WithLabelValues(label) // shown at 0: so that people know it is there
	}
	m.registry.MustRegister(m.enqueued, m.attempts, m.dead, m.folded, m.expirations, m.scrapeFails, m.rpc, m.commit, m.batch, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &inspected{m}, &lengths{m})
	return m
}

var (
	rpcBuckets    = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	commitBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5}
	batchBuckets  = []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000}
)

func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{
		Name: "penstock_" + name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
	}
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(histogramOpts(name, help, buckets), labels)
}

func single(name, help string, buckets []float64) prometheus.Histogram {
	return prometheus.NewHistogram(histogramOpts(name, help, buckets))
}

// Handler serves a scrape. A part that can't be had doesn't hide the others.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, Timeout: 2 * scrapeMax, EnableOpenMetrics: true})
}

// RPC counts one call over the network.
func (m *Metrics) RPC(method string, code task.Code, took time.Duration) {
	m.rpc.WithLabelValues(method, code.String()).Observe(took.Seconds())
}

// Bodies shows what the front door holds of requests, as held and refused tell.
func (m *Metrics) Bodies(f func() (held, refused int64)) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "penstock_body_bytes", Help: "Memory that requests being received and unpacked take now."},
			func() float64 { held, _ := f(); return float64(held) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "penstock_bodies_refused_total", Help: "Requests refused because others took all the memory for them."},
			func() float64 { _, refused := f(); return float64(refused) }))
}

// Commit counts one durable batch of so many changes.
func (m *Metrics) Commit(took time.Duration, changes int) {
	m.commit.Observe(took.Seconds())
	m.batch.Observe(float64(changes))
}

// Expirations counts leases that ended without an outcome.
func (m *Metrics) Expirations(n int) { m.expirations.Add(float64(n)) }

// Dead counts tasks that became dead letters.
func (m *Metrics) Dead(n int) { m.dead.Add(float64(n)) }

// Enqueued counts n tasks of a type.
func (m *Metrics) Enqueued(queue, typ string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pair(queue, typ).enqueued.Add(float64(n))
}

// Attempts counts n attempts at tasks of a type that ended so.
func (m *Metrics) Attempts(queue, typ string, o task.AttemptOutcome, n int) {
	if o > task.AttemptCanceled {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pair(queue, typ).attempts[o].Add(float64(n))
}

// Waited says that of tasks waited so long for their first attempt.
func (m *Metrics) Waited(queue string, took task.Millis, of int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue(queue).wait.add(float64(took)/1000, of)
}

// Ran says that of attempts took so long.
func (m *Metrics) Ran(queue string, took task.Millis, of int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue(queue).run.add(float64(took)/1000, of)
}

// queue finds the series of a queue, or of all queues over the bound.
func (m *Metrics) queue(name string) *queueSeries {
	if s, ok := m.queues[name]; ok {
		return s
	}
	if len(m.queues) >= m.o.QueuesMax && name != Other {
		m.folded.WithLabelValues("queue").Inc()
		return m.queue(Other)
	}
	s := &queueSeries{name: name}
	m.queues[name] = s
	return s
}

// pair finds the series of a queue and type, or of all types over the bound.
func (m *Metrics) pair(queue, typ string) *typeSeries {
	k := pair{queue, typ}
	if s, ok := m.types[k]; ok {
		return s
	}
	if name := m.queue(queue).name; name != queue {
		return m.pair(name, Other)
	}
	if len(m.types) >= m.o.TypesMax && typ != Other {
		m.folded.WithLabelValues("type").Inc()
		return m.pair(queue, Other)
	}
	s := &typeSeries{enqueued: m.enqueued.WithLabelValues(queue, typ)}
	for o := range s.attempts {
		s.attempts[o] = m.attempts.WithLabelValues(queue, typ, task.AttemptOutcome(o).String())
	}
	m.types[k] = s
	return s
}
