package penstock

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/task"
)

// DefaultURL is where Dial looks when neither its url nor PENSTOCK_URL says.
const DefaultURL = "http://127.0.0.1:7070"

// DialOption changes how Dial connects.
type DialOption func(*dialOptions)

type dialOptions struct {
	client.Options
	tokenGiven bool // by WithToken
}

// WithToken gives the token that a server off loopback asks for; "" is none. The
// default is the environment's PENSTOCK_TOKEN or, without it, what stands in the
// file that PENSTOCK_TOKEN_FILE names.
func WithToken(token string) DialOption {
	return func(o *dialOptions) { o.Token, o.tokenGiven = token, true }
}

// WithTLS replaces the TLS settings of an https address.
func WithTLS(cfg *tls.Config) DialOption {
	return func(o *dialOptions) { o.TLS = cfg }
}

// WithName is what the server shows of this client; the default is the
// program's name.
func WithName(name string) DialOption {
	return func(o *dialOptions) { o.Name = name }
}

// WithLogger hears of lost and regained connections; the default is silence.
func WithLogger(l *slog.Logger) DialOption {
	return func(o *dialOptions) { o.Logger = l }
}

// WithDialTimeout bounds the first connection; the default is 5 s. The context
// of Dial bounds it too.
func WithDialTimeout(d time.Duration) DialOption {
	return func(o *dialOptions) { o.DialTimeout = d }
}

// WithDialer replaces the TCP dial, for tunnels and tests.
func WithDialer(dial func(ctx context.Context, addr string) (net.Conn, error)) DialOption {
	return func(o *dialOptions) { o.Dialer = dial }
}

// Lazy has Dial return at once and connect in the background.
func Lazy() DialOption {
	return func(o *dialOptions) { o.Lazy = true }
}

// Dial connects to the server at url, such as "http://queue.internal:7070".
// An empty url means PENSTOCK_URL, or DefaultURL when that is not set. It
// returns once the server has answered, with ErrUnavailable when it does not,
// or ErrInvalid when the address is none or PENSTOCK_TOKEN_FILE can't be read.
// After that the client reconnects by itself: calls that find no connection
// wait for one until their context ends.
func Dial(ctx context.Context, url string, opts ...DialOption) (*Client, error) {
	if url == "" {
		url = os.Getenv("PENSTOCK_URL")
	}
	if url == "" {
		url = DefaultURL
	}
	o := dialOptions{Options: client.Options{Name: programName()}}
	for _, f := range opts {
		if f != nil {
			f(&o)
		}
	}
	if !o.tokenGiven {
		var err error
		if o.Token, err = environToken(); err != nil {
			return nil, err
		}
	}
	conn, err := client.Dial(ctx, url, o.Options)
	if err != nil {
		return nil, err
	}
	c := NewClient(conn, conn)
	c.closer, c.remote = conn, true
	return c, nil
}

// environToken is the access token that the environment gives; "" = none.
func environToken() (string, error) {
	name := os.Getenv("PENSTOCK_TOKEN_FILE")
	if token := os.Getenv("PENSTOCK_TOKEN"); token != "" || name == "" {
		return token, nil
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return "", task.Errorf(task.Invalid, "the access token can't be read: %v: name its file in PENSTOCK_TOKEN_FILE, or give the token itself in PENSTOCK_TOKEN", err)
	}
	token := strings.TrimSpace(string(raw))
	if token == "" {
		return "", task.Errorf(task.Invalid, "the file %s, which PENSTOCK_TOKEN_FILE names, is empty: put the access token in it", name)
	}
	return token, nil
}
