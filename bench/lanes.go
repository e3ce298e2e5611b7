package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

const (
	lanesWaiting  = 100_000
	laneBytesMax  = 300
	tasksALane    = 10
	lanesRatioMin = 0.9
)

// otherType is what the worker does not serve.
const otherType = "bench.other"

// runLanes measures a drain by a worker that serves one type, alone and then
// beside 100,000 lanes of another type; and the memory of a waiting lane.
func runLanes(ctx context.Context, e *env) (row, error) {
	n := int64(1_000_000)
	if e.quick {
		n = 200_000
	}
	alone, err := e.on(ctx, true, func(sys *system) (row, error) { return drainOf(ctx, sys, n) })
	if err != nil {
		return row{}, err
	}
	r, err := e.on(ctx, true, func(sys *system) (row, error) {
		if err := fillLanes(ctx, sys, lanesWaiting, 1, otherType); err != nil {
			return row{}, err
		}
		return drainOf(ctx, sys, n)
	})
	if err != nil {
		return row{}, err
	}
	lane := laneBytes()
	r.addDetail("alone_rate", alone.Rate)
	r.addDetail("alone_cpu_us", alone.ServerCPU)
	r.addDetail("lane_bytes", lane)
	r.judge(r.Rate >= lanesRatioMin*alone.Rate && lane <= laneBytesMax, fmt.Sprintf("≥ %.1f of one lane's rate, a lane ≤ %d B", lanesRatioMin, laneBytesMax))
	return r, nil
}

// runKeys measures a drain of 100,000 keys with ten tasks each, against one lane
// of as many tasks.
func runKeys(ctx context.Context, e *env) (row, error) {
	lanes := lanesWaiting
	if e.quick {
		lanes /= 10
	}
	n := int64(lanes) * tasksALane
	alone, err := e.on(ctx, true, func(sys *system) (row, error) { return drainOf(ctx, sys, n) })
	if err != nil {
		return row{}, err
	}
	r, err := e.on(ctx, true, func(sys *system) (row, error) {
		if err := fillLanes(ctx, sys, lanes, tasksALane, workType.Type()); err != nil {
			return row{}, err
		}
		return drainAway(ctx, sys, n)
	})
	r.addDetail("alone_rate", alone.Rate)
	r.addDetail("alone_cpu_us", alone.ServerCPU)
	r.judge(r.Rate >= lanesRatioMin*alone.Rate, fmt.Sprintf("≥ %.1f of one lane's rate", lanesRatioMin))
	return r, err
}

// fillLanes enqueues tasks of many keys, a round over all keys after the other.
func fillLanes(ctx context.Context, sys *system, lanes, each int, typ string) error {
	var next atomic.Int64
	total := int64(lanes * each)
	all := startCallers(ctx, bulkCallers, func(ctx context.Context) error {
		first := next.Add(bulkBatch) - bulkBatch
		if first >= total {
			<-ctx.Done()
			return nil
		}
		ins := make([]penstock.Raw, bulkBatch)
		for i := range ins {
			key := "tenant/user-" + strconv.FormatInt((first+int64(i))%int64(lanes), 10)
			ins[i] = penstock.Raw{Type: typ, Payload: newPayload(), Options: []penstock.Option{penstock.Key(key)}}
		}
		_, err := sys.client.EnqueueMany(context.WithoutCancel(ctx), ins, penstock.Queue(queueName))
		return err
	})
	err := awaitCount(ctx, total, func() (int64, error) {
		if p := all.failed.Load(); p != nil {
			return 0, *p
		}
		return sys.count(ctx, enqueued)
	})
	return errors.Join(err, all.close())
}

func newPayload() []byte {
	w := newWork()
	return []byte(`{"sent":` + strconv.FormatInt(w.Sent, 10) + `,"pad":"` + w.Pad + `"}`)
}

// drainOf fills one lane with n tasks and measures how fast they are finished.
func drainOf(ctx context.Context, sys *system, n int64) (row, error) {
	before, err := sys.count(ctx, enqueued)
	if err != nil {
		return row{}, err
	}
	all := fill(ctx, sys, n, new(histogram))
	err = sys.await(ctx, enqueued, before+n)
	if err := errors.Join(err, all.close()); err != nil {
		return row{}, err
	}
	return drainAway(ctx, sys, n)
}

