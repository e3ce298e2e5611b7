package partition

import (
	"bytes"
	"cmp"
	"container/heap"
	"slices"
	"sync"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// merge is what a listing knows of a stage: its lanes by the highest rank that each
// may have, or the running tasks. It is kept from one page to the next; without it the
// next one finds the lanes anew. A bound that is too high costs a look, one that is
// too low would hide tasks. What is in it was there when it was made; what came later
// did not stand still, or stands above every cursor.
type merge struct {
	id       uint64 // named in the cursors of its listing
	stage    stage
	queue    string // filter
	typ      string
	top      []byte // of the cursor
	bottom   []byte
	from     record.Rank   // it is right for all below
	lanes    lanesLeft     // those that the last page has not looked at,
	met      []laneMet     // those that it has,
	to       record.Rank   // and how far down it came
	running  []queue.Place // by sequence, the newest first
	cut      bool          // of running tasks: there are more below
	keptTill task.Time
}

func (m *merge) size() int { return len(m.lanes) + len(m.met) + len(m.running) }

// laneMet is a lane that a page has looked at.
type laneMet struct {
	lane laneLeft    // as it was before the page
	now  record.Rank // what is left of it behind the page,
	over bool        // or nothing is
}

// resume makes the merge right for a page that begins at a rank: behind the last page,
// or within it.
func (m *merge) resume(below record.Rank) {
	for i := range m.met {
		x := m.met[i].lane
		if !m.to.Less(below) {
			if x.top = m.met[i].now; m.met[i].over {
				continue
			}
		}
		heap.Push(&m.lanes, x)
	}
	m.met = nil
}

// laneLeft is a lane that may have something left to list.
type laneLeft struct {
	queue  queue.QueueNum
	lane   queue.LaneNum
	no     uint32
	prio   uint8
	marked bool
	known  bool        // that there was a record at top; else nothing is
	top    record.Rank // none is above
	low    record.Rank // none is below
}

// compare is the order of lanes in the store.
func (a *laneLeft) compare(b *laneLeft) int {
	return cmp.Or(cmp.Compare(a.queue, b.queue), cmp.Compare(b.prio, a.prio), cmp.Compare(a.lane, b.lane))
}

// lanesLeft is a heap, the highest top first.
type lanesLeft []laneLeft

func (h lanesLeft) Len() int           { return len(h) }
func (h lanesLeft) Less(i, j int) bool { return h[j].top.Less(h[i].top) }
func (h lanesLeft) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *lanesLeft) Push(x any)        { *h = append(*h, x.(laneLeft)) }

func (h *lanesLeft) Pop() any {
	n := len(*h) - 1
	x := (*h)[n]
	*h = (*h)[:n]
	return x
}

// kept holds merges between the pages of listings, and how many are being made.
type kept struct {
	mu      sync.Mutex
	all     []*merge // the one that was used last at the end
	size    int      // lanes and tasks in them
	last    uint64   // id that was given
	making  int
	waiting []func()
}

// take removes the merge that a page at the cursor can go on with; nil if there is
// none. Whoever asks for the same page meanwhile makes another.
func (k *kept) take(f *task.Filter, at *cursor, now task.Time) *merge {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tidy(now)
	rank := at.below()
	for i, m := range k.all {
		if m.id == at.id && m.stage == at.stage && m.queue == f.Queue && m.typ == f.Type && !m.from.Less(rank) &&
			bytes.Equal(m.top, at.top) && bytes.Equal(m.bottom, at.bottom) {
			k.drop(i)
			return m
		}
	}
	return nil
}

// put keeps a merge for the next page.
func (k *kept) put(m *merge, now task.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tidy(now)
	m.keptTill = now.Add(listKeptFor)
	k.all, k.size = append(k.all, m), k.size+m.size()
	for k.size > listKeptMax || len(k.all) > listsKeptMax {
		k.drop(0)
	}
}

func (k *kept) drop(i int) {
	k.size -= k.all[i].size()
	k.all = slices.Delete(k.all, i, i+1)
}

func (k *kept) tidy(now task.Time) {
	for len(k.all) > 0 && k.all[0].keptTill <= now {
		k.drop(0)
	}
}

// forget drops what nobody has come back for.
func (k *kept) forget(now task.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tidy(now)
}

// begin calls fn when there is room to make one more merge: at once, or in a call of
// end. It returns false if too many wait for that.
func (k *kept) begin(fn func()) bool {
	k.mu.Lock()
	if k.making < listMakingMax {
		k.making++
		k.mu.Unlock()
		fn()
		return true
	}
	defer k.mu.Unlock()
	if len(k.waiting) >= listWaitingMax {
		return false
	}
	k.waiting = append(k.waiting, fn)
	return true
}

func (k *kept) end() {
	k.mu.Lock()
	if len(k.waiting) == 0 {
		k.making--
		k.mu.Unlock()
		return
	}
	next := k.waiting[0]
	k.waiting = append(k.waiting[:0], k.waiting[1:]...)
	k.mu.Unlock()
	next()
}

func (k *kept) newID() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last++
	return k.last
}
