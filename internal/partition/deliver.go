package partition

import (
	"errors"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// countLeased tells sessions and polls how much of their credit was used, so
// that the rest can go back at once.
func (r *Runner) countLeased() {
	leased := r.out.Leased
	for i := 0; i < len(leased); {
		j := i + 1
		for j < len(leased) && leased[j].Session == leased[i].Session {
			j++
		}
		if a := r.sessions[leased[i].Session]; a != nil && leased[i].Lease == nil {
			a.leased += j - i
		}
		i = j
	}
}

// build makes deliveries of what was leased, while the commit is under way. All
// they point to stands in the turn's arena, so that the cache may move on.
func (r *Runner) build(t *turn) error {
	leased := r.out.Leased
	if n := len(leased); cap(t.dels) < n {
		t.dels = make([]task.Delivery, 0, max(n, 2*cap(t.dels)))
	}
	r.missed = r.missed[:0]
	asked := 0
	for i := range leased {
		l := &leased[i]
		if i == 0 || l.Session != leased[i-1].Session || l.Lease != leased[i-1].Lease {
			g := group{from: i}
			if l.Lease != nil {
				for &r.asked[asked].lease != l.Lease {
					asked++
				}
				g.poll = r.asked[asked]
				g.recv = g.poll.recv
			} else if a := r.sessions[l.Session]; a != nil {
				g.recv, g.credit = a.recv, a.credit
			}
			t.groups = append(t.groups, g)
		}
		g := &t.groups[len(t.groups)-1]
		g.to = i + 1
		t.dels = t.dels[:i+1]
		spot := spotOf{i, len(t.groups) - 1}
		if rec := r.cache.get(l.Slot, l.Place.Seq); rec == nil {
			r.missed = append(r.missed, spot)
		} else if err := r.buildOne(t, l, rec, spot); err != nil {
			return err
		}
		r.noteUnary(l)
		if g.recv == nil {
			r.unsent = append(r.unsent, l.Token)
		}
	}
	if err := r.buildMissed(t, leased); err != nil {
		return err
	}
	if len(r.unsent) > 0 {
		r.extra = append(r.extra, queue.Command{Op: queue.OpFree, Unsent: r.unsent})
		r.unsent = nil
		r.again = true
	}
	if r.cfg.Observe != nil {
		r.sampleWaits(t)
	}
	return nil
}

// spotOf is where a delivery stands in its turn, and in which group.
type spotOf struct{ del, group int }

// buildMissed builds the deliveries whose records have to be read, in one go.
func (r *Runner) buildMissed(t *turn, leased []queue.Leased) error {
	if len(r.missed) == 0 {
		return nil
	}
	if err := r.fetchLeased(leased); err != nil {
		return err
	}
	for _, at := range r.missed {
		l := &leased[at.del]
		rec, err := r.source(&queue.Source{Slot: queue.NoSlot, Place: l.Place})
		if err != nil {
			return err
		}
		if err := r.buildOne(t, l, rec, at); err != nil {
			return err
		}
	}
	return nil
}

// buildOne makes the delivery of a leased task from its record.
func (r *Runner) buildOne(t *turn, l *queue.Leased, rec []byte, at spotOf) error {
	d := &t.dels[at.del]
	large, err := r.dec.Delivery(r.p, l.Place, t.arena.copyOf(rec), d)
	if err != nil {
		return r.unreadable(record.AppendPlaceKey(nil, r.p, l.Place), err)
	}
	if large > 0 {
		t.groups[at.group].large = true
		for len(t.large) <= at.del {
			t.large = append(t.large, 0)
		}
		t.large[at.del] = large
	}
	d.Queue, d.Type, d.Key = r.m.QueueName(l.Place.Queue), l.Type, l.Key
	d.Token, d.Attempt, d.MaxAttempts, d.Counts = l.Token, l.Attempt, l.MaxAttempts, l.Counts
	d.Timeout, d.LeaseEnd = l.Timeout, l.LeaseEnd
	r.clock.outDelivery(d)
	return nil
}

// unreadable is the fault of a record that can't be decoded. One that a later
// version wrote is whole.
func (r *Runner) unreadable(key []byte, err error) error {
	err = fmt.Errorf("read the record under %x of partition %d (run penstock doctor): %w", key, r.p, err)
	if errors.Is(err, record.ErrNewer) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrDamaged, err)
}

// deliver brings the turn's deliveries to their receivers.
func (r *Runner) deliver(t *turn) {
	for i := range t.groups {
		g := &t.groups[i]
		switch {
		case g.recv == nil:
		case g.large:
			r.deliverLarge(t, g)
		default:
			g.recv.Deliver(t.dels[g.from:g.to])
		}
	}
}

