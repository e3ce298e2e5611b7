package queue

// lists are the dispatch lists in the store. Each Apply that leases tasks puts
// one, before any worker sees them; it goes as soon as every task of it has
// stopped running or has a claim. So the next owner knows what may be running,
// and nothing else is held up.
//
//	dispatch ──▶ in a list ──(a second)──▶ claimed
//	                └───────── ended, or handed back: the list has one less
type lists struct {
	all   []listed // by slot.list - 1
	free  []listNo // numbers that are not in use
	last  uint32   // number of the last one put
	open  listNo   // the one of this Apply; 0 = none yet
	left  int      // tasks of this epoch that lists must tell of
	total int      // tasks that they tell of
	gone  []ListKey
	stale []listNo     // to be written anew: they tell of leases that were given back
	tasks []Dispatched // of the one of this Apply
	again []Dispatched // of those that take the place of others
}

// listed is one dispatch list.
type listed struct {
	key   ListKey
	epoch uint32 // of its leases
	nonce uint32
	slots []Slot // of its tasks; those whose slot names another list have left it
	left  int    // tasks that it must tell of
}

// addList makes a list of leases of one owner.
func (m *Machine) addList(k ListKey, epoch, nonce uint32) listNo {
	ls := &m.lists
	n := len(ls.free)
	if n == 0 {
		ls.all = append(ls.all, listed{key: k, epoch: epoch, nonce: nonce})
		return listNo(len(ls.all))
	}
	no := ls.free[n-1]
	ls.free = ls.free[:n-1]
	l := &ls.all[no-1]
	l.key, l.epoch, l.nonce = k, epoch, nonce
	return no
}

// newList is addList under a new key.
func (m *Machine) newList(epoch, nonce uint32) listNo {
	m.lists.last++
	return m.addList(ListKey{m.cfg.Epoch, m.lists.last}, epoch, nonce)
}

// list notes a dispatch that no claim tells of.
func (m *Machine) list(i Slot, d Dispatched) {
	ls := &m.lists
	if ls.open == 0 {
		ls.open, ls.tasks = m.newList(m.cfg.Epoch, m.cfg.Nonce), ls.tasks[:0]
	}
	m.enlist(ls.open, i)
	ls.tasks = append(ls.tasks, d)
}

// enlist has a list tell of a task.
func (m *Machine) enlist(no listNo, i Slot) {
	ls := &m.lists
	l := &ls.all[no-1]
	l.slots = append(l.slots, i)
	l.left++
	m.slab.at(i).list = no
	if l.epoch == m.cfg.Epoch {
		ls.left++
		ls.total++
	}
}

// dispatched is what a list tells of a task.
func (m *Machine) dispatched(i Slot) Dispatched {
	x := m.slab.at(i)
	d := Dispatched{Place: m.place(x), Dispatch: x.dispatch, Slot: x.lastSlot, Attempt: x.attempt, Started: x.started, LeaseEnd: x.leaseEnd}
	switch {
	case x.session == 0:
	case x.state == slotHeld:
		d.Session = m.restart.order[x.session-1].state.Session
	default:
		d.Session = m.sessions[x.session-1].opts.ID
	}
	return d
}

// unlist notes that no list needs to tell of the task any more.
func (m *Machine) unlist(x *slot) {
	if x.list == 0 {
		return
	}
	ls := &m.lists
	no := x.list
	x.list = 0
	l := &ls.all[no-1]
	l.left--
	if l.epoch == m.cfg.Epoch {
		ls.left--
	}
	if l.left == 0 && no != ls.open {
		m.dropList(no)
	}
}

// givenBack is unlist for a lease that was given back and left its task as it was.
// The next owner would let one without a session go on until its end.
func (m *Machine) givenBack(x *slot) {
	no := x.list
	m.unlist(x)
	if no != 0 && x.session == 0 && m.lists.all[no-1].left > 0 {
		m.lists.stale = append(m.lists.stale, no)
	}
}

