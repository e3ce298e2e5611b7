package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// usage is what one process has used up to a moment.
type usage struct {
	CPU       time.Duration // user + system
	RSSBytes  int64
	DiskBytes int64
	Fsyncs    int64         // -1 = not known
	Commits   int64         // of the storage engine, as are the next two; 0 where it is not asked
	Written   int64         // bytes of commits
	Stalled   time.Duration // writers waited for it
	Mallocs   uint64
	HeapBytes int64 // reached, or not yet collected
	Open      int64 // files and connections, 0 where /proc is not
	Files     int64 // in the data folder
	Tasks     int64 // what the workload counts: finished, or enqueued, durably
}

// selfUsage reads CPU and memory of this process.
func selfUsage() usage {
	u := usage{Fsyncs: -1}
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) == nil {
		u.CPU = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
	u.RSSBytes, _ = residentBytes(os.Getpid())
	var ms runtime.MemStats
	runtime.ReadMemStats(&ms)
	u.Mallocs, u.HeapBytes = ms.Mallocs, int64(ms.HeapAlloc)
	if open, err := os.ReadDir("/proc/self/fd"); err == nil {
		u.Open = int64(len(open))
	}
	return u
}

// residentBytes reads VmRSS of a process.
func residentBytes(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		rest, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		return kb << 10, err
	}
	return 0, fmt.Errorf("no VmRSS for process %d", pid)
}

// diskBytes is what a folder's files take on disk, in blocks as du counts them, and
// how many files there are.
func diskBytes(dir string) (n, files int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file that went while we walked
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		if !d.IsDir() {
			files++
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			n += st.Blocks * 512
		}
		return nil
	})
	return n, files
}
