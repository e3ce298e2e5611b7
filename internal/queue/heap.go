package queue

// heapOrder says which of two comes first, and is told where each stands: its
// place + 1, or 0 once it is out.
type heapOrder[T any] interface {
	less(a, b T) bool
	placed(x T, pos int)
}

// heap is a binary heap whose items know their places, so that any of them can be
// moved or taken out.
type heap[T any, O heapOrder[T]] struct {
	items []T
	by    O
}

func (h *heap[T, O]) len() int { return len(h.items) }

func (h *heap[T, O]) push(x T) {
	h.items = append(h.items, x)
	h.by.placed(x, len(h.items))
	h.up(len(h.items) - 1)
}

// fix moves what stands at place p to where it belongs.
func (h *heap[T, O]) fix(p int) {
	if !h.up(p) {
		h.down(p)
	}
}

// remove takes out what stands at place p.
func (h *heap[T, O]) remove(p int) {
	x := h.items[p]
	last := len(h.items) - 1
	if p != last {
		h.items[p] = h.items[last]
		h.by.placed(h.items[p], p+1)
	}
	var zero T
	h.items[last] = zero
	h.items = h.items[:last]
	h.by.placed(x, 0)
	if p != last {
		h.fix(p)
	}
	if cap(h.items) > heapKeepMax && last < cap(h.items)/4 {
		h.items = append([]T(nil), h.items...) // a burst's memory is not kept
	}
}

// heapKeepMax is how many places an emptied heap keeps.
const heapKeepMax = 64

func (h *heap[T, O]) swap(a, b int) {
	h.items[a], h.items[b] = h.items[b], h.items[a]
	h.by.placed(h.items[a], a+1)
	h.by.placed(h.items[b], b+1)
}

func (h *heap[T, O]) up(p int) (moved bool) {
	for p > 0 {
		q := (p - 1) / 2
		if !h.by.less(h.items[p], h.items[q]) {
			return moved
		}
		h.swap(p, q)
		p, moved = q, true
	}
	return moved
}

func (h *heap[T, O]) down(p int) {
	for {
		c := 2*p + 1
		if c >= len(h.items) {
			return
		}
		if c+1 < len(h.items) && h.by.less(h.items[c+1], h.items[c]) {
			c++
		}
		if !h.by.less(h.items[c], h.items[p]) {
			return
		}
		h.swap(p, c)
		p = c
	}
}
