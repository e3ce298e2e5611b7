package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// Config says where a server keeps its tasks, and whether and where it listens.
// Dir is all that has to be set: the queue is then served inside the program,
// with no port.
type Config struct {
	// Dir is the data folder. It is made when it is not there; one process at a
	// time may have it open.
	Dir string
	// Mem keeps everything in memory instead, to be lost at Close: for tests.
	Mem bool

	// HTTP is the address to listen on, such as "127.0.0.1:7070"; port 0 takes a
	// free one. One port serves the SDK's gRPC stream, JSON calls, /livez, /readyz
	// and /metrics. "" listens nowhere.
	HTTP string
	// Token must come with every call when it is set. An address off loopback
	// needs one, or Insecure.
	Token    string
	Insecure bool
	// TLS is how to serve over TLS; nil is clear text.
	TLS *tls.Config
	// Admin is an address of its own for profiles (/debug/pprof/) and a second
	// /metrics, without a token and therefore on loopback only. "" = none.
	Admin string

	// Partitions is how many partitions queues are spread over. It holds from
	// the folder's first opening on. 0 = what the folder has, or 1.
	Partitions int
	// Memory is for waiting tasks, their headers and payloads; a backlog may be
	// far larger. 0 = 64 MiB.
	Memory int64
	// BodyBytes is memory for requests that are being received and unpacked, over
	// all connections; what finds no room in 5 s is refused. 0 = 256 MiB.
	BodyBytes int64
	// HistoryBytes is how much finished tasks may take on disk, whatever their
	// retention. 0 = 2 GiB.
	HistoryBytes int64
	// IdempotencyBytes is how much idempotency keys of one queue may take.
	// 0 = 256 MiB.
	IdempotencyBytes int64
	// QueueIdle is how long nothing has to happen in a queue until it vanishes: an
	// empty one that nobody has set and that no worker serves. 0 = 30 days, at
	// least 24 hours; negative = never.
	QueueIdle time.Duration
	// DiskLow and DiskHard are bytes of free disk: below DiskLow new tasks are
	// refused, below DiskHard everything is. 0 = by the size of the disk.
	DiskLow, DiskHard int64

	// DrainTimeout is what Close gives to calls in progress. 0 = 10 s.
	DrainTimeout time.Duration
	// Name is what the node calls itself; "" = the host's name.
	Name string
	// Version is shown to people; "" = this program's.
	Version string
	// Logger hears what an operator should know; nil = silence.
	Logger *slog.Logger

	// Now is the clock; nil = the system's. One that is moved by hand, in a
	// test, must call Server.Tick after each move.
	Now func() time.Time
	// Store replaces the storage engine, in Penstock's own tests. It is not
	// closed by Close.
	Store store.Store
	// Check has the queue's invariants checked after each step, in tests.
	Check bool
}

const (
	memoryDefault  = 64 << 20
	memoryMin      = 4 << 20
	bodyBytesMin   = 128 << 20 // the largest request takes half of it
	partitionsMax  = 1024      // each has a loop and a cache of its own
	drainDefault   = 10 * time.Second
	idleDefault    = 30 * 24 * time.Hour
	idleMin        = 24 * time.Hour // for so long a queue's finished tasks can be asked for
	tokenBytesMax  = 4 << 10
	slotBytes      = 160 // of memory for one waiting task's header
	payloadPercent = 50  // of Memory goes to payloads
)

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	if c.Memory == 0 {
		c.Memory = memoryDefault
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = drainDefault
	}
	if c.QueueIdle == 0 {
		c.QueueIdle = idleDefault
	}
	if c.Name == "" {
		c.Name, _ = os.Hostname()
	}
	if c.Name == "" {
		c.Name = "penstock"
	}
	if c.Version == "" {
		c.Version = buildVersion()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	const path = "github.com/penstock-io/penstock"
	version := info.Main.Version
	if info.Main.Path != path {
		for _, d := range info.Deps {
			if d.Path == path {
				version = d.Version
			}
		}
	}
	if version == "" || version == "(devel)" {
		return "dev"
	}
	return version
}

