package queuetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Draw is where a Workload's choices come from: a seed, or the bytes of a fuzzer.
type Draw struct {
	rng  *rand.Rand
	data []byte
}

// Seeded draws from a seed, without end.
func Seeded(seed uint64) *Draw { return &Draw{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15))} }

// FromBytes draws from data until it is used up.
func FromBytes(data []byte) *Draw { return &Draw{data: data} }

// Done says whether a fuzzer's bytes are used up.
func (d *Draw) Done() bool { return d.rng == nil && len(d.data) == 0 }

// N draws a number below n.
func (d *Draw) N(n int) int {
	if d.rng != nil {
		return d.rng.IntN(n)
	}
	x := 0
	for k := 1; k < n; k *= 256 {
		if len(d.data) > 0 {
			x, d.data = x<<8|int(d.data[0]), d.data[1:]
		}
	}
	return x % n
}

// Often is true in percent of a hundred draws.
func (d *Draw) Often(percent int) bool { return d.N(100) < percent }

func pick[T any](d *Draw, xs ...T) T { return xs[d.N(len(xs))] }

// Workload draws commands that make sense: most tokens, IDs and numbers in them
// are ones that exist, some are of the past, a few were never there.
type Workload struct {
	D        *Draw
	Rig      *Rig
	Longest  task.Millis // of a step in time; 0 = a day
	Sets     bool        // the wall clock is set; then no task that has a moment to run at expires
	tokens   []task.Token
	ids      []task.ID
	sessions []queue.SessionNo
	numbers  map[string]uint64
}

// Policies that tasks are given; nil is the queue's own.
var policies = []*task.Policy{
	nil, nil, nil,
	{MaxAttempts: 2, Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: 50}},
	{MaxAttempts: 4, Timeout: 700, Backoff: &task.Backoff{Kind: task.BackoffList, List: []task.Millis{0, 900, 10}}},
	{Timeout: task.AttemptTimeoutNone, Backoff: &task.Backoff{Kind: task.BackoffLinear, Base: 100, Max: 250}},
	{MaxAttempts: task.MaxAttemptsNoLimit, Timeout: 5 * task.Second},
}

// Next draws how long nothing happens, and then what does.
func (w *Workload) Next() (task.Millis, queue.Command) {
	return w.pause(), w.command()
}

func (w *Workload) pause() task.Millis {
	d := w.D
	longest := int(w.Longest)
	if longest == 0 {
		longest = int(task.Day)
	}
	switch k := d.N(100); {
	case k < 55:
		return task.Millis(d.N(5))
	case k < 80:
		return task.Millis(d.N(500))
	case k < 97:
		return task.Millis(min(d.N(6000), longest))
	default:
		return task.Millis(d.N(longest))
	}
}

func (w *Workload) command() queue.Command {
	d := w.D
	switch k := d.N(100); {
	case k < 27:
		return queue.Command{Op: queue.OpEnqueue, Enqueue: w.enqueue()}
	case k < 47:
		return queue.Command{Op: queue.OpDispatch, Session: w.session(), N: 1 + d.N(12)}
	case k < 68:
		return queue.Command{Op: queue.OpReport, Report: w.report()}
	case k < 73:
		return queue.Command{Op: queue.OpLease, Lease: &queue.Lease{Queues: w.queues(), Types: w.types(), Max: 1 + d.N(6), TTL: task.Millis(d.N(4)) * 700, Worker: "unary"}}
	case k < 75:
		return queue.Command{Op: queue.OpExtend, Extend: w.extend()}
	case k < 80:
		return queue.Command{Op: queue.OpOpen, Open: &queue.Open{Options: w.options()}}
	case k < 86:
		return queue.Command{Op: queue.OpBeat, Session: w.session()}
	case k < 87:
		return queue.Command{Op: queue.OpDetach, Session: w.session()}
	case k < 88:
		return queue.Command{Op: queue.OpClose, Session: w.session()}
	case k < 94:
		return queue.Command{Op: queue.OpChange, Change: w.change()}
	case k < 97:
		return queue.Command{Op: queue.OpSetQueue, SetQueue: w.setQueue()}
	case k < 98 && d.Often(70):
		return queue.Command{Op: queue.OpPurge, Purge: w.purge()}
	case k < 98:
		return queue.Command{Op: queue.OpDeleteQueue, DeleteQueue: &queue.DeleteQueue{Name: pick(d, append(queueNames, "nowhere")...), Force: d.Often(70)}}
	case k < 99:
		return queue.Command{Op: queue.OpFree, Unsent: []task.Token{w.token()}}
	}
	if w.Sets && d.Often(60) {
		return queue.Command{Op: queue.OpClock, Offset: w.Rig.Wall + task.Millis(d.N(40_000)) - 20_000}
	}
	if d.Often(50) {
		return queue.Command{Op: queue.OpGap, Gap: task.Millis(d.N(20_000))}
	}
	return queue.Command{Op: queue.OpTick}
}

