package sim

import (
	"context"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// worker is a process with a session. Unless honest or in a calm world it hangs,
// loses its connection, crashes, fails tasks and hands them back.
type worker struct {
	w       *world
	name    string
	born    int
	types   []string
	ttl     task.Millis
	remote  bool
	honest  bool
	s       task.Session
	at      *connection
	credit  int
	running []task.Delivery
	pending []task.Outcome // decided, and not yet answered
	beaten  task.Time

	heard     task.Time // when the node last heard of it for sure,
	heardLife int       // and which process that was
	spared    bool      // it has its TTL anew for a gap, and was not heard of since
	shaken    task.Time // the first fault or restart since; 0 = none
	falls     int       // those after it that were not in order
	silent    task.Time // it hangs until then
}

// connection is one attachment of a worker: what an earlier one still hears
// concerns nobody.
type connection struct {
	k    *worker
	life int
}

func newWorker(w *world, i int) *worker {
	k := &worker{w: w, name: fmt.Sprint("w", i), ttl: []task.Millis{0, 2000, 5000}[w.rng.IntN(3)], remote: w.often(70)}
	k.remote = k.remote || w.shaken
	if w.often(20) && i != 99 && i != 0 {
		k.types = typeNames[:1]
	}
	return k
}

func (k *worker) id() string { return fmt.Sprintf("%s-%d", k.name, k.born) }

func (c *connection) live() bool { return c.k.at == c && c.k.w.life == c.life }

// Deliver is task.Sink's.
func (c *connection) Deliver(ds []task.Delivery) {
	k := c.k
	if !c.live() {
		return
	}
	for _, d := range ds {
		d.Payload = slices.Clone(d.Payload)
		k.credit--
		if x := k.w.led.sent[keyOf(d.Payload)]; x != nil {
			k.w.led.taskOf(d.ID, x.key)
		}
		k.w.leased(d, k)
		k.w.delivered(d, k.id())
		if k.w.calm && !k.w.led.draining {
			k.w.first(d, k.types)
			if d.Counts.Crashes+d.Counts.Failures > 0 {
				k.w.led.cry("blamed", "%s comes with %+v, and nobody did wrong", keyOf(d.Payload), d.Counts)
			}
		}
		k.running = append(k.running, d)
	}
	if k.credit < 0 {
		k.w.led.cry("credit", "%s got %d tasks more than it allowed", k.id(), -k.credit)
	}
	k.w.log("%s gets %d tasks", k.id(), len(ds))
}

// delivered notes a delivery, and holds a first one against the clock.
func (w *world) delivered(d task.Delivery, who string) {
	w.led.delivered(d, who)
	if k := w.led.tasks[d.ID]; k != nil && len(k.seen) == 1 && d.Counts == (task.Counts{}) {
		w.clocks.delivered(k, w.led.sent[k.key])
	}
}

// Revoke is task.Sink's.
func (c *connection) Revoke(ts []task.Token, why task.Code) {
	if c.live() {
		c.k.revoked(ts)
		c.k.w.revoked(c.k, ts, why)
		c.k.running = slices.DeleteFunc(c.k.running, func(d task.Delivery) bool { return slices.Contains(ts, d.Token) })
	}
}

// Lost is task.Sink's.
func (c *connection) Lost(err *task.Error) {
	if c.live() {
		c.k.w.log("%s lost its session: %v", c.k.id(), err)
		c.k.cutOff()
	}
}

// cutOff is a lost connection, from the worker's end.
func (k *worker) cutOff() { k.s, k.at, k.credit = nil, nil, 0 }

func (k *worker) idle() bool { return len(k.running) == 0 && len(k.pending) == 0 }

func (k *worker) act() {
	w := k.w
	if w.sys == nil || k.silent > w.now {
		return
	}
	if k.s == nil {
		k.attach()
		return
	}
	if k.beat(); k.s == nil { // it has heard that its session is over
		return
	}
	if k.honest {
		for len(k.running) > 0 {
			k.finish()
		}
		k.report()
		k.allow(100)
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 25:
		k.allow(1 + w.rng.IntN(8))
	case n < 85:
		for range 1 + w.rng.IntN(4) {
			k.finish()
		}
		k.report()
	case w.calm:
		if w.shape.handing && w.more.IntN(3) == 0 {
			w.log("%s closes", k.id())
			k.s.Close()
			k.reborn()
			w.unheard = true
		}
	case n < 88:
		w.log("%s hangs", k.id())
		k.silent = w.now.Add(task.Millis(w.rng.IntN(30_000)))
	case n < 92:
		if w.shape.late && w.more.IntN(2) == 0 {
			k.handBackUnheard()
			break
		}
		w.log("%s loses its connection", k.id())
		if w.often(50) {
			k.s.Detach()
		}
		k.cutOff()
	case n < 94:
		w.log("%s crashes", k.id())
		if w.often(50) {
			k.s.Detach()
		}
		k.reborn()
	case n < 96:
		w.log("%s closes", k.id())
		k.s.Close()
		k.reborn()
	default:
		// Some outcomes go outside the session.
		k.finish()
		k.send(w.sys.Report)
	}
}

// handBackUnheard hands back what runs and loses the connection before the answer:
// when it is back it presents leases that are over, and may have been given the
// same tasks again meanwhile without ever hearing of it.
func (k *worker) handBackUnheard() {
	w := k.w
	for _, d := range k.running {
		o := task.Outcome{Token: d.Token, Kind: task.OutcomeRelease}
		w.led.decided(d, o)
		k.pending = append(k.pending, o)
	}
	k.running = nil
	b := &task.OutcomeBatch{Outcomes: slices.Clone(k.pending), Done: func(*task.OutcomeBatch) {}}
	w.sending(b.Outcomes)
	if k.credit == 0 {
		k.allow(1)
	}
	w.log("%s hands back what it runs, and loses its connection before the answer", k.id())
	k.s.Report(b)
	k.cutOff()
	w.turns(3)
	if w.more.IntN(2) == 0 && w.sys != nil {
		k.attach()
	}
}

// reborn is a new process: it knows nothing of the old one's tasks.
func (k *worker) reborn() {
	k.cutOff()
	k.born++
	k.running, k.pending = nil, nil
}

func (k *worker) attach() {
	w := k.w
	o := task.SessionOptions{ID: k.id(), Types: k.types, Concurrency: 1 + w.rng.IntN(4), TTL: k.ttl, Worker: k.name, Remote: k.remote}
	for _, q := range queueNames {
		o.Queues = append(o.Queues, task.QueueWeight{Queue: q, Weight: 1})
	}
	for _, d := range k.running {
		o.Running = append(o.Running, d.Token)
	}
	for _, p := range k.pending {
		o.Running = append(o.Running, p.Token)
	}
	c := &connection{k: k, life: w.life}
	k.at, k.credit = c, 0
	shakes := w.shakes
	s, err := w.sys.Attach(context.Background(), o, c)
	w.sessions[k.id()] = w.now.Add(k.lasts()) // it may be open somewhere, whatever is said
	if w.died() {
		return
	}
	w.log("%s attaches with %d running: %v", k.id(), len(o.Running), err)
	if err != nil || k.at != c {
		k.cutOff()
		return
	}
	k.s, k.beaten = s, w.now
	w.resumed(k)
	k.contact()
	if w.shakes > shakes { // a partition has ended meanwhile, and has not said so yet
		k.shaken = w.now
	}
}

// beat sends a heartbeat when one is due.
func (k *worker) beat() {
	ttl := k.ttl
	if ttl == 0 {
		ttl = task.DefaultSessionTTL
	}
	if k.s == nil || k.silent > k.w.now || k.w.now < k.beaten.Add(ttl/3) {
		return
	}
	k.beaten = k.w.now
	if err := k.s.Heartbeat(); err != nil {
		k.w.log("%s: heartbeat: %v", k.id(), err)
		k.cutOff()
		return
	}
	k.w.sessions[k.id()] = k.w.now.Add(k.lasts())
	if k.shaken == 0 && k.w.now < k.heard.Add(k.lasts()) { // else nobody may hear it, or it has lapsed
		k.contact()
	}
}

func (k *worker) allow(n int) {
	if room := 40 - k.credit - len(k.running); room > 0 {
		n = min(n, room)
		k.credit += n
		k.s.Credit(n)
	}
}

// finish decides on one running task.
func (k *worker) finish() {
	if len(k.running) == 0 {
		return
	}
	r := k.w.rng
	i := r.IntN(len(k.running))
	d := k.running[i]
	if !k.honest && k.w.shape.timeouts && d.Timeout < task.Minute && d.ID.Seq%3 == 0 { // its handler is stuck, and the worker goes on
		return
	}
	k.running = slices.Delete(k.running, i, i+1)
	k.pending = append(k.pending, k.w.outcome(d, k.honest))
}

// outcome draws what becomes of a delivery.
func (w *world) outcome(d task.Delivery, honest bool) task.Outcome {
	o := task.Outcome{Token: d.Token, Started: true}
	k := w.rng.IntN(100)
	switch {
	case w.calm && !honest && w.shape.handing && w.more.IntN(8) == 0:
		o.Kind, o.Started = task.OutcomeRelease, w.more.IntN(2) == 0
	case honest || w.calm || k < 70:
		o.Result = fmt.Appendf(nil, "%s by %d", keyOf(d.Payload), d.Token.Fence())
	case k < 82:
		o.Kind, o.Error, o.Delay = task.OutcomeFail, "boom", task.RetryAfterByBackoff
	case k < 86:
		o.Kind, o.Error, o.Delay = task.OutcomeFail, "boom", task.Millis(w.rng.IntN(3000))
	case k < 88:
		o.Kind, o.Error, o.Permanent, o.Delay = task.OutcomeFail, "for good", true, task.RetryAfterByBackoff
	case k < 94:
		o.Kind, o.Delay = task.OutcomeRelease, task.Millis(w.rng.IntN(3000))
	default:
		o.Kind, o.Started = task.OutcomeRelease, w.often(50)
	}
	w.led.decided(d, o)
	return o
}

func (k *worker) report() { k.send(k.s.Report) }

// send reports all that is pending; what is not answered stays pending.
func (k *worker) send(via func(*task.OutcomeBatch)) {
	if len(k.pending) == 0 {
		return
	}
	b := &task.OutcomeBatch{Outcomes: slices.Clone(k.pending)}
	life, born := k.w.life, k.born
	judge := k.w.sending(b.Outcomes)
	b.Done = func(b *task.OutcomeBatch) {
		if k.w.life != life {
			return
		}
		judge(b)
		k.w.log("%s: %d outcomes: %v %v", k.id(), len(b.Outcomes), b.Codes, b.Err)
		k.w.led.reported(b)
		if b.Err == nil && k.born == born {
			k.pending = slices.DeleteFunc(k.pending, func(o task.Outcome) bool {
				return slices.ContainsFunc(b.Outcomes, func(x task.Outcome) bool { return x.Token == o.Token })
			})
		}
	}
	via(b)
}

// curl is a program that leases without a session, and may forget what it has.
type curl struct {
	w         *world
	held      []task.Delivery
	ended     []task.Delivery // failed, or released for later, to the end
	forgotten []task.Delivery // its outcomes may come late
}

func (c *curl) act() {
	w := c.w
	if w.sys == nil {
		return
	}
	ctx := context.Background()
	switch k := w.rng.IntN(10); {
	case k == 0 && len(c.ended) > 0: // it changes its mind
		d := c.ended[w.rng.IntN(len(c.ended))]
		o := task.Outcome{Token: d.Token, Started: true, Result: fmt.Appendf(nil, "%s by %d", keyOf(d.Payload), d.Token.Fence())}
		w.led.decided(d, o)
		c.report(d, o)
	case k < 5 || len(c.held) == 0:
		ds, err := w.sys.Lease(ctx, task.LeaseRequest{Queues: []task.QueueWeight{{Queue: queueNames[w.rng.IntN(2)]}}, Max: 1 + w.rng.IntN(3), TTL: task.Millis(1000 + w.rng.IntN(6000)), Worker: "curl"})
		w.log("curl leases %d: %v", len(ds), err)
		if w.died() {
			return
		}
		for _, d := range ds {
			d.Payload = slices.Clone(d.Payload)
			if x := w.led.sent[keyOf(d.Payload)]; x != nil {
				w.led.taskOf(d.ID, x.key)
			}
			w.leased(d, nil)
			w.delivered(d, "curl")
			c.held = append(c.held, d)
		}
	case k < 6:
		w.sys.Extend(ctx, []task.Extension{{Token: c.held[0].Token, TTL: 5000}})
		if t := w.led.tasks[c.held[0].ID]; t.held != nil { // it may have become shorter
			t.held.end = min(t.held.end, w.now.Add(5000))
		}
		w.died()
	case k < 7:
		c.forgotten = append(c.forgotten, c.held[0])
		c.held = c.held[1:]
	default:
		from := &c.held
		if n := len(c.forgotten); w.shape.late && n > 0 && w.more.IntN(2) == 0 {
			from = &c.forgotten
		}
		d := (*from)[0]
		*from = (*from)[1:]
		c.report(d, w.outcome(d, false))
	}
}

func (c *curl) report(d task.Delivery, o task.Outcome) {
	w := c.w
	b := &task.OutcomeBatch{Outcomes: []task.Outcome{o}}
	life, judge := w.life, w.sending(b.Outcomes)
	b.Done = func(b *task.OutcomeBatch) {
		if w.life != life {
			return
		}
		w.log("curl: %v %v", b.Codes, b.Err)
		judge(b)
		w.led.reported(b)
		if b.Err == nil && b.Codes[0] == task.OK && (o.Kind == task.OutcomeFail || o.Kind == task.OutcomeRelease && o.Delay > 0) {
			c.ended = append(c.ended, d)
		}
	}
	w.sys.Report(b)
}
