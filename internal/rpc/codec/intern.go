package codec

import (
	"hash/maphash"

	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const (
	internMax   = 4096 // names a stream remembers: 4096 × ≤ 256 bytes ≤ 1 MiB, then it starts anew
	policiesMax = 1024 // policies a stream remembers
	policyBytes = 1024 // longest encoding of a policy that is remembered
	keysSeen    = 256  // keys a stream remembers
)

// Names gives every name on a stream one string, and every policy one pointer,
// so that a name costs an allocation once and not once a task. It belongs to
// one stream and one goroutine.
type Names struct {
	names    map[string]string
	keys     []string // by hash; a key takes the place of another
	seed     maphash.Seed
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

// Key is Of for a task's key. There may be very many: they must not push out the
// names, and one that is not seen again should cost little more than its string.
func (n *Names) Key(b []byte, last string) string {
	if string(b) == last {
		return last
	}
	if n.keys == nil {
		n.keys, n.seed = make([]string, keysSeen), maphash.MakeSeed()
	}
	at := &n.keys[maphash.Bytes(n.seed, b)%keysSeen]
	if string(b) != *at {
		if len(b) > task.NameMax {
			return string(b)
		}
		*at = string(b)
	}
	return *at
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
