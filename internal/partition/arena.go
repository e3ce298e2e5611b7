package partition

// arena is memory that is given out in pieces and taken back all at once.
type arena struct {
	chunks [][]byte
	cur    int // chunk being filled
	used   int // of it
}

// copyOf puts a copy of b into the arena.
func (a *arena) copyOf(b []byte) []byte {
	c := a.alloc(len(b))
	copy(c, b)
	return c
}

func (a *arena) alloc(n int) []byte {
	if n > arenaChunk/4 {
		return make([]byte, n) // too large to share a chunk
	}
	if len(a.chunks) == 0 {
		a.chunks = append(a.chunks, make([]byte, arenaChunk))
	}
	if a.used+n > arenaChunk {
		a.cur++
		a.used = 0
		if a.cur == len(a.chunks) {
			a.chunks = append(a.chunks, make([]byte, arenaChunk))
		}
	}
	b := a.chunks[a.cur][a.used : a.used+n : a.used+n]
	a.used += n
	return b
}

func (a *arena) reset() {
	const keep = arenaKeepMax / arenaChunk
	if len(a.chunks) > keep {
		clear(a.chunks[keep:])
		a.chunks = a.chunks[:keep]
	}
	a.cur, a.used = 0, 0
}
