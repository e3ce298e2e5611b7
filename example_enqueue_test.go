package penstock_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// inMemory is a queue for an example, with a worker for hs.
func inMemory(hs ...penstock.Handler) (c *penstock.Client, end func()) {
	srv, err := server.Open(server.Config{Mem: true})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	worked := make(chan error, 1)
	if len(hs) == 0 {
		worked <- nil
	} else {
		go func() { worked <- srv.Client().Work(ctx, hs...) }()
	}
	return srv.Client(), func() {
		stop()
		if err := errors.Join(<-worked, srv.Close()); err != nil {
			log.Fatal(err)
		}
	}
}

type Resize struct {
	URL   string
	Width int
}

type Resized struct{ Key string }

// ResizeImage is all that a producer imports: no handler, none of what the
// handler needs. Its options are defaults.
var ResizeImage = penstock.Define[Resize, Resized]("image.resize",
	penstock.Queue("media"), penstock.MaxAttempts(8), penstock.Timeout(time.Minute))

func ExampleDefinition_Enqueue() {
	ctx := context.Background()
	c, end := inMemory()
	defer end()

	task, err := ResizeImage.Enqueue(ctx, c, Resize{"cat.png", 256},
		penstock.In(time.Minute), penstock.Priority(7), penstock.Key("user:42"),
		penstock.Idempotency("cat.png", time.Hour), penstock.Tags("beta"))
	if err != nil {
		log.Fatal(err)
	}
	info, err := task.Info(ctx)
	fmt.Println(info.Queue, info.State, info.Priority, info.Key, info.Tags, err)

	again, err := ResizeImage.Enqueue(ctx, c, Resize{"cat.png", 256}, penstock.Idempotency("cat.png", time.Hour))
	fmt.Println(again.Existing(), again.ID() == task.ID(), err)
	// Output:
	// media scheduled 7 user:42 [beta] <nil>
	// true true <nil>
}

// The worker's side of a definition: it holds the dependencies.
func ExampleDefinition_Handle() {
	ctx := context.Background()
	c, end := inMemory(ResizeImage.Handle(func(_ context.Context, in Resize) (Resized, error) {
		return Resized{Key: fmt.Sprintf("%d/%s", in.Width, in.URL)}, nil
	}))
	defer end()

	task, err := ResizeImage.Enqueue(ctx, c, Resize{"cat.png", 256})
	if err != nil {
		log.Fatal(err)
	}
	res, err := task.Wait(ctx) // a Resized
	fmt.Println(res.Key, err)
	// Output: 256/cat.png <nil>
}

// Many tasks at once: each has its own answer.
func ExampleDefinition_EnqueueMany() {
	ctx := context.Background()
	length := penstock.Func("length", func(_ context.Context, s string) (int, error) { return len(s), nil })
	c, end := inMemory(length)
	defer end()

	answers, _ := length.EnqueueMany(ctx, c, []string{"a", strings.Repeat("b", 2_000_000), "ccc"})
	for _, a := range answers {
		if a.Err != nil {
			fmt.Println(errors.Is(a.Err, penstock.ErrInvalid), a.Err)
			continue
		}
		fmt.Println(a.Task.Wait(ctx))
	}
	// Output:
	// 1 <nil>
	// true invalid: payload is 2000002 bytes, the limit is 1048576: keep large data elsewhere and enqueue its address
	// 3 <nil>
}

// Tasks of types that are not known here: bytes in, bytes out.
func ExampleClient_Enqueue() {
	ctx := context.Background()
	c, end := inMemory(penstock.HandleRaw("upper", func(_ context.Context, a *penstock.Attempt) (penstock.Content, error) {
		return penstock.Content{Data: []byte(strings.ToUpper(string(a.Payload()))), Type: "text/plain"}, nil
	}))
	defer end()

	task, err := c.Enqueue(ctx, penstock.Raw{Type: "upper", Payload: []byte("quiet"), ContentType: "text/plain"})
	if err != nil {
		log.Fatal(err)
	}
	out, err := task.Wait(ctx)
	fmt.Printf("%s %v\n", out, err)
	// Output: QUIET <nil>
}
