package task

import (
	"cmp"
	"strings"
	"unicode/utf8"
)

// CheckName refuses what can't be a name: empty, too long, not UTF-8, or with
// control characters. what is the word for it in the error ("queue").
func CheckName(what, s string) *Error {
	if s == "" {
		return Errorf(Invalid, "%s is empty: give it a name", what)
	}
	return checkText(what, s, NameMax)
}

func checkText(what, s string, limit int) *Error {
	if len(s) > limit {
		return Errorf(Invalid, "%s is %d bytes long, the limit is %d", what, len(s), limit)
	}
	if !utf8.ValidString(s) {
		return Errorf(Invalid, "%s %q is not valid UTF-8", what, s)
	}
	if strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) >= 0 {
		return Errorf(Invalid, "%s %q has control characters in it", what, s)
	}
	return nil
}

// Check refuses a spec that can never be enqueued. It is cheap for the common
// shape and is called by the machine for every spec, whatever the front door.
func (s *Spec) Check() *Error {
	if e := CheckName("type", s.Type); e != nil {
		return e
	}
	if len(s.Payload) > PayloadMax {
		return Errorf(Invalid, "payload is %d bytes, the limit is %d: keep large data elsewhere and enqueue its address", len(s.Payload), PayloadMax)
	}
	if s.Priority > PriorityMax {
		return Errorf(Invalid, "priority %d is over the highest, %d", s.Priority, PriorityMax)
	}
	if e := s.checkTimes(); e != nil {
		return e
	}
	if s.Policy != nil {
		if e := s.Policy.Check(); e != nil {
			return e
		}
	}
	if s.Key == "" && s.LimitKeys == nil && s.Idempotency == "" && s.Tags == nil && s.Headers == nil && s.ContentType == "" {
		return nil
	}
	return s.checkTexts()
}

const momentMax = 1 << 47 // Unix milliseconds, in the year 6429

func (s *Spec) checkTimes() *Error {
	switch {
	case s.Delay < 0:
		return Errorf(Invalid, "delay of %d ms is negative: use 0 to run at once", s.Delay)
	case s.Delay > DelayMax:
		return Errorf(Invalid, "delay of %d ms is over the limit of ten years", s.Delay)
	case s.RunAt < 0:
		return Errorf(Invalid, "run-at %d lies before 1970: use Unix milliseconds, or 0 for now", s.RunAt)
	case s.RunAt != 0 && s.Delay != 0:
		return Errorf(Invalid, "both a delay and a run-at are given: use one")
	case s.ExpireAfter < 0:
		return Errorf(Invalid, "expire-after of %d ms is negative", s.ExpireAfter)
	case s.Deadline < 0:
		return Errorf(Invalid, "deadline %d lies before 1970: use Unix milliseconds, or 0 for none", s.Deadline)
	case s.IdempotencyFor < 0:
		return Errorf(Invalid, "idempotency window of %d ms is negative", s.IdempotencyFor)
	case s.IdempotencyFor > 0 && s.Idempotency == "":
		return Errorf(Invalid, "an idempotency window is given without an idempotency key")
	case s.ExpireAfter > DelayMax:
		return Errorf(Invalid, "expire-after of %d ms is over the limit of ten years", s.ExpireAfter)
	case s.IdempotencyFor > DelayMax:
		return Errorf(Invalid, "idempotency window of %d ms is over the limit of ten years", s.IdempotencyFor)
	case s.RunAt > momentMax:
		return Errorf(Invalid, "run-at %d lies too far in the future: use Unix milliseconds, up to the year 6400", s.RunAt)
	case s.Deadline > momentMax:
		return Errorf(Invalid, "deadline %d lies too far in the future: use Unix milliseconds, up to the year 6400", s.Deadline)
	}
	return nil
}

