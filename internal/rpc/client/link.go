package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const (
	connectMax  = 10 * time.Second // of one try
	tickEvery   = time.Second
	goAwayMax   = 3 * time.Second // a draining server's answers are waited for
	farewellMax = 2 * time.Second // for the server's end of a closed stream
	yieldsMax   = 4               // while each brings more
	repeatHalf  = task.ProducerIdleMax / 2
)

// link is one life of the stream.
type link struct {
	rpc      grpc.ClientStream
	cancel   context.CancelFunc
	names    *codec.Names
	received chan struct{} // the receiving goroutine has ended
	err      error         // why; set before received is closed

	// receive's own, used again
	deliveries []task.Delivery

	// guarded by Conn.mu
	dead bool
	away time.Time // the server is draining, since
}

// connect opens a stream and greets. ctx bounds it.
func (c *Conn) connect(ctx context.Context, wait bool) (*link, error) {
	sctx, cancel := context.WithCancel(c.ctx)
	stop := context.AfterFunc(ctx, cancel)
	l, err := c.greet(sctx, cancel, wait)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, codec.FromStatus(err)
	}
	return l, nil
}

func (c *Conn) greet(ctx context.Context, cancel context.CancelFunc, wait bool) (*link, error) {
	rpc, err := c.stream.Session(ctx, grpc.WaitForReady(wait))
	if err != nil {
		return nil, err
	}
	b := codec.NewOut()
	*b, err = codec.AppendPart(*b, codec.PartHello, &pb.Hello{Protocol: codec.Protocol, Client: c.o.Name, Producer: []byte(c.producer)})
	if err != nil {
		return nil, err
	}
	if err := rpc.SendMsg(&codec.Out{Buf: b}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	l := &link{rpc: rpc, cancel: cancel, names: codec.NewNames(), received: make(chan struct{})}
	var in codec.In
	if err := rpc.RecvMsg(&in); err != nil {
		return nil, err
	}
	defer in.Free()
	parts := codec.NewParts(in.Data())
	if !parts.Next() || parts.Num() != codec.PartWelcome {
		return nil, task.Errorf(task.Invalid, "the server at %s does not speak this protocol: it did not greet", c.addr)
	}
	var m pb.Welcome
	if err := proto.Unmarshal(parts.Body(), &m); err != nil || m.Protocol != codec.Protocol {
		return nil, task.Errorf(task.Invalid, "the server at %s speaks protocol %d, this client %d: upgrade the older one", c.addr, m.Protocol, codec.Protocol)
	}
	c.mu.Lock()
	c.welcome = &m
	c.mu.Unlock()
	// The rest of the first frame is a server's in a hurry to shut down.
	for parts.Next() {
		if err := c.part(l, parts.Num(), parts.Body()); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// run keeps a link alive until the connection is closed.
func (c *Conn) run(l *link) {
	defer close(c.done)
	stop := c.ticker()
	defer stop()
	for tries := 0; ; tries++ {
		if l == nil {
			var err error
			if l, err = c.reconnect(); err != nil {
				if tries == 0 || tries%20 == 0 {
					c.log.Warn("connect", "server", c.addr, "error", c.explain(err), "tries", tries+1)
				}
				if !c.pause() {
					break
				}
				continue
			}
		}
		if tries > 0 {
			c.log.Info("connected", "server", c.addr)
		}
		err := c.serve(l)
		l, tries = nil, 0
		if c.over() {
			break
		}
		c.log.Warn("connection lost: connecting again", "server", c.addr, "error", err)
		c.pause()
	}
	c.failAll()
}

func (c *Conn) over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// ticker has run look at the clock now and then.
func (c *Conn) ticker() (stop func()) {
	t := time.NewTicker(tickEvery)
	quit := make(chan struct{})
	c.wg.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-t.C:
				c.expire(false)
			}
		}
	})
	return func() { t.Stop(); close(quit) }
}

// serve lives on l until it breaks.
func (c *Conn) serve(l *link) error {
	c.mu.Lock()
	c.link = l
	again := c.revive()
	first := control{attaches: c.control.attaches}
	c.control.attaches = nil
	c.mu.Unlock()
	go c.receive(l)
	err := c.sendAgain(l, &first, again)
	for err == nil {
		var out outgoing
		if !c.take(l, &out) {
			break
		}
		err = c.write(l, &out)
	}
	c.bury(l)
	if err == nil || errors.Is(err, io.EOF) { // EOF: the reason is on the receiving side
		err = l.err
	}
	return codec.FromStatus(err)
}

// revive lists what a new link must be told first; mu is held. Groups that
// must not be repeated end here.
func (c *Conn) revive() []*group {
	var again []*group
	for _, g := range c.groups.all() {
		g.again = g.sent
		g.ack = g.ackBelow()
		again = append(again, g)
	}
	c.control.again = nil
	c.parked = c.reports.all()
	c.control.revive(c)
	return again
}

