package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const pollEvery = 20 * time.Millisecond

// watch follows the queue's exact counts: results are printed in the order of
// the files, and the first may be the last to come.
type watch struct {
	url       string
	total     int
	begin     time.Time
	finished  atomic.Int64
	accidents []accident // in the order of their counts
	happened  []int      // tasks finished when each did
}

// accident happens once so many tasks are finished.
type accident struct {
	at      int
	happens func() error
}

// run polls until ctx ends, and lets accidents happen on the way.
func (w *watch) run(ctx context.Context) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if n, err := w.ask(ctx); err == nil { // it may be away just now, or the queue not there yet
			w.finished.Store(n)
		}
		for len(w.accidents) > 0 && w.count() >= w.accidents[0].at {
			w.happened = append(w.happened, w.count())
			if err := w.accidents[0].happens(); err != nil {
				return err
			}
			w.accidents = w.accidents[1:]
		}
	}
}

func (w *watch) count() int { return int(w.finished.Load()) }

// ask is how many tasks have ended.
func (w *watch) ask(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/penstock.v1.QueueService/Get", strings.NewReader(`{"queue":"hash"}`))
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %s", resp.Status)
	}
	var answer struct {
		Queue struct{ Succeeded, Dead int64 }
	}
	err = json.NewDecoder(resp.Body).Decode(&answer)
	return answer.Queue.Succeeded + answer.Queue.Dead, err
}
