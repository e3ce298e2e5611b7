package queue

// heapOrder says which of two comes first, and is told where each stands: its
// place + 1, or 0 once it is out.
type heapOrder[T any] interface {
	less(a, b T) bool
	placed(x T, pos int)
}

// heap is a heap whose items know their places, so that any of them can be moved
// or taken out. It is four wide: half as deep as a binary one, so half as many
// items are told a new place, and each look at four stays in one or two lines of
// the processor's cache where the items carry what they are compared by.
type heap[T any, O heapOrder[T]] struct {
	by    O // first: an empty one takes no room there
	items []T
}

// heapWidth is how many children an item has: those of p begin at heapWidth*p+1.
const heapWidth = 4

func (h *heap[T, O]) len() int { return len(h.items) }

func (h *heap[T, O]) push(x T) {
	h.items = append(h.items, x)
	if p := len(h.items) - 1; !h.up(p, x) {
		h.by.placed(x, p+1)
	}
}

// fix moves what stands at place p to where it belongs.
func (h *heap[T, O]) fix(p int) { h.set(p, h.items[p]) }

// set puts x at place p, for what stood there, and moves it to where it belongs.
func (h *heap[T, O]) set(p int, x T) {
	if !h.up(p, x) {
		h.down(p, x)
	}
}

// remove takes out what stands at place p.
func (h *heap[T, O]) remove(p int) {
	x := h.items[p]
	last := len(h.items) - 1
	moved := h.items[last]
	var zero T
	h.items[last] = zero
	h.items = h.items[:last]
	h.by.placed(x, 0)
	if p != last {
		h.set(p, moved)
	}
	if cap(h.items) > heapKeepMax && last < cap(h.items)/4 {
		h.items = append([]T(nil), h.items...) // a burst's memory is not kept
	}
}

// heapKeepMax is how many places an emptied heap keeps.
const heapKeepMax = 64

// up moves x, which is to stand at p, upwards, and says whether it had to.
func (h *heap[T, O]) up(p int, x T) (moved bool) {
	for p > 0 {
		q := (p - 1) / heapWidth
		if !h.by.less(x, h.items[q]) {
			break
		}
		h.place(p, h.items[q])
		p, moved = q, true
	}
	if moved {
		h.place(p, x)
	}
	return moved
}

// down puts x where it belongs, at p or below.
func (h *heap[T, O]) down(p int, x T) {
	for {
		c := heapWidth*p + 1
		if c >= len(h.items) {
			break
		}
		least := c
		for k := c + 1; k < min(c+heapWidth, len(h.items)); k++ {
			if h.by.less(h.items[k], h.items[least]) {
				least = k
			}
		}
		if !h.by.less(h.items[least], x) {
			break
		}
		h.place(p, h.items[least])
		p = least
	}
	h.place(p, x)
}

func (h *heap[T, O]) place(p int, x T) {
	h.items[p] = x
	h.by.placed(x, p+1)
}
