package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/metrics"
	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
	"github.com/penstock-io/penstock/internal/task"
)

// Server is an open queue. Make it with Open, end it with Close.
type Server struct {
	cfg     Config
	log     *slog.Logger
	store   store.Store
	engine  *engine // the same, when it is ours; nil = another engine
	node    *node.Node
	metrics *metrics.Metrics
	client  *penstock.Client

	inspector inspector // the node, once it is there, for metrics that count from before

	front *handler.Server // nil: HTTP is not set
	ln    net.Listener
	admin *http.Server // nil: Admin is not set
	ops   net.Listener

	serving sync.WaitGroup
	failed  chan error // why a listener ended by itself; holds one
	closing sync.Once
	closed  chan struct{} // closed when Close has begun
	err     error         // of closing
}

// Open opens the queue in cfg.Dir and, when cfg.HTTP is set, listens. It returns
// once tasks are accepted. An error says what to do about it, and leaves nothing
// open.
func Open(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, log: cfg.Logger, failed: make(chan error, 1), closed: make(chan struct{})}
	s.metrics = metrics.New(metrics.Options{Inspector: &s.inspector, Version: cfg.Version, Engine: s.readings})
	for _, step := range []func() error{s.openStore, s.listen, s.openNode, s.serve} {
		if err := step(); err != nil {
			return nil, errors.Join(err, s.abandon())
		}
	}
	s.log.Info("penstock is serving", "folder", cfg.Dir, "url", s.url("0.0.0.0", "::"), "version", cfg.Version)
	return s, nil
}

func (s *Server) openStore() error {
	switch {
	case s.cfg.Store != nil:
		s.store = s.cfg.Store
	case s.cfg.Mem:
		s.store = store.NewMem(store.MemOptions{})
	default:
		st, err := openEngine(s.cfg.Dir, pebblestore.Options{LowBytes: uint64(s.cfg.DiskLow), HardBytes: uint64(s.cfg.DiskHard), Log: s.log}, s.log)
		if err != nil {
			return err
		}
		s.store, s.engine = st, st
	}
	return nil
}

// inspector is a task.Inspector that is filled in later.
type inspector struct{ task.Inspector }

// openNode reads what the folder holds and begins to serve it.
func (s *Server) openNode() error {
	ctx := context.Background()
	partitions, err := settlePartitions(ctx, s.store, s.cfg.Name, s.cfg.Partitions)
	if err != nil {
		return fmt.Errorf("open %s: %w", s.where(), err)
	}
	payloads := s.cfg.Memory * payloadPercent / 100
	c := node.Config{
		Store: s.store, Name: s.cfg.Name, Version: s.cfg.Version, Storage: s.where(), Partitions: partitions,
		WindowTasks: int((s.cfg.Memory - payloads) / slotBytes), CacheBytes: payloads,
		HistoryBytes: s.cfg.HistoryBytes, IdemBytes: s.cfg.IdempotencyBytes,
		QueueIdle: task.Millis(max(0, s.cfg.QueueIdle.Milliseconds())),
		Observe:   s.observe, Log: s.log, Check: s.cfg.Check,
	}
	if s.cfg.Now != nil {
		c.Now = func() task.Time { return task.Time(s.cfg.Now().UnixMilli()) }
	}
	if s.engine != nil {
		c.StorageFault = s.engine.Dead
		c.Damaged, c.Doctor = s.engine.condemn, "penstock doctor --data "+s.cfg.Dir
		c.StorageBytes = func() int64 { return int64(s.engine.Metrics().DiskBytes) }
	}
	if s.node, err = node.Open(ctx, c); err != nil {
		return fmt.Errorf("open %s: %w", s.where(), err)
	}
	s.inspector.Inspector = s.node
	if s.engine != nil {
		s.engine.tell(s.condemn)
	}
	return nil
}

// condemn ends the service: the store has found the data damaged, or the folder
// gone, and says of that what to do.
func (s *Server) condemn(why error) {
	s.node.Condemn(why, store.Remedy(why, "the data are damaged, so nothing is served any more: stop the server and run penstock doctor --data "+s.cfg.Dir))
}

// where names the data in errors and to people.
func (s *Server) where() string {
	if s.engine != nil {
		return "data folder " + s.cfg.Dir
	}
	return "the queue in memory"
}

// listen binds the addresses before data are read, so that a port in use is told
// at once; who connects meanwhile is served when all is ready.
func (s *Server) listen() error {
	bind := func(what, addr string) (net.Listener, error) {
		if addr == "" {
			return nil, nil
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w: stop what listens there, or choose another %s address", addr, err, what)
		}
		return ln, nil
	}
	var err error
	if s.ln, err = bind("HTTP", s.cfg.HTTP); err != nil {
		return err
	}
	s.ops, err = bind("Admin", s.cfg.Admin)
	return err
}

