package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/penstock-io/penstock"
)

// system is a running queue and a client of it: both in this process, or the
// server in one of its own over loopback.
type system struct {
	client *penstock.Client
	dir    string
	host   host
	remote bool
	closed bool
}

// host is the process that the server is in.
type host interface {
	usage() (usage, error)
	settled() (usage, error)
	close() error
}

// open starts a server on an empty folder.
func (e *env) open(ctx context.Context, loopback bool) (*system, error) {
	dir, err := e.newDir()
	if err != nil {
		return nil, err
	}
	return e.openAt(ctx, dir, loopback)
}

// newDir names a folder that is not there yet.
func (e *env) newDir() (string, error) {
	dir, err := os.MkdirTemp(e.dir, "data-*")
	return filepath.Join(dir, "penstock"), err
}

// openAt starts a server on a folder.
func (e *env) openAt(ctx context.Context, dir string, loopback bool) (*system, error) {
	return e.openWith(ctx, dir, loopback, settings{})
}

// openWith is openAt with settings.
func (e *env) openWith(ctx context.Context, dir string, loopback bool, set settings) (*system, error) {
	s := &system{dir: dir, remote: loopback}
	if !loopback {
		h, client, err := openHere(dir, set)
		if err != nil {
			return nil, err
		}
		s.host, s.client = h, client
		return s, nil
	}
	_, profile := e.profiles()
	c, err := startChild(ctx, dir, profile, set)
	if err != nil {
		return nil, err
	}
	s.host = c
	if s.client, err = penstock.Dial(ctx, c.url); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return s, nil
}

// stop ends client and server and leaves the folder. It may be called twice.
func (s *system) stop() error {
	if s.closed {
		return nil
	}
	s.closed = true
	var err error
	if s.remote {
		err = s.client.Close()
	}
	return errors.Join(err, s.host.close())
}

// close is stop, and the folder goes too.
func (s *system) close() error {
	return errors.Join(s.stop(), os.RemoveAll(s.dir))
}

// counter picks what a workload counts.
type counter func(penstock.QueueInfo) int64

func finished(q penstock.QueueInfo) int64 { return q.Succeeded }
func enqueued(q penstock.QueueInfo) int64 { return q.Enqueued }
func waiting(q penstock.QueueInfo) int64  { return q.Ready + q.Scheduled + q.Running }

// count asks the server for a count of the queue; one that is not there yet has
// seen nothing.
func (s *system) count(ctx context.Context, what counter) (int64, error) {
	qs, err := s.client.Queues(ctx, queueName)
	if errors.Is(err, penstock.ErrNotFound) || err == nil && len(qs) == 0 {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("count tasks: %w", err)
	}
	return what(qs[0]), nil
}

// counting is a probe of the server.
func (s *system) counting(what counter) probe { return s.countingBy(s.host.usage, what) }

// countingBy is counting, where read tells what the process has used.
func (s *system) countingBy(read probe, what counter) probe {
	return func() (usage, error) {
		u, err := read()
		if err != nil {
			return u, err
		}
		u.DiskBytes, u.Files = diskBytes(s.dir)
		ctx, cancel := context.WithTimeout(context.Background(), answerMax)
		defer cancel()
		u.Tasks, err = s.count(ctx, what)
		return u, err
	}
}

// clientUsage is a probe of this process, where the server is in another.
func (s *system) clientUsage() probe {
	if !s.remote {
		return nil
	}
	return func() (usage, error) { return selfUsage(), nil }
}

const (
	answerMax = 10 * time.Second // a server that takes longer to answer is broken
	awaitMax  = 2 * time.Minute  // without any progress
	awaitPoll = 5 * time.Millisecond
)

// await waits until the server has counted n tasks.
func (s *system) await(ctx context.Context, what counter, n int64) error {
	return awaitCount(ctx, n, func() (int64, error) { return s.count(ctx, what) })
}

// awaitCount polls count until it is n; it gives up when nothing moves.
func awaitCount(ctx context.Context, n int64, count func() (int64, error)) error {
	last, moved := int64(-1), time.Now()
	for {
		got, err := count()
		if err != nil || got >= n {
			return err
		}
		if got != last {
			last, moved = got, time.Now()
		}
		if time.Since(moved) > awaitMax {
			return fmt.Errorf("stuck at %d of %d tasks for %v", got, n, awaitMax)
		}
		if err := sleep(ctx, awaitPoll); err != nil {
			return err
		}
	}
}

// drained waits until all n tasks are finished and checks that none is left
// over: a rate that lost or doubled tasks is none.
func (s *system) drained(ctx context.Context, n int64) error {
	if err := s.await(ctx, finished, n); err != nil {
		return err
	}
	left, err := s.count(ctx, waiting)
	if err != nil {
		return err
	}
	done, err := s.count(ctx, finished)
	if err == nil && (left != 0 || done != n) {
		err = fmt.Errorf("%d tasks enqueued, %d finished, %d left", n, done, left)
	}
	return err
}
