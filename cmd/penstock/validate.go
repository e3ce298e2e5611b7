package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/server"
)

const partitionsMax = 1024 // the server's

// validate names every fault by the setting's own name and with its origin.
func (s *settings) validate() (faults []error) {
	bad := func(name, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: %s", s.origins[name].text, fmt.Sprintf(format, args...)))
	}
	if s.Data == "" {
		bad("data", "data is empty: name a folder")
	}
	if host, err := splitAddress(s.HTTP); err != nil {
		bad("http", "http is %q: write host:port, such as 127.0.0.1:7070", s.HTTP)
	} else if !loopback(host) && s.Token == "" && !s.Insecure {
		bad("http", "http is %s, which other machines can reach: give --token-file FILE, or --insecure to let everybody in", s.HTTP)
	}
	if s.Memory < 4<<20 {
		bad("memory", "memory is %s: at least 4MiB is needed", &s.Memory)
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		bad("tls-cert", "tls_cert and tls_key belong together: give both or none")
	}
	if host, err := splitAddress(s.Admin); s.Admin != "" && (err != nil || !loopback(host)) {
		bad("admin", "admin is %q: it asks for no token, so write a loopback address, such as 127.0.0.1:7071", s.Admin)
	} else if s.Admin == s.HTTP && !strings.HasSuffix(s.Admin, ":0") {
		bad("admin", "admin and http are both %s: use two ports", s.Admin)
	}
	if s.Partitions < 0 || s.Partitions > partitionsMax {
		bad("partitions", "partitions is %d: use 1 to %d, or 0 for what the folder has", s.Partitions, partitionsMax)
	}
	if s.Name != "" {
		if e := task.CheckName("name", s.Name); e != nil {
			bad("name", "%s", e.Text)
		}
	}
	if strings.ContainsFunc(s.Token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		bad("token", "token has blanks or other than plain ASCII in it: it travels in a header")
	}
	if s.DiskLow > 0 && s.DiskHard > s.DiskLow {
		bad("disk-hard", "disk_hard of %s is above disk_low of %s: new tasks must be refused first", &s.DiskHard, &s.DiskLow)
	}
	if s.BodyBytes < 128<<20 {
		bad("body-bytes", "body_bytes is %s: at least 128MiB is needed, for the largest request takes half of it", &s.BodyBytes)
	}
	if s.HistoryBytes < 1<<20 {
		bad("history-bytes", "history_bytes is %s: at least 1MiB is needed; a queue set to --history none keeps nothing", &s.HistoryBytes)
	}
	if d := time.Duration(s.QueueIdle); d != 0 && d < 24*time.Hour {
		bad("queue-idle", "queue_idle is %s: finished tasks go with their queue, so at least 24h is needed; off is never", &s.QueueIdle)
	}
	if s.DrainTimeout < 0 {
		bad("drain-timeout", "drain_timeout of %s is negative", s.DrainTimeout)
	}
	if _, err := parseLogLevel(s.LogLevel); err != nil {
		bad("log-level", "log_level is %q: use debug, info, warn or error", s.LogLevel)
	}
	if s.LogFormat != "text" && s.LogFormat != "json" {
		bad("log-format", "log_format is %q: use text or json", s.LogFormat)
	}
	return faults
}

// accepted asks the server itself, which has the last word.
func (s *settings) accepted() error {
	cfg, err := s.config()
	if err != nil {
		return err
	}
	return cfg.Validate()
}

// config is the settings as the server takes them, without what only a running
// one needs.
func (s *settings) config() (server.Config, error) {
	cfg := server.Config{
		Dir: s.Data, HTTP: s.HTTP, Token: s.Token, Insecure: s.Insecure, Admin: s.Admin,
		Partitions: s.Partitions, Memory: int64(s.Memory), BodyBytes: int64(s.BodyBytes), HistoryBytes: int64(s.HistoryBytes),
		IdempotencyBytes: int64(s.IdempotencyBytes), QueueIdle: s.QueueIdle.setting(), DiskLow: int64(s.DiskLow), DiskHard: int64(s.DiskHard),
		DrainTimeout: s.DrainTimeout, Name: s.Name,
	}
	if s.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
		if err != nil {
			return cfg, fmt.Errorf("read TLS certificate: %w", err)
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	return cfg, nil
}

// splitAddress is the host of host:port, where a port is a number or a name that
// this system knows.
func splitAddress(s string) (host string, err error) {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	return host, err
}
