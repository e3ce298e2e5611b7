package metrics

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// asked is an Inspector that knows one node.
type asked struct {
	task.Inspector
	queues []task.QueueInfo
	node   task.NodeInfo
	err    error
}

func (a *asked) Queues(context.Context, []string) ([]task.QueueInfo, error) { return a.queues, a.err }
func (a *asked) Node(context.Context) (task.NodeInfo, error)                { return a.node, a.err }

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(text, "\n"+want+"\n") {
			name := want[:strings.IndexAny(want, "{ ")]
			var near []string
			for _, l := range strings.Split(text, "\n") {
				if strings.HasPrefix(l, name) {
					near = append(near, l)
				}
			}
			t.Errorf("no line %q; there is:\n%s", want, strings.Join(near, "\n"))
		}
	}
}

func TestNames(t *testing.T) {
	insp := &asked{
		queues: []task.QueueInfo{{Name: "mail", Scheduled: 1, Ready: 2, Blocked: 3, Running: 4, Dead: 5, DeadBytes: 600, OldestReady: 90_000, Workers: 2, Unserved: []task.UnservedType{{Type: "x"}}, HistoryFrom: 40_000}},
		node: task.NodeInfo{Now: 100_000, StorageBytes: 4096, Ready: true,
			Partitions: []task.PartitionInfo{{Serving: true, InMemory: 7, MemoryBytes: 70, Producers: 8, ProducersEvicted: 9}, {SafeMode: true, Serving: true, ClockOffset: -7_200_500}, {ClockOffset: 40}},
			Workers:    []task.WorkerInfo{{Build: "9f3", Concurrency: 10, Running: 25}, {Build: "9f3", Concurrency: 4, Running: 1}, {Build: "", Concurrency: 1}}},
	}
	m := New(Options{Inspector: insp, Version: "1.2.3", Engine: func() []Reading {
		return []Reading{{"fsyncs_total", "Fsyncs.", true, 12}, {"free_bytes", "Free.", false, 99}}
	}})
	m.Commit(300*time.Microsecond, 12)
	m.Expirations(3)
	m.Dead(2)
	m.Waited("mail", 4, 1)
	m.Ran("mail", 2000, 3)
	m.Ran("mail", 0, 1)
	m.Enqueued("mail", "welcome", 4)
	m.Attempts("mail", "welcome", task.AttemptSucceeded, 12)
	m.Attempts("mail", "welcome", task.AttemptFailed, 14)
	m.RPC("TaskService/Get", task.NotFound, 2*time.Millisecond)
	text := scrape(t, m)
	has(t, text,
		`penstock_queue_tasks{queue="mail",state="scheduled"} 1`, `penstock_queue_tasks{queue="mail",state="ready"} 2`,
		`penstock_queue_tasks{queue="mail",state="blocked"} 3`, `penstock_queue_tasks{queue="mail",state="running"} 4`,
		`penstock_queue_tasks{queue="mail",state="dead"} 5`, `penstock_queue_dead_bytes{queue="mail"} 600`,
		`penstock_queue_oldest_ready_seconds{queue="mail"} 10`, `penstock_queue_unserved_types{queue="mail"} 1`,
		`penstock_queue_history_seconds{queue="mail"} 60`,
		`penstock_enqueued_total{queue="mail",type="welcome"} 4`, `penstock_dead_total 2`,
		`penstock_attempts_total{outcome="succeeded",queue="mail",type="welcome"} 12`, `penstock_attempts_total{outcome="failed",queue="mail",type="welcome"} 14`,
		`penstock_wait_seconds_bucket{queue="mail",le="0.005"} 1`, `penstock_wait_seconds_bucket{queue="mail",le="0.0025"} 0`,
		`penstock_run_seconds_sum{queue="mail"} 6`, `penstock_run_seconds_count{queue="mail"} 4`, `penstock_run_seconds_bucket{queue="mail",le="2.5"} 4`, `penstock_run_seconds_bucket{queue="mail",le="1"} 1`, `penstock_lease_expirations_total 3`,
		`penstock_workers{build="9f3"} 2`, `penstock_workers{build=""} 1`,
		`penstock_worker_slots{state="busy"} 11`, `penstock_worker_slots{state="idle"} 4`,
		`penstock_rpc_seconds_count{code="not_found",method="TaskService/Get"} 1`, `penstock_storage_bytes 4096`,
		`penstock_commit_seconds_count 1`, `penstock_commit_batch_sum 12`, `penstock_ready 1`,
		`penstock_partitions{state="serving"} 1`, `penstock_partitions{state="safe_mode"} 1`, `penstock_partitions{state="opening"} 1`, `penstock_clock_offset_seconds -7200.5`,
		`penstock_producers 8`, `penstock_producers_evicted_total 9`,
		`penstock_storage_fsyncs_total 12`, `penstock_storage_free_bytes 99`, `penstock_metrics_folded_total{label="queue"} 0`,
	)
	if !strings.Contains(text, `penstock_build_info{goversion="go`) || !strings.Contains(text, `version="1.2.3"} 1`) {
		t.Error("no penstock_build_info with version and Go version")
	}
}

