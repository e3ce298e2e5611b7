package handler

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// door is one listener behind which gRPC and HTTP live. In clear text the first
// three bytes tell them apart: HTTP/2 begins with "PRI", which no HTTP/1 method
// does. Under TLS it is ALPN: who offers http/1.1 gets it, who offers only h2
// is gRPC. So each has its own transport, and neither pays for the other.
type door struct {
	srv  *Server
	ln   net.Listener
	tls  *tls.Config // nil = clear text
	grpc *feed
	http *feed
}

func newDoor(s *Server, ln net.Listener) *door {
	d := &door{srv: s, ln: ln, grpc: newFeed(ln.Addr()), http: newFeed(ln.Addr())}
	if s.o.TLS != nil {
		d.tls = sortingTLS(s.o.TLS)
	}
	return d
}

func (d *door) close() {
	_ = d.ln.Close()
	_ = d.grpc.Close()
	_ = d.http.Close()
}

func (d *door) serve() error {
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); _ = d.srv.grpc.Serve(d.grpc) }()
	go func() { defer wg.Done(); _ = d.srv.http.Serve(d.http) }()
	err := d.accept()
	d.close()
	wg.Wait()
	d.srv.mu.Lock()
	delete(d.srv.doors, d)
	d.srv.mu.Unlock()
	if d.srv.draining() {
		return nil
	}
	return err
}

func (d *door) accept() error {
	const waitMax = time.Second
	wait := time.Duration(0)
	for {
		c, err := d.ln.Accept()
		if err == nil {
			wait = 0
			go d.sort(c)
			continue
		}
		if d.srv.draining() || errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of file handles, most likely: it may pass.
		wait = min(max(2*wait, 5*time.Millisecond), waitMax)
		d.srv.log.Error("accept a connection", "error", err, "retry_in", wait)
		select {
		case <-time.After(wait):
		case <-d.srv.quit:
			return nil
		}
	}
}

// sort hands c to the one of the two it speaks to.
func (d *door) sort(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(headerMax))
	isGRPC := false
	if d.tls != nil {
		tc := tls.Server(c, d.tls)
		if err := tc.Handshake(); err != nil {
			_ = c.Close()
			return
		}
		isGRPC = tc.ConnectionState().NegotiatedProtocol == "h2"
		c = tc
	} else {
		p := &peeked{Conn: c}
		if _, err := io.ReadFull(c, p.head[:]); err != nil {
			_ = c.Close()
			return
		}
		p.left = p.head[:]
		isGRPC = string(p.left) == "PRI"
		c = p
	}
	_ = c.SetDeadline(time.Time{})
	to := d.http
	if isGRPC {
		to = d.grpc
	}
	if !to.put(c) {
		_ = c.Close()
	}
}

// sortingTLS gives h2 to who offers nothing else.
func sortingTLS(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	http1 := cfg.Clone()
	cfg.NextProtos, http1.NextProtos = []string{"h2"}, []string{"http/1.1"}
	cfg.GetConfigForClient = func(hi *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hi.SupportedProtos) == 1 && hi.SupportedProtos[0] == "h2" {
			return nil, nil
		}
		return http1, nil
	}
	return cfg
}

// peeked gives back the bytes that were read to sort it.
type peeked struct {
	net.Conn
	head [3]byte
	left []byte
}

func (p *peeked) Read(b []byte) (int, error) {
	if len(p.left) > 0 {
		n := copy(b, p.left)
		p.left = p.left[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// feed is a listener whose connections come from a door.
type feed struct {
	addr  net.Addr
	conns chan net.Conn
	quit  chan struct{}
	once  sync.Once
}

func newFeed(addr net.Addr) *feed {
	return &feed{addr: addr, conns: make(chan net.Conn), quit: make(chan struct{})}
}

func (f *feed) put(c net.Conn) bool {
	select {
	case f.conns <- c:
		return true
	case <-f.quit:
		return false
	}
}

// Accept takes the next connection.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.conns:
		return c, nil
	case <-f.quit:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.quit) })
	return nil
}

// Addr is the door's address.
func (f *feed) Addr() net.Addr { return f.addr }

// sorted are gRPC credentials for connections that a door has sorted and, where
// asked for, encrypted. They carry the connection so that it can be cut.
type sorted struct {
	credentials.TransportCredentials
	b *bodies
}

type sortedInfo struct {
	credentials.CommonAuthInfo
	conn net.Conn
}

// AuthType names the credentials.
func (sortedInfo) AuthType() string { return "door" }

// ServerHandshake has nothing left to do.
func (s sorted) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	m := &meter{Conn: c, b: s.b}
	info := sortedInfo{conn: m}
	info.SecurityLevel = credentials.PrivacyAndIntegrity
	if _, ok := c.(*tls.Conn); !ok {
		info.SecurityLevel = credentials.NoSecurity
	}
	return m, info, nil
}

// Clone copies the credentials.
func (s sorted) Clone() credentials.TransportCredentials { return s }

// cut closes the connection that a gRPC call came by.
func cut(ctx context.Context) {
	if p, ok := peer.FromContext(ctx); ok {
		if i, ok := p.AuthInfo.(sortedInfo); ok {
			_ = i.conn.Close()
		}
	}
}

func remote(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return "unknown"
}
