package pebblestore

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

const killEnv = "PEBBLESTORE_TEST_KILL_DIR"

// TestMain turns the test binary into the child of TestKill or of TestFlips.
func TestMain(m *testing.M) {
	if dir := os.Getenv(flipEnv); dir != "" {
		if err := flipChild(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(killEnv); dir != "" {
		if err := killChild(dir); err != nil {
			fmt.Println("error", err)
		}
		os.Exit(1) // it is killed before
	}
	os.Exit(m.Run())
}

// killChild commits for ever, and prints the number of each batch that is
// durable.
func killChild(dir string) error {
	s, err := Open(dir, Options{MemtableBytes: 256 << 10})
	if err != nil {
		return err
	}
	h, err := s.Acquire(context.Background(), 1, "child")
	if err != nil {
		return err
	}
	from := 0
	if v, ok, err := store.GetOne(h, key(1, "next"), nil); err != nil {
		return err
	} else if ok {
		if from, err = strconv.Atoi(string(v)); err != nil {
			return err
		}
	}
	wait := func() error { return nil }
	var b [2]store.Batch
	for i := from; ; i++ {
		nb := &b[i%2]
		nb.Reset()
		nb.Set(key(1, "next"), []byte(strconv.Itoa(i+1)))
		for j := range 3 {
			nb.Set(key(1, fmt.Sprintf("b%08d-%d", i, j)), make([]byte, 500))
		}
		next := h.Begin(nb)
		if err := wait(); err != nil {
			return err
		}
		if i > from {
			fmt.Println("durable", i-1)
		}
		wait = next
	}
}

// TestKill kills a process that commits, again and again: what it said was
// durable is there, and no batch is torn.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	durable := -1
	for round := range rounds {
		durable = runAndKill(t, dir, 200+round*317)
		s := mustOpen(t, dir, Options{MemtableBytes: 256 << 10})
		h, err := s.Acquire(context.Background(), 1, "checker")
		if err != nil {
			t.Fatal(err)
		}
		if e := h.Fence().Epoch; e != uint32(2*round+2) {
			t.Fatalf("round %d: epoch %d, want %d", round, e, 2*round+2)
		}
		v, _, err := store.GetOne(h, key(1, "next"), nil)
		if err != nil {
			t.Fatal(err)
		}
		next, err := strconv.Atoi(string(v))
		if err != nil || next <= durable {
			t.Fatalf("round %d: next is %q after batch %d was durable", round, v, durable)
		}
		it, n := h.Scan(key(1, "b"), key(1, "c")), 0
		for ; it.Next(); n++ {
			if w := fmt.Sprintf("b%08d-%d", n/3, n%3); string(it.Key()[2:]) != w {
				t.Fatalf("round %d: got key %q, want %q", round, it.Key()[2:], w)
			}
		}
		if err := it.Close(); err != nil || n != 3*next {
			t.Fatalf("round %d: %d keys of %d batches, %v", round, n, next, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d batches in %d lives", durable+1, rounds)
}

// runAndKill starts a child, kills it after so many durable batches, and returns
// the last one it told of.
func runAndKill(t *testing.T, dir string, batches int) (last int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(out)
	last = -1
	for n := 1; in.Scan(); n++ {
		word, num, _ := strings.Cut(in.Text(), " ")
		if word != "durable" {
			t.Errorf("child: %s", in.Text())
			break
		}
		if last, err = strconv.Atoi(num); err != nil {
			t.Errorf("child: %s", in.Text())
			break
		}
		if n == batches {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	cmd.Process.Kill()
	cmd.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return last
}
