package queue

import (
	"hash/fnv"

	"github.com/penstock-io/penstock/internal/task"
)

// idems enforces idempotency keys. An entry holds from enqueue to the later of
// its window and the end of its task, unless that is deleted before it succeeds;
// it lives in the store and is read when a batch names it. got is what is known in this Apply: nil = no such entry.
type idems struct {
	got      map[IdemKey]*Idem
	next     task.Time // of the next sweep
	sweeping bool
	at       IdemKey
}

const idemOverhead = 48 // bytes of an entry beside its key

func (d *idems) init() { d.got = map[IdemKey]*Idem{} }

func (d *idems) forget() {
	if len(d.got) > 0 {
		clear(d.got)
	}
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
func IdemKeyOf(queue uint32, key string) IdemKey { return IdemKey{queue, hashOf(key)} }

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
		e, ok := d.got[k]
		if !ok {
			all = false
			m.want(Want{What: WantIdem, Queue: k.Queue, Hash: k.Hash, Key: s.Idempotency})
			continue
		}
		if e == nil || e.Until > m.now {
			continue
		}
		if _, here := m.index.get(e.ID.Seq); here {
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
				if _, ok := d.got[k]; ok {
					m.want(Want{What: WantIdem, Queue: k.Queue, Hash: k.Hash, Key: s.Idempotency})
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
	if d.got[IdemKey{q.state.Queue, hashOf(s.Idempotency)}] == nil && q.state.IdemBytes+size > m.cfg.IdemBytes {
		r.Err = task.Errorf(task.Exhausted, "queue %q holds %d bytes of idempotency keys, the most it may: use shorter windows", q.state.Name, q.state.IdemBytes)
		return true
	}
	return false
}

// held is the entry that holds a spec's key now, or nil.
func (d *idems) held(m *Machine, q *queueOf, s *task.Spec) *Idem {
	e := d.got[IdemKey{q.state.Queue, hashOf(s.Idempotency)}]
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
	if old := d.got[k]; old != nil {
		q.state.IdemBytes -= int64(idemOverhead + len(old.Name))
	}
	e := Idem{Key: k, Name: s.Idempotency, ID: id, Payload: payloadHash(s), Until: m.now.Add(window)}
	d.got[k] = &e
	q.state.IdemBytes += int64(idemOverhead + len(e.Name))
	for i := range m.out.Idems { // a later put of the same key in one batch replaces the earlier
		if m.out.Idems[i].Key == k {
			m.out.Idems[i] = e
			return
		}
	}
	m.out.Idems = append(m.out.Idems, e)
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
	e := a.Idem
	if e != nil {
		if known, ok := m.idems.got[e.Key]; ok { // it may have changed in this Apply
			e = known
		}
	}
	if e != nil && e.ID.Seq == id.Seq {
		m.idems.drop(m, e)
	}
	return true
}

// drop takes an entry away. One that this very Apply puts is taken back.
func (d *idems) drop(m *Machine, e *Idem) {
	m.out.DropIdems = append(m.out.DropIdems, e.Key)
	for i := range m.out.Idems {
		if m.out.Idems[i].Key == e.Key {
			m.out.Idems = append(m.out.Idems[:i], m.out.Idems[i+1:]...)
			break
		}
	}
	d.got[e.Key] = nil
	if q := m.numbered[e.Key.Queue]; q != nil {
		q.state.IdemBytes -= int64(idemOverhead + len(e.Name))
		m.touch(q)
	}
	m.dirty = true
}

// sweepIdems walks the entries, a bounded step at a time, and drops those whose
// window and task are both over.
func (m *Machine) sweepIdems() {
	d := &m.idems
	if d.next == 0 {
		d.next = m.now.Add(idemSweepEvery)
	}
	if d.sweeping || m.now < d.next {
		return
	}
	d.sweeping = true
	m.want(Want{What: WantIdemSweep, Queue: d.at.Queue, Hash: d.at.Hash, Limit: idemSweepMax})
}

func (m *Machine) idemsSwept(a *Loaded) {
	d := &m.idems
	d.sweeping = false
	for i := range a.Idems {
		e := &a.Idems[i].Idem
		d.at = IdemKey{e.Key.Queue, e.Key.Hash + 1}
		if e.Until > m.now || a.Idems[i].Live {
			continue
		}
		d.drop(m, e)
	}
	if len(a.Idems) < idemSweepMax {
		d.at, d.next = IdemKey{}, m.now.Add(idemSweepEvery)
	}
}
