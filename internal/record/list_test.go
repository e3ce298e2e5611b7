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
	for _, sessions := range []int{1, 4, 5, 9} {
		f(listOf(100, sessions))
	}
}

// listOf is a list of n tasks in a row, which go to so many sessions by turns.
func listOf(n, sessions int) *queue.List {
	l := &queue.List{Key: queue.ListKey{Epoch: 3, No: 12}, Nonce: 0xdecade, At: now}
	for i := range n {
		d := queue.Dispatched{Place: birth, Dispatch: uint32(100 + i), Slot: queue.Slot(5 + i), Attempt: 1, Started: now}
		d.Place.Seq += task.Seq(i)
		d.Session = "host-1/42/abcde" + string(rune('a'+i%sessions))
		l.Tasks = append(l.Tasks, d)
	}
	return l
}

// A list goes with every batch that leases tasks, so it must be small.
func TestListIsSmall(t *testing.T) {
	if n := len(AppendList(nil, listOf(1000, 1))); n > 2*1000+60 {
		t.Errorf("1,000 tasks in a row take %d bytes", n)
	}
}

// A list goes with every small commit too: naming a few sessions costs no memory.
func TestListAllocs(t *testing.T) {
	buf := make([]byte, 0, 4096)
	for _, sessions := range []int{1, 2, 4} {
		l := listOf(100, sessions)
		if n := testing.AllocsPerRun(100, func() { AppendList(buf, l) }); n != 0 {
			t.Errorf("a list that names %d sessions: %v allocations", sessions, n)
		}
	}
}
