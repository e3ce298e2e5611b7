package queue

import "slices"

// sweeper collects what purges by range leave behind: records of indexes whose task is
// gone, over the partition and index by index, and chunks of large payloads without a task, queue by
// queue. That there is something to sweep is durable; where it stands is not: after
// a restart it begins anew. One step is under way at a time, and bounded.
type sweeper struct {
	queues []QueueNum // to be swept for chunks, in order
	busy   bool
	index  int   // of swept ones, the one at work
	at     Place // its records from here on
	again  bool  // a purge has come since their sweep began
	from   Place // chunks of the first queue from here on
	anew   bool  // the same of them
}

func (w *sweeper) init(snap *Snapshot) {
	for i := range snap.Queues {
		if snap.Queues[i].Sweep {
			w.queues = append(w.queues, snap.Queues[i].Queue)
		}
	}
}

// indexesSwept are the indexes that are looked over, one after another.
var indexesSwept = []WantKind{WantSweepWheres, WantSweepExpiries, WantSweepDeadlines}

// sweepIndexes has all of them looked over: tasks that they name are gone.
func (m *Machine) sweepIndexes() {
	w := &m.sweeper
	w.again = m.meta.Sweep && (w.busy || w.index != 0 || w.at != Place{})
	m.meta.Sweep = true
	m.dirty = true
}

// sweepChunks has the chunks of a queue's large payloads looked over.
func (m *Machine) sweepChunks(q *queueOf) {
	w := &m.sweeper
	switch {
	case len(w.queues) > 0 && w.queues[0] == q.state.Queue: // it is at work: it will have to begin anew
		w.anew = true
	case !q.state.Sweep:
		w.queues = append(w.queues, q.state.Queue)
	}
	q.state.Sweep = true
	m.touch(q)
}

// dropQueue has a queue that is deleted swept no longer: its chunks go with it.
func (w *sweeper) dropQueue(num QueueNum) {
	at := slices.Index(w.queues, num)
	if at < 0 {
		return
	}
	if at == 0 {
		w.from, w.anew = Place{}, false
	}
	w.queues = slices.Delete(w.queues, at, at+1)
}

// wantSweep asks for the next step.
func (m *Machine) wantSweep() {
	w := &m.sweeper
	switch {
	case w.busy:
	case m.meta.Sweep:
		w.busy = true
		m.want(Want{What: indexesSwept[w.index], From: w.at, Limit: sweepMax})
	case len(w.queues) > 0:
		w.busy = true
		from := w.from
		if from == (Place{}) {
			from = Place{Queue: w.queues[0]}
		}
		m.want(Want{What: WantSweepChunks, From: from, Limit: sweepMax})
	}
}

// swept drops what a step has found.
func (m *Machine) swept(a *Loaded) {
	w := &m.sweeper
	w.busy = false
	if a.Want.What == WantSweepChunks && m.numbered[a.Want.From.Queue] == nil {
		return // it was deleted meanwhile, with all chunks
	}
	for i := range a.Orphans {
		p := &a.Orphans[i]
		if _, here := m.index.get(p.Seq); here {
			continue
		}
		m.dirty = true
		switch a.Want.What {
		case WantSweepWheres:
			m.out.Wheres.drop(p.Seq)
		case WantSweepExpiries:
			if p.Due > m.now { // else it is looked at for its time, and may have gone
				m.dropExpiry(ExpiryKey{At: p.Due, Seq: p.Seq})
			}
		case WantSweepDeadlines:
			if p.Due > m.wall {
				m.dropExpiry(ExpiryKey{At: p.Due, Seq: p.Seq, Wall: true})
			}
		case WantSweepChunks:
			m.out.DropLarge = append(m.out.DropLarge, *p)
		}
	}
	if a.Want.What == WantSweepChunks {
		m.chunksSwept(a)
	} else {
		m.indexSwept(a)
	}
}

func (m *Machine) indexSwept(a *Loaded) {
	w := &m.sweeper
	if !a.End {
		w.at = a.Behind
		return
	}
	w.at = Place{}
	if w.index++; w.index < len(indexesSwept) {
		return
	}
	w.index = 0
	m.meta.Sweep, w.again = w.again, false
	m.dirty = true
}

func (m *Machine) chunksSwept(a *Loaded) {
	w := &m.sweeper
	num := a.Want.From.Queue
	switch {
	case len(w.queues) == 0 || w.queues[0] != num:
	case w.anew:
		w.from, w.anew = Place{}, false
	case !a.End:
		w.from = a.Behind
	default:
		w.queues, w.from = append([]QueueNum(nil), w.queues[1:]...), Place{}
		q := m.numbered[num]
		q.state.Sweep = false
		m.touch(q)
	}
}
