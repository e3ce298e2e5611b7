// Package client is task.Broker and task.Inspector over the network: one
// session stream for what is hot, unary calls for the rest. It decides nothing:
// what the broker answers, its caller gets, over any number of reconnects.
package client

import (
	"context"
	"errors"

	"github.com/penstock-io/penstock/internal/task"
)

// Conn is a connection to one server. It reconnects by itself until Close.
type Conn struct {
	task.Broker
	task.Inspector
}

// Dial connects to the server at url, such as http://localhost:7070.
func Dial(ctx context.Context, url string, o Options) (*Conn, error) {
	return nil, errors.New("not connected yet")
}

// Close sends what is pending, hands back leases, and ends the connection.
func (c *Conn) Close() error { return nil }
