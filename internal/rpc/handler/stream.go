package handler

import (
	"context"
	"errors"
	"io"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const (
	frameBytesMax    = 512 << 10                  // a frame that is longer takes nothing more
	inFlightBytesMax = 64 << 20                   // received and unanswered on one stream; then it is not read
	inFlightMax      = 10_000                     // groups received and unanswered on one stream
	pendingBytesMax  = 256 << 20                  // to be sent on one stream; then it is cut
	creditBytesMax   = 16 << 20                   // deliveries open at the broker for one session, by their usual size
	groupBytesMax    = task.BatchBytesMax + 4<<20 // of one group, with all its names
	coldBytesMax     = 2 << 20                    // of a part that is not tasks or outcomes: 20,000 leases and 2,000 names
	watchesMax       = 100_000                    // on one stream
	sessionsMax      = 256                        // worker sessions on one stream
	stallMax         = 30 * time.Second           // of one send; then the reader is too slow
	attachMax        = 30 * time.Second
)

// stream is one session stream: all that one client process enqueues and runs.
// Two goroutines work on it: receive hands what comes to the broker, send
// writes what the broker's callbacks have left in pending. Neither ever waits
// for a disk, so the client's heartbeats never stand behind its tasks.
type stream struct {
	srv   *Server
	rpc   grpc.ServerStream
	names *codec.Names // receive only

	producer string // receive only
	reader   bool   // receive only: hello was read

	mu       sync.Mutex
	work     sync.Cond // send waits for pending
	room     sync.Cond // receive waits for answers
	idle     bool      // send waits
	pending  pending
	outBytes int // in frames, waiting or being written
	inFlight int
	inBytes  int
	held     *claim // for inBytes
	sessions map[uint32]*session
	watches  map[uint64]*watch
	away     bool
	ended    bool // nothing more is received
	failed   bool // nothing more is sent
	sendFrom time.Time
}

// pending is what is to be sent. Deliveries and the like are encoded at once,
// as what they point to is only lent; answers are encoded by send.
type pending struct {
	frames  []*[]byte
	answers []*enqueueCall
	reports []*reportCall
	watched []*watch
}

func (p *pending) empty() bool {
	return len(p.frames) == 0 && len(p.answers) == 0 && len(p.reports) == 0 && len(p.watched) == 0
}

// enqueueCall is a group on its way through the broker. It is used again.
type enqueueCall struct {
	task.EnqueueBatch
	st    *stream
	seq   uint64
	bytes int        // of memory: its part of the frame, and its tasks
	frame mem.Buffer // payloads alias it
}

// reportCall is a group of outcomes on its way through the broker.
type reportCall struct {
	task.OutcomeBatch
	st    *stream
	seq   uint64
	bytes int
	frame mem.Buffer
}

var (
	enqueueCalls = sync.Pool{New: func() any {
		c := new(enqueueCall)
		c.Done = func(*task.EnqueueBatch) { c.st.answered(c) }
		return c
	}}
	reportCalls = sync.Pool{New: func() any {
		c := new(reportCall)
		c.Done = func(*task.OutcomeBatch) { c.st.reported(c) }
		return c
	}}
)

func newStream(s *Server, rpc grpc.ServerStream) *stream {
	st := &stream{srv: s, rpc: rpc, names: codec.NewNames(), sessions: map[uint32]*session{}, watches: map[uint64]*watch{}, held: s.bodies.claim()}
	st.work.L, st.room.L = &st.mu, &st.mu
	return st
}

// run serves the stream until its client closes it or it breaks.
func (st *stream) run() error {
	stop := context.AfterFunc(st.context(), st.fail) // receive may stand in admit, send in take
	defer stop()
	sent := make(chan error, 1)
	go func() { sent <- st.send() }()
	defer st.held.end()
	err := st.receive()
	st.end(err != nil)
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	return err
}

func (st *stream) receive() error {
	for {
		st.hold()
		var in codec.In
		if err := st.rpc.RecvMsg(&in); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		err := st.frame(&in)
		in.Free()
		if err != nil {
			return err
		}
	}
}

func badFrame(err error) error {
	return status.Errorf(codes.InvalidArgument, "invalid: bad session frame: %v", err)
}

func (st *stream) frame(in *codec.In) error {
	parts := codec.NewParts(in.Data())
	for parts.Next() {
		if !st.reader && parts.Num() != codec.PartHello {
			return status.Error(codes.InvalidArgument, "invalid: the first part of a session stream is hello")
		}
		if err := st.part(in, parts.Num(), parts.Body()); err != nil {
			if _, ok := status.FromError(err); ok {
				return err
			}
			return badFrame(err)
		}
	}
	if err := parts.Err(); err != nil {
		return badFrame(err)
	}
	return nil
}

func (st *stream) part(in *codec.In, num int, body []byte) error {
	switch num {
	case codec.PartEnqueues:
		return st.enqueue(in, body)
	case codec.PartOutcomes:
		return st.outcomes(in, body)
	case codec.PartCredits:
		session, n, err := codec.DecodeCredit(body)
		if err == nil {
			st.credit(session, int(min(n, task.CreditMax)))
		}
		return err
	}
	if len(body) > coldBytesMax {
		return task.Errorf(task.Invalid, "part %d has %d bytes, the most is %d", num, len(body), coldBytesMax)
	}
	switch num {
	case codec.PartHello:
		return decode(body, st.hello)
	case codec.PartAttaches:
		return decode(body, st.attach)
	case codec.PartHeartbeats:
		return decode(body, st.heartbeat)
	case codec.PartProgress:
		return decode(body, st.progress)
	case codec.PartWatches:
		return decode(body, st.watch)
	case codec.PartUnwatches:
		return decode(body, st.unwatch)
	case codec.PartDetaches:
		return decode(body, st.detach)
	}
	return nil // a newer client's: it says nothing that must be understood
}

func decode[M any, P interface {
	*M
	proto.Message
}](body []byte, f func(P) error) error {
	m := P(new(M))
	if err := proto.Unmarshal(body, m); err != nil {
		return err
	}
	return f(m)
}

func (st *stream) hello(m *pb.Hello) error {
	switch {
	case st.reader:
		return status.Error(codes.InvalidArgument, "invalid: hello came twice")
	case m.Protocol != codec.Protocol:
		return status.Errorf(codes.FailedPrecondition, "invalid: client %q speaks protocol %d, this server (%s) speaks %d: upgrade the older one",
			m.Client, m.Protocol, st.srv.o.Version, codec.Protocol)
	case len(m.Producer) > 32:
		return status.Errorf(codes.InvalidArgument, "invalid: producer is %d bytes long, the limit is 32", len(m.Producer))
	}
	st.reader, st.producer = true, string(m.Producer)
	welcome := &pb.Welcome{Protocol: codec.Protocol, Server: st.srv.o.Version, ProducerIdleMs: int64(task.ProducerIdleMax)}
	st.say(codec.PartWelcome, welcome)
	if st.srv.draining() {
		st.goAway()
	}
	return nil
}

// enqueue hands one group to the broker; answered gets its answer.
func (st *stream) enqueue(in *codec.In, body []byte) error {
	c := enqueueCalls.Get().(*enqueueCall)
	seq, err := codec.DecodeEnqueue(body, &c.EnqueueBatch, st.names)
	if err != nil {
		return err
	}
	if c.Producer == "" {
		c.Producer = st.producer
	}
	c.st, c.seq, c.bytes, c.frame = st, seq, len(body), in.Buffer()
	if e := checkGroup(c); e != nil {
		c.frame, c.bytes = nil, 0
		c.EnqueueBatch.Err = e
		st.admit(0)
		st.answered(c)
		return nil
	}
	c.bytes += len(c.Specs) * int(unsafe.Sizeof(task.Spec{}))
	c.frame.Ref()
	if !st.admit(c.bytes) {
		return errEnded
	}
	st.srv.o.Broker.Enqueue(&c.EnqueueBatch)
	return nil
}

var errEnded = status.Error(codes.Canceled, "the stream has ended")

func checkGroup(c *enqueueCall) *task.Error {
	switch {
	case c.bytes > groupBytesMax:
		return task.Errorf(task.Invalid, "a group of %d bytes, the most is %d", c.bytes, groupBytesMax)
	case len(c.Producer) > 32:
		return task.Errorf(task.Invalid, "producer is %d bytes long, the limit is 32", len(c.Producer))
	}
	return nil
}

// hold reads nothing while the memory for requests is spent, until this stream's
// own are answered: a stream that has none in flight never waits for others.
func (st *stream) hold() {
	if !st.srv.bodies.full.Load() {
		return
	}
	st.mu.Lock()
	for st.inFlight > 0 && st.srv.bodies.full.Load() && !st.failed {
		st.room.Wait()
	}
	st.mu.Unlock()
}

// admit counts a group in, and waits while too much is unanswered.
func (st *stream) admit(bytes int) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.inFlight > 0 && (st.inBytes+bytes > inFlightBytesMax || st.inFlight >= inFlightMax) && !st.failed {
		st.room.Wait()
	}
	st.inFlight++
	st.inBytes += bytes
	st.held.force(bytes)
	return !st.failed
}

