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
	listScannedMax = 50_000 // records looked at for one page
)

var cursorText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

var errCursor = task.Errorf(task.Invalid, "not a cursor of a listing: copy it whole from the page before")

// List implements task.Inspector: partition by partition, in each the newest
// first within a state.
func (n *Node) List(ctx context.Context, f task.Filter) (task.Page, error) {
	p, after, err := checkFilter(&f)
	if err != nil {
		return task.Page{}, err
	}
	if int(p) >= len(n.members) {
		return task.Page{}, errCursor
	}
	var page task.Page
	for int(p) < len(n.members) {
		g := f
		g.Limit = f.Limit - len(page.Tasks)
		part, err := ask(ctx, n, p, func(r *partition.Runner, answer func(partition.Page, *task.Error)) { r.List(g, after, answer) })
		if err != nil {
			return task.Page{}, err
		}
		page.Tasks = append(page.Tasks, part.Tasks...)
		page.Scanned += part.Scanned
		if after = part.Next; after == nil {
			p++
		}
		if len(page.Tasks) >= f.Limit || page.Scanned >= listScannedMax {
			break
		}
	}
	if int(p) < len(n.members) {
		page.Next = cursorText.EncodeToString(append(binary.BigEndian.AppendUint16(nil, p), after...))
	}
	return page, nil
}

func checkFilter(f *task.Filter) (p uint16, after []byte, err error) {
	switch {
	case f.Limit < 0 || f.Limit > task.ListMax:
		return 0, nil, task.Errorf(task.Invalid, "limit is %d: use 1 to %d", f.Limit, task.ListMax)
	case len(f.Queue) > task.NameMax || len(f.Type) > task.NameMax:
		return 0, nil, task.Errorf(task.Invalid, "the name of a queue or type is over %d bytes", task.NameMax)
	}
	if f.Limit == 0 {
		f.Limit = listDefault
	}
	if f.Cursor == "" {
		return 0, nil, nil
	}
	raw, e := cursorText.DecodeString(f.Cursor)
	if e != nil || len(raw) < 2 {
		return 0, nil, errCursor
	}
	return binary.BigEndian.Uint16(raw), raw[2:], nil
}
