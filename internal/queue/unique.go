package queue

import (
	"hash/fnv"

	"github.com/penstock-io/penstock/internal/task"
)

// idems enforces idempotency keys. An entry holds from enqueue to the later of
// its window and the end of its task, unless that is deleted before it succeeds;
// it lives in the store and is read when a batch names it.
type idems struct {
	got     map[IdemKey]*idemNow // what is known in this Apply
	changed []*idemNow           // … and is not as the store has it, in the order of the first change
	due     idemDues
	brief   briefs
}

// idemNow is an entry as the store has it and as this Apply has left it; nil: there
// is none.
type idemNow struct {
	was, is *Idem
	changed bool
	brief   bool // was is one of the briefs
	read    bool // in the store, for this Apply alone
}

const idemOverhead = 48 // bytes of an entry beside its key

func (d *idems) init(now, next task.Time) {
	d.got = map[IdemKey]*idemNow{}
	d.due = idemDues{next: next, touched: map[IdemKey]struct{}{}, revived: map[task.Seq]struct{}{}}
	d.due.from.At = now // what is put from here on is due later
	if next != 0 {
		d.due.from.At = min(next, now)
	}
}

// learn takes in what the store has. It comes before all changes.
func (d *idems) learn(k IdemKey, e *Idem) {
	if d.got[k] == nil && !d.remember(k) {
		d.got[k] = &idemNow{was: e, is: e, read: true}
	}
}

// remember takes in what is in memory, and says whether that is so.
func (d *idems) remember(k IdemKey) bool {
	e := d.brief.get(k)
	if e != nil {
		d.got[k] = &idemNow{was: e, is: e, brief: true}
	}
	return e != nil
}

// unbrief takes a changed entry out of the briefs, where it is no more.
func (d *idems) unbrief(m *Machine, n *idemNow) {
	if n.brief {
		d.brief.drop(m, n.was.Key)
		n.was, n.brief = nil, false
	}
}

// set changes an entry that is known, and the count of its queue's bytes.
func (d *idems) set(m *Machine, k IdemKey, e *Idem) {
	n, q := d.got[k], m.numbered[k.Queue]
	if q == nil {
		return // its queue was deleted, and its entries with it
	}
	q.state.IdemBytes += e.bytes() - n.is.bytes()
	n.is = e
	if !n.changed {
		n.changed = true
		d.changed = append(d.changed, n)
	}
	d.due.touch(k)
	m.touch(q)
	m.dirty = true
}

func (e *Idem) bytes() int64 {
	if e == nil {
		return 0
	}
	return int64(idemOverhead + len(e.Name))
}

// put writes what has changed, and forgets what was known.
func (d *idems) put(m *Machine) {
	for _, n := range d.changed {
		d.unbrief(m, n)
		if n.was == nil && n.is != nil && d.brief.takes(m, n.is) {
			d.brief.add(n.is)
			m.out.Briefs.put(*n.is)
			continue
		}
		d.due.put(m, n)
		if q := m.numbered[n.key().Queue]; q != nil {
			q.idemBytes += n.is.bytes() - n.was.bytes()
		}
		switch {
		case n.is != nil:
			m.out.Idems.put(*n.is)
		case n.was != nil:
			m.out.Idems.drop(n.was.Key)
		}
	}
	clear(d.changed)
	d.changed = d.changed[:0]
	if len(d.got) > 0 {
		clear(d.got)
	}
}

// key names an entry that has changed; without one there is nothing to name.
func (n *idemNow) key() IdemKey {
	switch {
	case n.is != nil:
		return n.is.Key
	case n.was != nil:
		return n.was.Key
	}
	return IdemKey{}
}

func hashOf(parts ...string) uint64 {
	h := fnv.New64a()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return h.Sum64()
}

// IdemKeyOf names the entry of an idempotency key of a queue.
func IdemKeyOf(queue QueueNum, key string) IdemKey { return IdemKey{queue, hashOf(key)} }

func payloadHash(s *task.Spec) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s.Type))
	h.Write([]byte{0})
	h.Write(s.Payload)
	return h.Sum64()
}

