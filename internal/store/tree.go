package store

import (
	"bytes"
	"sort"
)

// node is part of a copy-on-write B+tree. A root that was published is never
// changed again: it is a pinned view, a durable state or a place to crash back
// to, each for the price of a pointer. Nodes that thin out are not merged, only
// dropped when empty; a queue's keys come and go at the ends, so that is enough.
type node struct {
	tx    uint64   // the edit that may still change this node in place
	items []item   // leaf
	kids  []*node  // inner
	lows  [][]byte // lows[i] <= every key under kids[i]; lows[0] is not used
}

// item is one key. first is what a Set found there when no Delete came between:
// the value that a misused SingleDelete brings back. nil: none.
type item struct {
	key, value, first []byte
}

const nodeMax = 32 // a commit copies one node a level: small enough for that, wide enough for 4 levels at a million keys

// edit changes trees under one transaction number.
type edit struct {
	tx     uint64
	punish bool // keep what overwritten keys held, for SingleDelete
}

func (n *node) get(key []byte) (item, bool) {
	if n == nil {
		return item{}, false
	}
	for n.kids != nil {
		n = n.kids[n.child(key)]
	}
	if i, ok := n.find(key); ok {
		return n.items[i], true
	}
	return item{}, false
}

// child is the index of the kid that key belongs under.
func (n *node) child(key []byte) int {
	return sort.Search(len(n.lows)-1, func(i int) bool { return bytes.Compare(n.lows[i+1], key) > 0 })
}

func (n *node) find(key []byte) (int, bool) {
	i := sort.Search(len(n.items), func(i int) bool { return bytes.Compare(n.items[i].key, key) >= 0 })
	return i, i < len(n.items) && bytes.Equal(n.items[i].key, key)
}

// own returns n, or a copy of it, that this edit may change.
func (e edit) own(n *node) *node {
	if n.tx == e.tx {
		return n
	}
	c := &node{tx: e.tx}
	if n.kids != nil {
		c.kids = append(make([]*node, 0, nodeMax+1), n.kids...)
		c.lows = append(make([][]byte, 0, nodeMax+1), n.lows...)
	} else {
		c.items = append(make([]item, 0, nodeMax+1), n.items...)
	}
	return c
}

// set returns the root after key was set. Both slices are copied.
func (e edit) set(root *node, key, value []byte) *node {
	both := make([]byte, len(key)+len(value))
	k := both[:copy(both, key):len(key)]
	v := both[len(key):]
	copy(v, value)
	if root == nil {
		return &node{tx: e.tx, items: []item{{key: k, value: v}}}
	}
	left, right, low := e.insert(root, item{key: k, value: v})
	if right == nil {
		return left
	}
	return &node{tx: e.tx, kids: []*node{left, right}, lows: [][]byte{nil, low}}
}

// insert returns what n became, and its right half and that half's low when it
// had to be split.
func (e edit) insert(n *node, it item) (left, right *node, low []byte) {
	n = e.own(n)
	if n.kids != nil {
		i := n.child(it.key)
		kid, half, halfLow := e.insert(n.kids[i], it)
		n.kids[i] = kid
		if half != nil {
			n.kids = insertAt(n.kids, i+1, half)
			n.lows = insertAt(n.lows, i+1, halfLow)
		}
		return e.split(n, i+1)
	}
	i, found := n.find(it.key)
	if found {
		if e.punish {
			if it.first = n.items[i].first; it.first == nil {
				it.first = n.items[i].value
			}
		}
		n.items[i] = it
		return n, nil, nil
	}
	n.items = insertAt(n.items, i, it)
	return e.split(n, i)
}

// split halves a node that has grown too wide. One that grew at its end keeps
// all but the newcomer: keys that rise leave full nodes behind.
func (e edit) split(n *node, grewAt int) (left, right *node, low []byte) {
	size := len(n.items) + len(n.kids)
	if size <= nodeMax {
		return n, nil, nil
	}
	at := size / 2
	if grewAt >= size-1 {
		at = size - 1
	}
	right = &node{tx: e.tx}
	if n.kids != nil {
		right.kids = append(make([]*node, 0, nodeMax+1), n.kids[at:]...)
		right.lows = append(make([][]byte, 0, nodeMax+1), n.lows[at:]...)
		low = n.lows[at]
		clear(n.kids[at:])
		n.kids, n.lows = n.kids[:at], n.lows[:at]
		return n, right, low
	}
	right.items = append(make([]item, 0, nodeMax+1), n.items[at:]...)
	low = right.items[0].key
	clear(n.items[at:])
	n.items = n.items[:at]
	return n, right, low
}

