package queuetest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// How long a start waits for a session that is recorded: the first one that finds
// it away, and each later one at least. Only the first blames it.
const (
	awayFirst = 5 * task.Second
	awayAgain = 3 * task.Second / 2
	awayMost  = 30 * task.Second // over all of them
)

// hold is what keeps a task from being dispatched after a restart.
type hold struct {
	session string
	until   task.Time
	blame   bool // if the worker is not back by then, that is a crash,
	most    int  // if it is among the oldest so many of the session; 0 = whichever it is
}

// Reopened tells the Model that another owner has taken over. The Store must tell
// of everything that runs, and of nothing that the Model knows better: a lease
// without a session goes on, and what ran for a session is held until its worker
// is back or its time is up.
func (m *Model) Reopened(clean bool) error {
	m.opened, m.epoch = m.rig.Now, m.rig.Cfg.Epoch
	snap := m.rig.Store.Snapshot()
	m.away = map[string]task.Time{}
	m.again = map[string]bool{}
	for _, s := range snap.Sessions {
		m.again[s.Session] = s.AwayUntil != 0
		m.away[s.Session] = m.rig.Now.Add(awayFirst)
		if s.AwayUntil != 0 {
			left := s.AwayUntil.Sub(max(snap.Meta.Now, snap.Meta.LastOpen.Add(task.Second))) // at least a second is gone of it
			m.away[s.Session] = m.rig.Now.Add(max(left, awayAgain))
			if left <= awayFirst-awayMost {
				m.away[s.Session] = m.rig.Now
			}
		}
	}
	flight := map[task.Seq]*queue.InFlight{}
	for i := range snap.InFlight {
		flight[snap.InFlight[i].Claim.Seq] = &snap.InFlight[i]
	}
	old := m.sessions
	m.sessions = map[queue.SessionNo]*modelSession{}
	m.unclean = !snap.Meta.Clean
	for _, t := range m.order {
		if err := m.reopenedTask(t, flight[t.id.Seq], old[t.session], clean); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) reopenedTask(t *modelTask, f *queue.InFlight, s *modelSession, clean bool) error {
	if !t.live() {
		return nil
	}
	if t.calendar {
		t.ready = t.spec.RunAt.Add(m.rig.Wall)
	}
	gone := clean && t.session != 0 && !s.opts.Remote // it ended with its process, in order
	ran := t.state == task.Running && !gone
	t.state, t.known, t.old, t.hold, t.told = task.Ready, false, false, nil, t.toldRec
	t.counts.Releases = 0 // those without a delay are in no record; the store tells
	if r := m.rig.Store.recordOf(t.id.Seq); r != nil {
		t.counts = r.Counts
	}
	if f == nil || !f.Claimed && uint32(f.Claim.Token.Attempt) != t.counts.Failures+t.counts.Crashes+1 {
		if ran {
			return fmt.Errorf("task %v ran under %+v, and the store does not tell", t.what(), t.token)
		}
		t.session, t.leaseEnd = 0, 0
		return nil
	}
	c := &f.Claim
	if ran {
		id := ""
		if s != nil {
			id = s.opts.ID
		}
		if c.Token != t.token || c.Session != id || c.Started != t.started || c.LeaseEnd > t.leaseEnd || c.LeaseEnd.Add(t.stood+t.given) < t.leaseEnd { // what it was given for the owner's standing still is in no record
			return fmt.Errorf("task %v ran under %+v for session %q since %d until %d, and the store tells %+v", t.what(), t.token, id, t.started, t.leaseEnd, *c)
		}
	} else {
		t.token, t.started = c.Token, c.Started
	}
	t.told = nil
	t.session, t.leaseEnd = 0, 0
	t.known = true
	t.given = 0
	if end := m.unaryEnd(c); end > m.rig.Now {
		t.state, t.leaseEnd, t.stood, t.given = task.Running, end, 0, end.Sub(c.LeaseEnd)
		return nil
	}
	t.old = true
	t.hold = &hold{session: c.Session, until: m.rig.Now, blame: f.Claimed && !m.again[c.Session] && m.unclean}
	if c.Session != "" {
		if s, recorded := m.rig.Store.sessions[c.Session]; recorded {
			t.hold.most = max(s.Concurrency, 1)
		} else {
			t.hold.most = max(c.Concurrency, 1)
		}
	} else {
		t.hold.blame = false // it has had its time
	}
	if at, away := m.away[c.Session]; away {
		t.hold.until = at
	}
	return nil
}

// unaryEnd: nobody is to blame for not extending a lease while there was no owner. The
// first start that finds it gives it time, and what is left of that is for later ones.
func (m *Model) unaryEnd(c *queue.Claim) task.Time {
	last := m.rig.Store.Snapshot().Meta
	if c.LeaseEnd == 0 {
		return 0
	}
	ends := []task.Time{c.LeaseEnd}
	if last.Clean {
		ends = append(ends, c.LeaseEnd.Add(m.rig.Now.Sub(last.Now)))
	}
	if c.Started >= last.LastOpen || c.LeaseEnd > last.LastOpen.Add(awayFirst) {
		ends = append(ends, m.rig.Now.Add(awayFirst))
	} else if left := c.LeaseEnd.Sub(max(last.Now, last.LastOpen.Add(task.Second))); left >= task.Second {
		ends = append(ends, m.rig.Now.Add(left))
	}
	return slices.Max(ends)
}

// mayBeEarlier: k is the last dispatch of t, by an earlier owner, and t stands as
// that has left it.
func (m *Model) mayBeEarlier(t *modelTask, k task.Token) bool {
	return t.old && t.known && t.told == nil && t.token == k && uint32(k.Attempt) == t.counts.Failures+t.counts.Crashes+1
}

// spareYoung takes the blame from tasks whose worker has stayed away for too long and
// can't have begun them, as it had so many older ones.
func (m *Model) spareYoung() {
	held := map[string][]*modelTask{}
	for _, t := range m.order {
		if h := t.hold; h != nil && h.most > 0 && h.until <= m.rig.Now {
			held[h.session] = append(held[h.session], t)
		}
	}
	for _, ts := range held {
		slices.SortFunc(ts, func(a, b *modelTask) int { return cmp.Compare(a.token.Fence(), b.token.Fence()) })
		most := 0
		for _, t := range ts {
			most = max(most, t.hold.most)
		}
		for _, t := range ts[min(len(ts), most):] {
			t.hold.blame = false
		}
	}
}

// release ends the hold of t without blame.
func (t *modelTask) release() { t.hold = nil }

// judgeHold ends the hold of a task whose worker has stayed away for too long, and
// says whether that has to be a crash.
func (m *Model) judgeHold(t *modelTask) (crashed bool) {
	h := t.hold
	if h == nil || h.until > m.rig.Now {
		return false
	}
	t.release()
	m.ripen(t)
	return h.blame
}

// overdueAway finds sessions that nobody waits for any more and that are recorded.
func (m *Model) overdueAway() error {
	for id, until := range m.away {
		if s, ok := m.rig.Store.sessions[id]; ok && s.AwayUntil != 0 && until <= m.rig.Now {
			return fmt.Errorf("session %q is recorded at %d, and was waited for until %d", id, m.rig.Now, until)
		}
	}
	return nil
}
