// Package client is task.Broker and task.Inspector over the network: one
// session stream for what is hot, unary calls for the rest. It decides nothing:
// what the broker answers, its caller gets, over any number of reconnects.
package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"log/slog"
	"math"
	"net"
	neturl "net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const (
	dialDefault   = 5 * time.Second
	sendBytesMax  = 32 << 20      // what a server takes
	recvBytesMax  = math.MaxInt32 // a page of results may be as large as its caller asked for
	windowBytes   = 4 << 20
	keepalive10s  = 10 * time.Second
	closeFlushMax = 5 * time.Second // Close waits so long for answers
)

// Conn is a connection to one server. It reconnects by itself until Close.
//
// One goroutine, run, owns the stream: it connects, takes what callers have
// left in pending, sends it, and when the stream breaks does it all again with
// what is unanswered first. Another one receives while a stream lives. Callers
// only ever append to pending under mu.
type Conn struct {
	o        Options
	log      *slog.Logger
	addr     string
	producer string
	cc       *grpc.ClientConn

	tasks   pb.TaskServiceClient
	workers pb.WorkerServiceClient
	queues  pb.QueueServiceClient
	nodes   pb.NodeServiceClient
	stream  pb.SessionServiceClient

	ctx    context.Context // ends when the connection is cut
	cancel context.CancelFunc
	done   chan struct{} // run has returned
	wg     sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond // run waits for pending
	settled sync.Cond // Close waits for answers
	idle    bool
	closed  bool // no more calls
	ending  bool // run may end
	link    *link
	lostAt  time.Time // when the last link ended, or the connection was made without one
	dialErr error     // of the last dial
	dialed  time.Time // when that began
	welcome *pb.Welcome

	clock     time.Time // to the second
	fresh     []waitingBatch
	waiting   int // bytes in fresh
	sent      int // bytes unanswered,
	sentTasks int // and tasks
	lanes     map[laneKey]*lane
	lastLane  uint64 // names lanes
	groups    table[*group]
	spare     [][]member // of groups that were answered

	outcomes []*report
	parked   []*outcomeGroup // to be sent again
	reports  table[*outcomeGroup]

	lastSession uint32
	sessions    map[uint32]*session
	lastWatch   uint64
	watches     map[uint64]*watching
	control     control
}

// Dial connects to the server at url, such as http://localhost:7070.
func Dial(ctx context.Context, url string, o Options) (*Conn, error) {
	addr, secure, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	c := &Conn{o: o, log: o.Logger, addr: addr, producer: rand.Text()[:16], done: make(chan struct{}),
		lanes: map[laneKey]*lane{}, sessions: map[uint32]*session{}, watches: map[uint64]*watching{}}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.work.L, c.settled.L = &c.mu, &c.mu
	c.clock = time.Now()
	c.lostAt = c.clock
	if c.cc, err = grpc.NewClient("passthrough:///"+addr, c.dialOptions(secure)...); err != nil {
		return nil, task.Errorf(task.Invalid, "address %q: %v", url, err)
	}
	c.tasks, c.workers = pb.NewTaskServiceClient(c.cc), pb.NewWorkerServiceClient(c.cc)
	c.queues, c.nodes, c.stream = pb.NewQueueServiceClient(c.cc), pb.NewNodeServiceClient(c.cc), pb.NewSessionServiceClient(c.cc)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	var first *link
	if !o.Lazy {
		wait := o.DialTimeout
		if wait == 0 {
			wait = dialDefault
		}
		dctx, stop := context.WithTimeout(ctx, wait)
		first, err = c.connect(dctx, false)
		stop()
		if err != nil {
			c.cancel()
			_ = c.cc.Close()
			return nil, c.explain(err)
		}
	}
	go c.run(first)
	return c, nil
}

func (c *Conn) dialOptions(secure bool) []grpc.DialOption {
	creds := insecure.NewCredentials()
	if secure {
		cfg := c.o.TLS.Clone()
		if cfg == nil {
			cfg = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		creds = credentials.NewTLS(cfg)
	}
	name := c.o.Name
	if name == "" {
		name = "penstock-go"
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithUserAgent(name),
		grpc.WithContextDialer(c.dial),
		grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(2 * windowBytes),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepalive10s, Timeout: keepalive10s / 2, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{ // when to try again is for pace to say
			Backoff:           backoff.Config{BaseDelay: time.Millisecond, Multiplier: 1, MaxDelay: time.Millisecond},
			MinConnectTimeout: pauseMax + dialDefault,
		}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(codec.Codec{}), grpc.MaxCallRecvMsgSize(recvBytesMax), grpc.MaxCallSendMsgSize(sendBytesMax)),
		grpc.WithDisableServiceConfig(), grpc.WithNoProxy(), grpc.WithIdleTimeout(0),
	}
	if c.o.Token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(c.o.Token)))
	}
	return opts
}

// bearer sends the token with every call. Whether it may travel in clear text
// is the business of who gave the address.
type bearer string

