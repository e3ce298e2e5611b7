package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// A dial whose first packet was lost hangs for as long as the kernel sends none
// again: one second, two, four.
func TestDialInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		up := began.Add(2500 * time.Millisecond)
		var tries []time.Duration
		dial := func(ctx context.Context) (net.Conn, error) {
			tries = append(tries, time.Since(began))
			if time.Now().After(up) {
				c, _ := net.Pipe()
				return c, nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ctx, cancel := context.WithTimeout(t.Context(), dialDefault)
		defer cancel()
		c, err := dialInTurns(ctx, dial)
		if err != nil || c == nil || !slices.Equal(tries, []time.Duration{0, time.Second, 3 * time.Second}) {
			t.Errorf("%v, tries at %v", err, tries)
		}
		refused := errors.New("refused")
		tries = nil
		_, err = dialInTurns(ctx, func(context.Context) (net.Conn, error) {
			tries = append(tries, 0)
			return nil, refused
		})
		if err != refused || len(tries) != 1 {
			t.Errorf("a refusal: %v after %d tries", err, len(tries))
		}
		began, tries, up = time.Now(), nil, began.Add(time.Hour)
		if _, err := dialInTurns(ctx, dial); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the end of the time: %v", err)
		}
	})
}

// Who has leases tries again in a small part of their TTL, for as long as they may
// be good; who has none, ever more rarely.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Conn{sessions: map[uint32]*session{}, lostAt: time.Now()}
		add := func(n int, ttl time.Duration, held int) {
			s := &session{c: c, opts: task.SessionOptions{TTL: task.Millis(ttl / time.Millisecond)}, leases: map[leaseKey]task.Token{}}
			for i := range held {
				s.leases[leaseKey{dispatch: uint32(i)}] = task.Token{}
			}
			c.sessions[uint32(n)] = s
		}
		want := func(after, most time.Duration) {
			t.Helper()
			<-time.After(after - time.Since(c.lostAt))
			for range 100 {
				if d := c.nextPause(); d < most/2 || d > most {
					t.Fatalf("after %v: a pause of %v, want up to %v", after, d, most)
				}
			}
		}
		want(0, pauseMin)
		want(4*time.Second, time.Second)
		want(time.Minute, pauseMax)
		c.lostAt = time.Now()
		add(1, 10*time.Minute, 0)
		want(time.Minute, pauseMax)
		c.lostAt = time.Now()
		add(2, 0, 1)
		want(0, pauseMin)
		want(5*time.Second, 200*time.Millisecond)
		want(10*time.Second, 2500*time.Millisecond) // all is over
		add(3, 10*time.Minute, 5)
		want(9*time.Minute, pauseBusyMax)
		want(10*time.Minute, pauseMax)
		c.lostAt = time.Now()
		add(4, time.Second, 1)
		want(0, pauseBusyMin)
	})
}

// What a person is told is why the server could not be reached, and not that the
// last try was cut short because the time was up.
func TestCutShortTellsNothing(t *testing.T) {
	tries := 0
	ctx, cancel := context.WithCancel(context.Background())
	c := &Conn{addr: "127.0.0.1:1", o: Options{Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
		if tries++; tries == 1 {
			return nil, syscall.ECONNREFUSED
		}
		cancel()
		return nil, &net.OpError{Op: "dial", Err: ctx.Err()}
	}}}
	for range 2 {
		if _, err := c.dial(ctx, c.addr); err == nil {
			t.Fatal("it connects")
		}
		c.dialed = time.Time{}
	}
	if err := c.explain(ctx.Err()); !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
}
