package node

import "fmt"

// Sizes tells how much each partition of a Manual node holds in memory, for tests;
// "" of one that is away.
func (n *Node) Sizes() []string {
	var out []string
	for _, m := range n.members {
		s := ""
		if r := m.runner(); r != nil {
			s = fmt.Sprintf("%+v", r.Sizes())
		}
		out = append(out, s)
	}
	return out
}
