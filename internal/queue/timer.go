package queue

import "github.com/penstock-io/penstock/internal/task"

// timers is one heap of slots by timerAt: run-at of scheduled tasks, ends of
// unary leases, attempt timeouts and deadlines of running ones. A slot stands in
// it at most once; a lease of a session gets in only once it is long.
type timers struct {
	slab *slab
	heap []uint32
}

func (t *timers) next() task.Time {
	if len(t.heap) == 0 {
		return 0
	}
	return t.slab.at(t.heap[0]).timerAt
}

// set arms, moves or (at = 0) disarms the slot's timer.
func (t *timers) set(i uint32, at task.Time) {
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
	t.heap = append(t.heap, i)
	s.timer = uint32(len(t.heap))
	t.up(len(t.heap) - 1)
}

// pop takes the first slot whose time has come.
func (t *timers) pop(now task.Time) (uint32, bool) {
	if len(t.heap) == 0 || t.slab.at(t.heap[0]).timerAt > now {
		return NoSlot, false
	}
	i := t.heap[0]
	t.remove(0)
	return i, true
}

func (t *timers) remove(p int) {
	s := t.slab.at(t.heap[p])
	s.timer, s.timerAt = 0, 0
	last := len(t.heap) - 1
	if p != last {
		t.heap[p] = t.heap[last]
		t.slab.at(t.heap[p]).timer = uint32(p + 1)
	}
	t.heap = t.heap[:last]
	if p != last {
		t.down(p)
		t.up(p)
	}
}

func (t *timers) less(a, b uint32) bool {
	x, y := t.slab.at(a), t.slab.at(b)
	return x.timerAt < y.timerAt || x.timerAt == y.timerAt && x.seq < y.seq
}

func (t *timers) swap(a, b int) {
	t.heap[a], t.heap[b] = t.heap[b], t.heap[a]
	t.slab.at(t.heap[a]).timer = uint32(a + 1)
	t.slab.at(t.heap[b]).timer = uint32(b + 1)
}

func (t *timers) up(p int) {
	for p > 0 {
		q := (p - 1) / 2
		if !t.less(t.heap[p], t.heap[q]) {
			return
		}
		t.swap(p, q)
		p = q
	}
}

func (t *timers) down(p int) {
	for {
		c := 2*p + 1
		if c >= len(t.heap) {
			return
		}
		if c+1 < len(t.heap) && t.less(t.heap[c+1], t.heap[c]) {
			c++
		}
		if !t.less(t.heap[c], t.heap[p]) {
			return
		}
		t.swap(p, c)
		p = c
	}
}
