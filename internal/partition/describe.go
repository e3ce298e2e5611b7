package partition

import (
	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// QueueInfos asks for the queues named, as far as they are known here, or for all
// (nil). The loop is asked in as many short looks as it takes.
func (r *Runner) QueueInfos(names []string, done func(infos []task.QueueInfo, err *task.Error)) {
	w := &queue.QueueWalk{Names: names}
	var all []task.QueueInfo
	var look func()
	look = func() {
		var more bool
		r.look(func(m *queue.Machine) { more = m.WalkQueues(w) }, func(err *task.Error) {
			if err != nil {
				done(nil, err)
				return
			}
			if all = append(all, w.Take()...); more {
				look()
				return
			}
			for i := range all {
				r.clock.outQueue(&all[i])
			}
			done(all, nil)
		})
	}
	look()
}

// description is what Describe has found so far.
type description struct {
	r     *Runner
	info  task.PartitionInfo
	views []queue.WorkerView
	all   []task.WorkerInfo
	done  func(info task.PartitionInfo, workers []task.WorkerInfo, err *task.Error)
}

// Describe asks for what the partition and, if they are asked for, its worker sessions
// are. The loop is asked in as many short looks as it takes; the names of the queues
// that sessions serve are put together beside it.
func (r *Runner) Describe(workers bool, done func(info task.PartitionInfo, workers []task.WorkerInfo, err *task.Error)) {
	d := &description{r: r, done: done}
	first := -1
	if workers {
		first = 0
	}
	r.look(func(m *queue.Machine) { d.info = m.Info() }, func(err *task.Error) {
		if err != nil {
			done(task.PartitionInfo{}, nil, err)
			return
		}
		d.look(0, true, first)
	})
}

// look goes on behind a queue, and from a session on; -1 = with no session.
func (d *description) look(after queue.QueueNum, sums bool, worker int) {
	d.views = make([]queue.WorkerView, 0, len(d.views))
	d.r.look(func(m *queue.Machine) {
		if sums {
			after = m.SumQueues(&d.info, after)
			return
		}
		worker = m.EachWorker(worker, func(v queue.WorkerView) { d.views = append(d.views, v) })
	}, func(err *task.Error) {
		if err != nil {
			d.done(task.PartitionInfo{}, nil, err)
			return
		}
		for i := range d.views {
			d.take(&d.views[i])
		}
		switch {
		case sums && (after != 0 || worker == 0):
			d.look(after, after != 0, worker)
		case !sums && worker > 0:
			d.look(0, false, worker)
		default:
			d.info.ClockOffset = d.r.clock.Offset()
			d.done(d.info, d.all, nil)
		}
	})
}

func (d *description) take(v *queue.WorkerView) {
	w := v.Info
	w.Queues = make([]string, len(v.Named))
	for i := range v.Named {
		w.Queues[i] = v.Named[i].Queue
	}
	d.r.clock.out(&w.Since, &w.LastBeat)
	d.all = append(d.all, w)
}
