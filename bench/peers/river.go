package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

var riverPostgres = peer{
	name: "River, PostgreSQL", durable: true,
	durability: "commit before the acknowledgement",
	tuning:     "1,000 workers, fetch cooldown 2 ms instead of 100 ms; PostgreSQL with 1 GB shared buffers, 4 GB of WAL",
	start:      startRiver,
}

const riverWorkers = 1000

// riverArgs is the payload as River wants it: a type with a kind.
type riverArgs struct {
	Payload json.RawMessage `json:"p"`
}

// Kind names the type.
func (riverArgs) Kind() string { return "bench" }

type riverWorker struct {
	river.WorkerDefaults[riverArgs]
	handle func([]byte)
}

// Work handles one.
func (w *riverWorker) Work(_ context.Context, j *river.Job[riverArgs]) error {
	w.handle(j.Args.Payload)
	return nil
}

type riverSession struct {
	server   *process
	pool     *pgxpool.Pool
	producer *river.Client[pgx.Tx]
}

func startRiver(ctx context.Context, dir string) (session, error) {
	const folders = "/usr/lib/postgresql/*/bin"
	initdb, err := program("initdb", folders)
	if err != nil {
		return nil, err
	}
	postgres, err := program("postgres", folders)
	if err != nil {
		return nil, err
	}
	as, err := otherUser("postgres", dir)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	init := exec.CommandContext(ctx, initdb, "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C")
	init.SysProcAttr, init.Dir = as, dir
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, tail(out, 400))
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(postgres, "-D", data, "-p", fmt.Sprint(port), "-h", "127.0.0.1", "-k", dir,
		"-c", "shared_buffers=1GB", "-c", "max_wal_size=4GB", "-c", "max_connections=200")
	cmd.SysProcAttr, cmd.Dir = as, dir
	server, err := startProcess(cmd)
	if err != nil {
		return nil, err
	}
	s := &riverSession{server: server}
	url := fmt.Sprintf("postgres://bench@%s/postgres?pool_max_conns=90", loopback(port))
	if err := server.ready(ctx, func(ctx context.Context) error { return s.connect(ctx, url) }); err != nil {
		s.close()
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *riverSession) connect(ctx context.Context, url string) error {
	pool, err := pgxpool.New(ctx, url)
	if err != nil {
		return err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return err
	}
	s.pool = pool
	return nil
}

func (s *riverSession) migrate(ctx context.Context) error {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	m, err := rivermigrate.New(riverpgxv5.New(s.pool), &rivermigrate.Config{Logger: quiet})
	if err != nil {
		return err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	s.producer, err = river.NewClient(riverpgxv5.New(s.pool), &river.Config{Logger: quiet})
	return err
}

func (s *riverSession) enqueue(ctx context.Context, payload []byte) error {
	_, err := s.producer.Insert(ctx, riverArgs{Payload: payload}, nil)
	return err
}

func (s *riverSession) enqueueMany(ctx context.Context, payloads [][]byte) error {
	params := make([]river.InsertManyParams, len(payloads))
	for i, p := range payloads {
		params[i].Args = riverArgs{Payload: p}
	}
	_, err := s.producer.InsertManyFast(ctx, params)
	return err
}

func (s *riverSession) work(ctx context.Context, handle func([]byte)) error {
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{handle: handle})
	c, err := river.NewClient(riverpgxv5.New(s.pool), &river.Config{
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: riverWorkers}},
		Workers:           workers,
		FetchCooldown:     2 * time.Millisecond,
		FetchPollInterval: 50 * time.Millisecond,
		Logger:            slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	if err := c.Start(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopMax)
	defer cancel()
	if err := c.Stop(stop); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (s *riverSession) close() {
	if s.pool != nil {
		s.pool.Close()
	}
	s.server.stop(syscall.SIGINT) // fast shutdown
}
