package queue

// Age makes an owner as old as one that has numbered so much.
func Age(m *Machine, dispatches uint32, applies uint64, births uint64) {
	m.dispatch, m.batch, m.counter = max(m.dispatch, dispatches), max(m.batch, applies), max(m.counter, births)
}

// A lane's window at first, and at its largest.
const (
	LaneWindowMin = laneWindowMin
	LaneWindowMax = laneWindowMax
)
