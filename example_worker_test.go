package penstock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/penstock-io/penstock"
)

// A worker with settings of its own, middleware, and an orderly end.
func ExampleClient_Worker() {
	c, end := inMemory()
	defer end()
	send := penstock.Func("mail.send", func(ctx context.Context, to string) (string, error) {
		penstock.Progress(ctx, 1, 2, "connecting")
		penstock.Log(ctx).Debug("talking to the relay", "to", to) // kept with the attempt
		return "sent to " + to, nil
	}, penstock.Queue("mail"))
	trace := func(ctx context.Context, a *penstock.Attempt, next func(context.Context) error) error {
		err := next(ctx)
		fmt.Println("trace:", a.Type(), "attempt", a.Number(), "error", err)
		return err
	}
	w := c.Worker(penstock.Worker{
		Concurrency:  64,
		Queues:       map[string]int{"mail": 3, "bulk": 1}, // three of mail for one of bulk
		DrainTimeout: 30 * time.Second,
		Middleware:   []penstock.Middleware{trace},
	}, send)
	ctx, stop := context.WithCancel(context.Background())
	worked := make(chan error)
	go func() { worked <- w.Run(ctx) }()

	task, err := send.Enqueue(ctx, c, "ada@example.com")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(task.Wait(ctx))
	stop() // takes no more, lets handlers finish, hands the rest back
	fmt.Println(<-worked)
	// Output:
	// trace: mail.send attempt 1 error <nil>
	// sent to ada@example.com <nil>
	// <nil>
}

// Why a handler's context ended is told by its cause.
func ExampleCurrent() {
	started, cause := make(chan bool), make(chan error)
	wait := penstock.Func("wait", func(ctx context.Context, _ int) (int, error) {
		fmt.Println("attempt", penstock.Current(ctx).Number(), "has a fence:", penstock.Current(ctx).Fence() > 0)
		close(started)
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return 0, ctx.Err()
	})
	c, end := inMemory(wait)
	defer end()
	ctx := context.Background()
	task, err := wait.Enqueue(ctx, c, 1)
	if err != nil {
		log.Fatal(err)
	}
	<-started
	if err := task.Cancel(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-cause)
	_, err = task.Wait(ctx)
	fmt.Println(errors.Is(err, penstock.ErrCanceled))
	// Output:
	// attempt 1 has a fence: true
	// the task was canceled
	// true
}
