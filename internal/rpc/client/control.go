package client

import (
	"time"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const progressMax = 10_000 // reports waiting to be sent; more are dropped, the next one tells the same

// control is what is to be sent beside tasks and outcomes.
type control struct {
	tick      bool
	attaches  []*session
	credits   []*session
	newBeats  []*beat
	progress  []*pb.ProgressReport
	again     []*group
	watches   []*watching
	unwatches []uint64
	detaches  []*pb.Detach

	beats table[*beat] // unanswered; stays
}

func (k *control) empty() bool {
	return !k.tick && len(k.attaches)+len(k.credits)+len(k.newBeats)+len(k.progress)+len(k.again)+
		len(k.watches)+len(k.unwatches)+len(k.detaches) == 0
}

// take moves all that is to be sent out of k.
func (k *control) take() control {
	out := *k
	*k = control{beats: k.beats}
	out.beats = table[*beat]{}
	return out
}

// revive lists what a new link must be told; c.mu is held.
func (k *control) revive(c *Conn) {
	*k = control{beats: k.beats}
	for num, s := range c.sessions {
		if s.gone {
			delete(c.sessions, num)
			continue
		}
		s.granting = false
		k.attaches = append(k.attaches, s)
	}
	for _, w := range c.watches {
		k.watches = append(k.watches, w)
	}
}

// unlink is what a lost link means for sessions: none is attached, and no
// heartbeat will be answered; c.mu is held.
func (c *Conn) unlink() []*beat {
	for num, s := range c.sessions {
		s.attachedNow, s.granting, s.grant = false, false, 0
		if s.closing != nil {
			close(s.closing)
			s.closing = nil
			delete(c.sessions, num)
		}
	}
	beats := c.control.beats.all()
	for _, b := range beats {
		c.control.beats.take(b.seq)
	}
	c.control = control{beats: c.control.beats}
	return beats
}

// writeControl writes what goes before outcomes.
func (c *Conn) writeControl(f *framer, k *control) {
	for _, s := range k.attaches {
		c.mu.Lock()
		running := c.unanswered(s)
		gone := s.gone
		s.presented = time.Now()
		c.mu.Unlock()
		if !gone {
			f.part(codec.PartAttaches, s.attachMessage(running))
		}
	}
}

func (c *Conn) writeCredits(f *framer, k *control) {
	for _, s := range k.credits {
		c.mu.Lock()
		n := s.grant
		s.grant, s.granting = 0, false
		c.mu.Unlock()
		if n > 0 {
			b := f.open()
			*b = codec.AppendCredit(*b, s.num, n)
		}
	}
	for _, b := range k.newBeats {
		f.part(codec.PartHeartbeats, &pb.Heartbeat{Session: b.s.num, Seq: b.seq})
	}
	for _, p := range k.progress {
		f.part(codec.PartProgress, p)
	}
}

// writeLate writes what goes after tasks.
func (c *Conn) writeLate(f *framer, k *control) {
	for _, w := range k.watches {
		f.part(codec.PartWatches, &pb.Watch{Seq: w.seq, Id: w.w.ID.AppendBinary(nil)})
	}
	for _, seq := range k.unwatches {
		f.part(codec.PartUnwatches, &pb.Unwatch{Seq: seq})
	}
	for _, d := range k.detaches {
		f.part(codec.PartDetaches, d)
	}
}

// watching is one watch, over any number of links.
type watching struct {
	seq uint64
	w   *task.Watch
}

// Watch is task.Broker's.
func (c *Conn) Watch(w *task.Watch) (stop func()) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		w.Err = errClosed()
		w.Done(w)
		return func() {}
	}
	c.lastWatch++
	e := &watching{seq: c.lastWatch, w: w}
	c.watches[e.seq] = e
	if c.link != nil {
		c.control.watches = append(c.control.watches, e)
		c.wake()
	}
	c.mu.Unlock()
	return func() { c.unwatch(e.seq) }
}

func (c *Conn) unwatch(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.watches[seq]; ok {
		delete(c.watches, seq)
		if c.link != nil {
			c.control.unwatches = append(c.control.unwatches, seq)
			c.wake()
		}
	}
}

func (c *Conn) watched(m *pb.WatchResult) error {
	c.mu.Lock()
	e := c.watches[m.Seq]
	delete(c.watches, m.Seq)
	c.mu.Unlock()
	if e == nil {
		return nil
	}
	if m.Error != nil {
		e.end(codec.ErrorFromProto(m.Error))
		return nil
	}
	info, err := codec.InfoFromProto(m.Task)
	if err != nil {
		e.end(task.AsError(err))
		return err
	}
	e.w.Info = info
	e.w.Done(e.w)
	return nil
}

func (e *watching) end(err *task.Error) {
	e.w.Err = err
	e.w.Done(e.w)
}
