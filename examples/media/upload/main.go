// Command upload has the pictures at the addresses given resized, and waits:
// go run ./examples/media/upload https://example.com/cat.png …
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/examples/media"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c, err := penstock.Dial(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	var tasks []*penstock.Task[media.Resized]
	for _, url := range os.Args[1:] {
		// The same address within the hour finds the first task.
		t, err := media.ResizeImage.Enqueue(ctx, c, media.Resize{URL: url, Width: 256},
			penstock.Idempotency(url, time.Hour), penstock.Tags("upload"), penstock.Priority(7))
		if err != nil {
			log.Fatal(err)
		}
		tasks = append(tasks, t)
	}
	for i, t := range tasks {
		res, err := t.Wait(ctx)
		if err != nil {
			fmt.Printf("%s: %v\n", os.Args[1+i], err)
			continue
		}
		fmt.Printf("%s: %d×%d, %d bytes\n", os.Args[1+i], res.Width, res.Height, len(res.PNG))
	}
}
