package codec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// Keys may be as many as there are customers: each comes out as it went in, and the
// names of types and queues stay what they were, at no cost.
func TestKeysDoNotPushOutNames(t *testing.T) {
	n := NewNames()
	typ := []byte("mail.send")
	n.Of(typ, "")
	for i := range 3 * internMax {
		key := fmt.Sprintf("acme/user%d", i)
		if got := n.Key([]byte(key), ""); got != key {
			t.Fatalf("key %q came out as %q", key, got)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { n.Of(typ, "") }); allocs != 0 {
		t.Errorf("a name seen before costs %v allocations after many keys", allocs)
	}
	key := []byte("acme/user7")
	n.Key(key, "")
	if allocs := testing.AllocsPerRun(100, func() { n.Key(key, "") }); allocs != 0 {
		t.Errorf("a key seen just before costs %v allocations", allocs)
	}
}

func TestLongKeyIsNotKept(t *testing.T) {
	n := NewNames()
	long := strings.Repeat("k", task.NameMax+1)
	if got := n.Key([]byte(long), ""); got != long {
		t.Fatalf("a long key came out as %d bytes", len(got))
	}
	for _, kept := range n.keys {
		if kept != "" {
			t.Errorf("%d bytes of it are kept", len(kept))
		}
	}
	if got := n.Key(nil, ""); got != "" {
		t.Errorf("no key came out as %q", got)
	}
}