func (s *Spec) checkTexts() *Error {
	if s.Key != "" {
		if e := checkText("key", s.Key, NameMax); e != nil {
			return e
		}
	}
	if len(s.LimitKeys) > LimitKeysMax {
		return Errorf(Invalid, "%d limit keys, the most is %d", len(s.LimitKeys), LimitKeysMax)
	}
	for _, k := range s.LimitKeys {
		if e := CheckName("limit key", k); e != nil {
			return e
		}
	}
	if e := checkText("idempotency key", s.Idempotency, IdempotencyMax); e != nil {
		return e
	}
	if len(s.Tags) > TagsMax {
		return Errorf(Invalid, "%d tags, the most is %d", len(s.Tags), TagsMax)
	}
	for _, t := range s.Tags {
		if e := CheckName("tag", t); e != nil {
			return e
		}
	}
	if len(s.Headers) > HeadersMax {
		return Errorf(Invalid, "%d headers, the most is %d", len(s.Headers), HeadersMax)
	}
	n := 0
	for _, h := range s.Headers {
		if e := CheckName("header name", h.Name); e != nil {
			return e
		}
		if !utf8.ValidString(h.Value) {
			return Errorf(Invalid, "header %q is not valid UTF-8", h.Name)
		}
		n += len(h.Name) + len(h.Value)
	}
	if n > HeaderBytesMax {
		return Errorf(Invalid, "headers are %d bytes, the limit is %d", n, HeaderBytesMax)
	}
	return checkText("content type", s.ContentType, NameMax)
}

// Check refuses a policy that may not be asked for: it makes no sense, or would
// not do what it says.
func (p *Policy) Check() *Error {
	if e := p.Sound(); e != nil {
		return e
	}
	if p.Timeout > DelayMax {
		return Errorf(Invalid, "timeout of %d ms is over the limit of ten years: use \"none\", or -1 ms, for none", p.Timeout)
	}
	if p.Backoff == nil {
		return nil
	}
	return p.Backoff.check()
}

// Sound refuses a policy that the machine can't follow, so that no record may hold
// it. What Check refuses beside that may stand in records of earlier days.
func (p *Policy) Sound() *Error {
	if p.MaxAttempts < 0 {
		return Errorf(Invalid, "max attempts of %d is negative", p.MaxAttempts)
	}
	if p.Timeout < AttemptTimeoutNone {
		return Errorf(Invalid, "timeout of %d ms is negative: use \"none\", or -1 ms, for none", p.Timeout)
	}
	b := p.Backoff
	if b == nil {
		return nil
	}
	switch {
	case b.Kind > BackoffList:
		return Errorf(Invalid, "unknown kind of backoff: use exponential, linear, fixed or list")
	case b.Base < 0 || b.Max < 0:
		return Errorf(Invalid, "backoff times may not be negative")
	case b.Kind == BackoffList && len(b.List) == 0:
		return Errorf(Invalid, "a backoff list needs at least one entry")
	case len(b.List) > BackoffListMax:
		return Errorf(Invalid, "backoff list has %d entries, the most is %d", len(b.List), BackoffListMax)
	}
	for _, d := range b.List {
		if d < 0 || d > DelayMax {
			return Errorf(Invalid, "backoff list entry %d ms is out of range: use 0 up to ten years", d)
		}
	}
	return nil
}

// check refuses what the kind would leave unused: who gives it means something
// else than what they would get. b is sound.
func (b *Backoff) check() *Error {
	switch {
	case b.Base > DelayMax || b.Max > DelayMax:
		return Errorf(Invalid, "backoff of %d ms is over the limit of ten years", max(b.Base, b.Max))
	case b.Kind != BackoffList && len(b.List) > 0:
		return Errorf(Invalid, "a backoff has a list, and its kind is not list: use the kind list, or leave the list out")
	case b.Kind == BackoffList && (b.Base != 0 || b.Max != 0):
		return Errorf(Invalid, "a backoff list has a base or a max: leave them out, its entries are the waits")
	case b.Kind == BackoffFixed && b.Max != 0:
		return Errorf(Invalid, "a fixed backoff has a max of %d ms: leave it out, its base is each wait", b.Max)
	case b.Kind == BackoffFixed || b.Kind == BackoffList:
		return nil
	}
	if base, most := cmp.Or(b.Base, DefaultBackoffBase), cmp.Or(b.Max, DefaultBackoffMax); base > most {
		return Errorf(Invalid, "backoff base of %d ms is over its max of %d ms: give a max that is not below the base", base, most)
	}
	return nil
}

