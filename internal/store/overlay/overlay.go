// Package overlay shows batches from their Begin on, over an engine whose reads
// show only what is durable. It keeps what has begun and is not known to be
// durable, at most as many batches as its user lets be under way, and lays it
// over what the engine reads. Nobody who does not read pays for it.
package overlay

import (
	"slices"
	"sync"

	"github.com/penstock-io/penstock/internal/store"
)

// Partition is a store.Partition whose reads show exactly the batches that have
// begun.
type Partition struct {
	store.Partition

	mu    sync.Mutex // guards all below
	begun []*layer   // oldest first
	seen  *view      // of begun; nil: to be made
	pins  int        // views of the engine being taken: nothing is dropped meanwhile
	over  bool       // a commit has failed
}

// layer is a batch that has begun.
type layer struct {
	b       *store.Batch
	own     bool // b is a copy
	durable bool
}

var (
	_ store.Partition = (*Partition)(nil)
	_ store.Prompt    = (*Partition)(nil)
)

// Over returns p itself if its engine shows batches as soon as they have begun,
// and else a Partition over it.
func Over(p store.Partition) store.Partition {
	if x, ok := p.(store.Prompt); ok && x.ShowsBegun() {
		return p
	}
	return &Partition{Partition: p}
}

// ShowsBegun implements store.Prompt.
func (p *Partition) ShowsBegun() bool { return true }

// Begin implements store.Partition.
func (p *Partition) Begin(b *store.Batch) (wait func() error) {
	l := &layer{b: b}
	// Before the engine has it: what an engine shows must stand here, or older
	// batches would cover it.
	p.mu.Lock()
	if !p.over {
		p.begun, p.seen = append(p.begun, l), nil
	}
	p.mu.Unlock()
	engine := p.Partition.Begin(b)
	return func() error {
		err := engine()
		p.settle(l, err)
		return err
	}
}

// settle lets go of the caller's batch. After an error reads show what the engine
// shows, or its refusal: the partition is of no use any more.
func (p *Partition) settle(l *layer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.begun, p.seen, p.over = nil, nil, true
		return
	}
	if l.durable = true; p.pins > 0 {
		l.copy()
	}
	p.drop()
}

// drop forgets what is durable: whatever reads the engine from now on finds it
// there. What was begun before a durable batch is durable too.
func (p *Partition) drop() {
	if p.pins > 0 {
		return
	}
	for i := len(p.begun) - 1; i >= 0; i-- {
		if p.begun[i].durable {
			p.begun, p.seen = slices.Delete(p.begun, 0, i+1), nil
			return
		}
	}
}

// copy makes the layer independent of its caller's batch.
func (l *layer) copy() {
	if !l.own {
		b := new(store.Batch)
		b.Append(l.b)
		l.b, l.own = b, true
	}
}

// look returns what has begun, nil for nothing. It stays as it is for ever.
func (p *Partition) look() *view {
	if len(p.begun) == 0 {
		return nil
	}
	if p.seen == nil {
		for _, l := range p.begun {
			l.copy()
		}
		p.seen = newView(p.begun)
	}
	return p.seen
}

// Get implements store.Partition. What has begun is looked at first: a key that
// is not in it is in the engine as it was then, or as it became later.
func (p *Partition) Get(points []store.Point) error {
	p.mu.Lock()
	v := p.look()
	p.mu.Unlock()
	if v == nil {
		return p.Partition.Get(points)
	}
	var left []int
	for i := range points {
		x := &points[i]
		e, known := v.get(x.Key)
		if !known {
			left = append(left, i)
			continue
		}
		x.Value, x.Found = append(x.Value, e.value...), !e.gone
	}
	if len(left) == len(points) {
		return p.Partition.Get(points)
	}
	below := make([]store.Point, len(left)) // none: the engine is asked whether we may read at all
	for j, i := range left {
		below[j] = points[i]
	}
	if err := p.Partition.Get(below); err != nil {
		return err
	}
	for j, i := range left {
		points[i] = below[j]
	}
	return nil
}

// Scan implements store.Partition. While the engine's view is taken nothing is
// dropped, so that whatever it shows or does not show of what has begun by then
// is laid over it, and the two are one moment.
func (p *Partition) Scan(from, to []byte) store.Iterator {
	p.mu.Lock()
	p.pins++
	p.mu.Unlock()
	it := p.Partition.Scan(from, to)
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.look()
	p.pins--
	p.drop()
	if v == nil {
		return it
	}
	return newIter(it, v, from, to)
}
