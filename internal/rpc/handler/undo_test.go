package handler

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// deaf is a ResponseWriter whose reader has gone.
type deaf struct{ head http.Header }

func (d deaf) Header() http.Header     { return d.head }
func (deaf) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }
func (deaf) WriteHeader(int)           {}

func TestALeaseThatCannotBeWrittenGoesBack(t *testing.T) {
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	s, err := New(Options{Broker: fake, Inspector: fake})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ctx := context.Background()
	e := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
	if err := task.EnqueueWait(ctx, fake, e); err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodPost, "/penstock.v1.WorkerService/Lease", strings.NewReader(`{"queue":"q"}`))
	if err != nil {
		t.Fatal(err)
	}
	s.serveCall(deaf{http.Header{}}, r)
	ds, err := fake.Lease(ctx, task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1, Wait: 10 * task.Second})
	if err != nil || len(ds) != 1 || ds[0].Token.Dispatch != 2 || ds[0].Counts != (task.Counts{}) {
		t.Errorf("leased again: %+v, %v", ds, err)
	}
}
