package penstocktest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/penstocktest"
)

var errEmpty = errors.New("empty")

var shout = penstock.Func("shout", func(ctx context.Context, s string) (string, error) {
	penstock.Log(ctx).Info("shouting")
	penstock.Progress(ctx, 1, 1, "")
	switch s {
	case "":
		return "", errEmpty
	case "panic":
		panic("too loud")
	case "slow":
		<-ctx.Done()
		return "", context.Cause(ctx)
	case "who":
		a := penstock.Current(ctx)
		return a.Key() + a.Header("h") + a.Queue(), nil
	}
	return strings.ToUpper(s), nil
}, penstock.Timeout(time.Minute))

func TestExec(t *testing.T) {
	if out, err := penstocktest.Exec(t, shout, "a"); out != "A" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := penstocktest.Exec(t, shout, ""); err != errEmpty {
		t.Errorf("%v", err)
	}
	if _, err := penstocktest.Exec(t, shout, "panic"); err == nil || !strings.Contains(err.Error(), "panic: too loud") {
		t.Errorf("%v", err)
	}
	out, err := penstocktest.Exec(t, shout, "who", penstock.Key("k"), penstock.Headers(map[string]string{"h": "v"}), penstock.Queue("q"))
	if out != "kvq" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	chans := penstock.Func("chans", func(context.Context, int) (chan int, error) { return make(chan int), nil })
	if _, err := penstocktest.Exec(t, chans, 1); err == nil || !strings.Contains(err.Error(), "encode result") {
		t.Errorf("%v", err)
	}
}

func TestExecTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if _, err := penstocktest.Exec(t, shout, "slow"); !errors.Is(err, penstock.ErrTimeout) {
			t.Errorf("%v", err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("took %v", took)
		}
	})
}
