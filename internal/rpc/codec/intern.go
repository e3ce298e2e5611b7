package codec

import (
	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const (
	internMax   = 4096 // names a stream remembers: 4096 × ≤ 256 bytes ≤ 1 MiB, then it starts anew
	policiesMax = 1024 // policies a stream remembers
	policyBytes = 1024 // longest encoding of a policy that is remembered
)

// Names gives every name on a stream one string, and every policy one pointer,
// so that a name costs an allocation once and not once a task. It belongs to
// one stream and one goroutine.
type Names struct {
	names    map[string]string
	policies map[string]*task.Policy
}

// NewNames makes an empty set.
func NewNames() *Names {
	return &Names{names: map[string]string{}, policies: map[string]*task.Policy{}}
}

// Of is the string for b; last is tried first, as names come in runs.
func (n *Names) Of(b []byte, last string) string {
	if string(b) == last {
		return last
	}
	if len(b) > task.NameMax {
		return string(b)
	}
	if s, ok := n.names[string(b)]; ok {
		return s
	}
	if len(n.names) >= internMax {
		clear(n.names)
	}
	s := string(b)
	n.names[s] = s
	return s
}

// policy decodes a Policy; the same bytes give the same pointer.
func (n *Names) policy(b []byte) (*task.Policy, error) {
	if p, ok := n.policies[string(b)]; ok {
		return p, nil
	}
	var m pb.Policy
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	p := PolicyFromProto(&m)
	if len(b) <= policyBytes {
		if len(n.policies) >= policiesMax {
			clear(n.policies)
		}
		n.policies[string(b)] = p
	}
	return p, nil
}
