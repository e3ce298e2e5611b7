// Package media is what producers and workers of this example share: the types
// of tasks, their inputs and results, and how they are tried. It holds none of
// the workers' code, so that a producer links none of it.
package media

import (
	"fmt"
	"time"

	"github.com/penstock-io/penstock"
)

// Resize asks for a picture of at most Width pixels.
type Resize struct {
	URL   string
	Width int
}

// Resized is a PNG picture.
type Resized struct {
	Width, Height int
	PNG           []byte
}

// RateLimited says that the picture's host wants to be left alone for a while.
type RateLimited struct{ Wait time.Duration }

// Error tells for how long.
func (e *RateLimited) Error() string { return fmt.Sprintf("rate limited for %v", e.Wait) }

// BadImage says that there is no picture there, and never will be.
type BadImage struct{ Why string }

// Error tells why.
func (e *BadImage) Error() string { return "not a picture: " + e.Why }

// ResizeImage is the type of task. The options are its defaults; a call may
// override them.
var ResizeImage = penstock.Define[Resize, Resized]("image.resize",
	penstock.Queue("media"), penstock.MaxAttempts(8), penstock.Timeout(time.Minute),
	penstock.Backoff(penstock.Exponential(2*time.Second, 5*time.Minute)),
	penstock.RetryOn(func(e *RateLimited) penstock.Decision { return penstock.After(e.Wait) }),
	penstock.RetryOn(func(*BadImage) penstock.Decision { return penstock.Stop() }),
)
