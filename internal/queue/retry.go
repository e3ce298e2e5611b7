package queue

import "github.com/penstock-io/penstock/internal/task"

// backoff is how long a task waits after its n-th failure (n ≥ 1). The jitter
// of ±10 % comes from a hash of sequence and attempt: no randomness (I4).
func backoff(b *task.Backoff, seq task.Seq, n uint32) task.Millis {
	var zero task.Backoff
	if b == nil {
		b = &zero
	}
	base, top := b.Base, b.Max
	if base == 0 {
		base = task.DefaultBackoffBase
	}
	if top == 0 {
		top = task.DefaultBackoffMax
	}
	var d task.Millis
	switch b.Kind {
	case task.BackoffList:
		return b.List[min(int(n), len(b.List))-1]
	case task.BackoffFixed:
		return base
	case task.BackoffLinear:
		d = min(base*task.Millis(min(n, 1<<20)), top)
	default:
		d = top
		if n <= 40 && base <= top>>(n-1) {
			d = base << (n - 1)
		}
	}
	span := d / 5
	if span == 0 {
		return d
	}
	return d - d/10 + task.Millis(mix(uint64(seq)^uint64(n)<<56)%uint64(span+1))
}

// mix is the finaliser of splitmix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// policies interns task policies, so that a slot names one by number. Number 0
// is "the queue's own". A policy lives as long as a task in memory has it.
type policies struct {
	list []interned
	free []uint32
	find map[string]uint32
	last *task.Policy // the pointer seen last: producers share them
	num  uint32
	buf  []byte
}

type interned struct {
	policy *task.Policy
	refs   int
	key    string
}

func newPolicies() policies {
	return policies{list: make([]interned, 1), find: map[string]uint32{}}
}

// hold returns the number of pol and counts one more user of it.
func (p *policies) hold(pol *task.Policy) uint32 {
	if pol == nil {
		return 0
	}
	if pol == p.last {
		p.list[p.num].refs++
		return p.num
	}
	p.buf = appendPolicy(p.buf[:0], pol)
	i, ok := p.find[string(p.buf)]
	if !ok {
		e := interned{policy: pol, key: string(p.buf)}
		if n := len(p.free); n > 0 {
			i, p.free = p.free[n-1], p.free[:n-1]
			p.list[i] = e
		} else {
			i = uint32(len(p.list))
			p.list = append(p.list, e)
		}
		p.find[e.key] = i
	}
	p.list[i].refs++
	p.last, p.num = pol, i
	return i
}

// drop counts one user less.
func (p *policies) drop(i uint32) {
	if i == 0 {
		return
	}
	e := &p.list[i]
	e.refs--
	if e.refs > 0 {
		return
	}
	if p.num == i {
		p.last = nil
	}
	delete(p.find, e.key)
	*e = interned{}
	p.free = append(p.free, i)
}

func appendPolicy(b []byte, p *task.Policy) []byte {
	put := func(x int64) {
		for i := 0; i < 64; i += 8 {
			b = append(b, byte(x>>i))
		}
	}
	put(int64(p.MaxAttempts))
	put(int64(p.Timeout))
	if f := p.Backoff; f != nil {
		put(int64(f.Kind))
		put(int64(f.Base))
		put(int64(f.Max))
		for _, d := range f.List {
			put(int64(d))
		}
	}
	return b
}

// rules are the policy that holds for one task.
type rules struct {
	maxAttempts int32
	timeout     task.Millis // 0 = none
	backoff     *task.Backoff
}

func (m *Machine) rulesOf(s *slot) rules {
	cfg := &m.lanes[s.lane].queue().state.Config
	r := rules{maxAttempts: cfg.MaxAttempts, timeout: cfg.Timeout, backoff: cfg.Backoff}
	if s.policy != 0 {
		p := m.policies.list[s.policy].policy
		if p.MaxAttempts != 0 {
			r.maxAttempts = p.MaxAttempts
		}
		if p.Timeout != 0 {
			r.timeout = p.Timeout
		}
		if p.Backoff != nil {
			r.backoff = p.Backoff
		}
	}
	if r.maxAttempts == 0 {
		r.maxAttempts = task.DefaultMaxAttempts
	}
	switch r.timeout {
	case 0:
		r.timeout = task.DefaultTimeout
	case task.AttemptTimeoutNone:
		r.timeout = 0
	}
	return r
}
