// Package store is the driven port: ordered bytes, fenced. Engines see keys and
// values only and know nothing of tasks; every engine passes storetest.
package store

import (
	"context"
	"errors"
)

// Errors that callers branch on.
var (
	// ErrFenced: another owner has acquired the partition; nothing was written.
	ErrFenced = errors.New("store: fenced by a later owner")
	// ErrUnknown: the batch may or may not be durable. Acquire anew before reading.
	ErrUnknown = errors.New("store: outcome of the commit is unknown")
	// ErrDead: the store hit an error it can't go on after; reopen it.
	ErrDead = errors.New("store: dead after an earlier failure")
	// ErrFull: the disk is too full for this batch; nothing was written.
	ErrFull = errors.New("store: disk full")
	// ErrDamaged: the bytes on the disk are not those that were written. Opening
	// anew does not help: nothing may be served before somebody has mended them.
	ErrDamaged = errors.New("store: data is damaged")
	// ErrClosed: the store was closed, or the partition released.
	ErrClosed = errors.New("store: closed")
)

// Remedy is what to do about err, in an engine's own words where it has some: an
// error that has a method Remedy.
func Remedy(err error, otherwise string) string {
	if r := (interface{ Remedy() string })(nil); errors.As(err, &r) {
		return r.Remedy()
	}
	return otherwise
}

// Store holds partitions of ordered bytes. It is safe for concurrent use.
type Store interface {
	// Acquire takes the partition from any earlier owner. From then on the
	// earlier owner's commits end in ErrFenced and change nothing. The epoch it
	// was given is durable before Acquire returns.
	Acquire(ctx context.Context, partition uint16, owner string) (Partition, error)

	// Close releases what is still held. Commits that were begun are waited for,
	// and views end: their owners close them.
	Close() error
}

// Partition is one owner's hold on one partition. Its keys begin with the
// partition's two big-endian bytes: keys passed in and out carry them.
// Get and Scan may be called from any goroutine; Begin from one at a time.
//
// What reads show:
//
//	before Acquire, and batches whose Wait has returned nil │ begun since
//	                      all of it                         │ as many of the first as the engine likes, each whole
//
// So a batch may be seen before it is durable, or not until its Wait has returned;
// one read may show more than the next. Who needs exactly what has begun reads
// through package overlay, which costs nothing over an engine that is Prompt.
type Partition interface {
	// Fence is the epoch (rises by one an acquisition, at least 1) and a random
	// nonce.
	Fence() Fence

	// Get reads all the points in one go, whatever their number and order; a key
	// may be named twice. They need not show one moment. After an error none of
	// them says anything.
	Get(points []Point) error

	// Scan pins one moment that reads may show now, and walks keys in [from, to)
	// in rising order. What was walked over counts once Close has returned nil.
	Scan(from, to []byte) Iterator

	// Begin starts an atomic durable commit of b and returns at once. Commits take
	// effect in the order of Begin. b must not be touched until its Wait has
	// returned.
	// Wait returns nil when b is durable; it is called once, from any goroutine.
	// After any error, ErrFull too, the partition is not to be trusted: later
	// batches are refused. Release it and acquire anew.
	Begin(b *Batch) (wait func() error)

	// Release gives the partition up, after the commits begun.
	Release() error
}

// Prompt is what a Partition offers beside when its reads show a batch as soon as
// its Begin has returned. An engine need not know it.
type Prompt interface {
	// ShowsBegun says whether that is so.
	ShowsBegun() bool
}

// Fence identifies one acquisition.
type Fence struct {
	Epoch uint32
	Nonce uint64
}

// Iterator walks a pinned view. Use: for it.Next() { … }; err := it.Close().
// Key and Value are valid until the next call. It may be moved to another
// goroutine but not shared. It goes one way, up by Next or down by Prev: turning
// round begins with a seek.
type Iterator interface {
	Next() bool
	// SeekGE moves to the first key at or after key (within the range); the next
	// Next returns it.
	SeekGE(key []byte)
	// Prev walks down, from the end of the range.
	Prev() bool
	// SeekLT moves to the last key before key (within the range); the next Prev
	// returns it.
	SeekLT(key []byte)
	// Find says whether there is key; Value is then its. There is none outside the
	// range. Nothing else is looked at: however much was deleted behind it, that is not
	// walked over. A walk goes on by a seek.
	Find(key []byte) bool
	Key() []byte
	Value() []byte
	Close() error
}