// Saw lets the Workload learn what a command has led to.
func (w *Workload) Saw(c *queue.Command) {
	switch {
	case c.Enqueue != nil && c.Enqueue.Err == nil:
		for _, r := range c.Enqueue.Results {
			if r.Err == nil {
				w.ids = append(w.ids, r.ID)
			}
		}
	case c.Open != nil && c.Open.Err == nil:
		w.sessions = append(w.sessions, c.Open.Session)
	}
	for i := range w.Rig.Leased {
		w.tokens = append(w.tokens, w.Rig.Leased[i].Token)
	}
}

var queueNames = []string{"a", "b", "c"}

var typeNames = []string{"x", "y", "z"}

func (w *Workload) enqueue() *task.EnqueueBatch {
	d := w.D
	b := &task.EnqueueBatch{Queue: pick(d, queueNames...)}
	n := 1 + d.N(4)
	if d.Often(12) {
		n = 20 + d.N(60)
	}
	if d.Often(25) {
		b.Producer = fmt.Sprint("p", d.N(3))
		if w.numbers == nil {
			w.numbers = map[string]uint64{}
		}
		if d.Often(20) {
			b.AckBelow = uint64(d.N(int(w.numbers[b.Producer+b.Queue]) + 2))
		}
	}
	for range n {
		s := w.spec()
		if b.Producer != "" && d.Often(90) {
			k := b.Producer + b.Queue
			if d.Often(70) {
				w.numbers[k]++
				s.Number = w.numbers[k]
			} else {
				s.Number = uint64(1 + d.N(int(w.numbers[k])+3))
			}
		}
		b.Specs = append(b.Specs, s)
	}
	b.Results = make([]task.Enqueued, n)
	return b
}

func (w *Workload) spec() task.Spec {
	d := w.D
	s := task.Spec{Type: pick(d, typeNames...), Priority: pick[uint8](d, 0, 5, 5, 5, 9), Policy: pick(d, policies...), Payload: []byte{byte(d.N(3))}}
	if d.Often(4) {
		s.Payload = make([]byte, 5<<10)
	}
	switch k := d.N(100); {
	case k < 20:
		s.Delay = task.Millis(d.N(3000))
	case k < 25:
		s.RunAt = w.Rig.wall() + task.Time(d.N(20_000)) - 1000
		s.RunAt = max(s.RunAt, 1)
	case k < 27:
		s.Delay = task.Millis(d.N(int(2 * task.Day)))
	}
	if d.Often(8) {
		if s.ExpireAfter = task.Millis(1 + d.N(4000)); w.Sets && s.RunAt != 0 {
			s.ExpireAfter = 0
		}
	}
	if d.Often(8) {
		s.Deadline = w.Rig.wall() + task.Time(d.N(10_000))
	}
	if d.Often(10) {
		s.Idempotency = fmt.Sprint("k", d.N(6))
		s.IdempotencyFor = pick[task.Millis](d, 0, 1, 2000, 90_000)
	}
	if d.Often(3) {
		s.Type = ""
	}
	return s
}

