package overlay

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/internal/store"
)

// view is what a number of batches came to: the last word on each key, and the
// ranges in which nothing else is left.
type view struct {
	words []word // by key
	cuts  []cut  // by key; they do not touch
}

type word struct {
	key, value []byte
	layer      int
	gone       bool
}

// cut is a range of keys, [from, to).
type cut struct{ from, to []byte }

func newView(layers []*layer) *view {
	v := &view{}
	cuts := make([][]cut, len(layers))
	for n, l := range layers {
		l.b.Each(func(op store.Op, key, value []byte) {
			switch op {
			case store.OpDeleteRange:
				if bytes.Compare(key, value) < 0 {
					cuts[n] = append(cuts[n], cut{key, value})
				}
			case store.OpSet:
				v.words = append(v.words, word{key: key, value: value, layer: n})
			default:
				v.words = append(v.words, word{key: key, layer: n, gone: true})
			}
		})
	}
	slices.SortFunc(v.words, func(a, b word) int { return cmp.Or(bytes.Compare(a.key, b.key), b.layer-a.layer) })
	v.words = slices.CompactFunc(v.words, func(a, b word) bool { return bytes.Equal(a.key, b.key) })
	// From the newest layer down: at each, v.cuts are those that came after it. A
	// batch's own ranges take effect before its sets.
	late := make([][]cut, len(layers))
	for n := len(layers) - 1; n >= 0; n-- {
		late[n] = v.cuts
		v.cuts = join(slices.Concat(v.cuts, cuts[n]))
	}
	v.words = slices.DeleteFunc(v.words, func(w word) bool {
		_, covered := find(late[w.layer], w.key)
		return covered
	})
	return v
}

// join sorts cuts and makes one of those that overlap or touch.
func join(cuts []cut) []cut {
	slices.SortFunc(cuts, func(a, b cut) int { return bytes.Compare(a.from, b.from) })
	out := cuts[:0]
	for _, c := range cuts {
		if n := len(out); n > 0 && bytes.Compare(c.from, out[n-1].to) <= 0 {
			if bytes.Compare(c.to, out[n-1].to) > 0 {
				out[n-1].to = c.to
			}
			continue
		}
		out = append(out, c)
	}
	return out
}

// find returns the cut that key is in.
func find(cuts []cut, key []byte) (cut, bool) {
	i, found := slices.BinarySearchFunc(cuts, key, func(c cut, key []byte) int { return bytes.Compare(c.from, key) })
	if !found {
		i--
	}
	if i < 0 || bytes.Compare(key, cuts[i].to) >= 0 {
		return cut{}, false
	}
	return cuts[i], true
}

// at is the first word whose key is not before key.
func (v *view) at(key []byte) (int, bool) {
	return slices.BinarySearchFunc(v.words, key, func(w word, key []byte) int { return bytes.Compare(w.key, key) })
}

// get says what became of key, if anything did.
func (v *view) get(key []byte) (word, bool) {
	if i, ok := v.at(key); ok {
		return v.words[i], true
	}
	if _, ok := find(v.cuts, key); ok {
		return word{gone: true}, true
	}
	return word{}, false
}
