package penstock

import (
	"runtime"
	"slices"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	reportMax      = 4096    // outcomes in one batch
	reportBytesMax = 4 << 20 // result and log bytes in one batch, unless one outcome alone has more
	spareMax       = 4       // batches kept for reuse
	yieldsMax      = 4       // while each brings more
)

// outbox holds the outcomes that are not known to be durable. They stay, over
// any number of lost connections, until they are.
type outbox struct {
	reported func(*outcomeBatch) // hears what became of each
	pending  []*outcomeBatch     // to be sent, oldest first; the last one takes more
	flight   []*outcomeBatch     // with the session
	spare    []*outcomeBatch
	n        int  // outcomes in pending and flight
	kicked   bool // the reporter has been called and has not looked yet
	held     bool // a batch could not be sent: nothing goes until its pause is over
	pause    retryPause
	dropped  [task.Internal + 1]int // outcomes refused, by code, not yet told to the logger
	refused  *task.Error            // a whole batch was dropped for it, not yet told
}

// outcomeBatch is a batch and the memory of its results.
type outcomeBatch struct {
	task.OutcomeBatch
	bytes  []byte
	sealed bool // has been sent once: nothing is added
}

// add copies o into the newest batch.
func (x *outbox) add(o task.Outcome) {
	x.n++
	var b *outcomeBatch
	if k := len(x.pending); k > 0 {
		b = x.pending[k-1]
	}
	size := len(o.Result) + len(o.Log)
	if b == nil || b.sealed || len(b.Outcomes) >= reportMax || len(b.bytes) > 0 && len(b.bytes)+size > reportBytesMax {
		b = x.newBatch()
		x.pending = append(x.pending, b)
	}
	o.Result, o.Log = b.own(o.Result), b.own(o.Log)
	b.Outcomes = append(b.Outcomes, o)
}

// own copies p to the batch's memory. When that has to grow, what was given out
// before keeps the old memory alive.
func (b *outcomeBatch) own(p []byte) []byte {
	if len(p) == 0 {
		return nil
	}
	start := len(b.bytes)
	b.bytes = append(b.bytes, p...)
	return b.bytes[start:len(b.bytes):len(b.bytes)]
}

func (x *outbox) newBatch() *outcomeBatch {
	if k := len(x.spare); k > 0 {
		b := x.spare[k-1]
		x.spare = x.spare[:k-1]
		return b
	}
	b := &outcomeBatch{}
	b.Done = func(*task.OutcomeBatch) { x.reported(b) }
	return b
}

func (x *outbox) recycle(b *outcomeBatch) {
	if len(x.spare) >= spareMax || cap(b.bytes) > reportBytesMax {
		return
	}
	clear(b.Outcomes)
	b.Outcomes, b.bytes, b.sealed = b.Outcomes[:0], b.bytes[:0], false
	b.Codes, b.Err = nil, nil
	x.spare = append(x.spare, b)
}

// take moves what is pending to flight, and to buf.
func (x *outbox) take(buf []*outcomeBatch) []*outcomeBatch {
	buf = append(buf[:0], x.pending...)
	x.flight = append(x.flight, x.pending...)
	clear(x.pending)
	x.pending = x.pending[:0]
	for _, b := range buf {
		b.sealed, b.Codes, b.Err = true, nil, nil
	}
	return buf
}

// tokens appends the leases whose outcomes are not known to be durable.
func (x *outbox) tokens(ts []task.Token) []task.Token {
	for _, list := range [][]*outcomeBatch{x.flight, x.pending} {
		for _, b := range list {
			for i := range b.Outcomes {
				ts = append(ts, b.Outcomes[i].Token)
			}
		}
	}
	return ts
}

// reportLoop sends outcomes and credit: whenever it is called it yields, so that
// handlers which are about to end join in, as long as that brings more, and takes
// all there is.
func (e *engine) reportLoop() {
	var batches []*outcomeBatch
	for {
		select {
		case <-e.reporterOn:
		case <-e.life.Done():
			return
		}
		n := -1
		for range yieldsMax {
			more := e.unreported()
			if more <= n {
				break
			}
			n = more
			runtime.Gosched()
		}
		batches = e.flush(batches)
	}
}

func (e *engine) unreported() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.out.n
}

func (e *engine) flush(batches []*outcomeBatch) []*outcomeBatch {
	e.mu.Lock()
	x := &e.out
	x.kicked = false
	sess, credit := e.sess, 0
	batches = batches[:0]
	if sess != nil && !x.held {
		batches = x.take(batches)
	}
	if sess != nil && !e.draining {
		credit = e.win.grant(time.Now(), e.ring.len()+e.busyN, x.n)
	}
	dropped, refused := x.dropped, x.refused
	clear(x.dropped[:])
	x.refused = nil
	e.mu.Unlock()

	for _, b := range batches {
		sess.Report(&b.OutcomeBatch)
	}
	if credit > 0 {
		sess.Credit(credit)
	}
	for code, n := range dropped {
		if n > 0 {
			e.log.Warn("penstock: the server refused outcomes: the tasks were canceled, or had gone to another worker", "outcomes", n, "code", task.Code(code).String())
		}
	}
	if refused != nil {
		e.log.Error("penstock: the server refused a whole report", "error", refused)
	}
	return batches
}

// reported is told what became of a batch. It comes from the broker's
// goroutines.
func (e *engine) reported(b *outcomeBatch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := &e.out
	if i := slices.Index(x.flight, b); i >= 0 {
		x.flight = slices.Delete(x.flight, i, i+1)
	}
	if b.Err != nil && b.Err.Code != task.Invalid {
		x.pending = slices.Insert(x.pending, 0, b)
		e.holdReports()
		return
	}
	x.n -= len(b.Outcomes)
	if b.Err != nil {
		x.refused = b.Err
		x.dropped[task.Invalid] += len(b.Outcomes)
	} else {
		x.pause.reset()
		e.checkCodes(b)
	}
	x.recycle(b)
	if e.draining {
		e.tellDrain()
	}
	e.kickReporter()
}

// checkCodes looks at the answers one by one.
func (e *engine) checkCodes(b *outcomeBatch) {
	for i, code := range b.Codes {
		if code == task.OK {
			continue
		}
		if o := &b.Outcomes[i]; code == task.Invalid && o.Kind == task.OutcomeComplete {
			// It must end somehow, or its lease would be renewed for ever.
			e.out.add(task.Outcome{Token: o.Token, Kind: task.OutcomeFail, Permanent: true, Started: true,
				Error: "the server refused the result as invalid"})
			continue
		}
		if o := &b.Outcomes[i]; o.Kind == task.OutcomeRelease && !o.Started {
			continue // it had gone back already
		}
		if int(code) < len(e.out.dropped) {
			e.out.dropped[code]++
		}
	}
}

// holdReports keeps reports back for a while: the session is gone, and a new
// one ends the wait, or its owner can't write.
func (e *engine) holdReports() {
	if e.out.held {
		return
	}
	e.out.held = true
	time.AfterFunc(e.out.pause.draw(), func() {
		e.mu.Lock()
		e.out.held = false
		e.kickReporter()
		e.mu.Unlock()
	})
}