// GetRequestMetadata is the header.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity says no.
func (bearer) RequireTransportSecurity() bool { return false }

func (c *Conn) dial(ctx context.Context, addr string) (net.Conn, error) {
	dial := c.o.Dialer
	if dial == nil {
		dial = dialTCP
	}
	if err := c.pace(ctx); err != nil {
		return nil, err
	}
	began := time.Now()
	conn, err := dial(ctx, addr)
	c.mu.Lock()
	if c.dialed = began; !errors.Is(err, context.Canceled) || c.dialErr == nil { // one that we have cut short tells nothing
		c.dialErr = err
	}
	c.mu.Unlock()
	return conn, err
}

// parseURL takes http://host:port, https://host:port and host:port.
func parseURL(s string) (addr string, secure bool, err error) {
	text := s
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := neturl.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", false, task.Errorf(task.Invalid, "%q is not a server's address: write it as http://host:7070 or https://host", s)
	}
	port := u.Port()
	secure = u.Scheme == "https"
	switch {
	case port != "":
	case secure:
		port = "443"
	case text != s:
		port = "7070" // a bare host name
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port), secure, nil
}

// explain is err, of connecting, in words that say what to do.
func (c *Conn) explain(err error) error {
	c.mu.Lock()
	dialErr := c.dialErr
	c.mu.Unlock()
	host := c.addr
	switch host {
	case "localhost:7070", "127.0.0.1:7070", "[::1]:7070": // nobody chose it: the port says enough
		host = ":7070"
	}
	var dns *net.DNSError
	switch {
	case errors.Is(dialErr, syscall.ECONNREFUSED):
		return task.Errorf(task.Unavailable, `connection refused on %s: start one with "penstock dev", or set PENSTOCK_URL`, host)
	case errors.As(dialErr, &dns):
		return task.Errorf(task.Unavailable, "there is no host %s: check the address, or PENSTOCK_URL", dns.Name)
	case dialErr != nil:
		return task.Errorf(task.Unavailable, "connect to %s: %v: check the address, or PENSTOCK_URL", c.addr, dialErr)
	case errors.Is(err, context.DeadlineExceeded):
		return task.Errorf(task.Unavailable, "the server at %s does not answer: is it Penstock, and is the address right (http or https)?", c.addr)
	}
	if _, cause, ok := strings.Cut(err.Error(), "connection error: desc = "); ok { // gRPC's own words
		return task.Errorf(task.Unavailable, "no connection to %s: %s", c.addr, transportHint(strings.Trim(cause, `"`)))
	}
	return err
}

// transportHint is what to do about a connection that came about and could not
// be used.
func transportHint(cause string) string {
	switch {
	case strings.Contains(cause, "first record does not look like a TLS handshake"):
		return "it does not speak TLS: is it Penstock, and should the address begin with http://?"
	case strings.Contains(cause, "x509:"):
		_, why, _ := strings.Cut(cause, "x509: ")
		why, _, _ = strings.Cut(why, " (possibly")
		return "its certificate is not trusted (" + why + "): have this system trust its CA, or name the CA's file in SSL_CERT_FILE where the system knows that"
	case strings.Contains(cause, "server preface"):
		return "it does not speak gRPC in clear text: is it Penstock, and should the address begin with https://?"
	}
	return "is it Penstock, and is the address right (http or https)? (" + cause + ")"
}

// Close sends what is pending, hands back leases, and ends the connection.
// Calls that are not answered by then end with "outcome unknown".
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.done
		return nil
	}
	c.closed = true
	sessions := make([]*session, 0, len(c.sessions))
	for _, s := range c.sessions {
		sessions = append(sessions, s)
	}
	c.mu.Unlock()
	timer := time.AfterFunc(closeFlushMax, func() {
		c.mu.Lock()
		c.ending = true
		c.wake()
		c.settled.Broadcast()
		c.mu.Unlock()
		c.cancel()
	})
	c.waitSettled()
	for _, s := range sessions {
		s.Close()
	}
	c.mu.Lock()
	c.ending = true
	c.wake()
	away := c.link == nil
	c.mu.Unlock()
	if away {
		c.cancel()
	}
	<-c.done
	timer.Stop()
	c.cancel()
	c.wg.Wait()
	return c.cc.Close()
}

// waitSettled waits until everything handed over is answered, but not for a
// server that is not there.
func (c *Conn) waitSettled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.ending && c.link != nil && (len(c.fresh)+len(c.outcomes)+len(c.parked) > 0 || c.groups.n+c.reports.n > 0) {
		c.settled.Wait()
	}
}

// wake lets run look at what is pending; mu is held.
func (c *Conn) wake() {
	if c.idle {
		c.idle = false
		c.work.Signal()
	}
}

func errClosed() *task.Error {
	return task.Errorf(task.Unavailable, "the client is closed")
}

var (
	_ task.Broker    = (*Conn)(nil)
	_ task.Inspector = (*Conn)(nil)
)
