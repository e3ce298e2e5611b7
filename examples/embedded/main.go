// Command embedded has its queue inside: durable tasks in a folder, with no
// server to install and no port. Kill it in the middle and start it again: it
// goes on where it was.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// CountWords is a type of task, together with what it does.
var CountWords = penstock.Func("words.count", func(ctx context.Context, text string) (int, error) {
	time.Sleep(100 * time.Millisecond) // so that there is something to interrupt
	return len(strings.Fields(text)), nil
})

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir := filepath.Join(os.TempDir(), "penstock-embedded")
	if err := run(ctx, dir); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, dir string) error {
	srv, err := server.Open(server.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer srv.Close()
	c := srv.Client()

	wctx, stop := context.WithCancel(ctx)
	worked := make(chan error, 1)
	go func() { worked <- c.Work(wctx, CountWords) }()

	texts := make([]string, 200)
	for i := range texts {
		texts[i] = strings.Repeat("word ", i)
	}
	// A second start of the program finds the tasks of the first.
	words := 0
	for i, text := range texts {
		t, err := CountWords.Enqueue(ctx, c, text, penstock.Idempotency(fmt.Sprint(i), time.Hour))
		if err != nil {
			stop()
			return err
		}
		if i%50 == 0 {
			n, err := t.Wait(ctx)
			fmt.Printf("text %d has %d words, error %v\n", i, n, err)
		}
		words += i
	}
	fmt.Println("enqueued texts of", words, "words in all; their tasks run on")
	stop() // takes no more tasks, and waits for those that run
	if err := <-worked; err != nil {
		return err
	}
	qs, err := c.Queues(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	for _, q := range qs {
		fmt.Printf("queue %s: %d done, %d still waiting in %s\n", q.Name, q.Succeeded, q.Ready, dir)
	}
	return nil
}