// dropList lets a list that was written go.
func (m *Machine) dropList(no listNo) {
	m.lists.gone = append(m.lists.gone, m.lists.all[no-1].key)
	m.freeList(no)
}

func (m *Machine) freeList(no listNo) {
	ls := &m.lists
	l := &ls.all[no-1]
	if l.epoch == m.cfg.Epoch {
		ls.total -= len(l.slots)
	}
	*l = listed{slots: l.slots[:0]}
	ls.free = append(ls.free, no)
}

// putLists writes the list of this Apply, or one for all if too much of what the
// lists tell is over, and drops those that are done for with a batch that is
// durable anyway.
func (m *Machine) putLists() {
	ls := &m.lists
	ls.again = ls.again[:0]
	if ls.total > 2*ls.left+listSpare {
		m.relist()
	}
	for _, no := range ls.stale {
		if l := &ls.all[no-1]; l.left > 0 && no != ls.open && len(l.slots) > l.left {
			m.rewrite(m.newList(l.epoch, l.nonce), no)
		}
	}
	ls.stale = ls.stale[:0]
	if no := ls.open; no != 0 && ls.all[no-1].left == 0 {
		m.freeList(no) // all were handed back at once
	} else if no != 0 {
		m.putList(no, ls.tasks)
	}
	ls.open = 0
	if m.dirty && len(ls.gone) > 0 {
		for _, k := range ls.gone {
			m.out.Lists.drop(k)
		}
		ls.gone = ls.gone[:0]
	}
}

func (m *Machine) putList(no listNo, tasks []Dispatched) {
	l := &m.lists.all[no-1]
	m.out.Lists.put(List{Key: l.key, Epoch: l.epoch, Nonce: l.nonce, At: m.now, Tasks: tasks})
	m.dirty = true
}

// relist puts one list in the place of all that are written of this epoch: one task
// that is left keeps a list of many. Claims see to it that none stays for long.
func (m *Machine) relist() {
	var old []listNo
	for k := range m.lists.all {
		if l := &m.lists.all[k]; l.epoch == m.cfg.Epoch && listNo(k+1) != m.lists.open {
			old = append(old, listNo(k+1))
		}
	}
	if len(old) > 0 {
		m.rewrite(m.newList(m.cfg.Epoch, m.cfg.Nonce), old...)
	}
}

// rewrite puts list no in the place of others.
func (m *Machine) rewrite(no listNo, old ...listNo) {
	ls := &m.lists
	from := len(ls.again)
	for _, k := range old {
		for n := range ls.all[k-1].slots {
			i := ls.all[k-1].slots[n]
			x := m.slab.at(i)
			if x.list != k {
				continue
			}
			if ls.all[k-1].epoch == m.cfg.Epoch {
				ls.left--
			}
			m.enlist(no, i)
			ls.again = append(ls.again, m.dispatched(i))
		}
		m.dropList(k)
	}
	if len(ls.again) == from {
		m.freeList(no)
		return
	}
	m.putList(no, ls.again[from:])
}

// loadLists takes over the lists of earlier owners, which tell of nothing yet.
func (m *Machine) loadLists(snap *Snapshot) map[ListKey]listNo {
	nos := make(map[ListKey]listNo, len(snap.Lists))
	for i := range snap.Lists {
		l := &snap.Lists[i]
		nos[l.Key] = m.addList(l.Key, l.Epoch, l.Nonce)
	}
	return nos
}

// dropEmptyLists lets those go that tell only of what is over.
func (m *Machine) dropEmptyLists() {
	for k := range m.lists.all {
		if l := &m.lists.all[k]; l.left == 0 && l.key != (ListKey{}) {
			m.dropList(listNo(k + 1))
		}
	}
}

// sweepLists has lists dropped although nothing else is durable.
func (m *Machine) sweepLists() {
	if len(m.lists.gone) > 0 {
		m.dirty = true
	}
}