// Check refuses an outcome that can't be. It is called by the machine for every
// outcome, whatever the front door.
func (o *Outcome) Check() *Error {
	switch {
	case o.Kind > OutcomeRelease:
		return Errorf(Invalid, "unknown kind of outcome: use complete, fail or release")
	case len(o.Result) > PayloadMax:
		return Errorf(Invalid, "result is %d bytes, the limit is %d: keep large data elsewhere and return its address", len(o.Result), PayloadMax)
	case len(o.ResultType) > NameMax:
		return Errorf(Invalid, "content type of the result is %d bytes, the limit is %d", len(o.ResultType), NameMax)
	case len(o.Log) > LogMax:
		return Errorf(Invalid, "log is %d bytes, the limit is %d: send its last lines", len(o.Log), LogMax)
	case o.Delay < 0 && !(o.Kind == OutcomeFail && o.Delay == RetryAfterByBackoff):
		return Errorf(Invalid, "a wait of %d ms is negative", o.Delay)
	case o.Delay > DelayMax:
		return Errorf(Invalid, "a wait of %d ms is over the limit of ten years", o.Delay)
	}
	return nil
}

// Check refuses a unary lease that can't be.
func (r *LeaseRequest) Check() *Error {
	switch {
	case len(r.Queues) == 0:
		return Errorf(Invalid, "no queue is named: say which to lease from")
	case r.Max < 0 || r.Max > LeaseMax:
		return Errorf(Invalid, "max is %d: use 1 to %d", r.Max, LeaseMax)
	case r.TTL < 0 || r.TTL > LeaseTTLMax:
		return Errorf(Invalid, "a lease of %d ms is out of range: at most 12 hours", r.TTL)
	case r.Wait < 0:
		return Errorf(Invalid, "a wait of %d ms is negative", r.Wait)
	case r.Wait > LeaseWaitMax:
		return Errorf(Invalid, "a wait of %d ms is over the limit of 5 minutes: ask again when it is over", r.Wait)
	}
	return checkServed(r.Queues, r.Types)
}

// Check refuses options that no worker session can have.
func (o *SessionOptions) Check() *Error {
	switch {
	case o.ID == "" || len(o.ID) > SessionIDMax:
		return Errorf(Invalid, "a worker session's ID has %d bytes: use 1 to %d", len(o.ID), SessionIDMax)
	case len(o.Queues) == 0:
		return Errorf(Invalid, "the worker names no queue: say which it serves")
	case o.Concurrency < 0:
		return Errorf(Invalid, "a concurrency of %d is negative", o.Concurrency)
	case o.TTL < 0 || o.TTL > SessionTTLMax:
		return Errorf(Invalid, "a session TTL of %d ms is out of range: at most 10 minutes", o.TTL)
	case len(o.Running) > HeldMax:
		return Errorf(Invalid, "the worker names %d tasks that it holds, the most is %d: leave out outcomes that will be sent again", len(o.Running), HeldMax)
	}
	return checkServed(o.Queues, o.Types)
}

// checkServed refuses bad names and shares of queues, and bad types.
func checkServed(queues []QueueWeight, types []string) *Error {
	if len(queues) > SessionQueuesMax {
		return Errorf(Invalid, "%d queues are named, the most is %d", len(queues), SessionQueuesMax)
	}
	if len(types) > SessionTypesMax {
		return Errorf(Invalid, "%d types are named, the most is %d: serve every type instead", len(types), SessionTypesMax)
	}
	seen := make(map[string]bool, len(queues))
	for _, q := range queues {
		if e := CheckName("queue", q.Queue); e != nil {
			return e
		}
		if seen[q.Queue] {
			return Errorf(Invalid, "queue %q is named twice: name it once, with the weight it is to have", q.Queue)
		}
		seen[q.Queue] = true
		if q.Weight < 0 || q.Weight > WeightMax {
			return Errorf(Invalid, "the weight %d of queue %q is out of range: use 1 to %d", q.Weight, q.Queue, WeightMax)
		}
	}
	for _, t := range types {
		if e := CheckName("type", t); e != nil {
			return e
		}
	}
	return nil
}
