package metrics

import (
	"cmp"
	"context"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/penstock-io/penstock/internal/task"
)

// inspected asks the node at each scrape.
type inspected struct{ m *Metrics }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("penstock_"+name, help, labels, nil)
}

var (
	queueTasks   = desc("queue_tasks", "Tasks by state, exact.", "queue", "state")
	queueBytes   = desc("queue_dead_bytes", "Bytes of dead letters.", "queue")
	oldestReady  = desc("queue_oldest_ready_seconds", "For how long the oldest task that could run has waited.", "queue")
	queueWorkers = desc("queue_workers", "Worker sessions that serve the queue.", "queue")
	queueUnserv  = desc("queue_unserved_types", "Types with waiting tasks that no worker serves.", "queue")
	horizon      = desc("queue_history_seconds", "How far back finished tasks are kept now.", "queue")
	workers      = desc("workers", "Worker sessions by build.", "build")
	slots        = desc("worker_slots", "Handlers that workers can have at once, by state.", "state")
	storageBytes = desc("storage_bytes", "Bytes on disk.")
	ready        = desc("ready", "1 when the node serves all that it should.")
	partitions   = desc("partitions", "Partitions owned, by state.", "state")
	memoryBytes  = desc("partition_memory_bytes", "Bytes that waiting tasks take in memory, all partitions.")
	clockOffset  = desc("clock_offset_seconds", "By how much the data's clock, which runs evenly, is ahead of the wall clock, which was set: of the partition where it is most.")
	producers    = desc("producers", "Producer sessions known, all partitions.")
	evicted      = desc("producers_evicted_total", "Producer sessions that gave way to newer ones since their partition was opened.")
	inMemory     = desc("tasks_in_memory", "Waiting tasks held in memory, all partitions.")
)

// Describe says nothing: what a scrape holds depends on the node.
func (c *inspected) Describe(chan<- *prometheus.Desc) {}

// Collect asks the node. A part that fails is counted and left out.
func (c *inspected) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeMax)
	defer cancel()
	node, err := c.m.o.Inspector.Node(ctx)
	if err != nil {
		c.m.scrapeFails.Inc()
	} else {
		c.node(out, &node)
	}
	queues, err := c.m.o.Inspector.Queues(ctx, nil)
	if err != nil {
		c.m.scrapeFails.Inc()
	} else {
		c.queues(out, queues, node.Now)
	}
	if c.m.o.Engine != nil {
		for _, r := range c.m.o.Engine() {
			valueType := prometheus.GaugeValue
			if r.Counter {
				valueType = prometheus.CounterValue
			}
			out <- prometheus.MustNewConstMetric(desc("storage_"+r.Name, r.Help), valueType, r.Value)
		}
	}
}

func gauge[N int | int64 | float64](out chan<- prometheus.Metric, d *prometheus.Desc, v N, labels ...string) {
	out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
}

func (c *inspected) node(out chan<- prometheus.Metric, n *task.NodeInfo) {
	gauge(out, storageBytes, n.StorageBytes)
	up := 0
	if n.Ready {
		up = 1
	}
	gauge(out, ready, up)
	var serving, safe, held, memory, known, gone int64
	var offset task.Millis
	for i := range n.Partitions {
		p := &n.Partitions[i]
		held += p.InMemory
		if x := p.ClockOffset; max(x, -x) > max(offset, -offset) {
			offset = x
		}
		memory += p.MemoryBytes
		known += p.Producers
		gone += p.ProducersEvicted
		switch {
		case p.SafeMode:
			safe++
		case p.Serving:
			serving++
		}
	}
	gauge(out, partitions, serving, "serving")
	gauge(out, partitions, safe, "safe_mode")
	gauge(out, partitions, int64(len(n.Partitions))-serving-safe, "opening")
	gauge(out, inMemory, held)
	gauge(out, memoryBytes, memory)
	gauge(out, clockOffset, float64(offset)/1000)
	gauge(out, producers, known)
	out <- prometheus.MustNewConstMetric(evicted, prometheus.CounterValue, float64(gone))
	c.workers(out, n.Workers)
}

func (c *inspected) workers(out chan<- prometheus.Metric, all []task.WorkerInfo) {
	byBuild := map[string]int{}
	var busy, total int
	for i := range all {
		w := &all[i]
		busy += min(w.Running, w.Concurrency) // the rest of Running are deliveries that wait in the worker
		total += w.Concurrency
		if _, known := byBuild[w.Build]; !known && len(byBuild) >= buildsMax {
			c.m.folded.WithLabelValues("build").Inc()
			byBuild[Other]++
			continue
		}
		byBuild[w.Build]++
	}
	for build, n := range byBuild {
		gauge(out, workers, n, build)
	}
	gauge(out, slots, busy, "busy")
	gauge(out, slots, max(0, total-busy), "idle")
}

// queues shows the queues with the most tasks, and the sum of the others.
func (c *inspected) queues(out chan<- prometheus.Metric, all []task.QueueInfo, now task.Time) {
	if limit := c.m.o.QueuesMax; len(all) > limit {
		slices.SortFunc(all, func(a, b task.QueueInfo) int {
			return cmp.Or(cmp.Compare(live(&b), live(&a)), cmp.Compare(a.Name, b.Name))
		})
		rest := task.QueueInfo{Name: Other}
		for i := range all[limit:] {
			addUp(&rest, &all[limit+i])
		}
		c.m.folded.WithLabelValues("queue").Add(float64(len(all) - limit))
		all = append(all[:limit:limit], rest)
	}
	for i := range all {
		c.queue(out, &all[i], now)
	}
}

func (c *inspected) queue(out chan<- prometheus.Metric, q *task.QueueInfo, now task.Time) {
	for _, s := range [...]struct {
		state task.State
		n     int64
	}{{task.Scheduled, q.Scheduled}, {task.Ready, q.Ready}, {task.Blocked, q.Blocked}, {task.Running, q.Running}, {task.Dead, q.Dead}} {
		gauge(out, queueTasks, s.n, q.Name, s.state.String())
	}
	gauge(out, queueBytes, q.DeadBytes, q.Name)
	gauge(out, oldestReady, age(q.OldestReady, now), q.Name)
	gauge(out, queueWorkers, q.Workers, q.Name)
	gauge(out, queueUnserv, len(q.Unserved), q.Name)
	if q.HistoryFrom != 0 {
		gauge(out, horizon, age(q.HistoryFrom, now), q.Name)
	}
}

// age is never below zero: clocks differ.
func age(t, now task.Time) float64 {
	if t == 0 || now <= t {
		return 0
	}
	return float64(now.Sub(t)) / 1000
}

func live(q *task.QueueInfo) int64 { return q.Scheduled + q.Ready + q.Blocked + q.Running + q.Dead }

func addUp(sum, q *task.QueueInfo) {
	sum.Scheduled += q.Scheduled
	sum.Ready += q.Ready
	sum.Blocked += q.Blocked
	sum.Running += q.Running
	sum.Dead += q.Dead
	sum.DeadBytes += q.DeadBytes
	sum.Workers = max(sum.Workers, q.Workers)
	sum.Unserved = append(sum.Unserved, q.Unserved...)
	if q.OldestReady != 0 && (sum.OldestReady == 0 || q.OldestReady < sum.OldestReady) {
		sum.OldestReady = q.OldestReady
	}
}
