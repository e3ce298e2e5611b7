package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
)

// Mem is the engine in memory: for tests, and for a simulator that owns time,
// order and failure. What is visible and what is durable are kept apart, so a
// crash means something here. It starts no goroutine and never blocks.
//
//	Begin ──▶ visible ──(wait · Sync · Acquire)──▶ durable ──Crash──▶ visible
//	              └─ Shows: reads may see less of it
//
// Without Manual a batch is durable as soon as it was begun.
type Mem struct {
	o MemOptions

	mu      sync.Mutex
	parts   map[uint16]*memPart
	log     []*memCommit // begun and not settled, in order
	tx      uint64
	down    error // ErrClosed or ErrDead until Reopen
	next    Fault // for the next Begin
	misused int
	free    uint64 // what Free says
	low     bool
}

// MemOptions: the zero value is a plain engine without faults.
type MemOptions struct {
	// Manual keeps batches apart from what is durable until they are waited for
	// or Sync is called.
	Manual bool
	// PunishSingleDelete makes a SingleDelete of a key that was set more than
	// once bring the first value back, as an LSM engine may after a flush.
	PunishSingleDelete bool
	// Nonce is the source of fences' nonces; nil means a random one.
	Nonce func() uint64
	// Shows makes reads show no more than the contract promises: of the batches
	// that a partition has begun and that are not durable only so many
	// (0 ≤ shown ≤ pending). It is asked at every read and must not call the Mem;
	// nil means all. It needs Manual: without, nothing is ever pending.
	Shows func(partition uint16, pending int) int
	// Keep says how many of the batches that a partition has begun and that are
	// not durable outlive a Tear (0 ≤ keep ≤ pending); nil means none.
	Keep func(partition uint16, pending int) int
	// KeepTorn lets half of a torn batch through, as no engine may: for tests of
	// those who would have to notice.
	KeepTorn bool
	// Fault, when set, is asked at every Acquire, Begin and read what shall go
	// wrong there. It must not call the Mem.
	Fault func(at FaultPoint, partition uint16) Fault
}

// memPart is one partition's contents. guarded by Mem.mu
type memPart struct {
	id               uint16
	epoch            uint32
	visible, durable *node
	holder           *memHold
}

// memCommit is a batch that was begun.
type memCommit struct {
	hold    *memHold
	root    *node // the partition after it
	torn    *node // after half of it; with KeepTorn
	fault   Fault
	settled bool
	err     error
}

var (
	_ Store    = (*Mem)(nil)
	_ Fullness = (*Mem)(nil)
)

// NewMem returns an empty engine.
func NewMem(o MemOptions) *Mem {
	if o.Nonce == nil {
		o.Nonce = randomNonce
	}
	return &Mem{o: o, parts: make(map[uint16]*memPart), free: math.MaxUint64}
}

// Acquire implements Store. Batches that were begun before are durable when it
// returns: they stand before the new epoch in the log.
func (m *Mem) Acquire(ctx context.Context, partition uint16, owner string) (Partition, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if partition > PartitionMax {
		return nil, fmt.Errorf("acquire partition %d: the highest is %d", partition, PartitionMax)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down != nil {
		return nil, m.down
	}
	if m.o.Fault != nil {
		if f := m.o.Fault(AtAcquire, partition); f != FaultNone {
			return nil, fmt.Errorf("acquire partition %d: %w", partition, f.err())
		}
	}
	m.settle(len(m.log))
	p := m.parts[partition]
	if p == nil {
		p = &memPart{id: partition}
		m.parts[partition] = p
	}
	if p.holder != nil {
		p.holder.fail(ErrFenced)
	}
	p.epoch++
	h := &memHold{m: m, part: p, fence: Fence{Epoch: p.epoch, Nonce: m.o.Nonce()}}
	binary.BigEndian.PutUint16(h.first[:], partition)
	p.holder = h
	return h, nil
}

// Close implements Store.
func (m *Mem) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down == nil {
		m.settle(len(m.log))
		m.stop(ErrClosed)
	}
	return nil
}

// Reopen makes a closed or dead store usable again, with what was durable.
func (m *Mem) Reopen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = nil
}

// Sync makes every batch that was begun durable.
func (m *Mem) Sync() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settle(len(m.log))
}

// Pending is how many batches were begun and are not durable.
func (m *Mem) Pending() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.log)
}

