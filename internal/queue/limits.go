package queue

import "github.com/penstock-io/penstock/internal/task"

// Limits of one machine. Each names what it bounds.
const (
	queuesMax           = 65_535                  // queues of a partition
	typesMax            = 10_000                  // types (lanes) of one queue
	sessionsMax         = 10_000                  // open worker sessions
	producersMax        = 10_000                  // producer sessions with numbers, over all queues,
	producersClientMany = 1_000                   // a client with so many gives its own oldest for another
	evictedMax          = 100_000                 // names of those that went before their time
	rangesMax           = 4_096                   // unanswered number ranges of one producer session in one queue
	windowTasks         = 200_000                 // tasks in memory, all lanes: 200,000 × 144 B ≈ 28 MiB
	laneWindowMin       = 4_096                   // a lane's window at first
	laneWindowMax       = 32_768                  // and at full speed
	laneWindowTiny      = 64                      // what a lane may load when the budget is spent
	markBlock           = 1_024                   // dispatches between two writes of a lane's marks
	timedMarkBlock      = task.Second             // time between two writes of a lane's timed marks
	timedLead           = task.Second             // timed tasks are loaded so long before they are due
	longAfter           = task.Second - longEvery // a lease older than this is watched by a timer and claimed,
	longEvery           = task.Second / 10        // in looks this far apart: so by the time it is a second old
	longBatchMax        = 1_024                   // leases claimed in one Apply
	expiryBatchMax      = 256                     // expiry entries looked at in one go
	unservedBatchMax    = 256                     // tasks given up for want of a worker in one Apply
	sweepEvery          = task.Second             // slow work (sessions, unserved types, retention) at most this often
	idemsEvery          = task.Second / 10        // idempotency entries that are due are looked for this often,
	idemsDueMax         = 2_048                   // so many in one look; while there are more the next follows at once
	idemLaterMin        = 5 * task.Second         // while its task lives an entry is looked at after as long again as
	idemLaterMax        = 10 * task.Minute        // the task has outlived the window, within these
	adoptWindow         = 5 * task.Second         // after an unclean start: how long workers may take to be back
	safeWindow          = task.Minute             // two unclean opens within it turn on safe mode for as long
	timeoutGrace        = task.Second             // a session's worker is given so long past an attempt's timeout
	segmentBytes        = 64 << 20                // a segment of history closes at this size,
	segmentsMin         = 8                       // or at this part of what history may take,
	segmentBytesMin     = 64 << 10                // but not below this size;
	segmentAge          = task.Hour               // or at this age
	retentionsMax       = 16                      // different retentions at once; more share the longest
	historyBytes        = 2 << 30
	idemBytes           = 256 << 20
	purgeDropsMax       = 1 << 20 // in-memory tasks dropped one by one in a purge
)
