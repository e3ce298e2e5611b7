package client

import (
	"context"
	"math/rand/v2"
	"net"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// How a lost server is looked for. While a session of this connection has leases
// that are still good, the tries follow each other so closely that the time between
// two is a small part of the TTL, and well below the second or more that a server
// waits for workers after its start. Without leases, or once they are over, they
// become as rare as the outage is long.
const (
	pauseMin     = 50 * time.Millisecond
	pauseMax     = 3 * time.Second
	pausesTTL    = 50 // in a session's TTL, while it has leases
	pauseBusyMin = 20 * time.Millisecond
	pauseBusyMax = 500 * time.Millisecond
	pauseShare   = 4 // of how long the server has been away
	dialOnce     = time.Second
)

// jitter spreads pauses, so that the many clients of one server do not come back
// together. It only shortens them.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// pauseLimit is the longest pause between two tries for now; c.mu is held.
func (c *Conn) pauseLimit() time.Duration {
	limit := pauseMax
	away := time.Duration(0)
	if c.link == nil {
		away = time.Since(c.lostAt)
	}
	for _, s := range c.sessions {
		ttl := time.Duration(s.opts.TTL) * time.Millisecond
		if ttl == 0 {
			ttl = time.Duration(task.DefaultSessionTTL) * time.Millisecond
		}
		if away < ttl && s.holds() {
			limit = min(limit, max(pauseBusyMin, min(ttl/pausesTTL, pauseBusyMax)))
		}
	}
	return limit
}

// holds says whether the session has leases, or outcomes that are unanswered; c.mu
// is held.
func (s *session) holds() bool {
	s.leaseMu.Lock()
	n := len(s.leases)
	s.leaseMu.Unlock()
	return n+s.c.reports.n+len(s.c.outcomes) > 0
}

// nextPause is how long to wait before the server is tried again.
func (c *Conn) nextPause() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return jitter(min(max(pauseMin, time.Since(c.lostAt)/pauseShare), c.pauseLimit()))
}

// pause waits before the next try. False: there is none.
func (c *Conn) pause() bool {
	wait(c.ctx, c.nextPause())
	return !c.over() && c.ctx.Err() == nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// reconnect opens the next link.
func (c *Conn) reconnect() (*link, error) {
	ctx, cancel := context.WithTimeout(c.ctx, connectMax)
	defer cancel()
	return c.connect(ctx, true)
}

// pace puts the pauses between the beginnings of dials. gRPC, which asks for them, knows one back-off
// for all times, and to cut it short (ResetConnectBackoff) is a race in it.
func (c *Conn) pace(ctx context.Context) error {
	c.mu.Lock()
	last := c.dialed
	c.mu.Unlock()
	if d := time.Until(last.Add(c.nextPause())); d > 0 && !last.IsZero() {
		wait(ctx, d)
	}
	return ctx.Err()
}

// dialTCP tries again beside the kernel, which sends a first packet that was lost
// again after one second, three and seven: a server that is back would be found late.
func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return dialInTurns(ctx, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	})
}

// dialInTurns gives each try twice the time of the last, until ctx ends.
func dialInTurns(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	for limit := dialOnce; ; limit *= 2 {
		try, cancel := context.WithTimeout(ctx, limit)
		conn, err := dial(try)
		late := try.Err() != nil
		cancel()
		if err == nil || !late || ctx.Err() != nil {
			return conn, err
		}
	}
}
