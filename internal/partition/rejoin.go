package partition

import (
	"runtime"
	"sync/atomic"
	"time"
)

// rejoin lets those who have just been answered come again before the next turn is
// made. 64 callers who enqueue one by one would otherwise share two commits in
// turns, 32 in each, and each of them would wait for the other half's: with
// it most of them share one, and on a disk whose sync is what costs they gain a
// quarter. No timer is fine enough to wait by, and a fixed delay hurts light load,
// so the loop yields: who is about to come is ready to run and does so, and
// where nobody is, a yield ends at once.
//
// Where processors are busy with something else a yield takes long, and where the
// disk takes no time there is nothing to share: then the loop leaves it for a while.
type rejoin struct {
	yield func()           // runtime.Gosched
	now   func() time.Time // time.Now

	answered atomic.Int32 // commands of the last turn that was answered, if it was a small one
	disk     atomic.Int64 // how long its commit took, in nanoseconds

	idle int // turns that it is left for
	next int // how many it is left for next time
}

const (
	rejoinQuiet   = 3     // yields without a newcomer
	rejoinIdleMax = 1_024 // turns
)

func newRejoin() rejoin { return rejoin{yield: runtime.Gosched, now: time.Now, next: 1} }

// note says that so many commands are about to be answered after a commit that
// took as long.
func (j *rejoin) note(commands int, commit time.Duration) {
	if commands < overlapMin {
		j.disk.Store(int64(commit))
		j.answered.Store(int32(commands))
	}
}

// wait yields until as many have come as were answered, beside those who waited
// already; until nobody comes any more; or until enough for a turn have come.
func (j *rejoin) wait(box *mailbox) {
	answered := int(j.answered.Swap(0))
	if answered < 2 { // whoever is alone has nobody to share a commit with
		return
	}
	if j.idle > 0 {
		j.idle--
		return
	}
	began := j.now()
	n := box.waiting()
	want := min(n+answered, overlapMin)
	for quiet := 0; quiet < rejoinQuiet && n < want; quiet++ {
		j.yield()
		if came := box.waiting(); came > n {
			n, quiet = came, -1
		}
	}
	if j.now().Sub(began) <= time.Duration(j.disk.Load()) {
		j.next = 1
		return
	}
	j.idle = j.next
	j.next = min(2*j.next, rejoinIdleMax)
}
