package queue

import "github.com/penstock-io/penstock/internal/task"

// slotState is where a task in memory is.
type slotState uint8

const (
	slotFree      slotState = iota
	slotLoaded              // taken in by a command, in no list
	slotHeld                // may be running under an earlier owner; at its place in its lane
	slotReady               // in its lane
	slotScheduled           // its time has not come
	slotRunning             // leased
)

// slot is a live task in memory. It holds no pointer, so that millions of them
// cost the garbage collector nothing.
type slot struct {
	seq      task.Seq
	ready    task.Time // since when, or from when, it may run
	due      task.Time // of its timed key
	enqueued task.Time
	expires  task.Time // of its expiry entry
	deadline task.Time // by the wall clock
	started  task.Time // of the last dispatch
	leaseEnd task.Time // unary leases
	timerAt  task.Time
	lane     laneNo
	policy   uint32 // index of its policy; 0 = the queue's
	next     Slot   // in the lane's ready births, its scheduled tasks, or the session's leases
	prev     Slot
	older    Slot // in the lane's births by sequence
	newer    Slot
	timer    uint32    // place in the timer heap + 1
	pos      uint32    // in the lane's returned heap + 1
	session  SessionNo // that it is leased to; of a held one, that it waits for
	list     listNo    // dispatch list that tells of its lease; 0 = none
	dispatch uint32    // of the last dispatch …
	epoch    uint32    // … and the epoch it happened in
	nonce    uint32
	lastSlot Slot   // where its owner kept it then
	putBatch uint32 // Apply that put its record …
	putIndex uint32 // … and where in the Output
	size     uint32 // bytes of its record
	stood    uint32 // ms of the attempt for which the owner stood still: not counted
	failures uint16
	crashes  uint16
	releases uint16
	attempt  uint16 // which one that dispatch was
	class    task.Class
	state    slotState
	flags    Flags
	long     bool // its lease is older than longAfter
	ordered  bool // it stands in the lane's births by sequence
	old      bool // it stands as its last dispatch, by an earlier owner, has left it
	told     told // the outcome that was acknowledged for that dispatch, of a task that waits
}

const (
	pageBits = 12
	pageSize = 1 << pageBits
)

// slab is paged storage of slots: growing copies nothing.
type slab struct {
	pages []*[pageSize]slot
	free  Slot // list through next
	used  int
}

func newSlab() slab { return slab{free: NoSlot} }

func (b *slab) at(i Slot) *slot { return &b.pages[i>>pageBits][i&(pageSize-1)] }

func (b *slab) valid(i Slot) bool { return int(i>>pageBits) < len(b.pages) }

// take returns a zeroed slot.
func (b *slab) take() Slot {
	if b.free == NoSlot {
		b.pages = append(b.pages, new([pageSize]slot))
		b.freePage(len(b.pages) - 1)
	}
	i := b.free
	s := b.at(i)
	b.free = s.next
	*s = slot{next: NoSlot, prev: NoSlot, older: NoSlot, newer: NoSlot}
	b.used++
	return i
}

// freePage puts all slots of a page, which nothing uses, into the list.
func (b *slab) freePage(p int) {
	base := Slot(p) << pageBits
	page := b.pages[p]
	for i := range page {
		page[i] = slot{next: base + Slot(i) + 1}
	}
	page[pageSize-1].next = b.free
	b.free = base
}

// trim gives back all pages but one, of a slab that is not used.
func (b *slab) trim() {
	if len(b.pages) > 1 {
		b.pages, b.free = []*[pageSize]slot{b.pages[0]}, NoSlot
		b.freePage(0)
	}
}

func (b *slab) give(i Slot) {
	s := b.at(i)
	*s = slot{next: b.free, prev: NoSlot}
	b.free = i
	b.used--
}

// index finds slots by sequence: open addressing with backward-shift deletion,
// no pointers. Sequences of one epoch are consecutive, so the low bits alone
// spread well; the multiplication covers the rest.
type index struct {
	keys  []task.Seq // 0 = empty
	slots []Slot
	n     int
	shift uint
}

func newIndex() index {
	return index{keys: make([]task.Seq, 1<<10), slots: make([]Slot, 1<<10), shift: 54}
}

func (x *index) home(k task.Seq) int { return int(uint64(k) * 0x9e3779b97f4a7c15 >> x.shift) }

func (x *index) get(k task.Seq) (Slot, bool) {
	mask := len(x.keys) - 1
	for i := x.home(k); x.keys[i] != 0; i = (i + 1) & mask {
		if x.keys[i] == k {
			return x.slots[i], true
		}
	}
	return NoSlot, false
}

func (x *index) put(k task.Seq, v Slot) {
	if x.n*2 >= len(x.keys) {
		x.grow()
	}
	mask := len(x.keys) - 1
	i := x.home(k)
	for x.keys[i] != 0 && x.keys[i] != k {
		i = (i + 1) & mask
	}
	if x.keys[i] == 0 {
		x.n++
	}
	x.keys[i], x.slots[i] = k, v
}

func (x *index) grow() {
	old := *x
	x.keys = make([]task.Seq, 2*len(old.keys))
	x.slots = make([]Slot, 2*len(old.keys))
	x.n, x.shift = 0, old.shift-1
	for i, k := range old.keys {
		if k != 0 {
			x.put(k, old.slots[i])
		}
	}
}

func (x *index) del(k task.Seq) {
	mask := len(x.keys) - 1
	i := x.home(k)
	for x.keys[i] != k {
		if x.keys[i] == 0 {
			return
		}
		i = (i + 1) & mask
	}
	x.n--
	for j := (i + 1) & mask; x.keys[j] != 0; j = (j + 1) & mask {
		h := x.home(x.keys[j])
		if (j-h)&mask >= (j-i)&mask {
			x.keys[i], x.slots[i] = x.keys[j], x.slots[j]
			i = j
		}
	}
	x.keys[i] = 0
}
