package penstock

import (
	"context"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// newClient is a client of a fake queue that ends with the test.
func newClient(t testing.TB) (*Client, *brokertest.Fake) {
	t.Helper()
	f := brokertest.NewFake(brokertest.Options{Scribble: true})
	t.Cleanup(f.Close)
	return NewClient(f, f), f
}

func TestDo(t *testing.T) {
	c, _ := newClient(t)
	greet := Func("greet", func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	ended := make(chan error, 1)
	go func() { ended <- c.Work(ctx, greet) }()
	out, err := greet.Do(ctx, c, "world")
	if err != nil || out != "hello world" {
		t.Fatalf("Do = %q, %v", out, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