func (st *stream) answered(c *enqueueCall) {
	st.mu.Lock()
	st.pending.answers = append(st.pending.answers, c)
	st.wake()
	st.mu.Unlock()
}

func (st *stream) outcomes(in *codec.In, body []byte) error {
	c := reportCalls.Get().(*reportCall)
	num, seq, err := codec.DecodeOutcomes(body, &c.OutcomeBatch, st.names)
	if err != nil {
		return err
	}
	c.st, c.seq, c.bytes, c.frame = st, seq, len(body)+len(c.Outcomes)*int(unsafe.Sizeof(task.Outcome{})), in.Buffer()
	c.frame.Ref()
	if !st.admit(c.bytes) {
		return errEnded
	}
	if s := st.session(num); s != nil {
		s.sess.Report(&c.OutcomeBatch)
		return nil
	}
	st.srv.o.Broker.Report(&c.OutcomeBatch) // the tokens prove the leases by themselves
	return nil
}

func (st *stream) reported(c *reportCall) {
	st.mu.Lock()
	st.pending.reports = append(st.pending.reports, c)
	st.wake()
	st.mu.Unlock()
}

// wake tells send that there is something; mu is held.
func (st *stream) wake() {
	if st.idle {
		st.idle = false
		st.work.Signal()
	}
}

