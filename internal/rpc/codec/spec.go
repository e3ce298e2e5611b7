package codec

import (
	"math"

	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// Field numbers of TaskSpec.
const (
	specType           = 1
	specPayload        = 2
	specPriority       = 3
	specDelay          = 4
	specRunAt          = 5
	specExpireAfter    = 6
	specDeadline       = 7
	specKey            = 8
	specLimitKeys      = 9
	specIdempotency    = 10
	specIdempotencyFor = 11
	specTags           = 12
	specHeaders        = 13
	specContentType    = 14
	specPolicy         = 15
	specNumber         = 16
)

const (
	headerName  = 1
	headerValue = 2
)

// SpecBytes is about what s takes on the wire; never much less.
func SpecBytes(s *task.Spec) int {
	n := len(s.Payload) + len(s.Type) + 16
	if s.Key == "" && s.Idempotency == "" && s.LimitKeys == nil && s.Tags == nil && s.Headers == nil && s.ContentType == "" {
		return n
	}
	n += len(s.Key) + len(s.Idempotency) + len(s.ContentType) + 16
	for _, k := range s.LimitKeys {
		n += len(k) + 2
	}
	for _, t := range s.Tags {
		n += len(t) + 2
	}
	for _, h := range s.Headers {
		n += len(h.Name) + len(h.Value) + 6
	}
	return n
}

// policyMemo keeps the bytes of the policy last written: many specs share one.
type policyMemo struct {
	policy *task.Policy
	raw    []byte
}

func (m *policyMemo) bytes(p *task.Policy) []byte {
	if m.policy != p {
		// The message has no strings and no required fields: nothing can fail.
		m.raw, _ = proto.MarshalOptions{Deterministic: true}.MarshalAppend(m.raw[:0], PolicyToProto(p))
		m.policy = p
	}
	return m.raw
}

// appendSpec appends s as entry num of a repeated field. ownNumber says whether
// s.Number is written.
func appendSpec(b []byte, num int, s *task.Spec, ownNumber bool, memo *policyMemo) []byte {
	b, mark, width := open(b, num, SpecBytes(s))
	b = appendString(b, specType, s.Type)
	b = appendBytes(b, specPayload, s.Payload)
	if s.Priority != task.DefaultPriority {
		b = appendVarint(b, specPriority, uint64(s.Priority))
	}
	b = appendNonzero(b, specDelay, uint64(s.Delay))
	b = appendNonzero(b, specRunAt, uint64(s.RunAt))
	b = appendNonzero(b, specExpireAfter, uint64(s.ExpireAfter))
	b = appendNonzero(b, specDeadline, uint64(s.Deadline))
	b = appendString(b, specKey, s.Key)
	for _, k := range s.LimitKeys {
		b = appendEntry(b, specLimitKeys, k)
	}
	b = appendString(b, specIdempotency, s.Idempotency)
	b = appendNonzero(b, specIdempotencyFor, uint64(s.IdempotencyFor))
	for _, t := range s.Tags {
		b = appendEntry(b, specTags, t)
	}
	b = appendHeaders(b, specHeaders, s.Headers)
	b = appendString(b, specContentType, s.ContentType)
	if s.Policy != nil {
		raw := memo.bytes(s.Policy)
		b = appendTag(b, specPolicy, wireBytes)
		b = append(appendLen(b, len(raw)), raw...)
	}
	if ownNumber {
		b = appendNonzero(b, specNumber, s.Number)
	}
	return shut(b, mark, width)
}

func appendLen(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func appendHeaders(b []byte, num int, hs []task.Header) []byte {
	for i := range hs {
		h := &hs[i]
		var mark, width int
		b, mark, width = open(b, num, len(h.Name)+len(h.Value)+4)
		b = appendString(b, headerName, h.Name)
		b = appendString(b, headerValue, h.Value)
		b = shut(b, mark, width)
	}
	return b
}

// decodeSpec reads a TaskSpec into s, whose fields are zero. The payload
// aliases b.
func decodeSpec(b []byte, s *task.Spec, last *task.Spec, names *Names) error {
	s.Priority = task.DefaultPriority
	var policy []byte
	f := fields{b: b}
	for f.next() {
		if f.wire == wireVarint {
			decodeSpecNumber(&f, s)
			continue
		}
		switch f.num {
		case specType:
			s.Type = names.Of(f.p, last.Type)
		case specPayload:
			s.Payload = f.p
		case specKey:
			s.Key = names.Key(f.p, last.Key)
		case specLimitKeys:
			if len(s.LimitKeys) <= task.LimitKeysMax { // one too many is refused; more need no memory
				s.LimitKeys = append(s.LimitKeys, names.Of(f.p, ""))
			}
		case specIdempotency:
			s.Idempotency = string(f.p)
		case specTags:
			if len(s.Tags) <= task.TagsMax {
				s.Tags = append(s.Tags, names.Of(f.p, ""))
			}
		case specHeaders:
			h, err := decodeHeader(f.p, names)
			if err != nil {
				return err
			}
			if len(s.Headers) <= task.HeadersMax {
				s.Headers = append(s.Headers, h)
			}
		case specContentType:
			s.ContentType = names.Of(f.p, last.ContentType)
		case specPolicy:
			if policy == nil {
				policy = f.p
			} else { // a message field given twice is merged, which is to read both in a row
				policy = append(policy[:len(policy):len(policy)], f.p...)
			}
			s.Policy = &noPolicy
		}
	}
	if s.Policy != nil {
		p, err := names.policy(policy)
		if err != nil {
			return err
		}
		s.Policy = p
	}
	return f.err()
}

var noPolicy task.Policy

func decodeSpecNumber(f *fields, s *task.Spec) {
	switch f.num {
	case specPriority:
		s.Priority = uint8(min(uint32(f.v), math.MaxUint8))
	case specDelay:
		s.Delay = task.Millis(f.v)
	case specRunAt:
		s.RunAt = task.Time(f.v)
	case specExpireAfter:
		s.ExpireAfter = task.Millis(f.v)
	case specDeadline:
		s.Deadline = task.Time(f.v)
	case specIdempotencyFor:
		s.IdempotencyFor = task.Millis(f.v)
	case specNumber:
		s.Number = f.v
	}
}

func decodeHeader(b []byte, names *Names) (task.Header, error) {
	var h task.Header
	f := fields{b: b}
	for f.next() {
		if f.wire != wireBytes {
			continue
		}
		switch f.num {
		case headerName:
			h.Name = names.Of(f.p, "")
		case headerValue:
			h.Value = string(f.p)
		}
	}
	return h, f.err()
}

// PolicyToProto converts p; nil stays nil.
func PolicyToProto(p *task.Policy) *pb.Policy {
	if p == nil {
		return nil
	}
	return &pb.Policy{MaxAttempts: p.MaxAttempts, TimeoutMs: int64(p.Timeout), Backoff: BackoffToProto(p.Backoff)}
}

// PolicyFromProto converts m; nil stays nil.
func PolicyFromProto(m *pb.Policy) *task.Policy {
	if m == nil {
		return nil
	}
	return &task.Policy{MaxAttempts: m.MaxAttempts, Timeout: task.Millis(m.TimeoutMs), Backoff: BackoffFromProto(m.Backoff)}
}

// BackoffToProto converts b; nil stays nil.
func BackoffToProto(b *task.Backoff) *pb.Backoff {
	if b == nil {
		return nil
	}
	m := &pb.Backoff{Kind: pb.BackoffKind(b.Kind), BaseMs: int64(b.Base), MaxMs: int64(b.Max)}
	for _, d := range b.List {
		m.ListMs = append(m.ListMs, int64(d))
	}
	return m
}

// BackoffFromProto converts m; nil stays nil. A kind it does not know becomes
// one that the check refuses.
func BackoffFromProto(m *pb.Backoff) *task.Backoff {
	if m == nil {
		return nil
	}
	b := &task.Backoff{Kind: task.BackoffKind(min(uint32(m.Kind), math.MaxUint8)), Base: task.Millis(m.BaseMs), Max: task.Millis(m.MaxMs)}
	for _, d := range m.ListMs {
		b.List = append(b.List, task.Millis(d))
	}
	return b
}