func (w *Workload) queues() []task.QueueWeight {
	var out []task.QueueWeight
	for _, q := range queueNames {
		if w.D.Often(60) {
			out = append(out, task.QueueWeight{Queue: q, Weight: w.D.N(4)})
		}
	}
	if out == nil {
		out = append(out, task.QueueWeight{Queue: "a"})
	}
	return out
}

func (w *Workload) types() []string {
	if w.D.Often(60) {
		return nil
	}
	return []string{pick(w.D, typeNames...), "unknown"}
}

func (w *Workload) options() *task.SessionOptions {
	d := w.D
	o := &task.SessionOptions{ID: fmt.Sprint("s", d.N(4)), Queues: w.queues(), Types: w.types(), Concurrency: d.N(4),
		TTL: pick[task.Millis](d, 0, 0, 1500, task.Minute, 10*task.Minute), Worker: "worker", Remote: d.Often(60)}
	for range d.N(4) {
		o.Running = append(o.Running, w.token())
	}
	return o
}

func (w *Workload) session() queue.SessionNo {
	if n := len(w.sessions); n > 0 && w.D.Often(97) {
		return w.sessions[n-1-w.D.N(min(n, 4))]
	}
	return queue.SessionNo(w.D.N(6))
}

// token is one that was given out, a late one at times.
func (w *Workload) token() task.Token {
	n := len(w.tokens)
	if n == 0 || w.D.Often(2) {
		return task.Token{Partition: 1, Epoch: 1, Seq: task.Seq(w.D.N(50)), Slot: uint32(w.D.N(50))}
	}
	t := w.tokens[n-1-w.D.N(min(n, pick(w.D, 3, 10, 40)))]
	if w.D.Often(4) { // every field counts
		switch w.D.N(6) {
		case 0:
			t.Dispatch++
		case 1:
			t.Partition++
		case 2:
			t.Attempt++
		case 3:
			t.Nonce++
		case 4:
			t.Slot++
		case 5:
			t.Queue++
		}
	}
	return t
}

func (w *Workload) report() *task.OutcomeBatch {
	d := w.D
	b := &task.OutcomeBatch{}
	told := map[task.Seq]task.OutcomeKind{}
	for range 1 + d.N(5) {
		o := task.Outcome{Token: w.token(), Started: d.Often(80)}
		switch k := d.N(10); {
		case k < 5:
			o.Result = []byte("r")
		case k < 8:
			o.Kind, o.Error, o.Permanent = task.OutcomeFail, "boom", d.Often(10)
			o.Delay = pick[task.Millis](d, task.RetryAfterByBackoff, task.RetryAfterByBackoff, 0, 700)
		default:
			o.Kind, o.Delay = task.OutcomeRelease, pick[task.Millis](d, 0, 0, 400)
		}
		// Of one task only the same is told twice in one report.
		if k, twice := told[o.Token.Seq]; twice && k != o.Kind {
			continue
		}
		told[o.Token.Seq] = o.Kind
		b.Outcomes = append(b.Outcomes, o)
	}
	b.Codes = make([]task.Code, len(b.Outcomes))
	return b
}

func (w *Workload) extend() *queue.Extend {
	e := &queue.Extend{}
	for range 1 + w.D.N(3) {
		e.Extensions = append(e.Extensions, task.Extension{Token: w.token(), TTL: task.Millis(w.D.N(3000))})
	}
	e.Codes = make([]task.Code, len(e.Extensions))
	return e
}

func (w *Workload) id() task.ID {
	n := len(w.ids)
	if n == 0 || w.D.Often(3) {
		return task.ID{Partition: 1, Queue: 1, Lane: 1, Priority: 5, Seq: task.Seq(w.D.N(1000))}
	}
	return w.ids[n-1-w.D.N(min(n, pick(w.D, 5, 40, 400)))]
}

