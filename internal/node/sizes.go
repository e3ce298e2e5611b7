package node

import (
	"fmt"

	"github.com/penstock-io/penstock/internal/partition"
)

// Sizes is how much a Node holds of one partition.
type Sizes struct {
	partition.Sizes
	Away int // sessions that have left, and have not lapsed
}

// Sizes tells how much each partition of a Manual node holds in memory, for tests;
// "" of one that is away.
func (n *Node) Sizes() []string {
	var out []string
	for _, m := range n.members {
		s := ""
		if r := m.runner(); r != nil {
			m.mu.Lock()
			m.lapseAway()
			s = fmt.Sprintf("%+v", Sizes{r.Sizes(), len(m.away)})
			m.mu.Unlock()
		}
		out = append(out, s)
	}
	return out
}
