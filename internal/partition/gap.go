package partition

import "github.com/penstock-io/penstock/internal/task"

// gap is for how long the loop has stood still: stopped from outside, or waiting
// for a disk that hung. It wants a turn once a second at least; what comes much
// later than it was due could not hear anybody meanwhile. A clock that is moved by
// hand has no gaps but those that Stall tells of.
func (r *Runner) gap(now task.Time) task.Millis {
	due := max(r.alive, r.due)
	r.alive = now
	d := task.Millis(r.stalled.Swap(0))
	if late := now.Sub(due); !r.cfg.Held && due != 0 && late > gapMin {
		d += late
	}
	return d
}

// Stall tells a runner whose clock is moved by hand that its owner has stood still
// for the last d, as a process that is stopped does.
func (r *Runner) Stall(d task.Millis) {
	r.stalled.Add(int64(d))
	r.box.ring()
}
