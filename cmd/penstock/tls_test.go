//go:build linux

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTLS serves https with a certificate of its own making, which a client
// trusts by SSL_CERT_FILE and refuses without.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := writeCertificate(t, dir)
	srv := exec.Command("penstock", "server", "--data", filepath.Join(dir, "data"), "--http", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	log, err := srv.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	url := ""
	for lines := bufio.NewScanner(log); url == "" && lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), "url="); ok {
			url, _, _ = strings.Cut(rest, " ")
		}
	}
	if !strings.HasPrefix(url, "https://") {
		t.Errorf("the server's address is %q", url)
	}
	call := func(trusted string, args ...string) (string, error) {
		cmd := exec.Command("penstock", append([]string{"--url", url}, args...)...)
		cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+trusted)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := call(cert, "enqueue", "x"); err != nil {
		t.Errorf("a client that trusts the certificate: %v\n%s", err, out)
	}
	if out, err := call(cert, "queues"); err != nil || !strings.HasPrefix(out, "default\t1") {
		t.Errorf("a client that trusts the certificate: %v\n%s", err, out)
	}
	if out, err := call(os.DevNull, "queues"); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("a client that does not: %v\n%s", err, out)
	}
	_ = srv.Process.Signal(syscall.SIGTERM)
	if err := srv.Wait(); err != nil {
		t.Error(err)
	}
}

func writeCertificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "penstock test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", rawKey)
}
