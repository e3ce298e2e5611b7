package queue

// puts knows where each key stands in a list of the Output, so that it is put
// once however often an Apply puts it and takes it back, and that costs no search.
type puts[K comparable, V any] struct {
	key func(*V) K
	at  map[K]int
}

func newPuts[K comparable, V any](key func(*V) K) puts[K, V] {
	return puts[K, V]{key: key, at: map[K]int{}}
}

// put adds v, or replaces what was put under its key before.
func (p *puts[K, V]) put(list *[]V, v V) {
	k := p.key(&v)
	if i, twice := p.at[k]; twice {
		(*list)[i] = v
		return
	}
	p.at[k] = len(*list)
	*list = append(*list, v)
}

// takeBack takes what was put under k out again; the last of the list moves there.
func (p *puts[K, V]) takeBack(list *[]V, k K) {
	i, ok := p.at[k]
	if !ok {
		return
	}
	l := *list
	last := len(l) - 1
	if i != last {
		l[i] = l[last]
		p.at[p.key(&l[i])] = i
	}
	delete(p.at, k)
	*list = l[:last]
}

// forget is for the end of an Apply.
func (p *puts[K, V]) forget() {
	if len(p.at) > 0 {
		clear(p.at)
	}
}
