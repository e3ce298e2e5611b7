package main

import (
	"context"
	"errors"
	"io"
	"log"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

var asynqAlways = peer{
	name: "asynq, Redis AOF always", durable: true,
	durability: "fsync before the acknowledgement",
	tuning:     "checks for tasks every 5 ms instead of 1 s",
	start:      startAsynq("always"),
}

var asynqEverysec = peer{
	name:       "asynq, Redis AOF everysec",
	durability: "fsync once a second: the last second can be lost",
	tuning:     "checks for tasks every 5 ms instead of 1 s",
	start:      startAsynq("everysec"),
}

const asynqType = "bench"

type asynqSession struct {
	server *process
	redis  asynq.RedisClientOpt
	client *asynq.Client
}

func startAsynq(fsync string) func(context.Context, string) (session, error) {
	return func(ctx context.Context, dir string) (session, error) {
		path, err := program("redis-server")
		if err != nil {
			return nil, err
		}
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		server, err := startProcess(exec.Command(path, "--bind", "127.0.0.1", "--port", strconv.Itoa(port),
			"--dir", dir, "--save", "", "--appendonly", "yes", "--appendfsync", fsync))
		if err != nil {
			return nil, err
		}
		s := &asynqSession{server: server, redis: asynq.RedisClientOpt{Addr: loopback(port), PoolSize: 128}}
		ping := redis.NewClient(&redis.Options{Addr: loopback(port)})
		defer ping.Close()
		if err := server.ready(ctx, func(ctx context.Context) error { return ping.Ping(ctx).Err() }); err != nil {
			s.close()
			return nil, err
		}
		s.client = asynq.NewClient(s.redis)
		return s, nil
	}
}

func (s *asynqSession) enqueue(ctx context.Context, payload []byte) error {
	_, err := s.client.EnqueueContext(ctx, asynq.NewTask(asynqType, payload))
	return err
}

func (s *asynqSession) enqueueMany(context.Context, [][]byte) error { return errNoBulk }

func (s *asynqSession) work(ctx context.Context, handle func([]byte)) error {
	srv := asynq.NewServer(s.redis, asynq.Config{
		Concurrency:       concurrency,
		TaskCheckInterval: 5 * time.Millisecond,
		Logger:            silentAsynq{},
		LogLevel:          asynq.FatalLevel,
	})
	err := srv.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		handle(t.Payload())
		return nil
	}))
	if err != nil {
		return err
	}
	<-ctx.Done()
	srv.Shutdown()
	return nil
}

func (s *asynqSession) close() {
	if s.client != nil {
		_ = s.client.Close()
	}
	s.server.stop(syscall.SIGTERM)
}

// silentAsynq drops what asynq says about its own shutdown.
type silentAsynq struct{}

func (silentAsynq) Debug(...any) {}
func (silentAsynq) Info(...any)  {}
func (silentAsynq) Warn(...any)  {}
func (silentAsynq) Error(...any) {}
func (silentAsynq) Fatal(args ...any) {
	log.New(io.Discard, "", 0).Print(args...)
	panic(errors.New("asynq gave up"))
}
