package node

import (
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// What bounds a node.
const (
	partitionsMax  = 1 << 10
	reopenWaitMin  = 20 * time.Millisecond // first wait before a partition is opened anew
	reopenWaitMax  = 10 * time.Second
	reopenFreshMax = time.Minute      // a partition that ran so long begins with the shortest wait again
	illsMin        = 3                // faults so close to one another make a partition a failing one
	illsFreshMax   = 30 * time.Second // so close
	lowSayEvery    = 10 * time.Second // between two lines about a full disk
	leasesMax      = 10_000           // unary leases that wait, over all partitions
	awayLookMin    = 64               // sessions that have left, of which those that lapsed are looked for
	closeWaitMax   = 30 * time.Second // when the caller of Close sets no limit
	offsetSayMin   = 5 * task.Second  // a start that finds its data so far ahead of the clock says so

	windowTasks  = 200_000  // tasks in memory
	cacheBytes   = 24 << 20 // records in memory
	historyBytes = 2 << 30  // finished tasks kept
)
