package queue

import "github.com/penstock-io/penstock/internal/task"

// giveUpUnserved takes tasks to the dead letters that no worker has served for
// as long as their queue allows.
func (m *Machine) giveUpUnserved() {
	for _, s := range m.sessions {
		if s != nil {
			m.countServed(s)
		}
	}
	left := unservedBatchMax
	for _, q := range m.queues {
		if q == nil || q.inReady == 0 {
			continue
		}
		limit := q.state.Config.Unserved
		if limit == 0 {
			limit = task.DefaultUnserved
		}
		for _, l := range q.lanes {
			for left > 0 && l.heap != 0 && l.lastServed.Add(limit) <= m.now {
				i := m.first(l)
				if s := m.slab.at(i); s.state == slotHeld || s.ready.Add(limit) > m.now {
					break
				}
				m.die(i, "no worker serves this type: none came within "+itoa(int(limit/task.Second))+" s", nil)
				left--
			}
		}
	}
}
