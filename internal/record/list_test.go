package record

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

func TestList(t *testing.T) {
	f := func(l *queue.List) {
		t.Helper()
		var got queue.List
		if err := DecodeList(AppendListKey(nil, part, l.Key), AppendList(nil, l), &got); err != nil {
			t.Fatal(err)
		}
		equal(t, "list", &got, l)
	}
	f(listFull())
	f(&queue.List{Key: queue.ListKey{Epoch: 1, No: 1}, Tasks: []queue.Dispatched{}})
}

// A list goes with every batch that leases tasks, so it must be small.
func TestListIsSmall(t *testing.T) {
	l := &queue.List{Key: queue.ListKey{Epoch: 3, No: 12}, Nonce: 0xdecade, At: now}
	for i := range 1000 {
		d := queue.Dispatched{Place: birth, Dispatch: uint32(100 + i), Slot: queue.Slot(5 + i), Attempt: 1, Session: "host-1/42/abcdef", Started: now}
		d.Place.Seq += task.Seq(i)
		l.Tasks = append(l.Tasks, d)
	}
	if n := len(AppendList(nil, l)); n > 2*1000+60 {
		t.Errorf("1,000 tasks in a row take %d bytes", n)
	}
}
