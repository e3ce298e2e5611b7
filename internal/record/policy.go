package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	policyAttempts byte = 1 << iota
	policyTimeout
	policyBackoff

	policyKnown = 1<<iota - 1
)

// policiesMax bounds how many different policies a Decoder keeps.
const policiesMax = 1024

// appendPolicy writes a policy with its length before it: its bytes are what a
// Decoder knows it by.
func appendPolicy(b []byte, p *task.Policy) []byte {
	var raw [16 + 10*(task.BackoffListMax+4)]byte
	return appendBytes(b, appendPolicyFields(raw[:0], p))
}

func appendPolicyFields(b []byte, p *task.Policy) []byte {
	var has byte
	at := len(b)
	b = append(b, 0)
	if p.MaxAttempts != 0 {
		has |= policyAttempts
		b = binary.AppendVarint(b, int64(p.MaxAttempts))
	}
	if p.Timeout != 0 {
		has |= policyTimeout
		b = binary.AppendVarint(b, int64(p.Timeout))
	}
	if p.Backoff != nil {
		has |= policyBackoff
		b = appendBackoff(b, p.Backoff)
	}
	b[at] = has
	return b
}

func readPolicy(r *reader) *task.Policy {
	p := &task.Policy{}
	has := r.bits8(policyKnown)
	if has&policyAttempts != 0 {
		p.MaxAttempts = readInt32(r)
	}
	if has&policyTimeout != 0 {
		p.Timeout = task.Millis(r.varint())
	}
	if has&policyBackoff != 0 {
		p.Backoff = readBackoff(r)
	}
	return p
}

func readInt32(r *reader) int32 {
	x := r.varint()
	if int64(int32(x)) != x {
		r.fail()
		return 0
	}
	return int32(x)
}

func appendBackoff(b []byte, k *task.Backoff) []byte {
	b = append(b, byte(k.Kind))
	b = binary.AppendVarint(b, int64(k.Base))
	b = binary.AppendVarint(b, int64(k.Max))
	b = binary.AppendUvarint(b, uint64(len(k.List)))
	for _, d := range k.List {
		b = binary.AppendVarint(b, int64(d))
	}
	return b
}

func readBackoff(r *reader) *task.Backoff {
	k := &task.Backoff{Kind: task.BackoffKind(r.u8())}
	if k.Kind > task.BackoffList {
		r.fail()
		r.high = true
		return nil
	}
	k.Base, k.Max = task.Millis(r.varint()), task.Millis(r.varint())
	if n := r.number(task.BackoffListMax); n > 0 {
		k.List = make([]task.Millis, n)
		for i := range k.List {
			k.List[i] = task.Millis(r.varint())
		}
	}
	return k
}

// policy returns the one Policy that all records with these bytes share.
func (d *Decoder) policy(c Class, raw []byte) (*task.Policy, error) {
	if p, ok := d.policies[string(raw)]; ok {
		return p, nil
	}
	r := reader{b: raw}
	p := readPolicy(&r)
	if err := r.close(c); err != nil {
		return nil, err
	}
	if e := p.Sound(); e != nil { // the machine counts on what Sound promises
		return nil, &Error{Class: c, Why: e.Text, Kind: ErrCorrupt}
	}
	if d.policies == nil || len(d.policies) >= policiesMax {
		d.policies = make(map[string]*task.Policy)
	}
	d.policies[string(raw)] = p
	return p, nil
}
