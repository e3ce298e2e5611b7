package queue

import (
	"strings"

	"github.com/penstock-io/penstock/internal/task"
)

// idemDues follows the index by which idempotency entries end. It names exactly
// the entries there are: each is looked at when its window is over, and later again
// while its task lives. Entries that are due are read beside the loop; what has
// changed since is left out of the answer.
type idemDues struct {
	next  task.Time  // no entry is due earlier; 0 = none
	from  IdemDueKey // nothing stands before it: a scan from the start would walk over all that went
	again task.Time  // the next look is no sooner

	// While a look is under way.
	asked   bool
	born    task.Time // least entry put since; 0 = none
	tail    task.Time // the first entry that the look has left; 0 = none
	kept    IdemDueKey
	touched map[IdemKey]struct{}
	revived map[task.Seq]struct{}
}

// touch notes that an entry is not what a look under way may have read.
func (d *idemDues) touch(k IdemKey) {
	if d.asked {
		d.touched[k] = struct{}{}
	}
}

// put keeps the index true to what an Apply has made of an entry.
func (d *idemDues) put(m *Machine, n *idemNow) {
	switch {
	case n.was != nil && n.is != nil && n.was.dueKey() == n.is.dueKey():
		return
	case n.was != nil:
		m.out.IdemDues.drop(n.was.dueKey())
	}
	if e := n.is; e != nil {
		m.out.IdemDues.put(IdemDue{Key: e.dueKey(), Idem: e.Key, ID: e.ID, NameBytes: len(e.Name)})
		if d.asked && (d.born == 0 || e.Due < d.born) {
			d.born = e.Due
		}
		if d.next == 0 || e.Due < d.next {
			d.next = e.Due
		}
	}
}

func (e *Idem) dueKey() IdemDueKey { return IdemDueKey{e.Due, e.ID.Seq} }

// at is when the next look is to be; 0 = never.
func (d *idemDues) at() task.Time {
	if d.asked || d.next == 0 {
		return 0
	}
	return max(d.next, d.again)
}

func (m *Machine) wantIdemsDue() {
	d := &m.idems.due
	if t := d.at(); t == 0 || t > m.now {
		return
	}
	d.asked, d.born, d.kept = true, 0, IdemDueKey{}
	m.want(Want{What: WantIdemsDue, From: Place{Due: d.from.At, Seq: d.from.Seq}, Until: m.now, Limit: idemsDueMax})
}

// idemsDue ends the entries whose task is known to be gone. Of the others their
// tasks' records must tell.
func (m *Machine) idemsDue(a *Loaded) {
	d := &m.idems.due
	d.tail = a.Next
	var doubt []IdemLook
	for k := range a.Idems {
		x := &a.Idems[k].Due
		d.from = IdemDueKey{x.Key.At, x.Key.Seq + 1}
		if _, changed := d.touched[x.Idem]; changed {
			continue
		}
		if _, here := m.index.get(x.ID.Seq); !here && m.surelyGone(x.ID) {
			m.endIdem(x)
			continue
		}
		doubt = append(doubt, IdemLook{Due: *x})
	}
	if len(doubt) > 0 {
		m.want(Want{What: WantIdemsLive, Until: a.Want.Until, Idems: doubt})
		return
	}
	d.done(m, a.Want.Until)
}

// idemsLive ends the entries whose task is not live, and puts off the others.
func (m *Machine) idemsLive(a *Loaded) {
	d := &m.idems.due
	for k := range a.Idems {
		l := &a.Idems[k]
		x := &l.Due
		if _, changed := d.touched[x.Idem]; changed {
			continue
		}
		if m.numbered[x.Idem.Queue] == nil {
			m.endIdem(x)
			continue
		}
		_, here := m.index.get(x.ID.Seq)
		_, revived := d.revived[x.ID.Seq]
		switch {
		case l.Idem != nil && (l.Live || here):
			e := *l.Idem
			over := max(idemLaterMin, min(m.now.Sub(e.Until), idemLaterMax))
			e.Due = m.now.Add(over)
			m.idems.learn(x.Idem, l.Idem)
			m.idems.set(m, x.Idem, &e)
		case here || revived: // since it was read: the next look knows better
			if d.kept == (IdemDueKey{}) {
				d.kept = x.Key
			}
		default:
			m.endIdem(x)
		}
	}
	d.done(m, a.Want.Until)
}

// endIdem takes away an entry that the index named. All that is not known of it is
// its name, and that counts by its length alone. Of a queue that has been deleted
// the index is all that is left.
func (m *Machine) endIdem(x *IdemDue) {
	q := m.numbered[x.Idem.Queue]
	if q == nil {
		m.out.IdemDues.drop(x.Key)
		m.dirty = true
		return
	}
	if len(m.gotTask) == 0 && m.idems.got[x.Idem] == nil { // no command of this Apply has been told of it
		m.out.Idems.drop(x.Idem)
		m.out.IdemDues.drop(x.Key)
		q.state.IdemBytes -= int64(idemOverhead + x.NameBytes)
		q.idemBytes -= int64(idemOverhead + x.NameBytes)
		m.touch(q)
		m.dirty = true
		return
	}
	m.idems.learn(x.Idem, &Idem{Key: x.Idem, Name: anyName[:x.NameBytes], ID: x.ID, Until: x.Key.At, Due: x.Key.At})
	m.idems.set(m, x.Idem, nil)
}

var anyName = strings.Repeat(" ", task.IdempotencyMax)

// done ends a look. One that left entries which were due is followed by the next
// at once.
func (d *idemDues) done(m *Machine, until task.Time) {
	d.asked = false
	clear(d.touched)
	clear(d.revived)
	d.next, d.again = 0, m.now.Add(idemsEvery)
	if d.tail != 0 && d.tail <= until {
		d.again = 0
	}
	if d.kept != (IdemDueKey{}) {
		d.from, d.again = d.kept, m.now.Add(idemsEvery)
	}
	for _, t := range []task.Time{d.tail, d.born, d.kept.At} {
		if t != 0 && (d.next == 0 || t < d.next) {
			d.next = t
		}
	}
}

// surelyGone says that a task that is not in memory is not live either: nothing of
// its lane that it could be is in the store alone.
func (m *Machine) surelyGone(id task.ID) bool {
	q := m.numbered[QueueNum(id.Queue)]
	if q == nil {
		return true
	}
	if q.state.Births == q.birthsIn && q.state.Timed == q.timedIn {
		return true // all that is live is in memory
	}
	if len(q.lanes) > sureLanesMax {
		return false
	}
	for _, l := range q.lanes { // it may have moved to any of them: few, or nothing is sure
		if l.moreTimed() || id.Class == task.ClassBirth && l.moreBirths() && id.Seq >= l.born.next.seq {
			return false
		}
	}
	return true
}

// sureLanesMax is how many lanes are looked at before the store is asked instead.
const sureLanesMax = 8
