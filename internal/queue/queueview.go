package queue

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// QueueWalk goes through the queues named, or through all (nil), some at each call of
// WalkQueues. A queue that is there all the time is met once.
type QueueWalk struct {
	Names []string

	infos []task.QueueInfo
	named int      // of Names, that are done
	last  QueueNum // that was met last
	types int      // of its types that are left to look at
	from  task.Time
}

// Take returns what was found since it was called last, of queues that are done with.
func (w *QueueWalk) Take() []task.QueueInfo {
	n := len(w.infos)
	if w.types > 0 {
		n--
	}
	out := w.infos[:n:n]
	w.infos = slices.Clone(w.infos[n:])
	return out
}

// WalkQueues goes on with a walk, and says whether more is left. It looks at a bounded
// number of queues and types.
func (m *Machine) WalkQueues(w *QueueWalk) (more bool) {
	w.from = m.history.from()
	for left := queuesLookMax; left > 0; left-- {
		if w.types > 0 {
			left -= m.lookAtTypes(w, left)
			continue
		}
		q, ok := m.nextQueue(w)
		if !ok {
			return false
		}
		if q == nil {
			continue
		}
		w.infos = append(w.infos, m.infoOf(q, w.from))
		if w.last = q.state.Queue; !q.servedAll() && q.shut == 0 {
			w.types = len(q.typeList)
		}
	}
	return true
}

// nextQueue is the queue to meet next. One that is named and not there is nil.
func (m *Machine) nextQueue(w *QueueWalk) (q *queueOf, ok bool) {
	if w.Names != nil {
		if w.named == len(w.Names) {
			return nil, false
		}
		w.named++
		return m.byName[w.Names[w.named-1]], true
	}
	i := m.queueAfter(w.last)
	if i == len(m.queues) {
		return nil, false
	}
	return m.queues[i], true
}

// queueAfter is where the queues begin whose numbers are above n.
func (m *Machine) queueAfter(n QueueNum) int {
	i, _ := slices.BinarySearchFunc(m.queues, n+1, func(q *queueOf, n QueueNum) int { return cmp.Compare(q.state.Queue, n) })
	return i
}

// lookAtTypes notes types of the last queue that have ready tasks and that no worker
// serves, those that wait longest if they are too many. It returns how many it has
// looked at.
func (m *Machine) lookAtTypes(w *QueueWalk, most int) (n int) {
	q := m.numbered[w.last]
	if q == nil { // it was deleted
		w.types = 0
		return 0
	}
	out := &w.infos[len(w.infos)-1].Unserved
	w.types = min(w.types, len(q.typeList))
	again := w.types < len(q.typeList) // some types may have changed their place
	for ; n < most && w.types > 0; n++ {
		w.types--
		t := q.typeList[w.types]
		at := t.oldestReady()
		if at == 0 || t.isServed() || again && slices.ContainsFunc(*out, func(u task.UnservedType) bool { return u.Type == t.name }) {
			continue
		}
		if *out = append(*out, task.UnservedType{Type: t.name, Oldest: at}); len(*out) >= 2*unservedShownMax {
			*out = longest(*out)
		}
	}
	if w.types == 0 {
		*out = longest(*out)
	}
	return n
}

// longest leaves the types that wait longest.
func longest(types []task.UnservedType) []task.UnservedType {
	slices.SortFunc(types, func(a, b task.UnservedType) int {
		return cmp.Or(cmp.Compare(a.Oldest, b.Oldest), cmp.Compare(a.Type, b.Type))
	})
	return types[:min(len(types), unservedShownMax)]
}

// oldestReady is since when the type's longest waiting task has been ready, of lanes
// that no gate has parked; 0: none is.
func (t *typeOf) oldestReady() (at task.Time) {
	for g := t.groups; g != nil; g = g.next {
		if g.lanes.len() > 0 && (at == 0 || g.lanes.items[0].at.ready < at) {
			at = g.lanes.items[0].at.ready
		}
	}
	return at
}

// QueueInfos appends what is known of the queues named, or of all (nil), however many
// they are. It is for tests.
func (m *Machine) QueueInfos(names []string, into []task.QueueInfo) []task.QueueInfo {
	w := &QueueWalk{Names: names}
	for more := true; more; {
		more = m.WalkQueues(w)
		into = append(into, w.Take()...)
	}
	return into
}

func (m *Machine) infoOf(q *queueOf, from task.Time) task.QueueInfo {
	st := &q.state
	return task.QueueInfo{
		Name: st.Name, Config: st.Config, Paused: st.Paused,
		Scheduled: q.tasks[task.Scheduled], Ready: q.tasks[task.Ready], Blocked: q.tasks[task.Blocked], Running: q.tasks[task.Running],
		Dead: st.Dead, DeadBytes: st.DeadBytes, Enqueued: st.Enqueued, Succeeded: st.Succeeded, Canceled: st.Canceled, Expired: st.Expired,
		HistoryFrom: from, Earlier: st.Earlier, Workers: q.workers, OldestReady: q.oldestReady(),
	}
}

// SumQueues adds what waits and runs in some of the queues, those with numbers above
// after. It returns where to go on; 0 = nowhere.
func (m *Machine) SumQueues(info *task.PartitionInfo, after QueueNum) (next QueueNum) {
	i := m.queueAfter(after)
	for n := 0; i < len(m.queues) && n < queuesLookMax; i, n = i+1, n+1 {
		q := m.queues[i]
		info.Running += q.tasks[task.Running]
		info.Waiting += q.state.Births + q.state.Timed - q.tasks[task.Running]
		next = q.state.Queue
	}
	if i == len(m.queues) {
		return 0
	}
	return next
}

// WorkerView is an open worker session.
type WorkerView struct {
	Info  task.WorkerInfo    // without its queues
	Named []task.QueueWeight // these; not to be changed
}

// EachWorker calls fn for some of the open worker sessions, from a number on. It
// returns where to go on; 0 = nowhere.
func (m *Machine) EachWorker(from int, fn func(WorkerView)) (next int) {
	to := min(from+workersLookMax, len(m.sessions))
	for _, s := range m.sessions[min(from, to):to] {
		if s != nil {
			fn(WorkerView{task.WorkerInfo{ID: s.opts.ID, Worker: s.opts.Worker, Build: s.opts.Build, Types: s.opts.Types,
				Concurrency: s.opts.Concurrency, Running: s.running, Since: s.since, LastBeat: s.beat}, s.opts.Queues})
		}
	}
	if to == len(m.sessions) {
		return 0
	}
	return to
}
