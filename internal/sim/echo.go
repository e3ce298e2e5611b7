package sim

import (
	"context"
	"fmt"

	"github.com/penstock-io/penstock/internal/task"
)

// Idempotency keys that are used again: the key holds to the later of its window
// and the end of its task, and no longer.

// echoKey is a key and what was last enqueued under it.
type echoKey struct {
	name  string
	queue string
	id    task.ID
	until task.Time // end of the window
}

// echo enqueues under a key, for the first time or again, and waits for the
// answer.
func (w *world) echo() {
	var e *echoKey
	if len(w.echoed) < 3 || w.more.IntN(4) == 0 && len(w.echoed) < 12 {
		e = &echoKey{name: fmt.Sprint("e", len(w.echoed)), queue: queueNames[w.more.IntN(2)]}
		w.echoed = append(w.echoed, e)
	} else {
		e = w.echoed[w.more.IntN(len(w.echoed))]
	}
	window := []task.Millis{1, 400, 20_000, 90_000}[w.more.IntN(4)] // those over a minute have an index
	s := task.Spec{Type: typeNames[0], Priority: 5, Idempotency: e.name, IdempotencyFor: window, Payload: []byte("echo/" + e.name)}
	if w.more.IntN(2) == 0 {
		s.Delay = task.Millis(1 + w.more.IntN(30_000))
	}
	x := w.led.sent[string(s.Payload)]
	if x == nil {
		x = &sent{key: string(s.Payload), queue: e.queue, echo: true}
		w.led.sent[x.key] = x
	}
	x.spec, x.firstSent = s, 0
	held := e.id != (task.ID{}) && w.live(e.id) // a task that lives now may have ended by the answer
	b := &task.EnqueueBatch{Queue: e.queue, Specs: []task.Spec{s}}
	answered := false
	b.Done = func(*task.EnqueueBatch) { answered = true }
	now := w.now
	w.sys.Enqueue(b)
	for i := 0; i < 50 && !answered; i++ {
		w.sys.Step()
	}
	if w.died() || !answered || b.Err != nil || b.Results[0].Err != nil {
		w.log("echo %s: answered %v: %v %+v", e.name, answered, b.Err, b.Results)
		return
	}
	r := b.Results[0]
	w.log("echo %s: %v, existing %v", e.name, r.ID, r.Existing)
	touched := false
	if t := w.led.tasks[e.id]; t != nil {
		touched = t.touched(x)
	}
	switch {
	case r.Existing && r.ID != e.id:
		w.led.cry("echo", "key %s holds %v, and a repeat got %v", e.name, e.id, r.ID)
	case r.Existing && w.clocks.set == 0 && !touched && now >= e.until.Add(task.Second) && !held:
		w.led.cry("echo", "key %s is held %d ms after its window by %v, which has ended", e.name, now.Sub(e.until), e.id)
	case r.Existing:
	case e.id != (task.ID{}) && !touched && (w.clocks.set == 0 && now < e.until || w.live(e.id)):
		w.led.cry("echo", "key %s was given to %v while %v had it", e.name, r.ID, e.id)
	}
	if !r.Existing {
		e.id, e.until = r.ID, now.Add(window)
		w.led.acked(x, r)
	}
}

// live says that the task has not ended.
func (w *world) live(id task.ID) bool {
	in, err := w.sys.Get(context.Background(), id)
	return err == nil && !in.State.Final()
}
