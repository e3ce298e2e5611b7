package queuetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// line is one line of a transcript: words, and what stands as key=value.
type line struct {
	words []string
	opts  map[string]string
	text  string // between quotes
	err   error
}

func parseLine(s string) *line {
	l := &line{opts: map[string]string{}}
	if head, rest, ok := strings.Cut(s, `"`); ok {
		text, tail, closed := strings.Cut(rest, `"`)
		if !closed {
			l.err = errors.New("a quote is not closed")
		}
		l.text, s = text, head+tail
	}
	for _, w := range strings.Fields(s) {
		if k, v, ok := strings.Cut(w, "="); ok {
			l.opts[k] = v
		} else {
			l.words = append(l.words, w)
		}
	}
	return l
}

func (l *line) word(i int) string {
	if i < len(l.words) {
		return l.words[i]
	}
	return ""
}

func (l *line) num(k string, def int) int {
	v, ok := l.opts[k]
	if !ok {
		return def
	}
	n, err := strconv.Atoi(v)
	l.err = errors.Join(l.err, err)
	return n
}

func (l *line) time(k string) task.Millis {
	v, ok := l.opts[k]
	if !ok {
		return 0
	}
	d, err := millis(v)
	l.err = errors.Join(l.err, err)
	return d
}

func (p *player) do(s string) error {
	l := parseLine(s)
	if err := errors.Join(p.act(l), l.err); err != nil {
		return fmt.Errorf("%q: %w", s, err)
	}
	return nil
}

func (p *player) act(l *line) error {
	switch l.word(0) {
	case "wait":
		d, err := millis(l.word(1))
		if err != nil {
			return err
		}
		return p.wait(d)
	case "wall": // the wall clock is set forward, or with a minus back
		d, err := millis(l.word(1))
		if err != nil {
			return err
		}
		p.rig.Wall -= d
		return p.apply(queue.Command{Op: queue.OpClock, Offset: p.rig.Wall}, nil)
	case "stand": // the owner stands still: no tick, no mail
		d, err := millis(l.word(1))
		if err != nil {
			return err
		}
		p.rig.Now = p.rig.Now.Add(d)
		return p.apply(queue.Command{Op: queue.OpGap, Gap: d}, nil)
	case "queue":
		return p.setQueue(l)
	case "enqueue":
		return p.enqueue(l)
	case "worker":
		return p.worker(l)
	case "lease":
		n := &queue.Lease{Queues: weights(l.word(1)), Max: l.num("max", 1), TTL: l.time("ttl"), Worker: "curl"}
		return p.apply(queue.Command{Op: queue.OpLease, Lease: n}, func() { p.nothing(n.Got == 0, "curl") })
	case "extend":
		return p.extend(l)
	case "cancel", "retry", "delete":
		return p.change(l)
	case "purge":
		s, ok := task.ParseState(l.word(2))
		if !ok {
			return errors.New("no such state")
		}
		c := &queue.Purge{Name: l.word(1), States: []task.State{s}}
		return p.apply(queue.Command{Op: queue.OpPurge, Purge: c}, func() { p.answer(c.Err, fmt.Sprintf("%d are gone", c.Gone)) })
	case "delete-queue":
		c := &queue.DeleteQueue{Name: l.word(1), Force: l.word(2) == "force"}
		return p.apply(queue.Command{Op: queue.OpDeleteQueue, DeleteQueue: c}, func() { p.answer(c.Err, fmt.Sprintf("it is gone, with %d tasks", c.Gone)) })
	case "show":
		return p.show(l.word(1))
	case "restart", "crash":
		clean := l.word(0) == "restart"
		p.forget()
		if err := p.rig.Reopen(clean); err != nil {
			return err
		}
		return p.apply(queue.Command{Op: queue.OpTick}, nil)
	}
	return p.workerDoes(l)
}

func (p *player) answer(err *task.Error, ok string) {
	if err != nil {
		ok = err.Error()
	}
	p.say("%s", ok)
}

func (p *player) nothing(none bool, who string) {
	if none {
		p.say("%s gets nothing", who)
	}
}

func weights(s string) []task.QueueWeight {
	var out []task.QueueWeight
	for _, q := range strings.Split(s, ",") {
		name, w, _ := strings.Cut(q, ":")
		n, _ := strconv.Atoi(w)
		out = append(out, task.QueueWeight{Queue: name, Weight: n})
	}
	return out
}

