// Command hello is the smallest whole program: it defines a task, works on it,
// enqueues one and waits for its result. Start a server first: penstock dev.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/penstock-io/penstock"
)

var Greet = penstock.Func("greet", func(ctx context.Context, name string) (string, error) {
	return "hello " + name, nil
}, penstock.MaxAttempts(5))

func main() {
	ctx := context.Background()
	c, err := penstock.Dial(ctx, "http://localhost:7070")
	if err != nil {
		log.Fatal(err)
	}
	go c.Work(ctx, Greet)
	out, err := Greet.Do(ctx, c, "world") // enqueue and wait, typed
	fmt.Println(out, err)
}
