package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/queue/queuetest"
	"github.com/penstock-io/penstock/internal/task"
)

// finish enqueues and completes n tasks, each with a result of so many bytes.
func (b *bench) finish(n, result int) []task.ID {
	b.Helper()
	ids := b.enqueue(make([]task.Spec, n)...)
	for _, t := range b.lease(n, task.Hour) {
		if c := b.report(task.Outcome{Token: t, Result: make([]byte, result)}); c != task.OK {
			b.Fatal(c)
		}
	}
	return ids
}

// finishAtOnce is finish with one report for all.
func (b *bench) finishAtOnce(n, result int) (ids []task.ID) {
	b.Helper()
	ids = b.enqueue(make([]task.Spec, n)...)
	r := &task.OutcomeBatch{Codes: make([]task.Code, n)}
	for _, t := range b.lease(n, task.Hour) {
		r.Outcomes = append(r.Outcomes, task.Outcome{Token: t, Result: make([]byte, result)})
	}
	b.apply(queue.Command{Op: queue.OpReport, Report: r})
	return ids
}

// kept is what the segments hold in bytes.
func (b *bench) kept() (bytes int64) {
	for _, s := range b.M.Segments() {
		bytes += s.Bytes
	}
	return bytes
}

// History never takes more than an eighth beyond what it may, however small that
// is: segments of 64 MiB kept 30 times a setting of 2 MiB.
func TestHistoryKeepsToItsBytes(t *testing.T) {
	f := func(allowed int64) {
		t.Helper()
		b := &bench{t, queuetest.NewRig(queue.Config{Partition: 1, HistoryBytes: allowed}, 1_000_000)}
		first := b.finish(1, 10)[0]
		for b.kept() < allowed*3/4 {
			b.finish(20, 4000)
		}
		for range 100 {
			b.finish(20, 4000)
			if got := b.kept(); got > allowed*9/8 || got < allowed*3/4 {
				t.Fatalf("%d bytes of history are kept, %d allowed", got, allowed)
			}
		}
		if e := b.change(task.VerbRetry, first); e[0] == nil || e[0].Code != task.NotFound {
			t.Errorf("the first task is still there: %v", e[0])
		}
	}
	f(2 << 20)
	f(512 << 10)
}

// Tasks that finish all at once fill several segments: of one that took them all
// nothing would be left.
func TestHistoryOfABatchGoesInParts(t *testing.T) {
	const allowed = 2 << 20
	b := &bench{t, queuetest.NewRig(queue.Config{Partition: 1, HistoryBytes: allowed}, 1_000_000)}
	for range 3 {
		b.finishAtOnce(1000, 4000)
		b.finish(1, 10)
		if got := b.kept(); got > allowed || got < allowed*3/4 {
			t.Fatalf("%d bytes of history are kept, %d allowed", got, allowed)
		}
	}
}

// Many retentions have a segment open each; together they keep to the setting.
func TestHistoryOfManyRetentionsKeepsToItsBytes(t *testing.T) {
	const allowed = 1 << 20
	b := &bench{t, queuetest.NewRig(queue.Config{Partition: 1, HistoryBytes: allowed}, 1_000_000)}
	for i := range 200 {
		keep := task.Hour + task.Millis(i%16)
		b.apply(queue.Command{Op: queue.OpSetQueue, SetQueue: &queue.SetQueue{Name: "q", Patch: task.QueuePatch{Retention: &keep}}})
		b.finish(10, 4000)
		if got := b.kept(); got > allowed*9/8 {
			t.Fatalf("%d bytes of history are kept, %d allowed", got, allowed)
		}
	}
}

// A lower setting holds for the history that is there: its segments, the open
// one too, are larger than those of the new setting, and go whole.
func TestHistoryShrinksToALowerSetting(t *testing.T) {
	b := &bench{t, queuetest.NewRig(queue.Config{Partition: 1, HistoryBytes: 64 << 20}, 1_000_000)}
	for range 6 {
		b.finish(1000, 4000)
	}
	b.Cfg.HistoryBytes = 1 << 20
	if err := b.Reopen(true); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b.Now += 1000
		b.apply(queue.Command{})
	}
	if got := b.kept(); got > 1<<20 {
		t.Errorf("%d bytes are kept of a history that may take 1 MiB now", got)
	}
}
