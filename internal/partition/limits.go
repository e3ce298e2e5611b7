package partition

import "github.com/penstock-io/penstock/internal/task"

// What bounds a partition. Everything that waits is either counted here or
// bounded by the credit that workers give.
const (
	// Enqueues that wait for the loop. At 200,000 tasks a second this is a
	// second's work; more would only add to the time to the answer.
	admitTasksMax = 200_000
	admitBytesMax = 64 << 20

	// One turn: a batch of 4 MiB is a quarter of the smallest memtable, and
	// 8,192 tasks are about 10 ms of encoding. A single larger call goes alone.
	turnTasksMax = 8_192
	turnBytesMax = 4 << 20

	// Tasks leased in one turn, over all sessions.
	dispatchMax = 4_096

	// Commits in flight. One is enough while Apply and encoding overlap with it;
	// more gained nothing in measurements.
	pipelineDepth = 1
	// While a commit is under way a turn is made beside it only when so much waits
	// that making it takes about as long as the disk does; with less, a turn that
	// starts when the disk is ready takes more along (31 commits per 1,000 tasks
	// of 64 callers against 45).
	overlapMin = 160
	// Turns at once: one being made, those in flight, and two whose answers are
	// being given, so that a slow answer does not stall the disk.
	turnsMax = pipelineDepth + 3

	refillsMax      = 2       // refills read at once
	lookupsMax      = 4       // tasks and pages read at once for people
	refillStepsMax  = 12      // records passed, one by one, on the way to the next lane, before it is looked up
	refillKeepMax   = 4 << 20 // bytes of records that a refill brings along for the cache
	watchesMax      = 100_000 // tasks watched in one partition
	pollsMax        = 10_000  // unary leases that wait in one partition
	pollsTurnMax    = 256     // of them asked in one turn
	progressMax     = 10_000  // leases whose progress is remembered
	orderKeepMin    = 16      // sessions that have left and are remembered, beside as many as are here
	unaryWorkersMax = 100_000 // unary leases whose holder's name is remembered
	unaryLookMin    = 64      // of these, those that are looked over for what has ended
	deliverBytesMax = 4 << 20 // large payloads read at once for one call of a receiver
	readPointsMin   = 256     // records read at once for Wants, whatever their size: results may be large
	readPointsGrow  = 16      // times as many, once it has been seen that they bring little
	readBytesMax    = 16 << 20
	openPointsMax   = 1_024    // tasks that may be running whose records are read at once
	pointKeepMax    = 16 << 10 // memory for one record that is kept for the next
	arenaChunk      = 64 << 10
	arenaKeepMax    = 4 << 20 // bytes of a turn's arena that are kept for the next
	intakeKeepMax   = 16_384  // mail slots kept after a burst
	samplesTurnMax  = 64      // waiting and running times reported of one turn
	listBytesMax    = 4 << 20 // payloads and results on one page
	listLanesMax    = 131_072 // lanes that a listing merges at once
	listMakingMax   = 4       // listings that gather lanes at once,
	listWaitingMax  = 1_000   // and how many wait for that
	listKeptMax     = 262_144 // lanes kept from one page to the next, up to 72 bytes each,
	listsKeptMax    = 64      // of so many listings,
	listKeptFor     = 30 * task.Second
	listPointsMax   = 64 // tasks in memory whose records are read at once
	listOpenMax     = 64 // of them read by turns without a seek
	getTriesMax     = 3  // looks for a task that moves meanwhile
	cacheBytes      = 24 << 20
	gapMin          = task.Second // a turn that comes so much too late tells of a gap
	idleAfter       = task.Second // without mail for so long, buffers of busier times are given back
	openTicksMax    = 64          // turns at opening, until the first wants are answered
)