func (w *Workload) change() *queue.Change {
	d := w.D
	c := &queue.Change{Verb: pick(d, task.VerbCancel, task.VerbRetry, task.VerbRetry, task.VerbDelete)}
	for range 1 + d.N(4) {
		c.IDs = append(c.IDs, w.id())
	}
	c.Errs = make([]*task.Error, len(c.IDs))
	return c
}

func (w *Workload) setQueue() *queue.SetQueue {
	d := w.D
	c := &queue.SetQueue{Name: pick(d, queueNames...)}
	p := &c.Patch
	switch d.N(6) {
	case 0, 1:
		paused := d.Often(25)
		p.Paused = &paused
	case 2:
		n := int32(1 + d.N(5))
		p.MaxAttempts = &n
	case 3:
		h := pick(d, task.HistoryAll, task.HistoryAll, task.HistoryFailures, task.HistoryNone)
		p.History = &h
	case 4:
		c := pick(d, task.ClaimsDeferred, task.ClaimsDurable)
		p.Claims = &c
	case 5:
		r, u := pick[task.Millis](d, 0, task.Minute, task.Hour), pick[task.Millis](d, 0, 3000, task.Hour)
		p.Retention, p.Unserved = &r, &u
	}
	return c
}

func (w *Workload) purge() *queue.Purge {
	return &queue.Purge{Name: pick(w.D, append(queueNames, "nowhere")...),
		States: pick(w.D, []task.State{task.Ready}, []task.State{task.Scheduled}, []task.State{task.Dead}, []task.State{task.Ready, task.Scheduled})}
}

