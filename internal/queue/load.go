package queue

import "github.com/penstock-io/penstock/internal/task"

// Config is what a machine must know of its surroundings.
type Config struct {
	Partition    uint16
	Epoch        uint32 // of this acquisition; sequences are born under it
	Nonce        uint32
	WindowTasks  int   // tasks in memory at most, all lanes together; 0 = the default
	HistoryBytes int64 // finished records at most; 0 = the default
	IdemBytes    int64 // bytes of idempotency entries a queue; 0 = the default
}

// Snapshot is what the store holds when a partition is opened. Waiting tasks are
// not in it: the machine asks for them by Wants.
type Snapshot struct {
	Meta       Meta
	Found      bool // false: the partition is new
	Queues     []QueueState
	Types      []TypeName
	Marks      []Mark
	Segments   []Segment
	Producers  []ProducerState
	Sessions   []SessionState
	Claims     []Claim
	Lanes      []LaneFound
	NextExpiry task.Time // of the first entry of the expiry index; 0 = none
	NextIdem   task.Time // … of the index of idempotency entries
}

// LaneFound is a lane that has records: its first birth and first timed task.
type LaneFound struct {
	Queue    uint32
	Prio     uint8
	Lane     uint32
	HasBirth bool
	Birth    task.Seq // first birth at or after the lane's low-water mark
	HasTimed bool
	Timed    task.Time // due of the first timed task
}
