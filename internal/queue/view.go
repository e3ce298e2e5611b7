package queue

import "github.com/penstock-io/penstock/internal/task"

// TaskView is a live task in memory, as people ask for it.
type TaskView struct {
	State   task.State
	Place   Place
	Type    string
	Counts  task.Counts
	Ready   task.Time
	Started task.Time
	Session SessionNo  // 0 = unary or not running
	Token   task.Token // of its lease, of one that runs
	Worker  string
	Max     int32 // attempts it may fail
	Reason  string
}

// Find looks a live task up. False: it is in the store alone, or gone.
func (m *Machine) Find(seq task.Seq) (TaskView, bool) {
	i, ok := m.index.get(seq)
	if !ok {
		return TaskView{}, false
	}
	return m.viewOf(i), true
}

func (m *Machine) viewOf(i Slot) TaskView {
	s := m.slab.at(i)
	l := m.lanes[s.lane]
	v := TaskView{Place: m.place(s), Type: l.group.typ.name, Counts: s.counts(), Ready: s.ready, Max: m.rulesOf(s).maxAttempts}
	if s.state == slotScheduled {
		v.Ready = m.readyAt(l, s.due)
	}
	switch s.state {
	case slotHeld:
		v.State = task.Blocked
		v.Reason = "it may be running already: waiting for its worker to be back after a restart of the server"
	case slotScheduled:
		v.State = task.Scheduled
	case slotRunning:
		v.State, v.Started, v.Session, v.Token = task.Running, s.started, s.session, m.token(s)
		if s.session != 0 {
			v.Worker = m.sessions[s.session-1].opts.Worker
		}
	default:
		v.State = task.Ready
		v.Reason = whyReady(l)
	}
	return v
}

// whyReady is what keeps the lane's ready tasks from running, if it is not just
// their turn.
func whyReady(l *lane) string {
	if why := whyHeld(l); why != "" {
		return why
	}
	if !l.group.typ.isServed() {
		return "no worker serves this type"
	}
	return ""
}

// WhyWaits is Find's Reason for a ready task that is in the store alone.
func (m *Machine) WhyWaits(queue QueueNum, typ string) string {
	q := m.numbered[queue]
	if q == nil || q.types[typ] == nil {
		return ""
	}
	return whyReady(&lane{group: &group{typ: q.types[typ]}})
}

// Waits says whether the slot is that of the task, and the task waits there to be
// dispatched.
func (m *Machine) Waits(i Slot, seq task.Seq) bool {
	s := m.slab.at(i)
	return s.seq == seq && (s.state == slotReady || s.state == slotScheduled || s.state == slotHeld)
}

// QueueName is the name of a queue's number, "" if there is none.
func (m *Machine) QueueName(n QueueNum) string {
	if q := m.numbered[n]; q != nil {
		return q.state.Name
	}
	return ""
}

// QueueNum finds a queue's number.
func (m *Machine) QueueNum(name string) (QueueNum, bool) {
	q := m.byName[name]
	if q == nil {
		return 0, false
	}
	return q.state.Queue, true
}

// QueueConfig is a queue's settings.
func (m *Machine) QueueConfig(n QueueNum) task.QueueConfig {
	if q := m.numbered[n]; q != nil {
		return q.state.Config
	}
	return task.QueueConfig{}
}

// oldestReady is since when the longest waiting task has been ready; 0: none is.
func (q *queueOf) oldestReady() task.Time {
	var at task.Time
	note := func(l *lane) {
		if at == 0 || l.at.ready < at {
			at = l.at.ready
		}
	}
	for p := range q.levels {
		if q.levels[p].len() > 0 {
			note(q.levels[p].items[0].lanes.items[0].lane)
		}
	}
	return at
}

// Segments lists the segments of history, oldest first, open ones last.
func (m *Machine) Segments() []Segment {
	out := append([]Segment(nil), m.history.closed...)
	for _, s := range m.history.open {
		if s.Count > 0 {
			out = append(out, *s)
		}
	}
	return out
}

// Holding lists the segments that can hold a finished task, newest first.
func (m *Machine) Holding(seq task.Seq) []uint32 { return m.history.holding(seq) }

// Info is what is known of the partition, but for what SumQueues tells.
func (m *Machine) Info() task.PartitionInfo {
	return task.PartitionInfo{Partition: m.cfg.Partition, Epoch: m.cfg.Epoch, InMemory: int64(m.slab.used),
		MemoryBytes: int64(len(m.slab.pages)) * pageSize * slotBytes, Serving: true, SafeMode: m.restart.safe, UncleanOpens: m.meta.UncleanOpens,
		Producers: int64(m.producers.seen.n), ProducersEvicted: m.producers.gone}
}

// slotBytes is about what a slot and its index entry take.
const slotBytes = 176

// EachInMemory calls fn for the tasks of a queue in memory, by lane and age.
// Number 0 means every queue. It is for tests.
func (m *Machine) EachInMemory(queue QueueNum, fn func(TaskView) bool) {
	for p := range m.slab.pages {
		for k := range m.slab.pages[p] {
			i := Slot(p<<pageBits | k)
			s := m.slab.at(i)
			if s.state <= slotLoaded {
				continue
			}
			if queue != 0 && m.lanes[s.lane].queue().state.Queue != queue {
				continue
			}
			if !fn(m.viewOf(i)) {
				return
			}
		}
	}
}

// Holds is how many tasks are leased to the session.
func (m *Machine) Holds(session SessionNo) int {
	if s := m.sessionOf(session); s != nil {
		return s.running
	}
	return 0
}
