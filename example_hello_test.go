package penstock_test

import (
	"context"
	"fmt"
	"log"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// Greet is a type of task together with what it does. A variable of a package is
// a good place for it.
var Greet = penstock.Func("greet", func(ctx context.Context, name string) (string, error) {
	return "hello " + name, nil
}, penstock.MaxAttempts(5))

// A whole program: the queue is inside it, in memory for this example; with
// server.Config{Dir: …} it is durable.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	srv, err := server.Open(server.Config{Mem: true})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()
	c := srv.Client()
	worked := make(chan error)
	go func() { worked <- c.Work(ctx, Greet) }()

	out, err := Greet.Do(ctx, c, "world") // enqueue and wait, typed
	fmt.Println(out, err)

	stop() // the worker finishes what it has begun
	fmt.Println(<-worked)
	// Output:
	// hello world <nil>
	// <nil>
}

// The same against a server elsewhere.
func ExampleDial() {
	srv, err := server.Open(server.Config{Mem: true, HTTP: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	ctx, stop := context.WithCancel(context.Background())
	c, err := penstock.Dial(ctx, srv.URL()) // such as http://localhost:7070
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	worked := make(chan error)
	go func() { worked <- c.Work(ctx, Greet) }()
	fmt.Println(Greet.Do(ctx, c, "world"))
	stop()
	fmt.Println(<-worked)
	// Output:
	// hello world <nil>
	// <nil>
}
