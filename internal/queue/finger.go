package queue

// fingers finds brief idempotency entries by a fingerprint of their key: open
// addressing with backward-shift deletion, as the index of slots has it. A map of
// keys took ten times as long once it had outgrown the processor's caches.
type fingers struct {
	prints []uint64 // 0 = empty
	at     []briefAt
	n      int
	shift  uint
}

const fingersMin = 10 // places at first, a power of two

func newFingers() fingers {
	return fingers{prints: make([]uint64, 1<<fingersMin), at: make([]briefAt, 1<<fingersMin), shift: 64 - fingersMin}
}

// print is the fingerprint of a key. Two of two queues may share one.
func (k IdemKey) print() uint64 { return max(k.Hash^uint64(k.Queue)<<32, 1) }

func (f *fingers) home(p uint64) int { return int(p * 0x9e3779b97f4a7c15 >> f.shift) }

func (f *fingers) get(p uint64) (at briefAt, ok bool) {
	mask := len(f.prints) - 1
	for i := f.home(p); f.prints[i] != 0; i = (i + 1) & mask {
		if f.prints[i] == p {
			return f.at[i], true
		}
	}
	return briefAt{}, false
}

func (f *fingers) put(p uint64, at briefAt) {
	if f.n*4 >= len(f.prints)*3 {
		f.grow()
	}
	mask := len(f.prints) - 1
	i := f.home(p)
	for f.prints[i] != 0 && f.prints[i] != p {
		i = (i + 1) & mask
	}
	if f.prints[i] == 0 {
		f.n++
	}
	f.prints[i], f.at[i] = p, at
}

func (f *fingers) grow() {
	old := *f
	f.prints, f.at = make([]uint64, 2*len(old.prints)), make([]briefAt, 2*len(old.at))
	f.n, f.shift = 0, old.shift-1
	for i, p := range old.prints {
		if p != 0 {
			f.put(p, old.at[i])
		}
	}
}

// del takes one away. After the last of very many nothing of their size stays.
func (f *fingers) del(p uint64) {
	mask := len(f.prints) - 1
	i := f.home(p)
	for f.prints[i] != p {
		if f.prints[i] == 0 {
			return
		}
		i = (i + 1) & mask
	}
	if f.n--; f.n == 0 && len(f.prints) > briefSpanMin<<6 {
		*f = newFingers()
		return
	}
	for j := (i + 1) & mask; f.prints[j] != 0; j = (j + 1) & mask {
		if h := f.home(f.prints[j]); (j-h)&mask >= (j-i)&mask {
			f.prints[i], f.at[i] = f.prints[j], f.at[j]
			i = j
		}
	}
	f.prints[i] = 0
}
