package main

import (
	"context"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

const (
	machineBatch = 100 // tasks a command: what a busy loop gathers
	turnsPerMs   = 20  // about what the machine does
)

// runMachine measures the pure machine by a Go benchmark.
func runMachine(context.Context, *env) (row, error) {
	var failed error
	res := testing.Benchmark(func(b *testing.B) { failed = benchmarkMachine(b) })
	if failed != nil {
		return row{}, failed
	}
	r := newRow("")
	r.Durable = false
	tasks := float64(res.N) * machineBatch
	r.Seconds = res.T.Seconds()
	r.Rate = tasks / r.Seconds
	r.Samples = uint64(tasks)
	r.ServerCPU = r.Seconds * 1e6 / tasks
	r.ServerAllocs = float64(res.MemAllocs) / tasks
	r.judge(r.Rate >= 2_000_000 && r.ServerAllocs < 0.001, "≥ 2,000,000/s, no allocation")
	return r, nil
}

// benchmarkMachine takes a batch of tasks through their whole life, b.N times.
func benchmarkMachine(b *testing.B) error {
	now := task.Time(1_000_000_000_000)
	m := queue.New(queue.Config{Epoch: 1, Nonce: 1}, &queue.Snapshot{}, now)
	var out queue.Output
	open := &queue.Open{Options: &task.SessionOptions{
		ID: "bench", Queues: []task.QueueWeight{{Queue: queueName}}, Concurrency: machineBatch,
	}}
	m.Apply(now, []queue.Command{{Op: queue.OpOpen, Open: open}}, &out)
	if open.Err != nil {
		return open.Err
	}
	in := &task.EnqueueBatch{Queue: queueName, Specs: make([]task.Spec, machineBatch), Results: make([]task.Enqueued, machineBatch)}
	for i := range in.Specs {
		in.Specs[i] = task.Spec{Type: workType.Type(), Payload: noise[:payloadBytes], Priority: task.DefaultPriority}
	}
	done := &task.OutcomeBatch{Outcomes: make([]task.Outcome, machineBatch), Codes: make([]task.Code, machineBatch)}
	enqueue := []queue.Command{{Op: queue.OpBeat, Session: open.Session}, {Op: queue.OpEnqueue, Enqueue: in}}
	lease := []queue.Command{{Op: queue.OpDispatch, Session: open.Session, N: machineBatch}}
	report := []queue.Command{{Op: queue.OpReport, Session: open.Session, Report: done}}
	b.ReportAllocs()
	for turn := range b.N {
		if turn%turnsPerMs == 0 {
			now++
		}
		m.Apply(now, enqueue, &out)
		m.Apply(now, lease, &out)
		if len(out.Leased) != machineBatch {
			return fmt.Errorf("%d of %d tasks leased", len(out.Leased), machineBatch)
		}
		for i := range out.Leased {
			done.Outcomes[i] = task.Outcome{Token: out.Leased[i].Token, Kind: task.OutcomeComplete, Started: true}
		}
		m.Apply(now, report, &out)
		if len(out.Finished.Puts) != machineBatch {
			return fmt.Errorf("%d of %d tasks finished", len(out.Finished.Puts), machineBatch)
		}
	}
	return nil
}
