package queue

// Changes are what one Apply does to the records of one kind. They name a key once,
// as engines may ask, and the last word on it counts: deletes come before puts in a
// batch, so what is put anew is not dropped as well, and what is dropped is no
// longer put.
type Changes[K comparable, V any] struct {
	Puts  []V
	Drops []K

	key   func(*V) K
	again bool      // a key may be put again by the same Apply
	at    map[K]int // where a key stands: i in Puts, or ^i in Drops
}

// Key names the record that v is.
func (c *Changes[K, V]) Key(v *V) K { return c.key(v) }

// put has v stored, in the place of what this Apply has put under its key before.
// Where no key is put again nothing is noted until something is dropped: what each
// task does costs no more than an append.
func (c *Changes[K, V]) put(v V) {
	c.Puts = append(c.Puts, v)
	if c.again || len(c.at) > 0 {
		c.named()
	}
}

// named makes the last put the only word on its key.
func (c *Changes[K, V]) named() {
	last := len(c.Puts) - 1
	k := c.key(&c.Puts[last])
	i, twice := c.at[k]
	if twice && i >= 0 {
		c.Puts[i] = c.Puts[last]
		c.Puts = c.Puts[:last]
		return
	}
	if twice {
		c.undrop(^i)
	}
	c.note(k, last)
}

// drop has the record under k deleted, and takes back what this Apply has put there.
func (c *Changes[K, V]) drop(k K) {
	if len(c.at) == 0 {
		for i := range c.Puts {
			c.note(c.key(&c.Puts[i]), i)
		}
	}
	i, twice := c.at[k]
	if twice && i < 0 {
		return
	}
	if twice {
		c.takeBack(i)
	}
	c.note(k, ^len(c.Drops))
	c.Drops = append(c.Drops, k)
}

func (c *Changes[K, V]) note(k K, at int) {
	if c.at == nil {
		c.at = map[K]int{}
	}
	c.at[k] = at
}

// takeBack takes out a put; the last moves there.
func (c *Changes[K, V]) takeBack(i int) {
	last := len(c.Puts) - 1
	if i != last {
		c.Puts[i] = c.Puts[last]
		c.at[c.key(&c.Puts[i])] = i
	}
	c.Puts = c.Puts[:last]
}

// undrop is takeBack for a drop.
func (c *Changes[K, V]) undrop(i int) {
	last := len(c.Drops) - 1
	if i != last {
		c.Drops[i] = c.Drops[last]
		c.at[c.Drops[i]] = ^i
	}
	c.Drops = c.Drops[:last]
}

// reset keeps the memory, but for a map that would cost each later Apply to clear.
func (c *Changes[K, V]) reset() {
	c.Puts, c.Drops = c.Puts[:0], c.Drops[:0]
	if len(c.at) > changesKeepMax {
		c.at = nil
	}
	clear(c.at)
}

func (c *Changes[K, V]) count(forget bool) int {
	n := len(c.Puts) + len(c.Drops)
	if n > 0 && forget {
		c.reset()
	}
	return n
}

// putOnce counts a kind of which no Apply puts a key twice, by what it decides.
func putOnce[K comparable, V any](c *Changes[K, V], forget bool, key func(*V) K) int {
	c.key = key
	return c.count(forget)
}

// putAgain counts a kind of which an Apply may put a key several times.
func putAgain[K comparable, V any](c *Changes[K, V], forget bool, key func(*V) K) int {
	c.key, c.again = key, true
	return c.count(forget)
}

// plain counts a list without keys, or one whose keys the machine itself sees to.
func plain[T any](s *[]T, forget bool) int {
	n := len(*s)
	if forget {
		*s = (*s)[:0]
	}
	return n
}