// deliverLarge reads large payloads just before they are handed over, a bounded
// number of bytes at a time. A task that has ended meanwhile is left out: its
// lease is over, and the session is told by other means.
func (r *Runner) deliverLarge(t *turn, g *group) {
	part := make([]task.Delivery, 0, g.to-g.from)
	sent := false
	flush := func() {
		if len(part) > 0 {
			g.recv.Deliver(part)
			part, sent = part[:0], true
		}
	}
	for i := g.from; i < g.to; {
		to, bytes := i, 0
		for ; to < g.to && (to == i || bytes+t.largeOf(to) <= deliverBytesMax); to++ {
			bytes += t.largeOf(to)
		}
		var ok bool
		if part, ok = r.withPayloads(t, g, part, i, to); !ok {
			return
		}
		if i = to; g.poll == nil { // a unary lease is answered once, with all it got
			flush()
		}
	}
	if flush(); !sent && g.poll != nil {
		g.recv.Deliver(nil) // nobody else would answer it
	}
}

// withPayloads appends the turn's deliveries from … to-1 to part, with their
// payloads; false when the partition has ended over them.
func (r *Runner) withPayloads(t *turn, g *group, part []task.Delivery, from, to int) ([]task.Delivery, bool) {
	var large []payload
	for i := from; i < to; i++ {
		if n := t.largeOf(i); n > 0 {
			large = append(large, payload{born: record.PlaceOf(t.dels[i].ID), bytes: make([]byte, n)})
		}
	}
	if err := r.readPayloads(large); err != nil {
		r.die(err)
		return part, false
	}
	for i := from; i < to; i++ {
		d := t.dels[i]
		if t.largeOf(i) > 0 {
			p := large[0]
			large = large[1:]
			if !p.whole {
				if r.stillBorn(d.ID) {
					return part, false
				}
				if g.credit != nil {
					g.credit.Add(1) // it was drawn for this one
				}
				continue
			}
			d.Payload = p.bytes
		}
		part = append(part, d)
	}
	return part, true
}

// largeOf is the length of the ith delivery's payload if it stands in chunks of
// its own, and else 0.
func (t *turn) largeOf(i int) int {
	if i < len(t.large) {
		return t.large[i]
	}
	return 0
}

// stillBorn says whether a task whose payload is gone stands where it was born:
// then it has not ended, the payload is lost, and the partition ends.
func (r *Runner) stillBorn(id task.ID) bool {
	key := record.AppendPlaceKey(nil, r.p, record.PlaceOf(id))
	_, found, err := store.GetOne(r.part, key, nil)
	if err == nil && found {
		err = r.unreadable(key, errors.New("its payload is missing"))
	}
	if err != nil {
		r.die(err)
	}
	return err != nil
}

// payload is a large payload to be put together.
type payload struct {
	born  queue.Place
	bytes []byte // as many as there must be
	whole bool   // all its chunks are there
}

// readPayloads reads the chunks of all of them in one go, each to its place.
func (r *Runner) readPayloads(ps []payload) error {
	var chunks []store.Point
	for i := range ps {
		p := &ps[i]
		for c := range record.ChunkCount(len(p.bytes)) {
			from, to := c*record.ChunkBytes, min((c+1)*record.ChunkBytes, len(p.bytes))
			chunks = append(chunks, store.Point{Key: record.AppendChunkKey(nil, r.p, p.born, c), Value: p.bytes[from:from:to]})
		}
	}
	if err := r.read(chunks); err != nil {
		return err
	}
	for i := range ps {
		p := &ps[i]
		n := record.ChunkCount(len(p.bytes))
		p.whole = !slices.ContainsFunc(chunks[:n], func(c store.Point) bool { return !c.Found })
		for c := range n {
			if x := &chunks[c]; p.whole && len(x.Value) != min(record.ChunkBytes, len(p.bytes)-c*record.ChunkBytes) {
				return r.unreadable(x.Key, fmt.Errorf("chunk %d of a payload of %d bytes has %d", c, len(p.bytes), len(x.Value)))
			}
		}
		chunks = chunks[n:]
	}
	return nil
}

// news sorts what the Output tells sessions besides deliveries.
func (r *Runner) news(t *turn) {
	for i := range r.out.Revoked {
		v := &r.out.Revoked[i]
		a := r.sessions[v.Session]
		if a == nil {
			continue
		}
		if n := len(t.revoked); n > 0 && t.revoked[n-1].recv == a.recv && t.revoked[n-1].why == v.Why {
			t.revoked[n-1].tokens = append(t.revoked[n-1].tokens, v.Token)
			continue
		}
		t.revoked = append(t.revoked, revoked{recv: a.recv, why: v.Why, tokens: []task.Token{v.Token}})
	}
	for _, num := range r.out.Lapsed {
		if a := r.sessions[num]; a != nil {
			r.forgetSession(a)
			t.lapsed = append(t.lapsed, a)
		}
	}
}