// known says whether everything about the batch's keys has been read, and asks
// for what has not.
func (d *idems) known(m *Machine, q *queueOf, b *task.EnqueueBatch) bool {
	all := true
	for i := range b.Specs {
		s := &b.Specs[i]
		if s.Idempotency == "" || len(s.Idempotency) > task.IdempotencyMax {
			continue
		}
		k := IdemKey{q.state.Queue, hashOf(s.Idempotency)}
		n, ok := d.got[k]
		if !ok && d.remember(k) {
			n, ok = d.got[k], true
		}
		if !ok && q.idemBytes == 0 { // all entries of the queue are in memory
			n, ok = &idemNow{}, true
			d.got[k] = n
		}
		if !ok {
			all = false
			m.want(Want{What: WantIdem, Queue: k.Queue, Hash: k.Hash, Key: s.Idempotency})
			continue
		}
		e := n.is
		if e == nil || e.Until > m.now {
			continue
		}
		if _, here := m.index.get(e.ID.Seq); here || m.surelyGone(e.ID) {
			continue
		}
		if _, asked := m.gotTask[e.ID.Seq]; !asked {
			all = false
			m.want(Want{What: WantTask, ID: e.ID})
			m.want(Want{What: WantIdem, Queue: k.Queue, Hash: k.Hash, Key: s.Idempotency})
		}
	}
	if !all { // what is known now must be known in the next Apply as well
		for i := range b.Specs {
			if s := &b.Specs[i]; s.Idempotency != "" {
				k := IdemKey{q.state.Queue, hashOf(s.Idempotency)}
				n, ok := d.got[k]
				if ok && n.read {
					m.want(Want{What: WantIdem, Queue: k.Queue, Hash: k.Hash, Key: s.Idempotency})
				}
				if ok && n.is != nil && m.gotTask[n.is.ID.Seq] != nil {
					m.want(Want{What: WantTask, ID: n.is.ID})
				}
			}
		}
	}
	return all
}

// repeat answers a spec whose key is held: the earlier task, or a refusal.
func (d *idems) repeat(m *Machine, q *queueOf, s *task.Spec, r *task.Enqueued) bool {
	if e := d.held(m, q, s); e != nil {
		switch {
		case e.Name != s.Idempotency:
			r.Err = task.Errorf(task.Conflict, "idempotency key %q collides with another key: change a letter of it", s.Idempotency)
		case e.Payload != payloadHash(s):
			r.Err = task.Errorf(task.Conflict, "idempotency key %q is held by task %s with another type or payload: use another key, or wait until it is free", s.Idempotency, e.ID)
		default:
			r.ID, r.Existing = e.ID, true
		}
		return true
	}
	size := int64(idemOverhead + len(s.Idempotency))
	if d.got[IdemKey{q.state.Queue, hashOf(s.Idempotency)}].is == nil && q.state.IdemBytes+size > m.cfg.IdemBytes {
		r.Err = task.Errorf(task.Exhausted, "queue %q holds %d bytes of idempotency keys, the most it may: use shorter windows", q.state.Name, q.state.IdemBytes)
		return true
	}
	return false
}

// held is the entry that holds a spec's key now, or nil.
func (d *idems) held(m *Machine, q *queueOf, s *task.Spec) *Idem {
	e := d.got[IdemKey{q.state.Queue, hashOf(s.Idempotency)}].is
	if e != nil && (e.Until > m.now || m.isLive(e.ID.Seq)) {
		return e
	}
	return nil
}

// isLive: in memory, or read as live in this Apply.
func (m *Machine) isLive(seq task.Seq) bool {
	if _, here := m.index.get(seq); here {
		return true
	}
	a := m.gotTask[seq]
	return a != nil && len(a.Waiting) > 0
}

// note holds the key for the new task.
func (d *idems) note(m *Machine, q *queueOf, s *task.Spec, id task.ID) {
	k := IdemKey{q.state.Queue, hashOf(s.Idempotency)}
	window := s.IdempotencyFor
	if window == 0 {
		window = task.DefaultIdempotency
	}
	until := m.now.Add(window)
	d.set(m, k, &Idem{Key: k, Name: s.Idempotency, ID: id, Payload: payloadHash(s), Until: until, Due: until})
}

// freeKey gives up the idempotency key of a task that is deleted. False: what
// holds the key must be read first.
func (m *Machine) freeKey(id task.ID, flags Flags) bool {
	if flags&FlagIdem == 0 {
		return true
	}
	a := m.gotTask[id.Seq]
	if a == nil || !a.Want.Idem {
		m.want(Want{What: WantTask, ID: id, Idem: true})
		return false
	}
	if a.Idem == nil {
		return true
	}
	m.idems.learn(a.Idem.Key, a.Idem)
	if e := m.idems.got[a.Idem.Key].is; e != nil && e.ID.Seq == id.Seq { // it may have changed in this Apply
		m.idems.set(m, e.Key, nil)
	}
	return true
}
