package queue

import "github.com/penstock-io/penstock/internal/task"

// What one owner numbers must not begin again: a fencing number that falls refuses
// every later handler, a sequence names one task, and a slot tells by the number of
// an Apply which record was put in it. Each number has so many bits, and an epoch
// ends before any of them does: the next owner begins anew under the next one.

const (
	dispatchesMax = 1<<32 - 1 // of an epoch; so are its Applies and its lists
	counterMax    = 1<<task.SeqCounterBits - 1
)

// spent says that one kind of the epoch's numbers is nearly used up.
func (m *Machine) spent() bool {
	few, many := uint64(dispatchesMax-epochSpare), uint64(counterMax-epochSpare)
	if max(m.batch, uint64(m.lists.last), uint64(m.dispatch)) >= few || m.counter >= many {
		return true
	}
	most := m.cfg.EpochMax
	return most != 0 && max(uint64(m.dispatch), m.counter-m.cfg.First) >= most
}

// mayBear says whether there is a sequence for another task. It is the last resort:
// a spent epoch ends long before.
func (m *Machine) mayBear() *task.Error {
	if m.counter >= counterMax {
		return task.ErrReopening
	}
	return nil
}
