package server_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// A queue inside a program: a folder is all it needs.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "penstock")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	srv, err := server.Open(server.Config{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer srv.Close()

	hello := penstock.Func("hello", func(_ context.Context, name string) (string, error) {
		return "hello " + name, nil
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go srv.Client().Work(ctx, hello)

	out, err := hello.Do(ctx, srv.Client(), "world")
	fmt.Println(out, err)
	// Output: hello world <nil>
}