// abandon undoes what Open has done so far.
func (s *Server) abandon() error {
	var errs []error
	for _, ln := range []net.Listener{s.ln, s.ops} {
		if ln != nil {
			errs = append(errs, ln.Close())
		}
	}
	if s.node != nil {
		errs = append(errs, s.node.Close(context.Background()))
	}
	return errors.Join(append(errs, s.closeStore())...)
}

func (s *Server) closeStore() error {
	if s.store == nil || s.cfg.Store != nil {
		return nil
	}
	return s.store.Close()
}

// serve opens the front door.
func (s *Server) serve() error {
	s.client = penstock.NewClient(s.node, s.node)
	if s.ln != nil {
		pages := http.NewServeMux()
		pages.Handle("GET /metrics", s.metrics.Handler())
		front, err := handler.New(handler.Options{
			Broker: s.node, Inspector: s.node, Version: s.cfg.Version, Token: s.cfg.Token, TLS: s.cfg.TLS, Logger: s.log,
			HTTP: pages, Ready: s.checks, Observe: s.metrics.RPC, BodyBytes: s.cfg.BodyBytes,
		})
		if err != nil {
			return err
		}
		s.front = front
		s.metrics.Bodies(front.Bodies)
		s.run("HTTP", func() error { return front.Serve(s.ln) })
	}
	if s.ops != nil {
		s.admin = &http.Server{Handler: adminMux(s.metrics.Handler()), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
		s.run("Admin", func() error { return s.admin.Serve(s.ops) })
	}
	return nil
}

// run serves one listener until Close. An end before that is remembered for
// Serve.
func (s *Server) run(what string, serve func() error) {
	s.serving.Go(func() {
		err := serve()
		select {
		case <-s.closed:
			return
		default:
		}
		if err == nil || errors.Is(err, http.ErrServerClosed) {
			err = errors.New("it was closed")
		}
		err = fmt.Errorf("serve the %s address: %w", what, err)
		s.log.Error("a listener has ended: no calls come in by it", "error", err)
		select {
		case s.failed <- err:
		default:
		}
	})
}

// Client is a client of this server without a network between. It is the same
// one at every call, and ends with Close.
func (s *Server) Client() *penstock.Client { return s.client }

// URL is what clients in other processes dial; "" when HTTP is not set. A server
// that listens on every address is dialed on loopback.
func (s *Server) URL() string { return s.url("127.0.0.1", "::1") }

func (s *Server) url(v4, v6 string) string {
	if s.ln == nil {
		return ""
	}
	scheme := "http://"
	if s.cfg.TLS != nil {
		scheme = "https://"
	}
	return scheme + hostPort(s.cfg.HTTP, s.ln.Addr().String(), v4, v6)
}

// hostPort is the address that is bound, with v4 or v6 in the place of one that
// stands for all: Go binds [::] for 0.0.0.0 too, so what was asked for decides.
func hostPort(asked, bound, v4, v6 string) string {
	host, port, err := net.SplitHostPort(bound)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return bound
	}
	if host, _, _ := net.SplitHostPort(asked); strings.Contains(host, ":") {
		return net.JoinHostPort(v6, port)
	}
	return net.JoinHostPort(v4, port)
}

// AdminURL is where profiles are; "" when Admin is not set.
func (s *Server) AdminURL() string {
	if s.ops == nil {
		return ""
	}
	return "http://" + s.ops.Addr().String()
}

// Metrics serves a scrape, for programs that have a port of their own.
func (s *Server) Metrics() http.Handler { return s.metrics.Handler() }

// Tick makes the queue look at a clock that was moved by hand (Config.Now).
func (s *Server) Tick() { s.node.Tick() }

// Serve waits until ctx ends or a listener fails, then closes the server. It is
// all that a program which only serves has to call after Open.
func (s *Server) Serve(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return s.Close()
	case <-s.closed:
		return s.Close()
	case err := <-s.failed:
		return errors.Join(err, s.Close())
	}
}

// Close drains: no new calls, those in progress get Config.DrainTimeout, tasks
// that workers in this process still run are handed back without blame, and the
// queue is left so that the next opening knows all. Further calls wait for the
// first and return what it returned.
func (s *Server) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		ctx, cancel := context.WithTimeout(context.Background(), s.cfg.DrainTimeout)
		defer cancel()
		s.err = s.shutdown(ctx)
		s.log.Info("penstock has stopped", "folder", s.cfg.Dir)
	})
	return s.err
}

func (s *Server) shutdown(ctx context.Context) error {
	var errs []error
	if s.front != nil {
		if err := s.front.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, fmt.Errorf("drain calls: %w", err))
		}
	}
	if err := s.node.Close(ctx); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, s.client.Close())
	if s.admin != nil {
		errs = append(errs, s.admin.Close())
	}
	s.serving.Wait()
	if err := s.closeStore(); err != nil {
		errs = append(errs, fmt.Errorf("close the data folder: %w", err))
	}
	return errors.Join(errs...)
}
