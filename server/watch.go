package server

import (
	"context"

	"github.com/penstock-io/penstock/internal/metrics"
	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/rpc/handler"
)

// checks are the lines of /readyz?verbose.
func (s *Server) checks(ctx context.Context) []handler.Check {
	why := s.node.Serving(ctx)
	partitions := handler.Check{Name: "partitions", OK: why == "", Detail: why}
	full := s.node.Full()
	disk := handler.Check{Name: "disk", OK: full == "", Detail: full}
	storage := handler.Check{Name: "storage", OK: true}
	if s.engine != nil {
		if err := s.engine.Dead(); err != nil {
			storage.OK, storage.Detail = false, err.Error()
		}
	}
	return []handler.Check{partitions, disk, storage}
}

// observe counts what one turn of a partition did.
func (s *Server) observe(st node.Stats) {
	m := s.metrics
	if st.Ops > 0 {
		m.Commit(st.Commit, st.Ops)
	}
	for i := range st.Enqueued {
		m.Enqueued(st.Enqueued[i].Queue, st.Enqueued[i].Type, st.Enqueued[i].N)
	}
	for i := range st.Attempts {
		a := &st.Attempts[i]
		m.Attempts(a.Queue, a.Type, a.Outcome, a.N)
	}
	for i := range st.Samples {
		if x := &st.Samples[i]; x.Ran {
			m.Ran(x.Queue, x.Took, x.Of)
		} else {
			m.Waited(x.Queue, x.Took, x.Of)
		}
	}
	if st.Expired > 0 {
		m.Expirations(st.Expired)
	}
	if st.Dead > 0 {
		m.Dead(st.Dead)
	}
}

// readings are what the storage engine tells of itself.
func (s *Server) readings() []metrics.Reading {
	if s.engine == nil {
		return nil
	}
	m := s.engine.Metrics()
	gauge := func(name, help string, v float64) metrics.Reading {
		return metrics.Reading{Name: name, Help: help, Value: v}
	}
	counter := func(name, help string, v float64) metrics.Reading {
		return metrics.Reading{Name: name, Help: help, Counter: true, Value: v}
	}
	low := 0.0
	if m.Low {
		low = 1
	}
	return []metrics.Reading{
		gauge("free_bytes", "Bytes that the disk still takes.", float64(m.FreeBytes)),
		gauge("low", "1 while new tasks are refused for want of disk.", low),
		gauge("memtable_bytes", "Bytes not yet in tables.", float64(m.MemtableBytes)),
		gauge("cache_bytes", "Bytes of tables held in memory.", float64(m.CacheBytes)),
		gauge("tables", "Tables on disk.", float64(m.Tables)),
		gauge("tables_l0", "Tables of the first level: many mean that compaction is behind.", float64(m.TablesL0)),
		counter("commits_total", "Commits.", float64(m.Commits)),
		counter("written_bytes_total", "Bytes of commits.", float64(m.BatchBytes)),
		counter("refused_total", "Commits refused for a full disk.", float64(m.Refused)),
		counter("fsyncs_total", "Fsyncs of the log.", float64(m.Fsyncs)),
		counter("fsync_seconds_total", "Time in fsyncs of the log.", m.FsyncTotal.Seconds()),
		counter("flushes_total", "Memtables written to tables.", float64(m.Flushes)),
		counter("compactions_total", "Compactions.", float64(m.Compactions)),
		counter("stalls_total", "Times that writers had to wait for the engine.", float64(m.Stalls)),
		counter("stall_seconds_total", "For how long.", m.StallTime.Seconds()),
		counter("slow_writes_total", "Writes that the disk took seconds for.", float64(m.SlowWrites)),
		counter("errors_total", "Errors of background work.", float64(m.BackgroundErrors)),
		counter("corruptions_total", "Damaged blocks met.", float64(m.Corruptions)),
	}
}
