package partition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
)

// wide is a number of 128 bits: what stands behind the prefix of a key (a
// sequence, or a time and a sequence), read as one number.
type wide struct{ hi, lo uint64 }

func (a wide) less(b wide) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

// minus is a - b, not below floor.
func (a wide) minus(b, floor wide) wide {
	lo, borrow := bits.Sub64(a.lo, b.lo, 0)
	hi, under := bits.Sub64(a.hi, b.hi, borrow)
	if d := (wide{hi, lo}); under == 0 && floor.less(d) {
		return d
	}
	return floor
}

func (a wide) half() wide { return wide{a.hi >> 1, a.lo>>1 | a.hi<<63} }

// times16 stays at the largest number when there is no more room.
func (a wide) times16() wide {
	if a.hi>>60 != 0 {
		return wide{^uint64(0), ^uint64(0)}
	}
	return wide{a.hi<<4 | a.lo>>60, a.lo << 4}
}

// descend walks the keys under one prefix from the highest down, over iterators
// that only go up: it reads stretches whose length follows how dense the keys
// are. Stretches end at lo, so that what lies below a lane's mark is never met.
type descend struct {
	r      *Runner
	prefix []byte
	two    bool  // two numbers stand behind the prefix, not one
	lo, hi wide  // what is left: [lo, hi)
	width  wide  // of the next stretch
	most   int   // records kept of one stretch
	inside bool  // the next stretch lies where keys are known to be: it only shrinks
	left   *int  // records that may still be looked at
	shift  int64 // what to add to the first number in a key, to merge it with others
	items  []keyValue
}

type keyValue struct {
	at         wide
	key, value []byte
}

// byClock makes the wall times in keys machine times.
func (d *descend) byClock(c *Clock) {
	d.shift = int64(c.Offset())
	d.lo.hi = uint64(max(0, int64(d.lo.hi)+d.shift))
}

// peek is the highest key left, or nil at the end or when the budget is spent.
func (d *descend) peek() (*keyValue, error) {
	for len(d.items) == 0 {
		if !d.lo.less(d.hi) || *d.left <= 0 {
			return nil, nil
		}
		if err := d.stretch(); err != nil {
			return nil, err
		}
	}
	return &d.items[len(d.items)-1], nil
}

func (d *descend) pop() { d.items = d.items[:len(d.items)-1] }

// stretch reads [hi - width, hi) if it is not too full, and chooses the next one.
func (d *descend) stretch() error {
	from := d.hi.minus(d.width, d.lo)
	it := d.r.part.Scan(d.keyOf(from), d.keyOf(d.hi))
	full := false
	*d.left-- // a look costs something even when nothing is there
	for it.Next() {
		if len(d.items) == d.most {
			full = true
			break
		}
		*d.left--
		key := it.Key()
		d.items = append(d.items, keyValue{d.numberOf(key), append([]byte(nil), key...), append([]byte(nil), it.Value()...)})
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read tasks under %x: %w", d.prefix, err)
	}
	switch {
	case full:
		d.items = d.items[:0]
		d.width, d.inside = d.hi.minus(from, wide{}).half(), true
	case len(d.items) > 0:
		d.hi, d.inside = from, false
	case d.inside:
		d.hi, d.width = from, d.width.half()
	default:
		d.hi, d.width = from, d.width.times16()
	}
	if d.width == (wide{}) {
		d.width = wide{0, 1}
	}
	return nil
}

func (d *descend) keyOf(x wide) []byte {
	k := append([]byte(nil), d.prefix...)
	if d.two {
		k = binary.BigEndian.AppendUint64(k, uint64(max(0, int64(x.hi)-d.shift)))
	} else if x.hi != 0 { // above all single numbers
		return append(k, bytes.Repeat([]byte{0xff}, 9)...)
	}
	return binary.BigEndian.AppendUint64(k, x.lo)
}

func (d *descend) numberOf(key []byte) wide {
	k := key[len(d.prefix):]
	if d.two {
		return wide{uint64(int64(binary.BigEndian.Uint64(k)) + d.shift), binary.BigEndian.Uint64(k[8:])}
	}
	return wide{0, binary.BigEndian.Uint64(k)}
}
