// Package rpctest holds the tests that need both ends of the wire: the broker's
// contract over the network, lost connections, and the wire's price. It has no
// code of its own.
package rpctest

import (
	"context"
	"net"
	"testing"

	"google.golang.org/grpc/test/bufconn"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// rig is a Fake behind a server and a client connected to it.
type rig struct {
	fake *brokertest.Fake
	insp task.Inspector // past whatever is between client and server
	srv  *handler.Server
	url  string
	conn *client.Conn
}

func serve(t testing.TB, fake *brokertest.Fake, ln net.Listener, o handler.Options) *handler.Server {
	t.Helper()
	o.Broker, o.Inspector = fake, fake
	srv, err := handler.New(o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return srv
}

func dial(t testing.TB, url string, o client.Options) *client.Conn {
	t.Helper()
	conn, err := client.Dial(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func newRig(t testing.TB, o brokertest.Options, co client.Options) *rig {
	t.Helper()
	fake := brokertest.NewFake(o)
	t.Cleanup(fake.Close)
	ln := listen(t)
	r := &rig{fake: fake, url: "http://" + ln.Addr().String()}
	r.srv = serve(t, fake, ln, handler.Options{Token: co.Token})
	r.conn = dial(t, r.url, co)
	return r
}

func TestContractOverTCP(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) (task.Broker, task.Inspector, brokertest.Controls) {
		clock := brokertest.NewClock()
		r := newRig(t, brokertest.Options{Clock: clock, Scribble: true}, client.Options{})
		return r.conn, r.conn, brokertest.Controls{Advance: clock.Advance, Now: clock.Now}
	})
}

func TestContractOverPipe(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) (task.Broker, task.Inspector, brokertest.Controls) {
		fake := brokertest.NewFake(brokertest.Options{Scribble: true})
		t.Cleanup(fake.Close)
		ln := bufconn.Listen(1 << 20)
		serve(t, fake, ln, handler.Options{})
		conn := dial(t, "http://pipe:1", client.Options{Dialer: func(ctx context.Context, _ string) (net.Conn, error) { return ln.DialContext(ctx) }})
		return conn, conn, brokertest.Controls{}
	})
}
