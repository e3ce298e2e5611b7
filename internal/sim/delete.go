package sim

import (
	"context"
	"fmt"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// Queues that are made, used for a while and deleted, as producers do that make up
// names. The workers of the world know nothing of them.

// shortLived makes a queue, has some of its tasks run, and deletes it.
func (w *world) shortLived() {
	name := fmt.Sprint("short-", w.dice.IntN(3))
	w.led.purges[name]++ // what a deletion by force leaves elsewhere is as after a purge
	n := 1 + w.dice.IntN(60)
	b := &task.EnqueueBatch{Queue: name, Producer: fmt.Sprint(name, w.dice.IntN(1<<30))}
	for i := range n {
		s := task.Spec{Type: fmt.Sprint("t", w.dice.IntN(3)), Number: uint64(i + 1), Payload: make([]byte, w.dice.IntN(6<<10))}
		if s.Delay = task.Millis(w.dice.IntN(3)) * 20_000; i%5 == 0 {
			s.Idempotency = fmt.Sprint("k", i)
		}
		b.Specs = append(b.Specs, s)
	}
	if !w.enqueueAll(b) {
		return
	}
	ds, err := w.sys.Lease(context.Background(), task.LeaseRequest{Queues: []task.QueueWeight{{Queue: name}}, Max: 1 + w.dice.IntN(5)})
	if err != nil {
		w.log("lease of queue %q: %v", name, err)
		return
	}
	w.wantConflict(name, len(ds) > 0) // what runs stands against it even by force
	x := &task.OutcomeBatch{Done: func(*task.OutcomeBatch) {}}
	for i, d := range ds {
		x.Outcomes = append(x.Outcomes, task.Outcome{Token: d.Token, Kind: task.OutcomeKind(i % 2), Permanent: true})
	}
	w.sys.Report(x)
	w.rest()
	w.deleteQueue(name)
	for i := range b.Results {
		if id := b.Results[i].ID; b.Results[i].Err == nil {
			if in, err := w.sys.Get(context.Background(), id); task.CodeOf(err) != task.NotFound {
				w.led.cry("deleted", "task %v of the deleted queue %q is found: %v, %v", id, name, in.State, err)
			}
		}
	}
	if _, err := w.sys.Queues(context.Background(), []string{name}); task.CodeOf(err) != task.NotFound {
		w.led.cry("deleted", "queue %q is there after it was deleted: %v", name, err)
	}
	// The next one of its name is new, keys and numbers too.
	b.Specs = b.Specs[:1]
	b.Specs[0].Idempotency = "k0"
	if !w.enqueueAll(b) {
		return
	}
	if q, _ := w.infoOf(name); q.Enqueued != 1 || live(q) != 1 || q.Succeeded+q.Dead != 0 {
		w.led.cry("deleted", "queue %q was deleted and made again: %+v", name, q)
	}
	w.deleteQueue(name)
}

// enqueueAll has a batch taken, and says whether it was.
func (w *world) enqueueAll(b *task.EnqueueBatch) bool {
	done := false
	b.Done = func(*task.EnqueueBatch) { done = true }
	b.Err = nil
	w.sys.Enqueue(b)
	w.rest()
	w.log("enqueue %d to queue %q: %v", len(b.Specs), b.Queue, b.Err)
	return done && b.Err == nil
}

func (w *world) wantConflict(name string, runs bool) {
	if _, err := w.sys.DeleteQueue(context.Background(), name, runs); task.CodeOf(err) != task.Conflict {
		w.led.cry("deleted", "deletion of queue %q with tasks, running %v: %v", name, runs, err)
	}
}

func (w *world) deleteQueue(name string) {
	before, _ := w.infoOf(name)
	n, err := w.sys.DeleteQueue(context.Background(), name, true)
	w.log("delete queue %q: %d, %v", name, n, err)
	if err != nil || n != live(before)+before.Dead {
		w.led.cry("deleted", "deletion of queue %q, %+v: %d, %v", name, before, n, err)
	}
}

// checkDeleted wants nothing under the number of a queue that has no record.
func (w *world) checkDeleted(part store.Partition, p uint16) {
	known := map[queue.QueueNum]bool{}
	each := func(c record.Class, fn func(key, value []byte)) {
		from := record.AppendPrefix(nil, p, c)
		it := part.Scan(from, record.AppendPrefixEnd(nil, from))
		for it.Next() {
			fn(it.Key(), it.Value())
		}
		if err := it.Close(); err != nil {
			w.led.cry("leftovers", "scan the %s records: %v", c, err)
		}
	}
	each(record.ClassQueue, func(key, _ []byte) {
		if num, err := record.ParseQueueKey(key); err == nil {
			known[num] = true
		}
	})
	for _, c := range []record.Class{record.ClassMark, record.ClassBirth, record.ClassChunk, record.ClassTimed, record.ClassCalendar, record.ClassIdem, record.ClassProducer, record.ClassDead} {
		each(c, func(key, _ []byte) {
			if num, ok := record.QueueOf(key); ok && !known[num] {
				w.led.cry("leftovers", "a %s record is left of queue %d, which is gone", c, num)
			}
		})
	}
	idems := 0
	each(record.ClassIdem, func(_, _ []byte) { idems++ })
	each(record.ClassIdemDue, func(key, value []byte) {
		var x queue.IdemDue
		err := record.DecodeIdemDue(key, value, &x)
		if err == nil && known[x.Idem.Queue] || x.Key.At <= w.now { // of a queue that is gone they go when they are due
			idems--
		}
	})
	if idems != 0 {
		w.led.cry("leftovers", "%d more idempotency entries than their index has, in partition %d", idems, p)
	}
}
