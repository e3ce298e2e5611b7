package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"
)

var rabbitQuorum = peer{
	name: "RabbitMQ quorum queue", durable: true,
	durability: "fsync before the confirmation, many messages a fsync; finishes are not confirmed",
	tuning:     "one node, prefetch 1,000, 8 channels of producers",
	start:      startRabbit,
}

const (
	rabbitQueue    = "bench"
	rabbitChannels = 8
	rabbitPrefetch = 1000
	rabbitWorkers  = 64
)

type rabbitSession struct {
	epmd, server *process
	conn         *amqp.Connection
	producers    []*amqp.Channel
	next         atomic.Uint32
}

// startRabbit starts a broker and a port mapper of its own, so that it meets no
// other Erlang node of this machine.
func startRabbit(ctx context.Context, dir string) (session, error) {
	path, err := program("rabbitmq-server", "/usr/lib/rabbitmq/bin", "/usr/sbin")
	if err != nil {
		return nil, err
	}
	if inner := "/usr/lib/rabbitmq/bin/rabbitmq-server"; isFile(inner) {
		path = inner // the one on the path changes to a user of its own
	}
	epmdPath, err := program("epmd", "/usr/lib/erlang/erts-*/bin")
	if err != nil {
		return nil, err
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	s := &rabbitSession{}
	s.epmd, err = startProcess(exec.Command(epmdPath, "-port", strconv.Itoa(ports[0]), "-address", "127.0.0.1"))
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(),
		"HOME="+dir,
		"ERL_EPMD_PORT="+strconv.Itoa(ports[0]),
		"RABBITMQ_NODENAME=bench"+strconv.Itoa(ports[1])+"@localhost",
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT="+strconv.Itoa(ports[1]),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(ports[2]),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(dir, "data"),
		"RABBITMQ_LOG_BASE="+filepath.Join(dir, "log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "rabbitmq"),
		"RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"),
	)
	if s.server, err = startProcess(cmd); err != nil {
		s.close()
		return nil, err
	}
	url := fmt.Sprintf("amqp://guest:guest@%s/", loopback(ports[1]))
	if err := s.server.ready(ctx, func(context.Context) error { return s.connect(url) }); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func (s *rabbitSession) connect(url string) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	s.conn = conn
	s.producers = nil
	for range rabbitChannels {
		ch, err := conn.Channel()
		if err == nil {
			err = ch.Confirm(false)
		}
		if err != nil {
			return errors.Join(err, conn.Close())
		}
		s.producers = append(s.producers, ch)
	}
	_, err = s.producers[0].QueueDeclare(rabbitQueue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"})
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	return nil
}

func (s *rabbitSession) publish(ctx context.Context, payload []byte) (*amqp.DeferredConfirmation, error) {
	ch := s.producers[s.next.Add(1)%rabbitChannels]
	return ch.PublishWithDeferredConfirmWithContext(ctx, "", rabbitQueue, false, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: payload})
}

func (s *rabbitSession) enqueue(ctx context.Context, payload []byte) error {
	c, err := s.publish(ctx, payload)
	if err != nil {
		return err
	}
	return confirmed(ctx, c)
}

func confirmed(ctx context.Context, c *amqp.DeferredConfirmation) error {
	ok, err := c.WaitContext(ctx)
	if err == nil && !ok {
		err = errors.New("the broker refused a message")
	}
	return err
}

func (s *rabbitSession) enqueueMany(ctx context.Context, payloads [][]byte) error {
	confirms := make([]*amqp.DeferredConfirmation, 0, len(payloads))
	for _, p := range payloads {
		c, err := s.publish(ctx, p)
		if err != nil {
			return err
		}
		confirms = append(confirms, c)
	}
	for _, c := range confirms {
		if err := confirmed(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (s *rabbitSession) work(ctx context.Context, handle func([]byte)) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.Qos(rabbitPrefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(rabbitQueue, "worker", false, false, false, false, nil)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, rabbitWorkers)
	for i := range rabbitWorkers {
		wg.Go(func() {
			for d := range deliveries {
				handle(d.Body)
				if err := d.Ack(false); err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	<-ctx.Done()
	err = ch.Cancel("worker", false)
	wg.Wait()
	return errors.Join(append(errs, err)...)
}

func (s *rabbitSession) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.server.stop(syscall.SIGTERM)
	s.epmd.stop(syscall.SIGTERM)
}
