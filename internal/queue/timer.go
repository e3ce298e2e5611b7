package queue

import "github.com/penstock-io/penstock/internal/task"

// timers is one heap of slots by timerAt: run-at of scheduled tasks, ends of
// unary leases, attempt timeouts and deadlines of running ones. A slot stands in
// it at most once; a lease of a session gets in only once it is long.
type timers struct {
	slab *slab
	heap heap[Slot, timerOrder]
}

// timerOrder is the order of slots by their timers.
type timerOrder struct{ slab *slab }

func (o timerOrder) less(a, b Slot) bool {
	x, y := o.slab.at(a), o.slab.at(b)
	return x.timerAt < y.timerAt || x.timerAt == y.timerAt && x.seq < y.seq
}

func (o timerOrder) placed(i Slot, pos int) { o.slab.at(i).timer = uint32(pos) }

func newTimers(b *slab) timers {
	return timers{slab: b, heap: heap[Slot, timerOrder]{by: timerOrder{b}}}
}

func (t *timers) next() task.Time {
	if t.heap.len() == 0 {
		return 0
	}
	return t.slab.at(t.heap.items[0]).timerAt
}

// set arms, moves or (at = 0) disarms the slot's timer.
func (t *timers) set(i Slot, at task.Time) {
	s := t.slab.at(i)
	if s.timer != 0 {
		if at == s.timerAt {
			return
		}
		t.remove(int(s.timer - 1))
	}
	if at == 0 {
		return
	}
	s.timerAt = at
	t.heap.push(i)
}

// pop takes the first slot whose time has come.
func (t *timers) pop(now task.Time) (Slot, bool) {
	if at := t.next(); at == 0 || at > now {
		return NoSlot, false
	}
	i := t.heap.items[0]
	t.remove(0)
	return i, true
}

func (t *timers) remove(p int) {
	i := t.heap.items[p]
	t.heap.remove(p)
	t.slab.at(i).timerAt = 0
}