func (p *player) setQueue(l *line) error {
	c := &queue.SetQueue{Name: l.word(1)}
	if _, ok := l.opts["attempts"]; ok {
		n := int32(l.num("attempts", 0))
		c.Patch.MaxAttempts = &n
	}
	for k, to := range map[string]**task.Millis{"timeout": &c.Patch.Timeout, "unserved": &c.Patch.Unserved, "retention": &c.Patch.Retention} {
		if _, ok := l.opts[k]; ok {
			d := l.time(k)
			*to = &d
		}
	}
	if v, ok := l.opts["history"]; ok {
		h := map[string]task.HistoryMode{"all": task.HistoryAll, "failures": task.HistoryFailures, "none": task.HistoryNone}[v]
		c.Patch.History = &h
	}
	if l.opts["claims"] == "durable" {
		m := task.ClaimsDurable
		c.Patch.Claims = &m
	}
	if w := l.word(2); w == "paused" || w == "resumed" {
		paused := w == "paused"
		c.Patch.Paused = &paused
	}
	c.Patch.Backoff = l.backoff()
	return p.apply(queue.Command{Op: queue.OpSetQueue, SetQueue: c}, func() { p.answer(c.Err, "ok") })
}

// backoff reads backoff=kind:base or backoff=list:1s,5s.
func (l *line) backoff() *task.Backoff {
	v, ok := l.opts["backoff"]
	if !ok {
		return nil
	}
	kind, arg, _ := strings.Cut(v, ":")
	b := &task.Backoff{}
	var ds []task.Millis
	for _, a := range strings.Split(arg, ",") {
		d, err := millis(a)
		l.err = errors.Join(l.err, err)
		ds = append(ds, d)
	}
	switch kind {
	case "fixed":
		b.Kind = task.BackoffFixed
	case "linear":
		b.Kind = task.BackoffLinear
	case "list":
		b.Kind, b.List = task.BackoffList, ds
	case "exponential":
	default:
		l.err = errors.Join(l.err, errors.New("unknown backoff"))
	}
	if b.Kind != task.BackoffList {
		b.Base = ds[0]
	}
	return b
}

func (p *player) enqueue(l *line) error {
	s := task.Spec{Type: l.word(2), Priority: uint8(l.num("priority", task.DefaultPriority)), Delay: l.time("delay"), ExpireAfter: l.time("expire"),
		Idempotency: l.opts["once"], IdempotencyFor: l.time("for"), Number: uint64(l.num("number", 0)), Payload: []byte(l.text)}
	if d := l.time("deadline"); d != 0 {
		s.Deadline = p.rig.wall().Add(d)
	}
	if d := l.time("at"); d != 0 {
		s.RunAt = p.rig.wall().Add(d)
	}
	if n, t, b := l.num("attempts", 0), l.time("timeout"), l.backoff(); n != 0 || t != 0 || b != nil {
		s.Policy = &task.Policy{MaxAttempts: int32(n), Timeout: t, Backoff: b}
	}
	b := &task.EnqueueBatch{Queue: l.word(1), Producer: l.opts["producer"]}
	for range l.num("times", 1) {
		b.Specs = append(b.Specs, s)
	}
	b.Results = make([]task.Enqueued, len(b.Specs))
	return p.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: b}, func() {
		if b.Err != nil {
			p.say("refused: %v", b.Err)
			return
		}
		for _, r := range b.Results {
			p.enqueued(r)
		}
	})
}

func (p *player) enqueued(r task.Enqueued) {
	switch {
	case r.Err != nil:
		p.say("refused: %v", r.Err)
	case r.Existing:
		p.say("it is %s already", p.name(r.ID.Seq))
	default:
		p.seqs, p.ids = append(p.seqs, r.ID.Seq), append(p.ids, r.ID)
		switch r.ID.Class {
		case task.ClassTimed:
			p.say("%s waits %v", p.name(r.ID.Seq), length(r.ID.Due.Sub(p.rig.Now)))
		case task.ClassCalendar:
			p.say("%s is due in %v by the wall clock", p.name(r.ID.Seq), length(r.ID.Due.Sub(p.rig.wall())))
		default:
			p.say("%s is ready", p.name(r.ID.Seq))
		}
	}
}

// worker opens a session: worker anna mail,news:3 types=a,b concurrency=2 ttl=10s running=#1,#2
func (p *player) worker(l *line) error {
	name := l.word(1)
	w := &played{opts: task.SessionOptions{ID: name, Queues: weights(l.word(2)), Concurrency: l.num("concurrency", 1), TTL: l.time("ttl"), Worker: name, Remote: true}}
	if v, ok := l.opts["types"]; ok {
		w.opts.Types = strings.Split(v, ",")
	}
	if v, ok := l.opts["running"]; ok {
		for _, r := range strings.Split(v, ",") {
			i, err := p.ref(r)
			if err != nil {
				return err
			}
			w.opts.Running = append(w.opts.Running, p.tokens[name][p.seqs[i]])
		}
	}
	o := &queue.Open{Options: &w.opts}
	return p.apply(queue.Command{Op: queue.OpOpen, Open: o}, func() {
		if o.Err != nil {
			p.say("refused: %v", o.Err)
			return
		}
		w.no = o.Session
		p.workers[name], p.names[o.Session] = w, name
		for _, t := range o.Lost {
			p.say("%s has lost %s", name, p.name(t.Seq))
		}
		p.say("%s is here", name)
	})
}

