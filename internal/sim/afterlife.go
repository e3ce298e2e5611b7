package sim

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// What is left when everything has ended, is purged, and all that is kept for a
// time has had its time: nothing but meta and queues, in the store as in memory.

// sized is a System that tells how much it holds in memory.
type sized interface{ Sizes() []string }

// afterlife sees to it that nothing is kept any more.
func (w *world) afterlife() {
	ctx := context.Background()
	w.log("afterlife")
	for _, k := range w.workers {
		if k.s != nil {
			k.s.Close()
			k.cutOff()
		}
	}
	for _, q := range queueNames {
		if _, err := w.sys.Purge(ctx, q, []task.State{task.Ready, task.Scheduled, task.Dead}); err != nil && task.CodeOf(err) != task.NotFound {
			w.led.cry("leftovers", "the purge of queue %q at the end: %v", q, err)
		}
	}
	keep := max(w.shape.keep, task.DefaultRetention) + task.DefaultIdempotency + 2*task.Hour + w.leap()
	for end := w.now.Add(keep); w.now < end; {
		w.now = w.now.Add(2 * task.Hour)
		w.rest()
	}
	for range 5 { // what was found last is swept in steps
		w.now = w.now.Add(20 * task.Minute)
		w.rest()
	}
	if len(w.led.cries) > 0 {
		return
	}
	if s, ok := w.sys.(sized); ok {
		for p, got := range s.Sizes() {
			if want := fmt.Sprintf("%+v", node.Sizes{}); got != want {
				w.led.cry("leftovers", "partition %d has nothing to do and holds %s", p, got)
			}
		}
	}
	w.checkStore()
}

// leap is how far the clock on the wall is behind time.
func (w *world) leap() task.Millis { return max(0, -w.clocks.skew) }

// checkStore closes the node and looks for records that nothing needs any more.
func (w *world) checkStore() {
	ctx := context.Background()
	if err := w.sys.Close(ctx); err != nil {
		w.led.cry("leftovers", "close: %v", err)
		return
	}
	for p := range uint16(w.parts) {
		part, err := w.mem.Acquire(ctx, p, "inspector")
		if err != nil {
			w.led.cry("leftovers", "acquire partition %d: %v", p, err)
			return
		}
		for _, c := range record.Classes {
			if c == record.ClassMeta || c == record.ClassQueue {
				continue
			}
			from := record.AppendPrefix(nil, p, c)
			it := part.Scan(from, record.AppendPrefixEnd(nil, from))
			n := 0
			for ; it.Next(); n++ {
				if n == 0 {
					from = append(from[:0], it.Key()...)
				}
			}
			if err := it.Close(); err != nil {
				w.led.cry("leftovers", "scan the %s records: %v", c, err)
			}
			if n > 0 {
				w.led.cry("leftovers", "when all is over %d %s records are left, such as %s", n, c, hex.EncodeToString(from))
			}
		}
	}
}
