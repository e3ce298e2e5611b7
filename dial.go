package penstock

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/client"
)

// DefaultURL is where Dial looks when neither its url nor PENSTOCK_URL says.
const DefaultURL = "http://127.0.0.1:7070"

// DialOption changes how Dial connects.
type DialOption func(*client.Options)

// WithToken gives the token that a server off loopback asks for. The default is
// the environment's PENSTOCK_TOKEN.
func WithToken(token string) DialOption {
	return func(o *client.Options) { o.Token = token }
}

// WithTLS replaces the TLS settings of an https address.
func WithTLS(cfg *tls.Config) DialOption {
	return func(o *client.Options) { o.TLS = cfg }
}

// WithName is what the server shows of this client; the default is the
// program's name.
func WithName(name string) DialOption {
	return func(o *client.Options) { o.Name = name }
}

// WithLogger hears of lost and regained connections; the default is silence.
func WithLogger(l *slog.Logger) DialOption {
	return func(o *client.Options) { o.Logger = l }
}

// WithDialTimeout bounds the first connection; the default is 5 s. The context
// of Dial bounds it too.
func WithDialTimeout(d time.Duration) DialOption {
	return func(o *client.Options) { o.DialTimeout = d }
}

// WithDialer replaces the TCP dial, for tunnels and tests.
func WithDialer(dial func(ctx context.Context, addr string) (net.Conn, error)) DialOption {
	return func(o *client.Options) { o.Dialer = dial }
}

// Lazy has Dial return at once and connect in the background.
func Lazy() DialOption {
	return func(o *client.Options) { o.Lazy = true }
}

// Dial connects to the server at url, such as "http://queue.internal:7070".
// An empty url means PENSTOCK_URL, or DefaultURL when that is not set. It
// returns once the server has answered, with ErrUnavailable when it does not.
// After that the client reconnects by itself: calls that find no connection
// wait for one until their context ends.
func Dial(ctx context.Context, url string, opts ...DialOption) (*Client, error) {
	if url == "" {
		url = os.Getenv("PENSTOCK_URL")
	}
	if url == "" {
		url = DefaultURL
	}
	o := client.Options{Token: os.Getenv("PENSTOCK_TOKEN"), Name: programName()}
	for _, f := range opts {
		if f != nil {
			f(&o)
		}
	}
	conn, err := client.Dial(ctx, url, o)
	if err != nil {
		return nil, err
	}
	c := NewClient(conn, conn)
	c.closer, c.remote = conn, true
	return c, nil
}
