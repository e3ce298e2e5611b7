package server

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/store"
)

func TestValidate(t *testing.T) {
	f := func(c Config, want ...string) {
		t.Helper()
		err := c.Validate()
		if len(want) == 0 {
			if err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			return
		}
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%+v: got %v, want %q", c, err, w)
			}
		}
	}
	f(Config{Dir: "d"})
	f(Config{Mem: true})
	f(Config{Store: store.NewMem(store.MemOptions{})})
	f(Config{Dir: "d", HTTP: "127.0.0.1:0"})
	f(Config{Dir: "d", HTTP: "localhost:7070", Admin: "[::1]:0"})
	f(Config{Dir: "d", HTTP: "0.0.0.0:7070", Token: "a-long-secret"})
	f(Config{Dir: "d", HTTP: ":7070", Insecure: true})

	f(Config{}, "Dir is empty")
	f(Config{Dir: "d", Mem: true}, "both Dir and Mem")
	f(Config{Dir: "d", Store: store.NewMem(store.MemOptions{})}, "Store stands beside")
	f(Config{Dir: "d", HTTP: "0.0.0.0:7070"}, "other machines", "Token", "Insecure")
	f(Config{Dir: "d", HTTP: ":7070"}, "other machines")
	f(Config{Dir: "d", HTTP: "queue.internal:7070"}, "other machines")
	f(Config{Dir: "d", HTTP: "7070"}, "not host:port")
	f(Config{Dir: "d", HTTP: "127.0.0.1:99999"}, "no port that can be")
	f(Config{Dir: "d", Admin: "0.0.0.0:6060", Token: "x"}, "Admin address", "loopback")
	f(Config{Dir: "d", HTTP: "127.0.0.1:7070", Admin: "127.0.0.1:7070"}, "use two ports")
	f(Config{Dir: "d", TLS: &tls.Config{}}, "nothing to serve")
	f(Config{Dir: "d", Token: "two words"}, "blanks")
	f(Config{Dir: "d", Name: "a\nb"}, "Name", "control characters")
	f(Config{Dir: "d", DiskLow: 1, DiskHard: 2}, "DiskHard")
	f(Config{Partitions: -1, Memory: 1, BodyBytes: 1, HistoryBytes: -1, IdempotencyBytes: -1, QueueIdle: time.Hour, DrainTimeout: -time.Second, DiskLow: -1},
		"Dir is empty", "Partitions is -1", "Memory of 1", "BodyBytes of 1", "HistoryBytes", "IdempotencyBytes", "QueueIdle", "DrainTimeout", "DiskLow")
}

func TestHostPort(t *testing.T) {
	f := func(asked, bound, want string) {
		t.Helper()
		if got := hostPort(asked, bound, "4.4.4.4", "::6"); got != want {
			t.Errorf("%s bound as %s: got %s, want %s", asked, bound, got, want)
		}
	}
	f("127.0.0.1:0", "127.0.0.1:81", "127.0.0.1:81")
	f("[::1]:0", "[::1]:81", "[::1]:81")
	f("0.0.0.0:0", "[::]:81", "4.4.4.4:81")
	f("0.0.0.0:0", "0.0.0.0:81", "4.4.4.4:81")
	f(":0", "[::]:81", "4.4.4.4:81")
	f("[::]:0", "[::]:81", "[::6]:81")
}
