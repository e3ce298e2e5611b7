package handler

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// Options of a Server. Broker and Inspector must be set.
type Options struct {
	Broker    task.Broker
	Inspector task.Inspector
	Version   string
	Token     string       // bearer token that every call but /livez and /readyz must carry; "" = open
	TLS       *tls.Config  // certificates; nil = clear text
	Logger    *slog.Logger // nil = silent
	BodyBytes int64        // memory for requests that are being received, over all connections; 0 = 256 MiB

	// HTTP answers every path that is not ours: /metrics, pages. It stands
	// behind the token. nil = a helpful 404.
	HTTP http.Handler
	// Ready tells the checks behind /readyz and gRPC health; nil = what
	// Inspector.Node says. /livez never asks anything.
	Ready func(ctx context.Context) []Check
	// Observe, when set, is told of every finished unary call: the method such
	// as "TaskService/Get", its code and how long it took.
	Observe func(method string, code task.Code, took time.Duration)
}

// Check is one line of /readyz?verbose.
type Check struct {
	Name   string
	OK     bool
	Detail string // why not
}
