// Command hello is the smallest whole program. Start a server first: penstock dev.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/penstock-io/penstock"
)

// Greet is a type of task, typed, with what it does.
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
