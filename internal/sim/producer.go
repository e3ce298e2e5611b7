package sim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/penstock-io/penstock/internal/task"
)

// producer numbers what it sends and sends it again until it is answered.
type producer struct {
	w     *world
	name  string
	renew int // counts its sessions
	queue string
	keyed bool // it has no session, and an idempotency key for each task instead
	next  uint64
	open  map[uint64]*sent // sent and not answered
}

func newProducer(w *world, i int) *producer {
	return &producer{w: w, name: fmt.Sprint("p", i), queue: queueNames[w.rng.IntN(2)], keyed: w.often(25), next: 1, open: map[uint64]*sent{}}
}

func (p *producer) session() string { return fmt.Sprintf("%s-%d", p.name, p.renew) }

func (p *producer) act() {
	if len(p.open) > 0 && p.w.often(50) {
		p.resend()
		return
	}
	if !p.w.calm && p.w.often(3) {
		p.w.log("%s crashes with %d numbers unanswered", p.session(), len(p.open))
		p.giveUp()
	}
	n := 1 + p.w.rng.IntN(4)
	if p.w.often(10) {
		n = 10 + p.w.rng.IntN(50)
	}
	var numbers []uint64
	for range n {
		x := &sent{key: fmt.Sprintf("%s/%d", p.session(), p.next), queue: p.queue, spec: p.spec(), at: p.w.now, lost: p.w.clocks.lost}
		x.spec.Number, x.spec.Payload = p.next, p.payload(x.key)
		if p.keyed {
			x.spec.Number, x.spec.Idempotency = 0, x.key
		}
		p.open[p.next] = x
		p.w.led.sent[x.key] = x
		numbers = append(numbers, p.next)
		p.next++
	}
	p.send(numbers)
}

// payload is the key, and at times more than fits into a record.
func (p *producer) payload(key string) []byte {
	b := []byte(key)
	if !p.w.calm && p.w.rng.IntN(40) == 0 {
		b = append(append(b, ' '), make([]byte, p.w.rng.IntN(12<<10))...)
	}
	return b
}

// keyOf is the key in a payload.
func keyOf(payload []byte) string {
	key, _, _ := strings.Cut(string(payload), " ")
	return key
}

// resend sends all that is not answered, in order.
func (p *producer) resend() {
	var numbers []uint64
	for n := range p.open {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	if len(numbers) > 200 {
		numbers = numbers[:200]
	}
	if len(numbers) > 0 {
		p.send(numbers)
	}
}

func (p *producer) spec() task.Spec {
	r := p.w.rng
	s := task.Spec{Type: typeNames[r.IntN(2)], Priority: []uint8{1, 5, 5, 9}[r.IntN(4)]}
	if p.w.calm {
		p.w.widen(&s)
		return s
	}
	switch k := r.IntN(10); {
	case k < 2:
		s.Delay = task.Millis(r.IntN(5000))
	case k < 3:
		s.Delay = task.Millis(r.IntN(120_000))
	}
	p.w.clocks.runAt(&s)
	if r.IntN(20) == 0 {
		s.ExpireAfter = task.Millis(1000 + r.IntN(20_000))
	}
	if r.IntN(30) == 0 {
		s.Deadline = p.w.wall() + task.Time(2000+r.IntN(60_000))
	}
	if r.IntN(4) == 0 {
		s.Policy = &task.Policy{MaxAttempts: int32(1 + r.IntN(3)), Backoff: &task.Backoff{Kind: task.BackoffKind(r.IntN(3)), Base: task.Millis(1 + r.IntN(3000))}}
	}
	p.w.widen(&s)
	return s
}

func (p *producer) send(numbers []uint64) {
	w := p.w
	if w.sys == nil {
		return
	}
	b := &task.EnqueueBatch{Queue: p.queue}
	if !p.keyed {
		b.Producer, b.AckBelow = p.session(), p.next
		for n := range p.open {
			b.AckBelow = min(b.AckBelow, n)
		}
	}
	for _, n := range numbers {
		s := p.open[n].spec
		if s.Deadline != 0 && s.Deadline <= w.wall() {
			s.Deadline = w.wall() + 1000 // an SDK would give up; here it goes on with a later one
		}
		p.open[n].note(w.now, s.Deadline)
		b.Specs = append(b.Specs, s)
		p.open[n].times++
	}
	life, renew := w.life, p.renew
	b.Done = func(b *task.EnqueueBatch) {
		if w.life == life && p.renew == renew {
			p.answered(b, numbers)
		}
	}
	w.sys.Enqueue(b)
}

// note notes that it is sent, once more perhaps.
func (x *sent) note(now, deadline task.Time) {
	if x.firstSent == 0 {
		x.firstSent = now
	}
	x.lastSent, x.deadline = now, deadline
}

func (p *producer) answered(b *task.EnqueueBatch, numbers []uint64) {
	w := p.w
	if b.Err != nil {
		w.log("%s: %d numbers: %v", p.session(), len(numbers), b.Err)
		switch b.Err.Code {
		case task.Unavailable, task.Exhausted:
		case task.Conflict:
			p.giveUp()
		default:
			w.led.cry("answer", "an enqueue got %v", b.Err)
		}
		return
	}
	for i, n := range numbers {
		x := p.open[n]
		r := b.Results[i]
		switch {
		case x == nil: // answered twice, by two sends
			if r.Err == nil {
				w.led.acked(w.led.sent[keyOf(b.Specs[i].Payload)], r)
			}
		case r.Err == nil:
			w.led.acked(x, r)
			delete(p.open, n)
		case r.Err.Code == task.Conflict:
			delete(p.open, n)
		case r.Err.Code == task.Unavailable || r.Err.Code == task.Exhausted:
		case r.Err.Code == task.Invalid && x.spec.Deadline != 0: // it passed on the way
			delete(p.open, n)
		default:
			w.led.cry("answer", "number %d of %s got %v", n, p.session(), r.Err)
		}
	}
	w.log("%s: numbers %v answered", p.session(), numbers)
}

// giveUp begins a new session: of what was not answered nobody will ever hear.
func (p *producer) giveUp() {
	p.open = map[uint64]*sent{}
	p.renew++
	p.next = 1
}
