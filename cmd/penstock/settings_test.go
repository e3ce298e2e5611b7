package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// loadSettings loads settings as a command would.
func loadSettings(t *testing.T, args []string, env map[string]string, file string) (*settings, error) {
	t.Helper()
	s := newSettings()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	s.addFlags(fs)
	fs.VisitAll(onlyOnce)
	if file != "" {
		name := filepath.Join(t.TempDir(), "penstock.yaml")
		if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", name)
	}
	if err := fs.Parse(args); err != nil {
		return s, err
	}
	return s, s.load(fs, func(k string) string { return env[k] })
}

func TestSettingsOrder(t *testing.T) {
	f := func(args []string, env map[string]string, file, want, origin string) {
		t.Helper()
		s, err := loadSettings(t, args, env, file)
		if err != nil {
			t.Error(err)
			return
		}
		from := s.origins["http"].text
		if s.HTTP != want || !strings.HasSuffix(from, origin) {
			t.Errorf("args %q, env %v, file %q: got %s from %s, want %s from %s", args, env, file, s.HTTP, from, want, origin)
		}
	}
	flag, env, file := []string{"--http", "127.0.0.1:1"}, map[string]string{"PENSTOCK_HTTP": "127.0.0.1:2"}, "data: x\nhttp: 127.0.0.1:3\n"
	f(nil, nil, "", "127.0.0.1:7070", "default")
	f(nil, nil, file, "127.0.0.1:3", "penstock.yaml:2")
	f(nil, env, file, "127.0.0.1:2", "PENSTOCK_HTTP")
	f(flag, env, file, "127.0.0.1:1", "flag --http")
	f(flag, nil, file, "127.0.0.1:1", "flag --http")
	f(nil, map[string]string{"PENSTOCK_DRAIN_TIMEOUT": "1d"}, "", "127.0.0.1:7070", "default")
	f(nil, nil, "# nothing\n", "127.0.0.1:7070", "default")
	f(nil, nil, "", "127.0.0.1:7070", "default")
}

func TestSettingsRefused(t *testing.T) {
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("  secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(args []string, env map[string]string, file string, want ...string) {
		t.Helper()
		_, err := loadSettings(t, args, env, file)
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("args %q, env %v, file %q: got %v, want %q", args, env, file, err, w)
			}
		}
	}
	f(nil, nil, "datta: x\n", `:1: unknown setting "datta"; did you mean "data"?`)
	f(nil, nil, "colour: x\n", `unknown setting "colour"; penstock config lists them`)
	f(nil, nil, "token-file: x\n", `unknown setting "token-file"; did you mean "token_file"?`)
	f(nil, nil, "data: a\nhttp: 127.0.0.1:1\ndata: b\n", ":3: data is given twice, first on line 1")
	f(nil, nil, "data: \"/var/li", "not whole YAML", "half written")
	f(nil, nil, "data: {a: [1,", "not whole YAML", "half written")
	f(nil, nil, "data: x\nhttp: \"127.", ":2: not whole YAML: found unexpected end of stream: was it only half written?")
	f(nil, nil, "data: x\nhttp: {a: [1,\n", ":2: not whole YAML: did not find")
	f(nil, nil, "dat", ":1: expected `name: value` lines", "half written")
	f(nil, nil, "data: x\nhttp:", ":2: http has no value", "half written")
	f(nil, nil, "- data\n", "`name: value`")
	f(nil, nil, "data: [a, b]\n", "data takes one value")
	f(nil, nil, "data: a\n---\nhttp: b\n", "more than one document")
	f(nil, nil, "memory: many\n", ":1: memory is \"many\": not a size")
	f(nil, map[string]string{"PENSTOCK_DRAIN_TIMEOUT": "soon"}, "", `PENSTOCK_DRAIN_TIMEOUT: drain_timeout is "soon": invalid duration`)
	f(nil, map[string]string{"PENSTOCK_INSECURE": "perhaps"}, "", `PENSTOCK_INSECURE: insecure is "perhaps"`)
	f([]string{"--http", "a", "--http", "b"}, nil, "", "given twice")
	f([]string{"--http", "7070"}, nil, "", "write host:port")
	f([]string{"--http", "0.0.0.0:7070"}, nil, "", "other machines can reach", "--token-file", "--insecure")
	f([]string{"--http", ":7070"}, nil, "", "other machines can reach")
	f([]string{"--data", "", "--memory", "5", "--log-level", "loud", "--log-format", "xml", "--drain-timeout", "-1s"}, nil, "",
		"data is empty", "memory is 5", "log_level is \"loud\"", "log_format is \"xml\"", "is negative")
	f([]string{"--token-file", "/no/such/file"}, nil, "", "read access token")
	f([]string{"--token-file", empty}, nil, "", "is empty")
	f(nil, map[string]string{"PENSTOCK_TOKEN": "a", "PENSTOCK_TOKEN_FILE": token}, "", "both token (PENSTOCK_TOKEN) and token_file (PENSTOCK_TOKEN_FILE)")
	f([]string{"--config", "/no/such/file"}, nil, "", "read settings")
	// Whatever the server would refuse.
	f(nil, map[string]string{"PENSTOCK_PARTITIONS": "-3"}, "", "PENSTOCK_PARTITIONS: partitions is -3: use 1 to 1024, or 0")
	f(nil, nil, "partitions: 1025\n", ":1: partitions is 1025")
	f([]string{"--http", "127.0.0.1:70707"}, nil, "", "flag --http: http is \"127.0.0.1:70707\"")
	f([]string{"--admin", "127.0.0.1:7070"}, nil, "", "flag --admin: admin and http are both 127.0.0.1:7070")
	f([]string{"--admin", "127.0.0.1:admin"}, nil, "", "flag --admin: admin is \"127.0.0.1:admin\"")
	f([]string{"--name", "a\xff"}, nil, "", "flag --name: name ")
	f(nil, map[string]string{"PENSTOCK_TOKEN": "a b"}, "", "PENSTOCK_TOKEN: token has blanks")
	f(nil, map[string]string{"PENSTOCK_TOKEN": strings.Repeat("a", 9000)}, "", "Token is 9000 bytes long")
	f([]string{"--tls-cert", token, "--tls-key", token}, nil, "", "read TLS certificate")

	ok := func(args []string, env map[string]string, file, want string) {
		t.Helper()
		s, err := loadSettings(t, args, env, file)
		if err != nil || s.Token != want {
			t.Errorf("args %q, env %v, file %q: got token %q, %v; want %q", args, env, file, s.Token, err, want)
		}
	}
	ok([]string{"--http", "0.0.0.0:7070", "--insecure"}, nil, "", "")
	ok([]string{"--http", ":7070", "--token-file", token}, nil, "", "secret")
	ok([]string{"--token-file", token}, map[string]string{"PENSTOCK_TOKEN": "a"}, "", "secret")
	ok(nil, map[string]string{"PENSTOCK_TOKEN": "a"}, "token_file: "+token+"\n", "a")
	ok(nil, nil, "token: b\n", "b")
	ok([]string{"--http", "[::1]:7070"}, nil, "", "")
	ok([]string{"--http", "localhost:7070"}, nil, "", "")
}

