package store

// Fullness is what an engine that knows its disk offers beside Store. A caller
// that admits new work asks it first, so that room is left for finishing what
// is already there.
type Fullness interface {
	// Free is how many bytes the disk still takes, and whether new work should
	// be refused. It may be a moment old; asking is cheap.
	Free() (bytes uint64, low bool)
}
