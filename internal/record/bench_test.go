package record

import (
	"bytes"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

func BenchmarkBirth(b *testing.B) {
	w := plainBirth()
	w.Spec.Payload = bytes.Repeat([]byte("x"), 100)
	key, value := make([]byte, 0, KeyMax), make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		key = AppendPlaceKey(key[:0], part, w.Place)
		value = AppendBirth(value[:0], w)
	}
}

func BenchmarkFinish(b *testing.B) {
	f := finishedPlain()
	key, value := make([]byte, 0, KeyMax), make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		key = AppendFinishedKey(key[:0], part, f.Key)
		value, _ = AppendFinished(value[:0], nil, f)
	}
}

func BenchmarkWaiting(b *testing.B) {
	w := plainBirth()
	w.Spec.Payload = bytes.Repeat([]byte("x"), 100)
	key, value := AppendPlaceKey(nil, part, w.Place), AppendBirth(nil, w)
	var d Decoder
	var out queue.Waiting
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Waiting(key, value, &out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDelivery(b *testing.B) {
	w := plainBirth()
	w.Spec.Payload = bytes.Repeat([]byte("x"), 100)
	value := AppendBirth(nil, w)
	var d Decoder
	var out task.Delivery
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Delivery(part, w.Place, value, &out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList(b *testing.B) {
	l := listOf(32, 1)
	value := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		value = AppendList(value[:0], l)
	}
}

// TestAllocs: the common shapes cost no allocation.
func TestAllocs(t *testing.T) {
	w, f := plainBirth(), finishedPlain()
	w.Spec.ContentType, w.Spec.Policy = "application/cbor", policy
	buf := make([]byte, 0, 1024)
	var d Decoder
	var wait queue.Waiting
	var del task.Delivery
	key := AppendPlaceKey(nil, part, w.Place)
	n := testing.AllocsPerRun(100, func() {
		value := AppendBirth(buf[:0], w)
		if err := d.Waiting(key, value, &wait); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Delivery(part, w.Place, value, &del); err != nil {
			t.Fatal(err)
		}
		AppendFinished(buf[:0], nil, f)
	})
	if n != 0 {
		t.Errorf("%v allocations for a task that is enqueued, loaded, delivered and finished", n)
	}
}
