package queue

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// Config is what a machine must know of its surroundings.
type Config struct {
	Partition    uint16
	Epoch        uint32 // of this acquisition; sequences are born under it
	Nonce        uint32
	First        uint64 // counter of the first sequence; random, so that those of two stores do not meet
	WindowTasks  int    // tasks in memory at most, all lanes together; 0 = the default
	WindowBytes  int64  // records of the tasks in memory, at about most; 0 = the default
	HistoryBytes int64  // finished records at most; 0 = the default
	IdemBytes    int64  // bytes of idempotency entries a queue; 0 = the default
	EpochMax     uint64 // so many dispatches or births, and the epoch is spent; 0 = nearly all that there are numbers for

	Events    bool        // fill Output.Events
	QueueIdle task.Millis // empty queues that nobody has set go when nothing happened in them for so long; 0 = never
}

// Snapshot is what the store holds when a partition is opened. Of waiting tasks
// only those are in it that may be running: the machine asks for others by Wants.
type Snapshot struct {
	Meta         Meta
	Found        bool // false: the partition is new
	Again        bool // the last owner was in this process, and a fault ended it: no task has ended the process
	Queues       []QueueState
	Marks        []Mark
	Segments     []Segment
	Producers    []ProducerState
	Sessions     []SessionState
	Here         []SessionState // sessions of this process that will be back; they are recorded nowhere
	Claims       []Claim
	Lists        []List
	InFlight     []InFlight // what MayRun says and is still there, with its record
	Lanes        []LaneFound
	NextExpiry   task.Time // of the first entry of the expiry index; 0 = none
	NextDeadline task.Time // … of the index of deadlines
	NextIdem     task.Time // … of the index of idempotency entries
	Briefs       []Idem    // the entries with short windows, by the time they end
}

// LaneFound is a lane that has records: its first birth and first timed task.
type LaneFound struct {
	Queue    QueueNum
	Prio     uint8
	Lane     LaneNum
	Names    Names // of its first record
	Calendar bool  // its records are of task.ClassCalendar
	HasBirth bool
	Birth    task.Seq  // first birth at or after the lane's low-water mark
	Ready    task.Time // since when it has been ready
	HasTimed bool
	Timed    task.Time // due of the first timed task,
	TimedSeq task.Seq  // and its sequence
}

// InFlight is a task that was running when the last owner ended, as far as its
// lists and claims tell.
type InFlight struct {
	Waiting Waiting
	Claim   Claim // its last dispatch
	Claimed bool  // a claim is written of it
	List    ListKey
}

// MayRun is the last dispatch of every task that claims and lists name, in the
// order of places. Waiting is left to whoever reads the store; where no record
// stands, the task has ended.
func (s *Snapshot) MayRun(partition uint16) []InFlight {
	at := make(map[task.Seq]int, len(s.Claims))
	var all []InFlight
	add := func(f InFlight) {
		k, named := at[f.Claim.Seq]
		switch {
		case !named:
			at[f.Claim.Seq] = len(all)
			all = append(all, f)
		case all[k].Claim.Token.Fence() < f.Claim.Token.Fence():
			all[k] = f
		}
	}
	for _, c := range s.Claims { // before the lists: of one dispatch the claim is younger
		add(InFlight{Claim: c, Claimed: true})
	}
	for i := range s.Lists {
		l := &s.Lists[i]
		for j := range l.Tasks {
			d := &l.Tasks[j]
			t := task.Token{Partition: partition, Attempt: d.Attempt, Epoch: l.Epoch, Nonce: l.Nonce, Slot: uint32(d.Slot), Dispatch: d.Dispatch, Queue: uint32(d.Place.Queue), Seq: d.Place.Seq}
			add(InFlight{List: l.Key, Claim: Claim{Seq: d.Place.Seq, Place: d.Place, Token: t, Session: d.Session, Started: d.Started, LeaseEnd: d.LeaseEnd}})
		}
	}
	slices.SortFunc(all, func(a, b InFlight) int { return comparePlaces(a.Claim.Place, b.Claim.Place) })
	return all
}

// comparePlaces is the order of places in the store.
func comparePlaces(a, b Place) int {
	return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Queue, b.Queue), cmp.Compare(b.Prio, a.Prio), cmp.Compare(a.Lane, b.Lane),
		cmp.Compare(a.Due, b.Due), cmp.Compare(a.Seq, b.Seq))
}
