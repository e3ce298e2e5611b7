package queuetest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// RunTranscript plays the file at path: lines that begin with ">" are what
// people and programs do, the lines indented below each are what comes of it.
// With rewrite the file is brought up to date; read the difference, and only
// keep it if you understand what caused it.
func RunTranscript(t *testing.T, path string, rewrite bool) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Play(string(raw))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if got == string(raw) {
		return
	}
	if rewrite {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, have := strings.Split(string(raw), "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(want) && i < len(have) && want[i] == have[i] {
		i++
	}
	from := max(0, i-4)
	t.Errorf("%s:%d is no longer so.\nwas:\n%s\nis now:\n%s\n(-rewrite brings the file up to date)", path, i+1,
		strings.Join(want[from:min(len(want), i+6)], "\n"), strings.Join(have[from:min(len(have), i+6)], "\n"))
}

// Play plays a transcript and returns it with what came of each line.
func Play(script string) (string, error) {
	p := newPlayer()
	var out strings.Builder
	for n, line := range strings.Split(strings.TrimRight(script, "\n"), "\n") {
		switch {
		case strings.HasPrefix(line, "> "):
			out.WriteString(line + "\n")
			p.lines = p.lines[:0]
			if err := p.do(line[2:]); err != nil {
				return "", fmt.Errorf("line %d: %w", n+1, err)
			}
			for _, l := range p.lines {
				out.WriteString("  " + l + "\n")
			}
		case strings.HasPrefix(line, "  "): // what came of it when the file was written
		default:
			out.WriteString(line + "\n")
		}
	}
	return out.String(), nil
}

const playStart = 1_000_000

// player turns lines into commands and Outputs into lines.
type player struct {
	rig     *Rig
	seqs    []task.Seq // of #1, #2 …
	ids     []task.ID
	workers map[string]*played
	names   map[queue.SessionNo]string // of sessions
	tokens  map[string]map[task.Seq]task.Token
	lines   []string
}

type played struct {
	no   queue.SessionNo
	opts task.SessionOptions
}

func newPlayer() *player {
	p := &player{rig: NewRig(queue.Config{Partition: 1}, playStart)}
	p.forget()
	p.tokens = map[string]map[task.Seq]task.Token{}
	return p
}

func (p *player) forget() {
	p.workers, p.names = map[string]*played{}, map[queue.SessionNo]string{}
}

func (p *player) say(format string, args ...any) {
	p.lines = append(p.lines, fmt.Sprintf(format, args...))
}

// apply applies a command and says what it brought about beside its answer.
func (p *player) apply(c queue.Command, answer func()) error {
	var outs []queue.Output
	p.rig.Trace = func(_ task.Time, _ []queue.Command, o *queue.Output) {
		c := *o
		c.Timed, c.Dead.Puts, c.Ended = slices.Clone(o.Timed), slices.Clone(o.Dead.Puts), slices.Clone(o.Ended)
		c.Leased, c.Revoked, c.Lapsed, c.Finished.Puts = slices.Clone(o.Leased), slices.Clone(o.Revoked), slices.Clone(o.Lapsed), slices.Clone(o.Finished.Puts)
		outs = append(outs, c)
	}
	if err := p.rig.Apply(c); err != nil {
		return err
	}
	for p.rig.Refills() > 0 {
		p.rig.Refill(0)
		if err := p.rig.Once(); err != nil {
			return err
		}
	}
	if answer != nil {
		answer()
	}
	for i := range outs {
		p.tell(&outs[i])
	}
	return nil
}

// tell says what an Output shows.
func (p *player) tell(o *queue.Output) {
	for i := range o.Timed {
		t := &o.Timed[i]
		if t.Place.Queue == queue.Void {
			continue
		}
		how := ""
		if t.Attempt != nil {
			how = fmt.Sprintf("attempt %d %s", t.Attempt.Number, t.Attempt.Outcome)
			if t.Attempt.Error != "" && t.Attempt.Outcome != task.AttemptCrashed {
				how += fmt.Sprintf(" (%s)", t.Attempt.Error)
			}
			how += ", "
		}
		if wait := t.Place.Due.Sub(p.rig.Now); wait > 0 {
			p.say("%s: %swaits %v", p.name(t.Place.Seq), how, length(wait))
		} else {
			p.say("%s: %sis ready", p.name(t.Place.Seq), how)
		}
	}
	for _, id := range o.Lapsed {
		p.say("%s is lost: no heartbeat came in time", p.names[id])
	}
	for _, r := range o.Revoked {
		why := "the lease was lost"
		if r.Why == task.Conflict {
			why = "it was ended"
		}
		p.say("%s is told to drop %s: %s", p.names[r.Session], p.name(r.Token.Seq), why)
	}
	for _, e := range o.Ended {
		why := ""
		for i := range o.Dead.Puts {
			if o.Dead.Puts[i].Key.Seq == e.Seq {
				why = ": " + o.Dead.Puts[i].Reason
			}
		}
		for i := range o.Finished.Puts {
			if o.Finished.Puts[i].Key.Seq == e.Seq && o.Finished.Puts[i].Reason != "" {
				why = ": " + o.Finished.Puts[i].Reason
			}
		}
		if e.State == task.StateUnknown {
			p.say("%s is gone", p.name(e.Seq))
		} else {
			p.say("%s is %v%s", p.name(e.Seq), e.State, why)
		}
	}
	for i := range o.Leased {
		l := &o.Leased[i]
		who := p.names[l.Session]
		if l.Lease != nil {
			who = l.Lease.Worker
		}
		if p.tokens[who] == nil {
			p.tokens[who] = map[task.Seq]task.Token{}
		}
		p.tokens[who][l.Token.Seq] = l.Token
		p.say("%s gets %s, attempt %d", who, p.name(l.Token.Seq), l.Attempt)
	}
}

func (p *player) name(s task.Seq) string {
	if i := slices.Index(p.seqs, s); i >= 0 {
		return fmt.Sprintf("#%d", i+1)
	}
	return "a task unknown"
}

// wait lets time pass as a loop does: a tick whenever the machine asks for one.
func (p *player) wait(d task.Millis) error {
	end := p.rig.Now.Add(d)
	for p.rig.Now < end {
		next := end
		if t := p.rig.Out.Deadline; t != 0 && t < end {
			next = t
		}
		p.rig.Now = next
		from := len(p.lines)
		if err := p.apply(queue.Command{Op: queue.OpTick}, nil); err != nil {
			return err
		}
		for i := from; i < len(p.lines); i++ {
			p.lines[i] = fmt.Sprintf("at %s %s", clock(p.rig.Now), p.lines[i])
		}
	}
	return nil
}

func clock(t task.Time) string { return fmt.Sprint(length(task.Millis(t - playStart))) }

func length(d task.Millis) time.Duration { return time.Duration(d) * time.Millisecond }

func millis(s string) (task.Millis, error) {
	d, err := time.ParseDuration(s)
	return task.Millis(d / time.Millisecond), err
}
