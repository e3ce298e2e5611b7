package overlay

import (
	"bytes"

	"github.com/penstock-io/penstock/internal/store"
)

// iter merges a view into what the engine's iterator walks over. Going up, words
// from at on are left, going down those before it.
type iter struct {
	below   store.Iterator
	v       *view
	low, hi int // words in the range
	at      int
	down    bool
	held    bool // below stands at a key that comes later than the last one given
	ended   bool // below has no more
	mine    *word
}

func newIter(below store.Iterator, v *view, from, to []byte) *iter {
	it := &iter{below: below, v: v, hi: len(v.words)}
	it.low, _ = v.at(from)
	if len(to) > 0 {
		it.hi, _ = v.at(to)
	}
	it.hi = max(it.low, it.hi)
	it.at = it.low
	return it
}

func (it *iter) Next() bool { return it.walk(1) }

func (it *iter) Prev() bool {
	if !it.down {
		it.down, it.at = true, it.hi // from the end; a walk that turns has sought
	}
	return it.walk(-1)
}

func (it *iter) SeekGE(key []byte) {
	it.below.SeekGE(key)
	it.seek(key, false)
}

func (it *iter) SeekLT(key []byte) {
	it.below.SeekLT(key)
	it.seek(key, true)
}

func (it *iter) Find(key []byte) bool {
	it.held, it.ended, it.mine, it.at = false, true, nil, it.hi
	w, known := it.v.get(key)
	switch {
	case !known:
		return it.below.Find(key)
	case w.gone || !it.within(key):
		return false
	}
	it.mine = &w
	return true
}

// within says whether a word that is shown is in the range.
func (it *iter) within(key []byte) bool {
	at, _ := it.v.at(key)
	return at >= it.low && at < it.hi
}

func (it *iter) seek(key []byte, down bool) {
	at, _ := it.v.at(key)
	it.at = min(max(at, it.low), it.hi)
	it.down, it.held, it.ended, it.mine = down, false, false, nil
}

// walk goes one key on, up (1) or down (-1): the nearer of the engine's next key
// and the next word. A word hides the engine's key of the same name.
func (it *iter) walk(way int) bool {
	for {
		if !it.held && !it.ended {
			it.held = it.pull()
			it.ended = !it.held
		}
		w := it.word()
		if w == nil {
			it.mine = nil
			return it.give()
		}
		if it.held {
			switch c := bytes.Compare(it.below.Key(), w.key) * way; {
			case c < 0:
				it.mine = nil
				return it.give()
			case c == 0:
				it.held = false
			}
		}
		it.at += way
		if !w.gone {
			it.mine = w
			return true
		}
	}
}

// give gives the engine's key out, if there is one.
func (it *iter) give() bool {
	held := it.held
	it.held = false
	return held
}

// word is the next of the view's.
func (it *iter) word() *word {
	switch {
	case it.down && it.at > it.low:
		return &it.v.words[it.at-1]
	case !it.down && it.at < it.hi:
		return &it.v.words[it.at]
	}
	return nil
}

// pull moves the engine's iterator on to a key that no range has deleted. A range
// is passed by a seek: there may be any number of keys in it.
func (it *iter) pull() bool {
	for {
		if it.down && !it.below.Prev() || !it.down && !it.below.Next() {
			return false
		}
		c, cut := find(it.v.cuts, it.below.Key())
		switch {
		case !cut:
			return true
		case it.down:
			it.below.SeekLT(c.from)
		default:
			it.below.SeekGE(c.to)
		}
	}
}

func (it *iter) Key() []byte {
	if it.mine != nil {
		return it.mine.key
	}
	return it.below.Key()
}

func (it *iter) Value() []byte {
	if it.mine != nil {
		return it.mine.value
	}
	return it.below.Value()
}

// Close says whether what was read may be relied on: an engine that has failed
// ends its walk, and words go on.
func (it *iter) Close() error { return it.below.Close() }
