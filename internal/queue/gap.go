package queue

import "github.com/penstock-io/penstock/internal/task"

// stoodStill gives everybody who depends on the owner the time back that the owner
// itself was stopped for: nobody could be heard, so nobody is to blame. Leases,
// timeouts and what waits for workers to come are pushed by as much. A session gets
// its whole TTL anew, as its connection may have to be made again; but one that was
// not heard of since an earlier gap gets no more than the time back, or an owner
// that stumbles again and again would never miss a worker. A deadline is the user's
// moment and stays.
func (m *Machine) stoodStill(d task.Millis) {
	if d <= 0 {
		return
	}
	m.giveTime(&m.unary, d)
	for _, s := range m.sessions {
		if s != nil {
			if s.beat = min(s.beat.Add(d), m.now); !s.spared {
				s.beat, s.spared = m.now, true
			}
			m.giveTime(s, d)
		}
	}
	m.stopped = m.now
	m.restart.giveTime(m, d)
}

// giveTime pushes the ends of what the session runs.
func (m *Machine) giveTime(s *session, d task.Millis) {
	for i := s.head; i != NoSlot; i = m.slab.at(i).next {
		x := m.slab.at(i)
		x.stood = uint32(min(uint64(x.stood)+uint64(d), 1<<32-1))
		if x.leaseEnd != 0 {
			x.leaseEnd = x.leaseEnd.Add(d)
			if x.flags&FlagClaim != 0 {
				m.putClaim(i, s)
			}
		}
		if x.timer != 0 {
			m.armLease(i)
		}
	}
}

// timeoutEnd is when a running task has run for as long as it may, as its session
// sees it; 0 = it has no timeout.
func (m *Machine) timeoutEnd(x *slot) task.Time {
	r := m.rulesOf(x)
	if r.timeout == 0 {
		return 0
	}
	end := x.started.Add(r.timeout + task.Millis(x.stood))
	if x.session != 0 {
		end = end.Add(timeoutGrace)
	}
	return end
}
