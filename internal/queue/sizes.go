package queue

// Sizes is how much a Machine holds of each kind: when every task has ended and
// every session is gone, none of it may be left. It is for tests.
type Sizes struct {
	Tasks, Indexed, Timers, Waiting int
	Lanes, Types, Groups            int
	Crews, Menus, Serves            int
	Fading, Low, Urged, Wakes       int
	Loads, Reserved, Reading        int
	Policies, Sessions, Leases      int
	Producers, Idems, Segments      int
	Away, Over                      int
	Calendar, Waits, Briefs         int
	Lists, Awaited, LostNumbers     int
}

// Sizes counts.
func (m *Machine) Sizes() Sizes {
	z := Sizes{
		Tasks: m.slab.used, Indexed: m.index.n, Timers: m.timers.heap.len(), Waiting: m.waiting,
		Lanes: len(m.lanes) - len(m.freeLanes), Fading: len(m.fading), Low: m.low.len(), Urged: m.urged.len(), Wakes: m.wakes.len(),
		Loads: len(m.loads), Reserved: m.reserved, Reading: m.reading,
		Policies: len(m.policies.find), Sessions: m.openCount, Leases: m.unary.running,
		Producers: len(m.producers.find), Idems: len(m.idems.got), Segments: len(m.history.closed),
		Away: len(m.restart.away), Over: len(m.restart.over),
		Calendar: m.calendar.heap.len(), Waits: len(m.expiry.after), Briefs: m.idems.brief.find.n + len(m.idems.brief.buckets),
		Crews: len(m.crews) - len(m.freeCrews), Serves: len(m.serves) + len(m.naming) + len(m.servesAll.menus),
		Lists: len(m.lists.all) - len(m.lists.free), Awaited: len(m.awaited), LostNumbers: len(m.sessions) - m.openCount - len(m.freeNos),
	}
	for _, s := range m.history.open {
		if s.Count > 0 {
			z.Segments++
		}
	}
	for _, s := range m.sessions {
		if s != nil {
			z.Leases += s.running
		}
	}
	for _, q := range m.queues {
		if q == nil {
			continue
		}
		z.Types += len(q.typeList)
		z.Menus += len(q.menus)
		for p := range q.levels {
			z.Groups += q.levels[p].len()
		}
	}
	return z
}

// Trim gives back what a busier time has left, if there is no task in memory and no
// lane. It returns whether that is so.
func (m *Machine) Trim() bool {
	if m.slab.used > 0 || len(m.lanes) > len(m.freeLanes) || len(m.restart.away) > 0 || len(m.loads) > 0 {
		return false
	}
	m.slab.trim()
	m.index = newIndex()
	m.lanes, m.freeLanes, m.rooms, m.lookahead = nil, nil, nil, lookahead{}
	return true
}