// stop lets go of every holder and of what was not durable.
func (m *Mem) stop(why error) {
	for _, c := range m.log {
		c.settled, c.err = true, ErrDead
	}
	m.log = nil
	for _, p := range m.parts {
		p.visible = p.durable
		if p.holder != nil {
			p.holder.fail(why)
			p.holder = nil
		}
	}
	m.down = why
}

// settle decides the first n batches of the log.
func (m *Mem) settle(n int) {
	for _, c := range m.log[:n] {
		c.settled = true
		h := c.hold
		switch {
		case h.broken: // an earlier batch of this holder went wrong: order forbids this one
			c.err = h.failed
		case c.fault == FaultNone:
			h.part.durable = c.root
		default:
			if c.fault == FaultUnknownKept {
				h.part.durable = c.root
			}
			c.err = c.fault.err()
			h.fail(ErrDead)
			h.broken = true
			h.part.visible = h.part.durable
		}
	}
	m.log = append(m.log[:0], m.log[n:]...)
	if len(m.log) == 0 && cap(m.log) > 64 {
		m.log = nil
	}
}

func (m *Mem) settleThrough(c *memCommit) {
	for i := range m.log {
		if m.log[i] == c {
			m.settle(i + 1)
			return
		}
	}
}

// apply returns the partition after the first n operations of b.
func (m *Mem) apply(root *node, b *Batch, n int) *node {
	m.tx++
	e := edit{tx: m.tx, punish: m.o.PunishSingleDelete}
	b.Each(func(op Op, key, value []byte) {
		if op == OpDeleteRange {
			root = e.deleteRange(root, key, value)
		}
	})
	b.Each(func(op Op, key, value []byte) {
		if n--; n < 0 {
			return
		}
		switch op {
		case OpSet:
			root = e.set(root, key, value)
		case OpDelete:
			root = e.remove(root, key)
		case OpSingleDelete:
			old, _ := root.get(key)
			root = e.remove(root, key)
			if old.first != nil {
				m.misused++
				root = e.set(root, key, old.first)
			}
		}
	})
	return root
}

// check reports what breaks the contract of Batch.
func (m *Mem) check(partition uint16, b *Batch) error {
	if err := CheckBatch(partition, b); err != nil || !m.o.PunishSingleDelete {
		return err
	}
	var err error
	named := make(map[string]struct{}, b.Len())
	b.Each(func(op Op, key, _ []byte) {
		if op == OpDeleteRange || err != nil {
			return
		}
		if _, twice := named[string(key)]; twice {
			err = fmt.Errorf("store: key %x is named twice in a batch", key)
		}
		named[string(key)] = struct{}{}
	})
	return err
}

// memHold is one acquisition.
type memHold struct {
	m      *Mem
	part   *memPart
	fence  Fence
	first  [2]byte // what every key begins with
	failed error   // guarded by m.mu; why nothing goes any more
	broken bool    // guarded by m.mu; a batch went wrong, later ones must too
}

var (
	_ Partition = (*memHold)(nil)
	_ Prompt    = (*memHold)(nil)
)

// fail is called with m.mu held. The first reason stays.
func (h *memHold) fail(why error) {
	if h.failed == nil {
		h.failed = why
	}
}

// Fence implements Partition.
func (h *memHold) Fence() Fence { return h.fence }

// view is what a read may see.
func (h *memHold) view() (*node, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.failed != nil {
		return nil, h.failed
	}
	if f := h.m.o.Fault; f != nil {
		if f := f(AtRead, h.part.id); f != FaultNone {
			return nil, fmt.Errorf("read partition %d: %w", h.part.id, f.err())
		}
	}
	return h.shown(), nil
}

// shown is called with m.mu held.
func (h *memHold) shown() *node {
	m := h.m
	if m.o.Shows == nil {
		return h.part.visible
	}
	pending := 0
	for _, c := range m.log {
		if c.hold == h {
			pending++
		}
	}
	left, root := m.o.Shows(h.part.id, pending), h.part.durable
	for _, c := range m.log {
		if c.hold == h && left > 0 {
			left, root = left-1, c.root
		}
	}
	return root
}

// ShowsBegun implements Prompt.
func (h *memHold) ShowsBegun() bool { return h.m.o.Shows == nil }