func insertAt[T any](s []T, i int, v T) []T {
	s = append(s, v)
	copy(s[i+1:], s[i:])
	s[i] = v
	return s
}

// deleteRange returns the root without the keys in [from, to); nil to means
// without end.
func (e edit) deleteRange(n *node, from, to []byte) *node {
	if n == nil || (to != nil && bytes.Compare(from, to) >= 0) {
		return n
	}
	if n.kids == nil {
		i, _ := n.find(from)
		j := len(n.items)
		if to != nil {
			j, _ = n.find(to)
		}
		if i >= j {
			return n
		}
		if i == 0 && j == len(n.items) {
			return nil
		}
		n = e.own(n)
		n.items = append(n.items[:i], n.items[j:]...)
		return n
	}
	first, last := n.child(from), len(n.kids)-1
	if to != nil {
		last = n.child(to)
	}
	n = e.own(n)
	w := first
	for i := first; i <= last; i++ {
		kid := n.kids[i]
		if i == first || i == last {
			kid = e.deleteRange(kid, from, to)
		} else {
			kid = nil // wholly inside
		}
		if kid != nil {
			n.kids[w], n.lows[w] = kid, n.lows[i]
			w++
		}
	}
	n.kids = append(n.kids[:w], n.kids[last+1:]...)
	n.lows = append(n.lows[:w], n.lows[last+1:]...)
	return n.shrink()
}

// remove returns the root without key.
func (e edit) remove(n *node, key []byte) *node {
	if _, ok := n.get(key); !ok {
		return n
	}
	return e.deleteRange(n, key, append(append(make([]byte, 0, len(key)+1), key...), 0))
}

// shrink drops a level that no longer decides anything.
func (n *node) shrink() *node {
	switch len(n.kids) {
	case 0:
		return nil
	case 1:
		return n.kids[0]
	}
	return n
}

// cursor walks a published root.
type cursor struct {
	root *node
	path []step
}

type step struct {
	n *node
	i int
}

// seek stands before the first key at or after key.
func (c *cursor) seek(key []byte) {
	c.path = c.path[:0]
	n := c.root
	if n == nil {
		return
	}
	for n.kids != nil {
		i := n.child(key)
		c.path = append(c.path, step{n, i})
		n = n.kids[i]
	}
	i, _ := n.find(key)
	c.path = append(c.path, step{n, i - 1})
}

// next moves to the next item, or returns nil at the end.
func (c *cursor) next() *item {
	for len(c.path) > 0 {
		s := &c.path[len(c.path)-1]
		s.i++
		if s.n.kids == nil {
			if s.i < len(s.n.items) {
				return &s.n.items[s.i]
			}
		} else if s.i < len(s.n.kids) {
			c.path = append(c.path, step{s.n.kids[s.i], -1})
			continue
		}
		c.path = c.path[:len(c.path)-1]
	}
	return nil
}

// seekLT stands behind the last key before key.
func (c *cursor) seekLT(key []byte) {
	c.seek(key)
	if n := len(c.path); n > 0 {
		c.path[n-1].i++ // seek stands before the first key that is not before key
	}
}

// prev moves to the item before, or returns nil at the beginning.
func (c *cursor) prev() *item {
	for len(c.path) > 0 {
		s := &c.path[len(c.path)-1]
		s.i--
		switch {
		case s.i < 0:
			c.path = c.path[:len(c.path)-1]
		case s.n.kids == nil:
			return &s.n.items[s.i]
		default:
			kid := s.n.kids[s.i]
			c.path = append(c.path, step{kid, max(len(kid.items), len(kid.kids))})
		}
	}
	return nil
}
