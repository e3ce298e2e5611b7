package queue

import (
	"fmt"

	"github.com/penstock-io/penstock/internal/task"
)

// Check verifies the machine's invariants: every task in memory is in exactly
// the lists that its state says, and every count is the count of what it counts.
// It is slow, for tests.
func (m *Machine) Check() error {
	c := checker{m: m, lanes: map[*lane]*laneTally{}, queues: map[*queueOf]*queueTally{}, running: map[*typeOf]int{}}
	return c.run()
}

type laneTally struct{ births, returned, waiting, timed, tasks, scheduled, held int }

type queueTally struct{ ready, running, active, held, births, timed int64 }

type checker struct {
	m      *Machine
	lanes  map[*lane]*laneTally
	queues map[*queueOf]*queueTally

	running   map[*typeOf]int
	inTurnSum int // of lanes that have something for workers that are here
}

func (c *checker) run() error {
	m := c.m
	// By the index: most slots of the slab are free in a test, and one that is used
	// and not indexed is in no count but the slab's.
	waiting, used := 0, 0
	for k, seq := range m.index.keys {
		if seq == 0 {
			continue
		}
		i := m.index.slots[k]
		s := m.slab.at(i)
		if s.state == slotFree || s.seq != seq {
			return fmt.Errorf("task %x: the index says slot %d, which has state %d and task %x", uint64(seq), i, s.state, uint64(s.seq))
		}
		used++
		if s.state != slotRunning {
			waiting++
		} else {
			c.running[m.lanes[s.lane].group.typ]++
		}
		if err := c.slot(i, s); err != nil {
			return err
		}
	}
	if err := c.lists(); err != nil {
		return err
	}
	if err := c.deleted(); err != nil {
		return err
	}
	if err := m.idems.brief.check(m); err != nil {
		return err
	}
	if used != m.slab.used || used != m.index.n {
		return fmt.Errorf("slots: %d indexed, %d used, %d counted by the index", used, m.slab.used, m.index.n)
	}
	if waiting != m.waiting {
		return fmt.Errorf("waiting: %d found, %d counted", waiting, m.waiting)
	}
	for _, l := range m.lanes {
		if l == nil {
			continue
		}
		if err := c.lane(l); err != nil {
			return fmt.Errorf("queue %q priority %d type %q key %q: %w", l.queue().state.Name, l.prio(), l.group.typ.name, l.key, err)
		}
	}
	for _, g := range gates {
		if err := g.check(m); err != nil {
			return err
		}
	}
	for _, q := range m.queues {
		if err := c.queue(q); err != nil {
			return fmt.Errorf("queue %q: %w", q.state.Name, err)
		}
	}
	if c.inTurnSum != m.inTurn {
		return fmt.Errorf("lanes in turn for workers that are here: %d counted, %d found", m.inTurn, c.inTurnSum)
	}
	if err := c.crews(); err != nil {
		return err
	}
	return c.sessions()
}

func (c *checker) slot(i Slot, s *slot) error {
	m := c.m
	if j, ok := m.index.get(s.seq); !ok || j != i {
		return fmt.Errorf("task %x: slot %d is not what the index says (%d, %v)", uint64(s.seq), i, j, ok)
	}
	if s.state == slotLoaded {
		return fmt.Errorf("task %x: loaded for a command and left there", uint64(s.seq))
	}
	l := m.lanes[s.lane]
	lt, qt := c.lanes[l], c.queues[l.queue()]
	if lt == nil {
		lt = &laneTally{}
		c.lanes[l] = lt
	}
	if qt == nil {
		qt = &queueTally{}
		c.queues[l.queue()] = qt
	}
	lt.tasks++
	if s.class.Timed() != (s.class == l.timedClass()) {
		return fmt.Errorf("task %x of class %d stands in a lane of another", uint64(s.seq), s.class)
	}
	if s.class.Timed() {
		lt.timed++
		qt.timed++
		if s.state != slotScheduled {
			qt.active++
		}
	} else {
		qt.births++
	}
	switch s.state {
	case slotReady:
		lt.waiting++
		qt.ready++
		if s.pos != 0 {
			lt.returned++
		} else {
			lt.births++
		}
	case slotScheduled:
		lt.waiting++
		lt.scheduled++
		if s.timer == 0 || s.timerAt != s.due {
			return fmt.Errorf("task %x is scheduled without its timer", uint64(s.seq))
		}
	case slotHeld:
		lt.waiting++
		lt.held++
		lt.returned++
		qt.held++
		if a := m.restart.order[s.session-1]; m.restart.away[a.state.Session] != a {
			return fmt.Errorf("task %x is held for session %q, which is not away", uint64(s.seq), a.state.Session)
		}
	case slotRunning:
		qt.running++
	}
	return nil
}

