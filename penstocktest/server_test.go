package penstocktest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/penstocktest"
)

type mail struct{ To string }

var sendMail = penstock.Define[mail, string]("mail.send", penstock.Queue("mail"), penstock.Backoff(penstock.Fixed(10*time.Minute)))

// signUp is the code under test: it enqueues a mail for now and one for later.
func signUp(ctx context.Context, c *penstock.Client, who string) error {
	if _, err := sendMail.Enqueue(ctx, c, mail{who}); err != nil {
		return err
	}
	_, err := sendMail.Enqueue(ctx, c, mail{who}, penstock.In(24*time.Hour), penstock.Tags("reminder"))
	return err
}

func TestDrainAndAdvance(t *testing.T) {
	var sent []string
	failures := 1
	s := penstocktest.New(t, sendMail.Handle(func(_ context.Context, m mail) (string, error) {
		if failures > 0 {
			failures--
			return "", errors.New("relay is down")
		}
		sent = append(sent, m.To)
		return "sent", nil
	}))
	ctx := t.Context()
	if err := signUp(ctx, s.Client(), "ada"); err != nil {
		t.Fatal(err)
	}
	now := penstocktest.RequireEnqueued(t, s, sendMail, mail{"ada"})
	later := penstocktest.RequireEnqueued(t, s, sendMail, mail{"ada"}, penstock.In(24*time.Hour), penstock.Tags("reminder"))
	if now.ID() == later.ID() {
		t.Error("one task was found twice")
	}
	step := func(d time.Duration, want int) {
		t.Helper()
		s.Advance(d)
		if err := s.Drain(ctx); err != nil {
			t.Fatal(err)
		}
		if len(sent) != want {
			t.Fatalf("%d mails are sent, want %d", len(sent), want)
		}
	}
	step(0, 0) // fails
	step(9*time.Minute, 0)
	step(time.Minute, 1)
	step(23*time.Hour, 1)
	step(50*time.Minute, 2)
	if out, err := later.Wait(ctx); out != "sent" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
}

// A day of held-up work does not look like a type that nobody serves.
func TestAdvanceKeepsWhatWaits(t *testing.T) {
	n := 0
	f := penstock.Func("t", func(context.Context, int) (int, error) { n++; return n, nil })
	s := penstocktest.New(t, f)
	tk, err := f.Enqueue(t.Context(), s.Client(), 1)
	if err != nil {
		t.Fatal(err)
	}
	s.Advance(100 * 24 * time.Hour)
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := tk.Wait(t.Context()); out != 1 || err != nil {
		t.Errorf("%v, %v", out, err)
	}
}

// Drain follows tasks that handlers enqueue, into queues that were not there.
func TestDrainFollows(t *testing.T) {
	var c *penstock.Client
	child := penstock.Func("child", func(_ context.Context, i int) (int, error) { return i, nil })
	parent := penstock.Func("parent", func(ctx context.Context, n int) (int, error) {
		for i := range n {
			if _, err := child.Enqueue(ctx, c, i, penstock.Queue(fmt.Sprintf("children-%d", i))); err != nil {
				return 0, err
			}
		}
		return n, nil
	})
	s := penstocktest.New(t, child, parent)
	c = s.Client()
	if _, err := parent.Enqueue(t.Context(), c, 20); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Enqueue(t.Context(), penstock.Raw{Type: "nobody serves it"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	qs, err := c.Queues(t.Context())
	if err != nil || len(qs) != 21 {
		t.Fatalf("%d queues, %v", len(qs), err)
	}
	for _, q := range qs {
		if q.Running != 0 || q.Ready > 0 && q.Name != "default" {
			t.Errorf("queue %s: %d ready, %d running", q.Name, q.Ready, q.Running)
		}
	}
}

func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := penstock.Func("slow", func(ctx context.Context, _ int) (string, error) {
			select {
			case <-time.After(30 * time.Second):
				return "done", nil
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}, penstock.Timeout(time.Minute))
		s := penstocktest.New(t, slow)
		began := time.Now()
		tk, err := slow.Enqueue(t.Context(), s.Client(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if out, err := tk.Wait(t.Context()); out != "done" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
		if took := time.Since(began); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	stuck := penstock.Func("stuck", func(ctx context.Context, _ int) (int, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})
	s := penstocktest.NewWorker(t, penstock.Worker{DrainTimeout: -1}, stuck)
	if _, err := stuck.Enqueue(t.Context(), s.Client(), 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Drain: %v", err)
	}
}

// fakeT notes that a test was ended.
type fakeT struct {
	testing.TB
	text string
}

func (f *fakeT) Helper() {}

func (f *fakeT) Fatalf(format string, args ...any) {
	f.text = fmt.Sprintf(format, args...)
	panic(f)
}

func TestRequireEnqueuedSaysWhatIsThere(t *testing.T) {
	s := penstocktest.New(t)
	f := func(want string, to string, opts ...penstock.Option) {
		t.Helper()
		ft := &fakeT{TB: t}
		func() {
			defer func() {
				if v := recover(); v != nil && v != any(ft) {
					panic(v)
				}
			}()
			penstocktest.RequireEnqueued(ft, s, sendMail, mail{to}, opts...)
		}()
		if want == "" && ft.text != "" || !strings.Contains(ft.text, want) {
			t.Errorf("got %q, want %q", ft.text, want)
		}
	}
	f("no other of that type", "ada")
	if _, err := sendMail.Enqueue(t.Context(), s.Client(), mail{"ada"}, penstock.Priority(7), penstock.Key("k"), penstock.In(time.Hour)); err != nil {
		t.Fatal(err)
	}
	f("", "ada", penstock.Priority(7), penstock.Key("k"), penstock.In(time.Hour))
	f(`payload {"To":"ada"}, not {"To":"bob"}`, "bob", penstock.Priority(7), penstock.Key("k"), penstock.In(time.Hour))
	f("priority 7, not 5; key k, not", "ada")
	f("ready at", "ada", penstock.Priority(7), penstock.Key("k"), penstock.In(time.Minute))
	f("tags", "ada", penstock.Priority(7), penstock.Key("k"), penstock.In(time.Hour), penstock.Tags("x"))
	f("deadline", "ada", penstock.Priority(7), penstock.Key("k"), penstock.In(time.Hour), penstock.Deadline(s.Now().Add(time.Hour)))
	f("expires at", "ada", penstock.Priority(7), penstock.Key("k"), penstock.In(time.Hour), penstock.ExpireAfter(time.Hour))
	f("queue mail, not other", "ada", penstock.Priority(7), penstock.Key("k"), penstock.In(time.Hour), penstock.Queue("other"))
	f("max attempts", "ada", penstock.Priority(7), penstock.Key("k"), penstock.In(time.Hour), penstock.MaxAttempts(2))
}
