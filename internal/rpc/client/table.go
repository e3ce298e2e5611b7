package client

// table holds what is unanswered under rising numbers. Answers come mostly in
// order, so it is a queue with holes and not a map.
type table[T any] struct {
	first uint64 // number of items[head]
	head  int
	items []slot[T]
	n     int // items in it
}

type slot[T any] struct {
	v  T
	in bool
}

// add puts v in and returns its number, which is never 0.
func (t *table[T]) add(v T) uint64 {
	if t.first == 0 {
		t.first = 1
	}
	if t.head > 64 && t.head > len(t.items)/2 {
		n := copy(t.items, t.items[t.head:])
		clear(t.items[n:])
		t.items, t.head = t.items[:n], 0
	}
	t.items = append(t.items, slot[T]{v, true})
	t.n++
	return t.first + uint64(len(t.items)-t.head) - 1
}

// get looks number seq up.
func (t *table[T]) get(seq uint64) (v T, ok bool) {
	if seq < t.first || seq-t.first >= uint64(len(t.items)-t.head) {
		return v, false
	}
	s := t.items[t.head+int(seq-t.first)]
	return s.v, s.in
}

// take removes number seq.
func (t *table[T]) take(seq uint64) (v T, ok bool) {
	if seq < t.first || seq-t.first >= uint64(len(t.items)-t.head) {
		return v, false
	}
	s := &t.items[t.head+int(seq-t.first)]
	if !s.in {
		return v, false
	}
	v = s.v
	*s = slot[T]{}
	t.n--
	for t.head < len(t.items) && !t.items[t.head].in {
		t.head++
		t.first++
	}
	if t.head == len(t.items) {
		t.items, t.head = t.items[:0], 0
	}
	return v, true
}

// all lists what is in, oldest first.
func (t *table[T]) all() []T {
	out := make([]T, 0, t.n)
	for _, s := range t.items[t.head:] {
		if s.in {
			out = append(out, s.v)
		}
	}
	return out
}
