package sim

import (
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// Two owners: a process that was only paused goes on after another has acquired
// its partitions. It may hand out what it has in memory, and nothing that it
// writes may be accepted (I2).

// ghostSteps is how many turns the old process has. With more it would notice
// that it lost its partitions, and acquire them again.
const ghostSteps = 3

// takeOver leaves the process as it is and lets another open the same store.
func (w *world) takeOver() {
	w.old = w.sys
	w.fell(false)
	w.reborn("another process takes over")
}

// serves says that every partition is there: one that is away would be acquired
// anew.
func serves(s System) bool {
	x, ok := s.(sized)
	return ok && !slices.Contains(x.Sizes(), "")
}

// ghost lets the old process go on.
func (w *world) ghost() {
	if w.old == nil {
		return
	}
	old := w.old
	w.old = nil
	if !serves(old) {
		return
	}
	refused := func(what string, err *task.Error) {
		if err == nil {
			w.led.cry("fenced", "an earlier owner had %s accepted", what)
		}
	}
	b := &task.EnqueueBatch{Queue: queueNames[w.more.IntN(2)], Specs: []task.Spec{{Type: typeNames[0], Priority: 5, Payload: []byte("ghost")}}}
	b.Done = func(b *task.EnqueueBatch) { refused("an enqueue", b.Err) }
	old.Enqueue(b)
	for _, t := range w.led.order {
		if h := t.held; h != nil && !h.over && h.life < w.life && w.more.IntN(2) == 0 {
			o := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: h.d.Token, Started: true, Result: []byte("by a ghost")}}}
			o.Done = func(o *task.OutcomeBatch) {
				if o.Err == nil && o.Codes[0] == task.OK {
					refused("the outcome of "+t.key, nil)
				}
			}
			old.Report(o)
			break
		}
	}
	for i := 0; i < ghostSteps && serves(old); i++ {
		old.Step()
	}
	w.log("an earlier owner went on for a while")
}
