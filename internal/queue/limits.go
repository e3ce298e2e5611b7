package queue

import "github.com/penstock-io/penstock/internal/task"

// Limits of one machine. Each names what it bounds.
const (
	epochSpare          = 1 << 24                 // with so many numbers left an epoch is spent: more than one Apply can use
	queuesMax           = 65_535                  // queues of a partition
	sessionsMax         = 10_000                  // open worker sessions
	producersMax        = 10_000                  // producer sessions with numbers, over all queues,
	producersClientMany = 1_000                   // a client with so many gives its own oldest for another
	evictedMax          = 200_000                 // names of those that went before their time; when they are known no longer is by time alone,
	evictedClientMany   = 100_000                 // and a client with many sessions gets none from so many on, to leave room for others
	rangesMax           = 131_072                 // unconfirmed number ranges of one producer session in one queue: with keys of their own each task is one,
	rangesAllMax        = 524_288                 // and of all of them: 48 B each
	windowTasks         = 200_000                 // tasks in memory, all lanes: 200,000 × 160 B ≈ 31 MiB
	windowBytes         = 16 << 20                // records of them: what the runner keeps is half as much again, for running ones and what is too large
	laneWindowMin       = 4_096                   // a lane's window at first
	laneWindowMax       = 32_768                  // and at full speed
	strideMax           = 3                       // tasks read of a lane at once, while memory holds fewer of each
	laneWindowIdle      = 8                       // and while memory is short and nobody takes from it
	laneWindowTiny      = 64                      // what a lane that is next may load when the budget is spent
	lanePeriod          = 10 * task.Second        // a lane that no worker took from in this one nor the last is idle
	loadsMax            = 4                       // reads of tasks under way; each
	loadLanesMax        = 1_024                   // goes to so many lanes,
	loadTasksMax        = 65_536                  // and brings so many tasks, at most
	refillPart          = 32                      // such a read waits until this part of memory is free, if nobody waits for it
	urgedMax            = 1_024                   // lanes behind one that is next and has to be read, that are read with it,
	lookaheadMax        = 4_096                   // of so many that are next;
	urgedPart           = 8                       // memory may be overdrawn for them by this part
	evictLanesMax       = 1_024                   // lanes looked at, in one Apply, for tasks that need not be in memory
	evictTasksMax       = 8_192                   // tasks that leave it then
	fadingMax           = 1_024                   // lanes without tasks that wait for the tick to go
	lanesKeepMax        = 4_096                   // a burst of more lanes than this leaves no memory behind
	unservedTypesMax    = 1_024                   // types looked at, in one tick, for tasks that no worker serves
	unservedShownMax    = 100                     // types shown of a queue that no worker serves
	markBlock           = 1_024                   // dispatches between two writes of a lane's marks
	listSpare           = 1_024                   // tasks that are over and that dispatch lists may tell of, beside one for each that runs
	timedLead           = task.Second             // timed tasks are loaded so long before they are due
	longAfter           = task.Second - longEvery // a lease older than this is watched by a timer and claimed,
	longEvery           = task.Second / 10        // in looks this far apart: so by the time it is a second old
	longBatchMax        = 1_024                   // leases claimed in one Apply
	LanesLookMax        = 8_192                   // lanes or queues that one look of a listing goes through,
	pagesLookMax        = 2                       // or pages of the slab: about a millisecond at most
	queuesLookMax       = 1_024                   // queues and types, or
	workersLookMax      = 1_024                   // worker sessions, that one look of somebody who asks for all goes through
	expiryBatchMax      = 256                     // expiry entries looked at in one go
	unservedBatchMax    = 256                     // tasks given up for want of a worker in one Apply
	sweepMax            = 512                     // records looked over in one step of the sweeper
	deleteTriesMax      = 16                      // Applies in a row in which something else may come before a queue is deleted
	idleLooksMax        = 256                     // queues looked at, in one tick, for ones that are idle,
	idleDropsMax        = 64                      // and how many may go in it
	idleGrace           = 10 * task.Minute        // after an opening none goes: workers must have had time to be back
	idleNoteEvery       = task.Day                // a queue that workers wait at is noted as used so often
	sweepEvery          = task.Second             // slow work (sessions, unserved types, retention) at most this often
	idemsEvery          = task.Second / 10        // idempotency entries that are due are looked for this often,
	idemsDueMax         = 2_048                   // so many in one look; while there are more the next follows at once
	briefWindow         = task.Minute             // idempotency entries with windows up to this are in memory as well,
	briefShare          = 3                       // in so many times what the records of tasks there may take,
	briefSpan           = task.Second             // and go together, all of so much time,
	briefSpanMin        = 1_024                   // as one range, if they are so many: each has the engine flush within a second;
	briefsEndMax        = 4_096                   // so many are looked at in one Apply
	idemLaterMin        = 5 * task.Second         // while its task lives an entry is looked at after as long again as
	idemLaterMax        = 10 * task.Minute        // the task has outlived the window, within these
	adoptWindow         = 5 * task.Second         // after a start: how long workers may take to be back
	adoptAgain          = 3 * task.Second / 2     // and at least, though an earlier start has waited for them (they try twice a second)
	adoptMost           = 30 * task.Second        // and at most, over all starts and without the time between them
	safeWindow          = task.Minute             // two unclean opens within it turn on safe mode for as long
	timeoutGrace        = task.Second             // a session's worker is given so long past an attempt's timeout
	segmentBytes        = 64 << 20                // a segment of history closes at this size,
	segmentsMin         = 8                       // or at this part of what history may take,
	segmentBytesMin     = 64 << 10                // but not below this size;
	segmentAge          = task.Hour               // or at this age
	retentionsMax       = 16                      // different retentions at once; more share the longest
	historyBytes        = 2 << 30
	changesKeepMax      = 4_096 // keys of one kind named by one Apply leave no more memory than so many
	idemBytes           = 256 << 20
)
