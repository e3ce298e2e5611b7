package server_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/server"
)

// TestRestartUnderWorkers: a worker in another process keeps what it runs over a
// restart of the server, whether it finishes before the server is back or after.
func TestRestartUnderWorkers(t *testing.T) {
	f := func(finish func(release, back func())) {
		t.Helper()
		cfg := server.Config{Dir: t.TempDir(), HTTP: "127.0.0.1:0"}
		srv := open(t, cfg)
		cfg.HTTP = strings.TrimPrefix(srv.URL(), "http://")
		c, err := penstock.Dial(inTime(t), srv.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		started, hold := make(chan struct{}, 10), make(chan struct{})
		slow := penstock.Func("slow", func(_ context.Context, n int) (int, error) {
			started <- struct{}{}
			<-hold
			return n + 1, nil
		})
		stop := work(t, c, slow)
		task, err := slow.Enqueue(inTime(t), c, 1)
		if err != nil {
			t.Fatal(err)
		}
		<-started
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
		finish(func() { close(hold) }, func() { srv = open(t, cfg) })
		got, err := task.Wait(inTime(t))
		if err != nil || got != 2 {
			t.Errorf("got %d, %v", got, err)
		}
		in, err := task.Info(inTime(t))
		if err != nil || in.Crashes != 0 || in.Failures != 0 || len(in.Attempts) != 1 {
			t.Errorf("one attempt should have done it: %+v, %v", in, err)
		}
		if n := len(started); n != 0 {
			t.Errorf("it was started %d times more", n)
		}
		stop()
	}
	f(func(release, back func()) { back(); release() })
	f(func(release, back func()) { release(); back() })
}

// lowDisk is an engine whose disk is nearly full when it is told so.
type lowDisk struct {
	*store.Mem
	low atomic.Bool
}

func (d *lowDisk) Free() (uint64, bool) { return 1 << 20, d.low.Load() }

// TestDiskLow: new tasks are refused with what to do, finishing goes on, and all
// is well again when there is space. The log tells of both, who asks the server
// how it is hears how much is free and what to do.
func TestDiskLow(t *testing.T) {
	disk, log := &lowDisk{Mem: store.NewMem(store.MemOptions{})}, newLogText()
	srv := open(t, server.Config{Store: disk, HTTP: "127.0.0.1:0", Logger: log.logger()})
	c := srv.Client()
	task, err := greet.Enqueue(inTime(t), c, "ada")
	if err != nil {
		t.Fatal(err)
	}
	disk.low.Store(true)
	var refused *penstock.Error
	if _, err := greet.Enqueue(inTime(t), c, "grace"); !errors.As(err, &refused) || !errors.Is(err, penstock.ErrExhausted) || !strings.Contains(refused.Text, "disk") {
		t.Errorf("enqueue on a full disk: %v", err)
	}
	const told = "1024 KiB free: new tasks are refused until there is space"
	if status, text := ready(t, srv.URL()); status != http.StatusServiceUnavailable || !strings.Contains(text, "partitions: ok") || !strings.Contains(text, told) {
		t.Errorf("ready on a full disk: %d, %s", status, text)
	}
	if err := c.Ping(inTime(t)); err == nil || !strings.Contains(err.Error(), told) {
		t.Errorf("ping on a full disk: %v", err)
	}
	log.await("WARN")
	if n := log.lines("WARN"); n != 1 || !strings.Contains(log.String(), "free some space") {
		t.Errorf("%d warnings in the log: %s", n, log)
	}
	stop := work(t, c, greet)
	if out, err := task.Wait(inTime(t)); err != nil || out != "hello ada" {
		t.Errorf("finishing on a full disk: %q, %v", out, err)
	}
	disk.low.Store(false)
	if out, err := greet.Do(inTime(t), c, "grace"); err != nil || out != "hello grace" {
		t.Errorf("when there is space again: %q, %v", out, err)
	}
	if err := c.Ping(inTime(t)); err != nil || !strings.Contains(log.String(), "the disk has space again") {
		t.Errorf("when there is space again: ping: %v, log: %s", err, log)
	}
	stop()
}

// TestBrokenCommit: whatever becomes of a commit, the server goes on by itself,
// and what it had acknowledged is there.
func TestBrokenCommit(t *testing.T) {
	for _, fault := range []store.Fault{store.FaultError, store.FaultUnknownLost, store.FaultUnknownKept, store.FaultFull} {
		mem := store.NewMem(store.MemOptions{PunishSingleDelete: true})
		srv := open(t, server.Config{Store: mem, Check: true})
		c := srv.Client()
		first, err := greet.Enqueue(inTime(t), c, "ada")
		if err != nil {
			t.Fatal(err)
		}
		mem.Fail(fault)
		_, failed := greet.Enqueue(inTime(t), c, "grace")
		ctx, cancel := context.WithTimeout(inTime(t), 10*time.Second)
		var second *penstock.Task[string]
		for {
			if second, err = greet.Enqueue(ctx, c, "edsger"); err == nil || !errors.Is(err, penstock.ErrUnavailable) {
				break
			}
		}
		cancel()
		if err != nil {
			t.Fatalf("fault %q: the server does not come back: %v (the enqueue meanwhile: %v)", fault, err, failed)
		}
		work(t, c, greet)
		for _, task := range []*penstock.Task[string]{first, second} {
			if _, err := task.Wait(inTime(t)); err != nil {
				t.Errorf("fault %q: %v", fault, err)
			}
		}
	}
}

// TestFailingPartition: one that fails again and again is told of while it happens
// to be open, too.
func TestFailingPartition(t *testing.T) {
	mem := store.NewMem(store.MemOptions{})
	srv := open(t, server.Config{Store: mem, HTTP: "127.0.0.1:0", Logger: newLogText().logger()})
	c := srv.Client()
	ctx := inTime(t)
	for told := ""; !strings.Contains(told, "partition 0 has failed"); _, told = ready(t, srv.URL()) {
		mem.Fail(store.FaultError)
		greet.Enqueue(ctx, c, "ada")
		if ctx.Err() != nil {
			t.Fatal("nobody is told: ", told)
		}
	}
	mem.Fail(store.FaultNone)
	for {
		if _, err := greet.Enqueue(ctx, c, "ada"); err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	if status, text := ready(t, srv.URL()); status != http.StatusServiceUnavailable || !strings.Contains(text, "times in a row") {
		t.Errorf("got %d, %s", status, text)
	}
}
