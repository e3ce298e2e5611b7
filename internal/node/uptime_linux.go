package node

import (
	"hash/fnv"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// uptime is for how long the computer had run at a moment just now, and a name for
// this run of it; 0 where the system does not tell. Two processes of one run so know
// how much time lies between them, whatever the wall clock was set to meanwhile.
func uptime() (at time.Time, since time.Duration, boot uint64) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return time.Now(), 0, 0
	}
	for range 100 { // the two clocks are read at one moment, or what is timed is off by as much
		var t unix.Timespec
		at = time.Now()
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil || t.Nano() <= 0 {
			return at, 0, 0
		}
		if since = time.Duration(t.Nano()); time.Since(at) < uptimeSlack {
			break
		}
	}
	h := fnv.New64a()
	h.Write(id)
	return at, since, max(h.Sum64(), 1)
}

const uptimeSlack = 100 * time.Microsecond
