package store

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTree compares trees with maps, and sees that no published root changes.
func TestTree(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 5))
	type version struct {
		root  *node
		model map[string]string
	}
	var root *node
	model := map[string]string{}
	var kept []version
	k := func() []byte { return fmt.Appendf(nil, "%05d", rnd.IntN(20000)) }
	for step := range 600 {
		e := edit{tx: uint64(step + 1)}
		for range 1 + rnd.IntN(200) {
			key := k()
			switch rnd.IntN(5) {
			case 0:
				root = e.remove(root, key)
				delete(model, string(key))
			default:
				v := fmt.Appendf(nil, "%d", step)
				root = e.set(root, key, v)
				model[string(key)] = string(v)
			}
		}
		if rnd.IntN(4) == 0 {
			from, to := k(), k()
			if rnd.IntN(3) == 0 { // a short one
				to = append(slices.Clone(from), '5')
			}
			root = e.deleteRange(root, from, to)
			maps.DeleteFunc(model, func(k, _ string) bool { return k >= string(from) && k < string(to) })
		}
		if step%50 == 0 {
			kept = append(kept, version{root, maps.Clone(model)})
		}
		if step%300 == 299 { // empty it, and begin anew
			root, model = e.deleteRange(root, nil, nil), map[string]string{}
			if root != nil {
				t.Fatal("a tree without keys is not nil")
			}
		}
	}
	kept = append(kept, version{root, model})
	for i, v := range kept {
		checkNode(t, v.root, nil, nil)
		c := cursor{root: v.root}
		c.seek(nil)
		for _, k := range slices.Sorted(maps.Keys(v.model)) {
			it := c.next()
			if it == nil || string(it.key) != k || string(it.value) != v.model[k] {
				t.Fatalf("version %d: got %v, want %q=%q", i, it, k, v.model[k])
			}
			if it, ok := v.root.get([]byte(k)); !ok || string(it.value) != v.model[k] {
				t.Fatalf("version %d: get %q: got %q %v", i, k, it.value, ok)
			}
		}
		if it := c.next(); it != nil {
			t.Fatalf("version %d: got %q after the end", i, it.key)
		}
	}
}

// checkNode holds the tree's rules: order, bounds, widths. Depths may differ:
// nodes that thin out are not merged.
func checkNode(t *testing.T, n *node, low, high []byte) {
	t.Helper()
	if n == nil {
		return
	}
	in := func(k []byte) {
		if bytes.Compare(k, low) < 0 || (high != nil && bytes.Compare(k, high) >= 0) {
			t.Fatalf("key %q is outside [%q, %q)", k, low, high)
		}
	}
	if n.kids == nil {
		if len(n.items) == 0 || len(n.items) > nodeMax {
			t.Fatalf("leaf of %d items", len(n.items))
		}
		for i, it := range n.items {
			in(it.key)
			if i > 0 && bytes.Compare(n.items[i-1].key, it.key) >= 0 {
				t.Fatalf("order: %q before %q", n.items[i-1].key, it.key)
			}
		}
		return
	}
	if len(n.kids) != len(n.lows) || len(n.kids) > nodeMax || len(n.kids) == 0 {
		t.Fatalf("inner node of %d kids and %d lows", len(n.kids), len(n.lows))
	}
	for i, kid := range n.kids {
		lo, hi := low, high
		if i > 0 {
			lo = n.lows[i]
		}
		if i+1 < len(n.kids) {
			hi = n.lows[i+1]
		}
		checkNode(t, kid, lo, hi)
	}
}

func BenchmarkTreeSet(b *testing.B) {
	for _, per := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch%d", per), func(b *testing.B) {
			b.ReportAllocs()
			var root *node
			e := edit{tx: 1}
			key := make([]byte, 0, 16)
			for i := range b.N {
				if i%per == 0 {
					e.tx++
				}
				key = fmt.Appendf(key[:0], "%012d", i)
				root = e.set(root, key, key)
			}
		})
	}
}
