package sim

// What is bounded, and goes when it is not needed any more.
func init() { mutants = append(mutants, boundsMutants...) }

var boundsMutants = []mutant{
	{name: "leases-unbounded", breaks: "what runs under sessions takes half of memory at most",
		file: "internal/queue/dispatch.go",
		old:  "\tn = min(n, m.heldRoom(s))\n",
		new:  "", by: "./internal/queue ^TestLeasesOfSessionsAreBounded$"},
	{name: "held-unbounded", breaks: "a session holds no more than it may present",
		file: "internal/queue/budget.go",
		old:  "min(m.heldMax()-m.held, task.HeldMax-s.running)",
		new:  "m.heldMax()-m.held", by: "./internal/queue ^TestSessionHoldsWhatItMayPresent$"},
	{name: "held-by-partition", breaks: "a session holds no more than it may present, in all partitions together",
		file: "internal/partition/credit.go",
		old:  "max(min(c.n, c.most-c.held), 0)",
		new:  "c.n", by: "./internal/partition ^TestCreditBoundsWhatIsHeld$"},

	// What every life is looked at for when all is over.
	{name: "list-numbers-leak", breaks: "numbers of dispatch lists are used again",
		file: "internal/queue/lists.go",
		old:  "\tls.free = append(ls.free, no)\n",
		new:  ""},
	{name: "waits-left", breaks: "nothing is left in memory of a task that has ended",
		file: "internal/queue/enqueue.go",
		old:  "\tdelete(m.expiry.after, s.seq)\n",
		new:  ""},
	{name: "awaited-left", breaks: "nothing is left of a name that sessions waited for",
		file: "internal/queue/session.go",
		old:  "if delete(of, s.no); len(of) == 0 {",
		new:  "if delete(of, s.no); false {"},
	{name: "session-numbers-leak", breaks: "numbers of sessions are used again",
		file: "internal/queue/session.go",
		old:  "\tm.freeNos = append(m.freeNos, s.no)\n",
		new:  ""},
	{name: "holders-kept", breaks: "names of who holds a lease outside sessions go with it",
		file: "internal/partition/worker.go",
		old:  "return !here || v.State != task.Running || v.Session != 0",
		new:  "return !here && v.Session != v.Session"},
	{name: "away-kept", breaks: "a session of this process that has left is forgotten when it has lapsed",
		file: "internal/node/member.go",
		old:  "return a.until <= now })",
		new:  "return false && a.until <= now })"},
}