// bury ends a link: the stream is closed and nothing of it remains.
func (c *Conn) bury(l *link) {
	c.mu.Lock()
	alive := !l.dead
	c.mu.Unlock()
	if alive { // it ends because we want it to
		_ = l.rpc.CloseSend()
		t := time.NewTimer(farewellMax)
		select {
		case <-l.received:
		case <-t.C:
		}
		t.Stop()
	}
	l.cancel()
	<-l.received
	c.mu.Lock()
	l.dead = true
	c.link, c.lostAt = nil, time.Now()
	beats := c.unlink()
	c.settled.Broadcast()
	c.mu.Unlock()
	for _, b := range beats {
		b.answer <- task.Errorf(task.Unavailable, "the connection to %s is lost: it is being opened again", c.addr)
	}
}

// outgoing is what one turn of run sends.
type outgoing struct {
	control control
	reports []*outcomeGroup
	groups  []*group
	over    []*task.EnqueueBatch
	tick    bool
}

// take waits for something to send, lets the goroutines that are about to add
// to it run first, as long as that brings more, and takes it all. False: the link
// is to end.
func (c *Conn) take(l *link, out *outgoing) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.sendable(l) {
		if l.dead || c.ending || c.leaving(l) {
			return false
		}
		c.idle = true
		c.work.Wait()
	}
	n := -1
	for range yieldsMax {
		more := len(c.fresh) + len(c.outcomes)
		if more <= n {
			break
		}
		n = more
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
	}
	if l.dead {
		return false
	}
	out.control = c.control.take()
	out.tick = out.control.tick
	out.reports = c.gatherOutcomes()
	if l.away.IsZero() {
		out.groups, out.over = c.gather()
		for _, g := range out.control.again {
			if !g.done {
				g.ack = g.ackBelow()
				out.groups = append(out.groups, g)
			}
		}
	}
	return true
}

func (c *Conn) sendable(l *link) bool {
	if l.dead {
		return false
	}
	return !c.control.empty() || c.outcomesSendable() ||
		l.away.IsZero() && len(c.fresh) > 0 && !c.full()
}

// leaving says whether a draining server has answered all it was sent.
func (c *Conn) leaving(l *link) bool {
	if l.away.IsZero() {
		return false
	}
	return c.groups.n == 0 && c.reports.n == 0 || time.Since(l.away) > goAwayMax
}

// write sends one turn, in as few frames as hold it.
func (c *Conn) write(l *link, out *outgoing) error {
	for _, b := range out.over {
		b.Done(b)
	}
	f := framer{l: l}
	c.writeControl(&f, &out.control)
	c.writeOutcomes(&f, out.reports)
	c.writeCredits(&f, &out.control)
	c.writeGroups(&f, out.groups)
	c.writeLate(&f, &out.control)
	f.flush()
	if out.tick {
		c.expire(true)
	}
	return f.err
}

// framer collects parts and sends them as frames.
type framer struct {
	l   *link
	buf *[]byte
	err error
}

// open is the buffer for the next part.
func (f *framer) open() *[]byte {
	if f.buf != nil && len(*f.buf) >= frameBytesMax {
		f.flush()
	}
	if f.buf == nil {
		f.buf = codec.NewOut()
	}
	return f.buf
}

func (f *framer) part(num int, m proto.Message) {
	b := f.open()
	was := len(*b)
	out, err := codec.AppendPart(*b, num, m)
	if err != nil { // a name that is not UTF-8: its part is left out
		*b = out[:was]
		return
	}
	*b = out
}

func (f *framer) flush() {
	b := f.buf
	f.buf = nil
	if b == nil {
		return
	}
	if f.err != nil || len(*b) == 0 {
		codec.FreeOut(b)
		return
	}
	f.err = f.l.rpc.SendMsg(&codec.Out{Buf: b})
}

// sendAgain is the first that a new link sends. Leases run out, tasks that are to be
// enqueued don't.
func (c *Conn) sendAgain(l *link, first *control, gs []*group) error {
	f := framer{l: l}
	c.writeControl(&f, first)
	f.flush()
	c.writeGroups(&f, gs)
	f.flush()
	return f.err
}

// writeGroups encodes groups. One that may not be sent twice ends instead.
func (c *Conn) writeGroups(f *framer, gs []*group) {
	var w codec.EnqueueWriter
	for _, g := range gs {
		if g.sent && g.harmful {
			c.give(g, unknown("its connection was lost before the answer came"))
			continue
		}
		g.sent = true
		b := f.open()
		head := codec.EnqueueGroup{Seq: g.seq, Queue: g.ln.key.queue, Producer: g.ln.producer, FirstNumber: g.first, AckBelow: g.ack}
		*b = w.Begin(*b, &head, g.bytes)
		for i := range g.members {
			m := &g.members[i]
			for j := m.from; j < m.to; j++ {
				*b = w.Spec(*b, &m.b.Specs[j])
			}
		}
		*b = w.End(*b)
	}
}