// drainAway measures how fast a worker finishes n tasks of its type.
func drainAway(ctx context.Context, sys *system, n int64) (row, error) {
	before, err := readMark(sys.counting(finished), sys.clientUsage())
	if err != nil {
		return row{}, err
	}
	w := startWorker(ctx, sys.client, nil)
	err = sys.await(ctx, finished, before.server.Tasks+n)
	var after mark
	if err == nil {
		after, err = readMark(sys.counting(finished), sys.clientUsage())
	}
	if err := errors.Join(err, w.close()); err != nil {
		return row{}, err
	}
	r := after.since(before)
	r.Samples = uint64(n)
	return r, nil
}

// laneBytes is what a lane takes in the machine's memory, without its task.
func laneBytes() float64 {
	heap := func() uint64 {
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	grown := func(key func(i int) string) float64 {
		before := heap()
		m := queue.New(queue.Config{Epoch: 1}, &queue.Snapshot{}, 1)
		var out queue.Output
		in := &task.EnqueueBatch{Queue: queueName, Specs: make([]task.Spec, 1), Results: make([]task.Enqueued, 1)}
		for i := range lanesWaiting {
			in.Specs[0] = task.Spec{Type: otherType, Key: key(i), Priority: task.DefaultPriority}
			m.Apply(1, []queue.Command{{Op: queue.OpEnqueue, Enqueue: in}}, &out)
		}
		after := heap()
		runtime.KeepAlive(m)
		return float64(after) - float64(before)
	}
	few := lanesWaiting / 4_000 // whose tasks are all in memory
	one := grown(func(i int) string { return fmt.Sprintf("tenant/user-%06d", i%few) })
	many := grown(func(i int) string { return fmt.Sprintf("tenant/user-%06d", i) })
	return round((many - one) / lanesWaiting)
}

// runOverdue has 2 million retries fall due while the server is down, and measures
// how soon the first one runs, and what is in memory then.
func runOverdue(ctx context.Context, e *env) (row, error) {
	n := int64(2_000_000)
	if e.quick {
		n = 200_000
	}
	sys, err := e.open(ctx, true)
	if err != nil {
		return row{}, err
	}
	defer func() { _ = sys.close() }()
	due := time.Now().Add(overdueIn(n))
	var taken atomic.Int64
	all := startCallers(ctx, bulkCallers, func(ctx context.Context) error {
		if taken.Add(bulkBatch) > n {
			<-ctx.Done()
			return nil
		}
		ins := make([]work, bulkBatch)
		for i := range ins {
			ins[i] = newWork()
		}
		_, err := workType.EnqueueMany(context.WithoutCancel(ctx), sys.client, ins, penstock.At(due))
		return err
	})
	err = sys.await(ctx, enqueued, n)
	if err := errors.Join(err, all.close()); err != nil {
		return row{}, err
	}
	if err := sys.stop(); err != nil {
		return row{}, err
	}
	if err := sleep(ctx, time.Until(due)+time.Second); err != nil {
		return row{}, err
	}
	at := time.Now()
	again, err := e.openAt(ctx, sys.dir, true)
	if err != nil {
		return row{}, err
	}
	*sys = *again
	w := startWorker(ctx, sys.client, nil)
	err = awaitCount(ctx, 1, func() (int64, error) { return w.handled.Load(), nil })
	first := ms(time.Since(at))
	var u usage
	if err == nil {
		u, err = sys.host.usage()
	}
	if err := errors.Join(err, w.close()); err != nil {
		return row{}, err
	}
	left, err := sys.count(ctx, waiting)
	if err != nil {
		return row{}, err
	}
	r, err := drainAway(ctx, sys, left)
	if err != nil {
		return row{}, err
	}
	r.RSSMB = mib(u.RSSBytes)
	r.addDetail("first_task_ms", first)
	r.judge(first <= overdueFirstMax && r.RSSMB <= overdueRSSMax, fmt.Sprintf("first task ≤ %d ms, ≤ %d MiB then", overdueFirstMax, overdueRSSMax))
	return r, sys.close()
}

const (
	overdueFirstMax = 500
	overdueRSSMax   = 150
)

// overdueIn is long enough to enqueue n tasks.
func overdueIn(n int64) time.Duration { return 5*time.Second + time.Duration(n/100_000)*time.Second }