// Try lets a Workload loose on a machine under the Model's eyes for so many
// steps, with crashes and clean restarts among them. The error names the step.
func Try(d *Draw, window, steps int, log func(string)) error {
	rig := NewRig(queue.Config{Partition: 1, WindowTasks: window, QueueIdle: 3 * task.Hour}, 1_000_000)
	if log != nil {
		rig.Trace = traceTo(log)
	}
	rig.Wall = pick[task.Millis](d, 0, 0, 10*task.Minute, -task.Hour)
	if err := rig.Reopen(false); err != nil {
		return err
	}
	m := NewModel(rig)
	w := &Workload{D: d, Rig: rig, Sets: d.Often(50)}
	for i := 0; i < steps && !d.Done(); i++ {
		if n := rig.Refills(); n > 0 && d.Often(60) {
			rig.Refill(d.N(n))
		}
		var err error
		if d.Often(1) {
			err = crash(d, m, w, log)
		} else {
			pause, c := w.Next()
			if log != nil {
				log(fmt.Sprintf("%d: +%d %s", i, pause, describe(&c)))
			}
			if err = m.Step(rig.Now.Add(pause), c); err == nil {
				w.Saw(&c)
			}
			if log != nil {
				log(strings.TrimSuffix(fmt.Sprintf("     %s", answered(rig, &c)), "\n"))
			}
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// traceTo logs what the machine asks of the store, and what comes back.
func traceTo(log func(string)) func(task.Time, []queue.Command, *queue.Output) {
	return func(now task.Time, cmds []queue.Command, o *queue.Output) {
		for _, c := range cmds {
			if c.Loaded != nil {
				s := ""
				for _, x := range c.Loaded.Waiting {
					s += fmt.Sprintf(" %x@%d", uint64(x.Place.Seq), x.Place.Due)
				}
				log(fmt.Sprintf("     answer: want %d load %d:%s end %v", c.Loaded.Want.What, len(c.Loaded.Stretches), s, len(c.Loaded.Waiting)))
			}
		}
		for _, w := range o.Wants {
			log(fmt.Sprintf("     batch %d at %d: want %d load %d from %+v id %x limit %d", o.Batch, now, w.What, len(w.Lanes), w.Lanes, uint64(w.ID.Seq), w.Limit))
		}
		for _, g := range o.Purges {
			log(fmt.Sprintf("     purge %+v", g))
		}
		for _, k := range o.Idems.Drops {
			log(fmt.Sprintf("     drop idem %+v", k))
		}
		for _, x := range o.Idems.Puts {
			log(fmt.Sprintf("     put idem %+v", x))
		}
		for _, t := range o.Timed {
			log(fmt.Sprintf("     timed %x due %d slot %d", uint64(t.Place.Seq), t.Place.Due, int32(t.Slot)))
		}
	}
}

// crash ends the owner: in order, or just so, or before its last batch was
// durable.
func crash(d *Draw, m *Model, w *Workload, log func(string)) error {
	how := d.N(3)
	if log != nil {
		log([]string{"clean restart", "crash", "crash that loses the last batch"}[how])
	}
	if how == 2 {
		_, c := w.Next()
		if err := m.rig.Once(c); err != nil {
			return err
		}
		m.rig.LoseLast()
	}
	m.rig.Now = m.rig.Now.Add(task.Millis(d.N(3000)))
	w.sessions = nil
	if err := m.rig.Reopen(how == 0); err != nil {
		return errors.Join(errors.New("reopen"), err)
	}
	return m.Reopened(how == 0)
}

// describe is one line on a command, for the log of a failing seed.
func describe(c *queue.Command) string {
	s := opNames[c.Op]
	switch {
	case c.Enqueue != nil:
		s += fmt.Sprintf(" queue %s, producer %q, below %d:", c.Enqueue.Queue, c.Enqueue.Producer, c.Enqueue.AckBelow)
		for i := range c.Enqueue.Specs {
			x := &c.Enqueue.Specs[i]
			if i == 4 {
				s += fmt.Sprintf(" … %d", len(c.Enqueue.Specs))
				break
			}
			s += fmt.Sprintf(" {%s p%d n%d delay %d at %d expire %d deadline %d idem %s policy %v}", x.Type, x.Priority, x.Number, x.Delay, x.RunAt, x.ExpireAfter, x.Deadline, x.Idempotency, x.Policy != nil)
		}
	case c.Report != nil:
		for _, o := range c.Report.Outcomes {
			s += fmt.Sprintf(" {%x dispatch %d: %d, delay %d}", uint64(o.Token.Seq), o.Token.Dispatch, o.Kind, o.Delay)
		}
	case c.Lease != nil:
		s += fmt.Sprintf(" %+v", *c.Lease)
	case c.Open != nil:
		s += fmt.Sprintf(" %+v", *c.Open.Options)
	case c.Change != nil:
		s += fmt.Sprintf(" %d:", c.Change.Verb)
		for _, id := range c.Change.IDs {
			s += fmt.Sprintf(" %x", uint64(id.Seq))
		}
	case c.SetQueue != nil:
		s += fmt.Sprintf(" %s", c.SetQueue.Name)
	case c.Purge != nil:
		s += fmt.Sprintf(" %s %v", c.Purge.Name, c.Purge.States)
	case c.DeleteQueue != nil:
		s += fmt.Sprintf(" %s, force %v", c.DeleteQueue.Name, c.DeleteQueue.Force)
	default:
		s += fmt.Sprintf(" session %d, n %d", c.Session, c.N)
	}
	return s
}

func answered(r *Rig, c *queue.Command) string {
	var s string
	switch {
	case c.Enqueue != nil:
		for i, x := range c.Enqueue.Results {
			if i == 4 {
				break
			}
			s += fmt.Sprintf("%x %v %v; ", uint64(x.ID.Seq), x.Existing, x.Err)
		}
	case c.Report != nil:
		s = fmt.Sprint(c.Report.Codes)
	case c.Change != nil:
		s = fmt.Sprint(c.Change.Errs)
	case c.Open != nil:
		s = fmt.Sprintf("session %d, lost %d", c.Open.Session, len(c.Open.Lost))
	}
	for i := range r.Leased {
		s += fmt.Sprintf(" leased %x dispatch %d;", uint64(r.Leased[i].Token.Seq), r.Leased[i].Token.Dispatch)
	}
	for _, e := range r.Ended {
		s += fmt.Sprintf(" ended %x %v;", uint64(e.Seq), e.State)
	}
	return s
}
