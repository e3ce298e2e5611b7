package main

import (
	"context"
	"errors"
	"time"
)

// peer is another queue in one configuration.
type peer struct {
	name       string
	durable    bool   // fsynced before an enqueue is acknowledged
	durability string // what its acknowledgement means
	tuning     string // what was changed from its defaults
	start      func(ctx context.Context, dir string) (session, error)
}

// session is a running server and a client of it.
type session interface {
	// enqueue adds one task and returns when the server has acknowledged it. It
	// is called from many goroutines at once.
	enqueue(ctx context.Context, payload []byte) error
	// enqueueMany does the same for many, by the quickest way that there is;
	// errNoBulk says that there is none.
	enqueueMany(ctx context.Context, payloads [][]byte) error
	// work hands tasks to handle and acknowledges them until ctx ends. It
	// returns when nothing is in flight any more.
	work(ctx context.Context, handle func(payload []byte)) error
	// close stops the client and the server, and waits for both.
	close()
}

var (
	errNotInstalled = errors.New("not installed")
	errNoBulk       = errors.New("no call for many tasks")
)

// concurrency is how many handlers a worker runs at once, unless a peer wants
// more.
const concurrency = 256

// timing says how long to measure.
type timing struct{ warm, window time.Duration }

// allPeers, as durable as they can be first.
var allPeers = []peer{
	natsAlways, rabbitQuorum, riverPostgres, beanstalkAlways, asynqAlways,
	natsDefault, beanstalkDefault, asynqEverysec,
}
