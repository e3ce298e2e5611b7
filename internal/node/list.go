package node

import (
	"context"
	"encoding/base32"
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/task"
)

const (
	listDefault    = 100
	listBytesMax   = 4 << 20 // payloads, results and logs on one page
	listScannedMax = 50_000  // records looked at for one page, over all partitions
	listShareMin   = 500     // of them in each partition
	listReadMin    = 16      // tasks read of a partition at once, while several are merged
)

var cursorText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

var errCursor = task.Errorf(task.Invalid, "not a cursor of a listing: copy it whole from the page before")

// shelf is one partition's part of a listing.
type shelf struct {
	p     uint16
	after []byte // behind the last task that was listed; nil = the beginning
	tasks []task.Info
	spots []partition.Spot // of tasks
	next  []byte           // where to read on behind tasks
	ended bool             // there is nothing behind tasks
	ask   int              // tasks to read next: more each time
}

// List implements task.Inspector: newest first within a state, merged over the
// partitions by time. A page may be short, or empty, and have a next one.
func (n *Node) List(ctx context.Context, f task.Filter) (task.Page, error) {
	shelves, err := n.shelvesOf(&f)
	if err != nil {
		return task.Page{}, err
	}
	var page task.Page
	size := 0
	for len(page.Tasks) < f.Limit && size < listBytesMax {
		known := true
		for _, s := range shelves {
			some, err := n.read(ctx, s, len(shelves), f, &page.Scanned)
			if err != nil {
				return task.Page{}, err
			}
			known = known && some
		}
		s := newest(shelves)
		if !known || s == nil {
			break
		}
		t := &s.tasks[0]
		size += len(t.Payload) + len(t.Result) + len(t.Log)
		page.Tasks = append(page.Tasks, *t)
		s.after = s.spots[0].After
		s.tasks, s.spots = s.tasks[1:], s.spots[1:]
		if len(s.tasks) == 0 {
			s.after = s.next
		}
	}
	page.Next = cursorOf(shelves)
	return page, nil
}

// read makes sure that what stands first on the shelf is known. False: looking at
// more records is left to the next page. The shelf moves on whenever it is read,
// with tasks or without. Each time twice as many tasks are asked for as the time
// before: a partition is looked at few times for a page, even if all tasks are
// there, or most of what it lists has changed its state.
func (n *Node) read(ctx context.Context, s *shelf, shelves int, f task.Filter, scanned *int64) (bool, error) {
	if s.ask == 0 {
		if s.ask = f.Limit; shelves > 1 {
			s.ask = min(f.Limit, max(2*f.Limit/shelves, listReadMin))
		}
	}
	budget := max(listScannedMax/shelves, listShareMin)
	for first := true; len(s.tasks) == 0 && !s.ended; first = false {
		if *scanned >= listScannedMax && (!first || s.next != nil) {
			return false, nil
		}
		from := s.next
		if from == nil {
			from = s.after
		}
		f.Limit, s.ask = s.ask, min(2*s.ask, task.ListMax)
		page, err := ask(ctx, n, s.p, func(r *partition.Runner, answer func(partition.Page, *task.Error)) {
			r.List(ctx, f, from, budget, answer)
		})
		if e := ctx.Err(); e != nil {
			return false, e
		}
		if err != nil {
			return false, err
		}
		*scanned += page.Scanned
		s.tasks, s.spots, s.next, s.ended = page.Tasks, page.Spots, page.Next, page.Next == nil
		if len(s.tasks) == 0 {
			s.after = s.next
		}
	}
	return true, nil
}

// newest is the shelf whose first task is listed next; nil if all are empty.
func newest(shelves []*shelf) *shelf {
	var best *shelf
	for _, s := range shelves {
		if len(s.tasks) == 0 {
			continue
		}
		if best == nil {
			best = s
			continue
		}
		a, b := &s.spots[0], &best.spots[0]
		if a.Stage < b.Stage || a.Stage == b.Stage && a.At > b.At {
			best = s
		}
	}
	return best
}

// cursorOf names every partition with more to list, and from where.
func cursorOf(shelves []*shelf) string {
	var raw []byte
	for _, s := range shelves {
		if len(s.tasks) == 0 && s.ended {
			continue
		}
		raw = append(binary.BigEndian.AppendUint16(raw, s.p), byte(len(s.after)))
		raw = append(raw, s.after...)
	}
	return cursorText.EncodeToString(raw)
}

// shelvesOf checks the filter and finds the partitions that have something to
// list.
func (n *Node) shelvesOf(f *task.Filter) ([]*shelf, error) {
	switch {
	case f.Limit < 0 || f.Limit > task.ListMax:
		return nil, task.Errorf(task.Invalid, "limit is %d: use 1 to %d", f.Limit, task.ListMax)
	case len(f.Queue) > task.NameMax || len(f.Type) > task.NameMax:
		return nil, task.Errorf(task.Invalid, "the name of a queue or type is over %d bytes", task.NameMax)
	}
	if f.Limit == 0 {
		f.Limit = listDefault
	}
	var shelves []*shelf
	switch {
	case f.Cursor != "":
		return n.shelvesAt(f.Cursor)
	case f.Queue != "":
		n.routes.each(f.Queue, func(p uint16) { shelves = append(shelves, &shelf{p: p}) })
	default:
		for _, m := range n.members {
			shelves = append(shelves, &shelf{p: m.id})
		}
	}
	return shelves, nil
}

func (n *Node) shelvesAt(cursor string) ([]*shelf, error) {
	const head = 3 // partition, length of what follows
	raw, e := cursorText.DecodeString(cursor)
	if e != nil || len(raw) == 0 {
		return nil, errCursor
	}
	var shelves []*shelf
	for len(raw) > 0 {
		if len(raw) < head || len(raw) < head+int(raw[2]) {
			return nil, errCursor
		}
		s := &shelf{p: binary.BigEndian.Uint16(raw)}
		if int(s.p) >= len(n.members) || len(shelves) > 0 && s.p <= shelves[len(shelves)-1].p {
			return nil, errCursor
		}
		if end := head + int(raw[2]); end > head {
			s.after = raw[head:end:end]
		}
		raw = raw[head+len(s.after):]
		shelves = append(shelves, s)
	}
	return shelves, nil
}