// TestBounds: more queues and types than the bounds are added up, and counted.
func TestBounds(t *testing.T) {
	insp := &asked{node: task.NodeInfo{Now: 100_000}}
	for i := range 10 {
		insp.queues = append(insp.queues, task.QueueInfo{Name: fmt.Sprintf("q%d", i), Ready: int64(i), OldestReady: task.Time(50_000 + i)})
	}
	m := New(Options{Inspector: insp, QueuesMax: 3, TypesMax: 4})
	for q := range 10 {
		for typ := range 5 {
			m.Enqueued(fmt.Sprintf("q%d", q), fmt.Sprintf("t%d", typ), 1)
			m.Ran(fmt.Sprintf("q%d", q), 1, 1)
		}
	}
	text := scrape(t, m)
	total := 0
	for _, l := range strings.Split(text, "\n") {
		if strings.HasPrefix(l, "penstock_enqueued_total{") {
			n := 0
			fmt.Sscanf(l[strings.LastIndex(l, " ")+1:], "%d", &n)
			total += n
		}
	}
	if total != 50 {
		t.Errorf("enqueued adds up to %d, want 50", total)
	}
	has(t, text, `penstock_queue_tasks{queue="q9",state="ready"} 9`, `penstock_queue_tasks{queue="(other)",state="ready"} 21`,
		`penstock_queue_oldest_ready_seconds{queue="(other)"} 50`, `penstock_enqueued_total{queue="(other)",type="(other)"} 35`, `penstock_run_seconds_count{queue="(other)"} 35`)
	if n := strings.Count(text, `penstock_run_seconds_count{queue=`); n != 4 {
		t.Errorf("%d queues with a histogram, want 3 and the rest", n)
	}
	if n := strings.Count(text, `penstock_enqueued_total{`); n > 4+4 { // TypesMax, and one Other a queue
		t.Errorf("%d pairs, want at most 8:\n%s", n, text)
	}
	if strings.Contains(text, `penstock_metrics_folded_total{label="queue"} 0`) || strings.Contains(text, `penstock_metrics_folded_total{label="type"} 0`) {
		t.Error("folding is not counted")
	}
}

// TestNodeDown: a node that does not answer leaves the counters visible.
func TestNodeDown(t *testing.T) {
	m := New(Options{Inspector: &asked{err: errors.New("no partition")}})
	m.Expirations(1)
	text := scrape(t, m)
	has(t, text, `penstock_lease_expirations_total 1`)
	text = scrape(t, m) // collectors work side by side: the first scrape may have counted too late
	if strings.Contains(text, "penstock_metrics_failed_total 0") || !strings.Contains(text, "penstock_metrics_failed_total ") {
		t.Error("a node that could not be asked is not counted")
	}
}

// TestNative: the native buckets hold what the classic ones hold, at ±5 %.
func TestNative(t *testing.T) {
	var w weighted
	for _, ms := range []float64{0, 1, 3, 3, 250, 7_200_000} {
		w.add(ms/1000, 2)
	}
	h := w.dto()
	var got []string
	key, left, span, count := int32(0), uint32(0), -1, int64(0)
	for _, d := range h.PositiveDelta {
		for left == 0 {
			span++
			key, left = key+h.PositiveSpan[span].GetOffset(), h.PositiveSpan[span].GetLength()
		}
		count += d
		upper := math.Pow(2, float64(key)/8)
		got = append(got, fmt.Sprintf("%d in (%.4g, %.4g]", count, upper/math.Pow(2, 1./8), upper))
		key, left = key+1, left-1
	}
	want := []string{"2 in (0.0009766, 0.001065]", "4 in (0.002762, 0.003012]", "2 in (0.2293, 0.25]", "2 in (6889, 7512]"}
	if !slices.Equal(got, want) || h.GetZeroCount() != 2 || h.GetSampleCount() != 12 || h.GetSchema() != 3 {
		t.Errorf("got %q, %d at zero, %d in all; want %q, 2, 12", got, h.GetZeroCount(), h.GetSampleCount(), want)
	}
}

// BenchmarkBatch is the price of a batch of tasks in one queue.
func BenchmarkBatch(b *testing.B) {
	m := New(Options{Inspector: &asked{}})
	b.ReportAllocs()
	for b.Loop() {
		m.Commit(time.Millisecond, 300)
		m.Enqueued("mail", "welcome", 100)
		m.Attempts("mail", "welcome", task.AttemptSucceeded, 100)
		for i := range task.Millis(16) {
			m.Waited("mail", 3+i, 6)
			m.Ran("mail", 4+i, 6)
		}
	}
}