// lists holds that of every task that may be running a list or a claim tells, and
// lists of nothing else.
func (c *checker) lists() error {
	m := c.m
	left := make([]int, len(m.lists.all)+1)
	for k, seq := range m.index.keys {
		if seq == 0 {
			continue
		}
		s := m.slab.at(m.index.slots[k])
		flies, claimed := s.state == slotRunning || s.state == slotHeld, s.flags&FlagClaim != 0
		if flies != (claimed || s.list != 0) || claimed && s.list != 0 {
			return fmt.Errorf("task %x: state %d, claimed %v, in dispatch list %d", uint64(seq), s.state, claimed, s.list)
		}
		left[s.list]++
	}
	for k := range m.lists.all {
		if l := &m.lists.all[k]; l.left != left[k+1] {
			return fmt.Errorf("dispatch list %+v: %d left, %d found", l.key, l.left, left[k+1])
		}
	}
	return nil
}

// deleted holds that nothing leads to a queue that is gone.
func (c *checker) deleted() error {
	m := c.m
	named, last := map[*queueOf]int{}, QueueNum(0)
	for _, q := range m.queues {
		if st := &q.state; st.Queue <= last || m.numbered[st.Queue] != q || m.byName[st.Name] != q {
			return fmt.Errorf("queue %q, number %d, is not where its number and its name lead", st.Name, st.Queue)
		}
		last = q.state.Queue
	}
	if len(m.numbered) != len(m.queues) || len(m.byName) != len(m.queues) {
		return fmt.Errorf("%d queues, %d by number, %d by name", len(m.queues), len(m.numbered), len(m.byName))
	}
	for _, l := range m.lanes {
		if l != nil && (l.gone || m.numbered[l.queue().state.Queue] != l.queue()) {
			return fmt.Errorf("a lane of queue %q is left, which is gone", l.queue().state.Name)
		}
	}
	for _, l := range m.wakes.items {
		if l.gone {
			return fmt.Errorf("a lane of queue %q is to be woken, which is gone", l.queue().state.Name)
		}
	}
	for _, s := range m.sessions {
		if s == nil {
			continue
		}
		for _, cq := range s.crew.queues {
			q := cq.menu.queue
			named[q]++
			if m.numbered[q.state.Queue] != q {
				return fmt.Errorf("session %d serves queue %q, which is gone", s.no, q.state.Name)
			}
		}
	}
	for _, q := range m.queues {
		if q.named != named[q] {
			return fmt.Errorf("queue %q is named by %d sessions, %d are counted", q.state.Name, named[q], q.named)
		}
	}
	for _, num := range m.sweeper.queues {
		if q := m.numbered[num]; q == nil || !q.state.Sweep {
			return fmt.Errorf("queue %d is to be swept, and does not say so or is gone", num)
		}
	}
	return nil
}

func (c *checker) lane(l *lane) error {
	m := c.m
	t := c.lanes[l]
	if t == nil {
		t = &laneTally{}
	}
	n, last := 0, task.Seq(0)
	for i := l.head; i != NoSlot; i = m.slab.at(i).next {
		s := m.slab.at(i)
		if s.seq <= last {
			return fmt.Errorf("births out of order: %x after %x", uint64(s.seq), uint64(last))
		}
		if l.moreBirths() && s.seq >= l.born.next.seq {
			return fmt.Errorf("birth %x in memory at or behind %x, from where on only the store knows", uint64(s.seq), uint64(l.born.next.seq))
		}
		last = s.seq
		n++
	}
	scheduled, timed := 0, 0
	if l.side != nil {
		timed = l.side.timedIn
		for i := l.side.scheduled; i != NoSlot; i = m.slab.at(i).next {
			scheduled++
		}
		if len(l.side.order) > 2*timed+orderSlack+1 {
			return fmt.Errorf("the order of timed tasks has %d entries for %d", len(l.side.order), timed)
		}
	}
	at, stored, any := m.front(l)
	switch {
	case n != t.births || int(l.ready) != t.births+t.returned-t.held:
		return fmt.Errorf("births: %d listed, %d ready; %d ready counted", n, t.births, l.ready)
	case l.returned() != t.returned:
		return fmt.Errorf("returned: %d listed, %d ready", l.returned(), t.returned)
	case scheduled != t.scheduled:
		return fmt.Errorf("scheduled: %d listed, %d found", scheduled, t.scheduled)
	case int(l.waiting) != t.waiting || int(l.tasks) != t.tasks:
		return fmt.Errorf("waiting: %d counted, %d found; in memory: %d counted, %d found", l.waiting, t.waiting, l.tasks, t.tasks)
	case timed != t.timed:
		return fmt.Errorf("timed: %d counted, %d found", timed, t.timed)
	case (l.pos != 0) != any || any && (l.at != at || l.stored != stored):
		return fmt.Errorf("stands at %+v (%v, in the store: %v), belongs to %+v (%v, %v)", l.at, l.pos != 0, l.stored, at, any, stored)
	case l.isEmpty() && !l.fading:
		return fmt.Errorf("has no task and is not let go")
	}
	return c.ordered(l)
}