// Get implements Partition.
func (h *memHold) Get(points []Point) error {
	root, err := h.view()
	if err != nil {
		return err
	}
	if err := CheckPoints(h.part.id, points); err != nil {
		return err
	}
	for i := range points {
		it, ok := root.get(points[i].Key)
		points[i].Value, points[i].Found = append(points[i].Value, it.value...), ok
	}
	return nil
}

// Scan implements Partition.
func (h *memHold) Scan(from, to []byte) Iterator {
	root, err := h.view()
	if err != nil {
		return &memIter{err: err}
	}
	from, to = ClipRange(h.part.id, from, to)
	it := &memIter{c: cursor{root: root}, from: from, to: to}
	it.c.seek(from)
	return it
}

// Begin implements Partition.
func (h *memHold) Begin(b *Batch) (wait func() error) {
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.failed != nil {
		return failedWait(h.failed)
	}
	if err := m.check(h.part.id, b); err != nil {
		h.fail(err)
		return failedWait(err)
	}
	c := &memCommit{hold: h, fault: m.next}
	m.next = FaultNone
	if c.fault == FaultNone && m.o.Fault != nil {
		c.fault = m.o.Fault(AtBegin, h.part.id)
	}
	if c.fault == FaultFull {
		h.fail(ErrDead) // what follows must not become durable without this one
		return failedWait(ErrFull)
	}
	if m.o.KeepTorn {
		c.torn = m.apply(h.part.visible, b, b.Len()/2)
	}
	c.root = m.apply(h.part.visible, b, b.Len())
	h.part.visible = c.root
	m.log = append(m.log, c)
	switch {
	case c.fault == FaultCrash:
		m.crash(0)
	case c.fault == FaultTear:
		c.fault = FaultNone
		m.tear()
	case c.fault == FaultCrashKept:
		c.fault = FaultNone
		m.crash(len(m.log))
		c.err = ErrDead // nobody lived to hear that it was written
	case !m.o.Manual:
		m.settle(len(m.log))
	}
	return func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !c.settled {
			m.settleThrough(c)
		}
		return c.err
	}
}

// Release implements Partition.
func (h *memHold) Release() error {
	m := h.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.failed == nil {
		m.settle(len(m.log))
	}
	if h.part.holder == h {
		h.part.holder = nil
	}
	h.failed = ErrClosed
	return nil
}

// memIter walks one root.
type memIter struct {
	c        cursor
	from, to []byte
	at       *item
	down     bool // the cursor stands for Prev
	err      error
}

func (it *memIter) Next() bool {
	if it.err != nil {
		return false
	}
	it.at = it.c.next()
	if it.at != nil && it.to != nil && bytes.Compare(it.at.key, it.to) >= 0 {
		it.at, it.c.path = nil, it.c.path[:0]
	}
	return it.at != nil
}

func (it *memIter) SeekGE(key []byte) {
	if bytes.Compare(key, it.from) < 0 {
		key = it.from
	}
	it.at, it.down = nil, false
	it.c.seek(key)
}

func (it *memIter) Prev() bool {
	if it.err != nil {
		return false
	}
	if !it.down {
		it.SeekLT(it.to)
	}
	it.at = it.c.prev()
	if it.at != nil && bytes.Compare(it.at.key, it.from) < 0 {
		it.at, it.c.path = nil, it.c.path[:0]
	}
	return it.at != nil
}

func (it *memIter) SeekLT(key []byte) {
	if bytes.Compare(key, it.to) > 0 {
		key = it.to
	}
	it.at, it.down = nil, true
	it.c.seekLT(key)
}

func (it *memIter) Find(key []byte) bool {
	it.at, it.c.path = nil, it.c.path[:0]
	if it.err != nil || bytes.Compare(key, it.from) < 0 || it.to != nil && bytes.Compare(key, it.to) >= 0 {
		return false
	}
	if x, found := it.c.root.get(key); found {
		it.at = &x
	}
	return it.at != nil
}

func (it *memIter) Key() []byte   { return it.at.key }
func (it *memIter) Value() []byte { return it.at.value }

func (it *memIter) Close() error {
	it.c = cursor{}
	err := it.err
	it.err = ErrClosed
	return err
}

func failedWait(err error) func() error { return func() error { return err } }

func randomNonce() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: it ends the program where there is no randomness
	return binary.LittleEndian.Uint64(b[:])
}
