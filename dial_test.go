package penstock_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// TestDialToken gives the access token in each way there is. What stands further
// left wins: WithToken, PENSTOCK_TOKEN, PENSTOCK_TOKEN_FILE.
func TestDialToken(t *testing.T) {
	srv := openServer(t, server.Config{Mem: true, HTTP: "127.0.0.1:0", Token: "hush"})
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	good, bad, empty, missing := file("good", "hush\n"), file("bad", "hash"), file("empty", "\n"), filepath.Join(dir, "missing")
	f := func(token, file, want string, opts ...penstock.DialOption) {
		t.Helper()
		t.Setenv("PENSTOCK_TOKEN", token)
		t.Setenv("PENSTOCK_TOKEN_FILE", file)
		c, err := penstock.Dial(t.Context(), srv.URL(), opts...)
		if err == nil {
			_ = c.Close()
		}
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("PENSTOCK_TOKEN=%s PENSTOCK_TOKEN_FILE=%s: got %v, want %q", token, file, err, want)
		case strings.Contains(want, "PENSTOCK") && !errors.Is(err, penstock.ErrInvalid):
			t.Errorf("%v is not invalid", err)
		}
	}
	f("", good, "")
	f("hush", bad, "")
	f("hush", missing, "")
	f("hash", good, "token")
	f("", bad, "token")
	f("", "", "token")
	f("", missing, "name its file in PENSTOCK_TOKEN_FILE")
	f("", empty, "which PENSTOCK_TOKEN_FILE names, is empty")
	f("hash", missing, "", penstock.WithToken("hush"))
	f("", missing, "wants a token", penstock.WithToken(""))
}
