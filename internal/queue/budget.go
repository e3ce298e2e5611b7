package queue

import "github.com/penstock-io/penstock/internal/task"

// unaryMax is how many leases outside any session may run at once: half of what
// memory may hold, so that lanes always find the other half. They take of the same
// budget: nobody's credit bounds them.
func (m *Machine) unaryMax() int { return max(m.cfg.WindowTasks/2, task.LeaseMax) }

// unaryRoom is how many tasks a unary lease may take now, at most.
func (m *Machine) unaryRoom(c *Lease) int {
	left := m.unaryMax() - m.unary.running
	if left <= 0 {
		c.Err = task.Errorf(task.Exhausted, "%d tasks of this partition are leased outside any session, the most there can be: complete or release some, take shorter leases, or keep a session", m.unary.running)
	}
	return min(left, c.Max)
}
