package node

import (
	"hash/fnv"
	"os"
	"strconv"
	"strings"
	"time"
)

// uptime is for how long the computer has run, and a name for this run of it; 0, 0
// where the system does not tell. Two processes of one run so know how much time lies
// between them, whatever the wall clock was set to meanwhile.
func uptime() (since time.Duration, boot uint64) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return 0, 0
	}
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(first, 64)
	if err != nil || seconds <= 0 {
		return 0, 0
	}
	h := fnv.New64a()
	h.Write(id)
	return time.Duration(seconds * float64(time.Second)), max(h.Sum64(), 1)
}
