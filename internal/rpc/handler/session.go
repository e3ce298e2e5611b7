package handler

import (
	"context"
	"encoding/hex"
	"sync"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// session is a worker session on a stream; it is the broker's task.Sink.
type session struct {
	st   *stream
	num  uint32
	id   string
	sess task.Session // set before opened is closed; nil = refused

	opened chan struct{}
	once   sync.Once

	// guarded by st.mu
	ready  bool // attached
	parted bool // its worker has closed it: no lease of it lives on
	held   int  // credit granted by the client and not passed on
	open   int  // credit passed on and not yet used
	size   int  // of a usual delivery: up at once, down slowly
}

func (st *stream) attach(m *pb.Attach) error {
	opts, err := codec.SessionFromProto(m)
	if err != nil {
		return err
	}
	s := &session{st: st, num: m.Session, id: opts.ID, opened: make(chan struct{}), size: 64 << 10}
	if e := st.checkAttach(m.Session, &opts); e != nil {
		st.say(codec.PartAttached, &pb.Attached{Session: m.Session, Error: codec.ErrorToProto(e)})
		return nil
	}
	st.mu.Lock()
	st.sessions[s.num] = s
	st.mu.Unlock()
	st.srv.background.Add(1)
	go func() { // opening may wait for partitions to be acquired
		defer st.srv.background.Done()
		s.attach(opts)
	}()
	return nil
}

func (st *stream) checkAttach(num uint32, o *task.SessionOptions) *task.Error {
	st.mu.Lock()
	n, taken := len(st.sessions), st.sessions[num] != nil
	st.mu.Unlock()
	switch {
	case num == 0 || taken:
		return task.Errorf(task.Invalid, "session number %d is 0 or in use on this stream", num)
	case n >= sessionsMax:
		return task.Errorf(task.Exhausted, "%d worker sessions on one stream, the most is %d: open another connection", n, sessionsMax)
	case len(o.ID) == 0 || len(o.ID) > 32:
		return task.Errorf(task.Invalid, "a session's ID is 1 to 32 bytes long, this one %d", len(o.ID))
	case len(o.Queues) > task.SessionQueuesMax || len(o.Types) > task.SessionTypesMax:
		return task.Errorf(task.Invalid, "a session names at most %d queues and %d types", task.SessionQueuesMax, task.SessionTypesMax)
	case len(o.Running) > task.HeldMax:
		return task.Errorf(task.Invalid, "a session presents at most %d tasks that it holds, this one %d", task.HeldMax, len(o.Running))
	case o.TTL < 0 || o.TTL > task.SessionTTLMax:
		return task.Errorf(task.Invalid, "a session's TTL is at most 10 minutes")
	}
	return nil
}

func (s *session) attach(opts task.SessionOptions) {
	st := s.st
	st.srv.takeOver(s)
	ctx, cancel := context.WithTimeout(st.context(), attachMax)
	defer cancel()
	sess, err := st.srv.o.Broker.Attach(ctx, opts, s)
	if err != nil {
		close(s.opened)
		st.forget(s)
		st.say(codec.PartAttached, &pb.Attached{Session: s.num, Error: codec.ErrorToProto(task.AsError(err))})
		return
	}
	s.sess = sess
	close(s.opened)
	st.mu.Lock()
	s.ready = true
	gone, keep := st.sessions[s.num] != s, !s.parted
	st.mu.Unlock()
	if gone { // the stream ended meanwhile, or the worker closed it, and leave found nothing to detach
		s.leave(keep)
		return
	}
	st.say(codec.PartAttached, &pb.Attached{Session: s.num})
	s.pass(0)
}

// leave ends the session on this stream: keep lets leases live on until their
// TTL ends. An opening one is left when it is open.
func (s *session) leave(keep bool) {
	<-s.opened
	if s.sess == nil {
		return
	}
	s.once.Do(func() {
		s.st.srv.dropSession(s)
		if keep {
			s.sess.Detach()
		} else {
			s.sess.Close()
		}
	})
}

func (st *stream) forget(s *session) {
	st.srv.dropSession(s)
	st.mu.Lock()
	if st.sessions[s.num] == s {
		delete(st.sessions, s.num)
	}
	st.mu.Unlock()
}

// session is the attached session num, or nil.
func (st *stream) session(num uint32) *session {
	if num == 0 {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if s := st.sessions[num]; s != nil && s.ready {
		return s
	}
	return nil
}

func (st *stream) credit(num uint32, n int) {
	st.mu.Lock()
	s := st.sessions[num]
	st.mu.Unlock()
	if s != nil {
		s.pass(n)
	}
}

// pass adds n to the session's credit and passes on as much as the stream has
// room for: a slow reader of large tasks must not fill the memory.
func (s *session) pass(n int) {
	st := s.st
	st.mu.Lock()
	s.held = min(s.held+n, task.CreditMax)
	give := 0
	if s.ready && !st.failed && st.outBytes < creditBytesMax {
		give = min(s.held, max(1, creditBytesMax/s.size)-s.open)
	}
	if give <= 0 {
		st.mu.Unlock()
		return
	}
	s.held -= give
	s.open += give
	st.mu.Unlock()
	s.sess.Credit(give)
}

// release passes on credit that was held while much was pending.
func (st *stream) release() {
	st.mu.Lock()
	var some []*session
	for _, s := range st.sessions {
		if s.held > 0 && s.ready {
			some = append(some, s)
		}
	}
	st.mu.Unlock()
	for _, s := range some {
		s.pass(0)
	}
}

// Deliver encodes ds at once: what they point to is only lent.
func (s *session) Deliver(ds []task.Delivery) {
	st := s.st
	st.mu.Lock()
	defer st.mu.Unlock()
	s.open = max(0, s.open-len(ds))
	if st.failed {
		return
	}
	for i := range ds {
		n := codec.DeliveryBytes(&ds[i])
		s.size = max(n, s.size-s.size/64)
	}
	for len(ds) > 0 {
		buf := st.pending.open()
		was := len(*buf)
		n := fitting(ds, frameBytesMax-was)
		*buf = codec.AppendDeliveries(*buf, s.num, ds[:n])
		st.outBytes += len(*buf) - was
		ds = ds[n:]
	}
	st.wake()
}

// fitting is how many of ds take up to room bytes, but at least one.
func fitting(ds []task.Delivery, room int) int {
	for i := range ds {
		room -= codec.DeliveryBytes(&ds[i])
		if room < 0 {
			return max(i, 1)
		}
	}
	return len(ds)
}

// Revoke passes on that leases have ended early.
func (s *session) Revoke(ts []task.Token, why task.Code) {
	m := &pb.Revoked{Session: s.num, Code: uint32(why)}
	for _, t := range ts {
		m.Tokens = append(m.Tokens, t.AppendBinary(nil))
	}
	s.st.say(codec.PartRevoked, m)
}

// Lost passes on that the session is gone.
func (s *session) Lost(err *task.Error) {
	s.st.forget(s)
	s.st.say(codec.PartLost, &pb.Lost{Session: s.num, Error: codec.ErrorToProto(err)})
}

func (st *stream) heartbeat(m *pb.Heartbeat) error {
	a := &pb.HeartbeatAnswer{Session: m.Session, Seq: m.Seq}
	if s := st.session(m.Session); s == nil {
		a.Error = codec.ErrorToProto(task.Errorf(task.LeaseLost, "worker session %d is not open on this stream: attach again", m.Session))
	} else if err := s.sess.Heartbeat(); err != nil {
		a.Error = codec.ErrorToProto(task.AsError(err))
	}
	st.say(codec.PartHeartbeatAnswers, a)
	return nil
}

func (st *stream) progress(m *pb.ProgressReport) error {
	t, ok := task.TokenFromBinary(m.Token)
	if !ok {
		return task.Errorf(task.Invalid, "progress names the malformed token %s", hex.EncodeToString(m.Token))
	}
	if s := st.session(m.Session); s != nil {
		s.sess.Progress(t, codec.ProgressFromProto(m.Progress))
	}
	return nil
}

func (st *stream) detach(m *pb.Detach) error {
	st.mu.Lock()
	s := st.sessions[m.Session]
	delete(st.sessions, m.Session)
	if s != nil {
		s.parted = !m.Keep
	}
	st.mu.Unlock()
	if s == nil {
		st.say(codec.PartDetached, &pb.Detached{Session: m.Session})
		return nil
	}
	st.srv.background.Add(1)
	go func() { // it may still be opening
		defer st.srv.background.Done()
		s.leave(m.Keep)
		st.say(codec.PartDetached, &pb.Detached{Session: m.Session})
	}()
	return nil
}

// watch is one watched task.
type watch struct {
	task.Watch
	st   *stream
	seq  uint64
	give func() // gives the watch up; set once the broker has it, guarded by st.mu
	over bool   // guarded by st.mu
}

func (st *stream) watch(m *pb.Watch) error {
	w := &watch{st: st, seq: m.Seq}
	id, ok := task.IDFromBinary(m.Id)
	w.ID = id
	w.Done = func(*task.Watch) { w.done() }
	st.mu.Lock()
	n, taken := len(st.watches), st.watches[m.Seq] != nil
	if !taken {
		st.watches[m.Seq] = w
	}
	st.mu.Unlock()
	switch {
	case taken:
		return nil // repeated
	case !ok:
		w.Err = task.Errorf(task.Invalid, "the watched ID is malformed")
	case n >= watchesMax:
		w.Err = task.Errorf(task.Exhausted, "%d watches on one stream, the most is %d: open another connection", n, watchesMax)
	}
	if w.Err != nil {
		w.done()
		return nil
	}
	give := st.srv.o.Broker.Watch(&w.Watch)
	st.mu.Lock()
	w.give = give
	over := w.over
	st.mu.Unlock()
	if over {
		give()
	}
	return nil
}

func (w *watch) done() {
	st := w.st
	st.mu.Lock()
	if st.watches[w.seq] == w && !st.failed {
		delete(st.watches, w.seq)
		st.pending.watched = append(st.pending.watched, w)
		st.wake()
	}
	st.mu.Unlock()
}

func (w *watch) result() *pb.WatchResult {
	m := &pb.WatchResult{Seq: w.seq}
	if w.Err != nil {
		m.Error = codec.ErrorToProto(w.Err)
	} else {
		m.Task = codec.InfoToProto(&w.Info)
	}
	return m
}

// stop gives the watch up; it is no longer in st.watches.
func (w *watch) stop() {
	w.st.mu.Lock()
	w.over = true
	give := w.give
	w.st.mu.Unlock()
	if give != nil {
		give()
	}
}

func (st *stream) unwatch(m *pb.Unwatch) error {
	st.mu.Lock()
	w := st.watches[m.Seq]
	delete(st.watches, m.Seq)
	st.mu.Unlock()
	if w != nil {
		w.stop()
	}
	return nil
}
