// Package placement says where things belong: which partitions a queue lives in,
// and which member should own which partition. It moves nothing and grants no
// rights: those come from the store's fence alone.
// Its rule: the same input gives every node the same answer.
package placement

import "slices"

// Home is the partition in which a queue of width 1 lives. Tasks are stored by
// it: it may never change for a given number of partitions.
func Home(queue string, partitions int) uint16 {
	h := hash(queue)
	best, top := 0, uint64(0)
	for p := range partitions {
		if s := score(h, uint64(p)); p == 0 || s > top {
			best, top = p, s
		}
	}
	return uint16(best)
}

// Partitions appends to into the partitions of a queue of the given width, its
// home first. A wider queue keeps the partitions it had.
func Partitions(into []uint16, queue string, partitions, width int) []uint16 {
	if width <= 1 || partitions <= 1 {
		return append(into, Home(queue, partitions))
	}
	h := hash(queue)
	type ranked struct {
		score uint64
		p     uint16
	}
	all := make([]ranked, partitions)
	for p := range all {
		all[p] = ranked{score(h, uint64(p)), uint16(p)}
	}
	slices.SortFunc(all, func(a, b ranked) int {
		switch {
		case a.score > b.score, a.score == b.score && a.p < b.p:
			return -1
		case a == b:
			return 0
		}
		return 1
	})
	for _, r := range all[:min(width, partitions)] {
		into = append(into, r.p)
	}
	return into
}

// Move hands one partition over. From is "" when nobody alive owns it.
type Move struct {
	Partition uint16
	From, To  string
}

// Assign brings ownership nearer to balance. current names the owner of each
// partition, "" for none. Partitions without a living owner get one at once;
// beside that at most movesMax are taken from the living, one at a time from the
// fullest member to the emptiest, so that no more move than balance needs.
// Repeated rounds end in loads that differ by at most one.
func Assign(members []string, current []string, movesMax int) []Move {
	members = slices.Compact(slices.Sorted(slices.Values(members)))
	if len(members) == 0 {
		return nil
	}
	a := assignment{members: members, owner: make([]int, len(current)), load: make([]int, len(members))}
	a.hashes = make([]uint64, len(members))
	for i, m := range members {
		a.hashes[i] = hash(m)
	}
	for p, name := range current {
		i, found := slices.BinarySearch(members, name)
		if !found {
			i = -1
		} else {
			a.load[i]++
		}
		a.owner[p] = i
	}
	for p, i := range a.owner {
		if i < 0 {
			a.adopt(p)
		}
	}
	for range movesMax {
		if !a.level() {
			break
		}
	}
	return a.moves
}

// assignment is a round of Assign at work.
type assignment struct {
	members []string
	hashes  []uint64
	owner   []int // by partition, index of the member; -1 = none
	load    []int // by member
	moves   []Move
}

// adopt gives an ownerless partition to the member that it suits best among those
// with the least load.
func (a *assignment) adopt(p int) {
	least, to := slices.Min(a.load), -1
	for i := range a.members {
		if a.load[i] == least && (to < 0 || a.suits(p, i) > a.suits(p, to)) {
			to = i
		}
	}
	a.moves = append(a.moves, Move{Partition: uint16(p), To: a.members[to]})
	a.owner[p] = to
	a.load[to]++
}

// level moves one partition from the fullest member to the emptiest: the one that
// suits its new owner best.
func (a *assignment) level() bool {
	from, to := 0, 0
	for i := range a.load {
		if a.load[i] > a.load[from] {
			from = i
		}
		if a.load[i] < a.load[to] {
			to = i
		}
	}
	if a.load[from]-a.load[to] <= 1 {
		return false
	}
	pick := -1
	for p, i := range a.owner {
		if i == from && (pick < 0 || a.suits(p, to) > a.suits(pick, to)) {
			pick = p
		}
	}
	a.moves = append(a.moves, Move{Partition: uint16(pick), From: a.members[from], To: a.members[to]})
	a.owner[pick] = to
	a.load[from]--
	a.load[to]++
	return true
}

func (a *assignment) suits(p, member int) uint64 { return score(a.hashes[member], uint64(p)) }

// hash is 64-bit FNV-1a.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// score ranks p for the thing hashed: rendezvous hashing. The finaliser is
// splitmix64's.
func score(h, p uint64) uint64 {
	x := h ^ (p+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