func TestSecretsAreNotShown(t *testing.T) {
	s, err := loadSettings(t, nil, map[string]string{"PENSTOCK_TOKEN": "hush"}, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range s.views() {
		if strings.Contains(v.Value, "hush") {
			t.Errorf("%s shows the token", v.Setting)
		}
	}
}

func TestByteSize(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var b byteSize
		if err := b.Set(in); err != nil || b.String() != want {
			t.Errorf("%q: got %s, %v; want %s", in, &b, err, want)
		}
	}
	f("64MiB", "64MiB")
	f("64M", "64MiB")
	f("2048", "2KiB")
	f("1GB", "1000000000")
	f("500kB", "500000")
	f("1 TiB", "1TiB")
	f("0", "0")
	bad := func(in string) {
		t.Helper()
		var b byteSize
		if err := b.Set(in); err == nil {
			t.Errorf("%q: got %s, want an error", in, &b)
		}
	}
	bad("")
	bad("-1")
	bad("1.5GiB")
	bad("9999999999TiB")
	bad("10 parsecs")
}

func TestStrayEnvironment(t *testing.T) {
	f := func(want string, environ ...string) {
		t.Helper()
		if got := strings.Join(newSettings().stray(environ), "|"); got != want {
			t.Errorf("%q: got %q, want %q", environ, got, want)
		}
	}
	f("", "PATH=/bin", "PENSTOCK_HTTP=x", "PENSTOCK_TOKEN=x", "PENSTOCK_TOKEN_FILE=x", "PENSTOCK_CONFIG=x", "PENSTOCK_URL=x",
		"PENSTOCK_TASK_ID=x", "PENSTOCK_FENCE=1", "PENSTOCK_WORKER=x", "penstock_x=y", "OPENSTOCK_X=y")
	f("PENSTOCK_HTPP in the environment is no setting and has no effect; did you mean PENSTOCK_HTTP?", "PENSTOCK_HTPP=127.0.0.1:1")
	f("PENSTOCK_COLOUR in the environment is no setting and has no effect; penstock config -o wide lists the names|"+
		"PENSTOCK_DRAIN_TIMOUT in the environment is no setting and has no effect; did you mean PENSTOCK_DRAIN_TIMEOUT?",
		"PENSTOCK_DRAIN_TIMOUT=1s", "PENSTOCK_HTTPS=", "PENSTOCK_COLOUR=blue")
}

// Queues that nobody has set vanish after a while that can be set, or switched off.
func TestQueueIdle(t *testing.T) {
	for text, want := range map[string]time.Duration{"30d": 720 * time.Hour, "48h": 48 * time.Hour, "off": -1, "0": -1, "1d12h": 36 * time.Hour} {
		var l, again idleLength
		if err := l.Set(text); err != nil || l.setting() != want {
			t.Errorf("%s: %v, %v, want %v", text, l.setting(), err, want)
		}
		if err := again.Set(l.String()); err != nil || again != l {
			t.Errorf("%s is shown as %s", text, l.String())
		}
	}
	var l idleLength
	if err := l.Set("never"); err == nil || !strings.Contains(err.Error(), "off") {
		t.Errorf("never: %v", err)
	}
	status, _, stderr := command("", "config", "--queue-idle", "1h")
	if status != exitUsage || !strings.Contains(stderr, "queue_idle is 1h0m0s") {
		t.Errorf("an hour: status %d, %s", status, stderr)
	}
}
