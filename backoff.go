package penstock

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	pauseFirst = 50 * time.Millisecond
	pauseMax   = 2 * time.Second
)

// retryPause is the waits between tries to reach a server: they double up to
// pauseMax, and are drawn from the upper half so that the many clients of a
// server that comes back do not come at once.
type retryPause struct{ next time.Duration }

func (p *retryPause) draw() time.Duration {
	if p.next == 0 {
		p.next = pauseFirst
	}
	d := p.next/2 + rand.N(p.next/2)
	p.next = min(2*p.next, pauseMax)
	return d
}

func (p *retryPause) reset() { p.next = 0 }

// sleep waits for the next pause, or returns why it did not.
func (p *retryPause) sleep(ctx context.Context, closed <-chan struct{}) error {
	t := time.NewTimer(p.draw())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-closed:
		return errClosed
	}
}
