package queue

// line is a queue of lanes, first come first served. Taking from its front costs
// nothing for those behind.
type line struct {
	lanes []*lane
	head  int
}

func (q *line) len() int { return len(q.lanes) - q.head }

func (q *line) push(l *lane) { q.lanes = append(q.lanes, l) }

func (q *line) front() *lane { return q.lanes[q.head] }

func (q *line) pop() {
	q.lanes[q.head] = nil
	q.head++
	if q.head < len(q.lanes)/2 && q.head < len(q.lanes) {
		return
	}
	left := q.lanes[q.head:]
	if cap(q.lanes) > lineKeepMax && len(left) < cap(q.lanes)/4 {
		q.lanes, q.head = append([]*lane(nil), left...), 0 // a burst's memory is not kept
		return
	}
	n := copy(q.lanes, left)
	clear(q.lanes[n:])
	q.lanes, q.head = q.lanes[:n], 0
}

// lineKeepMax is how many places an emptied line keeps.
const lineKeepMax = 1_024
