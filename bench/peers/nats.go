package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var natsAlways = peer{
	name: "NATS JetStream, sync always", durable: true,
	durability: "fsync before the acknowledgement, one a message",
	tuning:     "sync_interval: always; finishes wait for their acknowledgement (DoubleAck)",
	start:      startNATS("always"),
}

var natsDefault = peer{
	name:       "NATS JetStream",
	durability: "fsync every 2 minutes (its default): a power cut loses what was acknowledged since",
	start:      startNATS(""),
}

const (
	natsSubject = "bench"
	natsWorkers = 64 // goroutines that handle
)

type natsSession struct {
	server  *process
	conn    *nats.Conn
	js      jetstream.JetStream
	durable bool
}

// natsProgram builds the server that this module pins; where that cannot be
// had, an installed one will do.
func natsProgram(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "nats-server")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err == nil {
		return path, nil
	}
	if installed, lookErr := program("nats-server", "/usr/sbin", "/usr/local/sbin"); lookErr == nil {
		return installed, nil
	}
	return "", fmt.Errorf("nats-server: %w, and building it: %s", errNotInstalled, tail(out, 200))
}

func startNATS(sync string) func(context.Context, string) (session, error) {
	return func(ctx context.Context, dir string) (session, error) {
		path, err := natsProgram(ctx, dir)
		if err != nil {
			return nil, err
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		conf := fmt.Sprintf("listen: %q\njetstream {\n store_dir: %q\n", loopback(port), filepath.Join(dir, "data"))
		if sync != "" {
			conf += " sync_interval: " + sync + "\n"
		}
		file := filepath.Join(dir, "nats.conf")
		if err := os.WriteFile(file, []byte(conf+"}\n"), 0o600); err != nil {
			return nil, err
		}
		server, err := startProcess(exec.Command(path, "-c", file))
		if err != nil {
			return nil, err
		}
		s := &natsSession{server: server, durable: sync == "always"}
		if err := server.ready(ctx, func(ctx context.Context) error { return s.connect(ctx, "nats://"+loopback(port)) }); err != nil {
			s.close()
			return nil, err
		}
		return s, nil
	}
}

func (s *natsSession) connect(ctx context.Context, url string) error {
	conn, err := nats.Connect(url)
	if err != nil {
		return err
	}
	js, err := jetstream.New(conn)
	if err == nil {
		_, err = js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: "BENCH", Subjects: []string{natsSubject},
			Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
		})
	}
	if err != nil {
		conn.Close()
		return err
	}
	s.conn, s.js = conn, js
	return nil
}

func (s *natsSession) enqueue(ctx context.Context, payload []byte) error {
	_, err := s.js.Publish(ctx, natsSubject, payload)
	return err
}

func (s *natsSession) enqueueMany(ctx context.Context, payloads [][]byte) error {
	acks := make([]jetstream.PubAckFuture, 0, len(payloads))
	for _, p := range payloads {
		f, err := s.js.PublishAsync(natsSubject, p)
		if err != nil {
			return err
		}
		acks = append(acks, f)
	}
	for _, f := range acks {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (s *natsSession) work(ctx context.Context, handle func([]byte)) error {
	c, err := s.js.CreateOrUpdateConsumer(ctx, "BENCH", jetstream.ConsumerConfig{
		Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
	})
	if err != nil {
		return err
	}
	tasks := make(chan jetstream.Msg, 1000)
	var wg sync.WaitGroup
	for range natsWorkers {
		wg.Go(func() {
			for m := range tasks {
				handle(m.Data())
				if s.durable {
					_ = m.DoubleAck(context.WithoutCancel(ctx))
				} else {
					_ = m.Ack()
				}
			}
		})
	}
	it, err := c.Consume(func(m jetstream.Msg) { tasks <- m }, jetstream.PullMaxMessages(2000))
	if err != nil {
		return err
	}
	<-ctx.Done()
	it.Drain()
	<-it.Closed()
	close(tasks)
	wg.Wait()
	return s.conn.Flush()
}

func (s *natsSession) close() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.server.stop(syscall.SIGTERM)
}