// ref reads #n.
func (p *player) ref(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "#"))
	if err != nil || n < 1 || n > len(p.seqs) {
		return 0, fmt.Errorf("no task %s", s)
	}
	return n - 1, nil
}

func (p *player) workerDoes(l *line) error {
	name := l.word(0)
	w := p.workers[name]
	op := queue.Command{}
	if w != nil {
		op.Session = w.no
	} else if name != "curl" && p.tokens[name] == nil {
		return errors.New("not a word of transcripts, and no worker of that name")
	}
	switch l.word(1) {
	case "takes":
		n, err := strconv.Atoi(l.word(2))
		op.Op, op.N = queue.OpDispatch, n
		return errors.Join(err, p.apply(op, func() { p.nothing(len(p.rig.Leased) == 0, name) }))
	case "beats":
		op.Op = queue.OpBeat
		return p.apply(op, nil)
	case "leaves":
		op.Op = queue.OpDetach
		return p.apply(op, nil)
	case "closes":
		op.Op = queue.OpClose
		return p.apply(op, func() { p.say("%s is gone, what it had is ready again", name) })
	}
	return p.outcome(l, name)
}

func (p *player) outcome(l *line, name string) error {
	i, err := p.ref(l.word(2))
	if err != nil {
		return err
	}
	o := task.Outcome{Token: p.tokens[name][p.seqs[i]], Started: l.word(3) != "unstarted"}
	switch l.word(1) {
	case "completes":
		o.Result = []byte(l.text)
	case "fails":
		o.Kind, o.Error, o.Permanent, o.Delay = task.OutcomeFail, l.text, l.word(3) == "permanently", task.RetryAfterByBackoff
		if _, ok := l.opts["after"]; ok {
			o.Delay = l.time("after")
		}
	case "releases":
		o.Kind, o.Delay = task.OutcomeRelease, l.time("delay")
	default:
		return errors.New("no such thing to do")
	}
	b := &task.OutcomeBatch{Outcomes: []task.Outcome{o}, Codes: make([]task.Code, 1)}
	return p.apply(queue.Command{Op: queue.OpReport, Report: b}, func() { p.say("%v", b.Codes[0]) })
}

func (p *player) extend(l *line) error {
	i, err := p.ref(l.word(1))
	if err != nil {
		return err
	}
	d, err := millis(l.word(2))
	if err != nil {
		return err
	}
	e := &queue.Extend{Extensions: []task.Extension{{Token: p.tokens["curl"][p.seqs[i]], TTL: d}}, Codes: make([]task.Code, 1)}
	return p.apply(queue.Command{Op: queue.OpExtend, Extend: e}, func() { p.say("%v", e.Codes[0]) })
}

func (p *player) change(l *line) error {
	verbs := map[string]task.Verb{"cancel": task.VerbCancel, "retry": task.VerbRetry, "delete": task.VerbDelete}
	c := &queue.Change{Verb: verbs[l.word(0)]}
	for _, w := range l.words[1:] {
		i, err := p.ref(w)
		if err != nil {
			return err
		}
		c.IDs = append(c.IDs, p.ids[i])
	}
	c.Errs = make([]*task.Error, len(c.IDs))
	return p.apply(queue.Command{Op: queue.OpChange, Change: c}, func() {
		for i, err := range c.Errs {
			p.answer(err, p.name(c.IDs[i].Seq)+": ok")
		}
	})
}

// show says how a queue or a task stands.
func (p *player) show(what string) error {
	if strings.HasPrefix(what, "#") {
		i, err := p.ref(what)
		if err != nil {
			return err
		}
		v, ok := p.rig.M.Find(p.seqs[i])
		if !ok {
			p.say("%s is not in memory", what)
			return nil
		}
		s := fmt.Sprintf("%s is %v, %d failures, %d crashes, %d releases", what, v.State, v.Counts.Failures, v.Counts.Crashes, v.Counts.Releases)
		if v.Reason != "" {
			s += ": " + v.Reason
		}
		p.say("%s", s)
		return nil
	}
	if _, ok := p.rig.M.QueueNum(what); !ok {
		p.say("there is no queue %s", what)
	}
	for _, q := range p.rig.M.QueueInfos([]string{what}, nil) {
		s := fmt.Sprintf("%s:", q.Name)
		for _, c := range []struct {
			name string
			n    int64
		}{{"scheduled", q.Scheduled}, {"ready", q.Ready}, {"held back", q.Blocked}, {"running", q.Running}, {"dead", q.Dead},
			{"succeeded", q.Succeeded}, {"canceled", q.Canceled}, {"expired", q.Expired}, {"enqueued in all", q.Enqueued}} {
			if c.n != 0 {
				s += fmt.Sprintf(" %d %s,", c.n, c.name)
			}
		}
		p.say("%s", strings.TrimSuffix(s, ","))
	}
	return nil
}
