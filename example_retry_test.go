package penstock_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-io/penstock"
)

// RateLimited says when to come back.
type RateLimited struct{ Wait time.Duration }

func (e *RateLimited) Error() string { return "rate limited" }

// BadImage can't be helped.
type BadImage struct{}

func (*BadImage) Error() string { return "bad image" }

// What becomes of a failed attempt may hang on the type of its error.
func ExampleRetryOn() {
	fetch := penstock.Func("fetch", func(ctx context.Context, url string) (string, error) {
		if url == "broken.png" {
			return "", &BadImage{}
		}
		if penstock.Current(ctx).Number() == 1 {
			return "", fmt.Errorf("get %s: %w", url, &RateLimited{Wait: 10 * time.Millisecond})
		}
		return "fetched " + url, nil
	},
		penstock.RetryOn(func(e *RateLimited) penstock.Decision { return penstock.After(e.Wait) }),
		penstock.RetryOn(func(*BadImage) penstock.Decision { return penstock.Stop() }))
	c, end := inMemory(fetch)
	defer end()

	fmt.Println(fetch.Do(context.Background(), c, "cat.png"))

	_, err := fetch.Do(context.Background(), c, "broken.png")
	var failed *penstock.TaskError
	fmt.Println(errors.As(err, &failed), failed.State, failed.Failures, failed.Text)
	// Output:
	// fetched cat.png <nil>
	// true dead 1 bad image
}

// A handler can decide by itself.
func ExampleSnooze() {
	poll := penstock.Func("poll", func(ctx context.Context, _ string) (string, error) {
		a := penstock.Current(ctx)
		if a.Releases() < 2 {
			return "", penstock.Snooze(5 * time.Millisecond) // not there yet; no attempt is burnt
		}
		return fmt.Sprintf("attempt %d after %d failures", a.Number(), a.Failures()), nil
	}, penstock.MaxAttempts(1))
	c, end := inMemory(poll)
	defer end()
	fmt.Println(poll.Do(context.Background(), c, "upload-1"))
	// Output: attempt 1 after 0 failures <nil>
}

// A panic is a failure like any other, with its stack kept.
func ExampleTaskError() {
	careless := penstock.Func("careless", func(_ context.Context, i int) (int, error) {
		return []int{1, 2, 3}[i], nil
	}, penstock.MaxAttempts(2), penstock.Backoff(penstock.Fixed(time.Millisecond)))
	c, end := inMemory(careless)
	defer end()
	_, err := careless.Do(context.Background(), c, 3)
	var failed *penstock.TaskError
	if errors.As(err, &failed) {
		fmt.Println(failed.State, "after", failed.Failures, "failures")
		text, _, _ := strings.Cut(failed.Text, "\n") // the stack follows
		fmt.Println(text)
	}
	// Output:
	// dead after 2 failures
	// panic: runtime error: index out of range [3] with length 3
}
