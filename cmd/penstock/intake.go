package main

import (
	"bufio"
	"io"
	"sync"

	"github.com/penstock-io/penstock"
)

// Limits of what has been read and is not yet sent.
const (
	intakeItemsMax = 20_000
	intakeBytesMax = 8 << 20
)

// intake stands between reading and sending: while one batch is under way the
// next one gathers. So slow input goes out line by line, and fast input in
// large batches, without a timer.
type intake struct {
	mu    sync.Mutex
	ready sync.Cond
	room  sync.Cond
	items []intakeItem // guarded by mu
	bytes int          // guarded by mu
	done  bool         // guarded by mu
	err   error        // guarded by mu
}

type intakeItem struct {
	line int
	raw  penstock.Raw
	err  error // the line is no task
}

func newIntake() *intake {
	in := &intake{}
	in.ready.L, in.room.L = &in.mu, &in.mu
	return in
}

// readFrom reads until next fails.
func (in *intake) readFrom(r io.Reader, next func(*bufio.Reader) (intakeItem, error)) {
	b := bufio.NewReaderSize(r, 64<<10)
	for {
		item, err := next(b)
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			in.end(err)
			return
		}
		in.add(item)
	}
}

func (in *intake) readArgs(args []string, f *specFlags) {
	for i, arg := range args {
		in.add(intakeItem{line: i + 1, raw: f.raw([]byte(arg))})
	}
	in.end(nil)
}

func (in *intake) add(item intakeItem) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.items) >= intakeItemsMax || in.bytes >= intakeBytesMax {
		in.room.Wait()
	}
	in.items = append(in.items, item)
	in.bytes += len(item.raw.Payload)
	in.ready.Signal()
}

func (in *intake) end(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.done, in.err = true, err
	in.ready.Signal()
}

// take waits for something and takes all there is; nothing means the end.
func (in *intake) take() []intakeItem {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.items) == 0 && !in.done {
		in.ready.Wait()
	}
	items := in.items
	in.items, in.bytes = nil, 0
	in.room.Signal()
	return items
}

func (in *intake) failed() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}
