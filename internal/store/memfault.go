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
)

var faultNames = [...]string{"none", "full", "error", "unknown, lost", "unknown, kept", "crash", "crash, kept"}

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