// ordered verifies the lane's births by sequence.
func (c *checker) ordered(l *lane) error {
	last := task.Seq(0)
	for i := l.oldest; i != NoSlot; i = c.m.slab.at(i).newer {
		s := c.m.slab.at(i)
		if !s.ordered || s.class != task.ClassBirth || s.seq <= last {
			return fmt.Errorf("births by sequence: %x after %x", uint64(s.seq), uint64(last))
		}
		last = s.seq
	}
	return nil
}

func (c *checker) queue(q *queueOf) error {
	t := c.queues[q]
	if t == nil {
		t = &queueTally{}
	}
	st := &q.state
	ready := int64(0)
	for _, l := range q.lanes {
		ready += int64(l.ready)
	}
	switch {
	case ready != t.ready:
		return fmt.Errorf("ready in memory: %d counted by lanes, %d found", ready, t.ready)
	case q.tasks[task.Running] != t.running:
		return fmt.Errorf("running: %d counted, %d found", q.tasks[task.Running], t.running)
	case q.tasks[task.Scheduled] != st.Timed-t.active:
		return fmt.Errorf("scheduled: %d counted, of %d timed ones %d found past their time", q.tasks[task.Scheduled], st.Timed, t.active)
	case q.tasks[task.Blocked] != t.held:
		return fmt.Errorf("held: %d counted, %d found", q.tasks[task.Blocked], t.held)
	case q.tasks[task.Ready] != st.Births+t.active-t.running-t.held:
		return fmt.Errorf("ready: %d counted, there are %d born so, %d timed ones past their time, %d running and %d held", q.tasks[task.Ready], st.Births, t.active, t.running, t.held)
	case q.birthsIn != t.births || q.timedIn != t.timed:
		return fmt.Errorf("in memory: %d births and %d timed counted, %d and %d found", q.birthsIn, q.timedIn, t.births, t.timed)
	case st.Births < t.births || st.Timed < t.timed:
		return fmt.Errorf("more in memory (%d births, %d timed) than there are (%d, %d)", t.births, t.timed, st.Births, st.Timed)
	}
	more := false
	open, types := 0, map[*typeOf]int{}
	for _, l := range q.lanes {
		more = more || l.moreBirths() || l.moreTimed()
		if l.gate == 0 {
			n := int(l.ready) + btoi(l.stored)
			open += n
			types[l.group.typ] += n
		}
	}
	if err := c.inTurn(q); err != nil {
		return err
	}
	if open != q.open {
		return fmt.Errorf("to be dispatched: %d counted, %d found", q.open, open)
	}
	for _, t := range q.typeList {
		if int(t.open) != types[t] {
			return fmt.Errorf("to be dispatched of type %q: %d counted, %d found", t.name, t.open, types[t])
		}
	}
	if !more && (st.Births != t.births || st.Timed != t.timed) {
		return fmt.Errorf("all in memory: %d births and %d timed, but counted %d and %d", t.births, t.timed, st.Births, st.Timed)
	}
	return nil
}

// inTurn counts the queue's lanes that have something to dispatch.
func (c *checker) inTurn(q *queueOf) error {
	all, named := 0, 0
	for _, t := range q.typeList {
		n := 0
		for g := t.groups; g != nil; g = g.next {
			n += g.lanes.len()
		}
		if n != int(t.inTurn) {
			return fmt.Errorf("lanes in turn of type %q: %d counted, %d found", t.name, t.inTurn, n)
		}
		all += n
		if t.served > 0 {
			named += n
		}
	}
	if all != q.inTurn || named != q.inNamed {
		return fmt.Errorf("lanes in turn: %d, %d of them of types that are named, counted; %d and %d found", q.inTurn, q.inNamed, all, named)
	}
	c.inTurnSum += q.servedInTurn()
	return nil
}

func (c *checker) sessions() error {
	m := c.m
	all := append([]*session{&m.unary}, m.sessions...)
	var sum, want int64
	for _, s := range all {
		if s == nil {
			continue
		}
		n := 0
		for i := s.head; i != NoSlot; i = m.slab.at(i).next {
			if x := m.slab.at(i); x.state != slotRunning || x.session != s.no {
				return fmt.Errorf("session %d lists a task that it does not run", s.no)
			}
			n++
		}
		if n != s.running {
			return fmt.Errorf("session %d: %d listed, %d counted", s.no, n, s.running)
		}
		sum += int64(n)
	}
	for _, q := range m.queues {
		want += q.tasks[task.Running]
	}
	if sum != want {
		return fmt.Errorf("leases: %d listed, %d running", sum, want)
	}
	if n := sum - int64(m.unary.running); n != int64(m.held) {
		return fmt.Errorf("leases of sessions: %d listed, %d counted", n, m.held)
	}
	return nil
}
