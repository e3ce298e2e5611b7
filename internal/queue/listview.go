package queue

import "github.com/penstock-io/penstock/internal/task"

// What listings ask. Each call goes through so much at most, from the end down, and
// the next one goes on at what it returns: so none of them stops the loop for long.
// What was there all the time is met, and some of it twice when others went
// meanwhile.

// LaneView is a lane that has records in a class, or a queue that has dead letters.
type LaneView struct {
	Queue    QueueNum
	Prio     uint8
	Lane     LaneNum
	No       uint32    // for NoteNewest
	Marked   bool      // it was busy: much may have been deleted below Low
	Newest   task.Seq  // no birth of it is above; 0 = not known (ClassBirth)
	Low      task.Seq  // nor is one below (ClassBirth),
	TimedLow task.Time // and no timed task, by when it is due
}

// EachLane calls fn for lanes that may have records of the class: those of one queue
// and type, if they are named. At the first call left is negative; at the end it is 0.
func (m *Machine) EachLane(c task.Class, queue QueueNum, typ string, left int, fn func(LaneView)) int {
	all := m.lanes
	if queue != 0 {
		q := m.numbered[queue]
		if q == nil {
			return 0
		}
		all = q.lanes
	}
	if left < 0 || left > len(all) {
		left = len(all)
	}
	for to := max(0, left-LanesLookMax); left > to; left-- {
		l := all[left-1]
		if l == nil || !l.has(c) || typ != "" && l.group.typ.name != typ {
			continue
		}
		v := LaneView{Queue: l.queue().state.Queue, Prio: l.prio(), Lane: l.num, No: uint32(l.no), Marked: l.marked}
		if c == task.ClassBirth {
			v.Newest, v.Low = l.newestBirth, m.lowOf(l)
		} else {
			v.TimedLow = m.timedLow(l)
		}
		fn(v)
	}
	return left
}

// has says whether the lane may have records of the class.
func (l *lane) has(c task.Class) bool {
	if c == task.ClassBirth {
		return l.moreBirths() || l.born != nil && l.born.load != nil || int(l.tasks) > l.timedIn()
	}
	return l.side != nil && l.timedClass() == c && (l.side.timedIn > 0 || l.side.timed.more || l.side.timed.load != nil)
}

// timedIn is how many of the lane's tasks in memory are timed.
func (l *lane) timedIn() int {
	if l.side == nil {
		return 0
	}
	return l.side.timedIn
}

// NoteNewest takes what a listing found: no birth of the lane stands above. It counts
// if nothing was known, so nothing was born in the lane since the start.
func (m *Machine) NoteNewest(v *LaneView, newest task.Seq) {
	if int(v.No) >= len(m.lanes) {
		return
	}
	l := m.lanes[v.No]
	if l != nil && l.newestBirth == 0 && l.num == v.Lane && l.prio() == v.Prio && l.queue().state.Queue == v.Queue {
		l.newestBirth = newest
	}
}

// EachDead calls fn for queues that have dead letters. It goes on as EachLane does.
func (m *Machine) EachDead(queue QueueNum, left int, fn func(LaneView)) int {
	if queue != 0 {
		if q := m.numbered[queue]; q != nil && q.state.Dead > 0 {
			fn(LaneView{Queue: queue})
		}
		return 0
	}
	if left < 0 || left > len(m.queues) {
		left = len(m.queues)
	}
	for to := max(0, left-LanesLookMax); left > to; left-- {
		if st := &m.queues[left-1].state; st.Dead > 0 {
			fn(LaneView{Queue: st.Queue})
		}
	}
	return left
}

// EachInFlight calls fn for tasks that run or are blocked, of a queue or of all (0). It
// goes on as EachLane does.
func (m *Machine) EachInFlight(queue QueueNum, left int, fn func(state task.State, typ string, pl Place)) int {
	if left < 0 || left > len(m.slab.pages) {
		left = len(m.slab.pages)
	}
	for to := max(0, left-pagesLookMax); left > to; left-- {
		page := m.slab.pages[left-1]
		for k := range page {
			s := &page[k]
			if s.state != slotRunning && s.state != slotHeld {
				continue
			}
			if l := m.lanes[s.lane]; queue == 0 || l.queue().state.Queue == queue {
				state := task.Running
				if s.state == slotHeld {
					state = task.Blocked
				}
				fn(state, l.group.typ.name, m.place(s))
			}
		}
	}
	return left
}