// give ends a group that is unanswered with e.
func (c *Conn) give(g *group, e *task.Error) {
	c.mu.Lock()
	_, ok := c.groups.take(g.seq)
	if ok {
		c.drop(g)
		c.settled.Broadcast()
	}
	c.mu.Unlock()
	if ok {
		g.settle(e)
	}
}

func unknown(why string) *task.Error {
	return &task.Error{Code: task.Unavailable, Applied: task.AppliedUnknown,
		Text: fmt.Sprintf("outcome unknown: %s; the task may have been enqueued", why)}
}

// expire gives up what has gone unanswered for too long. While a link lives
// only its own goroutine may do that, as it may be encoding what would end.
func (c *Conn) expire(own bool) {
	now := time.Now()
	c.mu.Lock()
	c.clock = now
	if c.link != nil && !own {
		c.control.tick = true
		c.wake()
		c.mu.Unlock()
		return
	}
	limit := c.repeatFor()
	var old []*group
	for _, g := range c.groups.all() {
		if now.Sub(g.born) > limit {
			c.groups.take(g.seq)
			c.drop(g)
			old = append(old, g)
		}
	}
	for k, ln := range c.lanes {
		if ln.stale(now, limit) {
			delete(c.lanes, k)
		}
	}
	fresh := c.expireFresh(now, limit)
	outcomes := c.expireOutcomes(now)
	c.mu.Unlock()
	for _, g := range old {
		g.settle(unknown(fmt.Sprintf("no answer from %s for %v", c.addr, limit)))
	}
	for _, b := range fresh {
		b.Err = task.Errorf(task.Unavailable, "%s could not be reached for %v: the task was not sent", c.addr, limit)
		b.Done(b)
	}
	for _, g := range outcomes {
		g.settle(unknownOutcome(c.addr), nil)
	}
}

// repeatFor is how long an enqueue is repeated; mu is held.
func (c *Conn) repeatFor() time.Duration {
	if c.o.RepeatFor > 0 {
		return c.o.RepeatFor
	}
	limit := time.Duration(repeatHalf) * time.Millisecond
	if idle := c.welcome.GetProducerIdleMs(); idle > 0 {
		limit = min(limit, time.Duration(idle/2)*time.Millisecond)
	}
	return limit
}

// failAll ends everything that is left when the connection is closed.
func (c *Conn) failAll() {
	c.mu.Lock()
	groups, fresh := c.groups.all(), c.fresh
	c.fresh = nil
	reports, sessions, watches := c.failWork()
	c.mu.Unlock()
	for _, g := range groups {
		if g.sent {
			c.give(g, unknown("the client was closed before the answer came"))
		} else {
			c.give(g, errClosed())
		}
	}
	for _, w := range fresh {
		w.b.Err = errClosed()
		w.b.Done(w.b)
	}
	for _, r := range reports {
		r()
	}
	for _, s := range sessions {
		s.lose(errClosed())
	}
	for _, w := range watches {
		w.end(errClosed())
	}
}

// receive reads frames until the link breaks.
func (c *Conn) receive(l *link) {
	err := c.read(l)
	c.mu.Lock()
	l.dead = true
	c.idle = false
	c.work.Broadcast()
	c.mu.Unlock()
	l.err = err
	close(l.received)
}

func (c *Conn) read(l *link) error {
	for {
		var in codec.In
		if err := l.rpc.RecvMsg(&in); err != nil {
			return err
		}
		err := c.frame(l, &in)
		in.Free()
		if err != nil {
			l.cancel()
			return status.Errorf(codes.Internal, "bad frame from the server: %v", err)
		}
	}
}

func (c *Conn) frame(l *link, in *codec.In) error {
	parts := codec.NewParts(in.Data())
	for parts.Next() {
		if err := c.part(l, parts.Num(), parts.Body()); err != nil {
			return err
		}
	}
	return parts.Err()
}

func (c *Conn) part(l *link, num int, body []byte) error {
	switch num {
	case codec.PartEnqueueAnswers:
		return c.answered(body)
	case codec.PartOutcomeAnswers:
		return c.reported(body)
	case codec.PartDeliveries:
		return c.delivered(l, body)
	case codec.PartHeartbeatAnswers:
		return decode(body, c.beaten)
	case codec.PartAttached:
		return decode(body, c.attached)
	case codec.PartRevoked:
		return decode(body, c.revoked)
	case codec.PartLost:
		return decode(body, c.lost)
	case codec.PartWatchResults:
		return decode(body, c.watched)
	case codec.PartDetached:
		return decode(body, c.detached)
	case codec.PartGoAway:
		c.mu.Lock()
		l.away = time.Now()
		c.control.tick = true
		c.wake()
		c.mu.Unlock()
	}
	return nil // a newer server's: it says nothing that must be understood
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
