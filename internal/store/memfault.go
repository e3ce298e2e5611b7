package store

import "fmt"

// FaultPoint is where a Mem may go wrong.
type FaultPoint uint8

// The points a fault can be asked for at.
const (
	AtAcquire FaultPoint = iota
	AtBegin
	AtRead
)

// Fault is what goes wrong. At Acquire and at reads every fault is an error and
// changes nothing; the differences are for Begin.
type Fault uint8

// The faults. Whatever a batch's fault, the holder is of no use afterwards, and
// batches it began later are not applied: order forbids it.
const (
	FaultNone        Fault = iota
	FaultFull              // refused at once with ErrFull, never visible
	FaultError             // visible, then ErrDead: not written
	FaultUnknownLost       // visible, then ErrUnknown: not written
	FaultUnknownKept       // visible, then ErrUnknown: written
	FaultCrash             // the process dies: what was not durable is gone, this batch too
	FaultCrashKept         // the process dies just after all that was begun became durable
	FaultTear              // the process dies in the middle of writing: see Tear
)

var faultNames = [...]string{"none", "full", "error", "unknown, lost", "unknown, kept", "crash", "crash, kept", "tear"}

// String names the fault in a simulator's log.
func (f Fault) String() string {
	if int(f) < len(faultNames) {
		return faultNames[f]
	}
	return fmt.Sprintf("fault %d", uint8(f))
}

func (f Fault) err() error {
	switch f {
	case FaultFull:
		return ErrFull
	case FaultUnknownLost, FaultUnknownKept:
		return ErrUnknown
	}
	return ErrDead
}

// Fail makes the next Begin, on whatever partition, go wrong.
func (m *Mem) Fail(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.next = f
}

// Crash ends the process that holds the store: every holder gets ErrDead, and
// what is left is what was durable and the first keep of the batches begun
// since (0 ≤ keep ≤ Pending; a batch is never torn). Like a restarted process,
// the caller may Acquire at once.
func (m *Mem) Crash(keep int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crash(keep)
}

// Tear ends the process like Crash, in the middle of writes that went on side by
// side: each partition keeps as many of its own batches as Keep says, in order,
// and the next one is torn. A torn batch is dropped whole, as an engine drops the
// torn end of its log.
func (m *Mem) Tear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tear()
}

func (m *Mem) tear() {
	pending := map[uint16]int{}
	for _, c := range m.log {
		pending[c.hold.part.id]++
	}
	left := map[uint16]int{}
	var kept, lost []*memCommit
	for _, c := range m.log {
		p := c.hold.part.id
		if n, asked := pending[p]; asked {
			delete(pending, p)
			if m.o.Keep != nil {
				left[p] = m.o.Keep(p, n)
			}
		}
		if left[p]--; left[p] >= 0 {
			kept = append(kept, c)
		} else {
			lost = append(lost, c)
		}
	}
	m.log = append(kept, lost...)
	m.settle(len(kept))
	for _, c := range m.log {
		if p := c.hold.part; left[p.id] < 0 && c.torn != nil {
			p.durable, left[p.id] = c.torn, 0
		}
	}
	m.crash(0)
}

func (m *Mem) crash(keep int) {
	m.settle(min(keep, len(m.log)))
	m.stop(ErrDead)
	m.down = nil
}

// Die makes the whole store fail, as a disk that can't be written does: all
// calls return ErrDead until Reopen, and what was not durable is gone.
func (m *Mem) Die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stop(ErrDead)
}

// SetFree makes the store's disk as full as a test wants it. It only changes
// what Free says: FaultFull refuses.
func (m *Mem) SetFree(bytes uint64, low bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free, m.low = bytes, low
}

// Free implements Fullness. Memory is endless until SetFree.
func (m *Mem) Free() (bytes uint64, low bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.free, m.low
}

// Misused is how many SingleDeletes brought an old value back.
func (m *Mem) Misused() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.misused
}