// Validate names every fault at once, as Open does before it touches anything.
func (c *Config) Validate() error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	fault(c.Dir == "" && !c.Mem && c.Store == nil, "Dir is empty: name a data folder, or set Mem for a queue that is lost at Close")
	fault(c.Dir != "" && c.Mem, "both Dir and Mem are set: use one")
	fault(c.Store != nil && (c.Dir != "" || c.Mem), "Store stands beside Dir or Mem: use one")
	fault(c.Partitions < 0 || c.Partitions > partitionsMax, "Partitions is %d: choose 1 to %d, or 0 for what the folder has", c.Partitions, partitionsMax)
	fault(c.Memory != 0 && c.Memory < memoryMin, "Memory of %d bytes is too little: choose at least %d, or 0 for the default", c.Memory, memoryMin)
	fault(c.BodyBytes != 0 && c.BodyBytes < bodyBytesMin, "BodyBytes of %d is too little: choose at least %d, or 0 for the default", c.BodyBytes, bodyBytesMin)
	fault(c.HistoryBytes < 0, "HistoryBytes of %d is negative: choose 0 for the default, or a queue's history setting to keep none", c.HistoryBytes)
	fault(c.IdempotencyBytes < 0, "IdempotencyBytes of %d is negative: choose 0 for the default", c.IdempotencyBytes)
	fault(c.QueueIdle > 0 && c.QueueIdle < idleMin, "QueueIdle of %s is too short: finished tasks go with their queue, so choose at least %s, or less than 0 for never", c.QueueIdle, idleMin)
	fault(c.DiskLow < 0 || c.DiskHard < 0, "DiskLow and DiskHard may not be negative: choose 0 for the default")
	fault(c.DiskLow > 0 && c.DiskHard > c.DiskLow, "DiskHard of %d is above DiskLow of %d: new tasks must be refused first", c.DiskHard, c.DiskLow)
	fault(c.DrainTimeout < 0, "DrainTimeout of %s is negative", c.DrainTimeout)
	fault(strings.ContainsFunc(c.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }), "Token has blanks or other than plain ASCII in it: it travels in a header")
	fault(len(c.Token) > tokenBytesMax, "Token is %d bytes long, the limit is %d", len(c.Token), tokenBytesMax)
	fault(c.HTTP == "" && c.TLS != nil, "TLS is set, but HTTP is not: there is nothing to serve over it")
	if c.Name != "" {
		if e := task.CheckName("Name", c.Name); e != nil {
			faults = append(faults, errors.New(e.Text))
		}
	}
	if c.HTTP != "" {
		far, err := offLoopback(c.HTTP)
		fault(err != nil, "HTTP address: %v", err)
		fault(far && c.Token == "" && !c.Insecure, "HTTP address %s can be reached from other machines: set Token, or Insecure to serve everybody", c.HTTP)
	}
	if c.Admin != "" {
		far, err := offLoopback(c.Admin)
		fault(err != nil, "Admin address: %v", err)
		fault(far && !c.Insecure, "Admin address %s can be reached from other machines and asks for no token: use a loopback address, or set Insecure", c.Admin)
		fault(c.Admin == c.HTTP && !strings.HasSuffix(c.Admin, ":0"), "Admin and HTTP are both %s: use two ports", c.Admin)
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("server settings: %w", errors.Join(faults...))
}

// offLoopback says whether other machines can reach the address. A name other
// than localhost may mean anything.
func offLoopback(addr string) (bool, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false, fmt.Errorf("%q is not host:port, such as 127.0.0.1:7070", addr)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return false, fmt.Errorf("%q has no port that can be: %q", addr, port)
	}
	if host == "localhost" {
		return false, nil
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback(), nil
}