// open is the frame that parts are appended to; mu is held.
func (p *pending) open() *[]byte {
	if n := len(p.frames); n > 0 && len(*p.frames[n-1]) < frameBytesMax {
		return p.frames[n-1]
	}
	b := codec.NewOut()
	p.frames = append(p.frames, b)
	return b
}

// say appends a part.
func (st *stream) say(num int, m proto.Message) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.failed {
		return
	}
	buf := st.pending.open()
	was := len(*buf)
	b, err := codec.AppendPart(*buf, num, m)
	if err != nil { // bytes that are not UTF-8 where there must be: ours are checked
		st.srv.log.Error("encode a frame", "part", num, "error", err)
		*buf = (*buf)[:was]
		return
	}
	*buf = b
	st.outBytes += len(b) - was
	st.wake()
}

// send writes what is pending until nothing can come any more.
func (st *stream) send() error {
	var p pending
	for {
		if !st.take(&p) {
			return nil
		}
		err := st.write(&p)
		if err != nil {
			st.fail()
			return err
		}
		st.release()
	}
}

// take waits for something to send, lets those that are about to add to it run
// first, and takes it all.
func (st *stream) take(p *pending) bool {
	st.mu.Lock()
	for st.pending.empty() {
		if st.ended && st.inFlight == 0 || st.failed {
			st.mu.Unlock()
			return false
		}
		st.idle = true
		st.work.Wait()
	}
	st.mu.Unlock()
	runtime.Gosched()
	st.mu.Lock()
	*p, st.pending = st.pending, pending{frames: p.frames[:0], answers: p.answers[:0], reports: p.reports[:0], watched: p.watched[:0]}
	st.mu.Unlock()
	return true
}

