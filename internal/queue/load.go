package queue

import "github.com/penstock-io/penstock/internal/task"

// Config is what a machine must know of its surroundings.
type Config struct {
	Partition    uint16
	Epoch        uint32 // of this acquisition; sequences are born under it
	Nonce        uint32
	First        uint64 // counter of the first sequence; random, so that those of two stores do not meet
	WindowTasks  int    // tasks in memory at most, all lanes together; 0 = the default
	HistoryBytes int64  // finished records at most; 0 = the default
	IdemBytes    int64  // bytes of idempotency entries a queue; 0 = the default

	QueueIdle task.Millis // empty queues that nobody has set go when nothing happened in them for so long; 0 = never
}

// Snapshot is what the store holds when a partition is opened. Waiting tasks are
// not in it: the machine asks for them by Wants.
type Snapshot struct {
	Meta       Meta
	Found      bool // false: the partition is new
	Queues     []QueueState
	Marks      []Mark
	Segments   []Segment
	Producers  []ProducerState
	Sessions   []SessionState
	Claims     []Claim
	Lanes      []LaneFound
	NextExpiry task.Time // of the first entry of the expiry index; 0 = none
}

// LaneFound is a lane that has records: its first birth and first timed task.
type LaneFound struct {
	Queue    uint32
	Prio     uint8
	Lane     uint32
	Names    Names // of its first record
	HasBirth bool
	Birth    task.Seq  // first birth at or after the lane's low-water mark
	Ready    task.Time // since when it has been ready
	HasTimed bool
	Timed    task.Time // due of the first timed task
}
