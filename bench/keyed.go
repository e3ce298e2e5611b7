package main

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock"
)

const (
	keyedFor      = time.Minute // unless -duration says otherwise
	keyedBeside   = 10 * time.Second
	keyedCallers  = 16
	keyedBatch    = 100
	keyedWindow   = 10 * time.Second
	keyedKept     = time.Minute    // ends in no run beside: the longest of those that are in memory
	keyedLong     = 24 * time.Hour // stands in the store alone
	keyedRate     = 20_000         // tasks a second, offered
	keyedRateMin  = 19_800
	keyedKeyBytes = 24
)

// keyedRun is one steady state of enqueues with idempotency keys.
type keyedRun struct {
	name    string
	window  time.Duration // 0 = without keys
	d       time.Duration
	refused atomic.Int64
	began   time.Time
	next    atomic.Int64
}

// runKeyed offers 20,000 tasks a second whose keys hold for ten seconds, and as many
// whose keys outlive the run: what is between them is what it costs that keys end.
func runKeyed(ctx context.Context, e *env) (row, error) {
	d := keyedFor
	if e.asked > 0 {
		d = e.asked
	}
	beside := min(keyedBeside, d)
	plain := keyedRun{name: "plain", d: beside}
	bare, err := plain.on(ctx, e)
	if err != nil {
		return row{}, err
	}
	long := keyedRun{name: "long", window: keyedLong, d: beside}
	stored, err := long.on(ctx, e)
	if err != nil {
		return row{}, err
	}
	minute := keyedRun{name: "kept", window: keyedKept, d: beside}
	kept, err := minute.on(ctx, e)
	if err != nil {
		return row{}, err
	}
	short := keyedRun{name: "ending", window: keyedWindow, d: d}
	r, err := short.on(ctx, e)
	if err != nil {
		return row{}, err
	}
	refused := float64(short.refused.Load() + minute.refused.Load() + long.refused.Load())
	r.addDetail("refused", refused)
	r.addDetail("plain_cpu_us", bare.ServerCPU)
	r.addDetail("long_cpu_us", stored.ServerCPU)
	r.addDetail("kept_cpu_us", kept.ServerCPU)
	// Not judged: on a busy machine two runs differ by more than the few percent that it is.
	cost := 100 * (r.ServerCPU - kept.ServerCPU) / kept.ServerCPU
	r.addDetail("expiry_percent", cost)
	r.judge(refused == 0 && r.Rate >= keyedRateMin, thousands(keyedRate)+"/s, none refused")
	return r, nil
}

func (k *keyedRun) on(ctx context.Context, e *env) (row, error) {
	whole := e.current
	e.current = whole + "-" + k.name // a profile each
	defer func() { e.current = whole }()
	return e.on(ctx, true, func(sys *system) (row, error) { return k.measure(ctx, e, sys) })
}

// measure has callers enqueue while a worker finishes the tasks beside them.
func (k *keyedRun) measure(ctx context.Context, e *env, sys *system) (row, error) {
	w := startWorker(ctx, sys.client, nil)
	var sent atomic.Int64
	lat := new(histogram)
	whole := context.WithoutCancel(ctx)
	k.began = time.Now()
	all := startCallers(ctx, keyedCallers, func(ctx context.Context) error {
		first := k.next.Add(keyedBatch) - keyedBatch
		at := k.began.Add(time.Duration(first) * time.Second / keyedRate) // a call that is late was to begin then
		if sleep(ctx, time.Until(at)) != nil {
			return nil
		}
		n, err := k.enqueue(whole, sys.client, first)
		lat.record(time.Since(at))
		sent.Add(n)
		return err
	})
	if k.window > 0 { // until as many end as begin, and the last level has keys
		if err := sleep(ctx, keyedWindow); err != nil {
			return row{}, errors.Join(err, all.close(), w.close())
		}
	}
	r, err := e.windowFor(ctx, k.d, lat, sys.counting(finished), sys.clientUsage())
	err = errors.Join(err, all.close())
	if err == nil {
		err = sys.drained(ctx, sent.Load())
	}
	return r, errors.Join(err, w.close())
}

// enqueue sends a batch and says how many of it were taken. One that is refused for
// want of room is counted, and no error.
func (k *keyedRun) enqueue(ctx context.Context, c *penstock.Client, first int64) (taken int64, err error) {
	raws := make([]penstock.Raw, keyedBatch)
	for i := range raws {
		raws[i] = penstock.Raw{Type: workType.Type(), Payload: newPayload()}
		if k.window > 0 {
			raws[i].Options = []penstock.Option{penstock.Idempotency(keyedName(first+int64(i)), k.window)}
		}
	}
	got, err := c.EnqueueMany(ctx, raws, penstock.Queue(queueName))
	if err != nil && !errors.Is(err, penstock.ErrExhausted) {
		return 0, err
	}
	for i := range got {
		switch {
		case got[i].Err == nil:
			taken++
		case errors.Is(got[i].Err, penstock.ErrExhausted):
			k.refused.Add(1)
		default:
			return taken, got[i].Err
		}
	}
	return taken, nil
}

// keyedName is the nth idempotency key.
func keyedName(n int64) string {
	s := strconv.FormatInt(n, 10)
	return "order-000000000000000000"[:keyedKeyBytes-len(s)] + s
}
