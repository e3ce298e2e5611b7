package partition

import (
	"errors"
	"fmt"

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
		large, err := r.buildOne(t, l, &t.dels[i])
		if err != nil {
			return err
		}
		if large > 0 {
			g.large = true
			for len(t.large) < i {
				t.large = append(t.large, 0)
			}
			t.large = append(t.large, large)
		}
		r.noteUnary(l)
		if g.recv == nil {
			r.unsent = append(r.unsent, l.Token)
		}
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

func (r *Runner) buildOne(t *turn, l *queue.Leased, d *task.Delivery) (large int, err error) {
	rec := r.cache.get(l.Slot, l.Place.Seq)
	if rec == nil {
		if rec, err = r.source(&queue.Source{Slot: queue.NoSlot, Place: l.Place}); err != nil {
			return 0, err
		}
	}
	if large, err = r.dec.Delivery(r.p, l.Place, t.arena.copyOf(rec), d); err != nil {
		return 0, r.unreadable(record.AppendPlaceKey(nil, r.p, l.Place), err)
	}
	d.Queue, d.Type, d.Key = r.m.QueueName(l.Place.Queue), l.Type, l.Key
	d.Token, d.Attempt, d.MaxAttempts, d.Counts = l.Token, l.Attempt, l.MaxAttempts, l.Counts
	d.Timeout, d.LeaseEnd = l.Timeout, l.LeaseEnd
	r.clock.outDelivery(d)
	return large, nil
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
	bytes, sent := 0, false
	flush := func() {
		if len(part) > 0 {
			g.recv.Deliver(part)
			part, bytes, sent = part[:0], 0, true
		}
	}
	for i := g.from; i < g.to; i++ {
		d := t.dels[i]
		if i < len(t.large) && t.large[i] > 0 {
			payload, ok, err := r.readChunks(record.PlaceOf(d.ID), t.large[i])
			if err != nil {
				r.die(err)
				return
			}
			if !ok {
				if r.stillBorn(d.ID) {
					return
				}
				if g.credit != nil {
					g.credit.Add(1) // it was drawn for this one
				}
				continue
			}
			d.Payload = payload
			// A unary lease is answered once, with all it got.
			if bytes += len(payload); bytes > deliverBytesMax && g.poll == nil {
				flush()
				bytes = len(payload)
			}
		}
		part = append(part, d)
	}
	if flush(); !sent && g.poll != nil {
		g.recv.Deliver(nil) // nobody else would answer it
	}
}

// stillBorn says whether a task whose payload is gone stands where it was born:
// then it has not ended, the payload is lost, and the partition ends.
func (r *Runner) stillBorn(id task.ID) bool {
	key := record.AppendPlaceKey(nil, r.p, record.PlaceOf(id))
	_, found, err := r.part.Get(key, nil)
	if err == nil && found {
		err = r.unreadable(key, errors.New("its payload is missing"))
	}
	if err != nil {
		r.die(err)
	}
	return err != nil
}

// readChunks puts a large payload together; false when it is not all there.
func (r *Runner) readChunks(born queue.Place, size int) ([]byte, bool, error) {
	payload := make([]byte, 0, size)
	var key []byte
	for i := range record.ChunkCount(size) {
		key = record.AppendChunkKey(key[:0], r.p, born, i)
		var found bool
		var err error
		if payload, found, err = r.part.Get(key, payload); err != nil {
			return nil, false, fmt.Errorf("read %x: %w", key, err)
		}
		if !found {
			return nil, false, nil
		}
	}
	if len(payload) != size {
		return nil, false, r.unreadable(key, fmt.Errorf("a payload of %d bytes has chunks of %d", size, len(payload)))
	}
	return payload, true, nil
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
