package queue

// Numbers that name things. Each has a type of its own, so that none is taken for
// another: most are small, and so the same.
type (
	// Slot is where a task stands in memory. What names it under one owner may name
	// another task under the next.
	Slot uint32
	// QueueNum is a queue in store keys. A number is used once; 0 is none.
	QueueNum uint32
	// LaneNum is a lane in store keys, among those of its queue and priority.
	LaneNum uint32
	// SessionNo is an open worker session; 0 is none: a unary lease.
	SessionNo uint32

	// laneNo is a lane's index in Machine.lanes.
	laneNo uint32
	// listNo is a dispatch list, its index in lists.all + 1; 0 is none.
	listNo uint32
)

// NoSlot says that a task is not in memory.
const NoSlot = ^Slot(0)

// Void marks a put that a later command of the same Apply took back: it is not
// written.
const Void = ^QueueNum(0)
