package sim

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/rpc/handler"
)

// The real client and server over a network that loses things: what is answered
// is there, once, and what was delivered was sent.
func TestStormOverALossyWire(t *testing.T) {
	for _, parts := range []int{1, 3} {
		t.Run(fmt.Sprint("partitions=", parts), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runStorm(t, parts, overWire) })
		})
	}
}

// overWire puts a client, a lossy network and a server before the storm's node.
func overWire(s *storm) (calm func(), quiet func() bool) {
	net := newPipes()
	srv, err := handler.New(handler.Options{Broker: s.n, Inspector: s.n})
	if err != nil {
		s.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(net) }()
	conn, err := client.Dial(s.Context(), "http://pipe:1", client.Options{Dialer: net.dial})
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := conn.Close(); err != nil {
			s.Logf("close the client: %v", err)
		}
		srv.Close()
		if err := <-served; err != nil {
			s.Errorf("serve: %v", err)
		}
		if net.lost.Load() == 0 {
			s.Error("no connection was lost: too little happened to show anything")
		}
		s.Logf("%d ends of connections lost", net.lost.Load())
	})
	s.br, s.wire = conn, true
	net.lossy.Store(true)
	return net.mend, func() bool { return net.lost.Load() == 0 || s.broken.Load() == 0 }
}
