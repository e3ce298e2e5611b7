package queue

import "github.com/penstock-io/penstock/internal/task"

// What runs is in memory until it ends, and takes of the same budget as what waits.
// So that lanes always find a quarter of what memory may hold, leases of sessions
// take half at most, and leases outside any session a quarter. Nobody waits for the
// other: who has as much as may be gets more when some of it ends.

// heldMax is how many leases of sessions may run at once.
func (m *Machine) heldMax() int { return max(m.cfg.WindowTasks/2, task.LeaseMax) }

// unaryMax is how many leases outside any session may.
func (m *Machine) unaryMax() int { return max(m.cfg.WindowTasks/4, task.LeaseMax) }

// tasksMax is how many tasks may be in memory beside those that run.
func (m *Machine) tasksMax() int {
	return max(m.cfg.WindowTasks-m.unary.running-m.held, m.cfg.WindowTasks/4)
}

// HeldLeft is how many tasks more may be leased to sessions, over all of them.
func (m *Machine) HeldLeft() int { return max(m.heldMax()-m.held, 0) }

// heldRoom is how many tasks more the session may have leased.
func (m *Machine) heldRoom(s *session) int {
	return max(min(m.HeldLeft(), task.HeldMax-s.running), 0)
}

// unaryRoom is how many tasks a unary lease may take now, at most.
func (m *Machine) unaryRoom(c *Lease) int {
	left := m.unaryMax() - m.unary.running
	if left <= 0 {
		c.Err = task.Errorf(task.Exhausted, "%d tasks of this partition are leased outside any session, the most there can be: complete or release some, take shorter leases, or keep a session", m.unary.running)
	}
	return min(left, c.Max)
}
