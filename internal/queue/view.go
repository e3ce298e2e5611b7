package queue

import "github.com/penstock-io/penstock/internal/task"

// TaskView is a live task in memory, as people ask for it.
type TaskView struct {
	State   task.State
	Place   Place
	Counts  task.Counts
	Ready   task.Time
	Started task.Time
	Session uint32 // 0 = unary or not running
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

func (m *Machine) viewOf(i uint32) TaskView {
	s := m.slab.at(i)
	l := m.lanes[s.lane]
	v := TaskView{Place: m.place(s), Counts: s.counts(), Ready: s.ready, Max: m.rulesOf(s).maxAttempts}
	switch s.state {
	case slotHeld:
		v.State = task.Blocked
		v.Reason = "it may be running already: waiting for its worker to be back after a restart of the server"
	case slotScheduled:
		v.State = task.Scheduled
	case slotRunning:
		v.State, v.Started, v.Session = task.Running, s.started, s.session
		if s.session != 0 {
			v.Worker = m.sessions[s.session-1].opts.Worker
		}
	default:
		v.State = task.Ready
		v.Reason = m.whyReady(l)
	}
	return v
}

// whyReady is what keeps the lane's ready tasks from running, if it is not just
// their turn.
func (m *Machine) whyReady(l *lane) string {
	switch {
	case l.queue.state.Paused:
		return "its queue is paused"
	case !m.isServed(l):
		return "no worker serves this type"
	}
	return ""
}

func (m *Machine) isServed(l *lane) bool {
	for _, s := range m.sessions {
		if s == nil || s.detached {
			continue
		}
		for _, sq := range s.queues {
			if sq.queue == l.queue && s.serves.has(l.queue, l.num) {
				return true
			}
		}
	}
	return false
}

// WhyWaits is Find's Reason for a ready task that is in the store alone.
func (m *Machine) WhyWaits(p Place) string {
	if int(p.Queue) >= len(m.queues) || m.queues[p.Queue] == nil {
		return ""
	}
	if l := m.queues[p.Queue].findLane(p.Prio, p.Lane); l != nil {
		return m.whyReady(l)
	}
	return ""
}

// QueueName is the name of a queue's number, "" if there is none.
func (m *Machine) QueueName(n uint32) string {
	if int(n) >= len(m.queues) || m.queues[n] == nil {
		return ""
	}
	return m.queues[n].state.Name
}

// QueueNum finds a queue's number.
func (m *Machine) QueueNum(name string) (uint32, bool) {
	q := m.byName[name]
	if q == nil {
		return 0, false
	}
	return q.state.Queue, true
}

// TypeName is the type of a lane.
func (m *Machine) TypeName(queue, lane uint32) string {
	if int(queue) >= len(m.queues) || m.queues[queue] == nil {
		return ""
	}
	t := m.queues[queue].types
	if lane == 0 || int(lane) > len(t) {
		return ""
	}
	return t[lane-1]
}

// QueueConfig is a queue's settings.
func (m *Machine) QueueConfig(n uint32) task.QueueConfig {
	if int(n) >= len(m.queues) || m.queues[n] == nil {
		return task.QueueConfig{}
	}
	return m.queues[n].state.Config
}

// QueueInfos appends what is known of the queues named, or of all (nil).
func (m *Machine) QueueInfos(names []string, into []task.QueueInfo) []task.QueueInfo {
	if names == nil {
		for _, q := range m.queues {
			if q != nil {
				into = append(into, m.infoOf(q))
			}
		}
		return into
	}
	for _, n := range names {
		if q := m.byName[n]; q != nil {
			into = append(into, m.infoOf(q))
		}
	}
	return into
}

func (m *Machine) infoOf(q *queueOf) task.QueueInfo {
	st := &q.state
	i := task.QueueInfo{
		Name: st.Name, Config: st.Config, Paused: st.Paused,
		Scheduled: st.Timed - q.timedActive,
		Ready:     st.Births + q.timedActive - q.running - q.held,
		Blocked:   q.held, Running: q.running,
		Dead: st.Dead, DeadBytes: st.DeadBytes, Enqueued: st.Enqueued, Succeeded: st.Succeeded, Canceled: st.Canceled, Expired: st.Expired,
		HistoryFrom: m.history.from(), Earlier: st.Earlier,
	}
	unserved := map[uint32]int{}
	for _, l := range q.lanes {
		f := m.first(l)
		if f == NoSlot {
			continue
		}
		at := m.slab.at(f).ready
		if i.OldestReady == 0 || at < i.OldestReady {
			i.OldestReady = at
		}
		if m.isServed(l) {
			continue
		}
		k, seen := unserved[l.num]
		if !seen {
			k = len(i.Unserved)
			unserved[l.num] = k
			i.Unserved = append(i.Unserved, task.UnservedType{Type: q.types[l.num-1], Oldest: at})
		}
		i.Unserved[k].Oldest = min(i.Unserved[k].Oldest, at)
	}
	for _, s := range m.sessions {
		if s == nil || s.detached {
			continue
		}
		for _, sq := range s.queues {
			if sq.queue == q {
				i.Workers++
			}
		}
	}
	return i
}

// Workers lists the open worker sessions.
func (m *Machine) Workers() []task.WorkerInfo {
	var out []task.WorkerInfo
	for _, s := range m.sessions {
		if s == nil {
			continue
		}
		w := task.WorkerInfo{ID: s.opts.ID, Worker: s.opts.Worker, Build: s.opts.Build, Types: s.opts.Types,
			Concurrency: s.opts.Concurrency, Running: s.running, Since: s.since, LastBeat: s.beat}
		for _, q := range s.opts.Queues {
			w.Queues = append(w.Queues, q.Queue)
		}
		out = append(out, w)
	}
	return out
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

// Info is what is known of the partition.
func (m *Machine) Info() task.PartitionInfo {
	i := task.PartitionInfo{Partition: m.cfg.Partition, Epoch: m.cfg.Epoch, InMemory: int64(m.slab.used), Running: m.runningAll(),
		MemoryBytes: int64(len(m.slab.pages)) * pageSize * slotBytes, Serving: true, SafeMode: m.restart.safe, UncleanOpens: m.meta.UncleanOpens,
		Producers: int64(m.producers.seen.n), ProducersEvicted: m.producers.gone}
	for _, q := range m.queues {
		if q != nil {
			i.Waiting += q.state.Births + q.state.Timed - q.running
		}
	}
	return i
}

// slotBytes is about what a slot and its index entry take.
const slotBytes = 160

// EachInMemory calls fn for the tasks of a queue in memory, by lane and age.
// Number 0 means every queue. It is for listings, not for the hot path.
func (m *Machine) EachInMemory(queue uint32, fn func(TaskView) bool) {
	for p := range m.slab.pages {
		for k := range m.slab.pages[p] {
			i := uint32(p<<pageBits | k)
			s := m.slab.at(i)
			if s.state <= slotLoaded {
				continue
			}
			if queue != 0 && m.lanes[s.lane].queue.state.Queue != queue {
				continue
			}
			if !fn(m.viewOf(i)) {
				return
			}
		}
	}
}

// Demand is how many of want tasks could be dispatched to the session now, at
// most. It is cheap: types are not looked at.
func (m *Machine) Demand(session uint32, want int) int {
	s := m.sessionOf(session)
	if s == nil || s.detached {
		return 0
	}
	n := 0
	for _, sq := range s.queues {
		if !sq.queue.state.Paused {
			n += sq.queue.inReady
		}
		if n >= want {
			return want
		}
	}
	return n
}

// DemandUnary is Demand for a unary lease.
func (m *Machine) DemandUnary(l *Lease) bool {
	for _, w := range l.Queues {
		if q := m.byName[w.Queue]; q != nil && !q.state.Paused && q.inReady > 0 {
			return true
		}
	}
	return false
}
