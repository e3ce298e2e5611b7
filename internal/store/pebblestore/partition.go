package pebblestore

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/internal/store"
)

// The engine's own keys stand above every partition's.
//
//	ffff 'e' partition   epoch u32 · nonce u64 · owner
const (
	ownKeys   = 0xffff
	epochKind = 'e'
	epochHead = 12
	ownerMax  = 255
)

func epochKey(partition uint16) []byte {
	k := binary.BigEndian.AppendUint16(nil, ownKeys)
	return binary.BigEndian.AppendUint16(append(k, epochKind), partition)
}

func appendEpoch(b []byte, f store.Fence, owner string) []byte {
	b = binary.BigEndian.AppendUint32(b, f.Epoch)
	b = binary.BigEndian.AppendUint64(b, f.Nonce)
	return append(b, owner[:min(len(owner), ownerMax)]...)
}

func parseEpoch(v []byte) (f store.Fence, err error) {
	if len(v) < epochHead {
		return f, fmt.Errorf("%w: the epoch record has %d bytes instead of at least %d", ErrCorrupt, len(v), epochHead)
	}
	return store.Fence{Epoch: binary.BigEndian.Uint32(v), Nonce: binary.BigEndian.Uint64(v[4:])}, nil
}

// hold is one acquisition.
//
// There is no fence in the batches: the folder's lock keeps other processes
// away, and Acquire takes mu of the hold before, so that no batch of it can
// follow the new epoch into the log.
type hold struct {
	s     *Store
	id    uint16
	fence store.Fence
	mu    sync.Mutex            // held by Begin
	over  atomic.Pointer[error] // why nothing goes any more; set with mu held
}

var (
	_ store.Partition = (*hold)(nil)
	_ store.Prompt    = (*hold)(nil)
)

func newHold(s *Store, id uint16, f store.Fence) *hold { return &hold{s: s, id: id, fence: f} }

// end makes every later call fail. The first reason stays, but for a release.
func (h *hold) end(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.endLocked(why)
}

func (h *hold) endLocked(why error) {
	if why == store.ErrClosed || h.over.Load() == nil {
		h.over.Store(&why)
	}
}

// ShowsBegun implements store.Prompt: a batch is in the memtable when Begin
// returns.
func (h *hold) ShowsBegun() bool { return true }

// Fence implements store.Partition.
func (h *hold) Fence() store.Fence { return h.fence }

// enter must be followed by h.s.gate.RUnlock when it returns nil.
func (h *hold) enter() error {
	if over := h.over.Load(); over != nil {
		return *over
	}
	return h.s.enter()
}

// Scan implements store.Partition.
func (h *hold) Scan(from, to []byte) store.Iterator {
	if err := h.enter(); err != nil {
		return &iter{err: err}
	}
	defer h.s.gate.RUnlock()
	from, to = store.ClipRange(h.id, from, to)
	return h.s.newIter(from, to)
}

// Begin implements store.Partition.
func (h *hold) Begin(b *store.Batch) (wait func() error) {
	if err := h.enter(); err != nil {
		return failedWait(err)
	}
	defer h.s.gate.RUnlock()
	h.mu.Lock() // after the gate: see Store
	defer h.mu.Unlock()
	if over := h.over.Load(); over != nil {
		return failedWait(*over)
	}
	if b.Bytes() > batchBytesMax {
		err := fmt.Errorf("commit: a batch of %d bytes is above the limit of %d", b.Bytes(), batchBytesMax)
		h.endLocked(err)
		return failedWait(err)
	}
	if h.s.space.refuses(b.Bytes()) {
		h.s.m.refused.Add(1)
		h.s.startReclaim()
		h.endLocked(store.ErrDead) // what follows must not become durable without this one
		return failedWait(fmt.Errorf("%w: free some space on the disk of %s", store.ErrFull, h.s.dir))
	}
	c := h.s.pool.Get().(*commit)
	if err := c.begin(h, b); err != nil {
		h.endLocked(store.ErrDead)
		return failedWait(err)
	}
	return c.wait
}

// Release implements store.Partition.
func (h *hold) Release() error {
	h.end(store.ErrClosed)
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	if h.s.holds[h.id] == h {
		delete(h.s.holds, h.id)
	}
	return nil
}

func failedWait(err error) func() error { return func() error { return err } }
