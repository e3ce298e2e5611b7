package codec

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const benchTasks = 100

func benchSpecs() []task.Spec {
	specs := make([]task.Spec, benchTasks)
	for i := range specs {
		specs[i] = task.Spec{Type: "bench.task", Payload: make([]byte, 100), Priority: 5}
	}
	return specs
}

func perTask(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchTasks), "ns/task")
}

func BenchmarkEncodeEnqueue(b *testing.B) {
	specs := benchSpecs()
	var w EnqueueWriter
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = w.Begin(buf[:0], &EnqueueGroup{Seq: 1, Queue: "bench", FirstNumber: 9}, 12000)
		for i := range specs {
			buf = w.Spec(buf, &specs[i])
		}
		buf = w.End(buf)
	}
	perTask(b)
}

func BenchmarkDecodeEnqueue(b *testing.B) {
	frame := enqueueFrame(&EnqueueGroup{Seq: 1, Queue: "bench", FirstNumber: 9}, benchSpecs())
	names := NewNames()
	var batch task.EnqueueBatch
	b.ReportAllocs()
	for b.Loop() {
		ps := NewParts(frame)
		ps.Next()
		if _, err := DecodeEnqueue(ps.Body(), &batch, names); err != nil {
			b.Fatal(err)
		}
	}
	perTask(b)
}

// BenchmarkGeneratedDecodeEnqueue is what the hand-written decoder saves.
func BenchmarkGeneratedDecodeEnqueue(b *testing.B) {
	frame := enqueueFrame(&EnqueueGroup{Seq: 1, Queue: "bench", FirstNumber: 9}, benchSpecs())
	b.ReportAllocs()
	for b.Loop() {
		var m pb.ClientFrame
		if err := proto.Unmarshal(frame, &m); err != nil {
			b.Fatal(err)
		}
	}
	perTask(b)
}

func BenchmarkEncodeDeliveries(b *testing.B) {
	ds := make([]task.Delivery, benchTasks)
	for i := range ds {
		ds[i] = fullDelivery()
		ds[i].Payload, ds[i].Headers, ds[i].Tags = make([]byte, 100), nil, nil
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendDeliveries(buf[:0], 1, ds)
	}
	perTask(b)
}

func BenchmarkDecodeDeliveries(b *testing.B) {
	ds := make([]task.Delivery, benchTasks)
	for i := range ds {
		ds[i] = fullDelivery()
		ds[i].Payload, ds[i].Headers, ds[i].Tags = make([]byte, 100), nil, nil
	}
	frame := AppendDeliveries(nil, 1, ds)
	names := NewNames()
	b.ReportAllocs()
	for b.Loop() {
		ps := NewParts(frame)
		ps.Next()
		var err error
		if _, ds, err = DecodeDeliveries(ps.Body(), ds, names); err != nil {
			b.Fatal(err)
		}
	}
	perTask(b)
}

func BenchmarkAnswerRun(b *testing.B) {
	results := make([]task.Enqueued, benchTasks)
	for i := range results {
		results[i].ID = task.ID{Partition: 1, Priority: 5, Queue: 1, Seq: task.MakeSeq(1, uint64(i))}
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendEnqueueAnswer(buf[:0], 1, nil, results)
	}
	perTask(b)
}
