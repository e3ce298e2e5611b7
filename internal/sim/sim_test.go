package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	seed      = flag.Uint64("seed", 0, "run this seed alone, with a log of all that happens")
	seeds     = flag.Int("seeds", 200, "how many seeds")
	first     = flag.Uint64("first", 1, "the first of them")
	steps     = flag.Int("steps", stepsDefault, "steps a seed")
	narrow    = flag.Bool("narrow", false, "nothing of what shapes bring")
	plain     = flag.Bool("plain", false, "no purges, no changes of width, nothing under way in a crash")
	stopFirst = flag.Bool("stop", false, "end with the first seed that fails")
	again     = flag.Int("again", 12, "how many seeds are run twice")
	soak      = flag.Duration("soak", 0, "run new seeds for so long")
)

func TestSeeds(t *testing.T) {
	if *seed != 0 {
		r := run(Options{Seed: *seed, Steps: *steps, Plain: *plain, Narrow: *narrow, Log: func(format string, args ...any) { t.Logf(format, args...) }})
		t.Logf("%+v", r)
		for _, f := range r.Faults {
			t.Error(f)
		}
		return
	}
	n := *seeds
	if testing.Short() {
		n = min(n, 30)
	}
	var sum Result
	for s := *first; s < *first+uint64(n); s++ {
		r := try(t, s)
		sum.Sent += r.Sent
		sum.Recovered += r.Recovered
		sum.Repeats += r.Repeats
		sum.Delivered += r.Delivered
		sum.Completed += r.Completed
		sum.Restarts += r.Restarts
		sum.Broken += r.Broken
		sum.Torn += r.Torn
		sum.Purged += r.Purged
		if *stopFirst && t.Failed() {
			return
		}
	}
	t.Logf("%d seeds: %d tasks sent, %d deliveries, %d completed, %d purged, %d answered to a repeat, %d never answered and there, %d restarts, %d batches torn, %d faults of the store",
		n, sum.Sent, sum.Delivered, sum.Completed, sum.Purged, sum.Repeats, sum.Recovered, sum.Restarts, sum.Torn, sum.Broken)
	if !t.Failed() && (sum.Purged == 0 || sum.Torn == 0 || sum.Recovered == 0 || sum.Repeats == 0 || sum.Restarts == 0 || sum.Broken == 0 || sum.Completed == 0) {
		t.Errorf("too little happened to show anything: %+v", sum)
	}
}

// TestHiddenSeeds: what an engine shows of batches that are not durable changes
// nothing at all.
func TestHiddenSeeds(t *testing.T) {
	for s := uint64(2); s <= 16; s += 2 {
		hidden, shown := Run(Options{Seed: s}), Run(Options{Seed: s, Prompt: true})
		if hidden.Sum != shown.Sum || hidden.Delivered == 0 {
			t.Errorf("seed %d comes to %+v over a store that hides what has begun, and else to %+v", s, hidden, shown)
		}
	}
}

// TestKeptSeeds runs every seed that ever failed. A file holds a seed, its steps
// and "plain", "steady" or "shaped" if it is, and says what was wrong.
func TestKeptSeeds(t *testing.T) {
	files, err := filepath.Glob("testdata/seeds/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(raw), "\n")
		var s uint64
		var n int
		if _, err := fmt.Sscanf(line, "seed %d steps %d", &s, &n); err != nil {
			t.Fatalf("%s: %q: %v", f, line, err)
		}
		o := Options{Seed: s, Steps: n, Plain: strings.HasSuffix(line, " plain"), Steady: strings.HasSuffix(line, " steady"), Narrow: !strings.HasSuffix(line, " shaped")}
		if r := Run(o); len(r.Faults) > 0 {
			fail(t, o, r)
		}
	}
}

// TestSoak runs seeds that nobody has run before, for as long as -soak says.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		t.Skip("runs with -soak=1h")
	}
	end := time.Now().Add(*soak)
	n := 0
	for s := uint64(time.Now().UnixNano()); time.Now().Before(end); s++ {
		try(t, s)
		n++
	}
	t.Logf("%d seeds", n)
}

func run(o Options) (r Result) {
	defer func() {
		if p := recover(); p != nil {
			if o.Log != nil {
				panic(p)
			}
			r.Faults = append(r.Faults, fmt.Sprintf("panic: %v", p))
		}
	}()
	return Run(o)
}

func try(t *testing.T, s uint64) Result {
	t.Helper()
	o := Options{Seed: s, Steps: *steps, Plain: *plain, Narrow: *narrow}
	r := run(o)
	if len(r.Faults) > 0 {
		fail(t, o, r)
	}
	return r
}

// fail names the seed first, and the one command that replays it.
func fail(t *testing.T, o Options, r Result) {
	t.Helper()
	plain := ""
	switch {
	case o.Plain:
		plain = " -plain"
	case o.Narrow:
		plain = " -narrow"
	}
	t.Errorf("seed %d\n\tgo test ./internal/sim -run TestSeeds -v -seed=%d -steps=%d%s\n\t%s", o.Seed, o.Seed, o.Steps, plain, strings.Join(r.Faults, "\n\t"))
}

// TestSameAgain: a seed that leads to two histories could not be replayed. All that
// is logged has to be the same, to the letter, but for the order in which many are
// told that an owner is gone.
func TestSameAgain(t *testing.T) {
	for s := *first; s < *first+uint64(*again); s++ {
		a, b := logged(s), logged(s)
		if !slices.Equal(a, b) {
			at := 0
			for at < min(len(a), len(b)) && a[at] == b[at] {
				at++
			}
			t.Errorf("seed %d is not the same run again:\n%s\nand then\n%s", s, strings.Join(a[at:min(at+3, len(a))], "\n"), strings.Join(b[at:min(at+3, len(b))], "\n"))
		}
	}
}

// logged runs a seed and returns what it came to, line by line.
func logged(s uint64) (lines []string) {
	o := Options{Seed: s, Steps: *steps}
	o.Log = func(format string, args ...any) {
		if line := fmt.Sprintf(format, args...); !strings.Contains(line, " lost its session: ") && !strings.Contains(line, " who waits for ") {
			lines = append(lines, line)
		}
	}
	r := run(o)
	return append(lines, fmt.Sprintf("%+v", r))
}
