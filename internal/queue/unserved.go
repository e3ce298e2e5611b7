package queue

import "github.com/penstock-io/penstock/internal/task"

// giveUpUnserved takes tasks to the dead letters that no worker has served for
// as long as their queue allows. It looks at a bounded number of types a tick,
// and goes on with the next.
func (m *Machine) giveUpUnserved() {
	left := unservedBatchMax
	at := &m.unservedAt
	wrapped := false
	for n := 0; n < unservedTypesMax && left > 0; n++ {
		for at[0] < len(m.queues) && at[1] >= len(m.queues[at[0]].typeList) {
			at[0], at[1] = at[0]+1, 0
		}
		if at[0] >= len(m.queues) {
			if wrapped || n > 0 {
				at[0], at[1] = 0, 0
				return
			}
			at[0], at[1], wrapped = 0, 0, true
			continue
		}
		t := m.queues[at[0]].typeList[at[1]]
		at[1]++
		left = m.giveUpType(t, left)
	}
}

func (m *Machine) giveUpType(t *typeOf, left int) int {
	limit := t.queue.state.Config.Unserved
	if limit == 0 {
		limit = task.DefaultUnserved
	}
	if t.open == 0 || t.queue.shut != 0 || t.lastServed(m.now, m.stopped).Add(limit) > m.now {
		return left
	}
	for g := t.groups; g != nil; {
		next := g.next
		for left > 0 && g.lanes.len() > 0 {
			l := g.lanes.items[0].lane
			if m.park(l) { // whoever holds it back, it is not for want of a worker
				continue
			}
			if l.stored {
				m.urge(l, nil)
				break
			}
			i := m.first(l)
			if s := m.slab.at(i); s.state == slotHeld || s.ready.Add(limit) > m.now {
				break
			}
			m.die(i, "no worker serves this type: none came within "+itoa(int(limit/task.Second))+" s", nil)
			left--
		}
		g = next
	}
	return left
}
