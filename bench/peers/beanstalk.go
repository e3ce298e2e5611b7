package main

import (
	"context"
	"errors"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/beanstalkd/go-beanstalk"
)

var beanstalkAlways = peer{
	name: "beanstalkd -f 0", durable: true,
	durability: "fsync before the acknowledgement, one a command",
	start:      startBeanstalk("-f", "0"),
}

var beanstalkDefault = peer{
	name:       "beanstalkd -f 50",
	durability: "fsync at most every 50 ms, after the acknowledgement (its default)",
	start:      startBeanstalk("-f", "50"),
}

const beanstalkWorkers = 64 // connections that reserve

type beanstalkSession struct {
	server *process
	addr   string
	conns  chan *beanstalk.Conn // idle producers
}

func startBeanstalk(fsync ...string) func(context.Context, string) (session, error) {
	return func(ctx context.Context, dir string) (session, error) {
		path, err := program("beanstalkd")
		if err != nil {
			return nil, err
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		server, err := startProcess(exec.Command(path, append([]string{"-l", "127.0.0.1", "-p", strconv.Itoa(port), "-b", dir}, fsync...)...))
		if err != nil {
			return nil, err
		}
		s := &beanstalkSession{server: server, addr: loopback(port), conns: make(chan *beanstalk.Conn, 1024)}
		err = server.ready(ctx, func(context.Context) error {
			c, err := beanstalk.DialTimeout("tcp", s.addr, time.Second)
			if err == nil {
				s.conns <- c
			}
			return err
		})
		if err != nil {
			s.close()
			return nil, err
		}
		return s, nil
	}
}

// producer takes an idle connection or makes one: a connection carries one
// command at a time.
func (s *beanstalkSession) producer() (*beanstalk.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	default:
		return beanstalk.Dial("tcp", s.addr)
	}
}

func (s *beanstalkSession) enqueue(_ context.Context, payload []byte) error {
	c, err := s.producer()
	if err != nil {
		return err
	}
	if _, err := c.Put(payload, 1024, 0, time.Minute); err != nil {
		_ = c.Close()
		return err
	}
	s.conns <- c
	return nil
}

func (s *beanstalkSession) enqueueMany(context.Context, [][]byte) error { return errNoBulk }

func (s *beanstalkSession) work(ctx context.Context, handle func([]byte)) error {
	var wg sync.WaitGroup
	errs := make([]error, beanstalkWorkers)
	for i := range beanstalkWorkers {
		c, err := beanstalk.Dial("tcp", s.addr)
		if err != nil {
			return err
		}
		wg.Go(func() {
			defer c.Close()
			for ctx.Err() == nil {
				id, body, err := c.Reserve(200 * time.Millisecond)
				if errors.Is(err, beanstalk.ErrTimeout) {
					continue
				}
				if err == nil {
					handle(body)
					err = c.Delete(id)
				}
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *beanstalkSession) close() {
	for len(s.conns) > 0 {
		_ = (<-s.conns).Close()
	}
	s.server.stop(syscall.SIGTERM)
}
