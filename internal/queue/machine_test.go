package queue_test

import (
	"flag"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue/queuetest"
)

var (
	seed  = flag.Uint64("seed", 0, "run this seed alone, with a log of every step")
	steps = flag.Int("steps", 250, "commands a seed")
	seeds = flag.Int("seeds", 60, "how many seeds")
	first = flag.Uint64("first", 1, "the first of them")
)

// windows are budgets of tasks in memory: from hardly any to all.
var windows = []int{1, 8, 40, 200, 100_000}

func TestModel(t *testing.T) {
	if *seed != 0 {
		if err := try(*seed, func(s string) { t.Log(s) }); err != nil {
			t.Fatal(err)
		}
		return
	}
	for s := *first; s < *first+uint64(*seeds); s++ {
		if err := try(s, nil); err != nil {
			t.Errorf("seed %d: go test ./internal/queue -run TestModel -v -seed=%d -steps=%d\n%v", s, s, *steps, err)
		}
		if t.Failed() && s >= *first+20 {
			return
		}
	}
}

func try(s uint64, log func(string)) (err error) {
	defer func() {
		if p := recover(); p != nil && log == nil {
			err = fmt.Errorf("panic: %v", p)
		} else if p != nil {
			panic(p)
		}
	}()
	return queuetest.Try(queuetest.Seeded(s), windows[s%uint64(len(windows))], *steps, log)
}