// write sends p: frames are full already; answers, which are short, go into
// the last of them.
func (st *stream) write(p *pending) error {
	var last *[]byte
	if n := len(p.frames); n > 0 {
		last, p.frames = p.frames[n-1], p.frames[:n-1]
	} else {
		last = codec.NewOut()
	}
	for _, b := range p.frames {
		if err := st.transmit(b, len(*b)); err != nil {
			return err
		}
	}
	counted := len(*last)
	b := *last
	bytes := 0
	for _, c := range p.reports {
		b = codec.AppendOutcomeAnswer(b, c.seq, c.OutcomeBatch.Err, c.Codes)
		bytes += c.bytes
		recycleReport(c)
	}
	for _, c := range p.answers {
		b = codec.AppendEnqueueAnswer(b, c.seq, c.EnqueueBatch.Err, c.Results)
		bytes += c.bytes
		recycleEnqueue(c)
	}
	for _, w := range p.watched {
		var err error
		if b, err = codec.AppendPart(b, codec.PartWatchResults, w.result()); err != nil {
			return err
		}
	}
	st.mu.Lock()
	st.inFlight -= len(p.reports) + len(p.answers)
	st.inBytes -= bytes
	st.held.give(bytes)
	st.room.Signal()
	st.mu.Unlock()
	*last = b
	return st.transmit(last, counted)
}

func recycleEnqueue(c *enqueueCall) {
	if c.frame != nil {
		c.frame.Free()
	}
	c.st, c.frame = nil, nil
	if cap(c.Specs) <= 4*1024 { // rarely, a group is far larger than the usual
		clear(c.Specs)
		enqueueCalls.Put(c)
	}
}

func recycleReport(c *reportCall) {
	c.frame.Free()
	c.st, c.frame = nil, nil
	if cap(c.Outcomes) <= 4*1024 {
		clear(c.Outcomes)
		reportCalls.Put(c)
	}
}

// transmit sends one frame, of which counted bytes were counted in outBytes.
func (st *stream) transmit(b *[]byte, counted int) error {
	if len(*b) == 0 {
		codec.FreeOut(b)
		return nil
	}
	st.mu.Lock()
	st.sendFrom = time.Now()
	st.mu.Unlock()
	err := st.rpc.SendMsg(&codec.Out{Buf: b})
	st.mu.Lock()
	st.sendFrom = time.Time{}
	st.outBytes -= counted
	st.mu.Unlock()
	return err
}

// fail ends sending; receive notices as soon as it waits for room, or by the
// broken transport.
func (st *stream) fail() {
	st.mu.Lock()
	st.failed = true
	st.room.Broadcast()
	st.work.Broadcast()
	st.mu.Unlock()
}

// end is the end of receiving: sessions are detached, watches given up, and
// unless the stream is broken what is in flight is still answered.
func (st *stream) end(broken bool) {
	st.mu.Lock()
	st.ended = true
	st.failed = st.failed || broken
	sessions, watches := st.sessions, st.watches
	st.sessions, st.watches = map[uint32]*session{}, map[uint64]*watch{}
	st.work.Broadcast()
	st.mu.Unlock()
	for _, s := range sessions {
		s.leave(true)
	}
	for _, w := range watches {
		w.stop()
	}
}

// goAway tells the client to finish and come again.
func (st *stream) goAway() {
	st.mu.Lock()
	again := st.away
	st.away = true
	st.mu.Unlock()
	if !again {
		st.say(codec.PartGoAway, &pb.GoAway{Text: "the server is shutting down: finish and connect again"})
	}
}

// stalled says whether the reader is too slow: one send takes too long, or too
// much waits.
func (st *stream) stalled(now time.Time) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return !st.sendFrom.IsZero() && now.Sub(st.sendFrom) > stallMax || st.outBytes > pendingBytesMax
}

func (st *stream) context() context.Context { return st.rpc.Context() }
