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
// disk takes no time there is nothing to share: then the loop leaves it for a while,
// longer each time that it turns out so.
type rejoin struct {
	yield func()           // runtime.Gosched
	now   func() time.Time // time.Now

	answered atomic.Int32 // who was answered by the last turn, if it was a small one
	disk     atomic.Int64 // how long its commit took, in nanoseconds

	idle int // turns that it is left for
	next int // how many it is left for next time
}

const (
	rejoinQuiet   = 3                // yields without a newcomer
	rejoinMax     = time.Millisecond // all yields of a turn: what takes longer is no waiting for callers
	rejoinIdleMax = 1_024            // turns
)

func newRejoin() rejoin { return rejoin{yield: runtime.Gosched, now: time.Now, next: 1} }

// note says who is about to be answered, after a commit that took as long.
func (j *rejoin) note(t *turn, commit time.Duration) {
	if len(t.cmds) >= overlapMin {
		return
	}
	n := int32(0)
	for i := range t.cmds {
		if t.awaited(i) {
			n++
		}
	}
	j.disk.Store(int64(commit))
	j.answered.Store(n)
}

// awaited says whether somebody waits for the answer to the i-th command.
func (t *turn) awaited(i int) bool {
	return !t.errands[i].done && (t.cmds[i].Enqueue != nil || t.cmds[i].Report != nil || t.errands[i].reply != nil)
}

// wait yields until as many have come as were answered, beside those who waited
// already; until nobody comes any more; until enough for a turn have come; or for
// as long as the commit took.
func (j *rejoin) wait(box *mailbox) {
	answered := int(j.answered.Swap(0))
	if answered < 2 { // whoever is alone has nobody to share a commit with
		return
	}
	if j.idle > 0 {
		j.idle--
		return
	}
	limit := min(time.Duration(j.disk.Load()), rejoinMax)
	began := j.now()
	n := box.waiting()
	want := min(n+answered, overlapMin)
	for quiet := 0; quiet < rejoinQuiet && n < want; quiet++ {
		j.yield()
		if j.now().Sub(began) > limit {
			j.idle = j.next
			j.next = min(2*j.next, rejoinIdleMax)
			return
		}
		if came := box.waiting(); came > n {
			n, quiet = came, -1
		}
	}
	j.next = max(j.next/2, 1)
}
