package rpctest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

func TestDialSaysWhatToDo(t *testing.T) {
	f := func(url string, o client.Options, code task.Code, text string) {
		t.Helper()
		start := time.Now()
		c, err := client.Dial(context.Background(), url, o)
		if err == nil {
			_ = c.Close()
		}
		if task.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
			t.Errorf("Dial(%s): %v, want %v: … %s", url, err, code, text)
		}
		if d := time.Since(start); d > 3*time.Second {
			t.Errorf("Dial(%s) took %v", url, d)
		}
	}
	ln := listen(t)
	_ = ln.Close()
	f("http://"+ln.Addr().String(), client.Options{}, task.Unavailable, `connection refused on `+ln.Addr().String()+`: start one with "penstock dev", or set PENSTOCK_URL`)
	refused := func(context.Context, string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	f("http://127.0.0.1:7070", client.Options{Dialer: refused}, task.Unavailable, "connection refused on :7070: start one")
	f("http://127.0.0.1:70", client.Options{Dialer: refused}, task.Unavailable, "connection refused on 127.0.0.1:70: start one")
	f("ftp://x", client.Options{}, task.Invalid, "write it as http://host:7070")
	f("http://x/path", client.Options{}, task.Invalid, "write it as http://host:7070")
	f("", client.Options{}, task.Invalid, "write it as http://host:7070")

	r := newRig(t, brokertest.Options{}, client.Options{Token: "secret"})
	f(r.url, client.Options{}, task.Invalid, "wants a token")
	f(r.url, client.Options{Token: "wrong"}, task.Invalid, "wants a token")
	f(r.url, client.Options{Token: "wrong"}, task.Invalid, "and another than was sent")
	f(strings.Replace(r.url, "http:", "https:", 1), client.Options{Token: "secret", DialTimeout: time.Second}, task.Unavailable,
		"it does not speak TLS: is it Penstock, and should the address begin with http://?")

	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	f(web.URL, client.Options{DialTimeout: time.Second}, task.Unavailable, "is it Penstock")
	safe := httptest.NewUnstartedServer(http.NotFoundHandler())
	safe.EnableHTTP2 = true
	safe.Config.ErrorLog = log.New(io.Discard, "", 0)
	safe.StartTLS()
	t.Cleanup(safe.Close)
	f(safe.URL, client.Options{DialTimeout: time.Second}, task.Unavailable, "its certificate is not trusted (certificate signed by unknown authority): have this system trust its CA")
	f(strings.Replace(safe.URL, "https:", "http:", 1), client.Options{DialTimeout: time.Second}, task.Unavailable, "should the address begin with https://?")
}

func TestLazyDialConnectsLater(t *testing.T) {
	ln := listen(t)
	addr := ln.Addr().String()
	_ = ln.Close()
	conn := dial(t, "http://"+addr, client.Options{Lazy: true})
	b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
	done := make(chan error, 1)
	go func() { done <- task.EnqueueWait(context.Background(), conn, b) }()
	if _, err := conn.Node(context.Background()); task.CodeOf(err) != task.Unavailable || !strings.Contains(err.Error(), "penstock dev") {
		t.Errorf("a unary call meanwhile: %v", err)
	}
	again, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	serve(t, fake, again, handler.Options{})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCloseDeliversWhatIsPending(t *testing.T) {
	r := newRig(t, brokertest.Options{}, client.Options{})
	w := &worker{}
	s := attach(t, r.conn, w, "w1")
	s.Credit(2)
	enqueue(t, r.conn, "q", task.Spec{Type: "a"}, task.Spec{Type: "b"})
	until(t, "two deliveries", func() bool { return len(w.deliveries()) == 2 })
	var codes []task.Code
	s.Report(&task.OutcomeBatch{Outcomes: []task.Outcome{{Token: w.deliveries()[0].Token, Started: true}}, Done: func(b *task.OutcomeBatch) { codes = b.Codes }})
	b := &task.EnqueueBatch{Queue: "p", Specs: []task.Spec{{Type: "t"}}, Done: func(*task.EnqueueBatch) {}}
	r.conn.Enqueue(b)
	if err := r.conn.Close(); err != nil {
		t.Error(err)
	}
	if b.Err != nil || b.Results[0].ID.IsZero() || len(codes) != 1 || codes[0] != task.OK {
		t.Errorf("after Close: %+v, %v, codes %v", b.Results, b.Err, codes)
	}
	q, _ := r.fake.Queues(context.Background(), []string{"q"})
	if q[0].Succeeded != 1 || q[0].Ready != 1 || q[0].Running != 0 {
		t.Errorf("after Close: %+v, want one succeeded and one handed back", q[0])
	}
	late := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
	if err := task.EnqueueWait(context.Background(), r.conn, late); task.CodeOf(err) != task.Unavailable {
		t.Errorf("enqueue after Close: %v", err)
	}
	if _, err := r.conn.Node(context.Background()); task.CodeOf(err) != task.Unavailable {
		t.Errorf("call after Close: %v", err)
	}
	if err := s.Heartbeat(); err == nil {
		t.Error("heartbeat after Close")
	}
	if err := r.conn.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestNoGoroutineIsLeftBehind(t *testing.T) {
	count := func() int { runtime.GC(); return runtime.NumGoroutine() }
	before := count()
	for range 5 {
		t.Run("", func(t *testing.T) {
			r := newRig(t, brokertest.Options{}, client.Options{})
			s := attach(t, r.conn, &worker{}, "w1")
			s.Credit(1)
			enqueue(t, r.conn, "q", task.Spec{Type: "a"})
			r.conn.Watch(&task.Watch{ID: task.ID{Seq: 1}, Done: func(*task.Watch) {}})
		})
	}
	until(t, "goroutines to end", func() bool { return count() <= before+1 })
}

// certificate makes a certificate for 127.0.0.1 that signs itself.
func certificate(t testing.TB) (server, forClient *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

// TestOneEncryptedPort: gRPC and HTTP behind one certificate, though curl and
// browsers offer HTTP/2 too.
func TestOneEncryptedPort(t *testing.T) {
	forServer, forClient := certificate(t)
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	ln := listen(t)
	serve(t, fake, ln, handler.Options{TLS: forServer, Token: "secret"})
	url := "https://" + ln.Addr().String()
	conn := dial(t, url, client.Options{TLS: forClient, Token: "secret"})
	enqueue(t, conn, "q", task.Spec{Type: "t"})

	web := &http.Client{Transport: &http.Transport{TLSClientConfig: forClient.Clone(), ForceAttemptHTTP2: true}}
	defer web.CloseIdleConnections()
	req, _ := http.NewRequest("POST", url+"/penstock.v1.QueueService/Get", strings.NewReader(`{"queue":"q"}`))
	req.Header.Set("Authorization", "Bearer secret")
	resp, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || !strings.Contains(string(body), `"ready":1`) {
		t.Errorf("over TLS: %d %s", resp.StatusCode, body)
	}
}
